"""Laue group and space group with probabilities: agreement, absences, centres of symmetry, strain of the lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import gemmi
import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from credo.merge.absences import VIOLATIONS, Distribution, absence_evidence, centric_share, intensity_levels
from credo.model import Cell, Reflections
from credo.physics.symmetry import (
    compatible_groups,
    group_operations,
    laue_rotations,
    primitive_basis,
    unique_reflections,
)
from credo.reduce.bravais import settings_of
from credo.reduce.equivalents import systematically_absent
from credo.reduce.symmetry import customary_axes, proper_rotations, rank_laue_groups

__all__ = ["GroupCandidate", "LaueCandidate", "lattice_settings", "rank_laue", "rank_space_groups"]

#: How often a group turns up, coarsely: eight to three to one to a third. After what is common and what is hardly ever
#: met among organic crystals (CSD) and inorganic ones (ICSD).
_USUAL = {2, 4, 12, 14, 15, 19, 33, 61, 62, 63, 139, 166, 194, 221, 225, 227}
_RARE = {
    3, 6, 16, 17, 22, 25, 27, 28, 30, 32, 35, 37, 39, 42, 49, 75, 77, 80, 89, 93, 97, 98, 99, 101, 103, 105, 111,
    112, 115, 116, 143, 149, 156, 157, 158, 168, 171, 172, 177, 183, 184, 195, 196, 200, 207, 208, 209, 211,
}  # fmt: skip
_FREQUENT = {
    1, 5, 7, 9, 11, 13, 18, 20, 29, 36, 43, 55, 56, 57, 58, 59, 60, 64, 71, 72, 74, 82, 85, 86, 87, 88, 92, 96, 113,
    114, 122, 127, 129, 136, 140, 141, 142, 146, 147, 148, 152, 154, 155, 160, 161, 163, 164, 165, 167, 173, 176,
    186, 191, 193, 198, 205, 216, 217, 220, 223, 229, 230,
}  # fmt: skip
#: Reflections of one row share their structure: this part of the evidence from absences counts.
_INDEPENDENT = 0.5
#: Share of centric reflections that is found, mean and spread, in structures with a centre and without (simulated with
#: 28 % errors, benchmarks/crystals.py), and how often it means nothing, since dynamical scattering levels intensities.
_CENTRIC, _ACENTRIC = (0.54, 0.12, 0.35), (0.05, 0.08, 0.10)
#: Strain between a lattice and the symmetric one nearest to it, where no covariance tells [fraction].
_STRAIN = 0.01
#: Sets of equivalents that suffice to judge a rotation, and observations that suffice for all.
_ENOUGH, _MOST = 15, 60_000
#: ln of how often a lattice is more symmetric than its crystal by chance.
_COINCIDENCE = -2.3


@dataclass(frozen=True)
class LaueCandidate:
    """A Laue class on the axes (a, b, c) P, P = ``change``, with ``centring`` there; ``cc`` of E² under its rotations;
    ``strain`` of the lattice [fraction]."""

    laue_group: str
    probability: float
    change: np.ndarray
    centring: str
    cc: float
    strain: float


@dataclass(frozen=True)
class GroupCandidate:
    """A space-group setting with its probability; ``twin``: its enantiomorph, which intensities cannot tell from it;
    ``absences``, ``centre``: the logarithms of the evidence; ``n_absent``: observed reflections that it forbids."""

    group: gemmi.SpaceGroup
    probability: float
    twin: gemmi.SpaceGroup | None
    absences: float
    centre: float
    n_absent: int

    @property
    def symbol(self) -> str:
        return self.group.xhm()


def lattice_settings(cell: Cell, centring: str, tolerance: float = 0.03) -> list[tuple[np.ndarray, str, str]]:
    """P, centring and Laue class of the lattice's highest symmetries within a strain: (a', b', c') = (a, b, c) P.

    Several, where the lattice is near to more than one that do not include each other. The axes given are kept where
    they show the symmetry already.
    """
    p = primitive_basis(centring)
    out, covered = [], []
    for name in ("m-3m", "6/mmm", "-3m1", "4/mmm", "mmm", "2/m", "-1"):
        group = proper_rotations(laue_rotations(name))
        if _strain(cell, group) < tolerance and _keeps(group, p) and not _within(group, covered):
            covered.append(_keys(group))
            out.append((np.eye(3), centring, name))
    for s in settings_of(cell.reindexed(p), 100 * tolerance):
        change = p @ s.transform
        group = np.rint(change @ proper_rotations(laue_rotations(s.laue_group)) @ np.linalg.inv(change)).astype(int)
        if not _within(group, covered):
            covered.append(_keys(group))
            out.append((change, s.centring, s.laue_group))
    orders = [len(k) for k in covered]
    return [
        x for x, k in zip(out, covered) if len(k) == max(orders) or not any(k < other for other in covered)
    ]  # fmt: skip


def _keys(group: np.ndarray) -> frozenset[bytes]:
    return frozenset(np.asarray(r, dtype=np.int64).tobytes() for r in group)


def _within(group: np.ndarray, covered: list[frozenset[bytes]]) -> bool:
    return any(_keys(group) <= k for k in covered)


def _keeps(group: np.ndarray, p: np.ndarray) -> bool:
    """Whether rotations take a lattice with primitive axes P into itself."""
    turned = np.linalg.inv(p) @ group @ p
    return bool(np.abs(turned - np.rint(turned)).max() < 1e-6)


def _strain(cell: Cell, group: np.ndarray) -> float:
    """‖½ ln‖ of the strain that makes the metric obey the group."""
    mean = np.mean([w.T @ cell.metric @ w for w in group], axis=0)
    inverse = np.linalg.inv(np.linalg.cholesky(mean))
    return float(np.linalg.norm(0.5 * np.log(np.linalg.eigvalsh(inverse @ cell.metric @ inverse.T))))


def rank_laue(tables: Sequence[Reflections], cell: Cell, centring: str, tolerance: float = 0.03) -> list[LaueCandidate]:
    """Laue groups by falling probability, of unmerged data sets on common axes.

    Each set is brought to E² by itself, and the E² of repeated indices averaged, so that nothing need be scaled. How
    well true equivalents must agree is the data's own repeatability; false ones agree by chance (reduce/symmetry.py).
    Where there are enough, only equivalents within each set are compared: sets may be indexed in different settings.
    A lattice that has to be strained for a group speaks against it.
    """
    hkl, e2, own = _mean_e2(tables, cell)
    apart = _apart(tables, cell) if len(tables) > 1 else None
    found: dict[frozenset[bytes], tuple[float, LaueCandidate]] = {}
    for change, letter, name in lattice_settings(cell, centring, tolerance):
        here = cell.reindexed(change)
        holohedry = proper_rotations(laue_rotations(name))
        ranked = rank_laue_groups(np.rint(hkl @ change).astype(int), e2, holohedry, own_cc=own)
        if apart is not None:
            h, e, owner = apart
            within = rank_laue_groups(np.rint(h @ change).astype(int), e, holohedry, own_cc=own, owner=owner)
            whole = next(f for f in within if len(f.group) == len(holohedry))
            ranked = within if whole.pairs >= _ENOUGH else ranked
        # against no symmetry at all: what lattices with other rotations have in common
        nothing = next(f.score for f in ranked if len(f.group) == 1)
        for f in ranked:
            strain = _strain(here, f.group)
            p, centred, laue = customary_axes(here, letter, f.group, holohedry)
            chance = _COINCIDENCE if _metric_order(laue, centred) < len(holohedry) else 0.0
            score = f.score - nothing - 0.5 * (strain / _STRAIN) ** 2 + chance
            original = np.rint(change @ f.group @ np.linalg.inv(change)).astype(int)
            found.setdefault(_keys(original), (score, LaueCandidate(laue, 0.0, change @ p, centred, f.cc, strain)))
    scores = np.array([s for s, _ in found.values()])
    probability = np.exp(scores - logsumexp(scores))
    out = [replace(c, probability=float(x)) for x, (_, c) in zip(probability, found.values())]
    return sorted(out, key=lambda c: -c.probability)


def _apart(tables: Sequence[Reflections], cell: Cell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """hkl, E² and owner of the observations of the largest sets, as many as are needed."""
    order = sorted(range(len(tables)), key=lambda d: -len(tables[d]))
    total = np.cumsum([len(tables[d]) for d in order])
    parts = [_own_e2(tables[d], cell)[:2] for d in order[: int(np.searchsorted(total, _MOST)) + 1]]
    owner = np.repeat(np.arange(len(parts)), [len(h) for h, _ in parts])
    return np.concatenate([h for h, _ in parts]), np.concatenate([e for _, e in parts]), owner


def _metric_order(laue_group: str, centring: str) -> int:
    """Rotations of the lattices that a crystal of this class has of necessity."""
    if laue_group.startswith(("-3", "6")):
        return 6 if centring == "R" else 12
    return {"-1": 1, "2/m": 2, "mmm": 4, "4/m": 8, "4/mmm": 8}.get(laue_group, 24)


def _mean_e2(tables: Sequence[Reflections], cell: Cell) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Friedel-unique hkl (m, 3), mean E² (m,), and how well such means would correlate with others of the same."""
    hkl, e2, w = (np.concatenate(x) for x in zip(*(_own_e2(t, cell) for t in tables)))
    unique, of = unique_reflections(hkl, np.eye(3, dtype=int)[None])
    weight = np.bincount(of, w)
    mean = np.bincount(of, w * e2) / weight
    n = np.bincount(of)
    several = n > 1
    if several.sum() < 30:
        return unique, mean, None
    scatter = np.bincount(of, w * (e2 - mean[of]) ** 2) / np.maximum(n - 1, 1) / weight * n
    noise = float(scatter[several].mean() * np.mean(1 / n))
    total = float(np.var(mean))
    return unique, mean, float(np.clip(1 - noise / total, 0.0, 0.98)) if total > 0 else None


def _own_e2(table: Reflections, cell: Cell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """hkl, E² = I/⟨I⟩ clipped to 8, and weights of one set; ⟨I⟩ of like resolution and neighbouring frames."""
    hkl, i, s = table.hkl, table["intensity"], table["sigma"]
    phi = table["phi"] if "phi" in table else np.zeros(len(i))
    s2 = 1 / cell.d_spacing(hkl) ** 2
    level = np.full(len(i), np.nan)
    for wedge in np.array_split(np.argsort(phi, kind="stable"), int(np.clip(len(i) / 300, 1, 20))):
        for part in np.array_split(wedge[np.argsort(s2[wedge])], max(1, min(15, len(wedge) // 60))):
            mean = float(i[part].mean()) if len(part) else 0.0
            if mean > 0 and mean > 0.7 * float(np.median(s[part])):
                level[part] = mean
    good = np.isfinite(level)
    e2, noise = i[good] / level[good], s[good] / level[good]
    return hkl[good], np.clip(e2, -1, 8), 1 / (noise**2 + 0.3)


def rank_space_groups(
    merged: Reflections, cell: Cell, laue_group: str, centring: str, relative: float = 0.0
) -> list[GroupCandidate]:
    """All space groups of a Laue class and centring on these axes by falling probability.

    merged: unique reflections (h k l intensity sigma, multiplicity where known). relative: the part of an
    observation's error that is proportional to its intensity. Evidence: the reflections that a group forbids are weaker
    than others, however much dynamical scattering fills them, and those that it does not are not; the share of centric
    reflections; how often groups turn up at all. Enantiomorphs are one candidate.
    """
    hkl, i, s = merged.hkl, merged["intensity"], merged["sigma"]
    level = intensity_levels(1 / cell.d_spacing(hkl) ** 2, i)
    n = merged["multiplicity"] if "multiplicity" in merged else np.ones(len(i))
    part = relative / np.sqrt(n)
    additive = np.sqrt(np.maximum(s**2 - (part * np.maximum(i, 0)) ** 2, (0.05 * s) ** 2)) / level
    special, axial = _special(hkl, laue_group)
    general = ~special & (level > 1.0 * s)
    f, esd = centric_share(Distribution(i[general] / level[general], additive[general], part[general]))
    centre = 0.5 * _odds_of_centre(f, esd)
    evidence = _Evidence(hkl[special], axial[special], Distribution(*(x[special] for x in (i / level, additive, part))))
    groups = _distinct(compatible_groups(laue_group, centring))
    first = {g.number: g for g in reversed(groups)}
    rows = []
    for g in groups:
        twin = first.get(_enantiomorph(g.number) or 0)
        if twin is not None and twin.number < g.number:
            continue
        absences, count = evidence.of(g)
        sign = 1.0 if g.is_centrosymmetric() else -1.0
        rows.append((g, twin, absences, sign * centre, count, _log_prior(g.number)))
    score = np.array([_INDEPENDENT * r[2] + r[3] + r[5] for r in rows])
    probability = np.exp(score - logsumexp(score))
    return [
        GroupCandidate(rows[k][0], float(probability[k]), rows[k][1], rows[k][2], rows[k][3], rows[k][4])
        for k in np.argsort(-probability, kind="stable")
    ]


def _log_prior(number: int) -> float:
    for weight, numbers in ((8.0, _USUAL), (3.0, _FREQUENT), (1 / 3, _RARE)):
        if number in numbers:
            return float(np.log(weight))
    return 0.0


def _odds_of_centre(f: float, esd: float) -> float:
    """ln of the odds for a centre of symmetry, from the share of centric reflections and its uncertainty."""
    log = []
    for mean, spread, meaningless in (_CENTRIC, _ACENTRIC):
        width = np.hypot(spread, esd)
        log.append(np.log((1 - meaningless) * norm.pdf(f, mean, width) + meaningless))
    return float(log[0] - log[1])


def _distinct(groups: list[gemmi.SpaceGroup]) -> list[gemmi.SpaceGroup]:
    """Without settings that are one group under two names, as C 2 and C 2₁."""
    grid = np.array(list(np.ndindex(9, 9, 9))) - 4
    seen: dict[tuple, gemmi.SpaceGroup] = {}
    for g in groups:
        key = g.number, _keys(group_operations(g).rot), systematically_absent(grid, g.xhm()).tobytes()
        seen.setdefault(key, g)
    return list(seen.values())


def _special(hkl: np.ndarray, laue_group: str) -> tuple[np.ndarray, np.ndarray]:
    """Masks (n,): left alone by some operation, or its negative, other than ±1; and by a rotation."""
    some, axial = np.zeros(len(hkl), dtype=bool), np.zeros(len(hkl), dtype=bool)
    for r in laue_rotations(laue_group):
        if np.abs(np.trace(r)) == 3:
            continue
        same = np.all(hkl @ r == hkl, axis=1)
        some |= same
        if np.linalg.det(r) > 0:
            axial |= same
    return some, axial


class _Evidence:
    """The evidence for the absences of any group, from the special reflections."""

    def __init__(self, hkl: np.ndarray, axial: np.ndarray, data: Distribution) -> None:
        self.hkl, self.axial = hkl, axial
        # rows and planes are enhanced where a mirror goes with them, and centric or not
        kinds = [data.log_density(kind, mean) for kind in ("centric", "acentric") for mean in (1.0, 2.0)]
        self.present = logsumexp(kinds, axis=0) - np.log(len(kinds)) if len(hkl) else np.empty(0)
        self.absent = np.array([data.log_density("acentric", v) for v in VIOLATIONS])
        self.known: dict[bytes, tuple[float, int]] = {}

    def of(self, group: gemmi.SpaceGroup) -> tuple[float, int]:
        """ln evidence, and how many observed reflections the group forbids."""
        forbidden = systematically_absent(self.hkl, group.xhm()) if len(self.hkl) else np.empty(0, dtype=bool)
        key = forbidden.tobytes()
        if key not in self.known:
            gain = 0.0
            for kind in (self.axial, ~self.axial):
                mine = forbidden & kind
                gain += absence_evidence(self.present[mine], self.absent[:, mine])
            self.known[key] = gain, int(forbidden.sum())
        return self.known[key]


#: Space groups that are each other's mirror image.
_PAIRS = ((76, 78), (91, 95), (92, 96), (144, 145), (151, 153), (152, 154), (169, 170), (171, 172), (178, 179),
          (180, 181), (212, 213))  # fmt: skip


def _enantiomorph(number: int) -> int | None:
    return next((a + b - number for a, b in _PAIRS if number in (a, b)), None)
