"""Grey and coloured images as PNG data URIs, written with nothing but zlib."""

from __future__ import annotations

import base64

import numpy as np

from credo.io.png import png

__all__ = ["as_grey", "data_uri", "png", "shrunk"]


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
