"""Intensities of many sets as logarithms that can be compared: without scale, fall-off and Wilson's profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from credo.kernels.log_moments import log_observations
from credo.model import Cell, Reflections
from credo.physics.symmetry import unique_reflections

__all__ = ["KNEE", "LogIntensities", "log_intensities"]

#: c, the normalised intensity below which y no longer is a logarithm. With 0.05, unlike sets seem alike by chance as
#: rarely as the model thinks.
KNEE = 0.05
_SHELLS = 20


@dataclass(frozen=True)
class LogIntensities:
    """n sets packed one after another: set d holds the rows ``start[d]:start[d + 1]``.

    ``ids``: place among the m unique reflections ``hkl`` (m, 3); ``y``: log intensity, mean 0 in each shell of
    resolution; ``v``: its variance by counting; ``t`` (m,): s² = 1/4d² scaled to unit variance; ``images`` (q, m):
    where each reflection lies after each change of setting, the first being none.
    """

    start: np.ndarray
    ids: np.ndarray
    y: np.ndarray
    v: np.ndarray
    hkl: np.ndarray
    t: np.ndarray
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    def rows(self, d: int) -> slice:
        """Where set d is."""
        return slice(int(self.start[d]), int(self.start[d + 1]))

    @property
    def counts(self) -> np.ndarray:
        """Unique reflections of each set (n,)."""
        return np.diff(self.start)

    def select(self, sets: np.ndarray) -> LogIntensities:
        """Some of the sets, over the same reflections."""
        rows = np.concatenate([np.r_[self.rows(int(d))] for d in sets] or [np.empty(0, dtype=int)])
        start = np.concatenate([[0], np.cumsum(self.counts[sets])])
        return LogIntensities(start, self.ids[rows], self.y[rows], self.v[rows], self.hkl, self.t, self.images)

    def thinned(self, most: int) -> LogIntensities:
        """Fewer reflections, the same for all sets and closed under the changes of setting: ``most`` in the middle."""
        middle = float(np.median(self.counts)) if len(self) else 0.0
        if middle <= most:
            return self
        family = self.images.min(axis=0)
        kept = np.random.default_rng(0).random(len(self.hkl))[family] < most / middle
        rows = kept[self.ids]
        start = np.concatenate([[0], np.cumsum(rows)])[self.start]
        return LogIntensities(start, self.ids[rows], self.y[rows], self.v[rows], self.hkl, self.t, self.images)

    def table(self, settings: np.ndarray | None = None) -> np.ndarray:
        """y as (n, m), NaN where not measured; settings (n,): the change of setting of each set first."""
        out = np.full((len(self), len(self.hkl)), np.nan)
        owner = np.repeat(np.arange(len(self)), self.counts)
        ids = self.ids if settings is None else self.images[settings[owner], self.ids]
        out[owner, ids] = self.y
        return out


def log_intensities(
    sets: Sequence[Reflections], cell: Cell, rotations: np.ndarray, changes: np.ndarray | None = None
) -> LogIntensities:
    """Normalise the sets, all on the axes of ``cell`` [Å], with the ``rotations`` (r, 3, 3) of their Laue group.

    y = arsinh(e/2c) with e = I/(k_d ⟨I⟩_shell): a logarithm above the knee c. Weak and negative ones say only that e is
    small. Equivalents are averaged in y.
    changes: (q, 3, 3), the first of them 1; h' = h T are the indices after a change of setting. They must map
    equivalents onto equivalents (see merge.ambiguity). Rows with σ ≤ 0 or rejected are left out; a set without any
    positive mean has no rows.
    """
    changes = np.eye(3, dtype=int)[None] if changes is None else changes
    owner, hkl, intensity, sigma = _pooled(sets)
    unique, of, images = _closed(hkl, rotations, changes)
    s2 = 0.25 / np.maximum(cell.d_spacing(unique), 1e-6) ** 2
    shell = _shells(s2, of)
    e, de = _normalised(owner, shell[of], intensity, sigma, len(sets))
    fair = np.isfinite(e)
    owner, of, e, de = owner[fair], of[fair], e[fair], de[fair]
    y, v = log_observations(e, de, KNEE)
    said = v < 1e3
    owner, of, y, v = owner[said], of[said], y[said], v[said]
    owner, of, y, v = _averaged(owner, of, y, v, len(unique))
    t = _standard(s2, of)
    y = _level(owner, shell[of], t[of], y, 1 / (1 + v), len(sets))
    start = np.searchsorted(owner, np.arange(len(sets) + 1))
    return LogIntensities(start, of, y, v, unique, t, images)


def _pooled(sets: Sequence[Reflections]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Owner, hkl, intensity and sigma of every usable row of every set."""
    parts = []
    for d, r in enumerate(sets):
        if not len(r):
            continue
        keep = (r["sigma"] > 0) & np.isfinite(r["intensity"]) & np.any(r.hkl != 0, axis=1)
        if "rejected" in r:
            keep &= ~r["rejected"]
        parts.append((np.full(keep.sum(), d), r.hkl[keep], r["intensity"][keep], r["sigma"][keep]))
    if not parts:
        return np.empty(0, dtype=int), np.empty((0, 3), dtype=int), np.empty(0), np.empty(0)
    owner, hkl, intensity, sigma = (np.concatenate(x) for x in zip(*parts))
    return owner, hkl.astype(int), intensity, sigma


def _closed(hkl: np.ndarray, rotations: np.ndarray, changes: np.ndarray):
    """Unique reflections (m, 3) that hold all images of those measured, which one each row is, and images (q, m)."""
    first, of = unique_reflections(hkl, rotations)
    moved = np.concatenate([np.rint(first @ t).astype(int) for t in changes])
    unique, where = unique_reflections(moved, rotations)
    again = [unique_reflections(np.concatenate([unique, np.rint(unique @ t).astype(int)]), rotations) for t in changes]
    for all_of_them, _ in again:
        if len(all_of_them) != len(unique):
            raise ValueError("log_intensities: the changes of setting are no group over the Laue group")
    images = np.array([group[len(unique) :] for _, group in again]).reshape(len(changes), len(unique))
    return unique, where[: len(first)][of], images


def _shells(s2: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Shell (m,) of each unique reflection: about equally many rows in each, 50 at least."""
    count = int(np.clip(len(of) // 50, 1, _SHELLS))
    if not len(of):
        return np.zeros(len(s2), dtype=int)
    edges = np.quantile(s2[of], np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, s2)


def _normalised(owner, shell, intensity, sigma, n: int) -> tuple[np.ndarray, np.ndarray]:
    """e = I/(k_d ⟨I⟩_shell) and its σ; NaN for sets without a positive scale.

    Means are over rows, each set scaled first; bright ones are cut at ten times the mean, since one may be false.
    """
    scale, level = np.ones(n), np.ones(shell.max(initial=0) + 1)

    def mean(x: np.ndarray, by: np.ndarray, length: int) -> np.ndarray:
        count = np.maximum(np.bincount(by, minlength=length), 1)
        rough = np.bincount(by, x, length) / count
        return np.bincount(by, np.minimum(x, 10 * np.abs(rough[by])), length) / count

    for _ in range(5):
        scale = mean(intensity / level[shell], owner, n)
        good = scale[owner] > 0
        if not good.any():
            break
        level = np.maximum(mean((intensity[good] / scale[owner[good]]), shell[good], len(level)), 1e-6)
    scale = np.where(scale > 0, scale, np.nan)
    return intensity / (scale[owner] * level[shell]), sigma / (scale[owner] * level[shell])


def _averaged(owner, of, y, v, m: int):
    """Equivalents in each set brought together, weights 1/(v + 0.05); the rows ordered by set, then reflection."""
    key, group = np.unique(owner.astype(np.int64) * m + of, return_inverse=True)
    group = group.reshape(-1)
    w = 1 / (v + 0.05)
    total = np.bincount(group, w, len(key))
    y = np.bincount(group, w * y, len(key)) / np.maximum(total, 1e-300)
    v = np.bincount(group, w**2 * v, len(key)) / np.maximum(total, 1e-300) ** 2
    return key // max(m, 1), key % max(m, 1), y, v


def _standard(s2: np.ndarray, of: np.ndarray) -> np.ndarray:
    seen = s2[of] if len(of) else np.zeros(1)
    return np.clip((s2 - seen.mean()) / max(float(seen.std()), 1e-12), -4, 4)


def _level(owner, shell, t, y, w, n: int) -> np.ndarray:
    """y without the mean of its shell, and of its set a shift and a slope in t; w: (n,) weights of the rows.

    A few dozen reflections tell a set's slope badly: a prior of 20 rows holds it back.
    """
    for _ in range(3):
        y = y - (np.bincount(shell, w * y) / np.maximum(np.bincount(shell, w), 1e-9))[shell]
        sums = [np.bincount(owner, w * x, n) for x in (np.ones(len(y)), t, t * t, y, t * y)]
        h00, h01, h11, g0, g1 = sums[0] + 1e-9, sums[1], sums[2] + 20, sums[3], sums[4]
        det = h00 * h11 - h01**2
        y = y - ((h11 * g0 - h01 * g1) / det)[owner] - ((h00 * g1 - h01 * g0) / det)[owner] * t
    return y
