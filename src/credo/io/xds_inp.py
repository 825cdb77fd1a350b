"""XDS.INP: keywords read, geometry and frames to and from an Experiment; written ready for XDS."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from credo.io.frame_file import reading
from credo.io.text import head, read_text, write_text
from credo.io.xds import XdsGeometry, oscillation_of
from credo.model import Experiment
from credo.model.errors import UnreadableInput

__all__ = ["parse_keywords", "read_frame_numbers", "read_xds_inp", "sniff_xds_inp", "write_xds_inp"]

_NEEDED = (
    "X-RAY_WAVELENGTH", "OSCILLATION_RANGE", "NX", "NY", "QX", "QY", "ORGX", "ORGY", "DETECTOR_DISTANCE",
)  # fmt: skip
_KEYWORD = re.compile(r"([A-Za-z][A-Za-z0-9_.'\-]*(?:\([A-Za-z]+\))?)\s*=")


def sniff_xds_inp(path: Path) -> bool:
    """Whether a file is an XDS.INP."""
    if path.name.upper() == "XDS.INP":
        return True
    text = head(path, 2**16) if ".INP" in path.name.upper() else ""
    return "NAME_TEMPLATE_OF_DATA_FRAMES=" in text and "DATA_RANGE=" in text


def parse_keywords(text: str) -> dict[str, list[str]]:
    """Keyword -> its values, one for each time that it is given; ``!`` starts a comment; several may share a line."""
    found: dict[str, list[str]] = {}
    for raw in text.split("\n"):
        line = raw.split("!", 1)[0]
        marks = list(_KEYWORD.finditer(line))
        for i, mark in enumerate(marks):
            end = marks[i + 1].start() if i + 1 < len(marks) else len(line)
            found.setdefault(mark[1].upper(), []).append(line[mark.end() : end].strip())
    return found


def _numbers(path: Path, keywords: dict[str, list[str]], key: str, count: int) -> tuple[float, ...] | None:
    """The numbers of a keyword's last mention, None if there is none."""
    if not keywords.get(key):
        return None
    words = keywords[key][-1].split()[:count]
    try:
        values = tuple(float(w) for w in words)
    except ValueError:
        values = ()
    if len(values) != count or not np.isfinite(values).all():
        raise UnreadableInput(f"{path}: {key}= needs {count} number(s), it has {keywords[key][-1]!r}", "correct it")
    return values


def geometry_of_keywords(path: Path, keywords: dict[str, list[str]]) -> XdsGeometry:
    """The geometry in an XDS.INP or in the header of one of XDS's .HKL files (same keywords)."""

    def get(key: str, count: int, default: tuple[float, ...] = ()) -> tuple[float, ...]:
        return _numbers(path, keywords, key, count) or default

    def one(key: str, default: float = 0.0) -> float:
        return get(key, 1, (default,))[0]

    abc = [get(f"UNIT_CELL_{axis}-AXIS", 3) for axis in "ABC"]
    missing = [k for k in _NEEDED if k not in keywords]
    if missing:
        raise UnreadableInput(f"{path}: has no {', '.join(missing)}", "add it, or put XPARM.XDS beside the file")
    with reading(path, "an XDS file"):
        return XdsGeometry(
            starting_frame=int(one("STARTING_FRAME", get("DATA_RANGE", 2, (1.0, 1.0))[0])),
            starting_angle=one("STARTING_ANGLE"),
            oscillation=one("OSCILLATION_RANGE"),
            rotation_axis=get("ROTATION_AXIS", 3, (1.0, 0.0, 0.0)),
            wavelength=abs(one("X-RAY_WAVELENGTH")),
            beam=get("INCIDENT_BEAM_DIRECTION", 3, (0.0, 0.0, 1.0)),
            space_group=int(one("SPACE_GROUP_NUMBER")),
            cell=get("UNIT_CELL_CONSTANTS", 6) or None,
            axes=np.array(abc) if all(abc) else None,
            nx=int(one("NX")), ny=int(one("NY")), qx=one("QX"), qy=one("QY"),
            orgx=one("ORGX"), orgy=one("ORGY"), distance=one("DETECTOR_DISTANCE"),
            detector_x=get("DIRECTION_OF_DETECTOR_X-AXIS", 3, (1.0, 0.0, 0.0)),
            detector_y=get("DIRECTION_OF_DETECTOR_Y-AXIS", 3, (0.0, 1.0, 0.0)),
            overload=one("OVERLOAD") or None,
            mosaicity=one("REFLECTING_RANGE_E.S.D.") or None,
        )  # fmt: skip


def frame_numbers(path: Path, keywords: dict[str, list[str]]) -> np.ndarray | None:
    """Frames of DATA_RANGE without those of EXCLUDE_DATA_RANGE; None where no range is given."""
    data = _numbers(path, keywords, "DATA_RANGE", 2)
    if data is None:
        return None
    first, last = int(data[0]), int(data[1])
    if not 0 <= last - first <= 10**6:
        raise UnreadableInput(f"{path}: DATA_RANGE= {first} {last} is no range of frames", "correct it")
    numbers = np.arange(first, last + 1)
    for excluded in keywords.get("EXCLUDE_DATA_RANGE", []):
        words = excluded.split()
        if len(words) >= 2 and all(re.fullmatch(r"-?\d{1,9}", w) for w in words[:2]):
            numbers = numbers[(numbers < int(words[0])) | (numbers > int(words[1]))]
    if not len(numbers):
        raise UnreadableInput(f"{path}: EXCLUDE_DATA_RANGE leaves no frame", "correct it")
    return numbers


def read_xds_inp(path: Path) -> tuple[XdsGeometry, np.ndarray | None]:
    """The geometry (STARTING_FRAME defaults to DATA_RANGE's first, as in XDS) and the frames to be used."""
    keywords = parse_keywords(read_text(path, 2**24))
    return geometry_of_keywords(path, keywords), frame_numbers(path, keywords)


def read_frame_numbers(path: Path) -> np.ndarray | None:
    """Only the frames that an XDS.INP uses."""
    return frame_numbers(path, parse_keywords(read_text(path, 2**24)))


def write_xds_inp(path: Path, experiment: Experiment, template: str | None = None, image_format: str = "SMV") -> None:
    """XDS.INP for electrons: distance never refined (it is not determined), gaps as EXCLUDE_DATA_RANGE.

    template: NAME_TEMPLATE_OF_DATA_FRAMES, as ``frames/?????.img``; the default follows credo's own converted frames.
    """
    scan = experiment.scan
    g = XdsGeometry.of(experiment)
    first, last = (int(scan.numbers[0]), int(scan.numbers[-1])) if len(scan) else (1, 1)
    saturation = f"OVERLOAD= {g.overload:.0f}\n" if g.overload else ""
    gaps = "".join(f"EXCLUDE_DATA_RANGE= {a} {b}\n" for a, b in _runs(scan.missing))
    crystal = "SPACE_GROUP_NUMBER= 0\n"
    if g.cell is not None and g.axes is not None:
        crystal = f"SPACE_GROUP_NUMBER= {g.space_group}\nUNIT_CELL_CONSTANTS= {_join(g.cell, '.4f')}\n"
        crystal += "".join(f"UNIT_CELL_{n}-AXIS= {_join(row, '.6f')}\n" for n, row in zip("ABC", g.axes))
    write_text(
        path,
        f"""! Written by credo. One crystal, electrons, {len(scan)} frames of {oscillation_of(scan):.4f} deg.
JOB= XYCORR INIT COLSPOT IDXREF DEFPIX INTEGRATE CORRECT
NAME_TEMPLATE_OF_DATA_FRAMES= {template or "frames/?????.img"} {image_format}
DATA_RANGE= {first} {last}
SPOT_RANGE= {first} {last}
BACKGROUND_RANGE= {first} {min(last, first + 49)}
{gaps}STARTING_FRAME= {g.starting_frame}
STARTING_ANGLE= {g.starting_angle:.6f}
OSCILLATION_RANGE= {g.oscillation:.8f}
ROTATION_AXIS= {_join(g.rotation_axis, ".8f")}
X-RAY_WAVELENGTH= {g.wavelength:.8f}
INCIDENT_BEAM_DIRECTION= 0 0 1
FRACTION_OF_POLARIZATION= 0.5
POLARIZATION_PLANE_NORMAL= 0 1 0
DETECTOR= ADSC
MINIMUM_VALID_PIXEL_VALUE= 0
{saturation}NX= {g.nx} NY= {g.ny} QX= {g.qx:.8g} QY= {g.qy:.8g}
ORGX= {g.orgx:.4f} ORGY= {g.orgy:.4f}
DETECTOR_DISTANCE= {g.distance:.6f}
DIRECTION_OF_DETECTOR_X-AXIS= 1 0 0
DIRECTION_OF_DETECTOR_Y-AXIS= 0 1 0
SENSOR_THICKNESS= 0.3
AIR= 0
TRUSTED_REGION= 0 1.41
VALUE_RANGE_FOR_TRUSTED_DETECTOR_PIXELS= 10 65535
{crystal}FRIEDEL'S_LAW= FALSE
MINIMUM_FRACTION_OF_INDEXED_SPOTS= 0.25
REFINE(IDXREF)= BEAM AXIS ORIENTATION CELL
REFINE(INTEGRATE)= BEAM ORIENTATION CELL
REFINE(CORRECT)= BEAM AXIS ORIENTATION CELL
""",
    )


def _join(values, form: str) -> str:
    return " ".join(format(float(v), form) for v in values)


def _runs(numbers: np.ndarray) -> list[tuple[int, int]]:
    """Consecutive numbers as (first, last)."""
    if not len(numbers):
        return []
    cuts = np.flatnonzero(np.diff(numbers) > 1)
    return [(int(a), int(b)) for a, b in zip(numbers[np.r_[0, cuts + 1]], numbers[np.r_[cuts, len(numbers) - 1]])]
