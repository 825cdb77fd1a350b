"""The electron items: what a log told is there in the dictionary's units, what nobody told is a question mark."""

from __future__ import annotations

import gemmi
import pytest

from credo.io.cif import write_cif
from credo.io.cif_electron import collection_items, source_items
from credo.model import Acquisition
from credo.physics.dose import gray_per_fluence

TOLD = Acquisition(
    mode="rotation", rotation_deg=120.0, speed_deg_s=2.0, exposed_s=60.0, flux=0.05, precession_deg=0.0, tracking=False,
    illumination="parallel", area="SAED", area_size_um=1.0, temperature_k=100.0, microscope="JEOL 'JEM' 2100",
    source="LaB6", camera="Timepix", software="credo", mosaicity_deg=0.123, log="collect.json",
)  # fmt: skip


def test_every_item_that_was_told():
    items = dict(collection_items(TOLD, 0.0251, {"Si": 1, "O": 2}, 0.01))
    assert items["_diffrn_measurement.rotation_mode"] == "rotation"
    assert items["_diffrn_measurement.method_precession"] == "no"
    assert items["_diffrn_measurement.sample_tracking"] == "no"
    assert items["_diffrn.total_exposure_time"] == "1"
    assert items["_diffrn.flux_density"] == "0.05"
    dose = 3.0 * gray_per_fluence({"Si": 1, "O": 2}, 200)
    assert float(items["_diffrn.total_dose"]) == pytest.approx(dose, rel=5e-3)
    # the dictionary wants the full angle
    assert items["_diffrn_source.convergence_angle"] == "0.02"
    assert items["_exptl_crystal.mosaicity"] == "0.123" and items["_exptl_crystals_number"] == "1"
    assert "3 per square angstrom" in items["_diffrn_special_details"]


def test_nothing_is_invented():
    items = dict(collection_items(Acquisition()))
    known = {k for k, v in items.items() if v != "?"}
    assert known == {
        "_exptl_crystals_number", "_diffrn_measurement_method", "_computing_cell_refinement",
        "_computing_data_reduction",
    }  # fmt: skip
    assert items["_diffrn_measurement_method"] == "3D electron diffraction"
    source = dict(source_items(None))
    assert source["_diffrn_radiation_wavelength"] == source["_diffrn_source_voltage"] == "?"
    assert source["_diffrn_radiation_probe"] == "electron"


@pytest.mark.parametrize("missing", [{"flux": None}, {"exposed_s": None}])
def test_no_dose_without_flux_and_time(missing):
    items = dict(collection_items(TOLD.replace(**missing), 0.0251, {"Si": 1, "O": 2}))
    assert items["_diffrn.total_dose"] == "?"


def test_no_dose_without_a_formula_or_a_wavelength():
    assert dict(collection_items(TOLD, 0.0251))["_diffrn.total_dose"] == "?"
    assert dict(collection_items(TOLD, None, {"Si": 1}))["_diffrn.total_dose"] == "?"


def test_a_file_with_them_is_a_cif(indexed, tmp_path):
    e, r = indexed()
    log = TOLD.replace(software="line\nbreak; 'quotes' \"both\"", camera="a ; b")
    for known in (("wavelength",), ()):
        write_cif(tmp_path / "a.cif", e.replace(acquisition=log, known=known), r)
        block = gemmi.cif.read(str(tmp_path / "a.cif")).sole_block()
        assert gemmi.cif.as_string(block.find_value("_diffrn_source_make")) == "JEOL 'JEM' 2100"
        assert gemmi.cif.as_string(block.find_value("_computing_data_collection")) == "line break; 'quotes' \"both\""
        assert (block.find_value("_diffrn_source_voltage") == "?") == (not known)
