"""Scaling, symmetry and choice of data sets against the truth: simulated wedges and crystals, beside other scaling.

    python -m benchmarks merging [--seeds 5 --first 200] [--only scaling peer members symmetry setting speed measured]
                                 [--measured ../shared/data/lta_stw_xds]

Scenes: benchmarks/wedges.py (30 wedges of 5-30°, 28 % systematic error, 3 % outliers) and benchmarks/crystals.py (20
space groups). R1 = Σ|F − F_true|/ΣF_true after one scale and one B of all together, which no equivalents determine.
Seeds below 100 served to choose rules and constants; means are given with the 95 % interval of the mean over seeds.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from benchmarks.crystals import GROUPS, crystal, laue_of
from benchmarks.wedges import Scene, wedges
from credo.io.mtz import read_mtz
from credo.io.reflection_files import read_any, write_any
from credo.merge.common_axes import on_axes
from credo.merge.error_model import chi_squares
from credo.merge.members import scale_members
from credo.merge.scale import Pool, pool, scale_sets
from credo.merge.strain import reduce_lattice
from credo.merge.symmetry import rank_laue, rank_space_groups
from credo.model import Cell, Reflections
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.data_set import DataSet
from credo.pipeline.merge import merge_sets
from credo.reduce.statistics import merging_statistics

#: MFI's size without its symmetry, so that every bin holds hundreds of reflections.
LARGE = Cell(13.1, 19.7, 20.1, 90, 90, 90)
KINDS = {
    "28 % error, 3 % outliers": {}, "50 % error, 5 % outliers": {"error": 0.5, "outliers": 0.05},
    "28 % growing with strength": {"correlated": True},
}  # fmt: skip


def interval(values) -> str:
    """Mean and 95 % interval of the mean."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return f"{x.mean():.4f}"
    return f"{x.mean():.4f} ± {student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)):.4f}"


def onto(intensity: np.ndarray, truth: np.ndarray, s2: np.ndarray) -> np.ndarray:
    """k exp(−2 B s²) (n,) that brings intensities onto the true ones, from logarithms under Cauchy weights."""
    good = (intensity > 0.05 * intensity.mean()) & (truth > 0.05 * truth.mean())
    a = np.stack([np.ones(good.sum()), -2 * s2[good]], axis=1)
    y, x = np.log(truth[good] / intensity[good]), np.zeros(2)
    for _ in range(20):
        w = 1 / (1 + ((y - a @ x) / 0.1) ** 2)
        x = np.linalg.solve(a.T @ (a * w[:, None]), a.T @ (w * y))
    return np.exp(x[0] - 2 * x[1] * s2)


def r1(hkl: np.ndarray, intensity: np.ndarray, scene: Scene) -> float:
    truth = scene.true_of(hkl)
    k = onto(intensity, truth, 0.25 / scene.cell.d_spacing(hkl) ** 2)
    f, true = np.sqrt(np.maximum(k * intensity, 0)), np.sqrt(truth)
    return float(np.abs(f - true).sum() / true.sum())


def plain(data: Pool, scene: Scene, scaled: bool, model: float) -> tuple[np.ndarray, np.ndarray]:
    """hkl, I of the usual kind of scaling: one K and B a set, weights 1/σ² of each observation, without robust means.

    σ² is what counting gave plus (model × I)² of the observation itself.
    """
    hkl, of = unique_reflections(data.hkl, laue_rotations(scene.laue_group))
    s2 = 0.25 / scene.cell.d_spacing(data.hkl) ** 2
    i, s = data.intensity.copy(), np.hypot(data.sigma, model * np.maximum(data.intensity, 0))
    m, d = len(hkl), data.dataset
    k = np.ones(len(i))
    for _ in range(30 if scaled else 0):
        w = (k / s) ** 2
        mean = np.bincount(of, w * i / k, m) / np.bincount(of, w, m)
        x = mean[of]
        for j in range(data.count):
            rows = np.flatnonzero((d == j) & (x > 0))
            a = (x[rows] * k[rows])[:, None] * np.stack([np.ones(len(rows)), -2 * s2[rows]], axis=1) / s[rows][:, None]
            step = np.linalg.lstsq(a, (i[rows] - x[rows] * k[rows]) / s[rows], rcond=None)[0]
            k[rows] *= np.exp(np.clip(step[0] - 2 * step[1] * s2[rows], -1, 1))
    w = (k / s) ** 2
    return hkl, np.bincount(of, w * i / k, m) / np.bincount(of, w, m)


def by_dials(scene: Scene, folder: Path, model: str) -> tuple[np.ndarray, np.ndarray] | None:
    """hkl, I of dials.scale with its defaults but the model; None where it fails."""
    names = []
    for k, (e, table) in enumerate(zip(scene.experiments, scene.tables), start=1):
        one = np.ones(len(table))
        e = e.replace(crystals=(e.crystal.replace(space_group="P 2 2 2"),))
        write_any(folder / f"{k}.refl", e, table.with_columns(partiality=one, d=e.crystal.cell.d_spacing(table.hkl)))
        names += [f"{k}.expt", f"{k}.refl"]
    words = ["dials.scale", f"model={model}", "merged_mtz=merged.mtz", *names]
    subprocess.run(words, cwd=folder, capture_output=True, timeout=1500)
    if not (folder / "merged.mtz").is_file():
        return None
    _, table = read_mtz(folder / "merged.mtz")
    return table.hkl, table["intensity"]


def peer(seeds: range) -> None:
    """dials.scale and credo on the same small sets: a cell of a third of the volume, as DIALS takes minutes."""
    if not shutil.which("dials.scale"):
        print("dials.scale is not installed")
        return
    found: dict[str, list[float]] = {}
    for seed in seeds:
        scene = wedges(seed)
        s = scale_sets(pool(scene.tables), scene.cell, scene.laue_group)
        found.setdefault("credo", []).append(r1(s.hkl, s.intensity, scene))
        for model in ("KB", "physical"):
            with tempfile.TemporaryDirectory() as folder:
                theirs = by_dials(scene, Path(folder), model)
            if theirs is not None:
                found.setdefault(f"dials.scale, {model}", []).append(r1(*theirs, scene))
    for name, values in found.items():
        print(f"small cell: {name:24s} R1 {interval(values)}  ({len(values)} of {len(seeds)} seeds)", flush=True)


def scaling(seeds: range) -> None:
    for kind, words in KINDS.items():
        found: dict[str, list[float]] = {}
        chi, limits = [], []
        for seed in seeds:
            scene = wedges(seed, cell=LARGE, **words)
            data = pool(scene.tables)
            found.setdefault("unscaled", []).append(r1(*plain(data, scene, False, 0.0), scene))
            found.setdefault("one K, B; counting weights", []).append(r1(*plain(data, scene, True, 0.0), scene))
            found.setdefault("one K, B; error model", []).append(r1(*plain(data, scene, True, 0.3), scene))
            s = scale_sets(data, scene.cell, scene.laue_group)
            found.setdefault("credo", []).append(r1(s.hkl, s.intensity, scene))
            truth = scene.true_of(s.hkl)
            k = onto(s.intensity, truth, 0.25 / scene.cell.d_spacing(s.hkl) ** 2)
            z2 = ((k * s.intensity - truth) / (k * s.sigma)) ** 2
            for by in (truth, 1 / scene.cell.d_spacing(s.hkl)):
                chi += [c for _, c in chi_squares(z2, by, 8)]
            f = np.sqrt(truth)
            limits.append(
                np.sqrt(2 / np.pi) / 2 * words.get("error", 0.28) * np.sum(f / np.sqrt(s.multiplicity)) / f.sum()
            )
        print(f"\n{kind}: R1 to truth; the systematic error alone leaves {interval(limits)} "
              "(√(2/π) ½ error/√n, without counting noise)")  # fmt: skip
        for name, values in found.items():
            print(f"  {name:30s} {interval(values)}  ({len(values)} of {len(seeds)} seeds)")
        print(f"  χ² of credo's merged intensities about the truth, {len(chi)} bins of intensity and resolution: "
              f"{min(chi):.2f} to {max(chi):.2f}, {np.mean((np.array(chi) > 0.8) & (np.array(chi) < 1.25)):.0%} within "
              "0.8-1.25", flush=True)  # fmt: skip


def members(seeds: range) -> None:
    for junk in (3, 9, 15):
        right, kept, lost = [], 0, 0
        for seed in seeds:
            scene = wedges(seed, junk=junk)
            _, s, found = scale_members(pool(scene.tables), scene.cell, scene.laue_group)
            good = [m.kept for m in found[: 30 - junk]]
            bad = [m.kept for m in found[30 - junk :]]
            kept, lost = kept + sum(bad), lost + good.count(False)
            right.append(r1(s.hkl, s.intensity, scene))
        print(f"{junk} of 30 sets of other structures: {kept} of {junk * len(seeds)} kept, {lost} of "
              f"{(30 - junk) * len(seeds)} good ones lost, R1 {interval(right)}", flush=True)  # fmt: skip


def symmetry(seeds: range) -> None:
    """Each crystal as indexing leaves it: the reduced primitive cell of its lattice, nothing told."""
    rows = {}
    for seed in seeds:
        for k in (0, 1):
            for symbol in GROUPS:
                rows[seed, k, symbol] = _symmetry_of(symbol, 2 * seed + k)
        mine = np.mean([v for (s, _, _), v in rows.items() if s == seed], axis=0)
        print(f"seed {seed}: Laue {mine[0]:.3f}, first {mine[1]:.3f}, in three {mine[2]:.3f}", flush=True)
    per_seed = np.array([np.mean([v for (s, _, _), v in rows.items() if s == seed], axis=0) for seed in seeds])
    for name, column in zip(("Laue group right", "space group first", "in the first three"), per_seed.T):
        print(f"{name}, {2 * len(GROUPS)} crystals a seed: {interval(column)}, worst seed {column.min():.3f}")
    for symbol in GROUPS:
        mean = np.mean([v for (_, _, g), v in rows.items() if g == symbol], axis=0)
        if mean.min() < 1:
            print(f"  {symbol:12s} {mean[0]:.2f} {mean[1]:.2f} {mean[2]:.2f}")


def _symmetry_of(symbol: str, seed: int) -> tuple[bool, bool, bool]:
    sample = crystal(symbol, seed)
    lattice = reduce_lattice(sample.cell, sample.group.centring_type())
    table, cell = on_axes(sample.table, lattice.basis), Cell.from_metric(lattice.metric)
    laue = rank_laue([table], cell, "P")[0]
    table, cell = on_axes(table, laue.change), cell.reindexed(laue.change)
    s = scale_sets(pool([table]), cell, laue.laue_group)
    h = s.hkl
    merged = Reflections(h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=s.intensity, sigma=s.sigma,
                         multiplicity=s.multiplicity)  # fmt: skip
    groups = rank_space_groups(merged, cell, laue.laue_group, laue.centring, s.errors.a * s.errors.b)
    n = sample.group.number
    numbers = [n if g.twin is not None and g.twin.number == n else g.group.number for g in groups]
    order = list(dict.fromkeys(numbers))
    return laue.laue_group == laue_of(sample.group), numbers[0] == n, n in order[:3]


def setting(seeds: range) -> None:
    """4/m in a tetragonal lattice, half of the sets with a and b exchanged."""
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]], dtype=float)
    for width in (10.0, 20.0):
        r, laue = [], 0
        for seed in seeds:
            cell = Cell(12.4, 12.4, 9.3, 90, 90, 90)
            scene = wedges(seed, n=40, cell=cell, laue_group="4/m", widths=(width, width + 0.1))
            sets = []
            for k, (e, t) in enumerate(zip(scene.experiments, scene.tables)):
                if k % 2:
                    e, t = e.replace(crystals=(e.crystal.reindexed(swap),)), on_axes(t, swap)
                sets.append(DataSet(str(k), e, t))
            m = merge_sets(sets)
            laue += m.laue.laue_group == "4/m"
            both = [r1(on_axes(m.table, p).hkl, m.table["intensity"], scene) for p in (np.eye(3), swap)]
            r.append(min(both))
        print(f"4/m, 40 wedges of {width:g}°, half of them exchanged: Laue group right in {laue} of {len(seeds)}, "
              f"R1 {interval(r)}", flush=True)  # fmt: skip


def speed(n: int = 300) -> None:
    scene = wedges(0, n=n, cell=LARGE, junk=n // 20)
    sets = [DataSet(str(k), e, t) for k, (e, t) in enumerate(zip(scene.experiments, scene.tables))]
    merge_sets(sets[:10])
    start = time.process_time()
    m = merge_sets(sets)
    print(f"{n} sets, {len(m.observations)} observations, in memory: {time.process_time() - start:.1f} CPU s")


def measured(root: Path) -> None:
    """LTA_t1 as CORRECT left it: its own definition of R_meas and CC½, and the facts' R_int."""
    experiment, table = read_any(root / "LTA_t1_CORRECT_run" / "XDS_ASCII.HKL.gz")
    assert experiment is not None
    for weighted in (False, True):
        o = merging_statistics(table, experiment.crystal.cell, "m-3m", weighted=weighted).overall
        print(f"LTA_t1, weighted {weighted}: R_int {o.r_int:.4f} R_meas {o.r_meas:.4f} R_pim {o.r_pim:.4f} "
              f"CC½ {o.cc_half:.4f}, {o.observations} observations, {o.unique} unique")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=200)
    parser.add_argument(
        "--only", nargs="+", default=["scaling", "peer", "members", "symmetry", "setting", "speed", "measured"]
    )
    parser.add_argument("--measured", type=Path, default=Path("../shared/data/lta_stw_xds"))
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    if "scaling" in given.only:
        scaling(seeds)
    if "peer" in given.only:
        peer(seeds)
    for name, run in (("members", members), ("symmetry", symmetry), ("setting", setting)):
        if name in given.only:
            run(seeds)
    if "speed" in given.only:
        speed()
    if "measured" in given.only and given.measured.is_dir():
        measured(given.measured)
