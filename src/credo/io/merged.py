"""Experiments of files that hold reflections and a cell but no geometry: the rest are placeholders, and said to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from credo.io.space_group import centring_and_laue, find_space_group
from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Scan

__all__ = ["cell_or_none", "without_geometry"]

#: Stands in for a wavelength that the file does not give, or that is no electron's (200 kV).
PLACEHOLDER_WAVELENGTH = 0.0250793


def without_geometry(
    cell: Cell,
    space_group: Any = None,
    wavelength: float | None = None,
    *,
    source: str = "",
    kind: str = "",
    crystal: dict[str, Any] | None = None,
) -> Experiment:
    """One crystal with an arbitrary orientation; ``known`` holds at most the wavelength.

    space_group: gemmi's, a symbol or a number; what is not recognised is named in ``problems``. wavelength [Å].
    """
    group = space_group if hasattr(space_group, "centring_type") else find_space_group(space_group)
    problems: tuple[str, ...] = ()
    if group is None and space_group not in (None, "", "?", ".", 0):
        problems = (f"The space group {str(space_group)[:40]!r} is not known: taken as unknown.",)
    electron = wavelength is not None and 0.001 < wavelength < 0.2
    if wavelength is not None and not electron and wavelength > 0:
        problems += (f"The wavelength {wavelength:g} Å is not an electron's: left out.",)
    return Experiment(
        beam=Beam(float(wavelength) if electron and wavelength else PLACEHOLDER_WAVELENGTH),
        detector=Detector((512, 512), 0.004, (256.0, 256.0)),
        goniometer=Goniometer(np.array([1.0, 0.0, 0.0])),
        scan=Scan.regular(1, 0.0, 1.0),
        crystals=(Crystal(cell, np.eye(3), **{**centring_and_laue(group), **(crystal or {})}),),
        source=source,
        kind=kind,
        known=("wavelength",) if electron else (),
        problems=problems,
    )


def cell_or_none(constants, esd=None) -> Cell | None:
    """The cell of six constants and, where all are known, their uncertainties; None if they span no volume."""
    try:
        if not np.all(np.isfinite([float(x) for x in constants])):
            return None
        covariance = None
        if esd is not None and np.all(np.isfinite(esd)) and np.any(np.asarray(esd) > 0):
            covariance = np.diag(np.square(np.asarray(esd, dtype=float)))
        return Cell(*(float(x) for x in constants), covariance=covariance)
    except (TypeError, ValueError):
        return None
