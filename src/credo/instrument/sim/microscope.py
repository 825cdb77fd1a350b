"""The simulated microscope: joins specimen, stage, column and cameras, keeps the dose, and remembers what was true."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault
from credo.instrument.sim.camera import SimulatedCamera
from credo.instrument.sim.clock import VirtualClock
from credo.instrument.sim.controls import Column, SimulatedApertures, SimulatedDeflectors, SimulatedLenses
from credo.instrument.sim.diary import Exposure
from credo.instrument.sim.diffraction import Screen, Spots, incident, render_pattern
from credo.instrument.sim.faults import Faults
from credo.instrument.sim.goniometer import Pose
from credo.instrument.sim.imaging import render_image
from credo.instrument.sim.optics import (
    CAMERA_LENGTHS,
    MAGNIFICATIONS,
    NEUTRAL,
    Illumination,
    PatternGeometry,
    illumination,
    image_geometry,
    image_shift,
    pattern_geometry,
    wavelength_of,
)
from credo.instrument.sim.settings import SimulatorSettings
from credo.instrument.sim.specimen import Specimen
from credo.instrument.sim.stage import SimulatedStage
from credo.instrument.sim.stops import ANGLES_MRAD, AREAS_UM, darken, selected
from credo.instrument.sim.truth import draw_truth

__all__ = ["SimulatedMicroscope"]

#: Exposures remembered; specimen µm of focus per raw unit of the objective; longest step of the dose's book [s].
_REMEMBERED, _FOCUS_UM, _STEP_S = 4096, 0.02, 1.0
#: Largest part of an exposure that is rendered with one pair of poses [deg], and parts at most.
_PART_DEG, _PARTS = 0.6, 12


class SimulatedMicroscope:
    """Implements ``protocols.Microscope``. ``truth``, ``specimen`` and ``diary`` are for comparisons only;
    ``faults`` holds switches that a test throws."""

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        self.settings = s = settings or SimulatorSettings()
        self._clock = VirtualClock(s.real_time)
        self._lock = threading.RLock()
        tables = tuple(sorted({m for mags in MAGNIFICATIONS.values() for m in mags}))
        self.truth = draw_truth(s, CAMERA_LENGTHS, tables)
        self.specimen = Specimen(s.sample, s.seed, wavelength_of(s.kilovolts))
        self._column = Column(self.truth, s.imperfections.hysteresis, s.kilovolts, self._book)
        self.faults = Faults()
        self._stage = SimulatedStage(s, self.truth.stage, self._clock, self._book, self.faults)
        self._lenses = SimulatedLenses(self._column)
        self._deflectors = SimulatedDeflectors(self._column)
        self._apertures = SimulatedApertures(self._column)
        self._blanker, self._screen = _Blanker(self._book), _ScreenSwitch()
        self._cameras = {
            c.name: SimulatedCamera(c, self._clock, self._render, s.seed, k) for k, c in enumerate(s.cameras)
        }
        self._booked = self._clock.now()
        self._rng = np.random.default_rng([s.seed, 14])
        self.diary: deque[Exposure] = deque(maxlen=_REMEMBERED)

    name = "simulated"
    #: Nothing in it belongs to a thread; frames, which other threads render, take its locks.
    thread_bound = False

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def stage(self) -> SimulatedStage:
        return self._stage

    @property
    def lenses(self) -> SimulatedLenses:
        return self._lenses

    @property
    def deflectors(self) -> SimulatedDeflectors:
        return self._deflectors

    @property
    def apertures(self) -> SimulatedApertures:
        return self._apertures

    @property
    def blanker(self) -> _Blanker:
        return self._blanker

    @property
    def screen(self) -> _ScreenSwitch:
        return self._screen

    @property
    def cameras(self) -> Mapping[str, SimulatedCamera]:
        return self._cameras

    def readiness(self) -> Mapping[str, bool]:
        fine = dict.fromkeys(("vacuum", "emission", "column_valves", "no_buffer_cycle", "no_dewar_filling"), True)
        return fine | {"emission": not self.faults.beam_lost}

    def halt(self) -> None:
        self._stage.stop()
        self._blanker.cut()

    def close(self) -> None:
        self._blanker.blank(True)

    def beam(self) -> Illumination:
        """The beam on the specimen as the column is set (true values)."""
        return illumination(self._column.state, self.truth)

    def _book(self) -> None:
        """Book the dose of the time since the last booking, during which nothing but the stage's motion changed."""
        with self._lock:
            now = self._clock.now()
            began, self._booked = self._booked, now
            if self._blanker.is_blanked() or self.faults.beam_lost or now <= began:
                return
            parts = int(np.ceil((now - began) / _STEP_S)) if self._stage.moving(began) else 1
            for k in range(min(parts, 600)):
                self._irradiate(began + (k + 0.5) * (now - began) / parts, (now - began) / parts)

    def _irradiate(self, t: float, seconds: float) -> None:
        beam, pose = self.beam(), self._stage.pose(t)
        crystals = self.specimen.around(pose, beam.centre, min(beam.radius, 30.0))
        self.specimen.irradiate(crystals, self.specimen.lit(crystals, pose, beam), beam, seconds)

    def _render(self, camera: SimulatedCamera, began: float, ended: float) -> tuple[np.ndarray, dict[str, Any]]:
        """Expected electrons of one exposure."""
        with self._lock:
            if self.faults.camera_fails:
                raise HardwareFault(f"camera {camera.settings.name} does not answer", "restart the camera's server")
            self._book()
            size = camera.settings.size
            known = {"mode": self._column.state.mode, "magnification": float(self._lenses.get("magnification"))}  # type: ignore[arg-type]
            if self._blanker.is_blanked() or not self._screen.is_up() or self.faults.beam_lost:
                return np.zeros((size, size), dtype=np.float32), known
            draw = self._pattern if self._column.state.mode == "diff" else self._image
            return draw(camera, began, ended), known

    def _pattern(self, camera: SimulatedCamera, began: float, ended: float) -> np.ndarray:
        i, state = self.settings.imperfections, self._column.state
        beam = self._seen_beam()
        geometry = pattern_geometry(state, self.truth, i, self.settings.kilovolts)
        poses = self._poses(began, ended, _PART_DEG)
        pose = poses[len(poses) // 2]
        crystals = self.specimen.around(pose, beam.centre, beam.radius + beam.edge)
        lit = self.specimen.lit(crystals, pose, beam)
        jitter = i.pattern_jitter_px * self._rng.normal(size=2)
        screen = Screen(camera.settings.size, camera.pixel_mm, camera.settings.psf_px, jitter)
        image, spots = render_pattern(self.specimen, crystals, lit, beam, geometry, poses, screen, ended - began)
        self._stop(image, geometry, screen)
        share = {int(crystals.ident[one.row]): one.area / max(one.whole, 1e-12) for one in lit}
        self._note(began, ended, beam, geometry, poses, screen, spots, share)
        return image

    def _image(self, camera: SimulatedCamera, began: float, ended: float) -> np.ndarray:
        state, beam = self._column.state, self.beam()
        geometry = image_geometry(state, self.truth)
        size, pixel = camera.settings.size, camera.pixel_mm
        um = 1 / float(np.sqrt(abs(np.linalg.det(geometry.matrix)))) * pixel
        poses = self._poses(began, ended, 5.0, 1.5 * um)
        pose = poses[len(poses) // 2]
        middle = -np.linalg.solve(geometry.matrix, geometry.shift)
        field = min(0.75 * size * um, beam.radius + float(np.linalg.norm(middle - beam.centre)))
        crystals = self.specimen.around(pose, middle, field)
        self._note(began, ended, beam, None, poses, None, [], {})
        focus = _FOCUS_UM * (state.objfocus - NEUTRAL)
        image = render_image(self.specimen, crystals, beam, geometry, poses, size, pixel, ended - began, focus)
        if self._column.selectedarea:
            # the hole is behind the image shift: it stands still on the camera
            to_um, hole = np.linalg.inv(geometry.matrix) * pixel, self._column.selectedarea
            darken(image, to_um, np.full(2, size / 2), AREAS_UM[hole - 1])
        return image

    def _seen_beam(self) -> Illumination:
        """The beam as far as the selected-area aperture lets it pass; all of it meets the specimen."""
        hole = self._column.selectedarea
        if not hole:
            return self.beam()
        centre = -image_shift(self._column.state, self.truth)
        return selected(self.beam(), centre, AREAS_UM[hole - 1])

    def _stop(self, image: np.ndarray, geometry: PatternGeometry, screen: Screen) -> None:
        """The objective aperture, which stands still while tilts move the pattern, and the beam stop."""
        if self._column.objective:
            to_angle = np.linalg.inv(geometry.matrix) * screen.pixel_mm
            origin = screen.middle + geometry.shift / screen.pixel_mm
            darken(image, to_angle, origin, 1e-3 * ANGLES_MRAD[self._column.objective - 1])
        if self._column.beamstop:
            _stopped(image)

    def _poses(self, began: float, ended: float, degrees: float, um: float = 0.05) -> list[Pose]:
        """The specimen at instants that cut the exposure into parts of little motion."""
        first, last = self._stage.pose(began), self._stage.pose(ended)
        turn = abs(last.alpha - first.alpha) / degrees
        moved = np.linalg.norm((last.centre - first.centre)[:2] - (last.offset - first.offset)[:2]) / um
        parts = int(np.clip(np.ceil(max(turn, min(moved, 4))), 1, _PARTS))
        between = [self._stage.pose(began + k * (ended - began) / parts) for k in range(1, parts)]
        return [first, *between, last]

    def _note(self, began, ended, beam: Illumination, geometry, poses, screen, spots: list[Spots], share) -> None:
        """Remember an exposure; ``geometry`` and ``screen`` are None for an image."""
        centre = None
        if screen is not None:
            k0 = incident(beam, geometry, self.specimen.wavelength)
            mm = geometry.matrix @ (k0[:2] / k0[2]) + geometry.shift + geometry.shadow @ beam.centre
            centre = mm / screen.pixel_mm + screen.middle
        mode = self._column.state.mode
        self.diary.append(Exposure(began, ended, mode, poses[0], poses[-1], beam, geometry, centre, spots, share))


class _Blanker:
    """Implements ``protocols.BeamBlanker``; blanked when the microscope is opened."""

    def __init__(self, before) -> None:
        self._on, self._before = True, before

    def is_blanked(self) -> bool:
        return self._on

    def blank(self, on: bool) -> None:
        self._before()
        self._on = bool(on)

    def cut(self) -> None:
        """At once, whatever else is going on; the dose since the last booking is not booked."""
        self._on = True


class _ScreenSwitch:
    """Implements ``protocols.Screen``."""

    movable = True

    def __init__(self) -> None:
        self._up = True

    def is_up(self) -> bool:
        return self._up

    def set_up(self, up: bool) -> None:
        self._up = bool(up)


def _stopped(image: np.ndarray) -> None:
    """The beam stop: a pointer from the left edge to a disc over the middle; 2e-4 of the electrons pass."""
    n = len(image)
    yy, xx = np.ogrid[:n, :n]
    arm = (abs(yy - n / 2) < 0.008 * n) & (xx < n / 2)
    disc = (yy - n / 2) ** 2 + (xx - n / 2) ** 2 < (0.02 * n) ** 2
    image[arm | disc] *= 2e-4
