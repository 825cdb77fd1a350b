"""CPU seconds of simulated frames: credo's microscope beside the simulation that comes with Instamatic, in one run.

python -m benchmarks simulator [--peer PYTHON --frames N]

PYTHON is the interpreter of an environment with Instamatic (pip install instamatic); without it only credo is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np

from credo.instrument.sim.microscope import SimulatedMicroscope
from credo.instrument.sim.settings import CameraSettings, SampleSettings, SimulatorSettings

__all__ = ["main"]

_PEER = """
import json, os, sys, tempfile, time
os.environ["instamatic"] = tempfile.mkdtemp()
sys.argv = ["peer"]
import warnings; warnings.simplefilter("ignore")
out = {}
try:
    from instamatic.simulation.stage import Stage
except Exception:
    from pathlib import Path
    import instamatic
    Path(os.environ["instamatic"], "config").mkdir(exist_ok=True)
    from instamatic.simulation.stage import Stage
import numpy as np
stage = Stage()
s = stage.samples[0]
stage.set_position(x=s.x, y=s.y, z=0, alpha_tilt=1.0, beta_tilt=0)
def cpu(f, n):
    f()
    t = []
    for _ in range(n):
        a = time.process_time(); f(); t.append(time.process_time() - a)
    return sorted(t)[len(t) // 2]
def box(h): return dict(x_min=s.x-h, x_max=s.x+h, y_min=s.y-h, y_max=s.y+h)
out["image 516, 2500x field"] = cpu(lambda: stage.get_image(shape=(516, 516), **box(20000)), 5)
out["diffraction 516, field of 1 um"] = cpu(lambda: stage.get_diffraction_pattern(shape=(516, 516), **box(500)), 5)
out["diffraction 516, 2500x field"] = cpu(lambda: stage.get_diffraction_pattern(shape=(516, 516), **box(20000)), 2)
print("RESULT" + json.dumps(out))
"""


def _cpu(call, n: int) -> dict[str, float]:
    """Median and fastest CPU seconds of ``n`` calls after one that is not counted."""
    call()
    spent = []
    for _ in range(n):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return {"median": float(np.median(spent)), "fastest": float(np.min(spent))}


def on_largest_crystal(scope: SimulatedMicroscope, within_um: float, beam: float) -> np.ndarray:
    """Diffraction, with the largest crystal of the middle of the grid at the centre and at the eucentric height;
    ``beam``: brightness above the crossover. Returns the crystal's place (3,) on the grid [µm]."""
    table = scope.specimen.sample.near(np.zeros(2), within_um)
    place = table.place[int(np.argmax(table.reach))]
    z = scope.stage.eucentric_height(*place[:2]) - place[2]
    scope.stage.start({"x": 1e3 * place[0], "y": 1e3 * place[1], "z": 1e3 * z})
    scope.clock.sleep(60)
    scope.lenses.set("mode", "diff")
    scope.lenses.set("brightness", round(scope.truth.crossover + beam))
    scope.lenses.set("difffocus", round(scope.truth.focus))
    scope.lenses.set("spotsize", 4)
    return place


def _scope(size: int, phase: str, beam: float) -> SimulatedMicroscope:
    """A microscope in diffraction, turning at 0.8°/s, on the largest crystal of the middle of the grid."""
    camera = CameraSettings(size=size, kind="timepix" if size == 516 else "cmos")
    sample = SampleSettings(phases=(phase,), clustered=0, second_lattice=0, debris=0)  # type: ignore[arg-type]
    scope = SimulatedMicroscope(SimulatorSettings(sample=sample, cameras=(camera,)))
    on_largest_crystal(scope, 15.0, beam)
    scope.blanker.blank(False)
    scope.stage.set_rotation_speed(0.8)
    scope.stage.start({"a": 60.0})
    return scope


def _rest_at_low_magnification(scope: SimulatedMicroscope) -> None:
    scope.stage.stop()
    scope.clock.sleep(60)
    scope.lenses.set("mode", "mag1")
    scope.lenses.set("brightness", 36000)


def run_credo(frames: int) -> dict[str, dict[str, float]]:
    """Each kind of frame, as the camera returns it: rendered, with noise, read out."""
    out = {}
    scope = _scope(516, "ZSM-5", 800)
    camera = scope.cameras["timepix"]
    out["diffraction 516, ZSM-5 (20 A)"] = _cpu(lambda: camera.acquire(0.3), frames)
    out["  crystals in the beam"] = {"median": float(len(scope.diary[-1].share)), "fastest": 0.0}
    scope.lenses.set("difffocus", round(scope.truth.focus + 1500))
    out["defocused 516"] = _cpu(lambda: camera.acquire(0.3), frames // 2)
    _rest_at_low_magnification(scope)
    out["image 516, 2500x"] = _cpu(lambda: camera.acquire(0.3), frames // 2)
    big = _scope(516, "ZSM-25", 800)
    out["diffraction 516, ZSM-25 (45 A)"] = _cpu(lambda: big.cameras["timepix"].acquire(0.3), frames // 2)
    for size in (2048, 4096):
        scope = _scope(size, "ZSM-5", 800)
        out[f"diffraction {size}, ZSM-5"] = _cpu(lambda c=scope.cameras["timepix"]: c.acquire(0.3), 5)
        _rest_at_low_magnification(scope)
        out[f"image {size}, 2500x"] = _cpu(lambda c=scope.cameras["timepix"]: c.acquire(0.3), 5)
    return out


def run_peer(python: Path) -> dict[str, float]:
    """Instamatic's simulation (instamatic.simulation.stage.Stage), CPU seconds of a frame."""
    done = subprocess.run([str(python), "-c", _PEER], capture_output=True, text=True, check=False)
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT")), None)
    if line is None:
        raise RuntimeError(f"Instamatic did not run:\n{done.stderr[-2000:]}")
    return json.loads(line[6:])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="python of an environment with Instamatic")
    parser.add_argument("--frames", type=int, default=40)
    args = parser.parse_args()
    for name, value in run_credo(args.frames).items():
        if name.startswith(" "):
            print(f"{name:42s} {value['median']:.0f}")
            continue
        print(f"credo       {name:32s} {1e3 * value['median']:8.1f} ms (fastest {1e3 * value['fastest']:.1f})")
    if args.peer:
        for name, seconds in run_peer(args.peer).items():
            print(f"instamatic  {name:32s} {1e3 * seconds:8.1f} ms")
