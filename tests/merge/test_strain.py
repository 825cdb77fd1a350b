"""Strains between lattices in any setting, and sub- and superlattices."""

import numpy as np
import pytest

from credo.merge.strain import reduce_lattice, relation, strains
from credo.model import Cell

MONOCLINIC = Cell(7.1, 12.0, 15.0, 90, 95.0, 90)
SETTING = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1.0]])


def test_another_setting_is_no_strain():
    d, u = strains([reduce_lattice(MONOCLINIC), reduce_lattice(MONOCLINIC.reindexed(SETTING))])
    assert d[0, 1] == pytest.approx(0, abs=1e-7)
    assert np.linalg.det(u[0, 1]) == pytest.approx(1)


def test_an_expansion_by_one_percent():
    bigger = Cell(*np.hstack([1.01 * np.array(MONOCLINIC.lengths), MONOCLINIC.angles]))
    d, _ = strains([reduce_lattice(MONOCLINIC), reduce_lattice(bigger)])
    assert d[0, 1] == pytest.approx(np.sqrt(3) * np.log(1.01), rel=1e-6) == d[1, 0]


@pytest.mark.parametrize("index", [2, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_sub_and_superlattices_are_related(index, reverse):
    multiple = MONOCLINIC.reindexed(np.diag([1, 1, index]) @ SETTING)
    pair = [reduce_lattice(MONOCLINIC), reduce_lattice(multiple)]
    a, b = reversed(pair) if reverse else pair
    d, n, p = relation(a, b)
    assert (n, d) == (index, pytest.approx(0, abs=1e-6))
    assert np.allclose(a.cell.reindexed(p).metric, b.metric, atol=1e-6)
