"""How long things take: the camera between two frames, and the stage to begin and to make a degree.

A rotation over two lengths tells both: time = pace · span + delay. When it begins and ends is where a line through the
read-outs near its ends meets the read-outs at rest; what is wrong with the scale of the read-outs in between, which is
not small on real goniometers, has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect import steps as do
from credo.collect.calibration.result import number_of, pair_of, result_note
from credo.collect.calibration.views import told
from credo.collect.rig import Rig
from credo.collect.steps import Pose, Shot, Steps
from credo.instrument.config import Measured, MeasuredPair
from credo.model.errors import CannotDo

__all__ = ["TimingSettings", "dead_time", "rotation"]

#: Degrees near each end of a rotation that tell when it was there; rms error that a read-out may have [deg].
_END, _READ = 1.0, 0.01


class TimingSettings(BaseModel):
    """What is timed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speeds: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1, description="rotation speeds [deg/s]")
    spans: tuple[float, float] = Field(default=(3.0, 9.0), description="short and long rotation [deg]")
    frames: int = Field(default=24, ge=4, le=1000, description="frames that the dead time comes from")
    exposure: float = Field(default=0.05, gt=0, description="their exposure [s]")


@dataclass(frozen=True)
class _Turned:
    """One rotation: seconds until it began and until it ended, each with its esd, and the degrees asked for."""

    span: float
    began: float
    ended: float
    esd: float


def dead_time(rig: Rig, settings: TimingSettings | None = None) -> Steps[Measured]:
    """Time between the end of a frame and the beginning of the next in a stream [s]; lost frames are allowed for."""
    s = settings or TimingSettings()
    shots = []
    for _ in range(s.frames):
        shots.append((yield do.Look(s.exposure, "calibrate", stream=True)))
    yield do.Blank()
    gap = np.diff([shot.frame.began for shot in shots]) / np.maximum(np.diff([shot.frame.number for shot in shots]), 1)
    gap = gap - s.exposure
    middle = float(np.median(gap))
    scatter = 1.4826 * float(np.median(np.abs(gap - middle)))
    esd = float(np.hypot(scatter, 1e-6) * np.sqrt(np.pi / 2 / len(gap)))  # a clock counts microseconds at best
    result = number_of(rig, middle, esd, {"exposure": s.exposure}, f"{len(gap)} frames")
    yield result_note("dead_time_s", "", "", result, {"gap": gap})
    return result


def rotation(rig: Rig, settings: TimingSettings | None = None) -> Steps[dict[str, MeasuredPair]]:
    """Per speed (seconds per degree, delay [s]): from rotations of two lengths, back and forth."""
    s = settings or TimingSettings()
    found: dict[str, MeasuredPair] = {}
    home: Pose = yield do.Read()
    with told("rotation"):
        for speed in s.speeds:
            if not rig.speeds[0] <= speed <= rig.speeds[1]:
                raise CannotDo(f"no rotation at {speed:g} deg/s", f"{rig.speeds[0]:g} to {rig.speeds[1]:g} deg/s")
            turns = []
            for span in s.spans:
                turns.append((yield from _turn(home.a, span, speed)))
            pace, delay = _line(turns)
            key = f"{speed:g}"
            found[key] = pair_of(rig, (pace[0], delay[0]), (pace[1], delay[1]), {"speed": speed})
            rows = [[t.span, t.began, t.ended, t.esd] for t in turns]
            yield result_note("rotation", key, "", found[key], {"turns": rows})
        yield do.Turn(home.a, min(rig.speeds[1], 10.0))
        yield do.Wait()
    return found


def _line(turns: list[_Turned]) -> tuple[tuple[float, float], tuple[float, float]]:
    """((pace, esd) [s/deg], (delay, esd) [s]) of time = pace · span + delay, through rotations of two lengths."""
    short, long = turns
    width = long.span - short.span
    pace = (long.ended - short.ended) / width
    delay = short.ended - pace * short.span
    pace_esd = float(np.hypot(long.esd, short.esd)) / width
    delay_esd = float(np.hypot(short.esd * (1 + short.span / width), long.esd * short.span / width))
    return (pace, pace_esd), (delay, delay_esd)


def _turn(middle: float, span: float, speed: float) -> Steps[_Turned]:
    """Come to the start from below, wait for the read-out, turn, and read until it rests."""
    start, end = middle - span / 2, middle + span / 2
    yield do.Turn(start - 1.0, 5.0)
    yield do.Wait()
    yield do.Turn(start, 5.0)
    yield do.Wait(0.5)
    rest: list[float] = []
    for _ in range(12):
        rest.append((yield do.Read()).a)
    asked: Pose = yield do.Read()
    yield do.Turn(end, speed)
    reads: list[tuple[float, float]] = []
    exposure = float(np.clip(0.15 / speed, 0.02, 0.5))
    for _ in range(int((span / speed + 8) / exposure)):
        shot: Shot = yield do.Look(exposure, "calibrate", stream=True)
        reads += [(shot.before.time - asked.time, shot.before.a), (shot.after.time - asked.time, shot.after.a)]
        last = np.array([a for _, a in reads[-8:]])
        if abs(last.mean() - end) < 0.3 and len(last) == 8 and np.ptp(last) < 6 * _READ and last.std() < 2 * _READ:
            break
    yield do.Wait(0.2)
    still: list[float] = []
    for _ in range(12):
        still.append((yield do.Read()).a)
    return _timed(np.array(reads), float(np.mean(rest)), float(np.mean(still)), span, speed)


def _timed(reads: np.ndarray, rest: float, still: float, span: float, speed: float) -> _Turned:
    """When the read-outs (n, 2) [s, deg] leave ``rest`` and reach ``still``."""
    t, a = reads.T
    edge = max(_END, 0.4 * speed)
    began, e0 = _crossing(t, a, (a > rest + 0.1 * edge) & (a < rest + edge), rest)
    ended, e1 = _crossing(t, a, (a > still - edge) & (a < still - 0.1 * edge), still)
    return _Turned(span, began, ended, float(np.hypot(np.hypot(e0, e1) / np.sqrt(2), 0.5 * _READ / speed)))


def _crossing(t: np.ndarray, a: np.ndarray, near: np.ndarray, level: float) -> tuple[float, float]:
    """Time [s] at which the line through the points ``near`` meets ``level``, and its esd."""
    if near.sum() < 4:
        raise CannotDo("the rotation was read too seldom", "a slower rotation, or a faster camera")
    p, covariance = np.polyfit(a[near] - level, t[near], 1, cov="unscaled")
    rest = t[near] - np.polyval(p, a[near] - level)
    variance = max(float((rest**2).sum()) / max(int(near.sum()) - 2, 1), (_READ * p[0]) ** 2 / 2)
    return float(p[1]), float(np.sqrt(variance * covariance[1, 1]))
