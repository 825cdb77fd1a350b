"""Run DIALS (Debian's package) on a folder of frames, step by step, and keep what each step cost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

DIALS = Path("/usr/bin/dials.import")


def available() -> bool:
    """Whether DIALS is installed (`apt-get install dials python3-dials`)."""
    return DIALS.exists()


@dataclass
class Step:
    """One command: CPU and wall seconds of the whole process, and whether it succeeded."""

    name: str
    cpu: float
    wall: float
    ok: bool
    tail: str = ""


@dataclass
class DialsRun:
    """All steps of one data set, in the folder where their files lie."""

    folder: Path
    steps: list[Step] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        return sum(s.cpu for s in self.steps)

    @property
    def ok(self) -> bool:
        return all(s.ok for s in self.steps)

    def step(self, name: str, *args: str, timeout: float = 900) -> bool:
        """Run ``dials.NAME`` here; False when it failed or took too long."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        try:
            done = subprocess.run(
                [f"/usr/bin/dials.{name}", *args],
                cwd=self.folder, capture_output=True, text=True, timeout=timeout, env=env, check=False,
            )  # fmt: skip
            ok, tail = done.returncode == 0, (done.stdout + done.stderr)[-600:]
        except subprocess.TimeoutExpired:
            ok, tail = False, f"longer than {timeout} s"
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.steps.append(Step(name, cpu, time.perf_counter() - start, ok, "" if ok else tail))
        return ok


def run_dials(
    frames: Path,
    folder: Path,
    *,
    axis: tuple[float, float, float] | None = None,
    search_axis: bool = False,
    bravais: str | None = None,
    d_min: float | None = None,
    until: str = "symmetry",
) -> DialsRun:
    """Import to symmetry with the settings that suit electrons (facts: `detector.fix=all` while scan-varying).

    ``axis`` in DIALS's frame (x right, y up, z to the source); ``bravais`` forces that lattice type, as DIALS users
    do by hand; ``until`` is the last step wanted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = DialsRun(folder)
    geometry = [f"geometry.goniometer.axis={axis[0]},{axis[1]},{axis[2]}"] if axis else []
    plan = _plan(frames, geometry, search_axis, bravais, d_min)
    for name, args in plan:
        if not run.step(name, *args(folder)) and not _can_go_on(name, folder):
            break
        if name == until:
            break
    return run


def _can_go_on(failed: str, folder: Path) -> bool:
    """Scans in many pieces fail in two steps: it goes on with the triclinic cell, and with the static model."""
    return failed == "refine_bravais_settings" or (failed == "refine" and (folder / "static.expt").exists())


def _plan(frames: Path, geometry: list[str], search_axis: bool, bravais: str | None, d_min: float | None):
    last = {"expt": "imported.expt"}

    def chosen(folder: Path) -> list[str]:
        """The Bravais setting to go on with: the forced type, or the recommended one of highest symmetry."""
        summary = folder / "bravais_summary.json"
        if not summary.exists():
            return ["indexed.refl", "change_of_basis_op=a,b,c", "indexed.expt"]
        table = json.loads(summary.read_text())
        best = None
        for number, row in table.items():
            fits = row["bravais"] == bravais if bravais else row["recommended"]
            if fits and (best is None or int(number) > int(best)):
                best = number
        best = best or "1"
        (folder / "chosen.txt").write_text(f"{best} {table[best]['bravais']}\n")
        return ["indexed.refl", f"change_of_basis_op={table[best]['cb_op']}", f"bravais_setting_{best}.expt"]

    def refined(folder: Path) -> list[str]:
        name = "refined" if (folder / "refined.expt").exists() else "static"
        return [f"{name}.expt", f"{name}.refl"]

    yield "import", lambda _: [str(frames), *geometry]
    yield "find_spots", lambda _: ["imported.expt", "nproc=1"]
    if search_axis:
        yield "find_rotation_axis", lambda _: ["imported.expt", "strong.refl"]
        last["expt"] = "optimised.expt"
    yield "index", lambda _: [last["expt"], "strong.refl", "detector.fix=distance", "nproc=1"]
    yield "refine_bravais_settings", lambda _: ["indexed.expt", "indexed.refl", "detector.fix=distance", "nproc=1"]
    yield "reindex", lambda folder: chosen(folder)[:2]
    out = ["output.experiments=static.expt", "output.reflections=static.refl", "nproc=1"]
    still = ["scan_varying=False", "detector.fix=distance", *out]
    yield "refine", lambda folder: [chosen(folder)[2], "reindexed.refl", *still]
    yield "refine", lambda _: ["static.expt", "static.refl", "scan_varying=True", "detector.fix=all", "nproc=1"]
    limit = [f"prediction.d_min={d_min}"] if d_min else []
    yield "integrate", lambda folder: [*refined(folder), "nproc=1", *limit]
    yield "scale", lambda _: ["integrated.expt", "integrated.refl", "nproc=1"]
    yield "symmetry", lambda _: ["scaled.expt", "scaled.refl"]
