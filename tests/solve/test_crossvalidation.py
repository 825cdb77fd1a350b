"""R1 of what least squares has not seen: near R1 for the right structure, far above it for a wrong one."""

import numpy as np
import pytest

from credo.solve.crossvalidation import left_out_r1
from credo.solve.least_squares import LeastSquaresSettings, Observed, fit_structure


@pytest.fixture
def measured(chain, intensities):
    structure = chain("P 1 21/c 1")
    hkl, i, s = intensities(structure, 1.2, error=0.1)
    keep = ~((hkl[:, 1] == 0) & (hkl[:, 2] % 2 != 0) | ((hkl[:, 0] == 0) & (hkl[:, 2] == 0) & (hkl[:, 1] % 2 != 0)))
    return structure, Observed(hkl[keep], i[keep], s[keep])


def test_right_structure(measured, wavelength):
    structure, data = measured
    fit = fit_structure(structure, data, wavelength, LeastSquaresSettings(cycles=8))
    assert fit.r1 < left_out_r1(fit.structure, data, wavelength) < 1.4 * fit.r1


def test_wrong_structure(measured, wavelength):
    structure, data = measured
    rng = np.random.default_rng(0)
    wrong = structure.replace(atoms=tuple(a.replace(xyz=rng.random(3)) for a in structure.atoms))
    fit = fit_structure(wrong, data, wavelength, LeastSquaresSettings(cycles=8))
    assert left_out_r1(fit.structure, data, wavelength) > 0.5


def test_too_few_reflections_are_no_evidence(measured, wavelength):
    structure, data = measured
    few = Observed(data.hkl[:30], data.f2[:30], data.sigma[:30])
    assert left_out_r1(structure, few, wavelength) == float("inf")
