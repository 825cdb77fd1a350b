"""Cells and intensities of mixtures sorted: how often automatically right, and in what time.

    python -m benchmarks.clustering [--seeds 5 --first 100] [--measured ../shared/data/lta_stw_xds]

Simulated cells: the true one, its axes strained by a symmetric tensor, 1 % (or 2 %) rms in two directions and 6 %
(10 %) in a third, which is random. Cuts are found by the same rule for all metrics, none is told the number of phases.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from credo.merge.cells import cell_distances, cut_tree, tree
from credo.merge.intensities import correlations, intensity_clusters, intensity_distances, intensity_table
from credo.merge.cell_clusters import cluster_cells
from credo.merge.strain import reduce_lattice, strains
from credo.model import Cell

#: IZA's cells [Å, deg] with their centring.
PHASES = {
    "MFI": ((20.090, 19.738, 13.142, 90, 90, 90), "P"), "MOR": ((18.256, 20.534, 7.542, 90, 90, 90), "C"),
    "LTA": ((11.919, 11.919, 11.919, 90, 90, 90), "P"), "FAU": ((24.345, 24.345, 24.345, 90, 90, 90), "F"),
}  # fmt: skip
MIXTURES = {
    "MFI 42 + MOR 11": (("MFI", 42), ("MOR", 11)),
    "LTA + FAU + MFI, 20 each": (("LTA", 20), ("FAU", 20), ("MFI", 20)),
}
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
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    e = np.diag(rng.normal(size=3) * [good, good, bad])
    off = np.triu(rng.normal(size=(3, 3)) * good, 1)
    f = np.eye(3) + q @ (e + (off + off.T) / 2) @ q.T
    strained = Cell.from_vectors((f @ cell.O).T)
    return Cell.from_metric(reduce_lattice(strained).metric)


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


def simulated(seeds: range) -> None:
    for name in MIXTURES:
        for good, bad in ((0.01, 0.06), (0.02, 0.10)):
            rows = []
            for seed in seeds:
                cells, truth = mixture(name, seed, good, bad)
                other = [
                    agreement(best_gap(cell_distances(cells, m, ordered=True)), truth)
                    for m in ("euclid", "volume", "lcv")
                ]
                rows.append([agreement(cluster_cells(cells).labels, truth), *other])
            print(
                f"{name}, {good:.0%}/{bad:.0%}: ARI strain, euclid, volume, lcv",
                np.round(np.mean(rows, axis=0), 3),
                "worst",
                np.round(np.min(rows, axis=0), 3),
            )


def one_phase(seeds: range) -> None:
    """How often a pure sample is left in one piece."""
    for name in MIXTURES:
        for good, bad in ((0.01, 0.06), (0.02, 0.10)):
            whole = 0
            for seed in seeds:
                cells, truth = mixture(name, seed, good, bad)
                whole += int(cluster_cells([c for c, t in zip(cells, truth) if t == 0]).labels.max() == 1)
            print(f"only the first of {name}, {good:.0%}/{bad:.0%}: one cluster in {whole} of {len(seeds)}")


def demo() -> None:
    truth = np.array([row[0] for row in DEMO])
    cells, centrings = [Cell(*row[2:]) for row in DEMO], [row[1] for row in DEMO]
    found = cluster_cells(cells, centrings)
    print("demo cells: labels", found.labels, "ARI", agreement(found.labels, truth), "cut", round(found.cut, 3))
    right = [
        c for c in np.geomspace(0.05, 0.49, 30) if agreement(cluster_cells(cells, centrings, c).labels, truth) == 1
    ]
    print("cuts that are right:", (round(min(right), 3), round(max(right), 3)) if right else "none")


def speed() -> None:
    rng = np.random.default_rng(0)
    base = [mixture("MFI 42 + MOR 11", 0, 0.01, 0.06)[0][i] for i in rng.integers(0, 53, 1000)]
    lattices = [reduce_lattice(noisy(c, rng, 0.01, 0.03)) for c in base]
    strains(lattices[:3])
    start = time.process_time()
    strains(lattices)
    print("strains of 1000 cells:", round(time.process_time() - start, 2), "CPU s")
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
    given = parser.parse_args()
    simulated(range(given.first, given.first + given.seeds))
    one_phase(range(given.first, given.first + given.seeds))
    demo()
    speed()
    if given.measured:
        measured(given.measured)
