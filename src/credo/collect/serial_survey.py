"""Crystals worth a rotation, found at zero tilt, where they are seen best; and each found again at another tilt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from credo.collect.crystals import Crystal, find_crystals, opaque
from credo.collect.seams import bridged
from credo.collect.serial_setup import Bench
from credo.collect.serial_steering import go
from credo.collect.steps import Look, Move, Note, Pose, Shot, Steps

__all__ = ["Candidate", "Particle", "Survey", "nearest", "particles"]

#: Crystals that are taken: radius of equal area [µm], contrast, significance (below it one in ten images has a find
#: that is nothing, and each costs a way); contrast of what counts as a neighbour.
_RADIUS_UM, _CONTRAST, _SURE, _DARK = (0.1, 0.9), 0.08, 6.5, 0.06
#: Distance at which two finds are one [µm]; share of the film's light below which a view is of a bar; spacing at which
#: bars are mapped [µm]; gap of what has no neighbour [µm].
_SAME_UM, _BAR, _BAR_UM, _ALONE = 1.0, 0.25, 0.3, 99.0
#: Radius from which the outline tells how many crystals it is of [µm], and least share of its convex hull that one has.
_LARGE_UM, _SOLID = 0.3, 0.83
#: A particle is recognised by others so near [µm]; error of their places against its own [µm], and per µm between them
#: (the film is not flat); standard deviation of an area's logarithm.
_AMONG_UM, _MAP_UM, _UNEVEN, _AREA = 8.0, 0.12, 0.08, 0.5
#: Squared standard deviations: most of place and area; cost of a neighbour that is missing, and of one that
#: would be out of the view.
_FAR, _MISSING, _OUTSIDE = 10.0, 9.0, 2.0


@dataclass(frozen=True)
class Candidate:
    """A crystal: its number, stage position (2,) at which it is in the undeflected beam at zero tilt [µm], area [µm²],
    contrast, and gap to its nearest neighbour at the largest tilt [µm]."""

    number: int
    place: tuple[float, float]
    area_um2: float
    contrast: float
    gap_um: float

    @property
    def radius_um(self) -> float:
        return float(np.sqrt(self.area_um2 / np.pi))

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Candidate:
        """From what ``vars`` made of it, back from a log."""
        x, y = told["place"]
        return cls(
            int(told["number"]), (float(x), float(y)), *(float(told[k]) for k in ("area_um2", "contrast", "gap_um"))
        )


@dataclass(frozen=True)
class Particle:
    """Anything dark on the film: stage position (2,) at which it is in the undeflected beam at zero tilt; area."""

    place: tuple[float, float]
    area_um2: float


class Survey:
    """``look`` at field after field; ``found`` are the candidates so far, ``seen`` all particles, each once.

    ``steepest``: largest tilt of a rotation [deg], at which neighbours and bars of the mesh come nearest.
    """

    def __init__(self, bench: Bench, gap_um: float, steepest: float) -> None:
        self.bench, self.gap_um = bench, gap_um
        self._flat = np.array([1.0, np.cos(np.radians(steepest))])
        self.found: list[Candidate] = []
        self.seen: list[Particle] = []
        #: Share of the last view that was film.
        self.film = 0.0
        self._known: list[tuple[float, float]] = []
        self._bars: list[np.ndarray] = []
        self._light = 0.0

    def add(self, candidate: Candidate) -> None:
        self.found.append(candidate)
        self._known.append(candidate.place)

    def look(self, x: float, y: float) -> Steps[list[Candidate]]:
        """New candidates in the view at the stage position (x, y), at zero tilt; others are noted with the reason."""
        yield from go(Move(x=x, y=y))
        shot = yield Look(self.bench.optics.search_exposure)
        level = float(np.median(shot.image))
        self._light = max(self._light, level)
        self.film = 0.0
        if level < _BAR * self._light:
            yield Note("field", {"place_um": [x, y], "crystals": 0, "reason": "a bar of the grid"})
            return []
        self._map_bars(shot)
        shown, new = particles(shot, self.bench), []
        outlines = [self.bench.grid(c.outline) * self._flat for c in shown]
        dark = [o for o, c in zip(outlines, shown, strict=True) if c.contrast > _DARK]
        for c, outline in zip(shown, outlines, strict=True):
            place = _place(c, self.bench, shot.after)
            self._remember(Particle(place, c.area_um2), c.contrast)
            if any(np.hypot(place[0] - p[0], place[1] - p[1]) < _SAME_UM for p in self._known):
                continue
            gap = min((_apart(outline, o) for o in dark if o is not outline), default=_ALONE)
            reason = self._against(c, gap)
            if reason == "at the border of the view":
                continue  # it is nearer to the middle of another one
            if reason:
                self._known.append(place)
                yield Note("rejected", {"place_um": list(place), "reason": reason})
            else:
                new.append(Candidate(len(self.found), place, c.area_um2, c.contrast, gap))
                self.add(new[-1])
        yield Note("field", {"place_um": [x, y], "crystals": len(new)})
        return new

    def clear(self, crystals: list[Candidate]) -> Steps[list[Candidate]]:
        """Those that no bar of the mesh which was seen so far comes near at the largest tilt; the others are noted."""
        free = []
        bars = np.concatenate([np.empty((0, 2)), *self._bars])
        for one in crystals:
            if len(bars) and _apart(np.array([one.place]) * self._flat, bars * self._flat) < self.bench.optics.beam_um:
                yield Note("rejected", {"place_um": list(one.place), "reason": "beside a bar of the mesh"})
            else:
                free.append(one)
        return free

    def _map_bars(self, shot: Shot) -> None:
        """Remember where a view shows bars, as stage positions (k, 2)."""
        step = max(int(_BAR_UM / self.bench.pixel_um), 1)
        bars = opaque(bridged(shot.image), self.bench.pixel_um)[::step, ::step]
        self.film = 1 - float(bars.mean())
        rows, columns = np.nonzero(bars)
        at = self.bench.grid(np.stack([columns, rows], axis=1) * step + 0.5)
        self._bars.append(at + (shot.after.x, shot.after.y))

    def _remember(self, one: Particle, contrast: float) -> None:
        if contrast > _DARK and all(np.hypot(*np.subtract(one.place, o.place)) > 0.5 * _SAME_UM for o in self.seen):
            self.seen.append(one)

    def recognised(self, shot: Shot, one: Candidate, mean: np.ndarray, sd: np.ndarray) -> np.ndarray | None:
        """Where (2,) [grid µm from the undeflected beam] the candidate is in an image at any tilt, expected at ``mean``
        (2,) ± ``sd`` (2,): the particle of its size around which its neighbours are in their places, too."""
        cosine = float(np.cos(np.radians(shot.after.a)))
        found = [(self.bench.grid(np.array([c.x, c.y])), c.area_um2) for c in particles(shot, self.bench)]
        away = [np.subtract(o.place, one.place) for o in self.seen]
        around = [off * (1, cosine) for off in away if 0.5 * _SAME_UM < np.hypot(*off) < _AMONG_UM]
        best, least = None, np.inf
        for at, area in found:
            far = float((((at - mean) ** 2) / (sd**2 + _MAP_UM**2)).sum())
            ratio = area / (one.area_um2 * cosine)
            own = far + (np.log(ratio) / _AREA) ** 2
            if own > _FAR:
                continue
            cost = own + sum(self._astray(at + off, off, found, shot) for off in around)
            if cost < least:
                best, least = at, cost
        return best

    def _astray(self, at: np.ndarray, off: np.ndarray, found: list[tuple[np.ndarray, float]], shot: Shot) -> float:
        """How far from ``at`` a neighbour lies that should be there, ``off`` from the particle [squared deviations]."""
        x, y = self.bench.beam_px + self.bench.image @ at
        if not (0 < x < shot.image.shape[1] and 0 < y < shot.image.shape[0]):
            return _OUTSIDE
        gap = min(float(np.hypot(*(place - at))) for place, _ in found)
        return min((gap / (_MAP_UM + _UNEVEN * float(np.hypot(*off)))) ** 2, _MISSING)

    def _against(self, c: Crystal, gap: float) -> str:
        """Why this particle is not taken, or ""."""
        radius = float(np.sqrt(c.area_um2 / np.pi))
        if c.edge_um < self.gap_um + radius:
            return "at the border of the view"
        if c.contrast < _CONTRAST or c.significance < _SURE:
            return "too faint"
        if gap < self.gap_um:
            return "not isolated"
        if radius > _LARGE_UM and _solidity(c, self.bench.pixel_um) < _SOLID:
            return "notched: several crystals in one"
        return "" if _RADIUS_UM[0] < radius < _RADIUS_UM[1] else f"radius {radius:.2f} µm"


def particles(shot: Shot, bench: Bench) -> list[Crystal]:
    """What a search image shows."""
    if not shot.image.any():
        return []  # a rehearsal, whose images are black
    return find_crystals(bridged(shot.image), bench.pixel_um, valid=bench.valid)


def nearest(shot: Shot, bench: Bench, expected: np.ndarray, within: float, area_um2: float) -> np.ndarray | None:
    """Where (2,) [grid µm from the undeflected beam] a crystal of about this area is that should be at ``expected``."""
    best, least = None, within
    for c in particles(shot, bench):
        at = bench.grid(np.array([c.x, c.y]))
        off = float(np.hypot(*(at - expected)))
        if off < least and 0.3 < c.area_um2 / area_um2 < 3.0:
            best, least = at, off
    return best


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Least distance of points (m, 2) from points (n, 2)."""
    return float(np.hypot(*(one[:, None] - other[None]).transpose(2, 0, 1)).min())


def _solidity(c: Crystal, pixel_um: float) -> float:
    """Area over that of the convex outline."""
    x, y = c.outline.T * pixel_um
    return 2 * c.area_um2 / abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))


def _place(c: Crystal, bench: Bench, pose: Pose) -> tuple[float, float]:
    off = bench.grid(np.array([c.x, c.y]))
    return float(pose.x + off[0]), float(pose.y + off[1])
