"""The X-ray powder pattern of a structure: reflections with Lorentz-polarisation, peak shapes, a fit to a scan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np
from scipy.optimize import least_squares

from credo.model import CannotDo, Structure
from credo.physics.symmetry import group_operations
from credo.solve.sites import site_symmetry

__all__ = ["Fitted", "PowderLines", "Profile", "fit_pattern", "pattern", "powder_lines"]


@dataclass(frozen=True)
class PowderLines:
    """``hkl`` (n, 3) one of each family, ``two_theta`` (n,) [deg], ``d`` (n,) [Å], ``intensity`` (n,):
    multiplicity · |F|² · Lp."""

    hkl: np.ndarray
    two_theta: np.ndarray
    d: np.ndarray
    intensity: np.ndarray


@dataclass(frozen=True)
class Profile:
    """Pseudo-Voigt peaks: full width [deg] at half height √(w + v tan θ + u tan² θ) (Caglioti), Lorentzian share,
    zero shift [deg], and a factor on the cell's lengths."""

    w: float = 0.01
    v: float = 0.0
    u: float = 0.01
    eta: float = 0.5
    zero: float = 0.0
    cell: float = 1.0


@dataclass(frozen=True)
class Fitted:
    """A measured scan with its fit: two_theta, observed, calculated, background (n,);
    Rp = Σ|o − c|/Σo, Rwp = √(Σw(o − c)²/Σw o²) with w = 1/max(o, 1)."""

    profile: Profile
    scale: float
    two_theta: np.ndarray
    observed: np.ndarray
    calculated: np.ndarray
    background: np.ndarray
    rp: float
    rwp: float


def powder_lines(
    structure: Structure, wavelength: float, two_theta_max: float, two_theta_min: float = 0.0
) -> PowderLines:
    """All families within the range. wavelength [Å] of X-rays; Lp = (1 + cos² 2θ)/(sin² θ cos θ), no monochromator."""
    d_min = wavelength / (2 * np.sin(np.radians(min(two_theta_max, 175.0) / 2)))
    cell, group = gemmi.UnitCell(*structure.cell.parameters), gemmi.SpaceGroup(structure.space_group)
    if structure.cell.volume / d_min**3 > 3e6:
        raise CannotDo("too many reflections in this range", "lower --two-theta-max or use a longer wavelength")
    hkl = np.asarray(gemmi.make_miller_array(cell, group, d_min, unique=True))
    if not len(hkl):
        raise CannotDo("no reflection in this range", "raise --two-theta-max")
    d = structure.cell.d_spacing(hkl)
    theta = np.arcsin(np.clip(wavelength / (2 * d), 0, 1))
    count = _multiplicity(hkl, group)
    lp = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    intensity = count * np.abs(_xray_factors(structure, hkl)) ** 2 * lp
    keep = np.degrees(2 * theta) >= two_theta_min
    order = np.flatnonzero(keep)[np.argsort(theta[keep])]
    return PowderLines(hkl[order], np.degrees(2 * theta)[order], d[order], intensity[order])


def _multiplicity(hkl: np.ndarray, group: gemmi.SpaceGroup) -> np.ndarray:
    """How many equivalents, Friedel mates included, each index has."""
    rot = group_operations(group).rot
    images = np.einsum("ni,rij->nrj", hkl, np.concatenate([rot, -rot]))
    span = 4 * int(np.abs(hkl).max()) + 1
    code = np.sort(images @ np.array([span * span, span, 1]), axis=1)
    return 1 + np.sum(np.diff(code, axis=1) != 0, axis=1)


def _xray_factors(structure: Structure, hkl: np.ndarray) -> np.ndarray:
    """F (n,) with the X-ray factors of Int. Tables C 6.1.1.4 (gemmi's IT92), isotropic displacements."""
    group = gemmi.SpaceGroup(structure.space_group)
    ops = group_operations(group)
    centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
    s2 = 0.25 / structure.cell.d_spacing(hkl) ** 2
    total = np.zeros(len(hkl), dtype=complex)
    for a in structure.atoms:
        order = site_symmetry(a.xyz, ops, centrings, structure.cell).order
        c = np.array(gemmi.Element("H" if a.element == "D" else a.element).it92.get_coefs())
        f = np.exp(-np.outer(s2, c[4:8])) @ c[:4] + c[8]
        f = f * a.occupancy / order * np.exp(-8 * np.pi**2 * a.u_iso * s2)
        for r, t in zip(ops.rot, ops.trans):
            total += f * np.exp(2j * np.pi * (hkl @ (r @ a.xyz + t)))
    return total * np.exp(2j * np.pi * (hkl @ centrings.T)).sum(axis=1)


def pattern(lines: PowderLines, two_theta: np.ndarray, wavelength: float, profile: Profile) -> np.ndarray:
    """Intensity (n,) at the angles [deg], without background."""
    out = np.zeros(len(two_theta))
    theta = np.arcsin(np.clip(wavelength / (2 * lines.d * profile.cell), -1, 1))
    centre = np.degrees(2 * theta) + profile.zero
    tan = np.tan(theta)
    width = np.sqrt(np.maximum(profile.w + profile.v * tan + profile.u * tan**2, 1e-6))
    first = np.searchsorted(two_theta, centre - 12 * width)
    last = np.searchsorted(two_theta, centre + 12 * width)
    for i in range(len(centre)):
        if last[i] > first[i]:
            x = (two_theta[first[i] : last[i]] - centre[i]) / width[i]
            gauss = np.sqrt(4 * np.log(2) / np.pi) * np.exp(-4 * np.log(2) * x**2)
            lorentz = 2 / np.pi / (1 + 4 * x**2)
            out[first[i] : last[i]] += (
                lines.intensity[i] / width[i] * (profile.eta * lorentz + (1 - profile.eta) * gauss)
            )
    return out


def fit_pattern(
    lines: PowderLines, two_theta: np.ndarray, observed: np.ndarray, wavelength: float, start: Profile, terms: int = 6
) -> Fitted:
    """Widths, zero shift, cell factor (within 3 %), scale and a Chebyshev background against a measured scan; the
    structure stays. two_theta (n,) increasing [deg]."""
    w = 1 / np.maximum(observed, 1.0)
    x = 2 * (two_theta - two_theta[0]) / (two_theta[-1] - two_theta[0]) - 1
    basis = np.polynomial.chebyshev.chebvander(x, terms - 1)

    def profile_of(v: np.ndarray) -> Profile:
        return Profile(np.exp(v[0]), 0.0, np.exp(v[1]), 1 / (1 + np.exp(-v[2])), v[3], 1 + 0.03 * np.tanh(v[4]))

    def linear(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        peaks = pattern(lines, two_theta, wavelength, profile_of(v))
        design = np.column_stack([peaks, basis])
        root = np.sqrt(w)
        c = np.linalg.lstsq(design * root[:, None], observed * root, rcond=None)[0]
        if c[0] < 0:
            c = np.concatenate([[0.0], np.linalg.lstsq(basis * root[:, None], observed * root, rcond=None)[0]])
        return c, design @ c, basis @ c[1:]

    def residual(v: np.ndarray) -> np.ndarray:
        return np.sqrt(w) * (observed - linear(v)[1])

    # the cell of 3D ED may be off by a per cent: the best of a row of cells, with peaks twice as wide, is refined
    row = [
        np.array([np.log(start.w * 4), np.log(start.u), 0.0, start.zero, np.arctanh(d / 0.03)])
        for d in np.linspace(-0.028, 0.028, 57)
    ]
    first = min(row, key=lambda v: float(np.sum(residual(v) ** 2)))
    best = least_squares(residual, first, max_nfev=60, x_scale=[1, 1, 1, 0.05, 0.1])
    c, calculated, background = linear(best.x)
    rp = float(np.abs(observed - calculated).sum() / max(np.abs(observed).sum(), 1e-30))
    rwp = float(np.sqrt((w @ (observed - calculated) ** 2) / max(w @ observed**2, 1e-30)))
    return Fitted(replace(profile_of(best.x)), float(c[0]), two_theta, observed, calculated, background, rp, rwp)
