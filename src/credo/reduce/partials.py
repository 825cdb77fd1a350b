"""What every frame recorded of every predicted reflection, measured in one pass over the frames."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from credo.kernels.integrate import accumulate_free, claim, frame_level, measure, release
from credo.model import Experiment, Frames, Reflections
from credo.physics.ewald import crossing_speed, scattering_vectors
from credo.reduce.background import Background, as_counts, mean_background
from credo.reduce.profiles import SpotProfile

__all__ = ["FreePixels", "Partials", "frame_table", "measure_partials", "rocking_sigma_deg", "visits"]


@dataclass(frozen=True)
class Partials:
    """Flat arrays, one entry per reflection and frame, sorted by frame.

    ``row``: of the predicted table; ``frame``: list index; ``intensity``, ``variance``: summed counts; ``x``, ``y``:
    centroid [px]; ``background`` [counts/px]; ``fit_a``, ``fit_b``: the profile fit's sums, whose ratio is the counts
    and 1/fit_b their variance; ``coverage``: how much of the profile lay on good pixels, −1 when saturated. ``ring``:
    counts of the free pixels around, ``ring_mean``: what the mean background at the frame's level makes them.
    """

    row: np.ndarray
    frame: np.ndarray
    intensity: np.ndarray
    variance: np.ndarray
    x: np.ndarray
    y: np.ndarray
    background: np.ndarray
    fit_a: np.ndarray
    fit_b: np.ndarray
    coverage: np.ndarray
    ring: np.ndarray
    ring_mean: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def select(self, keep: np.ndarray) -> Partials:
        """Those of a mask or of indices."""
        return Partials(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})


class FreePixels:
    """Sums in time of the pixels that no predicted spot claims: the background that spots do not lift."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.total = np.zeros(shape, dtype=np.float32)
        self.count = np.zeros(shape, dtype=np.int32)

    def background(self, old: Background, least: int = 20) -> Background:
        """``old`` with its mean replaced where at least ``least`` frames were free."""
        from scipy.ndimage import uniform_filter

        seen = self.count >= least
        mean = np.where(seen, self.total / np.maximum(self.count, 1) + old.pedestal, old.mean)
        # where too few electrons were counted for a pixel's own mean, its neighbourhood's is blended in
        own = np.clip(self.total / old.gain / 400, 0, 1)
        wide = uniform_filter(mean, 3, mode="nearest")
        mean = np.where(seen, own * mean + (1 - own) * wide, old.mean).astype(np.float32)
        return replace(old, mean=mean)


def visits(
    experiment: Experiment, predicted: Reflections, reach: float = 3.5, extra_deg: float = 0.1, most: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """(row, frame) of every frame that lies within ``reach`` σ (and ``extra_deg``) of a reflection's crossing."""
    scan = experiment.scan
    sigma = rocking_sigma_deg(experiment, predicted)
    width = float(np.median(np.abs(scan.width_deg)))
    half = np.minimum(reach * sigma + extra_deg, 0.5 * most * width)
    sign = 1.0 if scan.width_deg[0] >= 0 else -1.0
    low, high = sign * scan.start_deg, sign * scan.end_deg
    phi = sign * predicted["phi"]
    first = np.searchsorted(high, phi - half, side="right")
    last = np.searchsorted(low, phi + half, side="left")
    count = np.maximum(last - first, 0)
    row = np.repeat(np.arange(len(predicted)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    frame = np.repeat(first, count) + within
    order = np.argsort(frame, kind="stable")
    return row[order], frame[order]


def rocking_sigma_deg(experiment: Experiment, predicted: Reflections) -> np.ndarray:
    """Rms width of each reflection's rocking curve in rotation angle (n,) [deg]."""
    lattice = np.maximum(predicted["lattice"], 0) if "lattice" in predicted else np.zeros(len(predicted), dtype=int)
    out = np.empty(len(predicted))
    for k, crystal in enumerate(experiment.crystals):
        mine = lattice == k
        q = scattering_vectors(crystal.UB, predicted.hkl[mine], experiment.goniometer.axis, predicted["phi"][mine])
        speed = np.maximum(np.abs(crossing_speed(q, experiment.goniometer.axis)), 1e-6)
        eps = np.hypot(np.linalg.norm(q, axis=1) * np.radians(crystal.mosaicity_deg), crystal.shape_width)
        out[mine] = np.degrees(eps / speed)
    return out


def measure_partials(
    experiment: Experiment,
    frames: Frames,
    bad: np.ndarray,
    predicted: Reflections,
    background: Background | None = None,
    profile: SpotProfile | None = None,
    where: tuple[np.ndarray, np.ndarray] | None = None,
    expected: np.ndarray | None = None,
    firm: float = 0.0,
    free: FreePixels | None = None,
) -> Partials:
    """Measure each (row, frame) of ``where`` (default: :func:`visits`) at its predicted position.

    ``expected`` (n,): counts each visit should hold, for the weights of the profile fit; nought means a fit with
    background weights. Pixels are shared out to the nearest reflection of the frame, so neighbours do not leak.
    ``firm``: counts that the frame's overall background level is worth beside a spot's own surroundings. ``free``
    collects the pixels between the spots.
    """
    background = background or mean_background(frames)
    profile = profile or SpotProfile()
    row, frame = visits(experiment, predicted) if where is None else where
    expected = np.zeros(len(row)) if expected is None else expected
    scan, det = experiment.scan, experiment.detector
    x, y = _positions(experiment, predicted, row, frame)
    half = profile.half(float(np.hypot(*det.shape)) / 2)
    owner = np.full(bad.shape, -1, dtype=np.int32)
    near = np.zeros(bad.shape, dtype=np.float32)
    out, levels = np.zeros((len(row), 10)), np.ones(len(scan))
    cov, shape = profile.covariance(np.stack([x, y], axis=1) - det.origin), np.array(profile.shape)
    pedestal, gain = background.pedestal, background.gain
    top = float(det.saturation) - pedestal if det.saturation else np.inf
    edges = np.searchsorted(frame, np.arange(len(scan) + 1))
    mean = np.maximum(background.mean - np.float32(pedestal), 0)
    limit = (mean + 4 * np.sqrt(gain * np.maximum(mean, 0.05)) + 2 * gain).astype(np.float32)
    for f in range(len(scan)):
        a, b = edges[f], edges[f + 1]
        if a == b and free is None:
            continue
        image = as_counts(frames[f], pedestal)
        claim(x[a:b], y[a:b], half, owner, near)
        levels[f] = frame_level(image, mean, bad, gain, 4)
        measure(
            image, mean, bad, owner, x[a:b], y[a:b], cov[a:b], shape, expected[a:b], half, half + 6, gain, levels[f],
            firm, top, out[a:b],
        )  # fmt: skip
        if free is not None:
            accumulate_free(image, owner, limit, free.total, free.count)
        release(x[a:b], y[a:b], half, owner)
    # neighbouring pixels that share an electron make sums noisier than single pixels
    noisier = background.gain_sum / gain
    safe = np.where(out[:, 0] > 0, out[:, 0], np.inf)
    return Partials(
        row, frame, out[:, 0], np.maximum(out[:, 1] * noisier, 1e-9), x + np.clip(out[:, 6] / safe, -2, 2),
        y + np.clip(out[:, 7] / safe, -2, 2), out[:, 5], out[:, 2] / noisier, out[:, 3] / noisier, out[:, 4],
        out[:, 8], out[:, 9] * levels[frame],
    )  # fmt: skip


def _positions(experiment: Experiment, predicted: Reflections, row: np.ndarray, frame: np.ndarray):
    """Where each reflection lies on each frame (n,), (n,) [px]: at its crossing, moved with the frame's beam and,
    where frames are turned, with them."""
    scan = experiment.scan
    shift = scan.shift_at(np.arange(len(scan)) + 0.5)[frame] - scan.shift_at(predicted["frame"])[row]
    if scan.misset_deg is not None:
        shift = shift + _turned(experiment, predicted, row, frame)
    return predicted["x"][row] + shift[:, 0], predicted["y"][row] + shift[:, 1]


def _turned(experiment: Experiment, predicted: Reflections, row: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """What the frames' missets move each reflection by (n, 2) [px]: only turns about the beam move it sideways."""
    assert experiment.scan.misset_deg is not None
    angle = np.radians(experiment.scan.misset_deg)[frame, 2]
    arm = predicted.xy[row] - np.array(experiment.detector.origin) - experiment.scan.shift_at(predicted["frame"])[row]
    return np.stack([-arm[:, 1] * angle, arm[:, 0] * angle], axis=1)


def frame_table(predicted: Reflections, partials: Partials) -> Reflections:
    """h k l, frame (its middle), intensity and sigma of the first crystal, frame by frame; weak and negative ones too.

    Reflections of less than 3 σ in all are left out: they tell no orientation.
    """
    good = np.isfinite(partials.intensity) & (partials.variance > 0) & (partials.coverage > 0.8)
    if "lattice" in predicted:
        good &= predicted["lattice"][partials.row] == 0
    row = partials.row[good]
    total = np.bincount(row, partials.intensity[good], len(predicted))
    noise = np.sqrt(np.bincount(row, partials.variance[good], len(predicted)))
    keep = np.flatnonzero(good)[total[row] > 3 * noise[row]]
    hkl = predicted.hkl[partials.row[keep]]
    return Reflections({
        "h": hkl[:, 0], "k": hkl[:, 1], "l": hkl[:, 2], "frame": partials.frame[keep] + 0.5,
        "intensity": partials.intensity[keep], "sigma": np.sqrt(partials.variance[keep]),
    })  # fmt: skip
