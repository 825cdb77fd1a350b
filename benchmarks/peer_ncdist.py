"""NCDist (Andrews & Bernstein 2014) of Debian's cctbx, run by the system's Python: cells in, distances out.

    python3 benchmarks/peer_ncdist.py < cells.json

Input: a list of six constants each; output: the matrix [Å²] between Niggli cells, as dials.cluster_unit_cell has it.
"""

import json
import sys


def main() -> None:
    # flex must come before all else of cctbx
    from cctbx.array_family import flex  # noqa: F401
    from cctbx import uctbx  # isort: skip
    from cctbx.uctbx.determine_unit_cell import NCDist  # isort: skip

    g6 = []
    for constants in json.load(sys.stdin):
        m = uctbx.unit_cell(constants).niggli_cell().metrical_matrix()
        g6.append((m[0], m[1], m[2], 2 * m[5], 2 * m[4], 2 * m[3]))
    json.dump([[NCDist(a, b) for b in g6] for a in g6], sys.stdout)


if __name__ == "__main__":
    main()
