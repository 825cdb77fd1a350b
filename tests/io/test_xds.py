"""XDS's geometry, XPARM.XDS, SPOT.XDS and XDS.INP: round trips, conventions, damage."""

from __future__ import annotations

import numpy as np
import pytest

from credo.io.reflection_files import read_any
from credo.io.xds import XdsGeometry, read_spot_xds, read_xparm, write_spot_xds, write_xparm
from credo.io.xds_inp import parse_keywords, read_xds_inp, write_xds_inp
from credo.model import UnreadableInput


def test_xparm_round_trip_keeps_the_prediction(indexed, tmp_path):
    e, _ = indexed()
    write_xparm(tmp_path / "XPARM.XDS", e)
    back = read_xparm(tmp_path / "XPARM.XDS").experiment(e.scan.numbers)
    assert back.detector.origin == pytest.approx(e.detector.origin, abs=1e-6)
    assert back.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel, rel=1e-6)
    assert np.allclose(back.goniometer.axis, e.goniometer.axis, atol=1e-6)
    assert np.allclose(back.crystal.UB, e.crystal.UB, atol=1e-6)
    assert np.allclose(back.scan.start_deg, e.scan.start_deg)


def test_the_beam_is_where_it_meets_the_detector_not_orgx():
    g = XdsGeometry(
        wavelength=0.025, beam=(0.01, 0.0, 1.0), nx=512, ny=512, qx=0.05, qy=0.05, orgx=100.5, orgy=200.5, distance=500
    )
    detector = g.experiment(np.array([1])).detector
    assert detector.origin == pytest.approx((100 + 500 * 0.01 / 0.05, 200.0))


def test_spots_round_trip_with_gaps_and_indices(indexed, tmp_path):
    e, r = indexed(gaps=True)
    write_spot_xds(tmp_path / "SPOT.XDS", e, r)
    write_xds_inp(tmp_path / "XDS.INP", e)
    back, spots = read_any(tmp_path / "SPOT.XDS")
    assert back is not None
    assert np.array_equal(back.scan.numbers, e.scan.numbers)
    assert np.abs(spots.xy - r.xy).max() <= 0.0051
    assert np.abs(spots["phi"] - r["phi"]).max() <= 0.0051 * 0.4
    assert np.array_equal(spots.hkl, r.hkl)


def test_spots_without_indices_have_lattice_minus_one(indexed, tmp_path):
    e, r = indexed()
    bare = type(r)({k: r[k] for k in ("x", "y", "phi", "frame", "intensity")})
    write_spot_xds(tmp_path / "SPOT.XDS", e, bare)
    _, spots = read_spot_xds(tmp_path / "SPOT.XDS", XdsGeometry.of(e), e.scan.numbers)
    assert set(spots["lattice"].tolist()) == {-1}
    assert "h" not in spots


def test_xds_inp_round_trip(indexed, tmp_path):
    e, _ = indexed(gaps=True)
    write_xds_inp(tmp_path / "XDS.INP", e)
    geometry, numbers = read_xds_inp(tmp_path / "XDS.INP")
    back = geometry.experiment(numbers)
    assert back.scan == e.scan or np.allclose(back.scan.start_deg, e.scan.start_deg, atol=1e-6)
    assert np.array_equal(back.scan.missing, [8, 9, 63])
    assert back.detector.origin == pytest.approx(e.detector.origin, abs=1e-4)
    assert back.detector.saturation == e.detector.saturation
    assert np.allclose(back.crystal.UB, e.crystal.UB, atol=1e-6)


def test_several_keywords_on_a_line_comments_and_repeats():
    keys = parse_keywords(
        "NX=512 NY= 516  QX=0.055 ! QY=1\n!ORGX=3\nEXCLUDE_DATA_RANGE= 1 2\nEXCLUDE_DATA_RANGE=5 6\n"
        "REFINE(IDXREF)= BEAM"
    )
    assert keys["NX"] == ["512"] and keys["NY"] == ["516"] and keys["QX"] == ["0.055"]
    assert "QY" not in keys and "ORGX" not in keys
    assert keys["EXCLUDE_DATA_RANGE"] == ["1 2", "5 6"]
    assert keys["REFINE(IDXREF)"] == ["BEAM"]


def test_a_missing_keyword_and_a_bad_number_are_named(tmp_path, indexed):
    e, _ = indexed()
    path = tmp_path / "XDS.INP"
    write_xds_inp(path, e)
    text = path.read_text()
    path.write_text(text.replace("DETECTOR_DISTANCE=", "DISTANCE="))
    with pytest.raises(UnreadableInput, match="DETECTOR_DISTANCE"):
        read_xds_inp(path)
    path.write_text(text.replace("ORGX= 255", "ORGX= here"))
    with pytest.raises(UnreadableInput, match="ORGX"):
        read_xds_inp(path)


def test_a_bad_line_of_spots_is_named(tmp_path, indexed):
    e, _ = indexed()
    (tmp_path / "SPOT.XDS").write_text(" 1.0 2.0 3.0 4. \n\n 1.0 2.0 x 4. \n")
    with pytest.raises(UnreadableInput, match="line 3"):
        read_spot_xds(tmp_path / "SPOT.XDS", XdsGeometry.of(e))


def test_a_list_without_geometry_says_what_to_add(tmp_path):
    (tmp_path / "SPOT.XDS").write_text(" 1.0 2.0 3.0 4. \n")
    with pytest.raises(UnreadableInput, match=r"XDS\.INP"):
        read_any(tmp_path / "SPOT.XDS")


def test_an_x_ray_wavelength_is_refused_clearly(tmp_path, indexed):
    e, _ = indexed()
    write_xds_inp(tmp_path / "XDS.INP", e)
    text = (tmp_path / "XDS.INP").read_text().replace("X-RAY_WAVELENGTH= 0.02507930", "X-RAY_WAVELENGTH= 1.0")
    (tmp_path / "XDS.INP").write_text(text)
    with pytest.raises(UnreadableInput, match="electron"):
        read_any(tmp_path / "XDS.INP")


@pytest.mark.data
@pytest.mark.parametrize(
    "folder", ["cinchonine/xds", *(f"lta_stw_xds/LTA_t{i}" for i in (1, 2, 3, 4)), "lta_stw_xds/STW_t1_360"]
)
def test_indexed_spots_of_xds_lie_where_its_own_crystal_predicts(shared_data, folder):
    path = next((shared_data / folder).glob("SPOT.XDS*"))
    e, spots = read_any(path)
    assert e is not None
    r = spots.select(spots["lattice"] == 0)

    def off(sign: float = 1.0, shift: float = 0.0) -> float:
        """Median distance from the indices, along the worst of h, k, l."""
        q = e.detector.q_lab(r.xy + shift, e.beam.wavelength)
        h = np.einsum("nji,nj->ni", e.goniometer.rotation(sign * r["phi"]), q) @ np.linalg.inv(e.crystal.UB).T
        return float(np.median(np.abs(h - r.hkl).max(axis=1)))

    # the cells of LTA and STW were imposed, which leaves 0.06 to 0.08
    assert off() < 0.09
    assert off(shift=1.0) > off()
    assert off(shift=-1.0) > off()
    assert off(sign=-1.0) > 1
