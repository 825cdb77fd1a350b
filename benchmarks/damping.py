"""Merged intensities of crystals that damp strong reflections, with and without the correction, against the truth.

    python -m benchmarks damping [--seeds 11 12 13] [--samples ZSM-5 ...] [--log FILE]

Data sets without frames: crystals of the simulated grid's sizes in random orientations, each turned through 120°; what a
reflection gives is the simulator's own (instrument/sim/lattice.py: Blackman's factor for the crystal's thickness, 1 % of
leakage, 28 % of error own to each node), with smooth scales and counting noise on it. "Damped": as it is. "Model": credo's
correction with a structure refined against the damped data, starting from the true atoms moved by 0.05 Å. "Kinematical":
without the factor and the leak, where nothing must be taken out. R1 = Σ|F − F_true|/ΣF_true of I > 2σ after one scale and
B. "Only damping": no other error, so its part in R1. Seeds below 10 served to choose the rules.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.closing import experiment
from benchmarks.merging import r1
from benchmarks.wedges import Scene
from credo.instrument.sim.lattice import Lattice, lattice_of
from credo.io.samples import sample
from credo.io.space_group import find_space_group
from credo.merge.damping import Damping, undamped
from credo.merge.scale import Scaled, pool, scale_sets
from credo.model import Crystal, Reflections, Structure
from credo.physics.ewald import predict
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.merge_model import intensities_of
from credo.solve.least_squares import LeastSquaresSettings, Observed, fit_structure

#: Sample: edge [Å] and crystals of the demonstration.
SAMPLES = {
    "ZSM-5": (0.9, 4),
    "mordenite": (0.9, 3),
    "andradite": (0.8, 3),
    "paracetamol": (0.9, 4),
    "HKUST-1": (0.9, 4),
}
WAVELENGTH, LEVEL, BACKGROUND = 0.02508, 1000.0, 60.0


class Sample:
    """A shipped structure, its lattice as the simulator has it, and the rows of its nodes by index."""

    def __init__(self, name: str) -> None:
        self.d_min, self.crystals = SAMPLES[name]
        self.structure = sample(name)
        group = find_space_group(self.structure.space_group)
        assert group is not None
        self.laue, self.cell = group.laue_str(), self.structure.cell.replace(covariance=None)
        self.lattice: Lattice = lattice_of(self.structure, 0.99 * self.d_min)
        hkl, of = unique_reflections(self.lattice.hkl, laue_rotations(self.laue))
        f2 = np.zeros(len(hkl))
        f2[of] = self.lattice.f2
        self.scene = Scene([], [], self.cell, self.laue, hkl, f2)
        self.edge = int(np.abs(self.lattice.hkl).max()) + 1
        self.row = np.full((2 * self.edge + 1,) * 3, -1)
        self.row[tuple((self.lattice.hkl + self.edge).T)] = np.arange(len(self.lattice.hkl))

    def measured(self, seed: int, kind: str) -> tuple[list[Reflections], np.ndarray]:
        """The tables of all crystals, and their thicknesses [µm] as the grid has them (size × 0.22, both scattered)."""
        rng = np.random.default_rng([seed, 5])
        size = 0.8 * np.exp(0.35 * rng.normal(size=self.crystals))
        thickness = 0.22 * size * np.exp(0.25 * rng.normal(size=self.crystals))
        return [self._one(rng, t, 1000 * seed + k, kind) for k, t in enumerate(thickness)], thickness

    def _one(self, rng: np.random.Generator, thickness: float, key: int, kind: str) -> Reflections:
        turned = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        crystal = Crystal(self.cell, turned, self.structure.space_group[0], self.laue)
        p = predict(experiment(crystal, -60.0, 60.0), crystal, self.d_min)
        p = p.select(p["lorentz"] < 10)
        row = self.row[tuple((p.hkl + self.edge).T)]
        p, row = p.select(row >= 0), row[row >= 0]
        if kind == "kinematical":
            spread = np.sqrt(np.log1p(0.28**2))
            strength = self.lattice.f2 * np.exp(spread * rng.normal(size=len(self.lattice.f2)))
        else:
            strength = self.lattice.strength(thickness, WAVELENGTH, 1e-6 if kind == "only damping" else 0.28, key)
        phi, s2 = p["phi"], 0.25 / self.cell.d_spacing(p.hkl) ** 2
        x = (phi - phi.min()) / np.ptp(phi)
        ln_k = 0.3 * rng.normal() * np.sin(np.pi * x * rng.uniform(0.5, 2)) + 0.2 * rng.normal() * x
        true = LEVEL * strength[row] / strength.mean() * np.exp(ln_k - 2 * (rng.normal(0, 0.2) + 0.4 * x) * s2)
        noise = np.sqrt(true + BACKGROUND)
        quiet = 1e-3 if kind == "only damping" else 1.0
        return p.with_columns(intensity=true + quiet * rng.normal(0, noise), sigma=quiet * noise)


def refined(start: Structure, s: Scaled, extinction: bool) -> Structure:
    """Least squares against the merged data."""
    group = gemmi.SpaceGroup(start.space_group)
    keep = ~np.asarray(group.operations().systematic_absences(s.hkl.astype(np.int32)), dtype=bool)
    data = Observed(s.hkl[keep], s.intensity[keep], s.sigma[keep])
    rules = LeastSquaresSettings(extinction=extinction, weight_a=0.2, cycles=12)
    return fit_structure(start, data, WAVELENGTH, rules).structure


def moved(structure: Structure, rng: np.random.Generator, by: float = 0.05) -> Structure:
    """Atoms off by ``by`` [Å] rms, special positions kept by the least squares that follows."""
    group = gemmi.SpaceGroup(structure.space_group).operations()
    free = [len(group.sym_ops) * len(group.cen_ops) == _orbit(structure, a.xyz) for a in structure.atoms]
    step = np.linalg.inv(structure.cell.O) @ rng.normal(0, by / np.sqrt(3), (3, len(free)))
    atoms = [replace(a, xyz=a.xyz + step[:, i]) if free[i] else a for i, a in enumerate(structure.atoms)]
    return structure.replace(atoms=tuple(atoms))


def _orbit(structure: Structure, xyz: np.ndarray) -> int:
    images = [op.apply_to_xyz(xyz.tolist()) for op in gemmi.SpaceGroup(structure.space_group).operations()]
    return len(np.unique(np.round(np.array(images) % 1.0 % 1.0, 3) % 1.0, axis=0))


def one(name: str, seed: int) -> dict[str, Any]:
    """Every figure of one sample and seed."""
    s, out = Sample(name), {"sample": name, "seed": seed}

    def score(found: Scaled, intensity: np.ndarray | None = None) -> float:
        keep = found.intensity > 2 * found.sigma
        keep &= s.scene.true_of(found.hkl) > 0
        return r1(found.hkl[keep], (found.intensity if intensity is None else intensity)[keep], s.scene)

    def scaled(kind: str):
        tables, thickness = s.measured(seed, kind)
        data = pool(tables)
        return data, scale_sets(data, s.cell, s.laue), thickness

    out["only damping"] = score(scaled("only damping")[1])
    for kind in ("damped", "kinematical"):
        data, before, thickness = scaled(kind)
        model = refined(moved(s.structure, np.random.default_rng(seed)), before, kind == "damped")
        start = time.process_time()
        f2 = intensities_of(model, before.hkl)
        _, after, found = undamped(data, before, f2, s.cell, s.laue, WAVELENGTH)
        cpu = time.process_time() - start
        again = refined(model, after, False)
        fc = [np.abs(structure_factors(m, before.hkl)) ** 2 for m in (model, again)]
        out[kind] = {
            "merged": score(before), "corrected": score(after), "fc": score(before, fc[0]),
            "fc_corrected": score(before, fc[1]), "cpu_s": cpu, **_told(found, thickness),
        }  # fmt: skip
    return out


def _told(found: Damping, thickness: np.ndarray) -> dict[str, Any]:
    return {
        "applied": found.applied, "gain": float(found.gain.sum()), "crystals": found.crystals,
        "thickness_um": thickness.tolist(), "found_um": (1e-4 * found.thickness).tolist(),
    }  # fmt: skip


def line(name: str, rows: list[dict[str, Any]]) -> str:
    """A line of the table: means over the seeds, with the largest."""
    d, k = [r["damped"] for r in rows], [r["kinematical"] for r in rows]
    cells = [f"{np.mean([r['only damping'] for r in rows]):.3f}", f"{np.mean([x['merged'] for x in k]):.3f}"]
    for key in ("merged", "corrected", "fc", "fc_corrected"):
        values = [x[key] for x in d]
        cells.append(f"{np.mean(values):.3f} ({max(values):.3f})")
    ratio = np.concatenate([np.array(x["found_um"]) / np.array(x["thickness_um"]) for x in d])
    cells.append(f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})")
    cells += [f"{sum(x['applied'] for x in d)} of {len(d)}", f"{sum(x['applied'] for x in k)} of {len(k)}"]
    cells.append(f"{np.mean([x['cpu_s'] for x in d]):.1f}")
    return f"| {name}, {SAMPLES[name][1]} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--samples", nargs="+", default=list(SAMPLES))
    parser.add_argument("--log", type=Path, help="numbers of every run, as JSON lines")
    given = parser.parse_args()
    lines = ["| sample, crystals | only damping | without it | merged | corrected | Fc | Fc, corrected data | "
             "thickness, found / true | applied | to kinematical | CPU s |", "|---" * 11 + "|"]  # fmt: skip
    for name in given.samples:
        rows = [one(name, seed) for seed in given.seeds]
        if given.log:
            with given.log.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(r) + "\n" for r in rows)
        lines.append(line(name, rows))
        print(lines[-1], flush=True)
    print("\n".join(lines))
