"""Crystal, experiment, structure, report and errors: what they hold, convert and refuse."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import (
    Atom,
    Beam,
    CannotDo,
    Cell,
    CredoError,
    Crystal,
    Detector,
    Ellipse,
    Experiment,
    Goniometer,
    Report,
    Scan,
    Structure,
    UnreadableInput,
)

CELL = Cell(7.1, 9.3, 11.2, 82, 97, 103)
U = Rotation.from_euler("xyz", [20, -40, 75], degrees=True).as_matrix()


def experiment():
    shift, misset = np.arange(8.0).reshape(4, 2), np.full((4, 3), 0.01)
    return Experiment(
        Beam(0.0251),
        Detector(
            (512, 500),
            0.002,
            (250.5, 256.1),
            saturation=4e4,
            ellipse=Ellipse(1.2, 33.0),
            barrel=-0.003,
            coma=(1e-4, -2e-4),
        ),
        Goniometer.in_plane(38.2, 0.4),
        Scan.regular(4, -3, 0.25).replace(beam_shift=shift, misset_deg=misset, exposure_s=np.full(4, 0.1)),
        (Crystal(CELL.replace(covariance=np.eye(6) * 1e-4), U, centring="C", laue_group="2/m", space_group="C 1 2 1"),),
        source="frames/*.cbf",
        known=("wavelength", "axis"),
        problems=("The axis is a guess.",),
    )


def test_crystal_from_ub_returns_cell_and_orientation():
    again = Crystal.from_ub(Crystal(CELL, U).UB, centring="I", mosaicity_deg=0.3)
    assert again.cell.parameters == pytest.approx(CELL.parameters)
    assert again.orientation == pytest.approx(U)
    assert (again.centring, again.mosaicity_deg) == ("I", 0.3)


def test_crystal_reindexed_keeps_the_lattice_where_it_is():
    crystal = Crystal(CELL, U, mosaicity_deg=0.2, shape_width=0.001)
    p = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
    new = crystal.reindexed(p, laue_group="2/m")
    h = np.array([3, -1, 4])
    assert new.UB @ (p.T @ h) == pytest.approx(crystal.UB @ h)
    assert new.laue_group == "2/m"
    assert (new.mosaicity_deg, new.shape_width) == (0.2, 0.001)


def test_left_handed_bases_are_refused():
    with pytest.raises(ValueError, match="left-handed"):
        Crystal.from_ub(-Crystal(CELL, U).UB)
    with pytest.raises(ValueError, match="changes the hand"):
        Crystal(CELL, U).reindexed(np.diag([1, 1, -1]))


def test_experiment_json_and_back():
    e = experiment()
    again = Experiment.from_dict(json.loads(json.dumps(e.to_dict(), allow_nan=False)))
    assert again == e
    assert again.crystal.cell.covariance == pytest.approx(np.eye(6) * 1e-4)
    assert again.scan.numbers.dtype == np.int64
    assert isinstance(again.detector.shape, tuple)
    assert again != e.replace(beam=Beam(0.0197))


def test_experiment_says_that_nothing_was_indexed():
    with pytest.raises(ValueError, match="no crystal has been found"):
        _ = experiment().replace(crystals=()).crystal


def test_structure_json_and_back():
    atom = Atom("O1", "O", np.array([0.1, 0.2, 0.3]), 0.5, u_aniso=np.full(6, 0.02))
    structure = Structure(CELL, "P 1", (atom, Atom("C1", "C", np.zeros(3))), "quartz")
    again = Structure.from_dict(json.loads(json.dumps(structure.to_dict())))
    assert again == structure
    assert again.atoms[1].u_aniso is None


def test_reports_join_and_the_right_one_wins():
    both = Report({"a": 1, "b": 2}, ("one",), {"f": 1}) | Report({"b": 3}, ("two",), {"g": 2})
    assert both.numbers == {"a": 1, "b": 3}
    assert both.warnings == ("one", "two")
    assert both.figures == {"f": 1, "g": 2}


def test_errors_carry_reason_remedy_and_exit_code():
    error = UnreadableInput("a.cbf: truncated", "copy it again")
    assert str(error) == "a.cbf: truncated\n  -> copy it again"
    assert (error.reason, error.remedy, error.exit_code) == ("a.cbf: truncated", "copy it again", 2)
    assert CannotDo("no").exit_code == 1
    assert str(CannotDo("no")) == "no"
    assert issubclass(CannotDo, CredoError)
