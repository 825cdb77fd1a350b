"""The grid of crystals: reproducible, as dense and as oriented as asked, damaged by the beam."""

import numpy as np
import pytest
from tests.instrument.sim.conftest import make

from credo.instrument.sim.sample import Sample
from credo.instrument.sim.settings import SampleSettings
from credo.model import UnreadableInput


def test_the_same_seed_gives_the_same_grid_in_any_order():
    first, second = (Sample(SampleSettings(), 5) for _ in range(2))
    a = first.near(np.array([10.0, 5.0]), 30.0)
    second.near(np.array([300.0, -200.0]), 50.0)
    b = second.near(np.array([10.0, 5.0]), 30.0)
    order = [np.argsort(t.ident) for t in (a, b)]
    np.testing.assert_array_equal(a.ident[order[0]], b.ident[order[1]])
    np.testing.assert_array_equal(a.orientation[order[0]], b.orientation[order[1]])
    assert len(np.unique(a.ident)) == len(a)
    other = Sample(SampleSettings(), 6).near(np.array([10.0, 5.0]), 30.0)
    assert len(other) != len(a) or not np.allclose(other.place, a.place)


def test_density_phases_and_bars():
    settings = SampleSettings(
        phases=("ZSM-5", "mordenite"), fractions=(3.0, 1.0), density=0.02, debris=0.2, clustered=0
    )
    sample = Sample(settings, 1)
    table = sample.near(np.zeros(2), 400.0)
    open_share = (1 - sample.bar_um / sample.pitch_um) ** 2
    assert len(table) == pytest.approx(0.02 * np.pi * 400**2 * open_share, rel=0.08)
    assert (table.phase == -1).mean() == pytest.approx(0.2 / 1.2, abs=0.02)
    assert (table.phase == 0).sum() / (table.phase == 1).sum() == pytest.approx(3, rel=0.15)
    off = np.abs(table.place[:, :2] - sample.pitch_um * np.rint(table.place[:, :2] / sample.pitch_um))
    assert off.max() < 0.5 * (sample.pitch_um - sample.bar_um)


def test_preferred_orientation_points_along_the_beam():
    scope = make({"preferred": (0, 1, 0), "preferred_spread_deg": 5.0, "density": 0.02})
    table = scope.specimen.sample.near(np.zeros(2), 100.0)
    b = np.linalg.inv(scope.specimen.structures[0].cell.B).T @ np.array([0, 1, 0])
    along = np.einsum("nij,j->ni", table.orientation, b / np.linalg.norm(b))
    angle = np.degrees(np.arccos(np.clip(-along[:, 2], -1, 1)))
    # two tilts of rms 5°: Rayleigh, mean 5 √(π/2)
    assert angle.mean() == pytest.approx(5 * np.sqrt(np.pi / 2), rel=0.15)


def test_some_lie_anyhow():
    """Of directions at random cos θ is even: half of them are beyond 60° of the beam, either way round."""
    settings = {"preferred": (0, 1, 0), "preferred_spread_deg": 5.0, "preferred_share": 0.7, "density": 0.02}
    scope = make(settings)
    table = scope.specimen.sample.near(np.zeros(2), 100.0)
    b = np.linalg.inv(scope.specimen.structures[0].cell.B).T @ np.array([0, 1, 0])
    along = np.abs(np.einsum("nij,j->ni", table.orientation, b / np.linalg.norm(b))[:, 2])
    assert np.mean(along < 0.5) == pytest.approx(0.15, abs=0.04)


def test_clusters_touch():
    loose, dense = (Sample(SampleSettings(clustered=c, density=0.005), 2).near(np.zeros(2), 200.0) for c in (0.0, 0.8))
    nearest = []
    for table in (loose, dense):
        d = np.linalg.norm(table.place[:, None, :2] - table.place[None, :, :2], axis=-1) + 1e3 * np.eye(len(table))
        nearest.append(np.median(d.min(axis=1)))
    assert nearest[1] < 1.5 < nearest[0]


def test_fractions_must_fit():
    with pytest.raises(UnreadableInput, match="fraction"):
        Sample(SampleSettings(phases=("ZSM-5",), fractions=(1.0, 2.0)), 0)


def test_dose_fades_high_resolution_first(on_crystal):
    scope, table, row = on_crystal
    camera = scope.cameras["timepix"]
    camera.acquire(0.5)
    before = scope.diary[-1].spots[0]
    ident = int(table.ident[row])
    area = scope.beam().flux * 1e-8
    assert scope.specimen.fluence[ident] == pytest.approx(0.5 * area, rel=0.1)
    scope.specimen.fluence[ident] = 1e12  # the critical fluence of these tests
    camera.acquire(0.5)
    after = scope.diary[-1].spots[0]
    q = np.sqrt(scope.specimen.lattice(0).q2)
    both, i, j = np.intersect1d(before.row, after.row, return_indices=True)
    left = after.electrons[j] / before.electrons[i]
    np.testing.assert_allclose(left, np.exp(-0.5 * (1 + 4 * q[both] ** 2)), rtol=0.01)
    assert len(both) > 20


def test_a_blanked_beam_does_no_damage(on_crystal):
    scope, table, row = on_crystal
    scope.blanker.blank(True)
    before = dict(scope.specimen.fluence)
    scope.clock.sleep(100)
    scope.blanker.blank(True)
    assert scope.specimen.fluence == before
    scope.blanker.blank(False)
    scope.clock.sleep(10)
    scope.blanker.blank(True)
    gained = scope.specimen.fluence[int(table.ident[row])] - before.get(int(table.ident[row]), 0.0)
    assert gained == pytest.approx(10 * scope.beam().flux * 1e-8, rel=0.1)
