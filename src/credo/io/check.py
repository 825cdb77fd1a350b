"""What is this? Open any data and say what it holds, what is missing and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.electron import voltage_of
from credo.io.open import Opened, is_reflections, open_experiment
from credo.io.overrides import GeometryOverrides
from credo.model import Experiment, Frames, Report

__all__ = ["check"]

_MEANING = {
    "wavelength": "the wavelength",
    "q_per_pixel": "the scale (camera length)",
    "origin": "the beam centre",
    "axis": "the rotation axis",
    "angles": "the rotation angles",
}
#: Frames looked at for the state of the images themselves.
_LOOK = 12


def check(paths: Path | str | Sequence[Path | str], overrides: GeometryOverrides | None = None) -> Report:
    """Open a data set and report: kind, frames, shape, wavelength, rotation_axis_deg, problems, and what is known.

    The images are only sampled; values that no file states are ``None``.
    """
    given = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    if len(given) == 1 and is_reflections(given[0]):
        return _check_processing(given[0])
    return _report(open_experiment(given, overrides, need_angles=False))


def _report(opened: Opened) -> Report:
    experiment = opened.experiment
    known = set(experiment.known)
    problems = list(experiment.problems) + _problems(experiment) + _pictures(opened)
    scan, det = experiment.scan, experiment.detector
    numbers = {
        "kind": experiment.kind or ("spots" if opened.spots is not None else "frames"),
        "source": experiment.source,
        "frames": len(opened.frames) if opened.frames is not None else 0,
        "spots": len(opened.spots) if opened.spots is not None else 0,
        "shape": list(det.shape),
        "dtype": str(opened.frames.dtype) if opened.frames is not None else None,
        "wavelength": experiment.beam.wavelength if "wavelength" in known else None,
        "voltage_kv": round(voltage_of(experiment.beam.wavelength), 1) if "wavelength" in known else None,
        "rotation_axis_deg": experiment.goniometer.angle_deg if "axis" in known else None,
        "beam_center": list(det.origin) if "origin" in known else None,
        "pixel_size_inv_angstrom": det.q_per_pixel if "q_per_pixel" in known else None,
        "start_deg": float(scan.start_deg[0]) if "angles" in known and len(scan) else None,
        "end_deg": float(scan.end_deg[-1]) if "angles" in known and len(scan) else None,
        "step_deg": float(np.median(scan.width_deg)) if "angles" in known and len(scan) else None,
        "missing_frames": len(scan.missing),
        "known": sorted(known),
        "problems": problems,
    }
    if experiment.crystals:
        numbers |= _crystal(experiment)
    return Report(numbers, tuple(problems))


def _crystal(experiment: Experiment) -> dict[str, Any]:
    c = experiment.crystal
    return {
        "lattices": len(experiment.crystals), "cell": list(c.cell.parameters),
        "cell_esd": list(c.cell.esd) if c.cell.esd else None, "space_group": c.space_group,
    }  # fmt: skip


def _check_processing(path: Path) -> Report:
    """A list of spots or reflections, an orientation, a cell: what the file holds, and what it lacks."""
    from credo.io.edtools import read_cells_yaml
    from credo.io.reflection_files import read_any, sniff

    kind = sniff(path)
    if kind == "cells_yaml":
        records = read_cells_yaml(path)
        return Report({"kind": kind, "frames": 0, "data_sets": len(records), "problems": []})
    experiment, table = read_any(path)
    merged = {"n_reflections": len(table), "columns": list(table), "format": kind}
    if experiment is None:
        said = [f"{path.name} holds no cell, and no .ins, .expt or XDS.INP that belongs to it lies beside it."]
        empty = {"kind": kind, "source": str(path), "frames": 0, "shape": None, "wavelength": None}
        return Report(empty | {"rotation_axis_deg": None, "problems": said} | merged, tuple(said))
    report = _report(Opened(experiment, None, table if len(table) else None))
    return Report(report.numbers | merged, report.warnings)


def _problems(experiment: Experiment) -> list[str]:
    """What is not stated, and gaps."""
    said: list[str] = []
    silent = [meaning for key, meaning in _MEANING.items() if key not in experiment.known]
    if silent:
        said.append(f"No file says {', '.join(silent)}: found from the data where that is possible.")
    missing = experiment.scan.missing
    if len(missing):
        said.append(f"{len(missing)} frames are missing between the first and the last number: kept as gaps.")
    if len(experiment.scan) == 1 and "angles" in experiment.known:
        said.append("A single frame: a rotation series is needed to find a cell.")
    return said


def _pictures(opened: Opened) -> list[str]:
    """Empty, constant or saturated images among a sample of the frames."""
    frames = opened.frames
    if frames is None:
        return []
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(_LOOK, len(frames))).astype(int))
    constant = [int(opened.experiment.scan.numbers[i]) for i in chosen if np.ptp(frames[int(i)]) == 0]
    said: list[str] = []
    if len(constant) == len(chosen):
        said.append("The images are empty: every pixel has the same value.")
    elif constant:
        said.append(f"Frames {', '.join(map(str, constant))} are empty: every pixel has the same value.")
    if _clipped(frames, chosen):
        said.append("Many pixels share the largest value: the detector saturates (or the values were clipped).")
    return said


def _clipped(frames: Frames, chosen: np.ndarray) -> bool:
    top = max(float(frames[int(i)].max()) for i in chosen)
    return top > 100 and sum(int((frames[int(i)] == top).sum()) for i in chosen) > 5 * len(chosen)
