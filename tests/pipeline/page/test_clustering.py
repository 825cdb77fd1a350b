"""The page of a clustering: every data set is in it, names are escaped, the tree holds what its script needs."""

import json
import re

import numpy as np

from credo.io.merged import without_geometry
from credo.model import Cell, Reflections
from credo.pipeline.data_set import DataSet
from credo.pipeline.page.clustering import clustering_page, colour


def _page(names: list[str], joins: list[list[float]]) -> str:
    cells = [Cell(10 + 0.1 * i, 11, 12, 90, 90, 90) for i in range(len(names))]
    members = [DataSet(n, without_geometry(c), Reflections()) for n, c in zip(names, cells)]
    part = {"members": list(range(len(names))), "cell": cells[0].parameters, "cell_esd": None, "reindex": None}
    numbers = {
        "k": 1, "labels": [1] * len(names), "clusters": [part], "joins": np.array(joins).reshape(-1, 4), "cut": 0.1,
        "metric": "euclid", "datasets": names, "rejected": [{"dataset": "<bad>", "reason": "broken & empty"}],
    }  # fmt: skip
    return clustering_page(members, numbers, "somewhere")


def test_everything_is_there_and_escaped():
    page = _page(["a </script><b>", "b"], [[0, 1, 0.02, 2]])
    assert "&lt;bad&gt;" in page and "broken &amp; empty" in page and "a </script><b>" not in page
    data = json.loads(re.search(r'id="tree-data">(.*?)</script>', page)[1])
    assert data["names"] == ["a </script><b>", "b"] and data["joins"] == [[0, 1, 0.02]] and data["top"] >= 0.1
    assert page.count('class="line join') == 1 and page.count('class="small leaf') == 2


def test_one_cell_has_no_tree_and_identical_cells_a_flat_one():
    assert 'id="tree-svg"' not in _page(["only"], [])
    assert 'id="tree-svg"' in _page(["a", "b"], [[0, 1, 0.0, 2]])


def test_colours_run_out():
    assert [colour(k) for k in (0, 3, 4, 90)] == ["c1", "c4", "quiet", "quiet"]
