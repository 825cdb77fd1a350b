"""SerialRED on the simulated microscope: the thesis's method beside ours, same seeds and errors, judged by truth.

``python -m benchmarks serial [--seeds 1 2 3] [--crystals 12] [--strategy default thesis]``. ``--plan`` changes the plan
(the thesis's method with our beam: ``--strategy thesis --plan '{"optics": {"beam_um": 1.1, "defocus": 1023}}'``).
``--save FOLDER`` writes a file for each session, ``--read FOLDER ...`` makes the table of such folders, a column each.

A crystal is kept while at least half of its area is in the beam; its range is the true angle from the first frame of
data to the frame before it is lost, and it is not counted again if it comes back. Data sets that the run itself gave up
because the first frames showed no reflections are counted apart, with what those particles truly were.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from credo.collect.engine import Engine, Event
from credo.collect.rig import Rig
from credo.collect.seams import seams
from credo.collect.serial_images import beam_centre
from credo.collect.serial_red import SerialRED
from credo.instrument.config import validated
from credo.instrument.controller import TEMController
from credo.instrument.opening import open_guard
from credo.instrument.service import LocalLink

NO_REFLECTIONS = "no reflections"


@dataclass
class Set:
    """One data set: per frame role, true angles, share of the crystal in the beam, true and measured centre [px]."""

    name: str
    began: float
    ident: int | None = None
    crystal: bool = True
    reason: str = ""
    ended: float = 0.0
    role: list[str] = field(default_factory=list)
    angle: list[tuple[float, float]] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    centre: list[np.ndarray] = field(default_factory=list)
    measured: list[np.ndarray] = field(default_factory=list)
    lit: list[float | None] = field(default_factory=list)

    def kept(self) -> tuple[float, int]:
        """(true range until the crystal was lost [deg], frames of data in it)."""
        data = [k for k, role in enumerate(self.role) if role == "data"]
        lost = next((n for n, k in enumerate(data) if self.share[k] < 0.5), len(data))
        if lost == 0:
            return 0.0, 0
        return abs(self.angle[data[lost - 1]][1] - self.angle[data[0]][0]), lost

    def out(self) -> np.ndarray:
        """(4,): frames of data; those in which the crystal was out of the beam; those that the data set's own estimate
        calls out; those of both."""
        true = np.array([self.share[k] < 0.5 for k, role in enumerate(self.role) if role == "data"], dtype=bool)
        told = np.zeros(len(true), dtype=bool)
        told[: len(self.lit)] = [one is not None and one < 0.5 for one in self.lit[: len(true)]]
        return np.array([len(true), true.sum(), told.sum(), (true & told).sum()])

    def looks(self) -> tuple[int, int]:
        """(frames lost to looking, all frames), from the first frame of data on."""
        begun = self.role.index("data") if "data" in self.role else len(self.role)
        rest = self.role[begun:]
        return sum(role != "data" for role in rest), len(rest)

    def shifts(self) -> tuple[np.ndarray, np.ndarray]:
        """True shifts of the pattern (n, 2) [px] over the frames that were kept, before and after alignment."""
        n = self.kept()[1]
        if n < 3:
            return np.empty((0, 2)), np.empty((0, 2))
        true, seen = np.array(self.centre[:n]), np.array(self.measured[:n])
        rest = true - seen
        return true - true.mean(axis=0), rest - rest.mean(axis=0)


class Judge:
    """A listener that knows the truth."""

    def __init__(self, scope: Any) -> None:
        self.scope, self.sets, self.rejected = scope, [], Counter()
        self._open: Set | None = None
        self._valid: np.ndarray | None = None

    def __call__(self, event: Event) -> None:
        if event.kind == "begin":
            self._open = Set(event.facts["name"], event.time)
            self.sets.append(self._open)
        elif event.kind in ("end", "end run") and self._open is not None:
            self._open.reason, self._open.ended = str(event.facts.get("reason", "")), event.time
            self._open.lit = list(event.facts.get("facts", {}).get("lit", []))
            self._open = None
        elif event.kind == "rejected":
            self.rejected[event.facts["reason"]] += 1
        elif event.kind == "frame" and self._open is not None and event.shot is not None:
            self._frame(self._open, event)

    def _frame(self, one: Set, event: Event) -> None:
        true = self.scope.diary[-1]
        if event.facts["role"] == "data" and one.ident is None:
            self._nearest(one, true)
        one.role.append(event.facts["role"])
        one.angle.append((true.first.alpha, true.last.alpha))
        one.share.append(true.share.get(one.ident, 0.0) if one.ident is not None else 0.0)
        if event.facts["role"] == "data":
            image = event.shot.image  # type: ignore[union-attr]
            self._valid = seams(image.shape) if self._valid is None else self._valid
            one.centre.append(true.centre)
            one.measured.append(beam_centre(image, self._valid))

    def _nearest(self, one: Set, true: Any) -> None:
        """The particle that the data set is of: the nearest to the beam at its first frame of data (views come before,
        by which the beam is brought to it)."""
        found = self.scope.specimen.around(true.first, true.beam.centre, true.beam.radius + 2)
        one.ident = -1
        if len(found):
            gap = np.hypot(*(true.first.place(found.place)[:, :2] - true.beam.centre).T)
            k = int(gap.argmin())
            one.ident, one.crystal = int(found.ident[k]), bool(found.phase[k] >= 0)


def run(seed: int, strategy: str, crystals: int, options: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """One session: its data sets, rejections, virtual and CPU time [s], what the setting up took."""
    configuration = validated({"microscope": {"options": {"seed": seed, **options}}}, "benchmark")
    guard = open_guard(configuration)
    ctrl = TEMController(LocalLink(guard), configuration)
    judge = Judge(guard.microscope)
    bench: list[float] = []
    given = {"strategy": strategy, "max_crystals": crystals, "x_um": 3.0, "y_um": 2.0, **change}
    plan = SerialRED.model_validate(given)
    cpu, began = time.process_time(), ctrl.link.clock.time()
    Engine(ctrl, [judge, lambda event: bench.append(event.time) if event.kind == "bench" else None]).run(
        plan.steps(Rig.of(ctrl))
    )
    ended = ctrl.link.clock.time()
    ctrl.close()
    return {
        "sets": judge.sets, "rejected": judge.rejected, "virtual": ended - began, "set up": bench[0] - began,
        "cpu": time.process_time() - cpu, "speed": plan.speed_deg_s,
    }  # fmt: skip


def summary(sessions: list[dict[str, Any]]) -> dict[str, Any]:
    """Pooled over sessions: the figures of the issue's table."""
    sets = [s for one in sessions for s in one["sets"] if s.reason != NO_REFLECTIONS]
    given_up = [s for one in sessions for s in one["sets"] if s.reason == NO_REFLECTIONS]
    kept = np.array([s.kept()[0] for s in sets])
    looks = np.sum([s.looks() for s in sets], axis=0)
    before, after = (np.concatenate([np.empty((0, 2)), *(s.shifts()[k] for s in sets)]) for k in (0, 1))
    rotating = sum(s.ended - s.began for one in sessions for s in one["sets"])
    other = sum(one["virtual"] - one["set up"] for one in sessions) - rotating
    rejected = sum((Counter(one["rejected"]) for one in sessions), Counter())
    out = np.sum([s.out() for s in sets], axis=0)
    return {
        "crystals": len(sets), "kept": kept, "looks": looks[0] / max(looks[1], 1),
        "before": _rms(before), "after": _rms(after),
        "other": other / max(len(sets), 1), "set up": float(np.mean([one["set up"] for one in sessions])),
        "per degree": (rotating + other) / max(float(kept.sum()), 1e-9), "rejected": rejected,
        "given up": (len(given_up), sum(s.crystal for s in given_up)), "ended": Counter(s.reason for s in sets),
        "out": out, "cpu": sum(one["cpu"] for one in sessions) / max(len(sets), 1),
    }  # fmt: skip


def _rms(shifts: np.ndarray) -> float:
    """Of the lengths of shifts (n, 2)."""
    return float(np.sqrt((shifts**2).sum(axis=1).mean())) if len(shifts) else float("nan")


def table(found: dict[str, dict[str, Any]], speed: float) -> str:
    """The table, baseline and ours side by side."""
    names = list(found)
    equal = float(found[names[0]]["kept"].mean())
    rows: list[tuple[str, Any]] = [
        ("data sets", lambda f: f["crystals"]),
        *(
            (f"kept > {d}°", lambda f, d=d: f"{(f['kept'] > d).mean():.0%} ({(f['kept'] > d).sum()})")
            for d in (5, 20, 60)
        ),
        ("mean range kept [deg]", lambda f: f"{f['kept'].mean():.1f}"),
        ("frames lost to looking", lambda f: f"{f['looks']:.1%}"),
        (
            "frames of data with the crystal out of the beam",
            lambda f: f"{f['out'][1] / f['out'][0]:.1%} ({f['out'][1]})",
        ),
        ("said to be so by the data set (rightly)", lambda f: f"{f['out'][2]} ({f['out'][3]})"),
        ("pattern shift, rms [px]", lambda f: f"{f['before']:.2f}"),
        ("the same after alignment [px]", lambda f: f"{f['after']:.3f}"),
        ("time besides rotating, per data set [s]", lambda f: f"{f['other']:.1f}"),
        (f"time per crystal at {equal:.0f}° [s]", lambda f: f"{f['other'] + equal / speed:.1f}"),
        ("time per degree kept [s]", lambda f: f"{f['per degree']:.2f}"),
        ("setting up, once [s]", lambda f: f"{f['set up']:.0f}"),
        ("given up: no reflections (of them crystals)", lambda f: f"{f['given up'][0]} ({f['given up'][1]})"),
        ("CPU per data set [s]", lambda f: f"{f['cpu']:.1f}"),
    ]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {title} | " + " | ".join(str(of(found[n])) for n in names) + " |" for title, of in rows]
    for n in names:
        lines.append(f"\n{n}: ended {dict(found[n]['ended'])}; rejected {dict(found[n]['rejected'])}")
    return "\n".join(lines)


def save(folder: Path, seed: int, session: dict[str, Any]) -> None:
    plain = {**session, "sets": [vars(one) for one in session["sets"]]}
    text = json.dumps(plain, default=lambda v: v.tolist())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed{seed}.json").write_text(text, encoding="utf-8")


def read(folder: Path) -> list[dict[str, Any]]:
    sessions = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("seed*.json"))]
    return [{**one, "sets": [Set(**told) for told in one["sets"]]} for one in sessions]


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks serial", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--crystals", type=int, default=12, help="data sets of each session")
    parser.add_argument("--strategy", nargs="+", default=["thesis", "default"], choices=["thesis", "default"])
    parser.add_argument("--options", type=json.loads, default={}, help="settings of the simulator, as JSON")
    parser.add_argument("--plan", type=json.loads, default={}, help="changes of the plan, as JSON")
    parser.add_argument("--save", type=Path, help="folder for a file of each session, with one strategy only")
    parser.add_argument("--read", type=Path, nargs="+", help="folders of such files: run nothing, print their table")
    given = parser.parse_args()
    if given.read:
        found = {folder.name: read(folder) for folder in given.read}
        print(table({name: summary(one) for name, one in found.items()}, SerialRED().speed_deg_s))
        return 0
    found = {strategy: [] for strategy in given.strategy}
    for strategy, sessions in found.items():
        for seed in given.seeds:
            sessions.append(run(seed, strategy, given.crystals, given.options, given.plan))
            one = summary(sessions[-1:])
            ranges = " ".join(f"{k:.0f}" for k in one["kept"])
            print(f"{strategy}, seed {seed}: {one['crystals']} data sets, ranges {ranges}; cpu {one['cpu']:.1f} s each")
            if given.save:
                save(given.save, seed, sessions[-1])
    print(table({name: summary(one) for name, one in found.items()}, SerialRED().speed_deg_s))
    return 0
