"""Logs and processing files that lie with frames (Instamatic's and its relatives'): what they say of the geometry."""

from __future__ import annotations

import fnmatch
import math
import re
from pathlib import Path

from credo.io.frame_file import Hints, read_head, scale_of

__all__ = ["nearby", "read_ed3d_hints", "read_log", "read_pts_hints", "read_xds_hints"]

MAX_TEXT = 2**22
_NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"
#: Folders beside the frames where people process them.
_PROCESSING = ("xds", "pets", "red", "redp", "smv", "dials")
_KINDS = {
    "log": ("cred_log.txt", "*_log.txt", "red_log.txt"),
    "ed3d": ("*.ed3d",),
    "xds": ("xds.inp",),
    "pts": ("*.pts",),
}


def nearby(folder: Path, top: Path | None = None) -> dict[str, Path]:
    """The nearest file of each kind (log, ed3d, xds, pts) beside frames, above them, or in folders next to them.

    At most two levels up, never above ``top``, and not beyond the first folder that holds a log.
    """
    found: dict[str, Path] = {}
    level = folder
    for _ in range(3):
        here = _kinds_in(level)
        for kind, path in here.items():
            found.setdefault(kind, path)
        whole = "log" in here or "ed3d" in here or _is_dataset(level)
        for inner in _subfolders(level):
            if whole or inner.name.lower() in _PROCESSING:
                for kind, path in _kinds_in(inner).items():
                    found.setdefault(kind, path)
        if "log" in here or level == top or level.parent == level:
            break
        level = level.parent
    return found


def _is_dataset(folder: Path) -> bool:
    """Whether the folder is laid out as Instamatic does."""
    return any((folder / name).is_dir() for name in ("SMV", "RED", "tiff"))


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))[:50]
    except OSError:
        return []


def _kinds_in(folder: Path) -> dict[str, Path]:
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".txt", ".ed3d", ".inp", ".pts"))
    except OSError:
        return {}
    found: dict[str, Path] = {}
    for kind, patterns in _KINDS.items():
        for pattern in patterns:
            match = next((p for p in files if fnmatch.fnmatch(p.name.lower(), pattern)), None)
            if match is not None:
                found.setdefault(kind, match)
    return found


def _text(path: Path) -> str:
    return read_head(path, MAX_TEXT).decode("utf-8", "replace")


def read_log(path: Path) -> Hints:
    """Instamatic's cRED_log.txt (and its relatives'), with the wrong units that it is known to print."""
    text = _text(path)
    problems: list[str] = []

    def value(key: str, unit: str = "") -> float | None:
        match = re.search(rf"^\s*{key}\s*:\s*{_NUMBER}\s*{unit}", text, re.IGNORECASE | re.MULTILINE)
        return float(match[1]) if match else None

    wavelength = value("Wavelength")
    if wavelength is not None and not 0.001 < wavelength < 0.2:
        problems.append(f"{path.name}: wavelength {wavelength:g} Å is not an electron's; it was not used.")
        wavelength = None
    start, end = value("Starting angle"), value("Ending angle")
    return Hints(
        source=path.name,
        wavelength=wavelength,
        q_per_pixel=_positive(value("Pixelsize")),
        pixel_size_mm=_physical(path, text, problems),
        camera_length_mm=_positive(value("Camera length")),
        axis_deg=_log_axis(path, text, problems),
        start_deg=start,
        step_deg=_step(start, end, value("Oscillation angle")),
        exposure_s=_positive(value("Exposure Time")),
        n_frames=_whole(value("Number of frames")) or None,
        spot_size=_whole(value("Spot Size")) or None,
        problems=tuple(problems),
    )


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _whole(value: float | None) -> int:
    """A count, 0 where it is absent or absurd."""
    return int(value) if value is not None and abs(value) < 1e9 else 0


def _physical(path: Path, text: str, problems: list[str]) -> float | None:
    """The pixel in mm; "0.055 um" means mm, since no pixel is that small."""
    match = re.search(rf"^\s*Physical pixelsize\s*:\s*{_NUMBER}\s*(\w*)", text, re.IGNORECASE | re.MULTILINE)
    if match is None or not float(match[1]) > 0:
        return None
    size, unit = float(match[1]), match[2]
    if unit.lower() == "um" and size < 1:
        problems.append(f'{path.name}: "Physical pixelsize: {match[1]} um" means mm.')
        return size
    return size if unit.lower() == "mm" or size < 1 else size / 1000


def _log_axis(path: Path, text: str, problems: list[str]) -> float | None:
    """Angle [deg] anticlockwise from +x with y up; 0.0 radians is what a missing calibration prints."""
    match = re.search(rf"^\s*Rotation axis\s*:\s*{_NUMBER}\s*(\w*)", text, re.IGNORECASE | re.MULTILINE)
    if match is None:
        return None
    angle = float(match[1])
    if angle == 0.0:
        problems.append(f'{path.name}: "Rotation axis: {match[1]} {match[2]}" is an unset value; it was not used.')
        return None
    return angle if match[2].lower().startswith("deg") else math.degrees(angle)


def _step(start: float | None, end: float | None, printed: float | None) -> float | None:
    """The signed step; the whole range over the number of steps has more digits than the printed one."""
    if printed is None or printed == 0:
        return None
    printed = abs(printed)
    if start is None or end is None or start == end or not 1e-6 < printed < abs(end - start) * 10 < 1e5:
        return printed
    n = max(1, round(abs(end - start) / printed))
    fine = abs(end - start) / n
    return math.copysign(fine if abs(fine - printed) < 1e-4 else printed, end - start)


def read_ed3d_hints(path: Path) -> Hints:
    """REDp's .ed3d: wavelength, axis (anticlockwise from +x, y up), Å⁻¹ per pixel, and the angle of each frame."""
    text = _text(path)

    def value(key: str) -> float | None:
        match = re.search(rf"^\s*{key}\s+{_NUMBER}", text, re.IGNORECASE | re.MULTILINE)
        return float(match[1]) if match else None

    angles: dict[int, float] = {}
    for name, angle in re.findall(rf"^\s*FILE\s+(\S+)\s+{_NUMBER}", text, re.MULTILINE):
        digits = re.findall(r"\d+", Path(name).stem)
        if digits and len(digits[-1]) < 10:
            angles[int(digits[-1])] = float(angle)
    step = value("GONIOTILTSTEP")
    ordered = [angles[k] for k in sorted(angles)]
    if step is not None and len(ordered) > 1 and ordered[-1] < ordered[0]:
        step = -abs(step)
    return Hints(
        source=path.name,
        wavelength=_electron(value("WAVELENGTH")),
        q_per_pixel=_positive(value("CCDPIXELSIZE")),
        axis_deg=value("ROTATIONAXIS"),
        step_deg=step or None,
        angles=angles or None,
    )


def _electron(wavelength: float | None) -> float | None:
    return wavelength if wavelength is not None and 0.001 < wavelength < 0.2 else None


def read_pts_hints(path: Path) -> Hints:
    """PETS's .pts: lambda, aperpixel, omega (as Instamatic writes it: y up) and the image list."""
    text = _text(path)

    def value(key: str) -> float | None:
        match = re.search(rf"^\s*{key}\s+{_NUMBER}", text, re.IGNORECASE | re.MULTILINE)
        return float(match[1]) if match else None

    block = re.search(r"^\s*imagelist\s*$(.*?)^\s*endimagelist", text, re.I | re.M | re.S)
    angles: dict[int, float] = {}
    for line in (block[1] if block else "").splitlines():
        match = re.match(rf"\s*\"?([^\"\s]+)\"?\s+{_NUMBER}", line)
        digits = re.findall(r"\d+", Path(match[1].replace("\\", "/")).stem) if match else []
        if match and digits and len(digits[-1]) < 10:
            angles[int(digits[-1])] = float(match[2])
    half = value("phi")
    signed = None if half is None else 2 * half
    ordered = [angles[k] for k in sorted(angles)]
    if signed and len(ordered) > 1 and ordered[-1] < ordered[0]:
        signed = -abs(signed)
    return Hints(
        source=path.name,
        wavelength=_electron(value("lambda")),
        q_per_pixel=_positive(value("aperpixel")),
        axis_deg=value("omega"),
        step_deg=signed or None,
        angles=angles or None,
    )


def read_xds_hints(path: Path, first_file: str) -> tuple[Hints, bool]:
    """XDS.INP's geometry (axis_deg is in XDS's frame, which is ours), and whether it is about these frames."""
    text = "\n".join(line.split("!")[0] for line in _text(path).splitlines())

    def values(key: str, n: int) -> list[float] | None:
        match = re.search(rf"(?<![A-Z-]){re.escape(key)}\s*=" + rf"\s*{_NUMBER}" * n, text)
        return [float(match[i + 1]) for i in range(n)] if match else None

    def value(key: str) -> float | None:
        found = values(key, 1)
        return found[0] if found else None

    template = re.search(r"NAME_TEMPLATE_OF_DATA_FRAMES\s*=\s*(\S+)", text)
    name = template[1].replace("\\", "/").rsplit("/", 1)[-1] if template else ""
    ours = bool(name) and fnmatch.fnmatchcase(first_file, name)
    orgx, orgy, axis = value("ORGX"), value("ORGY"), values("ROTATION_AXIS", 3)
    wavelength, distance, pixel = _electron(value("X-RAY_WAVELENGTH")), value("DETECTOR_DISTANCE"), value("QX")
    q = scale_of(pixel, wavelength, distance)
    first = value("STARTING_FRAME")
    nx, ny = value("NX"), value("NY")
    hints = Hints(
        source=path.name,
        wavelength=wavelength,
        q_per_pixel=_positive(q),
        pixel_size_mm=_positive(pixel),
        distance_mm=abs(distance) if distance else None,
        # XDS counts pixels from 1 and means their centres
        origin=(orgx - 0.5, orgy - 0.5) if ours and orgx is not None and orgy is not None else None,
        axis_deg=math.degrees(math.atan2(axis[1], axis[0])) if axis and (axis[0] or axis[1]) else None,
        start_deg=value("STARTING_ANGLE"),
        step_deg=value("OSCILLATION_RANGE") or None,
        first=1 if first is None else _whole(first),
        shape=(_whole(ny), _whole(nx)) if ours and nx and ny else None,
        excluded=_excluded(text) if ours else None,
    )
    return hints, ours


def _excluded(text: str) -> tuple[tuple[int, int], ...] | None:
    """Ranges of frame numbers that are not to be used (EXCLUDE_DATA_RANGE)."""
    found = re.findall(r"EXCLUDE_DATA_RANGE\s*=\s*(\d{1,9})\s+(\d{1,9})", text)
    return tuple((int(a), int(b)) for a, b in found) or None
