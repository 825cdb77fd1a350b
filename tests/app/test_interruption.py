"""A full disk, Ctrl-C and kill: a report with the reason, nothing half written, and the next run goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from credo.app.cli import run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


def _report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def _listening() -> None:
    """Hear Ctrl-C, also when the tests run in the background of a shell, which makes its children deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _started(program: str, series: Path, out: Path) -> subprocess.Popen:
    """A run that is under way: its first report is there."""
    words = [program, "process", str(series), "--out", str(out)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", preexec_fn=_listening
    )
    deadline = time.monotonic() + 300
    while not (out / "report.json").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(sign, credo_program, series, tmp_path):
    out = tmp_path / "result"
    process = _started(credo_program, series, out)
    process.send_signal(sign)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 1
    assert stdout == "" and stderr.startswith("credo: interrupted") and "Traceback" not in stderr
    assert _report(out)["reason"] == "interrupted" and _report(out)["ok"] is False
    assert [p.name for p in out.iterdir()] == ["report.json"]


def test_killed_then_run_again(credo_program, series, tmp_path, monkeypatch):
    """Nothing can be said when the power goes; the report says so from the start, and the folder stays ours."""
    import credo.pipeline.process as module
    from credo.model import CannotDo

    out = tmp_path / "result"
    process = _started(credo_program, series, out)
    process.kill()
    process.communicate(timeout=300)
    assert _report(out)["ok"] is False and _report(out)["reason"].startswith("unfinished")

    def stop(*_):
        raise CannotDo("stopped by the test")

    monkeypatch.setattr(module, "reduce_frames", stop)
    assert run(["process", str(series), "--out", str(out)]) == 1
    assert "stopped by the test" in _report(out)["reason"]
    assert [p.name for p in out.iterdir()] == ["report.json"]


def _few_bytes() -> None:
    """No file of this process may grow beyond 100 kB: what a full disk does to the large ones."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_full_disk(credo, series, tmp_path):
    """The tables do not fit: a clear end, the reason in the report, and no half of a result."""
    done = credo("process", series, "--out", "result", cwd=tmp_path, preexec_fn=_few_bytes)
    assert done.returncode == 1
    assert "result" in done.stderr and "could not be written" in done.stderr and "\n  -> " in done.stderr
    assert "Traceback" not in done.stderr and ".unfinished" not in done.stderr
    report = _report(tmp_path / "result")
    assert report["ok"] is False and "could not be written" in report["reason"]
    assert [p.name for p in (tmp_path / "result").iterdir()] == ["report.json"]


def test_a_failure_keeps_the_earlier_result(tmp_path):
    """Files of an earlier run stay whole when a later one ends badly; a later success replaces all of them."""
    from credo.model import CannotDo
    from credo.pipeline.output import Output, run_command

    out = tmp_path / "result"

    def write(*names: str, end: Exception | None = None):
        def work(folder: Path) -> dict:
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(name)
            if end is not None:
                raise end
            return {"n": len(names)}

        return work

    run_command(Output(out, "process", "a"), write("old", "both", "sub/old"))
    with pytest.raises(CannotDo):
        run_command(Output(out, "process", "b"), write("both", "new", end=CannotDo("no")))
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == ["both", "old", "old", "report.json"]
    assert _report(out)["files"] == ["both", "old", "sub/old"]
    run_command(Output(out, "process", "b"), write("both", "new"))
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == ["both", "new", "report.json"]
