"""Where the direct beam of a focused pattern is: a Gaussian through the pixels that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.collect.seams import seams
from credo.kernels.untyped import ndimage
from credo.model.errors import CannotDo

__all__ = ["Spot", "fit_spot"]

#: Half of the window [px]; widest spot [px, rms].
_HALF, _WIDEST = 12, 6.0


@dataclass(frozen=True)
class Spot:
    """Centre (x, y) [px, pixel j reaching from j to j + 1], its ``esd`` and the rms ``width``, all [px]."""

    x: float
    y: float
    esd: float
    width: float


def fit_spot(frame: np.ndarray, saturation: float = np.inf) -> Spot:
    """The brightest spot that is wider than a hot pixel; saturated pixels and a Timepix's cross are left out.

    Raises CannotDo where there is none, or where it lies on the cross.
    """
    data = np.asarray(frame, dtype=np.float64)
    alike = seams(data.shape)
    good = alike & (data < saturation)
    found = ndimage.uniform_filter(_without_hot(data), 5) * 25
    i, j = np.unravel_index(int(found.argmax()), found.shape)
    cut = (slice(max(i - _HALF, 0), i + _HALF + 1), slice(max(j - _HALF, 0), j + _HALF + 1))
    value, good, alike = data[cut], good[cut], alike[cut]
    y, x = np.mgrid[cut[0].start : cut[0].start + value.shape[0], cut[1].start : cut[1].start + value.shape[1]] + 0.5
    ground = float(np.median(value))
    if found[i, j] < 200 + 10 * 25 * ground or good.sum() < 60:
        raise CannotDo("no direct beam in the pattern", "is the beam on and on the camera, and the pattern focused?")
    p, covariance = _gaussian(x, y, value, good, np.array([j + 0.5, i + 0.5, 1.5, found[i, j], ground]))
    seen = np.hypot(x - p[0], y - p[1]) < 2 * p[2] + 0.5
    inside = abs(p[0] - j - 0.5) < 4 and abs(p[1] - i - 0.5) < 4 and 0.3 < p[2] < _WIDEST
    esd = float(np.sqrt(0.5 * (covariance[0, 0] + covariance[1, 1])))
    if not inside or alike[seen].mean() < 0.7 or esd > 0.3:
        raise CannotDo("the direct beam lies on the camera's cross or border", "shift the pattern")
    return Spot(float(p[0]), float(p[1]), esd, float(p[2]))


def _without_hot(data: np.ndarray, many: int = 400) -> np.ndarray:
    """The image with those of its brightest pixels lowered that stand alone: of a spot, even a sharp one, two
    neighbours have a third of the height."""
    wide = np.pad(data, 1)
    rows, columns = np.unravel_index(np.argpartition(data, -many, axis=None)[-many:], data.shape)
    around = np.stack([wide[rows + i, columns + j] for i in range(3) for j in range(3)])
    third = np.partition(around, -3, axis=0)[-3]
    out, alone = data.copy(), data[rows, columns] > 4 * third + 50
    out[rows[alone], columns[alone]] = third[alone]
    return out


def _gaussian(x, y, value, good, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x, y, width, sum, ground by damped least squares with weights 1/variance, and their covariance by the scatter."""
    damping, before = 1e-2, np.inf
    chi2, normal = np.inf, np.eye(5)
    for _ in range(40):
        shape = np.exp(-0.5 * ((x - p[0]) ** 2 + (y - p[1]) ** 2) / p[2] ** 2) / (2 * np.pi * p[2] ** 2)
        model = p[4] + p[3] * shape
        weight = np.where(good, 1 / np.maximum(0.5 * (model + value), 1.0), 0)
        weight = weight / (1 + weight * (0.03 * p[3] * shape) ** 2)  # no spot is Gaussian to better than 3 %
        d = p[3] * shape
        slope = [d * (x - p[0]) / p[2] ** 2, d * (y - p[1]) / p[2] ** 2]
        slope += [d * (((x - p[0]) ** 2 + (y - p[1]) ** 2) / p[2] ** 3 - 2 / p[2]), shape, np.ones_like(x)]
        j = np.stack([s.ravel() for s in slope], axis=1)
        rest = (value - model).ravel()
        normal = j.T @ (weight.ravel()[:, None] * j)
        chi2 = float((weight.ravel() * rest**2).sum())
        scale = np.diag(normal) * (1 + damping) + 1e-12
        step = np.linalg.solve(normal + np.diag(scale - np.diag(normal)), j.T @ (weight.ravel() * rest))
        p = p + np.clip(step, [-1, -1, -0.3, -np.inf, -np.inf], [1, 1, 0.3, np.inf, np.inf])
        p[2], p[3] = max(p[2], 0.3), max(p[3], 1.0)
        if abs(step[0]) + abs(step[1]) < 1e-4 and abs(before - chi2) < 1e-3 * chi2:
            break
        before = chi2
    free = max(int(good.sum()) - 5, 1)
    return p, np.linalg.pinv(normal) * max(chi2 / free, 1.0)
