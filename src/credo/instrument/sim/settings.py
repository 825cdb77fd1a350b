"""What can be chosen about the simulated microscope: specimen, camera, how wrong the instrument is, and the seed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CameraSettings", "Imperfections", "SampleSettings", "SimulatorSettings"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleSettings(_Table):
    """The grid and what lies on it."""

    phases: tuple[str, ...] = Field(default=("ZSM-5",), description="shipped samples, or paths of CIFs")
    fractions: tuple[float, ...] = Field(default=(), description="share of each phase (equal when empty)")
    density: float = Field(default=0.015, ge=0, description="crystals per µm²")
    size_um: float = Field(default=0.8, gt=0, description="median length of a crystal [µm]")
    size_spread: float = Field(default=0.35, ge=0, description="rms of the logarithm of the length")
    aspect: float = Field(default=1.6, ge=1, description="length over width")
    thickness_ratio: float = Field(default=0.22, gt=0, description="thickness over length")
    round: bool = Field(default=False, description="many-sided crystals rather than prisms")
    mosaicity_deg: float = Field(default=0.10, ge=0, description="rms mosaic spread [deg]")
    bend_deg: float = Field(default=0.06, ge=0, description="rms spread of orientation over a bent crystal [deg]")
    preferred: tuple[float, float, float] | None = Field(
        default=None, description="direction [u v w] that points along the beam at zero tilt"
    )
    preferred_spread_deg: float = Field(default=10.0, ge=0, description="rms deviation from it [deg]")
    preferred_share: float = Field(default=1.0, ge=0, le=1, description="share of the crystals that lie so")
    clustered: float = Field(default=0.25, ge=0, le=1, description="share of crystals that touch another one")
    debris: float = Field(default=0.10, ge=0, description="amorphous particles per crystal")
    disorder: float = Field(
        default=0.0, ge=0, description="mean square displacement besides that of the structure [Å²]"
    )
    second_lattice: float = Field(default=0.05, ge=0, le=1, description="share of crystals with a second domain")
    loose: float = Field(default=0.0, ge=0, le=1, description="share of crystals that fall off after 0.3 to 3 e/Å²")
    film: Literal["continuous", "holey", "none"] = Field(default="continuous", description="the support")
    film_nm: float = Field(default=12.0, ge=0, description="thickness of the carbon [nm]")
    texture: float = Field(default=0.3, ge=0, description="rms relative variation of the film's thickness")
    hole_um: tuple[float, float] = Field(default=(4.0, 2.0), description="pitch and diameter of the film's holes [µm]")
    mesh: int = Field(default=400, ge=50, le=1000, description="squares per inch")
    film_waviness_um: float = Field(default=2.0, ge=0, description="rms height of the film [µm]")
    mean_free_path_um: float = Field(
        default=0.22, gt=0, description="of crystals, for scattering out of the image [µm]; larger: fainter shadows"
    )
    dynamical: float = Field(
        default=0.28, ge=0, description="0: kinematical; else systematic scatter of equivalents (28 % in real data)"
    )
    critical_fluence: float = Field(
        default=60.0, gt=0, description="fluence at which reflections of 2 Å have lost 1 − 1/e [e/Å²]"
    )
    gold: bool = Field(default=False, description="a film of gold grains: the powder rings of a calibration")


class CameraSettings(_Table):
    """One camera."""

    name: str = Field(default="timepix", description="its name")
    kind: Literal["timepix", "cmos"] = Field(default="timepix", description="counting chips with a cross, or CMOS")
    size: Literal[512, 516, 2048, 4096] = Field(default=516, description="pixels along an edge")
    pixel_um: float | None = Field(default=None, gt=0, description="pixel size [µm] (55 at 512 and 516; 15; 9)")
    psf_px: float = Field(default=0.75, gt=0, description="rms of the point spread [px]")
    gain: float = Field(default=1.0, gt=0, description="counts per electron")
    read_noise: float = Field(default=0.0, ge=0, description="rms read-out noise [counts]")
    offset: float = Field(default=0.0, ge=0, description="counts of a dark pixel")
    saturation: int = Field(default=11810, gt=0, le=65535, description="largest count")
    count_rate_ns: float = Field(default=0.0, ge=0, description="time a pixel is deaf after an electron [ns]")
    dead_time: float = Field(default=0.008, ge=0, description="between frames of a stream [s]")
    hot: float = Field(default=2e-5, ge=0, description="share of hot pixels")
    dead: float = Field(default=2e-5, ge=0, description="share of dead pixels")
    dropped: float = Field(default=0.0, ge=0, lt=1, description="share of a stream's frames that are lost")

    @property
    def pixel_size_um(self) -> float:
        return self.pixel_um or {512: 55.0, 516: 55.0, 2048: 15.0, 4096: 9.0}[self.size]


class Imperfections(_Table):
    """How wrong the instrument is; the seed draws the hidden values. ``Imperfections.none()``: a perfect one."""

    backlash_um: tuple[float, float, float] = Field(default=(0.5, 0.7, 0.3), description="slack of x, y, z [µm]")
    backlash_deg: float = Field(default=0.25, ge=0, description="slack of the tilt [deg]")
    arrival_um: float = Field(default=0.08, ge=0, description="rms error of a move's end, read out truly [µm]")
    readout_um: float = Field(default=0.01, ge=0, description="rms noise of x, y, z read-outs [µm]")
    readout_deg: float = Field(default=0.01, ge=0, description="rms noise of the tilt's read-out [deg]")
    readout_wave_deg: float = Field(default=0.05, ge=0, description="amplitude of its sinusoidal error [deg]")
    readout_period_deg: float = Field(default=12.0, gt=0, description="period of that error [deg]")
    tilt_scale: float = Field(default=0.002, ge=0, description="rms relative error of the true tilt")
    rotation_jitter_deg: float = Field(default=0.015, ge=0, description="rms of the rotation's own unevenness [deg]")
    wobble_deg: float = Field(default=0.02, ge=0, description="rms tilt of the rotation axis while it turns [deg]")
    height_um: float = Field(default=8.0, ge=0, description="rms of the eucentric height over the grid [µm]")
    swing_um: float = Field(default=1.5, ge=0, description="rms amplitude of the axis's sideways swing [µm]")
    unsteady_um: float = Field(default=0.39, ge=0, description="rms of its irregular part, over a few degrees [µm]")
    unsteady_new: float = Field(
        default=0.3, ge=0, le=1, description="share of its variance that is new whenever the tilt turns back"
    )
    drift_nm_s: float = Field(default=0.15, ge=0, description="rms thermal drift [nm/s]")
    creep: float = Field(default=0.03, ge=0, description="share of a move that comes late (at most 0.3 µm)")
    creep_s: float = Field(default=8.0, gt=0, description="its time constant [s]")
    calibration: float = Field(default=0.015, ge=0, description="rms relative error of nominal lengths and scales")
    rotation_deg: float = Field(default=4.0, ge=0, description="rms difference of orientations between modes [deg]")
    nonlinearity: float = Field(default=0.01, ge=0, description="relative excess of a deflector at full scale")
    misalignment: float = Field(default=1.0, ge=0, description="off-centre beam, pivots and lenses (1: as usual)")
    hysteresis: float = Field(default=12.0, ge=0, description="slack of the focusing lens [raw units]")
    ellipse_percent: float = Field(default=2.4, ge=0, description="elliptical distortion at 600 mm: axis ratio − 1 [%]")
    ellipse_azimuth_deg: float = Field(default=83.37, description="its long axis, from x to y in the image [deg]")
    pattern_jitter_px: float = Field(default=0.15, ge=0, description="rms jitter of the pattern between frames [px]")

    @classmethod
    def none(cls) -> Imperfections:
        """A perfect instrument."""
        zero = dict.fromkeys(cls.model_fields, 0.0)
        kept = {"creep_s": 1.0, "readout_period_deg": 1.0, "backlash_um": (0.0, 0.0, 0.0)}
        return cls.model_validate(zero | kept)


class SimulatorSettings(_Table):
    """The whole simulated microscope."""

    seed: int = Field(default=0, ge=0, description="same seed: same grid, same hidden errors, same noise")
    sample: SampleSettings = Field(default_factory=SampleSettings)
    cameras: tuple[CameraSettings, ...] = Field(default=(CameraSettings(),), description="the first is the default")
    imperfections: Imperfections = Field(default_factory=Imperfections)
    kilovolts: float = Field(default=200.0, gt=1, le=400, description="accelerating voltage [kV]")
    real_time: float = Field(default=0.0, ge=0, description="seconds per second on the wall; 0: as fast as possible")
    tilt_limit_deg: float = Field(default=72.0, gt=0, le=90, description="where the goniometer's limit switch is [deg]")
