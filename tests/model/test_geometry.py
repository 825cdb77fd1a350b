"""Beam, detector, lens distortions, goniometer and scan: forwards and back, signs, units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credo.model import Beam, Detector, Ellipse, Goniometer, Scan

WAVELENGTH = 0.02508


def detector(**kw):
    return Detector((512, 400), 0.0025, (203.3, 251.2), **kw)


def test_beam_wavelength_and_wave_vector():
    assert Beam(WAVELENGTH).s0 == pytest.approx([0, 0, 1 / WAVELENGTH])
    for wrong in (2.0, 0.0, -0.02, float("nan")):
        with pytest.raises(ValueError, match="not an electron's"):
            Beam(wrong)


def test_a_circle_is_seen_as_the_ellipse_asked_for():
    matrix = Ellipse(3.0, 25.0).matrix
    angle = np.radians(np.linspace(0, 180, 3601))
    seen = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ matrix.T
    radius = np.hypot(*seen.T)
    assert radius.max() / radius.min() == pytest.approx(1.03, abs=1e-6)
    long = seen[np.argmax(radius)]
    assert np.degrees(np.arctan2(long[1], long[0])) % 180 == pytest.approx(25, abs=0.06)
    # the area changes in second order only
    assert np.linalg.det(matrix) == pytest.approx(1, abs=3e-4)


@given(st.floats(0.01, 10), st.floats(0, 179.9))
def test_ellipse_components_and_back(amplitude, azimuth):
    again = Ellipse.from_components(*Ellipse(amplitude, azimuth).components)
    assert again.amplitude_percent == pytest.approx(amplitude, rel=1e-9)
    assert np.cos(2 * np.radians(again.azimuth_deg - azimuth)) == pytest.approx(1, abs=1e-9)


@given(
    st.floats(0, 5), st.floats(0, 180), st.floats(-0.02, 0.02), st.tuples(st.floats(0, 6), st.floats(0, 6)),
    st.tuples(st.floats(-0.005, 0.005), st.floats(-0.005, 0.005)), st.integers(0, 1000),
)  # fmt: skip
def test_pixels_undo_q_lab_with_every_distortion(amplitude, azimuth, barrel, gap, coma, seed):
    rng = np.random.default_rng(seed)
    det = detector(ellipse=Ellipse(amplitude, azimuth), barrel=barrel, gap=gap, coma=coma)
    xy = rng.uniform([0, 0], [400, 512], (40, 2))
    shift = rng.normal(size=(40, 2))
    q = det.q_lab(xy, WAVELENGTH, shift)
    # on the Ewald sphere: |s0 + q| = 1/λ
    assert np.linalg.norm(q + [0, 0, 1 / WAVELENGTH], axis=1) == pytest.approx(1 / WAVELENGTH, rel=1e-12)
    off = np.abs(det.pixels(q, WAVELENGTH, shift) - xy)
    # positions that fall into the seam itself have no pixel of their own
    clear = np.all(np.abs(xy - [200, 256]) > np.array(gap) + 0.5, axis=1)
    assert off[clear].max(initial=0) < 1e-6


def test_origin_scale_and_shift():
    det = detector()
    at = np.array([[203.3, 251.2], [213.3, 251.2], [203.3, 231.2]])
    q = det.q_lab(at, WAVELENGTH)
    assert q[0] == pytest.approx([0, 0, 0])
    assert q[1, :2] == pytest.approx([0.025, 0], rel=1e-5)
    assert q[2, :2] == pytest.approx([0, -0.05], rel=1e-5)
    assert np.all(q[1:, 2] < 0)
    moved = det.q_lab(at + [1.5, -2.0], WAVELENGTH, np.array([1.5, -2.0]))
    assert moved == pytest.approx(q)


@pytest.mark.parametrize("sign", [-1, 1])
def test_barrel_pulls_in_and_pincushion_pushes_out(sign):
    q = np.array([[0.5, 0.0, 0.0]])
    q[0, 2] = np.sqrt(WAVELENGTH**-2 - 0.25) - 1 / WAVELENGTH
    plain, bent = detector().pixels(q, WAVELENGTH), detector(barrel=0.01 * sign).pixels(q, WAVELENGTH)
    ratio = (bent[0, 0] - 203.3) / (plain[0, 0] - 203.3)
    assert ratio == pytest.approx(1 + sign * 0.01 * 0.25, abs=1e-5)


def test_the_seam_shifts_what_lies_beyond_it():
    det = detector(gap=(4.0, 2.0))
    assert det.across_gap(np.array([[10, 10], [300, 400]])) == pytest.approx(np.array([[-2, -1], [2, 1]]))
    # origin right of the middle column: only positions left of it are further away than they look
    left, right = det.q_lab(np.array([[193.3, 251.2], [213.3, 251.2]]), WAVELENGTH)
    assert left[0] == pytest.approx(-14 * 0.0025, rel=1e-4)
    assert right[0] == pytest.approx(10 * 0.0025, rel=1e-4)


def test_camera_length():
    assert detector(pixel_size_mm=0.055).distance_mm(0.025) == pytest.approx(0.055 / (0.025 * 0.0025))


@given(st.floats(0, 359.9), st.floats(-80, 80))
def test_goniometer_axis_is_a_unit_vector_at_its_angle(angle, tilt):
    g = Goniometer.in_plane(angle, tilt)
    assert np.linalg.norm(g.axis) == pytest.approx(1)
    assert np.cos(np.radians(g.angle_deg - angle)) == pytest.approx(1, abs=1e-9)
    assert g.axis[2] == pytest.approx(np.sin(np.radians(tilt)))


def test_goniometer_turns_right_handed_and_normalises():
    g = Goniometer(np.array([0.0, 0.0, 3.0]))
    assert g.axis == pytest.approx([0, 0, 1])
    assert g.rotation(90.0) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert g.rotation(np.array([0.0, 90.0])).shape == (2, 3, 3)
    for wrong in ([0, 0, 0], [1, 0], [np.nan, 0, 1]):
        with pytest.raises(ValueError, match="not a direction"):
            Goniometer(np.array(wrong, dtype=float))


def test_scan_angles_gaps_and_parts():
    scan = Scan.regular(10, -20, 0.5, first=3)
    assert scan.mid_deg[0] == pytest.approx(-19.75)
    assert scan.end_deg[-1] == pytest.approx(-15)
    assert scan.range_deg == pytest.approx(5)
    assert scan.missing.size == 0
    part = scan.part(np.arange(10) != 4)
    assert len(part) == 9
    assert part.missing.tolist() == [7]
    assert part.range_deg == pytest.approx(5)
    backwards = Scan.regular(10, 20, -0.5)
    assert backwards.range_deg == pytest.approx(5)
    assert backwards.end_deg[-1] == pytest.approx(15)


def test_beam_shift_is_interpolated_between_frame_centres():
    scan = Scan.regular(3, 0, 1)
    assert scan.shift_at(np.array([0.2, 1.0])).tolist() == [[0, 0], [0, 0]]
    moving = scan.replace(beam_shift=np.array([[0.0, 0.0], [1.0, -1.0], [2.0, -2.0]]))
    assert moving.shift_at(np.array([0.0, 0.5, 1.0, 2.5, 3.0])) == pytest.approx(
        np.array([[0, 0], [0, 0], [0.5, -0.5], [2, -2], [2, -2]])
    )


def test_scan_refuses_what_does_not_fit():
    scan = Scan.regular(3, 0, 1)
    with pytest.raises(ValueError, match="beam_shift has 2 entries for 3 frames"):
        scan.replace(beam_shift=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="must increase"):
        scan.replace(numbers=np.array([1, 3, 2]))
    empty = Scan(np.empty(0), np.empty(0), np.empty(0))
    assert empty.range_deg == 0
    assert empty.missing.size == 0


def test_coma_is_a_barrel_about_another_point():
    q = np.random.default_rng(1).uniform(-0.3, 0.3, (50, 3))
    q[:, 2] = np.sqrt(WAVELENGTH**-2 - q[:, 0] ** 2 - q[:, 1] ** 2) - 1 / WAVELENGTH
    barrel, off = -0.02, np.array([0.02, -0.03])
    found = detector(barrel=barrel, coma=tuple(-barrel * off)).pixels(q, WAVELENGTH)
    flat = (detector().pixels(q, WAVELENGTH) - detector().origin) * detector().q_per_pixel
    d = flat - off
    seen = (flat + barrel * np.einsum("ij,ij->i", d, d)[:, None] * d) / detector().q_per_pixel + detector().origin
    # what is left is a shift, a linear map (another scale, ellipse and turn) and terms of fourth order
    rest = found - seen
    linear = np.linalg.lstsq(np.c_[np.ones(50), flat], rest, rcond=None)[0]
    assert np.abs(rest - np.c_[np.ones(50), flat] @ linear).max() < 1e-9
    assert np.abs(rest).max() > 1e-3
