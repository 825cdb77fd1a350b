"""docs/formats.md lists every format of the registries, and the modules and tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

from credo.io import formats, reflection_files

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
ROWS = [[c.strip() for c in line.strip("|\n").split("|")] for line in TEXT.splitlines() if line.startswith("| ")]


def test_every_format_has_its_row() -> None:
    named = {row[0].split(":")[0] for row in ROWS}
    assert {f.name for f in formats.FORMATS} <= named
    assert {f.name for f in reflection_files.FORMATS} <= named


def test_what_is_written_is_what_the_registry_writes() -> None:
    table = {row[0].split(":")[0]: row for row in ROWS}
    for f in reflection_files.FORMATS:
        assert table[f.name][3].startswith("yes") == bool(f.writer), f.name


def test_modules_and_tests_exist() -> None:
    for row in ROWS:
        for module in re.findall(r"`(\w+)`", row[1]):
            assert (ROOT / "src" / "credo" / "io" / f"{module}.py").is_file(), module
    for name in set(re.findall(r"`(test_\w+\.py)`", TEXT)):
        assert (ROOT / "tests" / "io" / name).is_file(), name
