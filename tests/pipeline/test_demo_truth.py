"""The demonstration's judge: right only if lattice, group and atoms are those of the sample."""

from importlib.resources import files
from typing import Any

import pytest

from credo.io.samples import sample
from credo.model import UnreadableInput
from credo.pipeline.demo_scenes import SCENES, scene
from credo.pipeline.demo_truth import errors_of, wrong


def _phase(project, name, cif, stretch=1.0):
    """A phase of a batch with the structure of a CIF."""
    true = sample(name)
    folder = project / "phases" / "A"
    folder.mkdir(parents=True)
    (folder / "structure.cif").write_text(cif, encoding="utf-8")
    cell = [*(stretch * x for x in true.cell.lengths), *true.cell.angles]
    return {
        "ok": True, "name": "A", "cell": cell, "centring": true.space_group[0], "members": ["1", "2"],
        "folder": "phases/A", "space_group": true.space_group, "structure": {"ok": True, "refined": {"r1_obs": 0.1}},
    }  # fmt: skip


def _cif(name):
    return (files("credo.io.samples") / f"{name}.cif").read_text(encoding="utf-8")


def test_the_sample_itself_is_right(tmp_path):
    errors = errors_of([_phase(tmp_path, "paracetamol", _cif("paracetamol"))], scene("organic"), tmp_path)
    assert wrong(errors) == []
    assert errors["paracetamol"]["atoms_right"] == 1 and errors["paracetamol"]["r1"] == 0.1


def test_another_cell_and_another_structure_are_wrong(tmp_path):
    stretched = errors_of(
        [_phase(tmp_path / "a", "paracetamol", _cif("paracetamol"), 1.02)], scene("organic"), tmp_path / "a"
    )
    assert "cell is off by 2.00 %" in wrong(stretched)[0]
    lines = [row for row in _cif("paracetamol").splitlines() if not row.startswith(("C1 ", "C2 ", "C3 "))]
    assert len(lines) < len(_cif("paracetamol").splitlines())
    fewer = errors_of([_phase(tmp_path / "b", "paracetamol", "\n".join(lines))], scene("organic"), tmp_path / "b")
    assert "of its atoms are in place" in wrong(fewer)[0]


def test_a_missing_phase_is_told_with_the_data_sets_that_have_its_lattice(tmp_path):
    cell = [*sample("paracetamol").cell.lengths, *sample("paracetamol").cell.angles]
    sets: list[dict[str, Any]] = [{"state": "done", "cell": [1.002 * cell[0], *cell[1:]], "centring": "P"}] * 2
    sets += [
        {"state": "failed", "cell": None},
        {"state": "done", "cell": [20, 19.7, 13.1, 90, 90, 90], "centring": "P"},
    ]
    (one,) = wrong(errors_of([], scene("organic"), tmp_path, sets))
    assert one == "paracetamol: not found; 2 data sets have its lattice"
    (none,) = wrong(errors_of([], scene("organic"), tmp_path, sets[2:]))
    assert "0 data sets" in none and "--crystals" in none


def test_a_guest_must_be_found_besides_its_framework(tmp_path):
    whole = errors_of([_phase(tmp_path / "a", "HKUST-1", _cif("HKUST-1"))], scene("mof-guest"), tmp_path / "a")
    assert wrong(whole) == [] and whole["HKUST-1"]["guest_right"] == pytest.approx(1)
    rows = [row for row in _cif("HKUST-1").splitlines() if not row.startswith("O2 ")]
    empty = errors_of([_phase(tmp_path / "b", "HKUST-1", "\n".join(rows))], scene("mof-guest"), tmp_path / "b")
    assert empty["HKUST-1"]["guest_right"] == pytest.approx(0) and "of the guest" in wrong(empty)[0]


def test_every_scene_names_samples_that_are_there():
    for name in SCENES:
        assert all(sample(p).atoms for p in scene(name).phases)
    with pytest.raises(UnreadableInput, match="zsm5"):
        scene("unobtainium")
