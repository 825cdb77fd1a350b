"""Restraints: values by their definitions written out again, gradients by differences, what they do to a fit."""

import numpy as np
import pytest

from credo.io.shelx_res import Instruction
from credo.model import CannotDo, UnreadableInput
from credo.solve.refine.crystal import AtomParameters
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.instructions import apply_instructions, parse_instruction
from credo.solve.refine.model import Model, Weights
from credo.solve.refine.restraints import Scene

OCC = frozenset((i, 3) for i in range(20))


def rows_of(model: Model, *lines: str):
    found, notes = apply_instructions(model.replace(restraints=()), [parse_instruction(x) for x in lines])
    p = AtomParameters.of(model.structure, np.ones(len(model.structure.atoms)))
    return found, p, rows_at(found, p, np.array(model.variables)), notes


def rows_at(model: Model, p: AtomParameters, variables: np.ndarray):
    return [r for x in model.restraints for r in x.rows(Scene(model.structure.cell, p, variables))]


def cart(structure, label):
    return structure.cell.O @ next(a.xyz for a in structure.atoms if a.label == label)


def u_cart(structure, label):
    u = next(a.u_aniso for a in structure.atoms if a.label == label)
    a = structure.cell.O @ np.diag(np.linalg.norm(structure.cell.B, axis=0))
    return a @ np.array([[u[0], u[3], u[4]], [u[3], u[1], u[5]], [u[4], u[5], u[2]]]) @ a.T


def test_distances(molecule):
    s = molecule()
    _, _, rows, _ = rows_of(Model(s), "DFIX 1.40 O1 C2", "DANG 2.5 O1 C3", "DFIX -9 0.1 O1 C5", "DFIX -1 O1 C2")
    d12, d13 = (float(np.linalg.norm(cart(s, "O1") - cart(s, x))) for x in ("C2", "C3"))
    assert [(r.kind, r.target, r.sigma) for r in rows] == [("DFIX", 1.4, 0.02), ("DANG", 2.5, 0.04), ("DFIX", 9, 0.1)]
    assert rows[0].value == pytest.approx(d12) and rows[1].value == pytest.approx(d13)


def test_distances_to_symmetry_equivalents(molecule):
    s = molecule()
    _, _, rows, _ = rows_of(Model(s), "EQIV $1 1-x, 0.5+y, 0.5-z", "DFIX 2.0 O1 C2_$1")
    x = s.atoms[1].xyz
    image = s.cell.O @ np.array([1 - x[0], 0.5 + x[1], 0.5 - x[2]])
    assert rows[0].value == pytest.approx(float(np.linalg.norm(cart(s, "O1") - image)))


def test_similar_distances_sum_to_nought(molecule):
    s = molecule()
    _, _, rows, _ = rows_of(Model(s), "SADI O1 C2 C2 C3 C3 N4")
    d = [float(np.linalg.norm(cart(s, a) - cart(s, b))) for a, b in (("O1", "C2"), ("C2", "C3"), ("C3", "N4"))]
    assert np.allclose([r.value for r in rows], np.array(d) - np.mean(d))
    assert all(r.target == 0 and r.sigma == 0.02 for r in rows)


def test_flat_atoms_span_no_tetrahedra(molecule):
    s = molecule()
    _, _, rows, _ = rows_of(Model(s), "FLAT 0.2 O1 > C5")
    assert len(rows) == 2 and all(r.sigma == 0.2 for r in rows)
    for r in rows:
        p = [cart(s, s.atoms[i].label) for i in r.atoms]
        volume = np.linalg.det(np.array([p[1] - p[0], p[2] - p[0], p[3] - p[0]]))
        assert abs(r.value) == pytest.approx(abs(volume))
    level = s.replace(atoms=tuple(a.replace(xyz=[*a.xyz[:2], 0.2]) for a in s.atoms))
    assert np.allclose([r.value for r in rows_of(Model(level), "FLAT O1 > C5")[2]], 0)


def test_similar_displacements_on_cartesian_axes(molecule):
    s = molecule(aniso=True)
    _, _, rows, _ = rows_of(Model(s), "SIMU 0.03 0.06 1.7 O1 C2 C3 N4")
    pairs = {r.atoms for r in rows}
    near = {(i, j) for i in range(4) for j in range(i + 1, 4)
            if np.linalg.norm(cart(s, s.atoms[i].label) - cart(s, s.atoms[j].label)) < 1.7}  # fmt: skip
    assert pairs == near and len(rows) == 6 * len(near)
    first = [r for r in rows if r.atoms == (0, 1)]
    gap = u_cart(s, "O1") - u_cart(s, "C2")
    assert np.allclose([r.value for r in first], gap[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
    # O1 has one neighbour: the looser σ of terminal atoms
    assert all(r.sigma == 0.06 for r in first)


def test_isotropic_atoms_are_compared_by_their_mean(molecule):
    s = molecule(aniso=True)
    s = s.replace(atoms=(s.atoms[0], s.atoms[1].replace(u_aniso=None), *s.atoms[2:]))
    _, _, rows, _ = rows_of(Model(s), "SIMU O1 C2")
    assert [r.value for r in rows] == pytest.approx([np.trace(u_cart(s, "O1")) / 3 - s.atoms[1].u_iso])


def test_rigid_bonds_of_first_and_second_neighbours(molecule):
    s = molecule(aniso=True)
    _, _, rows, _ = rows_of(Model(s), "RIGU 0.004 0.005")
    assert len(rows) % 3 == 0 and {r.sigma for r in rows} == {0.004, 0.005}
    three = [r.value for r in rows if r.atoms == (0, 1)]
    z = cart(s, "C2") - cart(s, "O1")
    z = z / np.linalg.norm(z)
    gap = u_cart(s, "O1") - u_cart(s, "C2")
    along = z @ gap @ z
    assert three[0] == pytest.approx(along)
    # U13² + U23² does not depend on how x and y are chosen about the bond
    assert np.hypot(three[1], three[2]) == pytest.approx(np.linalg.norm(gap @ z - along * z))
    assert [r.value for r in rows_of(Model(s), "DELU O1 C2")[2]] == pytest.approx([along])


def test_nearly_isotropic_displacements(molecule):
    s = molecule(aniso=True)
    _, _, rows, _ = rows_of(Model(s), "ISOR 0.01 0.02 N4 O1")
    u = u_cart(s, "N4")
    expected = u - np.eye(3) * np.trace(u) / 3
    four = [r for r in rows if r.atoms == (3,)]
    assert np.allclose([r.value for r in four], expected[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
    assert {r.sigma for r in four} == {0.01} and {r.sigma for r in rows if r.atoms == (0,)} == {0.02}


def test_sums_of_free_variables(molecule):
    model = Model(molecule(), variables=(0.3, 0.5))
    _, _, rows, _ = rows_of(model, "SUMP 1.0 0.01 1 2 1 3")
    assert rows[0].value == pytest.approx(0.8) and rows[0].columns.tolist() == [60, 61]


EVERY = (
    "DFIX 1.4 O1 C2", "DANG 2.4 O1 C3", "SADI O1 C2 C2 C3", "FLAT O1 > C5", "SIMU", "RIGU", "DELU", "ISOR",
    "EQIV $1 1-x, 0.5+y, 0.5-z", "DFIX 2.0 O1 C2_$1", "SUMP 1.0 0.01 1 2 1 3",
)  # fmt: skip


def test_gradients_are_those_of_differences(molecule):
    """Positions and displacements; RIGU and DELU hold the bond's direction, so only displacements there."""
    s = molecule(aniso=True)
    s = s.replace(atoms=(*s.atoms[:5], s.atoms[5].replace(u_aniso=None)))
    model, p, rows, _ = rows_of(Model(s, variables=(0.3, 0.5)), *EVERY)
    flat, variables = p.flat(), np.array([0.3, 0.5])
    full = np.concatenate([flat, variables])
    gradient = np.zeros((len(rows), len(full)))
    for n, r in enumerate(rows):
        np.add.at(gradient[n], r.columns, r.gradient)
    h = 1e-6
    for k in range(len(full)):
        step = np.zeros(len(full))
        step[k] = h
        up, down = (rows_at(model, p.moved((full + d)[: len(flat)]), (full + d)[len(flat) :]) for d in (step, -step))
        for n, r in enumerate(rows):
            if r.kind in ("RIGU", "DELU") and k % 10 < 3:
                continue
            assert gradient[n, k] == pytest.approx((up[n].value - down[n].value) / (2 * h), abs=2e-5), (r.kind, k)


def test_a_restraint_pulls_as_hard_as_its_sigma_says(molecule, measure):
    """Noisy data, a wrong target: a tight σ wins and the fit suffers, a loose one yields."""
    true = molecule()
    data = measure(true, 1.1, 3.0)
    free = refine_model(Model(true, fixed=OCC, weights=Weights(0, 0)), data, 0.025, FitSettings(30))

    def with_sigma(sigma):
        model, _ = apply_instructions(
            Model(true, fixed=OCC, weights=Weights(0, 0)), [parse_instruction(f"DFIX 1.60 {sigma} O1 C2")]
        )
        done = refine_model(model, data, 0.025, FitSettings(30))
        return np.linalg.norm(cart(done.structure, "O1") - cart(done.structure, "C2")), done

    tight, loose = with_sigma(0.0005), with_sigma(10.0)
    none = np.linalg.norm(cart(free.structure, "O1") - cart(free.structure, "C2"))
    assert tight[0] == pytest.approx(1.60, abs=0.005)
    assert loose[0] == pytest.approx(none, abs=1e-4)
    assert tight[1].agreement.r1 > free.agreement.r1 and len(tight[1].restraint_rows) == 1


@pytest.mark.parametrize(
    "line", ["DFIX 1.5 O1", "DFIX O1 C2", "FLAT O1 C2 C3", "SUMP 1", "SADI 0 O1 C2 C2 C3", "DFIX 21 O1 C2"]
)
def test_incomplete_restraints_are_refused(molecule, line):
    with pytest.raises(UnreadableInput):
        apply_instructions(Model(molecule()), [parse_instruction(line, 17)])


def test_unknown_atoms_are_named(molecule):
    with pytest.raises(CannotDo, match="X9"):
        apply_instructions(Model(molecule()), [parse_instruction("DFIX 1.5 O1 X9")])
    with pytest.raises(CannotDo, match="EQIV"):
        apply_instructions(Model(molecule()), [parse_instruction("DFIX 1.5 O1 C2_$3")])


def test_what_is_not_known_is_noted(molecule):
    _, notes = apply_instructions(Model(molecule()), [Instruction("SAME", ("O1",), 12), Instruction("PLAN", (), 3)])
    assert len(notes) == 1 and "SAME" in notes[0] and "12" in notes[0]
