"""Structure factors and |F|² derivatives of atoms under space-group operations, reflection by reflection."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["calculate", "calculate_with_derivatives", "gather", "point_factors", "point_factors_with_slopes"]

_TWO_PI = 2 * np.pi


@njit(cache=True, fastmath=True)
def _debye_waller(aniso: bool, u: np.ndarray, w: np.ndarray, s2: float) -> float:
    if aniso:
        return np.exp(
            -2 * np.pi**2
            * (u[0] * w[0] + u[1] * w[1] + u[2] * w[2] + u[3] * w[3] + u[4] * w[4] + u[5] * w[5])
        )  # fmt: skip
    return np.exp(-8 * np.pi**2 * u[0] * s2)


@njit(cache=True, fastmath=True)
def _turned(h: np.ndarray, r: np.ndarray, star: np.ndarray, hr: np.ndarray, w: np.ndarray) -> None:
    """h R, and the weights w of U11 U22 U33 U12 U13 U23 in hᵀ(a*Ua*)h."""
    for j in range(3):
        hr[j] = h[0] * r[0, j] + h[1] * r[1, j] + h[2] * r[2, j]
    p, q, s = hr[0] * star[0], hr[1] * star[1], hr[2] * star[2]
    w[0], w[1], w[2] = p * p, q * q, s * s
    w[3], w[4], w[5] = 2 * p * q, 2 * p * s, 2 * q * s


@njit(cache=True, fastmath=True)
def _largest_index(hkl: np.ndarray, rot: np.ndarray) -> int:
    """The largest |component| of h R."""
    top = 0.0
    for m in range(len(rot)):
        for n in range(len(hkl)):
            for j in range(3):
                x = abs(hkl[n, 0] * rot[m, 0, j] + hkl[n, 1] * rot[m, 1, j] + hkl[n, 2] * rot[m, 2, j])
                top = max(top, x)
    return int(np.rint(top))


@njit(cache=True, fastmath=True)
def _turns(xyz: np.ndarray, top: int) -> np.ndarray:
    """exp(2πi k x) for k = −top … top (3, 2 top + 1, a): a product of three replaces a sine and a cosine."""
    out = np.empty((3, 2 * top + 1, len(xyz)), dtype=np.complex128)
    for i in range(len(xyz)):
        for j in range(3):
            for k in range(-top, top + 1):
                x = _TWO_PI * k * xyz[i, j]
                out[j, k + top, i] = complex(np.cos(x), np.sin(x))
    return out


@njit(cache=True, fastmath=True)
def calculate(
    hkl: np.ndarray, s2: np.ndarray, rot: np.ndarray, trans: np.ndarray, centric: bool, star: np.ndarray,
    f: np.ndarray, kind: np.ndarray, xyz: np.ndarray, occ: np.ndarray, u: np.ndarray, aniso: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """F (n,) complex. hkl (n, 3) whole numbers as float; s2 (n,) = (sin θ/λ)²; rot (m, 3, 3), trans (m, 3);
    ``centric``: the operations are one half of a group with an inversion at the origin, and F is real; star (3,): a* b*
    c*; f (n_kinds, n) scattering factors; kind, occ (a,); xyz (a, 3); u (a, 6), of which u[0] when not ``aniso``."""
    out = np.zeros(len(hkl), dtype=np.complex128)
    hr, w = np.empty(3), np.empty(6)
    top = _largest_index(hkl, rot)
    turns = _turns(xyz, top)
    for n in range(len(hkl)):
        total = complex(0.0, 0.0)
        for m in range(len(rot)):
            _turned(hkl[n], rot[m], star, hr, w)
            x = _TWO_PI * (hkl[n, 0] * trans[m, 0] + hkl[n, 1] * trans[m, 1] + hkl[n, 2] * trans[m, 2])
            shift = complex(np.cos(x), np.sin(x))
            a, b, c = int(np.rint(hr[0])) + top, int(np.rint(hr[1])) + top, int(np.rint(hr[2])) + top
            for i in range(len(xyz)):
                g = occ[i] * f[kind[i], n] * _debye_waller(aniso[i], u[i], w, s2[n])
                total += g * (turns[0, a, i] * turns[1, b, i] * turns[2, c, i] * shift)
        out[n] = complex(2 * total.real, 0.0) if centric else total
    return out


@njit(cache=True, fastmath=True)
def calculate_with_derivatives(
    hkl: np.ndarray, s2: np.ndarray, rot: np.ndarray, trans: np.ndarray, centric: bool, star: np.ndarray,
    f: np.ndarray, kind: np.ndarray, xyz: np.ndarray, occ: np.ndarray, u: np.ndarray, aniso: np.ndarray,
    start: np.ndarray, jac: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """As :func:`calculate`, and d|F|²/dp in ``jac`` (n, p): from column start[i] (a,) on, atom i has x y z, occ, then
    U, or U11 U22 U33 U12 U13 U23 where it is anisotropic."""
    out = np.zeros(len(hkl), dtype=np.complex128)
    na = len(xyz)
    hr, w = np.empty(3), np.empty(6)
    da, db = np.empty((na, 10)), np.empty((na, 10))
    top = _largest_index(hkl, rot)
    turns = _turns(xyz, top)
    for n in range(len(hkl)):
        da[:] = 0.0
        db[:] = 0.0
        for m in range(len(rot)):
            _turned(hkl[n], rot[m], star, hr, w)
            x = _TWO_PI * (hkl[n, 0] * trans[m, 0] + hkl[n, 1] * trans[m, 1] + hkl[n, 2] * trans[m, 2])
            shift = complex(np.cos(x), np.sin(x))
            h0, h1, h2 = int(np.rint(hr[0])) + top, int(np.rint(hr[1])) + top, int(np.rint(hr[2])) + top
            for i in range(na):
                t = f[kind[i], n] * _debye_waller(aniso[i], u[i], w, s2[n])
                wave = turns[0, h0, i] * turns[1, h1, i] * turns[2, h2, i] * shift
                c, s = t * wave.real, t * wave.imag
                da[i, 3] += c
                db[i, 3] += s
                for j in range(3):
                    da[i, j] -= hr[j] * s
                    db[i, j] += hr[j] * c
                if aniso[i]:
                    for j in range(6):
                        da[i, 4 + j] += w[j] * c
                        db[i, 4 + j] += w[j] * s
        a = 0.0
        b = 0.0
        for i in range(na):
            a += occ[i] * da[i, 3]
            b += occ[i] * db[i, 3]
        # |F|² = A² + B²; with a centre F = 2A over half of the operations, so that d|F|² = 2 (4A) dA
        if centric:
            a, b = 4 * a, 0.0
        for i in range(na):
            o = occ[i]
            k = start[i]
            for j in range(3):
                jac[n, k + j] = 2 * _TWO_PI * o * (a * da[i, j] + b * db[i, j])
            common = 2 * (a * da[i, 3] + b * db[i, 3])
            jac[n, k + 3] = common
            if aniso[i]:
                for j in range(6):
                    jac[n, k + 4 + j] = -4 * np.pi**2 * o * (a * da[i, 4 + j] + b * db[i, 4 + j])
            else:
                jac[n, k + 4] = -8 * np.pi**2 * s2[n] * o * common
        out[n] = complex(0.5 * a, 0.0) if centric else complex(a, b)
    return out


@njit(cache=True, fastmath=True)
def gather(jac: np.ndarray, columns: np.ndarray, factor: np.ndarray, row: np.ndarray, out: np.ndarray, at: np.ndarray):
    """out[n, at[k]] = jac[n, columns[k]] factor[k] row[n], in the precision of ``out``."""
    for n in range(len(jac)):
        for k in range(len(columns)):
            out[n, at[k]] = jac[n, columns[k]] * factor[k] * row[n]


@njit(cache=True, fastmath=True)
def point_factors(
    hkl: np.ndarray, rot: np.ndarray, trans: np.ndarray, xyz: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """(n, a) complex64: w Σ_ops exp(2πi h·(R x + t)) for indices (n, 3) and sites (a, 3) of weights (a,)."""
    images = np.empty((len(xyz), len(rot), 3))
    for i in range(len(xyz)):
        for m in range(len(rot)):
            for j in range(3):
                images[i, m, j] = trans[m, j] + rot[m, j, 0] * xyz[i, 0] + rot[m, j, 1] * xyz[i, 1]
                images[i, m, j] += rot[m, j, 2] * xyz[i, 2]
    out = np.empty((len(hkl), len(xyz)), dtype=np.complex64)
    for n in range(len(hkl)):
        for i in range(len(xyz)):
            a = np.float32(0.0)
            b = np.float32(0.0)
            for m in range(len(rot)):
                x = hkl[n, 0] * images[i, m, 0] + hkl[n, 1] * images[i, m, 1] + hkl[n, 2] * images[i, m, 2]
                # single precision is enough once whole turns are gone
                turn = np.float32(_TWO_PI * (x - np.floor(x)))
                a += np.cos(turn)
                b += np.sin(turn)
            out[n, i] = complex(a * weight[i], b * weight[i])
    return out


@njit(cache=True, fastmath=True)
def point_factors_with_slopes(
    hkl: np.ndarray, rot: np.ndarray, trans: np.ndarray, xyz: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`point_factors` in double precision, and d/dx, d/dy, d/dz of it (n, a, 3)."""
    out = np.zeros((len(hkl), len(xyz)), dtype=np.complex128)
    slope = np.zeros((len(hkl), len(xyz), 3), dtype=np.complex128)
    hr = np.empty(3)
    for n in range(len(hkl)):
        for m in range(len(rot)):
            shift = hkl[n, 0] * trans[m, 0] + hkl[n, 1] * trans[m, 1] + hkl[n, 2] * trans[m, 2]
            for j in range(3):
                hr[j] = hkl[n, 0] * rot[m, 0, j] + hkl[n, 1] * rot[m, 1, j] + hkl[n, 2] * rot[m, 2, j]
            for i in range(len(xyz)):
                x = _TWO_PI * (hr[0] * xyz[i, 0] + hr[1] * xyz[i, 1] + hr[2] * xyz[i, 2] + shift)
                c, s = weight[i] * np.cos(x), weight[i] * np.sin(x)
                out[n, i] += complex(c, s)
                for j in range(3):
                    slope[n, i, j] += complex(-_TWO_PI * hr[j] * s, _TWO_PI * hr[j] * c)
    return out, slope
