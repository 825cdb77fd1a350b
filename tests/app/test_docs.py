"""What the README and the documentation show is run: commands of credo, Python, and that make's targets exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from credo.app.cli import run

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """One folder for all pages, so that a series made by one is there for the next."""
    return tmp_path_factory.mktemp("desk")


def _prepare(desk: Path, monkeypatch) -> None:
    """FOLDER of the pages is any folder of frames; pages may stand alone."""
    monkeypatch.chdir(desk)
    if not (desk / "garnet").exists():
        line = next(x for x in _commands(ROOT / "README.md") if x.startswith("credo simulate"))
        assert run(line.split()[1:]) == 0


def _commands(page: Path) -> list[str]:
    """Lines after a ``$`` of the console blocks."""
    blocks = [text for kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == "console"]
    return [line[2:] for text in blocks for line in text.splitlines() if line.startswith("$ ")]


def _named(pages: list[Path]) -> list[Path]:
    return [page for page in pages if _BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", _named(PAGES), ids=lambda p: p.name)
def test_what_a_page_shows_runs(page, desk, monkeypatch, capsys):
    _prepare(desk, monkeypatch)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in _commands(page):
        words = line.replace("FOLDER", "garnet").split()
        if words[0] == "credo":
            assert run(words[1:]) == 0, (line, capsys.readouterr().err)
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        else:
            assert words[:3] == ["pip", "install", "."], f"{line}: nobody has tried this"
    names: dict = {}
    for kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, str(page), "exec"), names)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_decisions_are_short():
    for page in (ROOT / "docs" / "decisions").glob("0*.md"):
        text = page.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), page.name
