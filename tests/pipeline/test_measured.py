"""Measured data through ``process``, with nothing but the path given: what is known of each set comes out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from credo.io.project import read_experiment, read_reflections
from credo.io.reflection_files import read_any
from credo.io.structure import read_structure
from credo.model import Cell, Experiment, Reflections
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.process import process
from credo.pipeline.solve import SolveFileSettings, solve_file
from credo.reduce.equivalents import merge_equivalents
from credo.reduce.refine import refine
from credo.solve.compare import compare

pytestmark = pytest.mark.data


@dataclass(frozen=True)
class Run:
    """What one run left in its folder."""

    report: dict
    folder: Path

    @property
    def experiment(self) -> Experiment:
        return read_experiment(self.folder / "experiment.json")

    @property
    def spots(self) -> Reflections:
        return read_reflections(self.folder / "spots.h5")

    @property
    def reflections(self) -> Reflections:
        return read_reflections(self.folder / "reflections.h5")

    @property
    def bravais(self) -> str:
        return next(c["bravais"] for c in self.report["bravais_candidates"] if c["chosen"])

    def warned_of(self, *words: str) -> bool:
        return any(all(w in text for w in words) for text in self.report["warnings"])


@pytest.fixture(scope="session")
def processed(shared_data: Path, tmp_path_factory) -> Callable[[str], Run]:
    """``processed("garnet")``: the run on that folder (or file) of the measured data, made once."""
    runs: dict[str, Run] = {}

    def run(name: str) -> Run:
        if name not in runs:
            out = tmp_path_factory.mktemp("processed") / name.replace("/", "-")
            runs[name] = Run(process([shared_data / name], out), out)
        return runs[name]

    return run


def strong_fraction(run: Run, least: float = 10.0) -> float:
    """Share of the spots with I > ``least`` σ, further than 20 px from the beam, that are indexed."""
    experiment, spots = run.experiment, run.spots
    away = spots.xy - experiment.detector.origin - experiment.scan.shift_at(spots["frame"])
    strong = (np.hypot(away[:, 0], away[:, 1]) > 20) & (spots["intensity"] > least * spots["sigma"])
    assert strong.sum() > 50
    return float(np.mean(spots["lattice"][strong] >= 0))


def test_garnet_is_cubic_and_its_strong_spots_are_indexed(processed):
    run = processed("garnet")
    assert (run.bravais, run.report["centring"], run.report["laue_group"]) == ("cI", "I", "m-3m")
    assert 11.8 < run.report["cell"][0] < 12.2
    assert strong_fraction(run) > 0.95
    assert run.report["indexed_fraction"] > 0.9
    assert max(run.report["rms_x_px"], run.report["rms_y_px"]) < 0.35
    assert run.report["cc_half"] > 0.95
    assert run.report["r_int"] < 0.35
    assert run.report["resolution"] < 0.5
    assert run.experiment.detector.saturation == 11810


def test_garnets_cell_is_cubic_before_it_is_made_so(processed):
    run = processed("garnet")
    experiment = run.experiment
    free = experiment.replace(crystals=(experiment.crystal.replace(laue_group="-1"),))
    _, _, report = refine(free, run.spots)
    cell = Cell(*report.numbers["cell"])
    assert max(cell.lengths) / min(cell.lengths) < 1.005
    assert np.abs(np.array(cell.angles) - 90).max() < 0.3


@pytest.mark.parametrize(("mineral", "least"), [("Grossular", 0.9), ("Almandine", 0.88)])
def test_garnets_intensities_are_a_garnets(processed, shared_data, mineral, least):
    run = processed("garnet")
    merged = merge_equivalents(run.reflections, run.report["laue_group"])
    merged = merged.select(merged["d"] > run.report["resolution"])
    structure = read_structure(shared_data / f"cifs/minerals_amcsd/{mineral}.cif")
    calculated = np.abs(structure_factors(structure, merged.hkl)) ** 2
    assert len(merged) > 900
    assert np.corrcoef(calculated, merged["intensity"])[0, 1] > least


def test_garnet_frames_become_a_garnet(processed, shared_data, tmp_path):
    """The next command of the chain takes what the first one left."""
    run = processed("garnet")
    settings = SolveFileSettings(composition="Ca3 Al2 Si3 O12")
    report = solve_file(run.folder / "XDS_ASCII.HKL", tmp_path / "solved", settings)
    assert report["space_group"] == "I a -3 d"
    found = read_structure(tmp_path / "solved" / "structure.cif")
    found_is = compare(found, read_structure(shared_data / "cifs/minerals_amcsd/Grossular.cif"))
    assert found_is.right == 1
    assert found_is.extra == 0
    assert found_is.max_deviation < 0.1


def test_cinchonine_is_primitive_monoclinic(processed):
    run = processed("cinchonine")
    a, b, c, alpha, beta, gamma = run.report["cell"]
    assert (run.bravais, run.report["laue_group"]) == ("mP", "2/m")
    assert sorted([a, c]) == pytest.approx([10.732, 11.107], rel=0.02)
    assert b == pytest.approx(7.283, rel=0.02)
    assert (alpha, beta, gamma) == pytest.approx((90, 108.06, 90), abs=0.5)
    assert strong_fraction(run) > 0.95
    # XDS: R_int 0.100 to 0.98 Å, 70.8 % complete
    assert run.report["r_int"] < 0.2
    assert run.report["completeness"] > 0.65
    assert run.experiment.detector.saturation == 4095


def two_over_m(hkl: np.ndarray, intensity: np.ndarray, sigma: np.ndarray) -> dict[tuple, float]:
    """Weighted means over 2/m."""
    unique, group = unique_reflections(hkl, laue_rotations("2/m"))
    w = 1 / np.maximum(sigma, 1e-9) ** 2
    mean = np.bincount(group, w * intensity) / np.bincount(group, w)
    return {tuple(h): i for h, i in zip(unique.tolist(), mean)}


def test_cinchonines_intensities_are_those_of_xds(processed, shared_data):
    run = processed("cinchonine")
    table = run.reflections
    table = table.select(~table["overloaded"] & ~table["rejected"] & (table["lattice"] == 0))
    _, xds = read_any(next((shared_data / "cinchonine").rglob("XDS_ASCII.HKL")))
    theirs = two_over_m(xds.hkl, xds["intensity"], np.abs(xds["sigma"]))
    best, common = -1.0, 0
    # the two may name a and c, and their directions, differently
    for (i, j), s, t in itertools.product([(0, 2), (2, 0)], [1, -1], [1, -1]):
        hkl = np.stack([s * table.hkl[:, i], table.hkl[:, 1], t * table.hkl[:, j]], axis=1)
        ours = two_over_m(hkl, table["intensity"], table["sigma"])
        both = [h for h in ours if h in theirs]
        cc = float(np.corrcoef([ours[h] for h in both], [theirs[h] for h in both])[0, 1])
        if cc > best:
            best, common = cc, len(both)
    assert common > 600
    assert best > 0.95


def test_mordenite_is_c_centred_orthorhombic_in_spite_of_its_log(processed):
    run = processed("mordenite")
    assert run.bravais == "oC"
    assert run.report["centring"] == "C"
    assert run.report["cell"] == pytest.approx([18.1, 20.5, 7.5, 90, 90, 90], rel=0.02)
    assert run.report["n_missing_frames"] == 71
    assert run.warned_of("wavelength")


def test_lysozyme_is_primitive_tetragonal(processed):
    run = processed("lysozyme")
    a, b, c, *angles = run.report["cell"]
    assert (run.bravais, run.report["laue_group"]) == ("tP", "4/mmm")
    assert 78 < a == b < 79
    assert c == pytest.approx(38, rel=0.02)
    assert angles == pytest.approx([90, 90, 90])
    assert run.report["indexed_fraction"] > 0.95
    assert run.report["cc_half"] > 0.85


@pytest.mark.parametrize("name", ["LTA_t1", "LTA_t4"])
def test_spots_of_lta_are_primitive_cubic(processed, name):
    run = processed(f"lta_stw_xds/{name}/SPOT.XDS.gz")
    assert run.bravais == "cP"
    assert run.report["cell"][0] == pytest.approx(11.909, rel=0.02)
    assert run.report["indexed_fraction"] > 0.9
    assert run.report["n_integrated"] == 0


def test_spots_of_stw_are_hexagonal(processed):
    run = processed("lta_stw_xds/STW_t1_360/SPOT.XDS.gz")
    assert run.bravais == "hP"
    assert run.report["cell"] == pytest.approx([11.912, 11.912, 29.939, 90, 90, 120], rel=0.02)
    assert run.report["indexed_fraction"] > 0.9


def test_spots_of_quartz_are_hexagonal(processed):
    run = processed("quartz_dials/strong.refl")
    assert run.bravais == "hP"
    assert run.report["cell"] == pytest.approx([4.92, 4.92, 5.40, 90, 90, 120], rel=0.01)
    assert run.report["indexed_fraction"] > 0.8


def test_spots_of_myd88_are_c_centred_monoclinic_although_its_axis_is_wrong(processed):
    run = processed("myd88_dials/strong.refl")
    assert run.bravais == "mC"
    cell = Cell(*run.report["cell"])
    # 37.069 61.63 64.40 72.88 89.234 73.44 is its reduced cell without a lens ellipse
    assert cell.volume / 2 == pytest.approx(Cell(37.069, 61.63, 64.40, 72.88, 89.234, 73.44).volume, rel=0.04)
    assert sorted(cell.lengths) == pytest.approx([37.02, 64.31, 117.84], rel=0.03)
    assert cell.beta == pytest.approx(107.54, abs=1.0)
    # from DIALS's find_rotation_axis: (-0.627963, -0.778243, 0)
    assert run.report["rotation_axis_deg"] == pytest.approx(np.degrees(np.arctan2(0.778243, -0.627963)) % 360, abs=1.0)
    assert run.warned_of("axis")
