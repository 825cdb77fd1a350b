"""How a result compares with what the simulator knew: lattice, cell, orientation, axis, beam and intensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from credo.kernels.rotation import misorientation_deg
from credo.model import Cell, Crystal, Experiment, Reflections
from credo.physics.symmetry import primitive_basis
from credo.physics.truth import Truth

__all__ = ["LatticeMatch", "compare", "match_lattice", "primitive_vectors"]


@dataclass(frozen=True)
class LatticeMatch:
    """``right``: one lattice up to a common scale; ``transform``: integers M, h_true = M h_found, of the primitive
    bases; ``angle_deg`` between the two; ``cell``: the true lattice on the found crystal's conventional axes."""

    right: bool
    transform: np.ndarray
    angle_deg: float
    cell: Cell | None


def match_lattice(found: Crystal, true: Crystal, tolerance: float = 0.08) -> LatticeMatch:
    """Compare two lattices as they lie at φ = 0; ``tolerance`` in units of the true indices."""
    ub, ub_true = primitive_vectors(found), primitive_vectors(true)
    scale = np.cbrt(abs(np.linalg.det(ub_true) / np.linalg.det(ub)))
    m = np.linalg.solve(ub_true, ub) * scale
    whole = np.rint(m)
    if abs(abs(np.linalg.det(whole)) - 1) > 1e-6 or np.abs(m - whole).max() > tolerance:
        return LatticeMatch(False, whole, float("nan"), None)
    u, _, vt = np.linalg.svd(ub @ np.linalg.inv(ub_true @ whole))
    # h_primitive = Pᵀ h: the true lattice seen by the found crystal's conventional axes
    conventional = ub_true @ whole @ primitive_basis(found.centring).T
    return LatticeMatch(
        True, whole, float(misorientation_deg(u @ vt, np.eye(3))), Cell.from_vectors(np.linalg.inv(conventional))
    )


def compare(found: Experiment, reflections: Reflections | None, truth: Truth) -> dict[str, Any]:
    """The errors of a result; lengths and angles of the cell are judged on the axes that the program chose."""
    true = truth.experiment
    match = match_lattice(found.crystal, true.crystal)
    axis = np.degrees(np.arccos(np.clip(found.goniometer.axis @ true.goniometer.axis, -1, 1)))
    beam = np.subtract(found.detector.origin, true.detector.origin)
    errors: dict[str, Any] = {
        "lattice_right": match.right,
        "axis_deg": float(axis),
        "beam_px": float(np.hypot(*beam)),
        "ellipse_percent": float(found.detector.ellipse.amplitude_percent - true.detector.ellipse.amplitude_percent),
    }
    if match.cell is None:
        return errors
    lengths = np.array(found.crystal.cell.lengths) / np.array(match.cell.lengths) - 1
    errors |= {
        "cell_length_percent": 100 * float(np.abs(lengths).max()),
        "cell_angle_deg": float(np.abs(np.subtract(found.crystal.cell.angles, match.cell.angles)).max()),
        "orientation_deg": match.angle_deg,
    }
    if reflections is not None:
        errors |= _intensities(found.crystal, reflections, match, truth)
    return errors


def primitive_vectors(crystal: Crystal) -> np.ndarray:
    """UB (3, 3) of a primitive basis."""
    return crystal.UB @ np.linalg.inv(primitive_basis(crystal.centring)).T


def _intensities(crystal: Crystal, reflections: Reflections, match: LatticeMatch, truth: Truth) -> dict[str, Any]:
    """Pearson's correlation of Lorentz-corrected intensities, crossing by crossing."""
    true_crystal = truth.experiment.crystal
    primitive = reflections.hkl @ primitive_basis(crystal.centring) @ match.transform.T
    hkl = np.rint(primitive @ np.linalg.inv(primitive_basis(true_crystal.centring))).astype(int)
    main = truth.reflections.select(truth.reflections["lattice"] == 0)
    rows, partners = _pairs(hkl, reflections["phi"], main.hkl, main["phi"])
    if len(rows) < 3:
        return {"n_compared": len(rows), "intensity_cc": None}
    true = (main["intensity"] / main["lorentz"])[partners]
    return {
        "n_compared": len(rows),
        "intensity_cc": float(np.corrcoef(reflections["intensity"][rows], true)[0, 1]),
    }


def _pairs(
    hkl: np.ndarray, phi: np.ndarray, hkl_true: np.ndarray, phi_true: np.ndarray, within_deg: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of crossings with the same index at nearly the same angle."""
    places: dict[tuple[int, ...], list[int]] = {}
    for i, h in enumerate(map(tuple, hkl_true.tolist())):
        places.setdefault(h, []).append(i)
    pairs = []
    for j, h in enumerate(map(tuple, hkl.tolist())):
        nearest = min(places.get(h, []), key=lambda i: abs(phi_true[i] - phi[j]), default=None)
        if nearest is not None and abs(phi_true[nearest] - phi[j]) < within_deg:
            pairs.append((j, nearest))
    table = np.array(pairs, dtype=int).reshape(-1, 2)
    return table[:, 0], table[:, 1]
