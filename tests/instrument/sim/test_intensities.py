"""Spots are where the Ewald construction puts them and as strong as an independent calculation says."""

from itertools import pairwise

import gemmi
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.instrument.sim.lattice import lattice_of, structure_of
from credo.kernels.diffraction import excited, stamp
from credo.physics.electron import wavelength

WAVE = wavelength(200)


def gemmi_structure(structure) -> gemmi.SmallStructure:
    out = gemmi.SmallStructure()
    out.cell = gemmi.UnitCell(*structure.cell.parameters)
    out.spacegroup = gemmi.SpaceGroup(structure.space_group)
    for atom in structure.atoms:
        site = gemmi.SmallStructure.Site()
        site.label, site.type_symbol, site.element = atom.label, atom.element, gemmi.Element(atom.element)
        site.fract, site.occ, site.u_iso = gemmi.Fractional(*atom.xyz), atom.occupancy, atom.u_iso
        out.add_site(site)
    out.setup_cell_images()
    out.change_occupancies_to_crystallographic(max_dist=0.1)
    return out


@pytest.mark.parametrize("name", ["ZSM-5", "urea", "andradite", "LTA"])
def test_structure_factors_are_those_of_gemmis_own_calculator(name):
    lattice = lattice_of(structure_of(name), 1.0)
    small = gemmi_structure(lattice.structure)
    calculator = gemmi.StructureFactorCalculatorE(small.cell)
    rows = np.random.default_rng(1).choice(len(lattice.hkl), 40, replace=False)
    theirs = [abs(calculator.calculate_sf_from_small_structure(small, lattice.hkl[k].tolist())) ** 2 for k in rows]
    np.testing.assert_allclose(lattice.f2[rows], theirs, rtol=2e-3, atol=1e-4 * lattice.f2.max())


def test_strengths_of_gold_are_those_stored():
    """π² t/ξ² of 10 nm of gold at 200 kV, by hand: ξ = π V/(λ γ |F|), F = 4 f_e(s) exp(−8π²U s²), γ = 1.3914."""
    gold = lattice_of(structure_of("gold"), 0.6)
    strength = gold.strength(0.01, WAVE, 0.0, 0)
    kind = gemmi.Element("Au").c4322
    for hkl in ((1, 1, 1), (0, 0, 2), (2, 2, 0)):
        row = int(np.flatnonzero((gold.hkl == hkl).all(axis=1))[0])
        s2 = sum(h * h for h in hkl) / (4 * 4.0786**2)
        f = 4 * kind.calculate_sf(s2) * np.exp(-8 * np.pi**2 * 0.008 * s2)
        xi = np.pi * 4.0786**3 / (WAVE * 1.391388 * f)
        assert strength[row] == pytest.approx(np.pi**2 * 100 / xi**2, rel=1e-4)
        # the extinction distance of gold 111 is about 16 nm at 100 kV, 1.27 times that at 200 kV
        assert hkl != (1, 1, 1) or 180 < xi < 250


def test_a_thick_crystal_takes_blackmans_factor_and_scatters_equivalents():
    lattice = lattice_of(structure_of("andradite"), 0.8)
    thin, thick = (lattice.strength(t, WAVE, 1e-9, 3) / lattice.strength(t, WAVE, 0.0, 3) for t in (1e-4, 1.0))
    strong = lattice.f2 > np.quantile(lattice.f2, 0.9)
    assert np.median(thin[strong]) == pytest.approx(1, abs=0.02)
    assert np.median(thick[strong]) < 0.5
    spread = lattice.strength(0.01, WAVE, 0.28, 7)[strong] / lattice.strength(0.01, WAVE, 1e-9, 7)[strong]
    assert spread.std() / spread.mean() == pytest.approx(0.28, abs=0.03)
    # absent by the glide planes, yet multiple scattering makes it visible
    absent = lattice.f2 < 1e-9
    assert absent.any() and np.all(lattice.strength(0.1, WAVE, 0.28, 7)[absent] > 0)
    assert np.all(lattice.strength(0.1, WAVE, 0.0, 7)[absent] < 1e-12)


def test_positions_follow_the_ewald_construction():
    """|k0 + q| = 1/λ at the crossing; the wave goes through the pixel that its direction cosines give."""
    rng = np.random.default_rng(2)
    u = Rotation.random(random_state=5).as_matrix()
    axis = np.array([0.6, 0.8, 0.0])
    q0 = rng.uniform(-1, 1, size=(60000, 3))
    k0 = np.array([0.002, -0.001, 1.0])
    k0 /= WAVE * np.linalg.norm(k0)
    ends = [Rotation.from_rotvec(np.radians(a) * axis).as_matrix() @ u for a in (3.0, 3.02)]
    rows, tangent, _ = excited(
        q0, (q0**2).sum(axis=1), np.ones(len(q0)), ends[0], ends[1], k0, 0.0, 1e-7, 0.0, 0.0, 1e-3
    )
    tested = 0
    for row, t in zip(rows, tangent):
        # the crossing by bisection of |k0 + R q| − 1/λ over the angle
        low, high = 3.0, 3.02
        off = [_excess(q0[row], u, axis, a, k0) for a in (low, high)]
        if off[0] * off[1] > 0:
            continue  # touched within the rocking curve only
        tested += 1
        for _ in range(60):
            middle = 0.5 * (low + high)
            if _excess(q0[row], u, axis, middle, k0) * off[0] > 0:
                low = middle
            else:
                high = middle
        wave = k0 + Rotation.from_rotvec(np.radians(low) * axis).as_matrix() @ u @ q0[row]
        found = np.array([t[0], t[1], 1.0])
        found /= WAVE * np.linalg.norm(found)
        np.testing.assert_allclose(found, wave, atol=1e-6)
    assert tested >= 8


def _excess(q, u, axis, degrees, k0):
    turned = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix() @ u @ q
    return np.linalg.norm(k0 + turned) - np.linalg.norm(k0)


def test_the_parts_of_a_rotation_add_up_to_the_whole_crossing():
    """∫ over the rotation of the mean density is one over the speed of crossing, whatever the frames' width."""
    q0 = np.array([[0.0, 0.5, 0.5**2 * WAVE / 2]]) * np.array([1, 1, -1.0])
    turn = lambda a: Rotation.from_euler("x", a, degrees=True).as_matrix()  # noqa: E731
    k0 = np.array([0, 0, 1 / WAVE])
    for width in (0.05, 0.31, 2.0):
        edges = np.arange(-3, 3.001, width)
        total = 0.0
        for a, b in pairwise(edges):
            value = excited(q0, (q0**2).sum(axis=1), np.ones(1), turn(a), turn(b), k0, 2e-3, 2e-4, 0.0, 0.0, 0.0)[2]
            total += np.radians(width) * value.sum()
        # ε' = (m × q)_z = 0.5 Å⁻¹ a radian here
        assert total == pytest.approx(1 / 0.5, rel=2e-3)


def test_a_spot_keeps_its_electrons_and_its_place():
    image = np.zeros((64, 64))
    stamp(image, np.array([[30.3, 22.8]]), np.array([1000.0]), 1.3)
    yy, xx = np.mgrid[:64, :64] + 0.5
    assert image.sum() == pytest.approx(1000, rel=1e-4)
    assert (image * xx).sum() / image.sum() == pytest.approx(30.3, abs=1e-3)
    assert (image * yy).sum() / image.sum() == pytest.approx(22.8, abs=1e-3)
