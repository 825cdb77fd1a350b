"""Symmetry as integer matrices: the rotations of a Laue class, primitive bases, equivalents of reflections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np

from credo.model import UnreadableInput

__all__ = [
    "LAUE_CLASSES", "Operations", "all_operations", "compatible_groups", "group_operations", "laue_rotations",
    "primitive_basis", "unique_reflections",
]  # fmt: skip

#: Each Laue class by a symbol of the group that shows it on the conventional axes.
LAUE_CLASSES = {
    "-1": "P -1", "2/m": "P 1 2/m 1", "mmm": "P m m m", "4/m": "P 4/m", "4/mmm": "P 4/m m m",
    "-3": "P -3", "-31m": "P -3 1 m", "-3m1": "P -3 m 1", "6/m": "P 6/m", "6/mmm": "P 6/m m m",
    "m-3": "P m -3", "m-3m": "P m -3 m",
}  # fmt: skip


@dataclass(frozen=True)
class Operations:
    """x' = R x + t: ``rot`` (n, 3, 3) int, ``trans`` (n, 3) in fractions, centring translations not included."""

    rot: np.ndarray
    trans: np.ndarray

    def __len__(self) -> int:
        return len(self.rot)

    def on_basis(self, p: np.ndarray) -> Operations:
        """The same operations on the basis (a', b', c') = (a, b, c) P: R' = P⁻¹ R P, t' = P⁻¹ t."""
        inv = np.linalg.inv(p)
        return Operations(np.rint(inv @ self.rot @ p).astype(int), (self.trans @ inv.T) % 1.0)


def group_operations(group: gemmi.SpaceGroup) -> Operations:
    """All symmetry operations of a space-group setting but its centring translations."""
    ops = list(group.operations().sym_ops)
    rot = np.array([op.rot for op in ops]) // gemmi.Op.DEN
    return Operations(rot, np.array([op.tran for op in ops]) / gemmi.Op.DEN % 1.0)


def all_operations(group: gemmi.SpaceGroup) -> tuple[np.ndarray, np.ndarray]:
    """(rot (m, 3, 3) int, trans (m, 3)) of a space-group setting with its centring translations."""
    ops = list(group.operations())
    return np.array([op.rot for op in ops]) // gemmi.Op.DEN, np.array([op.tran for op in ops]) / gemmi.Op.DEN


@cache
def laue_rotations(laue_group: str) -> np.ndarray:
    """Rotations (n, 3, 3) int of a Laue class, the inversion included."""
    if laue_group not in LAUE_CLASSES:
        raise UnreadableInput(
            f"Laue group {laue_group!r} is not one of {', '.join(LAUE_CLASSES)}", "give one of these by --laue-group"
        )
    return group_operations(gemmi.SpaceGroup(LAUE_CLASSES[laue_group])).rot


def compatible_groups(laue_group: str, centring: str) -> list[gemmi.SpaceGroup]:
    """Every tabulated setting whose rotations make up just this Laue class on these axes, with this centring."""
    wanted = {r.tobytes() for r in laue_rotations(laue_group)}
    found = []
    for group in gemmi.spacegroup_table():
        if group.centring_type() != centring or (centring == "R" and group.ext == "R"):
            continue
        rot = group_operations(group).rot
        if {r.tobytes() for r in np.concatenate([rot, -rot])} == wanted:
            found.append(group)
    # origin choice 2 of a group is the same group: keep the first origin that the table gives
    seen: dict[str, gemmi.SpaceGroup] = {}
    for group in found:
        seen[group.hm] = group  # the table lists origin 1 before 2, and 2 has the inversion at the origin
    return list(seen.values())


def primitive_basis(centring: str) -> np.ndarray:
    """P (3, 3): the columns of a primitive basis in terms of the conventional axes; R is obverse hexagonal."""
    half = 0.5
    bases = {
        "P": np.eye(3),
        "A": [[1, 0, 0], [0, half, half], [0, -half, half]],
        "B": [[half, 0, half], [0, 1, 0], [-half, 0, half]],
        "C": [[half, half, 0], [-half, half, 0], [0, 0, 1]],
        "I": [[-half, half, half], [half, -half, half], [half, half, -half]],
        "F": [[0, half, half], [half, 0, half], [half, half, 0]],
        "R": np.array([[2, -1, -1], [1, 1, -2], [1, 1, 1]]) / 3,
    }
    if centring not in bases:
        raise UnreadableInput(f"centring {centring!r} is none of {' '.join(bases)}")
    return np.array(bases[centring], dtype=float)


def unique_reflections(hkl: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(unique (m, 3), group (n,)): one representative per set of equivalents, and which set each index is in.

    hkl: (n, 3) int; rotations as they act on positions, so that indices turn as h R. Friedel mates are joined.
    """
    span = 2 * int(np.abs(hkl).max(initial=1)) * 3 + 1
    weights = np.array([span * span, span, 1])
    # one number per image, in the order of h k l, exact in float64; the highest image stands for all
    columns = np.unique(np.concatenate([rotations, -rotations]) @ weights, axis=0).T
    key = np.zeros(len(hkl))
    for part in range(0, len(hkl), 20_000):
        rows = slice(part, part + 20_000)
        key[rows] = (np.asarray(hkl[rows], dtype=float) @ columns).max(axis=1)
    keys, group = np.unique(key.astype(np.int64), return_inverse=True)
    half = span // 2
    low = (keys + half) % span - half
    middle = (keys - low) // span
    unique = np.stack([(middle + half) // span, (middle + half) % span - half, low], axis=1)
    return unique, group.reshape(-1)
