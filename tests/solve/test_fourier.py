"""Maps of a refined structure: atoms stand where they are, a missing one shows itself, files are read back."""

import gemmi
import numpy as np
import pytest

from credo.solve.fourier import difference_peaks, fourier_map, peak_list, write_ccp4
from credo.solve.least_squares import LeastSquaresSettings, Observed, fit_structure


@pytest.fixture(scope="module")
def fitted(chain, intensities, wavelength):
    s = chain("P 21 21 21")
    hkl, i, sigma = intensities(s, 0.8, error=0.01)
    data = Observed(hkl, i, sigma)
    part = s.replace(atoms=s.atoms[:-1])
    return s, part, data, fit_structure(part, data, wavelength, LeastSquaresSettings(cycles=0))


def test_the_missing_atom_is_the_highest_difference_peak(fitted):
    whole, part, data, fit = fitted
    peak = difference_peaks(part, fit, data)[0]
    missing = whole.atoms[-1].xyz
    group = gemmi.SpaceGroup(whole.space_group)
    gaps = np.array([np.array(op.apply_to_xyz(missing.tolist())) - peak.xyz for op in group.operations()])
    gaps = (gaps - np.rint(gaps)) @ whole.cell.O.T
    assert np.linalg.norm(gaps, axis=1).min() < 0.15
    assert peak.height > 0.5 * peak.typical


def test_observed_map_has_the_atoms_as_its_peaks(fitted):
    _, part, data, fit = fitted
    peaks = peak_list(fourier_map(part, fit, data, "observed"), part, most=len(part.atoms))
    assert {p.atom for p in peaks if p.nearest < 0.2} >= {a.label for a in part.atoms[:6]}


def test_ccp4_is_read_back(fitted, tmp_path):
    _, part, data, fit = fitted
    rho = fourier_map(part, fit, data, "double")
    write_ccp4(tmp_path / "map.ccp4", rho, part)
    back = gemmi.read_ccp4_map(str(tmp_path / "map.ccp4"))
    assert np.allclose(np.array(back.grid.array), rho, atol=1e-4 * np.abs(rho).max())
    assert back.grid.unit_cell.a == pytest.approx(part.cell.lengths[0], abs=1e-3)
