"""Stepwise rotation: a beam tilt is worth a goniometer tilt, both ways, and it goes on where it was stopped."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift
from tests.collect.scenes import PLAIN, bring, collected, interrupted, optics, scope_of

from credo.collect.engine import Engine
from credo.collect.red import Red
from credo.collect.rig import Rig
from credo.collect.serial_images import beam_centre
from credo.collect.session import Session
from credo.instrument.errors import WireError
from credo.instrument.protocols import StageState
from credo.io import nxmx
from credo.io.nxmx_stream import read_columns
from credo.io.open import open_experiment
from credo.model.errors import CannotDo


def spots_only(image: np.ndarray) -> np.ndarray:
    """What a comparison of patterns should see: reflections about the direct beam; beam and the camera's cross left
    out."""
    x, y = beam_centre(image)
    smooth = gaussian_filter(shift(image.astype(float), (258 - y, 258 - x), order=1), 1.5)
    smooth -= np.median(smooth)
    smooth[240:276, 240:276] = smooth[246:270] = smooth[:, 246:270] = 0
    return np.sqrt(np.clip(smooth - 3, 0, None)).ravel()


@pytest.fixture
def red(simulated, tmp_path):
    """``red(**settings)``: the collected session and the images by their angle."""
    made = []

    def build(**settings):
        ctrl = simulated(1, sample={**PLAIN, "phases": ("andradite",)})
        bring(ctrl)
        folder = tmp_path / str(len(made))
        made.append(folder)
        plan = Red(**{"kind": "red", "exposure_s": 1.0, "settle_s": 0.0, "optics": optics(ctrl), **settings})
        session = collected(ctrl, plan, folder)
        columns, file = (read(folder / "crystals/0001/frames.h5") for read in (read_columns, nxmx.read))
        middle = 0.5 * (columns["omega"] + columns["omega_end"])
        return session, middle, [spots_only(file.read(i)) for i in range(len(middle))]

    return build


def likeness(one, others) -> np.ndarray:
    return np.array([np.corrcoef(one, other)[0, 1] for other in others])


def test_a_beam_tilt_is_worth_a_goniometer_tilt(red):
    for sign in (1, -1):  # each way has its own side of the goniometer's slack
        _, angles, steps = red(start_deg=-0.4 * sign, range_deg=0.8 * sign, step_deg=0.4)
        _, way, tilted = red(start_deg=0.0, range_deg=1.0 * sign, step_deg=1.0, beam_tilt_deg=0.2)
        assert np.all(sign * np.diff(way) > 0.1)
        for wanted in (-0.4, 0.4):
            alike = likeness(tilted[int(np.argmin(abs(way - wanted)))], steps)
            assert abs(angles[int(alike.argmax())] - wanted) < 0.15
            assert alike.max() - alike[int(np.argmin(abs(angles + wanted)))] > 0.1  # and not its mirror image's


def test_a_step_down_is_written_as_a_step_down(red, tmp_path):
    session, middle, _ = red(start_deg=3.0, range_deg=-3.0, step_deg=1.0)
    (told,) = session.datasets
    np.testing.assert_allclose(middle, [3, 2, 1, 0], atol=0.1)
    assert told["kind"] == "steps"
    assert told["start_deg"] == pytest.approx(3.5, abs=0.1) and told["end_deg"] == pytest.approx(-0.5, abs=0.1)
    scan = open_experiment(tmp_path / "0/crystals/0001").experiment.scan
    assert np.all(scan.width_deg < 0)
    np.testing.assert_allclose(scan.mid_deg, middle, atol=0.1)


def test_it_goes_on_at_the_first_angle_that_is_missing(simulated, tmp_path):
    ctrl = simulated(1, sample={**PLAIN, "phases": ("andradite",)})
    bring(ctrl)
    plan = Red(kind="red", start_deg=-3.0, range_deg=6.0, exposure_s=0.2, settle_s=0.0, optics=optics(ctrl))
    rig = Rig.of(ctrl)
    session, seen = Session(tmp_path, rig), []
    engine = Engine(ctrl, [session])

    def stop(event):
        seen.append(event.facts.get("role") == "data")
        if sum(seen) == 3:
            engine.stop("stopped by the user")

    engine.listeners += (stop,)
    with pytest.raises(CannotDo, match="stopped"):
        engine.run(plan.steps(rig))
    again = collected(ctrl, plan, tmp_path, again=True)
    columns = [read_columns(tmp_path / one["directory"] / "frames.h5") for one in again.datasets]
    middle = np.concatenate([0.5 * (c["omega"] + c["omega_end"]) for c in columns])
    np.testing.assert_allclose(middle, np.arange(-3, 3.5), atol=0.1)
    assert scope_of(ctrl).blanker.is_blanked()


@pytest.mark.parametrize("fault", ["camera", "beam", "disk", "limiter", "server"])
def test_after_every_fault_the_beam_is_off_and_the_rest_is_collected(simulated, tmp_path, fault):
    ctrl = simulated(1, sample={**PLAIN, "phases": ("andradite",)})
    bring(ctrl)
    scope, full = scope_of(ctrl), []

    def happen():
        if fault in ("disk", "server"):
            full.append(1)
            raise CannotDo("the disk is full") if fault == "disk" else WireError("the connection is closed", "")
        if fault == "limiter":
            scope.stage.state = lambda: StageState.LIMITER
        else:
            setattr(scope.faults, {"camera": "camera_fails", "beam": "beam_lost"}[fault], True)

    plan = Red(
        start_deg=-3.0, range_deg=6.0, step_deg=1.0, exposure_s=0.2, settle_s=0.0, optics=optics(ctrl),
        beam_tilt_deg=0.5 if fault == "camera" else 0.0,
    )  # fmt: skip
    first = interrupted(ctrl, plan, tmp_path, happen, n=4)
    assert first.datasets[0]["n_frames"] >= 3
    scope.faults.camera_fails = scope.faults.beam_lost = False
    if fault == "limiter":
        del scope.stage.state
        ctrl.reset()
    ctrl.link.clock.sleep(20)
    again = collected(ctrl, plan, tmp_path, again=True)
    columns = [read_columns(tmp_path / one["directory"] / "frames.h5") for one in again.datasets]
    middle = np.unique(np.concatenate([np.round(0.5 * (c["omega"] + c["omega_end"]) * 4) / 4 for c in columns]))
    wanted = np.arange(-3, 3.5, 1.0) if not plan.beam_tilt_deg else np.arange(-3.25, 3.5, 0.5)
    np.testing.assert_allclose(middle, wanted, atol=0.1)
