"""Structure solution from simulated kinematical data: how often the right structure comes out, and in what time.

    python -m benchmarks.solution ../shared/data/cifs --row easy --seeds 1 --seconds 20 --out solved.jsonl

Each run gets the cell, the centring, the Laue class and the formula of the structure, as a user would give them.
Solved: the space group is right and at least 90 % of the atoms but hydrogen lie within 0.3 Å, of the right class.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
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
    count: Counter[str] = Counter()
    for a in structure.atoms:
        images = {tuple(np.round(np.array(op.apply_to_xyz(a.xyz.tolist())) % 1.0, 2) % 1.0) for op in ops}
        count[a.element] += a.occupancy * len(images)
    return " ".join(f"{e}{n:.2f}" for e, n in count.items())


def run(structure: Structure, d_min: float, error: float, completeness: float, seed: int, seconds: float) -> dict:
    """One structure solved from one simulated data set, and judged against the truth."""
    group = gemmi.SpaceGroup(structure.space_group)
    hkl, i, s = simulate(structure, d_min, error, completeness, seed)
    centring = "P" if group.ext == "R" else group.centring_type()
    start = time.process_time()
    out: dict = {"name": structure.name, "d_min": d_min, "error": error, "completeness": completeness, "seed": seed}
    try:
        found = solve(
            structure.cell, centring, laue_of(group), hkl, i, s, WAVELENGTH, formula_of(structure),
            SolveSettings(seconds=seconds), seed=seed,
        )  # fmt: skip
    except CredoError as problem:
        return out | {"solved": False, "seconds": time.process_time() - start, "why": problem.reason}
    out |= {"seconds": round(time.process_time() - start, 2), "trials": len(found.merits), "believed": found.solved}
    return out | judge(found, structure)


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
        "r_e": round(best.r_e, 3), "r1": round(best.r1, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifs", type=Path)
    parser.add_argument("--row", action="append", choices=ROWS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", help="these structures")
    parser.add_argument("--every", type=int, default=1, help="only every n-th structure")
    args = parser.parse_args()
    results = []
    for row in args.row or ROWS:
        for d_min, error, completeness in ROWS[row]:
            for name in args.only or STRUCTURES[:: args.every]:
                for seed in range(args.seeds):
                    structure = read_model(args.cifs / f"{name}.cif")
                    result = {"row": row} | run(structure, d_min, error, completeness, seed, args.seconds)
                    results.append(result)
                    print(json.dumps(result), flush=True)
                    if args.out:
                        with args.out.open("a") as file:
                            file.write(json.dumps(result) + "\n")
    summarise(results)


def summarise(results: list[dict]) -> None:
    """Solved, space group first, believed wrongly, and CPU seconds of the solved, for every row."""
    for row in dict.fromkeys(r["row"] for r in results):
        these = [r for r in results if r["row"] == row]
        times = sorted(r["seconds"] for r in these if r["solved"]) or [float("nan")]
        wrong = sum(bool(r.get("believed")) and not r["solved"] for r in these)
        print(
            f"{row}: {sum(r['solved'] for r in these)}/{len(these)} solved, group first "
            f"{sum(r.get('rank') == 1 for r in these)}, believed wrongly {wrong}, "
            f"median {np.median(times):.2f} s, 90 % {np.quantile(times, 0.9):.1f} s, worst {times[-1]:.1f} s"
        )


if __name__ == "__main__":
    main()
