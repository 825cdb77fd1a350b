"""A rotation through the server, whose clock is not ours; and the server killed in the middle of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from credo.collect.cred import Cred
from credo.collect.engine import Engine
from credo.collect.rig import Rig
from credo.collect.session import Session
from credo.instrument.client import Client
from credo.instrument.config import Configuration
from credo.instrument.controller import TEMController
from credo.model.errors import CredoError

CONFIG = """
[microscope]
driver = "simulated"
[microscope.options]
seed = 1
real_time = 1.0
"""


@contextmanager
def served(folder):
    """A server in a process of its own: (process, controller)."""
    path = folder / "instrument.toml"
    path.write_text(CONFIG)
    code = f"from credo.app.cli import main; main(['serve', {str(path)!r}, '--port', '0'])"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = re.search(r"at ([\d.]+):(\d+)", process.stderr.readline())
        assert address is not None
        client = Client((address[1], int(address[2])))
        client.control()
        configuration = Configuration.model_validate({"microscope": {"driver": "simulated"}})
        yield process, TEMController(client, configuration)
        client.close()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def plan(**settings) -> Cred:
    given = {"start_deg": -4.0, "stop_deg": 4.0, "speed_deg_s": 1.0, "exposure_s": 0.5, "stop_when_lost": False}
    return Cred(**{"kind": "cred", **given, **settings})


def test_angles_are_right_although_the_clocks_differ(tmp_path):
    with served(tmp_path) as (_, ctrl):
        rig = Rig.of(ctrl)
        session = Session(tmp_path / "session", rig)
        ctrl.mode("diff")
        ctrl.acquire(0.5)  # the server compiles its kernels, while its clock goes on
        Engine(ctrl, [session]).run(plan().steps(rig))
        (told,) = session.datasets
        assert abs(told["about"]["began"] - 1.8e9) < 1e6  # the simulator's time, not ours
        assert -4.8 < told["start_deg"] < -1.5  # a loaded machine misses the first frames
        assert told["rotation"]["speed_deg_s"] == pytest.approx(1.0, rel=0.05)  # the load of the machine is in it
        assert told["n_frames"] >= 5


def test_a_killed_server_ends_the_run_and_loses_nothing(tmp_path):
    with served(tmp_path) as (process, ctrl):
        rig = Rig.of(ctrl)
        session = Session(tmp_path / "session", rig)
        seen = []

        def kill(event):
            if event.kind == "frame" and event.facts.get("role") == "data":
                seen.append(event)
                if len(seen) == 4:
                    os.kill(process.pid, signal.SIGKILL)

        began = time.monotonic()
        with pytest.raises(CredoError):
            Engine(ctrl, [session, kill]).run(plan().steps(rig))
        assert time.monotonic() - began < 60
        (told,) = session.datasets
        assert told["n_frames"] >= 4
        assert np.isfinite([told["start_deg"], told["end_deg"]]).all()
        assert told["reason_ended"] != "target angle"
