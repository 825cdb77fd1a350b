"""Calibrations of the instrument as plans: what deflectors, stage, lenses and camera do, each with its uncertainty."""
