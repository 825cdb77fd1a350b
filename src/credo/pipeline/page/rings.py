"""The page of a calibration: values with esds, the pattern with the fitted rings on it, and the unwrapped map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.io.cif import with_esd
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.image import as_grey, shrunk
from credo.pipeline.page.markup import esc, figure, key_values, section, table
from credo.pipeline.page.pattern import Layer, crosses, plate
from credo.reduce.ring_pattern import SECTORS

if TYPE_CHECKING:
    from credo.pipeline.calibrate import Calibrated
    from credo.reduce.rings import RingFit

__all__ = ["rings_page"]


def rings_page(numbers: dict[str, Any], found: Sequence[Calibrated]) -> str:
    """The whole page."""
    rows = [
        ("Pixel size", f"{with_esd(numbers['pixel_size_inv_angstrom'], numbers['pixel_size_esd'])} Å⁻¹/px"),
        ("Elliptical distortion", f"{with_esd(numbers['ellipse_percent'], numbers['ellipse_percent_esd'])} %"),
        ("Long axis", f"{with_esd(numbers['ellipse_azimuth_deg'], numbers['ellipse_azimuth_esd_deg'])}° from +x to +y"),
        ("Standard", esc(numbers["material"])),
    ]
    parts = [Part("files", "Patterns", section("files", "Patterns", _files(numbers)))] if len(found) > 1 else []
    for k, (one, own) in enumerate(zip(found, numbers["files_calibrated"])):
        name = one.path.name
        body = f'<div class="pair">{_pattern(one, k)}{_map(one, k)}</div>'
        parts.append(Part(f"p{k}", name, section(f"p{k}", name, body, _rings(own, k))))
    source = ", ".join(str(one.path) for one in found)
    return document("Calibration from rings", key_values(rows), parts, source, numbers["warnings"])


def _files(numbers: dict[str, Any]) -> str:
    rows = [
        [
            e["file"], with_esd(e["pixel_size_inv_angstrom"], e["pixel_size_esd"]),
            with_esd(e["ellipse_percent"], e["ellipse_percent_esd"]),
            with_esd(e["ellipse_azimuth_deg"], e["ellipse_azimuth_esd_deg"]),
            *(with_esd(v, s) for v, s in zip(e["beam_center"], e["beam_center_esd"])),
        ]
        for e in numbers["files_calibrated"]
    ]  # fmt: skip
    head = ["File", "Pixel size (Å⁻¹/px)", "Ellipse (%)", "Azimuth (°)", "Centre x (px)", "Centre y (px)"]
    return table("patterns", "Every pattern by itself.", head, rows)


def _rings(own: dict[str, Any], k: int) -> str:
    rows = [
        [
            ", ".join("".join(str(i) for i in h) for h in r["hkl"]), f"{r['d']:.4f}", f"{r['radius_px']:.2f}",
            f"{r['residual_px']:+.3f}", f"{r['rms_px']:.3f}", f"{r['sectors_seen']} of {SECTORS}",
            str(r["sectors_clipped"]),
        ]
        for r in own["rings"]
    ]  # fmt: skip
    head = ["Ring", "d (Å)", "Radius (px)", "Departure (px)", "Rms (px)", "Sectors seen", "Clipped"]
    return table(f"rings-{k}", "Rings used; several indices where they overlap, d of the strongest.", head, rows)


def _log_grey(image: np.ndarray) -> np.ndarray:
    """Each radius matters, so the scale is logarithmic; missing values stay so."""
    known = image[np.isfinite(image)]
    level = max(float(np.median(known)), 1e-6 * float(np.ptp(known)) + 1e-12) if len(known) else 1.0
    value = np.log(np.maximum(image, 0) + 0.1 * level)
    low, high = np.nanquantile(value, (0.2, 0.997)) if len(known) else (0.0, 1.0)
    return as_grey(value, float(low), float(high), bend=0.5)


def _outline(fit: RingFit, d_tangent: float, angle: np.ndarray) -> np.ndarray:
    """A fitted ring (n, 2) [px] as it appears."""
    p, u = fit.parameters, np.stack([np.cos(angle), np.sin(angle)], axis=1)
    q = d_tangent
    off = u * q
    if len(p) > 5:
        coma = p[6:]
        off = off * (1 + p[5] * q * q) + coma * q * q + 2 * (off @ coma)[:, None] * off
    return off @ fit.shape.matrix.T * np.exp(p[4]) + p[:2]


def _pattern(one: Calibrated, k: int) -> str:
    """The image with the rings as fitted and the marks that they were fitted to."""
    fit, angle = one.fit, np.radians(np.arange(0, 361, 3))
    lines = "".join(
        f'<path class="mark c1" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in _outline(fit, q, angle))}"/>'
        for q in np.unique(fit.marks[:, 3])
    )
    size = max(one.image.shape) / 250
    layers: list[Layer] = [
        ("rings", "fitted rings", lines, True),
        ("marks", "measured", crosses(fit.marks[:, 1], fit.marks[:, 2], size, "c2"), False),
        ("centre", "centre", crosses(fit.parameters[:1], fit.parameters[1:2], 2 * size, "c3"), True),
    ]
    title = f"Pattern {one.path.name} with its fitted rings"
    picture = plate(_log_grey(shrunk(one.image, 720)), one.image.shape, layers, title, "Fitted rings over the pattern.")
    return figure(f"pattern-{k}", picture, "The pattern with the fitted rings (strongest of each overlapping group).")


def _map(one: Calibrated, k: int) -> str:
    """Radius to the right, azimuth down, ellipse taken out: straight upright lines say that the fit is right."""
    fit = one.fit
    p = fit.parameters
    grown = np.exp(p[4]) * fit.marks[:, 3]
    end = min(fit.polar.mean.shape[1], int(1.15 * grown.max()) + 5)
    value = np.where(fit.polar.count > 0, fit.polar.mean, np.nan)[:, :end]
    tall = 10
    dx, dy = fit.shape.true(fit.marks[:, 1], fit.marks[:, 2])
    radius = np.hypot(dx, dy)
    row = (np.arctan2(dy, dx) / (2 * np.pi) % 1.0) * SECTORS * tall
    upright = "".join(f'<path class="mark c1" d="M{r:.1f} 0V{SECTORS * tall}"/>' for r in np.unique(grown))
    layers: list[Layer] = [
        ("lines", "fitted radii", upright, False),
        ("seen", "measured", crosses(radius, row, 2.0, "c2"), True),
    ]
    grey = _log_grey(np.repeat(value, tall, axis=0))
    text = "Radius to the right [px], azimuth downwards from 0° to 360°."
    picture = plate(grey, grey.shape, layers, f"Unwrapped map of {one.path.name}", text)
    return figure(f"unwrapped-{k}", picture, f"{text} The ellipse is taken out, so rings are upright lines.")
