"""Cells and intensities of mixtures sorted: how often automatically right, and in what time.

    python -m benchmarks.clustering [--seeds 5 --first 100] [--parts demo ...] [--measured ../shared/data/lta_stw_xds]

Simulated cells: the true one, its axes strained by a symmetric tensor, 1 % (or 2 %) rms in two directions and 6 %
(10 %) in a third, which is random. Cuts are found by the same rule for all metrics, none is told the number of phases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.spatial.transform import Rotation

from credo.merge.cell_clusters import cluster_cells
from credo.merge.cells import cell_distances, cut_tree, tree
from credo.merge.double_indexing import judge
from credo.merge.intensities import correlations, intensity_clusters, intensity_distances, intensity_table
from credo.merge.known_phases import KnownPhase, identify
from credo.merge.live_cells import SortedCells, add
from credo.merge.strain import reduce_lattice, strains
from credo.model import Cell
from credo.reduce.points import Points

#: IZA's cells [Å, deg] with their centring.
PHASES = {
    "MFI": ((20.090, 19.738, 13.142, 90, 90, 90), "P"), "MOR": ((18.256, 20.534, 7.542, 90, 90, 90), "C"),
    "LTA": ((11.919, 11.919, 11.919, 90, 90, 90), "P"), "FAU": ((24.345, 24.345, 24.345, 90, 90, 90), "F"),
    "IWV": ((27.83, 26.08, 13.94, 90, 90, 90), "F"), "RTH": ((9.76, 20.525, 9.996, 90, 96.9, 90), "C"),
    "CTH": ((27.4, 13.8, 5.1, 90, 90, 90), "C"),
    "PST-20": ((55.04, 55.04, 55.04, 90, 90, 90), "I"), "ZSM-25": ((45.07, 45.07, 45.07, 90, 90, 90), "I"),
    # two polymorphs: three axes 3 % apart; or two of them
    "A": ((7.10, 12.00, 14.95, 90, 95, 90), "P"), "B3": ((7.313, 11.64, 15.3985, 90, 95, 90), "P"),
    "B2": ((7.313, 11.64, 14.95, 90, 95, 90), "P"),
}  # fmt: skip
MIXTURES = {
    "MFI 42 + MOR 11": (("MFI", 42), ("MOR", 11)),
    "LTA + FAU + MFI, 20 each": (("LTA", 20), ("FAU", 20), ("MFI", 20)),
    "IWV + RTH + CTH, 20 each": (("IWV", 20), ("RTH", 20), ("CTH", 20)),
    "PST-20 29 + ZSM-25 15": (("PST-20", 29), ("ZSM-25", 15)),
}
POLYMORPHS = {"a b c by +3 −3 +3 %": "B3", "a b by +3 −3 %": "B2"}
#: The cells of edtools's demonstration notebook (docs/examples/edtools_demo.ipynb), as XDS printed them, with the phase
#: that their volume tells: I IWV, R RTH, C *CTH.
DEMO = (
    ("C", "C", 26.93, 14.05, 5.36, 90.00, 90.89, 90.00), ("R", "P", 9.49, 9.90, 12.47, 66.56, 89.45, 86.35),
    ("C", "P", 4.83, 14.83, 16.03, 115.66, 89.61, 94.16), ("I", "C", 13.69, 25.42, 14.90, 90.00, 115.84, 90.00),
    ("I", "C", 25.67, 13.50, 17.73, 90.00, 132.44, 90.00), ("R", "P", 10.17, 10.36, 12.16, 93.71, 113.40, 98.01),
    ("R", "P", 10.55, 10.52, 11.81, 80.39, 66.60, 75.74), ("I", "P", 13.82, 14.32, 16.18, 86.20, 111.75, 116.39),
    ("I", "C", 15.06, 26.22, 15.41, 90.00, 118.30, 90.00), ("C", "P", 13.91, 5.07, 14.97, 90.00, 117.96, 90.00),
    ("I", "P", 13.71, 14.57, 15.77, 83.07, 68.29, 62.34), ("I", "P", 14.56, 15.00, 15.27, 97.22, 105.97, 120.36),
    ("C", "P", 5.30, 14.56, 15.04, 112.06, 93.44, 86.65), ("I", "P", 13.64, 15.02, 25.09, 93.07, 91.13, 114.33),
)  # fmt: skip


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Adjusted Rand index of two labellings (Hubert & Arabie 1985)."""
    pairs = lambda x: (x * (x - 1) / 2).sum()  # noqa: E731
    table = np.array([[np.sum((a == x) & (b == y)) for y in np.unique(b)] for x in np.unique(a)], dtype=float)
    same, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    chance = rows * columns / pairs(np.array([len(a)], dtype=float))
    top = (rows + columns) / 2
    return float((same - chance) / (top - chance)) if top != chance else 1.0


def noisy(cell: Cell, rng: np.random.Generator, good: float, bad: float) -> Cell:
    """The cell under a random strain with one badly known direction, as it would be indexed: reduced."""
    return Cell.from_metric(reduce_lattice(_strained(cell, rng, good, bad)[0]).metric)


def _strained(cell: Cell, rng: np.random.Generator, good: float, bad: float) -> tuple[Cell, np.ndarray]:
    """The strained cell, and its bad direction in fractions of the axes."""
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    e = np.diag(rng.normal(size=3) * [good, good, bad])
    off = np.triu(rng.normal(size=(3, 3)) * good, 1)
    f = np.eye(3) + q @ (e + (off + off.T) / 2) @ q.T
    return Cell.from_vectors((f @ cell.O).T), np.linalg.solve(cell.O, q[:, 2])


def mixture(name: str, seed: int, good: float, bad: float) -> tuple[list[Cell], np.ndarray]:
    rng = np.random.default_rng(seed)
    cells, truth = [], []
    for k, (phase, n) in enumerate(MIXTURES[name]):
        parameters, centring = PHASES[phase]
        primitive = Cell.from_metric(reduce_lattice(Cell(*parameters), centring).metric)
        cells += [noisy(primitive, rng, good, bad) for _ in range(n)]
        truth += [k] * n
    return cells, np.array(truth)


def best_gap(distance: np.ndarray) -> np.ndarray:
    """Labels at the widest absolute gap of the tree, for metrics that have no scale of their own."""
    joins = tree(distance)
    h = joins[:, 2]
    k = int(np.argmax(np.diff(h)))
    return cut_tree(joins, (h[k] + h[k + 1]) / 2)


def best_cut(distance: np.ndarray, truth: np.ndarray) -> float:
    """The agreement of the best of all cuts, which nobody knows who does not know the truth."""
    joins = tree(distance)
    return max(agreement(cut_tree(joins, h * (1 + 1e-9)), truth) for h in joins[:, 2])


def procrustes(cells: list[Cell]) -> np.ndarray:
    """Least ‖R A − B‖ [Å] over rotations R of reduced bases, sorted by length: what AutoLEI compares."""
    bases = [Cell.from_metric(reduce_lattice(c).metric).O for c in cells]
    n = len(bases)
    d = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            inner = np.linalg.svd(bases[i] @ bases[j].T)[1].sum()
            d[i, j] = d[j, i] = np.sqrt(max((bases[i] ** 2).sum() + (bases[j] ** 2).sum() - 2 * inner, 0))
    return d


def ncdist(cells: list[Cell]) -> np.ndarray | None:
    """The matrix of NCDist [Å²] by Debian's cctbx, or None where that is not installed."""
    python, script = Path("/usr/bin/python3"), Path(__file__).with_name("peer_ncdist.py")
    words = json.dumps([c.parameters for c in cells])
    try:
        done = subprocess.run([python, script], input=words, capture_output=True, text=True, check=True, env={})
    except (OSError, subprocess.CalledProcessError):
        return None
    d = np.array(json.loads(done.stdout))
    return (d + d.T) / 2


def others(cells: list[Cell], truth: np.ndarray) -> dict[str, tuple[float, float]]:
    """(automatic, best cut) of other programs' metrics; NCDist also as DIALS cuts it, single linkage at 5000 Å²."""
    found = {m: cell_distances(cells, m, ordered=True) for m in ("euclid", "volume", "lcv")}
    found["procrustes"] = procrustes(cells)
    nc = ncdist(cells)
    if nc is not None:
        found["ncdist"] = nc
    scores = {m: (agreement(best_gap(d), truth), best_cut(d, truth)) for m, d in found.items()}
    if nc is not None:
        labels = fcluster(linkage(squareform(nc, checks=False), "single"), 5000, "distance")
        scores["dials"] = (agreement(labels, truth), np.nan)
    return scores


def told(name: str, values: list[float]) -> str:
    """Mean, 95 % interval (bootstrap over the seeds), worst."""
    x = np.array(values)
    draws = np.random.default_rng(0).choice(x, (2000, len(x))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{name} {x.mean():.3f} [{low:.3f}, {high:.3f}] worst {x.min():.3f}"


def simulated(seeds: range) -> None:
    for name in MIXTURES:
        for good, bad in ((0.01, 0.06), (0.02, 0.10)):
            rows: dict[str, list[float]] = {}
            used = 0.0
            for seed in seeds:
                cells, truth = mixture(name, seed, good, bad)
                start = time.process_time()
                rows.setdefault("credo", []).append(agreement(cluster_cells(cells).labels, truth))
                used += time.process_time() - start
                _beside(rows, cells, truth)
            print(f"{name}, {good:.0%}/{bad:.0%}, {used / len(seeds):.1f} CPU s each:", flush=True)
            for metric, values in rows.items():
                print("   ", told(metric, values), flush=True)


def _beside(rows: dict[str, list[float]], cells: list[Cell], truth: np.ndarray) -> None:
    """Adds what the other metrics make of the same cells to ``rows``."""
    for metric, (gap, best) in others(cells, truth).items():
        rows.setdefault(metric, []).append(gap)
        if np.isfinite(best):
            rows.setdefault(f"{metric} (best cut)", []).append(best)


def polymorphs(seeds: range, good: float = 0.01, bad: float = 0.06) -> None:
    """Twenty cells of each, what is known of their bad direction, and how many phases are found."""
    for name, other in POLYMORPHS.items():
        rows: dict[str, list[float]] = {}
        for seed in seeds:
            rng = np.random.default_rng(seed)
            made = [_strained(Cell(*PHASES[p][0]), rng, good, bad) for p in ["A"] * 20 + [other] * 20]
            truth = np.repeat([0, 1], 20)
            cells, directions = [c for c, _ in made], [d for _, d in made]
            known = [c.replace(covariance=_covariance(c, d, good, bad)) for c, d in made]
            runs = {
                "covariances known": cluster_cells(known),
                "bad directions known": cluster_cells(cells, directions=directions),
                "cells alone": cluster_cells(cells),
            }
            for kind, found in runs.items():
                rows.setdefault(kind, []).append(agreement(found.labels, truth))
                rows.setdefault(f"k, {kind}", []).append(float(found.labels.max()))
            rows.setdefault("strain (best cut)", []).append(best_cut(runs["cells alone"].distance, truth))
            _beside(rows, cells, truth)
        print(f"polymorphs, {name}, {good:.0%}/{bad:.0%}:", flush=True)
        for metric, values in rows.items():
            print("   ", told(metric, values), flush=True)


def _covariance(cell: Cell, direction: np.ndarray, good: float, bad: float) -> np.ndarray:
    """Of the six constants, from that of the strain: good² in all but good²/2 in shears, bad² along one direction."""
    d = cell.O @ direction
    turn = np.linalg.svd(d[:, None])[0][:, [1, 2, 0]]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(400):
        e = np.diag(rng.normal(size=3) * [good, good, bad])
        off = np.triu(rng.normal(size=(3, 3)) * good, 1)
        f = (np.eye(3) + turn @ (e + (off + off.T) / 2) @ turn.T) @ cell.O
        draws.append(Cell.from_vectors(f.T).parameters)
    return np.cov(np.array(draws).T)


def one_phase(seeds: range) -> None:
    """How often a pure sample is left in one piece."""
    for name in MIXTURES:
        for good, bad in ((0.01, 0.06), (0.02, 0.10)):
            whole = 0
            for seed in seeds:
                cells, truth = mixture(name, seed, good, bad)
                whole += int(cluster_cells([c for c, t in zip(cells, truth) if t == 0]).labels.max() == 1)
            print(f"only the first of {name}, {good:.0%}/{bad:.0%}: one cluster in {whole} of {len(seeds)}", flush=True)


def double_indexing(seeds: range) -> None:
    """29 sets of PST-20 and 15 of ZSM-25, spots to 1.5 Å, judged by the likelihood over chance and by 25 % of spots."""
    phases = [KnownPhase(n, Cell(*PHASES[n][0]), "I") for n in ("PST-20", "ZSM-25")]
    for edge in (1.5, 0.8):
        rows: dict[str, list[float]] = {}
        start, pixel = time.process_time(), 1 / edge / 256
        for seed in seeds:
            rng = np.random.default_rng(seed)
            truth = [0] * 29 + [1] * 15
            found = [judge(_spots(phases[t], rng, pixel), phases) for t in truth]
            p = np.array([v.probability for v in found])
            sure = p.max(axis=1) >= 0.95
            best = p.argmax(axis=1)
            rows.setdefault("unresolved (no lattice above 0.95, nor none)", []).append(float(np.sum(~sure)))
            rows.setdefault("wrong lattice", []).append(float(np.sum(sure & (best != truth) & (best < 2))))
            rows.setdefault("called neither", []).append(float(np.sum(sure & (best == 2))))
            rows.setdefault("over 25 % of spots within 3 px in both", []).append(
                float(sum(all(c.within > 0.25 for c in v.candidates) for v in found))
            )
        used = (time.process_time() - start) / len(seeds) / 44
        print(f"double indexing, {edge} Å at the edge of 512 px, 44 sets, {used:.1f} CPU s each:", flush=True)
        for name, values in rows.items():
            print("   ", name, f"mean {np.mean(values):.1f}", values, flush=True)


def _spots(phase: KnownPhase, rng: np.random.Generator, pixel: float) -> Points:
    """The 400 strongest nodes to 1.5 Å in a wedge of 20 to 60°, 1 px off, of a cell strained by 0.3 %, 1 % in one axis,
    and 15 % of all spots anywhere."""
    d_min = 1.5
    n = int(phase.cell.a / d_min) + 1
    h = np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1].reshape(3, -1).T
    h = h[(h.sum(axis=1) % 2 == 0) & h.any(axis=1)]
    turn = Rotation.random(random_state=rng).as_matrix()
    q = h @ (turn @ (np.eye(3) + np.diag(rng.normal(size=3) * [0.003, 0.003, 0.01])) @ phase.cell.B).T
    length = np.linalg.norm(q, axis=1)
    angle = (np.arctan2(q[:, 2], q[:, 1]) + np.pi / 2) % np.pi - np.pi / 2
    q = q[(length < 1 / d_min) & (length > 0.03) & (np.abs(angle) < np.radians(rng.uniform(10, 30)))]
    strength = rng.exponential(size=len(q)) ** 2 * np.exp(-10 * np.sum(q**2, axis=1))
    q = q[np.argsort(-strength)[:400]]
    q = q + rng.normal(size=q.shape) * pixel
    m = int(len(q) * 0.15 / 0.85)
    stray = rng.normal(size=(m, 3))
    stray *= (rng.uniform(0.05, 1 / d_min, m) / np.linalg.norm(stray, axis=1))[:, None]
    q = np.ascontiguousarray(np.concatenate([q, stray]))
    k = len(q)
    return Points(q, q, np.zeros(k), np.tile(np.eye(3), (k, 1, 1)), np.full(k, pixel), np.arange(k))


def known(seeds: range) -> None:
    """Cells against known phases, of which one that occurs is not known; all lengths 2 % too long."""
    rows: dict[str, list[float]] = {}
    for seed in seeds:
        cells, truth = mixture("IWV + RTH + CTH, 20 each", seed, 0.01, 0.06)
        cells = [Cell(*(1.02 * np.array(c.lengths)), *c.angles) for c in cells]
        found = identify(
            cells, ["P"] * 60, [KnownPhase(n, Cell(*PHASES[n][0]), PHASES[n][1]) for n in ("IWV", "RTH", "MFI")]
        )
        want = np.array([0, 1, 3])[truth]
        p = found.probability[np.arange(60), want]
        rows.setdefault("right (most probable)", []).append(float(np.mean(found.probability.argmax(axis=1) == want)))
        rows.setdefault("mean probability of the truth", []).append(float(p.mean()))
        rows.setdefault("scale − 1 [%]", []).append(100 * found.scale)
    print("known phases IWV, RTH, MFI for IWV + RTH + CTH, lengths 2 % too long:", flush=True)
    for name, values in rows.items():
        print("   ", told(name, values), flush=True)


def demo() -> None:
    truth = np.array([row[0] for row in DEMO])
    cells, centrings = [Cell(*row[2:]) for row in DEMO], [row[1] for row in DEMO]
    found = cluster_cells(cells, centrings)
    print("demo cells: labels", found.labels, "ARI", agreement(found.labels, truth), "cut", round(found.cut, 3))
    right = [c for c in np.geomspace(0.1, 0.49, 16) if agreement(cluster_cells(cells, centrings, c).labels, truth) == 1]
    print("cuts that are right:", (round(min(right), 3), round(max(right), 3)) if right else "none")


def speed() -> None:
    rng = np.random.default_rng(0)
    base = [mixture("MFI 42 + MOR 11", 0, 0.01, 0.06)[0][i] for i in rng.integers(0, 53, 1000)]
    lattices = [reduce_lattice(noisy(c, rng, 0.01, 0.03)) for c in base]
    strains(lattices[:3])
    start = time.process_time()
    strains(lattices)
    print("strains of 1000 cells:", round(time.process_time() - start, 2), "CPU s", flush=True)
    cells = [x.cell for x in lattices]
    state = SortedCells.of(cells, ["P"] * 1000, cluster_cells(cells, cut=0.2))
    for n in (250, 500, 1000):
        part = SortedCells(state.inverse[:n], state.labels[:n], state.centres)
        add(part, cells[0])
        start = time.process_time()
        for c in cells[:50]:
            add(part, c)
        print(f"one more cell to {n}:", round(20 * (time.process_time() - start), 1), "CPU ms", flush=True)
    start = time.process_time()
    cluster_cells(cells)
    print("1000 cells sorted:", round(time.process_time() - start, 1), "CPU s", flush=True)
    table = np.where(rng.random((1000, 8000)) < 0.625, rng.exponential(size=(1000, 8000)), np.nan)
    start = time.process_time()
    cc, _ = correlations(table)
    print("CC of 1000 sets of 5000:", round(time.process_time() - start, 2), "CPU s")
    intensity_clusters(np.zeros((3, 3)))
    start = time.process_time()
    intensity_clusters(intensity_distances(cc))
    print("tree of 1000 sets:", round(time.process_time() - start, 2), "CPU s")


def measured(root: Path) -> None:
    from credo.io.reflection_files import read_any

    names = ["LTA_t1", "LTA_t2", "LTA_t3", "LTA_t4", "STW_t1_360", "STW_t2_360"]
    read = [read_any(root / n / "INTEGRATE.HKL.gz") for n in names]
    cells = [e.crystal.cell for e, _ in read if e is not None]
    print("measured cells:", cluster_cells(cells).labels)
    for group, part in (("m-3m", read[:4]), ("6/mmm", read[4:])):
        cc, n = correlations(intensity_table([r for _, r in part], group))
        print(group, "CC", np.round(cc, 3).tolist(), "common", n.tolist())
        for cut in (0.4, 0.5, 0.6):
            print("  cut", cut, intensity_clusters(intensity_distances(cc), cut))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=100, help="first seed; 0 to 4 served to choose the rule")
    parser.add_argument("--measured", type=Path)
    parser.add_argument(
        "--parts", nargs="*", help="of demo simulated polymorphs one known double speed; all by default"
    )
    given = parser.parse_args()
    chosen = range(given.first, given.first + given.seeds)
    parts = {
        "demo": demo, "simulated": lambda: simulated(chosen), "polymorphs": lambda: polymorphs(chosen),
        "one": lambda: one_phase(chosen), "known": lambda: known(chosen),
        "double": lambda: double_indexing(chosen), "speed": speed,
    }  # fmt: skip
    for part in given.parts or parts:
        parts[part]()
    if given.measured:
        measured(given.measured)
