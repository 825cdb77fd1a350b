"""Scaling within one crystal: a smooth scale and falloff along the rotation, and sigmas that the scatter bears out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import Experiment, Reflections, Report
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["ErrorModel", "ScaleSettings", "scale_one"]


class ScaleSettings(BaseModel):
    """How much the scale may vary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    knot_deg: float = Field(default=8.0, gt=0, description="spacing of the knots along the rotation [deg]")
    step: float = Field(default=0.15, gt=0, description="expected change of ln(scale) from knot to knot")
    b_step: float = Field(default=0.3, gt=0, description="expected change of the relative B from knot to knot [Å²]")
    outlier: float = Field(
        default=6.0, gt=2, description="an observation further than this from its equivalents is out [σ]"
    )


@dataclass(frozen=True)
class ErrorModel:
    """σ'² = a² (σ² + (b I)²)."""

    a: float = 1.0
    b: float = 0.0

    def __call__(self, sigma: np.ndarray, intensity: np.ndarray) -> np.ndarray:
        return self.a * np.sqrt(sigma**2 + (self.b * np.maximum(intensity, 0)) ** 2)


def scale_one(
    experiment: Experiment, reflections: Reflections, settings: ScaleSettings | None = None
) -> tuple[Experiment, Reflections, Report]:
    """Divide intensities by K(φ) exp(−2 B(φ) s²), s = 1/2d; correct sigmas; mark outliers in ``rejected``.

    K and B are linear between knots, held by a random-walk prior, so that few equivalents change little. Found from
    ln I of strong equivalents under Cauchy weights, the means and the scales in turn. The error model makes the
    scatter of equivalents χ² = 1 at all intensities.
    """
    settings = settings or ScaleSettings()
    crystal = experiment.crystal
    use = _usable(reflections) & (reflections["lattice"] == 0)
    index = np.flatnonzero(use)
    unique, group = unique_reflections(reflections.hkl[index], laue_rotations(crystal.laue_group))
    count = np.bincount(group, minlength=len(unique))
    n_twice = int(np.sum(count > 1))
    if n_twice < 30:
        sentence = f"Only {n_twice} reflections were measured more than once: not scaled, sigmas as counted."
        return experiment, reflections, Report({"scaled": False, "error_model": [1.0, 0.0]}, (sentence,))
    phi = reflections["phi"][index]
    s2 = 0.25 / crystal.cell.d_spacing(reflections.hkl[index]) ** 2
    i, s = reflections["intensity"][index], reflections["sigma"][index]
    k, knots, values = _smooth_scale(phi, s2, i, s, group, len(unique), settings)
    i, s = i / k, s / k
    model = _error_model(i, s, group, len(unique))
    s = model(s, _centres(i, s, group, len(unique))[group])
    out = _outliers(i, s, group, len(unique), settings.outlier)
    columns = {name: reflections[name].copy() for name in ("intensity", "sigma")}
    columns["scale"] = reflections["scale"].copy() if "scale" in reflections else np.ones(len(reflections))
    columns["rejected"] = np.array(reflections["rejected"]) if "rejected" in reflections else np.zeros(len(use), bool)
    columns["intensity"][index], columns["sigma"][index] = i, s
    columns["scale"][index] *= k
    columns["rejected"][index] |= out
    numbers = {
        "scaled": True,
        "error_model": [model.a, model.b],
        "i_over_sigma_asymptotic": 1 / (model.a * model.b) if model.b > 0 else None,
        "n_outliers": int(out.sum()),
        "scale_range": [float(np.exp(values[0].min())), float(np.exp(values[0].max()))],
    }
    figures = {"scale": {"angle_deg": knots, "scale": np.exp(values[0]), "b": values[1]}}
    return experiment, reflections.with_columns(**columns), Report(numbers, (), figures)


def _usable(reflections: Reflections) -> np.ndarray:
    good = np.isfinite(reflections["intensity"]) & (reflections["sigma"] > 0)
    for name in ("rejected", "overloaded"):
        if name in reflections:
            good &= ~reflections[name]
    return good


def _means(i: np.ndarray, s: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    w = 1 / s**2
    return np.bincount(group, w * i, n) / np.bincount(group, w, n)


def _centres(i: np.ndarray, s: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """Medians of three or more equivalents, weighted means of fewer: what an outlier does not lift."""
    order = np.lexsort((i, group))
    count = np.bincount(group, minlength=n)
    start = np.cumsum(count) - count
    median = 0.5 * (i[order[start + (count - 1) // 2]] + i[order[start + count // 2]])
    return np.where(count >= 3, median, _means(i, s, group, n))


def _smooth_scale(phi, s2, i, s, group, n, settings: ScaleSettings):
    """K of each observation (m,), the knots [deg] and the values (2, knots) of ln K and B."""
    low, high = float(phi.min()), float(phi.max())
    m = max(2, int(np.ceil((high - low) / settings.knot_deg)) + 1)
    knots = np.linspace(low, high, m)
    x = np.clip((phi - low) / max(high - low, 1e-9) * (m - 1), 0, m - 1 - 1e-9)
    j = x.astype(int)
    base = np.zeros((len(phi), m))
    base[np.arange(len(phi)), j] = 1 - (x - j)
    base[np.arange(len(phi)), j + 1] = x - j
    design = np.concatenate([base, -2 * s2[:, None] * base], axis=1)
    walk = np.diff(np.eye(m), axis=0)
    prior = np.zeros((2 * m, 2 * m))
    prior[:m, :m] = walk.T @ walk / settings.step**2
    prior[m:, m:] = walk.T @ walk / settings.b_step**2
    # neither the mean scale nor the mean B is determined by equivalents
    prior[:m, :m] += 1e4 / m**2
    prior[m:, m:] += 1e4 / m**2
    p = np.zeros(2 * m)
    strong = (i > 3 * s) & (np.bincount(group, minlength=n)[group] > 1)
    log_i = np.log(np.maximum(i, 1e-30))
    var = (s / np.maximum(i, 1e-30)) ** 2 + 0.1**2
    for _ in range(6):
        res = (log_i - design @ p)[strong]
        g = group[strong]
        w = 1 / var[strong]
        mean = np.bincount(g, w * res, n) / np.maximum(np.bincount(g, w, n), 1e-30)
        off = res - mean[g]
        w = w / (1 + off**2 * w / 4)
        a = design[strong]
        # the mean of each group is projected out of the design, so scales and means are found together
        sw = np.maximum(np.bincount(g, w, n), 1e-30)
        centre = np.stack([np.bincount(g, w * c, n) / sw for c in a.T], axis=1)
        a = a - centre[g]
        y = log_i[strong] - (np.bincount(g, w * log_i[strong], n) / sw)[g]
        p = np.linalg.solve(a.T @ (a * w[:, None]) + prior, a.T @ (w * y))
    return np.exp(design @ p), knots, p.reshape(2, m)


def _error_model(i, s, group, n) -> ErrorModel:
    """a and b such that the robust χ² of equivalents is 1 in every tenth of the intensities."""
    count = np.bincount(group, minlength=n)
    mean = _means(i, s, group, n)
    use = count[group] > 1
    g, ii, ss = group[use], i[use], s[use]
    bins = np.array_split(np.argsort(mean[g]), 10)

    def misfit(a: float, b: float) -> float:
        model = a * np.sqrt(ss**2 + (b * np.maximum(mean[g], 0)) ** 2)
        w = 1 / model**2
        sw = np.bincount(g, w, n)
        centre = np.bincount(g, w * ii, n) / np.maximum(sw, 1e-30)
        # an observation is part of its own mean
        var = np.maximum(model**2 - 1 / sw[g], 0.02 * model**2)
        z2 = (ii - centre[g]) ** 2 / var
        chi = [float(np.median(z2[k])) / 0.455 for k in bins if len(k) > 5]
        return float(np.sum(np.log(np.maximum(chi, 1e-3)) ** 2))

    best = min(
        (misfit(a, b), a, b)
        for a in (0.8, 1.0, 1.25, 1.6, 2.0, 2.6)
        for b in (0, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.3)
    )
    _, a, b = best
    for shrink in (1.12, 1.05):
        trial = [
            (misfit(a * f, b * h), a * f, b * h) for f in (1 / shrink, 1, shrink) for h in (1 / shrink**2, 1, shrink**2)
        ]
        _, a, b = min(trial)
    return ErrorModel(float(np.clip(a, 0.7, 4)), float(b))


def _outliers(i, s, group, n, limit: float) -> np.ndarray:
    """Observations further than ``limit`` σ from the median of at least three equivalents."""
    gap = np.abs(i - _centres(i, s, group, n)[group])
    return (np.bincount(group, minlength=n)[group] >= 3) & (gap > limit * s)
