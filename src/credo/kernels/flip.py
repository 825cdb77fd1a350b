"""Charge flipping on plain arrays: what happens to one density map and one half-complex transform per iteration."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "FLOATING",
    "MISSING",
    "OBSERVED",
    "OUTSIDE",
    "WEAK",
    "add_at",
    "average_orbits",
    "eliminate_low_density",
    "flip",
    "impose_moduli",
]

#: What is known of a point of the half-complex transform.
OUTSIDE, OBSERVED, WEAK, MISSING, FLOATING = 0, 1, 2, 3, 4
_NOUGHT = np.float32(1e-12)


@njit(cache=True, fastmath=True)
def flip(rho: np.ndarray, k: float) -> float:
    """Turn the sign of all density below k·σ(ρ), in place (Oszlányi & Sütő 2004). rho: flat float32. Returns σ."""
    s = 0.0
    s2 = 0.0
    n = rho.size
    for i in range(n):
        v = rho[i]
        s += v
        s2 += v * v
    mean = s / n
    sigma = np.sqrt(max(s2 / n - mean * mean, 0.0))
    delta = np.float32(k * sigma)
    for i in range(n):
        v = rho[i]
        rho[i] = v if v >= delta else -v
    return sigma


@njit(cache=True, fastmath=True)
def eliminate_low_density(rho: np.ndarray, k: float) -> None:
    """ρ (1 − exp(−½ (ρ/kσ)²)) where ρ > 0 and nought elsewhere, in place (Shiono & Woolfson 1992)."""
    s2 = 0.0
    for i in range(rho.size):
        s2 += rho[i] * rho[i]
    c = np.float32(k * np.sqrt(s2 / rho.size))
    if c <= 0:
        return
    for i in range(rho.size):
        v = rho[i]
        if v > 0:
            x = v / c
            rho[i] = v * (np.float32(1.0) - np.exp(np.float32(-0.5) * x * x)) if x < 6 else v
        else:
            rho[i] = 0


@njit(cache=True, fastmath=True)
def impose_moduli(
    g: np.ndarray, modulus: np.ndarray, status: np.ndarray, keep_missing: float, shift_weak: bool
) -> float:
    """The reciprocal-space half of an iteration, in place on the flat complex64 transform ``g``; returns how far the
    calculated moduli A were from the OBSERVED M, min over k of √(Σ(A − kM)²/ΣA²).

    OBSERVED points get their modulus and keep the phase; WEAK ones keep the calculated modulus, their phase shifted by
    90° (Oszlányi & Sütő 2005), or, without ``shift_weak``, are treated as OBSERVED; MISSING float, damped by
    ``keep_missing``; the FLOATING one (F000) is left alone; OUTSIDE is set to nought.
    """
    am = 0.0
    aa = 0.0
    mm = 0.0
    for i in range(g.size):
        st = status[i]
        if st == OUTSIDE:
            g[i] = 0
        elif st == OBSERVED or (st == WEAK and not shift_weak):
            v = g[i]
            a = np.sqrt(v.real * v.real + v.imag * v.imag)
            am += a * modulus[i]
            aa += a * a
            mm += modulus[i] * modulus[i]
            # what rounding leaves of nought has no phase
            if a > _NOUGHT:
                g[i] = v * (modulus[i] / a)
            else:
                g[i] = modulus[i]
        elif st == WEAK:
            v = g[i]
            g[i] = complex(-v.imag, v.real)
        elif st == MISSING:
            g[i] = g[i] * keep_missing
    return np.sqrt(max(1 - am * am / (aa * mm), 0.0)) if aa * mm > 0 else 1.0


@njit(cache=True)
def add_at(series: np.ndarray, hkl: np.ndarray, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Add values (n,) complex to a flat C-ordered array of ``shape`` at indices (n, 3), taken modulo the shape."""
    nx, ny, nz = shape
    for n in range(len(hkl)):
        series[((hkl[n, 0] % nx) * ny + hkl[n, 1] % ny) * nz + hkl[n, 2] % nz] += values[n]


@njit(cache=True, fastmath=True)
def average_orbits(g: np.ndarray, row: np.ndarray, mate: np.ndarray, conj: np.ndarray, turn: np.ndarray) -> None:
    """Each orbit of reflections gets its mean over a group's operations, in place on the flat transform ``g``.

    row (m, ops): where h R of orbit m stands, ``conj``: as its Friedel mate; ``turn``: e^(−2πi h·t) of
    G(h) = e^(−2πi h·t) G(h R); ``mate``: where its mate stands too, or −1.
    """
    orbits, ops = row.shape
    for m in range(orbits):
        total = np.complex64(0)
        for o in range(ops):
            v = g[row[m, o]]
            total += (np.conj(v) if conj[m, o] else v) * turn[m, o]
        total /= np.float32(ops)
        for o in range(ops):
            v = total * np.conj(turn[m, o])
            if conj[m, o]:
                v = np.conj(v)
            g[row[m, o]] = v
            if mate[m, o] >= 0:
                g[mate[m, o]] = np.conj(v)
