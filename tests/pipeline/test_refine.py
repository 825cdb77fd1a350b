"""credo refine, map and powder as functions: files, keys, faults; and the measured structures."""

import json

import gemmi
import numpy as np
import pytest

from credo.io.shelx import write_hkl
from credo.io.text import write_text
from credo.model import Atom, Cell, CredoError, Reflections, Structure, UnreadableInput
from credo.physics.structure_factors import structure_factors
from credo.pipeline.maps import MapSettings, fourier
from credo.pipeline.powder import PowderSettings, powder, read_xy
from credo.pipeline.refine import refine
from credo.solve.refine.prepare import RefineSettings

KEYS = {
    "r1_obs",
    "r1_all",
    "wr2",
    "goof",
    "n_parameters",
    "n_restraints",
    "shift_over_esd",
    "residual_max",
    "residual_min",
}

RES = """TITL acid
CELL 0.0251 5.9 7.1 6.4 90 98 90
ZERR 4 0 0 0 0 0 0
LATT 1
SYMM -X, 0.5+Y, 0.5-Z
SFAC C H O
UNIT 8 16 8
RIGU
FVAR 1
O1 3 0.1200 0.2100 0.1500 11.0 0.02
C2 1 0.3000 0.1500 0.2800 11.0 0.02
C3 1 0.4600 0.2700 0.4200 11.0 0.02
O4 3 0.3400 -0.0200 0.2900 11.0 0.02
HKLF 4
END
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """An .ins with slightly wrong atoms, and intensities of the right ones."""
    folder = tmp_path_factory.mktemp("refine")
    write_text(folder / "acid.ins", RES)
    cell = Cell(5.9, 7.1, 6.4, 90, 98, 90)
    xyz = [[0.125, 0.205, 0.152], [0.297, 0.155, 0.276], [0.466, 0.265, 0.424], [0.336, -0.025, 0.294]]
    atoms = tuple(Atom(n, n[0], x, u_iso=0.025) for n, x in zip(("O1", "C2", "C3", "O4"), xyz))
    true = Structure(cell, "P 1 21/c 1", atoms)
    hkl = np.asarray(gemmi.make_miller_array(
        gemmi.UnitCell(*cell.parameters), gemmi.SpaceGroup(true.space_group), 0.8, unique=True
    ))  # fmt: skip
    f2 = 50 * np.abs(structure_factors(true, hkl)) ** 2
    sigma = 0.05 * f2 + 0.01 * f2.mean()
    f2 = f2 + np.random.default_rng(2).normal(0, 1, len(f2)) * sigma
    table = {"h": hkl[:, 0], "k": hkl[:, 1], "l": hkl[:, 2], "intensity": f2, "sigma": sigma}
    write_hkl(folder / "acid.hkl", Reflections(table))
    return folder, true


def test_files_and_keys(inputs, tmp_path):
    folder, _ = inputs
    settings = RefineSettings(anisotropic="all")
    report = refine(folder / "acid.ins", folder / "acid.hkl", tmp_path / "out", settings)
    assert report["ok"] and report.keys() >= KEYS and report["n_restraints"] > 0
    assert report["r1_obs"] < 0.06 and report["shift_over_esd"] < 0.01
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names >= {"refined.res", "refined.cif", "refined.fcf", "difference.ccp4", "report.html", "report.json"}
    assert json.loads((tmp_path / "out" / "report.json").read_text())["r1_obs"] == report["r1_obs"]
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<svg") == 3 and "http" not in html.replace("http://www.w3.org", "")
    # what was written refines to the same
    again = refine(tmp_path / "out" / "refined.res", tmp_path / "out" / "refined.hkl", tmp_path / "again")
    assert again["r1_obs"] == pytest.approx(report["r1_obs"], abs=5e-4)
    assert again["n_parameters"] == report["n_parameters"] and again["n_restraints"] == report["n_restraints"]
    cif = refine(tmp_path / "out" / "refined.cif", tmp_path / "out" / "refined.fcf", tmp_path / "cif")
    assert cif["r1_obs"] == pytest.approx(report["r1_obs"], abs=0.01)
    assert refine(folder / "acid.ins", folder / "acid.hkl", tmp_path / "out", settings).get("reused")


def test_settings_reach_the_model(inputs, tmp_path):
    folder, _ = inputs
    more = RefineSettings(
        cycles=6, hydrogens="add", extinction=True, optimise_weights=True, scale_cell="C O 1.30",
        instruction=("DFIX 1.5 0.02 C2 C3",), d_min=0.85,
    )  # fmt: skip
    report = refine(folder / "acid.ins", folder / "acid.hkl", tmp_path / "out", more)
    assert report["n_atoms"] > 4 and report["extinction"] is not None and report["n_restraints"] == 1
    assert report["cell_factor"] != 1 and report["weights"] != [0.1, 0.0]
    assert "DFIX 1.5 0.02 C2 C3" in (tmp_path / "out" / "refined.res").read_text()


def test_an_omitted_atom_is_the_highest_peak_of_the_difference_map(inputs, tmp_path):
    folder, true = inputs
    report = fourier(folder / "acid.ins", folder / "acid.hkl", tmp_path / "map", MapSettings(omit=("O4",)))
    top = report["difference_peaks"][0]
    images = [np.array(op.apply_to_xyz(top["xyz"])) for op in gemmi.SpaceGroup(true.space_group).operations()]
    gap = min(
        float(np.linalg.norm(true.cell.O @ ((x - true.atoms[3].xyz) - np.rint(x - true.atoms[3].xyz)))) for x in images
    )
    assert gap < 0.15 and top["height"] > 1.2 * report["difference_peaks"][1]["height"]
    grid = gemmi.read_ccp4_map(str(tmp_path / "map" / "difference.ccp4")).grid
    assert np.allclose(grid.unit_cell.parameters, true.cell.parameters, atol=1e-3)


def test_powder_patterns(inputs, tmp_path):
    folder, _ = inputs
    report = powder(folder / "acid.ins", None, tmp_path / "one", PowderSettings(two_theta_max=35))
    assert report["n_reflections"] > 10 and report["rwp"] is None
    x, y = read_xy(tmp_path / "one" / "simulated.xy")
    write_text(tmp_path / "scan.xy", "# counts\n" + "".join(f"{a:.4f} {b + 30:.4f}\n" for a, b in zip(x, y)))
    report = powder(folder / "acid.ins", tmp_path / "scan.xy", tmp_path / "two")
    assert report["rwp"] < 0.02 and abs(report["zero_deg"]) < 0.01
    svg = (tmp_path / "two" / "powder.svg").read_text()
    assert svg.startswith("<svg xmlns=") and "measured" in svg and "difference" in svg


@pytest.mark.parametrize("text", ["", "1 2\n" * 30, "a b\n" * 30, "1 2\n2 3\n"])
def test_bad_patterns_are_refused(tmp_path, text):
    write_text(tmp_path / "bad.xy", text)
    with pytest.raises(UnreadableInput):
        read_xy(tmp_path / "bad.xy")


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (("O1 3 0.1200", "O1 3 nan"), {}),
        (("CELL 0.0251 5.9", "CELL 0.0251 0"), {}),
        (("HKLF 4", "HKLF 5"), {}),
        (("RIGU", "RIGU X7"), {}),
        (("RIGU", "RIGU"), {"instruction": ("DFIX 1.5 O1",)}),
        (("RIGU", "RIGU"), {"scale_cell": "Si O"}),
        (("RIGU", "RIGU"), {"twin": (1.0, 0.0)}),
        (("RIGU", "RIGU"), {"d_min": 4.5}),
    ],
)
def test_faults_are_told(inputs, tmp_path, change, settings):
    folder, _ = inputs
    write_text(tmp_path / "bad.ins", RES.replace(*change))
    with pytest.raises(CredoError):
        refine(tmp_path / "bad.ins", folder / "acid.hkl", tmp_path / "out", RefineSettings(**settings))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert not report["ok"] and report["reason"]


@pytest.mark.data
def test_biotin_is_better_than_published(shared_data, tmp_path):
    """Published: R1 0.1866 for the same 563 reflections, 65 parameters (with X-ray scattering factors)."""
    folder = shared_data / "biotin"
    plain = refine(folder / "biotin_talos.ins", folder / "biotin_talos.hkl", tmp_path / "plain")
    assert plain["n_reflections"] == 955 and plain["n_observed"] == 563 and plain["n_parameters"] == 65
    assert plain["r1_obs"] < 0.1866 and plain["shift_over_esd"] < 0.01
    full = refine(
        folder / "biotin_talos.ins", folder / "biotin_talos.hkl", tmp_path / "full", RefineSettings(hydrogens="add")
    )
    assert full["r1_obs"] < 0.160 and full["n_parameters"] == 65 and full["n_atoms"] == 30


@pytest.mark.data
def test_cinchonine_is_shelxls(shared_data, tmp_path):
    """SHELXL: R1 0.1765 of 868, all 0.2113 of 1285, wR2 0.4429, GooF 1.423, 89 parameters."""
    folder = shared_data / "cinchonine" / "shelxl"
    r = refine(folder / "shelxl.res", folder / "shelxl.hkl", tmp_path / "out", RefineSettings(merge="point group"))
    assert r["r1_obs"] == pytest.approx(0.1765, abs=5e-4) and r["r1_obs"] <= 0.177
    assert r["r1_all"] == pytest.approx(0.2113, abs=1e-3) and r["wr2"] == pytest.approx(0.4429, abs=2e-3)
    assert r["goof"] == pytest.approx(1.423, abs=3e-3) and r["n_parameters"] == 89


@pytest.mark.data
@pytest.mark.parametrize(
    ("model", "data", "most"),
    [
        ("cif_pets/paracetamol.cif", "cif_pets/APAP_dyn_reference.cif_pets", 0.19),
        ("cifs/organics_ed/alpha_glycine.cif", "glycine_pets/glycine.cif_pets", 0.20),
    ],
)
def test_kinematical_refinement_of_published_frames(shared_data, tmp_path, model, data, most):
    report = refine(shared_data / model, shared_data / data, tmp_path / "out")
    assert report["r1_obs"] < most and report["shift_over_esd"] < 0.01
