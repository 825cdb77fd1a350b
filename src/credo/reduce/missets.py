"""Each frame's own orientation, from what it recorded of every rocking curve: stick-slip and wobble of the stage.

Convention: the misset ω_f of frame f (``Scan.misset_deg``, laboratory frame) is applied after the rotation and holds
for the whole frame, from its start to its end: q(φ) = M_f R(m, φ) U B h with M_f = exp [ω_f]ₓ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.kernels.missets import (
    banded_factor,
    banded_inverse,
    banded_solve,
    best_turns,
    frame_shares,
    rocking_equations,
    rocking_fit,
)
from credo.kernels.refine import axis_tangents
from credo.kernels.rotation import rotation_from_vector
from credo.model import Crystal, Experiment, Reflections, Report
from credo.physics.ewald import excitation, scattering_vectors
from credo.reduce.missets_plane import PartialsLike, turns_about_beam

__all__ = ["MissetSettings", "fit_missets", "frame_rotations", "misset_basis", "recorded_shares"]

_NU = 4.0
#: Frames further apart than this are taken as independent though a grazing reflection may join them.
_REACH = 20
#: With so many reflections one half tells enough of the other.
_MANY = 400
#: Factors on the rocking width in the first steps: a wide curve still pulls where a narrow one has gone by.
_BLUR = (4.0, 3.0, 2.0, 1.5, 1.0)


class MissetSettings(BaseModel):
    """How frame orientations are fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_deg: float = Field(
        default=0.05, gt=0, description="First guess of the rms misset [deg]; the data then decide"
    )
    min_significance: float = Field(default=4.0, gt=0, description="Smallest I/sigma of a reflection that takes part")
    in_plane: bool = Field(default=True, description="Also fit the turn about the beam, from spot positions")
    iterations: int = Field(default=16, ge=1, description="Gauss-Newton steps")


def frame_rotations(experiment: Experiment) -> np.ndarray:
    """M_f (n, 3, 3): q(φ) = M_f R(m, φ) U B h from the start to the end of frame f; identities without missets."""
    missets = experiment.scan.misset_deg
    if missets is None:
        return np.broadcast_to(np.eye(3), (len(experiment.scan), 3, 3)).copy()
    return rotation_from_vector(np.radians(missets))


def misset_basis(axis: np.ndarray) -> np.ndarray:
    """Rows (3, 3): the rotation axis m, the direction across it in the image, and (nearly) the beam, m × across."""
    t1, t2 = axis_tangents(axis)
    return np.stack([axis, t1, t2])


@dataclass(frozen=True)
class _Observations:
    """Partials sorted by reflection and frame, with the geometry each needs (see ``rocking_fit``)."""

    start: np.ndarray
    frame: np.ndarray
    intensity: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tilt: np.ndarray
    length: np.ndarray
    source: np.ndarray


def fit_missets(
    experiment: Experiment,
    predicted: Reflections,
    partials: PartialsLike,
    settings: MissetSettings | None = None,
) -> tuple[Experiment, Report]:
    """``Scan.misset_deg`` (n, 3) from the rocking curves of ``partials``, and a report.

    The model is I = K_f I_r P_r(ω_f): the share P of a Gaussian rocking curve that frame f covers. Two tilts and a
    scale of every frame, all intensities and the widths of the rocking curve are fitted together under Student's t.
    Tilts and scales have Gaussian priors about zero whose widths are those of largest evidence (MacKay 1992), and
    tilts are kept only if they foretell reflections that had no part in them: a steady goniometer is left alone.
    ``predicted`` must be without missets; it may hold several ``lattice``s.
    """
    settings = settings or MissetSettings()
    n = len(experiment.scan)
    obs = _gather(experiment, predicted, partials, settings)
    if len(obs.start) < 11:
        return experiment, Report({"misset_rms_deg": 0.0}, ("Too few strong reflections to fit each frame.",))
    gain = _evidence(obs, n, experiment.crystal, settings)
    # frames that do not foretell reflections they have not seen are better left where the goniometer put them
    fit = _Fit(obs, n, experiment.crystal, settings, tilts=gain > 0).run()
    basis = misset_basis(experiment.goniometer.axis)
    plane = np.zeros((n, 2))
    if settings.in_plane:
        plane = turns_about_beam(experiment, predicted, partials)
    components = np.column_stack([fit.state[:, :2], plane[:, 0]])
    about_beam = float(np.degrees(np.sqrt(np.mean(plane[:, 0] ** 2))))
    numbers = fit.numbers() | {"misset_gain": gain, "misset_about_beam_rms_deg": about_beam}
    misset = np.degrees(components @ basis)
    crystals = tuple(
        c.replace(mosaicity_deg=float(np.degrees(fit.mosaicity)), shape_width=float(fit.shape))
        for c in experiment.crystals
    )
    out = experiment.replace(scan=experiment.scan.replace(misset_deg=misset), crystals=crystals)
    figures = {
        "misset_about_axis_deg": np.degrees(fit.state[:, 0]),
        "misset_across_deg": np.degrees(fit.state[:, 1]),
        "misset_esd_deg": np.degrees(fit.esd[:, :2]),
        "misset_about_beam_deg": np.degrees(plane[:, 0]),
        "misset_about_beam_esd_deg": np.degrees(plane[:, 1]),
        "frame_scale": np.exp(fit.state[:, 2]),
    }
    return out, Report(numbers, (), figures)


def _gather(experiment: Experiment, predicted: Reflections, partials: PartialsLike, settings: MissetSettings):
    """The observations that can tell: strong reflections, frames near their crossing."""
    row, frame = np.asarray(partials.row), np.asarray(partials.frame)
    lattice = predicted["lattice"] if "lattice" in predicted else np.zeros(len(predicted), dtype=int)
    ubs = np.stack([c.UB for c in experiment.crystals])
    q0 = np.einsum("nij,nj->ni", ubs[np.maximum(lattice, 0)], predicted.hkl.astype(float))
    axis, scan, wavelength = experiment.goniometer.axis, experiment.scan, experiment.beam.wavelength
    finite = np.isfinite(partials.intensity) & (np.asarray(partials.variance) > 0)
    total = np.bincount(row[finite], np.asarray(partials.intensity)[finite], len(predicted))
    noise = np.sqrt(np.bincount(row[finite], np.asarray(partials.variance)[finite], len(predicted)))
    keep = finite & (total[row] > settings.min_significance * noise[row])
    order = np.lexsort((frame, row))
    order = order[keep[order]]
    row, frame = row[order], frame[order]

    def eps(angle: np.ndarray) -> np.ndarray:
        return excitation(scattering_vectors(np.eye(3), q0[row], axis, angle), wavelength)

    q = scattering_vectors(np.eye(3), q0[row], axis, scan.mid_deg[frame])
    basis = misset_basis(axis)
    tilt = np.stack([np.cross(b, q)[:, 2] for b in basis[:2]], axis=1)
    _, start, count = np.unique(row, return_index=True, return_counts=True)
    many = np.repeat(count >= 2, count)
    start = np.concatenate([[0], np.cumsum(count[count >= 2])])
    pick = np.flatnonzero(many)
    return _Observations(
        start=start, frame=frame[pick], intensity=np.asarray(partials.intensity, dtype=float)[order][pick],
        variance=np.asarray(partials.variance, dtype=float)[order][pick],
        low=eps(scan.start_deg[frame])[pick], high=eps(scan.end_deg[frame])[pick], tilt=tilt[pick],
        length=np.linalg.norm(q0, axis=1)[row[pick][start[:-1]]], source=order[pick],
    )  # fmt: skip


class _Fit:
    """The alternation: intensities and variances, then all frames at once, then widths and priors."""

    def __init__(
        self, obs: _Observations, n_frames: int, crystal: Crystal, settings: MissetSettings, tilts: bool = True
    ) -> None:
        self.obs, self.n, self.settings, self.tilts = obs, n_frames, settings, tilts
        self.mosaicity = max(np.radians(crystal.mosaicity_deg), 1e-4)
        self.shape = max(crystal.shape_width, 1e-4)
        self.state = np.zeros((n_frames, 3))
        self.prior = np.array([np.radians(settings.start_deg) if tilts else 1e-6] * 2 + [0.05]) ** 2
        self.esd = np.sqrt(np.broadcast_to(self.prior, (n_frames, 3)))
        self.kappa2 = 1e-4
        self.slope = _variance_slope(obs)
        self.well = np.zeros(3)

    @property
    def width(self) -> np.ndarray:
        """Rms width of each reflection's rocking curve [Å⁻¹]."""
        return np.hypot(self.obs.length * self.mosaicity, self.shape)

    @property
    def _unsettled(self) -> bool:
        """Whether frames turn by more than half a rocking curve, so that some may have lost it."""
        return bool(np.sqrt(self.prior[0]) > 0.5 * np.median(self.width / self.obs.length))

    def run(self) -> _Fit:
        """Iterate; the priors are set free after the first steps have found the scale of things."""
        for turn in range(self.settings.iterations):
            blur = _BLUR[min(turn, len(_BLUR) - 1)] if self.tilts else 1.0
            early, lost = turn < len(_BLUR) - 1, turn == len(_BLUR) - 1 and self._unsettled
            moved = self._step(turn >= 2, blur, early, lost)
            if turn > len(_BLUR) and moved < 0.05:
                break
        return self

    def _step(self, update_prior: bool, blur: float, early: bool, search: bool) -> float:
        o, width = self.obs, self.width * blur
        scale, residual, variance, mean = rocking_fit(
            o.start, o.frame, o.intensity, o.variance, o.low, o.high, o.tilt, width, self.state, self.slope, self.kappa2
        )
        self._update_kappa(scale, residual, mean)
        if search:
            turns = np.linspace(-3, 3, 31) * np.sqrt(self.prior[0])
            self.state[:, 0] += best_turns(
                o.start, o.frame, o.intensity, o.low, o.high, o.tilt, width, self.state, scale, variance,
                self.prior[0], turns, _NU,
            )  # fmt: skip
            return 1.0
        weight = (_NU + 1) / (_NU + residual**2 / variance) / variance
        share = (o.length * self.mosaicity / width) ** 2
        band, rhs, hw, gw = rocking_equations(
            o.start, o.frame, o.low, o.high, o.tilt, width, share, self.state, scale, residual, weight, _REACH
        )
        # against a curve that is too wide, scales would take up what is not theirs
        hold = np.array([1.0, 1.0, 1e6 if early else 1.0])
        precision = np.tile(hold / self.prior, self.n)
        band[:, 0] += precision
        rhs -= precision * self.state.ravel()
        factor = banded_factor(band)
        step = banded_solve(factor, rhs).reshape(-1, 3)
        limit = np.array([np.median(width) / np.median(o.length)] * 2 + [0.2])
        self.state = self.state + np.clip(step, -limit, limit)
        if update_prior:
            self.esd = np.sqrt(banded_inverse(factor)[:, 0].reshape(-1, 3))
            self.well = (1 - self.esd**2 / self.prior).sum(axis=0)
            floor = np.array([1e-5, 1e-5, 1e-3]) ** 2
            found = (self.state**2).sum(axis=0) / np.maximum(self.well, 1e-3 * self.n)
            found = np.clip(found, floor, np.array([0.02, 0.02, 0.25]) ** 2)
            self.prior = found if self.tilts else np.append(self.prior[:2], found[2])
        if blur > 1:
            return 1.0
        change = np.linalg.solve(hw + 4 * np.eye(2), gw)
        self.mosaicity *= float(np.exp(np.clip(change[0], -0.3, 0.3)))
        self.shape *= float(np.exp(np.clip(change[1], -0.3, 0.3)))
        return float(np.sqrt(np.mean((step / self.esd)[:, :2] ** 2)))

    def _update_kappa(self, scale, residual, mean) -> None:
        """The model's relative error, so that strong observations have χ² = 1 under Student's t."""
        top = np.repeat(scale, np.diff(self.obs.start))
        shape = top * np.maximum(mean, 0.01 * top)
        pure = np.maximum(self.obs.variance - self.slope * residual, 0.2 * self.obs.variance)
        strong = mean > 5 * np.sqrt(pure)
        if np.count_nonzero(strong) < 50:
            return
        low, high = 1e-8, 1.0
        for _ in range(14):
            mid = np.sqrt(low * high)
            z2 = residual[strong] ** 2 / (pure + mid * shape)[strong]
            # 0.455: the median of χ² with one degree of freedom; frames still astray do not reach it
            low, high = (mid, high) if np.median(z2) > 0.455 else (low, mid)
        self.kappa2 = float(high)

    def numbers(self) -> dict:
        """What the report says."""
        deg = np.degrees(self.state[:, :2])
        return {
            "misset_rms_deg": float(np.sqrt(np.mean(np.sum(deg**2, axis=1)))),
            "misset_about_axis_rms_deg": float(np.sqrt(np.mean(deg[:, 0] ** 2))),
            "misset_across_rms_deg": float(np.sqrt(np.mean(deg[:, 1] ** 2))),
            "misset_esd_deg": float(np.degrees(np.sqrt(np.median((self.esd[:, :2] ** 2).sum(axis=1))))),
            "misset_prior_deg": [float(v) for v in np.degrees(np.sqrt(self.prior[:2]))],
            "frame_scale_rms": float(np.sqrt(np.mean(self.state[:, 2] ** 2))),
            "model_error": float(np.sqrt(self.kappa2)),
            "mosaicity_deg": float(np.degrees(self.mosaicity)),
            "shape_width_inv_angstrom": float(self.shape),
            "n_misset_reflections": len(self.obs.start) - 1,
        }

    def log_likelihood(self, obs: _Observations) -> float:
        """Of other reflections [nat], under this fit's frames, widths and model error."""
        width = np.hypot(obs.length * self.mosaicity, self.shape)
        _, residual, variance, _ = rocking_fit(
            obs.start, obs.frame, obs.intensity, obs.variance, obs.low, obs.high, obs.tilt, width, self.state,
            self.slope, self.kappa2,
        )  # fmt: skip
        log_t = -0.5 * (_NU + 1) * np.log1p(residual**2 / (_NU * variance)) - 0.5 * np.log(variance)
        return float(log_t.sum())


def _evidence(obs: _Observations, n: int, crystal: Crystal, settings: MissetSettings) -> float:
    """By how much frames turned by one half of the reflections foretell the other half better than a steady goniometer
    does, both ways where they are few [nat per reflection].

    Where frames are wider than rocking curves, a narrow curve on turned frames fits what it has seen as well as the
    right one on steady frames: only what it has not seen tells them apart.
    """
    order = np.arange(len(obs.start) - 1)
    halves = [_chosen(obs, order % 2 == k) for k in (0, 1)]
    ways = (halves, halves[::-1]) if len(order) < _MANY else (halves,)
    gain = 0.0
    for seen, unseen in ways:
        turned, steady = (_Fit(seen, n, crystal, settings, tilts).run() for tilts in (True, False))
        gain += turned.log_likelihood(unseen) - steady.log_likelihood(unseen)
    return 2 * gain / (len(ways) * len(order))


def _chosen(obs: _Observations, reflections: np.ndarray) -> _Observations:
    """The observations of some reflections, a mask (m,)."""
    count = np.diff(obs.start)
    rows = np.repeat(reflections, count)
    return _Observations(
        start=np.concatenate([[0], np.cumsum(count[reflections])]), frame=obs.frame[rows],
        intensity=obs.intensity[rows], variance=obs.variance[rows], low=obs.low[rows], high=obs.high[rows],
        tilt=obs.tilt[rows], length=obs.length[reflections], source=obs.source[rows],
    )  # fmt: skip


def _variance_slope(obs: _Observations) -> float:
    """Counts of variance per count of intensity (gain), from strong observations against weak ones."""
    weak = np.abs(obs.intensity) < 2 * np.sqrt(obs.variance)
    strong = obs.intensity > 8 * np.sqrt(obs.variance)
    if not strong.any():
        return 0.0
    base = np.median(obs.variance[weak]) if weak.any() else 0.0
    return float(max(np.median((obs.variance[strong] - base) / obs.intensity[strong]), 0.0))


def recorded_shares(
    experiment: Experiment, predicted: Reflections, row: np.ndarray, frame: np.ndarray, padded: float = 1.0
) -> np.ndarray:
    """Share (n,) of the rocking curve of reflection ``row`` that ``frame`` (list index) records, missets applied.

    ``padded`` widens the rocking curve by a factor. A crystal's curve is Gaussian in the excitation error with
    variance (|q| mosaicity)² + shape².
    """
    lattice = np.maximum(predicted["lattice"], 0) if "lattice" in predicted else np.zeros(len(predicted), dtype=int)
    q0 = np.einsum("nij,nj->ni", np.stack([c.UB for c in experiment.crystals])[lattice], predicted.hkl.astype(float))
    width = np.array([(np.radians(c.mosaicity_deg), c.shape_width) for c in experiment.crystals])[lattice]
    width = padded * np.hypot(np.linalg.norm(q0, axis=1) * width[:, 0], width[:, 1])
    turn, scan = frame_rotations(experiment)[frame], experiment.scan
    ends = []
    for angle in (scan.start_deg[frame], scan.end_deg[frame]):
        q = scattering_vectors(np.eye(3), q0[row], experiment.goniometer.axis, angle)
        ends.append(excitation(np.einsum("nij,nj->ni", turn, q), experiment.beam.wavelength))
    return frame_shares(ends[0], ends[1], width[row])
