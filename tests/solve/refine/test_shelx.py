"""SHELXL's files: coded parameters, AFIX, twins and data options read; a refined model written and read back."""

from pathlib import Path

import numpy as np
import pytest

from credo.io.shelx_res import read_res
from credo.model import CannotDo, UnreadableInput
from credo.physics.structure_factors import electron_factor
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.from_shelx import prepared_from_res
from credo.solve.refine.model import Model, Tie, UTie
from credo.solve.refine.to_shelx import four_gaussians, res_text, short_names

HEAD = """TITL made by hand
CELL 0.0251 6.1 7.3 8.2 90 103 90
ZERR 4 0.001 0.001 0.001 0 0.01 0
LATT 1
SYMM -X, 0.5+Y, 0.5-Z
SFAC C H N O
UNIT 8 8 4 8
L.S. 12
WGHT 0.12 0.3
MERG 4
OMIT -1 60
OMIT 1 0 2
SHEL 20 0.8
DFIX 1.43 0.01 O1 C2
SIMU 0.02 $C
EADP C2 C3
FVAR 3.2 0.6
"""
ATOMS = """O1 4 0.10 0.22 0.13 11.0 0.02
C2 1 0.29 0.13 0.22 11.0 0.03 0.025 0.02 =
   0.001 0.002 0.003
C3 1 0.46 0.27 10.27 21.0 0.031 0.026 0.02 0.001 0.002 0.003
AFIX 23
H3A 2 0.5 0.3 0.3 11.0 -1.2
H3B 2 0.5 0.2 0.3 11.0 -1.2
AFIX 0
PART 2
N4 3 0.44 0.46 0.20 -21.0 0.03
PART 0
O5 4 0.5 0.5 0.5 10.5 0.03
C6 1 0.60 0.42 0.33 11.0 0.03
HKLF 4 1 0 1 0 1 0 0 0 0 -1
END
Q1 1 0.1 0.1 0.1 11.0 0.05 0.3
"""


@pytest.fixture
def res(tmp_path: Path):
    def write(text: str = HEAD + ATOMS) -> Path:
        path = tmp_path / "model.res"
        path.write_text(text)
        return path

    return write


def test_coded_parameters(res):
    prepared = prepared_from_res(res())
    model, atoms = prepared.model, prepared.model.structure.atoms
    assert [a.label for a in atoms] == ["O1", "C2", "C3", "H3A", "H3B", "N4", "O5", "C6"]
    assert model.structure.space_group == "P 1 21/c 1" and prepared.z == 4
    # SHELXL's order is U11 U22 U33 U23 U13 U12
    assert np.allclose(atoms[1].u_aniso, [0.03, 0.025, 0.02, 0.003, 0.002, 0.001])
    assert atoms[2].xyz[2] == pytest.approx(0.27) and (2, 2) in model.fixed and (0, 3) in model.fixed
    assert model.ties == (Tie(2, 3, 0, 1.0, 0.0), Tie(5, 3, 0, -1.0, 1.0))
    assert atoms[2].occupancy == pytest.approx(0.6) and atoms[5].occupancy == pytest.approx(0.4)
    assert model.u_ties == (UTie(3, 2, 1.2), UTie(4, 2, 1.2))
    assert [(r.parent, r.atoms, r.geometry) for r in model.riding] == [(2, (3, 4), 2)]
    assert model.parts == (0, 0, 0, 0, 0, 2, 0, 0)
    # an inversion centre: sof one half is full occupancy
    assert atoms[6].occupancy == pytest.approx(1.0)
    assert model.same[0].what == "U" and [r.kind for r in model.restraints] == ["DFIX", "SIMU"]
    assert (model.weights.a, model.weights.b) == (0.12, 0.3)


def test_data_options(res):
    options = prepared_from_res(res()).options
    assert options.merge == "laue" and options.omit == ((1, 0, 2),) and options.cycles == 12
    assert options.d_max == 20 and options.d_min == pytest.approx(0.8)
    assert np.array_equal(options.matrix, [[0, 1, 0], [1, 0, 0], [0, 0, -1]])


def test_twins(res):
    text = (HEAD + ATOMS).replace("FVAR", "TWIN -1 0 0 0 -1 0 0 0 1 2\nBASF 0.31\nFVAR")
    twin = prepared_from_res(res(text)).model.twin
    assert twin.fractions == (0.31,) and np.array_equal(twin.rotations[0], np.diag([-1, -1, 1]))
    three = prepared_from_res(res(text.replace("-1 0 0 0 -1 0 0 0 1 2", "0 1 0 0 0 1 1 0 0 3"))).model.twin
    assert len(three.rotations) == 2 and np.array_equal(three.rotations[1], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    inverted = prepared_from_res(res((HEAD + ATOMS).replace("FVAR", "TWIN\nBASF 0.2\nFVAR")))
    assert inverted.model.twin is None and "Friedel" in inverted.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "error", "word"),
    [
        ("O1 4", "O1 9", UnreadableInput, "scattering factor 9"),
        ("21.0 0.031", "41.0 0.031", UnreadableInput, "free variable 4"),
        ("HKLF 4", "HKLF 5", CannotDo, "HKLF 5"),
        ("O5 4 0.5", "O5 4 zero", UnreadableInput, "line"),
        ("AFIX 23", "AFIX 13", CannotDo, "neighbours"),
        ("C6 1", "+file", UnreadableInput, "included"),
        ("SYMM -X, 0.5+Y, 0.5-Z", "SYMM -X, 0.5+Y, Z+0.3", UnreadableInput, "SYMM"),
    ],
)
def test_faults_are_named(res, measure, old, new, error, word):
    with pytest.raises(error, match=word):
        prepared = prepared_from_res(res((HEAD + ATOMS).replace(old, new)))
        refine_model(prepared.model, measure(prepared.model.structure, 1.5), 0.025, FitSettings(1))


def test_a_refined_model_is_read_back_as_it_was(res, measure, tmp_path):
    prepared = prepared_from_res(res())
    data = measure(prepared.model.structure, 0.8, 0.5)
    done = refine_model(prepared.model, data, 0.0251, FitSettings(30))
    text = res_text(done, 0.0251, 4, prepared.source)
    assert max(map(len, text.split("\n"))) < 80
    again = prepared_from_res(res(text))
    for a, b in zip(done.structure.atoms, again.model.structure.atoms):
        assert a.label == b.label and np.allclose(a.xyz, b.xyz, atol=1e-6)
        assert a.occupancy == pytest.approx(b.occupancy, abs=1e-4)
        assert (a.u_aniso is None) == (b.u_aniso is None)
        if a.u_aniso is not None:
            assert np.allclose(a.u_aniso, b.u_aniso, atol=1e-5)
    assert again.model.ties == done.model.ties and again.model.u_ties == done.model.u_ties
    assert [r.kind for r in again.model.restraints] == ["DFIX", "SIMU"]
    more = refine_model(again.model, data, 0.0251, FitSettings(30))
    assert more.agreement.r1 == pytest.approx(done.agreement.r1, abs=2e-4)
    assert more.n_parameters == done.n_parameters


def test_long_names_become_shelxls_own(molecule, measure, res):
    s = molecule()
    atoms = (s.atoms[0].replace(label="O(1)_a"), s.atoms[1].replace(label="PLAN"), *s.atoms[2:])
    model = Model(s.replace(atoms=atoms), fixed=frozenset((i, 3) for i in range(6)))
    names = short_names(model)
    assert names["C3"] == "C3" and names["O(1)_a"] == "O1" and names["PLAN"] == "C1" and len(set(names.values())) == 6
    done = refine_model(model, measure(s, 1.0), 0.025, FitSettings(5))
    again = prepared_from_res(res(res_text(done, 0.025, extra=("DFIX 1.4 O(1)_a PLAN",)))).model
    assert [a.label for a in again.structure.atoms] == ["O1", "C1", "C3", "N4", "C5", "O6"]
    assert [(a.atom, b.atom) for a, b in again.restraints[0].pairs] == [(0, 1)]


def test_four_gaussians_are_the_tabulated_factor():
    s = np.linspace(0, 1.2, 50)
    for element in ("H", "C", "O", "Si", "Fe", "Zr"):
        c = np.array(four_gaussians(element))
        f = np.exp(-np.outer(s**2, c[1:8:2])) @ c[0:8:2] + c[8]
        assert np.allclose(f, electron_factor(element, s**2), rtol=0.02)


@pytest.mark.data
def test_real_files_are_read(shared_data):
    biotin = read_res(shared_data / "biotin" / "biotin_talos.ins")
    assert len(biotin.atoms) == 16 and not biotin.factors
    cinchonine = read_res(shared_data / "cinchonine" / "shelxl" / "shelxl.res")
    assert len(cinchonine.atoms) == 22 and cinchonine.factors["C"][0] == 0.136 and cinchonine.fvar == (39.71757,)
