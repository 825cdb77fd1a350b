"""PETS2's .cif_pets: measured files are predicted by what we read; what we write is a CIF to gemmi and PETS's to us."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from credo.io.cif_pets import frame_angles, read_cif_pets, write_cif_pets
from credo.model import Reflections
from credo.model.errors import CannotDo, UnreadableInput


def excitation(e, r) -> np.ndarray:
    """Angle [deg] by which each reflection misses the sphere at the middle of its frame."""
    row = np.floor(r["frame"]).astype(int)
    g = np.einsum("nij,nj->ni", e.goniometer.rotation(e.scan.mid_deg)[row], r.hkl @ e.crystal.UB.T)
    if e.scan.misset_deg is not None:
        from credo.kernels.rotation import rotation_from_vector

        g = np.einsum("nij,nj->ni", rotation_from_vector(np.radians(e.scan.misset_deg))[row], g)
    s = np.linalg.norm(g + e.beam.s0, axis=1) - 1 / e.beam.wavelength
    across = np.linalg.norm(np.cross(g, e.goniometer.axis), axis=1)
    return np.degrees(np.abs(s) / np.maximum(across, 1e-3))


def test_round_trip_with_missets(indexed, tmp_path) -> None:
    e, r = indexed(gaps=True)
    rng = np.random.default_rng(3)
    e = e.replace(scan=e.scan.replace(misset_deg=rng.normal(0, 0.2, (len(e.scan), 3))))
    write_cif_pets(tmp_path / "a.cif_pets", e, r)
    x, s = read_cif_pets(tmp_path / "a.cif_pets")
    assert np.array_equal(x.scan.numbers, e.scan.numbers)
    for i in (0, 40, len(e.scan) - 1):
        ours, theirs = _orientation(e, i), _orientation(x, i)
        assert np.degrees(np.arccos(min(1, (np.trace(ours @ theirs.T) - 1) / 2))) < 2e-3
    assert len(s) == len(r)
    order = np.lexsort((r["l"], r["k"], r["h"], np.floor(r["frame"])))
    assert np.array_equal(s.hkl, r.hkl[order])
    assert s["intensity"] == pytest.approx(r["intensity"][order], abs=0.006)
    assert np.array_equal(np.floor(s["frame"]), np.floor(r["frame"][order]))


def _orientation(e, i: int) -> np.ndarray:
    from credo.kernels.rotation import rotation_from_vector

    misset = np.eye(3) if e.scan.misset_deg is None else rotation_from_vector(np.radians(e.scan.misset_deg[i]))
    return misset @ e.goniometer.rotation(e.scan.mid_deg[i]) @ e.crystal.UB @ np.linalg.inv(e.crystal.cell.B)


def test_gemmi_reads_what_we_write(indexed, tmp_path) -> None:
    e, r = indexed()
    write_cif_pets(tmp_path / "a.cif_pets", e, r)
    block = gemmi.cif.read(str(tmp_path / "a.cif_pets")).sole_block()
    assert len(block.find(["_refln_index_h", "_refln_intensity_meas"])) == len(r)
    zones = block.find("_diffrn_zone_axis_", ["id", "u", "v", "w", "alpha", "precession_angle"])
    assert len(zones) == len(e.scan)
    assert [float(z[4]) for z in zones] == pytest.approx(frame_angles(e)[:, 0], abs=1e-3)
    # the beam lies along u v w: direct lattice times R(φ)ᵀ(-z)
    direct = np.linalg.inv(e.crystal.UB)
    zone = np.array([[float(z[k]) for k in (1, 2, 3)] for z in zones])
    along = np.einsum("nij,nj->ni", e.goniometer.rotation(e.scan.mid_deg), zone @ direct)
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    assert np.abs(along[:, 2]) == pytest.approx(1, abs=1e-6)


def test_nothing_integrated_and_damage(indexed, tmp_path) -> None:
    e, _ = indexed()
    with pytest.raises(CannotDo, match="intensities"):
        write_cif_pets(tmp_path / "a.cif_pets", e, Reflections(h=[1], k=[0], l=[0]))
    (tmp_path / "b.cif_pets").write_text("data_x\n_cell_length_a 5\n")
    with pytest.raises(UnreadableInput, match="UB matrix"):
        read_cif_pets(tmp_path / "b.cif_pets")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("glycine_pets/glycine_dyn.cif_pets", 2986), ("quartz_dials/dials_dyn.cif_pets", 7952),
        ("cif_pets/lta_exp_data.cif_pets", 29023), ("cif_pets/APAP_dyn_reference.cif_pets", 38713),
    ],
)  # fmt: skip
def test_measured_reflections_diffract_in_their_frames(shared_data, name, count) -> None:
    e, r = read_cif_pets(shared_data / name)
    assert len(r) == count
    # files for dynamical refinement hold reflections from beyond their frame's width too
    off = excitation(e, r)
    wrong = e.replace(goniometer=e.goniometer.replace(axis=-e.goniometer.axis))
    assert np.median(off) < 2.5
    assert np.median(excitation(wrong, r)) > 4 * np.median(off)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    ["glycine_pets/glycine.cif_pets", "glycine_pets/glycine_dyn.cif_pets", "cif_pets/lta_exp_data.cif_pets",
     "cif_pets/APAP_dyn_reference.cif_pets"],
)  # fmt: skip
def test_the_beam_runs_along_the_zone_axes_of_pets(shared_data, name) -> None:
    e, _ = read_cif_pets(shared_data / name)
    block = gemmi.cif.read(str(shared_data / name))[0]
    table = block.find("_diffrn_zone_axis_", ["u", "v", "w"])
    uvw = np.array([[float(x) for x in row] for row in table])
    order = np.argsort([int(x) for x in block.find_values("_diffrn_zone_axis_id")])
    direct = np.linalg.inv(e.crystal.UB)
    zone = uvw[order] @ direct
    zone = zone / np.linalg.norm(zone, axis=1, keepdims=True)
    whole = np.stack([_orientation(e, i) @ e.crystal.orientation.T for i in range(len(e.scan))])
    beam = np.einsum("nij,nj->ni", whole, zone)
    angle = np.degrees(np.arccos(np.clip(np.abs(beam[:, 2]), 0, 1)))
    assert np.median(angle) < 0.05
    assert len(set(np.sign(beam[:, 2]))) == 1
