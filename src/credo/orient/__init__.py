"""Frame orientations and the goniometer study (planned: see the issues)."""
