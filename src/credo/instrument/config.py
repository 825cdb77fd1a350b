"""The configuration of an instrument: one TOML file in four parts, global, microscope, camera and calibration."""

from __future__ import annotations

import datetime as dt
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from credo.instrument.safety_settings import Safety
from credo.model.errors import UnreadableInput

__all__ = [
    "Calibration", "CameraPart", "Configuration", "GlobalPart", "Measured", "MeasuredMatrix", "MeasuredPair",
    "MicroscopePart", "ServerPart", "default_path", "load", "read", "validated",
]  # fmt: skip

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)
_LIMIT = 4_000_000


class _Part(BaseModel):
    model_config = _STRICT


class Measured(_Part):
    """A calibrated number with what one must know to trust it."""

    value: float = Field(description="the value, in the unit of the table it stands in")
    esd: float | None = Field(default=None, ge=0, description="standard uncertainty, in the same unit")
    date: dt.date | None = Field(default=None, description="day of the measurement")
    conditions: str = Field(default="", description="mode, spot size, holder, how it was measured")
    at: dict[str, float | str] = Field(default={}, description="settings of the instrument that it holds at")


class MeasuredMatrix(_Part):
    """A calibrated 2 × 2 matrix, rows first."""

    value: tuple[tuple[float, float], tuple[float, float]] = Field(description="the matrix, in the unit of its table")
    esd: float | None = Field(default=None, ge=0, description="standard uncertainty of an element")
    date: dt.date | None = Field(default=None, description="day of the measurement")
    conditions: str = Field(default="", description="mode, spot size, holder, how it was measured")
    at: dict[str, float | str] = Field(default={}, description="settings of the instrument that it holds at")


class MeasuredPair(_Part):
    """Two calibrated numbers that belong together."""

    value: tuple[float, float] = Field(description="the values, in the units of the table they stand in")
    esd: tuple[float, float] | None = Field(default=None, description="standard uncertainties, in the same units")
    date: dt.date | None = Field(default=None, description="day of the measurement")
    conditions: str = Field(default="", description="mode, spot size, holder, how it was measured")
    at: dict[str, float | str] = Field(default={}, description="settings of the instrument that it holds at")


class ServerPart(_Part):
    """Where `credo serve` listens, and where clients look for it."""

    host: str = Field(default="127.0.0.1", description="address to listen at; other than loopback needs token_file")
    port: int = Field(default=8701, ge=0, le=65535, description="TCP port")
    token_file: Path | None = Field(
        default=None, description="file with the secret that clients from outside must know"
    )
    connect: bool = Field(default=False, description="whether a controller connects to the server at host and port")


class GlobalPart(_Part):
    """What does not belong to one instrument."""

    data_directory: Path | None = Field(default=None, description="where collected data go")
    log_directory: Path | None = Field(default=None, description="where the log of commands and the journal go")
    server: ServerPart = Field(default_factory=ServerPart, description="the instrument server")


class MicroscopePart(_Part):
    """Which instrument, and the rules of the site."""

    name: str = Field(default="simulated", description="name for people")
    driver: str = Field(default="simulated", description="simulated, jeol, thermofisher, remote, or another package's")
    high_tension_kv: float = Field(default=200.0, gt=0, le=3000, description="nominal high tension, never set [kV]")
    options: dict[str, Any] = Field(default={}, description="the driver's own settings")
    safety: Safety = Field(default_factory=Safety, description="limits, tolerances, waits")


class CameraPart(_Part):
    """How the camera is used unless a call says otherwise."""

    name: str | None = Field(default=None, description="which of the instrument's cameras; its first if absent")
    exposure_s: float = Field(default=0.1, gt=0, description="exposure unless told otherwise [s]")
    binning: int = Field(default=1, ge=1, description="binning unless told otherwise")
    pixel_size_um: float | None = Field(default=None, gt=0, description="physical pixel size [µm]")
    shape: tuple[int, int] | None = Field(default=None, description="rows and columns, unbinned")
    saturation: int | None = Field(default=None, gt=0, description="largest count that can be trusted")


class Calibration(_Part):
    """What was measured on this instrument. Pixels are unbinned ones."""

    diffraction: dict[str, Measured] = Field(default={}, description="Å⁻¹ per pixel, by camera length [mm]")
    imaging: dict[str, dict[str, Measured]] = Field(default={}, description="nm per pixel, by mode and magnification")
    rotation_axis_deg: Measured | None = Field(
        default=None, description="direction of the tilt axis on the image, from columns towards rows [deg]"
    )
    ellipse_percent: Measured | None = Field(default=None, description="elongation of circles in diffraction [%]")
    ellipse_azimuth_deg: Measured | None = Field(
        default=None, description="direction of the long axis, from columns towards rows [deg]"
    )
    stage: dict[str, dict[str, MeasuredMatrix]] = Field(
        default={}, description="nm of stage (x, y) per pixel (column, row), by mode and magnification"
    )
    deflectors: dict[str, dict[str, MeasuredMatrix]] = Field(
        default={},
        description="pixels (column, row) per unit, by optics (mag1@2500, diff@600+1500) and deflector",
    )
    axis_deg: dict[str, Measured] = Field(
        default={}, description="direction of the tilt axis, from columns towards rows, by optics (mag1@2500) [deg]"
    )
    ellipse: dict[str, MeasuredPair] = Field(
        default={}, description="elongation [%] and azimuth of its long axis [deg], by camera length [mm]"
    )
    focus: dict[str, Measured] = Field(
        default={}, description="difffocus of a sharp pattern, approached from below, by camera length [mm]"
    )
    beam: MeasuredPair | None = Field(
        default=None, description="brightness of the smallest beam, and the beam's radius per unit off it [µm]"
    )
    brightness: dict[str, MeasuredPair] = Field(
        default={}, description="walk of the beam, pixels (column, row) per unit of brightness, by optics"
    )
    dead_time_s: Measured | None = Field(default=None, description="of the camera, between frames of a stream [s]")
    rotation: dict[str, MeasuredPair] = Field(
        default={}, description="time per degree [s/deg] and delay [s] of a rotation, by speed [deg/s]"
    )
    rotation_s_per_deg: Measured | None = Field(default=None, description="time per degree at speed 1 [s/deg]")
    rotation_delay_s: Measured | None = Field(default=None, description="time lost before a rotation begins [s]")

    @field_validator("diffraction", "imaging", "stage", "ellipse", "focus", "rotation")
    @classmethod
    def _numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key, inner in value.items():
            for name in inner if isinstance(inner, dict) else (key,):
                float(name)
        return value


class Configuration(_Part):
    """The whole file."""

    global_: GlobalPart = Field(default_factory=GlobalPart, alias="global", description="not of one instrument")
    microscope: MicroscopePart = Field(default_factory=MicroscopePart, description="the instrument")
    camera: CameraPart = Field(default_factory=CameraPart, description="the camera")
    calibration: Calibration = Field(default_factory=Calibration, description="what was measured")


def default_path() -> Path:
    """Where the configuration is looked for: ``$CREDO_CONFIG``, else the user's folder of the platform."""
    if named := os.environ.get("CREDO_CONFIG"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    return base / "credo" / "instrument.toml"


def load(path: Path | None = None) -> Configuration:
    """The configuration at ``path``, or at the default place, or, where no file is, the simulated instrument's."""
    if path is not None:
        return read(path)
    where = default_path()
    return read(where) if where.exists() or "CREDO_CONFIG" in os.environ else Configuration()


def read(path: Path) -> Configuration:
    """Read and validate; ``UnreadableInput`` names the file, the place in it and what is allowed there."""
    try:
        if path.stat().st_size > _LIMIT:
            raise UnreadableInput(f"{path} is larger than {_LIMIT} bytes: not a configuration")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableInput(f"{path}: {error.strerror}", "credo config write PATH makes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{path} is not TOML: {error}", "mend that line") from None
    return validated(table, str(path))


def validated(table: dict[str, Any], name: str) -> Configuration:
    """A table as a configuration; every fault is told with its place."""
    try:
        return Configuration.model_validate(table)
    except ValidationError as error:
        faults = [f"[{'.'.join(map(str, e['loc']))}] {e['msg']}" for e in error.errors()]
        raise UnreadableInput(f"{name}: {'; '.join(faults[:10])}", "credo config show lists what there is") from None
