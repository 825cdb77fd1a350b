"""The guard: the only caller of a driver, which keeps the rules of the site before, while and after anything moves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from credo.instrument.audit import AuditLog
from credo.instrument.beam import BeamGate
from credo.instrument.detector_protection import DoseCheck, approve
from credo.instrument.errors import HardwareFault, InstrumentError, NotReady, Refused, Stopped
from credo.instrument.journal import Journal
from credo.instrument.limits import allowed_ranges, check_legs, plan_move
from credo.instrument.moves import Limiter, PoleTouch, supervise
from credo.instrument.protocols import AXES, Camera, Frame, Microscope, StagePosition, StageState, Value
from credo.instrument.safety_settings import Safety
from credo.instrument.settings_of import SettingsOf

__all__ = ["Guard", "direct"]

T = TypeVar("T")
Run = Callable[[Callable[[], T]], T]


def direct(call: Callable[[], T]) -> T:
    """Run a piece of hardware work here and now; the server passes one that hands it to the hardware's thread."""
    return call()


class Guard:
    """Readings are free. Control raises ``Refused`` before anything reaches the hardware, ``HardwareFault`` when the
    hardware did not do what it was told, ``Stopped`` after the emergency stop until ``reset``.

    Except ``emergency`` all methods run in the thread that owns the hardware. A move is watched by ``tick``, which
    every method calls and the server's loop too.
    """

    def __init__(
        self,
        microscope: Microscope,
        safety: Safety | None = None,
        audit: AuditLog | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.microscope, self.safety = microscope, safety or Safety()
        self.clock = microscope.clock
        self.audit = audit or AuditLog(self.clock)
        self.journal = journal
        self.settings = SettingsOf(microscope)
        self.gate = BeamGate(microscope.blanker, self.clock, self.safety, self.emergency)
        self.caller = ""
        self.alarm: str | None = None
        self._dose = DoseCheck(self.settings, self.clock, self.safety)
        self._move: Generator[float, None, None] | None = None
        self._move_due = 0.0
        self._failure: InstrumentError | None = None
        self._expected: StagePosition | None = None
        self._origin: StagePosition | None = None
        self._snapshot: dict[str, Value] = {}
        self._default_speed: float | None = None
        self._ready_until = -1.0

    # --- a session of one caller ------------------------------------------------------------------------------------

    def begin(self, caller: str) -> None:
        """Start of control by ``caller``: the beam is blanked, what must be put back is noted."""
        with self.audit.command("begin", caller):
            self.caller = caller
            self.gate.close()
            self._snapshot = self.settings.snapshot()
            self._default_speed = self.microscope.stage.rotation_speed()
            self._expected = self._origin = self.position()
            if self.journal:
                self.journal.write({"settings": self._snapshot, "rotation_speed": self._default_speed})

    def end(self, restore: bool = False, reason: str = "") -> None:
        """End of control. After a loss (``restore``) the stage is stopped and the optics are put back too."""
        with self.audit.command("end", self.caller, reason=reason, restore=restore):
            failures: list[str] = []
            steps = [self.gate.close, self._reset_speed]
            if restore:
                steps = [self.halt_stage, self.gate.close, self._reset_speed, self._put_back]
            for step in steps:
                try:
                    step()
                except InstrumentError as error:
                    failures.append(error.reason)
            self.caller, self._origin = "", None
            if self.journal and not failures:
                self.journal.clear()
            if failures:
                raise HardwareFault("; ".join(failures), "look at the instrument")

    def _put_back(self) -> None:
        if self._snapshot:
            self.settings.restore(self._snapshot)

    def _reset_speed(self) -> None:
        stage = self.microscope.stage
        if self._default_speed and stage.rotation_speeds.writable and stage.rotation_speed() != self._default_speed:
            stage.set_rotation_speed(self._default_speed)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """On any exception stop, blank, put lenses, deflectors and rotation speed back; the exception goes on."""
        before, speed = self.settings.snapshot(), self.microscope.stage.rotation_speed()
        try:
            yield
        except BaseException:
            self._snapshot, self._default_speed = before, speed
            for step in (self.halt_stage, self.gate.close, self._reset_speed, self._put_back):
                try:
                    step()
                except InstrumentError as error:
                    self.audit.write("not restored", reason=error.reason)
            raise

    # --- emergency --------------------------------------------------------------------------------------------------

    def emergency(self, reason: str) -> None:
        """Stop all drives, blank, and refuse everything until ``reset``. From any thread, past every queue."""
        first, self.alarm = self.alarm is None, self.alarm or reason
        try:
            self.microscope.halt()
        finally:
            if first:
                self.audit.write("emergency", reason=reason)

    def retract_cameras(self) -> None:
        """Bring fragile cameras out of the beam (after an alarm)."""
        for camera in self.microscope.cameras.values():
            if camera.info.fragile and camera.info.retractable and camera.is_inserted():
                camera.insert(False)

    def reset(self) -> None:
        """End the alarm, after somebody has looked."""
        with self.audit.command("reset", self.caller, alarm=self.alarm):
            self.halt_stage()
            self.gate.close()
            self.alarm = self._failure = None
            self._expected = self._origin = self.position()

    def confirm(self) -> None:
        """The operator confirms the first moves, or where the stage stands after it was moved by hand."""
        with self.audit.command("confirm", self.caller):
            self._expected, self._origin = self.position(), None

    def _may_act(self) -> None:
        self.tick()
        if self.alarm is not None:
            raise Stopped(f"stopped: {self.alarm}", "look at the instrument, then reset the alarm")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    # --- readings ---------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Value:
        self.tick()
        return self.settings.get(name)

    def position(self) -> StagePosition:
        return StagePosition(*map(float, self.microscope.stage.position()))

    @property
    def is_moving(self) -> bool:
        """A move of ours runs, or the drive says so."""
        self.tick()
        return self._move is not None or self.microscope.stage.state() is StageState.MOVING

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Where the stage may go now, with this holder [nm, deg]."""
        stage = self.microscope.stage
        return allowed_ranges(stage.axes, self.safety, stage.holder())

    # --- settings ---------------------------------------------------------------------------------------------------

    def set(self, name: str, value: Any) -> Value:
        """Write one setting and read it back; the beam is blanked while optics jump."""
        self._may_act()
        value = self.settings.check(name, value)
        with self.audit.command("set", self.caller, name=name, value=value) as entry:
            entry["before"] = self.settings.get(name)
            with self._transient(self.settings.property(name).transient):
                self.settings.set(name, value)
            self._keep_protected()
            entry["after"] = after = self.settings.get(name)
            if self.settings.property(name).kind in ("str", "bool") and after != value:
                raise HardwareFault(f"{name} is {after!r} after it was set to {value!r}")
            return after

    def restore(self, state: Mapping[str, Any]) -> list[str]:
        self._may_act()
        with self.audit.command("restore", self.caller, state=dict(state)) as entry, self._transient(True):
            entry["changed"] = changed = self.settings.restore(state)
            return changed

    @contextmanager
    def _transient(self, blank: bool) -> Iterator[None]:
        until = self.gate.until
        if not blank or until is None:
            yield
            return
        self.gate.close()
        yield
        self._approve_cameras()
        self.gate.open(until - self.clock.now())

    def _approve_cameras(self) -> None:
        """``NotReady`` where an open beam would reach a fragile camera at settings that nobody approved."""
        if self.microscope.screen.is_up():
            for camera in self.microscope.cameras.values():
                approve(camera, self.settings, self.safety, self._dose)

    def _keep_protected(self) -> None:
        """After a change with the beam open: close it where the new settings are not approved."""
        if self.gate.is_open:
            try:
                self._approve_cameras()
            except NotReady:
                self.gate.close()
                raise

    # --- stage ------------------------------------------------------------------------------------------------------

    def move(self, target: Mapping[str, float], backlash: Sequence[str] = ()) -> None:
        """Begin a move to absolute values [nm, deg]; every leg is checked before the first one starts."""
        self._may_act()
        if self.is_moving:
            raise Refused("the stage is moving", "wait for it or stop it first")
        stage, here = self.microscope.stage, self.position()
        if stage.state() is not StageState.READY:
            raise NotReady(f"the stage is {stage.state().value}", "look at the goniometer")
        self._refuse_after_hand(here)
        holder = stage.holder()
        if not target or any(n not in AXES for n in target):
            raise Refused(f"{dict(target)} is no target for the stage", f"name one or more of {', '.join(AXES)}")
        legs = plan_move(here, target, self.safety, backlash)
        check_legs(legs, allowed_ranges(stage.axes, self.safety, holder), holder)
        self._refuse_far_first_move([leg.target for leg in legs])
        self.audit.write("move", caller=self.caller, target=dict(target), before=here._asdict(), legs=len(legs))
        self._move = supervise(stage, self.clock, legs, self.safety)
        self._move_due = self.clock.now()
        self.tick()
        self._may_act()

    def tick(self) -> None:
        """Look after a running move and the open beam; cheap when there is nothing to do."""
        if self.alarm is not None:
            self._move = None
            self.gate.until = None
            return
        self.gate.expire()
        if self._move is None or self.clock.now() < self._move_due:
            return
        try:
            self._move_due = self.clock.now() + next(self._move)
        except StopIteration:
            self._finish_move(None)
        except InstrumentError as error:
            self._finish_move(error)

    def _finish_move(self, error: InstrumentError | None) -> None:
        self._move, self._failure = None, error
        if isinstance(error, (PoleTouch, Limiter)):
            self.emergency(error.reason)
        elif error is not None and self.microscope.stage.can_stop:
            self.microscope.stage.stop()
        self._expected = self.position()
        self.audit.write("moved", caller=self.caller, after=self._expected._asdict(), error=error and error.reason)

    def settle(self, timeout: float | None = None) -> Generator[float, None, StagePosition]:
        """Wait for the stage: yields seconds to wait; the deadlines of the move bound it. Raises its failure."""
        began = self.clock.now()
        while self.is_moving:
            self._may_act()
            if timeout is not None and self.clock.now() - began > timeout:
                raise HardwareFault(f"the stage still moves after {timeout:g} s", "wait longer or stop it")
            if self._move is None and self.clock.now() - began > self.safety.move_timeout_s:
                raise HardwareFault("the stage moves, and not by our command", "look at the hand panel")
            yield max(self._move_due - self.clock.now(), 0.001) if self._move is not None else self.safety.poll_s
        self._may_act()
        return self.position()

    def halt_stage(self) -> None:
        """Stop the drives in the ordinary way and forget the running move."""
        running, self._move = self._move is not None, None
        stage = self.microscope.stage
        if stage.can_stop:
            stage.stop()
        elif running or stage.state() is StageState.MOVING:
            self.gate.close()
            raise Refused(
                "this goniometer cannot be stopped by software", "the beam is blanked; wait, or use its panel"
            )
        self._expected = self.position()
        if running:
            self.audit.write("stage stopped", caller=self.caller, after=self._expected._asdict())

    def set_rotation_speed(self, degrees_per_second: float) -> float:
        self._may_act()
        speeds, (low, high) = self.microscope.stage.rotation_speeds, self.safety.speed_deg_s
        if not speeds.writable:
            raise Refused("the rotation speed of this goniometer cannot be set by software")
        low, high = max(low, speeds.low or 0.0), min(high, speeds.high or high)
        if not low <= degrees_per_second <= high:
            raise Refused(f"rotation speed {degrees_per_second:g} deg/s is outside {low:g} to {high:g}")
        with self.audit.command("rotation speed", self.caller, value=degrees_per_second) as entry:
            self.microscope.stage.set_rotation_speed(degrees_per_second)
            entry["after"] = got = self.microscope.stage.rotation_speed()
        return got

    def _refuse_after_hand(self, here: StagePosition) -> None:
        was = self._expected
        if was is None:
            return
        far = max(abs(p - q) for p, q in zip(here[:3], was[:3], strict=True)) / 1e3
        turned = max(abs(here.a - was.a), abs(here.b - was.b))
        if (self.safety.hand_um and far > self.safety.hand_um) or (
            self.safety.hand_deg and turned > self.safety.hand_deg
        ):
            raise NotReady(
                f"the stage was moved by hand: {far:.1f} µm and {turned:.2f} deg from where we left it",
                "confirm that we may go on from here",
            )

    def _refuse_far_first_move(self, targets: Sequence[Mapping[str, float]]) -> None:
        origin, safety = self._origin, self.safety
        if origin is None:
            return
        for target in targets:
            for name, value in target.items():
                unit, most = (1.0, safety.first_move_deg) if name in "ab" else (1e3, safety.first_move_um)
                if most and abs(value - getattr(origin, name)) / unit > most:
                    raise NotReady(
                        f"first moves are limited to {safety.first_move_um:g} µm and {safety.first_move_deg:g} deg",
                        "watch a small move, then confirm",
                    )

    # --- beam, screen, camera ---------------------------------------------------------------------------------------

    def blank(self) -> None:
        with self.audit.command("blank", self.caller):
            self.gate.close()

    def unblank(self, seconds: float | None = None) -> None:
        """Open the beam until ``blank``, an exception, the loss of the lease, or the time is over."""
        self._may_act()
        if seconds is not None and not 0 < seconds <= self.safety.beam_open_s:
            raise Refused(f"the beam may stay open for 0 to {self.safety.beam_open_s:g} s, not {seconds:g}")
        with self.audit.command("unblank", self.caller, seconds=seconds):
            self._approve_cameras()
            self.gate.open(seconds)

    def set_screen(self, up: bool) -> None:
        self._may_act()
        screen = self.microscope.screen
        if not screen.movable:
            raise Refused("the screen of this instrument is moved by hand")
        with self.audit.command("screen", self.caller, up=up), self._transient(True):
            screen.set_up(up)

    def check_dose(self) -> float:
        """Measure the beam on the lowered screen; a weak enough one approves diffraction on a fragile camera."""
        self._may_act()
        if self.microscope.screen.is_up():
            raise NotReady("the dose is measured on the screen, which is up", "lower it")
        was_open = self.gate.is_open
        with self.audit.command("dose check", self.caller) as entry:
            self.gate.open()
            try:
                entry["after"] = density = self._dose.measure()
            finally:
                if not was_open:
                    self.gate.close()
        return density

    def prepare_exposure(self, name: str | None, exposure: float, binning: int) -> Camera:
        """Everything that must hold before a camera takes frames."""
        self._may_act()
        camera = self.camera(name)
        info = camera.info
        if not info.exposures[0] <= exposure <= info.exposures[1]:
            raise Refused(
                f"{info.name}: exposure {exposure:g} s is outside {info.exposures[0]:g} to {info.exposures[1]:g}"
            )
        if binning not in info.binnings:
            raise Refused(f"{info.name}: binning {binning} is not one of {', '.join(map(str, info.binnings))}")
        self._check_ready()
        if not self.microscope.screen.is_up():
            raise NotReady("the screen is down", "raise it before an exposure")
        return camera

    def open_for(self, camera: Camera, seconds: float) -> bool:
        """Open the beam for an exposure; True when it was closed before and ``close_after`` must be called."""
        self._may_act()
        approve(camera, self.settings, self.safety, self._dose)
        was_open = self.gate.is_open
        self.gate.open(max(seconds, (self.gate.until or 0.0) - self.clock.now()))
        return not was_open

    def camera(self, name: str | None) -> Camera:
        cameras = self.microscope.cameras
        if not cameras:
            raise Refused("this instrument has no camera")
        found = cameras.get(next(iter(cameras)) if name is None else name)
        if found is None:
            raise Refused(f"no camera is called {name!r}", f"there is {', '.join(cameras)}")
        return found

    def _check_ready(self) -> None:
        if self.clock.now() < self._ready_until:
            return
        wrong = [n for n, fine in self.microscope.readiness().items() if not fine]
        if self.microscope.stage.state() in (StageState.UNAVAILABLE, StageState.LIMITER):
            wrong.append("stage")
        folder = self.audit.folder
        if folder is not None and shutil.disk_usage(folder).free < 1e9 * self.safety.min_disk_gb:
            wrong.append(f"free disk at {folder}")
        if wrong:
            raise NotReady(f"not ready: {', '.join(wrong)}", "wait for the instrument or see to it")
        self._ready_until = self.clock.now() + self.safety.ready_s

    def acquire(
        self, name: str | None, exposure: float, binning: int = 1, dark: bool = False, run: Run = direct
    ) -> Frame:
        """One frame with the beam on only for its exposure (off altogether for ``dark``)."""
        camera = run(lambda: self.prepare_exposure(name, exposure, binning))
        with (
            self._lit(camera, exposure + self.safety.exposure_margin_s, dark, run),
            self._taking(name, exposure, binning, dark) as entry,
        ):
            frame = camera.acquire(exposure, binning)
            entry["shape"] = list(frame.data.shape)
        return frame

    def stream(
        self, name: str | None, exposure: float, binning: int = 1, frames: int | None = None, run: Run = direct
    ) -> Iterator[Frame]:
        """Frames one after another; the beam is on from the first to the last, and off when the iterator is closed."""
        camera = run(lambda: self.prepare_exposure(name, exposure, binning))
        with (
            self._lit(camera, exposure + self.safety.exposure_margin_s, False, run),
            self._taking(name, exposure, binning, False) as entry,
        ):
            source = camera.stream(exposure, binning, frames)
            count = 0
            try:
                for frame in source:
                    count += 1
                    yield frame
                    run(lambda: self.open_for(camera, exposure + self.safety.exposure_margin_s))
            finally:
                entry["frames"] = count
                if hasattr(source, "close"):
                    source.close()  # type: ignore[attr-defined]

    def _taking(self, name, exposure, binning, dark):
        return self.audit.command("expose", self.caller, camera=name, exposure=exposure, binning=binning, dark=dark)

    @contextmanager
    def _lit(self, camera: Camera, seconds: float, dark: bool, run: Run) -> Iterator[None]:
        if dark:
            run(self.gate.close)
            yield
            return
        close_after = run(lambda: self.open_for(camera, seconds))
        try:
            yield
        except BaseException:
            run(self.gate.close)
            raise
        if close_after:
            run(self.gate.close)
