"""Which lattice point each spot is: Miller indices from the current geometry, accepted by their residuals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from credo.kernels.refine import rotate_about
from credo.model import Detector, Ellipse, Experiment, Reflections
from credo.physics.ewald import allowed_by_centring, crossing_angles, crossing_speed
from credo.reduce.refine_model import Data, State, beam_at, predicted
from credo.reduce.refine_solve import Variances

__all__ = ["assign", "calculated", "indexed", "spot_data"]

_MAX_SIGMA = 6.0


def spot_data(experiment: Experiment, spots: Reflections) -> Data:
    """All spots as arrays; indices and lattice as they stand (lattice −1 kept)."""
    width = np.radians(np.abs(experiment.scan.width_deg).mean())
    cut = spots["cut"] if "cut" in spots else np.zeros(len(spots), dtype=bool)
    n = len(spots)
    hkl = spots.hkl if "h" in spots else np.zeros((n, 3), dtype=int)
    lattice = spots["lattice"] if "lattice" in spots else np.full(n, -1)
    var_xy = np.stack([_variance(spots, "var_x", n, 0.25), _variance(spots, "var_y", n, 0.25)], axis=1)
    var_phi = np.radians(np.radians(_variance(spots, "var_phi", n, np.degrees(width) ** 2 / 12)))
    # what was recorded of a cut spot leaves its true centroid anywhere within about its own width
    lasts = (spots["last"] - spots["first"] + 1) if {"first", "last"} <= set(spots) else np.ones(n)
    var_phi = np.where(cut, var_phi + (0.5 * lasts * width) ** 2, var_phi)
    return Data(
        row=np.arange(n), hkl=hkl, crystal=lattice.astype(int), phi=np.radians(spots["phi"]),
        frame=np.asarray(spots["frame"]), xy=spots.xy, var_xy=var_xy * np.where(cut, 9.0, 1.0)[:, None],
        var_phi=np.maximum(var_phi, (0.02 * width) ** 2), use_phi=np.ones(n, dtype=bool),
    )  # fmt: skip


def _variance(spots: Reflections, name: str, n: int, default: float) -> np.ndarray:
    v = np.asarray(spots[name], dtype=float) if name in spots else np.full(n, default)
    return np.where(np.isfinite(v) & (v > 0), v, default)


def indexed(data: Data, n_crystals: int) -> Data:
    """The spots that belong to one of the crystals."""
    return data.part((data.crystal >= 0) & (data.crystal < n_crystals) & np.any(data.hkl != 0, axis=1))


def assign(
    state: State,
    data: Data,
    centrings: tuple[str, ...],
    variances: Variances,
    tolerance: float,
    walk: float | None = None,
) -> Data:
    """Every spot's best crystal and indices, or −1.

    A spot is taken when no index is off by more than ``tolerance`` and its position and excitation lie within six
    standard deviations (with the excess variances found so far; ``walk`` [px]: how far the beam may have gone).
    """
    variances = replace(variances, position=variances.position + (walk or 0.0) ** 2)
    n = len(data.phi)
    best = np.full(n, np.inf)
    crystal, hkl = np.full(n, -1), np.zeros((n, 3), dtype=int)
    ellipse = Ellipse.from_components(*state.ellipse)
    coma = (float(state.coma[0]), float(state.coma[1]))
    detector = Detector((1, 1), state.q_per_pixel, (0.0, 0.0), ellipse=ellipse, barrel=state.barrel, coma=coma)
    from_beam = data.xy + 0.5 * state.gap * np.sign(data.xy - state.middle) - state.origin
    q_seen = detector.q_lab(from_beam - beam_at(state.shift, data.frame), state.wavelength)
    q0 = rotate_about(state.axis, -state.angle(data.phi), q_seen)
    for k, centring in enumerate(centrings):
        real = q0 @ np.linalg.inv(state.ub(k)).T
        h = np.rint(real).astype(int)
        trial = replace(data, hkl=h, crystal=np.full(n, k))
        xy, eps, q = predicted(state, trial)
        speed, length = crossing_speed(q, state.axis), np.linalg.norm(q, axis=1)
        z_xy = ((data.xy - xy) ** 2 / variances.of_positions(data.var_xy)).sum(axis=1)
        z_phi = eps**2 / variances.of_excitation(data.var_phi, speed, length + 1e-9)
        z_phi = np.where(data.use_phi, z_phi, z_phi / 9)
        ok = np.all(np.abs(real - h) < tolerance, axis=1) & allowed_by_centring(h, centring) & np.any(h != 0, axis=1)
        ok &= (z_xy < _MAX_SIGMA**2) & (z_phi < _MAX_SIGMA**2)
        better = ok & (z_xy + z_phi < best)
        best = np.where(better, z_xy + z_phi, best)
        crystal[better], hkl[better] = k, h[better]
    return replace(data, hkl=hkl, crystal=crystal)


def calculated(state: State, data: Data, ubs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Angles of crossing φ_calc (n,) [rad] nearest to the observed, and positions (n, 2) [px] there.

    Where a reflection never crosses (grazing, near the axis) the observed angle stands.
    """
    q0 = np.einsum("nij,nj->ni", np.stack(ubs)[data.crystal], data.hkl.astype(float))
    turns = np.stack(crossing_angles(q0, state.axis, state.wavelength))
    seen = state.angle(data.phi)
    delta = (turns - seen + np.pi) % (2 * np.pi) - np.pi
    delta = np.where(np.isnan(delta), np.inf, delta)
    nearest = np.take_along_axis(delta, np.argmin(np.abs(delta), axis=0)[None], axis=0)[0]
    phi = seen + np.where(np.isfinite(nearest), nearest, 0.0)
    there = replace(state, stretch=0.0)
    return phi, predicted(there, replace(data, phi=phi))[0]
