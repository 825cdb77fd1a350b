"""Calibration plans on one simulated instrument: the hidden truth within a few uncertainties, everything put back."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from credo.collect.calibration.axis import AxisSettings, image_axis
from credo.collect.calibration.brightness import BrightnessSettings, beam_brightness, brightness
from credo.collect.calibration.check import check_deflector, required, stale
from credo.collect.calibration.deflectors import DeflectorSettings, beam_shift, image_shift
from credo.collect.calibration.focus import FocusSettings, focus
from credo.collect.calibration.result import with_result
from credo.collect.calibration.rings import RingsSettings, pixel_size
from credo.collect.calibration.stage import StageSettings, stage_matrix
from credo.collect.calibration.timing import TimingSettings, dead_time, rotation
from credo.collect.engine import Engine, Event
from credo.collect.rig import Rig
from credo.instrument.config import Measured, MeasuredMatrix, validated
from credo.instrument.controller import TEMController
from credo.instrument.sim.microscope import SimulatedMicroscope
from credo.model.errors import CannotDo


@dataclass
class Bench:
    """An instrument, its rig, and the results that its plans told."""

    ctrl: TEMController
    scope: SimulatedMicroscope
    rig: Rig
    results: list[dict[str, Any]] = field(default_factory=list)

    def run(self, steps: Any) -> Any:
        def listen(event: Event) -> None:
            if event.kind == "calibrated":
                self.results.append(dict(event.facts))

        return Engine(self.ctrl, [listen]).run(steps)


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """``bench(seed, **options)``: a fresh simulated instrument with default imperfections."""
    opened: list[TEMController] = []

    def build(seed: int = 1, **options: Any) -> Bench:
        table = {"seed": seed, "sample": {"gold": True}} | options
        ctrl = TEMController.of(validated({"microscope": {"driver": "simulated", "options": table}}, "test"))
        opened.append(ctrl)
        return Bench(ctrl, ctrl.link.guard.microscope, Rig.of(ctrl))  # type: ignore[attr-defined]

    yield build
    for ctrl in opened:
        ctrl.close()


def pulls(scope, facts):
    """The benchmark's comparison of a result with the simulator's truth."""
    path = Path(__file__).parents[2] / "benchmarks" / "calibration.py"
    spec = importlib.util.spec_from_file_location("calibration_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pulls(scope, facts)


def held(bench, most=5.0):
    """The largest pull of all results so far; they are kept in the rig."""
    found = [v for facts in bench.results for one in pulls(bench.scope, facts).values() for v in one["pulls"]]
    for facts in bench.results:
        bench.rig = replace(bench.rig, calibration=with_result(bench.rig.calibration, facts))
    bench.results.clear()
    assert found and np.abs(found).max() < most
    return found


def test_beam_focus_and_deflectors_from_nothing(bench):
    b = bench(3)
    before = b.ctrl.to_dict()
    b.run(brightness(b.rig, BrightnessSettings(points=8)))
    held(b, 6.0)
    b.run(focus(b.rig, FocusSettings(points=8)))
    held(b, 6.0)
    b.run(beam_shift(b.rig, DeflectorSettings(points=10)))
    held(b)
    b.run(beam_shift(b.rig, DeflectorSettings(mode="diff", points=10)))
    b.run(beam_shift(b.rig, DeflectorSettings(mode="diff", defocus=1500, points=10)))
    b.run(image_shift(b.rig, DeflectorSettings(mode="diff", points=10), which=2))
    held(b)
    after = b.ctrl.to_dict()
    kept = ("BeamShift", "ImageShift2", "DiffShift", "Brightness", "FunctionMode")
    assert {k: after[k] for k in kept} == {k: before[k] for k in kept} and b.ctrl.beam.is_blanked
    assert set(b.rig.calibration.deflectors) == {"mag1@2500", "diff@600", "diff@600+1500"}
    right = b.run(check_deflector(b.rig, DeflectorSettings()))
    assert right.holds and right.off_px < 1.5
    table = b.rig.calibration.model_dump(mode="json", exclude_defaults=True)
    table["deflectors"]["mag1@2500"]["beamshift"]["value"] = [[0.5, -1.1], [1.1, 0.5]]
    wrong = replace(b.rig, calibration=type(b.rig.calibration).model_validate(table))
    lost = b.run(check_deflector(wrong, DeflectorSettings()))
    assert not lost.holds
    with pytest.raises(CannotDo, match="credo calibrate deflectors"):
        required(lost, "deflectors")


def test_the_stage_and_one_lost_image(bench):
    b = bench(4)
    camera = b.scope.cameras["timepix"]
    render, count = camera._render, [0]

    def once_dark(*args):
        electrons, known = render(*args)
        count[0] += 1
        return (electrons * (count[0] != 9), known)

    camera._render = once_dark
    b.run(stage_matrix(b.rig, StageSettings(points=10)))
    details = b.results[0]["details"]
    assert len(details["failed"]) == 1 and sum(v[0] is None for v in details["seen"]) == 1
    held(b)
    assert abs(b.ctrl.stage.get().x) < 300 and abs(b.ctrl.stage.get().y) < 300


def test_the_tilt_axis_in_images(bench):
    b = bench(5)
    found = b.run(image_axis(b.rig, AxisSettings(heights=3)))
    assert found.esd is not None and found.esd < 0.3
    held(b)


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 83.0, 120.0])
def test_rings_give_the_ellipse_with_its_sign(bench, azimuth):
    b = bench(6, imperfections={"ellipse_azimuth_deg": azimuth})
    scale, ellipse = b.run(pixel_size(b.rig, RingsSettings(camera_length=500)))
    assert scale.esd is not None and scale.esd < 1e-3 * scale.value
    off = (ellipse.value[1] - azimuth - 2 * np.log(500 / 600) + 90) % 180 - 90
    assert ellipse.value[0] == pytest.approx(2.4 * (1 + 0.15 * np.log(500 / 600)), abs=0.05) and abs(off) < 0.5


def test_timing(bench):
    b = bench(7)
    lost = bench(7, cameras=[{"dropped": 0.3}])
    for one in (b, lost):
        one.run(dead_time(one.rig, TimingSettings(frames=12)))
        held(one)
    b.run(rotation(b.rig, TimingSettings(speeds=(2.0,), spans=(2.0, 6.0))))
    held(b)
    assert b.ctrl.stage.get().a == pytest.approx(0.0, abs=0.3)


def test_what_is_old_or_was_measured_otherwise_is_stale(bench):
    rig = bench(8).rig
    old = Measured(value=1.0, date=rig.today.replace(year=rig.today.year - 2))
    assert "days old" in stale(old, rig)[0]
    here = Measured(value=1.0, date=rig.today, at={"mode": "diff", "brightness": 28000.0, "spotsize": 3.0})
    assert not stale(here, rig, {"mode": "diff", "brightness": 28100, "spotsize": 3})
    assert len(stale(here, rig, {"mode": "mag1", "brightness": 34000, "spotsize": 2})) == 3
    assert not stale(MeasuredMatrix(value=((1, 0), (0, 1))), rig)


def test_what_cannot_be_is_said(bench):
    b = bench(9)
    with pytest.raises(CannotDo, match="no 2700"):
        b.run(beam_shift(b.rig, DeflectorSettings(magnification=2700)))
    b.scope.faults.beam_lost = True
    with pytest.raises(CannotDo, match="beam against brightness"):
        b.run(beam_brightness(b.rig, um=0.8))
