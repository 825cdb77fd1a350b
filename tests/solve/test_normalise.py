"""From merged intensities to |E| on a primitive P1 basis."""

import numpy as np
import pytest

from credo.model import Cell, UnreadableInput
from credo.solve.normalise import normalise


def test_mean_square_is_one_and_half_the_sphere_is_there(chain, intensities):
    s = chain("P 21 21 21")
    hkl, i, sigma = intensities(s, 0.9)
    data = normalise(s.cell, "P", "mmm", hkl, i, sigma)
    assert np.mean(data.e**2) == pytest.approx(1, abs=0.12)
    full = 2 / 3 * np.pi * s.cell.volume / data.d_min**3
    assert len(data.hkl) == pytest.approx(full, rel=0.06)
    assert len(np.unique(data.hkl, axis=0)) == len(data.hkl)
    assert not len(set(map(tuple, data.hkl)) & set(map(tuple, -data.hkl)))


def test_centred_cells_become_primitive(garnet, intensities):
    hkl, i, sigma = intensities(garnet, 1.0)
    data = normalise(garnet.cell, "I", "m-3m", hkl, i, sigma)
    assert data.cell.volume == pytest.approx(garnet.cell.volume / 2)
    back = data.hkl @ np.linalg.inv(data.basis)
    assert np.allclose(back, np.rint(back)) and np.all(np.rint(back).sum(axis=1) % 2 == 0)


def test_negative_intensities_have_small_positive_amplitudes(chain, intensities):
    s = chain("P 21 21 21")
    hkl, i, sigma = intensities(s, 0.9)
    i, sigma = i.copy(), sigma.copy()
    i[::7], sigma[::7] = -0.5 * sigma[::7], 0.05 * i.mean()
    data = normalise(s.cell, "P", "mmm", hkl, i, sigma)
    assert np.all(data.e > 0) and np.all(np.isfinite(data.e))
    assert data.e[data.i_over_sigma < 0].max() < 0.8


def test_duplicates_and_nan_change_nothing(chain, intensities):
    s = chain("P 21 21 21")
    hkl, i, sigma = intensities(s, 1.0)
    clean = normalise(s.cell, "P", "mmm", hkl, i, sigma)
    extra = np.concatenate([hkl, hkl, [[1, 2, 3], [0, 0, 0]]])
    dirty = normalise(
        s.cell, "P", "mmm", extra, np.concatenate([i, i, [np.nan, 5.0]]), np.concatenate([sigma, sigma, [1.0, 1.0]])
    )
    assert np.array_equal(clean.hkl, dirty.hkl)
    strong = clean.e > 1
    assert np.allclose(clean.e[strong], dirty.e[strong], rtol=0.03)


def test_ten_reflections_are_too_few():
    hkl = np.array([[h, 1, 2] for h in range(10)])
    with pytest.raises(UnreadableInput, match="10 usable"):
        normalise(Cell(5, 6, 7, 90, 90, 90), "P", "mmm", hkl, np.ones(10), np.ones(10))


def test_unknown_laue_group_and_centring(chain, intensities):
    s = chain("P 21 21 21")
    hkl, i, sigma = intensities(s, 1.5)
    with pytest.raises(UnreadableInput, match="Laue"):
        normalise(s.cell, "P", "nonsense", hkl, i, sigma)
    with pytest.raises(UnreadableInput, match="centring"):
        normalise(s.cell, "Z", "mmm", hkl, i, sigma)
