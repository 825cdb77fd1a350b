"""What is wrong is noticed and named, what is right is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from credo.model import Cell
from credo.orient.observations import Observations
from credo.orient.orientations import orient


def kinds(found) -> set[str]:
    return {p.kind for p in found.problems}


@pytest.fixture(scope="module")
def given(andradite_series):
    """``given(s, cell=…, xy=…, hkl=…)``: what the estimator is told of a series."""

    def make(s, cell=None, xy=None, hkl=None) -> Observations:
        return Observations(
            cell or s.cell, andradite_series.WAVELENGTH, s.frame, s.hkl if hkl is None else hkl, s.intensity, s.sigma,
            s.nominal_deg, s.width_deg, xy,
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def plain(andradite_series):
    """A series over 30 degrees and its spots with 0.3 px of error."""
    s = andradite_series.simulate(andradite_series.andradite(), 0.8, 0.2, 1, True, 1e5)
    return s, s.xy + np.random.default_rng(1).normal(0, 0.3, s.xy.shape)


def test_nothing_is_wrong_with_what_is_right(plain, given, error_deg) -> None:
    s, xy = plain
    found = orient(given(s, xy=xy))
    assert not kinds(found) & {"wrong cell", "wrong hand", "split crystal", "180 degree ambiguity"}
    assert found.cell == s.cell
    assert found.in_plane is not None
    assert found.in_plane.scale == pytest.approx(300, rel=1e-3)
    assert found.in_plane.rms == pytest.approx(0.3, rel=0.15)
    # turns about a fixed axis across the beam leave the crystal's own in-plane angle smooth
    turn = np.unwrap(np.radians(found.in_plane.angle_deg))
    rough = np.degrees(np.abs(np.diff(turn, 2)))
    assert np.median(rough) < 5 * np.median(found.in_plane.esd_deg)


@pytest.mark.parametrize(
    "cell", [Cell(12.048, 12.048, 12.048 * 1.005, 90, 90, 90), Cell(12.048 * 1.03, 12.048, 12.048, 90, 90, 90)]
)
def test_a_wrong_cell_is_named_and_spots_put_it_right(plain, given, error_deg, cell) -> None:
    s, xy = plain
    alone = orient(given(s, cell=cell))
    assert "wrong cell" in kinds(alone)
    assert error_deg(alone.zone, s.zone).mean() > 0.05
    helped = orient(given(s, cell=cell, xy=xy))
    assert "wrong cell" in kinds(helped)
    assert np.ptp(helped.cell.lengths) < 1e-3
    assert helped.cell.angles == pytest.approx((90, 90, 90))
    assert error_deg(helped.zone, s.zone).mean() < 0.007


def test_the_other_hand(plain, given, error_deg) -> None:
    s, xy = plain
    assert "wrong hand" in kinds(orient(given(s, xy=xy * [1, -1])))
    turned = orient(given(s, xy=xy, hkl=-s.hkl))
    assert "wrong hand" in kinds(turned)
    assert error_deg(-turned.zone, s.zone).mean() < 0.01


def test_a_split_crystal(andradite_series, given) -> None:
    s = andradite_series.simulate(
        andradite_series.andradite(), 0.7, 0.2, 0, True, 1e5, span=20.0, second=(0.4, (0.7, 0.2, 0.4))
    )
    assert "split crystal" in kinds(orient(given(s)))


def test_opposite_directions_at_low_resolution(andradite_series, given) -> None:
    s = andradite_series.simulate(andradite_series.andradite(), 2.0, 0.25, 2, True, 1e5, span=20.0)
    assert {"180 degree ambiguity", "too few reflections"} <= kinds(orient(given(s)))


def test_multiple_scattering_is_no_wrong_cell(andradite_series, given) -> None:
    s = andradite_series.simulate_bloch(andradite_series.andradite(), 0.7, 0.2, 0, 500.0, span=20.0)
    said = kinds(orient(given(s)))
    assert "multiple scattering" in said
    assert not said & {"wrong cell", "split crystal", "wrong hand"}


def test_frames_that_tell_little_are_named(plain, given) -> None:
    s, _ = plain
    obs = given(s)
    strong = np.argsort(-obs.intensity * (obs.frame == 40))[:2]
    keep = (obs.frame != 40) & (obs.frame != 90)
    keep[strong] = True
    found = orient(obs.select(keep))
    said = {p.kind: p.text for p in found.problems}
    assert "90" in said["empty frames"]
    assert "40" in said["poor frames"]
