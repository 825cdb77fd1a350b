"""CORRECT.LP and XSCALE.LP: the last table and cell of measured logs."""

from __future__ import annotations

import pytest

from credo.io.xds_lp import read_lp
from credo.model import UnreadableInput


@pytest.mark.data
def test_cinchonine(shared_data) -> None:
    x = read_lp(shared_data / "cinchonine" / "xds" / "CORRECT.LP")
    assert (x.program, x.space_group) == ("CORRECT", 4)
    assert x.cell is not None
    assert x.cell.parameters == pytest.approx((10.732, 7.283, 11.107, 90, 108.06, 90), abs=0.006)
    assert x.total is not None
    assert x.total.observed == 1950
    assert x.total.r_observed == pytest.approx(0.100, abs=0.001)
    assert x.total.completeness == pytest.approx(0.708, abs=0.001)
    assert x.total.d_min == 0
    assert len(x.shells) > 5
    assert [s.d_min for s in x.shells] == sorted((s.d_min for s in x.shells), reverse=True)
    assert sum(s.observed for s in x.shells) == x.total.observed
    assert x.rotation_axis is not None
    assert sum(v * v for v in x.rotation_axis) == pytest.approx(1, abs=1e-3)


@pytest.mark.data
def test_lta(shared_data) -> None:
    x = read_lp(shared_data / "lta_stw_xds" / "LTA_t1_CORRECT_run" / "CORRECT.LP")
    assert x.space_group == 221
    assert x.cell is not None
    assert x.cell.lengths == pytest.approx((11.909,) * 3, abs=0.01)
    assert x.total is not None
    assert x.total.cc_half > 0.9
    assert x.isa is not None
    assert x.isa > 0


def test_a_log_of_another_step_is_refused(tmp_path) -> None:
    (tmp_path / "IDXREF.LP").write_text(" ***** IDXREF *****\n")
    with pytest.raises(UnreadableInput, match="neither"):
        read_lp(tmp_path / "IDXREF.LP")


def test_a_run_that_ended_early_has_nothing(tmp_path) -> None:
    (tmp_path / "XSCALE.LP").write_text(
        " ***** XSCALE *****\n SPACE_GROUP_NUMBER=   19\n UNIT_CELL_CONSTANTS= 5 6 7 90 90 90\n"
    )
    x = read_lp(tmp_path / "XSCALE.LP")
    assert (x.program, x.space_group, x.total, x.shells, x.isa) == ("XSCALE", 19, None, (), None)
    assert x.cell is not None
    assert x.cell.parameters == (5, 6, 7, 90, 90, 90)
