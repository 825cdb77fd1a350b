"""The shape of a spot on the detector, learned from the strong ones: an ellipse that may grow along and across q."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.kernels.integrate import REACH2, gaussian_shape, moments
from credo.model import Experiment, Frames, Reflections
from credo.reduce.background import Background

__all__ = ["SpotProfile", "learn_profile"]


@dataclass(frozen=True)
class SpotProfile:
    """Variances [px²] at distance r [px] from the beam: radial a + b r², tangential c + d r²; and the profile's
    ``shape`` over Mahalanobis distance squared, 0 to REACH2 in equal steps, 1/(2π) of it integrating to one."""

    a: float = 1.2
    b: float = 0.0
    c: float = 1.2
    d: float = 0.0
    shape: tuple[float, ...] = tuple(gaussian_shape().tolist())

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
    """Fit the four numbers to the covariances of the strongest whole spots, each on its brightest frame; then the
    shape to all their pixels."""
    windows = list(_windows(experiment, frames, bad, spots, background, most))
    origin = np.array(experiment.detector.origin)
    found = []
    for part, _, x, y, corner in windows:
        cx, cy, xx, xy, yy = moments(part, x - corner[0], y - corner[1], 12, 1.5)
        near = abs(cx + corner[0] - x) < 2 and abs(cy + corner[1] - y) < 2
        found.append((x - origin[0], y - origin[1], xx, xy, yy, cx, cy) if xx > 0 and near else None)
    good = np.array([f for f in found if f is not None])
    if len(good) < 10:
        return SpotProfile()
    profile = _fitted(good[:, :5])
    kept = [w for w, f in zip(windows, found) if f is not None]
    shape = _shape(kept, good[:, 5:], profile.covariance(good[:, :2]), background.gain)
    return profile if shape is None else replace(profile, shape=shape)


def _windows(experiment, frames, bad, spots, background, most: int, half: int = 8):
    """(image less background, background, x, y, corner) around the most significant spots."""
    good = (spots["intensity"] > 0) & ~spots["overloaded"]
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(-spots["intensity"][rows] / spots["sigma"][rows], kind="stable")[:most]]
    ny, nx = bad.shape
    for row in rows[np.argsort(spots["frame"][rows], kind="stable")]:
        f = int(np.clip(spots["frame"][row], 0, len(frames) - 1))
        x, y = float(spots["x"][row]), float(spots["y"][row])
        i, j = int(y), int(x)
        if not (half <= i < ny - half and half <= j < nx - half) or bad[i - 3 : i + 4, j - 3 : j + 4].any():
            continue
        window = (slice(i - half, i + half + 1), slice(j - half, j + half + 1))
        flat = np.maximum(background.mean[window] - background.pedestal, 0)
        part = np.asarray(frames[f][window], dtype=np.float64) - background.mean[window]
        part[bad[window]] = 0
        yield part, flat, x, y, (j - half, i - half)


def _shape(windows: list, centre: np.ndarray, cov: np.ndarray, gain: float) -> tuple[float, ...] | None:
    """Counts over Mahalanobis distance of all spots together, falling from the middle outwards; None if too few.

    Neighbours are kept out: a pixel must lie within 4 σ of what the shape of the round before expects.
    """
    if len(windows) < 40:
        return None
    edges = np.append(np.arange(0, np.sqrt(REACH2), 0.35), np.sqrt(REACH2)) ** 2
    middle = 0.5 * (edges[1:] + edges[:-1])
    ii, jj = np.mgrid[: windows[0][0].shape[0], : windows[0][0].shape[1]] + 0.5
    det = cov[:, 0] * cov[:, 2] - cov[:, 1] ** 2
    dx, dy = jj - centre[:, 0, None, None], ii - centre[:, 1, None, None]
    xx, xy, yy = (cov[:, k, None, None] / det[:, None, None] for k in range(3))
    r2 = yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy
    part, flat = (np.stack([w[k] for w in windows]) for k in (0, 1))
    # counts that P = 1 stands for
    scale = (part * (r2 < 6.25)).sum(axis=(1, 2)) / (2 * np.pi * np.sqrt(det))
    scale = np.broadcast_to(np.maximum(scale, 0)[:, None, None], part.shape)
    ring = np.digitize(r2, edges) - 1
    inside = ring < len(middle)
    p, grid = np.array(gaussian_shape()), np.linspace(0, REACH2, len(gaussian_shape()))
    for _ in range(3):
        model = scale * np.interp(r2, grid, p)
        off = np.abs(part - model) - 0.5 * model
        fine = inside & (off < 4 * np.sqrt(gain * (flat + model)) + 2 * gain)
        weight = np.bincount(ring[fine], scale[fine], len(middle))
        mean = np.bincount(ring[fine], part[fine], len(middle)) / np.maximum(weight, 1e-9)
        if np.any(weight <= 0) or mean[0] <= 0 or mean[1] <= 0:
            return None
        # straight in ln P over r², as a Gaussian is
        log_p = np.log(np.maximum(np.minimum.accumulate(mean), 1e-4 * mean[0]))
        first = log_p[0] + (log_p[0] - log_p[1]) * (middle[0] - grid) / (middle[1] - middle[0])
        p = np.exp(np.where(grid < middle[0], first, np.interp(grid, middle, log_p)))
        # ∫ P 2πr dr = π ∫ P d(r²), with the 1/(2π) left out
        p /= 0.5 * np.trapezoid(p, grid)
    return tuple(p.tolist())


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
