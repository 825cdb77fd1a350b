"""REDp's .ed3d: round trips, the sign of the axis in MRC files; only REDp itself reads it, so that what we write is set
against the form of the measured one of mordenite."""

from __future__ import annotations

import re

import numpy as np
import pytest

from credo.io.instamatic import read_ed3d_hints
from credo.io.redp import read_ed3d, write_ed3d
from credo.model import UnreadableInput


@pytest.mark.parametrize("suffix", [".mrc", ".tiff"])
def test_round_trip_with_gaps(indexed, tmp_path, suffix) -> None:
    e, _ = indexed(gaps=True)
    write_ed3d(tmp_path / "a.ed3d", e, suffix=suffix)
    x = read_ed3d(tmp_path / "a.ed3d")
    assert np.array_equal(x.scan.numbers, e.scan.numbers)
    assert x.scan.mid_deg == pytest.approx(e.scan.mid_deg, abs=1e-4)
    assert x.goniometer.angle_deg == pytest.approx(137.4, abs=1e-3)
    assert x.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel)
    text = (tmp_path / "a.ed3d").read_text()
    sign = 1 if suffix == ".mrc" else -1
    assert float(re.search(r"ROTATIONAXIS\s+(\S+)", text)[1]) == pytest.approx(sign * 137.4, abs=1e-3)  # type: ignore[index]


def test_the_log_reader_agrees(indexed, tmp_path) -> None:
    """Frames and .ed3d opened together use the other reader of this format."""
    e, _ = indexed(gaps=True)
    write_ed3d(tmp_path / "a.ed3d", e)
    hints = read_ed3d_hints(tmp_path / "a.ed3d")
    assert hints.q_per_pixel == pytest.approx(e.detector.q_per_pixel)
    assert hints.angles is not None
    assert [hints.angles[n] for n in e.scan.numbers.tolist()] == pytest.approx(e.scan.mid_deg, abs=1e-4)


def test_bad_lines_are_named(tmp_path) -> None:
    (tmp_path / "a.ed3d").write_text("WAVELENGTH 0.0251\nFILELIST\nFILE 1.mrc x 0 x\n")
    with pytest.raises(UnreadableInput, match="line 3"):
        read_ed3d(tmp_path / "a.ed3d")
    (tmp_path / "a.ed3d").write_text("FILELIST\nENDFILELIST\n")
    with pytest.raises(UnreadableInput, match="empty"):
        read_ed3d(tmp_path / "a.ed3d")


@pytest.mark.data
def test_mordenite_keeps_its_gaps_and_form(shared_data, tmp_path) -> None:
    source = shared_data / "mordenite" / "RED" / "Cu-MOR-K_31.ed3d"
    e = read_ed3d(source)
    assert (e.beam.wavelength, e.detector.q_per_pixel) == (0.041757, 0.0056715)
    assert e.goniometer.angle_deg == pytest.approx(32.0)
    assert (len(e.scan), len(e.scan.missing)) == (53, 71)
    assert e.scan.width_deg == pytest.approx(-0.953543)
    write_ed3d(tmp_path / "a.ed3d", e)

    def form(path) -> list[str]:
        return [re.sub(r"-?\d+(\.\d+)?", "0", " ".join(line.split())) for line in path.read_text().splitlines()]

    assert form(tmp_path / "a.ed3d") == form(source)
