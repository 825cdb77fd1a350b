"""``credo explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from credo.pipeline.explain import Explained
from credo.pipeline.explain import explain as run_explain

__all__ = ["explain"]

#: Inputs alike that are listed one by one.
_LISTED = 4


def explain(
    file: Annotated[Path, Parameter(help="A file that credo wrote, or the folder of a command.")],
    /,
    *,
    json: Annotated[bool, Parameter(negative="", help="Show the chain as JSON.")] = False,
    all: Annotated[bool, Parameter(negative="", help="List every input, also where many are alike.")] = False,
) -> None:
    """Where a result comes from: each command back to the frames, its settings, versions and hashes.

    Everything is hashed again, so that it is seen what has changed since or is missing; nothing is written.
    """
    found = run_explain(file)
    if json:
        from credo.io.project import json_text

        sys.stdout.write(json_text({**found.to_dict(), "whole": found.whole}))
        return
    sys.stdout.write("\n".join(_lines(found, 0, all, set())) + "\n")
    sys.stdout.write("Everything is as it was.\n" if found.whole else "Not everything is as it was: see above.\n")


def _lines(e: Explained, depth: int, everything: bool, told: set[Path]) -> Iterator[str]:
    pad = "  " * depth
    yield f"{pad}{'from ' if depth else ''}{_name(e, depth)}  {_what(e)}"
    many = e.differing if everything else e.differing[:_LISTED]
    yield from (f"{pad}  ! {d}" for d in many)
    if len(e.differing) > len(many):
        yield f"{pad}  ! and {len(e.differing) - len(many)} more"
    if e.maker is None:
        return
    if e.maker.folder in told:
        yield f"{pad}  by the same run of credo {e.maker.report.get('command')} as above"
        return
    told.add(e.maker.folder)
    yield from (f"{pad}  {line}" for line in _command(e.maker.report, e.maker.folder, e.maker.provenance))
    shown = e.sources if everything else _few(e.sources)
    for source in shown:
        yield from _lines(source, depth + 1, everything, told)
    if len(e.sources) > len(shown):
        rest = len(e.sources) - len(shown)
        yield f"{pad}  and {rest} more, all unchanged back to their start (--all lists them)"


def _few(sources: tuple[Explained, ...]) -> list[Explained]:
    """Those with something to tell, and a few of the rest."""
    if len(sources) <= _LISTED:
        return list(sources)
    odd = [s for s in sources if not s.whole]
    return odd + [s for s in sources if s.whole][: max(_LISTED - 1 - len(odd), 1)]


def _name(e: Explained, depth: int) -> str:
    return str(e.path) if depth else e.path.name


def _what(e: Explained) -> str:
    count = "" if e.sha256 and e.files == 1 else f"{e.files} files, "
    sha = f", sha256 {e.sha256[:16]}…" if e.sha256 else ""
    return f"({count}{_size(e.size)}{sha}) {_STATES[e.state]}"


_STATES = {
    "unchanged": "unchanged", "changed": "CHANGED SINCE", "missing": "MISSING NOW", "unknown": "without a hash",
}  # fmt: skip


def _size(n: int) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}"
        n = n / 1000  # type: ignore[assignment]
    return f"{n:.1f} GB"


def _command(report: Mapping[str, Any], folder: Path, told: Mapping[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{k} {v}" for k, v in dict(told.get("versions") or {}).items() if k != "credo")
    yield f"by credo {report.get('command')} {report.get('version')} ({versions})"
    yield f"   on {told.get('made')}, in {folder}"
    changed = dict(told.get("changed") or {})
    yield f"   settings: {', '.join(f'{k} = {_value(v)}' for k, v in changed.items()) or 'all at their defaults'}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_value(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
