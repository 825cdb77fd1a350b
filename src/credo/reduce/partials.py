"""What every frame recorded of every predicted reflection, measured in one pass over the frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.integrate import claim, measure, release
from credo.model import Experiment, Frames, Reflections
from credo.physics.ewald import crossing_speed, scattering_vectors
from credo.reduce.background import Background, mean_background
from credo.reduce.profiles import SpotProfile

__all__ = ["Partials", "measure_partials", "visits"]


@dataclass(frozen=True)
class Partials:
    """Flat arrays, one entry per reflection and frame, sorted by frame.

    ``row``: of the predicted table; ``frame``: list index; ``intensity``, ``variance``: summed counts; ``x``, ``y``:
    centroid [px]; ``background`` [counts/px]; ``fit_a``, ``fit_b``: the profile fit's sums, whose ratio is the counts
    and 1/fit_b their variance; ``coverage``: how much of the profile lay on good pixels, −1 when saturated.
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

    def __len__(self) -> int:
        return len(self.row)


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
) -> Partials:
    """Measure each (row, frame) of ``where`` (default: :func:`visits`) at its predicted position.

    ``expected`` (n,): counts each visit should hold, for the weights of the profile fit; nought means a fit with
    background weights. Pixels are shared out to the nearest reflection of the frame, so neighbours do not leak.
    """
    background = background or mean_background(frames)
    profile = profile or SpotProfile()
    row, frame = visits(experiment, predicted) if where is None else where
    expected = np.zeros(len(row)) if expected is None else expected
    scan, det = experiment.scan, experiment.detector
    x, y = _positions(experiment, predicted, row, frame)
    reach = float(np.hypot(*det.shape)) / 2
    half = profile.half(reach)
    ring = half + 6
    owner = np.full(bad.shape, -1, dtype=np.int32)
    near = np.zeros(bad.shape, dtype=np.float32)
    out = np.zeros((len(row), 8))
    cov = profile.covariance(np.stack([x, y], axis=1) - det.origin)
    top = float(det.saturation) if det.saturation else np.inf
    edges = np.searchsorted(frame, np.arange(len(scan) + 1))
    mean = background.mean
    for f in range(len(scan)):
        a, b = edges[f], edges[f + 1]
        if a == b:
            continue
        claim(x[a:b], y[a:b], half, owner, near)
        measure(
            frames[f], mean, bad, owner, x[a:b], y[a:b], cov[a:b], expected[a:b], half, ring, background.gain, top,
            out[a:b],
        )  # fmt: skip
        release(x[a:b], y[a:b], half, owner)
    safe = np.where(out[:, 0] > 0, out[:, 0], np.inf)
    return Partials(
        row, frame, out[:, 0], np.maximum(out[:, 1], 1e-9), x + np.clip(out[:, 6] / safe, -2, 2),
        y + np.clip(out[:, 7] / safe, -2, 2), out[:, 5], out[:, 2], out[:, 3], out[:, 4],
    )  # fmt: skip


def _positions(experiment: Experiment, predicted: Reflections, row: np.ndarray, frame: np.ndarray):
    """Where each reflection lies on each frame (n,), (n,) [px]: at its crossing, moved with the frame's beam."""
    scan = experiment.scan
    shift = scan.shift_at(np.arange(len(scan)) + 0.5)[frame] - scan.shift_at(predicted["frame"])[row]
    return predicted["x"][row] + shift[:, 0], predicted["y"][row] + shift[:, 1]
