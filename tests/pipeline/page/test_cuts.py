"""Cuts look into the right frame at the right pixel: spots rendered by prediction come out at whole indices."""

from __future__ import annotations

import numpy as np
import pytest

from credo.model import ArrayFrames
from credo.physics.ewald import miller_indices
from credo.pipeline.page.cuts import cut, flattened, plane_basis, sections


def test_spots_come_out_at_their_nodes(small_run):
    """The counts at the node of every spot stand out of those half way between nodes."""
    experiment = small_run.experiment.replace(scan=small_run.experiment.scan.replace(misset_deg=None))
    mine = small_run.spots.select(small_run.spots["lattice"] == 0)
    node = _hkl_of(small_run, mine)
    ub = experiment.crystal.UB
    at = cut(experiment, small_run.frames, node @ ub.T)
    between = cut(experiment, small_run.frames, (node + 0.5) @ ub.T)
    measured = np.isfinite(at)
    assert measured.mean() > 0.9
    assert np.mean(at[measured] > 15) > 0.9
    assert np.nanmedian(between) == 5.0
    assert np.nanmean(between > 15) < 0.1


def _hkl_of(run, spots):
    """Indices of spots, which were taken from the table row by row."""
    table = run.reflections
    row = np.array(
        [int(np.argmin(np.abs(table["phi"] - p) + np.abs(table["x"] - x))) for p, x in zip(spots["phi"], spots["x"])]
    )
    return table.hkl[row]


def test_what_was_not_recorded_is_nothing(small_run):
    """Points inside the missing frames and beyond the resolution of the detector are NaN, not nought."""
    experiment = small_run.experiment
    far = np.array([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    assert np.isnan(cut(experiment, small_run.frames, far)).all()
    flat = ArrayFrames(np.ones(small_run.frames.shape, dtype=np.uint16))
    q = miller_indices(experiment.crystal.UB, 2.0) @ experiment.crystal.UB.T
    value = cut(experiment, flat, q)
    whole = cut(experiment.replace(scan=experiment.scan.replace(numbers=np.arange(58))), flat, q)
    assert set(np.unique(value[np.isfinite(value)])) == {1.0}
    assert np.isfinite(value).mean() < 1
    assert np.array_equal(np.isfinite(value), np.isfinite(whole)), "a gap is one of angles, not of numbers"


def test_each_plane_is_the_one_it_is_called(small_run):
    ub = small_run.experiment.crystal.UB
    direct = np.linalg.inv(ub)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        basis = plane_basis(ub, i, j)
        np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(direct[3 - i - j] @ basis.T, 0, atol=1e-9)
        assert basis[0] @ ub[:, i] > 0
        assert basis[1] @ ub[:, j] > 0


def test_sections_are_three_round_images(small_run):
    images = sections(small_run.experiment, small_run.frames, 0.6)
    assert len(images) == 3
    for image in images:
        assert image.shape[0] == image.shape[1]
        assert np.isnan(image[0, 0])
        assert np.isfinite(image).any()


def test_the_glow_of_the_beam_is_taken_off():
    n = 420
    u = (np.arange(n) + 0.5) / n * 2 - 1
    image = 1000 * np.exp(-10 * np.hypot(u[:, None], u[None, :]))
    image[100:103, 200:203] += 50
    image[:, :50] = np.nan
    out = flattened(image)
    assert np.isnan(out[:, :50]).all()
    assert np.nanmax(np.abs(np.where(np.hypot(u[:, None], u[None, :]) > 0.3, out, 0))) == pytest.approx(50, rel=0.2)
