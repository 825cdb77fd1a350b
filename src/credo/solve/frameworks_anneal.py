"""T sites by simulated annealing: a net of four-connected points that explains |F|, from data of 1.8 Å or coarser.

In the manner of ZEFSA II (Falcioni & Deem, J. Chem. Phys. 110 (1999) 1754), for single-crystal moduli. A tetrahedron
scatters as T with half of its four oxygens spread over a sphere of 1.61 Å, f_T + 2 f_O sin(2πqR)/(2πqR), so no oxygen
needs a place before the net is known; finer data would only show that it has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import gemmi
import numpy as np

from credo.kernels.anneal import anneal, contact_table
from credo.kernels.waves import orbits
from credo.model import CannotDo, Cell
from credo.physics.structure_factors import electron_factor
from credo.solve.frameworks_waves import Waves, waves_of

__all__ = ["Moduli", "NetSearch", "NetSites", "net_search"]

#: T–O [Å]; sites nearer than ``CLASH`` cannot both be T; within ``BOND`` they share an oxygen.
T_O, CLASH, BOND = 1.61, 2.5, 3.7
#: T atoms per 1000 Å³ of known frameworks, a little widened.
DENSITY = (12.0, 20.6)
#: The search looks no further than this [Å], and its grid is this fine [Å].
FINEST, STEP = 1.8, 0.5
#: Costs of a wrong number of neighbours and of a clash; temperatures from hot to cold, all in units of correlation.
PENALTY, HEAT = (0.15, 0.5), (0.03, 0.003)
#: Every other trial begins with one of the best few nets so far, less this share of its sites, this warm.
_ELITE, _LOST, _WARM = 4, 0.3, 0.012
#: Independent points of the grid up to which all pairs of them are tried.
_ENUMERATED = 1500
#: Unique reflections without which nothing can be said (sodalite has 13 to 1.8 Å).
_FEWEST = 8


@dataclass(frozen=True)
class Moduli:
    """Unique reflections hkl (n, 3) on conventional axes and their |F| (n,)."""

    hkl: np.ndarray
    f: np.ndarray


@dataclass(frozen=True)
class NetSites:
    """One trial's net: ``xyz`` (n, 3) fractions; ``cc``: correlation with |F|; ``merit``: the same less penalties."""

    xyz: np.ndarray
    merit: float
    cc: float


@dataclass(frozen=True)
class NetSearch:
    """The arrays of one group that every trial uses: see :func:`credo.kernels.anneal.anneal`."""

    waves: Waves
    added: np.ndarray
    columns: np.ndarray
    moduli: np.ndarray
    table: np.ndarray
    allowed: np.ndarray
    atoms: tuple[float, float]

    def trials(self, moves: int, seed: int) -> Iterator[NetSites]:
        """Every net of one or two sites, the best first, then trials without end, each from an empty cell."""
        yield from self._small_nets()
        w, elite = self.waves, []
        for number in count():
            rng = np.random.default_rng([seed, number])
            most = min(200, 2 + int(3 * self.atoms[1] / len(w.rot)) + 8)
            start, heat = np.empty(0, dtype=np.int64), HEAT
            if len(elite) >= _ELITE and number % 2:
                start = elite[int(rng.integers(_ELITE))][2]
                start, heat = start[rng.random(len(start)) > _LOST], (_WARM, HEAT[1])
            merit, cc, site = anneal(
                self.added, self.columns, self.moduli, self.table, w.weight.astype(float), w.around, self.allowed,
                most, self.atoms, PENALTY, heat, moves, start, rng,
            )  # fmt: skip
            yield NetSites(w.points[site], float(merit), float(cc))
            elite = sorted([*elite, (-float(merit), number, site)])[:_ELITE]

    def _small_nets(self, most: int = 20) -> Iterator[NetSites]:
        """Annealing may miss a net of two special positions (SOD in P -4 3 n), of which there are few enough to try."""
        bonds, clash, weight = self.table & 15, self.table >> 4, self.waves.weight
        own = np.diag(bonds)
        free = np.flatnonzero(np.diag(clash) == 0)
        nets = [np.array([p]) for p in free[own[free] == 4]]
        if len(free) <= _ENUMERATED:
            for p in free:
                q = free[free > p]
                back = bonds[p, q] * weight[p] / weight[q]
                q = q[(clash[p, q] == 0) & (own[p] + bonds[p, q] == 4) & (np.rint(own[q] + back) == 4) & (back > 0)]
                nets += [np.array([p, x]) for x in q]
        nets = [n for n in nets if self.atoms[0] <= weight[n].sum() <= self.atoms[1]]
        found = sorted(((self._correlation(n), i) for i, n in enumerate(nets)), reverse=True)
        for cc, i in found[:most]:
            yield NetSites(self.waves.points[nets[i]], cc, cc)

    def _correlation(self, site: np.ndarray) -> float:
        """Of the moduli with those of T on these points."""
        f = self.added[site].sum(axis=0)
        first, second = self.columns.T
        v = np.sqrt(f[first] ** 2 + np.where(first == second, 0, f[second] ** 2))
        return float(np.corrcoef(v, self.moduli)[0, 1]) if np.ptp(v) > 0 else 0.0


def net_search(
    cell: Cell, group: gemmi.SpaceGroup, moduli: Moduli, element: str = "Si", step: float = STEP,
    density: tuple[float, float] = DENSITY,
) -> NetSearch:  # fmt: skip
    """Everything that trials in one group need; ``step`` [Å]: of the grid."""
    d = cell.d_spacing(moduli.hkl)
    d_min = max(FINEST, float(d.min()))
    waves = waves_of(cell, group, d_min, d_min / step)
    f, seen = _measured(waves, moduli)
    if seen.sum() < _FEWEST:
        raise CannotDo(f"only {int(seen.sum())} reflections to {d_min:.2f} Å", f"the search needs at least {_FEWEST}")
    columns = waves.columns[seen]
    used, renumbered = np.unique(columns, return_inverse=True)
    parent = waves.parent[used]
    glob = _tetrahedron(waves.s2, element) / np.sqrt(waves.multiplicity)
    added = waves.basis[:, used] * glob[parent] * waves.weight[:, None]
    m = f[seen] - f[seen].mean()
    table = _contacts(waves)
    v = cell.volume / 1000
    return NetSearch(
        waves, np.ascontiguousarray(added, dtype=np.float32), renumbered.reshape(-1, 2),
        (m / np.linalg.norm(m)).astype(np.float32), table, np.flatnonzero(np.diag(table) < 16),
        (density[0] * v, density[1] * v),
    )  # fmt: skip


def _measured(waves: Waves, moduli: Moduli) -> tuple[np.ndarray, np.ndarray]:
    """(|F| (n,), measured (n,) bool) of the waves' reflections."""
    row: dict[tuple[int, ...], int] = {}
    images = np.einsum("ni,rij->nrj", waves.hkl, np.unique(waves.rot, axis=0))
    for n, several in enumerate(images):
        for h in several:
            row[tuple(h)] = row[tuple(-h)] = n
    f, seen = np.zeros(len(waves.hkl)), np.zeros(len(waves.hkl), dtype=bool)
    for h, value in zip(moduli.hkl, moduli.f):
        n = row.get(tuple(int(x) for x in h))
        if n:
            f[n], seen[n] = value, True
    return f, seen


def _tetrahedron(s2: np.ndarray, element: str) -> np.ndarray:
    """Scattering of TO₂ as a ball, with a displacement of 0.02 Å²."""
    x = 4 * np.sqrt(s2) * T_O  # 2qR of np.sinc's sin(πx)/(πx)
    return (electron_factor(element, s2) + 2 * electron_factor("O", s2) * np.sinc(x)) * np.exp(
        -8 * np.pi**2 * 0.02 * s2
    )


def _contacts(waves: Waves) -> np.ndarray:
    shape = np.array(waves.shape)
    which, first = orbits(waves.shape, waves.rot, waves.trans * shape)
    reach = np.ceil(BOND * np.linalg.norm(waves.cell.B, axis=0) * shape).astype(int)
    axes = [np.arange(-r, r + 1) for r in reach]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    far = np.linalg.norm(steps / shape @ waves.cell.O.T, axis=1)
    keep = (far > 0) & (far < BOND)
    return contact_table(waves.shape, which, first, steps[keep], far[keep] < CLASH)
