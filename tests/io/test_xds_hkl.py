"""XDS_ASCII.HKL and INTEGRATE.HKL: our prediction against XDS's own columns, round trips, gemmi as the peer."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from credo.io.xds_hkl import read_integrate_hkl, read_xds_ascii, write_xds_ascii
from credo.model import Experiment, Reflections, Scan, UnreadableInput
from credo.physics.ewald import crossing_angles, scattering_vectors


def predicted_minus_file(e: Experiment, r: Reflections) -> np.ndarray:
    """(n, 3): our x, y [px] and φ [frames] of each reflection minus the file's prediction."""
    a, b = (np.degrees(x) for x in crossing_angles(r.hkl @ e.crystal.UB.T, e.goniometer.axis, e.beam.wavelength))
    d = np.stack([(x - r["phi_calc"] + 180) % 360 - 180 for x in (a, b)])
    d = np.take_along_axis(d, np.nanargmin(np.abs(d), axis=0)[None], 0)[0]
    q = scattering_vectors(e.crystal.UB, r.hkl, e.goniometer.axis, r["phi_calc"] + d)
    xy = e.detector.pixels(q, e.beam.wavelength) - np.stack([r["x_calc"], r["y_calc"]], axis=1)
    return np.column_stack([xy, d / e.scan.width_deg[0]])


@pytest.mark.data
def test_cinchonine_is_predicted_to_the_rounding_of_its_file(shared_data):
    e, r = read_integrate_hkl(shared_data / "cinchonine/xds/INTEGRATE.HKL")
    difference = predicted_minus_file(e, r)
    # XDS prints one decimal: a uniform error of 0.1/sqrt(12) = 0.029
    assert np.abs(np.median(difference, axis=0)).max() < 0.01
    assert difference.std(axis=0).max() < 0.035
    assert np.abs(difference).max() < 0.2


@pytest.mark.data
def test_the_other_hand_does_not_fit(shared_data):
    e, r = read_integrate_hkl(shared_data / "cinchonine/xds/INTEGRATE.HKL")
    wrong = e.replace(goniometer=e.goniometer.replace(axis=-e.goniometer.axis))
    assert np.median(np.abs(predicted_minus_file(wrong, r)[:, 2])) > 1


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "sd"), [("cinchonine/xds/XDS_ASCII.HKL", 0.2), ("lta_stw_xds/LTA_t1_CORRECT_run/XDS_ASCII.HKL.gz", 0.15)]
)
def test_xds_ascii_of_measured_data_is_predicted(shared_data, name, sd):
    e, r = read_xds_ascii(shared_data / name)
    assert e is not None
    difference = predicted_minus_file(e, r)[:, :2]
    assert difference.std(axis=0).max() < sd
    assert np.abs(np.median(difference, axis=0)).max() < 0.05


@pytest.mark.data
def test_our_copy_of_a_measured_file_is_the_same_to_gemmi(shared_data, tmp_path):
    source = shared_data / "cinchonine/xds/XDS_ASCII.HKL"
    e, r = read_xds_ascii(source)
    assert e is not None
    write_xds_ascii(tmp_path / "XDS_ASCII.HKL", e, r)
    theirs, ours = gemmi.read_xds_ascii(str(source)), gemmi.read_xds_ascii(str(tmp_path / "XDS_ASCII.HKL"))
    assert np.array_equal(sorted(map(tuple, theirs.miller_array)), sorted(map(tuple, ours.miller_array)))
    assert ours.cell_constants == pytest.approx(theirs.cell_constants, abs=1e-3)
    assert ours.wavelength == pytest.approx(theirs.wavelength)
    assert ours.spacegroup_number == theirs.spacegroup_number == 4
    assert np.sort(ours.iobs_array) == pytest.approx(np.sort(theirs.iobs_array), rel=1e-5, abs=1e-6)


def test_round_trip(indexed, tmp_path):
    e, r = indexed(gaps=True)
    r = r.with_columns(rejected=np.arange(len(r)) % 7 == 0)
    write_xds_ascii(tmp_path / "XDS_ASCII.HKL", e, r)
    back, s = read_xds_ascii(tmp_path / "XDS_ASCII.HKL")
    assert back is not None
    order = np.lexsort((r["l"], r["k"], r["h"]))
    r = r.select(order)
    assert np.array_equal(s.hkl, r.hkl)
    assert s["intensity"] == pytest.approx(r["intensity"], rel=1e-5)
    assert s["sigma"] == pytest.approx(r["sigma"], rel=1e-5)
    assert np.array_equal(s["rejected"], r["rejected"])
    assert np.abs(s["x_calc"] - r["x_calc"]).max() < 0.0051
    assert np.abs(predicted_minus_file(back, s)).max() < 0.02
    again = tmp_path / "again.HKL"
    write_xds_ascii(again, back, s)
    assert read_xds_ascii(again)[1] == s


def test_gemmi_reads_what_we_write(indexed, tmp_path):
    e, r = indexed()
    write_xds_ascii(tmp_path / "XDS_ASCII.HKL", e, r)
    xds = gemmi.read_xds_ascii(str(tmp_path / "XDS_ASCII.HKL"))
    assert len(xds.miller_array) == len(r)
    assert tuple(xds.cell_constants) == pytest.approx(e.crystal.cell.parameters, abs=1e-3)
    assert tuple(xds.rotation_axis) == pytest.approx(e.goniometer.axis, abs=1e-5)
    assert sorted(xds.zd_array) == pytest.approx(sorted((r["phi_calc"] + 31.5) / 0.4 + 2), abs=1e-3)


def test_cut_off_files_and_bad_lines_are_named(indexed, tmp_path):
    e, r = indexed()
    path = tmp_path / "XDS_ASCII.HKL"
    write_xds_ascii(path, e, r)
    text = path.read_text()
    path.write_text(text[:-2000])
    with pytest.raises(UnreadableInput, match="truncated"):
        read_xds_ascii(path)
    lines = text.split("\n")
    row = lines.index("!END_OF_HEADER") + 5
    lines[row] = lines[row].replace("E+", "Q+")
    path.write_text("\n".join(lines))
    with pytest.raises(UnreadableInput, match=f"line {row + 1}"):
        read_xds_ascii(path)


def test_a_hundred_thousand_reflections(indexed, tmp_path):
    e, r = indexed()
    many = Reflections({k: np.resize(v, 100_000) for k, v in r.items()})
    e = e.replace(scan=Scan.regular(120, -31.5, 0.4, first=3))
    write_xds_ascii(tmp_path / "XDS_ASCII.HKL", e, many)
    _, s = read_xds_ascii(tmp_path / "XDS_ASCII.HKL")
    assert len(s) == 100_000
