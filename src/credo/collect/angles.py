"""The angle of every frame from its time stamps and the stage's read-outs during the rotation.

The drive turns evenly, a(t) = a₀ + v (t − t̄), from where it rested to where it rests again; a read-out errs by noise
and by a small wave (the encoder's). So all read-outs fix two numbers, and an angle is the line's at the frame's time,
never range / n. Where they do not fit one line (a person turned the stage), they are smoothed locally instead.

Over a short way the wave leans the line. The speed that the drive was told, where the read-outs do not contradict it,
is then worth more: both slopes are averaged by their uncertainties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model.errors import CannotDo

__all__ = ["Turning", "fit_turning"]

#: Scatter about one line above which the turning is not even [deg]; half width of the local smoothing [s].
_UNEVEN, _LOCAL_S = 0.15, 1.0
#: Relative uncertainty of the speed that a drive is told; half a period of an encoder's wave [deg].
_SPEED, _WAVE = 0.005, 6.0
#: Weighting of outliers (Tukey's biweight, in robust standard deviations) and its rounds.
_TUKEY, _ROUNDS = 4.685, 20
#: Read-outs at either end that differ by less than this many scatters from rest are of a resting stage.
_REST = 4.0


@dataclass(frozen=True)
class Turning:
    """``angle(t)`` [deg] at Unix times; ``speed`` [deg/s], signed; ``esd``: standard error of an angle in the middle of
    the rotation [deg]; ``scatter``: rms of the read-outs about it [deg]; ``even``: one line fits all."""

    times: np.ndarray
    angles: np.ndarray
    speed: float
    esd: float
    scatter: float
    even: bool

    def angle(self, t: np.ndarray | float) -> np.ndarray:
        """Piecewise linear between the knots, constant outside them (the stage rests there)."""
        return np.asarray(np.interp(t, self.times, self.angles))


def fit_turning(time: np.ndarray, readout: np.ndarray, told_speed: float | None = None) -> Turning:
    """From read-outs ``readout`` [deg] (m,) at Unix times ``time`` [s] (m,), in any order; ``told_speed`` [deg/s],
    signed, that the drive was set to."""
    order = np.argsort(time, kind="stable")
    t, a = np.asarray(time, dtype=float)[order], np.asarray(readout, dtype=float)[order]
    if len(t) < 2 or not (np.isfinite(t).all() and np.isfinite(a).all()):
        raise CannotDo("two read-outs of the stage are needed for an angle", "take more than one frame")
    zero = t[0]
    moving = _moving(t - zero, a)
    slope, level, weight = _line(t[moving] - zero, a[moving])
    residual = a[moving] - level - slope * (t[moving] - zero)
    scatter = _scatter(residual[weight > 0])
    if scatter > _UNEVEN or np.mean(weight > 0) < 0.5:
        return _local(t, a)
    if told_speed is not None and abs(slope) > 0:
        slope, level = _with_told(t[moving] - zero, a[moving], slope, weight, scatter, told_speed)
    knots, angles = _ends(t, a, moving, zero, slope, level, scatter)
    esd = scatter / np.sqrt(max(int(np.sum(weight > 0)) - 2, 1))
    return Turning(knots, angles, float(slope), float(esd), float(scatter), True)


def _scatter(residual: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(residual))) if len(residual) else 0.0


def _moving(t: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Mask of the read-outs that lie clear of the rest at either end: between 3 % and 97 % of the way."""
    low, high = np.percentile(a, [0, 100])
    way = high - low
    if way < 0.3:
        return np.ones(len(t), dtype=bool)
    inside = (a > low + 0.03 * way) & (a < high - 0.03 * way)
    return inside if inside.sum() >= 4 else np.ones(len(t), dtype=bool)


def _line(t: np.ndarray, a: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Slope, level at t = 0 and weights (m,) of a robust line: Tukey's biweight, from the medians of halves."""
    half = len(t) // 2
    t0, a0, t1, a1 = (np.median(v) for v in (t[:half], a[:half], t[half:], a[half:]))
    slope = (a1 - a0) / (t1 - t0) if t1 > t0 else 0.0
    level, weight = float(np.median(a - slope * t)), np.ones(len(t))
    for _ in range(_ROUNDS):
        residual = a - level - slope * t
        scale = max(_scatter(residual), 1e-4)
        weight = np.clip(1 - (residual / (_TUKEY * scale)) ** 2, 0, None) ** 2
        if weight.sum() < 2:
            break
        mt, ma = np.average(t, weights=weight), np.average(a, weights=weight)
        spread = np.sum(weight * (t - mt) ** 2)
        new = float(np.sum(weight * (t - mt) * (a - ma)) / spread) if spread > 0 else 0.0
        done = abs(new - slope) * (t[-1] - t[0]) < 1e-7
        slope, level = new, float(ma - new * mt)
        if done:
            break
    return float(slope), level, weight


def _with_told(t, a, slope: float, weight, scatter: float, told: float) -> tuple[float, float]:
    """Slope and level with the drive's own speed: a wave of the read-outs' scatter σ and of about ``_WAVE`` degrees
    leans a line over R degrees by σ √12 / (R √(R / wave)) of its slope, or less."""
    way = max(abs(float(np.ptp(a[weight > 0]))), 1e-3)
    leaning = max(scatter, 1e-4) * 12**0.5 / (way * max(way / _WAVE, 1.0) ** 0.5)
    off = (slope - told) / told
    if abs(off) > 3 * np.hypot(leaning, _SPEED):
        return slope, float(np.average(a - slope * t, weights=weight))
    share = leaning**2 / (leaning**2 + _SPEED**2)
    slope += share * (told - slope)
    return slope, float(np.average(a - slope * t, weights=weight))


def _ends(t, a, moving, zero, slope, level, scatter) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the line, bent to the rest before the turning and after it where read-outs show one."""
    inside = np.flatnonzero(moving)
    before, after = a[: inside[0]], a[inside[-1] + 1 :]
    low = _REST * max(scatter, 0.01)
    knots = [t[0] - 10.0, t[-1] + 10.0]
    line = level + slope * (t - zero)
    if slope and len(after) >= 2 and abs(line[-1] - a[-1]) > low and abs(after[-1] - after[-2]) < low:
        rest = float(np.median(after[np.abs(after - a[-1]) < low]))
        knots[1] = zero + (rest - level) / slope
    if slope and len(before) >= 2 and abs(line[0] - a[0]) > low and abs(before[1] - before[0]) < low:
        rest = float(np.median(before[np.abs(before - a[0]) < low]))
        knots[0] = zero + (rest - level) / slope
    times = np.array(knots)
    return times, level + slope * (times - zero)


def _local(t: np.ndarray, a: np.ndarray) -> Turning:
    """A line through the neighbours of every read-out: ± 1 s, or eight of them."""
    angles = np.empty(len(t))
    for i in range(len(t)):
        distance = np.abs(t - t[i])
        width = max(_LOCAL_S, float(np.partition(distance, min(8, len(t) - 1))[min(8, len(t) - 1)]))
        near = distance <= width
        w = (1 - (distance[near] / (1.01 * width)) ** 3) ** 3
        mt, ma = np.average(t[near], weights=w), np.average(a[near], weights=w)
        spread = np.sum(w * (t[near] - mt) ** 2)
        slope = np.sum(w * (t[near] - mt) * (a[near] - ma)) / spread if spread > 0 else 0.0
        angles[i] = ma + slope * (t[i] - mt)
    scatter = _scatter(a - angles)
    way = t[-1] - t[0]
    return Turning(t, angles, float((angles[-1] - angles[0]) / way) if way else 0.0, scatter, scatter, False)
