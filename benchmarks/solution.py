"""Structure solution from simulated kinematical data: how often the right structure comes out, and in what time.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.solution ../shared/data/cifs --seeds 3 --out solved.jsonl [--peer]

Each run gets the cell, the centring, the Laue class and the contents of the cell, as a user would give them.
Solved: the space group is right and at least 90 % of the atoms but hydrogen lie within 0.3 Å, of the right class.
What the log holds is not run again, so that a run can be cut off and go on. ``--peer``: smtbx's charge flipping
(CREDO_CCTBX_PYTHON) on the same data, which is given the true space group and only asked for positions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections import defaultdict
from itertools import product
from pathlib import Path

import gemmi
import numpy as np

from credo.model import Atom, Cell, CredoError, Structure
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.solve.compare import compare, same_space_group
from credo.solve.solve import SolveSettings, solve

WAVELENGTH = 0.0250793

#: Every third one (from the first) was looked at while the search was made: the others are the independent test.
STRUCTURES = (
    "zeolites_exp_raspa2/MFI_SI", "zeolites_iza/MOR", "zeolites_iza/FER", "zeolites_iza/CHA", "zeolites_iza/LTA",
    "zeolites_iza/STW", "zeolites_iza/RHO", "zeolites_iza/PWO", "zeolites_iza/ABW", "zeolites_exp_raspa2/SOD",
    "minerals_amcsd/Grossular", "minerals_amcsd/Almandine", "minerals_amcsd/Pyrope", "minerals_amcsd/Albite",
    "mofs_raspa2/Co-DOBDC", "mofs_raspa2/Mg-DOBDC", "mofs_raspa2/MIL-47", "mofs_raspa2/IRMOF-1",
    "cod_finalcif/1506408", "cod_finalcif/1508702", "cod_finalcif/1517303",
    "organics_ed/alpha_glycine", "organics_ed/biotin_talos", "organics_ed/borane_IAM_4",
    "organics_ed/cinchonine_shelxl", "organics_ed/paracetamol", "cod_opencrystals/C10H10Fe-Ferrocene",
    "cod_opencrystals/S8-Sulfur-alpha", "cod_opencrystals/CaSO4-2H2O-Gypsum",
    "cod_opencrystals/NH4MgPO4-6H2O-Struvite", "cod_opencrystals/BaSO4-Barite",
    "cod_opencrystals/FeS2-Pyrite", "cod_opencrystals/CaCO3-Calcite", "cod_opencrystals/CaMgC2O6-Dolomite",
    "cod_opencrystals/MoO3-Molybdite", "cod_opencrystals/SiO2-Quartz-alpha",
)  # fmt: skip

#: (d_min [Å], relative error of I, completeness of the unique reflections) of each row of the table.
ROWS = {
    "easy": [(0.8, 0.0, 1.0), (1.0, 0.1, 0.9)],
    "0.8hard": [(0.8, 0.2, 0.8), (0.8, 0.3, 0.6)],
    "1.0hard": [(1.0, 0.2, 0.8), (1.0, 0.3, 0.6)],
    "1.2easy": [(1.2, 0.0, 1.0), (1.2, 0.1, 0.9)],
    "1.2hard": [(1.2, 0.2, 0.8), (1.2, 0.3, 0.8)],
    "1.2wedge": [(1.2, 0.2, 0.6), (1.2, 0.3, 0.6)],
}


def read_model(path: Path) -> Structure:
    """Every site of a CIF; displacement 0.02 Å² where none is given."""
    small = gemmi.read_small_structure(str(path))
    small.setup_cell_images()
    group = small.spacegroup
    cell = _lawful(small.cell, group)
    atoms = []
    for s in small.sites:
        if s.element.atomic_number == 0 or s.occ <= 0:
            continue
        u = s.u_iso if s.u_iso > 0 else 0.02
        if s.aniso.nonzero():
            u = float(s.aniso.trace()) / 3
        atoms.append(Atom(s.label, s.element.name, np.array(s.fract.tolist()), min(1.0, s.occ), float(u)))
    return Structure(cell, group.xhm(), tuple(atoms), path.stem)


def _lawful(cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> Cell:
    """The cell with the metric that its group asks for (measured ones differ by their errors)."""
    a, b, c, al, be, ga = cell.parameters
    system = group.crystal_system_str()
    if system == "monoclinic":
        al, ga = (90.0, 90.0) if group.monoclinic_unique_axis() == "b" else (al, ga)
    elif system != "triclinic" and not (system == "trigonal" and group.ext == "R"):
        al, be, ga = 90.0, 90.0, 120.0 if system in ("trigonal", "hexagonal") else 90.0
    return Cell(a, b, c, al, be, ga)


def wedge(cell: Cell, hkl: np.ndarray, group: np.ndarray, completeness: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: reflections of all of P1 that one rotation series about a random axis records; its range is what
    leaves ``completeness`` of the ``group`` (n,) of unique reflections."""
    n = group.max() + 1
    if completeness >= 1:
        return np.ones(len(hkl), dtype=bool)
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    q = hkl @ cell.B.T @ frame
    tilt = np.abs(np.arctan2(q[:, 2], q[:, 1]))
    tilt = np.minimum(tilt, np.pi - tilt)  # from the plane that is diffracting in the middle of the scan
    first = np.full(n, np.inf)
    np.minimum.at(first, group, tilt)
    return tilt <= np.sort(first)[max(1, round(completeness * n)) - 1]


def simulate(structure: Structure, d_min: float, error: float, completeness: float, seed: int):
    """(hkl, I, σ): unique kinematical intensities with normal errors √((e I)² + (0.01⟨I⟩)²)."""
    rng = np.random.default_rng(seed)
    group = gemmi.SpaceGroup(structure.space_group)
    centring = "P" if group.ext == "R" else group.centring_type()
    every = miller_indices(structure.cell.B, d_min, centring)
    unique, row = unique_reflections(
        every, laue_rotations(group.laue_str() if group.laue_str() != "-3m" else _m3(group))
    )
    seen = np.unique(row[wedge(structure.cell, every, row, completeness, rng)])
    intensity = np.abs(structure_factors(structure, unique[seen])) ** 2
    sigma = np.sqrt((error * intensity) ** 2 + (0.01 * intensity.mean()) ** 2)
    return unique[seen], rng.normal(intensity, sigma), sigma


def _m3(group: gemmi.SpaceGroup) -> str:
    """Which of the two trigonal orientations."""
    return (
        "-31m" if any(p in group.hm.replace(" ", "") for p in ("312", "31m", "31c", "-31m", "-31c", "112")) else "-3m1"
    )


def laue_of(group: gemmi.SpaceGroup) -> str:
    """The Laue class by credo's name for its orientation."""
    return _m3(group) if group.laue_str() == "-3m" else group.laue_str()


def formula_of(structure: Structure) -> str:
    """Numbers of atoms in the cell as a formula."""
    group = gemmi.SpaceGroup(structure.space_group)
    ops = group.operations()
    count: defaultdict[str, float] = defaultdict(float)
    for a in structure.atoms:
        images = {tuple(np.round(np.array(op.apply_to_xyz(a.xyz.tolist())) % 1.0, 2) % 1.0) for op in ops}
        count[a.element] += a.occupancy * len(images)
    return " ".join(f"{e}{n:.2f}" for e, n in count.items())


def run(structure: Structure, d_min: float, error: float, completeness: float, seed: int, seconds: float) -> dict:
    """One structure solved from one simulated data set, and judged against the truth."""
    hkl, i, s = simulate(structure, d_min, error, completeness, seed)
    out: dict = {"name": structure.name, "d_min": d_min, "error": error, "completeness": completeness, "seed": seed}
    return out | outcome(structure, hkl, i, s, seconds, seed)


def outcome(structure: Structure, hkl: np.ndarray, i: np.ndarray, s: np.ndarray, seconds: float, seed: int) -> dict:
    """What ``solve`` makes of a data set, judged against the structure it came from, and the CPU time of it."""
    group = gemmi.SpaceGroup(structure.space_group)
    centring = "P" if group.ext == "R" else group.centring_type()
    start = time.process_time()
    try:
        found = solve(
            structure.cell, centring, laue_of(group), hkl, i, s, WAVELENGTH, formula_of(structure),
            SolveSettings(seconds=seconds), seed=seed,
        )  # fmt: skip
    except CredoError as problem:
        return {"solved": False, "seconds": time.process_time() - start, "why": problem.reason}
    told = {"seconds": round(time.process_time() - start, 2), "trials": len(found.merits), "believed": found.solved}
    return told | judge(found, structure)


def judge(found, structure: Structure) -> dict:
    """The first candidate, and the rank of the right group."""
    right = [n for n, c in enumerate(found.candidates) if same_space_group(c.space_group, structure.space_group)]
    out = {
        "solved": False,
        "true": structure.space_group,
        "rank": right[0] + 1 if right else 0,
        "n": len(structure.atoms),
    }
    if found.best is None or not found.best.structure.atoms:
        return out
    best = found.best
    c = compare(best.structure, structure)
    return out | {
        "solved": c.same_structure(), "group": best.space_group, "matched": round(c.matched, 3),
        "right": round(c.right, 3), "extra": round(c.extra, 3), "rms": round(c.rms_deviation, 3),
        "r_e": round(best.r_e, 3), "r1": round(best.r1, 3), "left_out": round(best.left_out, 3),
    }  # fmt: skip


def run_peer(structure: Structure, d_min: float, error: float, completeness: float, seed: int, seconds: float) -> dict:
    """The same data solved by smtbx's charge flipping, judged by the share of positions alone."""
    group = gemmi.SpaceGroup(structure.space_group)
    hkl, i, _ = simulate(structure, d_min, error, completeness, seed)
    heavy = sum(a.element not in ("H", "D") for a in structure.atoms)
    problem = {
        "cell": structure.cell.parameters, "hall": group.hall, "hkl": hkl.tolist(), "intensity": i.tolist(),
        "n_sites": round(1.15 * heavy) + 1, "seed": seed, "seconds": seconds,
    }  # fmt: skip
    python = os.environ.get("CREDO_CCTBX_PYTHON", "python")
    script = Path(__file__).with_name("peer_flipping.py")
    out = {"program": "smtbx", "name": structure.name, "d_min": d_min, "error": error, "completeness": completeness,
           "seed": seed, "solved": False, "seconds": seconds}  # fmt: skip
    done = subprocess.run([python, str(script)], input=json.dumps(problem), capture_output=True, text=True)
    if done.returncode:
        return out | {"why": f"crashed: {done.stderr.strip().splitlines()[-1][:100] if done.stderr else 'no message'}"}
    answer = json.loads(done.stdout.splitlines()[-1])
    out["seconds"] = round(answer["seconds"], 2)
    if not answer["sites"]:
        return out | {"why": answer["why"]}
    atoms = tuple(Atom(f"C{n}", "C", np.array(x)) for n, x in enumerate(answer["sites"]))
    c = compare(Structure(structure.cell, structure.space_group, atoms), structure)
    return out | {"believed": True, "solved": c.matched >= 0.9, "matched": round(c.matched, 3)}


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share k/n (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    p, centre = k / n, (k + z * z / 2) / (n + z * z)
    half = z * np.sqrt(p * (1 - p) * n + z * z / 4) / (n + z * z)
    return float(centre - half), float(centre + half)


def key_of(r: dict) -> tuple:
    """What makes one run another."""
    return r.get("program", "credo"), r["name"], r["d_min"], r["error"], r["completeness"], r["seed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifs", type=Path)
    parser.add_argument("--row", action="append", choices=ROWS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--out", type=Path, default=Path("solved.jsonl"))
    parser.add_argument("--only", nargs="*", help="these structures")
    parser.add_argument("--condition", action="append", help="d_min,error,completeness instead of rows: 1.0,0.1,0.9")
    parser.add_argument("--held-out", action="store_true", help="without those looked at while the search was made")
    parser.add_argument("--peer", action="store_true", help="smtbx beside it")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no run starts after so many")
    parser.add_argument("--table", action="store_true", help="only the table of the log")
    args = parser.parse_args()
    results = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    known, started = {key_of(r) for r in results}, time.monotonic()
    names = args.only or [n for i, n in enumerate(STRUCTURES) if not args.held_out or i % 3]
    conditions = [c for row in args.row or ROWS for c in ROWS[row]]
    if args.condition:
        conditions = [(float(d), float(e), float(c)) for d, e, c in (text.split(",") for text in args.condition)]
    if not args.only:  # of every kind, wherever it is cut off
        names = [names[i] for i in np.random.default_rng(1).permutation(len(names))]
    programs = {"credo": run, "smtbx": run_peer} if args.peer else {"credo": run}
    # seeds last, conditions in turn: a run that is cut off has seen a bit of everything
    for seed, name, condition, program in product(range(args.seeds), names, conditions, programs):
        if args.table or time.monotonic() - started > 60 * args.minutes:
            break
        if (program, name.split("/")[1], *condition, seed) in known:
            continue
        result = programs[program](read_model(args.cifs / f"{name}.cif"), *condition, seed, args.seconds)
        result = {
            "program": program,
            "held_out": STRUCTURES.index(name) % 3 > 0 if name in STRUCTURES else True,
        } | result
        results.append(result)
        print(json.dumps(result), flush=True)
        with args.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
    print(table(results))


def table(results: list[dict]) -> str:
    """One row per condition: solved with its interval, group first, believed though wrong, times; the peer beside."""
    lines = [
        "| d, e, c | n | solved, 95 % | of held out | group first | believed, wrong | median, 90 %, worst s of solved |"
        " smtbx solved | its median s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for condition in [c for row in ROWS.values() for c in row]:
        these = [r for r in results if (r["d_min"], r["error"], r["completeness"]) == condition]
        own = [r for r in these if r.get("program", "credo") == "credo"]
        peer = [r for r in these if r.get("program") == "smtbx"]
        if own:
            lines.append(_line(condition, own, peer))
    return "\n".join(lines)


def _line(condition: tuple[float, float, float], own: list[dict], peer: list[dict]) -> str:
    k, n = sum(r["solved"] for r in own), len(own)
    held = [r for r in own if r.get("held_out")]
    low, high = wilson(k, n)
    times = sorted(r["seconds"] for r in own if r["solved"]) or [float("nan")]
    wrong = sum(bool(r.get("believed")) and not r["solved"] for r in own)
    theirs = sorted(r["seconds"] for r in peer if r["solved"]) or [float("nan")]
    return (
        f"| {condition[0]} Å, {100 * condition[1]:g} %, {100 * condition[2]:g} % | {n} | **{k}** "
        f"({100 * k / n:.0f} %, {100 * low:.0f}-{100 * high:.0f}) | {sum(r['solved'] for r in held)}/{len(held)} | "
        f"{sum(r.get('rank') == 1 for r in own)} | {wrong} | "
        f"{np.median(times):.1f}, {np.quantile(times, 0.9):.1f}, {times[-1]:.1f} | "
        f"{sum(r['solved'] for r in peer)}/{len(peer)} | {np.median(theirs):.1f} |"
    )


if __name__ == "__main__":
    main()
