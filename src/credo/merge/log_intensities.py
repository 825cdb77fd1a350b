"""Intensities of many sets as logarithms that can be compared: without scale, fall-off and Wilson's profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from credo.kernels.log_moments import log_observations
from credo.model import Cell, Reflections
from credo.physics.symmetry import unique_reflections

__all__ = ["KNEE", "LogIntensities", "log_intensities"]

#: c, the normalised intensity below which y no longer is a logarithm. With 0.05, unlike sets seem alike by chance as
#: rarely as the model thinks.
KNEE = 0.05
_SHELLS = 20
#: ⟨I⟩ of the faintest shell, in that of the brightest: what is fainter is noise.
_FAINT = 1e-3


@dataclass(frozen=True)
class LogIntensities:
    """n sets packed one after another: set d holds the rows ``start[d]:start[d + 1]``.

    ``ids``: place among the m unique reflections ``hkl`` (m, 3); ``y``: log intensity, mean 0 in each shell of
    resolution; ``v``: its variance by counting; ``t`` (m,): s² = 1/4d² scaled to unit variance; ``images`` (q, m):
    where each reflection lies after each change of setting, the first being none. To observe more sets alike: ``level``
    (m,): ⟨I⟩ at each reflection; ``mean`` (m,): of y before it was levelled; ``rotations`` (r, 3, 3).
    """

    start: np.ndarray
    ids: np.ndarray
    y: np.ndarray
    v: np.ndarray
    hkl: np.ndarray
    t: np.ndarray
    images: np.ndarray
    level: np.ndarray
    mean: np.ndarray
    rotations: np.ndarray

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
        return replace(self, start=start, ids=self.ids[rows], y=self.y[rows], v=self.v[rows])

    def thinned(self, most: int) -> LogIntensities:
        """Fewer reflections, the same for all sets and closed under the changes of setting: ``most`` in the middle."""
        middle = float(np.median(self.counts)) if len(self) else 0.0
        if middle <= most:
            return self
        family = self.images.min(axis=0)
        kept = np.random.default_rng(0).random(len(self.hkl))[family] < most / middle
        rows = kept[self.ids]
        start = np.concatenate([[0], np.cumsum(rows)])[self.start]
        return replace(self, start=start, ids=self.ids[rows], y=self.y[rows], v=self.v[rows])

    def observe(self, r: Reflections) -> LogIntensities:
        """One more set alone, over the same reflections and normalised like the others; O(its size).

        Reflections that no set had before are left out: they cannot be compared.
        """
        _, hkl, intensity, sigma = _pooled([r])
        own, of = unique_reflections(hkl, self.rotations)
        ids = _places(own, self.hkl)[of]
        known = ids >= 0
        ids, nobody = ids[known], np.zeros(int(known.sum()), dtype=int)
        e, de = _scaled(nobody, self.level[ids], intensity[known], sigma[known], 1)
        ids, y, v = _observed(ids, e, de)
        _, ids, y, v = _averaged(np.zeros(len(ids), dtype=int), ids, y, v, len(self.hkl))
        y = _straight(np.zeros(len(ids), dtype=int), self.t[ids], y - self.mean[ids], 1 / (1 + v), 1)
        return replace(self, start=np.array([0, len(ids)]), ids=ids, y=y, v=v)

    def with_sets(self, more: LogIntensities) -> LogIntensities:
        """These sets, and more over the same reflections after them."""
        start = np.concatenate([self.start, self.start[-1] + more.start[1:]])
        return replace(
            self, start=start, ids=np.concatenate([self.ids, more.ids]), y=np.concatenate([self.y, more.y]),
            v=np.concatenate([self.v, more.v]),
        )  # fmt: skip

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
    level = _levels(owner, shell[of], intensity, len(sets))[shell] if len(of) else np.ones(len(unique))
    e, de = _scaled(owner, level[of], intensity, sigma, len(sets))
    rows, y, v = _observed(np.arange(len(of)), e, de)
    owner, of, y, v = _averaged(owner[rows], of[rows], y, v, len(unique))
    t = _standard(s2, of)
    y, mean = _level(owner, shell[of], t[of], y, 1 / (1 + v), len(sets))
    start = np.searchsorted(owner, np.arange(len(sets) + 1))
    mean = np.pad(mean, (0, max(0, int(shell.max(initial=0)) + 1 - len(mean))))[shell]
    return LogIntensities(start, of, y, v, unique, t, images, level, mean, np.asarray(rotations))


def _places(hkl: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Row of ``among`` (m, 3) that each index (n, 3) is, −1 for none."""
    span = 2 * int(max(np.abs(hkl).max(initial=0), np.abs(among).max(initial=0))) + 1
    weights = np.array([span * span, span, 1])
    key, keys = hkl @ weights, among @ weights
    order = np.argsort(keys)
    at = np.searchsorted(keys, key, sorter=order)
    found = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(key), dtype=int)
    return np.where(keys[found] == key, found, -1) if len(order) else np.full(len(key), -1)


def _observed(rows: np.ndarray, e: np.ndarray, de: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those rows (n,) that say something, their y and v."""
    fair = np.isfinite(e)
    y, v = log_observations(e[fair], de[fair], KNEE)
    said = v < 1e3
    return rows[fair][said], y[said], v[said]


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


def _mean(x: np.ndarray, by: np.ndarray, length: int) -> np.ndarray:
    """Means of groups; bright ones are cut at ten times the mean, since one may be false."""
    count = np.maximum(np.bincount(by, minlength=length), 1)
    rough = np.bincount(by, x, length) / count
    return np.bincount(by, np.minimum(x, 10 * np.abs(rough[by])), length) / count


def _levels(owner, shell, intensity, n: int) -> np.ndarray:
    """⟨I⟩ of each shell, means over rows of sets that are on one scale."""
    level = np.ones(shell.max(initial=0) + 1)
    for _ in range(5):
        scale = _scales(owner, level[shell], intensity, n)
        good = scale[owner] > 0
        if not good.any():
            break
        level = _mean(intensity[good] / scale[owner[good]], shell[good], len(level))
        level = np.maximum(level, _FAINT * max(level.max(), 1e-300))
    return level


def _scales(owner, level, intensity, n: int) -> np.ndarray:
    """k_d of each set: the mean of I/⟨I⟩ with weights ⟨I⟩, so that shells of noise say nothing; bright ones are cut at
    ten times the mean. level: (rows,)."""
    total = np.maximum(np.bincount(owner, level, n), 1e-300)
    rough = np.bincount(owner, intensity, n) / total
    return np.bincount(owner, np.minimum(intensity, 10 * level * np.abs(rough[owner])), n) / total


def _scaled(owner, level, intensity, sigma, n: int) -> tuple[np.ndarray, np.ndarray]:
    """e = I/(k_d ⟨I⟩) and its σ; NaN for sets without a positive scale. level: (rows,)."""
    scale = _scales(owner, level, intensity, n)
    scale = np.where(scale > 0, scale, np.nan)
    return intensity / (scale[owner] * level), sigma / (scale[owner] * level)


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


def _level(owner, shell, t, y, w, n: int) -> tuple[np.ndarray, np.ndarray]:
    """y without the mean of its shell, and of its set a shift and a slope; the shells' means. w: (rows,) weights."""
    means = np.zeros(shell.max(initial=0) + 1)
    for _ in range(3):
        step = np.bincount(shell, w * y, len(means)) / np.maximum(np.bincount(shell, w, len(means)), 1e-9)
        means += step
        y = _straight(owner, t, y - step[shell], w, n)
    return y, means


def _straight(owner, t, y, w, n: int) -> np.ndarray:
    """y without a shift and a slope in t of each set; a few dozen reflections tell a slope badly: a prior of 20 rows
    holds it back."""
    sums = [np.bincount(owner, w * x, n) for x in (np.ones(len(y)), t, t * t, y, t * y)]
    h00, h01, h11, g0, g1 = sums[0] + 1e-9, sums[1], sums[2] + 20, sums[3], sums[4]
    det = h00 * h11 - h01**2
    return y - ((h11 * g0 - h01 * g1) / det)[owner] - ((h00 * g1 - h01 * g0) / det)[owner] * t
