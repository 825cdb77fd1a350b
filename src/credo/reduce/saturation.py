"""Where a detector's counts stop: the value at which bright pixels pile up."""

from __future__ import annotations

import numpy as np

from credo.model import Experiment, Frames, Report

__all__ = ["find_saturation"]

#: A pile of fewer pixels, or at fewer counts, may be chance.
_LEAST_PIXELS, _LEAST_COUNTS = 5, 50


def find_saturation(experiment: Experiment, frames: Frames) -> tuple[Experiment, Report]:
    """Set ``Detector.saturation`` [counts] where the frames show it; what a file says is kept if it is lower.

    The largest value of all frames is a limit when several pixels have exactly that value and no fewer than lie within
    two per cent below it: counts that are merely high are spread out.
    """
    tops = np.array([frames[i].max() for i in range(len(frames))])
    top = float(tops.max(initial=0))
    at, below = 0, 0
    for i in np.flatnonzero(tops >= 0.98 * top) if top >= _LEAST_COUNTS else ():
        frame = frames[int(i)]
        at += int(np.count_nonzero(frame == top))
        below += int(np.count_nonzero(frame >= 0.98 * top))
    below -= at
    stated = experiment.detector.saturation
    numbers = {"largest_count": top, "pixels_at_largest": at, "saturation": stated}
    if at < max(_LEAST_PIXELS, below) or (stated is not None and stated <= top):
        return experiment, Report(numbers)
    numbers["saturation"] = top
    return experiment.replace(detector=experiment.detector.replace(saturation=top)), Report(numbers)
