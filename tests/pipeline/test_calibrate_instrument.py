"""``credo calibrate KIND`` on a simulated instrument: what it leaves behind, and what it says when nothing holds."""

import json

import pytest

from credo.collect.calibration.deflectors import DeflectorSettings
from credo.collect.calibration.timing import TimingSettings
from credo.instrument.calibration_file import read_calibration, write_calibration
from credo.instrument.config import Calibration, MeasuredMatrix
from credo.model.errors import CannotDo, UnreadableInput
from credo.pipeline.calibrate_instrument import AxisOf, calibrate_instrument
from credo.pipeline.page.calibration import values_of


def test_values_report_and_page(tmp_path):
    into = tmp_path / "session.toml"
    into.write_text("# of the night shift\n[calibration]\nrotation_axis_deg = {value = 140.0}\n", encoding="utf-8")
    settings = TimingSettings(speeds=(5.0,), spans=(2.0, 6.0), frames=6)
    report = calibrate_instrument("timing", tmp_path / "out", settings, seed=3, into=into)
    assert report["ok"] and report["frames"] > 6 and report["instrument_s"] > 2 and report["dose_e_per_A2"] > 0
    assert [r["table"] for r in report["results"]] == ["dead_time_s", "rotation"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["results"] == report["results"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(values_of(r["result"])[0] in page for r in report["results"])
    own, both = read_calibration(tmp_path / "out" / "calibration.toml"), read_calibration(into)
    assert own.rotation["5"].value[0] == pytest.approx(0.2, rel=0.05)
    assert both.rotation == own.rotation and both.rotation_axis_deg is not None
    assert "# of the night shift" in into.read_text(encoding="utf-8")


def test_what_no_longer_holds_ends_the_command_with_its_name(tmp_path):
    into = tmp_path / "session.toml"
    wrong = MeasuredMatrix(value=((0.6, -1.3), (1.0, 0.6)), esd=4e-4)
    write_calibration(into, Calibration(deflectors={"mag1@2500": {"beamshift": wrong}}))
    with pytest.raises(CannotDo, match="no longer right: beamshift in mag1@2500"):
        calibrate_instrument("check", tmp_path / "out", DeflectorSettings(), seed=3, into=into)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["ok"] is False


def test_the_axis_of_patterns_comes_from_processed_data(tmp_path):
    done = tmp_path / "crystal-process"
    done.mkdir()
    (done / "report.json").write_text(json.dumps({"rotation_axis_deg": 139.7, "rotation_axis_esd_deg": 0.04}))
    calibrate_instrument("axis", tmp_path / "out", AxisOf(processed=done), seed=3)
    found = read_calibration(tmp_path / "out" / "calibration.toml").rotation_axis_deg
    assert found is not None and (found.value, found.esd) == (139.7, 0.04)


def test_what_there_is_not(tmp_path):
    with pytest.raises(UnreadableInput, match="no calibration"):
        calibrate_instrument("tea", tmp_path / "out")
    with pytest.raises(UnreadableInput, match="no rotation axis"):
        calibrate_instrument("axis", tmp_path / "out", AxisOf(processed=tmp_path), seed=3)
