"""Known structure: orientation and thickness of frames from Bloch waves; the cell and its setting are checked."""

from __future__ import annotations

import numpy as np
import pytest

from credo.kernels.rotation import rotation_from_vector
from credo.model import Atom, CannotDo, Cell, Structure
from credo.orient.dynamical import fit_dynamical
from credo.orient.observations import Observations
from credo.orient.setting import structure_axes

X = {"Mg": (0.12, 0.31, 0.27), "O": (0.41, 0.08, 0.66), "Si": (0.77, 0.62, 0.13)}


@pytest.fixture(scope="module")
def andradite(andradite_series) -> Structure:
    return andradite_series.andradite()


def test_orientation_and_thickness(andradite_series, andradite, error_deg) -> None:
    """Begun 0.02° off, 60 nm with 20 % of spread; frames of a crystal that stands and of one that turns."""
    for continuous in (False, True):
        s = andradite_series.simulate_bloch(andradite, 0.9, 0.4, 3, 600.0, continuous, span=4.0, sub_deg=0.05)
        obs = Observations(
            s.cell, andradite_series.WAVELENGTH, s.frame, s.hkl, s.intensity, s.sigma, s.nominal_deg, s.width_deg
        )
        off = np.random.default_rng(1).normal(0, np.radians(0.015), (10, 3))
        start = np.einsum("fij,fj->fi", rotation_from_vector(off), s.zone)
        axis = np.linalg.svd(s.zone)[2][2]
        first = np.cross(axis, start)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        by = fit_dynamical(obs, andradite, (start,), axis, first, np.cross(start, first))
        error = error_deg(by.zone, s.zone)
        assert np.median(error) < 0.004
        assert np.median(error) < 0.25 * np.median(error_deg(start, s.zone))
        assert np.median(by.thickness) == pytest.approx(600, rel=0.05)
        assert by.r1 < 0.08
        assert by.error_deg == pytest.approx(error.mean(), rel=0.7)


def of_structure(structure: Structure, hkl: np.ndarray, m: np.ndarray) -> Observations:
    """Kinematical intensities of indices whose setting is another: h of the structure = h · m."""
    from credo.physics.structure_factors import structure_factors

    value = np.abs(structure_factors(structure, hkl @ m)) ** 2
    n = len(hkl)
    return Observations(structure.cell, 0.025, np.arange(n) % 5, hkl, value, np.ones(n), np.arange(5) * 1.0)


def test_another_setting_and_another_cell_are_told() -> None:
    atoms = tuple(Atom(e, e, np.array(x), 1.0, 0.01) for e, x in X.items())
    structure = Structure(Cell(7, 7, 9, 90, 90, 90), "P 1", atoms)
    h = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    h = h[np.any(h != 0, axis=1)]
    swap = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    assert np.array_equal(structure_axes(of_structure(structure, h, np.eye(3, dtype=int)), structure), np.eye(3))
    found = structure_axes(of_structure(structure, h, swap), structure)
    assert np.array_equal(found, swap)
    with pytest.raises(CannotDo, match="is not that of the data"):
        structure_axes(of_structure(structure, h, swap), Structure(Cell(7, 7.5, 9, 90, 90, 90), "P 1", atoms))
