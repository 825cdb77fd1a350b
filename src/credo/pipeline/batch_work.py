"""One data set of a batch, processed into a folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from credo import __version__
from credo.io.project import write_experiment, write_reflections
from credo.model import CredoError, UnreadableInput
from credo.pipeline.merge_input import read_set
from credo.pipeline.output import Output, read_report, run_command
from credo.pipeline.process import ProcessSettings, process

__all__ = ["adopt", "content_of", "data_set", "in_place", "key_of"]

#: What the batch keeps of a data set's report.
KEPT = (
    "ok", "reason", "cell", "cell_esd", "centring", "laue_group", "n_frames", "n_spots", "n_indexed",
    "indexed_fraction", "n_integrated", "n_unique", "completeness", "r_int", "r_meas", "cc_half", "resolution",
    "mosaicity_deg", "lattices", "warnings", "seconds", "unreadable",
)  # fmt: skip


def content_of(files: Sequence[Path]) -> str:
    """A hash of what the files hold, by their names; the same wherever they lie."""
    whole = hashlib.sha256()
    for path in sorted(files, key=lambda p: (p.name, str(p))):
        with path.open("rb") as stream:
            whole.update(f"{path.name}|".encode() + hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def key_of(*parts: Any) -> str:
    """A hash of plain values, and of this version of credo."""
    text = json.dumps([__version__, *parts], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def in_place(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its place when the block ends well, also in two processes at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            # the older one goes in one step, so that there is never half a folder of that name
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
            os.replace(target, old / "old")  # noqa: PTH105
            os.replace(temporary, target)  # noqa: PTH105
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, target)  # noqa: PTH105
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def data_set(task: dict[str, Any]) -> dict[str, Any]:
    """Process, or take over integrated intensities, unless ``target`` holds the result of the same content already.

    task: ``name``, ``kind``, ``paths``, ``files``, ``target``, ``settings`` (of ProcessSettings), ``force``. The answer
    has the numbers of the report (``ok`` and ``reason`` among them), ``key``, ``content``, and whether it was
    ``reused``.
    """
    paths, target = [Path(p) for p in task["paths"]], Path(task["target"])
    settings = ProcessSettings.model_validate(task["settings"])
    content = content_of([Path(f) for f in task["files"]])
    key = key_of(content, task["kind"], task["paths"], settings.model_dump(mode="json"))
    earlier = read_report(target)
    if earlier.get("input_hash") == key and not task.get("force"):
        return {**_kept(earlier), "key": key, "content": content, "reused": True}
    with in_place(target) as folder:
        try:
            if task["kind"] == "intensities":
                report = adopt(paths[0], folder, key)
            else:
                report = process(paths, folder, settings, key=key)
        except CredoError as error:
            report = {**read_report(folder), "unreadable": isinstance(error, UnreadableInput)}
    return {**_kept(report), "key": key, "content": content, "reused": False}


def adopt(path: Path, out: Path, key: str = "") -> dict[str, Any]:
    """Integrated intensities of another program, or of an earlier run, as a processed crystal in ``out``."""

    def work(folder: Path) -> dict[str, Any]:
        found = read_set(path)
        crystal = found.crystal
        write_experiment(folder / "experiment.json", found.experiment)
        write_reflections(folder / "reflections.h5", found.table)
        return {
            "adopted": str(path), "cell": list(crystal.cell.parameters), "cell_esd": list(crystal.cell.esd or ()),
            "centring": crystal.centring, "laue_group": crystal.laue_group, "n_integrated": len(found.table),
            "warnings": list(found.experiment.problems),
        }  # fmt: skip

    return run_command(Output(out, "process", key, [path]), work)


def _kept(report: dict[str, Any]) -> dict[str, Any]:
    return {k: report.get(k) for k in KEPT}
