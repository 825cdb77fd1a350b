"""What a measurement is worth, and how long to stay: against sums by hand and the forager's closed form."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Scan
from credo.physics.ewald import predict
from credo.pipeline.watch_worth import (
    ERROR,
    Prospect,
    Unique,
    best_end,
    best_window,
    pace,
    profile,
    worth,
)  # fmt: skip

CELL = Cell(7.1, 9.3, 12.4, 90, 90, 90)
EDGES = np.arange(-60.0, 61.0, 5.0)
WIDTHS = np.diff(EDGES)


def one(seed=3):
    crystal = Crystal(CELL, Rotation.random(rng=np.random.default_rng(seed)).as_matrix(), laue_group="mmm")
    detector = Detector((400, 400), 0.006, (200, 200))
    return Experiment(Beam(0.0251), detector, Goniometer.in_plane(30.0), Scan.regular(3, 0.0, 1.0), (crystal,))


@pytest.fixture(scope="module")
def unique():
    return Unique.of(CELL, "P", "mmm", 1.0)


def test_worth():
    np.testing.assert_allclose(worth(np.array([0, 1, 2])), [0, 1 - ERROR, 1 - ERROR / np.sqrt(2)])


def test_equivalents_have_one_row(unique):
    rows = unique.rows(np.array([[1, 2, 3], [-1, 2, -3], [3, 2, 1], [99, 0, 0]]))
    assert rows[0] == rows[1] >= 0 and rows[2] not in (rows[0], -1) and rows[3] == -1
    assert unique.times(np.array([[1, 2, 3], [-1, -2, 3]]))[rows[0]] == 2


def test_profile_adds_up_to_all_that_is_seen(unique):
    e = one()
    prospect = Prospect.of(unique, e, e.crystal, np.eye(3), 1.0, (-60, 60))
    before = np.random.default_rng(1).integers(0, 3, len(unique.hkl))
    gains = profile(prospect, before, EDGES)
    after = before + np.bincount(prospect.rows, minlength=len(before))
    assert gains.sum() == pytest.approx((worth(after) - worth(before)).mean(), rel=1e-9)
    assert gains.sum() == pytest.approx(profile(prospect, before, EDGES[::-1]).sum(), rel=1e-9)
    # one step against a prediction of its own
    step = predict(e.replace(scan=Scan.regular(1, 10.0, 5.0)), e.crystal, 1.0)
    rows = unique.rows(step.select(step["lorentz"] < 10).hkl)
    assert sorted(prospect.between(10.0, 15.0)) == sorted(rows)


def test_pace_in_closed_form():
    """Crystals that all give G over T degrees: r (c + T) = G; if only a share p of them does: r (c + p T) = p G."""
    even, nothing = np.full(len(WIDTHS), 0.5 / len(WIDTHS)), np.zeros(len(WIDTHS))
    assert pace([even], WIDTHS, 15.0) == pytest.approx(0.5 / 135, rel=1e-6)
    assert pace([even, nothing, nothing, nothing], WIDTHS, 15.0) == pytest.approx(0.125 / 45, rel=1e-6)
    assert pace([], WIDTHS, 15.0) == 0.0 and pace([nothing], WIDTHS, 15.0) == pytest.approx(0.0, abs=1e-9)


def test_best_end():
    gains = np.array([0.2, 0.05, 0.05, 0.4, 0.01])
    assert best_end(gains, np.full(5, 5.0), 0.001)[0] == 5
    steps, surplus = best_end(gains, np.full(5, 5.0), 0.02)
    assert steps == 4 and surplus == pytest.approx(0.7 - 0.4)
    assert best_end(gains, np.full(5, 5.0), 0.1) == (0, 0.0) and best_end(gains[:0], gains[:0], 0.1) == (0, 0.0)


def test_best_window():
    gains = np.where((EDGES[:-1] >= 20) & (EDGES[:-1] < 55), 0.1, 0.0)
    assert best_window(gains, EDGES, 0.01, 10.0) == (20.0, 55.0)
    assert best_window(gains, EDGES, 0.01, 60.0) in [(0.0, 60.0), (-5.0, 55.0)]
    assert best_window(0 * gains, EDGES, 0.01, 10.0) == (-60.0, 60.0)
