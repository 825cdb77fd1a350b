"""JANA2020: a CIF of the structure and an HKLF 4 list, for its import dialogues.

JANA's own files (.m40, .m50) are not written: we have no description of them to go by. For dynamical refinement
import the .cif_pets that :func:`credo.io.cif_pets.write_cif_pets` writes instead of the list.
"""

from __future__ import annotations

from pathlib import Path

from credo.io.shelx import write_hkl
from credo.io.text import write_text
from credo.model import Reflections
from credo.solve.adapters.outcome import cleared
from credo.solve.refine.data import Merged
from credo.solve.refine.result import Refined
from credo.solve.refine.to_cif import CifExtras, structure_cif

__all__ = ["write_jana"]


def write_jana(refined: Refined, merged: Merged, wavelength: float, folder: Path, name: str = "structure") -> Path:
    """NAME.cif and NAME.hkl; returns the CIF."""
    folder = cleared(folder, ())
    write_text(folder / f"{name}.cif", structure_cif(refined, CifExtras(wavelength, merged), name))
    data = merged.observed
    h, k, l = data.hkl.T
    write_hkl(folder / f"{name}.hkl", Reflections({"h": h, "k": k, "l": l, "intensity": data.f2, "sigma": data.sigma}))
    return folder / f"{name}.cif"
