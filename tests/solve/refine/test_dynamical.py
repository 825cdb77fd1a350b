"""Dynamical refinement: simulated frames of a known thickness and tilt, and measured α-glycine."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.io.cif_pets import read_cif_pets
from credo.model import Atom, CannotDo, Cell, Crystal, Reflections, Structure
from credo.physics.bloch_frames import Pose, frame_intensities
from credo.physics.bloch_waves import scattering_potential
from credo.physics.electron import wavelength
from credo.solve.refine.dynamical import refine_dynamically
from credo.solve.refine.fit import FitSettings
from credo.solve.refine.frame_fits import Frame, FrameSettings, fit_frames, frames_of
from credo.solve.refine.model import Model
from credo.solve.refine.prepare import RefineSettings, prepared_model

CELL = Cell(5.2, 6.1, 4.9, 90, 104, 90)
SITES = ("Si", (0.12, 0.21, 0.31)), ("O", (0.37, 0.08, 0.44)), ("O", (0.78, 0.35, 0.12))
TRUE_TILT = (0.12, -0.06)


def structure(shift=0.0, group="P 1 21/c 1"):
    rng = np.random.default_rng(3)
    atoms = [Atom(f"{e}{n}", e, np.array(x) + shift * rng.normal(size=3), 1.0, 0.01) for n, (e, x) in enumerate(SITES)]
    return Structure(CELL, group, tuple(atoms))


def frames(group="P 1 21/c 1", thickness=700.0, n=14):
    """Frames of 3° about x, the crystal tilted against what they say; 3 % of error."""
    true = structure(group=group)
    potential = scattering_potential(true, 200, 0.75)
    start = Rotation.random(random_state=4).as_matrix() @ CELL.B
    rng, out = np.random.default_rng(1), []
    for f in range(n):
        turned = Rotation.from_rotvec([3.0 * f, 0, 0], degrees=True).as_matrix()
        pose = Pose(turned @ start, np.array([1.0, 0, 0]), 3.0)
        tilted = pose.tilted(np.array(TRUE_TILT))
        rows = np.arange(1, len(potential.beams))
        i = frame_intensities(potential, tilted, rows, np.array([thickness]), np.eye(1), 0.015, 0.03)[0]
        seen = i > 0
        scale = 1e5 * (1 + 0.3 * rng.random())
        sigma = 0.03 * scale * i[seen] + 0.2
        out.append(Frame(f + 1, pose, potential.beams[rows[seen]], rng.normal(scale * i[seen], sigma), sigma))
    return tuple(out)


@pytest.fixture(scope="module")
def simulated():
    return frames()


def test_thickness_tilts_and_scales_come_back(simulated):
    settings = FrameSettings(thickness=(500.0, 600.0, 700.0, 800.0, 900.0), spreads=(0.0,))
    found = fit_frames(structure(), simulated, wavelength(200), settings)
    assert found.thickness == 700
    assert found.r1 < 0.06
    tilts = np.array([f.tilt_deg for f in found.frames])
    np.testing.assert_allclose(np.median(tilts, axis=0), TRUE_TILT, atol=0.035)
    kinematical = fit_frames(structure(), simulated, wavelength(200), settings, dynamical=False)
    assert kinematical.r1 > 2 * found.r1
    # what is corrected are |F|²
    f2 = np.abs(scattering_potential(structure(), 200, 0.75).coefficients(found.hkl)) ** 2
    strong = found.f2 > 3 * found.sigma
    obs, calc = np.sqrt(found.f2[strong]), np.sqrt(f2[strong])
    assert np.abs(obs - calc * (obs @ calc) / (calc @ calc)).sum() < 0.1 * obs.sum()


def test_positions_come_nearer(simulated):
    settings = FrameSettings(thickness=(500.0, 700.0, 900.0), spreads=(0.0,))
    model = Model(structure(0.006), fixed=frozenset((i, 3) for i in range(len(SITES))))
    done = refine_dynamically(model, simulated, wavelength(200), fit=FitSettings(15), settings=settings)
    assert done.fit.thickness == 700
    assert done.r1_inverted is None
    assert done.fit.r1 < 0.07 < done.kinematical.r1
    gap = [(a.xyz - b.xyz) @ CELL.O.T for a, b in zip(done.refined.structure.atoms, structure().atoms)]
    assert np.sqrt(np.mean(np.square(gap))) < 0.012


def test_the_hand_shows():
    settings = FrameSettings(thickness=(700.0,), spreads=(0.0,))
    chiral = frames("P 1 21 1", n=6)
    right = fit_frames(structure(group="P 1 21 1"), chiral, wavelength(200), settings)
    wrong = fit_frames(structure(group="P 1 21 1"), chiral, wavelength(200), settings, inverted=True)
    assert right.r1 < 0.06
    assert wrong.r1 > 1.5 * right.r1


def test_data_without_frames_are_refused():
    from credo.io.merged import without_geometry

    experiment = without_geometry(CELL, None, 0.025, source="x", kind="SHELX")
    table = Reflections(h=np.ones(9), k=np.ones(9), l=np.ones(9), intensity=np.ones(9), sigma=np.ones(9))
    with pytest.raises(CannotDo, match="single frames"):
        frames_of(experiment, table)
    with pytest.raises(CannotDo, match="single frames"):
        frames_of(experiment.replace(crystals=(Crystal(CELL, np.eye(3)),)), table)


@pytest.mark.data
def test_glycine(shared_data):
    folder = shared_data / "glycine_pets"
    experiment, table = read_cif_pets(folder / "glycine_dyn.cif_pets")
    prepared = prepared_model(folder / "alpha_glycine.cif", RefineSettings())
    done = refine_dynamically(prepared.model, frames_of(experiment, table, 0.8), experiment.beam.wavelength)
    assert done.fit.r1 < 0.8 * done.kinematical.r1
    assert 400 <= done.fit.thickness <= 700
