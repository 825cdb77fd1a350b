"""Zeolite frameworks from simulated data of low resolution: how often the right topology is named, and in what time.

    python -m benchmarks frameworks ../shared/data/cifs/zeolites_iza --only MFI MOR --seeds 3 --out frameworks.jsonl

Kinematical F² of the idealised structure with normal errors, a missing wedge, and the cell, the centring and the Laue
class as the user would give them; the space group too with ``--group``. Right: the first candidate is believed, has
the structure's coordination sequences in the same space group, and its T sites lie on those of the structure.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import gemmi
import numpy as np

from benchmarks.solution import WAVELENGTH, laue_of, read_model, simulate
from credo.model import Cell, CredoError, Structure
from credo.solve.compare import compare, same_space_group
from credo.solve.frameworks import FrameworkSettings, find_framework
from credo.solve.frameworks_net import net_of_sites
from credo.solve.frameworks_topology import signature

FRAMEWORKS = ("MFI", "MOR", "FER", "LTA", "PAU", "MWF")


def model_of(path: Path) -> tuple[Structure, tuple]:
    """The structure as it is, and the sequences of its T sites."""
    structure = read_model(path)
    t = np.array([a.xyz for a in structure.atoms if a.element != "O"])
    return structure, signature(net_of_sites(structure.cell, gemmi.SpaceGroup(structure.space_group), t, 2.6, 3.6))


def measured(structure: Structure, d_min: float, error: float, completeness: float, seed: int):
    """(cell, hkl, I, σ) of the simulated data, the cell with errors of 0.2 % that keep its metric."""
    hkl, i, s = simulate(structure, d_min, error, completeness, seed)
    factor = 1 + 0.002 * np.random.default_rng(seed).standard_normal()
    a, b, c = (float(x) * factor for x in structure.cell.lengths)
    alpha, beta, gamma = (float(x) for x in structure.cell.angles)
    return Cell(a, b, c, alpha, beta, gamma), hkl, i, s


def run(path: Path, d_min: float, error: float, completeness: float, seed: int, seconds: float, given: bool) -> dict:
    """One framework searched in one simulated data set."""
    structure, sequences = model_of(path)
    group = gemmi.SpaceGroup(structure.space_group)
    cell, hkl, i, s = measured(structure, d_min, error, completeness, seed)
    centring = "P" if group.ext == "R" else group.centring_type()
    out = {"name": path.stem, "d_min": d_min, "error": error, "completeness": completeness, "seed": seed}
    start = time.process_time()
    try:
        found = find_framework(
            cell, centring, laue_of(group), hkl, i, s, WAVELENGTH, "Si", group if given else None,
            FrameworkSettings(seconds=seconds), seed,
        )  # fmt: skip
    except CredoError as problem:
        return out | {"right": False, "seconds": time.process_time() - start, "why": str(problem)}
    best = found.best
    out |= {
        "right": False,
        "believed": found.solved,
        "seconds": round(found.seconds, 1),
        "trials": [g[:2] for g in found.groups],
    }
    if best is None:
        return out
    c = compare(best.structure, structure, within=0.3)
    same = best.sequences == sequences and same_space_group(best.space_group, structure.space_group)
    return out | {
        "right": found.solved and same and c.matched > 0.9, "named": best.name, "group": best.space_group,
        "true": structure.space_group,
        "r1": round(best.r1, 3), "misfit": round(best.misfit, 2), "hits": best.hits, "rms": round(c.rms_deviation, 3),
        "next_r1": [round(f.r1, 3) for f in found.candidates[1:] if f.sequences != best.sequences][:1],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifs", type=Path)
    parser.add_argument("--only", nargs="*", default=FRAMEWORKS, help="these IZA codes")
    parser.add_argument("--d-min", type=float, nargs="*", default=[1.5])
    parser.add_argument("--error", type=float, default=0.2)
    parser.add_argument("--completeness", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--group", action="store_true", help="give the space group")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    results = []
    for code in args.only:
        for d_min in args.d_min:
            for seed in args.seeds:
                path = args.cifs / f"{code}.cif"
                result = run(path, d_min, args.error, args.completeness, seed, args.seconds, args.group)
                results.append(result)
                print(json.dumps(result), flush=True)
                if args.out:
                    with args.out.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    for code in args.only:
        these = [r for r in results if r["name"] == code]
        times = ", ".join(f"{r['seconds']:.1f}" for r in these)
        print(f"{code}: {sum(r['right'] for r in these)}/{len(these)} right; CPU seconds {times}")


if __name__ == "__main__":
    main()
