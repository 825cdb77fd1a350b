"""XDS's CORRECT.LP and XSCALE.LP: cell with uncertainties, space group, and the last table of statistics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from credo.io.merged import cell_or_none
from credo.io.text import head, read_text
from credo.model import Cell
from credo.model.errors import UnreadableInput

__all__ = ["Shell", "XdsStatistics", "read_lp", "sniff_lp"]


@dataclass(frozen=True)
class Shell:
    """One line of the table. ``d_min`` [Å], 0 for the total; fractions, not per cent; None where XDS prints −99.9 %."""

    d_min: float
    observed: int
    unique: int
    possible: int
    completeness: float
    r_observed: float | None
    r_expected: float | None
    compared: int
    i_over_sigma: float
    r_meas: float | None
    cc_half: float | None
    significant: bool


@dataclass(frozen=True)
class XdsStatistics:
    """What the log says of the whole data set. ``isa``: 1/sqrt(a b) of the error model."""

    program: str
    space_group: int | None
    cell: Cell | None
    shells: tuple[Shell, ...]
    total: Shell | None
    mosaicity_deg: float | None
    rotation_axis: tuple[float, float, float] | None
    spot_sd_px: float | None
    spindle_sd_deg: float | None
    isa: float | None


def sniff_lp(path: Path) -> bool:
    """Whether a file is CORRECT.LP or XSCALE.LP."""
    text = head(path, 2000)
    return path.suffix.upper() == ".LP" and ("***** CORRECT *****" in text or "***** XSCALE *****" in text)


_NUMBER = r"[-+]?\d+\.?\d*(?:E[-+]\d+)?"


def read_lp(path: Path) -> XdsStatistics:
    """The last of each: XDS repeats tables for growing numbers of images, the last is that of all."""
    text = read_text(path, 2**27)
    program = "XSCALE" if "***** XSCALE *****" in text[:5000] else "CORRECT"
    if f"***** {program} *****" not in text[:5000]:
        raise UnreadableInput(f"{path}: neither CORRECT.LP nor XSCALE.LP", "give the log of XDS's CORRECT or XSCALE")
    shells, total = _table(text)
    number = _last(text, r"SPACE[ _]GROUP[ _]NUMBER=?", 1)
    axis = _last(text, "LAB COORDINATES OF ROTATION AXIS", 3)
    return XdsStatistics(
        program=program,
        space_group=int(number[0]) if number else None,
        cell=_cell(text),
        shells=shells,
        total=total,
        mosaicity_deg=_one(text, r"CRYSTAL MOSAICITY \(DEGREES\)"),
        rotation_axis=(axis[0], axis[1], axis[2]) if axis else None,
        spot_sd_px=_one(text, r"STANDARD DEVIATION OF SPOT +POSITION \(PIXELS\)"),
        spindle_sd_deg=_one(text, r"STANDARD DEVIATION OF SPINDLE POSITION \(DEGREES\)"),
        isa=_isa(text),
    )


def _last(text: str, key: str, count: int) -> list[float] | None:
    """The numbers after the last mention of a key; they may stand without blanks (2.2E-01-1.0E+00)."""
    found = None
    for match in re.finditer(rf"^[ !]*{key}((?:\s*{_NUMBER}){{{count}}})", text, re.MULTILINE):
        found = match
    if found is None:
        return None
    values = [float(x) for x in re.findall(_NUMBER, found[1])[:count]]
    return values if len(values) == count else None


def _one(text: str, key: str) -> float | None:
    values = _last(text, key, 1)
    return values[0] if values else None


def _cell(text: str) -> Cell | None:
    """The refined cell with its uncertainties (−1: not refined), else the one that XSCALE was given."""
    refined = _last(text, "UNIT CELL PARAMETERS", 6)
    if refined:
        esd = _last(text, r"E\.S\.D\. OF CELL PARAMETERS", 6)
        return cell_or_none(refined, esd if esd and min(esd) >= 0 else None)
    given = _last(text, "UNIT_CELL_CONSTANTS=", 6)
    return cell_or_none(given) if given else None


def _isa(text: str) -> float | None:
    found = re.findall(rf"^\s+a\s+b\s+ISa[^\n]*\n((?:\s*{_NUMBER}){{3}})", text, re.MULTILINE)
    values = re.findall(_NUMBER, found[-1]) if found else []
    return float(values[2]) if len(values) > 2 else None


_ROW = re.compile(
    r"^\s*(\d+\.\d+|total)\s+(\d+)\s+(\d+)\s+(\d+)\s+(-?[\d.]+)%\s+(-?[\d.]+)%\s+(-?[\d.]+)%\s+(\d+)\s+(-?[\d.]+)\s+"
    r"(-?[\d.]+)%\s+(-?[\d.]+)(\*?)",
    re.MULTILINE,
)


def _table(text: str) -> tuple[tuple[Shell, ...], Shell | None]:
    """The last table by resolution that ends with a total."""
    start = text.rfind("AS FUNCTION OF RESOLUTION\n RESOLUTION     NUMBER OF REFLECTIONS")
    shells: list[Shell] = []
    for match in _ROW.finditer(text, max(start, 0)) if start >= 0 else ():
        shell = _shell(match)
        if match[1] == "total":
            return tuple(shells), shell
        shells.append(shell)
    return tuple(shells), None


def _shell(match: re.Match[str]) -> Shell:
    def share(text: str) -> float | None:
        value = float(text)
        return None if value <= -99 else value / 100

    return Shell(
        d_min=0.0 if match[1] == "total" else float(match[1]),
        observed=int(match[2]), unique=int(match[3]), possible=int(match[4]), completeness=float(match[5]) / 100,
        r_observed=share(match[6]), r_expected=share(match[7]), compared=int(match[8]), i_over_sigma=float(match[9]),
        r_meas=share(match[10]), cc_half=float(match[11]) / 100, significant=match[12] == "*",
    )  # fmt: skip
