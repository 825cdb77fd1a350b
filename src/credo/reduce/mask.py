"""Pixels that must never be used, found from the frames: dead, hot, the chip gaps, borders, a beam stop's shadow."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import binary_dilation, median_filter, uniform_filter

from credo.model import Experiment, Frames, Report
from credo.reduce.background import Background, mean_background

__all__ = ["MaskSettings", "find_mask"]


class MaskSettings(BaseModel):
    """What makes a pixel bad."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hot: float = Field(
        default=4.0, gt=1, description="a pixel always this many times brighter than its neighbours is hot"
    )
    dead: float = Field(
        default=0.15, gt=0, lt=1, description="a pixel always below this fraction of its neighbours is dead"
    )
    line: float = Field(
        default=0.25, gt=0, description="a row or column whose level departs by this fraction is a chip gap"
    )


def find_mask(
    experiment: Experiment, frames: Frames, settings: MaskSettings | None = None, background: Background | None = None
) -> tuple[np.ndarray, Report]:
    """``bad`` (ny, nx) bool, from the frames' mean in time compared with its neighbourhood.

    Spots move on, defects stay: the spot-free mean is used, so that a Bragg spot is not taken for a hot pixel. The
    direct beam's surroundings are left alone.
    """
    settings = settings or MaskSettings()
    background = background or mean_background(frames)
    mean = background.mean
    lines = _gap_lines(background.raw_mean, settings.line)
    bad = np.zeros(mean.shape, dtype=bool)
    bad[lines[0], :] = True
    bad[:, lines[1]] = True
    near = median_filter(background.raw_mean, 5, mode="nearest")
    n = max(1, min(len(frames), 150))
    floor = 3 * np.sqrt(background.gain * np.maximum(near, 1 / n) / n)
    gradient = uniform_filter(near, 15, mode="nearest")
    calm = gradient < 20 * max(background.level, 1e-3)
    hot = (mean > settings.hot * near + floor) & calm
    dead = (background.raw_mean < settings.dead * near - floor) & (near > 0.05)
    dark = background.raw_mean == 0
    if dark.mean() < 0.6:
        dead |= dark & (near > 3 * background.gain / n)
        dead |= _large_dark(dark)
    shadow = _shadow(background.raw_mean, len(frames), background.gain)
    bad |= hot | dead | shadow
    numbers = {
        "n_bad_pixels": int(bad.sum()),
        "n_shadow": int(shadow.sum()),
        "n_hot": int(hot.sum()),
        "n_dead": int(dead.sum()),
        "gap_rows": [int(i) for i in lines[0]],
        "gap_columns": [int(i) for i in lines[1]],
        "gain": background.gain,
        "background": background.level,
    }
    warnings = ()
    if bad.mean() > 0.3:
        warnings = (f"{100 * bad.mean():.0f} % of the detector is masked: look at the mean pattern.",)
    return bad, Report(numbers, warnings, {"mean_image": background.raw_mean, "bad": bad})


def _large_dark(dark: np.ndarray) -> np.ndarray:
    """Borders and shadows without a single count: dark pixels whose whole 5×5 neighbourhood is dark, and these."""
    core = uniform_filter(dark.astype(np.float32), 5, mode="nearest") > 0.999
    return binary_dilation(core, iterations=2) & dark


def _shadow(mean: np.ndarray, n: int, gain: float, margin: int = 4) -> np.ndarray:
    """What an aperture or a beam stop covers (ny, nx): much darker than the rest, with an edge.

    In the histogram of ln(mean) a shadow is a peak of its own, with next to no pixels between it and the rest; where
    the pattern merely fades away there is no such valley. ``margin`` pixels of penumbra are covered too.
    """
    smooth = uniform_filter(mean, 5, mode="nearest")
    # a mean of few electrons has no valleys but chance ones
    floor = 4 * gain / (25 * max(n, 1))
    levels = np.log(np.maximum(smooth, floor))
    count, edges = np.histogram(levels, bins=np.arange(levels.min(), levels.max() + 0.5, 0.25))
    before, after = np.maximum.accumulate(count), np.maximum.accumulate(count[::-1])[::-1]
    lower = np.minimum(before, after)
    depth = count / np.maximum(lower, 1)
    valley = (depth < 0.1) & (np.cumsum(count) > 0.005 * mean.size) & (lower > 0.005 * mean.size)
    ends = np.flatnonzero(np.diff(np.r_[0, valley, 0]))
    starts, ends = ends[::2], ends[1::2]
    # an edge is a step of at least e, with few pixels on it
    if not len(starts) or (ends - starts).max() < 4:
        return np.zeros(mean.shape, dtype=bool)
    return binary_dilation(levels < edges[ends[np.argmax(ends - starts)]], iterations=margin)


def _gap_lines(mean: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of chip gaps or edges: their median over the frame departs from the lines around.

    Wide pixels at chip edges count more, missing ones nothing; a median along the whole line does not see spots.
    """
    found = []
    for axis in (1, 0):
        profile = np.median(mean, axis=axis)
        if profile.max() <= 0:
            profile = mean.mean(axis=axis)
        around = median_filter(profile, 21, mode="nearest")
        ratio = profile / np.maximum(around, 1e-6)
        noise = 1.4826 * np.median(np.abs(ratio - np.median(ratio)))
        odd = np.abs(ratio - 1) > max(tolerance, 6 * noise)
        # a gap is a few lines; half a detector of odd lines is shading
        found.append(np.flatnonzero(odd) if 0 < odd.sum() <= 0.06 * len(odd) else np.empty(0, dtype=int))
    return found[0], found[1]
