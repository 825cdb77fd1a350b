"""Sample structures that come with credo: small CIFs written from published coordinates, each with its source."""

from __future__ import annotations

from importlib.resources import as_file, files

from credo.io.structure import read_structure
from credo.model import Structure
from credo.model.errors import UnreadableInput

__all__ = ["SAMPLES", "sample"]

#: Name -> what it is.
SAMPLES = {
    "grossular": "garnet Ca3Al2Si3O12, Ia-3d, a 11.86 Å",
    "gypsum": "CaSO4·2H2O, I2/c, a 5.68 b 15.21 c 6.53 Å β 118.5°",
    "paracetamol": "form II, C8H9NO2, Pbca, a 11.76 b 7.23 c 17.16 Å",
}


def sample(name: str) -> Structure:
    """The structure of that name."""
    if name not in SAMPLES:
        raise UnreadableInput(f"{name!r} is not a sample", f"give one of {', '.join(SAMPLES)}, or a CIF by --cif")
    with as_file(files(__name__) / f"{name}.cif") as path:
        return read_structure(path)
