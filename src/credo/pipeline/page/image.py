"""Grey and coloured images as PNG data URIs, written with nothing but zlib."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

__all__ = ["as_grey", "data_uri", "png", "shrunk"]


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


def data_uri(pixels: np.ndarray) -> str:
    """The image inside a page."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def shrunk(image: np.ndarray, most: int) -> np.ndarray:
    """Means over square blocks, so that neither side exceeds ``most``; odd rows and columns at the ends are dropped."""
    step = -(-max(image.shape) // most)
    if step <= 1:
        return image
    ny, nx = (n // step * step for n in image.shape)
    blocks = image[:ny, :nx].reshape(ny // step, step, nx // step, step)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def as_grey(image: np.ndarray, low: float, high: float, levels: int = 64, bend: float = 12.0) -> np.ndarray:
    """uint8 (ny, nx), dark where bright, as a plate: asinh between ``low`` and ``high``; NaN is light grey.

    ``bend``: how much the weak is lifted, nearly linear below 1.
    ``levels``: grey steps kept; fewer compress better, and no eye tells 64 from 256 on a noisy pattern.
    """
    span = max(high - low, 1e-9)
    t = np.arcsinh(bend * np.clip((np.nan_to_num(image, nan=low) - low) / span, 0, 1)) / np.arcsinh(bend)
    grey = 255 - np.round(np.round(t * (levels - 1)) * (255 / (levels - 1)))
    return np.where(np.isfinite(image), grey, 226).astype(np.uint8)
