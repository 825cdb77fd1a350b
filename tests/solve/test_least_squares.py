"""Quick least squares: extinction is found, taken out of the data, and used where reflections are left out."""

import numpy as np

from credo.model import Atom, Cell, Structure
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors
from credo.solve.crossvalidation import left_out_r1
from credo.solve.least_squares import LeastSquaresSettings, Observed, fit_structure

WAVELENGTH = 0.0250793


def test_extinction_is_found_and_taken_out():
    cell = Cell(5.2, 6.1, 4.9, 90, 90, 90)
    sites = ("Ti", (0.12, 0.21, 0.31)), ("O", (0.37, 0.08, 0.44)), ("O", (0.78, 0.35, 0.12))
    true = Structure(cell, "P -1", tuple(Atom(f"{e}{n}", e, np.array(x), u_iso=0.01) for n, (e, x) in enumerate(sites)))
    hkl = miller_indices(cell.B, 0.8)
    f2 = np.abs(structure_factors(true, hkl)) ** 2
    sine = 0.5 * WAVELENGTH / cell.d_spacing(hkl)
    x = 10.0 / (1e-3 * f2.max() * WAVELENGTH**3 / (2 * sine[np.argmax(f2)]))
    seen = f2 / np.sqrt(1 + 1e-3 * x * f2 * WAVELENGTH**3 / (2 * sine * np.sqrt(1 - sine**2)))
    data = Observed(hkl, 7 * seen, 0.02 * seen + 0.01 * seen.mean())
    start = true.replace(atoms=tuple(a.replace(xyz=a.xyz + 0.003, u_iso=0.015) for a in true.atoms))
    plain = fit_structure(start, data, WAVELENGTH)
    damped = fit_structure(start, data, WAVELENGTH, LeastSquaresSettings(extinction=True))
    assert plain.r1 > 0.02
    assert damped.r1 < 0.002
    np.testing.assert_allclose(damped.extinction, x, rtol=0.02)
    np.testing.assert_allclose(damped.corrected(data).f2 / damped.k, f2, rtol=0.02, atol=0.01 * f2.mean())
    np.testing.assert_array_equal(plain.corrected(data).f2, data.f2)
    # six cycles from a structure that is right already
    assert left_out_r1(damped.structure, data, WAVELENGTH) < 0.3 * plain.r1
