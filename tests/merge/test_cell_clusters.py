"""Cells sorted into lattices: how many there are, badly known directions, members' axes and the mean with its esds."""

import numpy as np
import pytest

from credo.merge.cell_clusters import cluster_cells
from credo.merge.lattice_symmetry import free_constants, lattice_group, subgroups
from credo.merge.strain import reduce_lattice
from credo.model import Cell

MFI = Cell(20.09, 19.738, 13.142, 90, 90, 90)
MONOCLINIC = Cell(7.1, 12.0, 15.0, 90, 95.0, 90)
SETTING = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1.0]])


def _noisy(cell: Cell, n: int, seed: int, bad: float = 0.06, good: float = 0.01) -> list[Cell]:
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(n):
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        f = q @ np.diag(1 + rng.normal(size=3) * [good, good, bad]) @ q.T
        cells.append(Cell.from_metric((f @ cell.O).T @ (f @ cell.O)))
    return cells


def test_two_phases_and_one_are_told_apart_in_number():
    mor = Cell(18.256, 20.534, 7.542, 90, 90, 90)
    two = cluster_cells(_noisy(MFI, 9, 1) + _noisy(mor, 4, 2), ["P"] * 9 + ["C"] * 4)
    assert two.labels.tolist() == [1] * 9 + [2] * 4
    assert cluster_cells(_noisy(MFI, 12, 1)).labels.max() == 1


@pytest.mark.parametrize("seed", [7, 22])
def test_a_cell_far_out_in_the_noise_stays_with_its_lattice(seed):
    """The tree parts one of seed 7; a mixture that fits each half of seed 22 to its noise would part it."""
    assert cluster_cells(_noisy(MFI, 16, seed, 0.12, 0.02)).labels.tolist() == [1] * 16


def test_a_few_cells_are_not_parted_by_their_noise():
    mor = Cell(13.74, 13.74, 7.542, 90, 90, 96.7)
    assert cluster_cells(_noisy(mor, 11, 10, 0.10, 0.02)).labels.tolist() == [1] * 11


def test_two_cells_of_another_lattice_are_not_taken():
    found = cluster_cells(_noisy(MFI, 9, 1) + _noisy(Cell(8, 9, 15, 90, 100, 90), 2, 2, 0.02))
    assert found.labels.tolist() == [1] * 9 + [2] * 2


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


def test_polymorphs_that_differ_by_less_than_the_noise_of_the_bad_direction():
    other = Cell(7.1 * 1.03, 12.0 * 0.97, 15.0 * 1.03, 90, 95.0, 90)
    rng, cells, directions = np.random.default_rng(7), [], []
    for cell in [MONOCLINIC] * 12 + [other] * 12:
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        f = q @ np.diag(1 + rng.normal(size=3) * [0.007, 0.007, 0.06]) @ q.T @ cell.O
        cells.append(Cell.from_metric(f.T @ f))
        directions.append(np.linalg.solve(cell.O, q[:, 2]))
    found = cluster_cells(cells, directions=directions)
    assert found.parted == 1
    first = found.labels == found.labels[0]
    assert abs(first[:12].sum() - first[12:].sum()) >= 11
    assert cluster_cells(cells[:12], directions=directions[:12]).labels.max() == 1


def test_the_mean_counts_what_each_cell_knows():
    """The covariance of each cell has one bad direction, along a or along c: the mean takes c from the former."""
    rng, cells = np.random.default_rng(2), []
    for k in range(10):
        sigma = np.array([0.5, 0.02, 0.02, 0.1, 0.1, 0.1] if k % 2 else [0.02, 0.02, 0.5, 0.1, 0.1, 0.1])
        values = np.array([8.0, 10.0, 13.0, 92, 97, 101]) + rng.normal(size=6) * sigma
        cells.append(Cell(*values, covariance=np.diag(sigma**2)))
    (cluster,) = cluster_cells(cells).clusters
    back = cluster.cell.reindexed(np.linalg.inv(cluster.reindex[0]))
    assert abs(back.a - 8.0) < 0.06 and abs(back.c - 13.0) < 0.06
    assert abs(np.mean([c.c for c in cells]) - 13.0) > 0.06
    assert max(back.esd[:3]) < 0.06


def test_cubic_cells_stay_cubic():
    """Each cell lies on the basis that suits it best: the mean of those would be triclinic."""
    (cluster,) = cluster_cells(_noisy(Cell(12, 12, 12, 90, 90, 90), 10, 8, 0.04)).clusters
    assert np.ptp(cluster.cell.lengths) < 1e-6 and np.allclose(cluster.cell.angles, 90)
    assert cluster.cell.a == pytest.approx(12, abs=4 * cluster.cell.esd[0])


def test_posteriors_and_strains_of_members():
    (cluster,) = cluster_cells([*_noisy(MFI, 9, 2, 0.01), Cell(22, 18, 14.5, 90, 94, 90)], cut=0.4).clusters
    assert min(cluster.posterior[:9]) > 0.99 > cluster.posterior[9]
    assert cluster.strain[9] == max(cluster.strain) > 0.05


@pytest.mark.parametrize(
    "cell, centring, order, free",
    [
        ((12, 12, 12, 90, 90, 90), "F", 24, 1),
        ((12, 12, 15, 90, 90, 120), "P", 12, 2),
        ((5, 7, 9, 80, 83, 95), "P", 1, 6),
    ],
)
def test_symmetry_of_a_lattice(cell, centring, order, free):
    group = lattice_group(reduce_lattice(Cell(*cell), centring).metric, 0.01)
    assert (len(group), free_constants(group)) == (order, free)
    assert all(order % len(g) == 0 and free_constants(g) >= free for g in subgroups(group))


def test_cells_that_were_imposed_are_all_alike():
    found = cluster_cells([Cell(6.5, 7.6, 8.9, 95, 102, 107)] * 12)
    assert found.labels.tolist() == [1] * 12 and len(found.clusters) == 1
