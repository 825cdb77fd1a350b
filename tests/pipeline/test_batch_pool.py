"""Tasks in processes of their own: answers, refusals, hangs and crashes."""

import os
import signal
import sys
import threading
import time

import pytest

from credo.model import CannotDo, UnreadableInput
from credo.pipeline.batch_child import perform
from credo.pipeline.batch_pool import Child, DaskPool, LocalPool, make_pool, run_here

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="named pipes and signals")


def hanging(tmp_path):
    """A data set whose only frame never comes."""
    place = tmp_path / "x_001.img"
    if not place.exists():
        os.mkfifo(place)
    return {"task": "data set", "name": "x", "kind": "frames", "paths": [str(place)], "files": [str(place)],
            "target": str(tmp_path / "crystals" / "0001"), "settings": {}}  # fmt: skip


def test_what_is_wrong_is_told():
    assert perform({"task": "dance"}) == {"ok": False, "reason": "no task is called 'dance'"}
    broken = perform({"task": "phase"})
    assert not broken["ok"] and "KeyError" in broken["reason"] and "Traceback" in broken["traceback"]


def test_a_hang_costs_one_task(tmp_path):
    child = Child()
    try:
        answer = child.run(hanging(tmp_path), timeout=5.0)
        assert answer["lost"] and "still at work after 5 s" in answer["reason"]
        assert child.run({"task": "dance"}, 60.0)["reason"].startswith("no task")
    finally:
        child.close()


def test_a_crash_costs_one_task_and_the_others_go_on(tmp_path):
    pool = LocalPool(1)
    try:
        pool.submit("bad", hanging(tmp_path), 300.0)
        pool.submit("good", {"task": "dance"}, 300.0)

        def crash():
            while not pool.running():
                time.sleep(0.05)
            time.sleep(1.0)
            process = pool._children[0]._process
            assert process is not None
            os.kill(process.pid, signal.SIGSEGV)

        threading.Thread(target=crash, daemon=True).start()
        answers = dict(pool.answers())
    finally:
        pool.close()
    assert answers["bad"]["lost"] and f"signal {signal.SIGSEGV.value}" in answers["bad"]["reason"]
    assert answers["good"]["reason"].startswith("no task")


def test_a_child_ends_with_its_parent(tmp_path):
    """Also when the parent is killed: its end of the pipe closes."""
    child = Child()
    process = child._started()
    child._process = None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 1
    assert process.stdout is not None
    process.stdout.close()


def test_patience_ends_waiting(tmp_path):
    pool = LocalPool(1)
    try:
        pool.submit("bad", hanging(tmp_path), 300.0)
        assert list(pool.answers(patience=0.1)) == []
    finally:
        pool.close()


def test_which_scheduler():
    with pytest.raises(UnreadableInput, match="which scheduler"):
        make_pool("dask", 1, None)


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(CannotDo, match="not installed"):
        DaskPool("tcp://127.0.0.1:1")


def test_on_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed", reason="DASK ABSENT: the Dask executor was not run (credo[dask])")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        pool = make_pool("dask", 1, cluster.scheduler_address)
        try:
            pool.submit("a", {"task": "dance"}, 120.0)
            pool.submit("b", hanging(tmp_path), 5.0)
            answers = dict(pool.answers())
        finally:
            pool.close()
    assert answers["a"]["reason"].startswith("no task")
    assert answers["b"]["lost"]


def test_run_here_keeps_its_child():
    run_here({"task": "dance"}, 60.0)
    from credo.pipeline import batch_pool

    first = batch_pool._mine.child._process
    run_here({"task": "dance"}, 60.0)
    assert batch_pool._mine.child._process is first
    batch_pool._mine.child.close()
