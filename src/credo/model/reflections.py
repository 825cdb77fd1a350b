"""Reflections: a thin table of named numpy columns, each with a unit; never edited in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["COLUMNS", "Reflections"]

#: Every column that credo writes: (dtype, unit, meaning). `frame` counts in the list of frames that exist.
COLUMNS: dict[str, tuple[str, str, str]] = {
    "h": ("i4", "", "Miller index"),
    "k": ("i4", "", "Miller index"),
    "l": ("i4", "", "Miller index"),
    "x": ("f8", "px", "centroid along columns; pixel i covers [i, i+1)"),
    "y": ("f8", "px", "centroid along rows"),
    "phi": ("f8", "deg", "rotation angle of the centroid"),
    "frame": ("f8", "", "centroid in the list of frames; frame i covers [i, i+1)"),
    "var_x": ("f8", "px^2", "variance of x"),
    "var_y": ("f8", "px^2", "variance of y"),
    "var_phi": ("f8", "deg^2", "variance of phi"),
    "first": ("i4", "", "first frame (list index)"),
    "last": ("i4", "", "last frame (list index), included"),
    "n_pixels": ("i4", "", "pixels in the spot"),
    "peak": ("f8", "counts", "brightest pixel above background"),
    "intensity": ("f8", "counts", "background-subtracted intensity"),
    "sigma": ("f8", "counts", "standard uncertainty of intensity"),
    "background": ("f8", "counts/px", "local background"),
    "intensity_sum": ("f8", "counts", "intensity by plain summation"),
    "sigma_sum": ("f8", "counts", "standard uncertainty of intensity_sum"),
    "lattice": ("i4", "", "which crystal; -1: not indexed"),
    "x_calc": ("f8", "px", "predicted"),
    "y_calc": ("f8", "px", "predicted"),
    "phi_calc": ("f8", "deg", "predicted"),
    "d": ("f8", "A", "resolution"),
    "partiality": ("f8", "", "fraction of the rocking curve that was measured"),
    "lorentz": ("f8", "", "Lorentz factor; intensity has been divided by it"),
    "profile_cc": ("f8", "", "correlation with the expected profile"),
    "scale": ("f8", "", "intensity has been divided by it"),
    "overlap": ("f8", "", "share of the profile under a neighbour"),
    "rejected": ("?", "", "an outlier, not merged"),
    "cut": ("?", "", "touches a gap, the scan's end or a masked region: its centroid is biased"),
    "overloaded": ("?", "", "holds saturated pixels"),
}


class Reflections(Mapping[str, np.ndarray]):
    """Columns of equal length by name. ``r["x"]`` is a read-only array; ``r.select(mask)``, ``r.with_columns(...)``."""

    def __init__(self, columns: Mapping[str, ArrayLike] | None = None, **more: ArrayLike) -> None:
        self._columns: dict[str, np.ndarray] = {}
        for name, values in {**(columns or {}), **more}.items():
            dtype = COLUMNS[name][0] if name in COLUMNS else None
            # copy: freezing a view must not freeze the caller's array
            array = np.array(values, dtype=dtype)
            array.setflags(write=False)
            self._columns[name] = array
        lengths = {name: len(v) for name, v in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Reflections: columns differ in length: {lengths}")

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(f"no column {name!r}; there are {', '.join(self._columns) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """Number of reflections (not of columns)."""
        return len(next(iter(self._columns.values()))) if self._columns else 0

    def __bool__(self) -> bool:
        return len(self) > 0

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reflections):
            return NotImplemented
        return set(self) == set(other) and all(
            np.array_equal(self[k], other[k], equal_nan=self[k].dtype.kind == "f") for k in self
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Reflections({len(self)} rows: {', '.join(self._columns)})"

    @property
    def hkl(self) -> np.ndarray:
        """Miller indices (n, 3)."""
        return np.stack([self["h"], self["k"], self["l"]], axis=1)

    @property
    def xy(self) -> np.ndarray:
        """Positions (n, 2) [px]."""
        return np.stack([self["x"], self["y"]], axis=1)

    def select(self, rows: np.ndarray) -> Reflections:
        """The rows given by a mask or an index array."""
        return Reflections({k: v[rows] for k, v in self._columns.items()})

    def with_columns(self, **columns: np.ndarray) -> Reflections:
        """A copy with columns added or replaced; ``hkl=(n, 3)`` sets h, k, l."""
        hkl = columns.pop("hkl", None)
        if hkl is not None:
            columns |= {name: np.asarray(hkl)[:, i] for i, name in enumerate("hkl")}
        return Reflections({**self._columns, **columns})

    @staticmethod
    def concatenate(parts: list[Reflections]) -> Reflections:
        """Rows one after another; only the columns that all parts have."""
        parts = [p for p in parts if p]
        if not parts:
            return Reflections()
        names = [n for n in parts[0] if all(n in p for p in parts)]
        return Reflections({n: np.concatenate([p[n] for p in parts]) for n in names})
