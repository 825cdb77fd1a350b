"""Zone axes smoothed no more than the data allow: a smooth path, real jitter beside it, and the noise of the fit.

Each coordinate of the path is x = f + w + noise: f with small second differences, w white jitter of the goniometer,
and noise whose variance the half sets tell. The strengths of f and of w are those of largest marginal likelihood
(restricted maximum likelihood of a smoothing spline, Wahba 1985): jitter that is there is kept, only noise is removed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

from credo.orient.path import Path, along_path, from_path

__all__ = ["Smoothed", "smoothed"]


@dataclass(frozen=True, eq=False)
class Smoothed:
    """``zone`` (f, 3); ``jitter_deg``: rms along the path and across it that was kept as real."""

    zone: np.ndarray
    jitter_deg: tuple[float, float]


def smoothed(path: Path, variance: np.ndarray, breaks: np.ndarray) -> Smoothed:
    """``variance`` (f, 2) [deg²] of the path's two coordinates; ``breaks`` (b,): frames before which the stage moved,
    over which nothing is smoothed."""
    out, jitter = np.empty((2, len(path.angle_deg))), []
    for k, x in enumerate(along_path(path)):
        out[k], q = _shrunk(x, variance[:, k], breaks)
        jitter.append(float(np.sqrt(q)))
    return Smoothed(from_path(path, out[0], out[1]), (jitter[0], jitter[1]))


def _shrunk(x: np.ndarray, v: np.ndarray, breaks: np.ndarray) -> tuple[np.ndarray, float]:
    """(x without noise, variance of the jitter): the best of a coarse grid of both strengths, then of a fine one."""
    v = np.where(np.isfinite(v), np.maximum(v, 1e-14), 1e4)
    typical = float(np.median(v))
    jitter = np.append(0.0, np.geomspace(0.02, 4e3, 12))
    stiffness = np.geomspace(1e-2, 1e8, 11)
    tried = {(q, a): _fit(x, v + q * typical, a / typical, breaks) for q in jitter for a in stiffness}
    q, a = min(tried, key=lambda k: tried[k][0])
    near = (q * f for f in (0.577, 1.0, 1.732)) if q else (0.0, 0.01)
    tried = {(p, a * f): _fit(x, v + p * typical, a * f / typical, breaks) for p in near for f in (0.316, 1.0, 3.16)}
    q, a = min(tried, key=lambda k: tried[k][0])
    kept, f = q * typical, tried[q, a][1]
    return f + kept / (kept + v) * (x - f), kept


def _fit(x: np.ndarray, v: np.ndarray, lam: float, breaks: np.ndarray) -> tuple[float, np.ndarray]:
    """−2 ln of the marginal likelihood, and the smooth part f of largest posterior."""
    n = len(x)
    bands = np.zeros((3, n))
    rows = np.arange(n - 2)
    if len(breaks):
        cut = np.zeros(n, dtype=bool)
        cut[breaks[(breaks > 0) & (breaks < n)]] = True
        rows = rows[~(cut[rows + 1] | cut[rows + 2])]
    for i, a in enumerate((1.0, -2.0, 1.0)):
        np.add.at(bands[2], rows + i, lam * a * a)
    np.add.at(bands[1], rows + 1, -2 * lam)
    np.add.at(bands[1], rows + 2, -2 * lam)
    np.add.at(bands[0], rows + 2, lam)
    bands[2] += 1 / v
    factor = cholesky_banded(bands, check_finite=False)
    f = cho_solve_banded((factor, False), x / v, check_finite=False)
    left = x - f
    second = f[rows] - 2 * f[rows + 1] + f[rows + 2]
    fit = float(np.sum(left**2 / v) + lam * np.sum(second**2))
    logdet = 2 * float(np.log(factor[2]).sum()) + float(np.log(v).sum()) - len(rows) * np.log(lam)
    return fit + logdet, f
