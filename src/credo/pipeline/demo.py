"""The demonstration: simulate a real structure's rotation series with an instrument's faults, process it with nothing
given, and judge the result by what the simulator knew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from credo.io.project import read_experiment, read_reflections
from credo.io.samples import sample as sample_structure
from credo.model import CannotDo
from credo.physics.rotation_series import FaultSettings, SeriesSettings
from credo.physics.truth import Truth, read_truth
from credo.pipeline.compare import compare
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.process import process
from credo.pipeline.simulate import simulate_frames

__all__ = ["DEMO_FAULTS", "LIMITS", "demo", "demo_series"]

#: What is wrong with the demonstration's instrument, all of it at once.
DEMO_FAULTS = FaultSettings(
    header_axis_deg=40.0,
    header_beam_px=(7.0, -5.0),
    ellipse_percent=2.0,
    drift_px=(4.0, -3.0),
    jitter_px=0.3,
    slip_deg=0.02,
    missing_every=15,
)
#: The largest errors that pass as right.
LIMITS = {
    "cell_length_percent": 0.3,
    "cell_angle_deg": 0.2,
    "orientation_deg": 0.3,
    "axis_deg": 0.5,
    "beam_px": 1.0,
}
_MIN_CC = 0.95


def demo_series(seed: int = 0) -> SeriesSettings:
    """120 small frames over 90°."""
    return SeriesSettings(
        frames=120, step_deg=0.75, start_deg=-45.0, shape=(256, 256), q_per_pixel=0.008, seed=seed, faults=DEMO_FAULTS
    )


def demo(
    out: Path,
    sample: str = "grossular",
    seed: int = 0,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo demo``: frames in ``out``/frames, the result in ``out``/result; returns the report of the comparison.

    Raises CannotDo, with the numbers, when the result is not what the simulator knew.
    """
    settings = demo_series(seed)
    sample_structure(sample)  # an unknown name is refused before anything is written
    output = Output(out, "demo", fingerprint([], (settings, sample)), settings=(settings, {"sample": sample}))

    def work(_: Path) -> dict[str, Any]:
        frames, result = output.folder / "frames", output.folder / "result"
        simulate_frames(frames, sample_name=sample, settings=settings, force=force, progress=progress)
        found = process([frames], result, force=force, progress=progress)
        truth = read_truth(frames / "truth.json")
        reflections = read_reflections(result / "reflections.h5")
        errors = compare(read_experiment(result / "experiment.json"), reflections, truth)
        report = _report(sample, found, truth, errors)
        wrong = _wrong(errors)
        if wrong:
            raise CannotDo(f"the result is not the truth: {'; '.join(wrong)}", f"look at {result}", report)
        return report

    return run_command(output, work, force)


def _report(sample: str, found: dict[str, Any], truth: Truth, errors: dict[str, Any]) -> dict[str, Any]:
    true = truth.experiment
    phase = {k: found[k] for k in ("cell", "cell_esd", "centring", "laue_group", "completeness", "r_int", "cc_half")}
    return {
        "sample": sample,
        "crystals_found": 1,
        "crystals_collected": 1,
        "datasets_indexed": 1,
        "phases": [{**phase, "members": 1}],
        "rotation_axis_deg": found["rotation_axis_deg"],
        "beam_center": found["beam_center"],
        "ellipse_percent": found["ellipse_percent"],
        "truth": {
            "cell": list(true.crystal.cell.parameters),
            "space_group": truth.sample["space_group"],
            "rotation_axis_deg": true.goniometer.angle_deg,
            "beam_center": list(true.detector.origin),
            "ellipse_percent": true.detector.ellipse.amplitude_percent,
        },
        "errors_vs_truth": errors,
        "page": "result/report.html",
        "warnings": found["warnings"],
    }


def _wrong(errors: dict[str, Any]) -> list[str]:
    """Sentences about what lies beyond the limits."""
    if not errors["lattice_right"]:
        return ["another lattice was found"]
    wrong = [
        f"{name} is off by {errors[name]:.3g} (limit {most})" for name, most in LIMITS.items() if errors[name] > most
    ]
    cc = errors["intensity_cc"]
    if cc is None or cc < _MIN_CC:
        wrong.append(f"the intensities correlate with the true ones by {cc} only (limit {_MIN_CC})")
    return wrong
