"""Every calibration of a fresh simulated instrument against its hidden truth: pulls, esds, frames, time, dose.

``python -m benchmarks calibration [--seeds 20] [--first 0] [--lengths 400 800] [--log FILE]``: default imperfections, a
gold film over a grid of crystals. A pull is (measured − true)/esd; its rms over many instruments is 1 where the stated
uncertainty is right. The truth of a deflector is the straight line through the places where the simulator's own optics
put the beam at the settings that were used.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from credo.collect.calibration.everything import AllSettings, calibrate_all
from credo.collect.engine import Engine
from credo.collect.rig import Rig
from credo.instrument.config import validated
from credo.instrument.controller import TEMController
from credo.instrument.sim.diffraction import incident
from credo.instrument.sim.microscope import SimulatedMicroscope
from credo.instrument.sim.optics import NEUTRAL, illumination, image_geometry, pattern_geometry
from credo.pipeline.calibrate_instrument import Told

__all__ = ["main", "pulls", "run_seed"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks calibration", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--lengths", type=float, nargs="*", default=[400.0, 800.0], help="other camera lengths [mm]")
    parser.add_argument("--log", type=Path, help="a line of JSON per instrument; those in it already are not run again")
    given = parser.parse_args()
    rows = []
    if given.log and given.log.exists():
        rows = [json.loads(line) for line in given.log.read_text().splitlines()]
    done = {row["seed"] for row in rows}
    for seed in range(given.first, given.first + given.seeds):
        if seed in done:
            continue
        rows.append(run_seed(seed, tuple(given.lengths)))
        if given.log:
            with given.log.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
    print(table_of(rows))
    return 0


def run_seed(seed: int, lengths: tuple[float, ...] = (400.0, 800.0)) -> dict[str, Any]:
    """One fresh instrument: pulls and relative esds of every result, and what it cost."""
    options = {"seed": seed, "sample": {"gold": True}}
    ctrl = TEMController.of(validated({"microscope": {"driver": "simulated", "options": options}}, "benchmark"))
    scope: SimulatedMicroscope = ctrl.link.guard.microscope  # type: ignore[attr-defined]
    told = Told(ctrl)
    began = time.process_time()
    try:
        Engine(ctrl, [told]).run(calibrate_all(Rig.of(ctrl), AllSettings(other_lengths=lengths)))
        cpu = time.process_time() - began
        found = {name: one for facts in told.results for name, one in pulls(scope, facts).items()}
    finally:
        ctrl.close()
    cost = {k: told.numbers[k] for k in ("frames", "instrument_s", "beam_on_s", "dose_e_per_A2")}
    return {"seed": seed, "pulls": found, "failed": told.numbers["failed"], "cpu_s": cpu, **cost}


def pulls(scope: SimulatedMicroscope, facts: Any) -> dict[str, dict[str, Any]]:
    """Per quantity of one result: pulls of its elements, and the esd relative to the value."""
    result, details = facts["result"], facts["details"]
    name = " ".join(str(facts[k]) for k in ("table", "key", "name") if facts[k])
    value, esd, truth = np.array(result["value"], dtype=float), result["esd"], _truth(scope, facts, details)
    if truth is None:
        return {}
    if facts["table"] in _PAIRS:
        labels = _PAIRS[facts["table"]]
        return {f"{name}: {label}": _pull(v, t, s) for label, v, t, s in zip(labels, value, truth, esd)}
    if facts["table"] == "ellipse":
        return {
            f"{name}: %": _pull(value[0], truth[0], esd[0]),
            f"{name}: azimuth": _pull((value[1] - truth[1] + 90) % 180 - 90, 0.0, esd[1]),
        }
    if facts["table"] == "axis_deg":
        value = (value - truth + 180) % 360 - 180
        return {name: _pull(value, np.zeros(()), esd)}
    return {name: _pull(value, truth, esd)}


_PAIRS = {"beam": ("crossover", "radius"), "rotation": ("pace", "delay"), "brightness": ("x", "y")}


def _pull(value: Any, truth: Any, esd: float) -> dict[str, Any]:
    off = np.atleast_1d(np.asarray(value, dtype=float) - truth).ravel() / esd
    size = float(np.sqrt(np.mean(np.square(truth)))) or 1.0
    return {"pulls": off.tolist(), "esd": float(esd), "size": size}


def _truth(scope: SimulatedMicroscope, facts: Any, details: Any) -> Any:
    """The true value of one result; None for what is told twice."""
    table, key, result = facts["table"], facts["key"], facts["result"]
    t, at = scope.truth, result.get("at", {})
    if table == "deflectors":
        kind = "image" if at["mode"] != "diff" and facts["name"].startswith(("image", "diff")) else "disc"
        return _slope(scope, at, facts["name"], kind, np.array(details["control"], dtype=float))
    if table in ("stage", "imaging"):
        matrix = 1e3 * np.linalg.inv(_image(scope, key, float(facts["name"])))
        return matrix if table == "stage" else np.sqrt(abs(np.linalg.det(matrix)))
    if table == "axis_deg":
        mode, magnification = key.split("@")
        x = _image(scope, mode, float(magnification))[:, 0]
        return np.degrees(np.arctan2(x[1], x[0]))
    if table == "beam":
        return np.array([t.crossover, 1.1e-3])
    if table == "brightness":
        mode, magnification = key.split("@")
        return _image(scope, mode, float(magnification)) @ t.brightness_walk
    if table == "focus":
        # approached from below, the lens lags by half of its hysteresis; brightness shifts the focus a little
        lag = 0.5 * scope.settings.imperfections.hysteresis
        return np.array(t.focus + lag - 0.01 * (at["brightness"] - t.crossover - 680.0))
    if table in ("diffraction", "ellipse"):
        return _rings(scope, float(key), table)
    if table == "rotation":
        return np.array([1 / float(key), 0.5 * float(key) / 20.0])  # half of the ramp: the drive makes 20 deg/s²
    if table == "dead_time_s":
        return np.array(next(iter(scope.cameras.values())).settings.dead_time)
    return None


def _pixel(scope: SimulatedMicroscope) -> float:
    return next(iter(scope.cameras.values())).pixel_mm


def _image(scope: SimulatedMicroscope, mode: str, magnification: float) -> np.ndarray:
    """Pixels per µm of the specimen (2, 2)."""
    s = scope._column.state
    state = replace(s, mode=mode, magnification=s.magnification | {mode: magnification})
    return image_geometry(state, scope.truth).matrix / _pixel(scope)


def _rings(scope: SimulatedMicroscope, length: float, table: str) -> np.ndarray:
    s = scope._column.state
    state = replace(s, mode="diff", magnification=s.magnification | {"diff": length})
    g = pattern_geometry(state, scope.truth, scope.settings.imperfections, scope.settings.kilovolts)
    if table == "ellipse":
        return np.array([g.ellipse_percent, g.ellipse_azimuth_deg])
    return np.array(_pixel(scope) / (scope.specimen.wavelength * g.length_mm))


def _slope(scope: SimulatedMicroscope, at: Any, name: str, kind: str, control: np.ndarray) -> np.ndarray:
    """Pixels per unit (2, 2) by least squares through the true places at the settings ``control`` (n, 2)."""
    s = scope._column.state
    changes: dict[str, Any] = {"mode": at["mode"], "magnification": s.magnification | {at["mode"]: at["magnification"]}}
    if "brightness" in at:
        changes["brightness"] = at["brightness"]
    if "difffocus" in at:
        lag = 0.5 * scope.settings.imperfections.hysteresis
        changes |= {"difffocus": at["difffocus"], "focus_memory": at["difffocus"] - lag}
    state = replace(s, **changes)
    home = np.array(state.deflector.get(name, (NEUTRAL, NEUTRAL)))
    places = [_place(scope, replace(state, deflector=state.deflector | {name: tuple(home + u)}), kind) for u in control]
    design = np.hstack([control, np.ones((len(control), 1))])
    return np.linalg.lstsq(design, np.array(places), rcond=None)[0][:2].T


def _place(scope: SimulatedMicroscope, state: Any, kind: str) -> np.ndarray:
    """Where the beam, or for kind "image" the image, is on the camera (2,) [px]."""
    beam = illumination(state, scope.truth)
    if state.mode != "diff":
        g = image_geometry(state, scope.truth)
        return (g.shift + (g.matrix @ beam.centre if kind == "disc" else 0)) / _pixel(scope)
    g = pattern_geometry(state, scope.truth, scope.settings.imperfections, scope.settings.kilovolts)
    k0 = incident(beam, g, scope.specimen.wavelength)
    return (g.matrix @ (k0[:2] / k0[2]) + g.shift + g.shadow @ beam.centre) / _pixel(scope)


def table_of(rows: list[dict[str, Any]]) -> str:
    """The table, and what the whole set costs."""
    gathered: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        for name, one in row["pulls"].items():
            gathered[name].append(one)
    out = [
        "| calibrated | instruments | esd (median) | of the value | rms pull | largest |",
        "|---|---|---|---|---|---|",
    ]
    for name, ones in gathered.items():
        all_ = np.concatenate([one["pulls"] for one in ones])
        esd = float(np.median([one["esd"] for one in ones]))
        part = esd / float(np.median([one["size"] for one in ones]))
        rms, largest = float(np.sqrt(np.mean(all_**2))), float(np.abs(all_).max())
        out.append(f"| {name} | {len(ones)} | {esd:.2g} | {100 * part:.2g} % | {rms:.2f} | {largest:.1f} |")
    means = {
        k: np.mean([r[k] for r in rows]) for k in ("frames", "instrument_s", "beam_on_s", "dose_e_per_A2", "cpu_s")
    }
    out.append("")
    out.append(", ".join(f"{k} {v:.3g}" for k, v in means.items()) + f"; {len(rows)} instruments (means)")
    failed = [f"seed {r['seed']}: {f['what']}: {f['reason']}" for r in rows for f in r["failed"]]
    return "\n".join(out + ["", *failed])


if __name__ == "__main__":
    raise SystemExit(main())
