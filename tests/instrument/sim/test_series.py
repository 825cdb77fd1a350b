"""The whole: a rotation series taken through the protocols, written, and processed with nothing known but the angles,
gives the true cell and orientation."""

import numpy as np
import pytest
from tests.instrument.sim.conftest import bring, diffraction, isolated, make

from credo.instrument.sim.diary import true_experiment
from credo.instrument.sim.settings import Imperfections
from credo.io.convert import write_frames
from credo.io.open import open_experiment
from credo.io.project import write_experiment
from credo.model import ArrayFrames, Beam, Detector, Experiment, Goniometer, Scan
from credo.pipeline.compare import match_lattice
from credo.pipeline.process import ProcessSettings, reduce_frames


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """150 frames of 0.4° of an andradite crystal on an instrument with the default imperfections."""
    scope = make({"phases": ("andradite",), "density": 0.008, "dynamical": 0.28}, Imperfections(), seed=1)
    table, row = isolated(scope, 25.0)
    stage, camera = scope.stage, scope.cameras["timepix"]
    scope.lenses.set("spotsize", 5)
    stage.start({"a": -33.0})
    scope.clock.sleep(10)
    stage.start({"a": -31.0})
    scope.clock.sleep(10)
    bring(scope, table.place[row])
    diffraction(scope, spread=1500)
    stage.set_rotation_speed(1.0)
    stage.start({"a": 40.0})
    scope.clock.sleep(1.0)
    scope.diary.clear()
    frames, ends = [], [stage.position().a]
    for frame in camera.stream(0.4, 1, 150):
        frames.append(frame.data)
        ends.append(stage.position().a)
    scope.blanker.blank(True)
    width = np.diff(ends)
    scan = Scan(np.arange(1, len(frames) + 1), np.array(ends[:-1]), width * 0.4 / 0.408)
    wave = scope.specimen.wavelength
    detector = Detector((516, 516), 0.055 / (600 * wave), (258.0, 258.0), 0.055, saturation=60000)
    known = ("wavelength", "q_per_pixel", "angles", "pixel_size")
    header = Experiment(Beam(wave), detector, Goniometer.in_plane(0.0), scan, known=known, kind="simulated")
    folder = tmp_path_factory.mktemp("series")
    write_frames(folder, "tiff", header, ArrayFrames(np.stack(frames)))
    write_experiment(folder / "experiment.json", header.replace(source=str(folder)))
    truth = true_experiment(
        list(scope.diary), scope.specimen.structures[0], table.orientation[row], stage.rotation_axis, 516, 55.0, wave
    )
    return scope, table, row, folder, truth


def test_the_crystal_stays_in_the_beam(series):
    scope, table, row, _, _ = series
    share = [e.share.get(int(table.ident[row]), 0.0) for e in scope.diary]
    assert np.mean(share) > 0.5


def test_credo_process_finds_the_true_cell_and_orientation(series):
    _, _, _, folder, truth = series
    found = reduce_frames(open_experiment(folder), ProcessSettings(), lambda _: None)
    result = found.experiment
    match = match_lattice(result.crystal, truth.crystal)
    assert match.right and match.cell is not None
    assert result.crystal.centring == "I"
    # the camera length is not what the header says; the cell follows it
    scale = result.detector.q_per_pixel / truth.detector.q_per_pixel
    ratio = np.array(result.crystal.cell.lengths) / np.array(match.cell.lengths) * scale
    np.testing.assert_allclose(ratio, 1.0, atol=2e-3)
    assert match.angle_deg < 0.25
    assert np.degrees(np.arccos(result.goniometer.axis @ truth.goniometer.axis)) < 0.5
    np.testing.assert_allclose(result.detector.origin, truth.detector.origin, atol=1.0)
    assert result.detector.ellipse.amplitude_percent == pytest.approx(2.4, abs=0.25)
