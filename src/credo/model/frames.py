"""Frames: a lazy stack of images (n, y, x), wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

__all__ = ["ArrayFrames", "Frames", "LazyFrames"]


@runtime_checkable
class Frames(Protocol):
    """What every source of images offers; ``frames[i]`` is one raw image (rows, columns), never corrected."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, rows, columns)."""
        ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> np.ndarray: ...


class ArrayFrames:
    """Frames held in memory."""

    def __init__(self, data: np.ndarray) -> None:
        if data.ndim != 3:
            raise ValueError(f"ArrayFrames: expected (n, rows, columns), got {data.shape}")
        self._data = data

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._data.shape  # type: ignore[return-value]

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, i: int) -> np.ndarray:
        return self._data[i]

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._data)


class LazyFrames:
    """Frames read one at a time by ``load(i)``; nothing is kept, so any number of frames fits in memory."""

    def __init__(self, load: Callable[[int], np.ndarray], shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self._load, self._shape, self._dtype = load, shape, np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < self._shape[0]:
            raise IndexError(f"frame {i} of {self._shape[0]}")
        return self._load(i)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._load(i) for i in range(len(self)))
