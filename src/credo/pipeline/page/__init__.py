"""The report page, part by part: markup, numbers, images and charts below; one module for each picture."""
