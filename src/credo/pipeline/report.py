"""``credo report``: the page of a project folder, made again from what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from credo.io.project import write_json
from credo.io.text import write_text
from credo.model import CannotDo, UnreadableInput
from credo.pipeline.output import read_report
from credo.pipeline.page.session import session_page
from credo.pipeline.provenance import file_hash
from credo.pipeline.session import Session, read_session

__all__ = ["report"]


def report(folder: Path, out: Path | None = None) -> dict[str, Any]:
    """Write ``report.html`` of a folder with results of ``credo batch``, or of single commands; returns what is in it.

    In the folder of another command, whose page has that name, it is ``session.html``; ``out``: another file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UnreadableInput(f"{folder}: not a folder", "give a project folder")
    session = read_session(folder)
    if not session.crystals and not session.phases:
        raise CannotDo(
            f"{folder}: no results of credo in it or below it", "give a folder of `credo batch`, or one above results"
        )
    told = read_report(folder)
    project = told.get("command") == "batch" or "report.html" not in told.get("files", ())
    path = Path(out) if out is not None else folder / ("report.html" if project else "session.html")
    if path.exists() and b"<footer>credo" not in path.read_bytes()[-(10**6) :]:
        raise UnreadableInput(f"{path}: is there already, and no page of credo", "give another --out")
    write_text(path, session_page(session))
    if path == folder / "report.html" and "report.html" in dict(told.get("provenance") or {}).get("outputs", {}):
        told["provenance"]["outputs"]["report.html"] = file_hash(path)
        write_json(folder / "report.json", told)
    return _numbers(session, path)


def _numbers(s: Session, path: Path) -> dict[str, Any]:
    return {
        "command": "report", "ok": True, "page": str(path), "bytes": path.stat().st_size,
        "datasets": len(s.crystals), "rejected": [{"dataset": n, "reason": r} for n, r in s.rejected],
        "phases": [
            {
                "name": p.name, "members": len(p.merge.get("members") or ()),
                "space_group": p.refine.get("space_group") or p.solve.get("space_group") or p.merge.get("space_group"),
                "r1": p.refine.get("r1_obs") or p.solve.get("r1"), "structure": p.structure is not None,
            }
            for p in s.phases
        ],
    }  # fmt: skip
