"""From frames to intensities: credo beside DIALS on the same simulated files, scored against the simulator's truth.

python -m benchmarks reduction [--scenes zsm5_easy,zsm5_hr --programs credo,dials]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.peer_dials import run_dials
from benchmarks.scenes import SCENES, Scene, prepared
from benchmarks.score import IntensityScore, primitive, score_intensities, score_lattice
from credo.io.dials import read_expt_groups
from credo.io.dials_refl import read_columns
from credo.io.project import read_experiment, read_reflections
from credo.model import CredoError, Experiment, Reflections
from credo.reduce.missets import frame_rotations

__all__ = ["main"]

_PRF, _SUM = 512, 256
_CODE = """
import sys
from pathlib import Path
from credo.io.open import GeometryOverrides, open_experiment
from credo.io.project import write_experiment, write_reflections
from credo.pipeline.process import ProcessSettings, reduce_frames
found = reduce_frames(open_experiment([Path(sys.argv[1])], GeometryOverrides()), ProcessSettings(), lambda _: None)
out = Path(sys.argv[2])
write_experiment(out / "experiment.json", found.experiment)
write_reflections(out / "reflections.h5", found.reflections)
"""


def run_credo(scene: Scene) -> dict:
    """``credo process`` in a fresh process, nothing given but the folder: CPU seconds and the largest memory [MB]."""
    out = scene.folder / "credo"
    shutil.rmtree(out, ignore_errors=True)
    command = [str(Path(sys.executable).parent / "credo"), "process", str(scene.frames), "--out", str(out)]
    if find_spec("credo.app.cli") is None:
        out.mkdir(parents=True)
        command = [sys.executable, "-c", _CODE, str(scene.frames), str(out)]
    start = time.perf_counter()
    log = os.open(scene.folder / "credo.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    pid = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    )
    os.close(log)
    _, status, usage = os.wait4(pid, 0)
    return {
        "ok": status == 0, "cpu": usage.ru_utime + usage.ru_stime, "wall": time.perf_counter() - start,
        "memory_mb": usage.ru_maxrss / 1024,
    }  # fmt: skip


def run_peer(scene: Scene) -> dict:
    """DIALS with the axis that a header would give, in its frame (y, z turned round), and the true Bravais type."""
    shutil.rmtree(scene.folder / "dials", ignore_errors=True)
    m = read_experiment(scene.folder / "header.json").goniometer.axis
    run = run_dials(
        scene.frames, scene.folder / "dials", axis=(m[0], -m[1], -m[2]), search_axis=scene.search_axis,
        bravais=scene.bravais,
    )  # fmt: skip
    (scene.folder / "dials.json").write_text(json.dumps([asdict(s) for s in run.steps]))
    return {"ok": run.ok, "cpu": run.cpu, "steps": {f"{i} {s.name}": s.cpu for i, s in enumerate(run.steps)}}


def geometry(found: list[Experiment], scene: Scene) -> dict:
    """Lattice and orientation against truth; ``found`` is one experiment, or one for each piece of the scan.

    A frame's error is the rotation between what is found and true of M_f R(m, φ) U B at its middle.
    """
    truth = scene.truth().experiment
    true_ub = primitive(truth.crystal.UB, truth.crystal.centring)
    scores = [score_lattice(primitive(e.crystal.UB, e.crystal.centring), true_ub, 0.2) for e in found]
    right = all(s.right for s in scores)
    cell, one = np.array(found[0].crystal.cell.parameters), scores[0]
    out = {
        "lattice": right, "bravais": _bravais(found[0]), "cell": cell.tolist(),
        "static_deg": _finite(one.misorientation_deg),
        "strain_percent": _finite(one.strain_percent), "scale": one.scale,
    }  # fmt: skip
    if not right:
        return out
    true_frames = {int(n): a for n, a in zip(truth.scan.numbers, _frame_matrices(truth))}
    errors = []
    for e, s in zip(found, scores):
        p = np.linalg.inv(e.crystal.UB) @ primitive(e.crystal.UB, e.crystal.centring)
        tp = np.linalg.inv(truth.crystal.UB) @ true_ub @ s.transform
        for n, a in zip(e.scan.numbers, _frame_matrices(e)):
            if int(n) in true_frames:
                u, _, vt = np.linalg.svd((a @ p) @ np.linalg.inv(true_frames[int(n)] @ tp))
                errors.append(np.degrees(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1))))
    axis = min(np.degrees(np.arccos(np.clip(e.goniometer.axis @ truth.goniometer.axis, -1, 1))) for e in found)
    e = np.array(errors)
    return out | {
        "axis_deg": float(axis), "frame_mean_deg": float(e.mean()), "frame_rms_deg": float(np.sqrt((e**2).mean())),
        "frame_max_deg": float(e.max()), "transform": scores[0].transform.tolist(),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _frame_matrices(e: Experiment) -> np.ndarray:
    return frame_rotations(e) @ e.goniometer.rotation(e.scan.mid_deg) @ e.crystal.UB


def _bravais(e: Experiment) -> str:
    system = {"-1": "a", "2/m": "m", "mmm": "o", "4/m": "t", "4/mmm": "t", "m-3": "c", "m-3m": "c"}
    return system.get(e.crystal.laue_group, "h") + e.crystal.centring


def credo_intensities(scene: Scene) -> tuple[list[Experiment], dict[str, Reflections]]:
    """Counts of each crossing: the Lorentz correction and the scale are undone."""
    e, r = (
        read_experiment(scene.folder / "credo/experiment.json"),
        read_reflections(scene.folder / "credo/reflections.h5"),
    )
    r = r.select((r["lattice"] == 0) & ~r["overloaded"])
    up = r["lorentz"] * r["scale"]
    fitted = r.with_columns(intensity=r["intensity"] * up, sigma=r["sigma"] * up)
    summed = r.with_columns(intensity=r["intensity_sum"] * r["lorentz"], sigma=r["sigma_sum"] * r["lorentz"])
    return [e], {"fitted": fitted, "summed": summed}


def dials_intensities(scene: Scene) -> tuple[list[Experiment], dict[str, Reflections]]:
    """Counts of each crossing, profile-fitted and summed, over all pieces of the scan."""
    folder = scene.folder / "dials"
    name = next((n for n in ("integrated", "refined") if (folder / f"{n}.expt").exists()), "static")
    groups = read_expt_groups(folder / f"{name}.expt")
    if not (folder / "integrated.refl").exists():
        return [g.experiment for g in groups], {}
    columns, _ = read_columns(folder / "integrated.refl")
    z, ids = columns["xyzcal.px"][:, 2], columns["id"]
    phi = np.zeros(len(z))
    for i, g in enumerate(groups):
        scan, mine = g.experiment.scan, ids == i
        phi[mine] = scan.start_deg[0] + scan.width_deg[0] * (z[mine] - scan.numbers[0] + 1)
    tables = {}
    for label, bit in (("prf", _PRF), ("sum", _SUM)):
        use = (columns["flags"] & bit) > 0
        variance = columns[f"intensity.{label}.variance"][use]
        hkl = columns["miller_index"][use]
        tables[{"prf": "fitted", "sum": "summed"}[label]] = Reflections(
            h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], phi=phi[use], intensity=columns[f"intensity.{label}.value"][use],
            sigma=np.sqrt(np.maximum(variance, 1e-6)),
        )  # fmt: skip
    return [g.experiment for g in groups], tables


def intensities(tables: dict[str, Reflections], transform: np.ndarray, truth: Reflections) -> dict[str, IntensityScore]:
    """Each kind of intensity against the expected counts."""
    return {
        kind: score_intensities(r.hkl, r["phi"], r["intensity"], r["sigma"], transform, truth)
        for kind, r in tables.items()
    }


def score_scene(scene: Scene, programs: list[str]) -> dict:
    """All scores of what lies in the scene's folder; intensities also over the crossings that both programs give."""
    readers = {"credo": credo_intensities, "dials": dials_intensities}
    truth = scene.truth().reflections
    truth = truth.select(truth["lattice"] == 0)
    out, found = {}, {}
    for program in programs:
        try:
            experiments, tables = readers[program](scene)
        except (CredoError, OSError, ValueError) as error:  # a program that failed leaves no files
            out[program] = {"failed": f"{type(error).__name__}: {error}"}
            continue
        out[program] = geometry(experiments, scene)
        if "transform" in out[program]:
            transform = np.array(out[program].pop("transform"))
            out[program]["intensities"] = {k: asdict(v) for k, v in intensities(tables, transform, truth).items()}
            found[program] = tables, transform
    if len(found) == 2 and all("fitted" in t for t, _ in found.values()):
        common = _common(truth, [(t["fitted"], m) for t, m in found.values()])
        for program, (tables, transform) in found.items():
            out[program]["common"] = {k: asdict(v) for k, v in intensities(tables, transform, common).items()}
    return out


def _common(truth: Reflections, tables: list) -> Reflections:
    keep = np.ones(len(truth), dtype=bool)
    for r, transform in tables:
        seen = {tuple(h) for h in np.rint(r.hkl @ transform.T).astype(int).tolist()}
        keep &= np.array([tuple(h) in seen for h in truth.hkl.tolist()])
    return truth.select(keep)


def main(arguments: list[str] | None = None) -> None:
    """Run, score, keep benchmarks/work/reduction.json, and write the tables to stdout."""
    from benchmarks.tables import reduction_tables

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--programs", default="credo,dials")
    parser.add_argument("--score-only", action="store_true", help="of what earlier runs left")
    options = parser.parse_args(arguments)
    programs = options.programs.split(",")
    results = {}
    for name in options.scenes.split(","):
        scene = prepared(SCENES[name])
        kept = scene.folder / "runs.json"
        runs = json.loads(kept.read_text()) if kept.exists() else {}
        if not options.score_only:
            for program in programs:
                runs[program] = {"credo": run_credo, "dials": run_peer}[program](scene)
            kept.write_text(json.dumps(runs, indent=1))
        results[name] = {"runs": runs, "scores": score_scene(scene, programs)}
        sys.stderr.write(f"{name} done\n")
    (Path(__file__).parent / "work/reduction.json").write_text(json.dumps(results, indent=1))
    sys.stdout.write(reduction_tables(results))
