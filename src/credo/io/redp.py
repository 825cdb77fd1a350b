"""REDp's .ed3d: wavelength, axis, Å⁻¹ per pixel and the tilt of every frame; read and written.

The axis is measured anticlockwise from +x with y up in the picture. MRC frames of Instamatic hold the picture upside
down, so that for them credo's angle is +ROTATIONAXIS, for others −ROTATIONAXIS.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from credo.io.frame_file import reading
from credo.io.text import at_line, head, number, read_text, write_text
from credo.io.xds import oscillation_of
from credo.model import Beam, Detector, Ellipse, Experiment, Goniometer, Reflections, Scan
from credo.model.errors import UnreadableInput

__all__ = ["read_ed3d", "sniff_ed3d", "write_ed3d"]


def sniff_ed3d(path: Path) -> bool:
    """Whether a file is an .ed3d."""
    text = head(path, 2**14)
    return path.suffix.lower() == ".ed3d" or ("CCDPIXELSIZE" in text and "FILELIST" in text)


def read_ed3d(path: Path) -> Experiment:
    """The geometry; detector shape and origin are not in the file (placeholders). A frame's tilt is taken as its
    middle, its width as GONIOTILTSTEP in the direction in which the frame numbers go."""
    keys: dict[str, str] = {}
    names: list[str] = []
    tilts: list[float] = []
    for i, line in enumerate(read_text(path, 2**26).split("\n"), start=1):
        words = line.split()
        if len(words) >= 3 and words[0].upper() == "FILE":
            try:
                tilts.append(number(words[2]))
            except ValueError:
                at_line(path, i, f"the tilt {words[2][:40]!r} is not a number")
            names.append(words[1])
        elif len(words) >= 2:
            keys.setdefault(words[0].upper(), words[1])
    if not names:
        raise UnreadableInput(f"{path}: its list of files is empty", "give the .ed3d that REDp or Instamatic wrote")
    with reading(path, "an .ed3d"):
        numbers, order = _numbers(names)
        middle = np.array(tilts)[order]
        step = _step(keys, middle)
        angle = _key(path, keys, "ROTATIONAXIS") * (1 if names[0].lower().endswith((".mrc", ".mrcs")) else -1)
        stretch = float(keys.get("STRETCHINGMP", 0) or 0)
        detector = Detector(
            (512, 512), _key(path, keys, "CCDPIXELSIZE"), (256.0, 256.0),
            ellipse=Ellipse(stretch, float(keys.get("STRETCHINGAZIMUTH", 0) or 0)) if stretch else Ellipse(),
        )  # fmt: skip
        return Experiment(
            beam=Beam(_key(path, keys, "WAVELENGTH")),
            detector=detector,
            goniometer=Goniometer.in_plane(angle),
            scan=Scan(numbers, middle - step / 2, np.full(len(middle), step)),
            source=str(path),
            kind="REDp",
            known=("wavelength", "q_per_pixel", "axis", "angles"),
        )


def _key(path: Path, keys: dict[str, str], key: str) -> float:
    if key not in keys:
        raise UnreadableInput(f"{path}: has no {key}", "add it")
    return number(keys[key])


def _numbers(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers, increasing, and the order of the lines; counted from 1 where the names have no numbers."""
    found = [re.findall(r"\d{1,9}", Path(n.replace("\\", "/")).stem) for n in names]
    numbers = np.array([int(f[-1]) if f else -1 for f in found])
    if numbers.min() < 0 or len(np.unique(numbers)) != len(numbers):
        return np.arange(1, len(names) + 1), np.arange(len(names))
    order = np.argsort(numbers)
    return numbers[order], order


def _step(keys: dict[str, str], middle: np.ndarray) -> float:
    size = abs(number(keys["GONIOTILTSTEP"])) if "GONIOTILTSTEP" in keys else 0.0
    if size == 0:
        size = float(np.median(np.abs(np.diff(middle)))) if len(middle) > 1 else 1.0
    return float(np.copysign(size or 1.0, middle[-1] - middle[0] if len(middle) > 1 else 1.0))


def write_ed3d(
    path: Path, experiment: Experiment, reflections: Reflections | None = None, suffix: str = ".mrc"
) -> None:
    """An .ed3d of frames named by their numbers (00001.mrc). ``reflections`` is not used.

    suffix: of the frames; it decides the sign of the axis, see the head of this file.
    """
    e = experiment
    sign = 1 if suffix.lower() in (".mrc", ".mrcs") else -1
    axis = (sign * e.goniometer.angle_deg + 180) % 360 - 180
    lines = [
        f"WAVELENGTH    {e.beam.wavelength:.6f}",
        f"ROTATIONAXIS    {axis:.5f}",
        f"CCDPIXELSIZE    {e.detector.q_per_pixel:.8f}",
        f"GONIOTILTSTEP    {abs(oscillation_of(e.scan)):.6f}",
        "BEAMTILTSTEP    0",
        "BEAMTILTRANGE    0.000",
        f"STRETCHINGMP    {e.detector.ellipse.amplitude_percent:.4f}",
        f"STRETCHINGAZIMUTH    {e.detector.ellipse.azimuth_deg:.4f}",
        "",
        "FILELIST",
        *(
            f"FILE {n:05d}{suffix}    {a:.5f}    0    {a:.5f}"
            for n, a in zip(e.scan.numbers.tolist(), e.scan.mid_deg.tolist())
        ),
        "ENDFILELIST",
    ]
    write_text(path, "\n".join(lines) + "\n")
