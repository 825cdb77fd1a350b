"""One score for every program: lattice, orientation and intensities against the simulator's truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.rotation import misorientation_deg
from credo.model import Reflections


@dataclass(frozen=True)
class LatticeScore:
    """How a found lattice compares with the true one.

    ``right``: the same lattice up to a common scale; ``transform``: integers M with h_true = M h_found;
    ``scale``: found/true length; ``strain_percent``: largest stretch once the scale is out.
    """

    right: bool
    transform: np.ndarray
    misorientation_deg: float
    scale: float
    strain_percent: float


def score_lattice(ub: np.ndarray, ub_true: np.ndarray, tolerance: float = 0.08) -> LatticeScore:
    """Compare UB matrices (3, 3) [Å⁻¹] of primitive bases in the same laboratory frame at φ = 0."""
    scale = float(np.cbrt(abs(np.linalg.det(ub_true) / np.linalg.det(ub))))
    m = np.linalg.inv(ub_true) @ ub * scale
    whole = np.rint(m)
    right = bool(abs(abs(np.linalg.det(whole)) - 1) < 1e-6 and np.abs(m - whole).max() < tolerance)
    if not right:
        return LatticeScore(False, whole, float("nan"), scale, float("nan"))
    u, stretch, vt = np.linalg.svd(ub @ np.linalg.inv(ub_true @ whole))
    angle = float(misorientation_deg(u @ vt, np.eye(3)))
    strain = 100 * float(np.abs(stretch / np.cbrt(np.prod(stretch)) - 1).max())
    return LatticeScore(True, whole, angle, scale, strain)


def primitive(ub: np.ndarray, centring: str) -> np.ndarray:
    """UB of a primitive basis of a centred cell: a*, b*, c* combined so that every allowed h is whole."""
    basis = {
        "P": np.eye(3),
        "A": [[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]],
        "B": [[0.5, 0, -0.5], [0, 1, 0], [0.5, 0, 0.5]],
        "C": [[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]],
        "I": [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
        "F": [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
        "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
    }[centring]
    return ub @ np.linalg.inv(np.array(basis, dtype=float))


@dataclass(frozen=True)
class IntensityScore:
    """``n`` matched of ``n_true``; ``cc`` Pearson; ``r1`` = Σ|kI − T| / ΣT with k = ΣT/ΣI; ``chi2`` mean
    ((kI − T)/kσ)²."""

    n: int
    n_true: int
    cc: float
    r1: float
    chi2: float
    chi2_by_intensity: tuple[float, ...]
    chi2_by_resolution: tuple[float, ...]


def score_intensities(
    hkl: np.ndarray,
    phi: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray,
    transform: np.ndarray,
    truth: Reflections,
) -> IntensityScore:
    """Match crossings by true index and angle (within 2°), then compare with the true expected counts.

    truth: columns h k l phi d intensity (expected counts of the crossing, inside the scan).
    """
    true_hkl = np.rint(hkl @ np.asarray(transform).T).astype(int)
    where: dict[tuple[int, ...], list[int]] = {}
    for i, h in enumerate(map(tuple, truth.hkl.tolist())):
        where.setdefault(h, []).append(i)
    pairs = []
    for j, h in enumerate(map(tuple, true_hkl.tolist())):
        near = [i for i in where.get(h, []) if abs(truth["phi"][i] - phi[j]) < 2.0]
        if near:
            pairs.append((j, min(near, key=lambda i: abs(truth["phi"][i] - phi[j]))))
    if not pairs:
        return IntensityScore(0, len(truth), float("nan"), float("nan"), float("nan"), (), ())
    j, i = np.array(pairs).T
    t, obs, sig = truth["intensity"][i], intensity[j], sigma[j]
    k = t.sum() / obs.sum()
    z2 = ((k * obs - t) / (k * sig)) ** 2
    bins = lambda v: tuple(float(np.mean(z2[b])) for b in np.array_split(np.argsort(v), 8))  # noqa: E731
    return IntensityScore(
        len(j), len(truth), float(np.corrcoef(obs, t)[0, 1]), float(np.abs(k * obs - t).sum() / t.sum()),
        float(np.mean(z2)), bins(t), bins(truth["d"][i]),
    )  # fmt: skip
