"""Which of several lattices the spots of a data set belong to, when more than one indexes them: likelihood over chance.

A share of spots near nodes says nothing where nodes are so dense that any point is near one (thesis 4.3.3: 7 sets
indexed in both PST-20 and ZSM-25). Here a finer mesh must earn its nodes, see :func:`credo.reduce.lattice.likelihood`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import softmax

from credo.kernels.lattice import near_nodes
from credo.merge.known_phases import KnownPhase
from credo.merge.strain import reduce_lattice
from credo.model import Cell, Experiment, Reflections
from credo.reduce.known_cell import orientations_of_cell
from credo.reduce.lattice import likelihood
from credo.reduce.points import Points, reciprocal_points, strongest

__all__ = ["Indexed", "Verdict", "index_as", "judge", "points_of"]

#: Log-likelihood [nat] that the best orientation of a known cell reaches on random spots.
CHANCE = 36.0
#: How far a cell of the set may be strained from the known one.
_STRAIN = 0.03
#: Placements of a known cell that are fitted.
_PLACEMENTS = 24
#: Rotations that are looked at, at how many points of low resolution.
_ROTATIONS, _LOW = 30_000, 100
#: Points that are looked at.
_MOST = 600


@dataclass(frozen=True)
class Indexed:
    """``ub`` (3, 3) on reduced axes [Å⁻¹]; ``score``: log-likelihood over chance [nat]; ``share`` of the spots that the
    lattice explains beyond chance; ``within``: of those within three sigma of a node, the criterion it replaces."""

    name: str
    ub: np.ndarray
    score: float
    share: float
    within: float


@dataclass(frozen=True)
class Verdict:
    """``probability`` of each lattice, in the order given, and last of none."""

    candidates: tuple[Indexed, ...]
    probability: np.ndarray

    @property
    def best(self) -> Indexed | None:
        """None where no lattice beats chance."""
        k = int(np.argmax(self.probability))
        return self.candidates[k] if k < len(self.candidates) else None


def points_of(experiment: Experiment, spots: Reflections) -> Points:
    """Reciprocal points of the strongest spots in the experiment's own geometry."""
    rows = strongest(spots, _MOST, experiment)
    return reciprocal_points(experiment, spots, rows, experiment.goniometer.axis)


def judge(points: Points, phases: Sequence[KnownPhase]) -> Verdict:
    """The lattices side by side, and how probable each is a posteriori if none is preferred a priori."""
    found = tuple(index_as(points, p) for p in phases)
    return Verdict(found, softmax([*(f.score for f in found), CHANCE]))


def index_as(points: Points, phase: KnownPhase) -> Indexed:
    """The best placement of a known cell, strained a little to fit."""
    lattice = reduce_lattice(phase.cell, phase.centring)
    cell = Cell.from_metric(lattice.metric)
    starts = [np.linalg.inv(b) for b in orientations_of_cell(points, cell)] + _turned(points, cell)
    trials = [_refined(points, ub) for ub in starts]
    if not trials:
        return Indexed(phase.name, np.eye(3), 0.0, 0.0, 0.0)
    fits = [likelihood(points, ub) for ub in trials]
    best = max(fits, key=lambda f: f.score)
    h = points.q @ np.linalg.inv(best.ub).T
    away = np.linalg.norm((h - np.rint(h)) @ best.ub.T, axis=1)
    members = float(np.mean(best.member))
    return Indexed(phase.name, best.ub, float(best.score), members, float(np.mean(away < 3 * points.sigma)))


@cache
def _turns() -> np.ndarray:
    """Rotations (n, 3, 3) all over, always the same."""
    return Rotation.from_quat(np.random.default_rng(0).normal(size=(_ROTATIONS, 4))).as_matrix()


def _turned(points: Points, cell: Cell) -> list[np.ndarray]:
    """UB of the rotations at which low-resolution points lie near nodes, some nodes wide, likeliest first.

    It finds what pairs of spots do not where a pixel is a large part of a reciprocal axis.
    """
    length = np.linalg.norm(points.q, axis=1)
    low = _part(points, length <= np.sort(length)[min(_LOW, len(length)) - 1])
    ub = _turns() @ cell.B
    reach2 = (1.5 * low.sigma + 0.03 * np.linalg.norm(low.q, axis=1)) ** 2
    best = np.argsort(-near_nodes(low.q, reach2, ub, np.linalg.inv(ub)), kind="stable")[: 8 * _PLACEMENTS]
    fits = [likelihood(low, ub[i], (2.0, 4.0)) for i in best]
    order = np.argsort([-f.score for f in fits], kind="stable")[:_PLACEMENTS]
    return [fits[i].ub for i in order]


def _refined(points: Points, ub: np.ndarray, rounds: int = 8) -> np.ndarray:
    """UB fitted to its members from low resolution outwards; the known cell holds as far as few spots leave it free."""
    first, length = ub, np.linalg.norm(points.q, axis=1)
    reach = np.quantile(length, np.linspace(0.3, 1.0, rounds))
    for limit in reach:
        inside = length <= limit
        fit = likelihood(_part(points, inside), ub)
        h = np.rint(points.q[inside] @ np.linalg.inv(ub).T)
        w = fit.member / points.sigma[inside] ** 2
        # prior: UB (1 + ε), each component of ε of the size of the strain, the turn left free
        held = np.linalg.inv(first @ first.T) / _STRAIN**2
        turn = _rotation(ub, first)
        normal = (h * w[:, None]).T @ h + first.T @ held @ first
        ub = np.linalg.solve(normal, (h * w[:, None]).T @ points.q[inside] + first.T @ held @ (turn @ first).T).T
    return ub


def _rotation(to: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The rotation that brings one basis nearest to another."""
    u, _, v = np.linalg.svd(to @ np.linalg.inv(of))
    return u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v


def _part(points: Points, keep: np.ndarray) -> Points:
    return Points(*(x[keep] for x in (points.q, points.lab, points.phi, points.rotation, points.sigma, points.row)))
