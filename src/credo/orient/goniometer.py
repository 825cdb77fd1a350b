"""What the orientations say of the stage: its steps, its wobble, and how well beam tilt and goniometer are aligned.

Thesis 6.3.2 and Figs 30-31: the change from frame to frame is split into a part in the plane of the rotation and one
out of it. In stepwise data (``period`` frames of fine beam tilt for each move of the goniometer) the two kinds of step
are told apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from credo.orient.path import Path

__all__ = ["GoniometerStudy", "goniometer_study"]


@dataclass(frozen=True, eq=False)
class GoniometerStudy:
    """Angles in degrees. ``step`` and ``step_esd``: mean of the steps' ratio to nominal times the nominal step, and the
    spread of single steps with the noise of the fit taken off; ``wobble_*``: the sinusoid that the out-of-plane part
    follows best, its amplitude with esd, period in frames, and share of the variance that it explains. In stepwise data
    also the goniometer's own step, the beam tilt's scale, and the angle between both directions of turning."""

    step: float
    step_esd: float
    out_of_plane_rms: float
    wobble_amplitude: float
    wobble_amplitude_esd: float
    wobble_period_frames: float
    wobble_explains: float
    readout_amplitude: float | None = None
    readout_period_frames: float | None = None
    goniometer_step: float | None = None
    goniometer_step_esd: float | None = None
    beam_tilt_step: float | None = None
    beam_tilt_step_esd: float | None = None
    misalignment: float | None = None

    def numbers(self) -> dict[str, Any]:
        """What is known, for a report."""
        return {k: v for k, v in asdict(self).items() if v is not None}


def goniometer_study(
    path: Path, variance: np.ndarray, period: int | None = None, readout_deg: np.ndarray | None = None
) -> GoniometerStudy:
    """``variance`` (f, 2) [deg²] along and across the path; ``period``: frames for each move of the goniometer;
    ``readout_deg`` (f,): what the microscope said of the angle."""
    noise = np.where(np.isfinite(variance), variance, np.nan)
    nominal = np.diff(path.angle_deg)
    steps = np.diff(path.turn_deg)
    same = np.isclose(nominal, np.median(nominal), rtol=0.2)
    step, step_esd = _mean_and_spread(steps[same], _of_steps(noise[:, 0])[same])
    height = path.height_deg - path.height_deg.mean()
    amplitude, amplitude_esd, length, share = _sinusoid(height)
    more: dict[str, Any] = {}
    if readout_deg is not None:
        error = readout_deg - path.turn_deg
        error = error - np.polyval(np.polyfit(path.turn_deg, error, 1), path.turn_deg)
        more["readout_amplitude"], _, more["readout_period_frames"], _ = _sinusoid(error)
    if period is not None and 2 <= period <= len(steps) // 3:
        more |= _stepwise(path, noise, period)
    rms = float(np.sqrt(max(np.mean(height**2) - _median(noise[:, 1]), 0)))
    return GoniometerStudy(step, step_esd, rms, amplitude, amplitude_esd, length, share, **more)


def _median(x: np.ndarray) -> float:
    """Of what is known; nought where nothing is."""
    known = x[np.isfinite(x)]
    return float(np.median(known)) if len(known) else 0.0


def _of_steps(variance: np.ndarray) -> np.ndarray:
    return variance[1:] + variance[:-1]


def _mean_and_spread(steps: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Mean, and the standard deviation of single values with the variance of their errors taken off."""
    if len(steps) < 2:
        return float(np.mean(steps)) if len(steps) else float("nan"), 0.0
    spread = float(np.var(steps, ddof=1)) - float(_median(variance))
    return float(np.mean(steps)), float(np.sqrt(max(spread, 0.0)))


def _sinusoid(y: np.ndarray) -> tuple[float, float, float, float]:
    """(amplitude, its esd, period in frames, explained share of the variance) of the best sine with a straight line."""
    n = len(y)
    if n < 8:
        return 0.0, 0.0, float("nan"), 0.0
    x = np.arange(n, dtype=float)
    line = np.polyval(np.polyfit(x, y, 1), x)
    power = np.abs(np.fft.rfft(y - line, 16 * n)) ** 2
    # one turn in the whole series is the slowest that can be told from a drift
    slowest, fastest = 14, int(0.45 * 16 * n)
    peak = 16 * n / (slowest + float(np.argmax(power[slowest:fastest])))
    fits = [_sine(x, y, peak * f) for f in np.linspace(0.97, 1.03, 61)]
    left, amplitude, esd, period = min(fits)
    return amplitude, esd, period, 1 - left / max(float(np.sum((y - line) ** 2)), 1e-300)


def _sine(x: np.ndarray, y: np.ndarray, period: float) -> tuple[float, float, float, float]:
    """(residual sum of squares, amplitude, its esd, period) of a sine, a constant and a drift."""
    w = 2 * np.pi * x / period
    design = np.column_stack([np.cos(w), np.sin(w), np.ones(len(x)), (x - x.mean()) / len(x)])
    c, *_ = np.linalg.lstsq(design, y, rcond=None)
    left = float(np.sum((y - design @ c) ** 2))
    covariance = np.linalg.inv(design.T @ design) * left / max(len(x) - 5, 1)
    return left, float(np.hypot(c[0], c[1])), float(np.sqrt(covariance[0, 0])), period


def _stepwise(path: Path, noise: np.ndarray, period: int) -> dict[str, Any]:
    """The two kinds of step of blocks of ``period`` frames, from each block's middle and its slope."""
    blocks = len(path.turn_deg) // period
    turn = path.turn_deg[: blocks * period].reshape(blocks, period)
    height = path.height_deg[: blocks * period].reshape(blocks, period)
    along = np.diff(turn, axis=1)
    middle = period // 2
    moves = np.diff(turn[:, middle])
    middle_noise = noise[: blocks * period, 0].reshape(blocks, period)[:, middle]
    moved, moved_esd = _mean_and_spread(moves, _of_steps(middle_noise))
    tilt, tilt_esd = _mean_and_spread(along.ravel(), np.full(along.size, 2 * _median(noise[:, 0])))
    rise = np.sum(height[:, -1] - height[:, 0]) / np.sum(turn[:, -1] - turn[:, 0])
    drift = np.sum(np.diff(height[:, middle])) / np.sum(moves)
    return {
        "goniometer_step": moved, "goniometer_step_esd": moved_esd, "beam_tilt_step": tilt,
        "beam_tilt_step_esd": tilt_esd, "misalignment": float(np.degrees(abs(np.arctan(rise) - np.arctan(drift)))),
    }  # fmt: skip
