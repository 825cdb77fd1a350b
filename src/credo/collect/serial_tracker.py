"""The beam follows a crystal by prediction; defocused views are taken when the prediction's error demands it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from credo.collect.advice import CrystalNow
from credo.collect.dose_rate import dose_rate
from credo.collect.rig import Rig
from credo.collect.rotation import AT_TARGET, Sweep
from credo.collect.serial_images import beam_centre
from credo.collect.serial_quality import FirstFrames
from credo.collect.serial_setup import Bench
from credo.collect.serial_stage import StageModel, Where
from credo.collect.serial_steering import Steering
from credo.collect.steps import Ask, Note, Pose, Set, Shot, Steps
from credo.collect.tracking import Disc, Expected, find_shadow, fit_disc
from credo.collect.watch import CRYSTAL_LOST, Watch
from credo.instrument.errors import InstrumentError
from credo.model.errors import CannotDo

__all__ = ["LEFT", "NO_REFLECTIONS", "Faint", "NotInBeam", "PredictiveTracker", "Stay", "lit_share"]

NO_REFLECTIONS, LEFT = "no reflections", "the crystal left the beam and was not found around it"

#: Standard deviation of a prediction, in beam radii, that asks for a view; tilt between two views at least [deg].
_UNSURE, _APART_DEG = 0.3, 2.0
#: Share of frames that views may take, and views that are free at the beginning.
_SHARE, _FREE = 0.026, 2
#: Least error of a view [µm]; part of a pattern's displacement that is taken back at each frame.
_VIEW_UM, _GAIN = 0.04, 0.15
#: Distance from which a second view is taken before the rotation [µm].
_CLOSE_UM = 0.3
#: Beams in which a crystal is looked for that the narrow one does not show, in radii of that.
_WIDER = (1.8, 2.7)
#: Share of the first frames' reflections that asks for a view, when it is not reached over so many degrees.
_FAINT, _FAINT_DEG = 0.12, 2.0
#: Standard deviation of a place, in beam radii, above which nothing is said of the share in the beam.
_UNKNOWN = 0.6


class Faint(Watch):
    """Faint reflections are no reason to stop but to look: ``doubt`` tells of them, the lost beam still stops."""

    def __init__(self) -> None:
        super().__init__(lost=_FAINT, patience=_FAINT_DEG)
        self.doubt = False

    def see(self, image: np.ndarray, angle: float) -> str:
        reason = super().see(image, angle)
        self.doubt = reason == CRYSTAL_LOST
        return "" if self.doubt else reason


class NotInBeam(CannotDo):
    """The crystal was not seen in the beam before the rotation: there is no data set."""


@dataclass(frozen=True)
class Stay:
    """A crystal for which the stage stands: its number, that of the stay, of the turn of the tilt, and when the stage
    arrived [s]; radius of its area at zero tilt [µm]."""

    crystal: int
    number: int
    turn: int
    arrived: float
    radius_um: float
    name: str = ""

    def where(self, pose: Pose, tilt: float, way: float, time: float) -> Where:
        """Seen from the stage's position ``pose`` at another tilt and time."""
        return Where(
            self.crystal, self.number, self.turn, pose.x, pose.y, pose.z, tilt, way, time, max(time - self.arrived, 0.0)
        )

    def radius_at(self, tilt: float) -> float:
        """Radius of its area as it is seen at ``tilt`` [µm]."""
        return self.radius_um * float(np.sqrt(np.cos(np.radians(tilt))))


class PredictiveTracker:
    """The beam goes where the stage model says that the crystal is; views correct the model."""

    method = "predicted from the learned stage, corrected in defocused views"

    def __init__(self, bench: Bench, model: StageModel, stay: Stay, dose_e_per_A2: float = np.inf) -> None:
        self.bench, self.model, self.stay, self.dose = bench, model, stay, dose_e_per_A2
        self.looks = self.frames = 0
        self.dose_rate = 0.0
        self._first = FirstFrames()
        self.watch = Faint()
        self._seen_at = np.inf
        self._disc: Disc | None = None
        #: Of each frame of data, where the crystal was predicted and where the beam was.
        self._track: list[tuple[Where, np.ndarray]] = []

    def begin(self, rig: Rig, sweep: Sweep, pose: Pose) -> Steps[None]:
        self._sweep = sweep
        self.dose_rate = (yield from dose_rate(rig)) or 0.0
        self._steering = Steering(self.bench, sweep.exposure)
        self._pose = pose
        for _ in range(3):
            mean, _ = self.model.predict(self._where(pose.a, pose.time))
            yield from self._steering.aim(mean)
            off = yield from self._view()
            if off is None:
                raise NotInBeam("not seen in the beam before the rotation", "the next crystal is taken")
            if off < _CLOSE_UM:
                break

    def _where(self, tilt: float, time: float) -> Where:
        return self.stay.where(self._pose, tilt, self._sweep.direction, time)

    def frame(self, shot: Shot) -> Steps[str]:
        s = self._sweep
        self.frames += 1
        tilt, step = 0.5 * (shot.before.a + shot.after.a), s.direction * s.speed * s.exposure
        self._track.append((self._where(tilt, shot.after.time), self._steering.place))
        if self.dose_rate * (shot.after.time - self._pose.time) > self.dose:
            return "dose budget"
        self._first.add(shot.image)
        if self._first.crystal is False:
            return NO_REFLECTIONS
        place = beam_centre(shot.image, self.bench.valid)
        self._steering.trim(_GAIN * np.clip(self.bench.centre - place, -3, 3))
        answer = yield Ask(CrystalNow(self.stay.name, self.frames, shot.after.a, s.stop))
        if not answer.goes_on:
            return f"{answer.verdict}: {answer.reason}"
        if answer.range_deg is not None and s.direction * (shot.after.a - answer.range_deg[1]) >= 0:
            return AT_TARGET
        return (yield from self._follow(shot.after, step))

    def _follow(self, now: Pose, step: float) -> Steps[str]:
        """The beam goes to where the crystal will be in the middle of the next frame, ``step`` degrees long."""
        ahead = now.a + 0.5 * step
        mean, sd = self.model.predict(self._where(ahead, now.time))
        try:
            yield from self._steering.aim(mean)
            faint = self.watch.doubt and abs(ahead - self._seen_at) > _FAINT_DEG
            if faint or self._in_doubt(float(sd.max()), ahead):
                if (yield from self._view()) is None:
                    return LEFT
                mean, _ = self.model.predict(self._where(ahead + step, now.time))
                yield from self._steering.aim(mean)
        except InstrumentError:
            raise
        except CannotDo as error:  # a deflector at the end of its range
            return error.reason
        return ""

    def _in_doubt(self, sd: float, tilt: float) -> bool:
        """Whether a view is due: the prediction has become unsure, and the views' share of the frames allows it."""
        allowed = self.looks < _FREE + _SHARE * self.frames
        return sd > _UNSURE * self.bench.optics.beam_um and allowed and abs(tilt - self._seen_at) > _APART_DEG

    def _view(self) -> Steps[float | None]:
        """Look, and learn from what is seen; a crystal that is not seen is looked for with wider beams. Returns how far
        it was from the middle of the beam [µm], None if it was not found."""
        for radius in (0.0, *(w * self.bench.optics.beam_um for w in _WIDER)):
            if radius:
                yield Set({"brightness": self.bench.brightness(radius)})
            view = yield from self._steering.look()
            if radius:
                yield Set({"brightness": self.bench.narrow})
            if self.frames:
                self.looks += 1
            off = yield from self._found(view, radius)
            if off is not None:
                return off
        return None

    def _found(self, view: Shot, radius: float) -> Steps[float | None]:
        """Learn from a view with the beam of this ``radius`` [µm] (0: the narrow one)."""
        tilt, time = 0.5 * (view.before.a + view.after.a), view.after.time
        where, at = self._where(tilt, time), self._steering.place
        mean, sd = self.model.predict(where)
        facts = {"tilt": tilt, "beam_um": radius or self.bench.optics.beam_um, "sd_um": sd.tolist()}
        try:
            disc = self._beam(view.image, radius)
        except CannotDo as error:
            yield Note("view", {**facts, "seen": False, "reason": error.reason})
            return None
        scale = float(np.sqrt(abs(np.linalg.det(self.bench.shadow))))
        off = self.bench.shadow @ (mean - at)
        sigma = scale * float(np.clip(np.hypot(*sd) / np.sqrt(2), 0.1, max(0.4, 0.4 * radius)))
        expected = Expected((float(off[0]), float(off[1])), sigma, self.stay.radius_at(tilt) * scale)
        found = find_shadow(view.image, disc, expected, valid=self.bench.valid)
        seen = found.seen and found.confidence > 0.6
        facts |= {"seen": seen, "expected_um": (mean - at).tolist()}
        if not seen:
            yield Note("view", facts)
            return None
        self._seen_at = tilt
        here = np.linalg.solve(self.bench.shadow, np.array(found.offset))
        self.model.learn(where, at + here, max(found.error / scale, _VIEW_UM))
        yield Note("view", {**facts, "found_um": here.tolist(), "error_um": found.error / scale})
        return float(np.hypot(*here))

    def _beam(self, image: np.ndarray, radius: float) -> Disc:
        """The beam's disc; that of a wider beam, which may reach beyond the camera, is the narrow one's, enlarged."""
        if radius and self._disc is not None:
            return _widened(image, self._disc, radius / self.bench.optics.beam_um)
        disc = fit_disc(image)
        if not radius:
            self._disc = disc
        return disc

    def facts(self) -> Mapping[str, Any]:
        """``lit``: of each frame of data, the share of the crystal that was in the beam, by all that was learned of it;
        None where that is not known."""
        if not self._track:
            return {"looks": self.looks, "lit": []}
        mean, sd = self.model.predict_all([where for where, _ in self._track])
        beam = self.bench.optics.beam_um
        share = [
            None if s.max() > _UNKNOWN * beam else round(lit_share(m - at, s, self.stay.radius_at(w.tilt), beam), 3)
            for (w, at), m, s in zip(self._track, mean, sd, strict=True)
        ]
        return {"looks": self.looks, "lit": share, "worst_sd_um": float(sd.max())}


def lit_share(off: np.ndarray, sd: np.ndarray, radius: float, beam: float) -> float:
    """Expected share of a disc of ``radius`` in one of radius ``beam``, its middle ``off`` (2,) from the other's, with
    standard deviations ``sd`` (2,) [all µm]: Gauss-Hermite of five points along either axis."""
    x, w = np.polynomial.hermite_e.hermegauss(5)
    gap = np.hypot(off[0] + sd[0] * x[:, None], off[1] + sd[1] * x[None])
    return float((np.outer(w, w) * _overlap(gap, radius, beam)).sum() / w.sum() ** 2)


def _overlap(gap: np.ndarray, r: float, beam: float) -> np.ndarray:
    """Share of a disc of radius ``r`` that lies in one of radius ``beam``, their middles ``gap`` (…) apart."""
    d = np.clip(gap, abs(beam - r) + 1e-9, beam + r - 1e-9)
    a = np.arccos(np.clip((d**2 + r**2 - beam**2) / (2 * d * r), -1, 1))
    b = np.arccos(np.clip((d**2 + beam**2 - r**2) / (2 * d * beam), -1, 1))
    lens = r**2 * (a - 0.5 * np.sin(2 * a)) + beam**2 * (b - 0.5 * np.sin(2 * b))
    whole = np.pi * r**2
    return np.where(gap <= abs(beam - r), min(1.0, (beam / r) ** 2), np.where(gap >= beam + r, 0.0, lens / whole))


def _widened(image: np.ndarray, disc: Disc, ratio: float) -> Disc:
    """The disc of a beam ``ratio`` times as wide as that of the view before, which may reach beyond the camera."""
    y, x = np.indices(image.shape) + 0.5
    inside = np.hypot(x - disc.x, y - disc.y) < 0.85 * ratio * disc.radius
    level = float(np.percentile(image[inside], 65)) if inside.any() else 0.0
    if level <= 0:
        raise CannotDo("the defocused view is dark", "is the beam on?")
    return Disc(disc.x, disc.y, ratio * disc.radius, level, 1.0)
