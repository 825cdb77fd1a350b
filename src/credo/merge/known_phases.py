"""Which known phase a measured cell is, with a probability, or that it is none: one camera-length scale for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from credo.kernels.strain import least_strained_from
from credo.merge.mixture import rows_about
from credo.merge.spread import Noise, Spreads, density, estimated, log_strain
from credo.merge.strain import CAP, Lattice, aliases, reduce_lattice, shortest, sublattices
from credo.model import Cell

__all__ = ["Identification", "KnownPhase", "identify"]

#: Strain [per component] of a lattice that is none of the known ones, as a Gaussian's sigma.
_ELSEWHERE = 0.2
#: A priori: none of them; and, of those that are, the lattice itself, index 2, index 3.
_UNKNOWN, _INDEX = 0.1, {1: 0.9, 2: 0.06, 3: 0.04}
#: Strain beyond which a target is not looked at.
_REACH = 0.35
#: How far camera lengths are off a priori, as a relative error.
_SCALE = 0.03
_ISOTROPIC = np.array([1.0, 1, 1, 0, 0, 0])


@dataclass(frozen=True)
class KnownPhase:
    """A cell with its name and centring."""

    name: str
    cell: Cell
    centring: str = "P"


@dataclass(frozen=True)
class Identification:
    """``probability`` (n, k + 1) of each phase, the last of none; ``index`` (n,) of the super- or sublattice that the
    measured cell is of its likeliest phase; ``reindex`` (n, 3, 3): P with (a', b', c') = (a, b, c) P on that phase's
    axes; ``strain`` (n,) from it, the common scale taken off, ``inf`` where no phase is near; ``scale``: by which all
    lengths are too long, with its esd; ``noise``: found."""

    names: tuple[str, ...]
    probability: np.ndarray
    index: np.ndarray
    reindex: np.ndarray
    strain: np.ndarray
    scale: float
    scale_esd: float
    noise: Noise


@dataclass(frozen=True)
class _Target:
    """A lattice that a phase may be indexed as: reduced axes = (axes of the phase) ``basis``."""

    phase: int
    index: int
    lattice: Lattice
    log_prior: float


@dataclass(frozen=True)
class _Hypotheses:
    """Each cell on each basis near each target, row by row: all that the scale and the noise are found from."""

    cell: np.ndarray
    target: np.ndarray
    basis: np.ndarray
    v: np.ndarray
    spreads: Spreads


def identify(
    cells: Sequence[Cell],
    centrings: Sequence[str],
    phases: Sequence[KnownPhase],
    directions: Sequence[np.ndarray | None] | None = None,
    max_index: int = 3,
) -> Identification:
    """Bayes over the phases, their super- and sublattices of index up to ``max_index``, and none of them.

    The likelihood is that of the strain (:mod:`credo.merge.spread`); the one scale of all lengths and the noise are
    found from all cells together.
    """
    lattices = [reduce_lattice(c, k) for c, k in zip(cells, centrings, strict=True)]
    targets = [t for k, p in enumerate(phases) for t in _targets(k, p, len(phases), max_index)]
    rows = _hypotheses(lattices, targets, directions or [None] * len(cells))
    trials = [_fitted(rows, targets, len(cells), s) for s in (-2 * _SCALE, -_SCALE, 0.0, _SCALE, 2 * _SCALE)]
    _, scale, esd, noise, log = max(trials, key=lambda t: t[0])
    return _summed(rows, targets, phases, len(cells), log, scale, esd, noise)


def _targets(k: int, phase: KnownPhase, many: int, max_index: int) -> list[_Target]:
    """The phase's lattice, those n times as coarse and those n times as fine."""
    own = reduce_lattice(phase.cell, phase.centring)
    prior = np.log((1 - _UNKNOWN) / many)
    found = [_Target(k, 1, own, prior + np.log(_INDEX[1]))]
    for n in range(2, max_index + 1):
        shapes = [s for h in sublattices(n) for s in (h, np.linalg.inv(h).T)]
        for h in shapes:
            s = shortest(h, own.metric)
            lattice = Lattice(own.cell, own.basis @ s, s.T @ own.metric @ s)
            found.append(_Target(k, n, lattice, prior + np.log(_INDEX[n] / len(shapes))))
    return found


def _hypotheses(lattices: list[Lattice], targets: list[_Target], directions) -> _Hypotheses:
    inverses = np.array([t.lattice.inverse for t in targets])
    near = [aliases(x.metric) for x in lattices]
    distance, best = np.empty((len(lattices), len(targets))), np.empty(len(targets), dtype=np.int64)
    for i, (x, u) in enumerate(zip(lattices, near)):
        least_strained_from(inverses, u.transpose(0, 2, 1) @ x.metric @ u, CAP, distance[i], best)
    parts = []
    for t, target in enumerate(targets):
        mine = np.flatnonzero(distance[:, t] < _REACH)
        if not len(mine):
            continue
        pick = lambda what: [what[i] for i in mine]  # noqa: B023, E731
        rows = rows_about(target.lattice, pick(lattices), pick(directions), pick(near))
        spreads = rows.spreads(inverses[t])
        parts.append((
            mine[rows.owner], np.full(len(rows.owner), t), rows.basis, log_strain(inverses[t], rows.metric),
            spreads.direction, spreads.covariance,
        ))  # fmt: skip
    if not parts:
        parts = [(np.empty(0, int), np.empty(0, int), *(np.empty((0, *s)) for s in ((3, 3), (6,), (6,), (6, 6))))]
    cell, target, basis, v, direction, covariance = (np.concatenate(x) for x in zip(*parts))
    order = np.argsort(cell, kind="stable")
    spreads = Spreads(direction[order], covariance[order])
    return _Hypotheses(cell[order], target[order], basis[order], v[order], spreads)


def _fitted(rows: _Hypotheses, targets: list[_Target], n: int, scale: float):
    """(log-likelihood, scale, esd, noise, log of each row with its prior) by expectation maximisation."""
    noise, prior = Noise(), np.array([t.log_prior for t in targets])
    none = np.log(_UNKNOWN) - 6 * np.log(_ELSEWHERE) - 3 * np.log(2 * np.pi)
    esd, log, total = _SCALE, np.empty(0), n * none
    for _ in range(12 if len(rows.v) else 0):
        v = rows.v - scale * _ISOTROPIC
        found = density(v, rows.spreads, noise)
        log = found.log + prior[rows.target]
        whole = np.full(n, none)
        np.logaddexp.at(whole, rows.cell, log)
        # a symmetric lattice has many equal rows: they weigh as one in the noise, and cancel in the scale
        weight = np.exp(log - whole[rows.cell])
        information = float(weight @ (found.precision @ _ISOTROPIC @ _ISOTROPIC)) + _SCALE**-2
        pull = float(weight @ np.einsum("i,rij,rj->r", _ISOTROPIC, found.precision, rows.v))
        noise = estimated(v, rows.spreads, found, weight, noise)
        scale, esd = pull / information, information**-0.5
        total = float(whole.sum()) - 0.5 * (scale / _SCALE) ** 2
    return total, scale, esd, noise, log


def _summed(rows: _Hypotheses, targets, phases, n: int, log, scale: float, esd: float, noise: Noise) -> Identification:
    """Probabilities, each target counted by its best row, so that symmetric phases have no more of them."""
    k = len(phases)
    none = np.log(_UNKNOWN) - 6 * np.log(_ELSEWHERE) - 3 * np.log(2 * np.pi)
    table, best = np.full((n, len(targets)), -np.inf), np.full((n, len(targets)), -1)
    for r, (i, t) in enumerate(zip(rows.cell, rows.target)):
        if log[r] > table[i, t]:
            table[i, t], best[i, t] = log[r], r
    phase = np.array([t.phase for t in targets])
    whole = np.logaddexp(np.logaddexp.reduce(table, axis=1), none)
    share = np.exp(table - whole[:, None])
    probability = np.stack([share[:, phase == p].sum(axis=1) for p in range(k)] + [np.exp(none - whole)], axis=1)
    index, reindex, strain = np.ones(n, dtype=int), np.tile(np.eye(3), (n, 1, 1)), np.full(n, np.inf)
    for i in range(n):
        t = int(np.argmax(table[i]))
        r = best[i, t]
        if r >= 0:
            index[i] = targets[t].index
            reindex[i] = rows.basis[r] @ np.linalg.inv(targets[t].lattice.basis)
            strain[i] = np.linalg.norm(rows.v[r] - scale * _ISOTROPIC)
    return Identification(tuple(p.name for p in phases), probability, index, reindex, strain, scale, esd, noise)
