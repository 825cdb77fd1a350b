"""The table of coordination sequences, computed from a folder of CIFs of idealised frameworks.

    python -m benchmarks.frameworks_table FOLDER [FOLDER …] --source TEXT --out src/credo/solve/frameworks.json

Each CIF is named by its IZA code. Only the sequences, which are facts, go into the table.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np

from credo.model import Cell
from credo.solve.frameworks_net import Net, net_of_sites
from credo.solve.frameworks_topology import coordination_sequence, smallest_rings

Rows = list[tuple[int, tuple[int, ...]]]


def net_of_cif(path: Path) -> Net:
    """The T atoms of all symmetries, in P1."""
    small = gemmi.read_small_structure(str(path))
    small.setup_cell_images()
    xyz = [s.fract.tolist() for s in small.get_all_unit_cell_sites() if s.element.name not in ("O", "H", "F", "N", "C")]
    return net_of_sites(
        Cell(*small.cell.parameters), gemmi.SpaceGroup("P 1"), _apart(np.array(xyz), small.cell), 2.6, 3.5
    )


def _apart(xyz: np.ndarray, cell: gemmi.UnitCell) -> np.ndarray:
    orth, kept = Cell(*cell.parameters).O, np.empty((0, 3))
    for x in xyz:
        gap = kept - x
        if not len(kept) or np.linalg.norm((gap - np.rint(gap)) @ orth.T, axis=1).min() > 0.5:
            kept = np.vstack([kept, x])
    return kept


def rows_of(net: Net, of: Callable = coordination_sequence) -> Rows:
    """(T atoms, sequence or rings), the numbers divided by what they share."""
    count = Counter(of(net.neighbours, k) for k in range(len(net.every)))
    common = int(np.gcd.reduce(list(count.values())))
    return sorted((n // common, s) for s, n in count.items())


def _lines(table: dict[str, Rows]) -> str:
    """One framework a line."""
    return "{\n" + ",\n".join(f'"{c}": {json.dumps(r, separators=(",", ":"))}' for c, r in table.items()) + "\n}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--source", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    table: dict[str, Rows] = {}
    nets: dict[str, Net] = {}
    for path in sorted((p for f in args.folders for p in f.glob("*.cif")), key=lambda p: p.stem):
        if path.stem in table or len(path.stem) != 3:
            continue
        net = net_of_cif(path)
        if not net.complete:
            print(f"{path.stem}: left out, {int(np.sum(net.degrees != 4))} of {len(net.every)} T are not 4-connected")
            continue
        table[path.stem], nets[path.stem] = rows_of(net), net
    alike = Counter(json.dumps(r) for r in table.values())
    twins = [c for c, r in table.items() if alike[json.dumps(r)] > 1]
    rings = {c: rows_of(nets[c], smallest_rings) for c in twins}
    parts = [f'"source": {json.dumps(args.source)}', f'"sequences": {_lines(table)}', f'"rings": {_lines(rings)}']
    args.out.write_text("{" + ",\n".join(parts) + "}\n")
    print(f"{len(table)} frameworks, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
