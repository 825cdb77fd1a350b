"""The goniometer is learned before it is used: a crystal is watched in the search image while the tilt turns."""

from __future__ import annotations

import numpy as np

from credo.collect.calibration.register import register
from credo.collect.serial_images import foreshortened
from credo.collect.serial_setup import Bench
from credo.collect.serial_stage import StageModel, Where
from credo.collect.serial_survey import nearest
from credo.collect.steps import Look, Pose, Read, Steps, Stop, Turn, Wait
from credo.model.errors import CannotDo

__all__ = ["Goniometer"]

#: Speed of tilts between rotations and of those that are watched [deg/s]; exposure while it turns [s].
_FAST_DEG_S, _WATCHED_DEG_S, _WATCHED_S = 10.0, 10.0, 0.08
#: Farthest that a crystal strays between two images [µm]; images without it after which it is given up; error of a
#: place in them [µm].
_STRAY_UM, _GIVE_UP, _PLACE_UM = 1.0, 6, 0.06
#: Tilt by which the height is measured [deg]; search exposures that it takes.
_HEIGHT_DEG, _LONG = 12.0, 3


class Goniometer:
    """Tilts, and counts its reversals: ``turn`` is their number, ``way`` the sense of the present one."""

    def __init__(self, bench: Bench, model: StageModel) -> None:
        self.bench, self.model = bench, model
        self.way, self.turn = 1.0, 0

    def turned(self, way: float) -> None:
        """The tilt goes this way from now on."""
        if way != self.way:
            self.way, self.turn = way, self.turn + 1

    def tilt(self, a: float) -> Steps[Pose]:
        """Go to a tilt fast: a move would keep the speed of the last rotation."""
        here = yield Read()
        if abs(here.a - a) < 0.3:
            return here
        self.turned(float(np.sign(a - here.a)))
        yield Turn(a, _FAST_DEG_S)
        return (yield Wait())

    def rough_height(self) -> Steps[float | None]:
        """The stage z [µm] by the whole image's shift over a tilt from zero and back; None if it shows too little."""
        shots = []
        for a in (0.0, _HEIGHT_DEG):
            yield from self.tilt(a)
            shot = yield Look(_LONG * self.bench.optics.search_exposure)
            shots.append(shot)
        here = yield from self.tilt(0.0)
        tilts = np.radians([shot.after.a for shot in shots])
        ratio = float(np.cos(tilts[1]) / np.cos(tilts[0]))
        as_seen = foreshortened(shots[0].image, self.bench.image, self.bench.beam_px, ratio)
        try:
            moved = register(as_seen, shots[1].image, (0.0, 0.0), 250)
        except CannotDo:
            return None
        across = float(np.linalg.solve(self.bench.image, [moved.x, moved.y])[1])
        return here.z - self.bench.lift * across / float(np.sin(tilts[1]) - np.sin(tilts[0]))

    def watch(self, end: float, at: Where, place: np.ndarray, area_um2: float) -> Steps[np.ndarray | None]:
        """Turn to ``end`` and learn from views of the crystal ``at``, last seen at ``place``; its area is that
        at zero tilt. Returns where it was last, None if it was lost."""
        first = yield Look(_WATCHED_S, stream=True)
        way = float(np.sign(end - first.after.a))
        self.turned(way)
        yield Turn(end, _WATCHED_DEG_S)
        pose, missed, speed = first.after, 0, np.zeros(2)
        while way * (end - pose.a) > 0.5 and missed < _GIVE_UP:
            shot = yield Look(_WATCHED_S, stream=True)
            pose = shot.after
            tilt = 0.5 * (shot.before.a + pose.a)
            seen = nearest(shot, self.bench, place + speed, _STRAY_UM, area_um2 * float(np.cos(np.radians(tilt))))
            if seen is None:
                missed += 1
                place = place + speed
                continue
            speed, place, missed = 0.5 * speed + 0.5 * (seen - place), seen, 0
            where = Where(
                at.crystal,
                at.stay,
                self.turn,
                pose.x,
                pose.y,
                pose.z,
                tilt,
                way,
                pose.time,
                pose.time - at.time + at.rested,
            )
            self.model.learn(where, seen, _PLACE_UM)
        yield Stop()
        return place if missed < _GIVE_UP else None
