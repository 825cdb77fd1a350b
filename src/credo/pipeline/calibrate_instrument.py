"""``credo calibrate KIND``: a calibration run on the configured instrument; values, residuals, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from credo.collect.calibration.axis import AxisSettings, image_axis
from credo.collect.calibration.brightness import BrightnessSettings, brightness
from credo.collect.calibration.check import check_deflector, check_stage
from credo.collect.calibration.deflectors import DeflectorSettings, deflector
from credo.collect.calibration.everything import AllSettings, calibrate_all
from credo.collect.calibration.focus import FocusSettings, focus
from credo.collect.calibration.result import RESULT, number_of, result_note, with_result
from credo.collect.calibration.rings import RingsSettings, pixel_size
from credo.collect.calibration.stage import StageSettings, stage_matrix
from credo.collect.calibration.timing import TimingSettings, dead_time, rotation
from credo.collect.engine import Engine, Event
from credo.collect.rig import Rig
from credo.collect.steps import Steps
from credo.instrument.calibration_file import merged, read_calibration, write_calibration
from credo.instrument.config import Calibration, Configuration
from credo.instrument.controller import TEMController
from credo.io.text import write_text
from credo.model.errors import CannotDo, CredoError, UnreadableInput
from credo.physics.dose import electrons_of
from credo.pipeline.collect import configured
from credo.pipeline.output import Output, read_report, run_command
from credo.pipeline.page.calibration import calibration_page

__all__ = ["KINDS", "Told", "calibrate_instrument", "gold_on"]


class AxisOf(AxisSettings):
    """The axis in images; or, of patterns, from data that were processed."""

    processed: Path | None = Field(
        default=None, description="a result of `credo process`: its axis becomes that of patterns; nothing is measured"
    )


def _axis(rig: Rig, settings: AxisOf) -> Steps[Any]:
    if settings.processed is None:
        plain = settings.model_dump(exclude={"processed"})
        return (yield from image_axis(rig, AxisSettings(**plain)))
    report = read_report(settings.processed)
    value, esd = report.get("rotation_axis_deg"), report.get("rotation_axis_esd_deg")
    if not isinstance(value, (int, float)):
        raise UnreadableInput(f"{settings.processed}: no rotation axis in its report", "give a result of credo process")
    found = number_of(rig, value, esd if isinstance(esd, (int, float)) else 0.5, {"mode": "diff"}, "credo process")
    yield result_note("rotation_axis_deg", "", "", found, {})


def _timing(rig: Rig, settings: TimingSettings) -> Steps[None]:
    yield from dead_time(rig, settings)
    yield from rotation(rig, settings)


def _check(rig: Rig, settings: DeflectorSettings) -> Steps[None]:
    """The stage matrix and every deflector that is stored, by two images each."""
    for mode, table in rig.calibration.stage.items():
        for magnification in table:
            yield from check_stage(rig, StageSettings(mode=mode, magnification=float(magnification)))
    for key, table in rig.calibration.deflectors.items():
        mode, _, rest = key.partition("@")
        if not rest:
            continue
        place = max(rest.find("+"), rest.find("-"))
        magnification, defocus = (rest, 0.0) if place < 0 else (rest[:place], float(rest[place:]))
        for name in table:
            one = {"name": name, "mode": mode, "magnification": float(magnification), "defocus": defocus}
            yield from check_deflector(rig, settings.model_copy(update=one))


#: Per kind its settings, and the plan of a rig and settings.
KINDS: dict[str, tuple[type[BaseModel], Callable[[Rig, Any], Steps[Any]]]] = {
    "stage": (StageSettings, stage_matrix),
    "brightness": (BrightnessSettings, brightness),
    "focus": (FocusSettings, focus),
    "pixel-size": (RingsSettings, pixel_size),
    "axis": (AxisOf, _axis),
    "deflectors": (DeflectorSettings, deflector),
    "timing": (TimingSettings, _timing),
    "check": (DeflectorSettings, _check),
    "all": (AllSettings, calibrate_all),
}


class Told:
    """A listener: results and checks as the notes tell them, frames, time, and what the specimen got."""

    def __init__(self, ctrl: TEMController, say: Callable[[str], None] = lambda _: None) -> None:
        self._ctrl, self._say = ctrl, say
        self.results: list[Mapping[str, Any]] = []
        self.checks: list[Mapping[str, Any]] = []
        self.failed: list[Mapping[str, Any]] = []
        self.frames, self.beam_on_s, self.dose = 0, 0.0, 0.0
        self.began = self.ended = 0.0

    def __call__(self, event: Event) -> None:
        self.began, self.ended = self.began or event.time, event.time
        if event.kind == "frame" and event.shot is not None:
            self.frames += 1
            self.beam_on_s += event.shot.frame.exposure
            density = self._ctrl.link.call("get", names=["current_density"]).get("current_density")
            self.dose += event.shot.frame.exposure * electrons_of(float(density or 0.0))
        kept = {RESULT: self.results, "checked": self.checks, "not calibrated": self.failed}
        if event.kind in kept:
            kept[event.kind].append(event.facts)
            self._say(" ".join(str(event.facts.get(k, "")) for k in ("table", "key", "name", "what")).strip())

    @property
    def numbers(self) -> dict[str, Any]:
        """For the report."""
        return {
            "frames": self.frames, "instrument_s": self.ended - self.began, "beam_on_s": self.beam_on_s,
            "dose_e_per_A2": self.dose, "results": [dict(r) for r in self.results],
            "checks": [dict(c) for c in self.checks], "failed": [dict(f) for f in self.failed],
        }  # fmt: skip


def calibrate_instrument(
    kind: str, out: Path, settings: BaseModel | None = None, config: Path | Configuration | None = None,
    sample: str | None = None, seed: int | None = None, into: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run a calibration; calibration.toml, report.json and report.html go to ``out``.

    into: a configuration or a session's calibration.toml that the values are written into as well; what it holds
    already is used. Without a sample the simulated instrument has a film of gold. What is checked and no longer holds
    makes the command fail.
    """
    if kind not in KINDS:
        raise UnreadableInput(f"{kind!r} is no calibration", f"one of {', '.join(KINDS)}")
    chosen = gold_on(configured(config, None if sample == "gold" else sample, seed), sample)
    model, plan = KINDS[kind]
    wanted = settings or model()
    output = Output(out, f"calibrate {kind}", "", [into] if into is not None and into.exists() else [], wanted)

    def work(folder: Path) -> dict[str, Any]:
        ctrl = TEMController.of(chosen)
        try:
            rig = replace(Rig.of(ctrl), uncalibrated=True) if kind == "all" else Rig.of(ctrl)
            if into is not None and into.exists():
                rig = replace(rig, calibration=merged(rig.calibration, read_calibration(into)))
            told = Told(ctrl, progress or (lambda _: None))
            Engine(ctrl, [told]).run(plan(rig, wanted))
        finally:
            with suppress(CredoError):
                ctrl.close()
        numbers = {"kind": kind, "instrument": chosen.microscope.name, **told.numbers, "warnings": _warnings(told)}
        write_text(folder / "report.html", calibration_page(numbers, rig.camera.shape))
        found = Calibration()
        for facts in told.results:
            found = with_result(found, facts)
        if told.results:
            write_calibration(folder / "calibration.toml", found)
            if into is not None:
                write_calibration(into, found)
        if lost := [c for c in told.checks if not c["holds"]]:
            said = "; ".join(f"{c['what']} is off by {c['off_px']:.1f} px" for c in lost)
            raise CannotDo(f"no longer right: {said}", "credo calibrate all measures everything again")
        return numbers

    return run_command(output, work, force=True)


def gold_on(configuration: Configuration, sample: str | None) -> Configuration:
    """With a gold film, where the instrument is simulated and no other sample was asked for."""
    part = configuration.microscope
    if part.driver != "simulated" or sample not in (None, "gold"):
        return configuration
    table = {"gold": True, **part.options.get("sample", {})}
    options = {**part.options, "sample": table}
    return configuration.model_copy(update={"microscope": part.model_copy(update={"options": options})})


def _warnings(told: Told) -> list[str]:
    out = [f"{f['what']}: {f['reason']}" for f in told.failed]
    for facts in told.results:
        details = facts.get("details", {})
        name = " ".join(str(facts[k]) for k in ("table", "key", "name") if facts[k])
        if lost := details.get("failed"):
            out.append(f"{name}: {len(lost)} images could not be used ({lost[0]})")
        out += [f"{name}: {w}" for w in details.get("warnings", ())]
        if "curved" in facts["result"].get("conditions", ""):
            out.append(f"{name}: {facts['result']['conditions']}")
    return out
