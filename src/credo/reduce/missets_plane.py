"""Each frame's turn about the beam, from where its reflections lie."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from credo.model import Experiment, Reflections

__all__ = ["PartialsLike", "turns_about_beam"]

_NU = 4.0
_MIN_SIGNIFICANCE = 6.0


class PartialsLike(Protocol):
    """What ``measure_partials`` gives, flat: for each observation the row of ``predicted`` and the frame."""

    @property
    def row(self) -> np.ndarray: ...
    @property
    def frame(self) -> np.ndarray: ...
    @property
    def intensity(self) -> np.ndarray: ...
    @property
    def variance(self) -> np.ndarray: ...
    @property
    def x(self) -> np.ndarray: ...
    @property
    def y(self) -> np.ndarray: ...


def turns_about_beam(experiment: Experiment, predicted: Reflections, partials: PartialsLike) -> np.ndarray:
    """Turn about +z of each frame and its uncertainty (n, 2) [rad], from measured minus predicted positions.

    The frame's beam is free beside it (± 0.5 px). Student's t; the prior of the turns is that of largest evidence,
    and a turn without evidence is zero.
    """
    scan, n = experiment.scan, len(experiment.scan)
    row, frame = np.asarray(partials.row), np.asarray(partials.frame)
    seen = np.column_stack([partials.x, partials.y])
    strong = np.asarray(partials.intensity) > _MIN_SIGNIFICANCE * np.sqrt(np.maximum(partials.variance, 1e-9))
    strong &= np.all(np.isfinite(seen), axis=1)
    row, frame, seen = row[strong], frame[strong], seen[strong]
    moved = scan.shift_at(frame + 0.5) - scan.shift_at(predicted["frame"][row])
    calculated = predicted.xy[row] + moved
    delta = seen - calculated
    centre = np.array(experiment.detector.origin) + scan.shift_at(frame + 0.5)
    arm = calculated - centre
    out = np.zeros((n, 2))
    if len(row) < 50 or not np.any(delta):
        return out
    # columns: turn, beam x, beam y; rows: x and y of every observation
    jac = np.zeros((len(row), 2, 3))
    jac[:, 0, 0], jac[:, 1, 0] = -arm[:, 1], arm[:, 0]
    jac[:, 0, 1] = jac[:, 1, 2] = 1.0
    state, prior = np.zeros((n, 3)), np.array([np.radians(0.2), 0.5, 0.5]) ** 2
    variance = 0.5 * np.median((delta**2).sum(axis=1)) / np.log(2)
    inverse = np.zeros((n, 3, 3))
    for _ in range(8):
        residual = delta - np.einsum("nij,nj->ni", jac, state[frame])
        z2 = (residual**2).sum(axis=1) / variance
        weight = (_NU + 2) / (_NU + z2)
        variance = max(float(np.mean(weight * z2) / 2 * variance), 1e-6)
        normal = np.zeros((n, 3, 3))
        right = np.zeros((n, 3))
        for a in range(3):
            right[:, a] = np.bincount(frame, weight * (jac[:, :, a] * delta).sum(axis=1), n)
            for b in range(3):
                normal[:, a, b] = np.bincount(frame, weight * (jac[:, :, a] * jac[:, :, b]).sum(axis=1), n)
        inverse = np.linalg.inv(normal / variance + np.diag(1 / prior))
        state = np.einsum("nij,nj->ni", inverse, right / variance)
        # the turns without their prior: is their scatter more than their noise?
        well = 1 - inverse[:, 0, 0] / prior[0]
        known = well > 0.01
        free = state[known, 0] / well[known]
        noise = inverse[known, 0, 0] / well[known]
        excess = np.sum(free**2 / noise - 1)
        if excess < 3 * np.sqrt(2 * np.count_nonzero(known)):
            return out
        prior[0] = np.clip(np.sum(state[:, 0] ** 2) / np.sum(well), 1e-10, 1e-3)
    out[:, 0], out[:, 1] = state[:, 0], np.sqrt(inverse[:, 0, 0])
    return out
