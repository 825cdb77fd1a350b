"""The specimen in transmitted electrons: film, bars, crystals with their mass thickness and what they diffract away."""

from __future__ import annotations

import numpy as np

from credo.instrument.sim.crystals import Crystals
from credo.instrument.sim.goniometer import Pose
from credo.instrument.sim.optics import Illumination
from credo.instrument.sim.specimen import Specimen
from credo.kernels.shadow import add_footprints, transmit
from credo.physics.electron import voltage_kv

__all__ = ["optical_depths", "shadow"]

#: Mean free path of carbon for scattering out of the image [µm]; samples of the film's texture per µm.
_CARBON_UM, _TEXTURE_PER_UM = 0.25, 60.0


def optical_depths(specimen: Specimen, crystals: Crystals, pose: Pose, k0: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """−ln of each crystal's transmission (n,): t/Λ, and what its strong reflections take at this tilt."""
    tilt = max(abs(pose.rotation[2, 2]), 0.2)
    depth = crystals.thickness / tilt / specimen.settings.mean_free_path_um
    lab = np.eye(3)
    lab[:2, :2] = turn
    for phase in range(len(specimen.structures)):
        rows = np.flatnonzero(crystals.phase == phase)
        if len(rows):
            taken = _diffracted(specimen, phase, crystals, rows, lab @ pose.rotation, k0)
            # a shadow is only as strong as the crystal's mean contrast allows: they share one scale
            share = min(0.15 / specimen.settings.mean_free_path_um, 1.0)
            depth[rows] -= np.log(1 - np.clip(share * taken, 0, 0.7))
    return depth


def _diffracted(specimen: Specimen, phase: int, crystals: Crystals, rows, rotation, k0) -> np.ndarray:
    """Share (n,) of the beam in the strong reflections: two-beam intensity averaged over thickness and mosaic."""
    lattice = specimen.lattice(phase)
    top = lattice.strongest
    gamma = 1 + voltage_kv(specimen.wavelength) / 510.99895
    inverse = specimen.wavelength * gamma * np.sqrt(lattice.f2[top]) / (np.pi * lattice.structure.cell.volume)
    q = np.einsum("ij,njk,mk->nmi", rotation, crystals.orientation[rows], lattice.q[top])
    k = np.linalg.norm(k0)
    s = np.linalg.norm(q + k0, axis=-1) - k
    spread = np.radians(crystals.mosaicity[rows] + crystals.bend[rows])[:, None] * np.sqrt(lattice.q2[top])
    width2 = inverse**2 + spread**2
    phase_angle = np.pi * 1e4 * crystals.thickness[rows][:, None] * inverse
    share = 0.5 * (1 - np.exp(-(phase_angle**2))) * inverse / np.sqrt(width2) / (1 + s**2 / width2)
    return share.sum(axis=1)


def _sees_bars(specimen: Specimen, pose: Pose, m: np.ndarray, origin: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a bar of the mesh is in view: else the kernel need not look for one at every pixel."""
    sample = specimen.sample
    middle = specimen.on_film(pose, np.linalg.solve(m, 0.5 * np.array(shape[::-1]) - origin))
    reach = (
        0.5 * float(np.hypot(*shape)) * float(np.linalg.norm(np.linalg.inv(m), 2)) / max(abs(pose.rotation[1, 1]), 0.2)
    )
    off = np.abs(middle - sample.pitch_um * np.rint(middle / sample.pitch_um))
    return bool(off.max() + reach > 0.5 * (sample.pitch_um - sample.bar_um))


def shadow(
    specimen: Specimen, crystals: Crystals, pose: Pose, beam: Illumination, m: np.ndarray, origin: np.ndarray,
    shape: tuple[int, int], per_pixel: float, k0: np.ndarray, turn: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Expected electrons of ``shape`` (ny, nx): a column position r [µm] is seen at pixel ``origin`` + ``m`` r."""
    s, sample = specimen.settings, specimen.sample
    squash = float(max(abs(pose.rotation[1, 1]), 0.2))
    out = np.zeros(shape, dtype=np.float32)
    place = pose.place(crystals.place)[:, :2]
    squashed = np.diag([1.0, squash])
    depth = optical_depths(specimen, crystals, pose, k0, turn)
    # outlines are squashed about each crystal's own middle: centres go back to the unsquashed frame
    footprint = m @ squashed
    add_footprints(
        out, origin, footprint, np.linalg.inv(footprint), place @ np.linalg.inv(squashed).T, crystals.reach,
        crystals.normal, crystals.offset, depth,
    )  # fmt: skip
    film = np.zeros(2) if s.film == "none" else np.array([1e-3 * s.film_nm / _CARBON_UM, s.texture])
    bars = np.zeros(3)
    if s.film != "none" and _sees_bars(specimen, pose, m, origin, shape):
        bars = np.array([sample.pitch_um, sample.bar_um, 40.0])
    holes = np.array(s.hole_um if s.film == "holey" else (0.0, 0.0))
    transmit(
        out, origin, np.linalg.inv(m), specimen.on_film(pose, np.zeros(2)), squash, film, sample.texture,
        _TEXTURE_PER_UM, bars, holes, np.array([*beam.centre, beam.radius, beam.edge]), per_pixel,
    )  # fmt: skip
    return out
