"""A series whose crystal leaves the beam while another comes in, through ``process``: the first is told, alone."""

import shutil

import numpy as np
import pytest

from credo.io.project import read_reflections
from credo.physics.rotation_series import SeriesSettings
from credo.pipeline.process import process
from credo.pipeline.simulate import simulate_frames

#: Frames of the first crystal, and of both; degrees a frame.
MINE, ALL, STEP = 56, 80, 1.0


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """Grossular, and from frame 57 on another crystal of it that lies otherwise."""
    folder = tmp_path_factory.mktemp("changed")
    settings = {"frames": ALL, "step_deg": STEP, "start_deg": -40.0, "shape": (256, 256), "q_per_pixel": 0.008}
    for seed in (3, 4):
        simulate_frames(folder / str(seed), sample_name="grossular", settings=SeriesSettings(seed=seed, **settings))
    first, second = (sorted((folder / str(seed)).glob("*.img")) for seed in (3, 4))
    assert len(first) == len(second) == ALL
    for old, new in zip(first[MINE:], second[MINE:]):
        shutil.copy(new, old)
    (folder / "3" / "truth.json").unlink()
    return folder / "3"


def test_another_crystal_that_comes_in_is_left_out(changed, tmp_path):
    report = process([changed], tmp_path / "out")
    assert report["laue_group"] == "m-3m" and report["cell"][0] == pytest.approx(11.864, rel=0.003)
    assert any("out of the beam" in w for w in report["warnings"])
    assert report["r_int"] < 0.15
    frame = read_reflections(tmp_path / "out" / "reflections.h5")["frame"]
    assert np.mean(frame > MINE + 3) < 0.01
    assert np.sum(frame < MINE) > 300
