"""A four-connected framework as a start for the search of atoms, where the composition is that of one.

Phasing needs resolved atoms and most of the reflections; annealing of T sites needs neither (of MFI at 1.2 Å, 80 % of
the reflections: no P1 trial right, the framework within seconds), whatever the resolution: it looks at the coarse data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import gemmi
import numpy as np

from credo.model import Cell, CredoError
from credo.physics.symmetry import group_operations
from credo.solve.candidates import Candidate, judged_sites
from credo.solve.composition import strength
from credo.solve.frameworks import (
    T_ELEMENTS,
    FrameworkSearch,
    FrameworkSettings,
    framework_search,
    likely_groups,
    tetrahedra,
)
from credo.solve.frameworks_fit import Framework
from credo.solve.normalise import PhasingData, normalise
from credo.solve.recycle import Sites
from credo.solve.retype import multiplicities
from credo.solve.space_group import GroupFit

__all__ = ["FrameworkStart"]

#: Data finer than this are left out [Å]; T per 1000 Å³ above which a crystal is too dense for an open framework.
_FINEST, _DENSEST = 1.5, 22.5
_FEWEST = 8


class FrameworkStart:
    """Trials of a framework beside those of atoms: they get as much time as these."""

    def __init__(
        self, data: PhasingData, cell: Cell, laue_group: str, centring: str, n_atoms: float,
        formula: dict[str, float], wavelength: float, seed: int,
    ) -> None:  # fmt: skip
        self._data = data
        self._given = cell, laue_group, centring, wavelength, seed
        self._element = max(T_ELEMENTS, key=lambda e: formula.get(e, 0.0))
        heavy = sum(n for e, n in formula.items() if e not in ("H", "D"))
        density = 1000 * n_atoms * tetrahedra(formula) / heavy / data.cell.volume if heavy else 0.0
        self._open = 0 < density < _DENSEST
        self._steps: Iterator[FrameworkSearch] | None = None
        self._known: set[tuple] = set()
        self._spent = 0.0

    def candidates(self, other: float) -> list[Candidate]:
        """Trials until they have taken as long as the ``other`` ones [CPU s], or one finds a better framework."""
        started = time.process_time()
        found: list[Candidate] = []
        while self._open and not found and self._spent + time.process_time() - started < other:
            if self._steps is None:
                self._steps = self._trials()
            try:
                search = next(self._steps)
            except (CredoError, StopIteration):
                self._open = False
                break
            found = [self._candidate(f) for f in search.possible() if f.key not in self._known]
            self._known |= {f.key for f in search.possible()}
        self._spent += time.process_time() - started
        return found

    def _trials(self) -> Iterator[FrameworkSearch]:
        cell, laue_group, centring, wavelength, seed = self._given
        hkl, i, s = self._data.merged
        coarse = cell.d_spacing(hkl) >= _FINEST
        data = normalise(cell, centring, laue_group, hkl[coarse], i[coarse], s[coarse], _FEWEST)
        search = framework_search(data, cell, wavelength, self._element, FrameworkSettings(), seed)
        for _ in search.steps(likely_groups(data, laue_group, centring)):
            yield search

    def _candidate(self, framework: Framework) -> Candidate:
        """Its atoms on the primitive basis."""
        group = gemmi.SpaceGroup(framework.space_group)
        fit = GroupFit(group, group_operations(group).on_basis(self._data.basis), np.zeros(3), 0.0, 0.0)
        atoms = framework.structure.atoms
        xyz = np.array([a.xyz for a in atoms])
        sites = Sites(
            np.ascontiguousarray(xyz @ np.linalg.inv(self._data.basis).T),
            np.array([strength(a.element) for a in atoms]),
            np.rint(multiplicities(xyz, group)).astype(int),
        )
        return judged_sites(self._data, fit, sites)
