"""Elements once more, after least squares: each exchange that makes the calculated amplitudes agree better is made."""

from __future__ import annotations

import gemmi
import numpy as np

from credo.kernels.structure_factors import point_factors
from credo.model import Structure
from credo.physics.structure_factors import electron_factor
from credo.physics.symmetry import group_operations
from credo.solve.chemistry import SHORT, contacts
from credo.solve.composition import light_and_heavy
from credo.solve.refine.data import Observed

__all__ = ["multiplicities", "retyped"]

#: What a share of 1 of the atoms that is not the formula's costs, in units of 2 ln R1.
_COMPOSITION = 1.0
#: What a bond costs that is shorter than chemistry allows, per site and in proportion to what it lacks.
_BOND = 8.0
#: Exchanges are sought among so many sites, those that ask for another element the loudest.
_MOST = 40


def retyped(structure: Structure, observed: Observed, formula: dict[str, float], rounds: int = 12) -> Structure:
    """The structure with elements exchanged; as it is, where the formula names fewer than two.

    All sites get the median displacement first: theirs have made up for wrong elements. The cost is 2 ln R1 of
    amplitudes, plus the distance from the formula, plus bonds that are too short for their elements: by scattering
    alone Na can hardly be told from O, but no Na lies 1.6 Å from Si.
    """
    kinds = light_and_heavy(formula)
    if len(kinds) < 2 or len(structure.atoms) < 2 or not {a.element for a in structure.atoms} <= {e for e, _ in kinds}:
        return structure
    trial = _Typing(structure, observed, kinds)
    for _ in range(rounds):
        if not trial.improve():
            break
    names = [kinds[k][0] for k in trial.kind]
    if all(a.element == e for a, e in zip(structure.atoms, names)):
        return structure
    count: dict[str, int] = {}
    atoms = []
    for a, e in zip(structure.atoms, names):
        count[e] = count.get(e, 0) + 1
        u = a.u_iso if a.element == e else trial.u
        atoms.append(a.replace(element=e, label=f"{e}{count[e]}", u_iso=u))
    return structure.replace(atoms=tuple(atoms))


class _Typing:
    """Which element each site has, and what a change would cost."""

    def __init__(self, structure: Structure, observed: Observed, kinds: list[tuple[str, float]]) -> None:
        group = gemmi.SpaceGroup(structure.space_group)
        ops = group_operations(group)
        xyz = np.array([a.xyz for a in structure.atoms])
        self.mult = multiplicities(xyz, group)
        self.u = float(np.median([a.u_iso for a in structure.atoms]))
        strong = np.argsort(-observed.f2)[:3000]
        hkl = observed.hkl[strong]
        s2 = 0.25 / structure.cell.d_spacing(hkl) ** 2
        self.fo = np.sqrt(np.maximum(observed.f2[strong], 0))
        weight = self.mult * len(ops) ** -1.0
        c = point_factors(hkl.astype(float), ops.rot.astype(float), ops.trans, xyz, weight)
        self.c = c * np.exp(-8 * np.pi**2 * self.u * s2)[:, None].astype(np.float32)
        self.f = np.array([electron_factor(e, s2) for e, _ in kinds])
        self.target = np.array([share for _, share in kinds])
        names = [e for e, _ in kinds]
        self.kind = np.array([names.index(a.element) for a in structure.atoms])
        self.radius = np.array([gemmi.Element(e).covalent_r for e in names])
        self.bonds = contacts(structure)
        self.total = np.einsum("ni,in->n", self.c, self.f[self.kind])

    def _r1(self, f: np.ndarray) -> np.ndarray:
        """R1 (m,) of amplitudes for columns (n, m) of structure factors, each on its own scale."""
        a = np.abs(f)
        scale = (self.fo @ a) / np.maximum(np.einsum("nm,nm->m", a, a), 1e-30)
        return np.abs(self.fo[:, None] - scale * a).sum(axis=0) / self.fo.sum()

    def _penalty(self, kind: np.ndarray) -> float:
        have = np.bincount(kind, self.mult, len(self.target)) / self.mult.sum()
        i, j, d = self.bonds
        r = self.radius[kind]
        short = np.maximum(SHORT - d / (r[i] + r[j]), 0) @ self.mult[i] / self.mult.sum()
        return _COMPOSITION * float(np.abs(have - self.target).sum()) + _BOND * float(short)

    def improve(self) -> bool:
        """The best single change or exchange, made if it lowers the cost."""
        single = self._singles()
        now = 2 * np.log(self._r1(self.total[:, None])[0]) + self._penalty(self.kind)
        best, change = self._best(single)
        if best >= now - 1e-3:
            return False
        for i, k in change:
            self.total = self.total + (self.f[k] - self.f[self.kind[i]]) * self.c[:, i]
            self.kind[i] = k
        return True

    def _singles(self) -> list[tuple[float, int, int]]:
        """(R1, site, element) of every single change, the best first."""
        out = []
        for k in range(len(self.f)):
            d = (self.f[k][:, None] - self.f[self.kind].T) * self.c
            r = self._r1(self.total[:, None] + d)
            out += [(float(r[i]), i, k) for i in range(len(self.kind)) if self.kind[i] != k]
        return sorted(out)

    def _best(self, single: list[tuple[float, int, int]]) -> tuple[float, list[tuple[int, int]]]:
        moves = [[(i, k)] for _, i, k in single]
        loud = single[:_MOST]
        moves += [
            [(i, k), (j, m)] for n, (_, i, k) in enumerate(loud) for _, j, m in loud[n + 1 :]
            if i != j and self.kind[i] == m and self.kind[j] == k
        ]  # fmt: skip
        best: tuple[float, list[tuple[int, int]]] = (np.inf, [])
        for start in range(0, len(moves), 64):
            part = moves[start : start + 64]
            f = np.repeat(self.total[:, None], len(part), axis=1)
            penalties = []
            for n, move in enumerate(part):
                kind = self.kind.copy()
                for i, k in move:
                    f[:, n] += (self.f[k] - self.f[self.kind[i]]) * self.c[:, i]
                    kind[i] = k
                penalties.append(self._penalty(kind))
            cost = 2 * np.log(np.maximum(self._r1(f), 1e-6)) + np.array(penalties)
            n = int(np.argmin(cost))
            if cost[n] < best[0]:
                best = float(cost[n]), part[n]
        return best


def multiplicities(xyz: np.ndarray, group: gemmi.SpaceGroup) -> np.ndarray:
    """(n,) images of each site, centring not counted."""
    ops = group_operations(group)
    images = (np.einsum("rij,nj->nri", ops.rot, xyz) + ops.trans) % 1.0
    centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
    gap = images[:, :, None] - xyz[:, None, None] + centrings
    same = np.all(np.abs(gap - np.rint(gap)) < 5e-3, axis=-1).any(axis=-1)
    return len(ops) / np.maximum(same.sum(axis=1), 1)
