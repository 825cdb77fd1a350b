"""Which space groups a framework may have: those whose absences the data do not contradict, the likeliest first."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.model import CannotDo
from credo.physics.symmetry import compatible_groups
from credo.solve.space_group import one_hand

__all__ = ["PossibleGroup", "possible_groups"]

#: Forbidden reflections may be this strong on average, relative to all: dynamical scattering fills some of them.
_FILLED = 0.1


@dataclass(frozen=True)
class PossibleGroup:
    """``forbidden``: measured reflections that glides and screws forbid; ``filled``: their mean over that of all."""

    group: gemmi.SpaceGroup
    forbidden: int
    filled: float


def possible_groups(laue_group: str, centring: str, hkl: np.ndarray, intensity: np.ndarray) -> list[PossibleGroup]:
    """By falling number of absences that they explain, groups with an inversion first among equals.

    Known framework types are centrosymmetric with few exceptions, and a subgroup explains no absence more.
    """
    found = []
    mean = float(np.mean(intensity))
    for group in compatible_groups(laue_group, centring):
        absent = np.asarray(group.operations().systematic_absences(np.asarray(hkl, dtype=np.int32)), dtype=bool)
        filled = float(np.mean(intensity[absent])) / mean if absent.any() else 0.0
        if filled < _FILLED:
            found.append(PossibleGroup(group, int(absent.sum()), filled))
    if not found:
        raise CannotDo(
            f"no space group of Laue class {laue_group} with centring {centring} fits the absences",
            "check --laue-group and --centring",
        )
    found.sort(key=lambda g: (-g.forbidden, not g.group.is_centrosymmetric(), g.group.number))
    # the mirror image of a framework has the same moduli in the other group of the pair
    return [g for g in found if g.group.number == one_hand(g.group)]
