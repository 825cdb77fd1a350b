"""Settings in which one lattice can be indexed while its intensities differ: operators beyond the Laue group."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from credo.merge.strain import Lattice, reduce_lattice
from credo.model import CannotDo, Cell, UnreadableInput
from credo.physics.symmetry import laue_rotations

__all__ = ["Changes", "changes_of_setting", "lattice_rotations", "require_no_more_strain", "setting_strain"]

#: Slack of strain when settings of one cell are compared: one that changes it by less is as good.
_SLACK = 1e-3


@dataclass(frozen=True)
class Changes:
    """``operators`` T (q, 3, 3): (a', b', c') = (a, b, c) T and h' = h T, the first is 1, a group over ``core``;
    ``core`` (r, 3, 3): the rotations that remain symmetry in all of these settings, with which the intensities are to
    be averaged; ``product`` (q, q): T_i T_j ~ T_{product[i, j]}; ``same`` (q,): the first operator of the same coset of
    the Laue group."""

    operators: np.ndarray
    core: np.ndarray
    product: np.ndarray
    same: np.ndarray

    @property
    def inverse(self) -> np.ndarray:
        """Place (q,) of each operator's inverse."""
        return np.argmax(self.product == 0, axis=1)

    @property
    def cosets(self) -> int:
        """How many settings differ by more than the Laue group."""
        return len(np.unique(self.same))


def setting_strain(cell: Cell, operator: np.ndarray, reference: Cell) -> float:
    """‖½ ln(O_r⁻ᵀ TᵀGT O_r⁻¹)‖, the strain from the reference cell to a cell on the axes (a, b, c) T."""
    o = np.linalg.inv(reference.O)
    t = np.asarray(operator, dtype=float)
    return float(np.linalg.norm(0.5 * np.log(np.linalg.eigvalsh(o.T @ t.T @ cell.metric @ t @ o))))


def require_no_more_strain(cell: Cell, operator: np.ndarray, reference: Cell, tolerance: float = 0.0) -> None:
    """Raise :class:`CannotDo` when a change of setting takes a cell farther from the reference than it was.

    ``tolerance``: of strain; within it, settings are not told apart by their cells.
    """
    before, after = setting_strain(cell, np.eye(3), reference), setting_strain(cell, operator, reference)
    if after > max(before + _SLACK, tolerance):
        raise CannotDo(
            f"reindexing by {np.asarray(operator).tolist()} would strain the cell by {after:.1%}, "
            f"{before:.1%} before it, against the reference {reference}",
            "give a smaller tolerance of the lattice's symmetry, or leave this data set out",
        )


def lattice_rotations(cell: Cell, centring: str = "P", tolerance: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (n, 3, 3) int of the lattice on a reduced primitive basis P, inversion included, and P (3, 3).

    Those that strain it by no more than ``tolerance``, and a group: taken by rising strain while all products stay
    within it.
    """
    lattice = reduce_lattice(cell, centring)
    found = [np.rint(u).astype(int) for u, _ in _candidates(lattice, tolerance)]
    allowed = {u.tobytes() for u in found} | {(-u).tobytes() for u in found}
    group = _group([-np.eye(3, dtype=int)]) or []
    for u in found:
        wider = _group([*group, u])
        if wider is not None and all(x.tobytes() in allowed for x in wider):
            group = wider
    return np.array(group), lattice.basis


def _candidates(lattice: Lattice, tolerance: float) -> list[tuple[np.ndarray, float]]:
    """Unimodular U (3, 3) of a reduced basis, with the strain they cause, least first."""
    g = lattice.metric
    o = np.linalg.inv(np.linalg.cholesky(g)).T
    vectors = np.array([v for v in itertools.product((-1, 0, 1), repeat=3) if any(v)])
    sizes = np.einsum("ij,jk,ik->i", vectors, g, vectors)
    near = [vectors[np.abs(0.5 * np.log(sizes / g[i, i])) <= tolerance] for i in range(3)]
    out = []
    for columns in itertools.product(*near):
        u = np.array(columns).T
        if round(np.linalg.det(u)) == 1:
            size = float(np.linalg.norm(0.5 * np.log(np.linalg.eigvalsh(o.T @ u.T @ g @ u @ o))))
            if size <= tolerance:
                out.append((u, size))
    return sorted(out, key=lambda x: x[1])


def _group(generators: list[np.ndarray], limit: int = 48) -> list[np.ndarray] | None:
    """All products of the generators, the unit first; None when there are more than ``limit``."""
    group = {np.eye(3, dtype=int).tobytes(): np.eye(3, dtype=int)}
    fresh = list(group.values())
    while fresh:
        products = [np.asarray(a @ g, dtype=int) for a in fresh for g in generators]
        fresh = list({p.tobytes(): p for p in products if p.tobytes() not in group}.values())
        group |= {p.tobytes(): p for p in fresh}
        if len(group) > limit:
            return None
    return list(group.values())


def changes_of_setting(cell: Cell, laue_group: str, centring: str = "P", tolerance: float = 0.02) -> Changes:
    """Settings of a lattice that its metric does not tell apart within ``tolerance`` (strain), but intensities do.

    H: the lattice's rotations and those of the Laue group L. Where L is no normal subgroup of H (2/m with its axis
    along a cube's, say) equivalents of one setting are not all equivalents of another; the intersection of the
    T⁻¹ L T, the core, is used instead, and ``same`` tells which settings L itself makes alike.
    """
    rotations, p = lattice_rotations(cell, centring, tolerance)
    back = np.linalg.inv(p)
    moved = back @ laue_rotations(laue_group) @ p
    if np.abs(moved - np.rint(moved)).max() > 1e-6:
        raise UnreadableInput(f"Laue group {laue_group} does not go with centring {centring}", "give one that does")
    laue = list(np.rint(moved).astype(int))
    # a cell far from the symmetry that its Laue group demands may generate no finite group with it
    group = _group([*rotations, *laue]) or laue
    inverse = {g.tobytes(): np.rint(np.linalg.inv(g)).astype(int) for g in group}
    in_laue = {r.tobytes() for r in laue}
    core = [r for r in laue if all((inverse[g.tobytes()] @ r @ g).tobytes() in in_laue for g in group)]
    chosen, place = [np.eye(3, dtype=int)], {r.tobytes(): 0 for r in core}
    for g in sorted(group, key=lambda g: (np.abs(p @ g @ back).sum(), -np.trace(g), np.linalg.det(g) < 0)):
        if g.tobytes() not in place:
            proper = g if np.linalg.det(g) > 0 else -g
            place |= {(proper @ r).tobytes(): len(chosen) for r in core}
            chosen.append(proper)
    product = np.array([[place[(a @ b).tobytes()] for b in chosen] for a in chosen])
    same = np.array([min(place[(a @ r).tobytes()] for r in laue) for a in chosen])
    return Changes(_tidy(p @ np.array(chosen) @ back), np.rint(p @ np.array(core) @ back).astype(int), product, same)


def _tidy(x: np.ndarray) -> np.ndarray:
    """Numbers that are twelfths to within rounding, exactly (a centred lattice's operators have fractions)."""
    return np.rint(x * 12) / 12 + 0.0
