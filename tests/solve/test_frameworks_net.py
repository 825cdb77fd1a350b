"""Nets of known frameworks: connections, coordination sequences, rings, names and ideal distances."""

import gemmi
import numpy as np
import pytest

from credo.model import CannotDo, Cell
from credo.solve.frameworks_dls import distance_least_squares
from credo.solve.frameworks_net import net_of_sites
from credo.solve.frameworks_topology import (
    coordination_sequence,
    known_frameworks,
    name_of_net,
    signature,
    smallest_rings,
)

SODALITE = net_of_sites(
    Cell(8.965, 8.965, 8.965, 90, 90, 90), gemmi.SpaceGroup("I m -3 m"), np.array([[0.25, 0.5, 0.0]])
)
#: Diamond with T–T 3.1 Å, the net of cristobalite.
DIAMOND = net_of_sites(Cell(7.16, 7.16, 7.16, 90, 90, 90), gemmi.SpaceGroup("F d -3 m:1"), np.array([[0.0, 0.0, 0.0]]))


def test_sodalite():
    assert SODALITE.complete and list(SODALITE.multiplicity) == [12] and abs(SODALITE.density - 16.65) < 0.01
    assert signature(SODALITE) == (((4, 10, 20, 34, 52, 74, 100, 130, 164, 202), 1.0),)
    assert smallest_rings(SODALITE.neighbours, 0) == (4, 4, 6, 6, 6, 6)
    assert name_of_net(SODALITE, signature(SODALITE)) == ("SOD",)


def test_diamond_is_known_by_its_sequence_and_is_no_zeolite():
    assert DIAMOND.complete
    assert coordination_sequence(DIAMOND.neighbours, 0) == (4, 12, 24, 42, 64, 92, 124, 162, 204, 252)
    assert smallest_rings(DIAMOND.neighbours, 0) == (6,) * 6
    assert name_of_net(DIAMOND, signature(DIAMOND)) == ()


def test_lta_and_rho_share_their_sequences_and_are_told_apart_by_rings():
    known = known_frameworks()
    assert known["LTA"] == known["RHO"]
    lta = net_of_sites(Cell(11.919, 11.919, 11.919, 90, 90, 90), gemmi.SpaceGroup("P m -3 m"),
                       np.array([[0.0, 0.1823, 0.3684]]))  # fmt: skip
    assert signature(lta) == known["LTA"]
    assert name_of_net(lta, signature(lta)) == ("LTA",)


def test_a_layer_and_a_broken_net_are_not_complete():
    sheet = net_of_sites(Cell(4.4, 4.4, 9, 90, 90, 90), gemmi.SpaceGroup("P 1"), np.array([[0, 0, 0], [0.5, 0.5, 0]]))
    assert list(sheet.degrees) == [4, 4] and not sheet.complete
    alone = net_of_sites(Cell(9, 9, 9, 90, 90, 90), gemmi.SpaceGroup("P 1"), np.array([[0.1, 0.1, 0.1]]))
    assert not alone.complete
    with pytest.raises(CannotDo, match="four neighbours"):
        distance_least_squares(alone)
    nothing = net_of_sites(Cell(9, 9, 9, 90, 90, 90), gemmi.SpaceGroup("P 1"), np.empty((0, 3)))
    assert not nothing.complete


def test_every_framework_of_the_table_is_four_connected_and_grows():
    table = known_frameworks()
    assert len(table) > 200
    for code, rows in table.items():
        assert len(code) == 3 and abs(sum(n for _, n in rows) - 1) < 1e-9
        assert all(s[0] == 4 and s[1] <= 12 and len(s) == 10 and min(s) > 0 for s, _ in rows)


def test_distances_of_sodalite():
    geometry = distance_least_squares(SODALITE)
    assert [a.element for a in geometry.structure.atoms] == ["Si", "O"]
    assert geometry.rms < 0.01 and geometry.misfit < 1
    # sodalite's T–T distance is a/(2√2), so T–O–T follows from T–O
    half = 8.965 / 2 / np.sqrt(8)
    assert abs(geometry.angle - 2 * np.degrees(np.arcsin(half / 1.61))) < 2


def test_jumbled_sites_come_back_to_the_distances():
    rng = np.random.default_rng(3)
    cell, group = Cell(11.919, 11.919, 11.919, 90, 90, 90), gemmi.SpaceGroup("P m -3 m")
    sites = np.array([[0.0, 0.1823, 0.3684]]) + np.array([[0, 1, 1]]) * rng.normal(scale=0.006, size=(1, 3))
    geometry = distance_least_squares(net_of_sites(cell, group, sites))
    assert geometry.rms < 0.01
    assert np.linalg.norm((geometry.structure.atoms[0].xyz - [0.0, 0.1823, 0.3684]) * 11.919) < 0.1
