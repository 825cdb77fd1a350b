"""Powder patterns: positions and intensities of known powders, and a fit that finds what was put in."""

import gemmi
import numpy as np
import pytest

from credo.model import Atom, CannotDo, Cell, Structure
from credo.solve.powder import Profile, fit_pattern, pattern, powder_lines

CU = 1.5406
NACL = Structure(
    Cell(5.6402, 5.6402, 5.6402, 90, 90, 90), "F m -3 m",
    (Atom("Na1", "Na", [0, 0, 0], u_iso=0.018), Atom("Cl1", "Cl", [0.5, 0.5, 0.5], u_iso=0.017)),
)  # fmt: skip


def test_rock_salt():
    """ICDD 5-0628: 200 31.69° (100), 220 45.45° (55), 222 56.48° (15), 400 66.23° (6)."""
    lines = powder_lines(NACL, CU, 70)
    found = dict(zip(map(tuple, np.sort(np.abs(lines.hkl), axis=1).tolist()), zip(lines.two_theta, lines.intensity)))
    top = found[(0, 0, 2)][1]
    for hkl, angle, height in (((0, 2, 2), 45.45, 55), ((2, 2, 2), 56.48, 15), ((0, 0, 4), 66.23, 6)):
        assert found[hkl][0] == pytest.approx(angle, abs=0.04)
        assert 100 * found[hkl][1] / top == pytest.approx(height, abs=0.25 * height + 1)


def test_intensity_is_multiplicity_times_structure_factor_times_lp():
    """The factors by gemmi, the multiplicities of m-3m by heart."""
    lines = powder_lines(NACL, CU, 70)
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(*NACL.cell.parameters)
    for a in NACL.atoms:
        site = gemmi.SmallStructure.Site()
        site.label, site.type_symbol, site.element = a.label, a.element, gemmi.Element(a.element)
        site.fract, site.u_iso, site.occ = gemmi.Fractional(*a.xyz), a.u_iso, 1.0
        small.add_site(site)
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    times = {(0, 0, 2): 6, (1, 1, 1): 8, (0, 2, 2): 12, (1, 1, 3): 24, (2, 2, 2): 8, (0, 0, 4): 6}
    expected = []
    for hkl, two_theta in zip(lines.hkl.tolist(), np.radians(lines.two_theta)):
        f = calculator.calculate_sf_from_small_structure(small, hkl)
        lp = (1 + np.cos(two_theta) ** 2) / (np.sin(two_theta / 2) ** 2 * np.cos(two_theta / 2))
        # the two atoms listed, at four lattice points
        expected.append(times[tuple(sorted(map(abs, hkl)))] * abs(4 * f) ** 2 * lp)
    assert len(expected) == 6 and np.allclose(lines.intensity, expected, rtol=1e-3)


def test_area_does_not_depend_on_the_width():
    lines = powder_lines(NACL, CU, 40)
    x = np.arange(20, 40, 0.002)
    areas = [np.trapezoid(pattern(lines, x, CU, Profile(w=w, eta=0.0, u=0.0)), x) for w in (0.01, 0.04)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-3) and areas[0] == pytest.approx(
        lines.intensity[:2].sum(), rel=1e-3
    )


def test_a_fit_finds_zero_cell_and_background():
    lines = powder_lines(NACL, CU, 80)
    x = np.arange(20, 78, 0.03)
    y = 40 + 0.3 * x + 3e-3 * pattern(lines, x, CU, Profile(0.02, 0, 0.03, 0.4, 0.05, 1.008))
    y = np.random.default_rng(0).poisson(y * 20) / 20
    done = fit_pattern(lines, x, y, CU, Profile(0.01))
    assert done.profile.cell == pytest.approx(1.008, abs=2e-4) and done.profile.zero == pytest.approx(0.05, abs=0.02)
    assert done.scale == pytest.approx(3e-3, rel=0.02) and done.rwp < 0.05
    assert np.allclose(done.background, 40 + 0.3 * x, atol=1.0)


def test_no_reflection_in_range_is_said():
    with pytest.raises(CannotDo, match="no reflection"):
        powder_lines(NACL, CU, 5)
