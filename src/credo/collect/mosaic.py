"""One map of the grid from overlapping low-magnification images, placed by the stage and by what they have in common.

Stage and image are tied by a matrix K [px per µm]: a point g of the grid is at c + K (g − s) in an image whose middle
is c when the stage stands at s. Neighbours show the same film: from their shifts follow, by least squares, K and where
each tile really was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credo.collect.calibration.register import register
from credo.collect.seams import bridged, seams
from credo.io import nxmx, tiff
from credo.io.atomic import atomic_write
from credo.io.nxmx_stream import read_columns
from credo.io.png import png
from credo.io.project import write_json
from credo.kernels.untyped import ndimage
from credo.model.errors import CannotDo

__all__ = ["Mosaic", "lit", "stitch", "write_mosaic"]

#: Smallest overlap that is compared [px, pixels]; how far from where K puts them neighbours are looked for [px].
_OVERLAP, _SHARED, _REACH = 40, 5000, 20.0
#: Weight of a tile's read-out against a pair's shift; of a bridged pixel against a measured one.
_HELD, _BRIDGE = 0.05, 1e-3
#: Pixels of the map at most along an edge.
_LARGEST = 6000


@dataclass(frozen=True)
class Mosaic:
    """``image`` (ny, nx), rows along stage y, columns along stage x, NaN where nothing was seen; ``pixel_um``;
    ``corner`` (x, y) [µm] of the first pixel's outer corner; ``matrix`` K (2, 2) [px/µm]; ``residual_px``: rms by
    which the shifts of ``pairs`` of neighbours contradict each other (NaN for no pair)."""

    image: np.ndarray
    pixel_um: float
    corner: tuple[float, float]
    matrix: np.ndarray
    residual_px: float
    pairs: int


def lit(image: np.ndarray) -> np.ndarray:
    """Mask of what the beam lights: a disc about the bright part, as wide as its farthest bright pixels."""
    smooth = ndimage.uniform_filter(image.astype(np.float32), 5)
    y, x = np.nonzero(smooth > 0.25 * np.percentile(smooth, 99))
    if not len(x):
        return np.zeros(image.shape, dtype=bool)
    cy, cx = 0.5 * (y.min() + y.max()), 0.5 * (x.min() + x.max())
    radius = 0.95 * float(np.percentile(np.hypot(y - cy, x - cx), 99))
    yy, xx = np.ogrid[: image.shape[0], : image.shape[1]]
    return (yy - cy) ** 2 + (xx - cx) ** 2 <= radius**2


def stitch(images: np.ndarray, stage_um: np.ndarray, first: np.ndarray) -> Mosaic:
    """``images`` (n, ny, nx) at stage positions ``stage_um`` (n, 2); ``first``: K to begin with, to about 5 %."""
    if not len(images):
        raise CannotDo("no images to stitch", "see why the atlas ended")
    flat, stage = [_flat(image) for image in images], np.asarray(stage_um, dtype=float)
    measured = seams(images[0].shape)
    matrix, pairs = _matrix([np.where(measured, one, np.nan) for one in flat], stage, np.asarray(first, dtype=float))
    places, residual = _places(stage, matrix, pairs)
    image, pixel, corner = _drawn(flat, measured, places, matrix)
    return Mosaic(image, pixel, corner, matrix, residual, len(pairs))


def _flat(image: np.ndarray) -> np.ndarray:
    """Brightness over that of the beam there, the camera's seams bridged, NaN outside the beam."""
    data = bridged(image)
    mask = lit(data)
    if mask.sum() < 100:
        return np.full(image.shape, np.nan, dtype=np.float32)
    top = float(np.percentile(data[mask], 95))
    return np.where(mask, data / max(top, 1e-6), np.nan).astype(np.float32)


Pairs = list[tuple[int, int, np.ndarray]]


def _matrix(flat: list[np.ndarray], stage: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, Pairs]:
    """K by least squares over neighbours, and (i, j, K (s_i − s_j) as seen) of each pair that agrees with it; twice,
    since a better K gives better overlaps."""
    matrix, kept = first, []
    for _ in range(2):
        pairs: Pairs = []
        for i in range(len(flat)):
            for j in range(i):
                moved = _common(flat[j], flat[i], -matrix @ (stage[i] - stage[j]))
                if moved is not None:
                    pairs.append((i, j, -moved))
        rows = np.array([stage[i] - stage[j] for i, j, _ in pairs])
        if len(pairs) < 2 or np.linalg.matrix_rank(rows, tol=1.0) < 2:
            return matrix, pairs
        seen, good = np.array([d for _, _, d in pairs]), np.ones(len(pairs), dtype=bool)
        for _ in range(3):
            matrix = np.linalg.lstsq(rows[good], seen[good], rcond=None)[0].T
            off = np.linalg.norm(seen - rows @ matrix.T, axis=1)
            good = off < max(4 * 1.4826 * float(np.median(off)), 1.0)
        kept = [pair for pair, fine in zip(pairs, good, strict=True) if fine]
    return matrix, kept


def _places(stage: np.ndarray, matrix: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, float]:
    """Stage positions (n, 2) that the pairs want, since a stage creeps and errs after each move by tenths of a µm, and
    the rms [px] by which pairs then contradict each other; the read-outs hold what no pair ties, weakly."""
    if not pairs:
        return stage, float("nan")
    n, m = len(stage), len(pairs)
    a, b = np.zeros((m + n, n)), np.zeros((m + n, 2))
    for k, (i, j, seen) in enumerate(pairs):
        a[k, i], a[k, j], b[k] = 1.0, -1.0, np.linalg.solve(matrix, seen)
    a[m:], b[m:] = _HELD * np.eye(n), _HELD * stage
    places = np.linalg.lstsq(a, b, rcond=None)[0]
    off = (b[:m] - a[:m] @ places) @ matrix.T
    return places, float(np.sqrt(np.mean(np.sum(off**2, axis=1))))


def _common(a: np.ndarray, b: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """Where in ``b`` the features of ``a`` are, as a shift (x, y) [px], near the expected one; None if unclear."""
    dx, dy = (int(v) for v in np.rint(expected))
    ny, nx = a.shape
    y0, y1, x0, x1 = max(0, -dy), min(ny, ny - dy), max(0, -dx), min(nx, nx - dx)
    if y1 - y0 < _OVERLAP or x1 - x0 < _OVERLAP:
        return None
    one, other = a[y0:y1, x0:x1], b[y0 + dy : y1 + dy, x0 + dx : x1 + dx]
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < _SHARED or both.mean() < 0.1:
        return None
    level = float(np.median(one[both]))
    one, other = np.where(both, one, level), np.where(both, other, level)
    try:
        moved = register(one, other, (0.0, 0.0), _REACH, both)
    except CannotDo:
        return None
    return np.array([dx + moved.x, dy + moved.y])


def _drawn(flat: list[np.ndarray], measured: np.ndarray, stage: np.ndarray, matrix: np.ndarray):
    """The map: every image turned into stage axes, averaged where several show the same; where none was ``measured``
    (ny, nx), what bridges the seams."""
    size = np.array(flat[0].shape[::-1])
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size]) - size / 2
    reach = np.abs(corners @ np.linalg.inv(matrix).T).max(axis=0)
    low, high = np.min(stage, axis=0) - reach, np.max(stage, axis=0) + reach
    pixel = max(float(1 / np.sqrt(abs(np.linalg.det(matrix)))), float((high - low).max()) / _LARGEST)
    nx, ny = (int(np.ceil(v)) for v in (high - low) / pixel)
    total, weight = np.zeros((ny, nx), dtype=np.float32), np.zeros((ny, nx), dtype=np.float32)
    swap = matrix[::-1, ::-1] * pixel
    for image, place in zip(flat, stage, strict=True):
        first = np.maximum(((place - reach - low) / pixel).astype(int), 0)
        last = np.minimum(((place + reach - low) / pixel).astype(int) + 1, (nx, ny))
        here = (slice(first[1], last[1]), slice(first[0], last[0]))
        shape = (int(last[1] - first[1]), int(last[0] - first[0]))
        # map pixel (row, column) -> image pixel: c + K (low + pixel (j + ½) − s) − ½
        origin = size / 2 + matrix @ (low + pixel * (first + 0.5) - place) - 0.5
        seen = ndimage.affine_transform(np.nan_to_num(image), swap, origin[::-1], shape, order=1, cval=0.0)
        known, sure = (
            ndimage.affine_transform(mask.astype(np.float32), swap, origin[::-1], shape, order=1) > 0.99
            for mask in (np.isfinite(image), np.isfinite(image) & measured)
        )
        share = np.where(sure, 1.0, np.where(known, _BRIDGE, 0.0)).astype(np.float32)
        total[here] += share * seen
        weight[here] += share
    with np.errstate(invalid="ignore", divide="ignore"):
        image = np.where(weight > 0, total / weight, np.nan)
    rows, columns = (np.flatnonzero((weight > 0).any(axis=k)) for k in (1, 0))
    if not len(rows):
        raise CannotDo("the images are dark", "is the beam on, and wide enough at this magnification?")
    cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = low + pixel * np.array([columns[0], rows[0]])
    return cut.astype(np.float32), pixel, (float(corner[0]), float(corner[1]))


def write_mosaic(grid: Path, first: np.ndarray) -> dict:
    """Stitch all tiles below ``grid``; writes atlas.tiff, atlas.png and atlas.json there and returns its facts."""
    images, stage = [], []
    for path in sorted(grid.glob("tiles*/frames.h5")):
        columns, file = read_columns(path), nxmx.read(path)
        images += [file.read(i) for i in range(file.shape[0])]
        stage += list(zip(columns["x"], columns["y"]))
    mosaic = stitch(np.array(images), np.array(stage), first)
    facts = {
        "tiles": len(images), "pixel_um": mosaic.pixel_um, "shape": list(mosaic.image.shape),
        "corner_um": list(mosaic.corner), "px_per_um": mosaic.matrix.tolist(), "residual_px": mosaic.residual_px,
        "pairs": mosaic.pairs,
    }  # fmt: skip
    tiff.write(grid / "atlas.tiff", mosaic.image)
    shown = np.clip(np.nan_to_num(mosaic.image) * 200, 0, 255).astype(np.uint8)
    with atomic_write(grid / "atlas.png") as stream:
        stream.write(png(shown))
    write_json(grid / "atlas.json", facts)
    return facts
