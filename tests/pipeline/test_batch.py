"""A small mixture from frames to structures: phases right, nothing done twice, the same bytes after a kill."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from credo.app.cli import run
from credo.model import CannotDo, UnreadableInput
from credo.physics.rotation_series import FaultSettings, SeriesSettings
from credo.pipeline.batch import Batch, BatchSettings, Link, Tick, batch
from credo.pipeline.batch_find import Found
from credo.pipeline.batch_settings import compositions
from credo.pipeline.batch_sort import Sorting
from credo.pipeline.explain import explain
from credo.pipeline.simulate import simulate_frames

SETTINGS = BatchSettings(workers=0, composition=("A=Ca3 Al2 Si3 O12",), solve_completeness=0.85)


def simulated(folder, sample, seed, form="smv"):
    settings = SeriesSettings(
        frames=50, step_deg=1.2, start_deg=-30, shape=(192, 192), q_per_pixel=0.009, seed=seed,
        faults=FaultSettings(dynamical=0.2),
    )  # fmt: skip
    simulate_frames(folder, sample_name=sample, settings=settings, form=form)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Three garnets, two paracetamols, one of them twice, a damaged one, and a picture; never to be changed."""
    root = tmp_path_factory.mktemp("tree")
    for i, form in enumerate(("smv", "tiff", "smv")):
        simulated(root / "monday" / f"g{i}", "grossular", 10 + i, form)
    for i in range(2):
        simulated(root / "tuesday" / f"p{i}", "paracetamol", 10 + i)
    shutil.copytree(root / "tuesday" / "p1", root / "tuesday" / "p1 again")
    broken = root / "broken"
    broken.mkdir()
    for p in sorted((root / "monday" / "g0").glob("*.img"))[:5]:
        (broken / p.name).write_bytes(p.read_bytes()[:2000])
    return root


WORDS = ["--workers", "0", "--composition", SETTINGS.composition[0], "--solve-completeness", "0.85"]


def program(tree: Path, out: Path) -> list[str]:
    """The command as a process of its own."""
    return [
        sys.executable,
        "-c",
        "from credo.app.cli import main; main()",
        "batch",
        str(tree),
        "--out",
        str(out),
        *WORDS,
    ]


@pytest.fixture(scope="module")
def done(tree, tmp_path_factory) -> tuple[Path, dict]:
    """Never to be changed."""
    out = tmp_path_factory.mktemp("project") / "out"
    ended = subprocess.run(program(tree, out), capture_output=True, encoding="utf-8", timeout=1000)
    assert ended.returncode == 0, ended.stderr
    assert "2 phases" in ended.stdout
    return out, json.loads((out / "report.json").read_text(encoding="utf-8"))


def results(out: Path) -> dict[str, str]:
    """The bytes of every scientific result; reports and pages tell how long it took."""
    skip = {"report.json", "report.html", "catalogue.sqlite", ".lock"}
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and p.name not in skip]
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_phases(done):
    _, report = done
    assert (report["datasets"], report["indexed"]) == (7, 6)
    garnet, paracetamol = report["phases"]
    assert sorted(garnet["datasets"]) == [f"monday/g{i}" for i in range(3)]
    assert garnet["cell"][:3] == pytest.approx([11.86] * 3, rel=3e-3)
    assert paracetamol["datasets"] == ["tuesday/p0", "tuesday/p1"]
    assert sorted(paracetamol["cell"][:3]) == pytest.approx([7.23, 11.76, 17.16], rel=3e-3)


def test_structures(done):
    out, report = done
    garnet, paracetamol = report["phases"]
    structure = garnet["structure"]
    assert structure["ok"] and structure["solved"]["space_group"].replace(" ", "") == "Ia-3d"
    assert structure["refined"]["r1_obs"] < 0.15
    assert "loop_" in (out / "phases" / "A" / "structure.cif").read_text()
    assert not paracetamol["structure"]["ok"] and "complete" in paracetamol["structure"]["reason"]


def test_whoever_takes_no_part_is_told_why(done):
    _, report = done
    why = {r["dataset"]: r["reason"] for r in report["rejected"]}
    assert set(why) == {"broken", "tuesday/p1 again"}
    assert "truncated" in why["broken"]
    assert why["tuesday/p1 again"] == "the same frames as tuesday/p1"


def test_project_folder(done):
    out, report = done
    numbers = [s["number"] for s in report["sets"]]
    assert sorted(numbers) == list(range(1, 8))
    assert (out / "crystals" / "0002" / "reflections.h5").is_file() and (out / "report.html").is_file()
    for name in ("merged.hkl", "merged.mtz", "merged.cif", "solve/structure.res", "refine/refined.cif"):
        assert (out / "phases" / "A" / name).is_file()


def test_every_result_leads_back_to_the_frames(done):
    """All that a batch leaves, but its lock and its catalogue; the best model by the way of its refinement."""
    out, _ = done
    silent = {".lock", "catalogue.sqlite"}
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and p.name not in silent and "0001" not in p.parts]
    assert {p.name for p in files} >= {"structure.cif", "sorting.json", "merged.mtz", "refined.cif", "XDS_ASCII.HKL"}
    for path in files:
        found = explain(path)
        assert found.state == "unchanged" and found.sources, path
    model = explain(out / "phases" / "A" / "structure.cif")
    (refined,) = model.sources
    assert refined.path.name == "refine" and model.whole
    ends, chain = [], [refined]
    while chain:
        e = chain.pop()
        chain += e.sources
        ends += [] if e.sources else [e.path.name]
    assert {f"g{i}" for i in range(3)} <= set(ends)


def test_over_dask_to_the_end(tree, done, tmp_path):
    """The same recipe on a Dask cluster of this machine: the same phases, and of each data set the same bytes."""
    distributed = pytest.importorskip("distributed", reason="DASK ABSENT: the Dask executor was not run (credo[dask])")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as c:
        settings = SETTINGS.model_copy(update={"executor": "dask", "scheduler": c.scheduler_address, "solve": False})
        report = batch(tree / "tuesday", tmp_path / "out", settings)
    assert [sorted(p["datasets"]) for p in report["phases"]] == [["p0", "p1"]] and report["phases"][0]["ok"]
    number = {s["dataset"]: s["number"] for s in done[1]["sets"]}
    for row in report["sets"][:2]:
        there = results(done[0] / "crystals" / f"{number['tuesday/' + row['dataset']]:04d}")
        assert results(tmp_path / "out" / "crystals" / f"{row['number']:04d}") == there


def test_nothing_is_done_twice(tree, done):
    out, _ = done
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.h5")} | {
        p: p.stat().st_mtime_ns for p in out.rglob("*.hkl")
    }
    ticks: list[Tick] = []
    batch(tree, out, SETTINGS, progress=ticks.append)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert not any(t.stage == "processing" and t.running for t in ticks)


def test_moved_files_of_the_same_content_are_not_processed_again(tree, done, tmp_path):
    """Times of change differ, contents do not."""
    out, first = done
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    for p in (tree / "monday" / "g0").iterdir():
        os.utime(p)
    before = (copy / "crystals" / "0002" / "reflections.h5").stat().st_mtime_ns
    again = batch(tree, copy, SETTINGS)
    assert (copy / "crystals" / "0002" / "reflections.h5").stat().st_mtime_ns == before
    assert [p["datasets"] for p in again["phases"]] == [p["datasets"] for p in first["phases"]]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_and_run_again_gives_the_same_bytes(tree, done, tmp_path):
    """Killed while the second data set is at work, and again at the first word of the next run."""
    out = tmp_path / "out"
    for there in ("crystals/0002", "crystals"):
        process = subprocess.Popen(program(tree, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 300
        while not (out / there).exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert json.loads((out / "report.json").read_text())["reason"].startswith("unfinished")
    subprocess.run(program(tree, out), check=True, stdout=subprocess.DEVNULL)
    assert results(out) == results(done[0])
    assert not list(out.rglob("*.part"))


def test_processes_of_their_own_give_the_same_bytes(tree, done, tmp_path):
    out = tmp_path / "out"
    report = batch(tree / "tuesday" / "p0", out, SETTINGS.model_copy(update={"workers": 1, "solve": False}))
    (number,) = [s["number"] for s in done[1]["sets"] if s["dataset"] == "tuesday/p0"]
    there = results(done[0] / "crystals" / f"{number:04d}")
    assert results(out / "crystals" / "0001") == there
    assert report["phases"][0]["datasets"] == ["p0"]


def test_two_at_once_are_refused(tree, done, monkeypatch):
    from credo.pipeline import batch_store

    out, _ = done
    monkeypatch.setattr(batch_store.alone_in.__wrapped__, "__defaults__", (0.2,))
    with batch_store.alone_in(out), pytest.raises(CannotDo, match="another `credo batch`"):
        batch(tree, out, SETTINGS)


def test_watch_takes_in_what_arrives(tree, tmp_path):
    """Begun on an empty folder; a data set moves in; its phase is there, and the watch is stopped."""
    root, news = tmp_path / "root", []
    root.mkdir()

    def told(numbers):
        news.append(numbers)
        if len(news) == 1:
            shutil.copytree(tree / "monday" / "g0", root / "g0")

    link = Link(stop=lambda: len(news) > 1, told=told)
    settings = SETTINGS.model_copy(update={"watch": True, "quiet": 0.5, "solve": False})
    report = batch(root, tmp_path / "out", settings, link=link)
    assert news[0]["datasets"] == 0
    assert report["datasets"] == 1 and report["phases"][0]["datasets"] == ["g0"]


def test_what_a_collection_has_open_is_not_taken_in(tree, tmp_path):
    """Collection waits for an answer longer than data sets rest: only when it has closed the file it is there."""
    root, news = tmp_path / "root", []
    shutil.copytree(tree / "monday" / "g0", root / "g0")
    image = next((root / "g0").glob("*.img"))
    growing = image.with_name(f".{image.name}.spare")
    growing.touch()
    ticks: list[Tick] = []

    def told(numbers):
        news.append(numbers)

    def waited(tick):
        ticks.append(tick)
        if len(ticks) > 6:
            growing.unlink(missing_ok=True)

    link = Link(stop=lambda: bool(news and news[-1]["datasets"]), told=told)
    settings = SETTINGS.model_copy(update={"watch": True, "quiet": 0.1, "solve": False})
    batch(root, tmp_path / "out", settings, progress=waited, link=link)
    assert [n["datasets"] for n in news] == [0, 1] and not growing.exists()


def test_a_watch_tells_of_phases_before_it_solves_them(tree, tmp_path):
    """Whoever asks what is lacking does not wait for structures."""
    root, news = tmp_path / "root", []
    shutil.copytree(tree / "monday", root)
    link = Link(stop=lambda: len(news) > 1, told=lambda n: news.append(n))
    settings = SETTINGS.model_copy(update={"watch": True, "quiet": 0.1})
    batch(root, tmp_path / "out", settings, link=link)
    assert [n["phases"][0]["structure"] is None for n in news] == [True, False]
    assert news[1]["phases"][0]["structure"]["ok"] and len(news[0]["phases"][0]["members"]) == 3


def test_a_cell_that_a_member_more_has_changed_a_little_is_not_tried_again(tmp_path):
    nobody = cast(Any, None)
    recipe = Batch(tmp_path, tmp_path, SETTINGS, (), nobody, nobody)
    first = recipe._shape({"cell": [20.09, 19.74, 13.14, 90, 90, 90], "space_group": "P m m m"})
    assert recipe._shape({"cell": [20.11, 19.71, 13.16, 90, 90, 90], "space_group": "P n m a"}) == first
    for cell, group in (([20.3, 19.74, 13.14, 90, 90, 90], "P n m a"), (first["cell"], "C m c m")):
        assert recipe._shape({"cell": cell, "space_group": group})["space_group"] == group


def test_a_cell_must_explain_what_the_own_one_does(tmp_path, monkeypatch):
    """Six spots in ten help frames that have no lattice, not those that have one for all of them."""

    class Answers:
        def submit(self, place, *_):
            self.places = [*getattr(self, "places", ()), place]

        def answers(self, **_):
            return [(p, {"ok": True, "indexed_fraction": 0.6, "key": "k"}) for p in self.places]

        def running(self):
            return ()

    store = SimpleNamespace(crystal=lambda number: tmp_path / f"{number:04d}")
    recipe = Batch(tmp_path, tmp_path, SETTINGS, (), cast(Any, store), cast(Any, Answers()))
    merged = {"ok": True, "members": [1, 2], "name": "A", "cell": [12.0] * 3 + [90.0] * 3, "space_group": "I a -3 d"}
    monkeypatch.setattr(recipe, "_merged", lambda *_: [merged])
    todo = [Found(name, "frames", (tmp_path,), (), "") for name in ("none", "own")]
    rows: dict[str, Any] = {"none": {"number": 1, "numbers": {}}, "own": {"number": 2}}
    rows["own"]["numbers"] = {"indexed_fraction": 0.99}
    found = recipe._second(todo, rows, [], Sorting())
    assert list(found) == ["none"] and found["none"]["folder"] == (tmp_path / "0001-A").resolve()


def test_nothing_to_do(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "notes.cif").write_text("data_x\n")
    with pytest.raises(CannotDo, match=r"no data set.*notes\.cif"):
        batch(tmp_path / "root", tmp_path / "out")
    assert run(["batch", str(tmp_path / "missing")]) == 2


def test_compositions():
    assert compositions(["SiO2", "A=Al2O3"]) == {"": "SiO2", "A": "Al2O3"}
    with pytest.raises(UnreadableInput, match="twice"):
        compositions(["SiO2", "Al2O3"])
