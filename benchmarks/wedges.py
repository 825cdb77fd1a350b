"""Simulated wedges for merging: random orientations, Wilson intensities, smooth scales, 28 % systematic error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import miller_indices, predict
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["Scene", "wedges"]


@dataclass(frozen=True)
class Scene:
    """``tables`` as they would be integrated, ``experiments`` with their geometry; true intensities ``truth`` of the
    unique reflections ``hkl``."""

    experiments: list[Experiment]
    tables: list[Reflections]
    cell: Cell
    laue_group: str
    hkl: np.ndarray
    truth: np.ndarray

    def true_of(self, hkl: np.ndarray) -> np.ndarray:
        """True intensities of any indices of the scene."""
        both = np.concatenate([self.hkl, hkl])
        _, of = unique_reflections(both, laue_rotations(self.laue_group))
        value = np.full(of.max() + 1, np.nan)
        value[of[: len(self.hkl)]] = self.truth
        return value[of[len(self.hkl) :]]


def wedges(
    seed: int,
    n: int = 30,
    cell: Cell | None = None,
    laue_group: str = "mmm",
    d_min: float = 0.9,
    error: float = 0.28,
    outliers: float = 0.03,
    widths: tuple[float, float] = (5.0, 30.0),
    junk: int = 0,
    correlated: bool = False,
) -> Scene:
    """n sets of 5-30° each, the last ``junk`` of them of intensities of their own.

    I = K(φ) exp(−2 B(φ) s²) I_h × lognormal(error) × (3 %: a factor between 1/10 and 10), and counting noise.
    ``correlated``: errors as dynamical scattering makes them, larger for strong reflections, which lose.
    """
    rng = np.random.default_rng(seed)
    cell = cell or Cell(9.1, 11.7, 14.3, 90, 90, 90)
    hkl, _ = unique_reflections(miller_indices(cell.B, 0.98 * d_min), laue_rotations(laue_group))
    fall = lambda h: np.exp(-2 * 1.5 * 0.25 / cell.d_spacing(h) ** 2)  # noqa: E731
    truth = 1000 * rng.exponential(size=len(hkl)) * fall(hkl)
    scene = Scene([], [], cell, laue_group, hkl, truth)
    for k in range(n):
        e = _experiment(rng, cell, laue_group, float(rng.uniform(*widths)))
        p = predict(e, e.crystal, d_min)
        p = p.select(p["lorentz"] < 10)
        true = scene.true_of(p.hkl)
        if k >= n - junk:
            other = 1000 * rng.exponential(size=len(hkl)) * fall(hkl)
            true = Scene([], [], cell, laue_group, hkl, other).true_of(p.hkl)
        scene.experiments.append(e)
        scene.tables.append(_observed(rng, p, true, cell, error, outliers, correlated))
    return scene


def _experiment(rng: np.random.Generator, cell: Cell, laue_group: str, width: float) -> Experiment:
    u = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    frames = max(3, round(width / 0.5))
    scan = Scan.regular(frames, float(rng.uniform(-60, 60 - width)), 0.5)
    detector = Detector((512, 512), 0.005, (256.0, 256.0), pixel_size_mm=0.055)
    crystal = Crystal(cell, u, laue_group=laue_group)
    return Experiment(Beam(0.02508), detector, Goniometer.in_plane(40.0), scan, (crystal,))


def _observed(rng, p: Reflections, true, cell: Cell, error: float, outliers: float, correlated: bool) -> Reflections:
    n, phi = len(p), p["phi"]
    s2 = 0.25 / cell.d_spacing(p.hkl) ** 2
    x = (phi - phi.min()) / max(float(np.ptp(phi)), 1e-9) if n else phi
    bend = rng.normal(0, 0.3) * np.sin(np.pi * x * rng.uniform(0.5, 2)) + rng.normal(0, 0.3) * x
    k = np.exp(rng.normal(0, 0.8) + bend)
    b = rng.normal(0, 0.5) + abs(rng.normal(0, 0.6)) * x
    width = error * np.ones(n)
    factor = 1.0
    if correlated:
        strength = np.sqrt(true / np.mean(true)) if n else true
        width, factor = error * np.clip(0.5 + 0.5 * strength, 0.4, 1.6), 1 / (1 + 0.1 * strength)
    wild = np.where(rng.random(n) < outliers, np.exp(rng.uniform(-2.3, 2.3, n)), 1.0)
    signal = k * np.exp(-2 * b * s2) * true * factor * np.exp(rng.normal(0, width)) * wild
    counting = np.sqrt(np.maximum(signal, 0) + 60.0)
    return p.with_columns(
        intensity=signal + rng.normal(0, counting), sigma=counting, lattice=np.zeros(n, dtype=int),
        x_calc=p["x"], y_calc=p["y"], phi_calc=phi,
    )  # fmt: skip
