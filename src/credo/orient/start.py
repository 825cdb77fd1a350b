"""Where to begin without being told: a grid of directions on the best frames, both hemispheres, the whole series.

A single frame often cannot tell a direction from its opposite, or shows one row only; the series can. Points far from
the sphere (wrong indices, another crystal) are clipped throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.sphere import centre_cost, fit_centres, follow_centres
from credo.model import CannotDo
from credo.orient.observations import Observations, Passages
from credo.orient.path import along_path, from_path, path_of
from credo.orient.thesis import corrected_points, passage_centres, plane_axis, rotation_sense

__all__ = ["Start", "start_directions", "with_centroids"]

_GRID, _TURNS = 20_000, 12
#: Gaps beyond these are clipped: during the search, and least afterwards [Å⁻¹].
_WIDE, _NARROW = 0.03, 0.004
#: Frames from which the search may set out.
_ANCHORS = 3


@dataclass(frozen=True, eq=False)
class Start:
    """``zone`` (f, 3); ``axis`` (3,) in crystal axes, right-handed with rising angles; ``hemisphere``: how many
    times worse the opposite directions fit, 1 where nothing tells them apart; ``strays`` (f,): frames that were put
    back on the path."""

    zone: np.ndarray
    axis: np.ndarray
    hemisphere: float
    strays: np.ndarray


def start_directions(obs: Observations) -> Start:
    """Directions of all frames, good to about a tenth of a degree."""
    weight = np.linalg.norm(obs.points, axis=1)
    tries = []
    for frame in _best_frames(obs):
        for anchor in _candidates(obs, frame):
            for u in (anchor, -anchor):
                zone, _ = follow_centres(obs.start, obs.points, weight, frame, u, obs.radius, _WIDE, _TURNS)
                tries.append((_misfit(obs, zone), zone))
    tries.sort(key=lambda t: t[0])
    best, zone = tries[0]
    opposite = [m for m, z in tries if np.nanmedian(np.einsum("fi,fi->f", z, zone)) < 0]
    zone, strays = _on_the_path(zone, obs.angle_deg)
    zone = with_centroids(obs, zone)
    zone, more = _on_the_path(zone, obs.angle_deg)
    axis = plane_axis(zone)
    ratio = float(min(opposite) / max(best, 1e-30)) if opposite else float("inf")
    return Start(zone, axis * rotation_sense(zone, axis, obs.angle_deg), ratio, strays | more)


def _best_frames(obs: Observations) -> list[int]:
    """Frames whose points spread widest in two directions: those that fix a direction best."""
    second = np.zeros(obs.n_frames)
    for j in range(obs.n_frames):
        p = obs.points[obs.start[j] : obs.start[j + 1]]
        if len(p) >= 4:
            second[j] = np.linalg.eigvalsh(p.T @ p)[1]
    order = np.argsort(-second, kind="stable")
    order = order[second[order] > 0]
    if not len(order):
        raise CannotDo("no frame shows four reflections", "give finer data, or reflections to higher resolution")
    chosen: list[int] = []
    for j in order:
        if all(abs(j - k) > obs.n_frames // 20 for k in chosen):
            chosen.append(int(j))
        if len(chosen) == _ANCHORS:
            break
    return chosen


def _candidates(obs: Observations, frame: int) -> np.ndarray:
    """The two best directions (2, 3) of a frame from an even grid over one hemisphere, refined."""
    rows = slice(obs.start[frame], obs.start[frame + 1])
    points = obs.points[rows]
    weight = np.linalg.norm(points, axis=1)
    grid = _fibonacci(_GRID)
    cost = centre_cost(points, weight, grid, obs.radius, _WIDE)
    first = np.argsort(cost, kind="stable")[:40]
    start = np.arange(0, (len(first) + 1) * len(points), len(points))
    many = np.tile(points, (len(first), 1))
    fitted, _ = fit_centres(start, many, np.tile(weight, len(first)), grid[first], obs.radius, _WIDE, _TURNS)
    score = centre_cost(points, weight, fitted, obs.radius, _WIDE)
    order = np.argsort(score, kind="stable")
    best = fitted[order[0]]
    apart = [k for k in order if abs(fitted[k] @ best) < np.cos(np.radians(1.0))]
    return np.stack([best, fitted[apart[0]]]) if apart else best[None]


def _fibonacci(n: int) -> np.ndarray:
    """Nearly even directions (n, 3) over the whole sphere."""
    i = np.arange(n) + 0.5
    z = 1 - 2 * i / n
    angle = np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z**2)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


def _misfit(obs: Observations, zone: np.ndarray) -> float:
    """Mean clipped squared gap of every row to its frame's sphere."""
    gap = np.linalg.norm(obs.points - obs.radius * zone[obs.frame], axis=1) - obs.radius
    return float(np.mean(np.minimum(gap**2, _WIDE**2)))


def with_centroids(obs: Observations, zone: np.ndarray) -> np.ndarray:
    """Directions from positions corrected by the nominal rotation since each passage's centre of gravity."""
    centre = passage_centres(obs, Passages.within(obs), "centroid")
    weight = np.linalg.norm(obs.points, axis=1)
    for _ in range(4):
        axis = plane_axis(zone)
        points = corrected_points(obs, centre, axis * rotation_sense(zone, axis, obs.angle_deg))
        gap = np.linalg.norm(points - obs.radius * zone[obs.frame], axis=1) - obs.radius
        clip = max(5 * float(np.median(np.abs(gap))), _NARROW / 4)
        fitted, fom = fit_centres(obs.start, points, weight, zone, obs.radius, clip, _TURNS)
        zone = np.where(np.isnan(fom)[:, None], zone, fitted)
    return zone


def _on_the_path(zone: np.ndarray, angle_deg: np.ndarray, least_deg: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Frames far from where their neighbours and the nominal angles put them are moved there, and told (f,) bool.

    The path is allowed to be no plane and the angles to be wrong by a smooth amount: only medians of neighbours count.
    """
    path = path_of(zone, angle_deg)
    along, height = along_path(path)
    there = (_median_of_neighbours(along), _median_of_neighbours(height))
    off = np.hypot(along - there[0], height - there[1])
    limit = max(least_deg, 8 * 1.4826 * float(np.median(off)))
    stray = ~(off < limit)
    return np.where(stray[:, None], from_path(path, *there), zone), stray


def _median_of_neighbours(x: np.ndarray, half: int = 10) -> np.ndarray:
    return np.array([np.nanmedian(x[max(0, i - half) : i + half + 1]) for i in range(len(x))])
