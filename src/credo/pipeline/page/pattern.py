"""The mean pattern and some single frames, with predicted and observed spots, resolution rings and the axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from credo.model import Experiment, Reflections
from credo.pipeline.page.image import as_grey, data_uri, shrunk
from credo.pipeline.page.lattice3d import lattice_figure
from credo.pipeline.page.markup import esc, figure, section
from credo.pipeline.page.numbers import counted, fixed
from credo.reduce.partials import rocking_sigma_deg

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["Layer", "circles", "crosses", "pattern_section", "plate", "rings"]

#: (key, words on its button, markup, shown at first)
Layer = tuple[str, str, str, bool]

_ROUND_D = 50, 20, 10, 7, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1, 0.8, 0.7, 0.6, 0.5, 0.4


def pattern_section(found: Processed) -> str:
    """The mean of all frames beside the reciprocal lattice, then some single frames."""
    space = lattice_figure(found)
    mean = found.stages["mask"].figures.get("mean_image") if "mask" in found.stages else None
    if mean is None or found.frames is None:
        return section("pattern", "Reciprocal lattice", f'<div class="pair">{space}</div>' if space else "")
    note = "Drag to move, Ctrl + wheel or + and − to zoom."
    if found.experiment.crystals:
        note = (
            "Circles are predicted from the refined geometry, not from the spots: where they lie round the observed "
            "spots, cell, axis, hand, beam and distortions are right together. "
        ) + note
    singles = "".join(_frame_figure(found, f) for f in _chosen_frames(found))
    return section(
        "pattern", "Diffraction pattern and reciprocal lattice",
        f'<div class="pair">{_mean_figure(found, mean)}{space}</div>', f'<div class="pair">{singles}</div>', note=note,
    )  # fmt: skip


def _mean_figure(found: Processed, mean: np.ndarray) -> str:
    experiment, spots, table = found.experiment, found.spots, found.reflections
    size = 0.7 * _radius(experiment)
    lost = spots.select(spots["lattice"] < 0)
    bad = found.stages["mask"].figures.get("bad")
    layers: list[Layer] = [("rings", "resolution rings", rings(experiment), True)]
    if experiment.crystals:
        layers.append(("axis", "axis", _axis(experiment), True))
    what = ["Mean of the frames"]
    if table is not None and len(table):
        strong = _strongest(table, 600)
        layers.append(("predicted", "predicted", circles(strong["x_calc"], strong["y_calc"], size, "c1"), True))
        what.append(
            f'<span class="key c1">○</span> where the {len(strong)} most significant of {len(table)} integrated '
            "reflections were predicted"
        )
    elif "x_calc" in spots and experiment.crystals:
        mine = _strongest(spots.select(spots["lattice"] >= 0), 600)
        layers.append(("predicted", "predicted", circles(mine["x_calc"], mine["y_calc"], size, "c1"), True))
    layers.append(("lost", "not indexed", crosses(lost["x"], lost["y"], 0.5 * size, "c2"), False))
    layers.append(("masked", "masked pixels", _masked(bad), True))
    layers.append(("spots", "observed", crosses(spots["x"], spots["y"], 0.5 * size, "c3"), False))
    what.append(f'<span class="key c2">×</span> {counted(len(lost), "spot")} not indexed (off at first)')
    what.append("rings in Å")
    if experiment.crystals:
        what.append("dashed: the rotation axis")
    picture = plate(
        _grey_mean(mean), mean.shape, layers, "Mean diffraction pattern", "Mean of all frames with predictions."
    )
    return figure("mean-pattern", picture, "; ".join(what) + ".")


def _masked(bad: np.ndarray | None) -> str:
    """Pixels that are never used, as a red veil."""
    if bad is None or not bad.any():
        return ""
    veil = np.zeros((*bad.shape, 4), dtype=np.uint8)
    veil[bad] = 220, 40, 40, 110
    size = f'width="{bad.shape[1]}" height="{bad.shape[0]}" preserveAspectRatio="none"'
    return f'<image {size} style="image-rendering:pixelated" href="{data_uri(veil)}"/>'


def _grey_mean(mean: np.ndarray) -> np.ndarray:
    """On a logarithmic scale: the direct beam and its glow would take all the grey steps of a linear one."""
    small = np.log(np.maximum(shrunk(mean, 720), 0) + 0.05 * max(float(np.median(mean)), 1e-3))
    low, high = (float(v) for v in np.quantile(small, (0.4, 0.9985)))
    return as_grey(small, low, high, bend=0.5)


def _chosen_frames(found: Processed, most: int = 4) -> list[int]:
    """In each quarter of the scan, the frame that meets most spots."""
    n = len(found.experiment.scan)
    middle = np.clip(found.spots["frame"].astype(int), 0, n - 1)
    per_frame = np.bincount(middle, minlength=n)
    parts = np.array_split(np.arange(n), min(most, n))
    return [int(p[np.argmax(per_frame[p])]) for p in parts]


def _frame_figure(found: Processed, f: int) -> str:
    experiment, spots = found.experiment, found.spots
    assert found.frames is not None
    image = np.nan_to_num(np.asarray(found.frames[f], dtype=np.float32))
    size = _radius(experiment)
    seen = spots.select((spots["first"] <= f) & (spots["last"] >= f)) if "first" in spots else _near(spots, f)
    layers: list[Layer] = [("rings", "rings", rings(experiment, f), True)]
    here = _recorded(experiment, found.reflections, f)
    caption = (
        f"Frame {experiment.scan.numbers[f]} at {fixed(experiment.scan.mid_deg[f], 2)}°, {counted(len(seen), 'spot')}"
    )
    if here is not None:
        strong = significance(here) > 5
        shift = experiment.scan.shift_at(np.array([f + 0.5])) - experiment.scan.shift_at(here["frame"])
        x, y = here["x_calc"] + shift[:, 0], here["y_calc"] + shift[:, 1]
        layers.append(("weak", "weak predictions", circles(x[~strong], y[~strong], size, "quiet"), False))
        layers.append(("predicted", "predicted", circles(x[strong], y[strong], size, "c1"), True))
        caption += (
            f'; <span class="key c1">○</span> {int(strong.sum())} predicted reflections above 5σ that this frame '
            f"records, and {int((~strong).sum())} weak ones (off at first)"
        )
    lost = seen["lattice"] < 0
    layers.append(("lost", "not indexed", crosses(seen["x"][lost], seen["y"][lost], 0.7 * size, "c2"), True))
    caption += f'; <span class="key c2">×</span> {counted(int(lost.sum()), "spot")} not indexed.'
    picture = plate(_grey_frame(image), image.shape, layers, f"Frame {experiment.scan.numbers[f]}", "One frame.")
    return figure(f"frame-{experiment.scan.numbers[f]}", picture, caption)


def _grey_frame(image: np.ndarray) -> np.ndarray:
    """A frame whose spots are brought out; means over blocks find the white end, so that single counts do not."""
    small = shrunk(image, 600)
    low, level = (float(v) for v in np.quantile(small, (0.25, 0.5)))
    high = float(np.quantile(shrunk(small, max(small.shape) // 2), 0.997))
    noise = np.sqrt(max(level, 0.0) + 1)
    return as_grey(small, low, max(high, level + 8 * noise), levels=32)


def _recorded(experiment: Experiment, table: Reflections | None, f: int) -> Reflections | None:
    """Integrated reflections of which frame ``f`` holds a good part."""
    if table is None or not len(table):
        return None
    scan = experiment.scan
    width = 0.5 * abs(float(scan.width_deg[f])) + 1.5 * rocking_sigma_deg(experiment, table)
    return table.select(np.abs(table["phi_calc"] - scan.mid_deg[f]) < width)


def _near(spots: Reflections, f: int) -> Reflections:
    return spots.select(np.abs(spots["frame"] - f - 0.5) < 1.0)


def significance(table: Reflections) -> np.ndarray:
    """I/σ (n,) of counting: the error model's σ would rank the strongest low."""
    for value, sigma in (("intensity_sum", "sigma_sum"), ("intensity", "sigma")):
        if value in table and sigma in table:
            return table[value] / np.maximum(table[sigma], 1e-9)
    return np.asarray(table["intensity"])


def _strongest(table: Reflections, most: int) -> Reflections:
    return table.select(np.argsort(-significance(table), kind="stable")[:most])


def _radius(experiment: Experiment) -> float:
    return max(experiment.detector.shape) / 110


def plate(grey: np.ndarray | None, shape: tuple[int, ...], layers: Sequence[Layer], title: str, text: str) -> str:
    """A picture (ny, nx) of ``shape`` pixels with drawings on top, each with a button that hides and shows it."""
    ny, nx = shape
    buttons = "".join(
        f'<button type="button" data-layer="{esc(key)}" aria-pressed="{str(on).lower()}">{esc(name)}</button>'
        for key, name, body, on in layers
        if body
    )
    zoom = '<button type="button" data-zoom="1.5" aria-label="closer">+</button>'
    zoom += '<button type="button" data-zoom="0.6667" aria-label="further">−</button>'
    drawn = "".join(_group(key, body, on) for key, _, body, on in layers if body)
    image = ""
    if grey is not None:
        size = f'width="{nx}" height="{ny}" preserveAspectRatio="none"'
        image = f'<image {size} style="image-rendering:pixelated" href="{data_uri(grey)}"/>'
    head = f'viewBox="0 0 {nx} {ny}" role="img" aria-label="{esc(title)}. {esc(text)}"'
    return (
        f'<div class="tools">{buttons}{zoom}</div><svg class="plate" {head}>'
        f"<title>{esc(title)}</title><desc>{esc(text)}</desc>{image}{drawn}</svg>"
    )


def _group(key: str, body: str, on: bool) -> str:
    hidden = "" if on else ' display="none"'
    return f'<g data-layer="{esc(key)}"{hidden}>{body}</g>'


def circles(x: np.ndarray, y: np.ndarray, radius: float, kind: str) -> str:
    """Open circles as one path."""
    r = f"{radius:.1f}"
    d = "".join(
        f"M{a - radius:.1f} {b:.1f}a{r} {r} 0 1 0 {2 * radius:.1f} 0a{r} {r} 0 1 0 -{2 * radius:.1f} 0"
        for a, b in zip(x, y)
    )
    return f'<path class="mark {kind}" d="{d}"/>' if d else ""


def crosses(x: np.ndarray, y: np.ndarray, arm: float, kind: str) -> str:
    """Oblique crosses as one path."""
    s = f"{2 * arm:.1f}"
    d = "".join(f"M{a - arm:.1f} {b - arm:.1f}l{s} {s}m-{s} 0l{s} -{s}" for a, b in zip(x, y))
    return f'<path class="mark {kind}" d="{d}"/>' if d else ""


def rings(experiment: Experiment, f: int | None = None, most: int = 5) -> str:
    """Circles of constant d as the lens distorts them, round the beam (of frame ``f``, or the mean), with their d."""
    det, wavelength = experiment.detector, experiment.beam.wavelength
    shift = np.zeros((1, 2)) if f is None else experiment.scan.shift_at(np.array([f + 0.5]))
    ny, nx = det.shape
    reach = float(np.hypot(nx, ny)) / 2 * det.q_per_pixel
    inside = [d for d in _ROUND_D if 0.12 * reach < 1 / d < 0.95 * reach]
    chosen = [inside[i] for i in np.unique(np.linspace(0, len(inside) - 1, most).round().astype(int))] if inside else []
    angle = np.radians(np.arange(0, 361, 5))
    out = []
    for d in chosen:
        # |q| = 1/d on the Ewald sphere: sin θ = λ/2d, q_z = −2 sin²θ/λ
        s = wavelength / (2 * d)
        flat, qz = np.cos(np.arcsin(s)) / d, -2 * s * s / wavelength
        q = np.stack([flat * np.cos(angle), flat * np.sin(angle), np.full(len(angle), qz)], axis=1)
        xy = det.pixels(q, wavelength, shift)
        out.append(f'<path class="ring" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in xy)}"/>')
        out.append(_ring_label(xy, d, (ny, nx)))
    return "".join(out)


def _ring_label(xy: np.ndarray, d: float, shape: tuple[int, int]) -> str:
    """The resolution, at the point of the ring inside the picture nearest to its upper right."""
    ny, nx = shape
    size = max(shape) / 40
    room = 2.5 * size
    inside = (xy[:, 0] > 0) & (xy[:, 0] < nx - room) & (xy[:, 1] > size) & (xy[:, 1] < ny - size)
    if not inside.any():
        return ""
    at = xy[inside][np.argmax(xy[inside] @ np.array([1.0, -1.0]))]
    return f'<text class="on-plate" x="{at[0] + 2:.1f}" y="{at[1]:.1f}" style="font-size:{size:.1f}px">{d:g}</text>'


def _axis(experiment: Experiment) -> str:
    """The rotation axis through the beam, an arrow in its sense."""
    reach = 0.62 * max(experiment.detector.shape)
    centre = np.array(experiment.detector.origin)
    m = experiment.goniometer.axis[:2]
    a, b = centre - reach * m, centre + reach * m
    return f'<path class="mark c4" stroke-dasharray="8 5" d="M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}"/>'
