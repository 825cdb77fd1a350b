"""DIALS's experiment lists (.expt) read: beam, one-panel detector, goniometer, scan and crystals, in credo's frame.

In DIALS ``direction`` points from the crystal to the source; credo's z is the way the beam travels. Panels are placed
in the frame of their parent in the ``hierarchy``. Image n covers z from n − 1 to n.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.frame_file import reading
from credo.io.lab_frame import LabFrame, lab_frame
from credo.io.space_group import centring_and_laue, from_hall
from credo.io.text import head, read_text
from credo.kernels.rotation import rotation_vector
from credo.model import Beam, Cell, Crystal, Experiment, Goniometer, Scan
from credo.model.errors import UnreadableInput

__all__ = ["DialsExperiment", "read_expt", "read_expt_groups", "sniff_expt"]

MAX_EXPT = 2**28


@dataclass(frozen=True)
class DialsExperiment:
    """Lattices that share beam, detector, goniometer and scan. ``identifiers`` and ``ids`` (position in the file) are
    in the order of ``experiment.crystals`` (one of each also without crystals)."""

    experiment: Experiment
    identifiers: tuple[str, ...]
    ids: tuple[int, ...]


def sniff_expt(path: Path) -> bool:
    """Whether a file is an .expt (or experiments.json) of DIALS 2 or later."""
    start = head(path, 512)
    return start.lstrip().startswith("{") and '"ExperimentList"' in start


def read_expt(path: Path) -> Experiment:
    """The experiment of a file that holds one data set (several lattices of it are several crystals)."""
    groups = read_expt_groups(path)
    if len(groups) != 1:
        raise UnreadableInput(f"{path}: holds {len(groups)} data sets", "split it with dials.split_experiments")
    return groups[0].experiment


def read_expt_groups(path: Path) -> list[DialsExperiment]:
    """All data sets of a file, in its order."""
    with reading(path, "a DIALS .expt"):
        data = json.loads(read_text(path, MAX_EXPT))
        if not isinstance(data, dict) or data.get("__id__") != "ExperimentList":
            raise UnreadableInput(f"{path}: not a DIALS experiment list", "give the .expt file")
        members: dict[tuple, list[tuple[int, dict]]] = {}
        for i, entry in enumerate(data["experiment"]):
            key = tuple(entry.get(part) for part in ("beam", "detector", "goniometer", "scan", "imageset"))
            members.setdefault(key, []).append((i, entry))
        if not members:
            raise UnreadableInput(f"{path}: an empty experiment list", "give the .expt of an imported data set")
        return [_group(path, data, entries) for entries in members.values()]


def _group(path: Path, data: dict, entries: list[tuple[int, dict]]) -> DialsExperiment:
    first = entries[0][1]
    for part in ("beam", "detector", "scan", "goniometer"):
        if not isinstance(first.get(part), int):
            raise UnreadableInput(f"{path}: an experiment without {part} (a still)", "give a rotation data set")
    beam, detector = data["beam"][first["beam"]], data["detector"][first["detector"]]
    wavelength = float(beam["wavelength"])
    travel = -_array(beam["direction"], 3)
    frame, panel = _frame(path, detector, travel, wavelength)
    scan = _scan(path, data["scan"][first["scan"]])
    axis, fixed = _axis(data["goniometer"][first["goniometer"]])
    found = [(i, e, data["crystal"][e["crystal"]]) for i, e in entries if isinstance(e.get("crystal"), int)]
    crystals = tuple(_crystal(c, frame.rotation @ fixed, _mosaicity(data, e)) for _, e, c in found)
    m = frame.rotation @ axis
    if len(found) == 1 and found[0][2].get("A_at_scan_points"):
        scan = scan.replace(misset_deg=_missets(found[0][2], frame.rotation @ fixed, m, scan))
    if beam.get("s0_at_scan_points"):
        scan = scan.replace(beam_shift=_beam_shift(beam["s0_at_scan_points"], frame, panel, scan))
    experiment = Experiment(
        beam=Beam(wavelength), detector=frame.detector, goniometer=Goniometer(m), scan=scan, crystals=crystals,
        source=str(path), kind="DIALS",
        known=("wavelength", "q_per_pixel", "origin", "axis", "angles", "pixel_size"), problems=frame.problems,
    )  # fmt: skip
    kept = [(i, e) for i, e, _ in found] or entries[:1]
    names = tuple(str(e.get("identifier", "")) for _, e in kept)
    return DialsExperiment(experiment, names, tuple(i for i, _ in kept))


def _array(values: Any, *shape: int) -> np.ndarray:
    """Finite numbers of a given shape."""
    out = np.array(values, dtype=float)
    if out.size != int(np.prod(shape)) or not np.isfinite(out).all():
        raise ValueError(f"{shape} numbers expected")
    return out.reshape(shape)


@dataclass(frozen=True)
class _Panel:
    """In the file's frame: corner [mm], axes, pixel [mm]."""

    corner: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    pixel: tuple[float, float]


def _frame(path: Path, detector: dict, travel: np.ndarray, wavelength: float) -> tuple[LabFrame, _Panel]:
    panels = detector["panels"]
    if len(panels) != 1:
        raise UnreadableInput(f"{path}: a detector of {len(panels)} panels", "credo reads one flat detector")
    p = panels[0]
    axes, origin = _placed(detector.get("hierarchy") or {}, np.eye(3), np.zeros(3), 0)
    local, corner = _own(p)
    axes, corner = axes @ local, origin + axes @ corner
    px, py = (float(v) for v in p["pixel_size"])
    nx, ny = (int(v) for v in p["image_size"])
    if not (0 < nx <= 2**16 and 0 < ny <= 2**16):
        raise ValueError(f"image_size {nx} x {ny}")
    high = float(p.get("trusted_range", (0, 0))[1])
    panel = _Panel(corner, axes[:, 0], axes[:, 1], (px, py))
    made = lab_frame(
        travel, panel.fast, panel.slow, corner, panel.pixel, (ny, nx), wavelength,
        saturation=high if high > 1 else None, gain=float(p.get("gain", 1.0) or 1.0),
        pedestal=float(p.get("pedestal", 0.0)),
    )  # fmt: skip
    return made, panel


def _own(node: dict) -> tuple[np.ndarray, np.ndarray]:
    """Axes (3, 3) as columns and origin [mm] of a panel or group in its parent's frame."""
    fast, slow = _array(node["fast_axis"], 3), _array(node["slow_axis"], 3)
    return np.column_stack([fast, slow, np.cross(fast, slow)]), _array(node["origin"], 3)


def _placed(node: dict, axes: np.ndarray, origin: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The frame of panel 0's parent: groups within groups, each placed in the one above."""
    if depth > 10 or not node:
        return axes, origin
    if "origin" in node and "fast_axis" in node:
        local, shift = _own(node)
        axes, origin = axes @ local, origin + axes @ shift
    inner = [c for c in node.get("children", ()) if isinstance(c, dict) and "panel" not in c]
    return _placed(inner[0], axes, origin, depth + 1) if inner else (axes, origin)


def _axis(gonio: dict) -> tuple[np.ndarray, np.ndarray]:
    """The rotation axis in the file's laboratory and what turns UB before it (S F), from S R(e, φ) F = R(S e, φ) S F;
    for a goniometer of several axes, at their angles."""
    if "rotation_axis" in gonio:
        fixed, setting = (
            _array(gonio.get(k) or np.eye(3), 3, 3) for k in ("fixed_rotation", "setting_rotation")
        )  # fmt: skip
        return setting @ _array(gonio["rotation_axis"], 3), setting @ fixed
    from credo.kernels.rotation import rotation_matrix

    axes, angles, scan_axis = gonio["axes"], gonio["angles"], int(gonio["scan_axis"])
    # axes are listed from the crystal outwards
    inner = outer = np.eye(3)
    for i, (a, angle) in enumerate(zip(axes, angles)):
        turn = rotation_matrix(_array(a, 3) / np.linalg.norm(a), np.radians(float(angle)))
        if i < scan_axis:
            inner = turn @ inner
        elif i > scan_axis:
            outer = turn @ outer
    return outer @ _array(axes[scan_axis], 3), outer @ inner


def _scan(path: Path, scan: dict) -> Scan:
    first, last = (int(v) for v in scan["image_range"])
    n = last - first + 1
    if not 1 <= n <= 10**6:
        raise ValueError(f"image_range {first} {last}")
    properties = scan.get("properties", scan)
    angles = np.array(properties["oscillation"], dtype=float)
    if not np.all(np.abs(angles) < 1e6):
        raise ValueError("an oscillation that is no angle")
    if "properties" in scan and len(angles) == n and n != 2:
        start = angles
        width = properties.get("oscillation_width")
        step = float(width[0]) if width else (float((angles[-1] - angles[0]) / (n - 1)) if n > 1 else 0.0)
    else:
        step = float(angles[1])
        start = float(angles[0]) + step * np.arange(n)
    if not (0 < abs(step) < 180 and np.isfinite(start).all()):
        raise UnreadableInput(f"{path}: an oscillation of {step} deg per image", "give a rotation data set")
    exposure = np.array(properties.get("exposure_time") or [], dtype=float)
    epochs = np.array(properties.get("epochs") or [], dtype=float)
    return Scan(
        np.arange(first, last + 1), start, np.full(n, step),
        exposure_s=exposure if len(exposure) == n and np.any(exposure > 0) else None,
        timestamps=epochs if len(epochs) == n and np.any(epochs > 0) else None,
    )  # fmt: skip


def _mosaicity(data: dict, entry: dict) -> float | None:
    profile = entry.get("profile")
    if not isinstance(profile, int) or profile >= len(data.get("profile", [])):
        return None
    value = data["profile"][profile].get("sigma_m")
    return float(value) if isinstance(value, int | float) and 0 < value < 30 else None


def _crystal(c: dict, rotation: np.ndarray, mosaicity: float | None) -> Crystal:
    direct = np.stack([_array(c[f"real_space_{n}"], 3) for n in "abc"])
    ub = np.linalg.inv(direct)
    cell = Cell.from_vectors(direct)
    if c.get("B_covariance"):
        cell = cell.replace(covariance=_cell_covariance(cell, _array(c["B_covariance"], 9, 9)))
    group = from_hall(str(c.get("space_group_hall_symbol", "P 1")).strip())
    more: dict[str, Any] = centring_and_laue(group) if group is not None and group.number > 1 else {}
    if mosaicity is not None:
        more["mosaicity_deg"] = mosaicity
    return Crystal.from_ub(rotation @ ub, cell=cell, **more)


def _cell_covariance(cell: Cell, b_covariance: np.ndarray) -> np.ndarray:
    """Covariance of the nine elements of B, row by row, carried to the six cell constants."""
    b = cell.B.ravel()

    def constants(x: np.ndarray) -> np.ndarray:
        return np.array(Cell.from_vectors(np.linalg.inv(x.reshape(3, 3))).parameters)

    h = 1e-6 * np.abs(b).max()
    j = np.stack([(constants(b + d) - constants(b - d)) / (2 * h) for d in h * np.eye(9)], axis=1)
    covariance = j @ b_covariance @ j.T
    # what symmetry fixes comes out as rounding errors, also below zero
    fixed = np.diag(covariance) < 1e-15
    covariance[fixed, :] = covariance[:, fixed] = 0.0
    return covariance


def _missets(c: dict, rotation: np.ndarray, axis: np.ndarray, scan: Scan) -> np.ndarray | None:
    """Rotation vectors (n, 3) [deg] at the middle of each frame, applied after R(m, φ), from A at n + 1 scan points;
    the cell's own changes along the scan are left out."""
    a = np.array(c["A_at_scan_points"], dtype=float)
    n = len(scan)
    if a.shape != (n + 1, 9) or not np.isfinite(a).all():
        return None
    static = np.stack([_array(c[f"real_space_{x}"], 3) for x in "abc"])
    w, _, vt = np.linalg.svd(a.reshape(-1, 3, 3) @ static)
    v = rotation_vector(w @ vt)
    mid = 0.5 * (v[1:] + v[:-1]) @ rotation.T
    turned = np.einsum("nij,nj->ni", Goniometer(axis).rotation(scan.mid_deg), mid)
    return np.degrees(turned)


def _beam_shift(points: Any, frame: LabFrame, panel: _Panel, scan: Scan) -> np.ndarray | None:
    """Where each frame's beam meets the panel, minus the origin (n, 2) [px]."""
    s0 = np.array(points, dtype=float)
    if s0.shape != (len(scan) + 1, 3) or not np.isfinite(s0).all():
        return None
    normal = np.cross(panel.fast, panel.slow)
    hit = (panel.corner @ normal) / (s0 @ normal)
    d = hit[:, None] * s0 - panel.corner
    xy = np.stack([d @ panel.fast / panel.pixel[0], d @ panel.slow / panel.pixel[1]], axis=1)
    return 0.5 * (xy[1:] + xy[:-1]) - np.array(frame.detector.origin)
