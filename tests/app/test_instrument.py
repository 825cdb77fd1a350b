"""``credo config`` and ``credo serve`` from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from credo.app.cli import run
from credo.instrument.client import Client


def test_write_validate_show(tmp_path, capsys):
    path = tmp_path / "instrument.toml"
    assert run(["config", "write", str(path)]) == 0
    assert run(["config", "write", str(path)]) == 1  # not overwritten
    assert run(["config", "validate", str(path)]) == 0
    assert "fine (driver simulated)" in capsys.readouterr().out
    assert run(["config", "show", "--config", str(path), "--everything"]) == 0
    assert "goniometer tilt" in capsys.readouterr().out
    path.write_text("[camera]\nexposure = 1\n")
    assert run(["config", "validate", str(path)]) == 2
    assert "camera.exposure" in capsys.readouterr().err


def test_import(tmp_path, capsys):
    for name, text in {
        "settings.yaml": "microscope: m\ncamera: m\ncalibration: m",
        "microscope/m.yaml": "interface: simulate\nwavelength: 0.033492",
        "camera/m.yaml": "name: m",
        "calibration/m.yaml": "diff:\n  pixelsize: {100: 0.01}",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    out = tmp_path / "ours.toml"
    assert run(["config", "import", str(tmp_path), "--to", str(out)]) == 0
    assert run(["config", "validate", str(out)]) == 0
    assert "120" in out.read_text()
    assert run(["config", "import", str(tmp_path / "absent")]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM")
def test_serve_the_simulated_instrument(tmp_path):
    environment = os.environ | {"CREDO_CONFIG": str(tmp_path / "instrument.toml")}
    (tmp_path / "instrument.toml").write_text("")
    command = [sys.executable, "-c", "from credo.app.cli import main; main(['serve', '--port', '0'])"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("credo serve: simulated at 127.0.0.1:")
            with Client(("127.0.0.1", int(line.rsplit(":", 1)[1]))) as client:
                client.control()
                frame = client.call("image", exposure=0.01)
                assert frame.data.shape == (516, 516)
                assert client.call("status")["blanked"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
