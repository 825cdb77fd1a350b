"""Write NXmx: one HDF5 file with the images and the geometry that DIALS and others need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from credo.io.atomic import atomic_path
from credo.model import Experiment

__all__ = ["omega_attributes", "write", "write_static"]


def write(path: Path, images: Iterable[np.ndarray], experiment: Experiment, dtype: np.dtype) -> None:
    """All images (n, rows, columns), compressed, one chunk each; geometry in the McStas frame as NXmx asks.

    McStas: z along the beam, y up; with x of the image to the right and y down, both detector axes are negative.
    """
    n = len(experiment.scan)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        entry = write_static(file, experiment, dtype)
        rows, columns = experiment.detector.shape
        images_set = entry["data"].create_dataset(  # type: ignore[union-attr]
            "data", (n, rows, columns), dtype, chunks=(1, rows, columns), compression="gzip", compression_opts=1,
            shuffle=True,
        )  # fmt: skip
        for i, image in enumerate(images):
            images_set[i] = image
        _write_scan(entry, experiment)


def write_static(file: h5py.File, experiment: Experiment, dtype: np.dtype) -> h5py.Group:
    """Everything but the images and what changes from frame to frame; returns the entry, where ``data`` waits for
    images and ``sample/transformations`` for ``omega`` (with ``omega_attributes``) and ``omega_end``."""
    entry = _group(file, "entry", "NXentry")
    entry["definition"] = "NXmx"
    file.attrs["default"] = "entry"
    entry.attrs["default"] = "data"
    data = _group(entry, "data", "NXdata")
    data.attrs["signal"] = "data"
    source = _group(entry, "source", "NXsource")
    source["name"] = "electron gun"
    source["probe"] = "electron"
    instrument = _group(entry, "instrument", "NXinstrument")
    instrument["name"] = "transmission electron microscope"
    beam = _group(instrument, "beam", "NXbeam")
    _number(beam, "incident_wavelength", experiment.beam.wavelength, "angstrom")
    _detector(instrument, experiment, dtype)
    sample = _group(entry, "sample", "NXsample")
    sample["name"] = "crystal"
    sample["depends_on"] = "/entry/sample/transformations/omega"
    _group(sample, "transformations", "NXtransformations")
    return entry


def omega_attributes(experiment: Experiment) -> dict[str, Any]:
    """What the dataset ``omega`` says of the rotation axis, in the McStas frame."""
    mx, my, mz = experiment.goniometer.axis
    return {"units": "deg", "depends_on": ".", "transformation_type": "rotation", "vector": np.array([-mx, -my, mz])}


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _number(group: h5py.Group, name: str, value: float | np.ndarray, unit: str = "", **attributes) -> h5py.Dataset:
    group[name] = value
    dataset: Any = group[name]
    if unit:
        dataset.attrs["units"] = unit
    for key, attribute in attributes.items():
        dataset.attrs[key] = attribute
    return dataset


def _detector(instrument: h5py.Group, experiment: Experiment, dtype: np.dtype) -> None:
    det = experiment.detector
    pixel = det.pixel_size_mm * 1e-3
    distance = det.distance_mm(experiment.beam.wavelength) * 1e-3
    x, y = det.origin
    group = _group(instrument, "detector", "NXdetector")
    group["description"] = "electron detector"
    group["sensor_material"] = "Si"
    _number(group, "sensor_thickness", 3e-4, "m")
    _number(group, "x_pixel_size", pixel, "m")
    _number(group, "y_pixel_size", pixel, "m")
    _number(group, "distance", distance, "m")
    _number(group, "beam_center_x", x, "pixel")
    _number(group, "beam_center_y", y, "pixel")
    if det.ellipse.amplitude_percent:  # NXmx has no place for it
        distortion = _group(group, "distortion", "NXcollection")
        _number(distortion, "ellipse_percent", det.ellipse.amplitude_percent, "percent")
        _number(distortion, "ellipse_azimuth", det.ellipse.azimuth_deg, "deg")
    if np.dtype(dtype).kind in "ui":
        largest = np.iinfo(dtype).max
        group["saturation_value"] = min(int(det.saturation or largest), int(largest), 2**31 - 1)
    group["depends_on"] = "/entry/instrument/detector/transformations/translation"
    moves = _group(group, "transformations", "NXtransformations")
    _number(
        moves, "translation", distance, "m",
        depends_on=".", transformation_type="translation", vector=np.array([0.0, 0.0, 1.0]),
    )  # fmt: skip
    module = _group(group, "module", "NXdetector_module")
    module["data_origin"] = np.array([0, 0])
    module["data_size"] = np.array(det.shape)
    base = "/entry/instrument/detector/"
    fast, slow = np.array([-1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
    corner = np.array([x * pixel, y * pixel, 0.0])
    length = float(np.linalg.norm(corner)) or 1.0
    _number(
        module, "module_offset", float(np.linalg.norm(corner)), "m", transformation_type="translation",
        vector=corner / length, offset=np.zeros(3), depends_on=base + "transformations/translation",
    )  # fmt: skip
    for name, vector in (("fast_pixel_direction", fast), ("slow_pixel_direction", slow)):
        _number(
            module, name, pixel, "m", transformation_type="translation", vector=vector, offset=np.zeros(3),
            depends_on=base + "module/module_offset",
        )  # fmt: skip


def _write_scan(entry: h5py.Group, experiment: Experiment) -> None:
    scan = experiment.scan
    group: Any = entry["instrument/detector"]
    group["sequence_number"] = scan.numbers
    if scan.exposure_s is not None and len(scan):
        _number(group, "count_time", float(np.median(scan.exposure_s)), "s")
        _number(group, "frame_time", float(np.median(scan.exposure_s)), "s")
    if scan.timestamps is not None:
        _number(group, "timestamps", scan.timestamps, "s")
    moves: Any = entry["sample/transformations"]
    moves["omega"] = scan.start_deg
    moves["omega"].attrs.update(omega_attributes(experiment))
    _number(moves, "omega_end", scan.end_deg, "deg")
