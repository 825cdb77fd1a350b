"""A simulated microscope that is brought to a crystal by what only the simulator knows."""

from __future__ import annotations

import numpy as np
import pytest

from credo.instrument.sim.microscope import SimulatedMicroscope
from credo.instrument.sim.settings import CameraSettings, Imperfections, SampleSettings, SimulatorSettings


def make(sample=None, imperfections="none", seed=0, **settings) -> SimulatedMicroscope:
    """A microscope, perfect unless asked otherwise, with isolated crystals of one phase, kinematical, undamaged."""
    wanted = {"clustered": 0, "second_lattice": 0, "debris": 0, "dynamical": 0, "critical_fluence": 1e12}
    camera = CameraSettings(hot=0, dead=0, saturation=60000, kind="cmos")
    return SimulatedMicroscope(
        SimulatorSettings(
            seed=seed,
            sample=SampleSettings(**{**wanted, **(sample or {})}),
            imperfections=Imperfections.none() if imperfections == "none" else imperfections,
            **{"cameras": (camera,), **settings},
        )
    )


def isolated(scope: SimulatedMicroscope, radius: float = 20.0):
    """The particle that is farthest from any other within ``radius`` µm: its table and its row."""
    table = scope.specimen.sample.near(np.zeros(2), radius)
    gap = np.linalg.norm(table.place[:, None, :2] - table.place[None, :, :2], axis=-1) + 1e3 * np.eye(len(table))
    gap[np.linalg.norm(table.place[:, :2], axis=1) > radius - 4] = 0
    return table, int(np.argmax(gap.min(axis=1)))


def bring(scope: SimulatedMicroscope, place: np.ndarray) -> None:
    """Stage to a point of the grid, at its eucentric height; the beam shift takes the rest."""
    z = scope.stage.eucentric_height(*place[:2]) - place[2]
    scope.stage.start({"x": 1e3 * place[0], "y": 1e3 * place[1], "z": 1e3 * z})
    scope.clock.sleep(60)
    seen = scope.stage.pose(scope.clock.now()).place(place[None])[0, :2]
    shift = scope.truth.deflectors["beamshift"].position
    start = np.array(scope.deflectors.get("beamshift"))
    scope.deflectors.set("beamshift", tuple(start + np.linalg.solve(shift, seen - scope.beam().centre)))


def diffraction(scope: SimulatedMicroscope, spread: float = 800.0, length: float = 600.0) -> None:
    """Diffraction mode, in focus, with a beam of a radius of about 1.1 µm per 1000 of ``spread``."""
    scope.lenses.set("mode", "diff")
    scope.lenses.set("magnification", length)
    scope.lenses.set("brightness", round(scope.truth.crossover + spread))
    scope.lenses.set("difffocus", round(scope.truth.focus))
    scope.blanker.blank(False)


@pytest.fixture
def on_crystal():
    """(microscope, table, row): a perfect instrument on a large ZSM-5 crystal, in diffraction, unblanked."""
    scope = make({"size_um": 1.0, "density": 0.01})
    table, row = isolated(scope)
    bring(scope, table.place[row])
    diffraction(scope, spread=1400)
    return scope, table, row
