"""Beam and pattern steered together: the beam follows the crystal, image shifts keep the pattern in place (descan).

With beam shift b, image shifts i₁, i₂ [units] and their effects on the focused (F) and the defocused (D) pattern [px],
F_b b + F₁ i₁ + F₂ i₂ = 0 and D_b b + D₁ i₁ + D₂ i₂ = m: four linear equations (thesis, section 4.2.5).
"""

from __future__ import annotations

import numpy as np

from credo.collect.calibration.views import approach_focus
from credo.collect.serial_setup import SHIFTS, Bench
from credo.collect.steps import Look, Move, Pose, Set, Shot, Steps
from credo.instrument.errors import HardwareFault
from credo.model.errors import CannotDo

__all__ = ["Steering", "go"]

#: Units of a deflector that are left at either end of its range.
_MARGIN = 5000.0
#: Distance from its place that the defocused beam may go before image shifts bring it back [px].
_FREE_PX = 70.0


class Steering:
    """Where the beam and the pattern are; ``yield from`` its methods. Units are counted from the neutral setting."""

    def __init__(self, bench: Bench, exposure: float) -> None:
        self.bench, self.exposure = bench, exposure
        self.value = {name: np.zeros(2) for name in SHIFTS}
        self._trim = np.zeros(2)
        self._set: dict[str, tuple[float, float]] = {}
        self._system = np.block(
            [[table["imageshift1"], table["imageshift2"]] for table in (bench.sharp, bench.blurred)]
        )

    @property
    def place(self) -> np.ndarray:
        """Where the beam is (2,) [grid µm from where it is undeflected]."""
        return self.bench.beam @ self.value["beamshift"]

    def aim(self, um: np.ndarray) -> Steps[None]:
        """Bring the beam to ``um`` (2,), the focused pattern staying in its place, the defocused one within reach."""
        beam = self.bench.units(um)
        blur = self.bench.blurred["beamshift"] @ beam
        size = float(np.hypot(*blur))
        kept = blur * min(_FREE_PX / size, 1.0) if size > 0 else blur
        # the least image shifts that hold the focused pattern, and bring the defocused one back if it must be
        sharp = self.bench.sharp["beamshift"] @ beam - self._trim
        if size <= _FREE_PX:
            images = np.linalg.lstsq(self._system[:2], -sharp, rcond=None)[0]
        else:
            images = np.linalg.solve(self._system, np.concatenate([-sharp, kept - blur]))
        yield from self._command({"beamshift": beam, "imageshift1": images[:2], "imageshift2": images[2:]})

    def nudge(self, um: np.ndarray, moved: np.ndarray) -> Steps[None]:
        """The thesis's descan: move the beam on by ``um``; ``moved`` (2,) is how far the defocused beam is from where
        it was at first [px]. Both patterns are brought back by the image shifts."""
        step = self.bench.units(um)
        images = np.linalg.solve(self._system, -np.concatenate([self.bench.sharp["beamshift"] @ step, moved]))
        now = self.value
        yield from self._command(
            {
                "beamshift": now["beamshift"] + step,
                "imageshift1": now["imageshift1"] + images[:2],
                "imageshift2": now["imageshift2"] + images[2:],
            }
        )

    def trim(self, px: np.ndarray) -> None:
        """Let the next ``aim`` move the focused pattern by ``px`` (2,) besides."""
        self._trim = self._trim + px

    def look(self) -> Steps[Shot]:
        """A defocused view between two frames of the stream; afterwards the pattern is sharp again."""
        o = self.bench.optics
        yield Set({"difffocus": self.bench.focus + o.defocus})
        shot = yield Look(self.exposure, "look", stream=True)
        yield from approach_focus(self.bench.focus)
        return shot

    def _command(self, units: dict[str, np.ndarray]) -> Steps[None]:
        wanted = {n: np.round(np.array(self.bench.neutral[n]) + units[n]) for n in SHIFTS}
        if any((abs(v - 32768) > 32768 - _MARGIN).any() for v in wanted.values()):
            raise CannotDo(
                "the beam or the image shift is near the end of its range", "centre the crystal by the stage"
            )
        values = {n: (float(v[0]), float(v[1])) for n, v in wanted.items()}
        changed = {n: v for n, v in values.items() if self._set.get(n) != v}
        if changed:
            yield Set(changed)
        self._set = values
        self.value = {n: wanted[n] - np.array(self.bench.neutral[n]) for n in SHIFTS}


def go(move: Move) -> Steps[Pose]:
    """A stage move, once more if the stage did not arrive (an alarm refuses that)."""
    try:
        pose = yield move
    except HardwareFault:
        pose = yield move
    return pose
