"""Whom a collection asks: first frames judged, a watch by its socket, and the first that objects."""

import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from credo.collect.advice import CrystalNow, Decision
from credo.collect.engine import Event
from credo.collect.steps import Pose, Shot
from credo.instrument.protocols import Frame
from credo.io.samples import sample
from credo.model import CannotDo, UnreadableInput
from credo.physics.rotation_series import SeriesSettings, simulate_series
from credo.pipeline import advise
from credo.pipeline.advise import FirstFrames, Remote, address_of, crystal_of, first_of
from credo.pipeline.watch_socket import PathServer

NOW = CrystalNow("0001", 6, -50.0, 60.0)


@pytest.fixture(scope="module")
def series():
    settings = SeriesSettings(frames=12, step_deg=1.0, start_deg=-30, shape=(192, 192), q_per_pixel=0.009, seed=11)
    return simulate_series(sample("grossular"), settings)


def shown(judge: FirstFrames, series, images) -> list[Decision]:
    """The answer after each frame."""
    scan, out = series.experiment.scan, []
    judge(Event(0.0, "begin", {"about": {"camera_length_mm": 600.0}}))
    for k, image in enumerate(images):
        a, b = float(scan.start_deg[k]), float(scan.end_deg[k])
        frame = Frame(image, float(k), k + 1.0, 1.0, k)
        shot = Shot(frame, Pose(0, 0, 0, a, 0, k), Pose(0, 0, 0, b, 0, k + 1.0))
        judge(Event(float(k), "frame", {"role": "data"}, shot))
        out.append(judge.ask(CrystalNow("0001", k + 1, b, 60.0)))
    judge(Event(0.0, "end run"))
    return out


@pytest.fixture
def judged(series, monkeypatch):
    def run(images, **settings):
        monkeypatch.setattr(advise, "geometry", lambda *_: series.experiment)
        return shown(FirstFrames(None, at_once=True, **settings), series, images)

    return run


def test_a_good_crystal_goes_on(judged, series):
    images = [series.frames[k] for k in range(12)]
    assert all(said.goes_on for said in judged(images, poorest=1.5))


def test_too_poor_is_told_after_four_degrees(judged, series):
    said = judged([series.frames[k] for k in range(12)], poorest=0.5)
    first = next(k for k, s in enumerate(said) if not s.goes_on)
    assert said[first].verdict == "abandon" and "0.50 Å are wanted" in said[first].reason and first in (3, 4)


def test_frames_without_reflections(judged, series):
    rng, mean = np.random.default_rng(1), np.mean([series.frames[k] for k in range(12)], axis=0)
    calm = np.minimum(mean, np.median(mean) + 3)
    y, x = np.indices(mean.shape)
    near = np.hypot(x - 96, y - 96) < 6
    said = judged([rng.poisson(np.where(near, mean, calm)).astype(np.uint16) for _ in range(12)])
    assert "abandon" in [s.verdict for s in said]


def test_the_first_that_objects():
    seen = []

    def says(*decision):
        def ask(crystal):
            seen.append(decision)
            return Decision(*decision)

        return ask

    asked = first_of(says("continue", "a"), says("abandon", "b"), says("stop", "c"))
    assert asked(NOW) == Decision("abandon", "b") and len(seen) == 2
    assert first_of(says("continue", "a"), says("continue", "z"))(NOW).reason == "z"


@pytest.fixture
def server():
    got = []

    def ask(crystal, wait_s):
        got.append((crystal, wait_s))
        return Decision("continue", "so far", (crystal.tilt_deg, 20.0), ("A",))

    found = PathServer(lambda *_: None, port=0, ask=ask)
    found.got = got
    yield found
    found.close()


def test_a_watch_is_asked_by_its_socket(server, tmp_path):
    remote = Remote(server.address, still=True)
    one = CrystalNow("0001", 6, -50.0, 60.0, folder=str(tmp_path))
    assert remote.ask(one) == Decision("continue", "so far", (-50.0, 20.0), ("A",))
    assert server.got == [(one, 600.0)]
    # not at every frame; and always at the end
    for frames in (7, 9, 12, 13):
        remote.ask(CrystalNow("0001", frames, -48.0, 60.0, folder=str(tmp_path)))
    remote.ask(CrystalNow("0001", 13, -48.0, 60.0, "target angle", str(tmp_path)))
    assert [c.frames for c, _ in server.got] == [6, 12, 13] and server.got[-1][0].ended == "target angle"


def test_nobody_waits_while_a_crystal_turns(tmp_path):
    """The answer to a question of one frame is there at a later one; that to a crystal before is not taken for it."""
    free, asked = threading.Event(), []

    def ask(crystal, _):
        asked.append(crystal.frames)
        free.wait(10)
        return Decision("abandon", f"{crystal.name} at {crystal.frames}")

    server = PathServer(lambda *_: None, port=0, ask=ask)
    remote = Remote(server.address)
    now = CrystalNow("0001", 6, -50.0, 60.0, folder=str(tmp_path))
    said = [remote.ask(replace(now, frames=n)) for n in (6, 12, 18)]
    assert said == [Decision()] * 3 and asked in ([], [6])
    free.set()
    end = time.monotonic() + 10
    while remote.ask(replace(now, frames=19)).goes_on and time.monotonic() < end:
        time.sleep(0.01)
    assert remote.ask(replace(now, frames=19)).reason == "0001 at 6" and asked == [6]
    assert remote.ask(replace(now, name="0002", frames=1)) == Decision()
    server.close()


def test_no_answer_is_to_go_on(server, tmp_path):
    said = []
    remote = Remote(server.address, still=True, say=said.append)
    assert remote.ask(CrystalNow("0001", 6, 0.0, 60.0, folder=str(tmp_path / "gone"))) == Decision()
    assert "no such file" in said[0]
    server.close()
    assert remote.ask(CrystalNow("0002", 6, 0.0, 60.0, folder=str(tmp_path))) == Decision() and len(said) == 2


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CannotDo, match="nobody to ask"):
        Remote(("127.0.0.1", port))


def test_addresses():
    assert address_of("8089") == ("127.0.0.1", 8089) and address_of("tem:80") == ("tem", 80)
    for text in ("tem", "tem:", "a:0", "a:99999", ""):
        with pytest.raises(UnreadableInput):
            address_of(text)


@pytest.mark.parametrize(
    "told",
    [None, {}, {"frames": "x", "tilt_deg": 0, "to_deg": 1}, {"frames": 1, "tilt_deg": float("inf"), "to_deg": 1}],
)
def test_what_is_no_crystal(told):
    with pytest.raises(ValueError, match=r"crystal|number"):
        crystal_of(told, "x")
