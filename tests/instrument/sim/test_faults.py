"""What a test breaks is broken, and tells no more than a real instrument would."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.instrument.sim.conftest import bring, diffraction, isolated, make

from credo.instrument.errors import HardwareFault


def test_a_lost_beam_leaves_the_camera_dark_and_does_no_damage(on_crystal):
    scope, _, _ = on_crystal
    camera = scope.cameras["timepix"]
    assert camera.acquire(0.1).data.max() > 0
    scope.faults.beam_lost = True
    before = dict(scope.specimen.fluence)
    assert camera.acquire(0.5).data.max() == 0
    assert scope.readiness()["emission"] is False
    scope.faults.beam_lost = False
    assert camera.acquire(0.1).data.max() > 0
    assert max(scope.specimen.fluence.values()) >= max(before.values())


def test_a_camera_that_fails_raises_and_recovers():
    scope = make()
    scope.faults.camera_fails = True
    with pytest.raises(HardwareFault, match="does not answer"):
        scope.cameras["timepix"].acquire(0.1)
    scope.faults.camera_fails = False
    scope.cameras["timepix"].acquire(0.1)


def test_a_jammed_axis_reports_no_error_and_does_not_move():
    scope = make()
    scope.faults.jammed.add("x")
    scope.stage.start({"x": 5e3, "y": 3e3})
    scope.clock.sleep(10)
    assert scope.stage.state() == "ready"
    assert scope.stage.position().x == 0 and scope.stage.position().y == pytest.approx(3e3)


def test_a_loose_crystal_falls_off():
    scope = make({"size_um": 1.0, "density": 0.01, "loose": 1.0})
    table, row = isolated(scope)
    bring(scope, table.place[row])
    diffraction(scope, spread=1400)
    ident = int(table.ident[row])
    camera = scope.cameras["timepix"]
    shares = []
    for _ in range(40):
        camera.acquire(0.5)
        shares.append(ident in scope.diary[-1].share)
    assert shares[0] and not shares[-1]
    assert np.argmin(shares) > 0 and 0.3 < scope.specimen.fluence[ident] < 4.0


def test_a_halt_does_not_wait_for_a_frame_that_is_being_rendered():
    scope = make()
    scope.blanker.blank(False)
    scope.stage.start({"a": 60.0})
    scope.clock.sleep(1.0)
    with ThreadPoolExecutor(1) as pool, scope._lock:  # as a camera's thread holds it while it renders
        pool.submit(scope.halt).result(timeout=10)
    assert scope.blanker.is_blanked() and scope.stage.state() == "ready"
    assert 0 < scope.stage.position().a < 60
