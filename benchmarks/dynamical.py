"""Structure solution from dynamical intensities: one crystal of one thickness turned by 120°, 13 structures, 2 axes.

    python -m benchmarks dynamical --seconds 20 --out dynamical.jsonl
    python -m benchmarks dynamical --abtem /tmp/abtem/bin/python

Bloch waves at 200 kV to 0.9 Å integrate every reflection over the rotation of a randomly oriented crystal; equivalents
are averaged as they come, 10 % of normal error is added. Intensities are kept in benchmarks/work/dynamical. Judged as
benchmarks/solution.py does it. With ``--abtem``: the intensities of tests/physics/bloch_by_abtem.json anew, and both
programs' time on a larger pattern.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.solution import laue_of, outcome, read_model
from credo.model import Atom, Cell, Structure
from credo.physics.bloch_rotation import integrated_intensities
from credo.physics.bloch_waves import diffract, scattering_potential
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import laue_rotations, unique_reflections

HERE = Path(__file__).parent
WORK = HERE / "work" / "dynamical"
SAMPLES = HERE.parent / "src" / "credo" / "io" / "samples"
CIFS = HERE.parent.parent / "shared" / "data" / "cifs"
STORED = HERE.parent / "tests" / "physics" / "bloch_by_abtem.json"
THICKNESS = (300.0, 600.0, 1000.0, 1500.0)
D_MIN = 0.9

#: Measured structures by their CIF; the two minerals below by their published coordinates.
STRUCTURES = {
    "MFI": CIFS / "zeolites_exp_raspa2/MFI_SI.cif", "MOR": CIFS / "zeolites_iza/MOR.cif",
    "FER": CIFS / "zeolites_iza/FER.cif", "andradite": SAMPLES / "andradite.cif", "natrolite": None, "diopside": None,
    "MIL-47": CIFS / "mofs_raspa2/MIL-47.cif", "Co-DOBDC": CIFS / "mofs_raspa2/Co-DOBDC.cif",
    "glycine": CIFS / "organics_ed/alpha_glycine.cif", "cinchonine": CIFS / "organics_ed/cinchonine_shelxl.cif",
    "paracetamol": SAMPLES / "paracetamol.cif", "biotin": CIFS / "organics_ed/biotin_talos.cif",
    "borane": CIFS / "organics_ed/borane_IAM_4.cif",
}  # fmt: skip

#: Cell, group, sites (element, x, y, z). Diopside: Clark, Appleman & Papike 1969; natrolite: Kirfel & Gibbs 1984.
MINERALS = {
    "diopside": (
        (9.746, 8.899, 5.251, 90, 105.63, 90), "C 1 2/c 1",
        "Ca 0 .3015 .25, Mg 0 .9082 .25, Si .2862 .0933 .2293, O .1156 .0873 .1422, O .3611 .25 .318, "
        "O .3505 .0176 .9953",
    ),
    "natrolite": (
        (18.272, 18.613, 6.593, 90, 90, 90), "F d d 2",
        "Si 0 0 0, Si .1532 .2112 .623, Al .0374 .0936 .6154, O .0226 .0684 .8659, O .0702 .1815 .6099, "
        "O .0983 .0351 .5005, O .2066 .1529 .7259, O .1804 .2272 .3903, Na .2208 .0305 .6178, O .0563 .1896 .1114",
    ),
}  # fmt: skip


def structure_of(name: str) -> Structure:
    """The structure by its name."""
    path = STRUCTURES[name]
    if path is not None:
        model = read_model(path)
        return Structure(model.cell, model.space_group, model.atoms, name)
    cell, group, sites = MINERALS[name]
    rows = [s.split() for s in sites.split(", ")]
    atoms = tuple(Atom(f"{e}{n}", e, np.array(x, dtype=float), 1.0, 0.008) for n, (e, *x) in enumerate(rows))
    return Structure(Cell(*cell), group, atoms, name)


def simulated(name: str, axis: int) -> dict[str, np.ndarray]:
    """hkl (n, 3), dynamical intensities (thicknesses, n) and |U|² (n,) of one crystal's ±60°; kept on disk."""
    path = WORK / f"{name}_{axis}.npz"
    if not path.exists():
        structure = structure_of(name)
        potential = scattering_potential(structure, 200, D_MIN)
        ub = Rotation.random(random_state=1000 * axis + len(structure.atoms)).as_matrix() @ structure.cell.B
        start = time.process_time()
        rocked = integrated_intensities(potential, ub, np.array([1.0, 0, 0]), (-60, 60), np.array(THICKNESS))
        seconds = time.process_time() - start
        path.parent.mkdir(parents=True, exist_ok=True)
        u2 = np.abs(potential.coefficients(rocked.hkl)) ** 2
        np.savez(path, hkl=rocked.hkl, intensity=rocked.intensity, u2=u2, seconds=seconds)
    with np.load(path) as kept:
        return dict(kept)


def data_set(name: str, axis: int, thickness: int, error: float = 0.1):
    """(hkl, I, σ, R1 of the true model, completeness): merged, with errors √((e I)² + (0.01⟨I⟩)²)."""
    kept, structure = simulated(name, axis), structure_of(name)
    rotations = laue_rotations(laue_of(gemmi.SpaceGroup(structure.space_group)))
    unique, row = unique_reflections(kept["hkl"], rotations)
    number = np.bincount(row)
    intensity = np.bincount(row, kept["intensity"][thickness]) / number
    u2 = np.bincount(row, kept["u2"]) / number
    sigma = np.sqrt((error * intensity) ** 2 + (0.01 * intensity.mean()) ** 2)
    noisy = np.random.default_rng(axis).normal(intensity, sigma)
    f, true = np.sqrt(np.maximum(noisy, 0)), np.sqrt(u2)
    strong = noisy > 2 * sigma
    scale = (f * true)[strong].sum() / (true**2)[strong].sum()
    r1 = np.abs(f - scale * true)[strong].sum() / f[strong].sum()
    return unique, noisy, sigma, float(r1), _completeness(structure, unique, rotations)


def _completeness(structure: Structure, unique: np.ndarray, rotations: np.ndarray) -> float:
    every = miller_indices(structure.cell.B, D_MIN, gemmi.SpaceGroup(structure.space_group).centring_type())
    return len(unique) / len(unique_reflections(every, rotations)[0])


def run(name: str, axis: int, thickness: int, seconds: float) -> dict:
    """One data set solved, and judged against the truth."""
    structure = structure_of(name)
    hkl, i, s, r1, completeness = data_set(name, axis, thickness)
    out = {"name": name, "axis": axis, "t": THICKNESS[thickness], "r1_true": round(r1, 3), "c": round(completeness, 3)}
    return out | outcome(structure, hkl, i, s, seconds, axis)


def summarise(results: list[dict]) -> None:
    """Per thickness: solved, atoms right, the group's rank, time of the solved."""
    for t in THICKNESS:
        these = [r for r in results if r["t"] == t]
        if not these:
            continue
        times = [r["seconds"] for r in these if r["solved"]] or [float("nan")]
        r1 = [r["r1_true"] for r in these]
        print(
            f"{t:.0f} Å: {sum(r['solved'] for r in these)}/{len(these)} solved, group first "
            f"{sum(r.get('rank') == 1 for r in these)}, among three {sum(0 < r.get('rank', 0) <= 3 for r in these)}, "
            f"R1 of the truth {min(r1):.2f}-{max(r1):.2f}, median {np.median(times):.2f} CPU s"
        )


def peer(python: Path) -> None:
    """abtem's intensities for the stored test anew, and its time beside ours on ZSM-5."""
    stored = json.loads(STORED.read_text())
    answer = _abtem(python, stored["problem"])
    kept = {k: _rounded(v) if k.startswith("intensity") else v for k, v in answer.items() if "seconds" not in k}
    STORED.write_text(json.dumps({"problem": stored["problem"], "answer": kept}, separators=(",", ":")))
    small = read_model(SAMPLES / "andradite.cif")
    ub = Rotation.random(random_state=1).as_matrix() @ small.cell.B
    problem = {
        "direct": np.linalg.inv(ub).tolist(), "kilovolts": 200, "d_min": 1.0, "s_max": 0.03,
        "thickness": [300.0, 600.0, 1000.0], "atoms": _p1(small),
    }  # fmt: skip
    theirs = _abtem(python, problem)
    potential = scattering_potential(small, 200, 1.0)
    diffract(potential, ub, np.array(problem["thickness"]), 0.03)
    start = time.process_time()
    pattern = diffract(potential, ub, np.array(problem["thickness"]), 0.03)
    seconds = time.process_time() - start
    at = dict(zip(map(tuple, theirs["hkl"]), np.array(theirs["intensity_metric"]).T))
    both = [n for n, h in enumerate(pattern.hkl.tolist()) if any(h) and tuple(h) in at]
    ours, others = pattern.intensity[:, both].T, np.array([at[tuple(pattern.hkl[n])] for n in both])
    difference = np.abs(ours - others).sum(axis=0) / others.sum(axis=0)
    print(
        f"andradite: {len(both)} beams, Σ|ΔI|/ΣI {np.round(difference, 5)}; "
        f"credo {1e3 * seconds:.1f} ms, abtem {1e3 * theirs['seconds_pattern']:.1f} ms a pattern"
    )


def _p1(structure: Structure) -> list[dict]:
    ops = list(gemmi.SpaceGroup(structure.space_group).operations())
    out = []
    for a in structure.atoms:
        images = {tuple(np.round(np.array(op.apply_to_xyz(a.xyz.tolist())) % 1.0, 5) % 1.0) for op in ops}
        out += [{"element": a.element, "xyz": list(x), "u_iso": a.u_iso} for x in sorted(images)]
    return out


def _rounded(rows: list[list[float]]) -> list[list[float]]:
    return [[float(f"{v:.6g}") for v in row] for row in rows]


def _abtem(python: Path, problem: dict) -> dict:
    script = str(HERE / "peer_abtem.py")
    done = subprocess.run([python, script], input=json.dumps(problem), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--abtem", type=Path, help="a Python that has abtem: compare intensities, nothing else")
    parser.add_argument("--only", nargs="*", choices=STRUCTURES, help="these structures")
    parser.add_argument("--thickness", nargs="*", type=float, choices=THICKNESS, default=THICKNESS)
    parser.add_argument("--axes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.abtem:
        return peer(args.abtem)
    results = []
    for t in args.thickness:
        for name in args.only or STRUCTURES:
            for axis in range(args.axes):
                results.append(run(name, axis, THICKNESS.index(t), args.seconds))
                print(json.dumps(results[-1]), flush=True)
                if args.out:
                    with args.out.open("a") as file:
                        file.write(json.dumps(results[-1]) + "\n")
    summarise(results)
    return None


if __name__ == "__main__":
    main()
