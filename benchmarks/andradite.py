"""Simulated rotation series of andradite for the orientation benchmarks, with geometry code of their own.

Laboratory frame: the crystal turns about a fixed axis, the beam travels along +z; the estimators work in the crystal
frame. Intensities follow the profile measured in published CrystDiff data: |F|² sinc²(200 Å · s), |s| < 0.005 Å⁻¹
(facts/orientation.md 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from credo.io.structure import read_structure
from credo.model import Cell, Structure
from credo.physics.bloch_rotation import thickness_shares
from credo.physics.bloch_waves import scattering_potential, waves
from credo.physics.electron import voltage_kv
from credo.physics.structure_factors import structure_factors

WAVELENGTH = 0.02508
THICKNESS, CUT = 200.0, 0.005
SCALE, CENTRE = 300.0, (256.0, 250.0)


@dataclass(frozen=True)
class Series:
    """``frame`` (n,), ``hkl`` (n, 3), ``intensity``, ``sigma`` (n,) [counts]; ``zone`` (f, 3): the true direction from
    the origin to the centre of the Ewald sphere in crystal axes; ``nominal_deg`` (f,); ``width_deg`` of a frame;
    ``xy`` (n, 2) [px]: where the spots lie, SCALE px for 1 Å⁻¹ at small angles, without error."""

    cell: Cell
    frame: np.ndarray
    hkl: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    zone: np.ndarray
    nominal_deg: np.ndarray
    width_deg: float
    xy: np.ndarray | None = None


def andradite() -> Structure:
    with as_file(files("credo.io.samples").joinpath("andradite.cif")) as path:
        return read_structure(path)


def reflections(structure: Structure, d_min: float) -> tuple[np.ndarray, np.ndarray]:
    """All hkl (n, 3) to ``d_min``, both Friedel mates, with |F|²; absences left out."""
    cell = gemmi.UnitCell(*structure.cell.parameters)
    n = [int(np.ceil(a / d_min)) for a in structure.cell.lengths]
    grid = np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in n], indexing="ij"), axis=-1).reshape(-1, 3)
    d = np.array([cell.calculate_d(h.tolist()) if h.any() else 0.0 for h in grid])
    hkl = grid[d >= d_min]
    f2 = np.abs(structure_factors(structure, hkl)) ** 2
    keep = f2 > 1e-6 * f2.max()
    return hkl[keep], f2[keep]


def rotations(axis: np.ndarray, start: Rotation, angles_deg: np.ndarray) -> Rotation:
    """Crystal to laboratory at every angle."""
    return Rotation.from_rotvec(np.radians(angles_deg)[:, None] * axis) * start


def excitation(q: np.ndarray) -> np.ndarray:
    """s [Å⁻¹] of laboratory vectors (..., 3): positive inside the sphere, along the line from its centre."""
    k = 1 / WAVELENGTH
    return k - np.linalg.norm(q + [0, 0, k], axis=-1)


def on_camera(q: np.ndarray) -> np.ndarray:
    """Where beams k + q hit a flat camera across the beam (n, 2) [px]."""
    out = q + [0, 0, 1 / WAVELENGTH]
    return out[:, :2] / out[:, 2:] / WAVELENGTH * SCALE + CENTRE


def simulate(
    structure: Structure, d_min: float, step: float, seed: int, continuous: bool, counts: float = 0.0,
    span: float = 30.0, background: float = 20.0, jitter_deg: float = 0.0, threshold: float = 0.0,
    second: tuple[float, tuple[float, float, float]] | None = None,
) -> Series:  # fmt: skip
    """A series of ``span`` degrees about a random axis across the beam. ``counts`` of the strongest reflection at its
    peak, Poisson noise on that and on ``background``; 0: no noise. ``continuous``: sub-frames of 0.01 degrees.
    ``second``: a piece of the crystal, its share of the first and its turn against it [deg]."""
    rng = np.random.default_rng(seed)
    hkl, f2 = reflections(structure, d_min)
    turn = rng.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(turn), np.sin(turn), 0.0])
    start = Rotation.random(random_state=int(rng.integers(2**31)))
    middle = np.arange(round(span / step)) * step
    wobble = Rotation.from_rotvec(np.radians(rng.normal(0, jitter_deg, (len(middle), 3))))
    p = hkl @ structure.cell.B.T
    inner = (np.arange(round(step / 0.01)) + 0.5) * 0.01 - step / 2 if continuous else np.zeros(1)
    pieces = [(1.0, Rotation.identity())]
    if second is not None:
        pieces.append((second[0], Rotation.from_rotvec(np.radians(second[1]))))
    reach = pieces[-1][1].magnitude()
    frames, rows, values, spots = [], [], [], []
    for j, angle in enumerate(middle):
        total = np.zeros(len(p))
        poses = [wobble[j] * r for r in rotations(axis, start, angle + inner)]
        # only what can come near the sphere during the frame
        s_mid = excitation(poses[len(poses) // 2].apply(p))
        near = np.abs(s_mid) < CUT + (np.radians(step) + reach) * np.linalg.norm(p, axis=1)
        for share, piece in pieces:
            for pose in poses:
                s = excitation((pose * piece).apply(p[near]))
                total[near] += share * np.where(np.abs(s) < CUT, f2[near] * np.sinc(THICKNESS * s) ** 2, 0) / len(poses)
        seen = np.flatnonzero(total > 0)
        frames.append(np.full(len(seen), j))
        rows.append(seen)
        values.append(total[seen])
        spots.append(on_camera((wobble[j] * rotations(axis, start, np.array([angle]))[0]).apply(p[seen])))
    frame, row, value, xy = (np.concatenate(x) for x in (frames, rows, values, spots))
    zone = (wobble * rotations(axis, start, middle)).inv().apply([0.0, 0.0, -1.0])
    sigma = np.zeros(len(value))
    if counts:
        value = value * counts / f2.max()
        clean = rng.poisson(value + background) - background
        sigma = np.sqrt(np.maximum(clean, 0) + background)
        keep = clean > 5 * np.sqrt(background)
        frame, row, value, sigma, xy = frame[keep], row[keep], clean[keep].astype(float), sigma[keep], xy[keep]
    keep = value > threshold * value.max()
    return Series(
        structure.cell, frame[keep], hkl[row[keep]], value[keep], sigma[keep], zone, middle,
        step if continuous else 0.0, xy[keep],
    )  # fmt: skip


def simulate_bloch(
    structure: Structure, d_min: float, step: float, seed: int, thickness: float, continuous: bool = False,
    counts: float = 1e5, span: float = 30.0, background: float = 20.0, jitter_deg: float = 0.0, sub_deg: float = 0.02,
) -> Series:  # fmt: skip
    """As :func:`simulate` with Bloch-wave intensities of a plate of mean ``thickness`` [Å] that varies by 20 % rms,
    beams within 0.01 Å⁻¹ of the sphere; ``counts`` of the strongest. Excitation errors are those of this file."""
    rng = np.random.default_rng(seed)
    potential = scattering_potential(structure, voltage_kv(WAVELENGTH), d_min)
    t, mix = thickness_shares(np.array([thickness]), 0.2, 7)
    turn = rng.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(turn), np.sin(turn), 0.0])
    start = Rotation.random(random_state=int(rng.integers(2**31)))
    middle = np.arange(round(span / step)) * step
    wobble = Rotation.from_rotvec(np.radians(rng.normal(0, jitter_deg, (len(middle), 3))))
    p = potential.beams @ structure.cell.B.T
    n = round(step / sub_deg) if continuous else 1
    inner = ((np.arange(n) + 0.5) / n - 0.5) * step if continuous else np.zeros(1)
    frames, rows, values = [], [], []
    for j, angle in enumerate(middle):
        total = np.zeros(len(p))
        for r in rotations(axis, start, angle + inner):
            s = excitation((wobble[j] * r).apply(p))
            near = np.flatnonzero(np.abs(s) < 0.01)
            psi = waves(potential, potential.beams[near], s[near], t, 1e-5)
            total[near] += (mix @ np.abs(psi) ** 2)[0] / n
        seen = np.flatnonzero(total > 0)
        seen = seen[seen > 0]
        frames.append(np.full(len(seen), j))
        rows.append(seen)
        values.append(total[seen])
    frame, row, value = (np.concatenate(x) for x in (frames, rows, values))
    clean = rng.poisson(value * counts / value.max() + background) - background
    sigma = np.sqrt(np.maximum(clean, 0) + background)
    keep = clean > 5 * np.sqrt(background)
    zone = (wobble * rotations(axis, start, middle)).inv().apply([0.0, 0.0, -1.0])
    return Series(
        structure.cell, frame[keep], potential.beams[row[keep]], clean[keep].astype(float), sigma[keep], zone, middle,
        step if continuous else 0.0,
    )  # fmt: skip


def simulate_path(
    structure: Structure, d_min: float, stage_deg: np.ndarray, tilt_deg: np.ndarray, wobble_deg: np.ndarray,
    askew_deg: float, counts: float, seed: int, background: float = 20.0,
) -> Series:  # fmt: skip
    """Frames that stand, at goniometer angles (f,) with a wobble across them, and beam tilts (f,) about an axis that is
    ``askew_deg`` off the goniometer's."""
    rng = np.random.default_rng(seed)
    hkl, f2 = reflections(structure, d_min)
    p = hkl @ structure.cell.B.T
    axis, across, beam = np.eye(3)
    fine = np.cos(np.radians(askew_deg)) * axis + np.sin(np.radians(askew_deg)) * across
    start = Rotation.random(random_state=int(rng.integers(2**31)))
    frames, rows, values, zone = [], [], [], []
    for j, (a, t, w) in enumerate(zip(np.radians(stage_deg), np.radians(tilt_deg), np.radians(wobble_deg))):
        pose = (
            Rotation.from_rotvec(t * fine) * Rotation.from_rotvec(w * across) * Rotation.from_rotvec(a * axis) * start
        )
        s = excitation(pose.apply(p))
        near = np.flatnonzero(np.abs(s) < CUT)
        clean = rng.poisson(f2[near] * np.sinc(THICKNESS * s[near]) ** 2 * counts / f2.max() + background) - background
        seen = clean > 5 * np.sqrt(background)
        frames.append(np.full(int(seen.sum()), j))
        rows.append(near[seen])
        values.append(clean[seen])
        zone.append(pose.inv().apply(-beam))
    frame, row, value = (np.concatenate(x) for x in (frames, rows, values))
    sigma = np.sqrt(np.maximum(value, 0) + background)
    return Series(
        structure.cell, frame, hkl[row], value.astype(float), sigma, np.array(zone), stage_deg + tilt_deg, 0.0
    )
