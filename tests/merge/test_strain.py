"""Strains between lattices in any setting, sub- and superlattices, and the number of phases."""

import numpy as np
import pytest

from credo.merge.strain import cluster_cells, reduce_lattice, relation, strains
from credo.model import Cell

MFI = Cell(20.09, 19.738, 13.142, 90, 90, 90)
MONOCLINIC = Cell(7.1, 12.0, 15.0, 90, 95.0, 90)
SETTING = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1.0]])


def _noisy(cell: Cell, n: int, seed: int, bad: float = 0.06) -> list[Cell]:
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(n):
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        f = q @ np.diag(1 + rng.normal(size=3) * [0.01, 0.01, bad]) @ q.T
        cells.append(Cell.from_metric((f @ cell.O).T @ (f @ cell.O)))
    return cells


def test_another_setting_is_no_strain():
    d, u = strains([reduce_lattice(MONOCLINIC), reduce_lattice(MONOCLINIC.reindexed(SETTING))])
    assert d[0, 1] == pytest.approx(0, abs=1e-7)
    assert np.linalg.det(u[0, 1]) == pytest.approx(1)


def test_an_expansion_by_one_percent():
    bigger = Cell(*np.hstack([1.01 * np.array(MONOCLINIC.lengths), MONOCLINIC.angles]))
    d, _ = strains([reduce_lattice(MONOCLINIC), reduce_lattice(bigger)])
    assert d[0, 1] == pytest.approx(np.sqrt(3) * np.log(1.01), rel=1e-6) == d[1, 0]


def test_a_direction_that_is_badly_known_counts_less():
    longer = Cell(7.1, 12.6, 15.0, 90, 95.0, 90)
    covariance = np.diag([1e-6, 0.6**2, 1e-6, 1e-6, 1e-6, 1e-6])
    plain, _ = strains([reduce_lattice(MONOCLINIC), reduce_lattice(longer)])
    known, _ = strains([reduce_lattice(MONOCLINIC), reduce_lattice(longer.replace(covariance=covariance))])
    # Δ ln b = 0.0488 with σ(b)/b = 0.0476: d² = ε² / (1 + σ²/2s²)
    expected = np.log(12.6 / 12.0) / np.sqrt(1 + (0.6 / 12.0) ** 2 * 0.5 / 0.01**2)
    assert plain[0, 1] == pytest.approx(np.log(12.6 / 12.0), rel=1e-6)
    assert known[0, 1] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("index", [2, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_sub_and_superlattices_are_related(index, reverse):
    multiple = MONOCLINIC.reindexed(np.diag([1, 1, index]) @ SETTING)
    pair = [reduce_lattice(MONOCLINIC), reduce_lattice(multiple)]
    a, b = reversed(pair) if reverse else pair
    d, n, p = relation(a, b)
    assert (n, d) == (index, pytest.approx(0, abs=1e-6))
    assert np.allclose(a.cell.reindexed(p).metric, b.metric, atol=1e-6)


def test_two_phases_and_one_are_told_apart_in_number():
    mor = Cell(18.256, 20.534, 7.542, 90, 90, 90)
    two = cluster_cells(_noisy(MFI, 12, 1) + _noisy(mor, 4, 2), ["P"] * 12 + ["C"] * 4)
    assert two.labels.tolist() == [1] * 12 + [2] * 4
    assert cluster_cells(_noisy(MFI, 12, 1)).labels.max() == 1


def test_members_come_onto_the_axes_of_their_cluster():
    cells = [c.reindexed(p) for c, p in zip(_noisy(MONOCLINIC, 8, 5, 0.01), [np.eye(3), SETTING] * 4)]
    found = cluster_cells([*cells, MONOCLINIC.reindexed(np.diag([1, 2, 1.0]))])
    (cluster,) = found.clusters
    assert cluster.members == tuple(range(9)) and cluster.index == (1,) * 8 + (2,)
    reference = cells[cluster.reference]
    for cell, p in zip([*cells, MONOCLINIC.reindexed(np.diag([1, 2, 1.0]))], cluster.reindex):
        assert cell.reindexed(p).volume == pytest.approx(reference.volume, rel=0.1)
        assert np.allclose(cell.reindexed(p).lengths, reference.lengths, rtol=0.1)
    assert cluster.cell.esd is not None and max(cluster.cell.esd[:3]) < 0.2


def test_phases_that_happen_to_be_superlattices_stay_apart():
    lta, fau = Cell(11.919, 11.919, 11.919, 90, 90, 90), Cell(24.345, 24.345, 24.345, 90, 90, 90)
    found = cluster_cells(_noisy(lta, 6, 3, 0.02) + _noisy(fau, 6, 4, 0.02), ["P"] * 6 + ["F"] * 6)
    assert found.labels.tolist() == [1] * 6 + [2] * 6


def test_one_cell_and_identical_cells():
    assert cluster_cells([MFI]).labels.tolist() == [1]
    assert cluster_cells([MFI, MFI]).labels.tolist() == [1, 1]
