"""Frames or processing files from one format to another, with a report, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from credo.io.convert import convert as convert_files
from credo.io.overrides import GeometryOverrides
from credo.io.project import read_experiment, write_experiment
from credo.model import CredoError, Report, UnreadableInput
from credo.pipeline.output import Output, default_folder, fingerprint, run_command

__all__ = ["convert"]


def convert(
    source: Path,
    target: Path,
    to: str | None = None,
    overrides: GeometryOverrides | None = None,
    out: Path | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo convert``: writes ``target``, a file if its name has a suffix, else a folder; returns the report.

    The report is in the target folder or, for a file, in ``out`` (default: NAME-convert in the current folder).
    """
    source, target, overrides = Path(source), Path(target), overrides or GeometryOverrides()
    single = bool(target.suffix)
    folder = (out or default_folder("convert", [source])) if single else target
    key = fingerprint([p for p in [source] if p.exists()], (overrides, to, str(target.resolve())))
    output = Output(folder, "convert", key, [source], (overrides, {"to": to}))
    if progress:
        progress("converting")

    def work(staging: Path) -> dict[str, Any]:
        if not source.exists():
            raise UnreadableInput(f"{source}: no such file or folder", "check the path")
        if not single:
            report = convert_files(source, staging, to, overrides)
            _settle(staging, target)
        else:
            if target.exists() and not (force and target.resolve() == Path(output.earlier.get("target", ""))):
                raise UnreadableInput(f"{target}: exists already", "give a new name")
            report = _to_file(source, target, to, overrides)
        more = {"target": str(target.resolve()), "warnings": list(report.warnings)}
        return {**report.numbers, **more}

    return run_command(output, work, force)


def _settle(staging: Path, target: Path) -> None:
    """The experiment.json names the folder in which its frames will lie."""
    path = staging / "experiment.json"
    if path.exists():
        write_experiment(path, read_experiment(path).replace(source=str(target.resolve())))


def _to_file(source: Path, target: Path, to: str | None, overrides: GeometryOverrides) -> Report:
    """Written beside the target and moved: other files that belong to it (.expt to .refl, .ins to .hkl) come along."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=target.parent) as beside:
        try:
            report = convert_files(source, Path(beside) / target.name, to, overrides)
        except CredoError as error:
            error.reason = error.reason.replace(beside, str(target.parent))
            raise
        made = sorted(Path(beside).iterdir())
        taken = next((p for p in made if p.name != target.name and (target.parent / p.name).exists()), None)
        if taken is not None:
            raise UnreadableInput(f"{target.parent / taken.name}: exists already", "give a new name")
        for path in made:
            shutil.move(path, target.parent / path.name)
    return report
