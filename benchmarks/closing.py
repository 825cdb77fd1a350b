"""Collection that asks what to do next, beside a fixed plan, in the same time at the microscope.

    python -m benchmarks closing [--seeds 1 2 3] [--minutes 15 30] [--samples gypsum ...] [--log FILE]

A simulation of data sets, not of frames: crystals are offered one after the other, the same to both sides, each lost
after a random rotation (exponential, mean 100°); what is measured are the true intensities of the reflections that cross
within the rotation, with 28 % of error and 3 % of outliers on each, smooth scales and counting noise (benchmarks/wedges.py).
A crystal's lattice is known 8° after its rotation began, its cell within 0.3 %. Each crystal costs 12 s besides its rotation at
0.86°/s. The advice is credo's own (pipeline.watch_next, watch_company, watch_decide), told after every data set what was
measured so far; both sides are merged by credo at the end of their time. Sorting is taken as right.

The fixed plan turns each crystal from one end of the stage's range to the other, as the thesis does. R1 = Σ|F − F_true| / ΣF_true
of the merged reflections; "least" is the completeness of the least complete tenth of directions.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.merging import r1
from benchmarks.wedges import Scene, _observed
from credo.collect.advice import CrystalNow
from credo.io.samples import sample
from credo.io.space_group import find_space_group
from credo.merge.directions import completeness_by_direction
from credo.model import Beam, CannotDo, Crystal, Detector, Experiment, Goniometer, Scan, Structure
from credo.physics.ewald import miller_indices, predict
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.data_set import DataSet
from credo.pipeline.merge import MergeSettings, merge_sets
from credo.pipeline.watch_company import Company
from credo.pipeline.watch_decide import after, while_turning
from credo.pipeline.watch_next import Goal, PhaseNow
from credo.pipeline.watch_set import LiveState
from credo.pipeline.watch_worth import Unique

D_MIN, LIMITS = 1.1, (-60.0, 60.0)
SPEED, OTHER_S, LOOK_DEG, KEPT_DEG, STEP = 0.86, 12.0, 8.0, 100.0, 0.43
#: Never reached, so that both sides use all their time.
GOAL = Goal(completeness=0.999, cc_half=0.999)


@dataclass(frozen=True)
class Grid:
    """``phases``: shipped samples and their shares; ``flat``: [uvw] of each that stands on the film, within
    ``spread_deg`` rms; ``others``: share of the crystals that lie anyhow."""

    phases: dict[str, float]
    flat: dict[str, tuple[int, int, int]]
    spread_deg: float = 10.0
    others: float = 0.0


GRIDS = {
    "gypsum, plates on (010) within 5°, one in thirty not": Grid({"gypsum": 1.0}, {"gypsum": (0, 1, 0)}, 5.0, 1 / 30),
    "paracetamol and 20 % gypsum, any orientation": Grid({"paracetamol": 0.8, "gypsum": 0.2}, {}),
    "ZSM-5, plates on (010) within 10°": Grid({"ZSM-5": 1.0}, {"ZSM-5": (0, 1, 0)}),
    "ZSM-5 and 20 % mordenite, any orientation": Grid({"ZSM-5": 0.8, "mordenite": 0.2}, {}),
    "ZSM-5, any orientation": Grid({"ZSM-5": 1.0}, {}),
}


def truth(structure: Structure) -> Scene:
    """True intensities to D_MIN, of mean 1000."""
    group = find_space_group(structure.space_group)
    assert group is not None
    laue = group.laue_str()
    hkl, _ = unique_reflections(
        miller_indices(structure.cell.B, 0.98 * D_MIN, group.centring_type()), laue_rotations(laue)
    )
    f2 = np.abs(structure_factors(structure, hkl)) ** 2
    return Scene([], [], structure.cell.replace(covariance=None), laue, hkl, 1000 * f2 / f2.mean())


class Offered:
    """The crystals of a grid, number by number: the same for whoever asks."""

    def __init__(self, grid: Grid, seed: int) -> None:
        self.grid, self.seed = grid, seed
        self.structures = {n: sample(n) for n in grid.phases}
        self.scenes = {n: truth(s) for n, s in self.structures.items()}
        self.centring = {n: s.space_group[0] for n, s in self.structures.items()}

    def crystal(self, k: int) -> tuple[str, Crystal, float]:
        """Phase, crystal, and the rotation [deg] after which it is lost."""
        rng = np.random.default_rng([self.seed, k])
        name = str(rng.choice(list(self.grid.phases), p=list(self.grid.phases.values())))
        cell, scene = self.scenes[name].cell, self.scenes[name]
        u = Rotation.from_quat(rng.normal(size=4))
        flat, lies = self.grid.flat.get(name), rng.random() >= self.grid.others
        if flat is not None and lies:
            upright = Rotation.align_vectors([[0, 0, -1.0]], [cell.O @ flat / np.linalg.norm(cell.O @ flat)])[0]
            spin = Rotation.from_rotvec([0, 0, rng.uniform(0, 2 * np.pi)])
            u = (
                Rotation.from_rotvec(np.radians(self.grid.spread_deg) * np.append(rng.normal(size=2), 0))
                * spin
                * upright
            )
        crystal = Crystal(cell, u.as_matrix(), self.centring[name], scene.laue_group)
        return name, crystal, float(rng.exponential(KEPT_DEG))

    def measured(self, k: int, start: float, end: float) -> DataSet:
        """What a rotation of crystal k gives."""
        name, crystal, _ = self.crystal(k)
        rng = np.random.default_rng([self.seed, k, 1])
        e = experiment(crystal, start, end)
        p = predict(e, crystal, D_MIN)
        p = p.select(p["lorentz"] < 10)
        table = _observed(rng, p, self.scenes[name].true_of(p.hkl), crystal.cell, 0.28, 0.03, False)
        return DataSet(f"{k:03d}", e, table)

    def known(self, k: int, start: float, end: float) -> LiveState:
        """What is known of it after the first degrees: a cell off by 0.3 %, an orientation off by 0.2°."""
        _, crystal, _ = self.crystal(k)
        rng = np.random.default_rng([self.seed, k, 2])
        p = np.array(crystal.cell.parameters)
        off = np.concatenate([p[:3] * rng.normal(0, 0.003, 3), np.zeros(3)])
        cell = type(crystal.cell)(*(p + off), covariance=np.diag(np.concatenate([(0.003 * p[:3]) ** 2, [0.04] * 3])))
        turned = Rotation.from_rotvec(np.radians(rng.normal(0, 0.2, 3))).as_matrix() @ crystal.orientation
        seen = crystal.replace(cell=cell, orientation=turned)
        n = max(round(abs(end - start) / STEP), 1)
        return LiveState(f"{k:03d}", n, abs(end - start), (10,) * n, 10 * n, 10 * n, 1.0, seen,
                         experiment(seen, start, end), D_MIN)  # fmt: skip


def experiment(crystal: Crystal, start: float, end: float) -> Experiment:
    n = max(round(abs(end - start) / STEP), 3)
    detector = Detector((516, 516), 0.0048, (258.0, 258.0), pixel_size_mm=0.055)
    return Experiment(Beam(0.02508), detector, Goniometer.in_plane(40.0), Scan.regular(n, start, (end - start) / n),
                      (crystal,))  # fmt: skip


class Session:
    """Time at the microscope, what was measured until then, and what it merges to."""

    def __init__(self, offered: Offered) -> None:
        self.offered, self.seconds, self.beam = offered, 0.0, 0.0
        self.sets: dict[str, list[DataSet]] = {n: [] for n in offered.grid.phases}

    def turn(self, k: int, start: float, end: float) -> float:
        """Rotate crystal k as far as it stays; where it ended."""
        name, _, kept = self.offered.crystal(k)
        end = start + np.sign(end - start) * min(abs(end - start), kept)
        self.seconds += OTHER_S + abs(end - start) / SPEED
        self.beam += abs(end - start) / SPEED
        if abs(end - start) > 3:
            found = self.offered.measured(k, start, end)
            if len(found.table):
                self.sets[name].append(found)
        return float(end)

    def merged(self, name: str):
        scene = self.offered.scenes[name]
        if len(self.sets[name]) < 2:
            return None
        try:
            return merge_sets(self.sets[name], MergeSettings(laue_group=scene.laue_group, d_min=D_MIN), name)
        except CannotDo:
            return None

    def phases(self) -> tuple[PhaseNow, ...]:
        """What was measured of each phase of which there are two sets; as merging would find it, which takes longer."""
        out = []
        for name, sets in self.sets.items():
            if len(sets) > 1:
                scene, centring = self.offered.scenes[name], self.offered.centring[name]
                unique = Unique.of(scene.cell, centring, scene.laue_group, D_MIN)
                times = unique.times(np.concatenate([s.table.hkl for s in sets]))
                seen = times > 0
                out.append(
                    PhaseNow(name, scene.cell, centring, scene.laue_group, tuple(map(tuple, unique.hkl[seen].tolist())),
                             len(sets), float(seen.mean()), None, D_MIN, None, tuple(times[seen].tolist()))
                )  # fmt: skip
        return tuple(out)

    def judged(self) -> dict[str, dict[str, float]]:
        """Of each phase: data sets, completeness to D_MIN, in its least complete directions, CC½, R1."""
        out = {}
        for name, sets in self.sets.items():
            scene, m = self.offered.scenes[name], self.merged(name)
            row = {"sets": len(sets), "completeness": 0.0, "least": 0.0, "cc_half": 0.0, "r1": float("nan")}
            if m is not None:
                table = m.table.select(scene.cell.d_spacing(m.table.hkl) >= D_MIN)
                possible = miller_indices(scene.cell.B, D_MIN, self.offered.centring[name])
                unique, _ = unique_reflections(possible, laue_rotations(scene.laue_group))
                _, share = completeness_by_direction(
                    table.hkl, scene.cell, scene.laue_group, self.offered.centring[name], D_MIN, 100
                )
                share = np.sort(share[np.isfinite(share)])
                row |= {"completeness": len(table) / len(unique), "least": float(share[: len(share) // 10].mean()),
                        "cc_half": m.everything.overall.cc_half or 0.0,
                        "r1": r1(table.hkl, table["intensity"], scene)}  # fmt: skip
            out[name] = row
        return out


def fixed(offered: Offered, minutes: list[float]) -> dict[float, dict]:
    """Each crystal over the whole range, to and fro."""
    session, out, k, at = Session(offered), {}, 0, LIMITS[0]
    for limit in minutes:
        while session.seconds < 60 * limit:
            session.turn(k, at, -at)
            k, at = k + 1, -at
        out[limit] = told(session, k)
    return out


def asking(offered: Offered, minutes: list[float]) -> dict[float, dict]:
    """Each crystal as far as the advice goes that is had after its first degrees."""
    session, out, k, at = Session(offered), {}, 0, LIMITS[0]
    company, states = Company(LIMITS, OTHER_S * SPEED + LOOK_DEG), []
    phases: tuple[PhaseNow, ...] = ()
    for limit in minutes:
        while session.seconds < 60 * limit:
            outlook = company.outlook(states, phases, GOAL)
            said = after(CrystalNow("", 0, at, 0.0, "done"), phases, GOAL, outlook)
            first, last = said.range_deg or LIMITS
            looked = first + np.sign(last - first) * LOOK_DEG
            states.append(offered.known(k, first, looked))
            now = CrystalNow(f"{k:03d}", len(states[-1].spots_per_frame), looked, last)
            said = while_turning(now, states[-1], phases, GOAL, LIMITS, outlook)
            to = said.range_deg[1] if said.goes_on and said.range_deg else looked
            at = session.turn(k, first, to)
            k, phases = k + 1, session.phases()
        out[limit] = told(session, k)
    return out


def told(session: Session, k: int) -> dict:
    return {"looked at": k, "seconds": session.seconds, "beam_s": session.beam, "phases": session.judged()}


def row(grid: str, minutes: float, found: dict[str, list[dict]]) -> list[str]:
    """A line of the table for each phase: fixed → asking, means over the seeds."""
    out = []
    for name in GRIDS[grid].phases:
        cells = [f"{grid}: {name}" if len(GRIDS[grid].phases) > 1 else grid, f"{minutes:g}"]
        for key, form in (("sets", "{:.0f}"), ("completeness", "{:.3f}"), ("least", "{:.2f}"), ("cc_half", "{:.3f}"),
                          ("r1", "{:.3f}")):  # fmt: skip
            values = {s: [one["phases"][name][key] for one in runs] for s, runs in found.items() if runs}
            cells.append(" → ".join(form.format(np.mean(v)) for v in values.values()))
        out.append("| " + " | ".join(cells) + " |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, nargs="+", default=[15.0, 30.0])
    parser.add_argument("--samples", nargs="+", default=[""], help="grids with one of these words in their names")
    parser.add_argument("--sides", nargs="+", default=["fixed", "asking"])
    parser.add_argument("--log", type=Path, help="numbers of every run, as JSON lines")
    given = parser.parse_args()
    lines = ["| grid | minutes | sets | complete | least | CC½ | R1 |", "|---" * 7 + "|"]
    for grid in (g for g in GRIDS if any(w in g for w in given.samples)):
        found: dict[float, dict[str, list[dict]]] = {m: {"fixed": [], "asking": []} for m in given.minutes}
        for seed in given.seeds:
            offered = Offered(GRIDS[grid], seed)
            for name, run in ((n, r) for n, r in (("fixed", fixed), ("asking", asking)) if n in given.sides):
                start = time.process_time()
                for minutes, one in run(offered, sorted(given.minutes)).items():
                    found[minutes][name].append(one)
                    if given.log:
                        with given.log.open("a", encoding="utf-8") as stream:
                            told_ = {"grid": grid, "seed": seed, "side": name, "minutes": minutes, **one}
                            stream.write(json.dumps(told_) + "\n")
                print(f"{grid}, seed {seed}, {name}: {time.process_time() - start:.0f} CPU s", flush=True)
        lines += [line for m in given.minutes for line in row(grid, m, found[m])]
        print("\n".join(lines[-len(given.minutes) * len(GRIDS[grid].phases) :]), flush=True)
    print("\n".join(lines))
