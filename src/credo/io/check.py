"""What is this? Open any data and say what it holds, what is missing and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from credo.io.electron import voltage_of
from credo.io.open import Opened, open_experiment
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
    opened = open_experiment(paths, overrides, need_angles=False)
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
    return Report(numbers, tuple(problems))


def _problems(experiment: Experiment) -> list[str]:
    """What is not stated, and gaps."""
    said: list[str] = []
    silent = [meaning for key, meaning in _MEANING.items() if key not in experiment.known]
    if silent:
        said.append(f"No file says {', '.join(silent)}: found from the data where that is possible.")
    missing = experiment.scan.missing
    if len(missing):
        said.append(f"{len(missing)} frames are missing between the first and the last number: kept as gaps.")
    if len(experiment.scan) == 1:
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
