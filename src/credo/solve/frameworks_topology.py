"""The name of a net: coordination sequences of its T sites, against those of the known framework types.

N_k is how many T atoms are k steps away (G. O. Brunner & F. Laves, Wiss. Z. Techn. Univ. Dresden 20 (1971) 387). The
sequences of all T sites to N10 tell almost all framework types of the IZA apart; where two share them, both are named.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from importlib.resources import files

from credo.solve.frameworks_net import Net

__all__ = ["coordination_sequence", "known_frameworks", "name_of_net", "ring_signature", "signature", "smallest_rings"]

Neighbours = list[list[tuple[int, tuple[int, int, int]]]]
#: Sequences by the share of the T atoms that have each: what a framework is recognised by.
Signature = tuple[tuple[tuple[int, ...], float], ...]


def coordination_sequence(neighbours: Neighbours, start: int, shells: int = 10) -> tuple[int, ...]:
    """(N_1 … N_shells) about atom ``start`` of a net given by the (number, cell shift) of every atom's neighbours."""
    here = {(start, 0, 0, 0)}
    before: set[tuple[int, int, int, int]] = set()
    out = []
    for _ in range(shells):
        beyond = {
            (b, x + i, y + j, z + k) for a, x, y, z in here for b, (i, j, k) in neighbours[a]
        } - here - before  # fmt: skip
        before, here = here, beyond
        out.append(len(beyond))
    return tuple(out)


def signature(net: Net) -> Signature:
    """Each different sequence with its share of the T atoms, in rising order."""
    share: Counter[tuple[int, ...]] = Counter()
    for i, multiplicity in enumerate(net.multiplicity):
        first = int((net.owner == i).argmax())
        share[coordination_sequence(net.neighbours, first)] += int(multiplicity)
    total = sum(share.values())
    return tuple(sorted((s, n / total) for s, n in share.items()))


@cache
def known_frameworks() -> dict[str, Signature]:
    """IZA code -> signature. The table was computed by ``python -m benchmarks.frameworks_table`` from the idealised
    structures of the IZA's Database of Zeolite Structures (see the table's own ``source``)."""
    return {code: _shares(rows) for code, rows in _table()["sequences"].items()}


def name_of_net(net: Net, found: Signature) -> tuple[str, ...]:
    """The IZA codes whose T sites have just these sequences in these proportions; none for an unknown net."""
    codes = tuple(code for code, known in known_frameworks().items() if _alike(found, known))
    if len(codes) < 2:
        return codes
    table = _table()["rings"]
    mine = ring_signature(net)
    return tuple(c for c in codes if _alike(mine, _shares(table[c]))) or codes


def smallest_rings(neighbours: Neighbours, start: int, most: int = 24) -> tuple[int, ...]:
    """T atoms in the smallest ring through each of the angles at atom ``start``, in rising order."""
    ends = [(b, *shift) for b, shift in neighbours[start]]
    return tuple(sorted(_ring(neighbours, (start, 0, 0, 0), a, b, most) for n, a in enumerate(ends) for b in ends[:n]))


def ring_signature(net: Net) -> Signature:
    """The rings of each kind of T, with its share of the T atoms."""
    share: Counter[tuple[int, ...]] = Counter()
    for i, multiplicity in enumerate(net.multiplicity):
        share[smallest_rings(net.neighbours, int((net.owner == i).argmax()))] += int(multiplicity)
    return tuple(sorted((s, n / sum(share.values())) for s, n in share.items()))


def _ring(neighbours: Neighbours, centre: tuple, a: tuple, b: tuple, most: int) -> int:
    """Two more than the steps from a to b by any way but over the centre; ``most`` where it is longer."""
    seen, here = {centre, a}, {a}
    for steps in range(1, most - 1):
        here = {
            (n, x + i, y + j, z + k) for m, x, y, z in here for n, (i, j, k) in neighbours[m]
        } - seen  # fmt: skip
        if b in here:
            return steps + 2
        seen |= here
    return most


def _alike(a: Signature, b: Signature) -> bool:
    return len(a) == len(b) and all(s == t and abs(n - m) < 1e-3 for (s, n), (t, m) in zip(a, b))


def _shares(rows: list) -> Signature:
    total = sum(n for n, _ in rows)
    return tuple(sorted((tuple(s), n / total) for n, s in rows))


@cache
def _table() -> dict:
    return json.loads(files("credo.solve").joinpath("frameworks.json").read_text("utf-8"))
