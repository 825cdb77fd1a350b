"""The thesis's SerialRED (sections 4.2.2 to 4.2.5), complete, as the baseline that ours is compared with.

Numbers that the thesis does not give are those of the public program (autocRED of Instamatic, its defaults).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from credo.collect.calibration.register import register
from credo.collect.crystals import Crystal, find_by_threshold, opaque
from credo.collect.rig import Rig
from credo.collect.rotation import Sweep
from credo.collect.seams import bridged
from credo.collect.serial_setup import Bench, to_pattern
from credo.collect.serial_steering import Steering, go
from credo.collect.steps import Look, Move, Pose, Read, Set, Shot, Steps
from credo.collect.tracking import Disc, disc_by_sums, inner_variance, shadow_by_percentiles
from credo.model.errors import CannotDo

__all__ = [
    "ThesisTracker",
    "blank_variance",
    "centre_by_image",
    "find_again",
    "find_thesis",
    "height_by_rotation",
    "height_by_two",
]

#: Rotation, angle between looks, step of the height [deg, deg, µm], shift that asks for one [px].
_TURN, _EVERY, _STEP_UM, _SHIFT_PX = 15.0, 2.0, 1.0, 5.0
#: Change of the height that one measurement may ask for [µm].
_FARTHEST = 40.0
#: Ratios of the inner variance and of the pattern's sum that call for robust tracking; ratios that mean "lost".
_ROBUST, _SUM, _LOST = (0.5, 2.0), (0.85, 1.15), (0.2, 5.0)
#: Interval of robust tracking, and robust looks after which the references are taken anew.
_ROBUST_INTERVAL, _AGAIN = 2, 10


def _search(bench: Bench) -> Steps[np.ndarray]:
    shot = yield Look(bench.optics.search_exposure)
    return bridged(shot.image)


def find_thesis(image: np.ndarray, bench: Bench, gap_um: float = 1.0) -> list[Crystal]:
    """Particles by the local threshold. What lies at a bar is left out: the user drew the scan area between them."""
    if not image.any():
        return []
    hidden = opaque(image, bench.pixel_um)
    return [c for c in find_by_threshold(image, bench.pixel_um, gap_um=gap_um) if not hidden[int(c.y), int(c.x)]]


def find_again(bench: Bench, near: np.ndarray, within_um: float = 3.0) -> Steps[Crystal | None]:
    """The particle of a new search image that is nearest to the place ``near`` (2,) [px]."""
    image = yield from _search(bench)
    found = find_thesis(image, bench)
    gaps = [float(np.hypot(c.x - near[0], c.y - near[1])) * bench.pixel_um for c in found]
    if not gaps or min(gaps) > within_um:
        return None
    return found[int(np.argmin(gaps))]


def centre_by_image(bench: Bench, crystal: Crystal, cosine: float) -> Steps[Crystal | None]:
    """Bring the crystal to the beam by the stage, and look for it there; what is left is for the beam shift."""
    off = bench.grid(np.array([crystal.x, crystal.y]))
    here = yield Read()
    yield from go(Move(x=here.x + off[0], y=here.y + off[1] / cosine))
    return (yield from find_again(bench, bench.beam_px))


def height_by_rotation(bench: Bench, rig: Rig) -> Steps[bool]:
    """Turn by 15°; every 2°, if the particle has moved by more than 5 px, change the height by 1 µm against it; back.

    False: no particle could be followed. In steps, where the program photographed while the stage moved.
    """
    here = yield Read()
    sign = 1.0 if here.a + _TURN <= rig.limits["a"][1] - 1 else -1.0
    last = yield from find_again(bench, bench.beam_px)
    for k in range(1, int(_TURN / _EVERY) + 1):
        if last is None:
            break
        pose = yield from go(Move(a=here.a + sign * k * _EVERY))
        now = yield from find_again(bench, np.array([last.x, last.y]))
        if now is None:
            last = None
            break
        moved = (np.array([now.x, now.y]) - np.array([last.x, last.y])) @ np.linalg.inv(bench.image).T
        if abs(moved[1]) * np.linalg.norm(bench.image[:, 1]) > _SHIFT_PX:
            z = pose.z - np.sign(moved[1]) * sign * bench.lift * _STEP_UM
            yield from go(Move(z=float(z)))
            now = yield from find_again(bench, np.array([now.x, now.y]))
        last = now
    yield from go(Move(a=here.a))
    return last is not None


def height_by_two(bench: Bench, tilt_deg: float = 10.0, step_um: float = 4.0) -> Steps[float]:
    """The older method: the image's shift by a tilt of 10° at two heights; go to where it would vanish. -> z [µm]."""
    here = yield Read()
    shifts = []
    for z in (here.z, here.z + step_um):
        yield from go(Move(z=z))
        flat = yield Look(bench.optics.search_exposure)
        yield from go(Move(a=here.a + tilt_deg))
        tilted = yield Look(bench.optics.search_exposure)
        yield from go(Move(a=here.a))
        moved = register(flat.image, tilted.image)
        shifts.append(float(np.linalg.solve(bench.image, [moved.x, moved.y])[1]))
    change = (shifts[1] - shifts[0]) / step_um
    if abs(change) < 0.05:
        raise CannotDo("the image does not move with the height at this tilt", "begin where there is something to see")
    z = float(np.clip(here.z - shifts[0] / change, here.z - _FARTHEST, here.z + _FARTHEST))
    yield from go(Move(z=z))
    return z


def blank_variance(bench: Bench, particles: list[Crystal], exposure: float) -> Steps[float]:
    """Mean inner variance of three defocused views of film, as far from ``particles`` as there is within 4 µm."""
    turns = np.radians(np.arange(0, 360, 15))
    around = np.array([r * np.array([np.cos(t), np.sin(t)]) for r in (0.0, 1.3, 2.6, 4.0) for t in turns])
    known = np.array([bench.grid(np.array([c.x, c.y])) for c in particles]).reshape(-1, 2)
    gap = np.hypot(*(around[:, None] - known[None]).transpose(2, 0, 1)).min(axis=1, initial=9.0)
    shift = np.round(np.array(bench.neutral["beamshift"]) + bench.units(around[int(gap.argmax())]))
    yield from to_pattern(bench.optics, bench.narrow, bench.focus)
    yield Set({"beamshift": (float(shift[0]), float(shift[1])), "difffocus": bench.focus + bench.optics.defocus})
    values = []
    for _ in range(3):
        shot = yield Look(exposure)
        image = bridged(shot.image)
        values.append(inner_variance(image, disc_by_sums(image)))
    yield Set({"beamshift": bench.neutral["beamshift"], "difffocus": bench.focus})
    return float(np.mean(values))


class ThesisTracker:
    """A defocused view every ``interval`` frames, every other one while robust tracking is on; beam shift, descan."""

    method = "the thesis's: percentile window, Gaussian filter, largest peak"

    def __init__(self, bench: Bench, start_um: np.ndarray, blank: float, interval: int = 10) -> None:
        self.bench, self.start, self.blank, self.interval = bench, start_um, blank, interval
        self.looks = self._since = self._robust = 0
        self._variance: float | None = None
        self._sum: float | None = None
        self._disc: Disc | None = None

    def begin(self, rig: Rig, sweep: Sweep, pose: Pose) -> Steps[None]:
        self._steering = Steering(self.bench, sweep.exposure)
        yield from self._steering.aim(self.start)
        self._robust = self.interval  # frames of robust tracking to begin with

    def frame(self, shot: Shot) -> Steps[str]:
        total = float(shot.image.sum(dtype=np.float64))
        if self._sum is None:
            self._sum = total
        ratio = total / max(self._sum, 1.0)
        if not _SUM[0] < ratio < _SUM[1]:
            self._robust = max(self._robust, 1)
        self._since += 1
        self._robust = max(self._robust - 1, 0) if self._variance is None else self._robust
        if self._since < (_ROBUST_INTERVAL if self._robust else self.interval):
            return ""
        self._since = 0
        view = yield from self._steering.look()
        self.looks += 1
        return (yield from self._seen(bridged(view.image), total))

    def _seen(self, image: np.ndarray, total: float) -> Steps[str]:
        try:
            disc = disc_by_sums(image)
        except CannotDo:
            return "no beam in the defocused view"
        variance = inner_variance(image, disc)
        if self._variance is None or self._disc is None:
            self._variance, self._disc = variance, disc
        ratio = variance / max(self._variance, 1e-9)
        if variance < self.blank or not _LOST[0] < ratio < _LOST[1]:
            return "the variance says that the crystal is out of the beam"
        if _ROBUST[0] < ratio < _ROBUST[1] and _SUM[0] < total / max(self._sum or 1.0, 1.0) < _SUM[1]:
            self._robust = max(self._robust - _ROBUST_INTERVAL, 0)
        else:
            self._robust += 1
            if self._robust > _AGAIN:
                self._variance, self._sum, self._robust = variance, total, 0
        um = np.linalg.solve(self.bench.shadow, np.array(shadow_by_percentiles(image, disc)))
        moved = np.array([disc.x - self._disc.x, disc.y - self._disc.y])
        try:
            yield from self._steering.nudge(um, moved)
        except CannotDo as error:
            return error.reason
        return ""

    def facts(self) -> Mapping[str, Any]:
        return {"looks": self.looks}
