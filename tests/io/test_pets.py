"""PETS2's .pts: a measured project, and what we write set against it word by word (no program but PETS2 reads it)."""

from __future__ import annotations

import re

import numpy as np
import pytest

from credo.io.pets import crystal_frame, read_pts, write_pts
from credo.model import Ellipse, UnreadableInput


def test_round_trip_with_gaps_and_ellipse(indexed, tmp_path) -> None:
    e, _ = indexed(gaps=True)
    e = e.replace(detector=e.detector.replace(ellipse=Ellipse(1.5, 30.0)))
    write_pts(tmp_path / "a.pts", e)
    x, table = read_pts(tmp_path / "a.pts")
    assert len(table) == 0
    assert np.array_equal(x.scan.numbers, e.scan.numbers)
    assert x.scan.start_deg == pytest.approx(e.scan.start_deg, abs=1e-5)
    assert x.scan.width_deg == pytest.approx(e.scan.width_deg)
    assert x.goniometer.angle_deg == pytest.approx(137.4, abs=1e-3)
    assert x.detector.origin == pytest.approx(e.detector.origin, abs=1e-3)
    assert x.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel)
    assert x.beam.wavelength == pytest.approx(e.beam.wavelength, rel=1e-4)


def test_a_scan_downwards_keeps_its_direction(indexed, tmp_path) -> None:
    e, _ = indexed()
    e = e.replace(scan=e.scan.replace(start_deg=-e.scan.start_deg, width_deg=-e.scan.width_deg))
    write_pts(tmp_path / "a.pts", e)
    x, _ = read_pts(tmp_path / "a.pts")
    assert x.scan.start_deg == pytest.approx(e.scan.start_deg, abs=1e-5)
    assert x.scan.width_deg == pytest.approx(e.scan.width_deg)


def test_the_crystal_frame_is_a_rotation() -> None:
    t = crystal_frame(33.0)
    assert t @ t.T == pytest.approx(np.eye(3))
    assert np.linalg.det(t) == pytest.approx(1)


def test_bad_lines_are_named(tmp_path) -> None:
    path = tmp_path / "a.pts"
    path.write_text("lambda 0.0251\naperpixel 0.005\nomega x\nimagelist\na.tif 0\nendimagelist\n")
    with pytest.raises(UnreadableInput, match="omega"):
        read_pts(path)
    path.write_text("lambda 0.0251\naperpixel 0.005\nimagelist\na.tif here\nendimagelist\n")
    with pytest.raises(UnreadableInput, match="line 4"):
        read_pts(path)


@pytest.mark.data
def test_glycine_is_indexed_by_its_own_matrix(shared_data) -> None:
    """The peaks of .rpl and the matrix of .celllist, in credo's frame, give whole indices."""
    e, peaks = read_pts(shared_data / "glycine_pets" / "glycine.pts")
    # 159 images, of which seven are switched off
    assert len(e.scan) == 152
    assert e.scan.missing[0] == 20
    assert e.detector.saturation == 20000
    q = e.detector.q_lab(peaks.xy, e.beam.wavelength)
    h = np.einsum("nji,nj->ni", e.goniometer.rotation(peaks["phi"]), q) @ np.linalg.inv(e.crystal.UB).T
    off = np.abs(h - np.round(h)).max(axis=1)
    assert np.median(off) < 0.12
    assert np.mean(off < 0.25) > 0.7


@pytest.mark.data
def test_our_keywords_are_those_of_pets(shared_data, indexed, tmp_path) -> None:
    theirs = (shared_data / "glycine_pets" / "glycine.pts").read_text().lower()
    e, _ = indexed()
    write_pts(tmp_path / "a.pts", e)
    ours = (tmp_path / "a.pts").read_text().split("imagelist")
    for line in ours[0].splitlines():
        word = line.split()[0] if line.split() and line[0] != "#" else ""
        if word and word != "bin":
            assert re.search(rf"^{re.escape(word)}\s", theirs, re.M), word
    row = ours[1].strip().splitlines()[0].split()
    assert len(row) == len(theirs.split("imagelist\n")[1].splitlines()[0].split()) == 9
