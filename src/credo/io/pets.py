"""PETS2's project files: .pts read and written, with the peaks (.rpl, .cor) and orientation (.celllist) beside it.

PETS measures the axis, omega, anticlockwise from +x with y up, so that credo's angle is −omega; its crystal frame has x
along the axis and z towards the source; it counts pixels from 1 and means their centres (measured on α-glycine).
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from credo.io.frame_file import reading
from credo.io.text import at_line, head, number, read_text, table, write_text
from credo.model import Beam, Cell, Crystal, Detector, Ellipse, Experiment, Goniometer, Reflections, Scan
from credo.model.errors import UnreadableInput
from credo.physics.ewald import frame_of_angle

__all__ = ["crystal_frame", "read_pts", "sniff_pts", "write_pts"]

#: x_PETS − x_credo [px].
HALF = 0.5


def crystal_frame(angle_deg: float) -> np.ndarray:
    """T (3, 3): v_PETS = T v_credo, for the in-plane angle of credo's axis [deg]: rows along the axis, and −z."""
    a = np.radians(angle_deg)
    return np.array([[np.cos(a), np.sin(a), 0.0], [np.sin(a), -np.cos(a), 0.0], [0.0, 0.0, -1.0]])


def sniff_pts(path: Path) -> bool:
    """Whether a file is a PETS project."""
    text = head(path, 2**16).lower()
    return path.suffix.lower() == ".pts" or (re.search(r"^imagelist", text, re.M) is not None and "aperpixel" in text)


def read_pts(path: Path) -> tuple[Experiment, Reflections]:
    """The geometry, and as reflections the peaks of .rpl or .cor of the same name (x y phi frame intensity sigma).

    A frame's angle is its middle and ``phi`` half its width. Images that are switched off are left out. Detector shape:
    PETS does not say it; twice the centre stands for it.
    """
    keys, images = _parse(path, read_text(path, 2**26))
    with reading(path, "a PETS .pts"):
        wavelength, q = _one(path, keys, "lambda"), _one(path, keys, "aperpixel")
        omega, half = _one(path, keys, "omega", 0.0), _one(path, keys, "phi", 0.0)
        numbers, alpha, used = _frames(path, images)
        width = _width(alpha, numbers, half, "continuous" in " ".join(keys.get("geometry", ["continuous"])).lower())
        scan = Scan(numbers, alpha - width / 2, width, beam_shift=None)
        center = _center(keys)
        origin = (256.0, 256.0) if center is None else (center[0] - HALF, center[1] - HALF)
        side = tuple(max(64, 2 * round(v)) for v in origin)
        if max(side) > 2**16:
            raise ValueError(f"center {origin} lies outside any detector")
        known = ["wavelength", "q_per_pixel", "axis", "angles"] + (["origin"] if center else [])
        detector = Detector((side[1], side[0]), q, origin, saturation=_one(path, keys, "saturationlimit", 0.0) or None)
        drift = _drift(path, len(images), used, origin)
        goniometer = Goniometer.in_plane(-omega)
        experiment = Experiment(
            beam=Beam(wavelength), detector=detector, goniometer=goniometer, scan=scan.replace(beam_shift=drift),
            crystals=_crystals(path, goniometer.angle_deg), source=str(path), kind="PETS", known=tuple(known),
        )  # fmt: skip
        return experiment, _peaks(path, experiment, images)


def _parse(path: Path, text: str) -> tuple[dict[str, list[str]], list[tuple[int, list[str]]]]:
    """Keywords -> words, and (line number, words) of the image list; # starts a comment."""
    keys: dict[str, list[str]] = {}
    images: list[tuple[int, list[str]]] = []
    inside: str | None = None
    for i, raw in enumerate(text.split("\n"), start=1):
        words = re.findall(r'"[^"]*"|[^\s"]+', raw.split("#")[0])
        if not words:
            continue
        key = words[0].lower()
        if inside:
            if key == f"end{inside}":
                inside = None
            elif inside == "imagelist":
                images.append((i, words))
        elif key in ("imagelist", "badpixels", "cellitem", "reconstruction", "peaksearch"):
            inside = key if key != "cellitem" else "cellitem"
        else:
            keys[key] = words[1:]
    if not images and "aperpixel" not in keys:
        at_line(path, 1, "neither aperpixel nor an image list", "give the .pts file of PETS2")
    return keys, images


def _one(path: Path, keys: dict[str, list[str]], key: str, default: float | None = None) -> float:
    if not keys.get(key):
        if default is None:
            raise UnreadableInput(f"{path}: has no {key}", "add it, or give the folder of the frames")
        return default
    try:
        return number(keys[key][0])
    except ValueError:
        raise UnreadableInput(f"{path}: {key} is {keys[key][0][:40]!r}, not a number", "correct it") from None


def _frames(path: Path, images: list[tuple[int, list[str]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the images that are used: numbers (from the names if they increase, else counted), angles [deg], rows."""
    used, alpha, named = [], [], []
    for k, (line, words) in enumerate(images):
        if len(words) < 2:
            at_line(path, line, "an image needs a name and an angle")
        try:
            angle, on = number(words[1]), len(words) < 9 or number(words[8]) != 0
        except ValueError:
            at_line(path, line, "the angle is not a number")
        if on:
            digits = re.findall(r"\d{1,9}", words[0].strip('"').replace("\\", "/").rsplit("/", 1)[-1])
            used.append(k + 1)
            alpha.append(angle)
            named.append(int(digits[-1]) if digits else -1)
    if not used:
        raise UnreadableInput(f"{path}: its image list is empty", "add the images, or give the folder of the frames")
    increasing = all(a < b for a, b in pairwise(named)) and named[0] >= 0
    return np.array(named if increasing else used), np.array(alpha), np.array(used) - 1


def _width(alpha: np.ndarray, numbers: np.ndarray, half: float, continuous: bool) -> np.ndarray:
    """Signed widths (n,): 2 phi of continuous rotation, else (precession, stills) the step between the frames."""
    steps = np.diff(alpha) / np.diff(numbers)
    step = float(np.median(steps)) if len(steps) else 1.0
    size = 2 * half if continuous and half > 0 else abs(step)
    return np.full(len(alpha), np.copysign(size or 1.0, step or 1.0))


def _center(keys: dict[str, list[str]]) -> tuple[float, float] | None:
    """The direct beam, None for ``auto``."""
    try:
        x, y = (number(w) for w in keys.get("center", [])[:2])
    except ValueError:
        return None
    return x, y


def _drift(path: Path, n: int, used: np.ndarray, origin: tuple[float, float]) -> np.ndarray | None:
    """The centre of each used frame minus the origin (n, 2) [px], from .cenloc, which lists all frames."""
    file = path.with_suffix(".cenloc")
    if not file.is_file():
        return None
    text = read_text(file, 2**26)
    first = next((line for line in text.split("\n") if line.strip()), "")
    data = table(file, text, len(first.split()), what="centres")
    if len(data) != n or data.shape[1] < 2:
        return None
    return data[used, :2] - HALF - np.array(origin)


def _crystals(path: Path, angle_deg: float) -> tuple[Crystal, ...]:
    """The orientation matrices of .celllist."""
    file = path.with_suffix(".celllist")
    if not file.is_file():
        return ()
    lines = read_text(file, 2**24).split("\n")
    found = []
    for i, line in enumerate(lines):
        if line.strip().lower().startswith("ubmatrix"):
            ub = table(file, "\n".join(lines[i + 1 : i + 4]), 3, i + 2, what="orientation matrices")
            if ub.shape != (3, 3) or not 1e-9 < np.linalg.det(ub) < 1e3:
                at_line(file, i + 1, "not an orientation matrix of a right-handed cell")
            found.append(Crystal.from_ub(crystal_frame(angle_deg).T @ ub))
    return tuple(found)


def _peaks(path: Path, experiment: Experiment, images: list[tuple[int, list[str]]]) -> Reflections:
    """Peaks that PETS found: x* y* z* I/σ-like numbers, pixel, centroid, angle, intensity, frame."""
    for suffix in (".rpl", ".cor"):
        file = path.with_suffix(suffix)
        if file.is_file():
            break
    else:
        return Reflections()
    data = table(file, read_text(file), 12, what="peaks")
    phi = data[:, 9]
    return Reflections(
        x=data[:, 7] - HALF, y=data[:, 8] - HALF, phi=phi, frame=frame_of_angle(experiment.scan, phi),
        intensity=data[:, 3], sigma=data[:, 4], peak=data[:, 10], lattice=np.full(len(data), -1),
    )  # fmt: skip


def write_pts(
    path: Path,
    experiment: Experiment,
    reflections: Reflections | None = None,
    names: str = "{:05d}.tiff",
    geometry: str = "continuous",
) -> None:
    """A PETS2 project ready for peak search. names: of the frames, by number; geometry: continuous, or static for
    stills. ``reflections`` is not used."""
    e, d = experiment, experiment.detector
    scan = e.scan
    width = float(np.median(np.abs(scan.width_deg))) if len(scan) else 1.0
    omega = -e.goniometer.angle_deg % 360
    ellipse: Ellipse = d.ellipse
    lines = [
        "# written by credo",
        f"lambda {e.beam.wavelength:.6f}",
        f"geometry {geometry}",
        f"omega {omega:.4f}",
        f"phi {width / 2:.5f}",
        "virtualframes 7 5 1",
        f"aperpixel {d.q_per_pixel:.8f}",
        f"noiseparameters {d.gain:.4f} {1.0:.4f}",
        f"center {d.origin[0] + HALF:.3f} {d.origin[1] + HALF:.3f}",
        "beamstop no",
        f"bin 1\ndstarmax {d.q_per_pixel * max(d.shape) / 2:.3f}",
        "i/sigma 7.00 5.00",
        "reflectionsize 8",
        *([f"saturationlimit {d.saturation:.0f}"] if d.saturation else []),
        *([f"referencecell {_cell(e.crystal.cell)} 1"] if e.crystals else []),
        "",
        "# file, alpha, beta, delta omega, scale, calibration, ellipse amplitude [%], ellipse phase [deg], used",
        "imagelist",
    ]
    for i, n in enumerate(scan.numbers.tolist()):
        lines.append(
            f'"{names.format(n)}" {scan.mid_deg[i]:10.5f} 0.0 0.0 1.0 0 '
            f"{ellipse.amplitude_percent:.4g} {ellipse.azimuth_deg:.4g} 1"
        )
    write_text(path, "\n".join([*lines, "endimagelist"]) + "\n")


def _cell(cell: Cell) -> str:
    return " ".join(f"{v:.5f}" for v in cell.parameters)
