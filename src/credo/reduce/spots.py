"""Spots in three dimensions: pixels that stand out of their own background in time, joined over adjacent frames."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.kernels.images import block_ratio, gather, hills, spread, stand_out
from credo.model import CannotDo, Experiment, Frames, Reflections, Report
from credo.reduce.background import Background, mean_background
from credo.reduce.beam import beam_radius

__all__ = ["Marker", "SpotSettings", "find_spots"]


class SpotSettings(BaseModel):
    """What counts as a spot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_z: float = Field(default=3.5, gt=0, description="significance at which a 3×3 box joins a spot [σ]")
    spot_z: float = Field(default=7.0, gt=0, description="significance that a whole spot must reach [σ]")
    min_pixels: int = Field(default=3, ge=1, description="fewest pixels that stand out")
    max_frames: float = Field(default=15.0, gt=0, description="spots lasting longer are not Bragg spots [deg]")
    beam_radius_px: float | None = Field(
        default=None, ge=0, description="nothing nearer to the direct beam (None: found) [px]"
    )
    block_px: int = Field(
        default=24, ge=4, description="size of the blocks in which the background is scaled per frame [px]"
    )


def find_spots(
    experiment: Experiment,
    frames: Frames,
    bad: np.ndarray,
    settings: SpotSettings | None = None,
    background: Background | None = None,
) -> tuple[Experiment, Reflections, Report]:
    """Every spot with its centroid, variances and intensity; see ``model.reflections.COLUMNS`` for the columns.

    The background of a pixel is its spot-free mean in time, scaled frame by frame in blocks, so it follows any shape
    at 1 count/px as at hundreds. Significance is on Anscombe's scale, where Poisson counts are nearly normal: of
    10⁸ boxes none passes 7 σ by chance. Spots are never joined over missing frames.
    """
    settings = settings or SpotSettings()
    background = background or mean_background(frames)
    origin = np.array(experiment.detector.origin)
    radius = settings.beam_radius_px
    if radius is None:
        radius = beam_radius(background.raw_mean, origin)
    spots = _marked(experiment, frames, bad, settings, background, radius).spots(experiment)
    numbers = {"n_spots": len(spots), "beam_radius_px": radius, "gain": background.gain}
    per_frame = np.bincount(np.clip(spots["frame"].astype(int), 0, len(frames) - 1), minlength=len(frames))
    if not len(spots):
        raise CannotDo(
            f"no spots were found in {len(frames)} frames (mean {background.level:.2f} counts/px)",
            "look at the frames: is there a crystal in the beam, is the detector saturated or dark?",
        )
    return experiment, spots, Report(numbers, (), {"spots_per_frame": per_frame})


def clear_of_rim(spots: Reflections, centre: np.ndarray, radius: float) -> Reflections:
    """Without the rim of a beam that moves from frame to frame, which stands out of the mean frame.

    Rings of 1 px about ``centre`` (n, 2), the beam of each spot's frame, out to twice ``radius`` (crescents have their
    centroids within it): all up to the last that holds eight times as many spots per area as is usual beyond, and more
    than ten.
    """
    distance, reach = np.hypot(*(spots.xy - centre).T), max(int(2 * radius), 1)
    edges = np.arange(reach + 60)
    count, area = np.histogram(distance, edges)[0], np.diff(edges**2)
    usual = np.sum(count[reach:]) / np.sum(area[reach:])
    crowded = np.flatnonzero(count[:reach] > 10 + 8 * usual * area[:reach])
    return spots.select(distance > edges[crowded[-1] + 2]) if len(crowded) else spots


class Marker:
    """Pixels that stand out, frame after frame as they come, labelled so that a spot keeps its label over frames.

    ``background`` may be replaced by a better one between frames.
    """

    def __init__(
        self, bad: np.ndarray, background: Background, radius: float, settings: SpotSettings | None = None,
        frames: int = 0,
    ) -> None:  # fmt: skip
        ny, nx = bad.shape
        self.bad, self.radius, self.settings = bad, radius, settings or SpotSettings()
        block = self.settings.block_px
        self._ratio = np.empty((-(-ny // block), -(-nx // block)), dtype=np.float32)
        self._flag = np.zeros((ny, nx), dtype=np.uint8)
        size = max(20_000, ny * nx // 8)
        self._rows, self._cols, self._label = (np.empty(size, dtype=np.int32) for _ in range(3))
        self._signal, self._back = np.empty(size, dtype=np.float32), np.empty(size, dtype=np.float32)
        self._before, self._now = np.full((ny, nx), -1, dtype=np.int32), np.full((ny, nx), -1, dtype=np.int32)
        self._tops = np.empty((max(1_000_000, 3000 * frames), 2), dtype=np.int32)
        self._height = np.zeros((ny, nx), dtype=np.float32)
        self._next, self._last = 0, None
        self._kept: list[tuple[np.ndarray, ...]] = []
        self.background = background

    @property
    def background(self) -> Background:
        return self._background

    @background.setter
    def background(self, background: Background) -> None:
        low = 0.8 * background.mean
        self._background = background
        self._limit = (low + np.sqrt(background.gain * low)).astype(np.float32)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def labels(self) -> int:
        """How many hilltops there were so far: most are spots, some are noise."""
        return self._next

    def add(self, frame: np.ndarray, centre: np.ndarray, joined: bool) -> None:
        """The next frame (ny, nx) with the direct beam at ``centre`` (x, y); joined: the frame before is its
        neighbour."""
        bg, b, set_ = self._background, self.settings.block_px, self.settings
        block_ratio(frame, bg.mean, self.bad, bg.gain, b, self._ratio)
        count = stand_out(
            frame, bg.mean, self._ratio, b, self.bad, self._limit, bg.gain, bg.gain_box, set_.pixel_z,
            centre[0], centre[1], self.radius, self._flag, self._rows, self._cols, self._signal, self._back,
        )  # fmt: skip
        self._next = hills(
            self._rows, self._cols, count, self._signal, self._height, self._before, self._now, self._tops, self._label,
            self._next, joined and self._last is not None,
        )  # fmt: skip
        if self._last is not None:
            self._before[self._last[0], self._last[1]] = -1
        used = self._rows[:count].copy(), self._cols[:count].copy()
        at = np.full(count, len(self._kept), dtype=np.int32)
        self._kept.append(
            (self._label[:count].copy(), at, *used, self._signal[:count].copy(), self._back[:count].copy())
        )
        self._before, self._now, self._last = self._now, self._before, used

    def pixels(self) -> list[np.ndarray]:
        """Of all frames so far: label, frame (a count from 0), row, column, signal, background."""
        columns = [np.concatenate(c) for c in zip(*self._kept)]
        labelled = columns[0] >= 0
        return [c[labelled] for c in columns]

    def spots(self, experiment: Experiment) -> Reflections:
        """The spots of all frames so far; ``experiment`` has these frames, in this order, in its scan."""
        origin = np.array(experiment.detector.origin)
        spots = _gather(experiment, len(self._kept), self.bad, self.settings, self._background, *self.pixels())
        return clear_of_rim(spots, origin + experiment.scan.shift_at(spots["frame"]), self.radius)


def _marked(experiment, frames, bad, settings, background, radius) -> Marker:
    marker = Marker(bad, background, radius, settings, len(frames))
    shift = experiment.scan.shift_at(np.arange(len(frames)) + 0.5)
    steps = np.diff(experiment.scan.numbers, prepend=experiment.scan.numbers[0])
    for f in range(len(frames)):
        marker.add(frames[f], np.array(experiment.detector.origin) + shift[f], bool(steps[f] == 1))
    return marker


def _gather(experiment, n_frames: int, bad, settings, background, label, frame, row, col, signal, back) -> Reflections:
    """Sums over each spot's pixels."""
    scan = experiment.scan
    if not len(label):
        return Reflections(
            {k: np.empty(0) for k in ("x", "y", "phi", "frame", "var_x", "var_y", "var_phi", "peak", "intensity",
                                      "sigma", "background", "first", "last", "n_pixels", "cut", "overloaded",
                                      "lattice")}
        )  # fmt: skip
    present = np.zeros(int(label.max()) + 1, dtype=bool)
    present[label] = True
    spot = (np.cumsum(present) - 1)[label]
    n = int(present.sum())
    g = background.gain
    sums, peak = np.zeros((n, 11)), np.full(n, -np.inf)
    first, last = np.full(n, n_frames), np.full(n, -1)
    gather(spot, frame, row, col, signal, back, g, sums, first, last, peak)
    spread(spot, frame, row, col, signal, back, g, sums)
    pixels, total, flat, noise = sums[:, 0].astype(int), sums[:, 1], sums[:, 2], sums[:, 3] + 1e-9
    e = _electron_spread(background, pixels)
    noise, sums[:, 8:] = noise * e / g, sums[:, 8:] * (e / g)[:, None]
    z = 2 * (np.sqrt(np.maximum(total + flat, 0) / e + 0.375) - np.sqrt(flat / e + 0.375))
    width = np.median(np.abs(scan.width_deg))
    lasts = (last - first + 1) * width
    good = (z > settings.spot_z) & (pixels >= settings.min_pixels) & (total > 0)
    good &= (lasts <= settings.max_frames) | (last - first < 3)
    sw = np.maximum(sums[:, 4], 1e-9)
    centre = [sums[:, k] / sw for k in (5, 6, 7)]
    var = [sums[:, k] / sw**2 for k in (8, 9, 10)]
    x, y, f = centre
    phi = np.interp(f, np.arange(len(scan)) + 0.5, scan.mid_deg)
    single = (last == first) / 12.0
    edges = np.flatnonzero(np.diff(scan.numbers) > 1)
    starts, ends = np.r_[0, edges + 1], np.r_[edges, n_frames - 1]
    cut = np.isin(first, starts) | np.isin(last, ends)
    cut |= _touches(bad, spot, row, col, n)
    top = experiment.detector.saturation
    overloaded = peak + flat / np.maximum(pixels, 1) >= 0.98 * top if top else np.zeros(n, dtype=bool)
    table = Reflections(
        x=x, y=y, phi=phi, frame=f, var_x=var[0] + 0.01, var_y=var[1] + 0.01,
        var_phi=(var[2] + single + 0.005) * width**2, first=first, last=last, n_pixels=pixels, peak=peak,
        intensity=total, sigma=np.sqrt(noise), background=flat / np.maximum(pixels, 1), cut=cut,
        overloaded=overloaded, lattice=np.full(n, -1),
    )  # fmt: skip
    return table.select(good)


def _electron_spread(background: Background, pixels: np.ndarray) -> np.ndarray:
    """Variance over mean of sums over that many pixels (n,): between those of one, nine and twenty-five."""
    known = [background.gain, background.gain_box, background.gain_sum]
    return np.interp(np.sqrt(pixels), [1.0, 3.0, 5.0], known)


def _touches(bad: np.ndarray, spot: np.ndarray, row: np.ndarray, col: np.ndarray, n: int) -> np.ndarray:
    """Which spots have a bad pixel for neighbour."""
    from scipy.ndimage import binary_dilation

    return np.bincount(spot, binary_dilation(bad)[row, col], n) > 0
