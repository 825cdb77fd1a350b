"""PETS2's .cif_pets: intensities frame by frame with the orientation of every frame, as Jana and Dyngo read them.

A frame turns q by Rx(α) Ry(β) in PETS's crystal frame (x along the axis, z to the source) and lies in the picture with
its axis at omega, anticlockwise with y up. Checked on α-glycine's zone axes (1e-4) and on DIALS's own export of quartz.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.cif import cell_of_block, column, parse, value_of
from credo.io.frame_file import reading
from credo.io.merged import without_geometry
from credo.io.pets import crystal_frame
from credo.io.text import head, number, write_text
from credo.kernels.rotation import rotation_from_vector, rotation_matrix, rotation_vector
from credo.model import Crystal, Experiment, Goniometer, Reflections, Scan
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["read_cif_pets", "sniff_cif_pets", "write_cif_pets"]

_X, _Y = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])


def sniff_cif_pets(path: Path) -> bool:
    """Whether a file is a CIF of PETS2 with orientations."""
    if path.suffix.lower() == ".cif_pets":
        return True
    return head(path, 64).lower().lstrip().startswith("data_") and "_diffrn_pets_omega" in head(path, 2**14)


def read_cif_pets(path: Path) -> tuple[Experiment, Reflections]:
    """Columns h k l intensity sigma, frame and phi of the zone axis each belongs to, and its scale.

    The scan's frames are PETS's (possibly virtual, overlapping) frames: the start and width follow from the precession
    angle (half the width), the misset from β and the changes of omega. Scale and centre of the pattern are not in the
    file.
    """
    block = _block(path)
    with reading(path, "a .cif_pets"):
        cell = cell_of_block(block)
        ub = _ub(block)
        if cell is None or ub is None:
            raise UnreadableInput(f"{path}: has no cell or no UB matrix", "give a .cif_pets of PETS2")
        zones = _zones(block)
        text = value_of(block, "_diffrn_radiation_wavelength") or ""
        scan, angle = _scan(zones, block)
        t = crystal_frame(angle)
        crystal = Crystal.from_ub(t.T @ ub)
        base = without_geometry(
            cell, None, number(text) if text else None, source=str(path), kind="PETS",
            crystal={"mosaicity_deg": _detail(block, "mosaicity") or 0.1},
        )  # fmt: skip
        experiment = base.replace(
            crystals=(base.crystal.replace(orientation=crystal.orientation),),
            goniometer=Goniometer.in_plane(angle), scan=scan, known=(*base.known, "axis", "angles"),
        )  # fmt: skip
        return experiment, _reflections(path, block, zones, scan)


def _block(path: Path) -> Any:
    """The first block; some versions end with a comment or give names twice, which strict parsers refuse."""
    document = parse(path)
    for block in document:
        return block
    raise UnreadableInput(f"{path}: an empty CIF", "copy the file again")


def _ub(block: Any) -> np.ndarray | None:
    words = [value_of(block, f"_diffrn_orient_matrix_UB_{i}{j}") for i in (1, 2, 3) for j in (1, 2, 3)]
    if None in words:
        return None
    ub = np.array([number(w or "") for w in words]).reshape(3, 3)
    return ub if np.isfinite(ub).all() and np.linalg.det(ub) > 1e-12 else None


def _zones(block: Any) -> dict[str, np.ndarray]:
    """The frames, increasing in angle or decreasing."""
    out = {}
    for name in ("id", "alpha", "beta", "omega", "precession_angle", "scale"):
        values = column(block, f"_diffrn_zone_axis_{name}")
        if values is None and name in ("beta", "omega", "scale"):
            values = np.full(len(out["id"]), 1.0 if name == "scale" else 0.0)
        if values is None or not np.isfinite(values).all() or not len(values):
            raise ValueError(f"no usable _diffrn_zone_axis_{name}")
        out[name] = values
    if len(np.unique(out["id"])) != len(out["id"]) or np.any(np.abs(out["id"]) > 10**9):
        raise ValueError("_diffrn_zone_axis_id are not different numbers")
    order = np.argsort(out["id"], kind="stable")
    return {k: v[order] for k, v in out.items()}


def _detail(block: Any, key: str) -> float | None:
    """A number from the text of _diffrn_measurement_details."""
    match = re.search(rf"{key}:\s*([-+]?\d+\.?\d*)", value_of(block, "_diffrn_measurement_details") or "")
    return float(match[1]) if match and float(match[1]) != 0 else None


def _scan(zones: dict[str, np.ndarray], block: Any) -> tuple[Scan, float]:
    """The frames and credo's in-plane angle of the axis [deg]."""
    omega = zones["omega"]
    mean = float(np.degrees(np.arctan2(np.sin(np.radians(omega)).mean(), np.cos(np.radians(omega)).mean())))
    angle = -mean % 360
    alpha = zones["alpha"]
    sign = -1.0 if len(alpha) > 1 and alpha[-1] < alpha[0] else 1.0
    half = np.abs(zones["precession_angle"])
    step = float(np.median(np.abs(np.diff(alpha)))) if len(alpha) > 1 else 1.0
    width = sign * np.where(half > 0, 2 * half, step or 1.0)
    t0 = crystal_frame(angle)
    turned = rotation_matrix(_X, np.radians(alpha)) @ rotation_matrix(_Y, np.radians(zones["beta"]))
    whole = np.stack([crystal_frame(-o).T for o in omega]) @ turned @ t0
    ideal = Goniometer.in_plane(angle).rotation(alpha)
    misset = np.degrees(rotation_vector(whole @ np.swapaxes(ideal, -1, -2)))
    scan = Scan(
        zones["id"].astype(np.int64), alpha - width / 2, width,
        misset_deg=misset if np.abs(misset).max() > 1e-9 else None,
    )  # fmt: skip
    return scan, angle


def _reflections(path: Path, block: Any, zones: dict[str, np.ndarray], scan: Scan) -> Reflections:
    names = ("index_h", "index_k", "index_l", "intensity_meas", "intensity_sigma", "zone_axis_id")
    data = [column(block, f"_refln_{n}") for n in names]
    if any(d is None for d in data):
        if all(d is None for d in data):
            return Reflections()
        raise UnreadableInput(f"{path}: the _refln loop is not complete", "give a .cif_pets of PETS2")
    table = np.stack([d for d in data if d is not None], axis=1)
    table = table[np.isfinite(table).all(axis=1)]
    if np.abs(table[:, :3]).max(initial=0) > 10**6:
        raise ValueError("h, k, l are too large")
    row = np.clip(np.searchsorted(scan.numbers, table[:, 5]), 0, len(scan) - 1)
    if np.any(scan.numbers[row] != table[:, 5]):
        raise UnreadableInput(f"{path}: a reflection of a frame that is not listed", "give the whole file")
    return Reflections(
        h=table[:, 0], k=table[:, 1], l=table[:, 2], intensity=table[:, 3], sigma=table[:, 4],
        frame=row + 0.5, phi=scan.mid_deg[row], scale=zones["scale"][row], lattice=np.zeros(len(table), dtype=int),
    )  # fmt: skip


# ---------------------------------------------------------------- writing


def frame_angles(experiment: Experiment) -> np.ndarray:
    """(n, 3): α, β, omega [deg] of every frame, with its misset, as PETS gives them.

    With W = T₀ R_misset R(m, φ) T₀ᵀ = Rz(δ) Rx(α) Ry(β): sin α = W₃₂, tan β = −W₃₁/W₃₃, tan δ = −W₁₂/W₂₂. α beyond 90°
    is the other solution of the same W.
    """
    e, scan = experiment, experiment.scan
    angle = e.goniometer.angle_deg
    t0 = crystal_frame(angle)
    r = e.goniometer.rotation(scan.mid_deg)
    if scan.misset_deg is not None:
        r = rotation_from_vector(np.radians(scan.misset_deg)) @ r
    w = t0 @ r @ t0.T
    alpha = np.degrees(np.arcsin(np.clip(w[:, 2, 1], -1, 1)))
    beyond = np.abs((scan.mid_deg + 180) % 360 - 180) > 90
    s = np.where(beyond, -1.0, 1.0)
    alpha = np.where(beyond, 180 - alpha, alpha)
    beta = np.degrees(np.arctan2(-s * w[:, 2, 0], s * w[:, 2, 2]))
    delta = np.degrees(np.arctan2(-s * w[:, 0, 1], s * w[:, 1, 1]))
    alpha = scan.mid_deg + (alpha - scan.mid_deg + 180) % 360 - 180
    return np.column_stack([alpha, beta, (-angle + delta) % 360])


def write_cif_pets(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    """Every reflection with the frame of its centroid; frames keep their measured orientation.

    For dynamical refinement the table should hold one row for each reflection and frame (``frame`` = list index + 0.5).
    """
    e, r = experiment, reflections
    if not e.crystals or not all(n in r for n in ("h", "k", "l", "intensity", "sigma", "frame")):
        raise CannotDo(f"{path}: .cif_pets needs indices, intensities, sigmas and frames", "integrate the data first")
    if "rejected" in r:
        r = r.select(~r["rejected"])
    row = np.clip(np.floor(r["frame"]).astype(int), 0, len(e.scan) - 1)
    numbers = e.scan.numbers[row]
    order = np.lexsort((r["l"], r["k"], r["h"], numbers))
    columns = (r["h"], r["k"], r["l"], r["intensity"], r["sigma"], numbers)
    rows = zip(*(np.asarray(v)[order].tolist() for v in columns))
    body = "".join(f"{h:4d}{k:4d}{l:4d} {i:11.2f} {s:11.2f} {n:5d}\n" for h, k, l, i, s, n in rows)
    names = ("index_h", "index_k", "index_l", "intensity_meas", "intensity_sigma", "zone_axis_id")
    loop = "loop_\n" + "".join(f"_refln_{n}\n" for n in names)
    scale = np.ones(len(e.scan))
    if "scale" in r and len(r):
        scale[row] = r["scale"]
    write_text(path, _head(e) + _zone_loop(e, scale) + loop + body)


def _head(e: Experiment) -> str:
    cell = e.crystal.cell
    ub = crystal_frame(e.goniometer.angle_deg) @ e.crystal.UB
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_pets", *(f"_cell_{n:<14s} {v:11.5f}" for n, v in zip(names, cell.parameters))]
    lines += [f"_cell_volume         {cell.volume:11.5f}", f"_diffrn_radiation_wavelength {e.beam.wavelength:.6f}"]
    lines += [f"_diffrn_orient_matrix_UB_{i + 1}{j + 1} {ub[i, j]:12.8f}" for i in range(3) for j in range(3)]
    lines += [
        "_diffrn_pets_omega  0.00000", "", "_diffrn_measurement_details", ";",
        "data collection geometry: continuous rotation",
        f"dstarmax: {e.detector.q_per_pixel * max(e.detector.shape) / 2:6.3f}", "RC width: 0.00100",
        f"mosaicity: {e.crystal.mosaicity_deg:6.3f}", f"rotation axis position: {-e.goniometer.angle_deg % 360:8.3f}",
        "reflection size: 8.000", ";", "",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _zone_loop(e: Experiment, scale: np.ndarray) -> str:
    names = ("id", "u", "v", "w", "precession_angle", "alpha", "beta", "omega", "scale")
    angles = frame_angles(e)
    ub = crystal_frame(e.goniometer.angle_deg) @ e.crystal.UB
    turned = rotation_matrix(_X, np.radians(angles[:, 0])) @ rotation_matrix(_Y, np.radians(angles[:, 1]))
    # the beam in the crystal's frame is the last row of the rotation; u v w = UBᵀ of it
    uvw = turned[:, 2, :] @ ub
    uvw = uvw / np.abs(uvw).max(axis=1, keepdims=True)
    half = np.abs(e.scan.width_deg) / 2
    rows = "".join(
        f"{n:4d} " + " ".join(f"{v:8.5f}" for v in u) + f" {p:12.4f} {a:10.4f} {b:9.4f} {o:9.4f} {s:9.4f}\n"
        for n, u, p, (a, b, o), s in zip(
            e.scan.numbers.tolist(), uvw.tolist(), half.tolist(), angles.tolist(), scale.tolist()
        )
    )
    return "loop_\n" + "".join(f"_diffrn_zone_axis_{n}\n" for n in names) + rows
