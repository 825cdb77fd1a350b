"""The instrument as the data see it: beam, optics, detector, lens ellipse, goniometer and scan."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from credo.kernels.rotation import rotation_matrix
from credo.model.value import Value, array_field

__all__ = ["Beam", "Detector", "Ellipse", "Goniometer", "Optics", "Scan"]


@dataclass(frozen=True, eq=False)
class Beam(Value):
    """The electron beam, which travels along +z. ``wavelength`` [Å]."""

    wavelength: float
    convergence_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 0.001 < self.wavelength < 0.2:
            raise ValueError(f"Beam: wavelength {self.wavelength} Å is not an electron's (0.001 to 0.2 Å)")

    @property
    def s0(self) -> np.ndarray:
        """Incident wave vector (3,) [Å⁻¹]."""
        return np.array([0.0, 0.0, 1.0 / self.wavelength])


@dataclass(frozen=True, eq=False)
class Optics(Value):
    """What the lenses were set to, as far as it is known."""

    mode: str = "diffraction"
    camera_length_mm: float | None = None
    focus: float | None = None
    spot_size: int | None = None


@dataclass(frozen=True, eq=False)
class Ellipse(Value):
    """Elliptical lens distortion: circles appear as ellipses of axis ratio 1 + ``amplitude_percent``/100.

    The long axis lies at ``azimuth_deg`` from +x (columns) towards +y (rows); area is kept:
    x_seen = (I + ε [[cos 2θ, sin 2θ], [sin 2θ, −cos 2θ]]) x_true, ratio = (1 + ε)/(1 − ε).
    """

    amplitude_percent: float = 0.0
    azimuth_deg: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2), true -> seen, acting on (x, y) from the beam centre."""
        ratio = 1 + self.amplitude_percent / 100
        eps = (ratio - 1) / (ratio + 1)
        c, s = np.cos(2 * np.radians(self.azimuth_deg)), np.sin(2 * np.radians(self.azimuth_deg))
        return np.eye(2) + eps * np.array([[c, s], [s, -c]])

    @classmethod
    def from_components(cls, e1: float, e2: float) -> Ellipse:
        """From ε cos 2θ and ε sin 2θ, the two parameters that refinement uses."""
        eps = float(np.hypot(e1, e2))
        return cls(100 * ((1 + eps) / (1 - eps) - 1), float(np.degrees(np.arctan2(e2, e1)) / 2 % 180))

    @property
    def components(self) -> tuple[float, float]:
        """(ε cos 2θ, ε sin 2θ)."""
        m = self.matrix
        return float(m[0, 0] - 1), float(m[0, 1])


@dataclass(frozen=True, eq=False)
class Detector(Value):
    """A flat detector normal to the beam, scaled in reciprocal units as a TEM is.

    ``shape``: (rows, columns). ``q_per_pixel`` [Å⁻¹/px]. ``origin``: (x, y) of the direct beam [px], where
    pixel i covers [i, i + 1). ``pixel_size_mm`` only serves other programs' files. ``saturation`` and
    ``pedestal`` in raw counts, ``gain`` in counts per electron. ``barrel`` [Å²]: the lens's third-order radial
    distortion, r_seen = r_true (1 + barrel q²), negative for a barrel, positive for a pincushion; ``coma`` (x, y) [Å]:
    its second order, of a lens not centred on the beam, d_seen = d + coma q² + 2 (coma·d) d. ``gap`` (x, y) [px]: width
    of the seam between chips, at the middle column and row, that the images leave out.
    """

    shape: tuple[int, int]
    q_per_pixel: float
    origin: tuple[float, float]
    pixel_size_mm: float = 0.055
    gain: float = 1.0
    pedestal: float = 0.0
    saturation: float | None = None
    ellipse: Ellipse = field(default_factory=Ellipse)
    barrel: float = 0.0
    gap: tuple[float, float] = (0.0, 0.0)
    coma: tuple[float, float] = (0.0, 0.0)

    def across_gap(self, xy: np.ndarray) -> np.ndarray:
        """What the seam adds to image positions (n, 2) [px] to make them true ones: ∓ half its width on either side."""
        middle = np.array([self.shape[1], self.shape[0]]) / 2
        return 0.5 * np.array(self.gap) * np.sign(np.asarray(xy, dtype=float) - middle)

    def distance_mm(self, wavelength: float) -> float:
        """Effective camera length [mm]: pixel size / (λ · q per pixel)."""
        return self.pixel_size_mm / (wavelength * self.q_per_pixel)

    def q_lab(self, xy: np.ndarray, wavelength: float, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """Scattering vectors q = s1 − s0 (n, 3) [Å⁻¹] of positions (n, 2) [px]; ``shift`` moves the origin [px]."""
        d = np.asarray(xy, dtype=float) - np.asarray(self.origin) - shift
        if any(self.gap):
            d = d + self.across_gap(xy) - self.across_gap(np.array(self.origin))
        d = d @ np.linalg.inv(self.ellipse.matrix).T * self.q_per_pixel
        if self.barrel or any(self.coma):
            d = _undistorted(d, self.barrel, np.array(self.coma))
        # similar triangles: a ray (dx, dy, L) with L = 1/λ in the same unit, scaled to length 1/λ
        inv = 1.0 / wavelength
        k = inv / np.sqrt(inv**2 + np.einsum("...i,...i", d, d))
        return np.concatenate([d * k[..., None], (inv * (k - 1))[..., None]], axis=-1)

    def pixels(self, q_lab: np.ndarray, wavelength: float, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """The inverse of :meth:`q_lab`: positions (n, 2) [px] where the rays s0 + q meet the detector."""
        q = np.asarray(q_lab, dtype=float)
        inv = 1.0 / wavelength
        d = q[..., :2] * (inv / (inv + q[..., 2]))[..., None]
        if self.barrel or any(self.coma):
            d = d * (1 + self.barrel * np.einsum("...i,...i", d, d))[..., None] + _coma(d, np.array(self.coma))
        d = d / self.q_per_pixel
        xy = d @ self.ellipse.matrix.T + np.asarray(self.origin) + shift
        if any(self.gap):
            xy = xy + self.across_gap(np.array(self.origin))
            xy = xy - self.across_gap(xy)
        return xy


def _coma(d: np.ndarray, coma: np.ndarray) -> np.ndarray:
    """coma q² + 2 (coma·d) d of vectors d (..., 2): what a decentred third-order distortion adds."""
    return coma * np.einsum("...i,...i", d, d)[..., None] + 2 * (d @ coma)[..., None] * d


def _undistorted(seen: np.ndarray, barrel: float, coma: np.ndarray) -> np.ndarray:
    """Solve d_seen = d (1 + b d²) + coma(d) for d (..., 2): the small coma by iteration, the barrel by Newton's."""
    d = _unbarrelled(seen, barrel)
    for _ in range(8 if np.any(coma) else 0):
        d = _unbarrelled(seen - _coma(d, coma), barrel)
    return d


def _unbarrelled(d: np.ndarray, barrel: float) -> np.ndarray:
    """Solve r_seen = r (1 + b r²) for r, vectors (..., 2): five Newton steps, exact to 1e-12 for |b r²| < 0.1.

    Where a barrel folds the image over itself there is no solution: r stays within a factor of two of r_seen.
    """
    seen = np.sqrt(np.einsum("...i,...i", d, d))
    r = seen.copy()
    for _ in range(5):
        r = r - (r * (1 + barrel * r**2) - seen) / np.maximum(1 + 3 * barrel * r**2, 0.2)
        r = np.clip(r, 0.5 * seen, 2 * seen)
    return d * np.where(seen > 0, r / np.maximum(seen, 1e-300), 1.0)[..., None]


@dataclass(frozen=True, eq=False)
class Goniometer(Value):
    """The rotation axis m (unit vector, laboratory frame); positive φ turns the crystal right-handed about m."""

    axis: np.ndarray = array_field()

    def __post_init__(self) -> None:
        super().__post_init__()
        m = np.array(self.axis, dtype=float)
        norm = np.linalg.norm(m)
        if m.shape != (3,) or not norm > 0:
            raise ValueError(f"Goniometer: axis {self.axis} is not a direction")
        m = m / norm
        m.setflags(write=False)
        object.__setattr__(self, "axis", m)

    @classmethod
    def in_plane(cls, angle_deg: float, out_of_plane_deg: float = 0.0) -> Goniometer:
        """From the angle in the image, measured from +x (right) towards +y (down), 0-360; +180 is the other hand."""
        a, e = np.radians(angle_deg), np.radians(out_of_plane_deg)
        return cls(np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)]))

    @property
    def angle_deg(self) -> float:
        """In-plane angle of the axis, 0-360 [deg], from +x towards +y."""
        return float(np.degrees(np.arctan2(self.axis[1], self.axis[0])) % 360)

    def rotation(self, phi_deg: np.ndarray | float) -> np.ndarray:
        """R(m, φ), (3, 3) or (n, 3, 3)."""
        return rotation_matrix(self.axis, np.radians(phi_deg))


@dataclass(frozen=True, eq=False)
class Scan(Value):
    """The frames there are: their numbers, measured start angles and widths; missing numbers are gaps of one scan.

    ``numbers`` (n,) as the instrument counted them, increasing; ``start_deg``, ``width_deg`` (n,);
    ``exposure_s`` (n,) or None; ``beam_shift`` (n, 2) [px]: direct beam of each frame minus ``Detector.origin``;
    ``misset_deg`` (n, 3): small rotation vector of each frame in the laboratory frame, applied after R(m, φ).
    """

    numbers: np.ndarray = array_field(np.int64)
    start_deg: np.ndarray = array_field()
    width_deg: np.ndarray = array_field()
    exposure_s: np.ndarray | None = array_field(default=None)
    timestamps: np.ndarray | None = array_field(default=None)
    beam_shift: np.ndarray | None = array_field(default=None)
    misset_deg: np.ndarray | None = array_field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.numbers)
        for name in ("start_deg", "width_deg", "exposure_s", "timestamps", "beam_shift", "misset_deg"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise ValueError(f"Scan: {name} has {len(value)} entries for {n} frames")
        if n > 1 and np.any(np.diff(self.numbers) <= 0):
            raise ValueError("Scan: frame numbers must increase")

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def regular(cls, n: int, start_deg: float, width_deg: float, first: int = 1) -> Scan:
        """``n`` equal frames without gaps."""
        i = np.arange(n)
        return cls(first + i, start_deg + width_deg * i, np.full(n, float(width_deg)))

    @property
    def mid_deg(self) -> np.ndarray:
        """Angle at the middle of each frame (n,) [deg]."""
        return self.start_deg + 0.5 * self.width_deg

    @property
    def end_deg(self) -> np.ndarray:
        """Angle at the end of each frame (n,) [deg]."""
        return self.start_deg + self.width_deg

    @property
    def missing(self) -> np.ndarray:
        """Frame numbers between the first and the last that are not there."""
        if len(self) == 0:
            return np.empty(0, dtype=np.int64)
        return np.setdiff1d(np.arange(self.numbers[0], self.numbers[-1] + 1), self.numbers)

    @property
    def range_deg(self) -> float:
        """Angle from the first frame's start to the last frame's end, unsigned [deg]."""
        return float(abs(self.end_deg[-1] - self.start_deg[0])) if len(self) else 0.0

    def shift_at(self, frame: np.ndarray) -> np.ndarray:
        """Beam shift (n, 2) [px] of frames given by list index (n,), possibly fractional (linear between frames)."""
        frame = np.asarray(frame, dtype=float)
        if self.beam_shift is None:
            return np.zeros((*frame.shape, 2))
        i = np.arange(len(self)) + 0.5
        return np.stack([np.interp(frame, i, self.beam_shift[:, k]) for k in (0, 1)], axis=-1)

    def part(self, keep: np.ndarray) -> Scan:
        """The frames selected by a mask or an index array."""
        return Scan(**{k: v[keep] for k, v in vars(self).items() if v is not None})
