"""Cuts of reciprocal space, hk0, h0l and 0kl, looked up in the frames: each point of a plane lies on one or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from credo.kernels.rotation import rotation_matrix
from credo.model import Experiment, Frames
from credo.physics.ewald import allowed_by_centring, crossing_angles, frame_of_angle
from credo.pipeline.page.image import as_grey
from credo.pipeline.page.markup import figure, section
from credo.pipeline.page.pattern import Layer, circles, plate
from credo.pipeline.page.reciprocal import fractional_indices, misset_at, spot_vectors

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["cut", "cuts_section", "flattened", "plane_basis", "sections"]

#: Name of each plane, and which reciprocal axes span it.
_PLANES = (("hk0", 0, 1), ("h0l", 0, 2), ("0kl", 1, 2))
_PIXELS = 420


def cuts_section(found: Processed) -> str:
    """Three images, or, without frames, the spots near the planes."""
    experiment = found.experiment
    if not experiment.crystals:
        return ""
    reach = _reach(found)
    images = sections(experiment, found.frames, reach) if found.frames is not None else [None] * 3
    pictures = "".join(_picture(found, name, (i, j), image, reach) for (name, i, j), image in zip(_PLANES, images))
    how = "Spots within 0.15 of each plane. "
    if found.frames is not None:
        how = "Looked up in the frames, less the median of each ring; unmeasured parts are shaded. "
    note = how + "Rows of nodes that stay empty tell of centring, screw axes and glide planes."
    return section("cuts", "Cuts of reciprocal space", f'<div class="three">{pictures}</div>', note=note)


def _reach(found: Processed) -> float:
    """|q| [Å⁻¹] to the resolution limit, or the outer spots, but not beyond the image's nearest border by much."""
    det = found.experiment.detector
    whole = 0.55 * max(det.shape) * det.q_per_pixel
    limit = found.report.numbers.get("resolution")
    if limit:
        return min(1.1 / limit, whole)
    length = np.linalg.norm(spot_vectors(found.experiment, found.spots), axis=1)
    return min(1.1 * float(np.quantile(length, 0.98)), whole) if len(length) else whole


def plane_basis(ub: np.ndarray, i: int, j: int) -> np.ndarray:
    """Two orthonormal vectors as rows (2, 3) in the plane of reciprocal axes i and j: along i, and towards j."""
    e1 = ub[:, i] / np.linalg.norm(ub[:, i])
    rest = ub[:, j] - e1 * (e1 @ ub[:, j])
    return np.stack([e1, rest / np.linalg.norm(rest)])


def _points(experiment: Experiment, i: int, j: int, reach: float) -> np.ndarray:
    """q (n, 3) [Å⁻¹] at φ = 0 of the pixels of a cut, row by row; the second axis points up."""
    u = (np.arange(_PIXELS) + 0.5) / _PIXELS * 2 * reach - reach
    e1, e2 = plane_basis(experiment.crystal.UB, i, j)
    return (u[None, :, None] * e1 - u[:, None, None] * e2).reshape(-1, 3)


def sections(experiment: Experiment, frames: Frames, reach: float) -> list[np.ndarray]:
    """The three cuts (pixels, pixels), NaN where nothing was measured, in one pass over the frames."""
    inside = _radius().ravel() < 1
    q = np.concatenate([_points(experiment, i, j, reach)[inside] for _, i, j in _PLANES])
    out = []
    for part in np.split(cut(experiment, frames, q), len(_PLANES)):
        image = np.full(_PIXELS * _PIXELS, np.nan)
        image[inside] = part
        out.append(flattened(image.reshape(_PIXELS, _PIXELS)))
    return out


def _radius() -> np.ndarray:
    """Distance of each pixel from the middle (pixels, pixels), 1 at the border."""
    u = (np.arange(_PIXELS) + 0.5) / _PIXELS * 2 - 1
    return np.hypot(u[:, None], u[None, :])


def cut(experiment: Experiment, frames: Frames, q: np.ndarray) -> np.ndarray:
    """Counts (n,) at points q (n, 3) [Å⁻¹] at φ = 0: the mean over their crossings of the Ewald sphere; NaN for none.

    A point crosses at two angles at most, which say on which frame and at which pixel it lies. The frame's two
    neighbours are averaged in, over which rocking curves reach anyhow.
    """
    point, frame, row, col = _lookup(experiment, q)
    n = len(frames)
    order = np.argsort(frame, kind="stable")
    point, row, col = point[order], row[order], col[order]
    edges = np.searchsorted(frame[order], np.arange(n + 1))
    total, seen = np.zeros(len(point)), np.zeros(len(point))
    for f in range(n):
        mine = slice(edges[max(f - 1, 0)], edges[min(f + 2, n)])
        if mine.stop > mine.start:
            total[mine] += np.asarray(frames[f])[row[mine], col[mine]]
            seen[mine] += 1
    with np.errstate(invalid="ignore"):
        return np.bincount(point, total, len(q)) / np.bincount(point, seen, len(q))


def _lookup(experiment: Experiment, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where points are recorded: index of the point, frame (list index), row and column of the pixel."""
    det, scan, wavelength = experiment.detector, experiment.scan, experiment.beam.wavelength
    axis = experiment.goniometer.axis
    ends = np.concatenate([scan.start_deg, scan.end_deg])
    low, high = float(ends.min()), float(ends.max())
    found = []
    for phi in crossing_angles(q, axis, wavelength):
        deg = low + (np.degrees(phi) - low) % 360.0
        point = np.flatnonzero(deg <= high)
        deg = deg[point]
        at = frame_of_angle(scan, deg)
        f = np.minimum(at.astype(int), len(scan) - 1)
        # a point inside a gap was not recorded
        real = np.abs(deg - scan.mid_deg[f]) <= 0.51 * np.abs(scan.width_deg[f])
        point, deg, at, f = point[real], deg[real], at[real], f[real]
        lab = np.einsum("nij,nj->ni", rotation_matrix(axis, np.radians(deg)), q[point])
        lab = lab + np.cross(misset_at(experiment, f), lab)
        xy = np.floor(det.pixels(lab, wavelength, scan.shift_at(at))).astype(int)
        on = (xy[:, 0] >= 0) & (xy[:, 0] < det.shape[1]) & (xy[:, 1] >= 0) & (xy[:, 1] < det.shape[0])
        found.append((point[on], f[on], xy[on, 1], xy[on, 0]))
    return tuple(np.concatenate(c) for c in zip(*found))  # type: ignore[return-value]


def flattened(image: np.ndarray, rings: int = 100) -> np.ndarray:
    """Less the median of each ring, so that the beam's glow does not hide the spots."""
    good = np.flatnonzero(np.isfinite(image))
    out = image.ravel().copy()
    ring = np.minimum((_radius().ravel()[good] * rings).astype(int), rings)
    order = np.lexsort((out[good], ring))
    count = np.bincount(ring, minlength=rings + 1)
    middle = np.cumsum(count) - count + count // 2
    median = out[good][order[np.minimum(middle, len(good) - 1)]] if len(good) else np.zeros(rings + 1)
    out[good] -= median[ring]
    return out.reshape(image.shape)


def _picture(found: Processed, name: str, axes: tuple[int, int], image: np.ndarray | None, reach: float) -> str:
    experiment = found.experiment
    i, j = axes
    basis = plane_basis(experiment.crystal.UB, i, j)
    grey, measured = None, ""
    if image is not None:
        values = image[np.isfinite(image)]
        high = float(np.quantile(values, 0.998)) if len(values) else 1.0
        noise = 1.4826 * float(np.median(np.abs(values))) if len(values) else 0.0
        grey = as_grey(image, noise, max(high, 3 * noise, 1e-6), 32)
        measured = f"{100 * np.isfinite(image).mean() * 4 / np.pi:.0f} % of the circle was measured."
    layers: list[Layer] = [
        ("nodes", "nodes", _nodes(experiment, axes, basis, reach), False),
        ("spots", "indexed spots", _spots(found, axes, basis, reach), image is None),
        ("axes", "axes", _arrows(experiment, axes, basis, reach), True),
    ]
    picture = plate(grey, (_PIXELS, _PIXELS), layers, f"Cut {name}", f"Reciprocal space in the plane {name}.")
    return figure(f"cut-{name}", picture, f"<b>{name}</b>, to {1 / reach:.2f} Å at the border. {measured}")


def _at(q: np.ndarray, basis: np.ndarray, reach: float) -> np.ndarray:
    """q (n, 3) to the picture (n, 2) [px]."""
    uv = q @ basis.T / reach
    return 0.5 * _PIXELS * (1 + uv * np.array([1.0, -1.0]))


def _nodes(experiment: Experiment, axes: tuple[int, int], basis: np.ndarray, reach: float) -> str:
    """Circles at the nodes of the lattice that the centring allows, unless they are too many to see."""
    crystal = experiment.crystal
    most = (np.linalg.norm(np.linalg.inv(crystal.UB), axis=1) * reach).astype(int)
    h = np.zeros(((2 * most[axes[0]] + 1) * (2 * most[axes[1]] + 1), 3), dtype=int)
    grid = np.meshgrid(*(np.arange(-most[k], most[k] + 1) for k in axes))
    h[:, axes[0]], h[:, axes[1]] = grid[0].ravel(), grid[1].ravel()
    q = h @ crystal.UB.T
    keep = allowed_by_centring(h, crystal.centring) & (np.linalg.norm(q, axis=1) < reach) & h.any(axis=1)
    if not 0 < keep.sum() <= 4000:
        return ""
    at = _at(q[keep], basis, reach)
    return circles(at[:, 0], at[:, 1], 3.5, "c1")


def _spots(found: Processed, axes: tuple[int, int], basis: np.ndarray, reach: float) -> str:
    """Observed spots of the first crystal that lie in the plane, as small circles."""
    crystal = found.experiment.crystal
    mine = found.spots.select(found.spots["lattice"] == 0)
    q = spot_vectors(found.experiment, mine)
    q = q[np.abs(fractional_indices(crystal.UB, q)[:, 3 - sum(axes)]) < 0.15]
    at = _at(q[np.linalg.norm(q, axis=1) < reach], basis, reach)
    return circles(at[:, 0], at[:, 1], 2.0, "c3")


def _arrows(experiment: Experiment, axes: tuple[int, int], basis: np.ndarray, reach: float) -> str:
    """The reciprocal axes from the origin, named."""
    out = []
    for k in axes:
        q = experiment.crystal.UB[:, k]
        tip = _at((q / np.linalg.norm(q) * 0.9 * reach)[None], basis, reach)[0]
        half = 0.5 * _PIXELS
        out.append(f'<path class="mark c4" d="M{half:.1f} {half:.1f}L{tip[0]:.1f} {tip[1]:.1f}"/>')
        at = f'x="{tip[0] + 4:.1f}" y="{tip[1] - 4:.1f}" style="font-size:15px"'
        out.append(f'<text class="on-plate" {at}>{"abc"[k]}*</text>')
    return "".join(out)
