"""DIALS's experiment lists (.expt) written, in DIALS's usual frame, so that its programs go on from there."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from credo.io.space_group import find_space_group
from credo.io.text import write_text
from credo.io.xds import oscillation_of
from credo.kernels.rotation import rotation_from_vector, rotation_matrix, rotation_vector
from credo.model import Crystal, Experiment, Scan

__all__ = ["TURN", "identifiers_of", "write_expt"]

#: credo's frame to DIALS's usual one (x right, y up, z to the source), and back: its own inverse.
TURN = np.diag([1.0, -1.0, -1.0])


def identifiers_of(experiment: Experiment) -> list[str]:
    """One name for each lattice (one without any), the same for the same content."""
    text = json.dumps(experiment.to_dict(), sort_keys=True)
    return [str(uuid.uuid5(uuid.NAMESPACE_URL, f"{i}{text}")) for i in range(max(1, len(experiment.crystals)))]


def write_expt(path: Path, experiment: Experiment, template: str = "frames_#####.img") -> None:
    """An .expt in DIALS's usual frame. Gaps are bridged: DIALS's scans have none. Drift is kept as s0 at scan points,
    the own orientations of frames as A at scan points, the borders between frames: there the mean of neighbours.

    template: of the image files, ``#`` for digits, relative to the .expt.
    """
    e = experiment
    n_crystals = len(e.crystals)
    index = {"beam": 0, "detector": 0, "goniometer": 0, "scan": 0, "imageset": 0}
    entries = [
        {"__id__": "Experiment", "identifier": name, **index} | ({"crystal": i, "profile": i} if i < n_crystals else {})
        for i, name in enumerate(identifiers_of(e))
    ]
    image_set = {
        "__id__": "ImageSequence", "template": template, "mask": None, "gain": None, "pedestal": None,
        "dx": None, "dy": None, "params": {"dynamic_shadowing": "Auto", "multi_panel": False},
    }  # fmt: skip
    profiles = [
        {"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": 0.02, "sigma_m": c.mosaicity_deg} for c in e.crystals
    ]
    data = {
        "__id__": "ExperimentList",
        "experiment": entries,
        "imageset": [image_set],
        "beam": [_beam_dict(e)],
        "detector": [_detector_dict(e)],
        "goniometer": [_goniometer_dict(e)],
        "scan": [_scan_dict(e.scan)],
        "crystal": [_crystal_dict(c) | _scan_varying(e, c) for c in e.crystals],
        "profile": profiles,
        "scaling_model": [],
    }
    write_text(path, json.dumps(data, indent=2) + "\n")


def _beam_dict(e: Experiment) -> dict[str, Any]:
    out: dict[str, Any] = {
        "direction": [0.0, 0.0, 1.0], "wavelength": e.beam.wavelength, "divergence": 0.0, "sigma_divergence": 0.0,
        "polarization_normal": [0.0, 1.0, 0.0], "polarization_fraction": 0.5, "flux": 0.0, "transmission": 1.0,
    }  # fmt: skip
    if e.scan.beam_shift is not None and len(e.scan) > 1:
        shift = _at_scan_points(e.scan, e.scan.beam_shift) * e.detector.pixel_size_mm
        distance = e.detector.distance_mm(e.beam.wavelength)
        s0 = np.column_stack([shift, np.full(len(shift), distance)]) @ TURN
        s0 = s0 / np.linalg.norm(s0, axis=1, keepdims=True) / e.beam.wavelength
        out["s0_at_scan_points"] = s0.tolist()
    return out


def _at_scan_points(scan: Scan, values: np.ndarray) -> np.ndarray:
    """Values (n, k) at frames' middles interpolated to the borders of all numbers from first to last (N + 1, k)."""
    borders = np.arange(scan.numbers[0] - 1, scan.numbers[-1] + 1, dtype=float)
    middle = scan.numbers - 0.5
    return np.stack([np.interp(borders, middle, values[:, k]) for k in range(values.shape[1])], axis=1)


def _detector_dict(e: Experiment) -> dict[str, Any]:
    d = e.detector
    px, distance = d.pixel_size_mm, d.distance_mm(e.beam.wavelength)
    plain = {
        "raw_image_offset": [0, 0], "thickness": 0.0, "material": "", "mu": 0.0, "identifier": "", "mask": [],
        "px_mm_strategy": {"type": "SimplePxMmStrategy"},
    }  # fmt: skip
    panel = {
        "name": "Panel", "type": "SENSOR_PAD", "fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, -1.0, 0.0],
        "origin": [-d.origin[0] * px, d.origin[1] * px, -distance], "image_size": [d.shape[1], d.shape[0]],
        "pixel_size": [px, px], "trusted_range": [-1.0, d.saturation or 1e9], "gain": d.gain, "pedestal": d.pedestal,
    }  # fmt: skip
    root = {
        "name": "", "type": "", "fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, 1.0, 0.0], "origin": [0.0, 0.0, 0.0],
        "image_size": [0, 0], "pixel_size": [0.0, 0.0], "trusted_range": [0.0, 0.0], "gain": 1.0, "pedestal": 0.0,
    }  # fmt: skip
    return {"panels": [panel | plain], "hierarchy": root | plain | {"children": [{"panel": 0}]}}


def _goniometer_dict(e: Experiment) -> dict[str, Any]:
    one = np.eye(3).ravel().tolist()
    return {
        "rotation_axis": (TURN @ e.goniometer.axis).tolist(),
        "fixed_rotation": one,
        "setting_rotation": one,
    }


def _scan_dict(scan: Scan) -> dict[str, Any]:
    first, last = int(scan.numbers[0]), int(scan.numbers[-1])
    n = last - first + 1

    def every(values: np.ndarray | None) -> list[float]:
        full = np.zeros(n)
        if values is not None:
            full[scan.numbers - first] = values
        return full.tolist()

    return {
        "image_range": [first, last],
        "batch_offset": 0,
        "oscillation": [float(scan.start_deg[0]), oscillation_of(scan)],
        "exposure_time": every(scan.exposure_s),
        "epochs": every(scan.timestamps),
        "valid_image_ranges": {},
    }


def _crystal_dict(c: Crystal) -> dict[str, Any]:
    direct = np.linalg.inv(TURN @ c.UB)
    group = find_space_group(c.space_group)
    hall = group.hall if isinstance(group, gemmi.SpaceGroup) else _lattice_hall(c.centring)
    return {
        "__id__": "crystal",
        **{f"real_space_{n}": row.tolist() for n, row in zip("abc", direct)},
        "space_group_hall_symbol": hall,
    }


def _scan_varying(e: Experiment, c: Crystal) -> dict[str, Any]:
    """A at scan points: M R(m, φ) UB = R(m, φ′) A with DIALS's even angles φ′."""
    scan, axis = e.scan, e.goniometer.axis
    if scan.misset_deg is None or len(scan) < 2:
        return {}
    even = scan.start_deg[0] + oscillation_of(scan) * (scan.numbers - scan.numbers[0] + 0.5)
    lying = rotation_from_vector(np.radians(scan.misset_deg)) @ rotation_matrix(axis, np.radians(scan.mid_deg))
    turn = rotation_vector(rotation_matrix(axis, -np.radians(even)) @ lying)
    a = TURN @ rotation_from_vector(_at_scan_points(scan, turn)) @ c.UB
    return {"A_at_scan_points": a.reshape(-1, 9).tolist()}


def _lattice_hall(centring: str) -> str:
    """The triclinic group of a centring; DIALS takes centring from the space group."""
    return {"R": "R 1"}.get(centring, f"{centring} 1")
