"""Bad input through ``credo process``: which file, what is wrong, what to do; and nothing half written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from credo.app.cli import run


def _broken(kind: str, folder: Path, images: np.ndarray, write) -> tuple[int, str]:
    """Makes the input; returns the exit code and the word that the message must hold."""
    y, x = np.mgrid[0:64, 0:64]
    if kind == "an empty folder":
        folder.mkdir()
        return 2, folder.name
    if kind == "NaN":
        values = images.astype(np.float32)
        values[3, 5, 7] = np.nan
        write(folder, values, "tiff")
        return 2, "NaN"
    if kind == "no signal":
        write(folder, images * 0 + 3)
        return 1, folder.name
    if kind == "all zero":
        write(folder, images * 0)
        return 1, "empty"
    if kind == "no spots":
        write(folder, np.random.default_rng(2).poisson(2.0, (40, 64, 64)).astype(np.uint16))
        return 1, "spots"
    if kind == "a powder":
        rng = np.random.default_rng(3)
        r = np.hypot(x - 31.5, y - 31.5)
        rings = sum(60 * np.exp(-0.5 * ((r - r0) / 1.2) ** 2) for r0 in (9, 14, 19, 24, 29))
        beam = 3000 * np.exp(-0.5 * (r / 1.5) ** 2)
        write(folder, rng.poisson(rings + beam + 1, (40, 64, 64)).astype(np.uint16))
        return 1, ""
    if kind == "a single frame":
        write(folder, images[:1])
        return 1, "at least 3"
    write(folder, images)
    frame = folder / "00003.img"
    if kind == "a truncated frame":
        frame.write_bytes(frame.read_bytes()[:3000])
    elif kind == "a frame without a byte":
        frame.write_bytes(b"")
    elif kind == "a frame of another size":
        write(folder / "other", images[:, :40, :40])
        (folder / "other" / "00003.img").replace(frame)
        for path in (folder / "other").iterdir():
            path.unlink()
        (folder / "other").rmdir()
    elif kind == "a header that claims terabytes":
        frame.write_bytes(frame.read_bytes().replace(b"SIZE1=64;", b"SIZE1=9999999;"))
    elif kind == "a header that never ends":
        frame.write_bytes(b"{\n" + b"A=1;\n" * 200_000)
    elif kind == "a file that is no image":
        frame.write_text("dear diary")
    elif kind == "a dangling link":
        frame.unlink()
        frame.symlink_to("nowhere.img")
    elif kind == "an unreadable file":
        frame.chmod(0)
        if os.access(frame, os.R_OK):
            pytest.skip("PERMISSIONS DO NOT BIND THIS USER (root): an unreadable file could not be made")
    return 2, frame.name


KINDS = (
    "an empty folder", "NaN", "no signal", "all zero", "no spots", "a powder", "a single frame", "a truncated frame",
    "a frame without a byte", "a frame of another size", "a header that claims terabytes", "a header that never ends",
    "a file that is no image", "a dangling link", "an unreadable file",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input(kind, tmp_path, images, write_series, capsys):
    code, word = _broken(kind, tmp_path / "bad", images, write_series)
    out = tmp_path / "result"
    assert run(["process", str(tmp_path / "bad"), "--out", str(out)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("credo: ") and word in captured.err and "\n  -> " in captured.err, captured.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] is False and report["command"] == "process" and report["remedy"]
    assert report["reason"] in captured.err
    assert {p.name for p in out.iterdir()} <= {"report.json", "report.html"}


def test_a_file_of_an_unknown_format(tmp_path, capsys):
    diary = tmp_path / "diary.txt"
    diary.write_text("no frames here")
    assert run(["process", str(diary), "--out", str(tmp_path / "r")]) == 2
    assert "diary.txt" in capsys.readouterr().err


def test_a_mistake_of_ours_ends_in_a_report(tmp_path, images, write_series, capsys, monkeypatch):
    import credo.pipeline.process as module

    write_series(tmp_path / "good", images)
    monkeypatch.setattr(module, "reduce_frames", lambda *_: 1 / 0)
    assert run(["process", str(tmp_path / "good"), "--out", str(tmp_path / "r")]) == 1
    report = json.loads((tmp_path / "r" / "report.json").read_text(encoding="utf-8"))
    assert "ZeroDivisionError" in report["reason"] and "traceback" in report
    assert "Traceback" not in capsys.readouterr().err
