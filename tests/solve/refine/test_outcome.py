"""Bonds and angles with esds, contents, CIF and .fcf of a refined model."""

import gemmi
import numpy as np
import pytest

from credo.io.cif import read_cif
from credo.io.cif_dictionary import dictionary_complaints
from credo.io.structure import read_structure
from credo.model import Acquisition, Atom, CannotDo, Cell, Structure
from credo.physics.dose import gray_per_fluence
from credo.solve.refine.connectivity import bonds_of, second_neighbours
from credo.solve.refine.contents import contents_of
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.geometry import angle_list, bond_list, cell_scaled_to
from credo.solve.refine.model import Model, Weights
from credo.solve.refine.result import outliers
from credo.solve.refine.to_cif import CifExtras, fcf_text, structure_cif

OCC = frozenset((i, 3) for i in range(20))


@pytest.fixture
def refined(molecule, measure):
    return refine_model(Model(molecule(aniso=True), fixed=OCC), measure(molecule(aniso=True), 0.85, 1.0), 0.025)


def test_bonds_are_those_within_covalent_reach(molecule):
    s = molecule()
    bonds = bonds_of(s)
    assert {b.b.atom for b in bonds[1] if b.b.identity} == {0, 2}
    for i, own in enumerate(bonds):
        for b in own:
            gap = s.cell.O @ (b.b.at(np.array([a.xyz for a in s.atoms])) - s.atoms[i].xyz)
            assert np.linalg.norm(gap) == pytest.approx(b.length) and b.length < 2.0
    first, second = second_neighbours(bonds)
    assert (0, 1) in first and (0, 2) in second and not first & second
    assert not bonds_of(s, (1, 2, 0, 0, 0, 0))[0]


def test_bonds_over_symmetry_are_found_once_each():
    """Quartz: every Si has four O, two bonds in the list are over symmetry."""
    cell = Cell(4.913, 4.913, 5.405, 90, 90, 120)
    s = Structure(cell, "P 32 2 1", (Atom("Si1", "Si", [0.4697, 0, 2 / 3]), Atom("O1", "O", [0.4135, 0.2669, 0.7858])))
    bonds = bonds_of(s)
    assert len(bonds[0]) == 4 and len(bonds[1]) == 2
    assert all(abs(b.length - 1.61) < 0.02 for b in bonds[0])


def test_lengths_scatter_as_their_esds_say(molecule, measure):
    true = molecule()
    lengths, esds, angles, angle_esds = [], [], [], []
    for seed in range(30):
        data = measure(true, 1.0, 1.0, seed=seed)
        done = refine_model(Model(true, fixed=OCC, weights=Weights(0, 0)), data, 0.025, FitSettings(6))
        # in the order of their names: that of the list follows the lengths
        b = sorted(bond_list(done), key=lambda x: (x.a, x.b, x.code))
        a = sorted(angle_list(done), key=lambda x: sorted([(x.a, x.codes[0]), (x.b, x.codes[1])]) + [(x.centre, "")])
        lengths.append([x.value for x in b])
        esds.append([x.esd for x in b])
        angles.append([x.value for x in a])
        angle_esds.append([x.esd for x in a])
    for values, esd in ((lengths, esds), (angles, angle_esds)):
        ratio = np.std(values, axis=0, ddof=1) / np.mean(esd, axis=0)
        assert ratio.min() > 0.6 and ratio.max() < 1.5 and abs(ratio.mean() - 1) < 0.2


def test_the_cells_uncertainty_joins_that_of_a_bond(refined):
    cell = refined.structure.cell
    relative = 0.01
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = relative**2 * np.outer(cell.lengths, cell.lengths)
    loose = refined.model.replace(structure=refined.structure.replace(cell=cell.replace(covariance=covariance)))
    from dataclasses import replace

    for a, b in zip(bond_list(refined), bond_list(replace(refined, model=loose))):
        # all lengths wrong by the same share: so are all bonds, and no angle
        assert b.esd == pytest.approx(np.hypot(a.esd, relative * a.value), rel=1e-3)
    for a, b in zip(angle_list(refined), angle_list(replace(refined, model=loose))):
        assert b.esd == pytest.approx(a.esd, rel=1e-4)


def test_the_cell_is_scaled_to_a_bond(refined):
    found = [b.value for b in bond_list(refined) if {b.a[0], b.b[0]} == {"C", "O"}]
    cell, factor, count = cell_scaled_to(refined, "C", "O", 1.30)
    assert count == len(found) and factor == pytest.approx(1.30 / np.mean(found))
    assert np.allclose(cell.lengths, np.array(refined.structure.cell.lengths) * factor)
    with pytest.raises(CannotDo, match="no bond"):
        cell_scaled_to(refined, "C", "Fe", 2.0)


def test_contents():
    cell = Cell(4.913, 4.913, 5.405, 90, 90, 120)
    s = Structure(cell, "P 32 2 1", (Atom("Si1", "Si", [0.4697, 0, 2 / 3]), Atom("O1", "O", [0.4135, 0.2669, 0.7858])))
    c = contents_of(s)
    assert c.text == "O2 Si" and c.z == 3 and c.density == pytest.approx(2.648, abs=0.003)


def test_cif_is_read_back(refined, tmp_path):
    path = tmp_path / "out.cif"
    hkl = "   1   0   0  123.45    1.20\n   0   2   0   55.00    0.90\n   0   0   0    0.00    0.00\n"
    path.write_text(structure_cif(refined, CifExtras(0.0251, None, (0.1, -0.2, 0.03), "TITL x\n", hkl), "a b;c"))
    again = read_structure(path)
    for a, b in zip(refined.structure.atoms, again.atoms):
        assert (
            a.label == b.label and np.allclose(a.xyz, b.xyz, atol=3e-4) and np.allclose(a.u_aniso, b.u_aniso, atol=2e-3)
        )
    _, reflections = read_cif(path)
    assert reflections["intensity"].tolist() == [123.45, 55.0]
    block = gemmi.cif.read_string(path.read_text()).sole_block()
    items = {
        "_refine_ls_R_factor_gt", "_refine_ls_wR_factor_ref", "_refine_ls_goodness_of_fit_ref", "_reflns_number_gt",
        "_refine_ls_number_reflns", "_refine_ls_number_parameters", "_refine_ls_shift/su_max",
        "_refine_diff.potential_max", "_chemical_formula_sum", "_cell_formula_units_Z", "_space_group_name_H-M_alt",
        "_diffrn_radiation_probe", "_iucr_refine_instructions_details", "_refine_ls_weighting_details",
    }  # fmt: skip
    assert all(block.find_value(i) not in (None, "?") for i in items)
    assert float(block.find_value("_refine_ls_R_factor_gt")) == pytest.approx(refined.agreement.r1, abs=1e-4)
    bonds = block.find("_geom_bond_", ["atom_site_label_1", "atom_site_label_2", "distance"])
    assert len(bonds) == len(bond_list(refined)) and "(" in bonds[0][2]
    assert len(block.find_loop("_geom_angle")) == len(angle_list(refined))


def test_cif_passes_the_core_dictionary(refined, cif_core):
    """All but the IUCr's own items for instructions and reflections, which no public dictionary has."""
    hkl = "   1   0   0  123.45    1.20\n   0   0   0    0.00    0.00\n"
    told = Acquisition(mode="rotation", exposed_s=60.0, flux=0.05, tracking=True, camera="c", crystals=3)
    for extras in (
        CifExtras(0.0251),
        CifExtras(0.0251, None, (0.1, -0.2, 0.03), "TITL x\n", hkl, acquisition=told, theory="dynamical", solution="x"),
    ):
        said = dictionary_complaints(structure_cif(refined, extras), cif_core)
        assert [s for s in said if "unknown tag _iucr_refine_" not in s] == []


def test_cif_tells_dose_theory_and_potential(refined):
    told = Acquisition(mode="rotation", exposed_s=60.0, flux=0.05)
    text = structure_cif(refined, CifExtras(0.0251, residual=(0.1, -0.2, 0.03), acquisition=told))
    block = gemmi.cif.read_string(text).sole_block()
    formula = contents_of(refined.structure).formula
    dose = float(block.find_value("_diffrn.total_dose"))
    assert dose == pytest.approx(3.0 * gray_per_fluence(formula, 199.7), rel=0.01)
    assert block.find_value("_refine.diffraction_theory") == "kinematical"
    # e/Å in Å⁻²: 47.878 V Å² over 14.3996 V Å
    assert float(block.find_value("_refine_diff.potential_max")) == pytest.approx(0.1 * 47.8777 / 14.39964, abs=6e-4)
    assert block.find_value("_diffrn.precession_semi_angle") == "?"


def test_fcf_gives_r1_again(refined, tmp_path):
    block = gemmi.cif.read_string(fcf_text(refined)).sole_block()
    fo2, s, fc2 = (
        np.array([float(v) for v in block.find_loop(f"_refln_F_squared_{n}")]) for n in ("meas", "sigma", "calc")
    )
    strong = fo2 > 2 * s
    fo, fc = np.sqrt(fo2[strong]), np.sqrt(fc2[strong])
    assert np.abs(fo - fc).sum() / fo.sum() == pytest.approx(refined.agreement.r1, abs=2e-4)
    path = tmp_path / "x.fcf"
    path.write_text(fcf_text(refined))
    assert len(read_cif(path)[1]) == len(refined.data)


def test_outliers_are_found(molecule, measure):
    data = measure(molecule(), 0.9, 0.5)
    wrong = data.f2.copy()
    wrong[7] += 80 * data.sigma[7]
    from dataclasses import replace

    done = refine_model(Model(molecule(), fixed=OCC, weights=Weights(0.05, 0)), replace(data, f2=wrong), 0.025)
    assert outliers(done)[0].hkl == tuple(data.hkl[7].tolist()) and outliers(done)[0].error_over_esd > 3
