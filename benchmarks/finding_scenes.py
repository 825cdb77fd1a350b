"""Images of the simulator's grid with every particle's contrast set, and defocused beams with one shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.instrument.sim.crystals import Crystals
from credo.instrument.sim.detector import Detector
from credo.instrument.sim.sample import Sample
from credo.instrument.sim.settings import CameraSettings, SampleSettings
from credo.kernels.shadow import add_footprints, transmit

__all__ = ["BeamFrame", "Field", "beam_frame", "field_image", "sample_of"]

_FILM_DEPTH, _TEXTURE_PER_UM = 0.012 / 0.25, 60.0


@dataclass(frozen=True)
class Field:
    """An image (n, n) of counts and its particles: place [px] (k, 2), radius of equal area, gap to the next [µm]."""

    image: np.ndarray
    pixel_um: float
    place: np.ndarray
    radius: np.ndarray
    reach: np.ndarray
    gap: np.ndarray


def sample_of(seed: int, density: float) -> Sample:
    """The simulator's grid with its default film and shapes."""
    return Sample(SampleSettings(density=density), seed, ())


def _depths(crystals: Crystals, contrast: float) -> np.ndarray:
    """Optical depth (n,) for which the mean of 1 − I/I_0 over each outline is about ``contrast``: edges are thinner."""
    unit = np.zeros((len(crystals), 64, 64), dtype=np.float32)
    for k in range(len(crystals)):
        m = np.eye(2) * 31 / crystals.reach[k]
        one = crystals.select(np.array([k]))
        place = np.zeros((1, 2))
        args = (place, one.reach, one.normal, one.offset, np.ones(1))
        add_footprints(unit[k], np.array([32.0, 32.0]), m, np.linalg.inv(m), *args)
    return -np.log(1 - contrast) / np.array([u[u > 0].mean() for u in unit])


def field_image(
    sample: Sample, middle: np.ndarray, contrast: float, counts: float, seed: int, size: int = 512,
    pixel_um: float = 0.022, shading: float = 0.3,
) -> Field:  # fmt: skip
    """A view of the grid around ``middle`` (2,) [µm] with ``counts`` electrons a pixel, ``shading`` at the corners."""
    m = np.eye(2) / pixel_um
    origin = np.full(2, size / 2)
    crystals = sample.near(middle, 0.75 * size * pixel_um + 3)
    place = crystals.place[:, :2] - middle
    out = np.zeros((size, size), np.float32)
    if contrast:
        depth = _depths(crystals, contrast)
        add_footprints(out, origin, m, np.linalg.inv(m), place, crystals.reach, crystals.normal, crystals.offset, depth)
    film = np.array([_FILM_DEPTH, sample.settings.texture])
    bars = np.array([sample.pitch_um, sample.bar_um, 40.0])
    transmit(
        out, origin, np.linalg.inv(m), middle, 1.0, film, sample.texture, _TEXTURE_PER_UM, bars, np.zeros(2),
        np.array([0.0, 0.0, 1e3, 1.0]), counts,
    )  # fmt: skip
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    out *= (1 - shading * 2 * (x * x + y * y)).astype(np.float32)
    camera = CameraSettings(size=512 if size == 512 else 2048, kind="cmos", hot=0.0, dead=0.0)
    image = Detector(camera, seed).read(out, 1.0, seed)
    apart = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1)) - crystals.reach[:, None] - crystals.reach
    np.fill_diagonal(apart, np.inf)
    gap = apart.min(axis=1) if len(place) else np.zeros(0)
    return Field(image, pixel_um, origin + place / pixel_um, np.sqrt(crystals.area / np.pi), crystals.reach, gap)


@dataclass(frozen=True)
class BeamFrame:
    """A defocused frame (size, size): beam centre (2,) and radius [px], shadow less beam (2,) and its radius [px]."""

    frame: np.ndarray
    centre: np.ndarray
    radius: float
    offset: np.ndarray
    size: float


def beam_frame(sample: Sample, contrast: float, counts: float, seed: int, size: int = 512) -> BeamFrame:
    """A beam of 0.75 µm radius at a random tilt with one crystal (contrast 0: none) within 0.65 of its radius; around
    it 30 reflections as discs of the crystal's shape and the inelastic background."""
    rng = np.random.default_rng([seed, 77])
    radius, beam_um = rng.uniform(60, 110), 0.75
    m = np.eye(2) * radius / beam_um
    back = np.linalg.inv(m)
    centre = size / 2 + rng.uniform(-25, 25, 2)
    a, q = rng.uniform(0, 2 * np.pi), 0.65 * np.sqrt(rng.uniform())
    offset = q * radius * np.array([np.cos(a), np.sin(a)])
    some = sample.near(rng.uniform(-12, 12, 2), 12.0)
    one = some.select(np.array([int(rng.integers(len(some)))]))
    factor = rng.uniform(0.12, 0.26) / float(np.sqrt(one.area[0] / np.pi))
    shape = (one.reach * factor, one.normal, one.offset * factor)
    out = np.zeros((size, size), np.float32)
    place = (offset / radius * beam_um)[None]
    if contrast:
        add_footprints(out, centre, m, back, place, *shape, _depths(one, contrast))
    slope = float(np.cos(np.radians(rng.uniform(-60, 60))))
    film = np.array([_FILM_DEPTH, sample.settings.texture])
    beam = np.array([0.0, 0.0, beam_um, 0.02 + 0.04 * beam_um])
    transmit(
        out, centre, back, rng.uniform(-12, 12, 2), slope, film, sample.texture, _TEXTURE_PER_UM, np.zeros(3),
        np.zeros(2), beam, counts,
    )  # fmt: skip
    if contrast:
        spots = rng.normal(0, 1.6 * radius, (30, 2))
        strength = counts * contrast * rng.exponential(0.04, 30)
        for xy, high in zip(spots, strength, strict=True):
            add_footprints(out, centre + xy, m, back, place, *shape, np.array([high]))
    y, x = np.mgrid[:size, :size] + 0.5
    out += (0.03 * counts * np.exp(-np.hypot(x - centre[0], y - centre[1]) / (1.2 * radius))).astype(np.float32)
    image = Detector(CameraSettings(size=512 if size == 512 else 516), seed).read(out, 0.01, seed)
    return BeamFrame(image, centre, radius, offset, factor * float(np.sqrt(one.area[0] / np.pi)) * radius / beam_um)
