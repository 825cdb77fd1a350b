"""A crystal while it turns: nothing at first, its lattice soon, and the same spots as all frames at once give."""

import numpy as np
import pytest

from credo.io.samples import sample
from credo.model import CannotDo
from credo.physics.rotation_series import FaultSettings, SeriesSettings, simulate_series
from credo.pipeline import watch_set
from credo.pipeline.watch_set import LiveSet


@pytest.fixture(scope="module")
def series():
    settings = SeriesSettings(
        frames=50, step_deg=1.2, start_deg=-30, shape=(192, 192), q_per_pixel=0.009, seed=11,
        faults=FaultSettings(drift_px=(2.0, -1.0), header_axis_deg=5.0),
    )  # fmt: skip
    return simulate_series(sample("grossular"), settings)


def live_of(series):
    def geometry(numbers):
        scan = series.experiment.scan
        return series.experiment.replace(scan=scan.part(np.isin(scan.numbers, numbers)))

    return LiveSet("g", geometry)


@pytest.fixture(scope="module")
def grown(series):
    """All states of one crystal, updated whenever it is due and at the end."""
    live, states = live_of(series), []
    for i in range(50):
        live.add(i + 1, series.frames[i])
        if live.due():
            states.append(live.update())
    return live, [*states, live.update()]


def test_it_grows(grown):
    _, states = grown
    frames = [s.frames for s in states]
    assert frames == sorted(frames) and frames[-1] == 50
    assert states[-1].turned_deg == pytest.approx(60.0)
    assert next(s.frames for s in states if s.indexed) < 40
    assert states[-1].seconds > 0 and len(states[-1].spots_per_frame) == 50
    assert sum(states[-1].spots_per_frame) == states[-1].n_spots


def test_the_lattice_is_right(grown):
    _, states = grown
    last = states[-1]
    assert last.crystal.cell.parameters == pytest.approx([11.86] * 3 + [90] * 3, rel=5e-3)
    assert last.crystal.centring == "I" and last.indexed_fraction > 0.9
    assert 0.6 < last.resolution < 1.3


def test_a_glance_keeps_the_lattice(series):
    live = live_of(series)
    for i in range(45):
        live.add(i + 1, series.frames[i])
    before = live.update()
    for i in range(45, 50):
        live.add(i + 1, series.frames[i])
    assert live.stale
    after = live.glance()
    assert after.crystal == before.crystal and after.frames == 50 and after.n_indexed > before.n_indexed


def test_a_lattice_that_no_longer_fits_is_looked_for_anew(series, monkeypatch):
    live = live_of(series)
    for i in range(50):
        live.add(i + 1, series.frames[i])
    live.update()

    def refuse(*_):
        raise CannotDo("no longer", "")

    monkeypatch.setattr(watch_set, "settle", refuse)
    again = live.update()
    assert again.indexed and again.crystal.cell.parameters[0] == pytest.approx(11.86, rel=5e-3)


def test_frames_twice_or_backwards_are_left_out(series):
    live = live_of(series)
    for number in (3, 3, 2, 4):
        live.add(number, series.frames[number])
    assert len(live) == 2
    state = live.update()
    assert state.reason == "too few frames yet" and not state.indexed


def test_an_empty_beam(series):
    rng = np.random.default_rng(1)
    live = live_of(series)
    for i in range(20):
        live.add(i + 1, rng.poisson(3, (192, 192)).astype(np.uint16))
    state = live.update()
    assert not state.indexed and "too few" in state.reason
    assert live.failed("gone").reason == "gone"
