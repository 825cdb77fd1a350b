"""The chain of a result: followed through files and folders, also when moved, and honest about what has changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from credo.model import CannotDo, UnreadableInput
from credo.pipeline.explain import Explained, explain
from credo.pipeline.output import Output, run_command
from credo.pipeline.provenance import MANIFEST, digest_of


class _Settings(BaseModel):
    d_min: float | None = None
    cycles: int = 3


def _run(folder: Path, command: str, inputs: list[Path], files: dict[str, str], settings=None) -> None:
    def work(staging: Path) -> dict:
        for name, text in files.items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_text(text)
        return {}

    run_command(Output(folder, command, f"{command}{files}", inputs, settings or _Settings()), work)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """frames -> process (twice) -> merge -> refine, of small texts in place of data."""
    root = tmp_path / "session"
    for k in (1, 2):
        frames = root / "raw" / f"set{k}"
        frames.mkdir(parents=True)
        for i in range(5):
            (frames / f"{i:02d}.img").write_text(f"frame {k} {i}")
        _run(root / f"p{k}", "process", [frames], {"reflections.h5": f"data {k}", "report.html": f"page {k}"})
    _run(root / "m", "merge", [root / "p1", root / "p2"], {"merged.hkl": "merged"}, _Settings(d_min=0.8))
    (root / "model.res").write_text("model")
    _run(root / "r", "refine", [root / "model.res", root / "m" / "merged.hkl"], {"refined.cif": "cif"})
    return root


def _all(e: Explained) -> list[Explained]:
    return [e, *(x for s in e.sources for x in _all(s))]


def _by_name(e: Explained, name: str) -> Explained:
    return next(x for x in _all(e) if x.path.name == name)


def test_the_chain_leads_back_to_the_frames(session: Path):
    e = explain(session / "r" / "refined.cif")
    commands = [x.maker.report["command"] for x in _all(e) if x.maker]
    assert commands == ["refine", "merge", "process", "process"]
    assert e.whole and {x.state for x in _all(e)} == {"unchanged"}
    assert e.sha256 == hashlib.sha256(b"cif").hexdigest()
    frames = _by_name(e, "set2")
    assert frames.files == 5 and frames.size == 5 * len("frame 2 0") and frames.maker is None
    merge = next(x.maker for x in _all(e) if x.maker and x.maker.report["command"] == "merge")
    assert merge.provenance["changed"] == {"d_min": 0.8}
    assert merge.provenance["settings"] == {"d_min": 0.8, "cycles": 3}
    assert {"credo", "python", "numpy"} <= set(merge.provenance["versions"])
    json.dumps(e.to_dict())


def test_a_tampered_frame_is_named(session: Path):
    (session / "raw" / "set2" / "03.img").write_text("frame 2 3 ")
    (session / "raw" / "set2" / "04.img").unlink()
    (session / "raw" / "set2" / "05.img").write_text("new")
    e = explain(session / "r" / "refined.cif")
    assert not e.whole
    frames = _by_name(e, "set2")
    assert frames.state == "changed" and frames.differing == ("03.img: changed", "04.img: missing", "05.img: new")
    assert _by_name(e, "set1").state == "unchanged"


def test_a_tampered_result_shows_as_a_changed_input_and_as_a_changed_file(session: Path):
    (session / "m" / "merged.hkl").write_text("better")
    assert _by_name(explain(session / "r"), "merged.hkl").state == "changed"
    assert explain(session / "m" / "merged.hkl").state == "changed"
    assert explain(session / "m").differing == ("merged.hkl: changed",)


def test_missing_data_are_said_to_be_missing(session: Path):
    shutil.rmtree(session / "raw")
    (session / "model.res").unlink()
    e = explain(session / "r" / "refined.cif")
    states = {x.path.name: x.state for x in _all(e)}
    assert states["set1"] == states["set2"] == states["model.res"] == "missing" and states["merged.hkl"] == "unchanged"


def test_a_folder_moved_as_a_whole_still_explains_itself(session: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere" / "archive"
    moved.parent.mkdir()
    session.rename(moved)
    e = explain(moved / "r" / "refined.cif")
    assert e.whole and all(str(x.path).startswith(str(moved)) for x in _all(e))


def test_a_copy_looks_at_its_own_files_first(session: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(session, copy)
    assert str(_by_name(explain(copy / "r"), "set1").path).startswith(str(copy))
    # where the copy lost them, the originals serve
    shutil.rmtree(copy / "raw")
    e = explain(copy / "r")
    assert e.whole and str(_by_name(e, "set1").path).startswith(str(session))


def test_pages_may_be_made_again_without_breaking_the_chain(session: Path):
    (session / "p1" / "report.html").write_text("another day")
    assert explain(session / "r" / "refined.cif").whole
    assert explain(session / "p1" / "report.html").state == "changed"


def test_the_manifest_is_one_that_sha256sum_checks(session: Path):
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("sha256sum ABSENT: the manifest was not checked by another program")
    check = [program, "--quiet", "-c", MANIFEST]
    assert subprocess.run(check, cwd=session / "p1", capture_output=True).returncode == 0
    (session / "raw" / "set1" / "00.img").write_text("x")
    assert subprocess.run(check, cwd=session / "p1", capture_output=True).returncode == 1


def test_the_hash_of_a_folder_knows_names_and_contents():
    a, b = "1" * 64, "2" * 64
    assert digest_of({"x": a, "y": b}) == digest_of({"y": b, "x": a})
    assert len({digest_of(d) for d in ({"x": a, "y": b}, {"x": b, "y": a}, {"x": a}, {"z": a, "y": b})}) == 4


def test_foreign_files_and_old_reports_are_refused_with_a_remedy(session: Path):
    with pytest.raises(UnreadableInput):
        explain(session / "nothing")
    with pytest.raises(CannotDo, match=r"no report\.json"):
        explain(session / "model.res")
    report = json.loads((session / "p1" / "report.json").read_text())
    report.pop("provenance")
    (session / "p1" / "report.json").write_text(json.dumps(report))
    with pytest.raises(CannotDo, match="holds no provenance") as error:
        explain(session / "p1" / "reflections.h5")
    assert "--force" in error.value.remedy
    # further down the chain it only ends there
    assert {x.path.name for x in _all(explain(session / "r"))} >= {"p1", "set2"}


def test_reports_that_input_each_other_come_to_an_end(session: Path):
    path = session / "p1" / "report.json"
    report = json.loads(path.read_text())
    entry = {"path": str(session / "r" / "refined.cif"), "from_here": "../r/refined.cif", "sha256": "0", "files": 1}
    report["provenance"]["inputs"] = [entry]
    path.write_text(json.dumps(report))
    assert len(_all(explain(session / "r"))) < 20


def test_a_data_set_in_the_folder_of_a_collection_leads_on_to_its_plan(tmp_path: Path):
    session, plan = tmp_path / "session", tmp_path / "plan.toml"
    plan.write_text("kind = 'cred'")
    for k in (1, 2):
        (session / "crystals" / f"c{k}").mkdir(parents=True)
        (session / "crystals" / f"c{k}" / "frames.h5").write_text(f"frames {k}")
    # such a command writes as it goes, and its report last; the folder is its own by then
    (session / "report.json").write_text('{"command": "collect"}')
    output = Output(session, "collect", "", [plan], _Settings(cycles=5))
    output.write({}, [f"crystals/c{k}/frames.h5" for k in (1, 2)])
    _run(tmp_path / "p", "process", [session / "crystals" / "c1"], {"reflections.h5": "data"})
    e = explain(tmp_path / "p")
    assert [x.maker.report["command"] for x in _all(e) if x.maker] == ["process", "collect"]
    assert e.whole and _by_name(e, "plan.toml").state == "unchanged"
    (session / "crystals" / "c1" / "frames.h5").write_text("better")
    assert _by_name(explain(tmp_path / "p"), "c1").state == "changed"
    assert explain(session / "crystals" / "c1" / "frames.h5").state == "changed"
    assert explain(session / "crystals" / "c2").whole


def test_a_failure_tells_no_provenance(tmp_path: Path):
    output = Output(tmp_path / "out", "process", "k", [])
    output.fail("no")
    assert "provenance" not in json.loads((tmp_path / "out" / "report.json").read_text())


def test_a_file_that_cannot_be_read_does_not_stop_the_work(tmp_path: Path, monkeypatch):
    from credo.pipeline import provenance

    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "a.img").write_text("a")
    (frames / "locked").write_text("b")
    real = provenance.file_hash

    def hashed(path: Path) -> str:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(provenance, "file_hash", hashed)
    _run(tmp_path / "p", "process", [frames], {"reflections.h5": "data"})
    assert explain(tmp_path / "p").whole
    assert "locked" not in (tmp_path / "p" / MANIFEST).read_text()
