"""From what the frames' headers, the logs beside them and the user say, to one experiment; contradictions are told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.io.electron import voltage_of
from credo.io.frame_file import FrameFile, Hints, scale_of
from credo.io.overrides import GeometryOverrides
from credo.model import Beam, Detector, Experiment, Goniometer, Optics, Scan
from credo.model.errors import CannotDo

__all__ = ["Sources", "assemble"]

#: Used, and called unknown, where nothing says the wavelength: 200 kV.
_DEFAULT_WAVELENGTH = 0.0250793
#: Resolution at the nearest edge that an unknown scale is given [Å⁻¹].
_DEFAULT_EDGE = 1.2


@dataclass(frozen=True)
class Sources:
    """``header``: the first frame's own; ``beside``: logs and processing files, the most trusted first.

    ``beside`` angles of axes are already in the frame of the array.
    """

    header: Hints
    beside: tuple[Hints, ...] = ()

    def __iter__(self):
        return iter((self.header, *self.beside))


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
    sources = Sources(_sane(sources.header), tuple(_sane(h) for h in sources.beside))
    said = list(problems)
    for hints in sources:
        said += [p for p in hints.problems if p not in said]
    known: list[str] = []
    wavelength = _wavelength(sources, overrides, known, said)
    pixel = overrides.detector_pixel or _first(sources, "pixel_size_mm") or 0.055
    if overrides.detector_pixel or _first(sources, "pixel_size_mm"):
        known.append("pixel_size")
    q = _scale(sources, overrides, wavelength, pixel, (rows, columns), known, said)
    origin = overrides.beam_center or _first(sources, "origin")
    if origin is not None:
        known.append("origin")
    axis = overrides.axis if overrides.axis is not None else _axis(sources, said)
    if axis is not None:
        known.append("axis")
    scan = _scan(files, numbers, sources, overrides, known, said, need_angles)
    detector = Detector(
        shape=(rows, columns),
        q_per_pixel=q,
        origin=(float(origin[0]), float(origin[1])) if origin is not None else (columns / 2, rows / 2),
        pixel_size_mm=float(pixel),
        pedestal=sources.header.pedestal or 0.0,
        saturation=overrides.saturation or sources.header.saturation,
    )
    spot = _first(sources, "spot_size")
    return Experiment(
        beam=Beam(wavelength),
        detector=detector,
        goniometer=Goniometer.in_plane(axis or 0.0),
        scan=scan,
        optics=Optics(camera_length_mm=_first(sources, "camera_length_mm"), spot_size=spot),
        source=source,
        kind=files[0].format,
        known=tuple(known),
        problems=tuple(said),
    )


#: A smaller step [deg] is none.
_NO_STEP = 1e-5
#: What a number must lie between to be believed at all.
_BOUNDS = {
    "wavelength": (0.001, 0.2),
    "q_per_pixel": (1e-6, 1.0),
    "pixel_size_mm": (1e-4, 1.0),
    "distance_mm": (0.1, 1e7),
    "camera_length_mm": (0.1, 1e7),
    "axis_deg": (-720.0, 720.0),
    "start_deg": (-720.0, 720.0),
    "step_deg": (-90.0, 90.0),
    "exposure_s": (0.0, 1e6),
    "timestamp": (-1e12, 1e12),
    "saturation": (0.0, 1e15),
    "pedestal": (-1e9, 1e9),
}


def _sane(hints: Hints) -> Hints:
    """Without the numbers that cannot be true, each with a sentence."""
    wrong = {
        k: v for k, (low, high) in _BOUNDS.items() if (v := getattr(hints, k)) is not None and not low <= v <= high
    }
    said = tuple(
        f"{hints.source}: {k.replace('_', ' ')} {v:g} cannot be true; it was not used." for k, v in wrong.items()
    )
    if hints.step_deg is not None and abs(hints.step_deg) < _NO_STEP:
        wrong["step_deg"] = hints.step_deg
    if hints.origin is not None and not all(abs(x) < 20000 for x in hints.origin):
        wrong["origin"] = 0.0
        said += (f"{hints.source}: a beam centre at {hints.origin} cannot be true; it was not used.",)
    return replace(hints, **dict.fromkeys(wrong), problems=hints.problems + said)


def _first(sources: Sources, name: str):
    """The first source's word."""
    return next((v for h in sources if (v := getattr(h, name)) is not None), None)


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
        return _DEFAULT_WAVELENGTH
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
    low, high = _BOUNDS["q_per_pixel"]
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


def _scan(
    files: list[FrameFile],
    numbers: np.ndarray,
    sources: Sources,
    overrides: GeometryOverrides,
    known: list[str],
    said: list[str],
    need_angles: bool,
) -> Scan:
    """Start and width of every frame: by the user, the frames' headers, or the number of the frame and a log."""
    start, width = _angles(files, numbers, sources, overrides, said)
    if start is None or width is None:
        if need_angles:
            raise CannotDo(
                "nothing says by how much the crystal turns from frame to frame (no angle in the frames, no log or "
                "XDS.INP beside them)",
                "give --step in degrees per frame (negative if the angle decreases), and --start",
            )
        said.append("No file says the rotation per frame: give --step before processing.")
        start, width = (numbers - numbers[0]).astype(float), np.ones(len(numbers))
    else:
        known.append("angles")
    exposure = _per_frame(files, "exposure_s")
    if exposure is None:
        value = _first(sources, "exposure_s")
        exposure = None if value is None else np.full(len(numbers), value)
    n = next((h.n_frames for h in sources if h.n_frames), None)
    if n is not None and n != len(numbers) and overrides.frames is None:
        said.append(f"The log counts {n} frames, {len(numbers)} are here.")
    return Scan(numbers, start, width, exposure_s=exposure, timestamps=_timestamps(files))


def _angles(
    files: list[FrameFile], numbers: np.ndarray, sources: Sources, overrides: GeometryOverrides, said: list[str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    count = (numbers - numbers[0]).astype(float)
    if overrides.step is not None:
        own, _ = _measured(files, numbers, [])
        begin = overrides.start if overrides.start is not None else (own[0] if own is not None else 0.0)
        return begin + overrides.step * count, np.full(len(numbers), overrides.step)
    start, width = _measured(files, numbers, said)
    if start is None or width is None:
        for hints in sources:
            start, width = _counted(hints, numbers)
            if start is not None:
                break
    else:
        logged = next((h for h in sources.beside if h.step_deg), None)
        if logged is not None and abs(abs(logged.step_deg or 0.0) / abs(np.median(width)) - 1) > 0.02:
            said.append(
                f"{logged.source} says {abs(logged.step_deg or 0.0):.4f}° per frame, the frames' headers say "
                f"{abs(np.median(width)):.4f}°: the headers are used."
            )
    if start is not None and overrides.start is not None:
        start = start - start[0] + overrides.start
    return start, width


def _measured(
    files: list[FrameFile], numbers: np.ndarray, said: list[str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Angles that the frames themselves hold."""
    if len(files) == 1 and files[0].start_deg is not None and files[0].shape[0] == len(numbers):
        start, width = files[0].start_deg, files[0].width_deg
    else:
        start, width = _per_frame(files, "start_deg"), _per_frame(files, "step_deg")
    if start is None or not (np.abs(start) <= _BOUNDS["start_deg"][1]).all():
        return None, None
    if width is not None and not ((np.abs(width) <= _BOUNDS["step_deg"][1]) & (np.abs(width) >= _NO_STEP)).all():
        width = None
    if len(start) == 1:
        return (start, width) if width is not None and width[0] != 0 else (None, None)
    moves = np.diff(start) / np.diff(numbers)
    if not np.any(moves):
        if width is None or not np.all(width):
            return None, None
        said.append("All frames carry the same start angle; the angle was counted from the frame numbers.")
        return start[0] + width[0] * (numbers - numbers[0]), width
    if np.any(moves > 0) and np.any(moves < 0):
        said.append("The start angles of the frames' headers go back and forth.")
    return _smooth(start, width, numbers, said)


def _smooth(
    start: np.ndarray, width: np.ndarray | None, numbers: np.ndarray, said: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Equal steps where the printed angles are equal steps but for the rounding; else as they are."""
    count = (numbers - numbers[0]).astype(float)
    step, begin = np.polyfit(count, start, 1)
    rounding = 0.51 * max(10.0 ** -_decimals(start), 1e-6)
    if np.abs(begin + step * count - start).max() <= 2 * rounding:
        printed = float(np.median(width)) if width is not None else 0.0
        # a printed width that leads to the last frame within the rounding is exact
        if printed and np.abs(start[0] + printed * count - start).max() <= 2 * rounding:
            step, begin = printed, start[0]
        if printed and abs(abs(printed) - abs(step)) > 0.51 * 10.0 ** -_decimals(np.array([printed])):
            said.append(
                f"The headers' frame width {printed:.4f}° is not the step between their start angles, {step:.4f}°."
            )
        if printed and printed * step < 0:
            said.append("The headers' frame width has the wrong sign; the start angles were followed.")
        return begin + step * count, np.full(len(start), step)
    moves = np.diff(start) / np.diff(numbers)
    if width is None or not np.all(width):
        width = np.append(moves, moves[-1])
    return start, width


def _decimals(values: np.ndarray) -> int:
    """Digits after the point that the values were printed with, at most 6."""
    for k in range(6):
        if np.allclose(values, np.round(values, k), rtol=0, atol=1e-9):
            return k
    return 6


def _counted(hints: Hints, numbers: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Angles from a log: by the frame's number, so that a missing frame leaves a gap."""
    step = hints.step_deg
    if hints.start_deg is not None and step:
        first = hints.first if hints.first is not None else min(1, int(numbers[0]))
        return hints.start_deg + step * (numbers - first), np.full(len(numbers), float(step))
    if (
        hints.angles
        and all(abs(a) <= 720 for a in hints.angles.values())
        and all(int(n) in hints.angles for n in numbers)
        and len(numbers) > 1
    ):
        mid = np.array([hints.angles[int(n)] for n in numbers])
        step = step or float(np.median(np.diff(mid) / np.diff(numbers)))
        return (mid - step / 2, np.full(len(numbers), step)) if step else (None, None)
    return None, None


def _per_frame(files: list[FrameFile], name: str) -> np.ndarray | None:
    """One value of each file's header (n,), or ``None`` where one is silent or files hold several images."""
    values = [getattr(f.hints, name) for f in files]
    if any(v is None for v in values) or any(f.shape[0] != 1 for f in files):
        return None
    return np.array(values, dtype=float)


def _timestamps(files: list[FrameFile]) -> np.ndarray | None:
    if len(files) == 1 and files[0].timestamps is not None:
        return files[0].timestamps
    return _per_frame(files, "timestamp")
