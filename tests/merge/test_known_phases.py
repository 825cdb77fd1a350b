"""Known phases in any setting and as super- or sublattices, the unknown, and the scale that all cells share."""

import numpy as np
import pytest

from credo.merge.known_phases import KnownPhase, identify
from credo.model import Cell

MFI = KnownPhase("MFI", Cell(20.09, 19.738, 13.142, 90, 90, 90))
MOR = KnownPhase("MOR", Cell(18.256, 20.534, 7.542, 90, 90, 90), "C")
SETTING = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1.0]])


def _noisy(cell: Cell, rng, scale: float = 1.0) -> Cell:
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    f = scale * q @ np.diag(1 + rng.normal(size=3) * [0.01, 0.01, 0.05]) @ q.T @ cell.O
    return Cell.from_metric(f.T @ f)


def test_each_cell_finds_its_phase_and_the_common_scale():
    rng = np.random.default_rng(4)
    cells = [_noisy(p.cell, rng, 1.03) for p in (MFI, MOR) for _ in range(6)] + [
        _noisy(Cell(9, 10, 31, 90, 97, 90), rng)
    ]
    found = identify(cells, ["P"] * 6 + ["C"] * 6 + ["P"], [MFI, MOR])
    assert found.probability.argmax(axis=1).tolist() == [0] * 6 + [1] * 6 + [2]
    assert np.allclose(found.probability.sum(axis=1), 1) and found.probability.max(axis=1).min() > 0.9
    assert found.scale == pytest.approx(0.03, abs=4 * found.scale_esd) and found.scale_esd < 0.01


def test_another_setting_and_a_superlattice_come_onto_the_phases_axes():
    doubled = MFI.cell.reindexed(np.diag([1, 1, 2.0]) @ SETTING)
    found = identify([MFI.cell.reindexed(SETTING), doubled], ["P", "P"], [MOR, MFI])
    assert found.probability.argmax(axis=1).tolist() == [1, 1] and found.index.tolist() == [1, 2]
    for cell, p in zip((MFI.cell.reindexed(SETTING), doubled), found.reindex):
        assert np.allclose(sorted(cell.reindexed(p).lengths), sorted(MFI.cell.lengths), rtol=1e-3)


def test_what_is_between_two_phases_is_not_certain():
    a, b = Cell(10, 11, 12, 90, 90, 90), Cell(10.3, 11, 12, 90, 90, 90)
    middle = Cell(10.15, 11, 12, 90, 90, 90)
    found = identify([middle], ["P"], [KnownPhase("a", a), KnownPhase("b", b)])
    assert 0.2 < found.probability[0, 0] < 0.8 and found.probability[0, 2] < 0.05


def test_nothing_is_near():
    found = identify([Cell(3, 4, 50, 90, 90, 90)], ["P"], [MFI])
    assert found.probability[0].tolist() == [0.0, 1.0] and np.isinf(found.strain[0])
