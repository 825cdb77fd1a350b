"""Thesis Tables 6 and 7 on simulated andradite: the thesis's figures, its method here, and ours beside the bound.

``python -m benchmarks orientation [--axes N] [--part table6 table7 bloch jitter stage]``. 30°, random axes, errors in
degrees: mean over frames and series.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.andradite import THICKNESS, WAVELENGTH, Series, andradite, simulate, simulate_bloch, simulate_path
from credo.kernels.rotation import angle_between_deg
from credo.model import Structure
from credo.orient.dynamical import fit_dynamical
from credo.orient.observations import Observations
from credo.orient.orientations import OrientSettings, orient
from credo.orient.thesis import thesis_method

#: Thesis Table 6: (continuous, d_min) -> errors at steps of 0.05, 0.1, 0.2 and 0.5 degrees.
TABLE_6 = {
    (False, 0.625): (0.004, 0.006, 0.011, 0.025), (False, 0.8): (0.008, 0.010, 0.014, 0.030),
    (False, 1.0): (0.016, 0.018, 0.024, 0.040), (False, 1.2): (0.029, 0.030, 0.038, 0.064),
    (True, 0.625): (0.008, 0.007, 0.012, 0.018), (True, 0.8): (0.017, 0.012, 0.020, 0.028),
    (True, 1.0): (0.038, 0.019, 0.039, 0.051), (True, 1.2): (0.072, 0.034, 0.071, 0.075),
}  # fmt: skip
#: Thesis Table 7, steps of 0.1 degrees without positional correction: d_min -> (stepwise, continuous).
TABLE_7 = {0.625: (0.041, 0.046), 0.8: (0.066, 0.081), 1.0: (0.105, 0.128), 1.2: (0.152, 0.175)}
STEPS = (0.05, 0.1, 0.2, 0.5)
_PARTS = ("table6", "table7", "bloch", "jitter", "stage")


def observations(s: Series) -> Observations:
    return Observations(s.cell, WAVELENGTH, s.frame, s.hkl, s.intensity, s.sigma, s.nominal_deg, s.width_deg)


def bound(s: Series, background: float = 20.0) -> float:
    """Median Cramér-Rao bound of a frame's error [deg] for Poisson counts on a stepwise series, intensities unknown.

    μ = I_r sinc²(200 Å s) + background; the information of each frame's two turns with the passages' intensities
    eliminated and neighbours held, which is a little lower than the full bound. Slopes by finite differences.
    """
    p = s.hkl @ s.cell.B.T
    k = 1 / WAVELENGTH
    zone = s.zone[s.frame]

    def excitation(z: np.ndarray) -> np.ndarray:
        return k - np.linalg.norm(p - k * z, axis=1)

    pole = np.linalg.svd(s.zone)[2][2]
    first = np.cross(pole, zone)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(zone, first)
    e = 1e-6
    slopes = np.stack(
        [(excitation(zone + e * t) - excitation(zone - e * t)) / (2 * e) for t in (first, second)], axis=1
    )
    x = np.pi * THICKNESS * excitation(zone)
    share = np.sinc(x / np.pi) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(np.abs(x) < 1e-6, 0.0, 2 * np.sin(x) * (x * np.cos(x) - np.sin(x)) / x**3) * np.pi * THICKNESS
    peak = np.maximum(s.intensity, 0) / np.maximum(share, 0.02)
    jac = slopes * (peak * rate)[:, None]
    weight = 1 / (peak * share + background)
    _, which = np.unique(s.hkl, axis=0, return_inverse=True)
    bottom = np.bincount(which, weight * share**2)[which]
    own = weight * (1 - weight * share**2 / bottom)
    info = np.zeros((len(s.zone), 2, 2))
    np.add.at(info, s.frame, own[:, None, None] * np.einsum("ni,nj->nij", jac, jac))
    good = np.linalg.det(info) > 0
    covariance = np.linalg.inv(info[good])
    return float(np.degrees(np.median(np.sqrt(np.trace(covariance, axis1=1, axis2=2)))) * np.sqrt(np.pi / 4))


def table_6(
    axes: int, counts: float, resolutions: Sequence[float] = tuple(TABLE_7), steps: Sequence[float] = STEPS
) -> None:
    structure = andradite()
    print(f"\nTable 6, {axes} axes, " + (f"{counts:g} counts in the strongest" if counts else "no noise"))
    print("kind  d/Å   step  thesis  thesis-here  ours  median  smoothed  foretold  CRB(median)  worst frame  CPU s")
    for (continuous, d_min), thesis in TABLE_6.items():
        for step, published in zip(STEPS, thesis):
            if d_min not in resolutions or step not in steps:
                continue
            rows = [_one(simulate(structure, d_min, step, seed, continuous, counts), counts) for seed in range(axes)]
            r = np.nanmean(rows, axis=0)
            kind = "cRED" if continuous else "sRED"
            print(
                f"{kind}  {d_min:5.3f} {step:4.2f}  {published:6.3f}  {r[0]:8.4f}  {r[1]:8.5f} {r[2]:8.5f} {r[3]:8.5f} "
                f"{r[4]:8.5f}  {r[5]:8.5f}  {np.max([x[6] for x in rows]):7.4f}  {r[7]:5.2f}", flush=True,
            )  # fmt: skip


def _one(s: Series, counts: float) -> tuple[float, ...]:
    obs = observations(s)
    old = angle_between_deg(thesis_method(obs).zone, s.zone)
    began = time.process_time()
    found = orient(obs)
    seconds = time.process_time() - began
    new = angle_between_deg(found.zone, s.zone)
    assert found.smooth is not None
    smooth = angle_between_deg(found.smooth.zone, s.zone)
    crb = bound(s) if counts and not s.width_deg else float("nan")
    return (
        float(np.nanmean(old)), float(new.mean()), float(np.median(new)), float(smooth.mean()), found.error_deg, crb,
        float(new.max()), seconds,
    )  # fmt: skip


def table_7(axes: int) -> None:
    structure = andradite()
    print(f"\nTable 7 (no positional correction, steps of 0.1), {axes} axes: kind, d, thesis, here")
    settings = OrientSettings(method="thesis", positional_correction=False)
    for d_min, published in TABLE_7.items():
        for continuous in (False, True):
            here = []
            for seed in range(axes):
                s = simulate(structure, d_min, 0.1, seed, continuous)
                here.append(float(np.nanmean(angle_between_deg(orient(observations(s), settings).zone, s.zone))))
            print(
                f"{'cRED' if continuous else 'sRED'}  {d_min:5.3f}  {published[int(continuous)]:.3f}  "
                f"{np.mean(here):.4f}", flush=True,
            )  # fmt: skip


def jitter(axes: int) -> None:
    """White jitter of 0.02°: what is left of the error, and how much of the jitter comes through."""
    structure = andradite()
    print("\nJitter of 0.02 deg about each axis, cRED, 1e5 counts: d, step, raw, smoothed, transfer raw, smoothed")
    for d_min, step in ((0.625, 0.1), (1.0, 0.1), (0.625, 0.2), (1.0, 0.2)):
        rows = []
        for seed in range(axes):
            s = simulate(structure, d_min, step, seed, True, 1e5, jitter_deg=0.02)
            calm = simulate(structure, d_min, step, seed, True, 1e5)
            found = orient(observations(s))
            assert found.smooth is not None
            true = s.zone - calm.zone
            through = [float(np.sum(true * (z - calm.zone)) / np.sum(true**2)) for z in (found.zone, found.smooth.zone)]
            error = [angle_between_deg(z, s.zone).mean() for z in (found.zone, found.smooth.zone)]
            rows.append((*error, *through))
        print(d_min, step, " ".join(f"{v:.4f}" for v in np.mean(rows, axis=0)), flush=True)


def bloch(axes: int) -> None:
    """Bloch-wave intensities, 10⁵ counts: the methods of Tables 6 and 7, the joint fit, and the known structure."""
    structure = andradite()
    print("\nBloch-wave intensities, 1e5 counts: kind, d, step, nm, jitter; thesis (Table 6), uncorrected (Table 7),")
    print("joint fit, foretold, smoothed; known structure: mean, median, worst, foretold; thickness, R1, CPU s a frame")
    cases = [(d, 0.1, False, 0.0) for d in (0.63, 1.0)] + [(0.63, 0.2, True, 0.0), (0.63, 0.2, False, 0.02)]
    for n, (d_min, step, continuous, shake) in enumerate(cases):
        # the first case is the target's; one axis tells how the others compare
        seeds = range(axes if n == 0 else 1)
        for t in (200.0, 500.0, 1000.0):
            rows = [_one_bloch(structure, d_min, step, seed, continuous, shake, t) for seed in seeds]
            kind = "cRED" if continuous else "sRED"
            print(
                f"{kind} {d_min} {step} {t / 10:.0f} {shake}  " + " ".join(f"{v:.4f}" for v in np.mean(rows, axis=0)),
                flush=True,
            )


def _one_bloch(
    structure: Structure, d_min: float, step: float, seed: int, continuous: bool, shake: float, thickness: float
) -> list[float]:
    s = simulate_bloch(structure, d_min, step, seed, thickness, continuous, jitter_deg=shake)
    obs = observations(s)
    errors = []
    for correct in (True, False):
        zone = orient(obs, OrientSettings(method="thesis", positional_correction=correct)).zone
        errors.append(float(np.nanmean(angle_between_deg(zone, s.zone))))
    plain = orient(obs)
    assert plain.smooth is not None and plain.fit is not None
    began = time.process_time()
    starts = (plain.zone, plain.smooth.zone)
    # frames are fitted one by one: every fourth tells as much
    some = obs.select(obs.frame % 4 == 0)
    known = fit_dynamical(some, structure, starts, plain.path.axis, plain.fit.first, plain.fit.second)
    seconds = (time.process_time() - began) / np.isfinite(known.thickness).sum()
    raw, smooth = (angle_between_deg(z, s.zone) for z in starts)
    error = angle_between_deg(known.zone, s.zone)[::4]
    return [
        *errors, float(raw.mean()), plain.error_deg, float(smooth.mean()), float(error.mean()), float(np.median(error)),
        float(error.max()), known.error_deg, float(np.nanmedian(known.thickness)), known.r1, seconds,
    ]  # fmt: skip


def stage(counts: float = 1e5) -> None:
    """The thesis's experiment (6.3.2): 53 moves of 2.035(30)°, each with 21 beam tilts 2.2 % too large and 1.5° askew,
    and a wobble of 0.05°; what each method says of it."""
    structure = andradite()
    rng = np.random.default_rng(11)
    blocks, period = 53, 21
    position = np.repeat(np.cumsum(rng.normal(2.035, 0.030, blocks)), period)
    fine = np.tile((np.arange(period) - period // 2) * 0.1 * 1.022, blocks)
    nominal = np.repeat(2.0 * np.arange(blocks), period) + np.tile((np.arange(period) - period // 2) * 0.1, blocks)
    wobble = 0.05 * np.sin(2 * np.pi * np.arange(blocks * period) / (10 * period))
    s = simulate_path(structure, 0.63, position, fine, wobble, 1.5, counts, seed=5)
    obs = Observations(s.cell, WAVELENGTH, s.frame, s.hkl, s.intensity, s.sigma, nominal, 0.0)
    moves = np.diff(position[::period])
    print(
        f"\nThe goniometer experiment, {blocks * period} frames, {counts:g} counts in the strongest; true: goniometer"
    )
    print(f"{moves.mean():.4f}({moves.std(ddof=1):.4f}), beam tilt 0.1022, misalignment 1.5, wobble 0.05", flush=True)
    for method in ("thesis", "rocking"):
        began = time.process_time()
        found = orient(obs, OrientSettings(method=method, period=period))
        seconds = time.process_time() - began
        g = found.study
        error = np.nanmean(angle_between_deg(found.zone, s.zone))
        print(f"{method}: error {error:.4f}, goniometer {g.goniometer_step:.4f}({g.goniometer_step_esd:.4f}),", end=" ")
        print(f"beam tilt {g.beam_tilt_step:.5f}({g.beam_tilt_step_esd:.5f}),", end=" ")
        print(f"misalignment {g.misalignment:.2f}, wobble {g.wobble_amplitude:.4f}, {seconds:.2f} CPU s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--axes", type=int, default=4)
    parser.add_argument("--counts", type=float, nargs="*", default=[0.0, 1e5])
    parser.add_argument("--resolution", type=float, nargs="*", default=tuple(TABLE_7), help="of table6 [Å]")
    parser.add_argument("--step", type=float, nargs="*", default=STEPS, help="of table6 [°]")
    parser.add_argument("--part", nargs="*", choices=_PARTS, default=_PARTS)
    options = parser.parse_args(arguments)
    for part in options.part:
        if part == "table6":
            for counts in options.counts:
                table_6(options.axes, counts, options.resolution, options.step)
        elif part == "stage":
            for counts in options.counts:
                if counts:
                    stage(counts)
        else:
            {"table7": table_7, "bloch": bloch, "jitter": jitter}[part](options.axes)


if __name__ == "__main__":
    main()
