"""Start and width of every frame, from the user, the frames' own headers, or the number of the frame and a log."""

from __future__ import annotations

import numpy as np

from credo.io.frame_file import FrameFile, Hints
from credo.io.overrides import GeometryOverrides
from credo.io.sources import BOUNDS, NO_STEP, Sources
from credo.model import Scan
from credo.model.errors import CannotDo

__all__ = ["scan_of"]


def scan_of(
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
        value = sources.first("exposure_s")
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
        if width is not None and _measured_ends(start, width, numbers):
            return start, width
    else:
        start, width = _per_frame(files, "start_deg"), _per_frame(files, "step_deg")
    if start is None or not (np.abs(start) <= BOUNDS["start_deg"][1]).all():
        return None, None
    if width is not None and not ((np.abs(width) <= BOUNDS["step_deg"][1]) & (np.abs(width) >= NO_STEP)).all():
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


def _measured_ends(start: np.ndarray, width: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether both ends of every frame were measured: all turn one way, each ends before the next begins, and closer
    to it than a tenth of the frame's width (the camera's dead time) where no frame is missing."""
    if len(start) < 3 or not (np.abs(start) <= BOUNDS["start_deg"][1]).all():
        return False
    sign = np.sign(np.sum(width))
    gap = (start[1:] - start[:-1] - width[:-1])[np.diff(numbers) == 1] * sign
    inside = bool((width * sign > 0).all() and (gap > -1e-6).all())
    return inside and len(gap) > 0 and bool(np.median(gap) < 0.1 * np.median(np.abs(width)))


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
