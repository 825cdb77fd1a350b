"""Collection that asks a `credo watch`, beside a fixed plan, on frames of the simulated microscope, at equal time.

    python -m benchmarks closing_frames [--seeds 1 2] [--minutes 8 16] [--samples mordenite ...] [--folder DIR]

Both sides: the same grid, the same plan `serial-red`, each in the instrument's own (virtual) time, counted from the
first rotation; survey and learning, which both have alike, come before it. The fixed plan turns every crystal from one
end of the stage's range to the other, to and fro, as the thesis does. Ours has `credo watch --port` beside it, a process
of its own that reads the frames as they are written, and does what it answers. What was collected within the time is then
reduced, sorted and merged by `credo batch`, the same for both, told nothing but the resolution; only the figures know the
truth: completeness to 1.1 Å, that of the least complete tenth of directions ("least"), CC½, and R1 = Σ|F − F_true|/ΣF_true
of the merged reflections of each true phase.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.closing import D_MIN, truth
from benchmarks.merging import r1
from benchmarks.wedges import Scene
from credo.collect.advice import AskNext, CrystalNow, Decision
from credo.collect.serial_red import SerialRED
from credo.collect.session import read_log
from credo.instrument.config import Configuration
from credo.io.samples import sample
from credo.merge.directions import completeness_by_direction
from credo.merge.strain import reduce_lattice, relation
from credo.model import CannotDo
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.advise import Advisers
from credo.pipeline.batch import BatchSettings, batch
from credo.pipeline.batch_phase import read_crystal
from credo.pipeline.batch_sort import sort_sets
from credo.pipeline.collect import collect
from credo.pipeline.data_set import DataSet
from credo.pipeline.demo_loop import _calibrated, _instrument
from credo.pipeline.demo_scenes import Scene as OnGrid
from credo.pipeline.merge import Merged, MergeSettings, letters, merge_sets
from credo.pipeline.output import read_report

#: Strain within which a lattice is that of a true phase.
SAME = 0.06
#: Never reached, so that both sides use all their time.
NEVER = ["--completeness", "0.999", "--cc-half", "0.999"]
PLAN = SerialRED(max_crystals=150, speed_deg_s=1.8, exposure_s=0.5, radius_um=300.0, gap_um=2.0)
SETTINGS = BatchSettings(d_min=0.9, solve=False)


@dataclass(frozen=True)
class Grid:
    """``phases``: shipped samples and their shares; ``specimen``: other settings of the simulated one; ``told``: what
    `credo watch` is told."""

    phases: dict[str, float]
    specimen: dict[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    def on_grid(self) -> OnGrid:
        return OnGrid("", tuple(self.phases), "", 0, fractions=tuple(self.phases.values()), grid=self.specimen)


_PLATES = {"preferred": (0, 1, 0), "preferred_spread_deg": 5.0}
GRIDS = {
    "ZSM-5 and 20 % mordenite, which is wanted": Grid(
        {"ZSM-5": 0.8, "mordenite": 0.2}, told=("--known", "MOR=18.26,20.53,7.54,90,90,90,C", "--wanted", "MOR")
    ),
    "paracetamol and 20 % gypsum": Grid({"paracetamol": 0.8, "gypsum": 0.2}),
    "ZSM-5, plates on (010) within 5°, one in ten not": Grid({"ZSM-5": 1.0}, _PLATES | {"preferred_share": 0.9}),
    "gypsum, plates on (010) within 5°, one in thirty not": Grid({"gypsum": 1.0}, _PLATES | {"preferred_share": 0.967}),
}  # fmt: skip


def until(session: Path, minutes: float) -> AskNext:
    """Stops after the data set with which the time is over."""

    def ask(crystal: CrystalNow) -> Decision:
        over = crystal.ended and (spent(session) or {"": 0.0}).popitem()[1] > 60 * minutes
        return Decision("stop", "the time is over") if over else Decision()

    return ask


def spent(session: Path) -> dict[str, float]:
    """When each data set was complete, after the first rotation began [s], in this order."""
    log = read_log(session)
    began = next((e["time"] for e in log if e["kind"] == "begin" and not e["about"].get("imaging")), 0.0)
    return {e["name"]: e["time"] - began for e in log if e["kind"] == "end" and e["time"] >= began}


@contextmanager
def watching(root: Path, out: Path, told: tuple[str, ...]) -> Iterator[str]:
    """A `credo watch` of ``root``; its address. It is interrupted, as a person would, when the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    # time stands still while it is asked: its batch need not give way
    words = ["watch", root, "--out", out, "--port", address[1], "--quiet", "2", "--nice", "1", "--no-solve"]
    code = "import sys; from credo.app.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, words), "--d-min", str(SETTINGS.d_min), *NEVER, *told]
    with (root / "watch.txt").open("w") as news, subprocess.Popen(command, stdout=news, stderr=news) as process:
        try:
            while process.poll() is None:
                with suppress(OSError), socket.create_connection(address, timeout=1):
                    break
                time.sleep(0.2)
            yield f"{address[0]}:{address[1]}"
        finally:
            process.send_signal(signal.SIGINT)


def collected(grid: Grid, instrument: Configuration, side: str, root: Path, minutes: float) -> Path:
    """A session of ``minutes``, and its data sets reduced; the folder with the results."""
    session, out = root / "session", root.parent / f"{side}-result"
    root.mkdir(parents=True, exist_ok=True)
    stop, again = until(session, minutes), session.exists()
    if side == "fixed":
        collect(PLAN, session, resume_it=again, config=instrument, advice=Advisers(ask=stop))
    elif not read_report(session).get("ok"):
        with watching(root, out, grid.told) as address:
            advice = Advisers(ask=stop, watch=address)
            collect(PLAN, session, resume_it=again, config=instrument, advice=advice)
    batch(root, out, SETTINGS)
    return out


def sets_within(session: Path, out: Path, minutes: float) -> list[DataSet]:
    """The processed data sets that were complete by then."""
    done = spent(session)
    rows = json.loads((out / "report.json").read_text(encoding="utf-8"))["sets"]
    rows = [r for r in rows if r["state"] == "done" and done[Path(r["place"]).parent.name] <= 60 * minutes]
    return [read_crystal(out / "crystals" / f"{r['number']:04d}", r["dataset"]) for r in rows]


def merged_phases(sets: list[DataSet]) -> list[Merged]:
    found = []
    for k, group in enumerate(sort_sets(sets).groups):
        with suppress(CannotDo):
            found.append(merge_sets([sets[i] for i in group], MergeSettings(d_min=SETTINGS.d_min), letters(k)))
    return found


def judged(name: str, scene: Scene, found: list[Merged]) -> dict[str, float]:
    """The largest phase that has the lattice of the sample ``name``, held against its truth."""
    centring = sample(name).space_group[0]
    own = reduce_lattice(scene.cell, centring)
    best = {"sets": 0, "complete": 0.0, "least": 0.0, "cc_half": float("nan"), "r1": float("nan")}
    for m in found:
        strain, _, p = relation(reduce_lattice(m.cell, m.laue.centring), own, max_index=1)
        sets = sum(x.kept for x in m.members)
        if strain < SAME and sets > best["sets"]:
            change = np.rint(p @ np.linalg.inv(own.basis))
            best = {"sets": sets, "cc_half": m.everything.overall.cc_half or float("nan")}
            best |= against(scene, centring, np.rint(m.table.hkl @ change).astype(int), m.table["intensity"])
    return best


def against(scene: Scene, centring: str, hkl: np.ndarray, intensity: np.ndarray) -> dict[str, float]:
    near = scene.cell.d_spacing(hkl) >= D_MIN
    rotations = laue_rotations(scene.laue_group)
    unique, of = unique_reflections(hkl[near], rotations)
    mean = np.bincount(of, intensity[near]) / np.bincount(of)
    possible, _ = unique_reflections(miller_indices(scene.cell.B, D_MIN, centring), rotations)
    _, share = completeness_by_direction(unique, scene.cell, scene.laue_group, centring, D_MIN, 100)
    share = np.sort(share[np.isfinite(share)])
    return {
        "complete": len(unique) / len(possible), "least": float(share[: len(share) // 10].mean()),
        "r1": r1(unique, mean, scene),
    }  # fmt: skip


def compared(grid: Grid, seed: int, folder: Path, minutes: list[float], sides: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each side and time."""
    instrument = _calibrated(_instrument(grid.on_grid(), seed), folder / "calibration", lambda _: None)
    for side in sides:
        started = time.monotonic()
        root = folder / side
        out = collected(grid, instrument, side, root, max(minutes))
        for limit in minutes:
            looked = [n for n, at in spent(root / "session").items() if at <= 60 * limit]
            told = [json.loads((root / "session" / "crystals" / n / "collect.json").read_text()) for n in looked
                    if (root / "session" / "crystals" / n / "collect.json").exists()]  # fmt: skip
            found = merged_phases(sets_within(root / "session", out, limit))
            yield {
                "side": side, "minutes": limit, "looked at": len(looked),
                "beam_s": sum(t.get("beam_on_s", 0.0) for t in told), "wall_s": time.monotonic() - started,
                "phases": {name: judged(name, truth(sample(name)), found) for name in grid.phases},
            }  # fmt: skip


def line(seed: int, row: dict[str, Any]) -> list[str]:
    head = f"| {seed} | {row['minutes']:g} | {row['side']} | {row['looked at']} | {row['beam_s']:.0f} s"
    return [
        f"{head} | {name} | {p['sets']} | {p['complete']:.3f} | {p['least']:.2f} | {p['cc_half']:.3f} | {p['r1']:.3f} |"
        for name, p in row["phases"].items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--minutes", type=float, nargs="+", default=[8.0, 16.0])
    parser.add_argument("--samples", nargs="+", default=[""], help="grids with one of these words in their names")
    parser.add_argument("--sides", nargs="+", default=["fixed", "asking"])
    parser.add_argument("--folder", type=Path, help="where the sessions are kept, and taken up again")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="closing-"))
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    heads = ["seed", "minutes", "side", "looked at", "beam on", "phase", "sets", "complete", "least", "CC½", "R1"]
    for number, (name, grid) in enumerate(GRIDS.items()):
        if any(w in name for w in given.samples):
            print(f"\n{name}\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)
            for seed in given.seeds:
                for row in compared(grid, seed, folder / f"{number}-{seed}", sorted(given.minutes), given.sides):
                    print("\n".join(line(seed, row)), flush=True)
