"""The measured series and single images of ../shared/data open with the numbers that are known of them."""

from __future__ import annotations

from pathlib import Path

import fabio
import numpy as np
import pytest
import tifffile

from credo.io.check import check
from credo.io.open import GeometryOverrides, in_memory, open_experiment
from credo.model.errors import CannotDo, CredoError

pytestmark = pytest.mark.data


def test_garnet(measured) -> None:
    e = open_experiment(measured("garnet")).experiment
    assert e.scan.numbers[[0, -1]].tolist() == [1, 400]
    assert len(e.scan.missing) == 0
    assert e.scan.start_deg[0] == pytest.approx(-29.75, abs=0.01)
    # the headers' OSC_RANGE is rounded to 0.12, the start angles are 0.124 apart
    assert e.scan.width_deg == pytest.approx(0.124, abs=1e-4)
    assert e.beam.wavelength == pytest.approx(0.0251)
    assert e.detector.q_per_pixel == pytest.approx(0.00838, abs=1e-5)
    assert e.detector.origin == pytest.approx((248.28, 263.06))
    assert "axis" not in e.known
    text = " ".join(e.problems)
    assert "ALS831" in text
    assert "2007" in text


def test_garnet_in_memory_is_what_fabio_reads(measured) -> None:
    folder = measured("garnet")
    opened = open_experiment(folder, GeometryOverrides(frames=(1, 300)))
    assert opened.frames is not None
    loaded = in_memory(opened.frames)
    assert loaded.shape == (300, 516, 516)
    with fabio.open(str(folder / "Garnet_Cont_0007.img")) as other:
        assert np.array_equal(loaded[6], other.data)


def test_cinchonine_with_its_log(shared_data) -> None:
    e = open_experiment(shared_data / "cinchonine").experiment
    assert len(e.scan) == 405
    assert (e.scan.numbers[0], e.beam.wavelength, e.detector.q_per_pixel) == (0, 0.02508, 0.004950299)
    assert e.scan.start_deg[0] == pytest.approx(-50.46)
    assert e.scan.end_deg[-1] == pytest.approx(51.69)
    assert e.goniometer.angle_deg == pytest.approx(128)
    assert any("322" in p for p in e.problems)
    # 12 bits: the largest counts are clipped
    report = check(shared_data / "cinchonine")
    assert any("saturates" in p for p in report.warnings)
    assert not any("same frames" in p for p in report.warnings)


def test_cinchonine_alone_has_no_geometry(measured) -> None:
    with pytest.raises(CannotDo, match="nothing says"):
        open_experiment(measured("cinchonine"))
    opened = open_experiment(measured("cinchonine"), GeometryOverrides(step=0.2522))
    assert opened.experiment.known == ("angles",)
    assert opened.frames is not None
    path = next(measured("cinchonine").rglob("fNgu_000200.tiff"))
    assert np.array_equal(opened.frames[200], tifffile.imread(path))


def test_mordenite_in_spite_of_its_log(shared_data) -> None:
    e = open_experiment(shared_data / "mordenite").experiment
    assert len(e.scan) == 53
    assert len(e.scan.missing) == 71
    assert (e.beam.wavelength, e.detector.q_per_pixel) == (0.041757, 0.0056715)
    assert e.goniometer.angle_deg == pytest.approx(32.0)
    # the angle follows the number: frame 124 begins at 56.18 - 123 * 0.953543
    assert e.scan.start_deg[-1] == pytest.approx(56.18 - 123 * 0.953543, abs=1e-3)
    text = " ".join(e.problems)
    for word in ("80 kV", "200 kV", "means mm", "unset"):
        assert word in text


def test_mordenite_without_its_ed3d_is_what_the_log_says(measured, shared_data, tmp_path) -> None:
    """Nothing but the log beside the frames: the 80 kV cannot be known, and no other value may be made up."""
    folder = next(p for p in measured("mordenite").rglob("*.mrc")).parent
    (tmp_path / "RED").symlink_to(folder)
    (tmp_path / "cRED_log.txt").write_bytes((shared_data / "mordenite" / "cRED_log.txt").read_bytes())
    e = open_experiment(tmp_path / "RED").experiment
    assert (e.beam.wavelength, e.detector.q_per_pixel) == (0.025079, 0.0036496)
    assert e.scan.start_deg[-1] == pytest.approx(56.18 - 123 * 0.953543, abs=1e-3)


def test_a_tif_that_is_an_smv(shared_data, tmp_path) -> None:
    source = shared_data / "vendor_images" / "TIMEPIX_SU_516-stdgoni_0001.img"
    (tmp_path / "a_0001.tif").write_bytes(source.read_bytes())
    opened = open_experiment(tmp_path / "a_0001.tif", need_angles=False)
    assert opened.frames is not None
    assert opened.experiment.kind == "SMV"
    with fabio.open(str(source)) as other:
        assert np.array_equal(opened.frames[0], other.data)


def test_lysozyme(shared_data, measured) -> None:
    e = open_experiment(shared_data / "lysozyme").experiment
    assert len(e.scan) == 49
    assert e.scan.width_deg == pytest.approx(0.6873, abs=1e-4)
    assert e.goniometer.angle_deg == pytest.approx(128.34, abs=0.01)
    assert e.detector.origin == pytest.approx((243.9, 227.73))
    assert e.detector.q_per_pixel == pytest.approx(0.055 / (0.0251 * 1481.7449))
    assert "axis" not in open_experiment(measured("lysozyme")).experiment.known


VENDOR = {
    "TIMEPIX_SU_512-stdgoni_0001.img": ((1, 512, 512), "uint16"),
    "TIMEPIX_SU_516-stdgoni_0001.img": ((1, 516, 516), "uint16"),
    "su_2021-01-25_timepix_frame.img": ((1, 516, 516), "uint16"),
    "dataset_1_frame_value_438.cbf": ((1, 1032, 1032), "int32"),
    "ncempy_Camera_Ceta_Diffraction_Micro.emd": ((1, 512, 512), "int16"),
    "ncempy_Camera_Ceta_Imaging_Micro.emd": ((1, 512, 512), "int16"),
    "rosettasciio_TVIPS_bin4.zip": ((1, 1024, 1024), "uint8"),
    "rosettasciio_test_diffraction_pattern.dm3": ((1, 87, 87), "int32"),
    "rosettasciio_test_tvips_2233_000.tvips": ((4, 3, 3), "uint16"),
    "rosettasciio_test_tvips_2345_000.tvips": ((6, 4, 5), "uint16"),
    "scikit-ued_bismuth.dm3": ((1, 256, 256), "int8"),
    "scikit-ued_bismuth.dm4": ((1, 256, 256), "int8"),
    "scikit-ued_hotspots.tif": ((1, 256, 256), "uint16"),
    "scikit-ued_test.mib": ((1, 256, 256), "uint16"),
    "scikit-ued_test_multi.mib": ((9, 256, 256), "uint8"),
    "rosettasciio/128x128x5-diffraction_preview_1.ser": ((5, 128, 128), "int32"),
    "rosettasciio/128x128x5-diffraction_preview.emi": ((5, 128, 128), "int32"),
    "rosettasciio/64x64_diffraction_acquire_1.ser": ((1, 64, 64), "float32"),
    "rosettasciio/test_00_master.h5": ((16, 192, 192), "uint32"),
    "rosettasciio/test_00_data_000001.h5": ((16, 192, 192), "uint32"),
}


@pytest.mark.parametrize("name", VENDOR)
@pytest.mark.filterwarnings("ignore")  # other people's readers warn about their own affairs
def test_vendor_images_open(shared_data, name) -> None:
    path = shared_data / "vendor_images" / name
    opened = open_experiment(path, need_angles=False)
    assert opened.frames is not None
    shape, dtype = VENDOR[name]
    assert (opened.frames.shape, str(opened.frames.dtype)) == (shape, dtype)
    image = opened.frames[len(opened.frames) - 1]
    assert (image.shape, image.dtype) == (shape[1:], opened.frames.dtype)
    assert check(path).numbers["frames"] == shape[0]
    if path.suffix in (".img", ".cbf"):
        with fabio.open(str(path)) as other:
            assert np.array_equal(image, other.data)


@pytest.mark.parametrize("name", [n for n in VENDOR if n.endswith((".mib", ".tvips"))])
@pytest.mark.filterwarnings("ignore")
def test_vendor_stacks_agree_with_rosettasciio(shared_data, name) -> None:
    from importlib import import_module

    path = shared_data / "vendor_images" / name
    reader = import_module("rsciio.tvips" if name.endswith("tvips") else "rsciio.quantumdetector").file_reader
    theirs = np.asarray(reader(str(path))[0]["data"])
    if name.endswith("mib"):
        # rosettasciio turns MIB images upside down, as Merlin shows them; credo keeps the order of the file
        theirs = theirs[..., ::-1, :]
    ours = open_experiment(path, need_angles=False).frames
    assert ours is not None
    assert np.array_equal(np.stack([ours[i] for i in range(len(ours))]), theirs.reshape(ours.shape))


@pytest.mark.filterwarnings("ignore")
def test_blo_says_what_is_missing(shared_data) -> None:
    """rosettasciio's reader of .blo needs scikit-image, which is not installed with it."""
    path = shared_data / "vendor_images" / "rosettasciio_test1.blo"
    try:
        assert open_experiment(path, need_angles=False).frames is not None
    except CredoError as error:
        assert "skimage" in str(error)


def test_other_tem_images_open(shared_data) -> None:
    for path in (Path("tem_images/moo3_100kX.tif"), Path("powder_rings/au_xgrating_20cm.tif")):
        assert open_experiment(shared_data / path, need_angles=False).frames is not None
