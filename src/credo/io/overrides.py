"""What the user says about the geometry; it overrules every file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from credo.io.electron import wavelength_of

__all__ = ["GeometryOverrides"]


class GeometryOverrides(BaseModel):
    """Geometry given by hand. All that is left out comes from the files, or from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wavelength: float | None = Field(default=None, gt=0.001, lt=0.2, description="Wavelength [Å].")
    voltage: float | None = Field(
        default=None, ge=10, le=3000, description="High tension [kV], instead of the wavelength."
    )
    pixel_size: float | None = Field(default=None, gt=0, lt=1, description="Reciprocal size of a pixel [Å⁻¹/px].")
    distance: float | None = Field(
        default=None, gt=0, description="Effective camera length [mm], instead of pixel_size."
    )
    detector_pixel: float | None = Field(default=None, gt=0, lt=1, description="Physical size of a pixel [mm].")
    axis: float | None = Field(
        default=None,
        ge=-360,
        le=360,
        description="Rotation axis in the image, from +x (right) towards +y (down) [deg].",
    )
    start: float | None = Field(
        default=None, ge=-360, le=360, description="Angle at which the first frame starts [deg]."
    )
    step: float | None = Field(default=None, ge=-20, le=20, description="Rotation per frame, signed [deg].")
    beam_center: tuple[float, float] | None = Field(default=None, description="Direct beam (x, y) [px].")
    saturation: float | None = Field(default=None, gt=0, description="Counts at which a pixel saturates.")
    frames: tuple[int, int] | None = Field(default=None, description="First and last frame number to use.")

    @model_validator(mode="after")
    def _one_of_each(self) -> GeometryOverrides:
        if self.wavelength is not None and self.voltage is not None:
            raise ValueError("give the wavelength or the voltage, not both")
        if self.pixel_size is not None and self.distance is not None:
            raise ValueError("give the pixel size or the distance, not both")
        if self.step == 0:
            raise ValueError("the step must not be zero")
        return self

    @property
    def given_wavelength(self) -> float | None:
        """λ [Å], from the wavelength or the voltage."""
        return wavelength_of(self.voltage) if self.voltage is not None else self.wavelength
