"""An image of the specimen at low magnification: its shadow, sharpened or blurred by defocus."""

from __future__ import annotations

import numpy as np

from credo.instrument.sim.crystals import Crystals
from credo.instrument.sim.goniometer import Pose
from credo.instrument.sim.optics import Illumination, ImageGeometry
from credo.instrument.sim.shadow import shadow
from credo.instrument.sim.specimen import Specimen
from credo.kernels.shadow import fringe

__all__ = ["render_image"]


def render_image(
    specimen: Specimen, crystals: Crystals, beam: Illumination, geometry: ImageGeometry, poses: list[Pose], size: int,
    pixel_mm: float, seconds: float, focus_um: float,
) -> np.ndarray:  # fmt: skip
    """Expected electrons (size, size) float32, the mean over the exposure; ``poses`` bound its parts.

    Defocus Δf [µm], the objective's setting less the specimen's height: fringes by the transport of intensity,
    I (1 − Δf λ/2π ∇²φ), the phase φ taken as proportional to the optical depth, and a blur that grows with Δf.
    """
    m = geometry.matrix / pixel_mm
    origin = np.array([size / 2, size / 2]) + geometry.shift / pixel_mm
    per_pixel = beam.flux * seconds / abs(float(np.linalg.det(m)))
    k0 = np.array([0.0, 0.0, 1.0]) / specimen.wavelength
    share, shape = per_pixel / (len(poses) - 1), (size, size)
    total = shadow(specimen, crystals, poses[0], beam, m, origin, shape, share, k0, np.eye(2))
    for pose in poses[1:-1]:
        total += shadow(specimen, crystals, pose, beam, m, origin, shape, share, k0, np.eye(2))
    defocus = focus_um - float(poses[len(poses) // 2].place(np.append(poses[0].centre[:2], 0.0)[None])[0, 2])
    _add_fringes(total, defocus, specimen.wavelength, 1 / np.sqrt(abs(float(np.linalg.det(m)))))
    return total


def _add_fringes(image: np.ndarray, defocus_um: float, wavelength: float, pixel_um: float) -> None:
    """Fringes from −∇² ln I; about 3 rad of phase go with an optical depth of 1."""
    strength = 3.0 * defocus_um * wavelength * 1e-4 / (2 * np.pi) / pixel_um**2
    if abs(strength) >= 2e-3:
        fringe(image, strength)
