"""Refinement against smtbx on the same models and data, the cost of a cycle, and the measured data sets.

CREDO_CCTBX_PYTHON=/path/to/cctbx/bin/python python -m benchmarks.refinement [peer] [size] [measured]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gemmi
import numpy as np

from credo.io.reflection_files import read_any
from credo.io.shelx import read_hkl
from credo.io.structure import read_structure
from credo.model import Atom, Cell, Structure
from credo.physics.structure_factors import structure_factors
from credo.solve.refine.constraints import with_displacements
from credo.solve.refine.data import Observed, merge_equivalents
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.from_shelx import prepared_from_res
from credo.solve.refine.model import Model, Weights
from credo.solve.refine.prepare import RefineSettings, prepared_model
from credo.solve.refine.result import Refined
from credo.solve.refine.run import refined_structure

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    wanted = sys.argv[1:] or ["peer", "size"]
    if "peer" in wanted:
        peer()
    if "size" in wanted:
        size()
    if "measured" in wanted:
        measured_sets()


# ---------------------------------------------------------------- peer


def peer() -> None:
    """One line a case: both agreements, largest difference of parameters in esd, largest ratio of esds."""
    print("case                      R1 credo  R1 smtbx  wR2 diff  shift/esd  esd ratio min..max  s/cycle credo, smtbx")
    for name, model, data, friedel_apart in cases():
        ours, seconds = timed(model, data)
        theirs = smtbx(model, data, friedel_apart)
        report(name, ours, theirs, seconds)


def cases():
    yield ("cinchonine iso, P21", *measured("cinchonine/shelxl/shelxl.res", "cinchonine/shelxl/shelxl.hkl"), True)
    yield ("biotin iso, P212121", *measured("biotin/biotin_talos.ins", "biotin/biotin_talos.hkl"), True)
    yield ("biotin aniso", *measured("biotin/biotin_talos.ins", "biotin/biotin_talos.hkl", True), True)
    for name, file, d_min, aniso in SIMULATED:
        yield (name, *simulated(read_structure(DATA / "cifs" / file), d_min, aniso), False)


SIMULATED = (
    ("MFI aniso, Pnma", "zeolites_exp_raspa2/MFI_SI.cif", 1.0, True),
    ("garnet aniso, Ia-3d", "minerals_amcsd/Pyrope.cif", 0.6, True),
    ("MOR iso, Cmcm", "zeolites_iza/MOR.cif", 1.0, False),
    ("FER aniso, Immm", "zeolites_iza/FER.cif", 0.9, True),
    ("quartz aniso, P3221", "cod_opencrystals/SiO2-Quartz-alpha.cif", 0.5, True),
)


def measured(res: str, hkl: str, aniso: bool = False) -> tuple[Model, Observed]:
    prepared, r = prepared_from_res(DATA / res), read_hkl(DATA / hkl)
    model = prepared.model.replace(structure=with_displacements(prepared.model.structure, aniso))
    structure = model.structure
    merged = merge_equivalents(
        r.hkl, r["intensity"], r["sigma"], gemmi.SpaceGroup(structure.space_group), structure.cell, "point group"
    )
    return model, merged.observed


def simulated(structure: Structure, d_min: float, aniso: bool, error: float = 0.1, seed: int = 1):
    """A displaced model and data of the true one with normal errors of 10 % and 1 % of the mean."""
    rng = np.random.default_rng(seed)
    true = with_displacements(structure, aniso)
    true = true.replace(atoms=tuple(a.replace(label=f"{a.element}{i}") for i, a in enumerate(true.atoms)))
    hkl = gemmi.make_miller_array(
        gemmi.UnitCell(*true.cell.parameters), gemmi.SpaceGroup(true.space_group), d_min, unique=True
    )
    f2 = np.abs(structure_factors(true, hkl)) ** 2
    sigma = error * f2 + 0.01 * f2.mean()
    data = Observed(np.asarray(hkl), f2 + rng.normal(0, 1, len(f2)) * sigma, sigma)
    model = Model(true, fixed=frozenset((i, 3) for i in range(len(true.atoms))), weights=Weights(0.05, 0.0))
    return model, data


def timed(model: Model, data: Observed) -> tuple[Refined, float]:
    refine_model(model, data, 0.02508, FitSettings(1))
    started = time.process_time()
    done = refine_model(model, data, 0.02508, FitSettings(60, converged=0.001))
    return done, (time.process_time() - started) / (done.cycles + 1)


def smtbx(model: Model, data: Observed, friedel_apart: bool, cycles: int = 60) -> dict:
    structure = model.structure
    given = dict(model.factors)
    gaussians = {}
    for e in {a.element for a in structure.atoms}:
        if e in given:
            c = given[e]
            gaussians[e] = {"a": c[0:8:2], "b": c[1:8:2], "c": c[8]}
        else:
            c = gemmi.Element(e).c4322.get_coefs()
            gaussians[e] = {"a": c[:5], "b": c[5:], "c": 0.0}
    atoms = [
        {"label": a.label, "element": a.element, "xyz": a.xyz.tolist(), "occupancy": a.occupancy, "u_iso": a.u_iso,
         "u_aniso": None if a.u_aniso is None else a.u_aniso.tolist()}
        for a in structure.atoms
    ]  # fmt: skip
    problem = {
        "cell": structure.cell.parameters, "hall": gemmi.SpaceGroup(structure.space_group).hall, "atoms": atoms,
        "gaussians": gaussians, "hkl": data.hkl.tolist(), "f2": data.f2.tolist(), "sigma": data.sigma.tolist(),
        "a": model.weights.a, "b": model.weights.b, "cycles": cycles, "friedel_apart": friedel_apart,
    }  # fmt: skip
    python = os.environ.get("CREDO_CCTBX_PYTHON", "/tmp/w/refine/cctbx/bin/python")
    script = Path(__file__).with_name("peer_smtbx.py")
    done = subprocess.run(
        [python, str(script)], input=json.dumps(problem), capture_output=True, text=True, timeout=1800
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def report(name: str, ours: Refined, theirs: dict, seconds: float) -> None:
    apart, ratios = [0.0], []
    for i, (a, b) in enumerate(zip(ours.structure.atoms, theirs["atoms"])):
        u = np.array([a.u_iso]) if a.u_aniso is None else a.u_aniso
        mine, mine_esd = np.r_[a.xyz, u], np.r_[ours.esd[i, :3], ours.esd[i, 4 : 4 + len(u)]]
        other, other_esd = np.r_[b["xyz"], b["u"]], np.r_[b["xyz_esd"], b["u_esd"]]
        free = (mine_esd > 1e-12) & (other_esd > 1e-12)
        gap = mine - other
        gap[:3] -= np.rint(gap[:3])
        apart += (np.abs(gap)[free] / mine_esd[free]).tolist()
        ratios += (mine_esd[free] / other_esd[free]).tolist()
    a = ours.agreement
    print(
        f"{name:<25s} {a.r1:.4f}    {theirs['r1']:.4f}    {a.wr2 - theirs['wr2']:+.5f}  {max(apart):.4f}     "
        f"{min(ratios, default=1):.4f}..{max(ratios, default=1):.4f}      {seconds:.3f}, "
        f"{theirs['seconds'] / theirs['cycles']:.3f}  ({ours.n_parameters} parameters, {a.n_all} data, "
        f"{ours.cycles} and {theirs['cycles']} cycles)",
        flush=True,
    )


# ---------------------------------------------------------------- size


def size() -> None:
    """CPU seconds of a cycle for 500 random atoms in P1."""
    print("500 atoms in P1            parameters  data   s/cycle  cycles  R1")
    for aniso, d_min in ((False, 1.0), (False, 0.84), (True, 1.0)):
        model, data = random_p1(500, d_min, aniso)
        refine_model(model, data, 0.02508, FitSettings(0))
        started = time.process_time()
        done = refine_model(model, data, 0.02508, FitSettings(3, converged=0))
        seconds = time.process_time() - started
        started = time.process_time()
        refine_model(model, data, 0.02508, FitSettings(0))
        seconds -= time.process_time() - started
        print(
            f"{'aniso' if aniso else 'iso'} {d_min:.2f} Å {done.n_parameters:24d} {done.agreement.n_all:6d} "
            f"{seconds / 3:8.2f} {done.cycles:7d}  {done.agreement.r1:.4f}", flush=True,
        )  # fmt: skip


def random_p1(n: int, d_min: float, aniso: bool) -> tuple[Model, Observed]:
    """``n`` atoms at 10 Å³ each (hydrogens would fill the rest), moved by 0.05 Å from where the data have them."""
    rng = np.random.default_rng(0)
    edge = (18.0 * n) ** (1 / 3)
    cell = Cell(edge, 1.05 * edge, 0.97 * edge, 85.0, 95.0, 102.0)
    xyz = rng.random((n, 3))
    atoms = tuple(Atom(f"{'CNO'[i % 3]}{i}", "CNO"[i % 3], x, u_iso=0.03) for i, x in enumerate(xyz))
    model, data = simulated(Structure(cell, "P 1", atoms), d_min, aniso)
    step = rng.normal(0, 0.03, (n, 3)) @ np.linalg.inv(cell.O).T
    moved = tuple(a.replace(xyz=a.xyz + s) for a, s in zip(model.structure.atoms, step))
    return model.replace(structure=model.structure.replace(atoms=moved)), data


# ---------------------------------------------------------------- measured

MEASURED = (
    ("biotin", "biotin/biotin_talos.ins", "biotin/biotin_talos.hkl", "0.1866 (SHELXL, X-ray factors)"),
    ("cinchonine", "cinchonine/shelxl/shelxl.res", "cinchonine/shelxl/shelxl.hkl", "0.1765 (SHELXL)"),
    ("paracetamol", "cif_pets/paracetamol.cif", "cif_pets/APAP_dyn_reference.cif_pets", "-"),
    ("LTA", "cif_pets/lta.cif", "cif_pets/lta_exp_data.cif_pets", "-"),
    ("α-glycine", "cifs/organics_ed/alpha_glycine.cif", "glycine_pets/glycine.cif_pets", "-"),
)
VARIANTS = (
    ("as given", RefineSettings()),
    ("Friedel mates apart", RefineSettings(merge="point group")),
    ("hydrogens added", RefineSettings(hydrogens="add")),
    ("extinction", RefineSettings(extinction=True)),
    ("all, anisotropic + RIGU", RefineSettings(extinction=True, anisotropic="all", instruction=("RIGU",))),
)


def measured_sets() -> None:
    """Kinematical refinement of every measured set, as given and with what helps."""
    print("data, variant, R1 of I > 2σ (of), R1 of all (of), wR2, GooF, parameters, shift/esd, CPU s, published R1")
    for name, model, hkl, published in MEASURED:
        for variant, settings in VARIANTS:
            if variant == "hydrogens added" and name != "biotin":
                continue
            started = time.process_time()
            experiment, table = read_any(DATA / hkl)
            done = refined_structure(prepared_model(DATA / model, settings), experiment, table, settings)
            r, a = done.refined, done.refined.agreement
            print(
                f"{name:<12s} {variant:<24s} {a.r1:.4f} {a.n_observed:5d}  {a.r1_all:.4f} {a.n_all:5d}  {a.wr2:.4f} "
                f" {a.goof:.3f} {r.n_parameters:4d}  {r.shift_over_esd:.4f}  "
                f"{time.process_time() - started:6.1f}  {published}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
