"""The simulated camera as a driver sees it: one exposure, or a stream with a dead time and lost frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault
from credo.instrument.protocols import CameraInfo, Frame
from credo.instrument.sim.detector import Detector
from credo.instrument.sim.settings import CameraSettings

__all__ = ["SimulatedCamera"]

#: Renders the expected electrons (n, n) of an exposure from one time to another [s]; and what it knows for ``extra``.
Render = Callable[["SimulatedCamera", float, float], tuple[np.ndarray, dict[str, Any]]]


class SimulatedCamera:
    """Implements ``protocols.Camera``."""

    def __init__(self, settings: CameraSettings, clock: Clock, render: Render, seed: int, number: int) -> None:
        self.settings, self._clock, self._render = settings, clock, render
        self._detector = Detector(settings, seed + 1000 * number)
        self._rng = np.random.default_rng([seed, 42, number])
        self._inserted = True

    @property
    def info(self) -> CameraInfo:
        s = self.settings
        return CameraInfo(
            s.name,
            (s.size, s.size),
            s.pixel_size_um,
            (1e-3, 10.0),
            (1, 2, 4),
            "uint16",
            s.saturation,
            s.dead_time,
            fragile=False,  # a beam that is computed harms nothing
        )

    @property
    def pixel_mm(self) -> float:
        return 1e-3 * self.settings.pixel_size_um

    def acquire(self, exposure: float, binning: int = 1) -> Frame:
        self._check(exposure, binning)
        began = self._clock.now()
        self._clock.sleep(exposure)
        frame = self._exposed(began, exposure, binning, 0)
        self._clock.sleep(self.settings.dead_time)
        return frame

    def stream(self, exposure: float, binning: int = 1, frames: int | None = None) -> Iterator[Frame]:
        """Frames follow each other on the camera's own beat; one that nobody waited for, or that is lost, leaves a gap
        in ``number``. ``frames`` counts the lost ones too."""
        self._check(exposure, binning)
        start, beat, number = self._clock.now(), exposure + self.settings.dead_time, 0
        while frames is None or number < frames:
            lost = self._rng.uniform() < self.settings.dropped
            # a camera waits for nobody: start with the first frame that has not begun yet
            late = int(np.ceil((self._clock.now() - start) / beat - 1e-6))
            number = max(number, late)
            if frames is not None and number >= frames:
                return
            began = start + number * beat
            self._clock.sleep(began + exposure - self._clock.now())
            if not lost:
                yield self._exposed(began, exposure, binning, number)
            number += 1

    def is_inserted(self) -> bool:
        return self._inserted

    def insert(self, on: bool) -> None:
        self._inserted = bool(on)

    def _check(self, exposure: float, binning: int) -> None:
        low, high = self.info.exposures
        if not low <= exposure <= high or binning not in self.info.binnings:
            raise HardwareFault(
                f"camera {self.settings.name}: no exposure of {exposure} s with binning {binning}",
                f"{low} to {high} s, binning {self.info.binnings}",
            )

    def _exposed(self, began: float, exposure: float, binning: int, number: int) -> Frame:
        electrons, known = self._render(self, began, began + exposure)
        if not self._inserted:
            electrons[:] = 0.0
        data = self._detector.read(electrons, exposure, int(self._rng.integers(2**62)), binning)
        unix = self._clock.time() - self._clock.now() + began
        return Frame(data, unix, unix + exposure, exposure, binning, number, known)
