"""From one phased trial to space-group candidates with sites: each judged by how point atoms explain |E|."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.kernels.structure_factors import point_factors
from credo.physics.symmetry import laue_rotations
from credo.solve.averaging import averaged_sites
from credo.solve.deconvolve import deconvolved_sites
from credo.solve.group_phasing import absent_in
from credo.solve.normalise import PhasingData
from credo.solve.recycle import Sites, recycle, sites_of_map
from credo.solve.space_group import GroupFit, rank_groups

__all__ = [
    "ORDER_REWARD",
    "Candidate",
    "candidates_of",
    "deconvolved",
    "judge",
    "judged_sites",
    "same_operations",
    "supergroups_of",
]

#: A subgroup of index 2 has twice the sites and fits better by about this much in R (facts/structure-solution.md 2.1).
ORDER_REWARD = 0.055


@dataclass(frozen=True)
class Candidate:
    """A space group with its sites. ``r_e`` and ``cc_e``: R and correlation of |E| with point atoms."""

    fit: GroupFit
    sites: Sites
    phases: np.ndarray
    r_e: float
    cc_e: float

    @property
    def score(self) -> float:
        """R − 0.055 log2(order): the lowest is the best."""
        return self.r_e - ORDER_REWARD * float(np.log2(self.fit.order))


def candidates_of(
    data: PhasingData, transform: np.ndarray, laue_group: str, centring: str, n_atoms: float, most: int = 8
) -> list[Candidate]:
    """Candidates by rising score. transform (n,): P1 phases at ``data.hkl``; ``n_atoms`` in the primitive cell."""
    first = _judge_all(data, transform, rank_groups(data, transform, laue_group, centring), n_atoms, most)
    if not first:
        return []
    # with the phases of the best group, supergroups that the P1 phases were too coarse for show themselves
    best = first[0]
    higher = [
        f
        for f in rank_groups(data, best.phases, laue_group, centring)
        if f.order > best.fit.order and f.worst > 0.75 and f.symbol not in {c.fit.symbol for c in first}
    ]
    second = _judge_all(data, best.phases, higher, n_atoms, 3) if higher else []
    return sorted([*first, *second], key=lambda c: c.score)


def _judge_all(
    data: PhasingData, transform: np.ndarray, fits: list[GroupFit], n_atoms: float, most: int
) -> list[Candidate]:
    if not fits:
        return []
    top = max(f.worst for f in fits)
    # good phases leave little doubt
    likely = [f for f in fits if f.worst >= (0.55 if top < 0.75 else 0.75) * top]
    # the higher the order, the more an equal agreement means
    likely.sort(key=lambda f: -(f.agreement + 0.03 * np.log2(f.order)))
    judged = (judge(data, f, *recycle(data, transform, f), n_atoms) for f in _distinct(likely, most))
    return sorted(judged, key=lambda c: c.score)


def _distinct(fits: list[GroupFit], most: int) -> list[GroupFit]:
    """The first fits that are not one group in two settings."""
    chosen: list[GroupFit] = []
    for fit in fits:
        if len(chosen) < most and not any(same_operations(fit, other) for other in chosen):
            chosen.append(fit)
    return chosen


def supergroups_of(
    data: PhasingData, candidate: Candidate, xyz: np.ndarray, weight: np.ndarray, laue_group: str, centring: str
) -> list[Candidate]:
    """Groups of higher order that the phases of a structure obey, its atoms averaged: sites (n, 3) on conventional
    axes, weights (n,).

    Within one Laue class a supergroup is centrosymmetric, so a centrosymmetric candidate has none.
    """
    fit = candidate.fit
    if fit.order == len(laue_rotations(laue_group)):
        return []
    rot = fit.operations.rot.astype(float)
    sites = np.ascontiguousarray(xyz @ np.linalg.inv(data.basis).T)
    f = point_factors(data.hkl.astype(float), rot, fit.operations.trans, sites, weight).sum(axis=1)
    phases = data.e * np.exp(-1j * np.angle(f))
    fits = [g for g in rank_groups(data, phases, laue_group, centring) if g.order > fit.order and g.worst > 0.6]
    every = (np.einsum("rij,nj->nri", rot, sites) + fit.operations.trans).reshape(-1, 3)
    return [_averaged(data, g, every, np.repeat(weight, fit.order)) for g in _distinct(fits, 3)]


def _averaged(data: PhasingData, fit: GroupFit, every: np.ndarray, weight: np.ndarray) -> Candidate:
    """Atoms (n, 3) of a primitive cell, as one candidate of a higher group."""
    return judged_sites(data, fit, averaged_sites(every - fit.shift, weight, fit.operations, data.cell.metric))


def judged_sites(data: PhasingData, fit: GroupFit, sites: Sites) -> Candidate:
    """Sites at the group's origin, their heights taken for scattering powers, with the phases that they give."""
    calc = _point_factors(data, sites, fit).sum(axis=1)
    return Candidate(fit, sites, data.e * np.exp(-1j * np.angle(calc)), *_agreement(data, fit, np.abs(calc)))


def deconvolved(data: PhasingData, candidate: Candidate, n_atoms: float, rounds: int = 3) -> Candidate:
    """The candidate with sites found one after another, then phased by them and found again as long as that helps."""
    best, phases = None, candidate.phases
    for _ in range(rounds):
        sites = deconvolved_sites(data, candidate.fit, phases, n_atoms)
        if not len(sites.xyz):
            break
        calc = _point_factors(data, sites, candidate.fit).sum(axis=1)
        r, cc = _agreement(data, candidate.fit, np.abs(calc))
        if best is not None and cc < best.cc_e + 0.005:
            break
        best = Candidate(candidate.fit, sites, phases, r, cc)
        # the model stands at the group's origin already; a map's transform has the other sign
        here = replace(candidate.fit, shift=np.zeros(3))
        phases, _ = recycle(data, data.e * np.exp(-1j * np.angle(calc)), here, 6)
    return best or candidate


def judge(data: PhasingData, fit: GroupFit, phases: np.ndarray, rho: np.ndarray, n_atoms: float) -> Candidate:
    """The sites of a map in a group, and how they explain |E|. phases (n,): at the group's origin."""
    sites = sites_of_map(data, rho, fit, max(4, round(1.15 * n_atoms)))
    if len(sites.xyz) == 0:
        return Candidate(fit, sites, phases, 1.0, 0.0)
    sites, cc = _enough_sites(data, sites, fit)
    r, _ = _agreement(data, fit, np.abs(_point_factors(data, sites, fit).sum(axis=1)))
    return Candidate(fit, sites, phases, r, cc)


def _agreement(data: PhasingData, fit: GroupFit, calc: np.ndarray) -> tuple[float, float]:
    """(R of the strong |E|, correlation of all) with calculated moduli (n,)."""
    allowed = ~absent_in(data, fit)
    calc = calc * allowed
    scale = float(calc @ data.e / max(calc @ calc, 1e-30))
    strong = (data.i_over_sigma > 2) & allowed
    if strong.sum() < 10:
        strong = (data.e >= np.quantile(data.e, 0.5)) & allowed
    cc = float(np.corrcoef(calc, data.e)[0, 1]) if np.ptp(calc) > 0 else 0.0
    return float(np.abs(scale * calc - data.e)[strong].sum() / data.e[strong].sum()), cc


def _point_factors(data: PhasingData, sites: Sites, fit: GroupFit) -> np.ndarray:
    """(n, sites): each site's contribution to the structure factor of point atoms."""
    weight = sites.height * sites.multiplicity / len(fit.operations)
    ops = fit.operations
    return point_factors(data.hkl.astype(float), ops.rot.astype(float), ops.trans, sites.xyz, weight)


def _enough_sites(data: PhasingData, sites: Sites, fit: GroupFit) -> tuple[Sites, float]:
    """The fewest of the highest sites that explain |E| about as well as any number of them."""
    strong = np.argsort(-data.e)[:3000]
    part = PhasingData(
        data.cell, data.basis, data.hkl[strong], data.e[strong], data.f[strong], data.i_over_sigma[strong],
        data.unique[strong], data.rotations, data.d_min, data.merged,
    )  # fmt: skip
    total = np.abs(np.cumsum(_point_factors(part, sites, fit), axis=1))
    e = part.e - part.e.mean()
    total -= total.mean(axis=0)
    cc = e @ total / np.sqrt(np.maximum((e @ e) * np.einsum("ij,ij->j", total, total), 1e-30))
    n = int(np.argmax(cc >= cc.max() - 0.004)) + 1
    return Sites(sites.xyz[:n], sites.height[:n], sites.multiplicity[:n]), float(cc[n - 1])


def same_operations(a: GroupFit, b: GroupFit, tolerance: float = 0.03) -> bool:
    """Whether two fits are one group in two settings that differ by their origin only."""
    if a.group.number != b.group.number or a.order != b.order:
        return False
    first, second = (
        {r.tobytes(): t + s.shift - r @ s.shift for r, t in zip(s.operations.rot, s.operations.trans)} for s in (a, b)
    )
    if first.keys() != second.keys():
        return False
    gap = np.array([first[k] - second[k] for k in first])
    return bool(np.abs(gap - np.rint(gap)).max() < tolerance)
