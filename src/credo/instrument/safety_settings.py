"""The rules of the site that the guard keeps: limits, speeds, tolerances, waits, what the detector bears."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["DiffractionPreset", "HolderLimits", "Safety"]

_Range = tuple[float, float]
_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _ordered(ranges: dict[str, _Range | None]) -> None:
    for name, pair in ranges.items():
        if pair is not None and not pair[0] <= pair[1]:
            raise ValueError(f"{name}: the lower limit {pair[0]} is above the upper {pair[1]}")


class HolderLimits(BaseModel):
    """Tilts that one holder bears."""

    model_config = _STRICT
    a_deg: _Range = Field(default=(-70.0, 70.0), description="goniometer tilt, lowest and highest [deg]")
    b_deg: _Range | None = Field(default=None, description="second tilt [deg]; absent: the holder has none")

    @model_validator(mode="after")
    def _check(self) -> HolderLimits:
        _ordered({"a_deg": self.a_deg, "b_deg": self.b_deg})
        return self


class DiffractionPreset(BaseModel):
    """A setting of the optics at which a fragile camera may see the diffraction pattern."""

    model_config = _STRICT
    spotsize: tuple[int, int] = Field(default=(1, 20), description="smallest and largest spot size number")
    brightness: _Range | None = Field(
        default=None, description="lowest and highest brightness [unit of the instrument]"
    )
    camera_length_mm: _Range | None = Field(default=None, description="shortest and longest camera length [mm]")
    beamstop: bool = Field(default=False, description="whether the beam stop must be in")


class Safety(BaseModel):
    """Limits and tolerances of the process that owns the hardware; the defaults are cautious."""

    model_config = _STRICT
    x_um: _Range = Field(default=(-990.0, 990.0), description="stage x, lowest and highest [µm]")
    y_um: _Range = Field(default=(-990.0, 990.0), description="stage y [µm]")
    z_um: _Range = Field(default=(-220.0, 220.0), description="stage height [µm]")
    a_deg: _Range = Field(default=(-70.0, 70.0), description="goniometer tilt, of pole piece and cryo-box too [deg]")
    b_deg: _Range = Field(default=(-30.0, 30.0), description="second tilt [deg]")
    holders: dict[str, HolderLimits] = Field(
        default={}, description="limits of holders by the name the instrument gives"
    )
    speed_deg_s: _Range = Field(default=(0.01, 30.0), description="rotation speed [deg/s]")
    large_xy_um: float = Field(
        default=100.0, ge=0, description="moves in x, y longer than this are made at low tilt [µm]"
    )
    large_z_um: float = Field(default=20.0, ge=0, description="moves in z longer than this are made at low tilt [µm]")
    steep_deg: float = Field(
        default=10.0, ge=0, description="tilts above this are brought to 0 before a large move [deg]"
    )
    backlash_um: float = Field(default=10.0, ge=0, description="overshoot of backlash moves in x, y [µm]")
    backlash_deg: float = Field(default=1.0, ge=0, description="overshoot of backlash moves in tilt [deg]")
    first_move_um: float = Field(
        default=0.0, ge=0, description="longest move until `confirm` is called; 0: no rule [µm]"
    )
    first_move_deg: float = Field(
        default=0.0, ge=0, description="largest tilt until `confirm` is called; 0: no rule [deg]"
    )
    arrival_um: float = Field(default=0.15, gt=0, description="arrival tolerance in x, y [µm]")
    arrival_z_um: float = Field(default=0.5, gt=0, description="arrival tolerance in z [µm]")
    arrival_deg: float = Field(default=0.06, gt=0, description="arrival tolerance in tilt [deg]")
    arrival_tries: int = Field(
        default=3, ge=1, le=10, description="times a move is commanded before it counts as failed"
    )
    pole_touch_deg: float = Field(
        default=0.2, gt=0, description="a tilt that ends or turns back by this much: pole touch [deg]"
    )
    move_timeout_s: float = Field(default=60.0, gt=0, le=600, description="longest wait for one leg of a move [s]")
    poll_s: float = Field(default=0.05, gt=0, le=1, description="interval at which a move is watched [s]")
    start_grace_s: float = Field(default=1.0, ge=0, description="time within which a drive must have started [s]")
    hand_um: float = Field(
        default=5.0, ge=0, description="shift between our moves that counts as made by hand; 0: off [µm]"
    )
    hand_deg: float = Field(default=0.5, ge=0, description="the same in tilt; 0: off [deg]")
    beam_open_s: float = Field(
        default=120.0, gt=0, le=3600, description="longest time the beam stays on unattended [s]"
    )
    exposure_margin_s: float = Field(
        default=10.0, gt=0, le=60, description="a camera that is late by this much finds the beam off [s]"
    )
    blank_tries: int = Field(default=10, ge=1, description="times the blanker is commanded before the alarm")
    blank_retry_s: float = Field(default=0.5, ge=0, description="pause between these [s]")
    hang_s: float = Field(
        default=60.0, gt=0, description="a vendor call that takes longer raises the alarm (server) [s]"
    )
    diffraction: list[DiffractionPreset] = Field(default=[], description="approved settings for fragile cameras")
    max_current_density: float | None = Field(
        default=None, gt=0, description="screen current that passes the dose check"
    )
    dose_check_s: float = Field(default=600.0, gt=0, description="time that a passed dose check stays valid [s]")
    ready_s: float = Field(default=10.0, ge=0, description="age at which vacuum and the like are asked again [s]")
    min_disk_gb: float = Field(default=1.0, ge=0, description="free disk below which no acquisition begins [GB]")

    @model_validator(mode="after")
    def _check(self) -> Safety:
        _ordered({n: getattr(self, n) for n in ("x_um", "y_um", "z_um", "a_deg", "b_deg", "speed_deg_s")})
        return self
