"""Few data sets: cells that have nothing in common are not joined for want of a gap."""

import numpy as np

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.pipeline.batch_sort import sort_sets
from credo.pipeline.data_set import DataSet


def data_set(name, *lengths):
    crystal = Crystal(Cell(*lengths, 90, 90, 90), np.eye(3), laue_group="mmm")
    experiment = Experiment(Beam(0.025), Detector((8, 8), 0.01, (4, 4)), Goniometer.in_plane(0), Scan.regular(1, 0, 1))
    h = np.array([[h, k, 1] for h in range(6) for k in range(6)])
    strength = 1 + np.abs(np.sin(h @ [1.3, 2.1, 0.7])) * 100
    table = Reflections(h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=strength, sigma=0.05 * strength)
    return DataSet(name, experiment.replace(crystals=(crystal,)), table)


def test_two_of_different_phases_are_two():
    found = sort_sets([data_set("a", 11.86, 11.86, 11.86), data_set("b", 7.23, 11.76, 17.16)])
    assert sorted(found.groups) == [(0,), (1,)] and not found.refused


def test_nothing_to_sort():
    assert sort_sets([]).groups == ()
