"""Frames of known orientation against a structure: thickness, scale and tilt of each, and every observation corrected.

An observation times I_kin/I_dyn of the same frame is what it would have been without multiple scattering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from credo.kernels.rotation import rotation_from_vector
from credo.model import CannotDo, Experiment, Reflections, Structure
from credo.physics.bloch_frames import Pose, frame_curves, frame_intensities
from credo.physics.bloch_rotation import thickness_shares
from credo.physics.bloch_waves import Potential, scattering_potential
from credo.physics.electron import voltage_kv

__all__ = ["Corrected", "Frame", "FrameSettings", "fit_frames", "frames_of"]

#: Corrections are cut at this factor either way; frames need so many whole reflections above 2σ.
_MOST, _FEWEST = 10.0, 3


@dataclass(frozen=True)
class FrameSettings:
    """``s_max`` [Å⁻¹]: beams that interact; ``thickness`` [Å]: means that are tried, each with the relative
    ``spreads``; tilts are searched in steps from ``tilt_deg`` down to a quarter; ``covered``: least share of a
    reflection's rocking curve that a frame must hold; ``doubt``: relative error of a correction per unit of its
    logarithm."""

    s_max: float = 0.01
    thickness: tuple[float, ...] = tuple(np.arange(100.0, 1601.0, 50.0).tolist())
    spreads: tuple[float, ...] = (0.0, 0.25)
    step_deg: float = 0.05
    tilt_deg: float = 0.12
    most_tilt_deg: float = 0.6
    covered: float = 0.7
    doubt: float = 0.2


@dataclass(frozen=True)
class Frame:
    """A frame's pose and observations: ``hkl`` (n, 3), ``intensity``, ``sigma`` (n,); and what was fitted: ``tilt_deg``
    about the laboratory's x and y, and the ``scale`` of amplitudes."""

    number: int
    pose: Pose
    hkl: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0

    @property
    def strong(self) -> np.ndarray:
        """(n,) bool: above 2σ."""
        return self.intensity > 2 * self.sigma


@dataclass(frozen=True)
class Corrected:
    """``frames`` as fitted; the observations that they hold whole: ``hkl`` (n, 3), ``f2`` and ``sigma`` (n,) on one
    scale, as a kinematical crystal would have given them; R1 over single observations, each frame on its scale, of
    ``n_observed`` above 2σ (``r1``) and of all; ``thickness`` [Å] and its relative ``spread``."""

    frames: tuple[Frame, ...]
    hkl: np.ndarray
    f2: np.ndarray
    sigma: np.ndarray
    r1: float
    r1_all: float
    n_observed: int
    thickness: float
    spread: float


def frames_of(experiment: Experiment, r: Reflections, d_min: float = 0.0) -> tuple[Frame, ...]:
    """The frames that hold five observations or more to ``d_min`` [Å]. Raises CannotDo where there are none."""
    if not all(name in r for name in ("frame", "intensity", "sigma")) or not experiment.crystals:
        raise CannotDo("dynamical refinement needs intensities of single frames", "give a .cif_pets of PETS or credo")
    scan, crystal = experiment.scan, experiment.crystal
    turned = experiment.goniometer.rotation(scan.mid_deg)
    if scan.misset_deg is not None:
        turned = rotation_from_vector(np.radians(scan.misset_deg)) @ turned
    d = crystal.cell.d_spacing(r.hkl)
    use = (r["sigma"] > 0) & np.isfinite(r["intensity"]) & np.isfinite(d) & (d >= d_min)
    row, axis = np.floor(r["frame"]).astype(int), np.asarray(experiment.goniometer.axis)
    out = []
    for f in range(len(scan)):
        mine = use & (row == f)
        if mine.sum() >= 5:
            pose = Pose(turned[f] @ crystal.UB, axis, abs(float(scan.width_deg[f])))
            out.append(Frame(int(scan.numbers[f]), pose, r.hkl[mine], r["intensity"][mine], r["sigma"][mine]))
    if not out:
        raise CannotDo("no frame holds five usable reflections", "check the reflections' frames and the limit of d")
    return tuple(out)


def fit_frames(
    structure: Structure, frames: tuple[Frame, ...], wavelength: float, settings: FrameSettings | None = None,
    dynamical: bool = True, tilts: bool = True, inverted: bool = False, progress: Callable[[str], None] | None = None,
) -> Corrected:  # fmt: skip
    """Thickness, then tilts at that thickness, then thickness again and scales; and the corrected observations.

    ``dynamical`` False: kinematical intensities of a middle thickness instead; ``inverted``: of the mirror image.
    """
    settings = settings or FrameSettings()
    if not dynamical:
        middle = settings.thickness[len(settings.thickness) // 4]
        settings = replace(settings, thickness=(middle,), spreads=(0.0,))
    d_min = min(float(structure.cell.d_spacing(f.hkl).min()) for f in frames) * 0.999
    potential = scattering_potential(structure, voltage_kv(wavelength), d_min)
    model = _Model(replace(potential, im=-potential.im) if inverted else potential, settings, dynamical)
    which = model.best_thickness(frames)
    if tilts:
        frames = tuple(_tilted(model, f, which) for f in frames)
        which = model.best_thickness(frames)
    done = _corrected(model, frames, which)
    if progress:
        kind = f"dynamical, {done.thickness:.0f} Å" if dynamical else "kinematical"
        progress(f"R1 of {done.n_observed} observations: {done.r1:.4f} ({kind})")
    return done


@dataclass(frozen=True)
class _Model:
    """Intensities of one structure for mixtures of thicknesses."""

    potential: Potential
    settings: FrameSettings
    dynamical: bool
    means: list[tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        means = [(t, spread) for spread in self.settings.spreads for t in self.settings.thickness]
        object.__setattr__(self, "means", means)

    def shares(self, mixtures: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Thicknesses (n,) and shares (mixtures, n) of some of ``means``."""
        parts = [thickness_shares(np.array([self.means[m][0]]), self.means[m][1]) for m in mixtures]
        t, which = np.unique(np.concatenate([t for t, _ in parts]), return_inverse=True)
        mix = np.zeros((len(mixtures), len(t)))
        at = np.repeat(np.arange(len(parts)), [len(t) for t, _ in parts])
        np.add.at(mix, (at, which), np.concatenate([m[0] for _, m in parts]))
        return t, mix

    def kinematical(self, f: Frame, mixture: int) -> tuple[np.ndarray, np.ndarray]:
        """(|U|² p (n,), share (n,) of its curve that the frame holds)."""
        s, rows = self.settings, self.potential.rows(f.hkl)
        pose = f.pose.tilted(np.array(f.tilt_deg))
        p, share = frame_curves(self.potential, pose, rows, *self.shares([mixture]), s.s_max, s.step_deg)
        return np.abs(self.potential.coefficients(f.hkl)) ** 2 * p[0], share[0]

    def intensities(self, f: Frame, mixtures: list[int]) -> np.ndarray:
        """(mixtures, n) of a frame's observations."""
        if not self.dynamical:
            return np.array([self.kinematical(f, m)[0] for m in mixtures])
        s, rows = self.settings, self.potential.rows(f.hkl)
        pose = f.pose.tilted(np.array(f.tilt_deg))
        return frame_intensities(self.potential, pose, rows, *self.shares(mixtures), s.s_max, s.step_deg)

    def whole(self, f: Frame, mixture: int) -> np.ndarray:
        """(n,) bool: the frame holds enough of the curve."""
        return self.kinematical(f, mixture)[1] >= self.settings.covered

    def best_thickness(self, frames: tuple[Frame, ...]) -> int:
        """The mixture of the lowest R1 over all frames, each with its own scale."""
        every = list(range(len(self.means)))
        top = np.zeros(len(every))
        for f in frames:
            used = self.whole(f, every[len(every) // 4]) & f.strong
            if used.sum() >= _FEWEST:
                obs = np.sqrt(f.intensity[used])
                top += [_misfit(obs, c) for c in np.sqrt(self.intensities(f, every)[:, used])]
        if not top.any():
            raise CannotDo("no frame holds whole reflections above 2σ", "check orientations and widths of the frames")
        return int(np.argmin(top))


def _scale(obs: np.ndarray, calc: np.ndarray) -> float:
    """Of amplitudes, by least squares."""
    return float(obs @ calc / max(calc @ calc, 1e-300))


def _misfit(obs: np.ndarray, calc: np.ndarray) -> float:
    return float(np.abs(obs - _scale(obs, calc) * calc).sum())


def _tilted(model: _Model, f: Frame, which: int) -> Frame:
    """The frame with the tilt of the lowest R1: a compass search, its step halved twice."""
    strong = model.whole(f, which) & f.strong
    if strong.sum() < 2 * _FEWEST:
        return f
    obs = np.sqrt(f.intensity[strong])

    def cost(tilt: tuple[float, float]) -> float:
        if np.hypot(*tilt) > model.settings.most_tilt_deg:
            return np.inf
        return _misfit(obs, np.sqrt(model.intensities(replace(f, tilt_deg=tilt), [which])[0][strong]))

    here, best, step = f.tilt_deg, cost(f.tilt_deg), model.settings.tilt_deg
    for _ in range(3):
        for _ in range(4):
            around = [(here[0] + a * step, here[1] + b * step) for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))]
            costs = [cost(x) for x in around]
            if min(costs) >= best:
                break
            here, best = around[int(np.argmin(costs))], min(costs)
        step /= 2
    return replace(f, tilt_deg=here)


def _corrected(model: _Model, frames: tuple[Frame, ...], which: int) -> Corrected:
    fitted, rows = [], []
    sums, n_observed = np.zeros(4), 0
    for f in frames:
        kin, share = model.kinematical(f, which)
        used = (share >= model.settings.covered) & (kin > 0)
        strong = used & f.strong
        if strong.sum() < _FEWEST:
            continue
        dyn = model.intensities(f, [which])[0]
        obs, calc = np.sqrt(np.maximum(f.intensity, 0)), np.sqrt(dyn)
        scale = _scale(obs[strong], calc[strong])
        miss = np.abs(obs - scale * calc)
        sums += [miss[strong].sum(), obs[strong].sum(), miss[used].sum(), obs[used].sum()]
        n_observed += int(strong.sum())
        fitted.append(replace(f, scale=scale))
        rows.append(_observations(model, f, used, kin, dyn, scale))
    if not rows:
        raise CannotDo("no frame holds whole reflections above 2σ", "check orientations and widths of the frames")
    table = np.concatenate(rows)
    table[:, 3:] *= 100 / np.median(np.abs(table[:, 3]))
    return Corrected(
        tuple(fitted), table[:, :3].astype(int), table[:, 3], table[:, 4], sums[0] / sums[1], sums[2] / sums[3],
        n_observed, *model.means[which],
    )  # fmt: skip


def _observations(
    model: _Model, f: Frame, used: np.ndarray, kin: np.ndarray, dyn: np.ndarray, scale: float
) -> np.ndarray:
    """(n, 5): h k l, |U|² as observed, its σ. The error of a correction grows with its logarithm."""
    kin, dyn = kin[used], dyn[used]
    ratio = np.clip(kin / np.maximum(dyn, 1e-300), 1 / _MOST, _MOST)
    per_curve = np.abs(model.potential.coefficients(f.hkl[used])) ** 2 / kin
    factor = ratio * per_curve / scale**2
    error = np.hypot(f.sigma[used], model.settings.doubt * np.log(ratio) * scale**2 * dyn)
    return np.column_stack([f.hkl[used], f.intensity[used] * factor, error * factor])
