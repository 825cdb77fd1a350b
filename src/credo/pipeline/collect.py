"""``credo collect``: a plan run on the configured instrument into a session's folder, stopped and resumed at will."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

from credo.collect.engine import Engine, Event
from credo.collect.exports import export
from credo.collect.plans import Forecast, Plan, read_plan
from credo.collect.rehearsal import rehearse
from credo.collect.rig import Rig
from credo.collect.session import STORE, Session, read_log, resume
from credo.instrument.calibration_file import merged, read_calibration
from credo.instrument.config import Configuration, load, validated
from credo.instrument.config_write import to_toml
from credo.instrument.controller import TEMController
from credo.io.samples import SAMPLES
from credo.io.text import write_text
from credo.model.errors import CannotDo, CredoError, UnreadableInput
from credo.pipeline.advise import Advisers
from credo.pipeline.output import Output, fingerprint

__all__ = ["collect", "configured"]

Progress = Callable[[str], None]
_PLAN, _CONFIG = "plan.toml", "credo.toml"


def collect(
    plan: Path | Plan,
    out: Path,
    dry_run: bool = False,
    resume_it: bool = False,
    sample: str | None = None,
    seed: int | None = None,
    config: Path | Configuration | None = None,
    progress: Progress | None = None,
    advice: Advisers | None = None,
) -> dict[str, Any]:
    """Run ``plan`` (a TOML file or a plan) on the instrument of ``config``; data and report.json go to ``out``.

    dry_run: only rehearse it within the limits, and tell time and dose. resume_it: go on with what a stop, a fault or a
    crash left unfinished in ``out``, on the instrument of then. sample, seed: of the simulated instrument. advice: whom
    to ask what to do with a crystal, and after it (``serial-red`` asks).
    """
    say = progress or (lambda _: None)
    inputs = [] if isinstance(plan, Plan) else [Path(plan)]
    wanted = plan if isinstance(plan, Plan) else read_plan(Path(plan))
    if resume_it and config is None and sample is None and seed is None and (Path(out) / _CONFIG).exists():
        config = Path(out) / _CONFIG
    configuration = configured(config, sample, seed)
    key = fingerprint([], (wanted.model_dump(), configuration.model_dump(by_alias=True), dry_run))
    output = Output(out, "collect", key, inputs, wanted)
    if (earlier := output.reusable()) is not None:
        return {**earlier, "reused": True}
    if not dry_run:
        _refuse_other(output, wanted, resume_it)
    told: dict[str, Any] = {"kind": wanted.kind, "dry_run": dry_run, "datasets": [], "rejected": []}
    with _reported(output, told):
        if dry_run:
            _rehearse(wanted, configuration, told)
        else:
            _run(wanted, configuration, output.folder, resume_it, told, say, advice or Advisers())
    return output.write(told, _files(output.folder))


def configured(config: Path | Configuration | None, sample: str | None, seed: int | None) -> Configuration:
    """The configuration, with a sample and a seed for the simulated instrument put in."""
    found = config if isinstance(config, Configuration) else load(config)
    if sample is None and seed is None:
        return found
    if found.microscope.driver != "simulated":
        raise UnreadableInput(
            f"the configured instrument is {found.microscope.name!r}, which takes no --sample or --seed",
            "they are for the simulated one",
        )
    if sample is not None and sample not in SAMPLES and not Path(sample).exists():
        raise UnreadableInput(f"{sample!r} is not a sample", f"give one of {', '.join(SAMPLES)}, or a CIF")
    table = found.model_dump(by_alias=True, mode="json", exclude_none=True)
    options = table["microscope"].setdefault("options", {})
    if seed is not None:
        options["seed"] = seed
    if sample is not None:
        options["sample"] = {**options.get("sample", {}), "phases": [sample]}
    return validated(table, "configuration")


def _refuse_other(output: Output, plan: Plan, resume_it: bool) -> None:
    """An unfinished session is gone on with only when asked for, and only by its own plan."""
    kept = output.folder / _PLAN
    if not kept.exists():
        if resume_it and output.earlier and not read_log(output.folder):
            return
        if resume_it and not output.earlier:
            raise UnreadableInput(f"{output.folder}: nothing was begun there", "collect without --resume")
        return
    if not resume_it:
        raise CannotDo(f"{output.folder}: holds a collection", "go on with it by --resume, or give a new --out")
    if read_plan(kept) != plan:
        raise CannotDo(f"{output.folder}: was begun with another plan", f"resume with {kept}, or give a new --out")


@contextmanager
def _reported(output: Output, told: dict[str, Any]) -> Iterator[None]:
    """report.json whatever happens, with what was collected until then."""
    output.write(told, _files(output.folder), ok=False, reason="unfinished: still running, or killed")
    try:
        yield
    except CredoError as error:
        output.fail(error.reason, error.remedy, **told, **error.numbers)
        raise
    except KeyboardInterrupt:
        output.fail("interrupted", "--resume goes on", **told)
        raise
    except OSError as error:
        reason = f"{error.filename or output.folder}: {error.strerror or error}"
        output.fail(reason, "check the disk and the permissions", **told)
        raise CannotDo(reason, "check the disk and the permissions, then --resume") from error


def _rehearse(plan: Plan, configuration: Configuration, told: dict[str, Any]) -> None:
    ctrl = TEMController.of(configuration)
    try:
        told["forecast"] = plan.forecast(Rig.of(ctrl)).model_dump()
        seen = rehearse(plan, ctrl)
    finally:
        ctrl.close()
    told |= {
        "duration_s": seen.seconds, "beam_on_s": seen.beam_on_s, "waypoints": seen.waypoints, "frames": seen.frames,
        "stage_box": seen.box,
    }  # fmt: skip
    if seen.refused:
        raise CannotDo(f"the plan would be refused: {seen.refused}", "change the plan or the limits")


def _run(
    plan: Plan, configuration: Configuration, folder: Path, resume_it: bool, told: dict[str, Any], say: Progress,
    advice: Advisers,
) -> None:  # fmt: skip
    if not (folder / _PLAN).exists():
        write_text(folder / _PLAN, str(plan))
    write_text(folder / _CONFIG, to_toml(configuration))
    ctrl = TEMController.of(_logged(configuration, folder))
    try:
        rig = _with_own(Rig.of(ctrl), folder)
        forecast = plan.forecast(rig)
        told["forecast"] = forecast.model_dump()
        _need_space(folder, rig, forecast)
        session = Session(folder, rig, lambda place: export(place, plan.formats))
        done = resume(session) if resume_it else {}
        still = configuration.microscope.driver == "simulated"
        ask, judges = advice.engaged(rig, still, lambda: session.place, say)
        engine = Engine(ctrl, [session, *judges, _Teller(say)], done, ask)
        try:
            with _stoppable(engine):
                result = engine.run(plan.steps(rig))
        finally:
            told["datasets"] = [_row(one) for one in session.datasets]
            told["rejected"] = session.rejected
        told["result"] = _plain(result)
        told |= plan.finish(folder)
    finally:
        with suppress(CredoError):
            ctrl.close()


def _with_own(rig: Rig, folder: Path) -> Rig:
    """With the session's own calibrations, which count for more than those of the configuration."""
    if not (folder / STORE).exists():
        return rig
    return replace(rig, calibration=merged(rig.calibration, read_calibration(folder / STORE)))


def _logged(configuration: Configuration, folder: Path) -> Configuration:
    """With the guard's log of commands in the session, where no other place is configured."""
    part = configuration.global_
    if part.log_directory is not None or part.server.connect:
        return configuration
    return configuration.model_copy(update={"global_": part.model_copy(update={"log_directory": folder})})


def _need_space(folder: Path, rig: Rig, forecast: Forecast) -> None:
    """Refuse before anything moves what cannot fit on the disk."""
    pixels = rig.camera.shape[0] * rig.camera.shape[1]
    needed, free = 2.0 * pixels * max(forecast.frames, 1), shutil.disk_usage(folder).free
    if needed > free:
        raise CannotDo(
            f"{folder}: {forecast.frames} frames need up to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            "free space, or choose another --out",
        )


@contextmanager
def _stoppable(engine: Engine) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run after the step that is being done; a second one interrupts it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = []

    def ask(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt
        engine.stop("stopped by the user")

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Teller:
    """One line of progress from the events."""

    def __init__(self, say: Progress) -> None:
        self._say, self._name, self._n = say, "", 0

    def __call__(self, event: Event) -> None:
        if event.kind == "begin":
            self._name, self._n = str(event.facts["name"]), 0
        if event.kind == "frame":
            assert event.shot is not None
            kept = event.facts.get("role") == "data"
            self._n += kept
            what = f"{self._name}: frame {self._n}" if kept else "looking"
            self._say(f"{what} at {event.shot.after.a:.1f} deg")
        elif event.kind in ("move", "turn", "rejected"):
            self._say(event.kind)


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("directory", "rotation_range_deg", "n_frames", "reason_ended", "kind", "start_deg", "end_deg",
            "frames_missing", "dose_e_per_A2", "position_um", "quality")  # fmt: skip
    return {k: one[k] for k in keys if k in one} | {k: v for k, v in one.get("facts", {}).items() if k == "quality"}


def _plain(result: Any) -> Any:
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result


def _files(folder: Path) -> list[str]:
    """What a collection leaves at the top, and the frames; formats of others are not listed."""
    patterns = (_PLAN, _CONFIG, "log.jsonl", "instrument.jsonl", "grid/*", "crystals/*/frames.h5",
                "crystals/*/collect.json")  # fmt: skip
    return sorted(p.relative_to(folder).as_posix() for one in patterns for p in folder.glob(one) if p.is_file())
