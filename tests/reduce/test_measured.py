"""Measured data sets, from the folder to the lattice and to intensities: what was published comes out."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from credo.io.open import open_experiment
from credo.io.reflection_files import read_any
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.reduce.background import mean_background
from credo.reduce.beam import find_beam
from credo.reduce.index import index
from credo.reduce.integrate import integrate
from credo.reduce.mask import find_mask
from credo.reduce.refine import refine
from credo.reduce.spots import find_spots

pytestmark = pytest.mark.data


@cache
def indexed(folder: Path):
    """(opened, bad, background, experiment, spots, index report) of a folder, once per test run."""
    opened = open_experiment([folder])
    frames = opened.frames
    background = mean_background(frames)
    bad, _ = find_mask(opened.experiment, frames, background=background)
    experiment, _ = find_beam(opened.experiment, frames, bad, background=background)
    experiment, spots, _ = find_spots(experiment, frames, bad, background=background)
    return opened, bad, background, *index(experiment, spots)


def chosen(report) -> str:
    return next(c["bravais"] for c in report.numbers["bravais_candidates"] if c["chosen"])


def test_garnet_is_body_centred_cubic(shared_data):
    *_, experiment, _, report = indexed(shared_data / "garnet")
    assert chosen(report) == "cI"
    assert 11.8 < experiment.crystal.cell.a < 12.2
    assert report.numbers["indexed_fraction"] > 0.9


def test_cinchonine_is_primitive_monoclinic(shared_data):
    *_, experiment, _, report = indexed(shared_data / "cinchonine")
    cell = experiment.crystal.cell
    assert chosen(report) == "mP"
    assert sorted(cell.lengths) == pytest.approx([7.28, 10.73, 11.11], rel=0.02)
    assert cell.b == pytest.approx(7.28, rel=0.02)
    assert cell.beta == pytest.approx(108.1, abs=0.5)
    assert report.numbers["indexed_fraction"] > 0.9


def test_mordenite_is_c_centred_orthorhombic(shared_data):
    *_, experiment, _, report = indexed(shared_data / "mordenite")
    assert chosen(report) == "oC"
    assert experiment.crystal.cell.lengths == pytest.approx([18.1, 20.5, 7.5], rel=0.02)


def test_lysozyme_is_primitive_tetragonal(shared_data):
    *_, experiment, _, report = indexed(shared_data / "lysozyme")
    assert chosen(report) == "tP"
    assert 78 < experiment.crystal.cell.a < 79
    assert experiment.crystal.cell.c == pytest.approx(38, rel=0.02)


@pytest.mark.parametrize("name", ["garnet", "cinchonine", "mordenite", "lysozyme"])
def test_real_lattices_stand_far_above_chance(shared_data, name):
    *_, report = indexed(shared_data / name)
    # random spots reach 50 at most
    assert report.numbers["lattice_score"] > 150


def merged(hkl, intensity, sigma):
    """Unique reflections of 2/m with weighted means, as {hkl: I}."""
    unique, group = unique_reflections(hkl, laue_rotations("2/m"))
    w = 1 / np.maximum(sigma, 1e-9) ** 2
    mean = np.bincount(group, w * intensity) / np.bincount(group, w)
    return {tuple(h): i for h, i in zip(unique.tolist(), mean)}


def test_cinchonine_intensities_agree_with_xds(shared_data):
    opened, bad, background, experiment, spots, _ = indexed(shared_data / "cinchonine")
    experiment, spots, _ = refine(experiment, spots)
    _, table, _ = integrate(experiment, opened.frames, bad, None, background, spots)
    table = table.select(~table["overloaded"])
    _, xds = read_any(next((shared_data / "cinchonine").rglob("XDS_ASCII.HKL")))
    theirs = merged(xds.hkl, xds["intensity"], np.abs(xds["sigma"]))
    best, common = -1.0, 0
    # the two may name a and c, and their directions, differently
    for p in itertools.product([(0, 2), (2, 0)], [1, -1], [1, -1]):
        (i, j), s, t = p
        hkl = np.stack([s * table.hkl[:, i], table.hkl[:, 1], t * table.hkl[:, j]], axis=1)
        ours = merged(hkl, table["intensity"], table["sigma"])
        both = [h for h in ours if h in theirs]
        cc = np.corrcoef([ours[h] for h in both], [theirs[h] for h in both])[0, 1]
        if cc > best:
            best, common = cc, len(both)
    assert common > 500
    assert best > 0.9


def xds_spots(shared_data, beyond_px):
    """What XDS found on cinchonine, further than ``beyond_px`` from the beam, with the file's geometry."""
    found = open_experiment([next((shared_data / "cinchonine").rglob("SPOT.XDS"))])
    assert found.frames is None
    off = np.hypot(*(found.spots.xy - found.experiment.detector.origin).T)
    return found.experiment.replace(crystals=()), found.spots.select(off > beyond_px)


def test_spots_that_xds_found_index_by_themselves(shared_data):
    experiment, _, report = index(*xds_spots(shared_data, 30.0))
    assert chosen(report) == "mP"
    # XDS was given another camera length, 1.7 % off
    assert sorted(experiment.crystal.cell.lengths) == pytest.approx([7.41, 10.92, 11.30], rel=0.02)
    assert experiment.crystal.cell.beta == pytest.approx(108.1, abs=0.5)


def test_false_spots_in_the_beams_halo_do_not_spoil_indexing(shared_data):
    experiment, _, _ = index(*xds_spots(shared_data, 0.0))
    assert experiment.crystal.cell.volume == pytest.approx(868, rel=0.06)
