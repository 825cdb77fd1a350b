"""From another program's laboratory frame, beam and detector axes to credo's: +x columns, +y rows, +z the beam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model import Detector, Ellipse

__all__ = ["LabFrame", "lab_frame"]


@dataclass(frozen=True)
class LabFrame:
    """``rotation`` (3, 3): v_credo = rotation · v_file. ``keystone_px``: what the detector's tilt moves at the corner
    and a detector normal to the beam cannot follow."""

    rotation: np.ndarray
    detector: Detector
    keystone_px: float

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence when the tilt matters."""
        if self.keystone_px < 0.2:
            return ()
        return (
            f"The file's detector is tilted against the beam: it was taken as normal to it, which moves spots at the "
            f"corners by up to {self.keystone_px:.1f} px.",
        )


def lab_frame(
    beam: np.ndarray,
    fast: np.ndarray,
    slow: np.ndarray,
    corner_mm: np.ndarray,
    pixel_mm: tuple[float, float],
    shape: tuple[int, int],
    wavelength: float,
    **detector,
) -> LabFrame:
    """Turn a flat detector anywhere into credo's, normal to the beam.

    beam (3,): direction in which the beam travels; fast, slow (3,): directions of rising columns and rows; corner_mm
    (3,): the outer corner of pixel (0, 0) from the crystal; pixel_mm: (fast, slow); shape: (rows, columns);
    wavelength [Å]. ValueError for a detector that the beam misses, or that is seen from behind (mirror images).

    With the polar decomposition J = R S of the detector axes seen along the beam, R turns the frame and the symmetric
    S is pixel size and ellipse (oblong pixels and foreshortening are an ellipse); only the keystone is left.
    """
    b, fast, slow, corner = (np.asarray(v, dtype=float) for v in (beam, fast, slow, corner_mm))
    b, fast, slow = (v / _length(v) for v in (b, fast, slow))
    normal = np.cross(fast, slow)
    if abs(b @ normal) < 0.1 * np.linalg.norm(normal) or not np.linalg.norm(normal) > 0.1:
        raise ValueError("the detector is edge-on to the beam")
    distance = (corner @ normal) / (b @ normal)
    if not 0.001 < wavelength < 0.2:
        raise ValueError(f"a wavelength of {wavelength:g} Å is not an electron's (0.001 to 0.2 Å)")
    if not (1e-3 < distance < 1e9 and min(pixel_mm) > 0 and max(pixel_mm) < 1e3):
        raise ValueError(f"the beam does not meet the detector (distance {distance:.6g} mm, pixel {pixel_mm} mm)")
    hit = distance * b - corner
    gram = np.array([[1.0, fast @ slow], [fast @ slow, 1.0]])
    origin = np.linalg.solve(gram, [hit @ fast, hit @ slow]) / pixel_mm
    ex = fast - (fast @ b) * b
    ex = ex / np.linalg.norm(ex)
    ey = np.cross(b, ex)
    j = np.array([[fast @ ex, slow @ ex], [fast @ ey, slow @ ey]]) * pixel_mm
    if np.linalg.det(j) <= 0:
        raise ValueError("the detector is seen from behind: its images are mirrored; flip the rows of the images")
    w, d, vt = np.linalg.svd(j)
    turn, s = w @ vt, vt.T @ np.diag(d) @ vt
    axes = np.stack([turn[0, 0] * ex + turn[1, 0] * ey, turn[0, 1] * ex + turn[1, 1] * ey, b])
    inverse = np.linalg.inv(s)
    q = 2 / (wavelength * distance * np.trace(inverse))
    m = q * wavelength * distance * inverse
    e1, e2 = float(m[0, 0] - 1), float(m[0, 1])
    pixel = pixel_mm[0] if pixel_mm[0] == pixel_mm[1] else float(np.sqrt(pixel_mm[0] * pixel_mm[1]))
    made = Detector(
        shape=shape, q_per_pixel=float(q), origin=(float(origin[0]), float(origin[1])), pixel_size_mm=float(pixel),
        ellipse=Ellipse.from_components(e1, e2) if np.hypot(e1, e2) > 1e-6 else Ellipse(), **detector,
    )  # fmt: skip
    tilt = float(np.linalg.norm(np.cross(b, normal)) / np.linalg.norm(normal))
    far = 0.25 * (shape[0] ** 2 + shape[1] ** 2)
    return LabFrame(axes, made, float(tilt * far * pixel / distance))


def _length(v: np.ndarray) -> float:
    norm = float(np.linalg.norm(v))
    if v.shape != (3,) or not 1e-9 < norm < 1e9:
        raise ValueError(f"{v} is not a direction")
    return norm
