"""The shape of a spot on the detector, learned from the strong ones: a Gaussian that may grow along and across q."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.integrate import moments
from credo.model import Experiment, Frames, Reflections
from credo.reduce.background import Background

__all__ = ["SpotProfile", "learn_profile"]


@dataclass(frozen=True)
class SpotProfile:
    """Variances [px²] at distance r [px] from the beam: radial a + b r², tangential c + d r²."""

    a: float = 1.2
    b: float = 0.0
    c: float = 1.2
    d: float = 0.0

    def covariance(self, offset: np.ndarray) -> np.ndarray:
        """(n, 3) xx, xy, yy [px²] for offsets (n, 2) [px] from the direct beam."""
        r2 = np.maximum(np.sum(offset**2, axis=1), 1e-9)
        radial, across = self.a + self.b * r2, self.c + self.d * r2
        ux, uy = offset[:, 0] ** 2 / r2, offset[:, 1] ** 2 / r2
        cross = offset[:, 0] * offset[:, 1] / r2
        return np.stack([radial * ux + across * uy, (radial - across) * cross, radial * uy + across * ux], axis=1)

    def half(self, reach: float) -> int:
        """Half the edge of a window that holds 3.5 σ out to ``reach`` [px]."""
        top = max(self.a + self.b * reach**2, self.c + self.d * reach**2)
        return int(np.clip(np.ceil(3.5 * np.sqrt(top)), 3, 14))


def learn_profile(
    experiment: Experiment, frames: Frames, bad: np.ndarray, spots: Reflections, background: Background, most: int = 400
) -> SpotProfile:
    """Fit the four numbers to the covariances of the strongest whole spots, each on its brightest frame."""
    good = spots["intensity"] > 0
    for name in ("overloaded",):
        good &= ~spots[name]
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(-spots["intensity"][rows] / spots["sigma"][rows], kind="stable")[:most]]
    origin = np.array(experiment.detector.origin)
    found = []
    ny, nx = bad.shape
    half = 8
    for row in rows[np.argsort(spots["frame"][rows], kind="stable")]:
        f = int(np.clip(spots["frame"][row], 0, len(frames) - 1))
        x, y = float(spots["x"][row]), float(spots["y"][row])
        i, j = int(y), int(x)
        if not (half <= i < ny - half and half <= j < nx - half) or bad[i - 3 : i + 4, j - 3 : j + 4].any():
            continue
        window = (slice(i - half, i + half + 1), slice(j - half, j + half + 1))
        part = frames[f][window].astype(np.float64) - background.mean[window]
        part[bad[window]] = 0
        cx, cy, xx, xy, yy = moments(part, x - (j - half), y - (i - half), 12, 1.5)
        if xx > 0 and abs(cx + j - half - x) < 2 and abs(cy + i - half - y) < 2:
            found.append((x - origin[0], y - origin[1], xx, xy, yy))
    if len(found) < 10:
        return SpotProfile()
    return _fitted(np.array(found))


def _fitted(found: np.ndarray) -> SpotProfile:
    offset, cov = found[:, :2], found[:, 2:]
    r = np.hypot(offset[:, 0], offset[:, 1])
    ux, uy = offset[:, 0] / r, offset[:, 1] / r
    radial = cov[:, 0] * ux**2 + 2 * cov[:, 1] * ux * uy + cov[:, 2] * uy**2
    across = cov[:, 0] * uy**2 - 2 * cov[:, 1] * ux * uy + cov[:, 2] * ux**2
    line = [_robust_line(r**2, v) for v in (radial, across)]
    return SpotProfile(line[0][0], line[0][1], line[1][0], line[1][1])


def _robust_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope ≥ 0 under Cauchy weights."""
    w = np.ones_like(y)
    fit = (float(np.median(y)), 0.0)
    for _ in range(10):
        a = np.stack([np.ones_like(x), x / 1e4], axis=1)
        p = np.linalg.lstsq(a * w[:, None], y * w, rcond=None)[0]
        if p[1] < 0 or p[0] < 0.15:
            p = np.array([max(float(np.average(y, weights=w**2)), 0.15), 0.0])
        res = y - a @ p
        scale = 1.4826 * float(np.median(np.abs(res))) + 1e-6
        w = 1 / np.sqrt(1 + (res / (2 * scale)) ** 2)
        fit = float(p[0]), float(p[1]) / 1e4
    return fit
