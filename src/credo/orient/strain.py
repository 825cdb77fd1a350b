"""Is the cell right? Its strain from rocking curves and, where spots have positions, from these, with all frames free.

A symmetric strain E moves every point, P → (I + E) P, and with it the excitation error s = r − |P − r u| and the place
of the spot. What turns of the frames take up is nothing that can be told: their parameters are eliminated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from credo.kernels.sphere import tangents
from credo.model import Cell
from credo.orient.observations import Observations
from credo.orient.rocking import RockingFit, strain_equations

__all__ = [
    "InPlane",
    "Strain",
    "in_plane",
    "strain_of_positions",
    "strain_of_rocking",
    "strained",
    "symmetrised",
]

#: Prior rms of a component: cells are seldom wrong by more than a few per cent.
_PRIOR = 0.02
#: E from its components xx, yy, zz, yz, xz, xy.
_BASIS = np.zeros((6, 3, 3))
for _k, (_i, _j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
    _BASIS[_k, _i, _j] = _BASIS[_k, _j, _i] = 1.0


@dataclass(frozen=True, eq=False)
class Strain:
    """``components`` (6,) xx, yy, zz, yz, xz, xy in the crystal's Cartesian axes, with their ``covariance`` (6, 6)."""

    components: np.ndarray
    covariance: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """E (3, 3) of reciprocal space."""
        return np.einsum("k,kij->ij", self.components, _BASIS)

    @property
    def significance(self) -> float:
        """√(χ²/6) of the strain against none."""
        chi2 = float(self.components @ np.linalg.solve(self.covariance, self.components))
        return float(np.sqrt(max(chi2, 0.0) / 6))

    def of_axes(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        """Relative errors of a, b and c (3,) and their standard uncertainties: −nᵀEn along each axis."""
        n = cell.O.T / np.linalg.norm(cell.O, axis=0)[:, None]
        rows = -np.einsum("ai,kij,aj->ak", n, _BASIS, n)
        return -rows @ self.components, np.sqrt(np.einsum("ak,kl,al->a", rows, self.covariance, rows))


@dataclass(frozen=True, eq=False)
class InPlane:
    """Spots against positions: ``angle_deg`` (f,) of every frame about the beam, from the image's x to the crystal's
    first tangent, NaN where fewer than three spots; its ``esd_deg``; ``scale`` [px Å]; ``rms`` [px]; ``mirrored``: rms
    of the pattern's mirror image by that of the pattern: below 1 the indices have the other hand."""

    angle_deg: np.ndarray
    esd_deg: np.ndarray
    scale: float
    rms: float
    mirrored: float


def strain_of_rocking(obs: Observations, fit: RockingFit, axis: np.ndarray, factor: float) -> Strain:
    """What the curvature of the sphere tells. It says that a cell is wrong, and hardly how: along some directions the
    linear step goes far too far. ``factor``: by which the fit's own uncertainties are too small (half sets)."""
    return _solved(*(x / factor**2 for x in strain_equations(obs, fit, axis, _BASIS)))


def strain_of_positions(obs: Observations, zone: np.ndarray) -> Strain:
    """From ``obs.xy``, all but the size of the cell, which the camera length takes up."""
    return _solved(*_from_positions(obs, zone))


def _solved(matrix: np.ndarray, rhs: np.ndarray) -> Strain:
    covariance = np.linalg.inv(matrix + np.eye(6) / _PRIOR**2)
    return Strain(covariance @ rhs, covariance)


def strained(cell: Cell, zone: np.ndarray, strain: Strain) -> tuple[Cell, np.ndarray]:
    """The cell whose reciprocal lattice is strained so, and the zone axes (f, 3) in its own Cartesian axes."""
    b = (np.eye(3) + strain.matrix) @ cell.B
    new = Cell.from_vectors(np.linalg.inv(b))
    turn = new.B @ np.linalg.inv(b)
    u, _, vt = np.linalg.svd(turn)
    return new, zone @ (u @ vt).T


def symmetrised(cell: Cell, strain: Strain) -> Cell:
    """The most symmetric of the cells that the strain's uncertainty allows within three times it, ``cell`` being the
    strained one: what a short arc does not tell, the lattice's symmetry does."""
    p = np.array(cell.parameters)
    h = 1e-6

    def constants(x: np.ndarray) -> np.ndarray:
        e = np.eye(3) + np.einsum("k,kij->ij", x, _BASIS)
        return np.array(Cell.from_vectors(np.linalg.inv(e @ cell.B)).parameters)

    j = np.stack([(constants(h * d) - constants(-h * d)) / (2 * h) for d in np.eye(6)], axis=1)
    covariance = j @ strain.covariance @ j.T
    for rows, values in _CLASSES:
        off = rows @ p - values
        inner = np.linalg.inv(rows @ covariance @ rows.T)
        if off @ inner @ off < 9 * len(off):
            return Cell(*(p - covariance @ rows.T @ inner @ off))
    return cell


def _classes() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Linear conditions (rows (k, 6), values (k,)) on a b c α β γ, those of the most symmetric lattices first."""
    one = np.eye(6)
    equal = {(i, j): one[i] - one[j] for i, j in ((0, 1), (1, 2), (0, 2))}
    right = [one[3], one[4], one[5]]
    squares = [(np.array([*rows, *right]), np.array([0.0] * len(rows) + [90.0] * 3)) for rows in (
        [equal[0, 1], equal[1, 2]], [equal[0, 1]], [equal[1, 2]], [equal[0, 2]],
    )]  # fmt: skip
    hexagonal = (np.array([equal[0, 1], *right]), np.array([0.0, 90.0, 90.0, 120.0]))
    orthorhombic = (np.array(right), np.full(3, 90.0))
    monoclinic = [(np.array([right[i], right[j]]), np.full(2, 90.0)) for i, j in ((0, 2), (0, 1), (1, 2))]
    return (*squares, hexagonal, orthorhombic, *monoclinic)


_CLASSES = _classes()


def _placed(points: np.ndarray, zone: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Where spots lie on a flat camera, (n, 2) [Å⁻¹] at the camera length r, and their derivatives (n, 2, 3) by P."""
    a, b = tangents(zone)
    lab = np.stack([b, a])
    v = points @ lab.T
    stretch = 1 / np.sqrt(1 - np.sum(v**2, axis=1) / radius**2)
    return v * stretch[:, None], stretch[:, None, None] * lab


def _frames(obs: Observations) -> Iterator[tuple[int, np.ndarray]]:
    """Frames with three placed spots or more, and the rows of these."""
    if obs.xy is None:
        return
    known = np.all(np.isfinite(obs.xy), axis=1)
    for j in range(obs.n_frames):
        rows = np.arange(obs.start[j], obs.start[j + 1])
        rows = rows[known[rows]]
        if len(rows) >= 3:
            yield j, rows


def in_plane(obs: Observations, zone: np.ndarray) -> InPlane:
    """One scale, and of every frame its centre and turn, by least squares on complex numbers x + iy = c + k e^{iω} v;
    spots beyond three times the median misfit count no more."""
    xy = np.empty((0, 2)) if obs.xy is None else obs.xy
    angle, esd = np.full((2, obs.n_frames), np.nan)
    misfits = np.zeros(2)
    scales, squares, count = [], 0.0, 0
    for j, rows in _frames(obs):
        v, _ = _placed(obs.points[rows], zone[j], obs.radius)
        z, v = xy[rows] @ [1, 1j], v @ [1, 1j]
        for mirror, w in enumerate((v, v.conj())):
            factor, left = _similarity(z, w)
            misfits[mirror] += np.median(np.abs(left)) * len(rows)
            if mirror == 0:
                scales.append(abs(factor))
                angle[j] = np.degrees(np.angle(factor))
                rms2 = float(np.mean(np.abs(left) ** 2)) / 2
                squares, count = squares + rms2 * len(rows), count + len(rows)
                esd[j] = np.degrees(np.sqrt(rms2 / np.sum(np.abs(w - w.mean()) ** 2))) / abs(factor)
    rms = float(np.sqrt(squares / max(count, 1)))
    ratio = float(misfits[1] / max(misfits[0], 1e-300)) if count else 1.0
    return InPlane(angle, esd, float(np.median(scales)) if scales else float("nan"), rms, ratio)


def _similarity(z: np.ndarray, w: np.ndarray) -> tuple[complex, np.ndarray]:
    """The factor k e^{iω} of z − z̄ ≈ factor (w − w̄), and what is left (n,); outliers leave once."""
    keep = np.ones(len(z), dtype=bool)
    for _ in range(2):
        dz, dw = z - z[keep].mean(), w - w[keep].mean()
        factor = np.vdot(dw[keep], dz[keep]) / max(float(np.sum(np.abs(dw[keep]) ** 2)), 1e-300)
        left = dz - factor * dw
        limit = 3 * float(np.median(np.abs(left))) + 1e-12
        near = np.asarray(np.abs(left) <= limit)
        if near.sum() >= 3:
            keep = near
    return complex(factor), left[keep]


def _from_positions(obs: Observations, zone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations (6, 6), (6,) of the strain, centres, turns and the one scale eliminated."""
    xy = np.empty((0, 2)) if obs.xy is None else obs.xy
    rows_a, rows_r, rows_k = [], [], []
    scale = in_plane(obs, zone).scale
    for j, rows in _frames(obs):
        v, slope = _placed(obs.points[rows], zone[j], obs.radius)
        z, v = xy[rows] @ [1, 1j], v @ [1, 1j]
        factor, _ = _similarity(z, v)
        turn = factor / abs(factor)
        moved = np.einsum("kij,nj->nki", _BASIS, obs.points[rows])
        a = scale * turn * (np.einsum("nci,nki->nkc", slope, moved) @ [1, 1j])
        left = z - z.mean() - scale * turn * (v - v.mean())
        a = a - a.mean(axis=0)
        k = turn * (v - v.mean())
        # a turn of the frame moves spots by i times themselves
        about = 1j * k
        norm = float(np.sum(np.abs(about) ** 2))
        a = a - np.outer(about, (about.conj() @ a).real) / norm
        left = left - about * (about.conj() @ left).real / norm
        rows_a.append(a)
        rows_r.append(left)
        rows_k.append(k)
    if not rows_a:
        return np.zeros((6, 6)), np.zeros(6)
    a, r, k = (_as_real(np.concatenate(x)) for x in (rows_a, rows_r, rows_k))
    k2 = float(k @ k)
    a, r = a - np.outer(k, k @ a) / k2, r - k * (k @ r) / k2
    sigma = 1.4826 * float(np.median(np.abs(r))) + 1e-12
    weight = (np.abs(r) < 4 * sigma) / sigma**2
    return (a.T * weight) @ a, (a.T * weight) @ r


def _as_real(x: np.ndarray) -> np.ndarray:
    """Real parts, then imaginary ones."""
    return np.concatenate([np.real(x), np.imag(x)])
