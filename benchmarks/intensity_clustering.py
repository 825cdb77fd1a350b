"""Sorting by intensities: phases, junk, agglomerates and settings, beside what edtools and AutoLEI do.

    python -m benchmarks.intensity_clustering [--seeds 10 --first 200] [--measured ../shared/data/lta_stw_xds]

Seeds 0 to 9 and 100 to 109 served to settle the rules; 200 and on did not. Every figure is a mean over seeds with its
bootstrap interval (95 %). edtools: CC of the raw intensities, no common reflection counts as CC 0, d = (1 − CC²)^½
with negative CC as 0, average linkage cut at 0.4; AutoLEI: the same formula without the guard for negative CC; ``best
cut``: the cut that suits the known answer best, which no user has. Clusters of one set count as "in no phase".
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.clustering import agreement
from benchmarks.intensity_scenes import Scene, mixture, settings
from credo.merge.cells import cut_tree, tree
from credo.merge.intensities import correlations, intensity_clusters, intensity_distances, intensity_table
from credo.merge.intensity_sorting import sort_by_intensity
from credo.merge.log_intensities import log_intensities
from credo.merge.phases import find_phases
from credo.merge.subgroups import subgroups
from credo.model import Cell
from credo.physics.symmetry import laue_rotations

MIXTURES = {
    "unrelated 40 + 20": ("unrelated", (40, 20)), "shared envelope 29 + 15": ("envelope", (29, 15)),
    "one phase, 40": ("envelope", (40,)), "shared envelope 30 + 20 + 10": ("envelope", (30, 20, 10)),
    "shared envelope 40 + 6 + 5 + 4": ("envelope", (40, 6, 5, 4)),
}  # fmt: skip
#: Wedges [deg] by the median number of reflections that two of them share.
WEDGES = {5: 9.0, 10: 13.5, 35: 27.0}
LATTICES = {
    "4/m in 4/mmm": (Cell(9, 9, 7, 90, 90, 90), "4/m"), "-3 in 6/mmm, 4 cosets": (Cell(9, 9, 7, 90, 90, 120), "-3"),
    "mmm in m-3m, 6 cosets": (Cell(9, 9.1, 9.05, 90, 90, 90), "mmm"),
    "mmm with a = b (0.6 %)": (Cell(8, 8.05, 9.5, 90, 90, 90), "mmm"),
    "2/m with β = 90.3°": (Cell(9, 10, 11, 90, 90.3, 90), "2/m"), "m-3 in m-3m": (Cell(9, 9, 9, 90, 90, 90), "m-3"),
}  # fmt: skip


def interval(values: list[float]) -> str:
    """Mean with the bootstrap interval of the mean (95 %)."""
    x = np.array(values, dtype=float)
    means = np.random.default_rng(0).choice(x, (2000, len(x))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{x.mean():.3f} ({low:.3f}-{high:.3f}; worst {x.min():.3f})"


def without_singles(labels: np.ndarray) -> np.ndarray:
    """Labels with 0 for clusters of one."""
    size = np.bincount(labels)
    return np.where(size[labels] > 1, labels, 0)


def others(scene: Scene) -> dict[str, np.ndarray]:
    """Labels by the rules of other programs."""
    cc = np.nan_to_num(correlations(intensity_table(scene.sets, scene.laue_group), 2)[0])
    np.fill_diagonal(cc, 1.0)
    joins = {"edtools": tree(np.sqrt(1 - np.maximum(cc, 0) ** 2)), "AutoLEI": tree(np.sqrt(1 - cc**2))}
    out = {name: without_singles(cut_tree(j, 0.4)) for name, j in joins.items()}
    cuts = np.unique(joins["edtools"][:, 2]) + 1e-9
    every = [without_singles(cut_tree(joins["edtools"], c)) for c in cuts]
    out["edtools, best cut"] = max(every, key=lambda x: agreement(x, scene.truth))
    known = correlations(intensity_table(scene.sets, scene.laue_group))[0]
    out["credo --intensity-method thesis"] = without_singles(intensity_clusters(intensity_distances(known), 0.4))
    return out


def junk_share(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of the sets in phases that are in none truly."""
    return float(np.mean(truth[labels > 0] <= 0)) if np.any(labels > 0) else 0.0


def mixtures(seeds: range) -> None:
    for name, (kind, sizes) in MIXTURES.items():
        for common, degrees in WEDGES.items():
            rows: dict[str, list[tuple[float, float, float]]] = {}
            for seed in seeds:
                scene = mixture(kind, degrees, sizes, seed)
                start = time.process_time()
                found = sort_by_intensity(scene.sets, [scene.cell] * len(scene.sets), scene.laue_group).labels
                seconds = time.process_time() - start
                for who, labels in {"credo": found, **others(scene)}.items():
                    right_k = float(labels.max() == len(sizes))
                    row = agreement(labels, scene.truth), junk_share(labels, scene.truth), right_k
                    rows.setdefault(who, []).append(row)
            for who, values in rows.items():
                ari, junk, k = zip(*values)
                print(f"{name}, {common} common | {who}: ARI {interval(list(ari))}, junk in phases "
                      f"{np.mean(junk):.3f} (most {max(junk):.3f}), k right {np.mean(k):.2f}", flush=True)  # fmt: skip
            print(f"   credo: {seconds:.2f} CPU s the last of them", flush=True)


def agglomerates(seeds: range) -> None:
    for common, degrees in WEDGES.items():
        flagged, kept, wrong = [], [], []
        for seed in seeds:
            scene = mixture("envelope", degrees, (29, 15), seed, agglomerates=0.1)
            found = sort_by_intensity(scene.sets, [scene.cell] * len(scene.sets), scene.laue_group)
            kinds = np.array([v.kind for v in found.verdicts])
            flagged.append(float(np.mean(kinds[scene.truth == -1] == "mixture")))
            kept.append(float(np.mean(found.labels[scene.truth == -1] > 0)))
            wrong.append(float(np.mean(kinds[scene.truth > 0] == "mixture")))
        print(f"agglomerates, {common} common: flagged {interval(flagged)}, in a phase {np.mean(kept):.3f}, "
              f"good sets flagged {np.mean(wrong):.4f}", flush=True)  # fmt: skip


def ambiguities(seeds: range) -> None:
    for name, (cell, laue) in LATTICES.items():
        for degrees, error in ((10.0, 0.28), (10.0, 0.6)) if laue == "4/m" else ((10.0, 0.28),):
            right, sure, clear = [], [], []
            for seed in seeds:
                scene = settings(cell, laue, degrees, 40, seed, 0.02, error)
                found = sort_by_intensity(scene.sets, [cell] * 40, laue)
                good = _right(scene, found)
                settled = np.array([v.setting_odds > np.log(9) for v in found.verdicts])
                right.append(float(good.mean()))
                clear.append(float(settled.mean()))
                sure.append(float(good[settled].mean()))
            print(f"{name}, {degrees:.0f}° mean, error {error:.0%}: resolved {interval(right)}; called settled "
                  f"{np.mean(clear):.3f}, of these right {np.mean(sure):.4f}", flush=True)  # fmt: skip


def _right(scene: Scene, found) -> np.ndarray:
    """Which sets (n,) came to the setting of most, by the known answer."""
    changes = found.changes
    place = np.array([np.argmin(np.abs(changes.operators - v.operator).sum(axis=(1, 2))) for v in found.verdicts])
    # a set that was measured in setting T and indexed back by T⁻¹ needs T, then any one change common to all
    answers = [changes.same[changes.product[scene.settings, g]] == changes.same[place] for g in range(len(place))
               if g < len(changes.operators)]  # fmt: skip
    in_phase = np.array([v.kind == "phase" for v in found.verdicts])
    return max(answers, key=lambda a: a.sum()) & in_phase


def speed() -> None:
    rng = np.random.default_rng(0)
    table = np.where(rng.random((1000, 8000)) < 0.625, rng.lognormal(size=(1000, 8000)), np.nan)
    start = time.process_time()
    correlations(table)
    print(f"CC of all pairs of 1000 sets of 5000 reflections: {time.process_time() - start:.2f} CPU s")


def measured(root: Path) -> None:
    from credo.io.reflection_files import read_any

    names = ["LTA_t1", "LTA_t2", "LTA_t3", "LTA_t4", "STW_t1_360", "STW_t2_360"]
    read = [read_any(root / n / "INTEGRATE.HKL.gz") for n in names]
    cells = [e.crystal.cell for e, _ in read if e is not None]
    for group, rows in (("m-3m", slice(0, 4)), ("6/mmm", slice(4, 6))):
        tables = [r for _, r in read[rows]]
        data = log_intensities(tables, cells[rows][0], laue_rotations(group))
        found = find_phases(data)
        print(group, names[rows], "phases", found.labels, "subgroups", subgroups(found))
        for v in sort_by_intensity(tables, cells[rows], group).verdicts:
            print("  ", v.kind, v.label, v.reason)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=200)
    parser.add_argument("--measured", type=Path)
    given = parser.parse_args()
    over = range(given.first, given.first + given.seeds)
    speed()
    ambiguities(over)
    agglomerates(over)
    mixtures(over)
    if given.measured:
        measured(given.measured)
