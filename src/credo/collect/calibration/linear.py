"""A linear response measured at a handful of points: matrix, esds from the scatter, outliers, and non-linearity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from credo.model.errors import CannotDo

__all__ = ["Response", "fit_response", "sunflower"]

#: Residuals beyond this many robust scatters are outliers; probability below which a curvature is believed.
_OUTLIER, _CURVED = 6.0, 1e-3


@dataclass(frozen=True)
class Response:
    """y = ``origin`` + drift t + ``matrix`` u: ``matrix`` (m, k) of m readings per unit of k controls.

    ``covariance`` (k, k): of a row of the matrix (all rows have the same scatter ``rms`` [units of y]); ``residual``
    (n, m), of outliers too; ``used`` (n,); ``bend``: largest departure of the best quadratic from the line over the
    points [units of y], ``curved``: whether it is significant (the esds then hold the change of slope that it makes).
    """

    origin: np.ndarray
    matrix: np.ndarray
    covariance: np.ndarray
    rms: float
    residual: np.ndarray
    used: np.ndarray
    bend: float
    curved: bool

    @property
    def esd(self) -> float:
        """Standard uncertainty of an element, rms over them."""
        return float(np.sqrt(np.mean(np.diag(self.covariance))))


def sunflower(n: int) -> np.ndarray:
    """(n, 2) points that fill the unit disc evenly, no two in one row or column (Vogel's spiral)."""
    k = np.arange(n)
    r, angle = np.sqrt((k + 0.5) / n), k * np.pi * (3 - np.sqrt(5))
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)


def fit_response(u: np.ndarray, y: np.ndarray, t: np.ndarray | None = None) -> Response:
    """Controls ``u`` (n, k), readings ``y`` (n, m), and, where the origin may drift, times ``t`` (n,).

    Raises CannotDo where too few points are left.
    """
    u, y = np.asarray(u, dtype=float), np.asarray(y, dtype=float)
    scale = np.maximum(np.abs(u - u.mean(axis=0)).max(axis=0), 1e-12)
    v = (u - u.mean(axis=0)) / scale
    columns = [v, np.ones((len(v), 1))]
    if t is not None:
        columns.append(((t - np.mean(t)) / max(float(np.ptp(t)), 1e-9))[:, None])
    design = np.hstack(columns)
    used = _inliers(design, y)
    free = int(used.sum()) - design.shape[1]
    if free < 2:
        raise CannotDo(f"{int(used.sum())} of {len(u)} images could be used: too few", "look at the images")
    found, covariance, variance = _least_squares(design[used], y[used], free)
    k = u.shape[1]
    residual = y - design @ found
    bend, curved, change = _bent(v, design, y, used, variance, free)
    own = (covariance[:k, :k] + np.diag(change**2)) / np.outer(scale, scale)
    matrix = (found[:k] / scale[:, None]).T
    origin = found[k] - matrix @ u.mean(axis=0)
    return Response(origin, matrix, own, float(np.sqrt(variance)), residual, used, bend, curved)


def _least_squares(design: np.ndarray, y: np.ndarray, free: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Parameters (p, m), covariance (p, p) of a column of them, variance of a reading."""
    found, *_ = np.linalg.lstsq(design, y, rcond=None)
    variance = float(((y - design @ found) ** 2).sum() / (free * y.shape[1]))
    return found, variance * np.linalg.pinv(design.T @ design), variance


def _inliers(design: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points lie within six robust scatters of the fit of least absolute distance."""
    known = np.isfinite(y).all(axis=1)
    weight = known.astype(float)
    gap = np.zeros(len(y))
    safe = np.where(np.isfinite(y), y, 0)
    for _ in range(50):
        root = np.sqrt(weight)[:, None]
        found, *_ = np.linalg.lstsq(root * design, root * safe, rcond=None)
        gap = np.linalg.norm(safe - design @ found, axis=1)
        weight = known / np.maximum(gap, 1e-3 * np.median(gap[known]) + 1e-12) if known.any() else weight
    # a fit of p parameters takes p residuals to nothing: the scatter is that of the others
    rest = np.sort(gap[known])[design.shape[1] :]
    scatter = float(np.median(rest)) / 1.18 if len(rest) else 0.0
    return known & (gap <= _OUTLIER * scatter + 1e-9)


def _bent(v, design, y, used, variance: float, free: int) -> tuple[float, bool, np.ndarray]:
    """(largest bend, whether it is significant, change (k,) of the slopes if it is) of a quadratic: even and odd."""
    k = v.shape[1]
    even = [v[:, i] * v[:, j] for i in range(k) for j in range(i, k)]
    more = np.stack([*even, *(v[:, i] * np.abs(v[:, i]) for i in range(k))], axis=1)
    wide = np.hstack([design, more])
    left = int(used.sum()) - wide.shape[1]
    if left < 3:
        return 0.0, False, np.zeros(k)
    found, _, new = _least_squares(wide[used], y[used], left)
    m, extra = y.shape[1], more.shape[1]
    gained = variance * free * m - new * left * m
    ratio = gained / (extra * m) / max(new, 1e-30)
    curved = bool(stats.f.sf(ratio, extra * m, left * m) < _CURVED)
    part = more @ found[design.shape[1] :]
    line, *_ = np.linalg.lstsq(design[used], part[used], rcond=None)
    bend = float(np.abs(part - design @ line)[used].max())
    return bend, curved, np.abs(line[:k]).max(axis=1) if curved else np.zeros(k)
