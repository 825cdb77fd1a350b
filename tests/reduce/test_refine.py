"""Geometry refinement: the truth is found again from noisy spots, with uncertainties that are right."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.kernels.rotation import misorientation_deg, rotation_from_vector
from credo.model import (
    Beam,
    CannotDo,
    Cell,
    Crystal,
    Detector,
    Ellipse,
    Experiment,
    Goniometer,
    Reflections,
    Scan,
)
from credo.physics.ewald import predict
from credo.reduce.refine import RefineSettings, refine

MFI = (13.142, 19.738, 20.090, 90, 90, 90)


def scene(seed, cell=MFI, laue="mmm", ellipse=0.0, drift=(0.0, 0.0), dist=1.0, share=0.15, n=200, cells_off=0.003):
    """Truth, a wrong start and noisy spots (0.1 px, 0.03 deg at full speed, 3 % spurious)."""
    rng = np.random.default_rng(seed)
    crystal = Crystal(Cell(*cell), Rotation.random(random_state=seed).as_matrix(), laue_group=laue)
    shift = np.linspace(-0.5, 0.5, n)[:, None] * np.array(drift)
    scan = Scan.regular(n, -35, 70 / n)
    truth = Experiment(
        Beam(0.02508),
        Detector((516, 516), 0.0025, (258.0, 258.0), ellipse=Ellipse(ellipse, rng.uniform(0, 180))),
        Goniometer.in_plane(38.3),
        scan.replace(beam_shift=shift),
        (crystal,),
    )
    spots = noisy(truth, predict(truth, crystal, 0.8), rng, share)
    wrong = np.array(cell) * np.r_[1 + rng.normal(0, cells_off, 3), 1, 1, 1] / np.r_[dist, dist, dist, 1, 1, 1]
    turn = rotation_from_vector(np.radians(rng.normal(0, 0.3, 3)))
    start = truth.replace(
        crystals=(crystal.replace(cell=Cell(*wrong), orientation=turn @ crystal.orientation),),
        goniometer=Goniometer.in_plane(38.3 + rng.normal(0, 0.3)),
        detector=Detector((516, 516), 0.0025 * dist, tuple(258 + rng.normal(0, 1, 2))),
        scan=scan,
    )
    return truth, start, spots


def noisy(truth, p, rng, share):
    p = p.select(rng.random(len(p)) < share)
    n, m = len(p), len(p) // 30
    speed = np.maximum(p["d"] / p["lorentz"], 0.05)
    vx, vp = np.full(n, 0.1), 0.03 / speed

    def spoiled(name, noise, low, high):
        return np.r_[p[name] + rng.normal(0, 1, n) * noise, rng.uniform(low, high, m)]

    phi = spoiled("phi", vp, -35, 35)
    zeros = np.zeros(m)
    return Reflections(
        x=spoiled("x", vx, 0, 516), y=spoiled("y", vx, 0, 516), phi=phi,
        frame=np.clip((phi + 35) / 70, 0, 1) * len(truth.scan),
        var_x=np.r_[vx, zeros + 0.1] ** 2, var_y=np.r_[vx, zeros + 0.1] ** 2, var_phi=np.r_[vp, zeros + 0.03] ** 2,
        h=np.r_[p["h"], zeros], k=np.r_[p["k"], zeros], l=np.r_[p["l"], zeros],
        lattice=np.r_[np.zeros(n), zeros - 1], cut=np.zeros(n + m, dtype=bool),
    )  # fmt: skip


def relative_cell_error(found, truth):
    return np.abs(np.array(found.crystal.cell.parameters) / np.array(truth.crystal.cell.parameters) - 1)


@pytest.mark.parametrize("ellipse", [0.0, 4.0])
def test_truth_is_found_again(ellipse):
    truth, start, spots = scene(1, ellipse=ellipse, drift=(6, -4), share=0.3)
    found, table, report = refine(start, spots)
    assert relative_cell_error(found, truth).max() < 1.5e-4
    assert misorientation_deg(found.crystal.orientation, truth.crystal.orientation) < 0.005
    assert np.degrees(np.arccos(min(found.goniometer.axis @ truth.goniometer.axis, 1))) < 0.01
    assert abs(found.detector.ellipse.amplitude_percent - ellipse) < 0.03
    beam = found.scan.beam_shift + found.detector.origin - truth.scan.beam_shift - truth.detector.origin
    assert np.sqrt(np.mean(beam**2)) < 0.06
    mine = spots["lattice"] == 0
    assert np.mean((table["lattice"][mine] == 0) & np.all(table.hkl[mine] == spots.hkl[mine], axis=1)) > 0.995
    assert report.numbers["converged"]
    assert abs(report.numbers["scale_from_curvature"] - 1) < 5 * report.numbers["scale_from_curvature_esd"]


def test_wrong_camera_length_is_seen_but_left():
    _, start, spots = scene(2, dist=1.2)
    found, _, report = refine(start, spots)
    assert not report.numbers["scale_determined"]
    assert found.detector.q_per_pixel == pytest.approx(0.003, rel=1e-6)
    assert np.allclose(np.array(found.crystal.cell.lengths) * 1.2, MFI[:3], rtol=1e-3)
    assert report.numbers["scale_from_curvature"] < 0.9


def test_known_cell_calibrates_the_camera_length():
    _, start, spots = scene(2, dist=1.2)
    found, _, report = refine(start, spots, RefineSettings(known_cell=MFI))
    assert found.detector.q_per_pixel == pytest.approx(0.0025, rel=1e-3)
    assert report.numbers["scale_determined"]


def test_nothing_indexed_is_an_error():
    _, start, spots = scene(3)
    with pytest.raises(CannotDo, match="too few indexed"):
        refine(start, spots.select(np.arange(2)))


def test_uncertainties_are_right():
    """(refined − true)/esd of cell, axis and scale has unit variance over 30 seeds: within 3 of its own deviations."""
    pulls = []
    for seed in range(30):
        truth, start, spots = scene(100 + seed, ellipse=1.0, drift=(3, 2), n=100)
        _, _, report = refine(start, spots)
        numbers = report.numbers
        cell = (np.array(numbers["cell"]) - truth.crystal.cell.parameters)[:3] / numbers["cell_esd"][:3]
        axis = (numbers["rotation_axis_deg"] - 38.3) / numbers["rotation_axis_esd_deg"]
        scale = (numbers["scale_from_curvature"] - 1) / numbers["scale_from_curvature_esd"]
        pulls.append([*cell, axis, scale])
    variance = np.mean(np.square(pulls), axis=0)
    assert np.all(np.abs(variance - 1) < 3 * np.sqrt(2 / 30)), variance


def test_two_lattices_share_the_geometry():
    one, start, spots = scene(7)
    two, start2, spots2 = scene(8)
    spots2 = spots2.with_columns(lattice=np.where(spots2["lattice"] == 0, 1, -1))
    both = Reflections.concatenate([spots, spots2])
    start = start.replace(crystals=(start.crystal, start2.crystal))
    found, table, report = refine(start, both)
    for crystal, truth in zip(found.crystals, (one, two)):
        assert misorientation_deg(crystal.orientation, truth.crystal.orientation) < 0.01
        assert np.allclose(crystal.cell.lengths, MFI[:3], rtol=3e-4)
    assert min(report.numbers["n_indexed_by_lattice"]) > 300
    assert np.mean(table["lattice"] == both["lattice"]) > 0.97


def test_wrong_rotation_step_and_barrel_are_found():
    truth, start, spots = scene(9, share=0.3)
    real = truth.replace(detector=truth.detector.replace(barrel=-0.03))
    p = predict(real, real.crystal, 0.8)
    spots = noisy(real, p, np.random.default_rng(1), 0.3)
    # the file says 2 % more than the stage turned
    wrong = spots.with_columns(phi=spots["phi"] * 1.02)
    start = start.replace(scan=Scan.regular(200, -35 * 1.02, 70 / 200 * 1.02))
    found, table, report = refine(start, wrong)
    assert report.numbers["rotation_step_factor"] == pytest.approx(1 / 1.02, abs=5e-4)
    assert found.detector.barrel == pytest.approx(-0.03, rel=0.05)
    assert found.scan.range_deg == pytest.approx(70, abs=0.05)
    assert np.allclose(found.crystal.cell.lengths, MFI[:3], rtol=5e-4)
    mine = table["lattice"] == 0
    assert np.median(np.abs(table["phi"] - table["phi_calc"])[mine]) < 0.05
    assert any("angles" in w for w in report.warnings)


def test_distortion_about_another_point_than_the_beam_is_found():
    truth, start, _ = scene(11, share=0.3)
    real = truth.replace(detector=truth.detector.replace(barrel=-0.02, coma=(4e-3, -2e-3)))
    spots = noisy(real, predict(real, real.crystal, 0.8), np.random.default_rng(1), 0.3)
    found, _, report = refine(start, spots)
    assert found.detector.coma == pytest.approx((4e-3, -2e-3), abs=3e-4)
    assert relative_cell_error(found, truth).max() < 5e-4
    assert np.hypot(report.numbers["rms_x_px"], report.numbers["rms_y_px"]) < 0.5


def test_missing_seam_between_chips_is_found():
    truth, start, spots = scene(10, share=0.3)
    real = truth.replace(detector=truth.detector.replace(gap=(2.0, 3.0)))
    spots = noisy(real, predict(real, real.crystal, 0.8), np.random.default_rng(1), 0.3)
    found, _, report = refine(start, spots)
    assert found.detector.gap == pytest.approx((2.0, 3.0), abs=0.1)
    assert relative_cell_error(found, truth).max() < 5e-4
    assert any("seam" in w for w in report.warnings)
    # without a seam none is made up
    assert refine(start, scene(10, share=0.3)[2])[0].detector.gap == (0.0, 0.0)


def test_detector_with_seam_and_barrel_inverts():
    truth, _, _ = scene(10)
    detector = truth.detector.replace(gap=(2.0, 3.0), barrel=-0.03, origin=(250.0, 270.0))
    xy = np.random.default_rng(0).uniform(0, 516, (50, 2))
    assert np.allclose(detector.pixels(detector.q_lab(xy, 0.02508), 0.02508), xy, atol=1e-6)


def strain(found, truth):
    """Largest stretch of the found lattice against the true one."""
    stretch = np.linalg.svd(found.crystal.UB @ np.linalg.inv(truth.crystal.UB))[1]
    return np.abs(stretch / np.cbrt(np.prod(stretch)) - 1).max()


def monoclinic_wedge(ellipse, half_deg):
    """A small monoclinic cell, in which the ellipse and β are hard to tell apart."""
    truth, start, spots = scene(4, (5.1, 11.97, 5.46, 90, 111.7, 90), "2/m", ellipse=ellipse, share=0.6)
    return truth, start, spots.select(np.abs(spots["phi"]) < half_deg)


def test_a_lens_is_round_unless_the_data_say_otherwise():
    truth, start, spots = monoclinic_wedge(0.0, 12)
    free, _, free_report = refine(start, spots)
    found, _, report = refine(start, spots, RefineSettings(round_lens=True))
    assert found.detector.ellipse.amplitude_percent < 1e-9 < 0.01 < free.detector.ellipse.amplitude_percent
    assert strain(found, truth) < 0.5 * strain(free, truth)
    # what the ellipse leaves open stays in the uncertainties
    assert found.crystal.cell.esd[4] == pytest.approx(free.crystal.cell.esd[4], rel=0.1)
    assert report.numbers["ellipse_esd_percent"] == pytest.approx(free_report.numbers["ellipse_esd_percent"], rel=0.1)


def test_an_ellipse_that_the_data_show_is_kept():
    truth, start, spots = monoclinic_wedge(1.0, 35)
    found, _, _ = refine(start, spots, RefineSettings(round_lens=True))
    assert found.detector.ellipse.amplitude_percent == pytest.approx(1.0, abs=0.3)
    assert strain(found, truth) < 0.002
