"""The unit cell: volume, matrices, spacings and changes of basis agree with textbook values and with gemmi."""

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credo.model import Cell

lengths = st.floats(3.0, 80.0)
angles = st.floats(70.0, 115.0)
cells = st.tuples(lengths, lengths, lengths, angles, angles, angles)


@given(cells)
def test_volume_and_orthogonalisation_match_gemmi(parameters):
    cell, other = Cell(*parameters), gemmi.UnitCell(*parameters)
    assert cell.volume == pytest.approx(other.volume, rel=1e-9)
    np.testing.assert_allclose(cell.O, other.orth.mat.tolist(), atol=1e-9)
    assert np.linalg.det(cell.O) == pytest.approx(cell.volume, rel=1e-9)


@given(cells, st.tuples(*[st.integers(-9, 9)] * 3).filter(any))
def test_d_spacing_matches_gemmi(parameters, hkl):
    d = Cell(*parameters).d_spacing(np.array([hkl]))[0]
    assert d == pytest.approx(gemmi.UnitCell(*parameters).calculate_d(hkl), rel=1e-9)


def test_d_spacing_of_known_cells():
    assert Cell(5.43, 5.43, 5.43, 90, 90, 90).d_spacing(np.array([[1, 1, 1]]))[0] == pytest.approx(5.43 / np.sqrt(3))
    assert Cell(4, 4, 6, 90, 90, 120).d_spacing(np.array([[1, 0, 0]]))[0] == pytest.approx(4 * np.sqrt(3) / 2)
    assert np.isinf(Cell(4, 5, 6, 90, 90, 90).d_spacing(np.zeros((1, 3)))[0])


@given(cells)
def test_b_is_reciprocal_to_o_and_the_cell_comes_back(parameters):
    cell = Cell(*parameters)
    np.testing.assert_allclose(cell.B.T @ cell.O, np.eye(3), atol=1e-9)
    for again in (Cell.from_metric(cell.metric), Cell.from_vectors(cell.O.T)):
        assert again.parameters == pytest.approx(parameters, rel=1e-7)


def test_reindexing_carries_volume_and_covariance():
    sigma = np.array([0.01, 0.02, 0.03, 0.1, 0.2, 0.3])
    cell = Cell(7, 8, 9, 90, 90, 90, covariance=np.diag(sigma**2))
    assert cell.esd == pytest.approx(sigma)
    swapped = cell.reindexed(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]))
    assert swapped.parameters == pytest.approx((8, 9, 7, 90, 90, 90))
    assert swapped.esd == pytest.approx((0.02, 0.03, 0.01, 0.2, 0.3, 0.1), rel=1e-4)
    doubled = cell.reindexed(np.diag([2, 1, 1]))
    assert doubled.volume == pytest.approx(2 * cell.volume)
    assert doubled.esd[0] == pytest.approx(0.02, rel=1e-4)


@pytest.mark.parametrize(
    "parameters",
    [(0, 5, 5, 90, 90, 90), (-3, 5, 5, 90, 90, 90), (5, 5, 5, 60, 60, 130), (5, 5, 5, 0, 90, 90),
     (float("nan"), 5, 5, 90, 90, 90)],
)  # fmt: skip
def test_what_spans_no_volume_is_refused(parameters):
    with pytest.raises(ValueError, match="does not span a volume"):
        Cell(*parameters)


def test_no_uncertainty_without_covariance_and_a_readable_form():
    cell = Cell(10, 11, 12.5, 90, 91.25, 90)
    assert cell.esd is None
    assert str(cell) == "10.0000 11.0000 12.5000 90.000 91.250 90.000"
