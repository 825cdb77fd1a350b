"""Known phases for `credo cluster`: given as CIFs or cells, found by cell and, where two are possible, by spots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from credo.io.cif import cell_of_block, parse, space_group_of_block
from credo.io.merged import cell_or_none, without_geometry
from credo.io.project import read_reflections
from credo.io.reflection_files import read_any
from credo.merge.double_indexing import CHANCE, judge, points_of
from credo.merge.known_phases import Identification, KnownPhase, identify
from credo.model import CredoError, Experiment, Reflections, UnreadableInput
from credo.physics.symmetry import primitive_basis
from credo.pipeline.cluster_input import badly_known
from credo.pipeline.data_set import DataSet
from credo.reduce.lattice import likelihood

__all__ = ["identified", "known_phases"]

#: A phase less probable than this by its cell is not settled: the spots are asked.
_SETTLED = 0.99


def known_phases(words: Sequence[str]) -> list[KnownPhase]:
    """Each a CIF, or ``NAME=a,b,c,al,be,ga,CENTRING`` with name and centring (P) left out at will."""
    phases = [_from_file(Path(w)) if Path(w).is_file() else _from_text(w) for w in words]
    names = [p.name for p in phases]
    if len(set(names)) < len(names):
        raise UnreadableInput(
            f"two known phases are called {max(names, key=names.count)!r}", "name them: NAME=a,b,c,..."
        )
    return phases


def _from_text(word: str) -> KnownPhase:
    name, _, rest = word.rpartition("=")
    match = re.fullmatch(r"((?:[^,]+,){5}[^,]+?)(?:,\s*([PABCIFR]))?", rest.strip())
    try:
        cell = cell_or_none([float(x) for x in match[1].split(",")]) if match else None
    except ValueError:
        cell = None
    if match is None or cell is None:
        raise UnreadableInput(
            f"--known {word}: neither a file nor a cell", "give a CIF, or NAME=a,b,c,alpha,beta,gamma,CENTRING"
        )
    return KnownPhase(name or rest, cell, match[2] or "P")


def _from_file(path: Path) -> KnownPhase:
    blocks = [b for b in parse(path) if cell_of_block(b) is not None]
    if not blocks:
        raise UnreadableInput(f"{path}: no cell in it", "give another CIF, or the cell itself")
    cell = cell_of_block(blocks[0])
    assert cell is not None
    crystal = without_geometry(cell, space_group_of_block(blocks[0])).crystal
    return KnownPhase(path.stem, cell.replace(covariance=None), crystal.centring)


def identified(members: Sequence[DataSet], phases: Sequence[KnownPhase]) -> dict[str, Any]:
    """The keys ``known`` and ``identity`` of report.json: one entry a data set, in the order of the members."""
    crystals = [m.crystal for m in members]
    found = identify(
        [c.cell for c in crystals], [c.centring for c in crystals], phases, [badly_known(m.experiment) for m in members]
    )
    identity = [_entry(found, i, m, phases) for i, m in enumerate(members)]
    names = [*found.names, "unknown"]
    return {
        "known": [{"name": p.name, "cell": p.cell.parameters, "centring": p.centring} for p in phases],
        "camera_scale": 1 + found.scale, "camera_scale_esd": found.scale_esd, "identity": identity,
        "phase_counts": {n: sum(e["phase"] == n for e in identity) for n in names},
    }  # fmt: skip


def _entry(found: Identification, i: int, member: DataSet, phases: Sequence[KnownPhase]) -> dict[str, Any]:
    names = [*found.names, "unknown"]
    p = found.probability[i]
    best = int(np.argmax(p))
    index, strain = int(found.index[i]), float(found.strain[i])
    if best == len(phases):
        reason = (
            "no known lattice is near" if np.isinf(strain) else f"{100 * strain:.1f} % from the nearest known lattice"
        )
    else:
        of = "" if index == 1 else f", as a super- or sublattice of index {index}"
        reason = f"its cell is strained by {100 * strain:.1f} % from {names[best]}{of}"
    entry: dict[str, Any] = {
        "phase": names[best], "probability": dict(zip(names, p.tolist())), "index": index,
        "reindex": found.reindex[i] if best < len(phases) else None, "reason": reason,
    }  # fmt: skip
    if len(phases) > 1 and p.max() < _SETTLED:
        entry |= _by_spots(member, phases, p)
    return entry


def _by_spots(member: DataSet, phases: Sequence[KnownPhase], by_cell: np.ndarray) -> dict[str, Any]:
    """The verdict of the spots, where there are any with a geometry, on top of that of the cell (k + 1,).

    What speaks for none of the phases is the set's own lattice, which has six constants more to fit.
    """
    try:
        experiment, spots = _found_spots(member)
        if not {"x", "y", "phi", "frame", "intensity"} <= set(spots) or "angles" not in experiment.known:
            return {}
        points = points_of(experiment, spots)
        found = judge(points, phases).candidates
    except CredoError:
        return {}
    crystal = member.crystal
    own = likelihood(points, crystal.UB @ np.linalg.inv(primitive_basis(crystal.centring)).T)
    scores = np.array([*(c.score for c in found), max(own.score - 3 * np.log(len(points)), CHANCE)])
    probability = softmax(scores + np.log(np.maximum(by_cell, 1e-12)))
    names = [*(p.name for p in phases), "unknown"]
    best = int(np.argmax(probability))
    told = ", ".join([*(f"{c.name} {c.score:.0f}" for c in found), f"as indexed {own.score:.0f}"])
    return {
        "phase": names[best], "probability": dict(zip(names, probability.tolist())),
        "reason": f"the cell left it open; log-likelihood of the spots over chance [nat]: {told}",
        **({"reindex": None} if best == len(phases) else {}),
    }  # fmt: skip


def _found_spots(member: DataSet) -> tuple[Experiment, Reflections]:
    """All spots that were found, indexed or not; where they were not kept, the integrated reflections."""
    folder = Path(member.name).parent
    if Path(member.name).name == "experiment.json" and (folder / "spots.h5").is_file():
        return member.experiment, read_reflections(folder / "spots.h5")
    if Path(member.name).is_file() and (folder / "SPOT.XDS").is_file():
        read, spots = read_any(folder / "SPOT.XDS")
        return read or member.experiment, spots
    return member.experiment, member.table
