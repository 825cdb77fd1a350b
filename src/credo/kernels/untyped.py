"""scipy's Fourier and image functions, which say no types, as ``Any``: type checkers otherwise guess, and wrongly."""

from __future__ import annotations

from typing import Any

import scipy.fft
import scipy.ndimage
import scipy.special

__all__ = ["fft", "ndimage", "special"]

fft: Any = scipy.fft  # pyright: ignore[reportAttributeAccessIssue]
ndimage: Any = scipy.ndimage  # pyright: ignore[reportAttributeAccessIssue]
special: Any = scipy.special
