"""Calibrations in a TOML file: comments stay, other values stay, nothing invalid is written."""

import datetime as dt

import pytest

from credo.instrument.calibration_file import merged, read_calibration, write_calibration
from credo.instrument.config import Calibration, Measured, MeasuredMatrix, MeasuredPair, read
from credo.model.errors import UnreadableInput

OURS = """# our microscope
[microscope]
driver = "simulated"  # for now

[calibration]
# measured by hand
rotation_axis_deg = {value = 128.3, esd = 0.2}

[calibration.diffraction]
600 = {value = 0.0061}  # old
800 = {value = 0.0046}

[camera]
exposure_s = 0.3 # seconds
"""


def found() -> Calibration:
    day = dt.date(2026, 11, 26)
    return Calibration(
        diffraction={"600": Measured(value=0.00365, esd=1e-6, date=day, at={"mode": "diff", "brightness": 28000.0})},
        stage={"mag1": {"2500": MeasuredMatrix(value=((1.0, 22.0), (-22.0, 1.0)), esd=0.05, date=day)}},
        deflectors={"diff@600+1500": {"beamshift": MeasuredMatrix(value=((-0.9, -1.9), (2.0, -0.9)), esd=0.002)}},
        beam=MeasuredPair(value=(28000.0, 1.1e-3), esd=(0.5, 1e-5)),
        dead_time_s=Measured(value=0.008),
    )


def test_values_come_back_and_the_rest_of_the_file_stays(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text(OURS, encoding="utf-8")
    write_calibration(path, found())
    text = path.read_text(encoding="utf-8")
    for kept in ("# our microscope", "# for now", "# measured by hand", "# seconds", "rotation_axis_deg"):
        assert kept in text
    whole = read(path)
    assert whole.camera.exposure_s == 0.3
    old = read_calibration_of(tmp_path, OURS)
    assert whole.calibration == merged(old, found())
    assert (
        whole.calibration.diffraction["600"].value == 0.00365 and whole.calibration.diffraction["800"].value == 0.0046
    )
    write_calibration(path, found())
    assert path.read_text(encoding="utf-8") == text
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def read_calibration_of(folder, text) -> Calibration:
    path = folder / "old.toml"
    path.write_text(text, encoding="utf-8")
    return read_calibration(path)


def test_a_new_file_is_made(tmp_path):
    path = tmp_path / "session" / "calibration.toml"
    write_calibration(path, found())
    assert read_calibration(path) == found()


def test_a_broken_file_is_left_alone(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text("[calibration\n", encoding="utf-8")
    with pytest.raises(UnreadableInput, match="not TOML"):
        write_calibration(path, found())
    path.write_text("[camera]\nexposure = 1\n", encoding="utf-8")
    with pytest.raises(UnreadableInput, match="exposure"):
        write_calibration(path, found())
    assert path.read_text(encoding="utf-8") == "[camera]\nexposure = 1\n"
