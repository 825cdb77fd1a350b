"""Plans that go over the grid: atlas, stills of every crystal, screening."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.collect.scenes import collected, interrupted, scope_of

from credo.collect.atlas import Atlas
from credo.collect.quality import quality
from credo.collect.raster import raster
from credo.collect.screen import Screen
from credo.collect.serial_ed import SerialED
from credo.io.nxmx_stream import read_columns
from credo.io.tiff import read as read_tiff
from credo.model import Beam, Detector, Experiment, Goniometer, Scan

GRID = {"phases": ("ZSM-5",), "clustered": 0, "debris": 0}


def test_a_raster_covers_its_circle_to_and_fro():
    places = raster((10.0, -5.0), 3.0, 1.0)
    assert len(np.unique(places, axis=0)) == len(places) == 29
    assert np.hypot(*(places - [10, -5]).T).max() <= 3.0
    assert np.median(np.hypot(*np.diff(places, axis=0).T)) == 1.0
    assert len(raster((0, 0), 1.0, 5.0)) == 1


def test_an_atlas_shows_the_grid_where_it_is(simulated, tmp_path):
    ctrl = simulated(3, sample=GRID)
    plan = Atlas(kind="atlas", radius_um=30, magnification=500, brightness=50000.0)
    collected(ctrl, plan, tmp_path)
    facts = plan.finish(tmp_path)["atlas"]
    truth = scope_of(ctrl).truth
    pixels = 0.055 / (1e-3 * 500 * truth.scale_factor[500.0])  # µm
    assert facts["pixel_um"] == pytest.approx(pixels, rel=0.01)
    assert facts["residual_px"] < 1.0
    assert facts["tiles"] >= 5
    image = read_tiff(tmp_path / "grid/atlas.tiff").read(0)
    assert list(image.shape) == facts["shape"] == json.loads((tmp_path / "grid/atlas.json").read_text())["shape"]
    assert (tmp_path / "grid/atlas.png").read_bytes()[:4] == b"\x89PNG"
    # a square of the mesh is as wide as it should be: 63.5 µm pitch less 38 % of bars
    middle = np.rint((0.0 - np.array(facts["corner_um"])) / facts["pixel_um"]).astype(int)
    row = np.median(np.nan_to_num(image[middle[1] - 20 : middle[1] + 20]), axis=0)
    dark = np.flatnonzero(row < 0.4)
    width = dark[dark > middle[0]].min() - dark[dark < middle[0]].max()
    assert width * facts["pixel_um"] == pytest.approx(39.4, abs=1.5)


def test_stills_of_the_crystals_of_a_raster_and_the_rest_after_a_fault(simulated, tmp_path):
    ctrl = simulated(3, sample=GRID)
    plan = SerialED(kind="serial-ed", radius_um=10, exposure_s=0.3)
    session = collected(ctrl, plan, tmp_path)
    (told,) = session.datasets
    scope = scope_of(ctrl)
    assert told["kind"] == "stills" and told["n_frames"] >= 3
    # each still was of a crystal: something lit in the beam, as the simulator knows
    stills = [e for e in scope.diary if e.geometry is not None and e.ended - e.began > 0.25]
    assert np.mean([max(e.share.values(), default=0.0) > 0.3 for e in stills[-told["n_frames"] :]]) >= 0.75
    centres = np.array([e.centre for e in stills[-told["n_frames"] :]])
    assert np.linalg.norm(centres - centres.mean(axis=0), axis=1).max() < 6.0  # the pattern stays in its place
    assert np.ptp(read_columns(tmp_path / "crystals/stills/frames.h5")["x"]) > 2.0
    again = collected(ctrl, plan, tmp_path, again=True)
    assert [one["n_frames"] for one in again.datasets] == [told["n_frames"]]  # every position was done


@pytest.mark.parametrize("fault", ["camera_fails", "beam_lost"])
def test_stills_after_a_fault_the_rest_is_collected(simulated, tmp_path, fault):
    ctrl = simulated(3, sample=GRID)
    scope, plan = scope_of(ctrl), SerialED(kind="serial-ed", radius_um=10, exposure_s=0.3)

    session = interrupted(ctrl, plan, tmp_path, lambda: setattr(scope.faults, fault, True), n=1)
    (told,) = session.datasets
    assert told["n_frames"] >= 1 and told["reason_ended"]
    scope.faults.camera_fails = scope.faults.beam_lost = False
    ctrl.link.clock.sleep(20)
    again = collected(ctrl, plan, tmp_path, again=True)
    assert [one["directory"] for one in again.datasets] == ["crystals/stills", "crystals/stills-2"]
    assert again.datasets[1]["reason_ended"] == "the raster is done"


def test_screening_ranks_crystals(simulated, tmp_path):
    ctrl = simulated(3, sample={**GRID, "phases": ("andradite",)})
    plan = Screen(kind="screen", radius_um=5, max_crystals=2, range_deg=5.0, speed_deg_s=5.0, exposure_s=0.2)
    session = collected(ctrl, plan, tmp_path)
    assert session.datasets
    for one in session.datasets:
        told = one["facts"]["quality"]
        assert 0 <= told["score"] <= 1
        assert (told["resolution"] is None) == (told["spots"] == 0)


def test_quality_of_nothing_is_nothing():
    rng = np.random.default_rng(0)
    frames = rng.poisson(2.0, (4, 128, 128)).astype(np.uint16)
    frames[:, 60:68, 60:68] += 500
    scan = Scan(np.arange(1, 5), np.arange(4.0), np.ones(4))
    detector = Detector((128, 128), 0.01, (64.0, 64.0), saturation=60000)
    told = quality(frames, Experiment(Beam(0.02508), detector, Goniometer.in_plane(141.0), scan))
    assert not told.indexable and told.score < 0.6 and told.cell is None
