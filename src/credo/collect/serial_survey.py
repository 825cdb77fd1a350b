"""Crystals worth a rotation, found at zero tilt, where they are seen best; and each found again at another tilt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from credo.collect.crystals import Crystal, find_crystals
from credo.collect.seams import bridged
from credo.collect.serial_setup import Bench
from credo.collect.serial_steering import go
from credo.collect.steps import Look, Move, Note, Pose, Shot, Steps

__all__ = ["Candidate", "Survey", "nearest", "particles"]

#: Crystals that are taken: radius of equal area [µm], contrast; contrast of what counts as a neighbour.
_RADIUS_UM, _CONTRAST, _DARK = (0.1, 0.9), 0.08, 0.06
#: Distance at which two finds are one [µm]; share of the film's light below which a view is of a bar.
_SAME_UM, _BAR = 1.0, 0.25


@dataclass(frozen=True)
class Candidate:
    """A crystal: its number, stage position (2,) at which it is in the undeflected beam at zero tilt [µm], area [µm²],
    contrast, and gap to its nearest neighbour [µm]."""

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


class Survey:
    """``look`` at field after field; ``found`` are the candidates so far, each particle once."""

    def __init__(self, bench: Bench, gap_um: float) -> None:
        self.bench, self.gap_um = bench, gap_um
        self.found: list[Candidate] = []
        self._known: list[tuple[float, float]] = []
        self._film = 0.0

    def add(self, candidate: Candidate) -> None:
        self.found.append(candidate)
        self._known.append(candidate.place)

    def look(self, x: float, y: float) -> Steps[list[Candidate]]:
        """New candidates in the view at the stage position (x, y), at zero tilt; others are noted with the reason."""
        yield from go(Move(x=x, y=y))
        shot = yield Look(self.bench.optics.search_exposure)
        level = float(np.median(shot.image))
        self._film = max(self._film, level)
        if level < _BAR * self._film:
            yield Note("field", {"place_um": [x, y], "crystals": 0, "reason": "a bar of the grid"})
            return []
        new = []
        for c, gap in particles(shot, self.bench, self.gap_um):
            place = _place(c, self.bench, shot.after)
            if any(np.hypot(place[0] - p[0], place[1] - p[1]) < _SAME_UM for p in self._known):
                continue
            reason = self._against(c, gap)
            if reason == "at the border of the view":
                continue  # it is nearer to the middle of another one
            if reason:
                self._known.append(place)
                yield Note("rejected", {"place_um": list(place), "reason": reason})
            else:
                new.append(Candidate(len(self.found), place, c.area_um2, c.contrast, min(gap, 99.0)))
                self.add(new[-1])
        yield Note("field", {"place_um": [x, y], "crystals": len(new)})
        return new

    def _against(self, c: Crystal, gap: float) -> str:
        """Why this particle is not taken, or ""."""
        radius = float(np.sqrt(c.area_um2 / np.pi))
        if c.edge_um < self.gap_um + radius:
            return "at the border of the view"
        if c.contrast < _CONTRAST:
            return "too faint"
        if gap < self.gap_um:
            return "not isolated"
        return "" if _RADIUS_UM[0] < radius < _RADIUS_UM[1] else f"radius {radius:.2f} µm"


def particles(shot: Shot, bench: Bench, gap_um: float = 1.0) -> list[tuple[Crystal, float]]:
    """Particles of a search image, each with the gap to the nearest other that is dark enough to be no grain [µm]."""
    if not shot.image.any():
        return []  # a rehearsal, whose images are black
    found = find_crystals(bridged(shot.image), bench.pixel_um, gap_um=gap_um)
    dark = [c for c in found if c.contrast > _DARK]
    return [(c, min((_gap(c, o) for o in dark if o is not c), default=np.inf) * bench.pixel_um) for c in found]


def nearest(shot: Shot, bench: Bench, expected: np.ndarray, within: float, area_um2: float) -> np.ndarray | None:
    """Where (2,) [grid µm from the undeflected beam] a crystal of about this area is that should be at ``expected``."""
    best, least = None, within
    for c, _ in particles(shot, bench):
        at = bench.grid(np.array([c.x, c.y]))
        off = float(np.hypot(*(at - expected)))
        if off < least and 0.3 < c.area_um2 / area_um2 < 3.0:
            best, least = at, off
    return best


def _gap(one: Crystal, other: Crystal) -> float:
    """Between two outlines: the least distance of their corners [px]."""
    return float(np.hypot(*(one.outline[:, None] - other.outline[None]).transpose(2, 0, 1)).min())


def _place(c: Crystal, bench: Bench, pose: Pose) -> tuple[float, float]:
    off = bench.grid(np.array([c.x, c.y]))
    return float(pose.x + off[0]), float(pose.y + off[1])
