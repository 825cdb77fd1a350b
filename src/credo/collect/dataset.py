"""One data set while it is collected: frames stream into an NXmx file, their measured angles follow at its end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from credo import __version__
from credo.collect.angles import Turning, fit_turning
from credo.collect.rig import Rig
from credo.collect.serial_images import beam_centre
from credo.collect.steps import Shot
from credo.io.nxmx_stream import GrowingNXmx, mend, read_columns
from credo.io.project import write_json
from credo.model import Beam, Detector, Ellipse, Experiment, Goniometer, Scan
from credo.model.errors import CannotDo, CredoError

__all__ = ["CENTRED", "COLUMNS", "DataSet", "beam_place", "geometry", "measured_angles", "recover"]

#: What is kept of every frame besides NXmx's own columns, with its unit.
COLUMNS = {
    "x": "um", "y": "um", "z": "um", "b": "deg", "time_before": "s", "a_before": "deg", "time_after": "s",
    "a_after": "deg", "tilt": "deg", "dose": "e/angstrom^2",
}  # fmt: skip
#: Block whose sum finds the direct beam, and half of the neighbourhood in which it is then centred [px].
_BLOCK, _AROUND = 4, 40
#: Frames of which the direct beam's place is measured.
CENTRED = 25


def geometry(rig: Rig, camera_length: float, shape: tuple[int, int], binning: int = 1) -> Experiment:
    """What the calibrations say of patterns at ``camera_length`` [mm]; the scan is empty, the beam in the middle."""
    scale, axis = rig.q_per_pixel(camera_length), rig.rotation_axis_deg()
    found = rig.ellipse(camera_length)
    detector = Detector(
        shape=shape,
        q_per_pixel=scale.value * binning,
        origin=(shape[1] / 2, shape[0] / 2),
        pixel_size_mm=1e-3 * rig.camera.pixel_size_um * binning,
        saturation=float(rig.camera.saturation),
        ellipse=Ellipse() if found is None else Ellipse(found.value[0], found.value[1] % 180),
    )
    return Experiment(
        Beam(rig.wavelength),
        detector,
        Goniometer.in_plane(axis.value),
        Scan.regular(0, 0.0, 1.0),
        known=("wavelength", "q_per_pixel", "pixel_size", "axis", "angles"),
    )


def _image(rig: Rig, shape: tuple[int, int], binning: int) -> Experiment:
    """For images of the grid, which have no reciprocal scale: placeholders that nobody is told are known."""
    pixel = 1e-3 * rig.camera.pixel_size_um * binning
    detector = Detector(shape, 1e-3, (shape[1] / 2, shape[0] / 2), pixel, saturation=float(rig.camera.saturation))
    return Experiment(Beam(rig.wavelength), detector, Goniometer.in_plane(0.0), Scan.regular(0, 0.0, 1.0))


@dataclass
class _Counter:
    """Numbers of a rotation's frames: those of the camera's stream, and by the clock where a stream begins anew."""

    beat: float
    number: int = 0
    _stream: int = -1
    _last: tuple[int, float] = (0, 0.0)

    def next(self, stream: int, number: int, began: float) -> int:
        if self.number == 0:
            self.number = 1
        else:
            by_clock = round((began - self._last[1]) / self.beat)
            counted = number - self._last[0] if stream == self._stream else by_clock
            self.number += max(1, counted)
        self._stream, self._last = stream, (number, began)
        return self.number


class DataSet:
    """``folder``/frames.h5 and collect.json of the data set ``name``; ``sort``: rotation, steps or stills.

    A frame's number counts the camera's beats, so that frames which were lost or used for looking are gaps.
    """

    def __init__(self, folder: Path, name: str, sort: str, about: Mapping[str, Any], rig: Rig) -> None:
        self.folder, self.name, self.sort, self.about, self.rig = folder, name, sort, dict(about), rig
        self._store: GrowingNXmx | None = None
        self._counter: _Counter | None = None
        self._centres: list[np.ndarray] = []
        self._began = self._ended = 0.0
        self.n_frames = 0

    def turned(self, facts: Mapping[str, Any]) -> None:
        """The drive was told to turn: facts of the engine's event."""
        self.about["turn_speed"] = signed_speed(facts)

    @property
    def path(self) -> Path:
        return self.folder / "frames.h5"

    def add(self, shot: Shot, facts: Mapping[str, Any]) -> int:
        """Write the frame; returns its number. A full disk raises CannotDo."""
        frame = shot.frame
        if self._store is None:
            self._open(shot)
        assert self._store is not None and self._counter is not None
        number = self.n_frames + 1
        if self.sort == "rotation":
            number = self._counter.next(int(facts.get("stream", 0)), frame.number, frame.began)
        self._ended = max(self._ended, frame.ended)
        rate = self.about.get("dose_rate")
        dose = float(rate) * (self._ended - self._began) if rate else np.nan
        tilt = float(facts.get("tilt_deg", 0.0))
        start, end = self._provisional(shot, tilt)
        before, after = shot.before, shot.after
        self._store.append(
            frame.data,
            {
                "number": number, "timestamp": frame.began, "exposure": frame.ended - frame.began, "omega": start,
                "omega_end": end, "x": before.x, "y": before.y, "z": before.z, "b": before.b,
                "time_before": before.time, "a_before": before.a, "time_after": after.time, "a_after": after.a,
                "tilt": tilt, "dose": dose,
            },
        )  # fmt: skip
        if not self.about.get("imaging"):
            self._centre(frame.data)
        self.n_frames += 1
        return number

    def _open(self, shot: Shot) -> None:
        frame, rows_columns = shot.frame, (int(shot.image.shape[0]), int(shot.image.shape[1]))
        if self.about.get("imaging"):
            experiment = _image(self.rig, rows_columns, frame.binning)
        else:
            experiment = self._patterns(rows_columns, frame.binning)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._store = GrowingNXmx(self.path, experiment, frame.data.dtype, COLUMNS, frame.exposure)
        self._counter = _Counter(frame.exposure + self.rig.dead_time)
        self._began = frame.began

    def _patterns(self, rows_columns: tuple[int, int], binning: int) -> Experiment:
        length = float(self.about.get("camera_length_mm") or self.rig.settings.get("magnification") or 0.0)
        return geometry(self.rig, length, rows_columns, binning)

    def _provisional(self, shot: Shot, tilt: float) -> tuple[float, float]:
        """Start and end by the two read-outs alone, until the fit of all of them."""
        before, after, frame = shot.before, shot.after, shot.frame
        if self.sort != "rotation":
            return _step(0.5 * (before.a + after.a) + tilt, self.about)
        speed = (after.a - before.a) / (after.time - before.time) if after.time > before.time else 0.0
        return before.a + speed * (frame.began - before.time), before.a + speed * (frame.ended - before.time)

    def _centre(self, image: np.ndarray) -> None:
        if len(self._centres) < CENTRED:
            try:
                self._centres.append(beam_place(image))
            except CredoError:
                return

    def close(self, reason: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the measured angles and collect.json; returns what the report tells of the data set."""
        if self._store is None:
            return self._finish(reason, facts, {}, None)
        columns = read_columns(self.path)
        final, turning = measured_angles(columns, self.sort, self.about)
        origin = tuple(np.median(self._centres, axis=0).tolist()) if self._centres else None
        self._store.close(final, origin)
        return self._finish(reason, facts, columns | final, turning, origin)

    def abandon(self) -> None:
        """After a write that failed: let go of the file; what is in it stays."""
        if self._store is not None:
            self._store.abandon()

    def _finish(self, reason, facts, columns, turning: Turning | None, origin=None) -> dict[str, Any]:
        told = _record(self.name, self.sort, self.about, self.rig, reason, facts, columns, turning, origin)
        if self._store is not None:
            write_json(self.folder / "collect.json", told)
        return told


def beam_place(image: np.ndarray) -> np.ndarray:
    """Place (x, y) [px] of the direct beam: ``beam_centre`` of the neighbourhood of the brightest block, quickly."""
    rows, columns = (n // _BLOCK * _BLOCK for n in image.shape)
    blocks = np.zeros((rows // _BLOCK, columns // _BLOCK), dtype=np.float32)
    for i, j in ((0, 0), (0, 2), (2, 0), (2, 2)):  # every other pixel is enough
        blocks += image[i:rows:_BLOCK, j:columns:_BLOCK]
    i, j = np.unravel_index(int(blocks.argmax()), blocks.shape)
    low = np.maximum(np.array([i, j]) * _BLOCK - _AROUND, 0)
    part = image[low[0] : low[0] + 2 * _AROUND, low[1] : low[1] + 2 * _AROUND]
    return beam_centre(part) + low[::-1]


def signed_speed(facts: Mapping[str, Any]) -> float:
    """[deg/s] of an event "turn", negative for a turning down."""
    return float(facts["speed"]) * (1.0 if float(facts["to"]) >= float(facts["a"]) else -1.0)


def _step(angle: float, about: Mapping[str, Any]) -> tuple[float, float]:
    """A still stands for the step around it."""
    half = 0.5 * float(about.get("step_deg", 0.0))
    return angle - half, angle + half


def measured_angles(
    columns: Mapping[str, np.ndarray], sort: str, about: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], Turning | None]:
    """``omega`` and ``omega_end`` (n,) [deg] from all read-outs; of stills, each from its own."""
    if sort != "rotation" or len(columns["omega"]) < 2:
        return {}, None
    time = np.concatenate([columns["time_before"], columns["time_after"]])
    told = about.get("turn_speed")
    readout = np.concatenate([columns["a_before"], columns["a_after"]])
    turning = fit_turning(time, readout, float(told) if told else None)
    began = columns["timestamp"]
    ended = began + columns["exposure"]
    return {"omega": turning.angle(began), "omega_end": turning.angle(ended)}, turning


def recover(folder: Path, sort: str, about: Mapping[str, Any], rig: Rig, reason: str) -> dict[str, Any] | None:
    """Finish a data set that a crash left open: its whole frames, their angles, collect.json; None if it has none."""
    path = folder / "frames.h5"
    if not path.exists():
        return None
    try:
        columns = read_columns(path)
    except (OSError, KeyError) as error:
        raise CannotDo(f"{path}: a crash left it unreadable ({error})", "keep it aside and go on without it") from error
    final, turning = measured_angles(columns, sort, about)
    if mend(path, final) == 0:
        return None
    told = _record(folder.name, sort, about, rig, reason, {}, {**columns, **final}, turning, None)
    write_json(folder / "collect.json", told)
    return told


def _record(name, sort, about, rig: Rig, reason, facts, columns, turning: Turning | None, origin) -> dict[str, Any]:
    """collect.json: plain numbers with their units in the keys."""
    n = len(columns.get("number", ()))
    told: dict[str, Any] = {"credo": "collection", "version": __version__, "name": name, "kind": sort}
    about = dict(about)
    told["calibrations"] = about.pop("calibrations", [])
    told |= {"reason_ended": reason, "n_frames": n, "about": about, "facts": dict(facts)}
    if n:
        numbers, start, end = columns["number"].astype(int), columns["omega"], columns["omega_end"]
        exposed = float(columns["timestamp"][-1] + columns["exposure"][-1] - columns["timestamp"][0])
        told |= {
            "start_deg": float(start[0]),
            "end_deg": float(end[-1]),
            "rotation_range_deg": float(abs(end[-1] - start[0])),
            "frames_missing": int(numbers[-1] - numbers[0] + 1 - n),
            "exposure_s": float(np.median(columns["exposure"])),
            "beam_on_s": exposed,
            "dose_e_per_A2": _finite(columns["dose"][-1]),
            "position_um": [float(np.median(columns[k])) for k in "xyz"],
            "beam_center": None if origin is None else list(origin),
        }
        told["acquisition"] = _acquisition(sort, about, rig, told, exposed)
    if turning is not None:
        told["rotation"] = {
            "speed_deg_s": turning.speed, "angle_esd_deg": turning.esd, "readout_scatter_deg": turning.scatter,
            "even": turning.even,
        }  # fmt: skip
        told["acquisition"]["speed_deg_s"] = abs(turning.speed)
    return told


def _acquisition(sort, about, rig: Rig, told: Mapping[str, Any], exposed: float) -> dict[str, Any]:
    """What a CIF asks for (see model.Acquisition)."""
    began = dt.datetime.fromtimestamp(about.get("began", 0.0), dt.UTC)
    known = {
        "mode": "rotation" if sort == "rotation" else "stepwise" if sort == "steps" else None,
        "rotation_deg": told["rotation_range_deg"],
        "exposed_s": exposed if sort == "rotation" else told["exposure_s"] * told["n_frames"],
        "flux": about.get("dose_rate"),
        "tracking": None if about.get("tracking") is None else about["tracking"] != "none",
        "tracking_method": about.get("tracking"),
        "microscope": rig.instrument,
        "camera": rig.camera.name,
        "software": f"credo {__version__}",
        "date": began.date().isoformat(),
    }
    return {key: value for key, value in known.items() if value is not None}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
