"""Figures of a sorting by intensities, from the numbers of a report."""

import numpy as np

from credo.pipeline.page.intensities import intensities_section


def _part(labels: list[int]) -> dict:
    n, k = len(labels), max(labels, default=0)
    joins = np.array([[i if i == 0 else n + i - 1, i + 1, 0.1 * (i + 1), i + 2] for i in range(n - 1)]).reshape(-1, 4)
    return {
        "intensity_verdicts": [{"label": x, "kind": "phase" if x else "junk"} for x in labels], "intensity_noise": 0.3,
        "intensity_between": np.eye(k) + 0.4 * (1 - np.eye(k)), "intensity_coordinates": np.full((n, 2), 0.5),
        "intensity_joins": joins, "intensity_order": np.arange(n),
        "intensity_curve": [[n - i, 9.0 * i] for i in range(n)],
    }  # fmt: skip


def test_each_cluster_has_its_figures_and_phases():
    html = intensities_section({"clusters": [_part([1, 1, 2, 2, 0]), {"members": [0]}, _part([1, 1, 1])]})
    for name in ("points-1", "intensity-tree-1", "evidence-1", "phases-1", "points-3", "phases-3"):
        assert name in html
    assert "points-2" not in html and "0.40 with 2" in html
    assert "nan" not in html.lower() and 'class="dots quiet"' in html


def test_few_sets_have_no_figures_but_a_table():
    html = intensities_section({"clusters": [_part([1, 1])]})
    assert "phases-1" in html and "points-1" not in html and "intensity-tree-1" not in html


def test_cells_alone_have_no_section():
    assert intensities_section({"clusters": [{"members": [0]}]}) == ""
