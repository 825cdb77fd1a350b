"""Reflections in CIF: gemmi (and cctbx, in test_processing_peers) reads ours; the dialects of others are understood."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from credo.io.cif import read_cif, with_esd, write_cif
from credo.model import Reflections, UnreadableInput


def test_unmerged_round_trip(indexed, tmp_path) -> None:
    e, r = indexed()
    r = r.with_columns(rejected=np.arange(len(r)) % 5 == 0)
    write_cif(tmp_path / "a.cif", e, r)
    x, s = read_cif(tmp_path / "a.cif")
    assert x is not None
    kept = r.select(~r["rejected"])
    assert np.array_equal(s.hkl, kept.hkl)
    assert s["intensity"] == pytest.approx(kept["intensity"], rel=1e-5)
    assert x.beam.wavelength == pytest.approx(e.beam.wavelength, rel=1e-4)
    assert x.crystal.cell.esd == pytest.approx(e.crystal.cell.esd, rel=0.13)


def test_gemmi_reads_merged_reflections_and_the_crystal(indexed, tmp_path) -> None:
    e, r = indexed()
    e = e.replace(crystals=(e.crystal.replace(space_group="P -1"),))
    merged = Reflections({k: r[k] for k in ("h", "k", "l", "intensity", "sigma")})
    write_cif(tmp_path / "a.cif", e, merged, "sample 1/2")
    block = gemmi.cif.read(str(tmp_path / "a.cif")).sole_block()
    assert block.name == "sample_1_2"
    small = gemmi.make_small_structure_from_block(block)
    assert small.cell.parameters == pytest.approx(e.crystal.cell.parameters, rel=1e-4)
    assert small.spacegroup.number == 2
    assert block.find_value("_diffrn_radiation_probe") == "electron"
    table = block.find("_refln_", ["index_h", "index_k", "index_l", "F_squared_meas", "F_squared_sigma"])
    values = np.array([[float(v) for v in row] for row in table])
    assert np.array_equal(values[:, :3], r.hkl)
    assert values[:, 3] == pytest.approx(r["intensity"], rel=1e-5)


@pytest.mark.parametrize(
    ("value", "esd", "text"),
    [(10.7321, 0.004, "10.732(4)"), (10.7321, 0.0019, "10.7321(19)"), (10.7321, 0.0021, "10.732(2)"),
     (108.0, 0.0, "108.0000"), (1234.0, 26.0, "1230(30)"), (5.0, None, "5.0000"), (0.5, 0.0996, "0.50(10)")],
)  # fmt: skip
def test_uncertainties_by_the_rule_of_19(value, esd, text) -> None:
    assert with_esd(value, esd) == text


def test_amplitudes_mmcif_and_unknowns(tmp_path) -> None:
    (tmp_path / "a.cif").write_text(
        "data_x\n_cell.length_a 5\n_cell.length_b 6\n_cell.length_c 7\n_cell.angle_alpha 90\n_cell.angle_beta 90\n"
        "_cell.angle_gamma 90\n_symmetry.space_group_name_H-M 'P 21 21 21'\nloop_\n_refln.index_h\n_refln.index_k\n"
        "_refln.index_l\n_refln.F_meas_au\n_refln.F_meas_sigma_au\n1 0 0 3.0 0.5\n2 0 0 ? ?\n"
    )
    x, r = read_cif(tmp_path / "a.cif")
    assert x is not None
    assert x.crystal.space_group == "P 21 21 21"
    assert (r["intensity"].tolist(), r["sigma"].tolist()) == ([9.0], [3.0])


def test_neither_cell_nor_reflections(tmp_path) -> None:
    (tmp_path / "a.cif").write_text("data_x\n_a b\n")
    with pytest.raises(UnreadableInput, match="neither"):
        read_cif(tmp_path / "a.cif")


@pytest.mark.data
def test_the_symbols_and_volumes_of_real_files(shared_data) -> None:
    """README trap 6: "I M -3 M" and "_cell_volume ??" are read."""
    for name in ("PWN", "MWF"):
        x, _ = read_cif(shared_data / "cifs" / "zeolites_iza" / f"{name}.cif")
        assert x is not None
        assert x.crystal.space_group == "I m -3 m"
    unread = []
    for path in sorted((shared_data / "cifs").rglob("*.cif*")):
        x, _ = read_cif(path)
        if x is None or x.crystal.space_group is None:
            unread.append(path.name)
    assert unread == []


@pytest.mark.data
def test_embedded_hkl_equals_the_file(shared_data) -> None:
    from credo.io.shelx import read_hkl

    _, inside = read_cif(shared_data / "biotin" / "biotin_talos.cif")
    beside = read_hkl(shared_data / "biotin" / "biotin_talos.hkl")
    assert np.array_equal(inside.hkl, beside.hkl)
    assert inside["intensity"] == pytest.approx(beside["intensity"])
