"""A second piece of the crystal with the same indices, a little turned: found by a matched filter over its turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.rocking import shares, tilts
from credo.orient.observations import Observations
from credo.orient.rocking import RockingFit

__all__ = ["Piece", "second_piece"]

#: Turns that are tried, each way [deg], and strongest rows that are looked at.
_REACH, _STEP, _MOST = 1.5, 0.125, 2500


@dataclass(frozen=True)
class Piece:
    """``turn_deg`` of the zone axis along the path and across it; ``share`` of the first piece's intensity;
    ``explains``: of what the first leaves over."""

    turn_deg: tuple[float, float]
    share: float
    explains: float


def second_piece(obs: Observations, fit: RockingFit, axis: np.ndarray) -> Piece:
    """The turn t at which α I_h K p(s + J t) explains most of what the first piece leaves of the intensities; I_h is
    that of the reflection in the first piece."""
    s, jac, rate = tilts(obs.frame, obs.points, fit.zone, fit.first, fit.second, axis, obs.radius)
    span = rate * np.radians(obs.width_deg)
    gain = fit.scale[obs.frame]
    own = gain * shares(s, span, fit.profile, fit.knot)[0]
    _, which = np.unique(obs.hkl, axis=0, return_inverse=True)
    which = which.reshape(-1)
    # of the rows in the middle of the first piece's curve only
    core = own > 0.3 * gain
    top = np.bincount(which, obs.intensity * own * core)
    intensity = np.maximum(top / np.maximum(np.bincount(which, own**2 * core), 1e-300), 0)[which]
    left = obs.intensity - intensity * own
    rows = np.argsort(-np.maximum(intensity, obs.intensity), kind="stable")[:_MOST]
    rows = rows[intensity[rows] > 0]
    if len(rows) < 50:
        return Piece((0.0, 0.0), 0.0, 0.0)
    left, signal = left[rows], (gain * intensity)[rows]
    weight = 1 / (obs.sigma[rows] ** 2 + (0.1 * signal) ** 2)
    total = float(weight @ left**2)
    best = Piece((0.0, 0.0), 0.0, 0.0)
    # turns within the curve's own width are the first piece itself
    least = 0.7 * fit.knot * len(fit.profile) / float(np.median(np.linalg.norm(obs.points[rows], axis=1)))
    grid = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    for along in grid:
        for across in grid:
            turn = np.radians([along, across])
            if np.hypot(*turn) < least:
                continue
            seen = signal * shares(s[rows] + jac[rows] @ turn, span[rows], fit.profile, fit.knot)[0]
            norm = float(weight @ seen**2)
            match = float((weight * left) @ seen)
            if norm > 0 and match > 0 and match**2 / (norm * total) > best.explains:
                best = Piece((float(along), float(across)), match / norm, match**2 / (norm * total))
    return best
