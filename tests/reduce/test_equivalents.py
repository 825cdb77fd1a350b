"""Groups of equivalents, their means and scatter; systematic absences."""

import gemmi
import numpy as np
import pytest

from credo.model import Reflections
from credo.physics.symmetry import laue_rotations
from credo.reduce.equivalents import group_equivalents, systematically_absent


def table(hkl, intensity, sigma):
    h, k, l = np.array(hkl).T
    return Reflections(h=h, k=k, l=l, intensity=np.array(intensity, float), sigma=np.array(sigma, float))


def test_means_and_scatter_by_hand():
    g = group_equivalents(table([(1, 2, 3), (-1, 2, -3), (1, -2, 3), (2, 0, 0)], [10, 16, 10, 7], [1, 2, 1, 3]), "2/m")
    assert len(g.hkl) == 2
    one, other = g.of[0], g.of[3]
    assert g.of.tolist() == [one, one, one, other]
    assert g.count[[one, other]].tolist() == [3, 1]
    mean = (10 + 16 / 4 + 10) / 2.25
    assert g.mean[one] == pytest.approx(mean)
    assert g.sigma[one] == pytest.approx(1 / np.sqrt(2.25))
    scatter = (2 * (10 - mean) ** 2 + (16 - mean) ** 2 / 4) / (2 * 2.25)
    assert g.variance[one] == pytest.approx(scatter)
    assert g.spread[one] == pytest.approx(2 * (mean - 10) + 16 - mean)
    assert g.total[one] == 36
    assert (g.mean[other], g.sigma[other], g.variance[other]) == pytest.approx((7, 3, 0))
    plain = group_equivalents(table([(1, 2, 3), (-1, 2, -3)], [10, 16], [1, 2]), "2/m", weighted=False)
    assert plain.mean == pytest.approx([13])


@pytest.mark.parametrize(
    "laue", ["-1", "2/m", "mmm", "4/m", "4/mmm", "-3", "-31m", "-3m1", "6/m", "6/mmm", "m-3", "m-3m"]
)
def test_every_image_is_in_one_group(laue):
    rotations = laue_rotations(laue)
    h = np.array([5, 2, 1])
    images = np.unique(np.concatenate([h @ rotations, -(h @ rotations)]), axis=0)
    g = group_equivalents(table(images, np.ones(len(images)), np.ones(len(images))), laue)
    assert len(g.hkl) == 1
    assert len(images) == len(rotations)


@pytest.mark.parametrize("name", ["P 21/c", "I a -3 d", "P 41 21 2", "C m c m", "F d d 2", "R -3 c:H", "P n m a"])
def test_absences_are_gemmis(name):
    group = gemmi.SpaceGroup(name)
    rng = np.random.default_rng(0)
    hkl = np.concatenate([rng.integers(-8, 9, (400, 3)), rng.integers(-8, 9, (100, 3)) * [1, 0, 0]])
    hkl = np.concatenate([hkl, hkl * [0, 1, 1], hkl * [1, 0, 1], hkl * [1, 1, 0], hkl * [0, 0, 1], hkl * [0, 1, 0]])
    hkl = hkl[np.any(hkl != 0, axis=1)]
    expected = group.operations().systematic_absences(hkl.astype(np.int32))
    centring = "R" if name.startswith("R") else group.centring_type()
    assert np.array_equal(systematically_absent(hkl, name, centring), expected)


def test_without_a_space_group_only_the_centring_counts():
    hkl = np.array([[1, 0, 0], [1, 1, 0], [0, 3, 0], [0, 2, 0]])
    assert systematically_absent(hkl, None).tolist() == [False] * 4
    assert systematically_absent(hkl, None, "I").tolist() == [True, False, True, False]
    assert systematically_absent(hkl, "no such group", "P").tolist() == [False] * 4
