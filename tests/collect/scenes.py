"""A simulated crystal in the beam, brought there by what only the simulator knows; runs of plans on it, and faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from credo.collect.engine import Engine
from credo.collect.plans import Plan
from credo.collect.rig import Rig
from credo.collect.session import Session, read_log, resume
from credo.instrument.controller import TEMController
from credo.model.errors import CredoError

#: Crystals one by one, kinematical and sturdy.
PLAIN = {"density": 0.008, "clustered": 0, "debris": 0, "second_lattice": 0, "dynamical": 0, "critical_fluence": 1e12}


def scope_of(ctrl: TEMController) -> Any:
    return ctrl.link.guard.microscope  # type: ignore[attr-defined]


def isolated(scope: Any, radius: float = 25.0) -> tuple[Any, int]:
    """The particle that is farthest from any other within ``radius`` µm: its table and its row."""
    table = scope.specimen.sample.near(np.zeros(2), radius)
    gap = np.linalg.norm(table.place[:, None, :2] - table.place[None, :, :2], axis=-1) + 1e3 * np.eye(len(table))
    gap[np.linalg.norm(table.place[:, :2], axis=1) > radius - 4] = 0
    return table, int(np.argmax(gap.min(axis=1)))


def bring(ctrl: TEMController) -> int:
    """Stage to an isolated crystal at its eucentric height, the beam shift takes the rest; returns the crystal."""
    scope = scope_of(ctrl)
    table, row = isolated(scope)
    place = table.place[row]
    z = scope.stage.eucentric_height(*place[:2]) - place[2]
    scope.stage.start({"x": 1e3 * place[0], "y": 1e3 * place[1], "z": 1e3 * z})
    scope.clock.sleep(60)
    seen = scope.stage.pose(scope.clock.now()).place(place[None])[0, :2]
    shift = scope.truth.deflectors["beamshift"].position
    start = np.array(scope.deflectors.get("beamshift"))
    scope.deflectors.set("beamshift", tuple(start + np.linalg.solve(shift, seen - scope.beam().centre)))
    ctrl.confirm()
    return int(table.ident[row])


def optics(ctrl: TEMController, spread: float = 1500.0) -> dict[str, Any]:
    """A focused pattern of a beam of about 1.7 µm."""
    truth = scope_of(ctrl).truth
    return {
        "camera_length_mm": 600.0, "spotsize": 5, "brightness": float(round(truth.crossover + spread)),
        "difffocus": float(round(truth.focus)),
    }  # fmt: skip


def collected(ctrl: TEMController, plan: Plan, folder: Path, again: bool = False) -> Session:
    """Run the plan into ``folder``; ``again`` resumes."""
    rig = Rig.of(ctrl)
    session = Session(folder, rig)
    done = resume(session) if again else {}
    Engine(ctrl, [session], done).run(plan.steps(rig))
    return session


class Throws:
    """A listener that does something to the instrument at the n-th frame of data."""

    def __init__(self, n: int, what):
        self.left, self.what = n, what

    def __call__(self, event):
        if event.kind == "frame" and event.facts.get("role") == "data":
            self.left -= 1
            if self.left == 0:
                self.what()


def interrupted(ctrl, plan, folder, what, n: int = 8, error: type = CredoError) -> Session:
    """Run with a fault at frame ``n``; the run must end with ``error`` and the beam off."""
    rig = Rig.of(ctrl)
    session = Session(folder, rig)
    with pytest.raises(error):
        Engine(ctrl, [session, Throws(n, what)]).run(plan.steps(rig))
    assert scope_of(ctrl).blanker.is_blanked()
    assert not ctrl.status["moving"]
    assert read_log(folder)[-1]["kind"] == "end run"
    return session
