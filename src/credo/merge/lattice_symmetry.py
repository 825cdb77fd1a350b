"""The changes of basis that a lattice is nearly symmetric under, and the groups within them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from credo.merge.strain import aliases

__all__ = ["free_constants", "lattice_group", "subgroups"]

#: How far (strain) an image of a measured lattice may be from it to be taken for its symmetry.
TOLERANCE = 0.3
_LARGEST = 24


def lattice_group(metric: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """The group (m, 3, 3) of changes U of a reduced basis with UᵀGU near G, the nearest taken in first."""
    o, u = np.linalg.inv(np.linalg.cholesky(metric)).T, aliases(metric)
    away = 0.5 * np.linalg.norm(o.T @ u.transpose(0, 2, 1) @ metric @ u @ o - np.eye(3), axis=(1, 2))
    order = np.argsort(away, kind="stable")
    allowed = {_name(u[i]) for i in order if away[i] < tolerance}
    group = {_name(np.eye(3))}
    for i in order[away[order] < tolerance]:
        grown = _generated([*group, _name(u[i])], allowed)
        group = grown or group
        if len(group) == _LARGEST:
            break
    return np.array(sorted(group, reverse=True), dtype=float).reshape(-1, 3, 3)


def _name(u: np.ndarray) -> tuple[int, ...]:
    return tuple(int(round(float(x))) for x in np.ravel(u))  # noqa: RUF046 - numpy rounds to floats


def _generated(names: Iterable[tuple[int, ...]], allowed: set) -> set | None:
    """All products; None where one is not allowed or they are too many."""
    group = set(names)
    while True:
        m = np.array(list(group)).reshape(-1, 3, 3)
        products = {tuple(x) for x in (m[:, None] @ m).reshape(-1, 9).tolist()}
        if not products <= allowed or len(products) > _LARGEST:
            return None
        if products <= group:
            return group
        group |= products


def subgroups(group: np.ndarray) -> list[np.ndarray]:
    """Those that two elements generate, largest first, without the group itself."""
    n = len(group)
    names = {_name(g): i for i, g in enumerate(group)}
    table = np.array([[names[_name(a @ b)] for b in group] for a in group])
    found: set[frozenset[int]] = set()
    for i in range(n):
        for j in range(i + 1):
            part = {i, j}
            while True:
                rows = np.fromiter(part, int)
                grown = part | set(table[np.ix_(rows, rows)].ravel().tolist())
                if len(grown) == len(part):
                    break
                part = grown
            found.add(frozenset(part))
    return [group[sorted(p)] for p in sorted(found, key=lambda p: (-len(p), sorted(p))) if len(p) < n]


def free_constants(group: np.ndarray) -> int:
    """How many constants a symmetric metric has: the trace of the mean of G → UᵀGU on symmetric tensors."""
    # tr on all tensors is (tr U)², on the antisymmetric ones ½((tr U)² − tr U²)
    one = np.trace(group, axis1=1, axis2=2)
    square = np.trace(group @ group, axis1=1, axis2=2)
    return max(1, round(float(np.mean((one**2 + square) / 2))))
