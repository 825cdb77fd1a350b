"""Write NXmx: one HDF5 file with the images and the geometry that DIALS and others need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from credo.io.atomic import atomic_path
from credo.model import Experiment

__all__ = ["write"]


def write(path: Path, images: Iterable[np.ndarray], experiment: Experiment, dtype: np.dtype) -> None:
    """All images (n, rows, columns), compressed, one chunk each; geometry in the McStas frame as NXmx asks.

    McStas: z along the beam, y up; with x of the image to the right and y down, both detector axes are negative.
    """
    n = len(experiment.scan)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        entry = _group(file, "entry", "NXentry")
        entry["definition"] = "NXmx"
        file.attrs["default"] = "entry"
        entry.attrs["default"] = "data"
        data = _group(entry, "data", "NXdata")
        data.attrs["signal"] = "data"
        rows, columns = experiment.detector.shape
        images_set = data.create_dataset(
            "data", (n, rows, columns), dtype, chunks=(1, rows, columns), compression="gzip", compression_opts=1,
            shuffle=True,
        )  # fmt: skip
        for i, image in enumerate(images):
            images_set[i] = image
        source = _group(entry, "source", "NXsource")
        source["name"] = "electron gun"
        source["probe"] = "electron"
        instrument = _group(entry, "instrument", "NXinstrument")
        instrument["name"] = "transmission electron microscope"
        beam = _group(instrument, "beam", "NXbeam")
        _number(beam, "incident_wavelength", experiment.beam.wavelength, "angstrom")
        _detector(instrument, experiment, dtype)
        _sample(entry, experiment)


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
    det, scan = experiment.detector, experiment.scan
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
    group["sequence_number"] = scan.numbers
    if np.dtype(dtype).kind in "ui":
        largest = np.iinfo(dtype).max
        group["saturation_value"] = min(int(det.saturation or largest), int(largest), 2**31 - 1)
    if scan.exposure_s is not None:
        _number(group, "count_time", float(np.median(scan.exposure_s)), "s")
        _number(group, "frame_time", float(np.median(scan.exposure_s)), "s")
    if scan.timestamps is not None:
        _number(group, "timestamps", scan.timestamps, "s")
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


def _sample(entry: h5py.Group, experiment: Experiment) -> None:
    scan = experiment.scan
    mx, my, mz = experiment.goniometer.axis
    sample = _group(entry, "sample", "NXsample")
    sample["name"] = "crystal"
    sample["depends_on"] = "/entry/sample/transformations/omega"
    moves = _group(sample, "transformations", "NXtransformations")
    _number(
        moves, "omega", scan.start_deg, "deg",
        depends_on=".", transformation_type="rotation", vector=np.array([-mx, -my, mz]),
    )  # fmt: skip
    _number(moves, "omega_end", scan.end_deg, "deg")
