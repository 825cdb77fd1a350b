"""Formats through rosettasciio: scale and voltage from its metadata, its own errors and its absence told clearly."""

from __future__ import annotations

import numpy as np
import pytest

from credo.io import rosettasciio
from credo.model import UnreadableInput


def _signal(**more):
    axes = [{"scale": 0.05, "units": "1/nm"}] * 2
    metadata = {"Acquisition_instrument": {"TEM": {"beam_energy": 200.0, "camera_length": 480.0}}}
    return {"data": np.arange(60, dtype=np.uint16).reshape(2, 5, 6), "axes": axes, "metadata": metadata} | more


@pytest.fixture
def reads(monkeypatch, tmp_path):
    """``reads(signals)``: the path of a file that rosettasciio reads as these."""
    pytest.importorskip("rsciio")

    def make(*signals):
        monkeypatch.setattr(rosettasciio, "_reader", lambda path: lambda name, lazy: list(signals))
        (tmp_path / "a.dm4").write_bytes(b"x")
        return tmp_path / "a.dm4"

    return make


def test_scale_voltage_and_the_largest_image(reads) -> None:
    small = _signal(data=np.ones((3, 3)), axes=[{"scale": 1.0, "units": "nm"}] * 2)
    file = rosettasciio.read(reads(small, _signal()))
    assert file.shape == (2, 5, 6)
    assert file.hints.q_per_pixel == pytest.approx(0.005)
    assert file.hints.wavelength == pytest.approx(0.0250793, rel=1e-5)
    assert file.hints.camera_length_mm == 480
    assert np.array_equal(file.read(1), _signal()["data"][1])


def test_a_spectrum_is_no_image(reads) -> None:
    with pytest.raises(UnreadableInput, match="no image"):
        rosettasciio.read(reads(_signal(data=np.ones(10))))


def test_the_package_s_own_errors(monkeypatch, tmp_path) -> None:
    class TagError(Exception):
        pass

    def fail(name, lazy):
        raise TagError("33026")

    monkeypatch.setattr(rosettasciio, "_reader", lambda path: fail)
    monkeypatch.setattr(rosettasciio, "find_spec", lambda name: True)
    (tmp_path / "a.dm3").write_bytes(b"x")
    with pytest.raises(UnreadableInput, match=r"a\.dm3.*TagError: 33026"):
        rosettasciio.read(tmp_path / "a.dm3")


def test_without_the_package(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(rosettasciio, "find_spec", lambda name: None)
    (tmp_path / "a.dm3").write_bytes(b"x")
    with pytest.raises(UnreadableInput, match="need the package") as caught:
        rosettasciio.read(tmp_path / "a.dm3")
    assert "credo[rosettasciio]" in caught.value.remedy


@pytest.mark.data
@pytest.mark.parametrize("name", ["scikit-ued_bismuth.dm3", "ncempy_Camera_Ceta_Diffraction_Micro.emd"])
def test_cut_off_files(shared_data, tmp_path, name) -> None:
    raw = (shared_data / "vendor_images" / name).read_bytes()
    path = tmp_path / name
    for part in (0.01, 0.3, 0.9):
        path.write_bytes(raw[: int(part * len(raw))])
        with pytest.raises(UnreadableInput, match=name):
            rosettasciio.read(path)
