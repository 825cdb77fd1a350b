"""Bloch waves: fast against exact, unitarity, the two-beam formula, the kinematical limit, and abtem's intensities."""

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Atom, Cell, Structure, UnreadableInput
from credo.physics.bloch_waves import (
    diffract,
    kinematical_intensities,
    near_beams,
    scattering_potential,
    waves,
    waves_exact,
)
from credo.physics.electron import relativistic_mass
from credo.physics.structure_factors import structure_factors

#: Made by ``python -m benchmarks dynamical --abtem PYTHON`` with abtem 1.0.11.
STORED = Path(__file__).parent / "bloch_by_abtem.json"

ACENTRIC = ("Si", (0.1, 0.2, 0.3)), ("O", (0.37, 0.11, 0.72)), ("Al", (0.62, 0.71, 0.05)), ("Ca", (0.81, 0.43, 0.55))


def triclinic(group="P 1", occupancy=1.0):
    atoms = tuple(Atom(e, e, np.array(x), occupancy, 0.01) for e, x in ACENTRIC)
    return Structure(Cell(5.1, 6.3, 7.2, 84, 97, 103), group, atoms)


def lying(structure, seed=1):
    return Rotation.random(random_state=seed).as_matrix() @ structure.cell.B


@pytest.mark.parametrize("group", ["P 1", "P -1"])
def test_fast_equals_exact_and_intensities_sum_to_one(group):
    structure = triclinic(group)
    potential = scattering_potential(structure, 200, 0.7)
    assert (potential.im.size == 0) == (group == "P -1")
    thickness = np.array([20.0, 400.0, 1500.0])
    for seed in range(5):
        hkl, s = near_beams(potential, lying(structure, seed), 0.015)
        fast, exact = waves(potential, hkl, s, thickness), waves_exact(potential, hkl, s, thickness)
        np.testing.assert_allclose(fast, exact, atol=1e-4)
        np.testing.assert_allclose((np.abs(exact) ** 2).sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose((np.abs(fast) ** 2).sum(axis=1), 1, atol=1e-4)


def test_two_beams_follow_the_analytic_formula():
    """I = sin²(π t √(s² + ξ⁻²)) / (1 + (s ξ)²), ξ = K/|U_g| (Hirsch et al. 1965, ch. 8)."""
    potential = scattering_potential(triclinic(), 200, 0.7)
    hkl, t = np.array([[0, 0, 0], [1, 2, -1]]), np.linspace(0, 2000, 41)
    xi = potential.wavenumber / np.abs(potential.coefficients(hkl[1:])[0])
    for error in (0.0, 4e-4, -2e-3):
        expected = np.sin(np.pi * t * np.hypot(error, 1 / xi)) ** 2 / (1 + (error * xi) ** 2)
        for method in (waves, waves_exact):
            psi = method(potential, hkl, np.array([0.0, error]), t)
            np.testing.assert_allclose(np.abs(psi[:, 1]) ** 2, expected, atol=1e-6)


def test_weak_scattering_is_kinematical():
    structure = triclinic(occupancy=2e-4)
    potential = scattering_potential(structure, 200, 0.7)
    thickness = np.array([300.0, 1000.0])
    pattern = diffract(potential, lying(structure), thickness, 0.01)
    expected = kinematical_intensities(potential, pattern.hkl, pattern.s, thickness)
    assert len(pattern.hkl) > 20
    np.testing.assert_allclose(pattern.intensity[:, 1:], expected[:, 1:], atol=2e-3 * expected.max())


def test_coefficients_are_conjugate_structure_factors():
    structure = triclinic()
    potential = scattering_potential(structure, 300, 0.9)
    h = np.array([[1, 0, 2], [-3, 1, 1], [0, 4, -2]])
    expected = structure_factors(structure, -h) * relativistic_mass(300) / (np.pi * structure.cell.volume)
    np.testing.assert_allclose(potential.coefficients(h), expected, rtol=1e-10)


def test_mean_inner_potential_in_volts():
    """V_0 = h² ΣF(0)/(2π m₀ e V): 47.878 V Å² Σ f(0)/V."""
    structure = triclinic()
    potential = scattering_potential(structure, 200, 0.9)
    total = sum(sum(gemmi.Element(e).c4322.get_coefs()[:5]) for e, _ in ACENTRIC)
    volts = potential.mean / relativistic_mass(200) * 150.412  # h²/2m₀e [V Å²]
    assert volts == pytest.approx(47.878 * total / structure.cell.volume, rel=1e-4)


def test_absorption_is_uniform_where_nothing_scatters_and_loses_intensity():
    structure = triclinic()
    potential = scattering_potential(structure, 200, 0.7)
    t = np.array([200.0, 800.0])
    alone = waves_exact(potential, np.zeros((1, 3), dtype=int), np.zeros(1), t, absorption=0.1)
    np.testing.assert_allclose(
        np.abs(alone[:, 0]) ** 2, np.exp(-2 * np.pi * t * 0.1 * potential.mean / potential.wavenumber), rtol=1e-10
    )
    full = diffract(potential, lying(structure), t, absorption=0.1).intensity.sum(axis=1)
    assert 1 > full[0] > full[1] > 0.3
    none = diffract(potential, lying(structure), t, absorption=1e-9).intensity
    np.testing.assert_allclose(none, diffract(potential, lying(structure), t).intensity, atol=1e-4)


def test_the_hand_shows_in_dynamical_intensities_only():
    left, right = triclinic(), triclinic()
    right = right.replace(atoms=tuple(a.replace(xyz=-a.xyz) for a in right.atoms))
    patterns = [
        diffract(scattering_potential(s, 200, 0.7), lying(s), np.array([600.0])).intensity for s in (left, right)
    ]
    assert np.abs(patterns[0] - patterns[1])[:, 1:].sum() > 0.05 * patterns[0][:, 1:].sum()


def test_intensities_of_abtem():
    """Same scattering factors and excitation errors; abtem's factors 1/(1 + g_z/K), which we leave out, change the sum
    of differences by less than a thousandth, its paraxial excitation errors by two."""
    stored = json.loads(STORED.read_text())
    problem, answer = stored["problem"], stored["answer"]
    atoms = tuple(Atom(a["element"], a["element"], np.array(a["xyz"]), 1.0, a["u_iso"]) for a in problem["atoms"])
    direct = np.array(problem["direct"])
    structure = Structure(Cell.from_vectors(direct), "P 1", atoms)
    potential = scattering_potential(structure, problem["kilovolts"], problem["d_min"])
    ub, thickness = np.linalg.inv(direct), np.array(problem["thickness"])
    pattern = diffract(potential, ub, thickness, problem["s_max"])
    ours = dict(zip(map(tuple, pattern.hkl.tolist()), pattern.intensity.T))
    theirs = dict(zip(map(tuple, answer["hkl"]), np.array(answer["intensity_metric"]).T))
    assert ours.keys() == theirs.keys()
    assert len(ours) > 25
    a, b = (np.array([x[h] for h in ours if any(h)]) for x in (ours, theirs))
    assert np.all(np.abs(a - b).sum(axis=0) < 1e-3 * b.sum(axis=0))
    assert np.all(np.abs(a - b) < 2e-5)


def test_too_many_coefficients_are_refused():
    big = Structure(Cell(300, 300, 300, 90, 90, 90), "P 1", (Atom("C", "C", np.zeros(3)),))
    with pytest.raises(UnreadableInput, match="too many coefficients"):
        scattering_potential(big, 200, 0.8)
