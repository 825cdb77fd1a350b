"""What ``credo orient`` can read: a folder of ``credo process``, a .cif_pets, or a plain table with a cell.

A table may have ``sigma``, and ``x`` and ``y`` of the spots in pixels, y downwards, seen along the beam.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from credo.io.merged import PLACEHOLDER_WAVELENGTH
from credo.io.project import read_experiment, read_reflections
from credo.io.reflection_files import read_any
from credo.io.text import read_text
from credo.model import Cell, Experiment, Reflections, UnreadableInput
from credo.orient.observations import Observations
from credo.orient.orientations import OrientSettings

__all__ = ["OrientFileSettings", "OrientInput", "read_observations"]

_NEEDED = ("frame", "h", "k", "l", "intensity")
_MOST_ROWS = 20_000_000


class OrientFileSettings(OrientSettings):
    """How orientations are found, and what a plain table does not say."""

    cell: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="of a plain table: a, b, c [Å], α, β, γ [°]"
    )
    wavelength: float | None = Field(default=None, gt=0.001, lt=0.2, description="[Å]; of a plain table, else as known")
    step_deg: float | None = Field(default=None, description="of a plain table: nominal rotation from frame to frame")
    width_deg: float | None = Field(
        default=None, ge=0, description="rotation during a frame; 0 for frames that stand, step_deg unless given"
    )
    dynamical: Path | None = Field(
        default=None, description="CIF of the structure: orientation, scale and thickness of each frame by Bloch waves"
    )
    angles: Path | None = Field(
        default=None, description="of a plain table: a CSV with a row for every frame, angle_deg and maybe readout_deg"
    )


@dataclass(frozen=True, eq=False)
class OrientInput:
    """``experiment``: of processed data, else None; ``readout_deg`` (f,): what the microscope said, where known."""

    observations: Observations
    experiment: Experiment | None = None
    readout_deg: np.ndarray | None = None


def read_observations(path: Path, settings: OrientFileSettings) -> OrientInput:
    """Raises UnreadableInput, naming file and line, for anything that cannot be used."""
    path = Path(path)
    if path.is_dir():
        return _processed(path, settings)
    if path.suffix.lower() == ".cif_pets":
        experiment, table = read_any(path)
        assert experiment is not None
        return _of_experiment(experiment, table, settings)
    return _plain(path, settings)


def _processed(folder: Path, settings: OrientFileSettings) -> OrientInput:
    for name in ("experiment.json", "partials.h5"):
        if not (folder / name).is_file():
            raise UnreadableInput(
                f"{folder}: has no {name}", "give a folder of `credo process` (process it again if it is older)"
            )
    return _of_experiment(
        read_experiment(folder / "experiment.json"), read_reflections(folder / "partials.h5"), settings
    )


def _of_experiment(experiment: Experiment, table: Reflections, settings: OrientFileSettings) -> OrientInput:
    scan = experiment.scan
    width = float(np.median(np.abs(scan.width_deg))) if settings.width_deg is None else settings.width_deg
    observations = Observations(
        experiment.crystal.cell, settings.wavelength or experiment.beam.wavelength,
        np.clip(np.floor(table["frame"]).astype(int), 0, len(scan) - 1), table.hkl.astype(int), table["intensity"],
        table["sigma"], scan.mid_deg, width,
    )  # fmt: skip
    return OrientInput(observations, experiment)


def _plain(path: Path, settings: OrientFileSettings) -> OrientInput:
    columns = _columns(path, _NEEDED)
    if settings.cell is None:
        raise UnreadableInput(f"{path}: a plain table has no cell", "give --cell a,b,c,alpha,beta,gamma")
    try:
        cell = Cell(*settings.cell)
    except ValueError as error:
        raise UnreadableInput(f"the cell {settings.cell} spans no volume", "check --cell") from error
    frame = columns["frame"].astype(int)
    angles, readout = _angles(path, settings, int(frame.max()) + 1 if len(frame) else 0)
    width = settings.width_deg
    if width is None:
        width = float(np.median(np.abs(np.diff(angles)))) if len(angles) > 1 else 0.0
    sigma = columns.get("sigma", np.zeros(len(frame)))
    hkl = np.column_stack([columns[n] for n in "hkl"])
    if not np.array_equal(hkl, np.rint(hkl)):
        raise UnreadableInput(f"{path}: indices that are no whole numbers", "give indexed reflections")
    xy = np.column_stack([columns["x"], columns["y"]]) if {"x", "y"} <= set(columns) else None
    observations = Observations(
        cell, settings.wavelength or PLACEHOLDER_WAVELENGTH, frame, hkl.astype(int), columns["intensity"], sigma,
        angles, width, xy,
    )  # fmt: skip
    return OrientInput(observations, None, readout)


def _angles(path: Path, settings: OrientFileSettings, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    if settings.angles is not None:
        columns = _columns(settings.angles, ("angle_deg",))
        if len(columns["angle_deg"]) < n:
            raise UnreadableInput(
                f"{settings.angles}: {len(columns['angle_deg'])} angles for {n} frames", "give one row for every frame"
            )
        return columns["angle_deg"], columns.get("readout_deg")
    if settings.step_deg is None or settings.step_deg == 0:
        raise UnreadableInput(f"{path}: a plain table has no angles", "give --step-deg, or --angles FILE")
    return np.arange(n) * settings.step_deg, None


def _columns(path: Path, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Named columns of a text table separated by commas, semicolons, tabs or blanks, the names in its first line."""
    lines = [line for line in read_text(path, 2**31).splitlines() if line.strip()]
    if not lines:
        raise UnreadableInput(f"{path}: empty", f"give a table with the columns {', '.join(needed)}")
    separator = next((c for c in ",;\t" if c in lines[0]), None)
    names = [w.strip().lower() for w in lines[0].lstrip("# ").split(separator)]
    missing = [n for n in needed if n not in names]
    if missing:
        raise UnreadableInput(
            f"{path}: the first line names no column {', '.join(missing)}", f"name them: {','.join(needed)},sigma,x,y"
        )
    if len(lines) > _MOST_ROWS:
        raise UnreadableInput(f"{path}: more than {_MOST_ROWS} rows", "give one series at a time")
    rows = csv.reader(lines[1:], delimiter=separator) if separator else (line.split() for line in lines[1:])
    values = np.empty((len(lines) - 1, len(names)))
    for i, row in enumerate(rows):
        try:
            values[i] = [float(w) for w in row]
        except ValueError:
            raise UnreadableInput(
                f"{path}, line {i + 2}: {' '.join(row)[:60]!r} is not {len(names)} numbers", "correct or remove it"
            ) from None
    return dict(zip(names, values.T))
