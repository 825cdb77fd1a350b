"""Frames as other programs take them: SMV numbered from 1 without gaps, angles increasing; and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credo.io import smv
from credo.model import Experiment, Frames, Goniometer, Reflections, Scan

__all__ = ["Whole", "as_numbered", "write_numbered"]


@dataclass(frozen=True)
class Whole:
    """The frames on disk, numbered from 1 without gaps: ``experiment`` of these, ``numbers`` (n,) that they had, and
    ``there`` (n,): which are not blanks that fill a gap; ``back``: the stage turned backwards, so that axis and angles
    have the opposite sign here, R(m, φ) = R(−m, −φ), since both programs want angles that increase."""

    experiment: Experiment
    numbers: np.ndarray
    there: np.ndarray
    back: bool = False


def write_numbered(folder: Path, e: Experiment, frames: Frames) -> Whole:
    """SMV, which both programs read; missing frames as zeros, since DIALS takes no gaps."""
    folder.mkdir()
    scan = e.scan
    numbers = np.arange(scan.numbers[0], scan.numbers[-1] + 1)
    row = np.full(len(numbers), -1)
    row[scan.numbers - numbers[0]] = np.arange(len(scan))
    span = float(scan.end_deg[-1] - scan.start_deg[0])
    sign = -1.0 if span < 0 else 1.0
    e = e.replace(goniometer=Goniometer(sign * e.goniometer.axis))
    regular = Scan.regular(len(numbers), sign * float(scan.start_deg[0]), abs(span) / len(numbers))
    if scan.exposure_s is not None:
        regular = regular.replace(exposure_s=np.full(len(numbers), float(np.median(scan.exposure_s))))
    whole = e.replace(scan=regular, crystals=())
    blank = np.zeros(frames.shape[1:], dtype=frames.dtype)
    for i, k in enumerate(row):
        smv.write(folder / f"{i + 1:05d}.img", frames[int(k)] if k >= 0 else blank, whole, i)
    return Whole(whole, numbers, row >= 0, span < 0)


def as_numbered(
    whole: Whole, e: Experiment, spots: Reflections, table: Reflections
) -> tuple[Experiment, Reflections, Reflections]:
    """With the frames' own numbers, without the blanks and the reflections that crossed them."""
    scan = e.scan
    places = np.asarray(scan.numbers) - 1
    scan = scan.replace(numbers=whole.numbers[places]).part(whole.there[places])
    blank = np.concatenate([[0], np.cumsum(~whole.there)])
    if "first" in table:
        first, last = (np.clip(np.asarray(table[n]).astype(int), 0, len(whole.there) - 1) for n in ("first", "last"))
        table = table.select(blank[last + 1] == blank[first])
    edges = np.concatenate([[0], np.cumsum(whole.there)])
    spots, table = (
        r.with_columns(frame=np.interp(r["frame"], np.arange(len(edges)), edges)) if "frame" in r else r
        for r in (spots, table)
    )
    e = e.replace(scan=scan)
    return (_backwards(e), _turned_back(spots), _turned_back(table)) if whole.back else (e, spots, table)


def _backwards(e: Experiment) -> Experiment:
    """About the opposite axis."""
    scan = e.scan.replace(start_deg=-e.scan.start_deg, width_deg=-e.scan.width_deg)
    return e.replace(goniometer=Goniometer(-e.goniometer.axis), scan=scan)


def _turned_back(table: Reflections) -> Reflections:
    return table.with_columns(**{n: -np.asarray(table[n]) for n in ("phi", "phi_calc") if n in table})
