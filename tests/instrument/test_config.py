"""The configuration: strict, told with its place when wrong, and the same after writing and reading."""

from __future__ import annotations

import datetime as dt

import pytest

from credo.instrument.config import Configuration, Measured, default_path, load, read
from credo.instrument.config_import import import_instamatic
from credo.instrument.config_write import to_toml
from credo.model.errors import UnreadableInput

EXAMPLE = """
[global.server]
port = 9000
[microscope]
driver = "jeol"
[microscope.options.magnifications]
diff = [150.0, 200.0]
[microscope.safety]
a_deg = [-60.0, 60.0]
diffraction = [{ spotsize = [4, 8], beamstop = true }]
[microscope.safety.holders.tomo]
a_deg = [-55.0, 58.0]
[camera]
exposure_s = 0.5
[calibration.diffraction]
150 = { value = 0.00838, esd = 0.00002, date = 2022-05-01, conditions = "gold, spot 4" }
[calibration.imaging.mag1]
2500 = { value = 11.5 }
[calibration.deflectors.diff]
beamshift = { value = [[0.1, 0.0], [0.0, 0.1]], esd = 0.01 }
"""


def test_a_file_in_four_parts(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text(EXAMPLE)
    found = read(path)
    assert found.global_.server.port == 9000
    assert found.microscope.safety.holders["tomo"].a_deg == (-55.0, 58.0)
    assert found.microscope.safety.diffraction[0].beamstop
    assert found.calibration.diffraction["150"] == Measured(
        value=0.00838, esd=2e-5, date=dt.date(2022, 5, 1), conditions="gold, spot 4"
    )
    assert found.calibration.deflectors["diff"]["beamshift"].value == ((0.1, 0.0), (0.0, 0.1))


@pytest.mark.parametrize("everything", [False, True])
def test_what_is_written_reads_back_equal(tmp_path, everything):
    path = tmp_path / "a.toml"
    path.write_text(EXAMPLE)
    first = read(path)
    path.write_text(to_toml(first, everything))
    assert read(path) == first
    assert ("longest wait for one leg of a move [s]" in path.read_text()) is everything


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[microscop]\ndriver='jeol'", "microscop"),
        ("[microscope.safety]\na_degrees=[-1,1]", "microscope.safety.a_degrees"),
        ("[microscope.safety]\na_deg=[10,-10]", "lower limit"),
        ("[microscope.safety]\nx_um=[-inf,1]", "microscope.safety.x_um"),
        ("[camera]\nexposure_s=-1", "camera.exposure_s"),
        ("[calibration.diffraction]\nlong={value=1}", "calibration.diffraction"),
        ("[calibration.diffraction]\n150={value=1, unit='m'}", "calibration.diffraction.150.unit"),
        ("[camera", "not TOML"),
    ],
)
def test_a_fault_is_told_with_file_and_place(tmp_path, text, place):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UnreadableInput) as caught:
        read(path)
    assert "bad.toml" in str(caught.value)
    assert place in str(caught.value)


def test_no_file_is_the_simulated_instrument_but_a_named_one_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CREDO_CONFIG", raising=False)
    assert load() == Configuration()
    assert load().microscope.driver == "simulated"
    monkeypatch.setenv("CREDO_CONFIG", str(tmp_path / "absent.toml"))
    assert default_path().name == "absent.toml"
    with pytest.raises(UnreadableInput, match="absent"):
        load()


@pytest.fixture
def instamatic(tmp_path):
    """A configuration folder of Instamatic's layout with a JEOL whose camera lengths are in cm."""
    files = {
        "settings.yaml": "microscope: jeol\ncamera: timepix\ncalibration: ours\ndata_directory: C:/data\n",
        "microscope/jeol.yaml": "interface: jeol\nwavelength: 0.025079\n"
        "ranges:\n  diff: [15, 20, 400]\n  mag1: [2500]\n",
        "camera/timepix.yaml": "name: timepix\ndimensions: [516, 514]\nphysical_pixelsize: 0.055\n"
        "default_exposure: 0.02\ndefault_binsize: 1\ndynamic_range: 11800\ncamera_rotation_vs_stage_xy: -2.24\n"
        "stretch_amplitude: 2.43\n"
        "stretch_azimuth: 83.37\ncorrection_ratio: 3.0\n",
        "calibration/ours.yaml": "diff:\n  pixelsize: {150: 0.00838, -1: 1}\nmag1:\n  pixelsize: {2500: 11.5}\n"
        "  stagematrix: {2500: [1.0, 2.0, 3.0, 4.0]}\n",
    }
    for name, text in files.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_instamatics_folder(instamatic):
    found, remarks = import_instamatic(instamatic)
    assert (found.microscope.driver, found.microscope.high_tension_kv) == ("jeol", 200.0)
    assert found.microscope.options == {"magnifications": {"diff": [150.0, 200.0, 4000.0], "mag1": [2500.0]}}
    assert (found.camera.pixel_size_um, found.camera.shape, found.camera.saturation) == (55.0, (516, 514), 11800)
    calibration = found.calibration
    assert list(calibration.diffraction) == ["150"]
    assert calibration.rotation_axis_deg is not None
    assert calibration.rotation_axis_deg.value == pytest.approx(128.3425, abs=1e-4)
    assert calibration.ellipse_azimuth_deg is not None
    assert calibration.ellipse_azimuth_deg.value == pytest.approx(173.37)
    # theirs: stage = (row, column) · M; ours: stage = M' (column, row)
    assert calibration.stage["mag1"]["2500"].value == ((3.0, 1.0), (4.0, 2.0))
    assert any("correction_ratio" in r for r in remarks)
    assert any("sign" in r for r in remarks)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("settings.yaml", "camera: timepix", "names no microscope"),
        ("settings.yaml", "microscope: ../../etc/passwd", "not the name of a file"),
        ("camera/timepix.yaml", "!!python/object/apply:os.system ['true']", "not YAML"),
        ("camera/timepix.yaml", "[1, 2]", "no settings"),
        ("camera/timepix.yaml", "default_exposure: soon", "camera.exposure_s"),
    ],
)
def test_a_folder_that_cannot_be_taken(instamatic, name, text, told):
    (instamatic / "config" / name).write_text(text)
    with pytest.raises(UnreadableInput, match=told):
        import_instamatic(instamatic)
