"""Data sets sorted into phases by one model of all their log intensities; how many phases there are follows from it.

y_di = μ_{k,T(i)} + a_d + b_d t_i + noise: k the phase of set d, T its setting, μ the phase's profile, unknown, a priori
N(0, τ²). With μ integrated out, the evidence of a sorting can be computed, and one phase more costs what it must: its
reflections have to agree among its sets by more than chance. Pairs without common reflections say nothing; pairs with
few say little; what many weak pairs say together is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.phases import add_set, alone, join, join_gains, remove_set, score
from credo.merge.log_intensities import LogIntensities
from credo.merge.small_phases import small_phases

__all__ = ["GRADES", "OUTLIERS", "Phases", "find_phases", "joined"]

#: Chance that an intensity has nothing to do with the rest.
OUTLIERS = 0.05
#: Shares of σ² in the variance of y that are tried; the likeliest is kept and then refined.
_NOISE = (0.01, 0.03, 0.08, 0.2, 0.4)
#: Sets that are joined pair by pair; when there are more, the others are placed among the phases found.
_HEAD = 150
#: Sets on which the noise is tried.
_PILOT = 60
#: A set may be this many times as noisy as the rest.
GRADES = np.array([1.0, 2.0, 4.0])

#: Log odds with which a set is placed for good.
_WIDE = 30.0
#: Reflections of a set that are used: labels need no more.
_ENOUGH = 1000


@dataclass
class Phases:
    """``labels`` (n,): phase from 0, −1: none; ``settings`` (n,): place among the changes of setting of each set as it
    fits best, ``clear`` (n,): its log odds against the next; ``odds`` (n, k + 1): log of prior times likelihood in each
    phase and, last, in none; ``weight``, ``total`` (k, m): the profiles' W and S; ``share``: the part of each row of
    ``data`` in W; ``tau2``, ``sigma2``: variances of y between and within phases; ``shift`` (n, 2): a_d, b_d;
    ``grade`` (n,): σ_d²/σ²; ``curve`` (j, 2): number of groups as they were joined, and the log evidence gained since
    all sets were on their own."""

    data: LogIntensities
    labels: np.ndarray
    settings: np.ndarray
    clear: np.ndarray
    odds: np.ndarray
    weight: np.ndarray
    total: np.ndarray
    share: np.ndarray
    tau2: float
    sigma2: float
    shift: np.ndarray
    grade: np.ndarray
    curve: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def posterior(self) -> np.ndarray:
        """Probability (n, k + 1) of each phase and, last, of none."""
        return np.exp(self.odds - np.logaddexp.reduce(self.odds, axis=1, keepdims=True))

    def without(self, d: int) -> tuple[np.ndarray, np.ndarray]:
        """W and S (k, m) without the part of set d."""
        weight, total, k, r = self.weight.copy(), self.total.copy(), self.labels[d], self.data.rows(d)
        if k >= 0:
            x, image = self.data, self.data.images[self.settings[d]]
            remove_set(x.ids[r], x.y[r], x.t, weight[k], total[k], image, self.shift[d], self.share[r])
        return weight, total

    @property
    def profiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (k, m) of μ; NaN where no set of the phase has the reflection."""
        w = np.where(self.weight > 0, self.weight, np.nan)
        return self.total / (w + 1 / self.tau2), 1 / (w + 1 / self.tau2)


class _Sorter:
    """The sorting as it is being improved: W and S of each group, and what each set put into them."""

    def __init__(self, data: LogIntensities, product: np.ndarray, share: float) -> None:
        self.data, self.product = data, product
        w = 1 / (1 + data.v) ** 2
        spread = max(float(np.sum(w * (data.y**2 - data.v)) / np.sum(w)), 1e-3) if len(w) else 1.0
        self.spread, self.sigma2, self.tau2 = spread, share * spread, (1 - share) * spread
        n, m = len(data), len(data.hkl)
        self.labels, self.settings = np.full(n, -1), np.zeros(n, dtype=int)
        self.shift, self.grade, self.share = np.zeros((n, 2)), np.ones(n), np.zeros(len(data.y))
        self.weight, self.total = np.zeros((0, m)), np.zeros((0, m))
        self.odds = np.zeros((n, 1))
        self.margin, self.clear = np.zeros(n), np.full(n, np.inf)
        self._base: tuple[int, np.ndarray] = (-1, np.empty((0, 0)))

    @property
    def threshold(self) -> float:
        """Log odds that a join of two groups must have: one false join in twenty sortings of as many sets."""
        return float(np.log(max(len(self.data) * (len(self.data) - 1) / 2, 1)) + 3)

    @property
    def sizes(self) -> np.ndarray:
        """Sets in each phase (k,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.weight))

    def alone(self) -> float:
        """Log likelihood of all sets, each on its own."""
        variance = self.tau2 + self.sigma2 + self.data.v
        return float(-0.5 * np.sum(self.data.y**2 / variance + np.log(variance)))

    def join_all(self, sets: np.ndarray) -> np.ndarray:
        """Join phases and single ``sets`` while the evidence rises; the curve (j, 2) of it."""
        k = len(self.weight)
        groups = [np.flatnonzero(self.labels == g) for g in range(k)] + [np.array([d]) for d in sets]
        single = self._profiles_of(sets)
        weight, total = (np.concatenate(pair) for pair in zip((self.weight, self.total), single))
        self.settings[sets] = 0
        joins = joined(weight, total, self.data.t, self.data.images, self.tau2, self.threshold)
        for a, b, q, _ in joins:
            self.settings[groups[b]] = self.product[self.settings[groups[b]], q]
            groups[a], groups[b] = np.concatenate([groups[a], groups[b]]), np.empty(0, dtype=int)
        kept = [g for g in range(len(groups)) if len(groups[g]) > 1]
        self.weight, self.total = weight[kept], total[kept]
        self.labels[:] = -1
        for g, old in enumerate(kept):
            self.labels[groups[old]] = g
        gains = np.array([gain for *_, gain in joins])
        return np.stack([k + len(sets) - np.arange(len(joins) + 1), np.concatenate([[0], np.cumsum(gains)])], axis=1)

    def gather(self, sets: np.ndarray) -> bool:
        """Make phases of sets in none that agree together, though no two of them do beyond doubt; whether any was."""
        free = np.array([d for d in sets if self.labels[d] < 0][:_HEAD], dtype=int)
        weight, total = self._profiles_of(free)
        groups = small_phases(weight, total, self.data.t, self.data.images, self.tau2)
        for group in groups:
            for d, q in group:
                self.labels[free[d]], self.settings[free[d]] = len(self.weight), q
            self.weight = np.concatenate([self.weight, np.zeros((1, self.weight.shape[1]))])
            self.total = np.zeros_like(self.weight)
        if groups:
            self.rebuild()
        return len(groups) > 0

    def _profiles_of(self, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W and S (n, m) of single sets."""
        weight, total = np.zeros((2, len(sets), len(self.data.hkl)))
        for g, d in enumerate(sets):
            rows = self.data.rows(d)
            weight[g, self.data.ids[rows]] = 1 / (self.data.v[rows] + self.sigma2)
            total[g, self.data.ids[rows]] = self.data.y[rows] / (self.data.v[rows] + self.sigma2)
        return weight, total

    def rebuild(self) -> None:
        """W and S anew from labels and settings, set after set, so that each set's own part is known."""
        k = int(self.labels.max(initial=-1)) + 1
        self.weight, self.total = np.zeros((k, len(self.data.hkl))), np.zeros((k, len(self.data.hkl)))
        for d in np.argsort(-self.data.counts, kind="stable"):
            if self.labels[d] >= 0:
                self._fit(d, int(self.labels[d]), int(self.settings[d]))
                self._add(d)

    def _stiff(self, d: int) -> float:
        """1/variance a priori of the shift of a set: its mean is known to √(τ²/n)."""
        return max(self.data.counts[d], 1) / (2 * self.tau2)

    def _fit(self, d: int, k: int, q: int) -> float:
        """Score of set d in phase k, averaged over the grades of noise; the best one is kept."""
        r, x = self.data.rows(d), self.data
        if self._base[0] != d:
            self._base = d, alone(x.y[r], x.v[r], self.tau2, self.sigma2, OUTLIERS, GRADES)
        scores = np.empty(len(GRADES))
        score(x.ids[r], x.y[r], x.v[r], x.t, self.weight[k], self.total[k], x.images[q], self.tau2, self.sigma2,
              OUTLIERS, GRADES, self._stiff(d), self._base[1], self.shift[d], scores)  # fmt: skip
        self.grade[d] = GRADES[np.argmax(scores)]
        return float(np.logaddexp.reduce(scores) - np.log(len(scores)))

    def _add(self, d: int) -> None:
        r, x, k = self.data.rows(d), self.data, int(self.labels[d])
        add_set(x.ids[r], x.y[r], x.v[r], x.t, self.weight[k], self.total[k], x.images[self.settings[d]], self.tau2,
                self.grade[d] * self.sigma2, OUTLIERS, self.shift[d], self.share[r])  # fmt: skip

    def _remove(self, d: int) -> None:
        r, x, k = self.data.rows(d), self.data, int(self.labels[d])
        remove_set(x.ids[r], x.y[r], x.t, self.weight[k], self.total[k], x.images[self.settings[d]], self.shift[d],
                   self.share[r])  # fmt: skip

    def place(self, d: int, final: bool = False) -> bool:
        """Put set d where it is likeliest given all others; whether it moved."""
        old = int(self.labels[d]), int(self.settings[d])
        if old[0] >= 0:
            self._remove(d)
        k, q = len(self.weight), len(self.data.images)
        size = self.sizes - (np.arange(k) == old[0])
        log = np.full((k + 1, q), -np.inf)
        for a in range(k):
            if size[a] > 0:
                for b in range(q):
                    log[a, b] = np.log(size[a] / q) + self._fit(d, a, b)
        log[k, 0] = np.log(max(len(self.data) - size.sum(), 1))
        self.odds[d] = np.logaddexp.reduce(log, axis=1)
        # while phases take shape, many sets knock at every small one's door; later 3 to 1 is enough
        log[k, 0] = log[k, 0] + np.log(3) if final else np.log(20 * len(self.data))
        a, b = np.unravel_index(np.argmax(log), log.shape)
        best = np.sort(log, axis=None)
        self.margin[d] = best[-1] - best[-2] if log.size > 1 else np.inf
        if k and q > 1:
            # over the others of the same phase
            settings = np.sort(log[int(np.argmax(log[:k].max(axis=1)))])
            self.clear[d] = settings[-1] - settings[-2]
        likeliest = int(np.argmax(log[:k])) % q if k else 0
        self.labels[d], self.settings[d] = (-1, likeliest) if a == k else (a, b)
        if a < k:
            self._fit(d, int(a), int(b))
            self._add(d)
        return old[0] != self.labels[d] or (old[0] >= 0 and old[1] != self.settings[d])

    def sweep(self, sets: np.ndarray, turns: int = 10, final: bool = False) -> bool:
        """Place each of the sets, until none moves; whether any did."""
        self.odds = np.full((len(self.data), len(self.weight) + 1), -np.inf)
        self.odds[:, -1] = 0.0
        moved = False
        for _ in range(turns):
            went = [self.place(int(d), final) for d in sets]
            if not any(went):
                break
            moved = True
            # those that were placed with a wide margin and stayed will stay
            sets = sets[np.array(went) | (self.margin[sets] < _WIDE)]
        return moved

    def absorb(self) -> bool:
        """Move the sets of a small phase to a larger one, all at once, where that is likelier under robust errors (the
        evidence of a join counts outliers in full); whether any was moved."""
        size = self.sizes
        moved = False
        for small in np.argsort(size, kind="stable"):
            members = np.flatnonzero(self.labels == small)
            others = [k for k in np.flatnonzero(size >= len(members)) if k != small]
            if not len(members) or not others:
                continue
            own = self.settings[members].copy()
            best = max((self._together(members, int(k)), int(k)) for k in others)
            home = self._together(members, int(small), own)
            into = best[1] if best[0] > home else int(small)
            self._together(members, into, own if into == small else None, stay=True)
            size[small], size[into] = size[small] - len(members), size[into] + len(members)
            moved |= into != small
        return moved

    def _together(self, members, k: int, settings: np.ndarray | None = None, stay: bool = False) -> float:
        """Log likelihood of sets one after the other in phase k, of which they are no part before, nor after unless
        they ``stay``; each in its best setting, or in those given."""
        for d in members:
            if self.labels[d] >= 0:
                self._remove(int(d))
            self.labels[d] = -1
        total, came = 0.0, self.settings[members].copy()
        for i, d in enumerate(members):
            trials = range(len(self.data.images)) if settings is None else [settings[i]]
            if np.any(self.weight[k]):
                found, q = max((self._fit(int(d), k, int(q)), int(q)) for q in trials)
            else:
                found, q = self._fit(int(d), k, int(came[i])), int(came[i])
            self.labels[d], self.settings[d] = k, q
            total += found
            self._add(int(d))
        if not stay:
            for d in members:
                self._remove(int(d))
                self.labels[d] = -1
            self.settings[members] = came
        return total

    def loosen(self, order: np.ndarray) -> np.ndarray:
        """Take the sets that fit worst out of their phases; these and those in none, at most :data:`_HEAD`."""
        for d in np.flatnonzero((self.labels >= 0) & (self.grade == GRADES[-1])):
            self._remove(int(d))
            self.labels[d] = -1
        return order[self.labels[order] < 0][:_HEAD]

    def tidy(self) -> None:
        """Phases of fewer than two sets are none; the largest comes first."""
        size = self.sizes
        order = [int(k) for k in np.argsort(-size, kind="stable") if size[k] > 1]
        name = np.full(len(size) + 1, -1)
        name[order] = np.arange(len(order))
        self.labels = name[self.labels]
        self.weight, self.total = self.weight[order], self.total[order]

    def refine_noise(self) -> None:
        """σ²: the median over the sets of what their residuals against the profiles, each without its own part, say."""
        found = [self._noise(int(d)) for d in np.flatnonzero(self.labels >= 0)]
        found = [x for x in found if np.isfinite(x)]
        if found:
            self.sigma2 = float(np.clip(np.median(found), 1e-3 * self.spread, 0.6 * self.spread))
            self.tau2 = self.spread - self.sigma2

    def _noise(self, d: int) -> float:
        """Variance that the residuals of a set have beyond that of the profile and of counting."""
        x, r, k = self.data, self.data.rows(d), self.labels[d]
        j = x.images[self.settings[d], x.ids[r]]
        e = x.y[r] - self.shift[d, 0] - self.shift[d, 1] * x.t[x.ids[r]]
        own = self.grade[d] * self.sigma2
        w, s = self.weight[k, j] - self.share[r], self.total[k, j] - self.share[r] * e
        p = 1 / (np.maximum(w, 0) + 1 / self.tau2)
        trust = np.clip(self.share[r] * (x.v[r] + own), 0, 1) * (w > 1e-7) * (p < 0.5 * self.tau2)
        trust = trust / (p + x.v[r] + own) ** 2
        total = float(np.sum(trust))
        return float(np.sum(trust * ((e - s * p) ** 2 - p - x.v[r]))) / total if total > 0 else np.nan


def joined(weight, total, t, images, tau2: float, threshold: float) -> list[tuple[int, int, int, float]]:
    """(a, b, q, gain): b was put into a in setting q, in order, W and S (k, m) being changed; until nothing gains."""
    n = len(weight)
    size, alive = np.count_nonzero(weight, axis=1), np.ones(n, dtype=bool)
    gain, how = np.full((n, n), -np.inf), np.zeros((n, n), dtype=int)
    for a in range(n):
        before = alive.copy()
        before[a:] = False
        join_gains(a, weight, total, size, before, t, images, tau2, gain[a], how[a])
    joins = []
    while n > 1:
        a, b = (int(x) for x in np.unravel_index(np.argmax(gain), gain.shape))
        if gain[a, b] <= threshold:
            break
        joins.append((a, b, int(how[a, b]), float(gain[a, b])))
        join(a, b, weight, total, size, t, images[how[a, b]], tau2)
        alive[b] = False
        gain[b], gain[:, b], gain[:, a] = -np.inf, -np.inf, -np.inf
        join_gains(a, weight, total, size, alive, t, images, tau2, gain[a], how[a])
    return joins


def find_phases(data: LogIntensities, product: np.ndarray | None = None) -> Phases:
    """Sort sets into phases, and find the setting of each.

    product: (q, q), of the changes of setting that ``data.images`` holds. Groups are joined as long as the evidence
    rises (with several levels of noise, of which the likeliest is taken); then each set is placed anew among all
    others, with robust errors and a noise of its own, and phases are joined again, until nothing changes. Phases have
    two sets or more. Beyond :data:`_HEAD` sets, those with most reflections are joined, the others placed: O(N).
    """
    product = np.zeros((1, 1), dtype=int) if product is None else product
    data = data.thinned(_ENOUGH)
    order = np.argsort(-data.counts, kind="stable")
    order = order[data.counts[order] > 0]
    head, rest = order[:_HEAD], order[_HEAD:]
    sorter, curve = _best_noise(data, product, head)
    sorter.rebuild()
    for _ in range(4):
        moved = sorter.sweep(order)
        before = sorter.labels.copy()
        sorter.refine_noise()
        left = sorter.loosen(order)
        sorter.join_all(left)
        sorter.rebuild()
        if not moved and not len(rest) and _same(before, sorter.labels):
            break
        rest = rest[:0]
    for _ in range(4):
        moved = sorter.sweep(order)
        if not sorter.absorb() and not moved:
            break
    sorter.tidy()
    for _ in range(4):
        if not sorter.gather(order):
            break
        sorter.absorb()
        sorter.sweep(order, turns=3, final=True)
        sorter.tidy()
    # twice at least, as the last odds are to be those of the last profiles
    sorter.sweep(order, turns=1, final=True)
    while True:
        sorter.tidy()
        sorter.sweep(order, turns=1, final=True)
        if sorter.sizes.min(initial=2) > 1:
            break
    return Phases(
        data, sorter.labels, sorter.settings, sorter.clear, sorter.odds, sorter.weight, sorter.total, sorter.share,
        sorter.tau2, sorter.sigma2, sorter.shift, sorter.grade, curve,
    )  # fmt: skip


def _best_noise(data: LogIntensities, product: np.ndarray, head: np.ndarray) -> tuple[_Sorter, np.ndarray]:
    """The sorting of highest evidence among the levels of noise."""
    best = None
    for share in _NOISE:
        sorter = _Sorter(data, product, share)
        curve = sorter.join_all(head[:_PILOT])
        found = curve[-1, 1] + sorter.alone()
        if best is None or found > best[0]:
            best = found, sorter, curve
    assert best is not None
    sorter, curve = best[1], best[2]
    return (sorter, curve) if len(head) <= _PILOT else (sorter, sorter.join_all(head[_PILOT:]))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two labellings are the same but for names."""
    pairs = {*zip(a.tolist(), b.tolist())}
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})
