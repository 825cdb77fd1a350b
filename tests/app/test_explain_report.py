"""``credo explain`` and ``credo report`` on the command line."""

from __future__ import annotations

import json
import shutil


def test_explain_follows_a_conversion_back_to_the_simulated_frames(credo, series, tmp_path):
    shutil.copytree(series, tmp_path / "frames")
    done = credo("convert", "frames", "cbf", "--to", "cbf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = credo("explain", "cbf", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    chain = json.loads(done.stdout)
    assert chain["whole"] is True and chain["command"] == "convert" and chain["changed"] == {"to": "cbf"}
    (source,) = chain["from"]
    assert source["command"] == "simulate frames" and source["changed"]["sample"] == "grossular"
    text = credo("explain", "cbf", cwd=tmp_path).stdout
    assert "by credo convert" in text and "by credo simulate frames" in text and "Everything is as it was." in text
    frame = next((tmp_path / "frames").glob("*.img"))
    frame.write_bytes(frame.read_bytes()[:-1] + b"\x01")
    text = credo("explain", "cbf", cwd=tmp_path).stdout
    assert f"! {frame.name}: changed" in text and "Not everything is as it was" in text


def test_explain_and_report_refuse_what_credo_did_not_write(credo, tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for words, code in (
        (("explain", "a.txt"), 1),
        (("explain", "b.txt"), 2),
        (("report", "."), 1),
        (("report", "a.txt"), 2),
    ):
        done = credo(*words, cwd=tmp_path)
        assert done.returncode == code and "->" in done.stderr and "Traceback" not in done.stderr


def test_report_of_a_folder_with_results(credo, tmp_path):
    from credo.io.project import write_json

    (tmp_path / "one").mkdir()
    write_json(tmp_path / "one" / "report.json", {"command": "process", "ok": True, "cell": [5, 6, 7, 90, 90, 90]})
    done = credo("report", ".", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["datasets"] == 1 and (tmp_path / "report.html").stat().st_size == told["bytes"]
    assert "1 data sets, 0 phases" in credo("report", ".", cwd=tmp_path).stdout
