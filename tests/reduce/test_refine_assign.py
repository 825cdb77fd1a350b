"""Spots get the indices of the nearest node, of the right crystal, within what their errors allow."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Cell, Crystal, Reflections
from credo.physics.ewald import predict
from credo.reduce.refine_assign import assign, calculated, indexed, spot_data
from credo.reduce.refine_model import State
from credo.reduce.refine_solve import Variances

TIGHT = Variances(0.01, np.radians(0.05) ** 2, 1e-7)


@pytest.fixture(scope="module")
def scene(spot_scene):
    return spot_scene((9.1, 11.4, 13.2, 90, 95, 90), most=300, noise_px=0.1, known_axis=True)


def truth_of(scene):
    """The truth's predictions for the spots: index of each, matched in position and angle."""
    p = predict(scene.truth, scene.truth.crystal, 0.75, margin_deg=2.0)
    s = scene.spots
    gap = np.abs(p["phi"][:, None] - s["phi"]) + np.hypot(p["x"][:, None] - s["x"], p["y"][:, None] - s["y"])
    return p.hkl[np.argmin(gap, axis=0)]


def test_every_spot_gets_its_index_in_the_true_geometry(scene):
    data = spot_data(scene.truth, scene.spots)
    found = assign(State.of(scene.truth), data, ("P",), TIGHT, 0.3)
    assert np.mean(found.crystal == 0) > 0.98
    mine = found.crystal == 0
    assert np.mean(np.all(found.hkl[mine] == truth_of(scene)[mine], axis=1)) > 0.99
    assert len(indexed(found, 1).phi) == mine.sum()
    assert not len(indexed(data, 1).phi)


def test_nodes_that_the_centring_forbids_are_not_given(scene):
    found = assign(State.of(scene.truth), spot_data(scene.truth, scene.spots), ("I",), TIGHT, 0.3)
    given = found.hkl[found.crystal == 0]
    assert np.all(given.sum(axis=1) % 2 == 0)
    assert 0.4 < np.mean(found.crystal == 0) < 0.6


def test_spots_off_their_node_are_left_out_unless_their_errors_allow_it(scene):
    n = len(scene.spots)
    moved = scene.spots.with_columns(x=scene.spots["x"] + np.where(np.arange(n) % 2, 2.0, 0.0))
    data, state = spot_data(scene.truth, moved), State.of(scene.truth)
    found = assign(state, data, ("P",), TIGHT, 0.3)
    assert np.mean(found.crystal[1::2] == 0) < 0.02
    assert np.mean(found.crystal[::2] == 0) > 0.98
    # a beam that may have walked as far makes them welcome
    assert np.mean(assign(state, data, ("P",), TIGHT, 0.3, walk=1.0).crystal[1::2] == 0) > 0.95


def test_two_crystals_share_the_spots(scene):
    other = Crystal(Cell(9.1, 11.4, 13.2, 90, 95, 90), Rotation.random(random_state=8).as_matrix())
    both = scene.truth.replace(crystals=(other, scene.truth.crystal))
    found = assign(State.of(both), spot_data(both, scene.spots), ("P", "P"), TIGHT, 0.3)
    assert np.mean(found.crystal == 1) > 0.95
    assert np.mean(found.crystal == 0) < 0.05


def test_cut_spots_and_missing_variances_get_wide_ones(scene):
    n = len(scene.spots)
    cut = np.arange(n) < 10
    data = spot_data(scene.truth, scene.spots.with_columns(cut=cut, var_x=np.full(n, np.nan)))
    plain = spot_data(scene.truth, scene.spots)
    assert np.all(data.var_phi[cut] > plain.var_phi[cut] + np.radians(0.2) ** 2)
    assert data.var_xy[~cut, 0] == pytest.approx(np.full((~cut).sum(), 0.25))
    assert data.var_xy[cut, 1] == pytest.approx(9 * plain.var_xy[cut, 1])
    bare = spot_data(scene.truth, Reflections(x=[1.0], y=[2.0], phi=[3.0], frame=[4.0]))
    assert bare.crystal.tolist() == [-1]
    assert bare.var_xy.tolist() == [[0.25, 0.25]]


def test_calculated_positions_are_predictions(scene):
    p = predict(scene.truth, scene.truth.crystal, 1.2)
    p = p.select(p["lorentz"] < 5)
    state = State.of(scene.truth)
    n = len(p)
    data = replace(spot_data(scene.truth, p.with_columns(lattice=np.zeros(n, int))), phi=np.radians(p["phi"] + 0.3))
    phi, xy = calculated(state, data, [state.ub(0)])
    assert np.degrees(phi) == pytest.approx(p["phi"], abs=1e-5)
    assert xy == pytest.approx(p.xy, abs=1e-3)
