"""What a refinement tells: widths from how long spots last, seams, and warnings that name the remedy."""

from dataclasses import replace

import numpy as np
import pytest

from credo.model import Crystal, Reflections
from credo.physics.ewald import crossing_speed, scattering_vectors
from credo.reduce.index import nearest_nodes
from credo.reduce.refine import refine
from credo.reduce.refine_assign import assign, indexed, spot_data
from credo.reduce.refine_model import State
from credo.reduce.refine_report import _warnings, estimate_mosaicity, seam_is_missing
from credo.reduce.refine_solve import Variances


@pytest.fixture(scope="module")
def scene(spot_scene):
    return spot_scene((9.1, 11.4, 13.2, 90, 95, 90), most=400, noise_px=0.1, known_axis=True)


def refined_data(scene):
    state = State.of(scene.truth)
    variances = Variances(0.01, np.radians(0.05) ** 2, 1e-7)
    data = indexed(assign(state, spot_data(scene.truth, scene.spots), ("P",), variances, 0.3), 1)
    return state, data


@pytest.mark.parametrize("mosaicity", [0.3, 0.8])
def test_mosaicity_from_how_long_spots_last(scene, mosaicity):
    state, data = refined_data(scene)
    q = scattering_vectors(state.ub(0), data.hkl, state.axis, np.degrees(data.phi))
    sigma = mosaicity * np.linalg.norm(q, axis=1) / np.abs(crossing_speed(q, state.axis))
    intensity = scene.spots["intensity"]
    threshold = 3.0
    with np.errstate(invalid="ignore"):
        half = sigma * np.sqrt(2 * np.log(np.maximum(intensity[data.row] / threshold, 1.0)))
    middle = scene.spots["frame"][data.row]
    first, last = np.zeros(len(scene.spots)), np.zeros(len(scene.spots))
    first[data.row], last[data.row] = np.floor(middle - half / 0.5), np.floor(middle + half / 0.5)
    spots = scene.spots.with_columns(first=first, last=last)
    found, shape = estimate_mosaicity(state, data, spots, 0.5, Crystal(scene.truth.crystal.cell, np.eye(3)))
    # it is a first estimate
    assert 0.4 * mosaicity < found + np.degrees(shape) < 2.0 * mosaicity


def test_without_the_columns_the_crystals_own_width_stays(scene):
    state, data = refined_data(scene)
    crystal = Crystal(scene.truth.crystal.cell, np.eye(3), mosaicity_deg=0.123, shape_width=4e-4)
    bare = Reflections({k: scene.spots[k] for k in scene.spots if k not in ("first", "last")})
    assert estimate_mosaicity(state, data, bare, 0.5, crystal) == (0.123, 4e-4)


def test_a_seam_is_seen_where_positions_jump(scene):
    state, data = refined_data(scene)
    assert not seam_is_missing(state, data)
    xy = data.xy - 0.75 * np.sign(data.xy - state.middle)
    assert seam_is_missing(state, replace(data, xy=xy))


def test_the_report_of_good_data_is_quiet_and_complete(scene):
    _, _, report = refine(scene.truth, nearest_nodes(scene.truth, scene.spots))
    n = report.numbers
    assert n["converged"]
    assert n["rms_x_px"] == pytest.approx(0.1, abs=0.03)
    assert n["n_indexed"] == sum(n["n_indexed_by_lattice"])
    assert n["cell_esd"][0] > 0
    assert n["rotation_axis_esd_deg"] < 0.05
    assert n["scale_correlation"] < -0.8
    assert not [w for w in report.warnings if "ellipse" not in w]
    assert len(report.figures["residual_x_px"]) == n["n_indexed"]


NUMBERS = {
    "converged": True, "detector_gap_px": [0.0, 0.0], "rotation_step_factor": 1.0, "rotation_step_factor_esd": 1e-4,
    "scale_from_curvature": 1.0, "scale_from_curvature_esd": 0.01, "scale_determined": False,
    "ellipse_determined": True, "ellipse_esd_percent": 0.1, "ellipse_percent": 0.5,
    "rotation_axis_out_of_plane_deg": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"converged": False}, "last round"), ({"detector_gap_px": [1.5, 0.0]}, "seam"),
        ({"rotation_step_factor": 1.02}, "1.0200"), ({"scale_from_curvature": 0.8}, "camera length"),
        ({"ellipse_determined": False, "ellipse_esd_percent": 0.8}, "0.8 %"),
        ({"rotation_axis_out_of_plane_deg": -4.0}, "leans"),
    ],
)  # fmt: skip
def test_each_fault_has_its_sentence(change, word):
    assert not list(_warnings(NUMBERS))
    told = list(_warnings({**NUMBERS, **change}))
    assert len(told) == 1
    assert word in told[0]
