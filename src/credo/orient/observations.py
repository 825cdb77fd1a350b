"""What the orientation fit is given: intensities of indexed reflections frame by frame, and the angles asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from credo.model import CannotDo, Cell, UnreadableInput

__all__ = ["Observations", "Passages"]

#: Frames that may lie between two sightings of a reflection in one crossing of the sphere.
_GAP = 3


@dataclass(frozen=True, eq=False)
class Observations:
    """``frame`` (n,) 0-based, ``hkl`` (n, 3), ``intensity`` and ``sigma`` (n,) on any scale (sigma 0: unknown);
    ``angle_deg`` (f,): the nominal rotation at the middle of every frame; ``width_deg``: how far the crystal turns
    during a frame, 0 for one that stands; ``wavelength`` [Å]; ``xy`` (n, 2) [px]: where spots lie on the camera, x to
    the right and y downwards seen along the beam, NaN where not known, None where none is."""

    cell: Cell
    wavelength: float
    frame: np.ndarray
    hkl: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    angle_deg: np.ndarray
    width_deg: float = 0.0
    xy: np.ndarray | None = None
    points: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.frame)
        if not n:
            raise CannotDo("no reflection on any frame", "give indexed reflections with their frames")
        if not len(self.hkl) == len(self.intensity) == len(self.sigma) == n:
            raise UnreadableInput("columns of different length", "give frame, h, k, l and intensity of every row")
        if self.frame.min() < 0 or self.frame.max() >= len(self.angle_deg):
            raise UnreadableInput(
                f"frames {self.frame.min()} to {self.frame.max()} but {len(self.angle_deg)} angles",
                "give one nominal angle for every frame",
            )
        if not (np.isfinite(self.intensity).all() and np.isfinite(self.sigma).all()):
            raise UnreadableInput("an intensity or sigma is not a number", "remove those rows")
        order = np.lexsort((*self.hkl.T, self.frame))
        for name in ("frame", "hkl", "intensity", "sigma", *(("xy",) if self.xy is not None else ())):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name)[order]))
        # P = B h (thesis eq. 12)
        object.__setattr__(self, "points", np.ascontiguousarray(self.hkl @ self.cell.B.T))

    @property
    def n_frames(self) -> int:
        return len(self.angle_deg)

    @property
    def radius(self) -> float:
        """Of the Ewald sphere, 1/λ [Å⁻¹]."""
        return 1 / self.wavelength

    @property
    def start(self) -> np.ndarray:
        """(f + 1,): where each frame's rows begin."""
        return np.searchsorted(self.frame, np.arange(self.n_frames + 1))

    def select(self, rows: np.ndarray) -> Observations:
        """Some of the rows; all frames stay."""
        return Observations(
            self.cell, self.wavelength, self.frame[rows], self.hkl[rows], self.intensity[rows], self.sigma[rows],
            self.angle_deg, self.width_deg, None if self.xy is None else self.xy[rows],
        )  # fmt: skip

    def with_cell(self, cell: Cell) -> Observations:
        """The same on another cell."""
        return replace(self, cell=cell)


@dataclass(frozen=True, eq=False)
class Passages:
    """Crossings of the sphere: runs of frames that show one reflection. ``of`` (n,): the passage of every row of the
    observations; ``order`` (n,): rows sorted by passage, then frame; ``start`` (m + 1,): where each begins in it."""

    of: np.ndarray
    order: np.ndarray
    start: np.ndarray

    @classmethod
    def within(cls, obs: Observations) -> Passages:
        order = np.lexsort((obs.frame, *obs.hkl.T[::-1]))
        hkl, frame = obs.hkl[order], obs.frame[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = np.any(hkl[1:] != hkl[:-1], axis=1) | (np.diff(frame) > _GAP)
        of = np.empty(len(order), dtype=int)
        of[order] = np.cumsum(new) - 1
        return cls(of, order, np.append(np.flatnonzero(new), len(order)))

    def __len__(self) -> int:
        return len(self.start) - 1
