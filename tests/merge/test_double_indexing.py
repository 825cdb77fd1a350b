"""Two related cells, both of which have most spots near a node: the likelihood over chance tells which it is."""

import numpy as np
import pytest

from credo.merge.double_indexing import judge
from credo.merge.known_phases import KnownPhase
from credo.model import Cell
from credo.reduce.points import Points

PIXEL = 0.008
PHASES = [
    KnownPhase("fine", Cell(24.5, 24.5, 24.5, 90, 90, 90), "I"),
    KnownPhase("coarse", Cell(20, 20, 20, 90, 90, 90), "I"),
]


def _points(q: np.ndarray) -> Points:
    n = len(q)
    return Points(
        np.ascontiguousarray(q), q, np.zeros(n), np.tile(np.eye(3), (n, 1, 1)), np.full(n, PIXEL), np.arange(n)
    )


def _crystal(phase: KnownPhase, seed: int) -> Points:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    h = np.mgrid[-13:14, -13:14, -13:14].reshape(3, -1).T
    h = h[(h.sum(axis=1) % 2 == 0) & h.any(axis=1)]
    q = h @ (turn @ phase.cell.B).T
    q = q[(np.linalg.norm(q, axis=1) < 0.5) & (np.abs(q[:, 2]) < 0.35 * np.abs(q[:, 1]))]
    q = q[rng.permutation(len(q))[:160]]
    return _points(np.concatenate([q + rng.normal(size=q.shape) * 0.7 * PIXEL, rng.uniform(-0.3, 0.3, (25, 3))]))


@pytest.mark.parametrize("which", [0, 1])
def test_the_right_one_of_two(which):
    verdict = judge(_crystal(PHASES[which], 3 + which), PHASES)
    assert all(c.within > 0.25 for c in verdict.candidates)
    assert verdict.best is not None and verdict.best.name == PHASES[which].name
    assert verdict.probability[which] > 0.99 and verdict.probability.sum() == pytest.approx(1)


def test_random_spots_are_of_none():
    verdict = judge(_points(np.random.default_rng(0).uniform(-0.3, 0.3, (150, 3))), PHASES)
    assert verdict.best is None and verdict.probability[-1] > 0.9


def test_too_few_spots():
    assert judge(_points(np.array([[0.1, 0.0, 0.0]])), PHASES).best is None
