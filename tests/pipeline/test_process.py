"""What `process` says of its own result."""

import pytest

from credo.pipeline.process import _doubt


@pytest.mark.parametrize(("cc_half", "r_int"), [(0.98, 0.3), (0.1, 0.2), (None, 0.9), (0.5, None)])
def test_agreement_or_ignorance_is_no_reason_for_doubt(cc_half, r_int):
    assert _doubt(cc_half, r_int) == ()


@pytest.mark.parametrize(("cc_half", "r_int"), [(-0.08, 9.7), (0.82, 4.1)])
def test_equivalents_that_do_not_agree_are_told_with_a_remedy(cc_half, r_int):
    (sentence,) = _doubt(cc_half, r_int)
    assert "probably wrong" in sentence and "--cell" in sentence and f"{cc_half:.2f}" in sentence
