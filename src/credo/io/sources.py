"""The sources of a geometry in the order of trust, and the bounds outside of which no source is believed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from credo.io.frame_file import Hints

__all__ = ["BOUNDS", "NO_STEP", "Sources", "sane"]

#: A smaller step [deg] is none.
NO_STEP = 1e-5
#: What a number must lie between to be believed at all.
BOUNDS = {
    "wavelength": (0.001, 0.2),
    "q_per_pixel": (1e-6, 1.0),
    "pixel_size_mm": (1e-4, 1.0),
    "distance_mm": (0.1, 1e7),
    "camera_length_mm": (0.1, 1e7),
    "axis_deg": (-720.0, 720.0),
    "start_deg": (-720.0, 720.0),
    "step_deg": (-90.0, 90.0),
    "exposure_s": (0.0, 1e6),
    "timestamp": (-1e12, 1e12),
    "saturation": (0.0, 1e15),
    "pedestal": (-1e9, 1e9),
}


@dataclass(frozen=True)
class Sources:
    """``header``: the first frame's own; ``beside``: logs and processing files, the most trusted first.

    ``beside`` angles of axes are already in the frame of the array.
    """

    header: Hints
    beside: tuple[Hints, ...] = ()

    def __iter__(self):
        return iter((self.header, *self.beside))

    def first(self, name: str):
        """The first source's word on one of the fields of :class:`Hints`, or None."""
        return next((v for h in self if (v := getattr(h, name)) is not None), None)

    def sane(self) -> Sources:
        """Without the numbers that cannot be true."""
        return Sources(sane(self.header), tuple(sane(h) for h in self.beside))


def sane(hints: Hints) -> Hints:
    """Without the numbers that cannot be true, each with a sentence."""
    wrong = {k: v for k, (low, high) in BOUNDS.items() if (v := getattr(hints, k)) is not None and not low <= v <= high}
    said = tuple(
        f"{hints.source}: {k.replace('_', ' ')} {v:g} cannot be true; it was not used." for k, v in wrong.items()
    )
    if hints.step_deg is not None and abs(hints.step_deg) < NO_STEP:
        wrong["step_deg"] = hints.step_deg
    if hints.origin is not None and not all(abs(x) < 20000 for x in hints.origin):
        wrong["origin"] = 0.0
        said += (f"{hints.source}: a beam centre at {hints.origin} cannot be true; it was not used.",)
    if hints.ellipse is not None and not 0 <= hints.ellipse[0] < 20:
        wrong["ellipse"] = 0.0
        said += (f"{hints.source}: an ellipse of {hints.ellipse[0]:g} % cannot be true; it was not used.",)
    return replace(hints, **dict.fromkeys(wrong), problems=hints.problems + said)
