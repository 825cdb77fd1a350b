"""Phases by charge flipping in P1: many cheap trials from random phases, each judged without knowing the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft

from credo.kernels.flip import (
    FLOATING,
    MISSING,
    OBSERVED,
    OUTSIDE,
    WEAK,
    add_at,
    eliminate_low_density,
    flip,
    impose_moduli,
)  # fmt: skip
from credo.kernels.peaks import map_peaks
from credo.solve.normalise import PhasingData

__all__ = [
    "PhasingSettings", "Posed", "Recipe", "Trial", "fast_shape", "half_complex_index", "operator_agreement", "pose",
    "recipes_for", "trials",
]  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One way of running a trial: the threshold in σ(ρ), the weak fraction, the moduli E^p F^(1-p), a smoothing B [Å²]
    and how far beyond the measured resolution unmeasured reflections may float."""

    threshold: float = 1.1
    weak: float = 0.4
    power: float = 1.0
    b_extra: float = 0.0
    reach: float = 1.0
    shrink: bool = False


#: Random restarts cycle over these: no single one solves everything. The threshold matters most: dense oxides want
#: 0.7-0.9 (garnet at 1.0 Å: 0 of 6 trials at 1.1, 6 of 6 at 0.9), light atoms in large cells 1.0-1.2 (biotin, STW).
RECIPES = (
    Recipe(1.08), Recipe(0.88, power=0.75), Recipe(1.15, weak=0.3, b_extra=0.5), Recipe(1.0, power=0.75),
    Recipe(1.1, weak=0.5, shrink=True), Recipe(0.8), Recipe(1.08, weak=0.3, reach=0.85),
)  # fmt: skip
#: Where atoms are barely resolved, |E| cut off at 1.2 Å ripple: less sharpened moduli, or a sphere that reaches further
#: (cinchonine at 1.2 Å: 1 trial in 14 to 20 with these, none of 800 with plain |E|).
BLUNT = (
    Recipe(1.05, power=0.75, reach=0.85), Recipe(0.9, power=0.5), Recipe(1.08), Recipe(1.0, power=0.6),
    Recipe(1.1, reach=0.85), Recipe(0.8), Recipe(0.9, power=0.6),
)  # fmt: skip
#: The resolution beyond which the second set is used [Å].
_COARSE = 1.1
#: A trial has found something when its misfit is this share of what it began with, and settled when one window's is
#: this share of the last one's (54 trials at 1.0 Å: none lost by ending there, and most of those that succeeded took 80
#: to 180 iterations; at 1.2 Å some went on to improve).
_DROPPED, _LEVEL = 0.92, 0.985


def recipes_for(d_min: float) -> tuple[Recipe, ...]:
    """What trials cycle over at this resolution [Å]."""
    return BLUNT if d_min > _COARSE else RECIPES


@dataclass(frozen=True)
class PhasingSettings:
    """At most ``iterations`` of charge flipping, then ``elimination`` of low-density elimination, per trial."""

    iterations: int = 400
    elimination: int = 8
    grid_per_d: float = 2.25
    missing: float = 0.9


@dataclass(frozen=True)
class Trial:
    """One trial's answer: the transform (half-complex, P1), the map and how it is judged."""

    number: int
    transform: np.ndarray
    rho: np.ndarray
    cc_atoms: float
    operator: float

    @property
    def merit(self) -> float:
        """CC(|E|, point atoms) + half the best single-operator phase agreement."""
        return self.cc_atoms + 0.5 * self.operator


def fast_shape(least: np.ndarray, real: bool = False) -> tuple[int, int, int]:
    """The next numbers that the FFT likes along each axis."""
    x, y, z = (int(scipy.fft.next_fast_len(int(n), real=real) or n) for n in least)
    return x, y, z


def grid_shape(cell_lengths: np.ndarray, d: float, per_d: float) -> tuple[int, int, int]:
    """Numbers that the FFT likes, at least ``per_d`` points for the resolution d along each axis."""
    return fast_shape(np.maximum(6, np.ceil(np.asarray(cell_lengths) * per_d / d)), real=True)


def half_complex_index(hkl: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(flat index (n,), conjugated (n,)) of reflections in a C-ordered rfftn transform of a (nx, ny, nz) map."""
    nx, ny, nz = shape
    conj = hkl[:, 2] < 0
    h = np.where(conj[:, None], -hkl, hkl)
    return ((h[:, 0] % nx) * ny + h[:, 1] % ny) * (nz // 2 + 1) + h[:, 2], conj


def _grid_indices(shape: tuple[int, int, int]) -> np.ndarray:
    """All half-complex grid indices as hkl (n, 3) in their smallest absolute form, C order."""
    nx, ny, nz = shape
    axes = [np.rint(np.fft.fftfreq(nx) * nx), np.rint(np.fft.fftfreq(ny) * ny), np.arange(nz // 2 + 1)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(int)


@dataclass(frozen=True)
class Posed:
    """A recipe's grid: ``modulus`` and ``status`` of the flat half-complex transform, the indices (n, 3) of all its
    reflections within the resolution but 000, and whether atoms are resolved, so that a trial may end early."""

    shape: tuple[int, int, int]
    modulus: np.ndarray
    status: np.ndarray
    sphere: np.ndarray
    fine: bool


def pose(data: PhasingData, recipe: Recipe, settings: PhasingSettings) -> Posed:
    """What is known of each point of the transform."""
    d = data.d_min * recipe.reach
    shape = grid_shape(np.array(data.cell.lengths), d, settings.grid_per_d)
    grid_hkl = _grid_indices(shape)
    q = np.linalg.norm(grid_hkl @ data.cell.B.T, axis=1)
    status = np.where(q <= 1 / d * (1 + 1e-9), MISSING, OUTSIDE).astype(np.int8)
    e = data.e**recipe.power * (data.f / np.sqrt(np.mean(data.f**2))) ** (1 - recipe.power)
    if recipe.shrink:
        snr = np.maximum(data.i_over_sigma, 0)
        e = e * np.sqrt(snr**2 / (snr**2 + 1))
    s2 = np.einsum("ij,ij->i", data.hkl @ data.cell.B.T, data.hkl @ data.cell.B.T) / 4
    e = e * np.exp(-recipe.b_extra * s2)
    known = np.where(e <= np.quantile(e, recipe.weak), WEAK, OBSERVED).astype(np.int8)
    modulus = np.zeros(len(status), dtype=np.float32)
    for h in (data.hkl, -data.hkl):
        index, conj = half_complex_index(h, shape)
        keep = ~conj
        modulus[index[keep]] = e[keep]
        status[index[keep]] = known[keep]
    sphere = grid_hkl[status != OUTSIDE][1:]
    status[0] = FLOATING
    return Posed(shape, modulus, status, sphere, data.d_min <= _COARSE)


def run_trial(
    problem: Posed, settings: PhasingSettings, rng: np.random.Generator, threshold: float = 1.1
) -> tuple[np.ndarray, np.ndarray]:
    """Random phases to a phased map: returns the flat half-complex transform and the map, float32."""
    shape, half = problem.shape, (*problem.shape[:2], problem.shape[2] // 2 + 1)
    phase = rng.random(len(problem.status), dtype=np.float32) * np.float32(2 * np.pi)
    g = (problem.modulus * np.exp(1j * phase)).astype(np.complex64)
    misfits: list[float] = []
    left = settings.iterations + settings.elimination
    while left:
        rho = np.asarray(scipy.fft.irfftn(g.reshape(half), s=shape, overwrite_x=True))
        flipping = left > settings.elimination
        if flipping:
            flip(rho.reshape(-1), threshold)
        else:
            eliminate_low_density(rho.reshape(-1), 0.4)
        g = np.asarray(scipy.fft.rfftn(rho, overwrite_x=True)).reshape(-1)
        misfits.append(impose_moduli(g, problem.modulus, problem.status, settings.missing, flipping))
        left = settings.elimination if flipping and problem.fine and has_settled(misfits) else left - 1
    return g, np.asarray(scipy.fft.irfftn(g.reshape(half), s=shape))


def has_settled(misfits: list[float], window: int = 20) -> bool:
    """Whether the moduli's misfit has dropped from where it began and no longer falls: looked at every ``window``
    iterations. A trial that never drops, or drops in its first five, is never settled."""
    if len(misfits) < 3 * window or len(misfits) % window:
        return False
    first, before, last = (
        float(np.mean(misfits[s])) for s in (slice(5, 25), slice(-2 * window, -window), slice(-window, None))
    )
    return last < _DROPPED * first and last > _LEVEL * before


def trials(
    data: PhasingData, n_atoms: float, settings: PhasingSettings | None = None, seed: int = 0
) -> Iterator[Trial]:
    """Trials without end, each from new random phases; ``n_atoms``: expected in the primitive cell, without H."""
    settings = settings or PhasingSettings()
    posed: dict[Recipe, Posed] = {}
    recipes, number = recipes_for(data.d_min), 0
    while True:
        recipe = recipes[number % len(recipes)]
        if recipe not in posed:
            posed[recipe] = pose(data, recipe, settings)
        problem = posed[recipe]
        g, rho = run_trial(problem, settings, np.random.default_rng([seed, number]), recipe.threshold)
        phased = transform_at(data.hkl, g, problem.shape)
        yield Trial(
            number, phased, rho,
            cc_atoms=atoms_agreement(data, rho, round(n_atoms)),
            operator=operator_agreement(data, phased),
        )  # fmt: skip
        number += 1


def transform_at(hkl: np.ndarray, g: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Complex values (n,) of a flat half-complex transform at reflections (n, 3)."""
    index, conj = half_complex_index(hkl, shape)
    v = g[index]
    return np.where(conj, v.conj(), v)


def atoms_agreement(data: PhasingData, rho: np.ndarray, n_atoms: int) -> float:
    """Correlation of |E| with the moduli of point atoms at the ``n_atoms`` highest peaks, weighted by height."""
    peaks = map_peaks(rho)[: max(4, n_atoms)]
    if len(peaks) < 4:
        return 0.0
    strong = np.argsort(-data.e)[:4000] if len(data.e) > 4000 else slice(None)
    calc = np.abs(np.exp(2j * np.pi * (data.hkl[strong] @ peaks[:, :3].T)) @ peaks[:, 3])
    # a map that has died away has no peaks worth the name
    return float(np.corrcoef(calc, data.e[strong])[0, 1]) if np.isfinite(calc).all() and np.ptp(calc) > 0 else 0.0


def operator_agreement(data: PhasingData, g: np.ndarray, most: int = 750) -> float:
    """How well the phases obey the best single symmetry operation of the Laue class at any origin, 0 to 1.

    A symmetry (R, t) makes G(h) = exp(−2πi h·t) G(hR), so Σ w G*(h) G(hR) exp(2πi h·u) peaks at one u. The P1 trial
    knows nothing of symmetry, so this is an independent witness.
    """
    full, values = friedel_pairs(data.hkl, g)
    lookup = Lookup(full)
    strong = np.argsort(-np.abs(g))[:most]  # one of each Friedel pair
    shape = fast_shape(3 * np.abs(full).max(axis=0) + 3)
    best = 0.0
    for r in _some_rotations(data.rotations):
        j = lookup(full[strong] @ r)
        ok = j >= 0
        h, c = full[strong][ok], values[strong][ok].conj() * values[j[ok]]
        if len(h) < 10:
            continue
        series = np.zeros(int(np.prod(shape)), dtype=np.complex64)
        add_at(series, h, c, shape)
        peak = float(np.asarray(scipy.fft.ifftn(series.reshape(shape), overwrite_x=True)).real.max()) * series.size
        best = max(best, peak / float(np.abs(c).sum()))
    return best


def _some_rotations(rotations: np.ndarray, most: int = 9) -> list[np.ndarray]:
    """Not the identity, one of each pair R and R⁻¹, at most ``most``, evenly taken."""
    kept: dict[bytes, np.ndarray] = {}
    for r in rotations:
        inverse = np.rint(np.linalg.inv(r)).astype(r.dtype)
        if not np.array_equal(r, np.eye(3)) and inverse.tobytes() not in kept:
            kept[r.tobytes()] = r
    every = list(kept.values())
    return [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).astype(int))]


def friedel_pairs(hkl: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both Friedel mates: indices (2n, 3), values (2n,)."""
    return np.concatenate([hkl, -hkl]), np.concatenate([g, g.conj()])


class Lookup:
    """Row of each index triple in a table, −1 where it is not there."""

    def __init__(self, hkl: np.ndarray) -> None:
        self._limit = np.abs(hkl).max(axis=0)
        self._table = np.full(tuple(2 * self._limit + 1), -1, dtype=np.int64)
        self._table[tuple((hkl + self._limit).T)] = np.arange(len(hkl))

    def __call__(self, hkl: np.ndarray) -> np.ndarray:
        inside = np.all(np.abs(hkl) <= self._limit, axis=1)
        out = np.full(len(hkl), -1, dtype=np.int64)
        out[inside] = self._table[tuple((hkl[inside] + self._limit).T)]
        return out
