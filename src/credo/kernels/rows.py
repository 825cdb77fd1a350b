"""Exponential and logarithm of a row of single precision, in loops that a compiler turns into vector instructions.

Good to 2e-7: polynomials fitted on Chebyshev's nodes, and the exponent read and written as bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["exponentials", "logarithms"]

_F, _I = np.float32, np.int32
#: 2⁻ˣ and ln(1 + x) on 0 to 1, highest power first.
_EXP = tuple(map(_F, (-0.0009475536, 0.0092108756, -0.0552996071, 0.2401794895, -0.6931432016, 0.9999999452)))
_LOG = tuple(
    map(_F, (-0.0061514710, 0.0348497125, -0.0932520390, 0.1658227527, -0.2398261605, 0.3315486165, -0.4998385618,
             0.9999942725))
)  # fmt: skip
_LOG2_E, _LN_2 = _F(1.4426950408889634), _F(0.6931471805599453)


@njit(cache=True, fastmath=True)
def exponentials(x: np.ndarray, bits: np.ndarray, out: np.ndarray) -> None:
    """exp(−x) into ``out``, all (n,) float32, 0 ≤ x, from 60 on as at 60; ``bits`` (n,) int32 is used up."""
    for j in range(len(x)):
        y = min(x[j] * _LOG2_E, _F(86.5))
        n = _I(y)
        f = y - _F(n)
        p = _EXP[0]
        p = p * f + _EXP[1]
        p = p * f + _EXP[2]
        p = p * f + _EXP[3]
        p = p * f + _EXP[4]
        out[j] = p * f + _EXP[5]
        bits[j] = (_I(127) - n) << _I(23)
    power = bits.view(np.float32)
    for j in range(len(x)):
        out[j] *= power[j]


@njit(cache=True, fastmath=True)
def logarithms(x: np.ndarray, bits: np.ndarray, low: float, out: np.ndarray) -> None:
    """ln x, at least ``low``, into ``out``, all (n,) float32, x ≥ 0; ``bits`` (n,) int32 is used up."""
    word = x.view(np.int32)
    for j in range(len(x)):
        bits[j] = (word[j] & _I(0x7FFFFF)) | _I(0x3F800000)
    mantissa, least = bits.view(np.float32), _F(low)
    for j in range(len(x)):
        f = mantissa[j] - _F(1)
        p = _LOG[0]
        p = p * f + _LOG[1]
        p = p * f + _LOG[2]
        p = p * f + _LOG[3]
        p = p * f + _LOG[4]
        p = p * f + _LOG[5]
        p = p * f + _LOG[6]
        p = (p * f + _LOG[7]) * f
        out[j] = max(p + _LN_2 * _F((word[j] >> _I(23)) - _I(127)), least)
