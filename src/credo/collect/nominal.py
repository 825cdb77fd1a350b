"""What the simulated instrument's data sheet says, for plans that run before anything was calibrated.

Directions and sizes are those of a 200 kV JEOL with a camera 55 µm per pixel below the screen; an instrument differs
from them by what the standard uncertainties here say. Real instruments have no such table: they must be calibrated.
"""

from __future__ import annotations

import numpy as np

from credo.instrument.config import Measured, MeasuredMatrix

__all__ = ["NOMINAL", "deflector", "image_scale", "pattern_scale", "rotation_axis", "stage"]

#: What ``conditions`` of a nominal value begin with.
NOMINAL = "nominal"
#: Relative uncertainty of lengths, of directions [deg].
_LENGTH, _ANGLE = 0.03, 5.0
#: Direction of the tilt axis in patterns and in images; the shadow image's turn against the pattern [deg].
_AXIS, _IMAGE_AXIS, _SHADOW_TURN = 141.0, 101.0, 18.0
#: Shadow image: camera mm per specimen µm and unit of defocus, at 600 mm.
_SHADOW = 3.2e-3
#: Beam on the specimen [µm per unit, direction], beam tilt [rad], pattern [rad], image [µm], pattern per defocus [rad].
_COILS = {
    "beamshift": ((0.025, -38.0), (2.5e-6, 61.0), (0, 0), (0, 0), (0, 0)),
    "beamtilt": ((0.001, 115.0), (5.56e-6, 20.0), (0, 0), (0, 0), (0, 0)),
    "imageshift1": ((0, 0), (0, 0), (0.9e-6, 152.0), (0.010, 33.0), (1.6e-9, -41.0)),
    "imageshift2": ((0, 0), (0, 0), (1.4e-6, -64.0), (0.008, -75.0), (0.7e-9, 97.0)),
    "diffshift": ((0, 0), (0, 0), (2.2e-6, 12.0), (0.0004, 50.0), (0, 0)),
}


def _polar(size: float, degrees: float) -> np.ndarray:
    """(2, 2): a turn by ``degrees`` from columns towards rows, times ``size``."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return size * np.array([[c, -s], [s, c]])


def _number(value: float, share: float = _LENGTH) -> Measured:
    return Measured(value=value, esd=abs(share * value), conditions=f"{NOMINAL}, not calibrated")


def _matrix(value: np.ndarray) -> MeasuredMatrix:
    esd = float(np.hypot(_LENGTH, np.radians(_ANGLE)) * np.abs(value).max())
    (a, b), (c, d) = value.tolist()
    return MeasuredMatrix(value=((a, b), (c, d)), esd=esd, conditions=f"{NOMINAL}, not calibrated")


def pattern_scale(camera_length: float, wavelength: float, pixel_um: float) -> Measured:
    """Å⁻¹ per pixel: p/(λ L)."""
    return _number(1e-3 * pixel_um / (wavelength * camera_length))


def image_scale(magnification: float, pixel_um: float) -> Measured:
    """nm per pixel."""
    return _number(1e3 * pixel_um / magnification)


def rotation_axis() -> Measured:
    """Direction of the tilt axis in the pattern [deg]."""
    return Measured(value=_AXIS, esd=_ANGLE, conditions=f"{NOMINAL}, not calibrated")


def stage(magnification: float, pixel_um: float) -> MeasuredMatrix:
    """nm of stage (x, y) per pixel (column, row)."""
    return _matrix(_polar(1e3 * pixel_um / magnification, -_IMAGE_AXIS))


def deflector(mode: str, name: str, magnification: float, defocus: float, pixel_um: float) -> MeasuredMatrix | None:
    """Pixels (column, row) per unit of a deflector in an image or a pattern; None for one that is not in the table."""
    if name not in _COILS:
        return None
    position, tilt, pattern, image, defocused = (_polar(*both) for both in _COILS[name])
    mm = 1e-3 * pixel_um
    if mode != "diff":
        return _matrix(1e-3 * magnification * _polar(1.0, _IMAGE_AXIS) @ (position + image) / mm)
    shadow = _SHADOW * defocus * (magnification / 600) * _polar(1.0, _AXIS + _SHADOW_TURN)
    rays = _polar(1.0, _AXIS) @ tilt + pattern + defocus * defocused
    return _matrix((magnification * rays + shadow @ position) / mm)
