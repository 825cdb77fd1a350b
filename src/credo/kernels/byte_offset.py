"""The byte-offset compression of CBF: differences of neighbours in 1, 2, 4 or 8 bytes (CBFlib manual, 3.2.3)."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["decode_byte_offset", "encode_byte_offset"]


@njit(cache=True)
def decode_byte_offset(data: np.ndarray, out: np.ndarray) -> int:
    """Fill ``out`` (n,) int64 from ``data`` (m,) uint8; returns how many values there were.

    A difference of −128 announces one of 16 bits, −2¹⁵ of 32, −2³¹ of 64, all little-endian.
    """
    value = np.int64(0)
    i = 0
    m = data.size
    for k in range(out.size):
        if i >= m:
            return k
        width = 1
        delta = np.int64(data[i])
        i += 1
        if delta > 127:
            delta -= 256
        while delta == -(np.int64(1) << np.int64(8 * width - 1)) and width < 8:
            width *= 2
            if i + width > m:
                return k
            raw = np.uint64(0)
            for b in range(width):
                raw |= np.uint64(data[i + b]) << np.uint64(8 * b)
            i += width
            if width == 8:
                delta = np.int64(raw)
            else:
                delta = np.int64(raw)
                if delta >= np.int64(1) << np.int64(8 * width - 1):
                    delta -= np.int64(1) << np.int64(8 * width)
        value += delta
        out[k] = value
    return out.size


def encode_byte_offset(values: np.ndarray) -> bytes:
    """The compressed form of integers (any shape, row by row) whose differences fit 32 bits."""
    flat = np.asarray(values, dtype=np.int64).ravel()
    delta = np.diff(flat, prepend=0)
    if delta.size and (delta.min() < -(2**31) + 1 or delta.max() >= 2**31):
        raise ValueError("byte offset: values differ by more than 32 bits")
    word = np.abs(delta) > 127
    long = np.abs(delta) > 32767
    size = 1 + 2 * word + 4 * long
    place = np.concatenate([[0], np.cumsum(size)])
    out = np.zeros(int(place[-1]), dtype=np.uint8)
    place = place[:-1]
    out[place] = np.where(word, 0x80, delta & 0xFF)
    short = np.where(long, 0x8000, delta & 0xFFFF)[word]
    for b in range(2):
        out[place[word] + 1 + b] = (short >> (8 * b)) & 0xFF
    for b in range(4):
        out[place[long] + 3 + b] = (delta[long] >> (8 * b)) & 0xFF
    return out.tobytes()
