"""Archives: unpacked once, never outside their folder, never beyond bounds."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from credo.io import archive
from credo.model.errors import UnreadableInput


def _tar(path: Path, **members: bytes | str) -> Path:
    """Members by name; a text is the target of a symbolic link."""
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return path


def test_unpacked_once(tmp_path) -> None:
    path = _tar(tmp_path / "a.tar.gz", **{"x/1.img": b"one", "x/2.img": b"two"})
    root = archive.unpack(path)
    assert (root / "x" / "1.img").read_bytes() == b"one"
    (root / "x" / "1.img").write_bytes(b"seen")
    assert (archive.unpack(path) / "x" / "1.img").read_bytes() == b"seen"


def test_links_are_left_out(tmp_path) -> None:
    root = archive.unpack(_tar(tmp_path / "a.tar.gz", **{"1.img": b"one", "2.img": "/etc/passwd"}))
    assert [p.name for p in root.iterdir()] == ["1.img"]


@pytest.mark.parametrize("name", ["../evil.img", "/evil.img", "a/../../evil.img", "C:/evil.img", "..\\evil.img"])
def test_names_that_lead_outside(tmp_path, name) -> None:
    with pytest.raises(UnreadableInput, match="elsewhere"):
        archive.unpack(_tar(tmp_path / "a.tar.gz", **{name: b"x"}))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(name, b"x")
    with pytest.raises(UnreadableInput, match="elsewhere"):
        archive.unpack(tmp_path / "a.zip")


def test_a_bomb_is_stopped(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    with pytest.raises(UnreadableInput, match="grows beyond"):
        archive.unpack(_tar(tmp_path / "a.tar.gz", **{"1.img": bytes(5000)}))
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(UnreadableInput, match="more than 3"):
        archive.unpack(_tar(tmp_path / "b.tar.gz", **{f"{i}.img": b"" for i in range(5)}))
    assert not list((archive.cache_folder() / "archives").glob("*.*"))


@pytest.mark.parametrize("suffix", ["tar.bz2", "zip", "tar"])
def test_a_damaged_archive_is_named(tmp_path, suffix) -> None:
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(b"not an archive" * 100)
    with pytest.raises(UnreadableInput, match=r"bad\."):
        archive.unpack(path)


def test_a_truncated_archive_leaves_nothing_behind(tmp_path) -> None:
    path = _tar(tmp_path / "a.tar.gz", **{"1.img": bytes(range(256)) * 40, "2.img": b"two"})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableInput, match="damaged"):
        archive.unpack(path)
    with pytest.raises(UnreadableInput, match="damaged"):
        archive.unpack(path)
