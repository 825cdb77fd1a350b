"""``credo explain``: the chain from a result back to the frames, and whether everything still is what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from credo.model import CannotDo, UnreadableInput
from credo.pipeline.corrected import refinement_of
from credo.pipeline.output import files_to_read, read_report
from credo.pipeline.provenance import MANIFEST, digest_of, hash_if_readable

__all__ = ["Explained", "Maker", "explain"]

#: Folders above a file that are searched for the report that lists it.
_LEVELS = 4
#: Commands one after the other that are followed.
_DEPTH = 30


@dataclass(frozen=True)
class Maker:
    """The command that wrote a file, as its report.json has it."""

    folder: Path
    report: Mapping[str, Any]

    @property
    def provenance(self) -> Mapping[str, Any]:
        found = self.report.get("provenance")
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Explained:
    """A file or folder. ``state``: unchanged, changed, missing, or unknown (no hash was written down); ``differing``:
    the files of a folder that differ, with how; ``maker`` and ``sources`` are empty for data from outside."""

    path: Path
    state: str
    sha256: str | None = None
    files: int = 1
    size: int = 0
    differing: tuple[str, ...] = ()
    maker: Maker | None = None
    sources: tuple[Explained, ...] = field(default_factory=tuple)

    @property
    def whole(self) -> bool:
        """Whether the whole chain still is what it was."""
        return self.state == "unchanged" and all(s.whole for s in self.sources)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        out: dict[str, Any] = {
            "path": str(self.path), "state": self.state, "sha256": self.sha256, "files": self.files,
            "bytes": self.size, "differing": list(self.differing),
        }  # fmt: skip
        if self.maker is not None:
            told = self.maker.provenance
            out |= {k: self.maker.report.get(k) for k in ("command", "version", "ok")}
            out |= {k: told.get(k) for k in ("made", "settings", "changed", "versions")}
            out |= {"folder": str(self.maker.folder), "from": [s.to_dict() for s in self.sources]}
        return out


def explain(path: Path) -> Explained:
    """The chain of ``path``: a file that a command of credo wrote, or the folder of a command."""
    path = Path(path)
    if not path.exists():
        raise UnreadableInput(f"{path}: no such file or folder", "check the path")
    path = path.resolve()
    maker = _maker(path)
    if maker is None:
        raise CannotDo(
            f"{path}: no report.json beside or above it says that credo wrote it",
            "give a file in a folder that credo wrote, with its report.json",
        )
    if not maker.provenance:
        raise CannotDo(f"{maker.folder / 'report.json'}: holds no provenance", "run the command again with --force")
    return _result(path, maker, {}, 0)


def _maker(path: Path) -> Maker | None:
    """The report that lists a file, in its folder or above; of a folder its own report, or one that lists its files."""
    own = path if path.is_dir() else path.parent
    report = read_report(own)
    if path.is_dir() or path.name in ("report.json", MANIFEST):
        if report.get("command"):
            return Maker(own, report)
        if path.is_file():
            return None
    for folder in list(path.parents)[:_LEVELS]:
        report = read_report(folder)
        name = path.relative_to(folder).as_posix()
        listed = report.get("files", ()) if report.get("command") else ()
        if any(f == name or (path.is_dir() and str(f).startswith(f"{name}/")) for f in listed):
            return Maker(folder, report)
    return None


def _result(path: Path, maker: Maker, known: dict[Path, tuple[Explained, ...]], depth: int) -> Explained:
    """A result: the state of its files now, and where each of its maker's inputs comes from."""
    outputs = {str(k): str(v) for k, v in dict(maker.provenance.get("outputs") or {}).items()}
    if path == maker.folder or path.name in ("report.json", MANIFEST):
        names = list(outputs)
    else:
        name = path.relative_to(maker.folder).as_posix()
        names = [n for n in outputs if n.startswith(f"{name}/")] if path.is_dir() else [name]
    differing = [f"{n}: {s}" for n in names if (s := _state(maker.folder / n, outputs.get(n))) != "unchanged"]
    state = "unchanged" if not differing else "changed"
    single = len(names) == 1
    if single and differing:
        state = differing[0].rpartition(": ")[2]
    there = [f for n in names if (f := maker.folder / n).is_file()]
    size = sum(f.stat().st_size for f in there)
    sources = _sources(maker, known, depth)
    # of a file among a project's parts, those that are beside it
    near = tuple(s for s in sources if path.parent != maker.folder and path.parent in s.path.parents)
    return Explained(
        path, state, outputs.get(names[0]) if single else None, len(names), size, () if single else tuple(differing),
        maker, near or sources,
    )  # fmt: skip


def _state(path: Path, sha256: str | None) -> str:
    if not path.is_file():
        return "missing"
    if sha256 is None:
        return "unknown"
    return "unchanged" if hash_if_readable(path) == sha256 else "changed"


def _sources(maker: Maker, known: dict[Path, tuple[Explained, ...]], depth: int) -> tuple[Explained, ...]:
    """The inputs of a command; those of a folder met twice are worked out once."""
    if depth >= _DEPTH:
        return ()
    if maker.folder not in known:
        known[maker.folder] = ()
        entries = [e for e in maker.provenance.get("inputs") or () if isinstance(e, dict)]
        inside = _parts(maker) if not entries else []
        made = tuple(_result(m.folder, m, known, depth + 1) for m in inside)
        known[maker.folder] = (*(_input(entry, maker, known, depth) for entry in entries), *made)
    return known[maker.folder]


def _parts(maker: Maker) -> list[Maker]:
    """The results that a project's own report is made from: the last of every phase, and the crystals of none."""
    phases = [folder for folder in sorted(maker.folder.glob("phases/*")) if (folder / "report.json").is_file()]
    last = [
        next((f for f in (refinement_of(p), p / "solve") if read_report(f).get("ok")), p) for p in phases
    ]  # fmt: skip
    used = {
        (p / str(e["from_here"])).resolve()
        for p in phases
        for e in dict(read_report(p).get("provenance") or {}).get("inputs") or ()
        if isinstance(e, dict) and e.get("from_here")
    }
    alone = [f for f in sorted(maker.folder.glob("crystals/*")) if f.resolve() not in used]
    makers = [Maker(f.resolve(), read_report(f)) for f in (*last, *alone)]
    return [m for m in makers if m.provenance]


def _input(entry: Mapping[str, Any], maker: Maker, known: dict, depth: int) -> Explained:
    """An input as it is now: beside the result as it was then, so that all may be moved together, or where it was."""
    sha256 = entry.get("sha256")
    told = Path(str(entry.get("path", "")))
    places = [(maker.folder / str(entry["from_here"])).resolve()] if entry.get("from_here") else []
    places = [p for p in dict.fromkeys([*places, told]) if p.exists()]
    hashed = [(p, *_hashes(p)) for p in places]
    path, now, hashes = next((x for x in hashed if x[1] == sha256), hashed[0] if hashed else (told, None, {}))
    files, size = int(entry.get("files") or 0), int(entry.get("bytes") or 0)
    if now is None:
        return Explained(told, "missing", sha256, files, size)
    state = "unchanged" if now == sha256 else "changed"
    differing = _differing(entry, maker, hashes) if state == "changed" else ()
    source = _maker(path)
    if source is None or source.folder == maker.folder or not source.provenance:
        return Explained(path, state, sha256, files, size, differing)
    return Explained(path, state, sha256, files, size, differing, source, _sources(source, known, depth + 1))


def _hashes(path: Path) -> tuple[str, dict[str, str]]:
    """The hash of a file or folder, and those of the folder's files by name."""
    if path.is_file():
        return hash_if_readable(path), {}
    hashes = {f.relative_to(path).as_posix(): hash_if_readable(f) for f in files_to_read(path)}
    return digest_of(hashes), hashes


def _differing(entry: Mapping[str, Any], maker: Maker, now: Mapping[str, str]) -> tuple[str, ...]:
    """What differs in a folder, by the list of hashes that the command wrote."""
    then = _manifest(maker.folder / MANIFEST, str(entry.get("from_here") or entry.get("path")))
    if not then:
        return ()
    names = sorted({*then, *now})
    words = {n: "missing" if n not in now else "new" if n not in then else "changed" for n in names}
    return tuple(f"{n}: {words[n]}" for n in names if then.get(n) != now.get(n))


def _manifest(path: Path, start: str) -> dict[str, str]:
    """Hashes by name of the files below ``start``."""
    if not path.is_file():
        return {}
    out = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        sha256, _, name = line.partition("  ")
        if name.startswith(f"{start}/"):
            out[name.removeprefix(f"{start}/")] = sha256
    return out
