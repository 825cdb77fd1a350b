"""MTZ, merged and unmerged: gemmi (which also writes it) and, in test_processing_peers, cctbx read what we write."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from credo.io.mtz import read_mtz, write_mtz
from credo.model import Reflections, UnreadableInput
from credo.model.errors import CannotDo


def test_unmerged_round_trip_keeps_indices_frames_and_gaps(indexed, tmp_path) -> None:
    e, r = indexed(gaps=True)
    e = e.replace(crystals=(e.crystal.replace(space_group="P -1"),))
    write_mtz(tmp_path / "a.mtz", e, r)
    x, s = read_mtz(tmp_path / "a.mtz")
    assert np.array_equal(x.scan.numbers, e.scan.numbers)
    assert x.scan.start_deg == pytest.approx(e.scan.start_deg, abs=1e-4)
    assert x.crystal.space_group == "P -1"
    a, b = np.lexsort((r["frame"], *r.hkl.T)), np.lexsort((s["frame"], *s.hkl.T))
    assert np.array_equal(s.hkl[b], r.hkl[a])
    for name in ("intensity", "sigma", "x", "y", "phi"):
        assert s[name][b] == pytest.approx(r[name][a], rel=1e-5, abs=1e-4)
    assert np.array_equal(np.floor(s["frame"][b]), np.floor(r["frame"][a]))


def test_gemmi_sees_the_asymmetric_unit(indexed, tmp_path) -> None:
    e, r = indexed()
    e = e.replace(crystals=(e.crystal.replace(space_group="P -1"),))
    write_mtz(tmp_path / "a.mtz", e, r)
    mtz = gemmi.read_mtz_file(str(tmp_path / "a.mtz"))
    assert mtz.nreflections == len(r)
    assert mtz.spacegroup.xhm() == "P -1"
    asu = gemmi.ReciprocalAsu(mtz.spacegroup)
    assert all(asu.is_in(h) for h in mtz.make_miller_array().tolist())
    # the format has five decimals
    assert mtz.dataset(1).wavelength == pytest.approx(e.beam.wavelength, abs=5e-6)
    assert len(mtz.batches) == len(e.scan)


def test_merged_round_trip(indexed, tmp_path) -> None:
    e, r = indexed()
    merged = Reflections({k: r[k] for k in ("h", "k", "l", "intensity", "sigma")})
    write_mtz(tmp_path / "a.mtz", e, merged)
    x, s = read_mtz(tmp_path / "a.mtz")
    assert "phi" not in s
    assert x.crystal.cell.parameters == pytest.approx(e.crystal.cell.parameters, rel=1e-5)
    assert np.sort(s["intensity"]) == pytest.approx(np.sort(r["intensity"]), rel=1e-5)


def test_amplitudes_become_intensities(tmp_path) -> None:
    mtz = gemmi.Mtz(with_base=True)
    mtz.cell, mtz.spacegroup = gemmi.UnitCell(5, 6, 7, 90, 90, 90), gemmi.SpaceGroup("P 1")
    mtz.add_dataset("x")
    for label, kind in (("FC", "F"), ("FP", "F"), ("SIGFP", "Q")):
        mtz.add_column(label, kind)
    mtz.set_data(np.array([[1, 0, 0, 9, 3, 0.5]], dtype=np.float32))
    mtz.write_to_file(str(tmp_path / "a.mtz"))
    _, r = read_mtz(tmp_path / "a.mtz")
    assert (r["intensity"][0], r["sigma"][0]) == (9.0, 3.0)


def test_damage_and_missing_columns(indexed, tmp_path) -> None:
    e, r = indexed()
    write_mtz(tmp_path / "a.mtz", e, r)
    raw = (tmp_path / "a.mtz").read_bytes()
    (tmp_path / "a.mtz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UnreadableInput, match=r"truncated|damaged"):
        read_mtz(tmp_path / "a.mtz")
    with pytest.raises(CannotDo, match="intensities"):
        write_mtz(tmp_path / "b.mtz", e, Reflections(h=[1], k=[0], l=[0]))


@pytest.mark.data
def test_biotin_has_the_intensities_of_its_hkl(shared_data) -> None:
    from credo.io.shelx import read_hkl

    x, s = read_mtz(shared_data / "biotin" / "biotin_talos.mtz")
    assert x.crystal.space_group == "P 21 21 21"
    hkl = read_hkl(shared_data / "biotin" / "biotin_talos.hkl")
    ours = dict(zip(map(tuple, np.abs(s.hkl).tolist()), s["intensity"]))
    theirs = dict(zip(map(tuple, np.abs(hkl.hkl).tolist()), hkl["intensity"]))
    common = sorted(set(ours) & set(theirs))
    assert len(common) > 900
    assert np.corrcoef([ours[h] for h in common], [theirs[h] for h in common])[0, 1] > 0.99
