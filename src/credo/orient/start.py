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
from credo.orient.path import along_path, from_path, path_of, rotation_axis
from credo.orient.thesis import corrected_points, passage_centres, rotation_sense

__all__ = ["Start", "start_directions", "with_centroids"]

_GRID, _TURNS = 20_000, 12
#: Gaps beyond these are clipped: during the search, and least afterwards [Å⁻¹].
_WIDE, _NARROW = 0.03, 0.004
#: Share of its maximum that a passage may have left at an end of the series.
_EDGE = 0.2
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
    zone, more = _on_the_path(zone, obs.angle_deg, _mostly_cut(obs))
    axis = rotation_axis(zone)
    ratio = float(min(opposite) / max(best, 1e-30)) if opposite else float("inf")
    return Start(zone, axis * rotation_sense(zone, axis, obs.angle_deg), ratio, strays | more)


def _best_frames(obs: Observations) -> list[int]:
    """Frames whose points spread widest in two directions: those that fix a direction best."""
    products = np.einsum("ni,nj->nij", obs.points, obs.points).reshape(-1, 9)
    sums = np.stack([np.bincount(obs.frame, x, obs.n_frames) for x in products.T], axis=1).reshape(-1, 3, 3)
    count = np.bincount(obs.frame, minlength=obs.n_frames)
    second = np.where(count >= 4, np.linalg.eigvalsh(sums)[:, 1], 0.0)
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
    """Directions from positions corrected by the nominal rotation since each passage's centre of gravity.

    Passages that an end of the series cuts have their centre elsewhere and are left out.
    """
    passages = Passages.within(obs)
    centre = passage_centres(obs, passages, "centroid")
    weight = np.linalg.norm(obs.points, axis=1) * ~_cut(obs, passages)
    for _ in range(4):
        axis = rotation_axis(zone)
        points = corrected_points(obs, centre, axis * rotation_sense(zone, axis, obs.angle_deg))
        gap = np.linalg.norm(points - obs.radius * zone[obs.frame], axis=1) - obs.radius
        clip = max(5 * float(np.median(np.abs(gap))), _NARROW / 4)
        fitted, fom = fit_centres(obs.start, points, weight, zone, obs.radius, clip, _TURNS)
        zone = np.where(np.isnan(fom)[:, None], zone, fitted)
    return zone


def _cut(obs: Observations, passages: Passages) -> np.ndarray:
    """(n,) bool: rows of passages that are still strong on the first or last frame."""
    top = np.maximum.reduceat(obs.intensity[passages.order], passages.start[:-1])
    edge = (obs.frame == 0) | (obs.frame == obs.n_frames - 1)
    strong = edge & (obs.intensity > _EDGE * top[passages.of])
    cut = np.zeros(len(passages), dtype=bool)
    cut[passages.of[strong]] = True
    return cut[passages.of]


def _mostly_cut(obs: Observations) -> np.ndarray:
    """(f,) bool: frames near the ends where most passages are cut."""
    cut = np.bincount(obs.frame, _cut(obs, Passages.within(obs)), obs.n_frames)
    return cut > 0.5 * np.bincount(obs.frame, minlength=obs.n_frames)


def _on_the_path(
    zone: np.ndarray, angle_deg: np.ndarray, weak: np.ndarray | None = None, least_deg: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Frames far from where their neighbours and the nominal angles put them are moved there, and told (f,) bool;
    ``weak`` frames (f,) are moved too.

    The path is allowed to be no plane and the angles to be wrong by a smooth amount: only medians of neighbours count.
    """
    path = path_of(zone, angle_deg)
    along, height = along_path(path)
    weak = np.zeros(len(zone), dtype=bool) if weak is None or weak.all() else weak
    there = tuple(_median_of_neighbours(np.where(weak, np.nan, x)) for x in (along, height))
    off = np.hypot(along - there[0], height - there[1])
    limit = max(least_deg, 8 * 1.4826 * float(np.nanmedian(off)))
    stray = ~(off < limit)
    move = (stray | weak) & np.isfinite(there[0])
    return np.where(move[:, None], from_path(path, *there), zone), stray & ~weak


def _median_of_neighbours(x: np.ndarray, half: int = 10) -> np.ndarray:
    """Of those known within ``half`` frames on either side; NaN where none is."""
    padded = np.pad(x, half, constant_values=np.nan)
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    known = np.isfinite(windows).sum(axis=1)
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    rows = np.arange(len(x))
    return np.where(known > 0, 0.5 * (windows[rows, low] + windows[rows, np.minimum(high, 2 * half)]), np.nan)
