"""Robust least squares of a few shared parameters and one beam position per frame, the frames eliminated exactly.

Weights are those of Student's t (ν = 5); the variances are the spots' own plus an excess found from the residuals.
The beam of frame i enters only the spots seen there, and its prior ties it to its neighbours (a random walk), so the
frames' block of the normal matrix is tridiagonal and is eliminated at a cost linear in frames. The size of the walk
is the one of largest evidence (MacKay 1992, Neural Comput. 4, 415), not a setting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["NU", "Equations", "Solution", "Variances", "student_correction", "student_weights", "walk_precision"]

#: Degrees of freedom of Student's t: 95 % efficient on normal errors, indifferent to gross ones.
NU = 5.0
_FLOOR_PX2 = 0.02**2
_WALKS = np.geomspace(1e-3, 3.0, 9)


def student_weights(r2: np.ndarray, dimension: int) -> np.ndarray:
    """(ν + d)/(ν + r²) of squared normalised residuals of ``dimension`` components."""
    return (NU + dimension) / (NU + r2)


def student_correction(r: np.ndarray, dimension: int) -> float:
    """Variance of an estimate over what the weights alone say: E[ψ²] E[w] / E[ψ′]² (Huber 1981, eq. 3.2.13).

    r: normalised residuals (n, dimension).
    """
    r2 = np.einsum("ij,ij->i", r, r)
    w = student_weights(r2, dimension)
    slope = w - 2 * w * r2 / (NU + r2) / dimension
    return float(np.mean(w**2 * r2) / dimension * np.mean(w) / np.mean(slope) ** 2)


@dataclass(frozen=True)
class Variances:
    """Excess variances: of positions [px²], of angles about the axis [rad²] and of directions [rad²]."""

    position: float = 0.0
    angle: float = 0.0
    direction: float = 0.0

    def of_positions(self, var_xy: np.ndarray) -> np.ndarray:
        """(n, 2) [px²]."""
        return np.maximum(var_xy, _FLOOR_PX2) + self.position

    def of_excitation(self, var_phi: np.ndarray, speed: np.ndarray, length: np.ndarray) -> np.ndarray:
        """(n,) [Å⁻²] from the variance of φ [rad²], the speed of crossing and |q| [Å⁻¹]."""
        return speed**2 * (var_phi + self.angle) + length**2 * (self.direction + 1e-10)

    @classmethod
    def found(cls, dxy, var_xy, eps, var_phi, speed, length, dof: float) -> Variances:
        """From residuals: each excess makes the mean of w r²/σ² equal to ``dof`` (≤ 1, for fitted parameters)."""
        here = cls()
        base = here.of_positions(var_xy)
        position = _excess(dxy**2, base, np.ones_like(base), dof, 2)
        base = speed**2 * var_phi + length**2 * 1e-10
        direction = angle = 0.0
        if len(eps):
            # which shape explains the excess: fast reflections alone say how much is about the axis
            fast = speed**2 > 0.5 * np.median(speed**2)
            total = _excess(eps[fast, None] ** 2, base[fast, None], speed[fast, None] ** 2, dof, 1)
            slow = ~fast & (length > 0)
            angle = total
            if np.count_nonzero(slow) >= 20:
                left = base + speed**2 * total
                direction = _excess(eps[slow, None] ** 2, left[slow, None], length[slow, None] ** 2, dof, 1)
                ratio = np.median(length[fast] ** 2 / speed[fast] ** 2)
                angle = max(total - direction * ratio, 0.0)
        return cls(position, angle, direction)


def _excess(r2: np.ndarray, base: np.ndarray, shape: np.ndarray, dof: float, dimension: int) -> float:
    """v ≥ 0 with mean of w r²/(base + v shape) = dof, by bisection on a log scale; arrays (n, dimension)."""

    def surplus(v: float) -> float:
        z2 = (r2 / (base + v * shape)).sum(axis=1)
        return float(np.mean(student_weights(z2, dimension) * z2) / dimension - dof)

    if len(r2) == 0 or surplus(0.0) <= 0:
        return 0.0
    high = float(np.max(r2 / shape)) + 1e-300
    low = high * 1e-12
    for _ in range(50):
        mid = np.sqrt(low * high)
        low, high = (mid, high) if surplus(mid) > 0 else (low, mid)
    return float(high)


def walk_precision(numbers: np.ndarray, walk: float) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal and off-diagonal of the prior precision of a random walk over frame ``numbers`` (n,).

    ``walk``: standard deviation per frame [px]; a weak 30 px prior on each keeps it proper.
    """
    link = 1.0 / (walk**2 * np.diff(numbers))
    diagonal = np.full(len(numbers), 1e-3 / len(numbers))
    diagonal[:-1] += link
    diagonal[1:] += link
    return diagonal, -link


@dataclass(frozen=True)
class Solution:
    """Steps of the shared parameters (p,) and of the beam (n_frames, 2), the covariance (p, p) and log evidence."""

    step: np.ndarray
    shift: np.ndarray
    covariance: np.ndarray
    evidence: float
    n_effective: float


@dataclass(frozen=True)
class Equations:
    """The weighted linear problem: Jacobians (n, p), residuals observed − calculated, weights 1/σ² (n,)."""

    jx: np.ndarray
    jy: np.ndarray
    je: np.ndarray
    rx: np.ndarray
    ry: np.ndarray
    re: np.ndarray
    wx: np.ndarray
    wy: np.ndarray
    we: np.ndarray
    frame: np.ndarray
    numbers: np.ndarray
    #: departure of the beam from what was measured, so far (n_frames, 2) [px]
    departure: np.ndarray
    #: prior precisions of the shared parameters (p,) and their departures from the prior's centre (p,)
    prior: np.ndarray
    offset: np.ndarray

    def blocks(self) -> tuple:
        """Normal matrix and right side of the shared parameters, and per axis the frames' part without the prior."""
        a = np.diag(self.prior)
        b = -self.prior * self.offset
        for j, r, w in ((self.jx, self.rx, self.wx), (self.jy, self.ry, self.wy), (self.je, self.re, self.we)):
            jw = j * w[:, None]
            a = a + jw.T @ j
            b = b + jw.T @ r
        n = len(self.numbers)
        f = np.clip(self.frame - 0.5, 0, n - 1)
        i = np.minimum(f.astype(int), max(n - 2, 0))
        right = f - i
        k = np.minimum(i + 1, n - 1)
        parts = []
        for j, r, w in ((self.jx, self.rx, self.wx), (self.jy, self.ry, self.wy)):

            def spread(v: np.ndarray) -> np.ndarray:
                return np.bincount(i, v * (1 - right), n) + np.bincount(k, v * right, n)

            diagonal = np.bincount(i, w * (1 - right) ** 2, n) + np.bincount(k, w * right**2, n)
            off = np.bincount(i, w * right * (1 - right), n)[: n - 1]
            cross = np.stack([spread(w * j[:, m]) for m in range(j.shape[1])], axis=1)
            parts.append((diagonal, off, cross, spread(w * r)))
        return a, b, parts

    def solve(self, walk: float | None, blocks: tuple | None = None) -> Solution:
        """The step for a given random walk of the beam; ``None``: the beam stays as it is."""
        a, b, parts = self.blocks() if blocks is None else blocks
        shift = np.zeros((len(self.numbers), 2))
        evidence, frames_log, eliminated = 0.0, 0.0, []
        if walk is not None:
            diagonal, off = walk_precision(self.numbers, walk)
            log_prior = _tridiagonal_logdet(diagonal, off)
            for axis, (d, o, cross, rhs) in enumerate(parts):
                c = self.departure[:, axis]
                pull = diagonal * c
                pull[:-1] += off * c[1:]
                pull[1:] += off * c[:-1]
                solved, logdet = _tridiagonal_solve(d + diagonal, o + off, np.column_stack([cross, rhs - pull]))
                a = a - cross.T @ solved[:, :-1]
                b = b - cross.T @ solved[:, -1]
                eliminated.append((solved[:, :-1], solved[:, -1]))
                evidence += 0.5 * float((rhs - pull) @ solved[:, -1]) - 0.5 * float(c @ pull)
                frames_log += 0.5 * (log_prior - logdet)
        scale = 1.0 / np.sqrt(np.diag(a))
        values, vectors = np.linalg.eigh(a * scale[:, None] * scale)
        values = np.maximum(values, 1e-13 * values[-1])
        inverse = (vectors / values) @ vectors.T * scale[:, None] * scale
        step = inverse @ b
        for axis, (free, pulled) in enumerate(eliminated):
            shift[:, axis] = pulled - free @ step
        evidence += 0.5 * float(b @ step) + frames_log - 0.5 * float(np.sum(np.log(values)) - 2 * np.sum(np.log(scale)))
        n_effective = float(len(b) - np.sum(self.prior * np.diag(inverse)))
        return Solution(step, shift, inverse, evidence, n_effective)

    def best_walk(self, blocks: tuple) -> float:
        """The random walk [px/frame] of largest evidence, between 0.001 and 3."""
        return float(max(_WALKS, key=lambda walk: self.solve(walk, blocks).evidence))


def _tridiagonal_solve(d: np.ndarray, o: np.ndarray, rhs: np.ndarray) -> tuple[np.ndarray, float]:
    """Solve a symmetric positive tridiagonal system for many right sides (n, k); also its log determinant."""
    from scipy.linalg import cho_solve_banded, cholesky_banded

    band = np.zeros((2, len(d)))
    band[0], band[1, :-1] = d, o
    factor = cholesky_banded(band, lower=True, check_finite=False)
    return cho_solve_banded((factor, True), rhs, check_finite=False), 2 * float(np.sum(np.log(factor[0])))


def _tridiagonal_logdet(d: np.ndarray, o: np.ndarray) -> float:
    from scipy.linalg import cholesky_banded

    band = np.zeros((2, len(d)))
    band[0], band[1, :-1] = d, o
    return 2 * float(np.sum(np.log(cholesky_banded(band, lower=True, check_finite=False)[0])))
