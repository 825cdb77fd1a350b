"""The Laue group: which rotations of the lattice the intensities obey, judged together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import Cell, Experiment, Reflections, Report
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.reduce.bravais import closure, setting_of_group
from credo.reduce.statistics import usable

__all__ = [
    "LaueFit", "SymmetrySettings", "customary_axes", "find_laue_group", "laue_name", "proper_rotations",
    "rank_laue_groups",
]  # fmt: skip


class SymmetrySettings(BaseModel):
    """How symmetry is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    laue_group: str | None = Field(default=None, description="known Laue group (None: found)")
    spread: float = Field(
        default=0.15, gt=0, description="how far from nought a false operation's correlation may stray"
    )


@dataclass(frozen=True)
class _Operation:
    rotation: np.ndarray
    cc: float
    n: int


def find_laue_group(
    experiment: Experiment, reflections: Reflections, settings: SymmetrySettings | None = None
) -> tuple[Experiment, Reflections, Report]:
    """Set ``Crystal.laue_group``, reindexing where a lower system has other customary axes.

    Every rotation of the lattice gets the correlation of E² between h and hR. A subgroup is likely when its own
    rotations correlate like the data with themselves and the others do not; the likeliest wins. Dynamical scattering
    lowers all true correlations alike, so the scale is the data's own.
    """
    settings = settings or SymmetrySettings()
    crystal = experiment.crystal
    holohedry = proper_rotations(laue_rotations(crystal.laue_group))
    if settings.laue_group is not None or len(holohedry) == 1:
        name = settings.laue_group or "-1"
        changed = _with_laue(experiment, name)
        return changed, reflections, Report({"laue_group": name, "laue_candidates": []})
    main = usable(reflections)
    main = main.select(main["lattice"] == 0)
    ranked = rank_laue_groups(*_normalised(main, crystal), holohedry, settings.spread)
    rows = [
        {"laue_group": laue_name(f.group), "order": len(f.group), "score": round(f.score, 2), "cc": round(f.cc, 3)}
        for f in ranked[:8]
    ]
    chosen = ranked[0].group
    experiment, reflections = _in_standard_axes(experiment, reflections, chosen, holohedry)
    name = experiment.crystal.laue_group
    warnings = []
    runner = next((r for r in rows[1:] if r["score"] > -3), None)
    if runner:
        warnings.append(
            f"The Laue group {name} is hardly likelier than {runner['laue_group']}: few or noisy equivalents."
        )
    numbers = {"laue_group": name, "laue_candidates": rows, "laue_cc": ranked[0].cc}
    return experiment, reflections, Report(numbers, tuple(warnings))


@dataclass(frozen=True)
class LaueFit:
    """A group (n, 3, 3) of rotations, its log-likelihood below the best one's, the mean CC of E² under it, and how many
    sets of equivalents tell of the rotation of which least is known."""

    group: np.ndarray
    score: float
    cc: float
    pairs: int


def rank_laue_groups(
    hkl: np.ndarray,
    e2: np.ndarray,
    holohedry: np.ndarray,
    spread: float = 0.15,
    own_cc: float | None = None,
    owner: np.ndarray | None = None,
) -> list[LaueFit]:
    """All subgroups of a lattice's rotations (n, 3, 3), the likeliest first, from E² (m,) of observations (m, 3).

    own_cc: how well E² correlates with itself when measured again, where that is known; else from repeated indices.
    owner: (m,) data set of each; then only observations of one set are compared, which holds in whatever setting each
    was indexed.
    """
    owner = np.zeros(len(hkl), dtype=np.int64) if owner is None else owner
    telling = _general(hkl, holohedry)
    if telling.sum() > 100:
        hkl, e2, owner = hkl[telling], e2[telling], owner[telling]
    orbit = unique_reflections(hkl, holohedry)[1] if len(hkl) else np.empty(0, dtype=int)
    operations = [_correlation(hkl, e2, r, orbit, owner) for r in holohedry]
    identity = next(o for o in operations if np.array_equal(o.rotation, np.eye(3)))
    others = [o for o in operations if o is not identity]
    own = own_cc if own_cc is not None else identity.cc if identity.n > 30 else 0.0
    best_cc = float(np.clip(max([own, *(o.cc for o in others)]), 0.3, 0.98))
    scored = [(_log_likelihood(group, others, best_cc, spread), group) for group in _subgroups(holohedry)]
    scored.sort(key=lambda t: (-t[0], -len(t[1])))
    return [LaueFit(g, s - scored[0][0], _mean_cc(g, others), _fewest(g, others)) for s, g in scored]


def proper_rotations(rotations: np.ndarray) -> np.ndarray:
    """Those (n, 3, 3) of determinant 1."""
    return rotations[np.rint(np.linalg.det(rotations)) == 1]


def _normalised(reflections: Reflections, crystal) -> tuple[np.ndarray, np.ndarray]:
    """hkl (n, 3) and E² = I/⟨I⟩ (n,), the strongest clipped so that none rules the correlation.

    ⟨I⟩ is that of the reflections of like resolution on neighbouring frames, since data are not scaled yet: crystals
    turn out of the beam, and fade.
    """
    hkl, i = reflections.hkl, reflections["intensity"]
    s2 = 1 / crystal.cell.d_spacing(hkl) ** 2
    e2 = np.zeros(len(i))
    keep = np.zeros(len(i), dtype=bool)
    wedges = np.array_split(np.argsort(reflections["phi"], kind="stable"), int(np.clip(len(i) / 300, 1, 20)))
    for wedge in wedges:
        for part in np.array_split(wedge[np.argsort(s2[wedge])], max(1, min(15, len(wedge) // 60))):
            mean = float(i[part].mean()) if len(part) else 0.0
            if mean > 0 and mean > 2 * float(np.median(reflections["sigma"][part])):
                e2[part], keep[part] = i[part] / mean, True
    return hkl[keep], np.clip(e2[keep], -1, 8)


def _general(hkl: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Mask (n,) of reflections that no rotation but the identity takes to ±h.

    The others are equivalent to themselves, whatever the group, and would lift the correlations of false operations.
    """
    images = np.einsum("ni,rij->nrj", hkl, rotations)
    own = np.all(images == hkl[:, None], axis=2) | np.all(images == -hkl[:, None], axis=2)
    return own.sum(axis=1) == 1


def _correlation(
    hkl: np.ndarray, e2: np.ndarray, rotation: np.ndarray, orbit: np.ndarray, owner: np.ndarray
) -> _Operation:
    """CC of E² over pairs (h, ±hR) of different observations; ``orbit`` (n,): which are equivalent in the lattice."""
    span = 4 * int(np.abs(hkl).max(initial=1)) + 3
    weights = np.array([span * span, span, 1])
    shift = owner.astype(np.int64) * span**3
    key = hkl @ weights + shift
    order = np.argsort(key, kind="stable")
    values, pairs = key[order], []
    for sign in (1, -1):
        wanted = sign * (hkl @ rotation) @ weights + shift
        left, right = np.searchsorted(values, wanted, "left"), np.searchsorted(values, wanted, "right")
        for k in range(int((right - left).max(initial=0))):
            has = left + k < right
            a, b = np.flatnonzero(has), order[(left + k)[has]]
            other = a < b
            pairs.append((a[other], b[other]))
    a, b = (np.concatenate(p) for p in zip(*pairs)) if pairs else (np.empty(0, int), np.empty(0, int))
    if len(a) < 5 or np.std(e2[a]) == 0 or np.std(e2[b]) == 0:
        return _Operation(rotation, 0.0, 0)
    both = np.concatenate([e2[a], e2[b]]), np.concatenate([e2[b], e2[a]])
    # equivalents of equivalents repeat each other: as many pairs count as there are orbits
    return _Operation(rotation, float(np.corrcoef(*both)[0, 1]), len(np.unique(orbit[a])))


def _subgroups(rotations: np.ndarray) -> list[np.ndarray]:
    """Distinct subgroups generated by up to two elements (all that crystal classes need), the trivial one included."""
    found: dict[frozenset, np.ndarray] = {}
    n = len(rotations)
    for i in range(n):
        for j in range(i, n):
            group = closure((rotations[i], rotations[j]))
            if group is not None:
                found.setdefault(frozenset(r.tobytes() for r in group), group)
    return list(found.values())


def _log_likelihood(group: np.ndarray, others: list[_Operation], cc: float, spread: float) -> float:
    """Σ ln p(cc) with the group's rotations expected at (0.8 ± 0.2) ``cc`` and the rest at 0 ± ``spread``."""
    inside = {r.tobytes() for r in group}
    total = 0.0
    for o in others:
        if o.n < 5:
            continue
        own = o.rotation.tobytes() in inside
        sd2 = (0.2 * cc if own else spread) ** 2 + 1 / o.n
        off = o.cc - (0.8 * cc if own else 0.0)
        # better agreement than expected is no evidence against
        if (off > 0) == own:
            off = 0.0
        total -= 0.5 * off * off / sd2
    return total


def _fewest(group: np.ndarray, others: list[_Operation]) -> int:
    inside = {r.tobytes() for r in group}
    return min((o.n for o in others if o.rotation.tobytes() in inside), default=0)


def _mean_cc(group: np.ndarray, others: list[_Operation]) -> float:
    inside = {r.tobytes() for r in group}
    values = [o.cc for o in others if o.rotation.tobytes() in inside and o.n >= 5]
    return float(np.mean(values)) if values else float("nan")


def laue_name(group: np.ndarray) -> str:
    """The Laue class that a group (n, 3, 3) of rotations on its customary axes makes with the inversion."""
    traces = [int(np.trace(r)) for r in group]
    match len(group):
        case 1:
            return "-1"
        case 2:
            return "2/m"
        case 3:
            return "-3"
        case 4:
            return "4/m" if 1 in traces else "mmm"
        case 6:
            if 2 in traces:
                return "6/m"
            along_a = any(t == -1 and np.array_equal(r @ [1, 0, 0], [1, 0, 0]) for r, t in zip(group, traces))
            return "-3m1" if along_a else "-31m"
        case 8:
            return "4/mmm"
        case 12:
            return "6/mmm" if 2 in traces else "m-3"
    return "m-3m"


def _in_standard_axes(experiment, reflections, group, holohedry):
    """Reindex to the axes that are customary for the group, unless it is the lattice's own system."""
    crystal = experiment.crystal
    p, centring, name = customary_axes(crystal.cell, crystal.centring, group, holohedry)
    if np.array_equal(p, np.eye(3)):
        return _with_laue(experiment, name), reflections
    new = crystal.reindexed(p, centring=centring, laue_group=name)
    hkl = np.rint(reflections.hkl @ p).astype(int)
    return (
        experiment.replace(crystals=(new, *experiment.crystals[1:])),
        reflections.with_columns(hkl=np.where((reflections["lattice"] == 0)[:, None], hkl, reflections.hkl)),
    )


def customary_axes(cell: Cell, centring: str, group: np.ndarray, holohedry: np.ndarray) -> tuple[np.ndarray, str, str]:
    """P (3, 3) with (a', b', c') = (a, b, c) P, the centring there, and the Laue class that ``group`` then is.

    P is 1 where the lattice's own axes are those of the group's system.
    """
    parent = _axes_group(group, holohedry)
    # the lattice's primitive basis is where settings are sought; here the conventional one serves with its centring
    setting = None if len(parent) == len(holohedry) else setting_of_group(cell, parent, centring)
    if setting is None:
        return np.eye(3), centring, laue_name(group)
    p = setting.transform
    turned = np.rint(np.linalg.inv(p) @ group @ p).astype(int)
    return p, setting.centring, laue_name(turned)


def _axes_group(group: np.ndarray, holohedry: np.ndarray) -> np.ndarray:
    """The smallest holohedral group that holds ``group``: its axes are the customary ones."""
    if laue_name(group) in ("-1", "2/m", "mmm", "4/mmm", "6/mmm", "m-3m"):
        return group
    inside = {r.tobytes() for r in group}
    bigger = [
        g for g in _subgroups(holohedry)
        if inside <= {r.tobytes() for r in g} and laue_name(g) in ("4/mmm", "6/mmm", "m-3m", "-3m1", "-31m")
    ]  # fmt: skip
    return min(bigger, key=len, default=holohedry)


def _with_laue(experiment: Experiment, name: str) -> Experiment:
    return experiment.replace(crystals=tuple(c.replace(laue_group=name) for c in experiment.crystals))
