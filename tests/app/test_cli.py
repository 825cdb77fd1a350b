"""Arguments, help, exit codes and messages of the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from credo import __version__
from credo.app.cli import run
from credo.io.overrides import GeometryOverrides
from credo.pipeline.process import ProcessSettings


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_help_names_every_command(capsys):
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("process", "check", "convert", "simulate", "demo"):
        assert command in shown


def test_start_is_light():
    """`credo --help` reads neither numpy nor numba: that is most of the time a start takes."""
    code = (
        "import sys; from credo.app.cli import run; run(['--help']); "
        "sys.exit(any(m in sys.modules for m in ('numpy', 'numba', 'scipy', 'gemmi', 'h5py')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_matrices_get_one_thread_unless_the_user_says_otherwise():
    """Set before numpy is read, or it would come too late."""
    code = (
        "import os, sys; import credo.app.cli as cli; cli.run = lambda _: 'numpy' in sys.modules\n"
        "try: cli.main([])\nexcept SystemExit as end: print(end.code, os.environ['OPENBLAS_NUM_THREADS'])"
    )
    for given, expected in ((None, "False 1"), ("4", "False 4")):
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
        environment |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300
        )
        assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("model", [ProcessSettings, GeometryOverrides])
def test_options_are_the_settings(model, capsys):
    """Every field is an option, and its description with the unit is the help."""
    assert run(["process", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, field in model.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        first_word = (field.description or "").split()[0]
        assert first_word and first_word in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["proces"], 'Did you mean "process"'),
        (["process"], "PATHS requires an argument"),
        (["process", "nowhere"], "nowhere: no such file or folder"),
        (["process", "x", "--cell", "1", "2"], "--cell requires 6"),
        (["process", "x", "--cell", "1,2"], "--cell requires 6"),
        (["process", "x", "--wavelength", "5"], "--wavelength: input should be less than 0.2"),
        (["process", "x", "--wavelength", "0.02", "--voltage", "200"], "the wavelength or the voltage, not both"),
        (["process", "x", "--no-such-option", "5"], "--no-such-option"),
        (["simulate", "frames"], "give one of --cif FILE and --sample NAME"),
        (["simulate", "frames", "--sample", "unobtainium"], "grossular"),
        (["simulate", "frames", "--sample", "gypsum", "--faults.slip-deg", "-1"], "--faults.slip-deg"),
        (["demo", "--sample", "unobtainium"], "grossular"),
        (["convert", "nowhere", "out"], "nowhere"),
    ],
)
def test_bad_arguments_end_with_2_and_say_what_to_do(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("credo: ") and said in error and "\n  -> " in error
    assert "Traceback" not in error


def test_commas_may_stand_for_spaces():
    from credo.app.cli import _spread

    assert _spread(["--cell", "1,2.5,-3", "a,b", "--frames", "1,9", "x"]) == (
        ["--cell", "1", "2.5", "-3", "a,b", "--frames", "1", "9", "x"]
    )


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    """Only credo's own errors become messages."""
    import credo.app.cli as cli

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ZeroDivisionError):
        run(["process", "x"])
