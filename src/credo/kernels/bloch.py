"""Waves behind a crystal: coupling of beams, Lanczos vectors, and the exponential of a small matrix."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["bessel", "couple", "near_sphere", "propagate", "rotation_sums"]


@njit(cache=True)
def couple(hkl: np.ndarray, s: np.ndarray, k: float, re: np.ndarray, im: np.ndarray, a: np.ndarray, b: np.ndarray):
    """A = a + ib (n, n): A_gg = 2 K s_g, A_gh = U_{g−h}. hkl (n, 3) int; s (n,) [Å⁻¹]; k = K [Å⁻¹];
    re, im: U [Å⁻²] by index, the origin in the middle; ``im`` empty: real, and b is not touched."""
    n = len(hkl)
    o0, o1, o2 = re.shape[0] // 2, re.shape[1] // 2, re.shape[2] // 2
    real = im.size == 0
    for g in range(n):
        for h in range(g):
            i, j, l = hkl[g, 0] - hkl[h, 0] + o0, hkl[g, 1] - hkl[h, 1] + o1, hkl[g, 2] - hkl[h, 2] + o2
            a[g, h] = a[h, g] = re[i, j, l]
            if not real:
                b[g, h] = im[i, j, l]
                b[h, g] = -b[g, h]
        a[g, g] = 2 * k * s[g]
        if not real:
            b[g, g] = 0.0


@njit(cache=True, fastmath=True)
def _multiply(a: np.ndarray, b: np.ndarray, n: int, real: bool, x: np.ndarray, out: np.ndarray):
    """out = (a + ib) x; x, out: (2, n), real and imaginary parts."""
    for g in range(n):
        u, v = 0.0, 0.0
        if real:
            for h in range(n):
                u += a[g, h] * x[0, h]
        else:
            for h in range(n):
                u += a[g, h] * x[0, h] - b[g, h] * x[1, h]
                v += a[g, h] * x[1, h] + b[g, h] * x[0, h]
        out[0, g] = u
        out[1, g] = v


@njit(cache=True, fastmath=True)
def _lanczos(a: np.ndarray, b: np.ndarray, n: int, real: bool, q: np.ndarray, alpha: np.ndarray, beta: np.ndarray, m0: int, m1: int) -> int:  # fmt: skip  # noqa: E501
    """Lanczos vectors m0 … m1 − 1 of A in q (m, 2, n), alpha and beta of the tridiagonal T; q[0] and, beyond it, q[m0]
    are there already. Returns how many there are: fewer where the space is exhausted."""
    w = np.empty((2, n))
    for j in range(m0, m1):
        _multiply(a, b, n, real, q[j], w)
        dot = 0.0
        for c in range(2):
            for g in range(n):
                dot += w[c, g] * q[j, c, g]
        alpha[j] = dot
        norm = 0.0
        for c in range(2):
            for g in range(n):
                x = w[c, g] - dot * q[j, c, g]
                if j > 0:
                    x -= beta[j - 1] * q[j - 1, c, g]
                w[c, g] = x
                norm += x * x
        beta[j] = np.sqrt(norm)
        if beta[j] < 1e-12:
            return j + 1
        for c in range(2):
            for g in range(n):
                q[j + 1, c, g] = w[c, g] / beta[j]
    return m1


@njit(cache=True)
def bessel(x: float, n: int) -> np.ndarray:
    """J_0 … J_{n−1} of x ≥ 0 by Miller's backward recurrence, scaled by J_0 + 2 Σ J_2k = 1
    (Abramowitz & Stegun 9.12)."""
    out = np.zeros(n)
    if x < 1e-12:
        out[0] = 1.0
        return out
    start = 2 * ((max(n, int(x)) + 20 + int(3 * x ** (1 / 3) + np.sqrt(40.0 * max(n, int(x))))) // 2)
    above, here, total = 0.0, 1e-300, 0.0
    for k in range(start, 0, -1):
        below = 2 * k / x * here - above
        above, here = here, below
        if abs(here) > 1e250:
            above, here, total = above * 1e-250, here * 1e-250, total * 1e-250
            for i in range(n):
                out[i] *= 1e-250
        if k - 1 < n:
            out[k - 1] = here
        if (k - 1) % 2 == 0:
            total += here if k - 1 == 0 else 2 * here
    for i in range(n):
        out[i] /= total
    return out


@njit(cache=True)
def _spectrum(alpha: np.ndarray, beta: np.ndarray, m: int) -> tuple[float, float]:
    """Middle and half width of Gershgorin's circles of the tridiagonal T."""
    low, high = np.inf, -np.inf
    for i in range(m):
        r = (beta[i - 1] if i > 0 else 0.0) + (beta[i] if i < m - 1 else 0.0)
        low, high = min(low, alpha[i] - r), max(high, alpha[i] + r)
    return 0.5 * (high + low), max(0.5 * (high - low), 1e-12)


@njit(cache=True)
def _exponential(alpha: np.ndarray, beta: np.ndarray, m: int, tau: np.ndarray, out: np.ndarray):
    """exp(iτT) e_0 for every τ ≥ 0 in ``out`` (n_τ, m), by Chebyshev polynomials of the tridiagonal T (Tal-Ezer &
    Kosloff 1984, J. Chem. Phys. 81, 3967), whose spectrum Gershgorin's circles bound."""
    mid, half = _spectrum(alpha, beta, m)
    longest = 0.0
    for i in range(len(tau)):
        longest = max(longest, tau[i])
    rho = half * longest
    terms = int(rho + 12 * (rho + 1) ** (1 / 3)) + 12
    j = np.empty((len(tau), terms))
    for i in range(len(tau)):
        of_tau = bessel(half * tau[i], terms)
        for k in range(terms):
            j[i, k] = of_tau[k]
        for p in range(m):
            out[i, p] = 0.0
    before, here, after = np.zeros(m), np.zeros(m), np.empty(m)
    here[0] = 1.0
    power = complex(1.0, 0.0)
    for k in range(terms):
        for i in range(len(tau)):
            c = power * (j[i, k] if k == 0 else 2 * j[i, k])
            for p in range(m):
                out[i, p] += c * here[p]
        factor = 1.0 if k == 0 else 2.0
        for p in range(m):
            x = (alpha[p] - mid) * here[p]
            if p > 0:
                x += beta[p - 1] * here[p - 1]
            if p < m - 1:
                x += beta[p] * here[p + 1]
            after[p] = factor * x / half - (before[p] if k > 0 else 0.0)
        before, here, after = here, after, before
        power *= 1j
    for i in range(len(tau)):
        turn = complex(np.cos(mid * tau[i]), np.sin(mid * tau[i]))
        for p in range(m):
            out[i, p] *= turn


@njit(cache=True)
def propagate(
    a: np.ndarray, b: np.ndarray, n: int, real: bool, tau: np.ndarray, spread: float, error: float
) -> np.ndarray:
    """exp(iτA) e_0 (n_τ, n) for τ (n_τ,) = π t/K, from one Krylov space of A = a + ib (n, n), Hermitian.

    ``spread``: an estimate of the width of A's spectrum, from which the size of the space is first guessed, then
    enlarged until the part that leaves it, β_m |[exp(iτT)]_{m−1}| τ (Saad 1992, SIAM J. Numer. Anal. 29, 209), is
    below ``error``.
    """
    most = 2 * n + 40  # rounding lets vectors come back, so that more than n may be needed
    longest = 0.0
    for i in range(len(tau)):
        longest = max(longest, tau[i])
    m0, m = 0, min(most, int(0.5 * spread * longest) + 20)
    q = np.zeros((most + 1, 2, n))
    q[0, 0, 0] = 1.0
    alpha, beta = np.empty(most), np.empty(most)
    c = np.empty((len(tau), most), dtype=np.complex128)
    while True:
        done = _lanczos(a, b, n, real, q, alpha, beta, m0, m)
        _exponential(alpha, beta, done, tau, c)
        left = 0.0
        for i in range(len(tau)):
            left = max(left, beta[done - 1] * abs(c[i, done - 1]) * tau[i])
        if done < m or m == most or left < error:
            break
        m0, m = m, min(most, m + 12)
    psi = np.zeros((len(tau), n), dtype=np.complex128)
    for i in range(len(tau)):
        for p in range(done):
            for g in range(n):
                psi[i, g] += c[i, p] * complex(q[p, 0, g], q[p, 1, g])
    return psi


@njit(cache=True)
def near_sphere(hkl: np.ndarray, ub: np.ndarray, k: float, s_max: float, rows: np.ndarray, s: np.ndarray) -> int:
    """Which hkl (n, 3) lie within ``s_max`` of the Ewald sphere, in ``rows``, and s = −(q² + 2 K q_z)/2K [Å⁻¹] in ``s``
    (positive inside), q = UB h with the beam along +z; the direct beam, row 0, always comes first. Returns how many."""
    count = 1
    rows[0], s[0] = 0, 0.0
    for i in range(1, len(hkl)):
        h0, h1, h2 = hkl[i, 0], hkl[i, 1], hkl[i, 2]
        x = ub[0, 0] * h0 + ub[0, 1] * h1 + ub[0, 2] * h2
        y = ub[1, 0] * h0 + ub[1, 1] * h1 + ub[1, 2] * h2
        z = ub[2, 0] * h0 + ub[2, 1] * h1 + ub[2, 2] * h2
        error = -(x * x + y * y + z * z + 2 * k * z) / (2 * k)
        if abs(error) <= s_max:
            rows[count], s[count] = i, error
            count += 1
    return count


@njit(cache=True)
def rotation_sums(
    hkl: np.ndarray, ub: np.ndarray, weight: np.ndarray, k: float, s_max: float, re: np.ndarray, im: np.ndarray,
    thickness: np.ndarray, mix: np.ndarray, error: float,
) -> np.ndarray:  # fmt: skip
    """Σ over orientations w_o Σ_i mix[j, i] |ψ_g(t_i)|² (n_mix, n): hkl (n, 3) int with 000 first, ub (n_o, 3, 3),
    weight (n_o,), thickness t (n_t,) [Å], mix (n_mix, n_t): shares of thicknesses."""
    n = len(hkl)
    real = im.size == 0
    rows, s = np.empty(n, dtype=np.int64), np.empty(n)
    out = np.zeros((len(mix), n))
    room = 0
    a, b = np.empty((1, 1)), np.empty((1, 1))
    tau = np.pi * thickness / k
    for o in range(len(ub)):
        count = near_sphere(hkl, ub[o], k, s_max, rows, s)
        if count > room:
            room = count + 16
            a = np.empty((room, room))
            b = np.empty((1, 1)) if real else np.empty((room, room))
        couple(hkl[rows[:count]], s[:count], k, re, im, a, b)
        psi = propagate(a, b, count, real, tau, 4 * k * s_max, error)
        for j in range(len(mix)):
            for g in range(count):
                x = 0.0
                for i in range(len(thickness)):
                    if mix[j, i] != 0.0:
                        x += mix[j, i] * (psi[i, g].real ** 2 + psi[i, g].imag ** 2)
                out[j, rows[g]] += weight[o] * x
    return out
