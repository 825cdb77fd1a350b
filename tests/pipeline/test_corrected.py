"""Merging with a structure: its axes, the damping taken out and told; and which refinement is then believed."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from credo.io.project import write_experiment, write_json, write_reflections
from credo.io.reflection_files import read_any
from credo.io.samples import sample
from credo.io.structure import read_structure
from credo.model import Beam, CannotDo, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors
from credo.physics.two_beam import blackman, phase_per_amplitude
from credo.pipeline.batch_phase import structure
from credo.pipeline.corrected import corrected, refinement_of
from credo.pipeline.merge import MergeSettings, merge

THICK = (300.0, 1200.0, 2500.0)
#: The data sets' axes are (b, c, a) of the structure.
TURNED = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=float)


def cif(name):
    return Path(str(files("credo.io.samples") / f"{name}.cif"))


def write_crystal(folder, thickness, seed):
    """Most reflections of paracetamol with their mates, on other axes, damped, measured to 10 %."""
    rng, model = np.random.default_rng(seed), sample("paracetamol")
    hkl = miller_indices(model.cell.B, 1.0, "P")
    hkl = hkl[rng.random(len(hkl)) < 0.6]
    f2 = np.abs(structure_factors(model, hkl)) ** 2
    damped = f2 * blackman(thickness * phase_per_amplitude(0.02508, model.cell.volume) * np.sqrt(f2))
    i, n = damped * np.exp(0.1 * rng.normal(size=len(hkl))), len(hkl)
    crystal = Crystal(model.cell, np.eye(3), laue_group="mmm").reindexed(TURNED)
    scan = Scan.regular(1, 0, 1)
    experiment = Experiment(Beam(0.02508), Detector((8, 8), 0.01, (4, 4)), Goniometer.in_plane(0), scan, (crystal,))
    h = np.rint(hkl @ TURNED).astype(int)
    folder.mkdir(parents=True)
    write_experiment(folder / "experiment.json", experiment)
    write_reflections(folder / "reflections.h5", Reflections(
        h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=i + rng.normal(0, 0.02, n), sigma=np.full(n, 0.02),
        phi=np.zeros(n), frame=np.zeros(n), lattice=np.zeros(n, dtype=int),
    ))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def crystals(tmp_path_factory):
    root = tmp_path_factory.mktemp("crystals")
    return [write_crystal(root / f"c{k}", t, k) for k, t in enumerate(THICK)]


def off_truth(folder):
    """Σ|F − F_true|/ΣF_true of the merged data."""
    experiment, table = read_any(folder / "merged.hkl")
    model = sample("paracetamol")
    assert experiment is not None
    assert np.allclose(experiment.crystal.cell.parameters, model.cell.parameters, rtol=1e-4)
    true = np.abs(structure_factors(model, table.hkl))
    f = np.sqrt(np.maximum(table["intensity"], 0))
    f *= np.median(true[true > 2]) / np.median(f[true > 2])
    return float(np.abs(f - true).sum() / true.sum())


def test_damping_is_taken_out_on_the_axes_of_the_structure(crystals, tmp_path):
    report = merge(crystals, tmp_path / "out", MergeSettings(model=cif("paracetamol")))
    assert report["space_group"] == "P b c a" and report["damping"]["applied"]
    assert [r["thickness_nm"] for r in report["datasets"]] == pytest.approx([0.1 * t for t in THICK], rel=0.1, abs=10)
    assert off_truth(tmp_path / "out") < 0.06
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Damping of strong reflections" in page and "thickness by damping" in page


def test_hydrogens_that_the_formula_has_are_refined(crystals, tmp_path):
    merge(crystals, tmp_path / "A", MergeSettings(space_group="P b c a"))
    task = {"merged": str(tmp_path / "A" / "merged.hkl"), "settings": {"composition": "C8 H9 N O2"}, "again": None}
    answer = structure(task)
    assert answer["ok"] and answer["refined"]["ok"]
    atoms = read_structure(tmp_path / "A" / "structure.cif").atoms
    assert sum(a.element == "H" for a in atoms) >= 7


def test_without_a_structure_nothing_is_taken_out(crystals, tmp_path):
    report = merge(crystals, tmp_path / "out", MergeSettings(space_group="P b c a"))
    assert report["damping"] is None and report["datasets"][0]["thickness_nm"] is None


def test_a_structure_of_something_else_is_refused(crystals, tmp_path):
    with pytest.raises(CannotDo, match="strained"):
        merge(crystals, tmp_path / "out", MergeSettings(model=cif("andradite")))


def made(**r1):
    """``refine(model, target)`` that leaves a report of the R1 that belongs to the folder's name."""

    def make(model, target):
        report = {"command": "refine", "ok": True, "r1_obs": r1[target.parent.name]}
        target.mkdir(parents=True)
        write_json(target / "report.json", report)
        return report

    return make


def merged(thickness=120.0, applied=True):
    """``merge(model, target)`` that leaves the report of a correction."""

    def make(model, target):
        rows = [{"dataset": "a", "thickness_nm": thickness, "kept": True}]
        report = {"command": "merge", "damping": {"applied": applied, "reason": str(model.parent)}, "datasets": rows}
        target.mkdir(parents=True)
        write_json(target / "report.json", report)
        return report

    return make


@pytest.fixture
def phase(tmp_path):
    place = tmp_path / "A"
    made(A=0.1)(None, place / "refine")
    return place


@pytest.mark.parametrize(("after", "kept"), [(0.06, True), (0.12, False)])
def test_the_refinement_with_the_lower_r1_is_believed(phase, after, kept):
    answer = corrected(phase, merged(), made(corrected=after))
    assert (answer["kept"], answer["r1_obs_before"], answer["r1_obs"]) == (kept, 0.1, after)
    assert answer["thickness_nm"] == {"a": 120.0}
    assert refinement_of(phase) == (phase / "corrected" / "refine" if kept else phase / "refine")


@pytest.mark.parametrize(("second", "last"), [(0.03, "corrected/again"), (0.045, "corrected")])
def test_a_structure_that_was_bent_by_damping_serves_once_more(phase, second, last):
    answer = corrected(phase, merged(), made(corrected=0.04, again=second))
    assert answer["kept"] and answer["r1_obs"] == min(second, 0.04)
    assert refinement_of(phase) == phase / last / "refine"
    # the second merge is with the structure of the first correction
    assert answer["reason"] == str(phase / ("corrected/refine" if last.endswith("again") else "refine"))


def test_nothing_is_refined_again_where_the_correction_does_not_hold(phase):
    answer = corrected(phase, merged(applied=False), made())
    assert answer == {"applied": False, "reason": str(phase / "refine"), "kept": False}
    assert refinement_of(phase) == phase / "refine"


def test_a_merge_that_fails_says_why(phase):
    answer = corrected(phase, lambda *_: {"ok": False, "reason": "no two data sets agree"}, made())
    assert not answer["applied"] and "agree" in answer["reason"]
