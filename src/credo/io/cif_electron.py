"""The items of a CIF that tell how electrons measured the intensities (core dictionary 3.4); ? where nobody said it."""

from __future__ import annotations

from collections.abc import Mapping

from credo import __version__
from credo.io.electron import voltage_of
from credo.model import Acquisition
from credo.physics.dose import gray_per_fluence

__all__ = ["CITATION", "collection_items", "source_items"]

#: How a CIF names this program.
CITATION = f"credo {__version__} (The credo developers, 2026)"

_METHOD = {
    "rotation": "continuous-rotation 3D electron diffraction", "stepwise": "stepwise 3D electron diffraction",
    None: "3D electron diffraction",
}  # fmt: skip


def source_items(wavelength: float | None) -> list[tuple[str, str]]:
    """The radiation: ``wavelength`` [Å] with the voltage [kV] that belongs to it, ? for both if it is not known."""
    return [
        ("_diffrn_radiation_probe", "electron"), ("_diffrn_radiation_type", "electron"),
        ("_diffrn_radiation_wavelength", "?" if wavelength is None else f"{wavelength:.6f}"),
        ("_diffrn_source", "transmission electron microscope"), ("_diffrn_source.device", "elect-micro"),
        ("_diffrn_source_voltage", "?" if wavelength is None else f"{voltage_of(wavelength):.0f}"),
    ]  # fmt: skip


def collection_items(
    a: Acquisition, wavelength: float | None = None, formula: Mapping[str, float] | None = None,
    convergence_deg: float = 0.0,
) -> list[tuple[str, str]]:  # fmt: skip
    """What the log of the collection says. The dose [MGy] needs the ``formula`` (element -> atoms) of the crystal."""
    dose = _dose(a, wavelength, formula)
    return [
        ("_exptl_crystals_number", str(a.crystals)), ("_exptl_crystal.mosaicity", _number(a.mosaicity_deg, 3)),
        ("_exptl_crystal.mosaic_method", "rms width of the rocking curves" if a.mosaicity_deg else "?"),
        ("_diffrn_ambient_temperature", _number(a.temperature_k, 4)), ("_diffrn_source_make", a.microscope or "?"),
        ("_diffrn_source_details", a.source or "?"), ("_diffrn_detector_type", a.camera or "?"),
        ("_diffrn_measurement_method", _METHOD.get(a.mode, _METHOD[None])),
        ("_diffrn_measurement.rotation_mode", a.mode or "?"),
        ("_diffrn_measurement.method_precession", _yes(None if a.precession_deg is None else a.precession_deg > 0)),
        ("_diffrn.precession_semi_angle", _number(a.precession_deg, 4)),
        ("_diffrn_measurement.sample_tracking", _yes(a.tracking)),
        ("_diffrn_measurement.sample_tracking_method", a.tracking_method or "?"),
        ("_diffrn_radiation.illumination_mode", a.illumination or "?"),
        ("_diffrn_source.convergence_angle", f"{2 * convergence_deg:.4g}" if convergence_deg > 0 else "?"),
        ("_diffrn_source.ed_diffracting_area_selection", a.area or "?"),
        ("_diffrn.flux_density", _number(a.flux, 4)), ("_diffrn.total_dose", _number(dose, 3)),
        ("_diffrn.total_exposure_time", _number(None if a.exposed_s is None else a.exposed_s / 60, 4)),
        ("_diffrn_special_details", _details(a, dose)), ("_computing_data_collection", a.software or "?"),
        ("_computing_cell_refinement", CITATION), ("_computing_data_reduction", CITATION),
    ]  # fmt: skip


def _dose(a: Acquisition, wavelength: float | None, formula: Mapping[str, float] | None) -> float | None:
    if a.fluence is None or wavelength is None or not formula:
        return None
    return a.fluence * gray_per_fluence(formula, voltage_of(wavelength))


def _details(a: Acquisition, dose: float | None) -> str:
    """Sentences, each of something that was told."""
    said = []
    if a.rotation_deg is not None:
        speed = "" if a.speed_deg_s is None else f" at {a.speed_deg_s:.3g} degrees per second"
        said.append(f"Rotation by {a.rotation_deg:.1f} degrees{speed}.")
    if a.fluence is not None:
        said.append(f"Electron fluence {a.fluence:.3g} per square angstrom.")
    if dose is not None:
        said.append("Dose from the fluence by the collision stopping power of the crystal (ICRU Report 37).")
    if a.area_size_um is not None:
        said.append(f"Diffracting area {a.area_size_um:g} micrometres across.")
    if said and a.crystals > 1:
        said.append(f"Values are means of one of {a.crystals} crystals.")
    if a.log is not None:
        said.append(f"Told by {a.log}.")
    return " ".join(said) or "?"


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}g}"


def _yes(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"
