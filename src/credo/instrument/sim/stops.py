"""Apertures behind the specimen: the selected area and the objective aperture, as round holes on the axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from credo.instrument.sim.optics import Illumination

__all__ = ["ANGLES_MRAD", "AREAS_UM", "darken", "selected"]

#: Radius that the selected-area aperture's holes 1 to 4 have on the specimen [µm].
AREAS_UM = (2.0, 1.0, 0.4, 0.2)
#: Half angle that the objective aperture's holes 1 to 4 let through [mrad].
ANGLES_MRAD = (22.0, 11.0, 4.0, 1.0)


def selected(beam: Illumination, centre: np.ndarray, radius: float) -> Illumination:
    """The part of a round ``beam`` whose rays pass a hole of ``radius`` [µm] at ``centre`` (2,) of the specimen.

    Of a hole that the beam lights in part, a disc of the same area about the middle of what is lit stands for it.
    """
    gap = centre - beam.centre
    d = float(np.linalg.norm(gap))
    if d + beam.radius <= radius:
        return beam
    if d + radius <= beam.radius:
        area, middle = np.pi * radius**2, centre
    elif d >= radius + beam.radius:
        area, middle = 0.0, centre
    else:
        area, along = _lens(d, beam.radius, radius)
        middle = beam.centre + gap / d * along
    size = max(float(np.sqrt(area / np.pi)), 1e-3)
    share = area / (np.pi * beam.radius**2)
    # a hole's edge is sharp; the beam's own is not
    return replace(beam, centre=middle, radius=size, edge=min(beam.edge, 0.02 * size), current=beam.current * share)


def _lens(d: float, a: float, b: float) -> tuple[float, float]:
    """Area common to two discs of radii a, b at a distance d, and how far from the first's middle its centroid is."""
    x = (d * d + a * a - b * b) / (2 * d)
    half = np.sqrt(max(a * a - x * x, 0.0))
    mine, other = np.arctan2(half, x), np.arctan2(half, d - x)
    first, second = a * a * (mine - np.sin(mine) * np.cos(mine)), b * b * (other - np.sin(other) * np.cos(other))
    # the segments' first moments about their own discs' middles, 2/3 of half their chord cubed, are opposite
    return float(first + second), float(d * second / max(first + second, 1e-30))


def darken(image: np.ndarray, to_plane: np.ndarray, origin: np.ndarray, radius: float) -> None:
    """Leave nothing of ``image`` (n, n) where |to_plane (pixel − origin)| is beyond ``radius``; in place."""
    n = len(image)
    u = np.arange(n) + 0.5 - origin[0]
    for i in range(n):
        v = i + 0.5 - origin[1]
        p, q = (row[0] * u + row[1] * v for row in to_plane)
        image[i, p * p + q * q > radius**2] = 0.0
