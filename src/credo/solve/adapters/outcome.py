"""What a solving program is given, and what it found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from credo.io.shelx import write_hkl
from credo.io.shelx_ins import symmetry_lines
from credo.model import CannotDo, Cell, Reflections, Structure
from credo.physics.symmetry import LAUE_CLASSES
from credo.solve.composition import parse_formula
from credo.solve.least_squares import LeastSquaresSettings, fit_structure
from credo.solve.refine.data import merge_equivalents

__all__ = ["Outcome", "Ranked", "Task", "cleared", "r1_of"]

_LATT = {"P": 1, "I": 2, "R": 3, "F": 4, "A": 5, "B": 6, "C": 7}


@dataclass(frozen=True)
class Task:
    """Intensities on (n, 3) indices with σ, and what is known of the crystal: ``laue_group`` of
    :data:`LAUE_CLASSES`, ``centring`` P A B C I F or R (obverse), ``composition`` a formula, wavelength [Å]."""

    cell: Cell
    centring: str
    laue_group: str
    hkl: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    wavelength: float
    composition: str
    name: str = "credo"

    def elements(self, program: str) -> dict[str, float]:
        """Element -> number in the formula. These programs cannot do without it."""
        found = parse_formula(self.composition)
        if not found:
            raise CannotDo(f"{program} has to be told the elements", 'give --composition, for instance "Si O2"')
        return found

    def laue_lines(self) -> list[str]:
        """LATT and SYMM of the symmorphic group of the Laue class with this centring."""
        lines = symmetry_lines(gemmi.SpaceGroup(LAUE_CLASSES[self.laue_group]), "P")
        return [f"LATT {_LATT[self.centring]}", *lines[1:]]

    def write_hkl(self, path: Path) -> None:
        """The intensities as HKLF 4."""
        h, k, l = np.asarray(self.hkl).T
        write_hkl(path, Reflections({"h": h, "k": k, "l": l, "intensity": self.intensity, "sigma": self.sigma}))


@dataclass(frozen=True)
class Ranked:
    """One of the solutions that a program offers: space group, its R1, and the file with it."""

    space_group: str
    r1: float
    path: Path


@dataclass(frozen=True)
class Outcome:
    """``structure`` with ``r1`` (by ``r1_from``: the program itself, or credo), in ``result``; ``reflections``: the
    data on the axes of that structure; ``candidates``: all solutions in the program's order; ``notes``: sentences."""

    program: str
    structure: Structure
    r1: float
    r1_from: str
    result: Path
    reflections: Path
    candidates: tuple[Ranked, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def space_group(self) -> str:
        return self.structure.space_group


def cleared(folder: Path, patterns: Iterable[str]) -> Path:
    """The folder, made, without results of an earlier run that could be taken for this one's."""
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in patterns:
        for old in folder.glob(pattern):
            old.unlink()
    return folder


def r1_of(structure: Structure, task: Task) -> float:
    """R1 of a structure as it is, only the scale fitted, with electron scattering factors."""
    group = gemmi.SpaceGroup(structure.space_group)
    merged = merge_equivalents(task.hkl, task.intensity, task.sigma, group, structure.cell)
    return fit_structure(structure, merged.observed, task.wavelength, LeastSquaresSettings(cycles=0)).r1
