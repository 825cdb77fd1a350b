"""The simulator's geometry agrees with the estimators', which share no formula with it."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Beam, Cell, Crystal, Detector, Ellipse, Experiment, Goniometer, Scan
from credo.physics.ewald import excitation, predict, scattering_vectors
from credo.physics.turning_beam import crossings, excitation_errors, nodes, on_detector


def experiment(cell, group, centring, seed, ellipse=0.0):
    scan = Scan.regular(160, -20, 0.25)
    shift = np.random.default_rng(seed).normal(size=(160, 2)).cumsum(axis=0) * 0.1
    crystal = Crystal(Cell(*cell), Rotation.random(random_state=seed).as_matrix(), centring=centring, space_group=group)
    detector = Detector((516, 516), 0.0035, (261.3, 255.2), ellipse=Ellipse(ellipse, 37.0))
    goniometer = Goniometer.in_plane(20.0 + 97 * seed, 0.7)
    return Experiment(Beam(0.0251), detector, goniometer, scan.replace(beam_shift=shift), (crystal,))


@pytest.mark.parametrize(
    ("cell", "group", "centring", "ellipse"),
    [
        ((7.1, 9.3, 11.2, 82, 97, 103), "P 1", "P", 0.0),
        ((12, 12, 12, 90, 90, 90), "I m -3 m", "I", 2.0),
        ((14, 9, 11, 90, 104, 90), "C 1 2/m 1", "C", 1.0),
    ],
)
def test_both_constructions_find_the_same_crossings(cell, group, centring, ellipse):
    e = experiment(cell, group, centring, 3, ellipse)
    ours, theirs = crossings(e, e.crystal, 0.9, 1.0), predict(e, e.crystal, 0.9, 1.0)
    # grazing nodes go in and out within a step
    ours, theirs = (t.select(t["lorentz"] < 100) for t in (ours, theirs))
    assert len(ours) > 400
    keys = [np.lexsort((t["phi"], *t.hkl.T)) for t in (ours, theirs)]
    ours, theirs = (t.select(k) for t, k in zip((ours, theirs), keys))
    np.testing.assert_array_equal(ours.hkl, theirs.hkl)
    np.testing.assert_allclose(ours["phi"], theirs["phi"], atol=1e-7)
    np.testing.assert_allclose(ours.xy, theirs.xy, atol=1e-6)
    np.testing.assert_allclose(ours["frame"], theirs["frame"], atol=1e-6)
    np.testing.assert_allclose(ours["lorentz"], theirs["lorentz"], rtol=1e-4)


def test_excitation_errors_and_positions_agree_with_missets():
    e = experiment((7.1, 9.3, 11.2, 82, 97, 103), "P 1", "P", 5, 3.0)
    _, q0 = nodes(e.crystal, 1.2)
    rng = np.random.default_rng(0)
    phi, misset = rng.uniform(-40, 40, len(q0)), rng.normal(0, 0.3, (len(q0), 3))
    q = scattering_vectors(np.eye(3), q0, e.goniometer.axis, phi)
    turned = Rotation.from_rotvec(misset, degrees=True).apply(q)
    ours = excitation_errors(e, q0, phi, misset)
    np.testing.assert_allclose(ours, excitation(turned, e.beam.wavelength), atol=1e-12)
    np.testing.assert_allclose(on_detector(e, q), e.detector.pixels(q, e.beam.wavelength), atol=1e-8)
