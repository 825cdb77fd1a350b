"""From what the frames' headers, the logs beside them and the user say, to one experiment; contradictions are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from credo.io.electron import voltage_of
from credo.io.frame_file import FrameFile, Hints, scale_of
from credo.io.merged import PLACEHOLDER_WAVELENGTH
from credo.io.overrides import GeometryOverrides
from credo.io.scan_angles import scan_of
from credo.io.sources import BOUNDS, Sources
from credo.model import Beam, Detector, Ellipse, Experiment, Goniometer, Optics

__all__ = ["assemble"]

#: Resolution at the nearest edge that an unknown scale is given [Å⁻¹].
_DEFAULT_EDGE = 1.2


def assemble(
    files: list[FrameFile],
    numbers: np.ndarray,
    sources: Sources,
    overrides: GeometryOverrides,
    *,
    source: str,
    problems: tuple[str, ...] = (),
    need_angles: bool = True,
) -> Experiment:
    """The experiment of a series; ``known`` names what a file or the user really said."""
    rows, columns = files[0].shape[1:]
    sources = sources.sane()
    said = list(problems)
    for hints in sources:
        said += [p for p in hints.problems if p not in said]
    known: list[str] = []
    wavelength = _wavelength(sources, overrides, known, said)
    pixel = overrides.detector_pixel or sources.first("pixel_size_mm") or 0.055
    if overrides.detector_pixel or sources.first("pixel_size_mm"):
        known.append("pixel_size")
    q = _scale(sources, overrides, wavelength, pixel, (rows, columns), known, said)
    origin = overrides.beam_center or sources.first("origin")
    if origin is not None:
        known.append("origin")
    axis = overrides.axis if overrides.axis is not None else _axis(sources, said)
    if axis is not None:
        known.append("axis")
    ellipse = sources.first("ellipse")
    scan = scan_of(files, numbers, sources, overrides, known, said, need_angles)
    detector = Detector(
        shape=(rows, columns),
        q_per_pixel=q,
        origin=(float(origin[0]), float(origin[1])) if origin is not None else (columns / 2, rows / 2),
        pixel_size_mm=float(pixel),
        pedestal=sources.header.pedestal or 0.0,
        saturation=overrides.saturation or sources.header.saturation,
        ellipse=Ellipse() if ellipse is None else Ellipse(ellipse[0], ellipse[1] % 180),
    )
    spot = sources.first("spot_size")
    return Experiment(
        beam=Beam(wavelength),
        detector=detector,
        goniometer=Goniometer.in_plane(axis or 0.0),
        scan=scan,
        optics=Optics(camera_length_mm=sources.first("camera_length_mm"), spot_size=spot),
        source=source,
        kind=files[0].format,
        known=tuple(known),
        problems=tuple(said),
    )


def _digits(value: float) -> int:
    return len(f"{value:.10g}".replace(".", "").lstrip("0"))


def _agreed(sources: Sources, name: str, tolerance: float) -> tuple[float, Hints, list[Hints]] | None:
    """The most trusted value, or an equal one that was printed with more digits; and who contradicts it."""
    speaking = [h for h in sources if getattr(h, name) is not None]
    if not speaking:
        return None
    best = speaking[0]
    value = getattr(best, name)
    same = [h for h in speaking if abs(getattr(h, name) / value - 1) < 0.002]
    finest = max(same, key=lambda h: min(_digits(getattr(h, name)), 6) - 0.1 * speaking.index(h))
    against = [h for h in speaking if abs(getattr(h, name) / value - 1) > tolerance]
    return getattr(finest, name), best, against


def _wavelength(sources: Sources, overrides: GeometryOverrides, known: list[str], said: list[str]) -> float:
    given = overrides.given_wavelength
    agreed = _agreed(sources, "wavelength", 0.01)
    if given is None and agreed is None:
        said.append("No file says the wavelength: 0.02508 Å (200 kV) is assumed; give --voltage or --wavelength.")
        return PLACEHOLDER_WAVELENGTH
    known.append("wavelength")
    if given is not None:
        if agreed is not None and abs(agreed[0] / given - 1) > 0.01:
            said.append(f"{agreed[1].source} says {_lambda(agreed[0])}, you say {_lambda(given)}: yours is used.")
        return given
    assert agreed is not None
    value, best, against = agreed
    for other in against:
        said.append(
            f"{other.source} says {_lambda(other.wavelength or 0.0)}, but {best.source} says {_lambda(value)}: "
            f"{best.source} is used. An Instamatic log prints its configuration, not what the microscope was set to."
        )
    return value


def _lambda(wavelength: float) -> str:
    return f"a wavelength of {wavelength:.6f} Å ({voltage_of(wavelength):.0f} kV)"


def _scale(
    sources: Sources,
    overrides: GeometryOverrides,
    wavelength: float,
    pixel: float,
    shape: tuple[int, int],
    known: list[str],
    said: list[str],
) -> float:
    """Å⁻¹ per pixel."""
    if overrides.pixel_size is not None:
        known.append("q_per_pixel")
        return overrides.pixel_size
    if overrides.distance is not None:
        known.append("q_per_pixel")
        return pixel / (wavelength * overrides.distance)
    exact = Sources(_rescaled(sources.header, wavelength), tuple(_rescaled(h, wavelength) for h in sources.beside))
    agreed = _agreed(exact, "q_per_pixel", 0.02)
    if agreed is None:
        said.append(
            "No file says the scale (camera length or Å⁻¹ per pixel): a guess is used, so that cells have the right "
            "shape but the wrong size; give --pixel-size or --distance."
        )
        return _DEFAULT_EDGE / (min(shape) / 2)
    known.append("q_per_pixel")
    value, best, against = agreed
    for other in against:
        said.append(
            f"{other.source} says {other.q_per_pixel:.7g} Å⁻¹ per pixel, but {best.source} says "
            f"{value:.7g}: {best.source} is used."
        )
    return value


def _rescaled(hints: Hints, wavelength: float) -> Hints:
    """The scale from pixel and distance again, with more digits of the wavelength than this source printed."""
    pixel, distance, own = hints.pixel_size_mm, hints.distance_mm, hints.wavelength
    if not (pixel and distance) or (own and abs(own / wavelength - 1) > 0.01):
        return hints
    low, high = BOUNDS["q_per_pixel"]
    q = scale_of(pixel, wavelength, distance)
    return replace(hints, q_per_pixel=q if q is not None and low <= q <= high else None)


def _axis(sources: Sources, said: list[str]) -> float | None:
    """In-plane angle [deg]; the axis is tested on the data later, whatever is said here."""
    speaking = [h for h in sources if h.axis_deg is not None]
    if not speaking:
        return None
    best = speaking[0]
    assert best.axis_deg is not None
    for other in speaking[1:]:
        assert other.axis_deg is not None
        off = abs((other.axis_deg - best.axis_deg + 180) % 360 - 180)
        if min(off, 180 - off) > 2:
            said.append(
                f"{other.source} puts the rotation axis at {other.axis_deg % 360:.1f}° in the image, {best.source} at "
                f"{best.axis_deg % 360:.1f}°; the data will decide."
            )
    return best.axis_deg % 360
