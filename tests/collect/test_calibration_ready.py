"""Calibrations before use: stale by age and settings, checked by images, measured anew, told with the data."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.collect.scenes import PLAIN, bring, collected, optics, scope_of

from credo.collect.calibration.deflectors import DeflectorSettings
from credo.collect.calibration.needs import deflector_need, pattern_needs
from credo.collect.calibration.ready import USED, ready
from credo.collect.cred import Cred
from credo.collect.engine import Engine
from credo.collect.rig import Rig
from credo.collect.serial_red import SerialRED
from credo.collect.serial_setup import SerialOptics, set_up
from credo.collect.session import STORE, Session
from credo.instrument.calibration_file import read_calibration
from credo.instrument.config import Calibration
from credo.io.open import open_experiment
from credo.model.errors import CannotDo

SCALE, VOLTS = 0.00365, 200_000.0


def calibration(**others) -> dict:
    """A scale and ellipses of two camera lengths, and an axis."""
    at = {"high_tension": VOLTS}
    return {
        "diffraction": {"600": {"value": SCALE, "esd": 4e-6, "date": "2027-01-01", "at": at}},
        "ellipse": {
            "400": {"value": [2.0, 10.0], "esd": [0.01, 0.2], "at": at},
            "800": {"value": [2.0, 100.0], "esd": [0.01, 0.2], "at": at},
        },
        "ellipse_percent": {"value": 9.0}, "ellipse_azimuth_deg": {"value": 45.0},
        "rotation_axis_deg": {"value": 141.3, "esd": 0.1, "at": at},
        **others,
    }  # fmt: skip


def run(ctrl, steps) -> tuple[Rig, list]:
    """What the steps return, and the facts of the calibrations that they used."""
    told: list = []
    rig = Engine(ctrl, [lambda e: told.append(e.facts) if e.kind == USED else None]).run(steps)
    return rig, told


def plan(ctrl, **settings) -> Cred:
    return Cred(start_deg=-2.0, stop_deg=2.0, speed_deg_s=2.0, exposure_s=0.2, optics=optics(ctrl), **settings)


def test_a_data_set_says_what_it_was_calibrated_with(simulated, tmp_path):
    ctrl = simulated(1, sample={**PLAIN, "phases": ("andradite",)}, calibration=calibration())
    bring(ctrl)
    (told,) = collected(ctrl, plan(ctrl), tmp_path).datasets
    scale, ellipse, axis = told["calibrations"]
    assert (scale["source"], scale["value"], scale["esd"]) == ("stored", SCALE, 4e-6)
    assert (axis["value"], axis["esd"]) == (141.3, 0.1)
    assert json.loads((tmp_path / "crystals/0001/collect.json").read_text())["calibrations"] == told["calibrations"]
    # the ellipse is that of 600 mm, between those of 400 and 800, whose long axes are at right angles
    share = np.log(600 / 400) / np.log(2)
    assert ellipse["value"][0] == pytest.approx(2.0 * abs(1 - 2 * share))
    detector = open_experiment(tmp_path / "crystals/0001").experiment.detector
    assert detector.q_per_pixel == pytest.approx(SCALE)
    assert detector.ellipse.amplitude_percent == pytest.approx(ellipse["value"][0], abs=1e-6)
    assert detector.ellipse.azimuth_deg == pytest.approx(100.0, abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "what"),
    [({"high_tension": 120_000.0}, "high_tension was 120000"), ({"difffocus": 20_000.0}, "difffocus was 20000")],
)
def test_settings_that_changed_make_it_stale(simulated, tmp_path, changed, what):
    old = calibration(diffraction={"600": {"value": SCALE, "date": "2027-01-01", "at": changed}})
    ctrl = simulated(1, sample=PLAIN, calibration=old)
    with pytest.raises(CannotDo, match=what) as told:
        collected(ctrl, plan(ctrl), tmp_path)
    assert "credo calibrate pixel-size --camera-length 600" in told.value.remedy
    assert scope_of(ctrl).blanker.is_blanked() and not (tmp_path / "crystals").exists()


def test_nothing_stored_on_a_real_instrument_is_refused_and_nominal_is_told(simulated):
    ctrl = simulated(2, sample=PLAIN)
    rig = Rig.of(ctrl)
    _, told = run(ctrl, ready(rig, pattern_needs(600.0), "stop"))
    assert [one["source"] for one in told] == ["nominal", "none", "nominal"]
    with pytest.raises(CannotDo, match="never calibrated"):
        run(ctrl, ready(replace(rig, uncalibrated=False), pattern_needs(600.0), "measure"))


def wrong(found: Calibration, by: float) -> Calibration:
    """With the beam shift in images stronger than it is."""
    table = found.model_dump(mode="json", exclude_defaults=True)
    entry = table["deflectors"]["mag1@2500"]["beamshift"]
    entry["value"] = (by * np.array(entry["value"])).tolist()
    return Calibration.model_validate(table)


def test_serial_red_takes_what_is_stored_and_measures_what_is_stale(simulated, tmp_path):
    """Fault: calibration stale. The set-up finds that two images contradict the store, and measures that one anew."""
    ctrl = simulated(3, sample={"phases": ("grossular",), "clustered": 0.0, "debris": 0.0})
    o, rig, session = SerialOptics(), Rig.of(ctrl), Session(tmp_path, Rig.of(ctrl))
    first = Engine(ctrl, [session]).run(set_up(o, rig))
    stored = read_calibration(tmp_path / STORE)
    assert set(stored.deflectors["diff@600"]) == {"beamshift", "imageshift1", "imageshift2", "diffshift"}
    own, frames, told = replace(rig, calibration=wrong(stored, 1.15)), [], []

    def listen(event):
        if event.kind == "frame":
            frames.append(event)
        if event.kind == USED:
            told.append(event.facts)

    again = Engine(ctrl, [listen]).run(set_up(o, own))
    sources = {one["what"]: one["source"] for one in told}
    assert sources.pop("beamshift in mag1@2500") == "measured"
    assert set(sources.values()) == {"stored"}
    assert all("off_px" in one["checked"] for one in told if one["what"] != "the beam against brightness")
    assert len(frames) < 100
    np.testing.assert_allclose(again.beam, first.beam, atol=0.02 * np.abs(first.beam).max())


def test_serial_red_stops_where_it_may_not_measure(simulated, tmp_path):
    ctrl = simulated(3, sample={"phases": ("grossular",)})
    plan = SerialRED(max_crystals=1, x_um=3.0, y_um=2.0, calibrations="stop")
    with pytest.raises(CannotDo, match="the beam against brightness: it was never measured") as told:
        collected(ctrl, plan, tmp_path)
    assert "credo calibrate brightness" in told.value.remedy
    assert scope_of(ctrl).blanker.is_blanked() and not (tmp_path / "crystals").exists()


def test_a_check_that_fails_stops_or_measures_anew(simulated):
    ctrl = simulated(4, sample=PLAIN)
    settings = DeflectorSettings(name="beamshift", magnification=2500.0, points=9)
    need = deflector_need(settings)
    rig, _ = run(ctrl, ready(Rig.of(ctrl), [need], "measure", look=False))
    held, told = run(ctrl, ready(rig, [need], "stop"))
    assert told[0]["source"] == "stored" and told[0]["checked"]["pull"] < 4
    assert held.calibration == rig.calibration
    off = replace(rig, calibration=wrong(rig.calibration, 1.2))
    with pytest.raises(CannotDo, match="off by") as error:
        run(ctrl, ready(off, [need], "stop"))
    assert "--name beamshift --mode mag1 --magnification 2500" in error.value.remedy
    assert run(ctrl, ready(off, [need], "stop", look=False))[1][0]["source"] == "stored"
    again, told = run(ctrl, ready(off, [need], "measure"))
    assert told[0]["source"] == "measured" and "off by" in told[0]["instead_of"][0]
    a, b = (np.array(r.deflector_matrix("mag1", "beamshift", 2500.0).value) for r in (rig, again))
    np.testing.assert_allclose(a, b, atol=0.005 * np.abs(a).max())
