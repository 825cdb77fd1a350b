"""A diffraction pattern: Bragg spots of each crystal in the beam, smooth scattering, direct beam, and defocus."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from credo.instrument.sim.crystals import Crystals
from credo.instrument.sim.goniometer import Pose
from credo.instrument.sim.optics import Illumination, PatternGeometry
from credo.instrument.sim.scattering import (
    CRYSTAL_PATH_UM,
    FILM_PATH_UM,
    Q_TOP,
    TABLE,
    diffuse_profile,
    gold_profile,
    gold_share,
)
from credo.instrument.sim.shadow import shadow
from credo.instrument.sim.specimen import Lit, Specimen
from credo.kernels.diffraction import add_radial, excited, stamp, stamp_patch
from credo.kernels.shadow import add_footprints

__all__ = ["Screen", "Spots", "incident", "render_pattern"]

#: Blur of a crystal's shadow [px] above which its spots are drawn as discs.
_DISC_PX = 2.0
#: Expected electrons per pixel below which a spot is not drawn.
_FAINT = 0.01
#: Core of the smooth scattering [Å⁻¹].
_CORE = 0.012


@dataclass(frozen=True)
class Screen:
    """The recording plane: pixels along an edge, pixel size [mm], rms point spread [px], pattern jitter (2,) [px]."""

    size: int
    pixel_mm: float
    psf_px: float
    jitter: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        return np.array([self.size / 2, self.size / 2]) + self.jitter


@dataclass(frozen=True)
class Spots:
    """What one lattice contributed: rows of its nodes, positions (n, 2) [px], expected electrons (n,)."""

    ident: int
    phase: int
    row: np.ndarray
    xy: np.ndarray
    electrons: np.ndarray


def incident(beam: Illumination, geometry: PatternGeometry, wavelength: float) -> np.ndarray:
    """Wave vector of the tilted beam (3,) [Å⁻¹] in image axes."""
    t = geometry.turn @ beam.tilt
    return np.array([t[0], t[1], 1.0]) / (wavelength * np.sqrt(1 + t @ t))


def render_pattern(
    specimen: Specimen, crystals: Crystals, lit: list[Lit], beam: Illumination, geometry: PatternGeometry,
    poses: list[Pose], screen: Screen, seconds: float,
) -> tuple[np.ndarray, list[Spots]]:  # fmt: skip
    """Expected electrons of every pixel (size, size) float32, and where each lattice put them.

    ``poses``: the specimen at n + 1 instants that bound n equal parts of the exposure.
    """
    image = np.zeros((screen.size, screen.size), dtype=np.float32)
    dose = beam.flux * seconds
    k0 = incident(beam, geometry, specimen.wavelength)
    spots = [s for one in lit for s in _bragg(specimen, crystals, one, beam, geometry, poses, screen, dose, k0)]
    for s, one in spots:
        _draw(image, crystals, s, one, beam, geometry, poses[len(poses) // 2], screen)
    gone = sum(float(s.electrons.sum()) for s, _ in spots)
    gone += _smooth(image, specimen, crystals, lit, beam, geometry, poses[len(poses) // 2], screen, seconds, k0)
    _direct(image, specimen, crystals, beam, geometry, poses[len(poses) // 2], screen, seconds, k0, gone)
    return image, [s for s, _ in spots]


def _bragg(specimen, crystals: Crystals, one: Lit, beam, geometry, poses, screen, dose: float, k0):
    """Spots of a crystal's lattices, over all parts of the exposure."""
    k, phase = one.row, int(crystals.phase[one.row])
    if phase < 0:
        return
    lattice = specimen.lattice(phase)
    seen = slice(0, int(np.searchsorted(lattice.q2, _farthest(geometry, screen, specimen.wavelength) ** 2)))
    strength = specimen.strength(crystals, k)[seen]
    loss, loss_q2 = specimen.loss(int(crystals.ident[k]))
    turn = np.eye(3)
    turn[:2, :2] = geometry.turn
    tilt = max(abs(poses[0].rotation[2, 2]), 0.2)
    # half of the convergence's disc and the crystal's curvature spread the nodes as mosaicity does
    spread = np.hypot(np.radians(np.hypot(crystals.mosaicity[k], crystals.bend[k])), 0.5 * beam.convergence)
    shape = 0.376 / (1e4 * crystals.thickness[k])
    share = float(crystals.domain_share[k])
    faint = _FAINT * max(_blur(beam, geometry, screen, 2 * np.sqrt(one.area / np.pi)), 1.0) ** 2
    for u, part in ((crystals.orientation[k], 1 - share), (crystals.domain[k], share)):
        if part <= 0:
            continue
        electrons = dose * one.area * part * _elastic(crystals, k, tilt) / tilt / (len(poses) - 1)
        for a, b in pairwise(poses):
            rows, tangent, value = excited(
                lattice.q[seen], lattice.q2[seen], strength, turn @ a.rotation @ u, turn @ b.rotation @ u, k0,
                float(spread), float(shape), loss, loss_q2, faint / max(electrons, 1e-9),
            )  # fmt: skip
            xy = _on_screen(tangent, one.middle, geometry, screen)
            yield Spots(int(crystals.ident[k]), phase, rows, xy, electrons * value), one


def _elastic(crystals: Crystals, row: int, tilt: float) -> float:
    """Share of the electrons that a crystal scatters neither inelastically nor diffusely: exp(−t/Λ)."""
    return float(np.exp(-crystals.thickness[row] / tilt / CRYSTAL_PATH_UM))


def _farthest(geometry: PatternGeometry, screen: Screen, wavelength: float) -> float:
    """Largest |q| [Å⁻¹] that can reach the screen: its half diagonal, the pattern's shift and a margin."""
    mm = np.sqrt(0.5) * screen.size * screen.pixel_mm + float(np.linalg.norm(geometry.shift))
    return 1.1 * mm / (geometry.length_mm * wavelength) + 0.02


def _on_screen(tangent: np.ndarray, place: np.ndarray, geometry: PatternGeometry, screen: Screen) -> np.ndarray:
    """Pixels (n, 2) of rays of ``tangent`` (n, 2) that leave the specimen at ``place`` (2,) [µm]."""
    mm = tangent @ geometry.matrix.T + geometry.shift + geometry.shadow @ place
    return mm / screen.pixel_mm + screen.middle


def _blur(beam: Illumination, geometry: PatternGeometry, screen: Screen, size_um: float) -> float:
    """Rms width of a sharp spot [px]: point spread, convergence, and the shadow of a thing of ``size_um``."""
    convergence = 0.5 * beam.convergence * geometry.length_mm / screen.pixel_mm
    return float(np.sqrt(screen.psf_px**2 + convergence**2 + (_shadow_scale(geometry, screen) * size_um / 4) ** 2))


def _area(m: np.ndarray) -> float:
    """|det m| of a (2, 2)."""
    return abs(float(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]))


def _shadow_scale(geometry: PatternGeometry, screen: Screen) -> float:
    """Pixels per µm of the specimen's shadow."""
    return float(np.sqrt(_area(geometry.shadow))) / screen.pixel_mm


def _draw(image, crystals: Crystals, s: Spots, one: Lit, beam, geometry, pose: Pose, screen) -> None:
    size = 2 * np.sqrt(one.area / np.pi)
    if _shadow_scale(geometry, screen) * size < _DISC_PX:
        stamp(image, s.xy, s.electrons, _blur(beam, geometry, screen, size))
        return
    patch = _patch(crystals, one, beam, geometry, pose, screen)
    at = s.xy + geometry.shadow @ (_middle(crystals, one, pose) - one.middle) / screen.pixel_mm
    stamp_patch(image, at, s.electrons, patch)


def _middle(crystals: Crystals, one: Lit, pose: Pose) -> np.ndarray:
    return pose.place(crystals.place[one.row : one.row + 1])[0, :2]


def _patch(crystals: Crystals, one: Lit, beam: Illumination, geometry: PatternGeometry, pose: Pose, screen: Screen):
    """The lit part of one crystal's outline as its defocused spots show it (n, n), of unit sum."""
    m = geometry.shadow / screen.pixel_mm
    k = slice(one.row, one.row + 1)
    scale = _shadow_scale(geometry, screen)
    n = 2 * int(np.ceil(scale * float(crystals.reach[one.row]))) + 3
    n = min(n, 2 * screen.size)
    out = np.zeros((n, n))
    squashed = np.diag([1.0, max(abs(pose.rotation[1, 1]), 0.2)])
    footprint = m @ squashed
    add_footprints(
        out, np.array([n / 2, n / 2]), footprint, np.linalg.inv(footprint), np.zeros((1, 2)), crystals.reach[k],
        crystals.normal[k], crystals.offset[k], np.ones(1),
    )  # fmt: skip
    back = np.linalg.inv(m)
    yy, xx = np.mgrid[:n, :n] + 0.5 - n / 2
    r = np.hypot(*((np.stack([xx, yy], axis=-1) @ back.T + _middle(crystals, one, pose) - beam.centre).T))
    out *= np.clip((beam.radius - r.T) / beam.edge + 0.5, 0, 1)
    return (out / max(out.sum(), 1e-12)).astype(np.float32)


def _smooth(
    image, specimen: Specimen, crystals: Crystals, lit, beam, geometry, pose: Pose, screen, seconds: float, k0
) -> float:
    """Inelastic and diffuse scattering of film and crystals, and a gold film's rings; returns their electrons."""
    s = specimen.settings
    film = 0.0 if s.film == "none" else 1 - np.exp(-1e-3 * s.film_nm / FILM_PATH_UM)
    electrons = beam.current * seconds * film
    tilt = max(abs(pose.rotation[2, 2]), 0.2)
    for one in lit:
        electrons += beam.flux * seconds * one.area * (1 - _elastic(crystals, one.row, tilt))
    to_q = np.linalg.inv(geometry.matrix) * screen.pixel_mm / specimen.wavelength
    disc = _shadow_scale(geometry, screen) * beam.radius * float(np.sqrt(_area(to_q)))
    table = electrons * diffuse_profile(round(float(np.hypot(_CORE, disc)), 4))
    if s.gold:
        table = table + beam.current * seconds * gold_profile(specimen.wavelength)
    per_pixel = table * _area(to_q)
    centre = _on_screen(k0[None, :2] / k0[2], beam.centre, geometry, screen)[0]
    add_radial(image, centre, to_q, per_pixel.astype(np.float32), (TABLE - 1) / Q_TOP)
    return electrons + (beam.current * seconds * gold_share(specimen.wavelength) if s.gold else 0.0)


def _direct(image, specimen, crystals, beam, geometry, pose, screen, seconds: float, k0, gone: float) -> None:
    """The direct beam: a spot, or the disc with the specimen's shadow in it."""
    scale = _shadow_scale(geometry, screen)
    centre = _on_screen(k0[None, :2] / k0[2], beam.centre, geometry, screen)
    if scale * beam.radius < _DISC_PX:
        left = max(beam.current * seconds - gone, 0.0)
        stamp(image, centre, np.array([left]), _blur(beam, geometry, screen, 2 * beam.radius))
        return
    # the shadow image in its own frame: the beam's middle stands where the undiffracted rays arrive
    m = geometry.shadow / screen.pixel_mm
    origin = centre[0] - m @ beam.centre
    per_pixel = beam.flux * seconds / _area(m)
    # the disc's box on the screen is all there is of it
    half = np.linalg.norm(m, axis=1) * (beam.radius + beam.edge) + 1
    low, high = (np.clip(np.rint(centre[0] + s * half).astype(int), 0, screen.size) for s in (-1, 1))
    shape = int(high[1] - low[1]), int(high[0] - low[0])
    if min(shape) > 0:
        disc = shadow(specimen, crystals, pose, beam, m, origin - low, shape, per_pixel, k0, geometry.turn)
        image[low[1] : high[1], low[0] : high[0]] += disc
