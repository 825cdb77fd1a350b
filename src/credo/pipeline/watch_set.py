"""One crystal while it turns: spots frame by frame, its lattice as soon as they suffice, better as more come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from credo.model import ArrayFrames, CannotDo, Crystal, Experiment, Reflections
from credo.reduce.background import mean_background
from credo.reduce.beam import beam_at, beam_radius, find_beam
from credo.reduce.index import IndexSettings, index, nearest_nodes, settle
from credo.reduce.mask import find_mask
from credo.reduce.points import strongest
from credo.reduce.spots import Marker

__all__ = ["LiveSet", "LiveState"]

#: Frames from which the background, the mask and the beam are learnt before spots are looked for, and those at which
#: the background is learnt again.
_FIRST, _AGAIN = 12, (48,)
#: Spots with which a lattice is first looked for, and how many times more until it is tried again.
_ENOUGH, _MORE = 50, 1.6
#: Rotation [deg] below which no lattice is looked for.
_TURNED = 4.0
#: The strongest spots settle the lattice; the others are only counted.
_SETTLING = 600


@dataclass(frozen=True)
class LiveState:
    """What is known of a crystal now. ``seconds``: CPU time spent on it; ``experiment`` and ``spots`` as indexed, None
    before; ``resolution`` [Å]: beyond which one in a hundred of the indexed spots lies."""

    name: str
    frames: int
    turned_deg: float
    spots_per_frame: tuple[int, ...]
    n_spots: int
    n_indexed: int = 0
    indexed_fraction: float = 0.0
    crystal: Crystal | None = None
    experiment: Experiment | None = None
    resolution: float | None = None
    score: float = 0.0
    reason: str = ""
    seconds: float = 0.0

    @property
    def indexed(self) -> bool:
        return self.crystal is not None


class LiveSet:
    """Takes images in order (:meth:`add`) and tells what they come to (:meth:`state`, :meth:`update`).

    ``geometry(numbers)`` gives the experiment of the frames of these numbers, as far as it is known then.
    """

    def __init__(self, name: str, geometry: Callable[[np.ndarray], Experiment]) -> None:
        self.name, self._geometry = name, geometry
        self._numbers: list[int] = []
        self._beams: list[tuple[float, float]] = []
        self._early: list[np.ndarray] = []
        self._marker: Marker | None = None
        self._origin = (0.0, 0.0)
        self._lattice: Experiment | None = None
        self._tried = self._settled = 0
        self._state = LiveState(name, 0, 0.0, (), 0)
        self._seconds = 0.0

    @property
    def state(self) -> LiveState:
        """As of the last :meth:`update`."""
        return self._state

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def stale(self) -> bool:
        """Whether frames came since the last update."""
        return len(self) > self._state.frames

    def add(self, number: int, image: np.ndarray) -> None:
        """One more image (ny, nx); numbers that do not increase are left out. The first dozen are only kept."""
        if self._numbers and number <= self._numbers[-1]:
            return
        started = time.process_time()
        frame = _as_counts(image)
        self._numbers.append(number)
        if self._marker is None:
            self._early.append(frame)
            if len(self._early) >= _FIRST:
                self._begin()
        else:
            self._mark(number, frame)
            if len(self._early) < max(_AGAIN):
                self._early.append(frame)
                if len(self._early) in _AGAIN:
                    self._marker.background = mean_background(ArrayFrames(np.array(self._early)))
                    self._early = self._early if len(self._early) < max(_AGAIN) else self._early[: max(_AGAIN)]
        self._seconds += time.process_time() - started

    def due(self) -> bool:
        """Whether so many spots came that the lattice is worth looking for, or settling, before all have come."""
        n = self._count()
        return n >= _ENOUGH and n > _MORE * (self._settled if self._lattice else self._tried)

    def update(self) -> LiveState:
        """Spots, lattice and quality of all frames so far; cheap once a lattice is known."""
        started = time.process_time()
        if self._marker is None and len(self._early) >= 3:
            self._begin()
        if self._marker is None:
            self._state = LiveState(self.name, len(self), 0.0, (), 0, reason="too few frames yet")
            return self._state
        experiment = self._experiment()
        spots = self._marker.spots(experiment)
        found, reason = self._lattice_of(experiment, spots)
        self._seconds += time.process_time() - started
        self._state = self._told(experiment, spots, found, reason)
        return self._state

    def glance(self) -> LiveState:
        """What the lattice, as it was last settled, makes of all frames so far; a fraction of :meth:`update`'s time."""
        assert self._marker is not None and self._lattice is not None
        started = time.process_time()
        experiment = self._experiment()
        here = self._with_lattice(experiment)
        spots = self._marker.spots(experiment)
        self._seconds += time.process_time() - started
        self._state = self._told(experiment, spots, here, "")
        return self._state

    def failed(self, reason: str) -> LiveState:
        """The files do not tell what is needed, or not yet."""
        self._state = replace(self._state, frames=len(self), reason=reason)
        return self._state

    def _begin(self) -> None:
        """Learn what the frames look like without spots, and look for the spots of those that waited."""
        frames = ArrayFrames(np.array(self._early))
        background = mean_background(frames)
        experiment = self._geometry(np.array(self._numbers))
        bad, _ = find_mask(experiment, frames, background=background)
        experiment, _ = find_beam(experiment, frames, bad, background=background)
        self._origin = experiment.detector.origin
        radius = beam_radius(background.raw_mean, np.array(self._origin))
        self._marker = Marker(bad, background, radius)
        for number, frame in zip(self._numbers, self._early):
            self._mark(number, frame)

    def _mark(self, number: int, frame: np.ndarray) -> None:
        assert self._marker is not None
        k = len(self._marker)
        before = self._beams[-1] if self._beams else self._origin
        x, y = beam_at(frame, self._marker.bad, before[0] - 0.5, before[1] - 0.5, 12.0)
        beam = (x, y) if np.isfinite(x) and np.hypot(x - self._origin[0], y - self._origin[1]) < 30 else before
        self._beams.append(beam)
        self._marker.add(frame, np.array(beam), k > 0 and number - self._numbers[k - 1] == 1)

    def _count(self) -> int:
        """Spots so far, roughly: labels given."""
        return self._marker.labels if self._marker else 0

    def _experiment(self) -> Experiment:
        """The files' geometry with the beam as it was seen, and the lattice's own geometry once there is one."""
        experiment = self._geometry(np.array(self._numbers))
        beams = np.array(self._beams)
        origin = np.median(beams, axis=0)
        scan = experiment.scan.replace(beam_shift=beams - origin)
        detector = experiment.detector.replace(origin=(float(origin[0]), float(origin[1])))
        return experiment.replace(detector=detector, scan=scan)

    def _lattice_of(self, experiment: Experiment, spots: Reflections) -> tuple[Experiment | None, str]:
        turned = abs(experiment.scan.range_deg) if len(experiment.scan) > 1 else 0.0
        n = len(spots)
        if self._lattice is not None:
            try:
                return self._settle(experiment, spots), ""
            except CannotDo:
                self._lattice, self._tried = None, 0
        if n < _ENOUGH or turned < _TURNED:
            return None, f"{n} spots in {turned:.1f}°: too few to look for a lattice"
        if n < _MORE * self._tried:
            return None, self._state.reason
        self._tried = n
        try:
            found, _, _ = index(experiment, _top(experiment, spots), IndexSettings(max_lattices=1))
        except CannotDo as error:
            return None, error.reason
        self._lattice, self._settled = found, self._count()
        return found, ""

    def _settle(self, experiment: Experiment, spots: Reflections) -> Experiment:
        here = self._with_lattice(experiment)
        found, _, _ = settle(here, _top(here, spots))
        self._lattice, self._settled = found, self._count()
        return found

    def _with_lattice(self, experiment: Experiment) -> Experiment:
        """The lattice in its own geometry; the beam's steps from frame to frame are the newer ones."""
        was = self._lattice
        assert was is not None
        moved = np.subtract(was.detector.origin, experiment.detector.origin)
        shift = np.asarray(experiment.scan.beam_shift) - moved if np.hypot(*moved) < 3 else experiment.scan.beam_shift
        return experiment.replace(
            detector=was.detector, goniometer=was.goniometer, crystals=was.crystals,
            scan=experiment.scan.replace(beam_shift=shift),
        )  # fmt: skip

    def _told(self, experiment: Experiment, spots: Reflections, found: Experiment | None, reason: str) -> LiveState:
        per_frame = np.bincount(np.clip(spots["frame"].astype(int), 0, len(self) - 1), minlength=len(self))
        turned = abs(experiment.scan.range_deg) if len(experiment.scan) > 1 else 0.0
        common = (self.name, len(self), float(turned), tuple(int(x) for x in per_frame), len(spots))
        if found is None:
            return LiveState(*common, reason=reason, seconds=self._seconds)
        table = nearest_nodes(found, spots)
        mine = table["lattice"] >= 0
        gap = table.xy - found.detector.origin - found.scan.shift_at(table["frame"])
        outside = np.hypot(gap[:, 0], gap[:, 1]) > 20
        d = found.crystal.cell.d_spacing(table.hkl[mine])
        return LiveState(
            *common, n_indexed=int(mine.sum()), crystal=found.crystal, experiment=found,
            indexed_fraction=float(np.mean(mine[outside])) if outside.any() else 0.0,
            resolution=float(np.quantile(d, 0.01)) if len(d) else None, seconds=self._seconds,
        )  # fmt: skip


def _top(experiment: Experiment, spots: Reflections) -> Reflections:
    return spots.select(np.sort(strongest(spots, _SETTLING, experiment)))


def _as_counts(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image, dtype=np.uint16 if image.dtype == np.uint16 else np.float32)
