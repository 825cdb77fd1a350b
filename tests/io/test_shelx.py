"""SHELX .hkl: columns with and without blanks, the scale that fits eight columns, measured files."""

from __future__ import annotations

import numpy as np
import pytest

from credo.io.shelx import read_hkl, write_hkl
from credo.model import Reflections, UnreadableInput
from credo.model.errors import CannotDo


def _file(tmp_path, text: str):
    (tmp_path / "a.hkl").write_text(text)
    return tmp_path / "a.hkl"


def test_columns_run_together(tmp_path) -> None:
    r = read_hkl(_file(tmp_path, "  -1 -10  -312345.6712345.67   1\n   0   0 -10   -0.50    1.20   2\n   0   0   0\n"))
    assert r.hkl.tolist() == [[-1, -10, -3], [0, 0, -10]]
    assert r["intensity"].tolist() == [12345.67, -0.5]
    assert r["sigma"].tolist() == [12345.67, 1.2]
    assert r["batch"].tolist() == [1, 2]


def test_no_decimal_point_means_hundredths_only_in_fixed_columns(tmp_path) -> None:
    fixed = read_hkl(_file(tmp_path, "   1   0   0   12345     100\n-100-100-100   12345     100\n"))
    assert fixed["intensity"].tolist() == [123.45, 123.45]
    free = read_hkl(_file(tmp_path, "1 0 0 12345 100\n2 0 0 7 1\n"))
    assert free["intensity"].tolist() == [12345.0, 7.0]


def test_what_follows_the_end_is_not_read(tmp_path) -> None:
    r = read_hkl(_file(tmp_path, "   1   0   0   10.00    1.00\n   0   0   0    0.00    0.00\nTITL x\nCELL 1 2 3\n"))
    assert len(r) == 1


def test_a_bad_line_is_named(tmp_path) -> None:
    with pytest.raises(UnreadableInput, match="line 2"):
        read_hkl(_file(tmp_path, "   1   0   0   10.00    1.00\n   1   0   x   10.00    1.00\n"))
    with pytest.raises(UnreadableInput, match="no reflections"):
        read_hkl(_file(tmp_path, "\n"))


@pytest.mark.parametrize("top", [0.01, 1.0, 99998.0, 1e5, 3.7e9])
def test_the_written_scale_fits_and_keeps_ratios(tmp_path, top) -> None:
    rng = np.random.default_rng(0)
    value = rng.uniform(-0.1, 1, 50) * top
    value[0] = top
    r = Reflections(
        h=np.arange(50) - 25, k=np.ones(50), l=np.full(50, -100), intensity=value, sigma=0.05 * np.abs(value)
    )
    write_hkl(tmp_path / "b.hkl", r)
    lines = (tmp_path / "b.hkl").read_text().splitlines()
    assert {len(line) for line in lines} == {32}
    back = read_hkl(tmp_path / "b.hkl")
    scale = back["intensity"][0] / top
    assert back.hkl.tolist() == r.hkl.tolist()
    assert back["intensity"] == pytest.approx(value * scale, abs=max(1e-4 * back["intensity"][0], 1e-4))


def test_rejected_and_unindexed_are_left_out(tmp_path) -> None:
    one = np.ones(4)
    r = Reflections(h=one, k=one, l=np.arange(4), intensity=one, sigma=one,
                    rejected=[False, True, False, False], lattice=[0, 0, -1, 0])  # fmt: skip
    write_hkl(tmp_path / "b.hkl", r)
    assert read_hkl(tmp_path / "b.hkl")["l"].tolist() == [0, 3]
    with pytest.raises(CannotDo, match="999"):
        write_hkl(tmp_path / "b.hkl", r.with_columns(h=np.full(4, 1000)))


@pytest.mark.data
def test_measured_files(shared_data) -> None:
    biotin = read_hkl(shared_data / "biotin" / "biotin_talos.hkl")
    assert len(biotin) == 960
    assert np.isfinite(biotin["intensity"]).all()
    lta = read_hkl(shared_data / "lta_serial_ed" / "lta.hkl")
    assert len(lta) == 324
    xds = read_hkl(shared_data / "lta_stw_xds" / "LTA_t1_CORRECT_run" / "shelx" / "shelx.hkl.gz")
    assert len(xds) == 15210
