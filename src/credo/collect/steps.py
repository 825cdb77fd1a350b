"""The atomic steps that plans are made of. A plan yields steps; the engine does each and sends back what came of it.

Positions are µm, angles degrees, times seconds; settings have the instrument's own units.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from credo.collect.advice import CrystalNow
from credo.instrument.protocols import Frame

__all__ = [
    "Ask", "Begin", "Blank", "Done", "End", "Look", "Move", "Note", "Once", "Pause", "Pose", "Read", "Set", "Shot",
    "Step", "Steps", "Stop", "Turn", "Wait",
]  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """Where the stage said it was: x, y, z [µm], a, b [deg], at the clock's Unix ``time`` [s]."""

    x: float
    y: float
    z: float
    a: float
    b: float
    time: float


@dataclass(frozen=True)
class Shot:
    """What a ``Look`` gives: the frame, and the stage's read-outs just before and just after it."""

    frame: Frame
    before: Pose
    after: Pose

    @property
    def image(self) -> np.ndarray:
        return self.frame.data


@dataclass(frozen=True)
class Move:
    """Go there and arrive; axes not named stay. ``from_below``: axes to approach against their slack. -> Pose"""

    x: float | None = None
    y: float | None = None
    z: float | None = None
    a: float | None = None
    b: float | None = None
    from_below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Turn:
    """Begin to turn the tilt a to ``a`` at ``speed`` [deg/s] and go on at once. -> the speed it really has"""

    a: float
    speed: float


@dataclass(frozen=True)
class Wait:
    """Until the stage rests, and ``seconds`` more. -> Pose"""

    seconds: float = 0.0


@dataclass(frozen=True)
class Stop:
    """Stop the stage where it is. -> Pose"""


@dataclass(frozen=True)
class Set:
    """Set lenses and deflectors by name, in the order given. -> None"""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Read:
    """Read settings, or the stage for no name at all. -> dict of values, or Pose"""

    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blank:
    """Beam off, or on. -> None"""

    on: bool = True


@dataclass(frozen=True)
class Look:
    """One frame. -> Shot

    ``stream``: of the camera's running stream, with nothing but the dead time between (begun by the first such step,
    ended by any step but ``Set``, ``Note``, ``Read``, ``Ask`` and ``Turn``); else one exposure with the beam on for it
    only, unless it is on already. ``role``: ``data`` is kept in the data set that is open, anything else only shown.
    ``since``: frames of the stream that began before this Unix time (lenses were still changing) are passed over.
    ``about``: plain JSON that is told with the frame (a crystal's number, a beam-tilt step [deg] as ``tilt_deg``).
    """

    exposure: float
    role: str = "look"
    stream: bool = False
    binning: int = 1
    since: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Begin:
    """Open a data set; ``about`` (plain JSON) goes into its collect.json. -> None"""

    name: str
    kind: Literal["rotation", "steps", "stills"]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """Close the data set that is open, saying why it ended; ``facts`` are added to its collect.json. -> None"""

    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A line of the event log, shown to whoever watches. -> None"""

    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Once:
    """Was the part of the plan of this name done already, before a crash? -> what ``Done`` said of it, or None"""

    name: str


@dataclass(frozen=True)
class Done:
    """The part of this name is done; on ``resume`` it is not done again. -> None"""

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """Here a person may pause: the engine waits, blanked, if one asked for it. -> None"""


@dataclass(frozen=True)
class Ask:
    """Ask whoever processes the data what to do with a crystal, or after it. -> Decision, "continue" where nobody is
    asked"""

    crystal: CrystalNow


Step = Ask | Move | Turn | Wait | Stop | Set | Read | Blank | Look | Begin | End | Note | Once | Done | Pause
#: What a plan's functions are: they yield steps, are sent outcomes, and return ``Result``; an instrument's error is
#: raised at the ``yield``, where a plan may catch it (CredoError) and go on; else the run ends, blanked.
Result = TypeVar("Result")
Steps = Generator[Step, Any, Result]
