"""edtools's cells.yaml: plain YAML to PyYAML, through which edtools reads it; unsafe tags and floods are refused."""

from __future__ import annotations

import pytest
import yaml

from credo.io.edtools import CellRecord, read_cells_yaml, sniff_cells_yaml, write_cells_yaml
from credo.model import Cell, UnreadableInput

THEIRS = """- directory: /data/a
  number: 1
  raw_unit_cell: [11.95, 11.88, 11.91, 90.1, 89.8, 90.0]
  space_group: Pm-3m
  unit_cell: [11.91, 11.91, 11.91, 90.0, 90.0, 90.0]
  weight: 2012
- directory: /data/b
  unit_cell: [5, 6, 7, 90, 90, 90]
"""


def test_what_edtools_writes(tmp_path) -> None:
    (tmp_path / "cells.yaml").write_text(THEIRS)
    assert sniff_cells_yaml(tmp_path / "cells.yaml")
    a, b = read_cells_yaml(tmp_path / "cells.yaml")
    assert a.cell.parameters[:3] == (11.91, 11.91, 11.91)
    assert a.raw.parameters[:3] == (11.95, 11.88, 11.91)
    assert (a.space_group, a.weight, a.number) == ("Pm-3m", 2012, 1)
    assert (b.raw, b.weight, b.number) == (b.cell, 1.0, 2)


def test_round_trip_and_plain_yaml(tmp_path) -> None:
    cell = Cell(5.1234567, 6.0, 7.0, 90.0, 95.0, 90.0)
    write_cells_yaml(tmp_path / "cells.yaml", [CellRecord("ü: #1", cell, cell, "P21", 12.0)])
    plain = yaml.safe_load((tmp_path / "cells.yaml").read_text("utf-8"))
    assert plain[0]["unit_cell"] == pytest.approx(cell.parameters, abs=1e-6)
    assert plain[0]["directory"] == "ü: #1"
    back = read_cells_yaml(tmp_path / "cells.yaml")[0]
    assert back.cell.parameters == pytest.approx(cell.parameters, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    ["- !!python/object/apply:os.system ['true']\n  unit_cell: 1\n", "unit_cell: [", "unit_cell: 5",
     "- unit_cell: [1, 2, 3]\n", "- unit_cell: [5, 6, 7, 90, 90, 500]\n", "- 5\n#unit_cell:\n",
     "- unit_cell: [5, 6, 7, 90, 90, 90]\n  weight: many\n"],
)  # fmt: skip
def test_refused_with_the_place(tmp_path, text) -> None:
    (tmp_path / "cells.yaml").write_text(text)
    with pytest.raises(UnreadableInput, match=r"cells\.yaml"):
        read_cells_yaml(tmp_path / "cells.yaml")


def test_a_billion_laughs_do_not_grow(tmp_path) -> None:
    lines = ["- &a [1,1,1,1,1,1,1,1,1,1]"]
    for i in range(8):
        lines.append(f"- &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]")
    (tmp_path / "cells.yaml").write_text("\n".join(lines) + "\n- directory: *h\n  unit_cell: [5, 6, 7, 90, 90, 90]\n")
    with pytest.raises(UnreadableInput):
        read_cells_yaml(tmp_path / "cells.yaml")
