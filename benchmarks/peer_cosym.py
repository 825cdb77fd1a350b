"""Settings of 4/m in a 4/mmm lattice resolved by dials.cosym and by credo, from the same sets.

    python -m benchmarks.peer_cosym [--seeds 5 --first 200 --sets 40 --degrees 10 --error 0.28]

Wedges of that mean length in random orientations, predicted on a detector, each indexed in a random one of both
settings. dials.cosym is told the space group (P 4/m) and to use all the resolution, and normalises by ``quasi``, as
its default ml_iso fails on so few reflections; the rest is its default. It reads the .expt and .refl that credo writes.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.intensity_clustering import interval
from benchmarks.intensity_scenes import WAVELENGTH, intensities
from credo.io.dials import read_expt_groups
from credo.io.reflection_files import write_any
from credo.merge.intensity_sorting import sort_by_intensity
from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import predict
from credo.physics.symmetry import laue_rotations

CELL = Cell(9, 9, 7, 90, 90, 90)
SWAP = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])


def made(n: int, degrees: float, error: float, seed: int) -> tuple[list[tuple[Experiment, Reflections]], np.ndarray]:
    """n sets, and whether each was indexed the other way."""
    rng = np.random.default_rng(seed)
    atoms, rotations = rng.random((8, 3)), laue_rotations("4/m")
    out, turned = [], rng.integers(0, 2, n)
    for other in turned:
        u = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        u = u * np.sign(np.linalg.det(u))
        frames = round(degrees * rng.uniform(0.5, 1.5) / 0.25)
        experiment = Experiment(
            beam=Beam(WAVELENGTH), detector=Detector((1024, 1024), 0.0025, (512.0, 512.0)),
            goniometer=Goniometer.in_plane(0.0), scan=Scan.regular(frames, 0.0, 0.25),
            crystals=(Crystal(CELL, u, laue_group="4/m"),),
        )  # fmt: skip
        r = predict(experiment, experiment.crystal, 0.8)
        mean = 1000 * intensities(r.hkl, CELL, atoms, rotations) * np.exp(error * rng.normal(size=len(r)))
        sigma = np.sqrt(mean + 5)
        r = r.with_columns(
            intensity=mean + sigma * rng.normal(size=len(r)), sigma=sigma, partiality=np.ones(len(r)),
            lattice=np.zeros(len(r)), lorentz=np.ones(len(r)), x_calc=r["x"], y_calc=r["y"], phi_calc=r["phi"],
        )  # fmt: skip
        if other:
            r = r.with_columns(hkl=np.rint(r.hkl @ SWAP).astype(int))
            axes = experiment.crystal.UB @ np.linalg.inv(SWAP).T @ np.linalg.inv(CELL.B)
            experiment = experiment.replace(crystals=(Crystal(CELL, axes, laue_group="4/m"),))
        out.append((experiment, r))
    return out, turned


def resolved(moved: np.ndarray, turned: np.ndarray) -> float:
    """Share of the sets that came to one setting, whichever."""
    right = np.mean(moved == turned)
    return float(max(right, 1 - right))


def by_credo(sets) -> np.ndarray:
    found = sort_by_intensity([r for _, r in sets], [CELL] * len(sets), "4/m")
    return np.array([0 if np.allclose(v.operator, np.eye(3)) else 1 for v in found.verdicts])


def by_cosym(sets, folder: Path) -> np.ndarray | None:
    """Whether each set was turned: by its orientation after dials.cosym; None where it gives up."""
    names = []
    for k, (experiment, r) in enumerate(sets):
        write_any(folder / f"{k:03d}.refl", experiment, r)
        names += [f"{k:03d}.expt", f"{k:03d}.refl"]
    done = subprocess.run(
        ["dials.cosym", "space_group=P4/m", "normalisation=quasi", "d_min=0.8", *names],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=550,
    )
    after = folder / "symmetrized.expt"
    if done.returncode != 0 or not after.exists():
        print(done.stdout[-800:], done.stderr[-800:])
        return None
    groups = read_expt_groups(after)
    crystals = [c for g in groups for c in g.experiment.crystals]
    if len(crystals) != len(sets):
        print(f"   dials.cosym kept {len(crystals)} of {len(sets)}")
        return None
    # a change of both a and b with c turned over, or not, by the angle between c before and after
    before = np.array([np.linalg.inv(e.crystal.UB)[2] for e, _ in sets])
    now = np.array([np.linalg.inv(c.UB)[2] for c in crystals])
    return (np.einsum("ij,ij->i", before, now) < 0).astype(int)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=200)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--degrees", type=float, default=10.0)
    parser.add_argument("--error", type=float, default=0.28)
    given = parser.parse_args()
    ours, theirs = [], []
    for seed in range(given.first, given.first + given.seeds):
        sets, turned = made(given.sets, given.degrees, given.error, seed)
        start = time.process_time()
        ours.append(resolved(by_credo(sets), turned))
        own = time.process_time() - start
        with tempfile.TemporaryDirectory() as folder:
            moved = by_cosym(sets, Path(folder))
        if moved is not None:
            theirs.append(resolved(moved, turned))
        print(f"seed {seed}: credo {ours[-1]:.3f} ({own:.1f} CPU s), dials.cosym "
              f"{theirs[-1] if moved is not None else 'none'}", flush=True)  # fmt: skip
    print("credo", interval(ours))
    if theirs:
        print("dials.cosym", interval(theirs), f"({len(theirs)} of {len(ours)} runs)")
