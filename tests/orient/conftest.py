"""Simulated andradite for the orientation tests: geometry of its own, see benchmarks/andradite.py."""

from __future__ import annotations

import numpy as np
import pytest

from credo.orient.observations import Observations


@pytest.fixture(scope="session")
def observations(andradite_series):
    """``observations(series, hkl)``: what the estimators are given; other indices on request."""

    def make(s, hkl: np.ndarray | None = None) -> Observations:
        return Observations(
            s.cell, andradite_series.WAVELENGTH, s.frame, s.hkl if hkl is None else hkl, s.intensity, s.sigma,
            s.nominal_deg, s.width_deg,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def error_deg():
    """``error_deg(zone, truth)``: the angle of each frame (f,)."""

    def angle(zone: np.ndarray, truth: np.ndarray) -> np.ndarray:
        sine = np.linalg.norm(np.cross(zone, truth), axis=1)
        return np.degrees(np.arctan2(sine, np.einsum("fi,fi->f", zone, truth)))

    return angle


@pytest.fixture(scope="session")
def series(andradite_series):
    """``series(d_min, step, …)``: made once for each set of arguments."""
    made: dict[tuple, object] = {}
    structure = andradite_series.andradite()

    def make(d_min=0.8, step=0.2, seed=1, continuous=True, counts=0.0, span=12.0, jitter_deg=0.0):
        key = (d_min, step, seed, continuous, counts, span, jitter_deg)
        if key not in made:
            made[key] = andradite_series.simulate(
                structure, d_min, step, seed, continuous, counts, span, jitter_deg=jitter_deg
            )
        return made[key]

    return make
