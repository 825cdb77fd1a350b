"""Scenes to reduce: noisy spot lists of a known crystal, and small frame stacks rendered from the same geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import erf

from credo.model import (
    ArrayFrames,
    Beam,
    Cell,
    Crystal,
    Detector,
    Ellipse,
    Experiment,
    Goniometer,
    Reflections,
    Scan,
)
from credo.physics.ewald import crossing_speed, predict, scattering_vectors
from credo.physics.symmetry import laue_rotations, primitive_basis, unique_reflections


@dataclass(frozen=True)
class SpotScene:
    """``truth`` with its crystal; ``guess``: what a file would say (no crystal); ``spots`` as found on frames."""

    truth: Experiment
    guess: Experiment
    spots: Reflections


def _spot_scene(
    cell, centring="P", seed=0, n=120, width=0.5, axis_deg=None, beam_off=(0.0, 0.0), ellipse=0.0, spurious=0.0,
    most=500, noise_px=0.35, q_per_pixel=0.0025, d_min=0.8, known_axis=False,
) -> SpotScene:  # fmt: skip
    rng = np.random.default_rng(seed)
    axis = rng.uniform(0, 360) if axis_deg is None else axis_deg
    crystal = Crystal(Cell(*cell), Rotation.random(random_state=seed).as_matrix(), centring=centring)
    scan = Scan.regular(n, -0.5 * n * width, width)
    origin = (257.3, 259.1)
    detector = Detector((516, 516), q_per_pixel, origin, ellipse=Ellipse(ellipse, 30.0))
    truth = Experiment(Beam(0.02508), detector, Goniometer.in_plane(axis, 0.2), scan, (crystal,))
    p = predict(truth, crystal, d_min)
    p = p.select(p["lorentz"] < 20)
    counts = 1000 * rng.exponential(size=len(p)) * np.exp(-0.8 / p["d"] ** 2)
    keep = np.sort(np.argsort(-counts)[: min(most, len(p))])
    p, counts = p.select(keep), counts[keep]
    m, k = len(p), int(spurious * len(p))
    noise_phi = 0.3 * width
    stray = rng.uniform([0, 0, scan.start_deg[0]], [516, 516, scan.end_deg[-1]], (k, 3))
    x, y = (np.r_[p[v] + rng.normal(0, noise_px, m), stray[:, i]] for i, v in enumerate("xy"))
    phi = np.r_[p["phi"] + rng.normal(0, noise_phi, m), stray[:, 2]]
    counts = np.r_[counts, rng.choice(counts, k)]
    frame = np.clip((phi - scan.start_deg[0]) / width, 0, n - 1e-6)
    spots = Reflections(
        x=x, y=y, phi=phi, frame=frame, intensity=counts, sigma=np.sqrt(counts + 10),
        var_x=np.full(m + k, noise_px**2), var_y=np.full(m + k, noise_px**2), var_phi=np.full(m + k, noise_phi**2),
        first=np.floor(frame), last=np.floor(frame), cut=np.zeros(m + k), overloaded=np.zeros(m + k),
        lattice=np.full(m + k, -1),
    )  # fmt: skip
    guess = Experiment(
        Beam(0.02508),
        Detector((516, 516), q_per_pixel, (origin[0] + beam_off[0], origin[1] + beam_off[1])),
        Goniometer.in_plane(axis if known_axis else 0.0),
        scan,
        known=("axis",) if known_axis else (),
    )
    return SpotScene(truth, guess, spots)


@pytest.fixture(scope="session")
def spot_scene():
    """``spot_scene(cell, centring=..., seed=..., ...)`` -> SpotScene."""
    return _spot_scene


@dataclass(frozen=True)
class FrameScene:
    """``truth`` with its crystal; ``predicted`` with the true ``counts`` on the whole rocking curve and the Laue
    equivalents' common ``strength`` = counts / lorentz; ``frames`` with Poisson noise; ``sigma_px`` of the spots."""

    truth: Experiment
    predicted: Reflections
    counts: np.ndarray
    strength: np.ndarray
    frames: ArrayFrames
    sigma_px: float
    level: float


def rocking_shares(truth: Experiment, p: Reflections, row: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Fraction of a Gaussian rocking curve on each frame."""
    crystal, axis = truth.crystal, truth.goniometer.axis
    q = scattering_vectors(crystal.UB, p.hkl, axis, p["phi"])
    wide = np.linalg.norm(q, axis=1) * crystal.mosaicity_deg / np.abs(crossing_speed(q, axis))
    z = lambda phi: (phi[frame] - p["phi"][row]) / (np.sqrt(2) * wide[row])  # noqa: E731
    return 0.5 * (erf(z(truth.scan.end_deg)) - erf(z(truth.scan.start_deg)))


def _render(truth: Experiment, p: Reflections, counts: np.ndarray, level: float, sigma: float, rng) -> np.ndarray:
    """Poisson counts: flat background, Gaussian spots, a bright direct beam."""
    n, (ny, nx) = len(truth.scan), truth.detector.shape
    mean = np.full((n, ny, nx), level)
    yy, xx = np.mgrid[0:ny, 0:nx] + 0.5
    r2 = (xx - truth.detector.origin[0]) ** 2 + (yy - truth.detector.origin[1]) ** 2
    mean += 400 * level * np.exp(-0.5 * r2 / 2.0**2)
    row, frame = (v.ravel() for v in np.meshgrid(np.arange(len(p)), np.arange(n), indexing="ij"))
    share = rocking_shares(truth, p, row, frame)
    seen = share > 1e-5
    for r, f, s in zip(row[seen], frame[seen], share[seen]):
        i, j = int(p["y"][r]), int(p["x"][r])
        a, b = slice(max(0, i - 7), i + 8), slice(max(0, j - 7), j + 8)
        gy = np.exp(-0.5 * ((yy[a, 0] - p["y"][r]) / sigma) ** 2)
        gx = np.exp(-0.5 * ((xx[0, b] - p["x"][r]) / sigma) ** 2)
        mean[f, a, b] += counts[r] * s * np.outer(gy, gx) / (2 * np.pi * sigma**2)
    return rng.poisson(mean).astype(np.uint16)


def _frame_scene(
    seed=0, level=1.0, n=64, width=0.6, size=160, mean_counts=600.0, mosaicity=0.25, sigma=1.1, numbers=None
):
    rng = np.random.default_rng(seed)
    crystal = Crystal(
        Cell(9.1, 11.4, 13.2, 90, 90, 90), Rotation.random(random_state=7).as_matrix(), laue_group="mmm",
        mosaicity_deg=mosaicity,
    )  # fmt: skip
    scan = Scan.regular(n, -0.5 * n * width, width)
    if numbers is not None:
        scan = scan.part(numbers)
    detector = Detector((size, size), 0.008, (size / 2 + 1.3, size / 2 - 0.8))
    truth = Experiment(Beam(0.02508), detector, Goniometer.in_plane(34.0), scan, (crystal,))
    p = predict(truth, crystal, 1.6, margin_deg=2.0)
    p = p.select(p["lorentz"] < 12)
    unique, group = unique_reflections(p.hkl, laue_rotations("mmm"))
    strength = mean_counts * np.random.default_rng(99).exponential(size=len(unique))[group] / np.median(p["lorentz"])
    counts = strength * p["lorentz"]
    return FrameScene(
        truth, p, counts, strength, ArrayFrames(_render(truth, p, counts, level, sigma, rng)), sigma, level
    )


@pytest.fixture(scope="session")
def frame_scene() -> FrameScene:
    """64 frames of 160 x 160 px at 1 count/px with some hundred reflections and a bright beam; never to be changed."""
    return _frame_scene()


@pytest.fixture(scope="session")
def make_frame_scene():
    """``make_frame_scene(seed=..., level=..., ...)`` -> FrameScene, rendered anew."""
    return _frame_scene


def same_lattice(found: Crystal, truth: Crystal, percent: float = 1.0) -> bool:
    """Whether two crystals are one lattice in one place: an integer matrix takes one primitive basis to the other."""
    a, b = (np.linalg.inv(c.UB).T @ primitive_basis(c.centring) for c in (found, truth))
    m = np.linalg.solve(b, a)
    whole = np.rint(m)
    return bool(
        abs(abs(np.linalg.det(whole)) - 1) < 1e-6 and np.abs(b @ whole - a).max() < percent / 100 * np.abs(a).max()
    )


@pytest.fixture(scope="session")
def lattices_agree():
    return same_lattice
