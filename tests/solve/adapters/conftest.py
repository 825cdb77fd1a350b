"""Stand-ins for programs that cannot be shipped: small scripts on PATH that leave files of the documented form."""

import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest

from credo.io.shelx_ins import symmetry_lines
from credo.model import Structure
from credo.solve.adapters.outcome import Task


@pytest.fixture
def fake(tmp_path: Path, monkeypatch):
    """``fake("shelxt", python)``: an executable of that name, alone on PATH with the others made."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, python: str) -> Path:
        path = folder / name
        path.write_text(f"#!{sys.executable}\nimport sys, time, pathlib\nname = sys.argv[1]\n{python}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture(scope="session")
def chain_task(chain, intensities, wavelength) -> tuple[Structure, Task]:
    """A molecule in P 21/c and its intensities, exact but for 2 %."""
    structure = chain("P 1 21/c 1")
    hkl, intensity, sigma = intensities(structure, 0.9, error=0.02)
    return structure, Task(structure.cell, "P", "2/m", hkl, intensity, sigma, wavelength, "C5 N1 O3")


@pytest.fixture(scope="session")
def res_of():
    """``res_of(structure, remarks)``: text of a .res."""
    return _res_of


@pytest.fixture(scope="session")
def same_atoms():
    """``same_atoms(a, b)``: equal atoms in equal order."""
    return _same_atoms


def _res_of(structure: Structure, remarks: str = "") -> str:
    """A .res as SHELX programs write it, by hand."""
    group = gemmi.SpaceGroup(structure.space_group)
    elements = sorted({a.element for a in structure.atoms})
    atoms = [
        f"{a.label:4s} {elements.index(a.element) + 1} "
        + " ".join(f"{x:.5f}" for x in a.xyz)
        + f" 11.00000 {a.u_iso:.5f}"
        for a in structure.atoms
    ]
    return "\n".join([
        "TITL credo_a.res", *remarks.split("\n"),
        "CELL 0.02508 " + " ".join(f"{x:.4f}" for x in structure.cell.parameters),
        "ZERR 4 0 0 0 0 0 0", *symmetry_lines(group, group.centring_type()), "SFAC " + " ".join(elements),
        "UNIT " + " ".join("4" for _ in elements), "L.S. 10", "FVAR 1.0", *atoms, "HKLF 4", "END", "",
    ])  # fmt: skip


def _same_atoms(a: Structure, b: Structure, within: float = 1e-4) -> bool:
    return [x.element for x in a.atoms] == [x.element for x in b.atoms] and bool(
        np.allclose([x.xyz for x in a.atoms], [x.xyz for x in b.atoms], atol=within)
    )
