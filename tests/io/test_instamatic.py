"""Logs and processing files beside frames: units that are wrong, values that are unset, who is nearest."""

from __future__ import annotations

import pytest

from credo.io.instamatic import nearby, read_ed3d_hints, read_log, read_pts_hints, read_xds_hints

LOG = """Program: instamatic v2.0.0
Data Collection Time: 2024-03-05 13:13:53
Starting angle: 56.18 degrees
Ending angle: -64.92 degrees
Rotation range: -121.10 degrees
Exposure Time: 0.100 s
Spot Size: 2
Camera length: 1200 mm
Pixelsize: 0.0036496 px/Angstrom
Physical pixelsize: 0.055 um
Wavelength: 0.025079 Angstrom
Rotation axis: {axis}
Oscillation angle: 0.9535 degrees
Number of frames: 53
"""


def test_log_of_instamatic(tmp_path) -> None:
    (tmp_path / "cRED_log.txt").write_text(LOG.format(axis="0.0 radians"))
    h = read_log(tmp_path / "cRED_log.txt")
    assert (h.wavelength, h.q_per_pixel, h.camera_length_mm, h.n_frames) == (0.025079, 0.0036496, 1200, 53)
    # "um" means mm; 0.0 radians is unset; the step is the whole range over 127 slots
    assert h.pixel_size_mm == 0.055
    assert h.axis_deg is None
    assert h.step_deg == pytest.approx(-121.10 / 127, abs=1e-9)
    assert len(h.problems) == 2


@pytest.mark.parametrize(
    ("axis", "degrees"), [("-2.24 radians", -128.3425), ("-128 degree", -128.0), ("0.5585 radians", 32.0)]
)
def test_axis_in_radians_or_degrees(tmp_path, axis, degrees) -> None:
    (tmp_path / "cRED_log.txt").write_text(LOG.format(axis=axis))
    assert read_log(tmp_path / "cRED_log.txt").axis_deg == pytest.approx(degrees, abs=1e-3)


def test_ed3d(tmp_path) -> None:
    (tmp_path / "1.ed3d").write_text(
        "WAVELENGTH    0.041757\nROTATIONAXIS    32.0\nCCDPIXELSIZE    0.0056715\nGONIOTILTSTEP    0.953543\n\n"
        "FILELIST\nFILE 00001.mrc    55.2265    0    55.2265\nFILE 00004.mrc    52.3659    0    52.3659\nENDFILELIST\n"
    )
    h = read_ed3d_hints(tmp_path / "1.ed3d")
    assert (h.wavelength, h.axis_deg, h.q_per_pixel, h.step_deg) == (0.041757, 32.0, 0.0056715, -0.953543)
    assert h.angles == {1: 55.2265, 4: 52.3659}


def test_pts(tmp_path) -> None:
    (tmp_path / "pets.pts").write_text(
        "geometry continuous\nlambda 0.0251\naperpixel 0.00412\nphi 0.15\nomega 231.657\nimagelist\n"
        "tiff/00001.tiff  10.30 0.00\ntiff/00002.tiff  10.60 0.00\nendimagelist\n"
    )
    h = read_pts_hints(tmp_path / "pets.pts")
    assert (h.wavelength, h.q_per_pixel, h.step_deg, h.axis_deg) == (0.0251, 0.00412, 0.3, 231.657)
    assert h.angles == {1: 10.3, 2: 10.6}


XDS = """NAME_TEMPLATE_OF_DATA_FRAMES= data/0????.img   SMV
!WAVELENGTH in a comment: X-RAY_WAVELENGTH= 1.0
STARTING_ANGLE= -18.2800
STARTING_FRAME= 1
NX=516     NY=500
QX=0.0550  QY=0.0550
ORGX= 243.90    ORGY= 227.73
DETECTOR_DISTANCE= +1481.74
OSCILLATION_RANGE= 0.6873
ROTATION_AXIS= -0.6204 0.7843 0.0000
X-RAY_WAVELENGTH= 0.0251              !used by IDXREF
"""


def test_xds_inp_counts_pixels_from_one(tmp_path) -> None:
    (tmp_path / "XDS.INP").write_text(XDS)
    h, ours = read_xds_hints(tmp_path / "XDS.INP", "00001.img")
    assert ours
    assert h.origin == (pytest.approx(243.4), pytest.approx(227.23))
    assert h.axis_deg == pytest.approx(128.34, abs=0.01)
    assert (h.wavelength, h.step_deg, h.start_deg, h.first, h.shape) == (0.0251, 0.6873, -18.28, 1, (500, 516))


def test_xds_inp_of_other_frames_does_not_give_the_centre(tmp_path) -> None:
    (tmp_path / "XDS.INP").write_text(XDS)
    h, ours = read_xds_hints(tmp_path / "XDS.INP", "fNgu_000000.tiff")
    assert not ours
    assert h.origin is None
    assert h.wavelength == 0.0251


def test_the_nearest_files_are_found(tmp_path) -> None:
    data = tmp_path / "exp_1" / "SMV" / "data"
    data.mkdir(parents=True)
    (tmp_path / "exp_1" / "RED").mkdir()
    for path in (tmp_path / "exp_1" / "cRED_log.txt", data.parent / "XDS.INP", tmp_path / "exp_1" / "RED" / "1.ed3d"):
        path.touch()
    (tmp_path / "cRED_log.txt").touch()
    found = nearby(data)
    assert {k: p.relative_to(tmp_path).as_posix() for k, p in found.items()} == {
        "xds": "exp_1/SMV/XDS.INP", "log": "exp_1/cRED_log.txt", "ed3d": "exp_1/RED/1.ed3d"
    }  # fmt: skip


def test_a_log_of_the_sibling_is_not_taken(tmp_path) -> None:
    (tmp_path / "exp_1" / "tiff").mkdir(parents=True)
    (tmp_path / "exp_2").mkdir()
    (tmp_path / "exp_2" / "cRED_log.txt").touch()
    assert nearby(tmp_path / "exp_1" / "tiff") == {}


def test_a_processing_folder_beside_the_frames(tmp_path) -> None:
    for name in ("diff", "xds", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "xds" / "XDS.INP").touch()
    (tmp_path / "other" / "1.ed3d").touch()
    assert nearby(tmp_path / "diff") == {"xds": tmp_path / "xds" / "XDS.INP"}
