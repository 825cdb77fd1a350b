"""Olex2: the .ins and .hkl that it opens; olex2.refine and SHELXL take the electron scattering factors from SFAC."""

from __future__ import annotations

from pathlib import Path

from credo.solve.adapters.outcome import cleared
from credo.solve.adapters.shelxl import write_shelxl
from credo.solve.refine.data import Observed
from credo.solve.refine.model import Model

__all__ = ["write_olex2"]


def write_olex2(model: Model, data: Observed, wavelength: float, folder: Path, name: str = "structure") -> Path:
    """NAME.ins, to be opened in Olex2, with NAME.hkl beside it; returns the .ins."""
    folder = cleared(folder, ())
    write_shelxl(model, data, wavelength, folder, name)
    return folder / f"{name}.ins"
