"""Logs of the collection: what they say is taken, what they do not say stays unknown."""

from __future__ import annotations

import json

import pytest

from credo.io.collection_log import read_acquisition, read_collect_json
from credo.io.open import open_experiment
from credo.model import Acquisition

LOG = """Program: instamatic v2.0.0
Data Collection Time: 2024-03-05 13:13:53
Starting angle: 56.18 degrees
Rotation range: -121.10 degrees
Total time: 66.225 s
Spot Size: 2
"""


def test_a_log_of_instamatic(tmp_path):
    log = tmp_path / "cRED_log.txt"
    log.write_text(LOG)
    a = read_acquisition(tmp_path, log)
    assert (a.mode, a.rotation_deg, a.exposed_s) == ("rotation", 121.1, 66.225)
    assert a.speed_deg_s == pytest.approx(121.1 / 66.225)
    assert a.software == "instamatic v2.0.0" and a.log == "cRED_log.txt"
    # a spot size is no flux, and not to write of tracking is not to deny it
    assert a.flux is None and a.fluence is None and a.tracking is None and a.precession_deg is None


def test_defocused_images_are_tracking_and_a_red_log_is_stepwise(tmp_path):
    log = tmp_path / "cRED_log.txt"
    log.write_text(LOG + "Image interval: every 5 frames an image with defocus 24886 (t=0.01 s).\n")
    assert read_acquisition(tmp_path, log).tracking is True
    other = tmp_path / "RED_log.txt"
    other.write_text("Tilt step: 0.2\n")
    assert read_acquisition(tmp_path, other).mode == "stepwise"


def test_collect_json_comes_first_and_only_what_is_of_its_kind_counts(tmp_path):
    told = {
        "mode": "rotation", "exposed_s": 30, "flux": 0.05, "precession_deg": 0, "tracking": True, "camera": "Timepix",
        "illumination": "sideways", "area_size_um": "wide", "temperature_k": -3, "rotation_deg": float("inf"),
        "speed_deg_s": True, "microscope": " ", "nonsense": 1,
    }  # fmt: skip
    (tmp_path / "collect.json").write_text(json.dumps({"acquisition": told}))
    (tmp_path / "SMV").mkdir()
    a = read_acquisition(tmp_path / "SMV", tmp_path / "cRED_log.txt")
    expected = Acquisition(
        mode="rotation", exposed_s=30.0, flux=0.05, precession_deg=0.0, tracking=True, camera="Timepix",
        log="collect.json",
    )  # fmt: skip
    assert a == expected and a.fluence == pytest.approx(1.5)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"acquisition": 3}', '{"acquisition": {"flux": null}}'])
def test_a_damaged_collect_json_says_nothing(tmp_path, text):
    (tmp_path / "collect.json").write_text(text)
    assert read_collect_json(tmp_path / "collect.json").replace(log=None) == Acquisition()


def test_nothing_beside_the_frames_says_nothing(tmp_path):
    assert read_acquisition(tmp_path) == Acquisition()


def test_it_is_part_of_the_experiment_of_the_frames(small, pictures, tmp_path):
    from credo.io.convert import write_frames
    from credo.model import ArrayFrames

    write_frames(tmp_path / "SMV", "smv", small(), ArrayFrames(pictures()))
    (tmp_path / "cRED_log.txt").write_text(LOG)
    e = open_experiment(tmp_path).experiment
    assert e.acquisition.exposed_s == 66.225
    assert type(e).from_dict(e.to_dict()) == e
