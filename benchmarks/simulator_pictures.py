"""The picture of docs/simulator.md: the grid, a pattern, the same defocused, gold rings.

python -m benchmarks simulator_pictures [--out docs/images/simulator.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.fidelity_picture import write_png
from benchmarks.simulator import on_largest_crystal
from credo.instrument.sim.microscope import SimulatedMicroscope
from credo.instrument.sim.settings import CameraSettings, SampleSettings, SimulatorSettings

__all__ = ["main"]


def main() -> None:
    """Render and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/simulator.png"))
    args = parser.parse_args()
    parts = [_linear(_grid()), *(_log(x) for x in _patterns()), _log(_gold())]
    write_png(args.out, np.concatenate(parts, axis=1))


def _grid() -> np.ndarray:
    sample = SampleSettings(phases=("mordenite",), density=0.05, mesh=400)
    scope = SimulatedMicroscope(SimulatorSettings(seed=4, sample=sample))
    scope.blanker.blank(False)
    scope.lenses.set("brightness", 42000)
    scope.lenses.set("spotsize", 1)
    return scope.cameras["timepix"].acquire(2.0).data


def _patterns() -> list[np.ndarray]:
    sample = SampleSettings(phases=("mordenite",), clustered=0, second_lattice=0)
    scope = SimulatedMicroscope(SimulatorSettings(seed=5, sample=sample))
    place = on_largest_crystal(scope, 20.0, 1100)
    seen = scope.stage.pose(scope.clock.now()).place(place[None])[0, :2]
    matrix = scope.truth.deflectors["beamshift"].position
    now = np.array(scope.deflectors.get("beamshift"))
    scope.deflectors.set("beamshift", tuple(now + np.linalg.solve(matrix, seen - scope.beam().centre)))
    scope.blanker.blank(False)
    scope.stage.set_rotation_speed(0.5)
    scope.stage.start({"a": 20.0})
    scope.clock.sleep(1)
    sharp = scope.cameras["timepix"].acquire(0.5).data
    scope.lenses.set("difffocus", round(scope.truth.focus + 1300))
    return [sharp, scope.cameras["timepix"].acquire(0.2).data]


def _gold() -> np.ndarray:
    camera = CameraSettings(size=516)
    sample = SampleSettings(gold=True, density=0.0)
    scope = SimulatedMicroscope(SimulatorSettings(seed=6, sample=sample, cameras=(camera,)))
    scope.lenses.set("mode", "diff")
    scope.lenses.set("brightness", round(scope.truth.crossover + 1500))
    scope.lenses.set("difffocus", round(scope.truth.focus))
    scope.lenses.set("spotsize", 6)
    scope.blanker.blank(False)
    return scope.cameras["timepix"].acquire(1.0).data


def _halved(image: np.ndarray) -> np.ndarray:
    a = image.astype(float)
    return (a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) / 4


def _linear(image: np.ndarray) -> np.ndarray:
    a = _halved(image)
    low, high = np.quantile(a, [0.002, 0.99])
    return np.clip(255 * (a - low) / (high - low), 0, 255)


def _log(image: np.ndarray) -> np.ndarray:
    """Dark on white, as diffraction patterns are printed."""
    a = np.log1p(_halved(image))
    return 255 - np.clip(255 * a / np.quantile(a, 0.998), 0, 255)
