"""Programs that are absent, hang, crash, or are no programs."""

import sys

import pytest

from credo.model import CannotDo, UnreadableInput
from credo.solve.adapters.program import Program

PROGRAM = Program("Frobnicator", ("frob",), "https://example.org/frob")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")


def test_absent(fake, tmp_path):
    with pytest.raises(CannotDo, match="Frobnicator is not on PATH") as error:
        PROGRAM.find(None, tmp_path)
    assert str(tmp_path) in error.value.reason and "https://example.org/frob" in error.value.remedy


def test_given_path_is_no_program(tmp_path):
    plain = tmp_path / "notes.txt"
    plain.write_text("nothing")
    with pytest.raises(UnreadableInput, match=r"notes\.txt"):
        PROGRAM.find(plain, tmp_path)


def test_runs_without_a_shell_in_its_folder(fake, tmp_path):
    fake("frob", "print(name); pathlib.Path('here').write_text('x')")
    said = PROGRAM.run(PROGRAM.find(None, tmp_path), ("$(touch gone); a b",), tmp_path, 60)
    assert said.strip() == "$(touch gone); a b"
    assert (tmp_path / "here").exists() and not (tmp_path / "gone").exists()
    assert (tmp_path / "frob.console").read_text() == said


def test_stopped_after_its_time(fake, tmp_path):
    path = fake("frob", "time.sleep(600)")
    with pytest.raises(CannotDo, match=r"Frobnicator was stopped after 0\.2 s") as error:
        PROGRAM.run(path, ("x",), tmp_path, 0.2)
    assert str(tmp_path) in error.value.reason and error.value.remedy


def test_ended_by_a_signal(fake, tmp_path):
    path = fake("frob", "print('segfault near line 7', flush=True); import os; os.kill(os.getpid(), 9)")
    with pytest.raises(CannotDo, match=r"signal 9.*segfault near line 7"):
        PROGRAM.run(path, ("x",), tmp_path, 60)


def test_not_executable_by_this_machine(tmp_path):
    path = tmp_path / "frob"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(CannotDo, match="could not be started"):
        PROGRAM.run(path, (), tmp_path, 60)
