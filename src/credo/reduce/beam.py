"""The direct beam on every frame: the bright disc, tracked through its drift, or the centre of symmetry if hidden."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import binary_opening, median_filter, uniform_filter

from credo.model import Experiment, Frames, Report
from credo.reduce.background import Background, mean_background
from credo.reduce.symmetry_centre import symmetry_centre

__all__ = ["BeamSettings", "beam_at", "find_beam"]


class BeamSettings(BaseModel):
    """Where the direct beam is looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reach_px: float = Field(default=20.0, gt=0, description="largest drift of the beam during the scan [px]")
    contrast: float = Field(default=4.0, gt=1, description="least brightness of the beam over its surroundings")
    symmetry: float = Field(default=0.8, gt=0, lt=1, description="least correlation with the inverse about a centre")


def find_beam(
    experiment: Experiment,
    frames: Frames,
    bad: np.ndarray,
    settings: BeamSettings | None = None,
    background: Background | None = None,
) -> tuple[Experiment, Report]:
    """Set ``Detector.origin`` to the median position and ``Scan.beam_shift`` to each frame's departure from it.

    The brightest disc of the mean frame is the beam; on each frame its position is the centre of mass of what exceeds
    half of the brightness there (a saturated beam: the whole flat top). Frames where it is not seen get their
    neighbours' position. Without a bright disc, or where the brightest place is the rim of a beam stop or a strong
    spot, the centre of symmetry of the mean pattern is taken (see :func:`symmetry_centre`), and failing that the
    file's origin; a warning says so.
    """
    settings = settings or BeamSettings()
    background = background or mean_background(frames)
    mean = np.where(bad, median_filter(background.raw_mean, 5), background.raw_mean)
    smooth = uniform_filter(mean, 5, mode="nearest")
    y, x = (int(v) for v in np.unravel_index(int(np.argmax(smooth)), smooth.shape))
    ring = float(np.median(_ring(smooth, x, y, 2 * settings.reach_px)))
    seen = smooth[y, x] > settings.contrast * max(ring, background.gain / max(len(frames), 1))
    centre, likeness = symmetry_centre(background.raw_mean, bad)
    if not seen or (likeness > settings.symmetry and _behind_a_stop(bad, (x, y), centre)):
        return _hidden(experiment, centre, likeness, settings)
    xy = np.array([beam_at(frames[i], bad, x, y, settings.reach_px) for i in range(len(frames))])
    good = np.isfinite(xy[:, 0])
    if good.sum() < max(1, 0.2 * len(xy)):
        whole = beam_at(mean, bad, x, y, settings.reach_px)
        xy[:] = whole if np.isfinite(whole[0]) else (x + 0.5, y + 0.5)
        good[:] = True
    xy = _filled(xy, good)
    origin = np.median(xy, axis=0)
    moved = float(np.hypot(*(origin - experiment.detector.origin)))
    warnings = []
    if "origin" in experiment.known and moved > 10:
        was = experiment.detector.origin
        warnings.append(
            f"The direct beam is at ({origin[0]:.1f}, {origin[1]:.1f}) px, not at ({was[0]:.1f}, {was[1]:.1f}) px as "
            "the file says."
        )
    result = experiment.replace(
        detector=experiment.detector.replace(origin=(float(origin[0]), float(origin[1]))),
        scan=experiment.scan.replace(beam_shift=xy - origin),
    )
    drift = float(np.hypot(*np.ptp(median_filter(xy, (min(9, len(xy)), 1), mode="nearest"), axis=0)))
    numbers = {
        "beam_center": [float(v) for v in origin],
        "beam_seen": True,
        "beam_frames_seen": int(good.sum()),
        "beam_drift_px": drift,
        "beam_radius_px": beam_radius(background.raw_mean, origin),
    }
    return result, Report(numbers, tuple(warnings), {"beam_xy": xy, "beam_seen": good})


def _behind_a_stop(bad: np.ndarray, top: tuple[int, int], centre: tuple[float, float], near: int = 12) -> bool:
    """Whether the brightest place is away from the centre of symmetry, and something solid is masked beside either."""
    x, y = top
    # dead pixels and the seams of chips hide no beam
    stop = binary_opening(bad, np.ones((7, 7)))
    beside = [stop[max(0, j - near) : j + near + 1, max(0, i - near) : i + near + 1].any() for i, j in
              ((x, y), (int(centre[0]), int(centre[1])))]  # fmt: skip
    return any(beside) and float(np.hypot(x + 0.5 - centre[0], y + 0.5 - centre[1])) > 8


def _hidden(
    experiment: Experiment, centre: tuple[float, float], likeness: float, settings: BeamSettings
) -> tuple[Experiment, Report]:
    """One origin for all frames: the centre of symmetry if there is one, else the file's."""
    was = experiment.detector.origin
    if likeness > settings.symmetry:
        experiment = experiment.replace(detector=experiment.detector.replace(origin=centre))
        sentence = (
            f"The direct beam is hidden or faint: the centre of symmetry of the mean pattern, ({centre[0]:.1f}, "
            f"{centre[1]:.1f}) px, is used."
        )
        if "origin" in experiment.known and float(np.hypot(*np.subtract(centre, was))) > 10:
            sentence += f" The file says ({was[0]:.1f}, {was[1]:.1f}) px."
    else:
        sentence = "The direct beam is not visible: the file's (or the detector's) centre is used as a first guess."
    numbers = {"beam_center": list(experiment.detector.origin), "beam_seen": False, "beam_symmetry": likeness}
    return experiment, Report(numbers, (sentence,))


def beam_radius(mean: np.ndarray, origin: np.ndarray) -> float:
    """Where the mean around the beam has fallen to 3 % of its top: spots closer are not looked for [px]."""
    ny, nx = mean.shape
    yy, xx = np.mgrid[0:ny, 0:nx]
    r = np.hypot(xx + 0.5 - origin[0], yy + 0.5 - origin[1])
    near = r < 60
    bins = r[near].astype(int)
    order = np.argsort(bins, kind="stable")
    values = np.split(mean[near][order], np.searchsorted(bins[order], np.arange(1, 60)))
    profile = np.array([np.median(v) if len(v) else 0.0 for v in values])
    floor = profile[40:].min() if len(profile) > 40 else 0.0
    top = profile[:3].max()
    below = np.flatnonzero(profile - floor < 0.03 * (top - floor))
    return float(np.clip(below[0] if len(below) else 25, 5, 25))


def _ring(image: np.ndarray, x: int, y: int, radius: float) -> np.ndarray:
    ny, nx = image.shape
    yy, xx = np.mgrid[0:ny, 0:nx]
    r = np.hypot(xx - x, yy - y)
    return image[(r > radius) & (r < 2 * radius)]


def beam_at(frame: np.ndarray, bad: np.ndarray, x: float, y: float, reach: float) -> tuple[float, float]:
    """Centre of mass (x, y) of the beam's disc within ``reach`` of a first guess; NaN where there is none."""
    ny, nx = frame.shape
    r = int(np.ceil(reach)) + 8
    y0, y1 = max(0, int(y) - r), min(ny, int(y) + r + 1)
    x0, x1 = max(0, int(x) - r), min(nx, int(x) + r + 1)
    part = np.where(bad[y0:y1, x0:x1], 0, frame[y0:y1, x0:x1]).astype(np.float32)
    smooth = uniform_filter(part, 3, mode="nearest")
    j, i = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    top, base = float(smooth[j, i]), float(np.median(part))
    if top < 4 * max(base, 0.5):
        return float("nan"), float("nan")
    yy, xx = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
    inside = (smooth > base + 0.4 * (top - base)) & (np.hypot(yy - j, xx - i) < 16)
    w = np.where(inside, np.minimum(part, top) - base, 0)
    w = np.maximum(w, 0)
    total = float(w.sum())
    if total <= 0:
        return float("nan"), float("nan")
    return float((w * xx).sum() / total) + x0 + 0.5, float((w * yy).sum() / total) + y0 + 0.5


def _filled(xy: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Lost and wild positions replaced by interpolation between the others."""
    n = len(xy)
    i = np.arange(n)
    out = np.stack([np.interp(i, i[good], xy[good, k]) for k in (0, 1)], axis=1)
    calm = median_filter(out, (min(11, n), 1), mode="nearest")
    gap = np.hypot(*(out - calm).T)
    limit = max(3.0, 5 * 1.4826 * float(np.median(gap)))
    fine = good & (gap < limit)
    if fine.sum() >= 2:
        out = np.stack([np.interp(i, i[fine], out[fine, k]) for k in (0, 1)], axis=1)
    return out
