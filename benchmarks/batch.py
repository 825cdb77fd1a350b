"""Batch and watch: how they scale, what is serial, how soon a crystal is known, and what interruptions leave behind.

    python -m benchmarks batch [--parts scaling mixture serial watch kills] [--work FOLDER] [--sets 6]
                               [--kills 20 --seed 1]

Times are CPU seconds of this process and of its children, but for `scaling`, whose wall times mean something on an idle
machine only. `kills` sends SIGKILL to the command after a random amount of CPU time of it and its children (from the
first import to what the undisturbed run took in all), runs it again, and so on, and at last compares every result's
bytes with those of the run that nobody disturbed; so it does whenever a run ends before its kill, and begins anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from credo.physics.rotation_series import FaultSettings, SeriesSettings
from credo.pipeline.batch import BatchSettings, batch
from credo.pipeline.batch_find import find_data_sets
from credo.pipeline.batch_phase import read_crystal
from credo.pipeline.batch_sort import sort_sets
from credo.pipeline.demo_scenes import Scene
from credo.pipeline.demo_truth import errors_of
from credo.pipeline.simulate import simulate_frames
from credo.pipeline.watch_frames import find_growing
from credo.pipeline.watch_set import LiveSet

COMPOSITION = ("A=Ca3 Al2 Si3 O12",)
_SKIPPED = {"report.json", "report.html", "catalogue.sqlite", ".lock"}


def small_tree(root: Path, sets: int) -> Path:
    """Half garnet, half paracetamol: 50 frames of 192 × 192 over 60°, 20 % of error on each crossing."""
    for k in range(sets):
        sample = ("grossular", "paracetamol")[k % 2]
        folder = root / sample / f"x{k // 2}"
        settings = SeriesSettings(
            frames=50, step_deg=1.2, start_deg=-30, shape=(192, 192), q_per_pixel=0.009, seed=10 + k // 2,
            faults=FaultSettings(dynamical=0.2),
        )  # fmt: skip
        simulate_frames(folder, sample_name=sample, settings=settings)
    return root


def _cpu() -> tuple[float, float]:
    """Of this process, and of its children that have ended [s]."""
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, theirs.ru_utime + theirs.ru_stime


def scaling(work: Path, sets: int) -> None:
    """The same tree with 1 and 2 workers, nothing solved; and again with everything there."""
    root = small_tree(work / "tree", sets)
    for workers in (1, 2):
        out = work / f"scaling-{workers}"
        shutil.rmtree(out, ignore_errors=True)
        for name in ("first", "again"):
            before, start = _cpu(), time.perf_counter()
            batch(root, out, BatchSettings(workers=workers, solve=False))
            own, theirs = (b - a for a, b in zip(before, _cpu()))
            wall = time.perf_counter() - start
            print(f"{workers} workers, {name}: wall {wall:.1f} s, parent {own:.2f} CPU s, children {theirs:.2f} CPU s")


def mixture(work: Path, workers: int) -> None:
    """Seven crystals each of ZSM-5 and mordenite from frames, in six folders and two formats, told SiO2 only."""
    root, out = work / "mixture", work / "mixture-result"
    for k in range(14):
        sample = ("ZSM-5", "mordenite")[k % 2]
        settings = SeriesSettings(
            frames=120, step_deg=0.5, start_deg=-30, shape=(384, 384), q_per_pixel=1 / 192, seed=40 + k,
            faults=FaultSettings(dynamical=0.28, jitter_px=0.3, slip_deg=0.02, header_axis_deg=3.0),
        )  # fmt: skip
        simulate_frames(root / f"grid{k % 6}" / f"x{k:02d}", sample_name=sample, settings=settings,
                        form=("smv", "tiff")[k // 2 % 2])  # fmt: skip
    before, start = _cpu(), time.perf_counter()
    found = batch(root, out, BatchSettings(composition=("Si O2",), workers=workers))
    own, theirs = (b - a for a, b in zip(before, _cpu()))
    print(f"14 sets, {workers} workers: wall {time.perf_counter() - start:.0f} s, {own + theirs:.0f} CPU s")
    true = {s["dataset"]: json.loads((Path(s["place"]) / "truth.json").read_text())["sample"]["name"]
            for s in found["sets"]}  # fmt: skip
    for p in found["phases"]:
        s = p["structure"] or {}
        r1, damping = (s.get("refined") or {}).get("r1_obs"), s.get("damping") or {}
        print(f"phase {p['name']}: {dict(Counter(true[m] for m in p['members']))}, cell {np.round(p['cell'], 3)}, "
              f"{p['completeness']:.3f} to {p['resolution']:.2f} Å, CC½ {p['cc_half']:.3f}, {p['space_group']}, "
              f"R1 {r1}, before correction {damping.get('r1_obs_before')}, {damping.get('reason')}")  # fmt: skip
    shown = Scene("", ("ZSM-5", "mordenite"), "Si O2", 14)
    for name, e in errors_of(found["phases"], shown, out).items():
        print(f"{name}: {e}")
    for r in found["rejected"]:
        print(f"{r['dataset']} ({true[r['dataset']]}): {r['reason']}")


def serial(work: Path, project: Path | None) -> None:
    """What one process does for all: looking, reading, sorting; by the number of data sets (copies, jittered cells)."""
    project = project or work / "scaling-1"
    folders = sorted(p for p in (project / "crystals").iterdir() if (p / "reflections.h5").is_file())
    sizes = [sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in folders]
    table = [(p / "reflections.h5").stat().st_size for p in folders]
    print(
        f"results of a data set: {np.mean(sizes) / 1e6:.2f} MB, of which reflections.h5 {np.mean(table) / 1e6:.2f} MB"
    )
    root = small_tree(work / "tree", 6)
    start = time.process_time()
    tree = find_data_sets(root)
    print(f"looking: {(time.process_time() - start) / max(len(tree.sets), 1):.4f} CPU s a data set")
    start = time.process_time()
    sets = [read_crystal(p, p.name) for p in folders]
    print(f"reading: {(time.process_time() - start) / len(sets):.4f} CPU s a data set")
    rng = np.random.default_rng(1)
    for n in (10, 30, 100):
        many = [_copy(sets[k % len(sets)], f"{k}", rng) for k in range(n)]
        start = time.process_time()
        found = sort_sets(many)
        print(f"sorting {n}: {time.process_time() - start:.2f} CPU s, {len(found.groups)} phases")


def _copy(data, name: str, rng: np.random.Generator):
    """A data set under another name, its intensities 20 % off again."""
    from dataclasses import replace

    i = np.asarray(data.table["intensity"])
    noisy = i * np.exp(0.2 * rng.normal(size=len(i)))
    return replace(data, name=name, table=data.table.with_columns(intensity=noisy))


def watched(work: Path) -> None:
    """500 frames of 516 × 516 of ZSM-5 as fast as they can be read: CPU time of each step."""
    folder = work / "live"
    settings = SeriesSettings(
        frames=500, step_deg=0.2, start_deg=-50, q_per_pixel=0.0032, seed=7,
        faults=FaultSettings(dynamical=0.28, jitter_px=0.3, slip_deg=0.02, header_axis_deg=3.0),
    )  # fmt: skip
    simulate_frames(folder / "z500", sample_name="ZSM-5", settings=settings)
    for turn in ("first (compiles)", "second"):
        (source,) = find_growing(folder, set(), set())
        live, adding, updating, slowest = LiveSet(source.name, source.experiment), 0.0, [], 0.0
        start = time.process_time()
        for image in source.new():
            adding += time.process_time() - start
            begin = time.process_time()
            live.add(image.number, image.data)
            slowest = max(slowest, time.process_time() - begin)
            adding += time.process_time() - begin
            if live.due() and image.number < 490:
                begin = time.process_time()
                state = live.update()
                updating.append((image.number, time.process_time() - begin, state))
            start = time.process_time()
        begin = time.process_time()
        glance = live.glance()
        middle = time.process_time()
        last = live.update()
        end = time.process_time()
        print(f"{turn}: {adding / 500:.4f} CPU s a frame (slowest {slowest:.2f}), {len(updating)} updates:")
        for number, seconds, state in updating:
            cell = (
                "no lattice" if state.crystal is None else " ".join(f"{x:.2f}" for x in state.crystal.cell.parameters)
            )
            print(f"  frame {number}: {seconds:.2f} CPU s, {cell}")
        print(f"  after the last frame: known as before in {middle - begin:.2f}, settled in {end - begin:.2f} CPU s")
        print(f"  {glance.n_indexed} then {last.n_indexed} of {last.n_spots}, {last.crystal.cell.parameters}")


def _bytes(out: Path) -> dict[str, str]:
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and p.name not in _SKIPPED]
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process and all below it (Linux)."""
    stats: dict[int, tuple[int, float]] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for place in Path("/proc").iterdir():
        d = place.name
        if d.isdigit():
            try:
                f = Path("/proc", d, "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            stats[int(d)] = int(f[1]), sum(map(int, f[11:15])) / tick
    total, todo = 0.0, [pid]
    while todo:
        p = todo.pop()
        total += stats.get(p, (0, 0.0))[1]
        todo += [k for k, (parent, _) in stats.items() if parent == p]
    return total


def _stage(out: Path, sets: int) -> str:
    """What a killed run was at, by the unfinished folders that it left."""
    for place, word in (("phases/*/.corrected*", "correcting"), ("phases/*/corrected/.refine*", "correcting"),
                        ("phases/*/.refine*", "refining"), ("phases/*/.solve*", "solving"), ("phases/.*", "merging"),
                        (".first/.*", "merging, the first time")):  # fmt: skip
        if any(out.glob(place)):
            return word
    done = len(list((out / "crystals").glob("[0-9]*")))
    if any(out.glob("phases/*/solve")):
        return "after solving"
    if any(out.glob("phases/*")):
        return "after merging"
    return f"processing, {done} done" if done < sets else "sorting"


def killed(work: Path, sets: int, kills: int, seed: int, most: float | None, workers: int) -> None:
    """SIGKILL at random moments of CPU time, uniform between half a second and ``most`` (None: all that it takes)."""
    root, clean, out = small_tree(work / "tree", sets), work / "clean", work / "killed"
    words = [sys.executable, "-c", "from credo.app.cli import main; main()", "batch", str(root),
             "--workers", str(workers), "--composition", COMPOSITION[0], "--solve-completeness", "0.85"]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(clean, ignore_errors=True)
    before = _cpu()[1]
    subprocess.run([*words, "--out", str(clean)], check=True, **quiet)
    most = most or _cpu()[1] - before
    print(f"undisturbed, {workers} workers: {_cpu()[1] - before:.0f} CPU s; kills within {most:.0f}", flush=True)
    rng, count, finished, stages = random.Random(seed), 0, 0, Counter()
    while count < kills:
        process = subprocess.Popen([*words, "--out", str(out)], **quiet)
        limit = rng.uniform(0.5, most)
        while process.poll() is None and _cpu_of(process.pid) < limit:
            time.sleep(0.03)
        if process.poll() is not None:
            # there was nothing left to disturb: begin anew
            finished += 1
            other = _differing(clean, out)
            print(f"  ended before its kill: {other or 'the same bytes'}; begun anew", flush=True)
            shutil.rmtree(out)
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        count += 1
        stage = _stage(out, sets)
        stages[stage.partition(",")[0]] += 1
        print(f"  kill {count} after {limit:.1f} CPU s, {stage}", flush=True)
    subprocess.run([*words, "--out", str(out)], check=True, **quiet)
    other = _differing(clean, out)
    print(f"{kills} kills ({dict(stages)}), {finished} runs that ended between: {len(_bytes(clean))} files, "
          f"{len(other)} different {other}")  # fmt: skip


def _differing(clean: Path, out: Path) -> list[str]:
    want, got = _bytes(clean), _bytes(out)
    return sorted(k for k in want.keys() | got.keys() if want.get(k) != got.get(k))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["scaling", "serial", "watch"])
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/batch"))
    parser.add_argument("--project", type=Path, help="for `serial`: a finished batch instead of the small one")
    parser.add_argument("--sets", type=int, default=6)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--most", type=float, help="CPU seconds until a kill, at most (default: all that a run takes)")
    parser.add_argument("--workers", type=int, default=2, help="for `kills` and `mixture`")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    if "scaling" in a.parts:
        scaling(a.work, a.sets)
    if "mixture" in a.parts:
        mixture(a.work, a.workers)
    if "serial" in a.parts:
        serial(a.work, a.project)
    if "watch" in a.parts:
        watched(a.work)
    if "kills" in a.parts:
        killed(a.work, a.sets, a.kills, a.seed, a.most, a.workers)
    return 0
