"""Riding hydrogens: idealised geometries about atoms placed by hand."""

import numpy as np
import pytest

from credo.model import Atom, CannotDo, Cell, Structure
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.hydrogens import GEOMETRIES, add_hydrogens, with_hydrogens
from credo.solve.refine.model import Model, UTie

CELL = Cell(10, 10, 10, 90, 90, 90)


def model_of(**atoms) -> Model:
    """Cartesian positions [Å] about the middle of a 10 Å cube; the element is the name's first letter."""
    found = tuple(Atom(k, k[0], (np.array(v) + 5) / 10, u_iso=0.02) for k, v in atoms.items())
    return Model(Structure(CELL, "P 1", found), fixed=frozenset((i, 3) for i in range(len(found))))


def vectors(model: Model, parent: str) -> np.ndarray:
    i = model.index(parent)
    atoms = model.structure.atoms
    (riding,) = [r for r in model.riding if r.parent == i]
    return np.array([(atoms[h].xyz - atoms[i].xyz) * 10 for h in riding.atoms])


def angle(a, b) -> float:
    return float(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


def test_tertiary_hydrogen_is_opposite_to_its_neighbours():
    t = 1.53 / np.sqrt(3)
    m = with_hydrogens(model_of(C1=(0, 0, 0), C2=(t, t, -t), C3=(t, -t, t), C4=(-t, t, t)), "C1", 1)
    (h,) = vectors(m, "C1")
    assert np.allclose(h, -1.099 * np.ones(3) / np.sqrt(3)) and m.structure.atoms[4].label == "H1"
    assert m.u_ties == (UTie(4, 0, 1.2),)


def test_methylene_lies_astride_the_bisector():
    t = 1.53 / np.sqrt(3)
    m = with_hydrogens(model_of(C1=(0, 0, 0), C2=(t, t, -t), C3=(t, -t, t)), "C1", 2)
    a, b = vectors(m, "C1")
    assert np.linalg.norm(a) == pytest.approx(1.092) and angle(a, b) == pytest.approx(109.47, abs=0.01)
    assert angle(a, np.array([t, t, -t])) == pytest.approx(109.47, abs=0.01)


def test_aromatic_hydrogen_halves_the_outer_angle():
    c, s = np.cos(np.pi / 3), np.sin(np.pi / 3)
    m = with_hydrogens(model_of(C1=(0, 0, 0), C2=(1.39 * c, 1.39 * s, 0), C3=(1.39 * c, -1.39 * s, 0)), "C1", 4)
    assert np.allclose(vectors(m, "C1"), [[-1.083, 0, 0]])


def test_methyl_is_staggered_and_turns():
    parts = {"C1": (0, 0, 0), "C2": (1.53, 0, 0), "C3": (2.04, 1.44, 0)}
    m = with_hydrogens(model_of(**parts), "C1", 13, turns=True)
    h = vectors(m, "C1")
    assert np.allclose(np.linalg.norm(h, axis=1), 1.077)
    assert all(angle(a, b) == pytest.approx(109.47, abs=0.01) for a, b in ((h[0], h[1]), (h[1], h[2]), (h[0], h[2])))
    # C3 is on the +y side: one hydrogen points to −y
    assert h[0][1] < -0.9 and abs(h[0][2]) < 1e-6
    assert m.riding[0].turns and m.u_ties[0].factor == 1.5


def test_alcohol_and_terminal_groups():
    parts = {"C1": (1.43, 0, 0), "O1": (0, 0, 0), "C2": (1.94, 1.44, 0)}
    (h,) = vectors(with_hydrogens(model_of(**parts), "O1", 8), "O1")
    assert np.linalg.norm(h) == pytest.approx(0.967) and angle(h, np.array([1.0, 0, 0])) == pytest.approx(
        109.47, abs=0.01
    )
    parts = {"C1": (1.33, 0, 0), "N1": (0, 0, 0), "O1": (1.94, 1.1, 0)}
    h = vectors(with_hydrogens(model_of(**parts), "N1", 9), "N1")
    assert angle(h[0], h[1]) == pytest.approx(120) and np.allclose(h[:, 2], 0)
    parts = {"C1": (0, 0, 0), "C2": (1.2, 0, 0)}
    assert np.allclose(vectors(with_hydrogens(model_of(**parts), "C1", 16), "C1"), [[-1.055, 0, 0]])


def test_xray_distances_on_request():
    t = 1.53 / np.sqrt(3)
    m = with_hydrogens(model_of(C1=(0, 0, 0), C2=(t, t, -t), C3=(t, -t, t), C4=(-t, t, t)), "C1", 1, nuclear=False)
    assert np.linalg.norm(vectors(m, "C1")) == pytest.approx(0.98)


def test_wrong_surroundings_are_refused():
    m = model_of(C1=(0, 0, 0), C2=(1.5, 0, 0))
    with pytest.raises(CannotDo, match="neighbours"):
        with_hydrogens(m, "C1", 1)
    with pytest.raises(CannotDo, match="not supported"):
        with_hydrogens(m, "C1", 7)
    assert 7 not in GEOMETRIES


def test_hydrogens_are_found_for_propane_and_benzene():
    propane = model_of(C1=(0, 0, 0), C2=(1.53, 0, 0), C3=(2.04, 1.44, 0))
    assert len(add_hydrogens(propane).structure.atoms) == 11
    ring = {f"C{k}": (1.39 * np.cos(k * np.pi / 3), 1.39 * np.sin(k * np.pi / 3), 0) for k in range(6)}
    full = add_hydrogens(model_of(**ring))
    assert len(full.structure.atoms) == 12 and {r.geometry for r in full.riding} == {4}
    assert add_hydrogens(full) == full
    assert all(len(a.label) <= 4 for a in full.structure.atoms)


def test_a_turning_methyl_finds_its_torsion(measure):
    """Data of a methyl turned by 25° from staggered: the refined one follows, at ideal distances."""
    parts = {"C1": (0, 0, 0), "C2": (1.53, 0, 0), "O3": (2.04, 1.44, 0.3), "N4": (-2.5, 2.2, 1.4)}
    start = with_hydrogens(model_of(**parts), "C1", 13, turns=True)
    angle0 = np.radians(25)
    turn = np.array([[1, 0, 0], [0, np.cos(angle0), -np.sin(angle0)], [0, np.sin(angle0), np.cos(angle0)]])
    atoms = list(start.structure.atoms)
    for h in start.riding[0].atoms:
        atoms[h] = atoms[h].replace(xyz=atoms[0].xyz + turn @ (atoms[h].xyz - atoms[0].xyz), u_iso=0.03)
    true = start.structure.replace(atoms=tuple(atoms))
    done = refine_model(start, measure(true, 1.0), 0.025, FitSettings(60))
    gap = np.array([a.xyz - b.xyz for a, b in zip(done.structure.atoms, true.atoms)]) * 10
    assert np.linalg.norm(gap - gap[0], axis=1).max() < 5e-3
    assert "C1.torsion" in done.names and done.agreement.r1 < 2e-3
