"""The joint rocking-curve fit: one learned profile, an intensity of each passage, a direction and scale of each frame.

Rows are sorted by passage. A frame records μ = K_f I_r p̄, where p̄ is the profile p(s) at its excitation error s, or
its mean between the errors at the frame's start and end. p is a symmetric cubic B-spline with coefficients c at k h.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = [
    "passage_intensities",
    "profile_equations",
    "schur_blocks",
    "schur_solve",
    "shares",
    "spread",
    "student_loss",
    "tilts",
]


@njit(cache=True)
def _b(x):
    """Cubic B-spline, support (−2, 2), integral 1."""
    x = abs(x)
    if x >= 2:
        return 0.0
    if x >= 1:
        return (2 - x) ** 3 / 6
    return 2.0 / 3 - x * x + 0.5 * x**3


@njit(cache=True)
def _integral(x):
    """From −2 to x."""
    t = abs(x)
    if t >= 2:
        tail = 0.0
    elif t >= 1:
        tail = (2 - t) ** 4 / 24
    else:
        tail = 0.5 - (2.0 / 3 * t - t**3 / 3 + t**4 / 8)
    return 1 - tail if x > 0 else tail


@njit(cache=True)
def tilts(frame, point, zone, first, second, axis, radius):
    """Excitation errors s (n,) [Å⁻¹], their derivatives (n, 2) by turns [rad] of the zone axis towards ``first`` and
    ``second`` (f, 3), and (n,) by the rotation about ``axis``; point (n, 3), zone (f, 3) unit vectors."""
    n = len(frame)
    s, jac, rate = np.empty(n), np.empty((n, 2)), np.empty(n)
    for i in range(n):
        u, p = zone[frame[i]], point[i]
        a, b = first[frame[i]], second[frame[i]]
        pu = p[0] * u[0] + p[1] * u[1] + p[2] * u[2]
        top = p[0] ** 2 + p[1] ** 2 + p[2] ** 2 - 2 * radius * pu
        far = math.sqrt(top + radius * radius)
        s[i] = -top / (far + radius)
        pull = radius / far
        jac[i, 0] = pull * (p[0] * a[0] + p[1] * a[1] + p[2] * a[2])
        jac[i, 1] = pull * (p[0] * b[0] + p[1] * b[1] + p[2] * b[2])
        along = p[0] * (axis[1] * u[2] - axis[2] * u[1])
        along += p[1] * (axis[2] * u[0] - axis[0] * u[2]) + p[2] * (axis[0] * u[1] - axis[1] * u[0])
        rate[i] = pull * along
    return s, jac, rate


@njit(cache=True)
def _mirrored(c):
    """Coefficients of knots −n − 3 … n + 3, noughts at both ends, and their sums from the left."""
    n = len(c) - 1
    whole = np.zeros(2 * n + 7)
    for k in range(-n, n + 1):
        whole[k + n + 3] = c[abs(k)]
    return whole, np.cumsum(whole)


@njit(cache=True)
def _value(whole, x):
    """p and dp/dx at x = s/h."""
    n = (len(whole) - 7) // 2
    k = math.floor(x)
    if k < -n - 2 or k > n + 1:
        return 0.0, 0.0
    t = x - k
    m = k + n + 2
    a, b, c, d = whole[m], whole[m + 1], whole[m + 2], whole[m + 3]
    o = 1 - t
    p = (a * o**3 + b * (4 - 6 * t * t + 3 * t**3) + c * (4 - 6 * o * o + 3 * o**3) + d * t**3) / 6
    return p, 0.5 * (-a * o * o + b * (3 * t * t - 4 * t) + c * (4 * o - 3 * o * o) + d * t * t)


@njit(cache=True)
def _area(whole, sums, x):
    """∫ p dx from −∞ to x = s/h."""
    n = (len(whole) - 7) // 2
    k = math.floor(x)
    if k < -n - 2:
        return 0.0
    if k > n + 1:
        return sums[-1]
    m = k + n + 2
    # what lies two knots to the left is over
    total = sums[m - 1] if m > 0 else 0.0
    for i in range(m, m + 4):
        total += whole[i] * _integral(x - (i - n - 3))
    return total


@njit(cache=True)
def shares(s, span, c, h):
    """p̄ (n,) and its derivative by s; ``span`` (n,): how far s moves during the frame, 0 for one that stands."""
    whole, sums = _mirrored(c)
    out, slope = np.empty(len(s)), np.empty(len(s))
    for i in range(len(s)):
        width = abs(span[i])
        if width < 0.02 * h:
            p, d = _value(whole, s[i] / h)
            out[i], slope[i] = p, d / h
        else:
            low, high = (s[i] - 0.5 * width) / h, (s[i] + 0.5 * width) / h
            out[i] = (_area(whole, sums, high) - _area(whole, sums, low)) * h / width
            slope[i] = (_value(whole, high)[0] - _value(whole, low)[0]) / width
    return out, slope


@njit(cache=True)
def profile_equations(s, span, gain, value, weight, n_knots, h):
    """Normal equations (k, k), (k,) of the profile's coefficients: Σ w (value − gain Σ c φ)²."""
    a, rhs = np.zeros((n_knots, n_knots)), np.zeros(n_knots)
    phi = np.zeros(n_knots)
    last = n_knots - 1
    for i in range(len(s)):
        if weight[i] <= 0 or gain[i] <= 0:
            continue
        width = abs(span[i])
        if width < 0.02 * h:
            lo = hi = s[i] / h
        else:
            lo, hi = (s[i] - 0.5 * width) / h, (s[i] + 0.5 * width) / h
        first, final = max(math.floor(lo) - 1, -last), min(math.floor(hi) + 2, last)
        if final < first:
            continue
        phi[:] = 0
        for k in range(first, final + 1):
            if width < 0.02 * h:
                phi[abs(k)] += _b(lo - k)
            else:
                phi[abs(k)] += (_integral(hi - k) - _integral(lo - k)) * h / width
        low, high = n_knots, -1
        for k in range(first, final + 1):
            low, high = min(low, abs(k)), max(high, abs(k))
        w, g = weight[i], gain[i]
        for k in range(low, high + 1):
            if phi[k] == 0:
                continue
            rhs[k] += w * g * phi[k] * value[i]
            for m in range(low, k + 1):
                a[k, m] += w * g * g * phi[k] * phi[m]
    for k in range(n_knots):
        for m in range(k):
            a[m, k] = a[k, m]
    return a, rhs


@njit(cache=True)
def passage_intensities(start, share, gain, value, weight):
    """I_r (m,), not negative: least squares of value = I_r · gain · share over each passage."""
    out = np.zeros(len(start) - 1)
    for r in range(len(out)):
        top = bottom = 0.0
        for i in range(start[r], start[r + 1]):
            g = gain[i] * share[i]
            top += weight[i] * g * value[i]
            bottom += weight[i] * g * g
        if bottom > 0 and top > 0:
            out[r] = top / bottom
    return out


@njit(cache=True)
def spread(value, mu, whole, variance, slope, k0, k1):
    """Variance (n,) of every row: of the count, the given one moved by ``slope`` from what was measured to what is
    expected and not below a fifth of itself; of the model, κ₀ of the row's mean and κ₁ of its passage's intensity."""
    out = np.empty(len(value))
    for i in range(len(value)):
        own = max(variance[i] + slope * (mu[i] - value[i]), 0.2 * variance[i])
        out[i] = own + (k0 * mu[i]) ** 2 + (k1 * whole[i]) ** 2
    return out


@njit(cache=True)
def student_loss(value, mu, variance, nu):
    """−ln of Student's density over all rows, but for a constant. Logarithms are taken of products."""
    total = len(value) * (math.lgamma(0.5 * nu) - math.lgamma(0.5 * nu + 0.5) + 0.5 * math.log(nu))
    far, wide = 1.0, 1.0
    for i in range(len(value)):
        z = value[i] - mu[i]
        far *= 1 + z * z / (nu * variance[i])
        wide *= variance[i]
        if far > 1e150:
            total += 0.5 * (nu + 1) * math.log(far)
            far = 1.0
        if not 1e-150 < wide < 1e150:
            total += 0.5 * math.log(wide)
            wide = 1.0
    return total + 0.5 * (nu + 1) * math.log(far) + 0.5 * math.log(wide)


@njit(cache=True)
def schur_blocks(start, frame, jac, inner, weight, residual, n_frames):
    """Diagonal blocks (f, 3, 3) of the matrix of ``schur_solve``, the right side (f, 3), and Σ w g² (m,)."""
    blocks, rhs = np.zeros((n_frames, 3, 3)), np.zeros((n_frames, 3))
    bottom = np.zeros(len(start) - 1)
    for r in range(len(bottom)):
        for i in range(start[r], start[r + 1]):
            bottom[r] += weight[i] * inner[i] ** 2
        if bottom[r] <= 0:
            continue
        for i in range(start[r], start[r + 1]):
            f = frame[i]
            own = weight[i] - (weight[i] * inner[i]) ** 2 / bottom[r]
            for k in range(3):
                rhs[f, k] += weight[i] * jac[i, k] * residual[i]
                for m in range(3):
                    blocks[f, k, m] += own * jac[i, k] * jac[i, m]
    return blocks, rhs, bottom


@njit(cache=True)
def schur_solve(start, frame, jac, inner, weight, bottom, prior, rhs, inverse, most, left):
    """x (f, 3) of (prior + S) x = rhs, S = Σ_r Jᵀ(w − w g gᵀ w/Σ w g²) J with the passages' intensities eliminated, by
    conjugate gradients preconditioned by ``inverse`` (f, 3, 3) of the diagonal blocks.

    jac (n, 3): J = ∂μ/∂(two turns, ln K); inner (n,): g = ∂μ/∂I_r; bottom (m,): Σ w g². Ends after ``most`` steps, or
    when the preconditioned residual has fallen by the factor ``left``.
    """
    a, g = np.empty_like(jac), np.empty_like(inner)
    for r in range(len(bottom)):
        for i in range(start[r], start[r + 1]):
            root = math.sqrt(weight[i])
            g[i] = root * inner[i] / math.sqrt(bottom[r]) if bottom[r] > 0 else 0.0
            for k in range(3):
                a[i, k] = root * jac[i, k] if bottom[r] > 0 else 0.0
    x, q = np.zeros_like(rhs), np.empty_like(rhs)
    r = rhs.copy()
    z = _blockwise(inverse, r)
    p, rz = z.copy(), np.sum(r * z)
    end = left * rz
    turned = np.empty(len(frame))
    for _ in range(most):
        _schur_apply(start, frame, a, g, prior, p, turned, q)
        step = rz / max(np.sum(p * q), 1e-300)
        x += step * p
        r -= step * q
        z = _blockwise(inverse, r)
        after = np.sum(r * z)
        if after < end:
            break
        p = z + after / rz * p
        rz = after
    return x


@njit(cache=True)
def _schur_apply(start, frame, a, g, prior, x, turned, out):
    """out = prior x + Σ_r Aᵀ(1 − g gᵀ) A x of rows scaled by √w; turned (n,): room for A x."""
    out[:] = prior * x
    for r in range(len(start) - 1):
        along = 0.0
        for i in range(start[r], start[r + 1]):
            f = frame[i]
            turned[i] = a[i, 0] * x[f, 0] + a[i, 1] * x[f, 1] + a[i, 2] * x[f, 2]
            along += g[i] * turned[i]
        for i in range(start[r], start[r + 1]):
            f = frame[i]
            v = turned[i] - g[i] * along
            out[f, 0] += a[i, 0] * v
            out[f, 1] += a[i, 1] * v
            out[f, 2] += a[i, 2] * v


@njit(cache=True)
def _blockwise(blocks, x):
    out = np.empty_like(x)
    for f in range(len(x)):
        for k in range(3):
            out[f, k] = blocks[f, k, 0] * x[f, 0] + blocks[f, k, 1] * x[f, 1] + blocks[f, k, 2] * x[f, 2]
    return out
