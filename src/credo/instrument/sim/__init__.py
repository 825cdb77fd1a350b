"""The simulated microscope (planned: see the issues)."""
