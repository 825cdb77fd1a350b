"""Orientations as found go out to JANA, DIALS and XDS and come back the same; process integrates with them."""

from __future__ import annotations

import numpy as np
import pytest

from credo.io.cif_pets import read_cif_pets
from credo.io.dials import read_expt
from credo.io.dials_write import write_expt
from credo.io.project import write_experiment
from credo.io.xds import read_xparm, write_xparm
from credo.kernels.rotation import angle_between_deg, rotation_from_vector
from credo.model import Beam, CannotDo, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.model.errors import UnreadableInput
from credo.orient.observations import Observations
from credo.orient.orientations import orient
from credo.pipeline.given_orientations import lying_as_given
from credo.pipeline.orient_export import export_orientations, lying_as_found, mean_orientation
from credo.pipeline.orient_input import OrientInput


def zones_of(e: Experiment) -> np.ndarray:
    """(f, 3): where the sphere's centre lies in crystal axes at every frame's middle."""
    turned = e.goniometer.rotation(e.scan.mid_deg)
    if e.scan.misset_deg is not None:
        turned = rotation_from_vector(np.radians(e.scan.misset_deg)) @ turned
    return -(turned @ e.crystal.orientation)[:, 2, :]


@pytest.fixture
def experiment() -> Experiment:
    cell = Cell(7.1, 8.3, 10.9, 83.0, 97.0, 104.0)
    return Experiment(
        Beam(0.0250793), Detector((500, 520), 0.0041, (255.3, 248.9), pixel_size_mm=0.055),
        Goniometer.in_plane(137.4, 0.6), Scan.regular(60, -8.0, 0.25, first=3),
        crystals=(Crystal(cell, rotation_from_vector(np.array([0.4, -1.1, 0.7])), laue_group="-1"),),
    )  # fmt: skip


@pytest.fixture
def stuck(experiment) -> tuple[Experiment, np.ndarray]:
    """The frames' zone axes of a stage that wobbles and sticks."""
    n = len(experiment.scan)
    slow = np.sin(np.arange(n) / 9.0)
    wobble = np.column_stack([0.3 * slow, 0.15 * slow[::-1], np.zeros(n)])
    wobble[30:, 1] += 0.08
    return experiment, zones_of(experiment.replace(scan=experiment.scan.replace(misset_deg=wobble)))


def test_frames_lie_as_found_and_still_touch(stuck) -> None:
    e, zone = stuck
    turned = lying_as_found(e, zone)
    assert angle_between_deg(zones_of(turned), zone).max() < 1e-9
    scan = turned.scan
    np.testing.assert_allclose(scan.end_deg[:-1], scan.start_deg[1:], atol=1e-9)
    # what is about the axis has gone into the angles
    about = scan.misset_deg @ e.goniometer.axis
    assert np.abs(about).max() < 0.02
    assert np.ptp(scan.mid_deg - e.scan.mid_deg) > 0.2


def test_gaps_and_frames_that_stand_apart_stay_so(stuck) -> None:
    e, zone = stuck
    keep = np.delete(np.arange(60), [20, 21])
    turned = lying_as_found(e.replace(scan=e.scan.part(keep)), zone[keep])
    assert turned.scan.start_deg[20] - turned.scan.end_deg[19] > 0.4
    assert angle_between_deg(zones_of(turned), zone[keep]).max() < 1e-9


def test_dials_and_xds_files_come_back(stuck, tmp_path) -> None:
    e, zone = stuck
    turned = lying_as_found(e, zone)
    write_expt(tmp_path / "a.expt", turned)
    back = read_expt(tmp_path / "a.expt")
    error = angle_between_deg(zones_of(back), zone)
    # borders hold the mean of both neighbours: a step of 0.08 degrees is spread over two frames
    assert np.median(error) < 0.003
    assert error.max() < 0.03
    write_xparm(tmp_path / "XPARM.XDS", mean_orientation(turned))
    g = read_xparm(tmp_path / "XPARM.XDS")
    assert g.oscillation == pytest.approx(np.polyfit(np.arange(60), turned.scan.mid_deg, 1)[0], abs=1e-4)
    mean = mean_orientation(turned)
    assert np.median(angle_between_deg(zones_of(mean), zone)) < 0.25
    np.testing.assert_allclose(g.axes, np.linalg.inv(mean.crystal.UB), atol=2e-4)


def test_a_table_becomes_a_cif_pets(andradite_series, tmp_path) -> None:
    """Its zone axes are read back by our reader, which alone knows PETS's angles."""
    s = andradite_series.simulate(andradite_series.andradite(), 1.0, 0.2, 2, True, 1e5, span=14.0)
    obs = Observations(
        s.cell, andradite_series.WAVELENGTH, s.frame, s.hkl, s.intensity, s.sigma, s.nominal_deg, s.width_deg
    )
    found = orient(obs)
    assert found.smooth is not None
    export_orientations(tmp_path, found, OrientInput(obs))
    e, r = read_cif_pets(tmp_path / "orientations.cif_pets")
    assert [p.name for p in tmp_path.iterdir()] == ["orientations.cif_pets"]
    assert len(r) == len(obs.frame)
    # the file has four decimals of a degree
    assert angle_between_deg(zones_of(e), found.smooth.zone).max() < 3e-4
    assert angle_between_deg(zones_of(e), s.zone).mean() < 0.01


def spots_of(e: Experiment) -> Reflections:
    """Spots on the middles of frames, by brute force: nodes that lie on the sphere there."""
    h = np.stack(np.meshgrid(*[np.arange(-7, 8)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    rows = []
    for f, turned in enumerate(e.goniometer.rotation(e.scan.mid_deg)):
        q = h @ (turned @ e.crystal.UB).T
        k = 1 / e.beam.wavelength
        near = (np.abs(np.linalg.norm(q + [0, 0, k], axis=1) - k) < 1e-3) & (np.linalg.norm(q, axis=1) > 0.1)
        rows += [(f + 0.5, *v) for v in q[near]]
    table = np.array(rows)
    xy = e.detector.pixels(table[:, 1:], e.beam.wavelength)
    return Reflections(
        x=xy[:, 0], y=xy[:, 1], frame=table[:, 0], phi=np.zeros(len(table)), intensity=np.ones(len(table))
    )


def test_process_takes_given_orientations(experiment, tmp_path) -> None:
    write_experiment(tmp_path / "experiment.json", experiment)
    spots, stages = spots_of(experiment), {}
    opened = experiment.replace(crystals=())
    given, indexed = lying_as_given(tmp_path, opened, spots, stages)
    assert given.crystal.cell == experiment.crystal.cell
    assert np.mean(indexed["lattice"] == 0) > 0.99
    assert stages["index"].numbers["indexed_fraction"] > 0.99
    with pytest.raises(UnreadableInput, match="60 frames 3 to 62, the data have 10"):
        lying_as_given(tmp_path, opened.replace(scan=opened.scan.part(np.arange(10))), spots, stages)
    rng = np.random.default_rng(1)
    wrong = spots.with_columns(x=rng.uniform(0, 500, len(spots)), y=rng.uniform(0, 500, len(spots)))
    other = experiment.crystal.replace(cell=Cell(3, 3, 3, 90, 90, 90))
    write_experiment(tmp_path / "experiment.json", experiment.replace(crystals=(other,)))
    with pytest.raises(CannotDo, match="% of the spots"):
        lying_as_given(tmp_path, opened, wrong, stages)
