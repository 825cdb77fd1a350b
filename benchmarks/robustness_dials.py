"""DIALS on the scenes of the robustness benchmark: axis search where the axis is unknown, index, Bravais settings."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from benchmarks.peer_dials import DialsRun
from benchmarks.robustness import Outcome, Scene, lost, score
from credo.io.dials import read_expt
from credo.io.dials_refl import read_refl, write_refl
from credo.io.dials_write import write_expt
from credo.model import Cell, Experiment, Reflections
from credo.physics.symmetry import primitive_basis

#: DIALS since 3.20 searches the axis among spots of d <= 10 Å only (`d_max`), 3.12.1 among all: hand it those.
D_MAX = 10.0


def run_dials_index(s: Scene) -> Outcome:
    """The scene through DIALS's commands at their defaults (and the camera length fixed, as for electrons), scored as
    credo is. Where the file says nothing of the axis, DIALS searches it."""
    with tempfile.TemporaryDirectory(prefix="robust_") as name:
        folder = Path(name)
        run = DialsRun(folder)
        write_expt(folder / "imported.expt", s.guess)
        write_refl(folder / "strong.refl", s.guess, s.spots)
        start = "imported.expt"
        if "axis" not in s.guess.known:
            write_refl(folder / "search.refl", s.guess, s.spots.select(_beyond(s.guess, s.spots)))
            if not run.step("find_rotation_axis", start, "search.refl", "output.plot=None", "nproc=1"):
                return lost(_last_line(run), run.cpu)
            start = "optimised.expt"
        if not run.step("index", start, "strong.refl", "detector.fix=distance", "nproc=1", *_options(s)):
            return lost(_last_line(run), run.cpu)
        found, table = _indexed(folder, s)
        args = ("indexed.expt", "indexed.refl", "detector.fix=distance", "nproc=1")
        if len(found.crystals) > 1:
            # a table for each lattice: the first one's is judged
            run.step("split_experiments", "indexed.expt", "indexed.refl")
            args = ("split_0.expt", "split_0.refl", *args[2:])
        bravais = _starred(folder) if run.step("refine_bravais_settings", *args) else "none"
        return score(s, found, table, run.cpu, bravais)


def _beyond(guess: Experiment, spots: Reflections) -> np.ndarray:
    q = guess.detector.q_lab(spots.xy, guess.beam.wavelength)
    return np.linalg.norm(q, axis=1) >= 1 / D_MAX


def _options(s: Scene) -> list[str]:
    options = []
    if s.settings.cell is not None:
        basis = primitive_basis(s.settings.centring or "P")
        cell = ",".join(f"{v:.5f}" for v in Cell(*s.settings.cell).reindexed(basis).parameters)
        # the primitive cell: the metric's symmetry is judged afterwards, as without a known one
        options += [f"known_symmetry.unit_cell={cell}", "known_symmetry.space_group=P1"]
    if len(s.truth.crystals) > 1:
        options.append("max_lattices=2")
    return options


def _indexed(folder: Path, s: Scene) -> tuple[Experiment, Reflections]:
    """The experiment found, and the scene's spots in their own order with the lattice that DIALS gave each."""
    found = read_expt(folder / "indexed.expt")
    _, theirs = read_refl(folder / "indexed.refl", folder / "indexed.expt")
    place = lambda r: np.column_stack([r.xy, 10 * r["phi"]])  # noqa: E731
    gap, row = KDTree(place(theirs)).query(place(s.spots))
    lattice = np.where(gap < 1e-3, theirs["lattice"][row], -1)
    return found, s.spots.with_columns(lattice=lattice)


def _starred(folder: Path) -> str:
    """The recommended setting of highest symmetry, which a user would take."""
    table = json.loads((folder / "bravais_summary.json").read_text())
    best = max((int(n) for n, row in table.items() if row["recommended"]), default=1)
    return table[str(best)]["bravais"]


def _last_line(run: DialsRun) -> str:
    lines = [line for line in run.steps[-1].tail.splitlines() if line.strip()]
    return f"{run.steps[-1].name}: {lines[-1].strip() if lines else 'failed'}"
