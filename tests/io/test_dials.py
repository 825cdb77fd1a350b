"""DIALS's .expt and .refl: measured files are predicted as DIALS did; several lattices, drift, gaps, damage."""

from __future__ import annotations

import json

import msgpack
import numpy as np
import pytest

from credo.io.dials import read_expt, read_expt_groups
from credo.io.dials_refl import read_columns, read_refl, write_refl
from credo.io.dials_write import write_expt
from credo.kernels.rotation import misorientation_deg, rotation_from_vector
from credo.model import Experiment, UnreadableInput
from credo.physics.ewald import predict


def write(folder, e, r):
    write_expt(folder / "a.expt", e)
    write_refl(folder / "a.refl", e, r)
    return folder / "a.refl"


def test_round_trip(indexed, tmp_path) -> None:
    e, r = indexed()
    e = e.replace(scan=e.scan.replace(exposure_s=np.full(120, 0.3)))
    x, s = read_refl(write(tmp_path, e, r))
    assert x is not None
    assert x.scan.numbers.tolist() == e.scan.numbers.tolist()
    assert x.scan.start_deg == pytest.approx(e.scan.start_deg)
    assert x.scan.exposure_s == pytest.approx(0.3)
    assert x.detector.origin == pytest.approx(e.detector.origin)
    assert x.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel)
    assert x.detector.saturation == e.detector.saturation
    assert x.goniometer.axis == pytest.approx(e.goniometer.axis)
    assert pytest.approx(e.crystal.UB) == x.crystal.UB
    assert x.crystal.mosaicity_deg == pytest.approx(e.crystal.mosaicity_deg)
    for name in ("x", "y", "phi", "frame", "intensity", "sigma", "x_calc", "y_calc", "phi_calc", "lorentz"):
        assert s[name] == pytest.approx(r[name]), name
    assert np.array_equal(s.hkl, r.hkl)
    assert s["lattice"].tolist() == [0] * len(r)


def test_gaps_are_bridged_and_spots_stay_where_they_are(indexed, tmp_path) -> None:
    e, r = indexed(gaps=True)
    x, s = read_refl(write(tmp_path, e, r))
    assert x is not None
    assert len(x.scan.missing) == 0
    assert s["phi"] == pytest.approx(r["phi"])
    start = dict(zip(x.scan.numbers.tolist(), x.scan.start_deg.tolist()))
    assert [start[n] for n in e.scan.numbers.tolist()] == pytest.approx(e.scan.start_deg)


def test_two_lattices_and_a_drifting_beam(indexed, tmp_path) -> None:
    e, r = indexed()
    other = e.crystal.replace(orientation=rotation_from_vector(np.array([1.0, 0.2, -0.4])))
    drift = np.column_stack([np.linspace(0, 3, 120), np.linspace(1, -1, 120)])
    e = e.replace(crystals=(e.crystal, other), scan=e.scan.replace(beam_shift=drift))
    lattice = np.arange(len(r)) % 3 - 1
    x, s = read_refl(write(tmp_path, e, r.with_columns(lattice=lattice)))
    assert x is not None
    assert len(x.crystals) == 2
    assert x.crystals[1].orientation == pytest.approx(other.orientation)
    assert np.array_equal(s["lattice"], lattice)
    assert x.scan.beam_shift is not None
    total = x.scan.beam_shift + np.array(x.detector.origin)
    assert total == pytest.approx(drift + np.array(e.detector.origin), abs=0.02)


def test_a_table_without_its_experiment_has_no_angles(indexed, tmp_path) -> None:
    e, r = indexed()
    path = write(tmp_path, e, r)
    (tmp_path / "a.expt").unlink()
    x, s = read_refl(path)
    assert x is None
    assert "phi" not in s
    assert s["x"] == pytest.approx(r["x"])


def test_several_panels_and_stills_are_refused(indexed, tmp_path) -> None:
    e, _ = indexed()
    write_expt(tmp_path / "a.expt", e)
    data = json.loads((tmp_path / "a.expt").read_text())
    data["detector"][0]["panels"] *= 4
    (tmp_path / "b.expt").write_text(json.dumps(data))
    with pytest.raises(UnreadableInput, match="4 panels"):
        read_expt(tmp_path / "b.expt")
    data = json.loads((tmp_path / "a.expt").read_text())
    del data["experiment"][0]["scan"]
    (tmp_path / "c.expt").write_text(json.dumps(data))
    with pytest.raises(UnreadableInput, match="a still"):
        read_expt(tmp_path / "c.expt")


def test_columns_that_lie_about_their_length(indexed, tmp_path) -> None:
    e, r = indexed()
    path = write(tmp_path, e, r)
    content = msgpack.unpackb(path.read_bytes(), raw=False, strict_map_key=False)
    content[2]["nrows"] = 10**12
    path.write_bytes(msgpack.packb(content))
    with pytest.raises(UnreadableInput, match="cut off"):
        read_columns(path)


def moved(e: Experiment) -> Experiment:
    """The same with orientations of its own for every frame, and angles that are not even."""
    t = np.arange(len(e.scan)) / 15.0
    misset = 0.2 * np.column_stack([np.sin(t), np.cos(0.7 * t), np.sin(1.3 * t)])
    return e.replace(scan=e.scan.replace(misset_deg=misset, start_deg=e.scan.start_deg + 0.03 * np.sin(2 * t)))


def lying(e: Experiment) -> np.ndarray:
    """UB (f, 3, 3) of every frame's middle."""
    misset = np.zeros((len(e.scan), 3)) if e.scan.misset_deg is None else e.scan.misset_deg
    return rotation_from_vector(np.radians(misset)) @ e.goniometer.rotation(e.scan.mid_deg) @ e.crystal.UB


def test_orientations_of_frames_come_back(indexed, tmp_path) -> None:
    e = moved(indexed()[0])
    x, _ = read_refl(write(tmp_path, e, indexed()[1]))
    assert x is not None
    turn = lying(x) @ np.linalg.inv(lying(e))
    error = misorientation_deg(turn, np.eye(3))
    # the first and the last border have one neighbour only
    assert error[1:-1].max() < 1e-3
    assert error.max() < 0.01


_POINTS = """
import json, sys
from dxtbx.model.experiment_list import ExperimentListFactory
from scitbx import matrix
e = ExperimentListFactory.from_json_file(sys.argv[1], check_format=False)[0]
axis, out = matrix.col(e.goniometer.get_rotation_axis()), []
for i in range(e.crystal.num_scan_points):
    angle = e.scan.get_angle_from_array_index(e.scan.get_array_range()[0] + i)
    turn = axis.axis_and_angle_as_r3_rotation_matrix(angle, deg=True)
    out.append(list(turn * matrix.sqr(e.crystal.get_A_at_scan_point(i))))
print(json.dumps(dict(a=out, static=e.crystal.get_unit_cell().parameters())))
"""


@pytest.mark.peer
def test_dials_has_the_same_orientations_at_the_borders_of_frames(indexed, dials, tmp_path) -> None:
    e = moved(indexed()[0])
    write_expt(tmp_path / "a.expt", e)
    theirs = np.array(json.loads(dials(_POINTS, [str(tmp_path / "a.expt")]))["a"]).reshape(-1, 3, 3)
    assert len(theirs) == len(e.scan) + 1
    ours = np.diag([1.0, -1.0, -1.0]) @ lying(e)
    # theirs at a border lies between ours before and after it
    for theirs_there, ours_there in ((theirs[1:-1], ours[:-1]), (theirs[1:-1], ours[1:])):
        turn = theirs_there @ np.linalg.inv(ours_there)
        assert misorientation_deg(turn, np.eye(3)).max() < 0.25
    mean = 0.5 * (ours[1:] + ours[:-1])
    assert np.abs(theirs[1:-1] @ np.linalg.inv(mean) - np.eye(3)).max() < 2e-5


@pytest.mark.data
@pytest.mark.parametrize("step", ["refined", "integrated"])
def test_quartz_is_predicted_as_dials_did(shared_data, step) -> None:
    """DIALS's scan-varying prediction against ours with its missets: axis, hand, frame and pixel conventions."""
    e, r = read_refl(shared_data / "quartz_dials" / f"{step}.refl")
    assert e is not None
    r = r.select(r["lattice"] == 0)
    d_min = 1 / np.linalg.norm(r.hkl @ e.crystal.cell.B.T, axis=1).max()
    ours = predict(e, e.crystal, 0.999 * d_min)
    best = np.full(len(r), np.inf)
    shift = np.zeros((len(r), 3))
    where = {}
    for i, h in enumerate(map(tuple, ours.hkl.tolist())):
        where.setdefault(h, []).append(i)
    for k, h in enumerate(map(tuple, r.hkl.tolist())):
        for i in where.get(h, []):
            d = (ours["x"][i] - r["x_calc"][k], ours["y"][i] - r["y_calc"][k], ours["phi"][i] - r["phi_calc"][k])
            if abs(d[2]) < best[k]:
                best[k], shift[k] = abs(d[2]), d
    found = np.isfinite(best)
    assert found.mean() > 0.95
    assert np.abs(np.median(shift[found], axis=0)).max() < 0.1
    assert np.median(np.abs(shift[found]), axis=0).max() < 0.3


@pytest.mark.data
def test_every_step_of_quartz_and_myd88(shared_data) -> None:
    quartz = read_expt(shared_data / "quartz_dials" / "indexed.expt")
    assert quartz.crystal.space_group == "P 31 2 1"
    assert quartz.crystal.cell.lengths == pytest.approx((4.92, 4.92, 5.40), abs=0.03)
    e, spots = read_refl(shared_data / "myd88_dials" / "strong.refl")
    assert e is not None
    assert len(spots) == 646
    assert set(spots["lattice"].tolist()) == {-1}
    assert np.all((spots["x"] > 0) & (spots["x"] < e.detector.shape[1]))
    assert len(read_expt_groups(shared_data / "quartz_dials" / "scaled.expt")) == 1
