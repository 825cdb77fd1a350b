"""From frames to integrated intensities of one crystal."""
