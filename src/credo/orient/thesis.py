"""The method of the thesis (eqs 8-16): frame by frame onto the Ewald sphere, then with positions corrected.

Every frame's zone axis is the direction e of the sphere's centre that minimises Σ w (‖P − e‖ − r)², ‖e‖ = r, w = 1/d
(eqs 13-14). The first frame is searched by simulated annealing, the next from where the last ended. The normal of the
plane through all zone axes is the rotation axis; each reflection then lies in Bragg position on the frame of its
maximum, its position on other frames is turned about the axis by the nominal angle between them (eq. 15), and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import dual_annealing

from credo.kernels.rotation import rotation_matrix
from credo.kernels.sphere import centre_cost, fit_centres, follow_centres
from credo.orient.observations import Observations, Passages

__all__ = ["SphereFit", "corrected_points", "passage_centres", "plane_axis", "rotation_sense", "thesis_method"]

_TURNS = 12


@dataclass(frozen=True, eq=False)
class SphereFit:
    """``zone`` (f, 3): unit vectors [HKL] in crystal axes, NaN where a frame shows too little; ``fom`` (f,): eq. 16
    [Å⁻²]; ``axis`` (3,): the rotation axis in crystal axes; ``cycles``: of positional correction."""

    zone: np.ndarray
    fom: np.ndarray
    axis: np.ndarray
    cycles: int


def thesis_method(obs: Observations, correct: bool = True, cycles: int = 12, seed: int = 0) -> SphereFit:
    """The thesis's orientations; ``correct``: with positional correction (Table 6) or without (Table 7).

    One frame cannot always tell e from −e: the annealing's answer and its opposite are both followed through the
    series, and the one with the smaller figure of merit is taken.
    """
    weight = np.linalg.norm(obs.points, axis=1)
    first = int(np.argmax(np.diff(obs.start) >= 3))
    anchor = _annealed(obs, first, weight, seed)
    tries = [
        follow_centres(obs.start, obs.points, weight, first, e, obs.radius, np.inf, _TURNS) for e in (anchor, -anchor)
    ]
    zone, fom = min(tries, key=lambda t: np.nanmean(t[1]))
    zone[np.isnan(fom)] = np.nan
    done = 0
    if correct:
        centre = passage_centres(obs, Passages.within(obs), "maximum")
        while done < cycles:
            done += 1
            axis = plane_axis(zone)
            points = corrected_points(obs, centre, axis * rotation_sense(zone, axis, obs.angle_deg))
            before = zone
            zone, fom = fit_centres(obs.start, points, weight, np.nan_to_num(zone), obs.radius, np.inf, _TURNS)
            zone[np.isnan(fom)] = np.nan
            if np.nanmax(np.abs(zone - before)) < 1e-7:
                break
    axis = plane_axis(zone)
    return SphereFit(zone, fom, axis * rotation_sense(zone, axis, obs.angle_deg), done)


def _annealed(obs: Observations, frame: int, weight: np.ndarray, seed: int) -> np.ndarray:
    """The direction of least eq. 13 by simulated annealing over the two angles of eq. 17."""
    rows = slice(obs.start[frame], obs.start[frame + 1])
    points, w = obs.points[rows], weight[rows]

    def cost(angles: np.ndarray) -> float:
        return float(centre_cost(points, w, direction(angles)[None], obs.radius, 1e9)[0])

    def direction(angles: np.ndarray) -> np.ndarray:
        alpha, beta = angles
        return np.array([np.sin(alpha) * np.sin(beta), np.sin(alpha) * np.cos(beta), np.cos(alpha)])

    found = dual_annealing(cost, [(0, np.pi), (0, 2 * np.pi)], maxiter=200, seed=seed)  # pyright: ignore[reportCallIssue]
    return direction(found.x)


def plane_axis(zone: np.ndarray) -> np.ndarray:
    """The normal (3,) of the plane fitted to the zone axes (f, 3), about their mean as the thesis does."""
    known = zone[np.isfinite(zone[:, 0])]
    return np.linalg.svd(known - known.mean(axis=0), full_matrices=False)[2][2]


def rotation_sense(zone: np.ndarray, axis: np.ndarray, angle_deg: np.ndarray) -> float:
    """+1 where the zone axes turn right-handed about ``axis`` as the nominal angle rises, else −1."""
    known = np.flatnonzero(np.isfinite(zone[:, 0]))
    a, b = zone[known[:-1]], zone[known[1:]]
    turn = np.cross(a, b) @ axis * np.sign(np.diff(angle_deg[known]))
    return 1.0 if turn.sum() >= 0 else -1.0


def passage_centres(obs: Observations, passages: Passages, by: str) -> np.ndarray:
    """The nominal angle [deg] (n,) at which each row's reflection is in Bragg position.

    ``by`` "maximum": of the strongest frame, as the thesis has it; "centroid": the intensity's centre of gravity.
    """
    rows, start = passages.order, passages.start
    angle, value = obs.angle_deg[obs.frame[rows]], obs.intensity[rows]
    if by == "maximum":
        # the last of a stable sort by (passage, intensity) is the strongest
        which = np.repeat(np.arange(len(passages)), np.diff(start))
        order = np.lexsort((value, which))
        best = angle[order[start[1:] - 1]]
    else:
        v = np.maximum(value, 0) + 1e-30
        best = np.add.reduceat(v * angle, start[:-1]) / np.add.reduceat(v, start[:-1])
    return best[passages.of]


def corrected_points(obs: Observations, centre_deg: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """P_corr (n, 3) of eq. 15: each point turned about ``axis`` by the nominal angle since its Bragg position."""
    turn = np.radians(obs.angle_deg[obs.frame] - centre_deg)
    return np.einsum("nij,nj->ni", rotation_matrix(axis, turn), obs.points)
