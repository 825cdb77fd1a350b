"""A kinematical rotation series of a real structure: what a detector would record, and what only the simulator knows.

series = simulate_series(structure, SeriesSettings(frames=120))
series.frames, series.experiment          # what a user would have
series.truth                              # what a comparison may read
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import ndtr

from credo.kernels.render import add_spots
from credo.model import (
    ArrayFrames,
    Beam,
    Crystal,
    Detector,
    Ellipse,
    Experiment,
    Goniometer,
    Reflections,
    Scan,
    Structure,
)
from credo.physics.electron import wavelength
from credo.physics.structure_factors import structure_factors
from credo.physics.truth import Truth
from credo.physics.turning_beam import crossings, excitation_errors, vectors

__all__ = ["FaultSettings", "SeriesSettings", "SimulatedSeries", "simulate_series"]


class FaultSettings(BaseModel):
    """What is wrong with the instrument or its header; all off by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header_axis_deg: float = Field(default=0.0, description="header's axis minus the true one, in the image [deg]")
    header_beam_px: tuple[float, float] = Field(default=(0.0, 0.0), description="header's beam minus the true one [px]")
    header_distance_percent: float = Field(default=0.0, description="header's camera length minus the true one [%]")
    ellipse_percent: float = Field(default=0.0, ge=0, description="elliptical distortion, axis ratio − 1 [%]")
    ellipse_azimuth_deg: float = Field(default=30.0, description="its long axis, from x to y [deg]")
    drift_px: tuple[float, float] = Field(default=(0.0, 0.0), description="drift of the direct beam over the scan [px]")
    jitter_px: float = Field(default=0.0, ge=0, description="rms of each frame's own beam shift [px]")
    slip_deg: float = Field(default=0.0, ge=0, description="rms of each frame's own rotation error (stick-slip) [deg]")
    missing_every: int = Field(default=0, ge=0, description="every n-th frame is missing (0: none)")
    dynamical: float = Field(default=0.0, ge=0, description="rms of a log-normal error of every crossing's intensity")
    spurious: float = Field(default=0.0, ge=0, description="false spots as a share of the crossings")
    second_lattice: float = Field(
        default=0.0, ge=0, le=1, description="intensity of a second crystal relative to the first"
    )


class SeriesSettings(BaseModel):
    """The experiment that is simulated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(default=300, ge=2, description="number of frames")
    step_deg: float = Field(default=0.25, description="rotation per frame [deg]")
    start_deg: float = Field(default=-37.5, description="angle of the first frame's start [deg]")
    shape: tuple[int, int] = Field(default=(516, 516), description="rows, columns of the detector")
    q_per_pixel: float = Field(default=0.0025, gt=0, description="pixel size [Å⁻¹]")
    kilovolts: float = Field(default=200.0, gt=1, description="accelerating voltage [kV]")
    axis_deg: float = Field(default=141.0, description="rotation axis in the image, from x (right) to y (down) [deg]")
    mosaicity_deg: float = Field(default=0.12, ge=0, description="rms mosaic spread [deg]")
    shape_width: float = Field(default=0.0004, ge=0, description="rms width of nodes from the crystal's size [Å⁻¹]")
    counts: float = Field(default=4000.0, gt=0, description="counts of a crossing that is stronger than 99 % of them")
    background: float = Field(
        default=1.0, ge=0, description="inelastic background at the edge; twentyfold near the beam [counts/px]"
    )
    psf_px: float = Field(default=0.9, gt=0, description="rms of the point spread [px]")
    faults: FaultSettings = Field(default_factory=FaultSettings)
    seed: int = Field(default=0, ge=0, description="same seed, same series")


@dataclass(frozen=True)
class SimulatedSeries:
    """``experiment`` is what the header says, which may be wrong; ``truth`` what the simulator knew."""

    frames: ArrayFrames
    experiment: Experiment
    truth: Truth


def simulate_series(
    structure: Structure,
    settings: SeriesSettings | None = None,
    orientation: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedSeries:
    """Render a rotation series.

    Counts of a crossing: ∝ |F|² L (kinematical), spread over angle by a Gaussian rocking curve in the excitation error
    of variance (|q| mosaicity)² + shape², over pixels by a Gaussian point spread; Poisson noise of spots, inelastic
    background and direct beam; saturation at 11800 counts. ``orientation`` U (3, 3): random by default.
    The geometry is ``turning_beam``'s, not the estimators'.
    """
    settings = settings or SeriesSettings()
    rng = np.random.default_rng(settings.seed)
    true = _true_experiment(structure, settings, rng, orientation)
    table = _crossings(structure, true, settings, rng)
    share_of = _Shares(true, table)
    keep = _present(settings)
    images = np.empty((len(keep), *settings.shape), dtype=np.uint16)
    base = _background(settings, true.detector.origin)
    n = len(true.scan)
    recorded = np.zeros(len(table))
    shift = np.asarray(true.scan.beam_shift)
    centre_shift = true.scan.shift_at(table["frame"])
    seeds = rng.integers(0, 2**63, size=n)
    place = 0
    for f in range(n):
        rows, share = share_of(f)
        if f not in keep:
            continue
        recorded[rows] += share
        lam = _shifted(base, shift[f])
        move = shift[f] - centre_shift[rows]
        counts = table["intensity"][rows] * share
        add_spots(
            lam,
            table["x"][rows] + move[:, 0],
            table["y"][rows] + move[:, 1],
            counts,
            np.full(len(rows), settings.psf_px),
        )
        # a frame of its own stream: leaving frames out does not change the others
        noise = np.random.default_rng(seeds[f])
        images[place] = np.minimum(noise.poisson(lam), 11800)
        place += 1
        if progress:
            progress(place, len(keep))
    truth_scan = true.scan.part(np.array(sorted(keep)))
    number = {f: i for i, f in enumerate(sorted(keep))}
    frame = np.interp(table["frame"], np.array(sorted(number)) + 0.5, np.arange(len(number)) + 0.5)
    reflections = table.with_columns(partiality=recorded, frame=frame).select(recorded > 1e-3)
    truth = Truth(
        true.replace(scan=truth_scan), reflections, {"name": structure.name, "space_group": structure.space_group}
    )
    return SimulatedSeries(ArrayFrames(images[:place]), _header(true, truth_scan, settings), truth)


def _true_experiment(structure, settings: SeriesSettings, rng, orientation) -> Experiment:
    from scipy.spatial.transform import Rotation

    ny, nx = settings.shape
    faults, n = settings.faults, settings.frames
    random = Rotation.from_quat(rng.normal(size=(2, 4))).as_matrix()
    u = random[0] if orientation is None else np.asarray(orientation)
    centring = structure.space_group[0] if structure.space_group[0] in "PABCIFR" else "P"
    first = Crystal(
        structure.cell,
        u,
        centring,
        space_group=structure.space_group,
        mosaicity_deg=settings.mosaicity_deg,
        shape_width=settings.shape_width,
    )
    crystals = [first, first.replace(orientation=random[1])] if faults.second_lattice else [first]
    axis = Goniometer.in_plane(settings.axis_deg, float(rng.normal() * 0.2))
    ramp = np.linspace(-0.5, 0.5, n)
    drift = np.stack([d * (ramp + 0.15 * np.sin(2 * np.pi * ramp)) for d in faults.drift_px], axis=1)
    shift = drift + faults.jitter_px * rng.normal(size=(n, 2))
    slip = faults.slip_deg * rng.normal(size=n)
    wobble = 0.3 * faults.slip_deg * rng.normal(size=n)
    across = np.cross([0, 0, 1.0], axis.axis)
    misset = slip[:, None] * axis.axis + wobble[:, None] * across
    scan = Scan.regular(n, settings.start_deg, settings.step_deg).replace(
        beam_shift=shift - shift.mean(axis=0), misset_deg=misset
    )
    origin = (nx / 2 + float(rng.uniform(-6, 6)), ny / 2 + float(rng.uniform(-6, 6)))
    ellipse = Ellipse(faults.ellipse_percent, faults.ellipse_azimuth_deg)
    detector = Detector(settings.shape, settings.q_per_pixel, origin, saturation=11800, ellipse=ellipse)
    return Experiment(Beam(wavelength(settings.kilovolts)), detector, axis, scan, tuple(crystals), source="simulated")


def _crossings(structure, true: Experiment, settings: SeriesSettings, rng) -> Reflections:
    """All crossings near the scan with their expected counts."""
    ny, nx = settings.shape
    d_min = 1 / (settings.q_per_pixel * float(np.hypot(nx, ny)) / 2)
    tables = []
    for k, crystal in enumerate(true.crystals):
        t = crossings(true, crystal, max(d_min, 0.35), 3.0)
        unique, back = np.unique(t.hkl, axis=0, return_inverse=True)
        f2 = np.abs(structure_factors(structure, unique)) ** 2
        strength = f2[back.reshape(-1)] * t["lorentz"] * (settings.faults.second_lattice if k else 1.0)
        tables.append(t.with_columns(intensity=strength, lattice=np.full(len(t), k)))
    table = Reflections({c: np.concatenate([t[c] for t in tables]) for c in tables[0]})
    first = table["intensity"][(table["lattice"] == 0) & (table["intensity"] > 0)]
    scale = settings.counts / float(np.quantile(first, 0.99))
    counts = table["intensity"] * scale * np.exp(settings.faults.dynamical * rng.normal(size=len(table)))
    table = table.with_columns(intensity=counts)
    return table.select(counts > 1e-3)


class _Shares:
    """Which crossings a frame records and which part of each: P = Φ(ε_end/σ) − Φ(ε_start/σ)."""

    def __init__(self, true: Experiment, table: Reflections) -> None:
        self._true, self._table = true, table
        self._q0 = np.zeros((len(table), 3))
        for k, crystal in enumerate(true.crystals):
            mine = table["lattice"] == k
            self._q0[mine] = vectors(crystal, table.hkl[mine])
        c = true.crystal
        self._sigma = np.hypot(np.linalg.norm(self._q0, axis=1) * np.radians(c.mosaicity_deg), c.shape_width)
        self._half = (
            6 * np.degrees(self._sigma * table["lorentz"]) + 5 * np.abs(np.asarray(true.scan.misset_deg)).max() + 0.5
        )

    def __call__(self, f: int) -> tuple[np.ndarray, np.ndarray]:
        scan = self._true.scan
        low, high = sorted((scan.start_deg[f], scan.end_deg[f]))
        rows = np.flatnonzero((self._table["phi"] + self._half > low) & (self._table["phi"] - self._half < high))
        ends = []
        for angle in (scan.start_deg[f], scan.end_deg[f]):
            eps = excitation_errors(self._true, self._q0[rows], np.asarray(angle), np.asarray(scan.misset_deg)[f])
            ends.append(ndtr(eps / self._sigma[rows]))
        share = np.abs(ends[1] - ends[0])
        seen = share > 1e-5
        return rows[seen], share[seen]


def _present(settings: SeriesSettings) -> set[int]:
    every = settings.faults.missing_every
    return {f for f in range(settings.frames) if not every or (f + 1) % every}


def _background(settings: SeriesSettings, origin: tuple[float, float]) -> np.ndarray:
    ny, nx = settings.shape
    yy, xx = np.mgrid[0:ny, 0:nx]
    r = np.hypot(xx + 0.5 - origin[0], yy + 0.5 - origin[1]) / (0.5 * min(nx, ny))
    beam = 3000 * np.exp(-0.5 * (r * 0.5 * min(nx, ny) / 3.0) ** 2)
    return settings.background * (0.5 + 0.5 * np.exp(1 - r) + 20 * np.exp(-r / 0.06)) + beam


def _shifted(base: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The background moved with the beam."""
    if not np.any(shift):
        return base.copy()
    from scipy.ndimage import shift as moved

    return np.maximum(moved(base, (shift[1], shift[0]), order=1, mode="nearest"), 0)


def _header(true: Experiment, scan: Scan, settings: SeriesSettings) -> Experiment:
    """What the files will say."""
    faults, det = settings.faults, true.detector
    origin = (det.origin[0] + faults.header_beam_px[0], det.origin[1] + faults.header_beam_px[1])
    q = det.q_per_pixel / (1 + faults.header_distance_percent / 100)
    return true.replace(
        detector=Detector(det.shape, q, origin, saturation=det.saturation),
        goniometer=Goniometer.in_plane(settings.axis_deg + faults.header_axis_deg),
        scan=Scan(scan.numbers, scan.start_deg, scan.width_deg),
        crystals=(),
        known=("wavelength", "q_per_pixel", "origin", "axis", "angles", "pixel_size"),
        kind="simulated",
    )
