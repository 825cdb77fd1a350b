"""Stage positions that cover an area, in the order in which the stage goes to them; and what lies at each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.collect.crystals import Crystal, find_crystals
from credo.collect.rig import Rig
from credo.collect.seams import bridged
from credo.collect.serial_setup import Bench, to_search
from credo.collect.steps import Look, Move, Pose, Steps

__all__ = ["Fields", "Found", "look_for_crystals", "raster", "view_um"]

#: Part of the search image that is searched: its border is the neighbour's.
_VIEW = 0.8
#: Share of a raster's place that is film if nothing is known; places so near tell of each other [pitches]; way of the
#: stage, and distance from the middle, that weigh as much as film all over the view [µm].
_FILM, _BESIDE, _WAY_UM, _OFF_UM = 0.6, 1.6, 250.0, 200.0
#: Contrast below which a spot of the search image is taken for the film's texture.
_DARK = 0.1


def raster(middle: tuple[float, float], radius: float, pitch: float) -> np.ndarray:
    """Positions (n, 2) [µm] of a square lattice within ``radius`` of ``middle``, row by row, to and fro."""
    n = int(np.floor(radius / pitch))
    rows = []
    for k, j in enumerate(range(-n, n + 1)):
        row = [(i * pitch, j * pitch) for i in range(-n, n + 1) if np.hypot(i, j) * pitch <= radius + 1e-9]
        rows += row if k % 2 == 0 else row[::-1]
    return np.array(rows) + np.array(middle)


class Fields:
    """Places (n, 2) [µm] of a raster of this ``pitch`` that wait to be looked at, the most promising next: beside film
    that was seen, then where nothing is known, last beside bars of the mesh; the nearer to the middle, the sooner."""

    def __init__(self, places: np.ndarray, pitch: float) -> None:
        self.left, self.pitch, self._middle = places, pitch, places.mean(axis=0)
        #: Of each place that was looked at, x, y [µm], and the share of its view that was film.
        self.looked = np.empty((0, 3))

    def __bool__(self) -> bool:
        return len(self.left) > 0

    def next(self, here: tuple[float, float]) -> tuple[float, float]:
        """The place to look at next, the stage being ``here``."""
        gap = np.hypot(*(self.left[:, None] - self.looked[None, :, :2]).transpose(2, 0, 1))
        near = gap < _BESIDE * self.pitch
        film = (_FILM + near @ self.looked[:, 2]) / (1 + near.sum(axis=1))
        way, off = (np.hypot(*(self.left - point).T) for point in (np.array(here), self._middle))
        x, y = self.left[int(np.argmax(film - way / _WAY_UM - off / _OFF_UM))]
        return float(x), float(y)

    def look(self, x: float, y: float, film: float) -> None:
        """The place was looked at."""
        self.left = self.left[np.hypot(*(self.left - (x, y)).T) > 1e-6]
        self.looked = np.vstack([self.looked, (x, y, film)])


def view_um(rig: Rig, bench: Bench) -> float:
    """Edge of the area that one search image covers [µm]."""
    return _VIEW * min(rig.camera.shape) * bench.pixel_um


def _dark_ones(crystals: list[Crystal]) -> list[Crystal]:
    """Those that are no grain of the film, once each: of two in one place the more significant, which comes first."""
    kept: list[Crystal] = []
    for c in crystals:
        near = any(np.hypot(c.x - k.x, c.y - k.y) < 0.5 * np.ptp(k.outline, axis=0).max() for k in kept)
        if c.contrast >= _DARK and not near:
            kept.append(c)
    return kept


def _gaps(crystals: list[Crystal]) -> np.ndarray:
    """Distance (n,) [px] of each outline's corners to the nearest corner of another."""
    gaps = np.full(len(crystals), np.inf)
    for i, one in enumerate(crystals):
        for other in crystals[:i] + crystals[i + 1 :]:
            apart = np.linalg.norm(one.outline[:, None] - other.outline[None], axis=-1)
            gaps[i] = min(gaps[i], float(apart.min()))
    return gaps


@dataclass(frozen=True)
class Found:
    """A crystal: ``off`` (2,) [µm] from the undeflected beam at the stage position ``pose``; ``area_um2``;
    ``contrast`` of its shadow."""

    off: np.ndarray
    pose: Pose
    area_um2: float
    contrast: float

    @property
    def place(self) -> tuple[float, float]:
        """Stage position at which it is in the undeflected beam [µm]."""
        return float(self.pose.x + self.off[0]), float(self.pose.y + self.off[1])


def look_for_crystals(bench: Bench, x: float, y: float, gap_um: float = 1.0) -> Steps[list[Found]]:
    """Go there and list the isolated crystals of the search image, the nearest to the beam first."""
    yield Move(x=x, y=y, from_below=("x", "y"))
    yield from to_search(bench.optics, bench.wide, bench.neutral)
    shot = yield Look(bench.optics.search_exposure)
    if not shot.image.any():
        return []
    crystals = _dark_ones(find_crystals(bridged(shot.image), bench.pixel_um, gap_um=gap_um, valid=bench.valid))
    half = _VIEW / 2 * np.array(shot.image.shape[::-1])
    middle = np.array(shot.image.shape[::-1]) / 2
    gaps = _gaps(crystals) * bench.pixel_um
    inside = [
        c
        for c, gap in zip(crystals, gaps, strict=True)
        if gap > gap_um and c.edge_um > gap_um and (abs(np.array([c.x, c.y]) - middle) <= half).all()
    ]
    found = [Found(bench.grid(np.array([c.x, c.y])), shot.after, c.area_um2, c.contrast) for c in inside]
    return sorted(found, key=lambda one: float(np.hypot(*one.off)))
