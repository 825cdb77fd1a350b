"""Parameters of refinement: derivatives against differences, and what each lattice system leaves free."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Beam, Cell, Crystal, Detector, Ellipse, Experiment, Goniometer, Scan
from credo.physics.ewald import crossing_speed, predict
from credo.reduce.refine_model import Data, State, cell_freedom, constrained_crystal, linearised, predicted


def two_crystals():
    """An experiment with a triclinic and a hexagonal lattice, and exact spots of both."""
    crystals = (
        Crystal(Cell(7, 8, 9, 80, 95, 100), Rotation.random(random_state=1).as_matrix()),
        Crystal(Cell(9, 9, 14, 90, 90, 120), Rotation.random(random_state=2).as_matrix(), laue_group="6/mmm"),
    )
    detector = Detector((512, 512), 0.003, (250.0, 260.0), ellipse=Ellipse(1.5, 30))
    experiment = Experiment(Beam(0.0251), detector, Goniometer.in_plane(50, 1), Scan.regular(120, -30, 0.5), crystals)
    parts = [predict(experiment, c, 1.2) for c in crystals]
    n = sum(len(p) for p in parts)
    data = Data(
        row=np.arange(n), hkl=np.concatenate([p.hkl for p in parts]),
        crystal=np.repeat([0, 1], [len(p) for p in parts]),
        phi=np.radians(np.concatenate([p["phi"] for p in parts])), frame=np.concatenate([p["frame"] for p in parts]),
        xy=np.concatenate([p.xy for p in parts]), var_xy=np.full((n, 2), 0.01), var_phi=np.full(n, 1e-7),
        use_phi=np.ones(n, dtype=bool),
    )  # fmt: skip
    return experiment, data


def test_exact_spots_have_no_residual():
    experiment, data = two_crystals()
    xy, eps, _ = predicted(State.of(experiment), data)
    assert np.allclose(xy, data.xy, atol=1e-6)
    assert np.allclose(eps, 0, atol=1e-12)


def test_derivatives_equal_differences():
    experiment, data = two_crystals()
    state = State.of(experiment)
    speed = np.abs(crossing_speed(predicted(state, data)[2], state.axis))
    data = data.part(speed > 0.05)
    _, _, _, *analytic = linearised(state, data)
    still = np.zeros((len(experiment.scan), 2))
    for k in range(state.n_parameters):
        h = np.zeros(state.n_parameters)
        h[k] = 1e-6
        up, down = (predicted(state.moved(s * h, still), data) for s in (1, -1))
        numeric = [(up[0] - down[0])[:, 0], (up[0] - down[0])[:, 1], up[1] - down[1]]
        for a, d, size in zip(analytic, numeric, (1e2, 1e2, 1.0)):
            assert np.allclose(a[:, k], d / 2e-6, rtol=1e-4, atol=1e-5 * size), k


def test_residual_of_angle_is_speed_times_turn():
    experiment, data = two_crystals()
    state = State.of(experiment)
    turned = replace(data, phi=data.phi + 1e-3)
    _, eps, q, *_ = linearised(state, turned)
    speed = crossing_speed(q, state.axis)
    fast = np.abs(speed) > 0.1
    assert np.allclose(eps[fast], (speed * 1e-3)[fast], rtol=1e-2)


@pytest.mark.parametrize(
    ("laue", "cell", "free"),
    [
        ("-1", (7, 8, 9, 80, 95, 100), 6), ("2/m", (7, 8, 9, 90.2, 95, 89.9), 4), ("mmm", (7, 8, 9, 90.1, 90, 90), 3),
        ("4/mmm", (7, 7.1, 9, 90, 90.2, 90), 2), ("-3m1", (7, 7.1, 9, 90, 90, 119.8), 2),
        ("-3m", (7, 7.1, 7, 85, 85.1, 85), 2), ("6/m", (7, 7.1, 9, 90, 90, 120.1), 2),
        ("m-3", (7, 7.1, 7, 90, 90, 90), 1),
    ],
)  # fmt: skip
def test_lattice_systems(laue, cell, free):
    crystal = Crystal(Cell(*cell), Rotation.random(random_state=3).as_matrix(), laue_group=laue)
    ideal = constrained_crystal(crystal)
    assert cell_freedom(ideal).shape == (6, free)
    assert np.abs(ideal.UB - crystal.UB).max() < 0.01
    assert constrained_crystal(ideal) == ideal
    # a step of all free parameters keeps the constraint
    state = State.of(two_crystals()[0].replace(crystals=(ideal,)))
    moved = state.moved(np.full(state.n_parameters, 0.01), np.zeros_like(state.shift))
    again = ideal.replace(cell=Cell(*moved.cells[0]))
    assert np.allclose(constrained_crystal(again).cell.parameters, moved.cells[0])


def test_experiment_round_trip():
    experiment, _ = two_crystals()
    again = State.of(experiment).experiment(experiment)
    assert np.allclose(again.goniometer.axis, experiment.goniometer.axis)
    assert np.allclose(again.detector.ellipse.matrix, experiment.detector.ellipse.matrix)
    assert again.detector.origin == pytest.approx(experiment.detector.origin)
