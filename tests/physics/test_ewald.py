"""Ewald geometry: indices, crossings, speeds and predictions against brute force and first principles."""

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from credo.kernels.rotation import rotation_matrix
from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Scan
from credo.physics.ewald import (
    allowed_by_centring,
    crossing_angles,
    crossing_speed,
    excitation,
    frame_of_angle,
    lorentz,
    miller_indices,
    predict,
    scattering_vectors,
)

WAVELENGTH = 0.02508
CELL = Cell(7.1, 9.3, 11.2, 82, 97, 103)
U = Rotation.from_euler("xyz", [20, -40, 75], degrees=True).as_matrix()


def experiment(scan=None, crystal=None, **kw):
    scan = scan or Scan.regular(200, -25, 0.25)
    detector = Detector((256, 256), 0.005, (128.4, 127.1), **kw)
    return Experiment(Beam(WAVELENGTH), detector, Goniometer.in_plane(38.0, 1.5), scan, (crystal or Crystal(CELL, U),))


@pytest.mark.parametrize(
    ("centring", "symbol"),
    [("P", "P 1"), ("A", "A 1"), ("B", "B 1"), ("C", "C 1"), ("I", "I 1"), ("F", "F 1"), ("R", "R 3 :H")],
)
def test_centring_absences_agree_with_gemmi(centring, symbol):
    h = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), axis=-1).reshape(-1, 3)
    ops = gemmi.SpaceGroup(symbol).operations()
    expected = [not ops.is_systematically_absent(list(map(int, v))) for v in h]
    # R 3 has no screw or glide: only the centring extinguishes
    assert allowed_by_centring(h, centring).tolist() == expected


def test_unknown_centring_is_refused():
    with pytest.raises(ValueError, match="none of P A B C I F R"):
        allowed_by_centring(np.zeros((1, 3), dtype=int), "Q")


def test_miller_indices_are_all_there_once():
    h = miller_indices(U @ CELL.B, 1.5)
    every = np.stack(np.meshgrid(*[np.arange(-15, 16)] * 3), axis=-1).reshape(-1, 3)
    expected = {tuple(v) for v in every[CELL.d_spacing(every) >= 1.5]} - {(0, 0, 0)}
    assert {tuple(v) for v in h} == expected
    assert len(h) == len(expected)
    assert {tuple(-v) for v in h} == expected


@given(st.integers(0, 10_000))
def test_at_its_crossing_a_reflection_is_on_the_ewald_sphere(seed):
    rng = np.random.default_rng(seed)
    # along the beam it would bring none of them to the sphere
    way = rng.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(way), np.sin(way), rng.uniform(-0.5, 0.5)])
    axis /= np.linalg.norm(axis)
    q0 = rng.normal(size=(20, 3))
    seen = 0
    for phi in crossing_angles(q0, axis, WAVELENGTH):
        ok = np.isfinite(phi)
        q = np.einsum("nij,nj->ni", rotation_matrix(axis, phi[ok]), q0[ok])
        assert np.abs(excitation(q, WAVELENGTH)).max(initial=0) < 1e-9
        seen += ok.sum()
    assert seen > 0


def test_what_never_crosses_is_nan():
    axis = np.array([1.0, 0, 0])
    # along the axis: turning does not move it, and it is off the sphere
    for phi in crossing_angles(np.array([[0.5, 0, 0]]), axis, WAVELENGTH):
        assert np.isnan(phi[0])


def test_excitation_is_the_distance_from_the_sphere_negative_inside():
    inv = 1 / WAVELENGTH
    direction = np.array([0.02, -0.01, 1.0]) / np.linalg.norm([0.02, -0.01, 1.0])
    for distance in (-0.01, 0.0, 0.003):
        q = direction * (inv + distance) - [0, 0, inv]
        assert excitation(q, WAVELENGTH) == pytest.approx(distance, abs=1e-12)


def test_speed_is_the_derivative_of_the_excitation_and_lorentz_its_inverse():
    axis = Goniometer.in_plane(38.0, 1.5).axis
    hkl = miller_indices(CELL.B, 2.0)
    for phi in crossing_angles(hkl @ (U @ CELL.B).T, axis, WAVELENGTH):
        ok = np.isfinite(phi)
        deg, h = np.degrees(phi[ok]), hkl[ok]
        step = 1e-4
        ahead, behind = (
            excitation(scattering_vectors(U @ CELL.B, h, axis, deg + s), WAVELENGTH) for s in (step, -step)
        )
        q = scattering_vectors(U @ CELL.B, h, axis, deg)
        speed = crossing_speed(q, axis)
        assert speed == pytest.approx((ahead - behind) / np.radians(2 * step), abs=1e-6)
        assert lorentz(q, axis) * np.abs(speed) == pytest.approx(np.ones(len(h)))


def test_prediction_finds_every_crossing_that_stepping_through_the_scan_finds():
    e = experiment()
    p = predict(e, e.crystal, 1.6)
    hkl = miller_indices(e.crystal.UB, 1.6)
    phi = np.linspace(-25, 25, 2001)
    expected = set()
    sides = np.array([excitation(scattering_vectors(e.crystal.UB, hkl, e.goniometer.axis, v), WAVELENGTH) for v in phi])
    for i, j in np.argwhere(sides[1:] * sides[:-1] < 0):
        expected.add((*map(int, hkl[j]), round(float(phi[i] + 0.0125) * 20)))
    found = {(*map(int, h), round(float(v) * 20)) for h, v in zip(p.hkl, p["phi"])}
    assert len(p) > 100
    # by the nearest angle: rounding may put one into the neighbouring bin
    for h, k, l, t in expected:
        assert any((h, k, l, t + s) in found for s in (-1, 0, 1)), (h, k, l, t / 20)
    assert len(found) == len(expected)


def test_predicted_positions_invert_to_the_indices():
    e = experiment()
    p = predict(e, e.crystal, 1.0)
    q = np.einsum("nji,nj->ni", e.goniometer.rotation(p["phi"]), e.detector.q_lab(p.xy, WAVELENGTH))
    assert q @ np.linalg.inv(e.crystal.UB).T == pytest.approx(p.hkl, abs=1e-6)
    assert p["d"] == pytest.approx(e.crystal.cell.d_spacing(p.hkl))
    assert np.all(np.diff(p["phi"]) >= 0)
    assert np.all((p.xy >= 0) & (p.xy < 256))


def test_prediction_follows_beam_shift_centring_and_margin():
    still = experiment()
    shift = np.linspace(0, 1, 200)[:, None] * [6.0, -3.0]
    moving = still.replace(scan=still.scan.replace(beam_shift=shift))
    a, b = predict(still, still.crystal, 2.0), predict(moving, still.crystal, 2.0)
    assert b.xy - a.xy == pytest.approx(moving.scan.shift_at(a["frame"]), abs=1e-9)
    body = predict(still, still.crystal.replace(centring="I"), 1.0)
    assert np.all(body.hkl.sum(axis=1) % 2 == 0)
    wide = predict(still, still.crystal, 2.0, margin_deg=2.0)
    assert wide["phi"].min() < -25
    assert np.sum((wide["phi"] >= -25) & (wide["phi"] <= 25)) == len(a)


def test_a_scan_of_two_turns_sees_each_crossing_twice():
    one = experiment(Scan.regular(360, 0, 1.0))
    two = experiment(Scan.regular(720, 0, 1.0))
    a, b = predict(one, one.crystal, 2.5), predict(two, two.crystal, 2.5)
    assert len(b) == 2 * len(a) > 0


def test_frame_of_angle_forwards_backwards_and_in_gaps():
    scan = Scan.regular(10, -5, 0.5)
    assert frame_of_angle(scan, np.array([-5, -4.75, 0.0, -9, 9])) == pytest.approx([0, 0.5, 10, 0, 10])
    back = Scan.regular(10, 5, -0.5)
    assert frame_of_angle(back, np.array([5, 4.75, 0.0])) == pytest.approx([0, 0.5, 10])
    gap = scan.part(np.array([0, 1, 2, 6, 7]))
    # between -3.5 and -2 nothing was recorded: the border between list frames 2 and 3
    assert frame_of_angle(gap, np.array([-3.75, -3.0, -1.9])) == pytest.approx([2.5, 3.0, 3.2])
    p = predict(experiment(), experiment().crystal, 2.0)
    assert p["frame"] == pytest.approx((p["phi"] + 25) / 0.25)


def test_a_scan_in_which_nothing_crosses_predicts_nothing():
    e = experiment()
    assert len(predict(e, e.crystal, 1000.0)) == 0
