"""Every other microscopy format (SER, DM3, DM4, EMD, BLO ...) through the optional package rosettasciio."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.electron import wavelength_of
from credo.io.frame_file import MAX_PIXELS, FrameFile, Hints, checked_shape, native, native_dtype, reading
from credo.model.errors import UnreadableInput

__all__ = ["read", "sniff"]


def sniff(path: Path) -> bool:
    """By the suffix alone: the package looks at the content."""
    return path.is_file()


def read(path: Path) -> FrameFile:
    """The first stack of images in the file; earlier axes (scan positions) are run through one after another."""
    if find_spec("rsciio") is None:
        raise UnreadableInput(
            f"{path}: {path.suffix} files need the package rosettasciio", "pip install 'credo[rosettasciio]'"
        )
    signal, stack = _load(path)
    shape = checked_shape(path, *stack.shape)
    hints, dtype = _hints(path, signal), native_dtype(stack.dtype)
    if shape[0] == 1:
        # a folder may hold hundreds of such files: only their headers are kept
        return FrameFile(path, "rosettasciio", shape, dtype, lambda i: native(_load(path)[1][i]), hints)
    return FrameFile(path, "rosettasciio", shape, dtype, lambda i: native(stack[i]), hints)


def _load(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The largest signal of the file that is an image, and its images (n, rows, columns)."""
    reader = _reader(path)
    with reading(path, f"a {path.suffix} file"):
        try:
            signals = reader(str(path), lazy=False)
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
    images = [s for s in signals if np.ndim(s["data"]) >= 2 and min(np.shape(s["data"])[-2:]) > 1]
    if not images:
        raise UnreadableInput(f"{path}: holds no image", "leave it out")
    signal = max(images, key=lambda s: np.size(s["data"]))
    data = np.asarray(signal["data"])
    if data.dtype.kind not in "uif" or data.shape[-1] * data.shape[-2] > MAX_PIXELS:
        raise UnreadableInput(f"{path}: pixels of type {data.dtype}, shape {data.shape}", "give the raw frames")
    return signal, data.reshape(-1, *data.shape[-2:])


def _reader(path: Path) -> Any:
    """The function of rosettasciio that reads this suffix."""
    from rsciio import IO_PLUGINS

    suffix = path.suffix.lower().lstrip(".")
    for plugin in IO_PLUGINS:
        if suffix in plugin["file_extensions"]:
            try:
                return import_module(plugin["api"]).file_reader
            except ImportError as error:
                raise UnreadableInput(
                    f"{path}: rosettasciio needs the package {error.name} for {path.suffix} files",
                    f"pip install 'rosettasciio[all]', or only {error.name}",
                ) from error
    raise UnreadableInput(f"{path}: rosettasciio does not read {path.suffix}", "convert it")


def _hints(path: Path, signal: dict[str, Any]) -> Hints:
    """The beam energy, and the scale where the axes are reciprocal."""
    rows, columns = np.shape(signal["data"])[-2:]
    tem = _dig(signal.get("metadata", {}), "Acquisition_instrument", "TEM")
    energy = tem.get("beam_energy") if isinstance(tem, dict) else None
    length = tem.get("camera_length") if isinstance(tem, dict) else None
    stage = _dig(tem, "Stage") if isinstance(tem, dict) else None
    angle = stage.get("tilt_alpha") if isinstance(stage, dict) else None
    plausible = isinstance(energy, int | float) and 10 <= energy <= 3000
    return Hints(
        source=path.name,
        wavelength=wavelength_of(float(energy)) if plausible and energy is not None else None,
        q_per_pixel=_scale(signal.get("axes", [])),
        camera_length_mm=float(length) if isinstance(length, int | float) and length > 0 else None,
        start_deg=float(angle) if isinstance(angle, int | float) else None,
        shape=(int(rows), int(columns)),
    )


def _dig(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _scale(axes: list[dict[str, Any]]) -> float | None:
    """Å⁻¹ per pixel of the last axis, if its unit is reciprocal."""
    if not axes:
        return None
    unit = str(axes[-1].get("units") or "").replace(" ", "")
    scale = abs(float(axes[-1].get("scale") or 0.0))
    if scale <= 0:
        return None
    if unit in ("1/nm", "nm^-1", "1/nanometer"):
        return 0.1 * scale
    if unit in ("1/Å", "1/A", "A^-1", "Å^-1", "1/angstrom"):
        return scale
    if unit in ("1/m", "m^-1"):
        return 1e-10 * scale
    return None
