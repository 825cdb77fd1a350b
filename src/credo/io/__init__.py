"""One module per file format: sniff, read, write."""
