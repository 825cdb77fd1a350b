"""The server's process is killed with the beam on and a lens displaced: the watchdog sees to both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from credo.instrument.config import load
from credo.instrument.watchdog import rescue

HERE = Path(__file__).parent
VICTIM = """
import os, signal, sys
from pathlib import Path
from credo.instrument.client import Client
from credo.instrument.config import load
from credo.instrument.opening import open_guard
from credo.instrument.server import Server
from credo.instrument.watchdog import Watchdog
config = Path(sys.argv[1])
server = Server(lambda: open_guard(load(config)), port=0)
server.start()
watchdog = Watchdog(config)
client = Client(server.address)
client.control()
client.call("set", name="difffocus", value=31500)
client.call("unblank")
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
client.close()
server.close()
watchdog.close()
"""


@pytest.fixture
def site(tmp_path):
    """A configuration file whose instrument is a file, and that file."""
    state = tmp_path / "state.json"
    config = tmp_path / "instrument.toml"
    config.write_text(
        f"[global]\nlog_directory = '{tmp_path}'\n[microscope]\ndriver = 'file_microscope:open_microscope'\n"
        f"[microscope.options]\npath = '{state}'\n"
    )
    return config, state


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("end", ["kill", "leave"])
def test_a_killed_server_is_cleaned_up_after_and_a_good_one_left_alone(site, end):
    config, state = site
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-c", VICTIM, str(config), end], env=environment, timeout=60, check=end == "leave")
    until = time.monotonic() + 30
    done = config.with_name("watchdog.jsonl")
    # the log is there before the rescue, what it says of it after
    while end == "kill" and not (done.exists() and "rescue" in done.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    kept = json.loads(state.read_text())
    assert kept["blanked"] is True
    assert kept["lenses"]["difffocus"] == (30000 if end == "kill" else 31500)
    assert done.exists() == (end == "kill")
    assert not config.with_name("journal.json").exists()


def test_what_cannot_be_put_back_is_told_and_the_journal_kept(site, monkeypatch):
    config, _ = site
    monkeypatch.syspath_prepend(str(HERE))
    journal = config.with_name("journal.json")
    journal.write_text(json.dumps({"settings": {"brightness": 1e9}, "rotation_speed": 10.0}))
    assert rescue(load(config)) == ["put back: not restored: brightness: brightness = 1e+09 is outside 0 to 65535 raw"]
    assert journal.exists()
