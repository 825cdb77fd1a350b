"""The demonstration of the loop: what it tells to credo, and that it fails where the truth was not found."""

import json

import pytest

import credo.pipeline.demo_loop as module
from credo.instrument.config import validated
from credo.model import CannotDo
from credo.pipeline.demo_loop import batch_settings, demo_loop, demo_plan
from credo.pipeline.demo_scenes import SCENES, scene


@pytest.fixture
def empty(monkeypatch):
    """A session on which nothing was collected."""

    def collected(plan, out, **_):
        (out / "crystals").mkdir(parents=True)
        return {"datasets": [], "rejected": [{"place_um": [0, 0], "reason": "not isolated"}]}

    def mapped(instrument, folder, say):
        (folder / "grid").mkdir(parents=True)
        return folder / "grid"

    monkeypatch.setattr(module, "_calibrated", lambda instrument, *_: instrument)
    monkeypatch.setattr(module, "_mapped", mapped)
    monkeypatch.setattr(module, "collect", collected)
    monkeypatch.setattr(module, "batch", lambda *_, **__: {"phases": [], "sets": [], "indexed": 0, "rejected": []})


def test_it_fails_where_the_truth_was_not_found(empty, tmp_path):
    with pytest.raises(CannotDo, match="ZSM-5: not found"):
        demo_loop(tmp_path / "demo", "zsm5")
    report = json.loads((tmp_path / "demo" / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] is False and report["errors_vs_truth"] == {"ZSM-5": {"found": False, "data_sets": 0}}
    assert report["crystals_found"] == 1 and report["crystals_collected"] == 0
    assert (tmp_path / "demo" / "session" / "grid").is_dir()


def test_credo_is_told_the_composition_and_the_resolution_only():
    for name in SCENES:
        told = batch_settings(scene(name)).model_dump(exclude_defaults=True)
        assert set(told) == {"composition", "d_min"}
        assert demo_plan(scene(name), 3).max_crystals == 3


def test_every_scene_is_a_grid_that_the_simulator_can_make():
    for name in SCENES:
        options = {"seed": 1, "sample": scene(name).sample_settings()}
        validated({"microscope": {"driver": "simulated", "options": options}}, name)
