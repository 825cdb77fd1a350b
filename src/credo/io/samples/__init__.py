"""Sample structures that come with credo: small CIFs written from published coordinates, each with its source."""

from __future__ import annotations

from importlib.resources import as_file, files

from credo.io.structure import read_structure
from credo.model import Structure
from credo.model.errors import UnreadableInput

__all__ = ["SAMPLES", "sample"]

#: Name -> what it is.
SAMPLES = {
    "HKUST-1": "MOF Cu3(C9H3O6)2(H2O)3, Fm-3m, a 26.34 Å",
    "LTA": "zeolite SiO2, Pm-3m, a 11.92 Å",
    "PAU": "zeolite SiO2, Im-3m, a 34.84 Å",
    "ZSM-25": "zeolite SiO2 of type MWF, Im-3m, a 44.74 Å",
    "ZSM-5": "zeolite SiO2 of type MFI, Pnma, a 20.09 b 19.74 c 13.14 Å",
    "andradite": "garnet Ca3Fe2Si3O12, Ia-3d, a 12.05 Å",
    "gold": "Au, Fm-3m, a 4.08 Å",
    "grossular": "garnet Ca3Al2Si3O12, Ia-3d, a 11.86 Å",
    "gypsum": "CaSO4·2H2O, I2/c, a 5.68 b 15.21 c 6.53 Å β 118.5°",
    "mordenite": "zeolite SiO2 of type MOR, Cmcm, a 18.26 b 20.53 c 7.54 Å",
    "paracetamol": "form II, C8H9NO2, Pbca, a 11.76 b 7.23 c 17.16 Å",
    "urea": "CH4N2O, P-42₁m (no centre), a 5.57 c 4.68 Å",
}


def sample(name: str) -> Structure:
    """The structure of that name."""
    if name not in SAMPLES:
        raise UnreadableInput(f"{name!r} is not a sample", f"give one of {', '.join(SAMPLES)}, or a CIF by --cif")
    with as_file(files(__name__) / f"{name}.cif") as path:
        return read_structure(path)
