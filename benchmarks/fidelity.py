"""Simulated series beside measured ones: same instrument, step and dose; histograms, spots by shell, I/sigma, R_int.

python -m benchmarks fidelity [--data FOLDER --cases garnet,cinchonine,mordenite --frames N --out FOLDER]

FOLDER holds the unpacked frames, one folder a data set (../shared/data, see its README); FOLDER of --out takes
fidelity.json and the pictures of docs/simulator.md. Of the measured frames only statistics are shown.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.fidelity_picture import draw
from credo.instrument.sim.microscope import SimulatedMicroscope
from credo.instrument.sim.settings import CameraSettings, Imperfections, SampleSettings, SimulatorSettings
from credo.io.open import GeometryOverrides, Opened, open_experiment
from credo.model import ArrayFrames, Beam, Detector, Experiment, Goniometer, Scan
from credo.physics.electron import wavelength
from credo.pipeline.process import ProcessSettings, Unfinished, reduce_frames

__all__ = ["main"]

_SHELLS = (8.0, 4.0, 2.5, 1.8, 1.4, 1.1, 0.9, 0.75, 0.6, 0.5)


@dataclass(frozen=True)
class Case:
    """One measured series and how it is imitated. ``overrides``: what its header says wrongly; ``exposure``: virtual
    seconds of a frame (the dose is the only scale that is matched); ``beam``: brightness off the crossover."""

    folder: str
    overrides: dict
    phase: str
    kilovolts: float
    step_deg: float
    q_per_pixel: float
    size: int
    exposure: float
    spot: int
    beam: float
    sample: dict
    camera: dict
    imperfections: dict = field(default_factory=dict)
    frames: int = 200


def imitation(case: Case, frames: int, cif: Path | None = None) -> tuple[np.ndarray, Experiment]:
    """Frames of the simulated series and the header that a user would have."""
    wave = wavelength(case.kilovolts)
    length = 600.0
    camera = CameraSettings(size=case.size, pixel_um=1e3 * case.q_per_pixel * wave * length, **case.camera)  # type: ignore[arg-type]
    wrong = Imperfections().model_copy(update={"calibration": 0.0, **case.imperfections})
    alone = {"clustered": 0, "second_lattice": 0, "debris": 0, "density": 0.004}
    sample = SampleSettings(phases=(str(cif or case.phase),), **{**alone, **case.sample})
    settings = SimulatorSettings(
        seed=2, kilovolts=case.kilovolts, sample=sample, cameras=(camera,), imperfections=wrong
    )
    scope = SimulatedMicroscope(settings)
    start = -0.5 * case.step_deg * frames
    table = scope.specimen.sample.near(np.zeros(2), 40.0)
    far = np.linalg.norm(table.place[:, :2], axis=1)
    row = int(np.argmin(np.abs(table.reach - np.median(table.reach)) + 1e-3 * far))
    _approach(scope, table.place[row], start)
    scope.lenses.set("mode", "diff")
    scope.lenses.set("spotsize", case.spot)
    scope.lenses.set("brightness", round(scope.truth.crossover + case.beam))
    scope.lenses.set("difffocus", round(scope.truth.focus))
    beat = case.exposure + camera.dead_time
    scope.stage.set_rotation_speed(abs(case.step_deg) / beat)
    scope.stage.start({"a": start + 1.1 * case.step_deg * frames})
    scope.clock.sleep(2 * beat)
    scope.blanker.blank(False)
    data, angle = [], [scope.stage.position().a]
    for frame in scope.cameras[camera.name].stream(case.exposure, 1, frames):
        _recentre(scope, table.place[row])
        data.append(frame.data)
        angle.append(scope.stage.position().a)
    width = np.diff(angle)
    scan = Scan(np.arange(1, len(data) + 1), np.array(angle[:-1]), width)
    middle = (case.size / 2, case.size / 2)
    top = camera.saturation
    detector = Detector((case.size,) * 2, case.q_per_pixel, middle, 1e-3 * camera.pixel_size_um, saturation=top)
    known = ("wavelength", "q_per_pixel", "angles", "pixel_size")
    header = Experiment(Beam(wave), detector, Goniometer.in_plane(0.0), scan, known=known, kind="simulated")
    return np.stack(data), header


def _approach(scope: SimulatedMicroscope, place: np.ndarray, start: float) -> None:
    z = scope.stage.eucentric_height(*place[:2]) - place[2]
    scope.stage.start({"x": 1e3 * place[0], "y": 1e3 * place[1], "z": 1e3 * z, "a": start - 1.5})
    scope.clock.sleep(60)
    scope.stage.start({"a": start - 0.5})
    scope.clock.sleep(5)
    _recentre(scope, place)


def _recentre(scope: SimulatedMicroscope, place: np.ndarray) -> None:
    """The operator's hand: the beam follows the crystal, by what only the simulator knows."""
    seen = scope.stage.pose(scope.clock.now()).place(place[None])[0, :2]
    matrix = scope.truth.deflectors["beamshift"].position
    now = np.array(scope.deflectors.get("beamshift"))
    scope.deflectors.set("beamshift", tuple(now + np.linalg.solve(matrix, seen - scope.beam().centre)))


def statistics(opened: Opened, settings: ProcessSettings) -> dict:
    """What a crystallographer looks at first, of either series."""
    frames = opened.frames
    assert frames is not None
    some = np.stack([frames[int(i)] for i in np.linspace(0, len(frames) - 1, 12)]).astype(float)
    try:
        found = reduce_frames(opened, settings, lambda _: None)
    except Unfinished as error:
        found = error.found
    e = found.experiment
    numbers = found.report.numbers if found.report is not None else {}
    return {
        "quantiles": {str(q): float(np.quantile(some, q)) for q in (0.1, 0.5, 0.9, 0.99, 0.999)},
        "histogram": _histogram(some),
        "radial": _radial(some, e),
        "spots": _by_shell(found.spots, e) if found.spots is not None else {},
        "numbers": {k: v for k, v in numbers.items() if isinstance(v, int | float | str | bool)},
        "cell": e.crystals[0].cell.to_dict() if e.crystals else None,
    }


def _histogram(images: np.ndarray) -> list[list[float]]:
    edges = np.concatenate([[-0.5, 0.5], np.geomspace(1.5, 20000, 28)])
    count, _ = np.histogram(images, edges)
    return [edges[1:].tolist(), (count / images.size).tolist()]


def _radial(images: np.ndarray, e: Experiment) -> list[list[float]]:
    """Median counts in rings of q [Å⁻¹]."""
    ny, nx = images.shape[1:]
    yy, xx = np.mgrid[:ny, :nx] + 0.5
    q = np.hypot(xx - e.detector.origin[0], yy - e.detector.origin[1]) * e.detector.q_per_pixel
    edges = np.geomspace(0.03, 2.2, 25)
    ring = np.digitize(q, edges)
    mean = images.mean(axis=0)
    keep = [k for k in range(1, len(edges)) if (ring == k).sum() > 30]
    return [[float(np.sqrt(edges[k - 1] * edges[k])) for k in keep], [float(np.median(mean[ring == k])) for k in keep]]


def _by_shell(spots, e: Experiment) -> dict[str, float]:
    """Spots per degree of rotation in shells of resolution."""
    q = np.hypot(*(spots.xy - np.array(e.detector.origin)).T) * e.detector.q_per_pixel
    d = 1 / np.maximum(q, 1e-9)
    return {
        f"{a:g}-{b:g}": float(((d <= a) & (d > b)).sum() / np.abs(e.scan.width_deg).sum()) for a, b in pairwise(_SHELLS)
    }


GARNET = Case(
    "garnet", {}, "andradite", 200.0, 0.12, 0.00838, 516, 0.31, 2, 1300,
    {"size_um": 1.0, "size_spread": 0.05, "thickness_ratio": 0.55, "mosaicity_deg": 0.04, "bend_deg": 0.02,
     "film_nm": 15.0, "dynamical": 0.35},
    {"saturation": 11810, "dead_time": 0.008, "psf_px": 0.9},
    {"ellipse_percent": 2.75, "ellipse_azimuth_deg": 99.6, "rotation_jitter_deg": 0.005, "readout_wave_deg": 0.01,
     "pattern_jitter_px": 0.25},
)  # fmt: skip
CINCHONINE = Case(
    "cinchonine", {}, "cinchonine", 200.0, 0.2522, 0.00487, 512, 0.38, 7, 2600,
    {"size_um": 0.5, "size_spread": 0.05, "thickness_ratio": 0.21, "mosaicity_deg": 0.13, "bend_deg": 0.1,
     "critical_fluence": 20.0, "film_nm": 20.0, "disorder": 0.01, "dynamical": 0.15},
    {"saturation": 4095, "dead_time": 0.0, "kind": "cmos", "psf_px": 0.7},
    {"ellipse_percent": 0.5, "pattern_jitter_px": 0.2},
)  # fmt: skip
MORDENITE = Case(
    "mordenite", {"wavelength": 0.041757, "pixel_size": 0.0056715}, "mordenite", 80.0, 0.9535, 0.0056715, 512, 0.25,
    1, 1300,
    {"size_um": 1.2, "size_spread": 0.05, "thickness_ratio": 0.45, "mosaicity_deg": 0.7, "bend_deg": 0.7,
     "second_lattice": 1.0, "disorder": 0.08, "dynamical": 0.6},
    {"saturation": 65535, "dead_time": 1.05, "kind": "cmos", "psf_px": 1.2},
    {"ellipse_percent": 4.0, "ellipse_azimuth_deg": 68.0, "pattern_jitter_px": 0.6}, 53,
)  # fmt: skip
CASES = {"garnet": GARNET, "cinchonine": CINCHONINE, "mordenite": MORDENITE}


def main() -> None:
    """Simulate, reduce both, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/tmp/w"))
    parser.add_argument("--cif", type=Path, default=Path("../shared/data/cifs/organics_ed/cinchonine_shelxl.cif"))
    parser.add_argument("--cases", default="garnet,cinchonine,mordenite")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/work/fidelity"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.cases.split(","):
        case = CASES[name]
        n = min(args.frames, case.frames)
        measured = _middle(open_experiment(args.data / case.folder, GeometryOverrides(**case.overrides)), n)
        numbers = measured.experiment.scan.numbers - measured.experiment.scan.numbers[0]
        data, header = imitation(case, int(numbers[-1]) + 1, args.cif if name == "cinchonine" else None)
        # the gaps of the measured series, in which its pattern was defocused
        data, header = data[numbers], header.replace(scan=header.scan.part(numbers))
        both = {
            "measured": statistics(measured, ProcessSettings()),
            "simulated": statistics(Opened(header, ArrayFrames(data)), ProcessSettings()),
        }
        (args.out / f"{name}.json").write_text(json.dumps(both))
        draw(args.out / f"simulator-{name}.svg", name, both)
        print(name, json.dumps({k: v["numbers"] for k, v in both.items()}, indent=1))


def _middle(opened: Opened, n: int) -> Opened:
    """Its middle ``n`` frames."""
    frames = opened.frames
    assert frames is not None
    low = max((len(frames) - n) // 2, 0)
    keep = np.arange(low, min(low + n, len(frames)))
    e = opened.experiment
    return Opened(e.replace(scan=e.scan.part(keep)), ArrayFrames(np.stack([frames[int(i)] for i in keep])))
