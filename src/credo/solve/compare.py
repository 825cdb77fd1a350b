"""Two structures laid over each other: setting, origin and hand resolved, then atom by atom."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import gemmi
import numpy as np
import scipy.fft
from scipy.spatial import KDTree

from credo.model import CannotDo, Structure
from credo.physics.symmetry import group_operations, primitive_basis
from credo.solve.phasing import fast_shape

__all__ = ["Comparison", "atoms_in_cell", "compare", "element_class", "same_space_group"]


@dataclass(frozen=True)
class Comparison:
    """``rotation`` W and ``shift`` w take fractions of the found structure to the reference: x' = W x + w;
    ``inverted``: only the mirror image fits. Over the reference's atoms but hydrogen, all of the primitive cell:
    ``matched`` and ``right`` are the shares with an atom within the limit, and with one of the same element class;
    ``extra`` the share of found atoms that match nothing; deviations [Å] are of matched atoms, by element too."""

    rotation: np.ndarray
    shift: np.ndarray
    inverted: bool
    same_group: bool
    matched: float
    right: float
    extra: float
    mean_deviation: float
    rms_deviation: float
    max_deviation: float
    by_element: dict[str, float]

    def same_structure(self, share: float = 0.9) -> bool:
        """Whether the space group is right and at least ``share`` of the atoms are, with their element class."""
        return self.same_group and self.right >= share


def compare(found: Structure, reference: Structure, within: float = 0.3, strain: float = 0.05) -> Comparison:
    """Superpose ``found`` on ``reference``; atoms match ``within`` [Å]; cell lengths may differ by ``strain``.

    Every change of basis that maps one lattice on the other is tried, of either hand; its best origin is the maximum
    of the correlation of both structures' smeared atoms, then the mean of the matched atoms' gaps.
    Distances are measured in the reference's cell. Hydrogen is left out.
    """
    a, b = _Contents.of(found), _Contents.of(reference)
    if not len(a.xyz) or not len(b.xyz):
        raise CannotDo("a structure without atoms cannot be compared", "give structures with atoms but hydrogen")
    settings = _settings(a.metric, b.metric, strain)
    if not settings:
        raise CannotDo(
            f"the cells {_cell(found)} and {_cell(reference)} are not of one lattice",
            "compare structures of the same phase",
        )
    target = _Smeared(b)
    # where both hands fit alike, the structure as given is the answer
    fits = [_superposed(a, b, target, m, within) for m in settings]
    _, m, shift = max(fits, key=lambda s: (round(s[0], 4), np.linalg.det(s[1])))
    return _described(found, reference, a, b, m, shift, within)


def atoms_in_cell(structure: Structure) -> int:
    """Atoms of the primitive cell, hydrogen left out."""
    return len(_Contents.of(structure).xyz)


def element_class(element: str) -> int:
    """The row of the periodic table: what electron diffraction can tell apart at best without chemistry."""
    z = gemmi.Element(element).atomic_number
    return int(np.searchsorted([2, 10, 18, 36, 54, 86], z, side="left"))


def same_space_group(a: str, b: str) -> bool:
    """One group in whichever setting; the two of an enantiomorphic pair count as one."""
    first, second = gemmi.SpaceGroup(a), gemmi.SpaceGroup(b)
    return first.number == second.number or second.number == _ENANTIOMORPH.get(first.number, 0)


_PAIRS = ((76, 78), (91, 95), (92, 96), (144, 145), (151, 153), (152, 154), (169, 170), (171, 172), (178, 179),
          (180, 181), (212, 213))  # fmt: skip
_ENANTIOMORPH = {**dict(_PAIRS), **{q: p for p, q in _PAIRS}}


def _cell(s: Structure) -> str:
    return " ".join(f"{v:.3f}" for v in s.cell.parameters)


@dataclass(frozen=True)
class _Contents:
    """All atoms but hydrogen of the reduced primitive cell: ``basis`` P (3, 3) in conventional axes, ``xyz`` (n, 3)
    on it, ``metric`` (3, 3) [Å²], ``element`` (n,)."""

    basis: np.ndarray
    metric: np.ndarray
    xyz: np.ndarray
    element: np.ndarray

    @classmethod
    def of(cls, s: Structure) -> _Contents:
        group = gemmi.SpaceGroup(s.space_group)
        centring = "P" if group.ext == "R" else group.centring_type()
        p = _reduced(primitive_basis(centring), s.cell.metric)
        ops = group_operations(group).on_basis(p)
        xyz, element = [], []
        metric = p.T @ s.cell.metric @ p
        for atom in s.atoms:
            if atom.element in ("H", "D") or atom.occupancy <= 0:
                continue
            images = (ops.rot @ (np.linalg.inv(p) @ atom.xyz) + ops.trans) % 1.0
            kept: list[np.ndarray] = []
            for x in images:
                if not kept or _gaps(np.array(kept) - x, metric).min() > 0.2:
                    kept.append(x)
            xyz += kept
            element += [atom.element] * len(kept)
        return cls(p, metric, np.array(xyz).reshape(-1, 3), np.array(element))


def _gaps(d: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Lengths [Å] of fractional differences (n, 3), the nearest image taken."""
    d = d - np.rint(d)
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", d, metric, d), 0))


def _reduced(p: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """The same lattice on its shortest three vectors (columns, in conventional axes), right-handed."""
    steps = np.array(list(product(range(-2, 3), repeat=3)))[1:]
    vectors = steps @ p.T
    length = np.einsum("ij,jk,ik->i", vectors, metric, vectors)
    order = np.argsort(length.round(6), kind="stable")
    chosen: list[np.ndarray] = []
    for i in order:
        if np.linalg.matrix_rank(np.array([*chosen, vectors[i]]), tol=1e-6) == len(chosen) + 1:
            chosen.append(vectors[i])
        if len(chosen) == 3:
            break
    q = np.array(chosen).T
    if not np.isclose(abs(np.linalg.det(q)), abs(np.linalg.det(p))):
        return p
    return q if np.linalg.det(q) > 0 else -q


def _settings(found: np.ndarray, reference: np.ndarray, strain: float) -> list[np.ndarray]:
    """Unimodular M (3, 3) with found's basis times M within ``strain`` of the reference's, of either hand."""
    m = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    m = m[np.isin(np.rint(np.linalg.det(m)).astype(int), (-1, 1))]
    g = np.einsum("nji,jk,nkl->nil", m, found, m)
    scale = np.sqrt(np.outer(np.diag(reference), np.diag(reference)))
    return list(m[np.abs((g - reference) / scale).max(axis=(1, 2)) < 2 * strain])


class _Smeared:
    """The conjugate transform of the reference's atoms on a grid of about 0.5 Å."""

    def __init__(self, b: _Contents) -> None:
        lengths = np.sqrt(np.diag(b.metric))
        self.shape = fast_shape(np.maximum(6, np.ceil(lengths / 0.5)), real=True)
        axes = [np.fft.fftfreq(n) * n for n in self.shape[:2]] + [np.arange(self.shape[2] // 2 + 1)]
        h = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        q2 = np.einsum("...i,ij,...j->...", h, np.linalg.inv(b.metric), h)
        # a normal density of 0.3 Å width for either structure
        self._smear = np.exp(-4 * np.pi**2 * 0.3**2 * q2)
        self._transform = np.conj(self._of(b.xyz))

    def _of(self, xyz: np.ndarray) -> np.ndarray:
        """Each atom shared among its eight grid points."""
        n = np.array(self.shape)
        grid = np.zeros(self.shape)
        low = np.floor(xyz * n).astype(int)
        part = xyz * n - low
        for corner in product((0, 1), repeat=3):
            w = np.prod(np.where(corner, part, 1 - part), axis=1)
            np.add.at(grid, tuple(((low + corner) % n).T), w)
        return np.asarray(scipy.fft.rfftn(grid))

    def best_shift(self, xyz: np.ndarray) -> np.ndarray:
        """The shift (3,) that brings atoms (n, 3) upon the reference's best."""
        overlap = np.asarray(scipy.fft.irfftn(np.conj(self._of(xyz) * self._transform) * self._smear, s=self.shape))
        return np.array(np.unravel_index(int(np.argmax(overlap)), self.shape)) / np.array(self.shape)


def _superposed(a: _Contents, b: _Contents, target: _Smeared, m: np.ndarray, within: float):
    """(how good, M, shift): matches in number, less by how far apart they lie."""
    moved = a.xyz @ np.linalg.inv(m).T
    shift = target.best_shift(moved)
    reach = max(within, 0.5)
    for _ in range(4):
        i, j, gap = _pairs(moved + shift, b, reach)
        if len(i) == 0:
            return -np.inf, m, shift
        d = b.xyz[j] - (moved + shift)[i]
        shift = shift + (d - np.rint(d)).mean(axis=0)
    i, j, gap = _pairs(moved + shift, b, reach)
    classes = np.array([element_class(e) for e in a.element])[i] == np.array([element_class(e) for e in b.element])[j]
    return float(np.sum((1 - (gap / reach) ** 2) * np.where(classes, 1.0, 0.9))), m, shift


def _pairs(xyz: np.ndarray, b: _Contents, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows of xyz, rows of b, distance [Å]): mutual nearest neighbours not further apart than ``reach``."""
    orth = np.linalg.cholesky(b.metric)  # x·orth is Cartesian
    around = np.array(list(product((-1, 0, 1), repeat=3)))
    images = ((b.xyz % 1.0)[:, None] + around).reshape(-1, 3)
    owner = np.repeat(np.arange(len(b.xyz)), 27)
    margin = reach / np.sqrt(1 / np.diag(np.linalg.inv(b.metric)))
    near = np.all((images > -margin) & (images < 1 + margin), axis=1)
    images, owner = images[near], owner[near]
    found = KDTree(images @ orth).query((xyz % 1.0) @ orth, distance_upper_bound=reach)
    gap, row = (np.asarray(v) for v in found)
    i = np.flatnonzero(np.isfinite(gap))
    j, gap = owner[row[i]], gap[i]
    order = np.lexsort((gap, j))
    first = np.unique(j[order], return_index=True)[1]
    keep = order[first]
    return i[keep], j[keep], gap[keep]


def _described(found, reference, a: _Contents, b: _Contents, m: np.ndarray, shift: np.ndarray, within: float):
    moved = a.xyz @ np.linalg.inv(m).T + shift
    i, j, gap = _pairs(moved, b, within)
    classes = [element_class(x) == element_class(y) for x, y in zip(a.element[i], b.element[j])]
    w = b.basis @ np.linalg.inv(m) @ np.linalg.inv(a.basis)
    by = {str(e): float(gap[b.element[j] == e].mean()) for e in np.unique(b.element[j])}
    none = float("nan")
    return Comparison(
        w, b.basis @ shift, bool(np.linalg.det(m) < 0), same_space_group(found.space_group, reference.space_group),
        matched=len(j) / len(b.xyz), right=sum(classes) / len(b.xyz), extra=1 - len(i) / len(a.xyz),
        mean_deviation=float(gap.mean()) if len(gap) else none,
        rms_deviation=float(np.sqrt((gap**2).mean())) if len(gap) else none,
        max_deviation=float(gap.max()) if len(gap) else none, by_element=by,
    )  # fmt: skip
