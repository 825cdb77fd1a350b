"""Rotation-integrated dynamical intensities: the kinematical limit, sampling, thickness distributions."""

import numpy as np
from scipy.spatial.transform import Rotation

from credo.model import Atom, Cell, Structure
from credo.physics.bloch_rotation import fine_step_deg, integrated_intensities, sum_orientations, thickness_shares
from credo.physics.bloch_waves import diffract, scattering_potential

AXIS = np.array([0.8, 0.6, 0.0])


def crystal(occupancy=1.0):
    atoms = ("Si", (0.1, 0.2, 0.3)), ("O", (0.37, 0.11, 0.72)), ("Ca", (0.81, 0.43, 0.55))
    cell = Cell(4.1, 5.3, 6.2, 84, 97, 103)
    return Structure(cell, "P -1", tuple(Atom(e, e, np.array(x), occupancy, 0.01) for e, x in atoms))


def ub():
    return Rotation.random(random_state=1).as_matrix() @ crystal().cell.B


def test_weak_scattering_gives_the_squared_coefficients():
    """Beyond |s| < s_max lies 1/(π² t s_max) of ∫ sinc²(ts) ds."""
    potential = scattering_potential(crystal(1e-3), 200, 0.9)
    thickness = np.array([300.0, 1000.0])
    rocked = integrated_intensities(potential, ub(), AXIS, (-40, 40), thickness)
    assert len(rocked.hkl) > 200
    inside = 1 - 1 / (np.pi**2 * thickness * 0.01)
    expected = np.outer(inside, np.abs(potential.coefficients(rocked.hkl)) ** 2)
    np.testing.assert_allclose(rocked.intensity, expected, rtol=0.03, atol=1e-3 * expected.max())


def test_the_step_that_is_fine_loses_nothing():
    potential = scattering_potential(crystal(), 200, 0.9)
    step = fine_step_deg(600.0, 0.9)
    coarse, fine = (
        integrated_intensities(potential, ub(), AXIS, (-20, 20), np.array([600.0]), step_deg=x).intensity[0]
        for x in (step, step / 3)
    )
    assert np.abs(coarse - fine).sum() < 0.02 * fine.sum()


def test_one_orientation_is_its_pattern():
    potential = scattering_potential(crystal(), 200, 0.9)
    thickness = np.array([200.0, 500.0])
    pattern = diffract(potential, ub(), thickness)
    sums = sum_orientations(potential, ub()[None], np.array([2.0]), thickness, np.array([[0.25, 0.75]]), error=1e-6)
    at = {tuple(h): n for n, h in enumerate(potential.beams.tolist())}
    rows = [at[tuple(h)] for h in pattern.hkl.tolist()]
    np.testing.assert_allclose(sums[0, rows], 2 * np.array([0.25, 0.75]) @ pattern.intensity, atol=1e-5)
    assert np.count_nonzero(sums) == len(rows)


def test_thickness_shares():
    t, mix = thickness_shares(np.array([300.0, 900.0]), 0.2, 9)
    np.testing.assert_allclose(mix.sum(axis=1), 1)
    np.testing.assert_allclose(mix @ t, [300, 900])
    spread = np.sqrt(mix @ t**2 - (mix @ t) ** 2) / (mix @ t)
    assert np.all((spread > 0.17) & (spread < 0.2))
    t, mix = thickness_shares(np.array([300.0]), 0.0)
    assert t.tolist() == [300]
    assert mix.tolist() == [[1]]
