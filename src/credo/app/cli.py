"""The command ``credo``: its subcommands, imported when they are called, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter

from credo import __version__

__all__ = ["app", "main"]

_GROUPS = (
    "At the microscope",
    "One crystal: frames to intensities",
    "Many crystals",
    "Intensities to a structure",
    "Files and answers",
    "To try",
)
_MICROSCOPE, _CRYSTAL, _MANY, _STRUCTURE, _FILES, _TRY = (Group(name, sort_key=n) for n, name in enumerate(_GROUPS))
app = App(
    name="credo",
    help="3D electron diffraction, from the grid to the refined structure.",
    help_epilogue=(
        "Every command writes DIR/report.json, also when it fails, and ends with 0 (done), 1 (it could not be done) "
        "or 2 (bad arguments or unreadable input). Re-running with the same input and settings reuses what is there."
    ),
    version=__version__,
    suppress_keyboard_interrupt=False,
    group_commands=Group("Also", sort_key=len(_GROUPS)),
    default_parameter=Parameter(negative_iterable=(), negative_none=()),
)
_simulate = App(name="simulate", help="Simulated data with a truth file.", group=_TRY, group_commands="Commands")
_calibrate = App(
    name="calibrate",
    help="Calibrations of the instrument, from its images.",
    group=_MICROSCOPE,
    group_commands="Commands",
)
_config = App(
    name="config",
    help="The instrument's configuration: show, write, validate, import.",
    group=_MICROSCOPE,
    group_commands="Commands",
)
_COMMANDS = {
    _MICROSCOPE: (
        ("collect", "collection:collect", "Run a plan on the instrument: cRED, RED, SerialRED, atlas, screening."),
        ("watch", "watching:watch", "Crystals processed while their frames arrive, and merged by phase."),
        ("serve", "instrument:serve", "Own the microscope and serve it to clients."),
    ),
    _CRYSTAL: (
        ("process", "reduction:process", "Frames to integrated intensities of one crystal."),
        ("orient", "orientation:orient", "The orientation of every frame, and what the stage really did."),
    ),
    _MANY: (
        ("batch", "batching:batch", "Every data set below a folder, to phases and their structures."),
        ("cluster", "sorting:cluster", "Cells sorted by lattice, then data sets by intensity."),
        ("merge", "merging:merge", "Data sets of one phase scaled together and merged."),
    ),
    _STRUCTURE: (
        ("solve", "solution:solve", "Merged intensities to atoms: phases, space group, elements."),
        ("refine", "structure:refine", "Full-matrix least squares on F² of a model against its data."),
        ("map", "structure:fourier", "Observed and difference Fourier maps with the phases of a model."),
        ("compare", "structure:compare", "Refinements of one phase side by side, their atoms superposed."),
        ("powder", "structure:powder", "The powder pattern of a structure, laid over a measured one."),
    ),
    _FILES: (
        ("check", "reduction:check", "Say what a folder or file holds, what is missing and what is wrong."),
        ("convert", "conversion:convert", "Any readable format to any writable one."),
        ("explain", "explaining:explain", "Where a result comes from, and whether all still is as it was."),
        ("report", "reporting:report", "The story of a session as one page, from a project folder."),
    ),
    _TRY: (("demo", "simulation:demo", "Simulate a series with faults, process it, compare with the truth."),),
}
_PARTS = (
    (_simulate, (("frames", "simulation:frames", "A rotation series from a CIF or a shipped sample."),)),
    (
        _calibrate,
        (
            ("rings", "calibration:rings", "Pixel size, centre and ellipse from files with rings."),
            ("all", "calibration:all_", "At the instrument: everything, from nothing."),
            ("check", "calibration:check", "At the instrument: do stored values hold?"),
            ("stage", "calibration:stage", "At the instrument: stage matrix and pixel size of images."),
            ("deflectors", "calibration:deflectors", "At the instrument: what a deflector does."),
            ("brightness", "calibration:brightness", "At the instrument: the beam's size and walk."),
            ("focus", "calibration:focus", "At the instrument: where the pattern is sharp."),
            ("pixel-size", "calibration:pixel_size", "At the instrument: scale and ellipse of patterns."),
            ("axis", "calibration:axis", "At the instrument: the tilt axis in images."),
            ("timing", "calibration:timing", "At the instrument: rotation and dead time."),
        ),
    ),
    (
        _config,
        (
            ("show", "instrument:config_show", "The configuration in use."),
            ("write", "instrument:config_write", "A new file with every setting and what it means."),
            ("validate", "instrument:config_validate", "Check a file."),
            ("import", "instrument:config_import", "Translate Instamatic's configuration folder."),
        ),
    ),
)
for _group, _commands in _COMMANDS.items():
    for _name, _place, _help in _commands:
        app.command(f"credo.app.{_place}", name=_name, help=_help, group=_group)
for _parent, _commands in _PARTS:
    for _name, _place, _help in _commands:
        _parent.command(f"credo.app.{_place}", name=_name, help=_help)
    app.command(_parent)


def main(tokens: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    # before numpy is imported: our matrices are small, and threads that wait for work cost more than they bring
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:] if tokens is None else tokens))


def run(tokens: Sequence[str]) -> int:
    """Run a command; returns 0 done, 1 could not be done, 2 bad arguments or unreadable input."""
    try:
        app(_spread(tokens), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _complain(
            f"{_reason(error)}\n  -> see credo {' '.join(error.command_chain or ())} --help".replace("  --", " --")
        )
        return 2
    except KeyboardInterrupt:
        _complain("interrupted\n  -> run it again: what was finished before is reused")
        return 1
    except BrokenPipeError:
        # the reader of our output went away, as `credo ... | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        from credo.model.errors import CredoError  # late: --help needs no numpy

        if not isinstance(error, CredoError):
            raise
        _complain(str(error))
        return error.exit_code
    return 0


def _spread(tokens: Sequence[str]) -> list[str]:
    """``--cell 10,20,30,90,90,90`` as six words: commas between numbers may stand for spaces."""
    words: list[str] = []
    for token in tokens:
        parts = token.split(",")
        words += parts if len(parts) > 1 and all(map(_is_number, parts)) else [token]
    return words


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reason(error: CycloptsError) -> str:
    """One sentence; of a setting out of its bounds the option and the bound, not pydantic's own report."""
    from pydantic import ValidationError

    if isinstance(error.__cause__, ValidationError):
        return "; ".join(map(_bound, error.__cause__.errors()))
    return str(error)


def _bound(error: Any) -> str:
    option = ".".join(part.replace("_", "-") for part in error["loc"] if isinstance(part, str))
    text = error["msg"].removeprefix("Value error, ")
    return f"--{option}: {text[0].lower()}{text[1:]}" if option else text


def _complain(text: str) -> None:
    sys.stderr.write(f"credo: {text}\n")


def _as_interrupt(*_: object) -> None:
    """A polite kill ends as Ctrl-C does: with a report and without half-written files."""
    raise KeyboardInterrupt
