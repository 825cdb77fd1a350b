"""Structures from CIF, and the samples that come with credo."""

from __future__ import annotations

from collections import Counter

import gemmi
import numpy as np
import pytest

from credo.io.samples import SAMPLES, sample
from credo.io.structure import read_structure
from credo.model import UnreadableInput

#: Atoms of each element in the cell, and density [g/cm³] as the literature gives it (±1 %).
CONTENT = {
    # zeolites: T atoms and framework densities of the Atlas, HKUST-1 with its axial water
    "HKUST-1": ({"Cu": 48, "C": 288, "H": 96, "O": 240}, 0.949),
    "LTA": ({"Si": 24, "O": 48}, 14.2 * 0.09977),
    "PAU": ({"Si": 672, "O": 1344}, 15.9 * 0.09977),
    "ZSM-25": ({"Si": 1440, "O": 2880}, 16.1 * 0.09977),
    "ZSM-5": ({"Si": 96, "O": 192}, 18.4 * 0.09977),
    "mordenite": ({"Si": 48, "O": 96}, 17.0 * 0.09977),
    "andradite": ({"Ca": 24, "Fe": 16, "Si": 24, "O": 96}, 3.86),
    "gold": ({"Au": 4}, 19.3),
    "urea": ({"C": 2, "H": 8, "N": 4, "O": 2}, 1.375),
    "grossular": ({"Ca": 24, "Al": 16, "Si": 24, "O": 96}, 3.58),
    "gypsum": ({"Ca": 4, "S": 4, "O": 24, "H": 16}, 2.31),
    "paracetamol": ({"C": 64, "H": 72, "N": 8, "O": 16}, 1.376),
}


def _in_cell(structure) -> Counter:
    ops = gemmi.SpaceGroup(structure.space_group).operations()
    count: Counter = Counter()
    for atom in structure.atoms:
        images = np.array([op.apply_to_xyz(list(atom.xyz)) for op in ops]) % 1.0
        apart = images[:, None] - images[None]
        same = np.abs(apart - np.rint(apart)).max(axis=2) < 1e-3
        count[atom.element] += round(sum(1 / same.sum(axis=1)))
    return count


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_samples_have_the_right_content(name):
    structure = sample(name)
    elements, density = CONTENT[name]
    assert _in_cell(structure) == elements
    mass = sum(n * gemmi.Element(e).weight for e, n in elements.items())
    assert mass * 1.66054 / structure.cell.volume == pytest.approx(density, rel=0.01)


def test_every_sample_is_tested():
    assert set(CONTENT) == set(SAMPLES)


CIF = """data_x
_cell_length_a 5
_cell_length_b 6
_cell_length_c 7
_cell_angle_alpha 90
_cell_angle_beta 95.5(2)
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1 21/c 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
_atom_site_occupancy
C1 C 0.1 0.2(1) -0.3 0.031(2) 0.5
O1 O 0.5 0.5 0.5 ? 1
"""


def test_what_is_read(tmp_path):
    path = tmp_path / "x.cif"
    path.write_text(CIF)
    structure = read_structure(path)
    assert structure.space_group == "P 1 21/c 1" and structure.cell.beta == 95.5
    first, second = structure.atoms
    assert (first.element, first.occupancy, first.u_iso) == ("C", 0.5, 0.031)
    assert np.allclose(first.xyz, (0.1, 0.2, -0.3)) and second.u_iso == 0.02


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("_cell_length_a 5", "_cell_length_a ?", "no cell"),
        ("'P 1 21/c 1'", "'Q 9 9 9'", "space group"),
        ("C1 C 0.1", "C1 Xx 0.1", "C1"),
        ("_atom_site_fract_x", "_atom_site_other_x", "no cell with atoms"),
        ("data_x", "hello world", "x.cif"),
    ],
)
def test_bad_structures(old, new, said, tmp_path):
    path = tmp_path / "x.cif"
    path.write_text(CIF.replace(old, new))
    with pytest.raises(UnreadableInput, match=said):
        read_structure(path)


def test_unknown_sample():
    with pytest.raises(UnreadableInput, match="give one of"):
        sample("unobtainium")
