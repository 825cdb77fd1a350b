"""A quick linear fit of a lattice together with the geometry it was seen in, to make its likelihood fair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.rotation import rotation_from_vector, rotation_matrix
from credo.model import Ellipse, Experiment, Goniometer, Reflections
from credo.reduce.lattice import Fit, likelihood
from credo.reduce.points import Points, reciprocal_points

__all__ = ["Placed", "fit_in_place"]


@dataclass(frozen=True)
class Placed:
    """A lattice in the geometry that suits it."""

    experiment: Experiment
    points: Points
    fit: Fit


@dataclass(frozen=True)
class Priors:
    """How far the geometry may go: beam [px], axis in and out of the image [deg], ellipse components,
    the barrel's stretch at the outermost points, and the beam's steady drift over the scan [px]."""

    beam_px: float = 10.0
    axis_deg: float = 3.0
    tilt_deg: float = 0.7
    ellipse: float = 0.003
    barrel: float = 0.008
    drift_px: float = 5.0


def fit_in_place(
    experiment: Experiment, spots: Reflections, rows: np.ndarray, ub: np.ndarray, rounds: int = 6,
    priors: Priors | None = None,
) -> Placed:  # fmt: skip
    """Alternate indexing, from low resolution outwards, and weighted linear least squares of UB (9), the beam (2), the
    axis (2), the ellipse (2), the barrel and the drift (2); the experiment returned has them applied. ``ub`` is at
    φ = 0.

    Camera length stays: in so rough a fit the curvature, which alone tells it, would soak up every other error.
    """
    priors = priors or Priors()
    points = reciprocal_points(experiment, spots, rows, experiment.goniometer.axis)
    start = experiment
    fit = likelihood(points, ub)
    length = np.linalg.norm(points.q, axis=1)
    order = np.sort(length)
    reach = order[min(len(order) - 1, max(30, len(order) // 4))]
    for turn in range(rounds):
        inside = length <= reach
        ub, step = _solve(points, fit, inside, experiment, start, priors)
        experiment = _moved(experiment, step)
        points = reciprocal_points(experiment, spots, rows, experiment.goniometer.axis)
        length = np.linalg.norm(points.q, axis=1)
        fit = likelihood(points, ub)
        reach = np.inf if turn >= rounds - 3 else reach * 1.5
    return Placed(experiment, points, fit)


def _solve(points: Points, fit: Fit, inside: np.ndarray, experiment: Experiment, start: Experiment, priors: Priors):
    """UB (3, 3) and the step [px px deg deg ε ε Å² px px] of the geometry: q + Σ p_k ∂q/∂p_k = UB h."""
    h = np.rint(points.q @ np.linalg.inv(fit.ub).T)
    w = np.where(inside & np.any(h != 0, axis=1), fit.member, 0.0) / (fit.spread * points.sigma) ** 2
    moves = _moves(points, experiment)
    n = len(points)
    design = np.zeros((n, 3, 18))
    for i in range(3):
        design[:, i, 3 * i : 3 * i + 3] = h
    design[:, :, 9:] = -moves
    weighted = design * w[:, None, None]
    normal = np.einsum("nia,nib->ab", weighted, design)
    rhs = np.einsum("nia,ni->a", weighted, points.q)
    barrel = priors.barrel / float(np.quantile(np.linalg.norm(points.q, axis=1), 0.95)) ** 2
    axis = [priors.axis_deg, priors.tilt_deg]
    sigma = np.array([priors.beam_px] * 2 + axis + [priors.ellipse] * 2 + [barrel] + [priors.drift_px] * 2)
    gone = _gone(experiment, start)
    normal[range(9, 18), range(9, 18)] += 1 / sigma**2
    rhs[9:] -= gone / sigma**2
    # UB itself is only held where nothing else holds it
    ridge = 1e-6 * np.trace(normal[:9, :9]) / 9 + 1e-12
    normal[range(9), range(9)] += ridge
    rhs[:9] += ridge * fit.ub.reshape(-1)
    x = np.linalg.solve(normal, rhs)
    ub = x[:9].reshape(3, 3)
    return (ub if np.linalg.det(ub) > 0 else fit.ub), x[9:]


def _moves(points: Points, experiment: Experiment) -> np.ndarray:
    """∂q/∂(beam x, beam y, axis in plane, axis out of plane [deg], e1, e2, barrel, drift x, drift y): (n, 3, 9)."""
    qpp = experiment.detector.q_per_pixel
    lab = points.lab
    out = np.zeros((len(points), 3, 9))
    back = np.swapaxes(points.rotation, 1, 2)
    out[:, :, 0] = -qpp * back[:, :, 0]
    out[:, :, 1] = -qpp * back[:, :, 1]
    m = experiment.goniometer.axis
    for k, about in enumerate((np.array([0, 0, 1.0]), np.cross(m, [0, 0, 1.0]))):
        turned = rotation_from_vector(np.radians(0.1) * about / np.linalg.norm(about)) @ m
        rotated = np.einsum("nji,nj->ni", rotation_matrix(turned, points.phi), lab)
        out[:, :, 2 + k] = (rotated - points.q) / 0.1
    x, y, zero = lab[:, 0], lab[:, 1], np.zeros(len(lab))
    out[:, :, 4] = np.einsum("nij,nj->ni", back, np.stack([-x, y, zero], axis=1))
    out[:, :, 5] = np.einsum("nij,nj->ni", back, np.stack([-y, -x, zero], axis=1))
    r2 = x**2 + y**2
    out[:, :, 6] = np.einsum("nij,nj->ni", back, np.stack([-x * r2, -y * r2, zero], axis=1))
    time = np.interp(np.degrees(points.phi), *_increasing(experiment.scan.mid_deg, _time(experiment)))
    out[:, :, 7:9] = out[:, :, :2] * time[:, None, None]
    return out


def _time(experiment: Experiment) -> np.ndarray:
    """−½ to ½ over the frames of the scan (n,)."""
    numbers = np.asarray(experiment.scan.numbers, dtype=float)
    return (numbers - numbers.mean()) / max(np.ptp(numbers), 1.0)


def _increasing(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _moved(experiment: Experiment, step: np.ndarray) -> Experiment:
    det, m = experiment.detector, experiment.goniometer.axis
    tilt_axis = np.cross(m, [0, 0, 1.0])
    turn = np.radians(np.clip(step[2], -2, 2)) * np.array([0, 0, 1.0])
    turn = turn + np.radians(np.clip(step[3], -2, 2)) * tilt_axis / np.linalg.norm(tilt_axis)
    e1, e2 = det.ellipse.components
    ellipse = Ellipse.from_components(
        float(np.clip(e1 + step[4], -0.04, 0.04)), float(np.clip(e2 + step[5], -0.04, 0.04))
    )
    move = np.clip(step[:2], -8, 8)
    origin = (float(det.origin[0] + move[0]), float(det.origin[1] + move[1]))
    barrel = float(det.barrel + step[6])
    drift = np.outer(_time(experiment), np.clip(step[7:9], -8, 8))
    if experiment.scan.beam_shift is not None:
        drift = drift + experiment.scan.beam_shift
    return experiment.replace(
        detector=det.replace(origin=origin, ellipse=ellipse, barrel=barrel),
        goniometer=Goniometer(rotation_from_vector(turn) @ m),
        scan=experiment.scan.replace(beam_shift=drift),
    )


def _gone(now: Experiment, start: Experiment) -> np.ndarray:
    """How far the geometry already is from where it began, in the units of the priors."""
    beam = np.subtract(now.detector.origin, start.detector.origin)
    a, b = now.goniometer.axis, start.goniometer.axis
    in_plane = (np.degrees(np.arctan2(a[1], a[0]) - np.arctan2(b[1], b[0])) + 180) % 360 - 180
    tilt = np.degrees(np.arcsin(a[2]) - np.arcsin(b[2]))
    ellipse = np.subtract(now.detector.ellipse.components, start.detector.ellipse.components)
    barrel = now.detector.barrel - start.detector.barrel
    return np.array([*beam, in_plane, tilt, *ellipse, barrel, *(_drift(now) - _drift(start))])


def _drift(experiment: Experiment) -> np.ndarray:
    """How far the beam goes from the first frame to the last (2,) [px]."""
    shift = experiment.scan.beam_shift
    return np.zeros(2) if shift is None else np.asarray(shift[-1] - shift[0], dtype=float)
