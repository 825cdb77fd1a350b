"""Frame orientations: stick-slip is found again, a steady stage is left alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import predict
from credo.reduce.missets import fit_missets, frame_rotations, misset_basis, recorded_shares


def scene(seed, slip_deg, n=120, counts=2000.0, gaps=False, turn_deg=0.0, steady_scale=True):
    """Start experiment (rocking width 40 % off), predictions, noisy partials and the true components [deg]."""
    rng = np.random.default_rng(seed)
    crystal = Crystal(Cell(13.142, 19.738, 20.09, 90, 90, 90), Rotation.random(random_state=seed).as_matrix())
    scan = Scan.regular(n, -15, 30 / n)
    scan = scan.part(np.arange(n) % 10 != 9) if gaps else scan
    start = Experiment(
        Beam(0.02508), Detector((516, 516), 0.0025, (258.0, 258.0)), Goniometer.in_plane(38.3), scan, (crystal,)
    )
    true = rng.normal(size=(len(scan), 3)) * np.array([slip_deg, slip_deg, turn_deg])
    real = start.replace(
        scan=scan.replace(misset_deg=true @ misset_basis(start.goniometer.axis)),
        crystals=(crystal.replace(mosaicity_deg=0.12, shape_width=4e-4),),
    )
    p = predict(start, crystal, 0.8, margin_deg=0.5)
    half = np.minimum(0.6 * p["lorentz"] / p["d"], 3.0)
    first, last = np.searchsorted(scan.end_deg, p["phi"] - half), np.searchsorted(scan.start_deg, p["phi"] + half)
    row = np.repeat(np.arange(len(p)), last - first)
    frame = np.concatenate([np.arange(i, j) for i, j in zip(first, last)])
    full = counts * rng.exponential(size=len(p)) * np.exp(-1.5 / p["d"] ** 2) * p["lorentz"] / p["d"] / 2
    mean = full[row] * recorded_shares(real, p, row, frame)
    mean *= 1 if steady_scale else np.exp(rng.normal(0, 0.1, len(scan)))[frame]
    seen = rng.poisson(mean + 40.0)
    arm, angle = p.xy[row] - 258.0, np.radians(true[frame, 2])
    xy = p.xy[row] + np.stack([-arm[:, 1], arm[:, 0]], axis=1) * angle[:, None] + rng.normal(0, 0.3, (len(row), 2))
    partials = SimpleNamespace(
        row=row, frame=frame, intensity=seen - 40.0, variance=np.maximum(seen, 1.0) + 4.0, x=xy[:, 0], y=xy[:, 1]
    )
    return start, p, partials, true


def errors(found, start, true):
    """Rms over frames of each component's error [deg]."""
    components = found.scan.misset_deg @ misset_basis(start.goniometer.axis).T
    return np.sqrt(np.mean((components - true) ** 2, axis=0))


@pytest.mark.parametrize(("slip", "gaps"), [(0.057, False), (0.057, True), (0.2, False)])
def test_independent_stick_slip_is_recovered(slip, gaps):
    start, p, partials, true = scene(1, slip, gaps=gaps)
    found, report = fit_missets(start, p, partials)
    assert errors(found, start, true)[:2].max() < 0.006
    assert found.crystal.mosaicity_deg == pytest.approx(0.12, rel=0.03)
    assert errors(found, start, true)[:2].max() < 2 * report.numbers["misset_esd_deg"]


def test_frames_wider_than_rocking_curves_are_not_turned_for_nothing():
    # 1° frames: most reflections lie on one frame, and a narrow curve on turned frames would fit them as well
    start, p, partials, _ = scene(5, 0.0, n=30, counts=4000.0)
    found, report = fit_missets(start, p, partials)
    assert report.numbers["misset_gain"] < 0
    assert report.numbers["misset_rms_deg"] < 1e-3
    assert found.crystal.mosaicity_deg == pytest.approx(0.12, rel=0.1)


def test_frame_scales_do_not_disturb():
    start, p, partials, true = scene(2, 0.057, steady_scale=False)
    found, report = fit_missets(start, p, partials)
    assert errors(found, start, true)[:2].max() < 0.007
    assert report.numbers["frame_scale_rms"] == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize("counts", [300.0, 2000.0])
def test_a_steady_stage_is_left_alone(counts):
    start, p, partials, true = scene(3, 0.0, counts=counts)
    found, report = fit_missets(start, p, partials)
    assert errors(found, start, true).max() < 0.002
    assert report.numbers["misset_rms_deg"] < 0.002


def test_turns_about_the_beam_come_from_positions():
    start, p, partials, true = scene(4, 0.0, turn_deg=0.2)
    found, _ = fit_missets(start, p, partials)
    assert errors(found, start, true)[2] < 0.05


def test_without_partials_nothing_changes_and_the_report_says_so():
    start, p, _, _ = scene(5, 0.0)
    none = np.empty(0)
    empty = SimpleNamespace(row=none.astype(int), frame=none.astype(int), intensity=none, variance=none, x=none, y=none)
    found, report = fit_missets(start, p, empty)
    assert found == start
    assert report.warnings


def test_frame_rotations_turn_about_the_laboratory_vector():
    start, _, _, _ = scene(5, 0.0)
    assert np.allclose(frame_rotations(start), np.eye(3))
    misset = np.zeros((len(start.scan), 3))
    misset[4] = [0, 0, 1.0]
    turned = frame_rotations(start.replace(scan=start.scan.replace(misset_deg=misset)))[4] @ [1.0, 0.0, 0.0]
    assert np.allclose(turned, [np.cos(np.radians(1)), np.sin(np.radians(1)), 0])


def test_shares_of_a_reflection_add_up_to_one():
    start, _, _, _ = scene(6, 0.0)
    p = predict(start, start.crystal, 1.0)
    inner = np.flatnonzero((np.abs(p["phi"]) < 5) & (p["lorentz"] * 1.0 / p["d"] < 2))[:20]
    n = len(start.scan)
    row, frame = np.repeat(inner, n), np.tile(np.arange(n), len(inner))
    total = recorded_shares(start, p, row, frame).reshape(-1, n).sum(axis=1)
    assert np.allclose(total, 1, atol=1e-3)
    assert isinstance(p, Reflections)
