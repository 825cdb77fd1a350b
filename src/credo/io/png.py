"""Grey and coloured images as PNG files, written with nothing but zlib."""

from __future__ import annotations

import struct
import zlib

import numpy as np

__all__ = ["png"]


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels (ny, nx) grey, or (ny, nx, 4) RGBA."""
    pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
    ny, nx = pixels.shape[:2]
    colour = 0 if pixels.ndim == 2 else 6
    rows = pixels.reshape(ny, -1)
    # filter 0 (none) before each row
    raw = np.concatenate([np.zeros((ny, 1), dtype=np.uint8), rows], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", nx, ny, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data) for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
