"""What to do next: from states made by hand to abandon, continue and enough."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Scan
from credo.physics.ewald import miller_indices, predict
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.watch_next import Goal, PhaseNow, missing, next_plan, phase_of
from credo.pipeline.watch_set import LiveState

CELL = Cell(7.1, 9.3, 12.4, 90, 90, 90)
GOAL = Goal(completeness=0.95, cc_half=0.9)


def state(turned=30.0, start=-50.0, step=0.5, cell=CELL, **more):
    crystal = Crystal(cell, Rotation.random(random_state=3).as_matrix(), laue_group="mmm")
    n = int(turned / abs(step))
    experiment = Experiment(
        Beam(0.0251), Detector((400, 400), 0.005, (200, 200)), Goniometer.in_plane(30.0), Scan.regular(n, start, step),
        (crystal,),
    )  # fmt: skip
    common = LiveState("x", n, turned, (3,) * n, 3 * n, 3 * n, 1.0, crystal, experiment, 1.0)
    return replace(common, **more)


def phase(share=1.0, cc_half=0.99, **more):
    """A phase of which that share of the unique reflections was measured, those of lowest l."""
    hkl, _ = unique_reflections(miller_indices(CELL.B, 1.0, "P"), laue_rotations("mmm"))
    hkl = hkl[np.argsort(np.abs(hkl[:, 2]), kind="stable")][: int(share * len(hkl))]
    rows = tuple(map(tuple, hkl.tolist()))
    return replace(PhaseNow("A", CELL, "P", "mmm", rows, 5, share, cc_half, 1.0), **more)


def unindexed(turned, n_spots, frames=40):
    return LiveState("x", frames, turned, (), n_spots, reason="no lattice")


@pytest.mark.parametrize(
    ("turned", "spots", "verdict"), [(5.0, 20, "continue"), (20.0, 20, "abandon"), (20.0, 400, "abandon")]
)
def test_without_a_lattice(turned, spots, verdict):
    assert next_plan(unindexed(turned, spots)).verdict == verdict


def test_poor_unwanted_and_complete_crystals_are_given_up():
    assert next_plan(state(), goal=Goal(resolution=0.8)).verdict == "abandon"
    advice = next_plan(state(), [phase(0.5)], Goal(phases=("B",)))
    assert (advice.verdict, advice.phase) == ("abandon", "A") and "not wanted" in advice.reason
    assert "complete" in next_plan(state(), [phase(1.0)], GOAL).reason
    assert next_plan(state(), [phase(1.0, cc_half=0.5)], GOAL).verdict != "abandon"


@pytest.mark.parametrize("sign", [1, -1])
def test_on_in_the_direction_of_the_scan(sign):
    advice = next_plan(state(30.0, -50.0 * sign, 0.5 * sign), [], GOAL)
    assert advice.verdict == "continue"
    assert advice.from_deg == pytest.approx(-20 * sign)
    assert sign * advice.to_deg > sign * advice.from_deg and abs(advice.to_deg) <= 60


def test_the_gain_is_what_is_seen():
    """Against a count of all that the further range brings."""
    s = state()
    advice = next_plan(s, [], GOAL)
    rotations = laue_rotations("mmm")
    possible, _ = unique_reflections(miller_indices(CELL.B, 1.0, "P"), rotations)
    whole = s.experiment.replace(scan=Scan.regular(1, -50, advice.to_deg + 50))

    def unique(e):
        return {tuple(h) for h in unique_reflections(predict(e, e.crystal, 1.0).hkl, rotations)[0].tolist()}

    more = len(unique(whole) - unique(s.experiment)) / len(possible)
    assert advice.gain == pytest.approx(more, abs=0.01)


def test_enough_at_the_stages_limit_and_where_nothing_is_new():
    assert next_plan(state(109.5, -50.0), [], GOAL).verdict == "enough"
    assert next_plan(state(turned=100.0), [phase(0.97, cc_half=0.5)], GOAL).verdict == "enough"


def test_phase_by_cell():
    near = Cell(7.12, 9.28, 12.41, 90, 90, 90)
    other = phase(0.5, name="B", cell=Cell(8, 8, 20, 90, 90, 90))
    found, probability, change = phase_of(state(cell=near), [other, phase(0.5)])
    assert found.name == "A" and probability > 0.8
    np.testing.assert_allclose(np.abs(change), np.eye(3), atol=1e-6)
    assert phase_of(state(cell=Cell(5, 5, 5, 90, 90, 90)), [phase(0.5)])[0] is None
    assert phase_of(unindexed(5, 5), [phase()])[0] is None


def test_what_a_phase_lacks():
    assert missing(phase(1.0), GOAL).enough
    advice = missing(phase(0.4), GOAL)
    # l is missing: c* must lie across the beam, so the beam along a zone of c* = 0
    assert not advice.enough and advice.zone is not None and advice.zone[2] == 0
    assert advice.seen < 0.4
    assert "CC½" in missing(phase(1.0, cc_half=0.2), GOAL).reason
