"""What `process` says of its own result."""

import numpy as np
import pytest

from credo.io.open import open_experiment
from credo.model import CannotDo, Cell, UnreadableInput
from credo.pipeline.process import _check_determined, _doubt, process


@pytest.mark.parametrize(("cc_half", "r_int"), [(0.98, 0.3), (0.1, 0.2), (None, 0.9), (0.5, None)])
def test_agreement_or_ignorance_is_no_reason_for_doubt(cc_half, r_int):
    assert _doubt(cc_half, r_int) == ()


@pytest.mark.parametrize(("cc_half", "r_int"), [(-0.08, 9.7), (0.82, 4.1)])
def test_equivalents_that_do_not_agree_are_told_with_a_remedy(cc_half, r_int):
    (sentence,) = _doubt(cc_half, r_int)
    assert "probably wrong" in sentence and "--cell" in sentence and f"{cc_half:.2f}" in sentence


def test_intensities_without_positions_are_refused_with_a_remedy(tmp_path):
    (tmp_path / "a.hkl").write_text("   1   0   0   12.00    1.00\n   0   1   0   10.00    1.00\n")
    (tmp_path / "a.ins").write_text("TITL a\nCELL 0.0251 5 6 7 90 90 90\nLATT -1\nSFAC C\nUNIT 4\nHKLF 4\nEND\n")
    with pytest.raises(UnreadableInput, match=r"without positions.*\n.*credo solve"):
        process([tmp_path / "a.hkl"], tmp_path / "out")


def test_a_cell_of_which_the_spots_tell_two_axes_is_refused():
    known = np.diag([0.01, 0.02, 0.02, 0.1, 0.1, 0.1]) ** 2
    _check_determined("crystal", Cell(13, 20, 20, 90, 90, 90, known))
    known[1, 1] = 8.0**2
    with pytest.raises(CannotDo, match=r"b is 20.00 Å with an esd of 8.0 Å"):
        _check_determined("crystal", Cell(13, 20, 20, 90, 90, 90, known))


@pytest.mark.data
def test_a_pair_of_dials_files_is_taken_in_either_order(shared_data):
    folder = shared_data / "quartz_dials"
    pair = [folder / "strong.refl", folder / "imported.expt"]
    opened, turned = open_experiment(pair), open_experiment(pair[::-1])
    assert opened.spots is not None and len(opened.spots) == 505
    assert opened.experiment == turned.experiment
