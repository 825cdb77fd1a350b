"""Integration: the counts of every predicted reflection, from all frames that saw a part of it, with honest sigmas."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import CannotDo, Experiment, Frames, Reflections, Report
from credo.physics.ewald import predict
from credo.reduce.background import Background, mean_background
from credo.reduce.lit import Lit, lit_frames
from credo.reduce.partials import FreePixels, Partials, measure_partials, rocking_sigma_deg, visits
from credo.reduce.profiles import SpotProfile, learn_profile
from credo.reduce.rocking import Rocking, frame_scales, learn_rocking

__all__ = ["IntegrateSettings", "integrate", "predict_all", "recentred", "resolution_limit"]


class IntegrateSettings(BaseModel):
    """What is integrated and what is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    d_min: float | None = Field(
        default=None, gt=0, description="resolution limit (None: a quarter beyond the last spots) [Å]"
    )
    min_partiality: float = Field(
        default=0.3, gt=0, le=1, description="least part of a rocking curve that must be recorded"
    )
    min_coverage: float = Field(default=0.7, gt=0, le=1, description="least part of a spot's profile on good pixels")
    max_frames: int = Field(default=60, ge=3, description="reflections that last longer lie too near the rotation axis")


def predict_all(experiment: Experiment, d_min: float, margin_deg: float = 1.0) -> Reflections:
    """Crossings of every crystal, with a ``lattice`` column."""
    tables = []
    for k, crystal in enumerate(experiment.crystals):
        table = predict(experiment, crystal, d_min, margin_deg)
        tables.append(table.with_columns(lattice=np.full(len(table), k)))
    if len(tables) == 1:
        return tables[0]
    return Reflections({name: np.concatenate([t[name] for t in tables]) for name in tables[0]})


def resolution_limit(experiment: Experiment, spots: Reflections) -> float:
    """d [Å] a quarter beyond the outermost indexed spots, but not beyond the detector's corners."""
    det = experiment.detector
    mine = spots.select(spots["lattice"] >= 0) if "lattice" in spots else spots
    lab = det.q_lab(mine.xy, experiment.beam.wavelength, experiment.scan.shift_at(mine["frame"]))
    ny, nx = det.shape
    corners = det.q_lab(np.array([[0, 0], [nx, 0], [0, ny], [nx, ny]], dtype=float), experiment.beam.wavelength)
    reach = 1.25 * float(np.quantile(np.linalg.norm(lab, axis=1), 0.99)) if len(mine) else np.inf
    return 1 / min(reach, float(np.linalg.norm(corners, axis=1).max()))


def integrate(
    experiment: Experiment,
    frames: Frames,
    bad: np.ndarray,
    settings: IntegrateSettings | None = None,
    background: Background | None = None,
    spots: Reflections | None = None,
) -> tuple[Experiment, Reflections, Report]:
    """Integrated reflections, Lorentz-corrected, one row per crossing.

    Two passes over the frames. The first tells the background between the spots, how bright each reflection and each
    frame is, how wide the rocking curves are and where the spots really lie. The second fits the known shape, P over
    the pixels times p_f over the frames:
    I = Σ pP(c − b)/v / Σ (pP)²/v with v = gain (b + I p P), which is summation for strong reflections and the optimum
    filter for weak ones. What gaps, scan ends, bad pixels and neighbours hide is made up for by Σ pP.
    σ² = 1/Σ (pP)²/v, with the background's own uncertainty, times what frames without signal scatter beyond that.
    Weights come from the model, not from the counts. ``intensity_sum`` is plain summation.
    """
    settings = settings or IntegrateSettings()
    if not experiment.crystals:
        raise CannotDo("integrate: no crystal has been indexed", "index the spots first")
    background = background or mean_background(frames)
    found = spots if spots is not None else Reflections(x=[], y=[], frame=[])
    d_min = settings.d_min or resolution_limit(experiment, found)
    predicted = predict_all(experiment, d_min)
    profile = learn_profile(experiment, frames, bad, spots, background) if spots is not None else SpotProfile()
    where = visits(experiment, predicted, most=settings.max_frames)
    free = FreePixels(bad.shape)
    first = measure_partials(experiment, frames, bad, predicted, background, profile, where, free=free)
    background = free.background(background)
    predicted = recentred(experiment, predicted, first)
    experiment, tail = learn_rocking(experiment, predicted, first)
    rocking = Rocking(tail, np.ones(len(experiment.scan)))
    share = rocking.shares(experiment, predicted, *where)
    lit = lit_frames(experiment, predicted, first, share)
    if lit.dark.any():
        seen_by = ~lit.dark[predicted["lattice"][first.row], first.frame]
        first, share, where = first.select(seen_by), share[seen_by], (where[0][seen_by], where[1][seen_by])
    guess = _fitted(first, share, len(predicted))
    rocking = replace(rocking, scale=frame_scales(first, share, guess[0], len(experiment.scan)))
    seen = share * rocking.scale[first.frame]
    expected = expected_counts(predicted, *_fitted(first, seen, len(predicted)))
    second = measure_partials(
        experiment, frames, bad, predicted, background, profile, where,
        expected[first.row] * seen, _firmness(first, background.gain),
    )  # fmt: skip
    noise = noise_factor(second, seen, expected)
    table = _table(experiment, predicted, second, share, seen, noise, settings)
    report = _report(experiment, table, predicted, profile, second, share, d_min)
    extra = {"rocking_tail": rocking.tail, "noise_factor": noise, "frame_scale_rms": float(np.std(rocking.scale)),
             "n_dark_frames": int(lit.dark[0].sum())}  # fmt: skip
    figures = {"frame_scale": rocking.scale, "brightness": lit.brightness[0], "dark": lit.spans()}
    return experiment, table, report | Report(extra, _darkness(experiment, lit), figures)


def _darkness(experiment: Experiment, lit: Lit) -> tuple[str, ...]:
    """A sentence about the frames that are left out."""
    if not lit.dark[0].any():
        return ()
    start, end, n = experiment.scan.start_deg, experiment.scan.end_deg, int(lit.dark[0].sum())
    where = ", ".join(f"{start[a]:.1f} to {end[b]:.1f}°" for a, b in lit.spans())
    return (f"The crystal was out of the beam on {n} of {len(start)} frames ({where}): they are left out.",)


def _fitted(partials: Partials, share: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Profile-fitted counts of each reflection and their variance (n,)."""
    a = np.bincount(partials.row, share * partials.fit_a, n)
    b = np.maximum(np.bincount(partials.row, share**2 * partials.fit_b, n), 1e-30)
    return a / b, 1 / b


def expected_counts(predicted: Reflections, counts: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """What each reflection should hold (n,), given what was counted and how bright its neighbours in s² are.

    The posterior mean under Wilson's acentric distribution (French & Wilson 1978): the measured counts where they are
    certain, about the shell's mean where they are not, so that noise does not set its own weights and sigmas.
    """
    lorentz, out = predicted["lorentz"], np.zeros(len(predicted))
    for k in np.unique(predicted["lattice"]):
        mine = np.flatnonzero((predicted["lattice"] == k) & (variance < 1e20))
        if not len(mine):
            continue
        # slivers of a reflection say nothing about the shell's mean but noise
        sure = mine[variance[mine] < 4 * np.median(variance[mine])]
        sure = sure[np.argsort(predicted["d"][sure], kind="stable")]
        parts = np.array_split(sure, max(1, min(20, len(sure) // 50)))
        s2 = np.array([np.mean(1 / predicted["d"][p] ** 2) for p in parts])
        mean = np.array([np.sum(counts[p]) / np.sum(lorentz[p]) for p in parts])
        esd = np.array([np.sqrt(np.sum(variance[p])) / np.sum(lorentz[p]) for p in parts])
        mean = np.maximum(mean, esd)
        log_mean = np.interp(1 / predicted["d"][mine] ** 2, s2[::-1], np.log(np.maximum(mean, 1e-12))[::-1])
        prior = np.maximum(np.exp(log_mean) * lorentz[mine], 1e-9)
        sigma = np.sqrt(variance[mine])
        out[mine] = _truncated_mean(counts[mine] - variance[mine] / prior, sigma)
    return out


def _truncated_mean(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Mean of a normal distribution (mu, sigma) cut off below nought: μ + σ φ(z)/Φ(z), z = μ/σ."""
    from scipy.special import erfcx

    # φ/Φ = √(2/π) / erfcx(−z/√2), which neither end overflows when z is held above −30
    z = np.maximum(mu / sigma, -30.0)
    with np.errstate(over="ignore"):
        ratio = np.where(z > 8, 0.0, np.sqrt(2 / np.pi) / erfcx(-np.minimum(z, 8) / np.sqrt(2)))
    return sigma * np.maximum(z + ratio, 1e-6)


def _firmness(partials: Partials, gain: float) -> float:
    """How many counts the frame's overall level is worth beside a spot's own surroundings.

    The variance of ring over mean beyond counting noise says by how much the background departs from its mean in time.
    """
    fine = partials.ring_mean > 30
    if fine.sum() < 100:
        return 100.0
    ratio2 = (partials.ring[fine] / partials.ring_mean[fine] - 1) ** 2
    tau2 = float(np.median(ratio2) / 0.455 - np.median(gain / partials.ring_mean[fine]))
    return float(gain / max(tau2, gain / 2000))


def noise_factor(partials: Partials, share: np.ndarray, expected: np.ndarray, least: int = 300) -> float:
    """By how much the variance of frames where nothing should be exceeds its model (1 where too few tell).

    It takes up a wrong gain, electrons that light several pixels, and backgrounds that flicker.
    """
    idle = (share * expected[partials.row] * np.sqrt(partials.fit_b) < 0.1) & (partials.fit_b > 0)
    idle &= partials.coverage > 0.8
    if idle.sum() < least:
        return 1.0
    z2 = partials.fit_a[idle] ** 2 / partials.fit_b[idle]
    return float(np.clip(np.median(z2) / 0.455, 0.3, 30.0))


def recentred(experiment: Experiment, predicted: Reflections, partials: Partials) -> Reflections:
    """Predicted positions moved by what the strong reflections show: a quadratic map over the detector, per axis.

    It takes up the distortions that the geometry has no parameters for.
    """
    strong = (partials.intensity > 12 * np.sqrt(partials.variance)) & (partials.coverage > 0.8)
    if strong.sum() < 60:
        return predicted
    ny, nx = experiment.detector.shape
    row = partials.row[strong]

    def terms(x, y):
        u, v = 2 * x / nx - 1, 2 * y / ny - 1
        return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)

    moved = {}
    for name, seen in (("x", partials.x), ("y", partials.y)):
        off = seen[strong] - _at_visit(experiment, predicted, partials, name)[strong]
        a = terms(predicted["x"][row], predicted["y"][row])
        w = np.ones(len(off))
        p = np.zeros(6)
        for _ in range(6):
            p = np.linalg.lstsq(a * w[:, None], off * w, rcond=None)[0]
            res = off - a @ p
            w = 1 / np.sqrt(1 + (res / (3 * (1.4826 * np.median(np.abs(res)) + 0.02))) ** 2)
        moved[name] = predicted[name] + np.clip(terms(predicted["x"], predicted["y"]) @ p, -1.5, 1.5)
    return predicted.with_columns(**moved)


def _at_visit(experiment: Experiment, predicted: Reflections, partials: Partials, name: str) -> np.ndarray:
    scan, k = experiment.scan, "xy".index(name)
    shift = scan.shift_at(np.arange(len(scan)) + 0.5)[partials.frame] - scan.shift_at(predicted["frame"])[partials.row]
    return predicted[name][partials.row] + shift[:, k]


@dataclass(frozen=True)
class _Sums:
    a: np.ndarray
    b: np.ndarray
    partiality: np.ndarray
    coverage: np.ndarray
    background: np.ndarray
    overloaded: np.ndarray
    cc: np.ndarray
    total: np.ndarray
    spread: np.ndarray


def _sums(predicted: Reflections, partials: Partials, share: np.ndarray, seen: np.ndarray, noise: float) -> _Sums:
    n, row = len(predicted), partials.row

    def per(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, values, n)

    over = per((partials.coverage < 0) & (share > 0.01)) > 0
    weight = np.maximum(per(share), 1e-9)
    core = (share > 0.003) & (partials.fit_b > 0)
    return _Sums(
        a=per(seen * partials.fit_a) / noise,
        b=per(seen**2 * partials.fit_b) / noise,
        partiality=per(share * (partials.fit_b > 0)),
        coverage=per(share * np.abs(partials.coverage)) / weight,
        background=per(share * partials.background) / weight,
        overloaded=over,
        cc=_correlation(row, seen, partials.intensity, n),
        total=per(core * partials.intensity) / np.maximum(per(core * seen), 1e-9),
        spread=np.sqrt(noise * per(core * partials.variance)) / np.maximum(per(core * seen), 1e-9),
    )


def _correlation(row: np.ndarray, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Correlation of two values over each reflection's frames (n,); 0 where there are fewer than three."""
    k = np.maximum(np.bincount(row, minlength=n), 1)
    mx, my = np.bincount(row, x, n) / k, np.bincount(row, y, n) / k
    xx = np.bincount(row, x * x, n) / k - mx**2
    yy = np.bincount(row, y * y, n) / k - my**2
    xy = np.bincount(row, x * y, n) / k - mx * my
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((k > 2) & (xx > 0) & (yy > 0), xy / np.sqrt(np.maximum(xx * yy, 1e-30)), 0.0)


def _table(experiment, predicted, partials: Partials, share, seen, noise, settings: IntegrateSettings) -> Reflections:
    s = _sums(predicted, partials, share, seen, noise)
    sigma_phi = rocking_sigma_deg(experiment, predicted)
    lasting = 5 * sigma_phi < settings.max_frames * float(np.median(np.abs(experiment.scan.width_deg)))
    keep = (s.b > 0) & (s.partiality > settings.min_partiality) & (s.coverage > settings.min_coverage) & lasting
    with np.errstate(invalid="ignore", divide="ignore"):
        counts, sigma = s.a / s.b, 1 / np.sqrt(s.b)
    lorentz = predicted["lorentz"]
    return predicted.with_columns(
        intensity=counts / lorentz, sigma=sigma / lorentz, x_calc=predicted["x"], y_calc=predicted["y"],
        phi_calc=predicted["phi"], partiality=s.partiality, background=s.background, profile_cc=s.cc,
        intensity_sum=s.total / lorentz, sigma_sum=s.spread / lorentz, overlap=1 - s.coverage,
        cut=s.partiality < 0.95, overloaded=s.overloaded,
        scale=np.ones(len(predicted)), rejected=np.zeros(len(predicted), dtype=bool),
    ).select(keep)  # fmt: skip


def _report(experiment, table, predicted, profile, partials, share, d_min) -> Report:
    strong = table["intensity"] > 3 * table["sigma"]
    numbers = {
        "n_predicted": len(predicted),
        "n_integrated": len(table),
        "n_strong": int(strong.sum()),
        "mean_i_over_sigma": float(np.mean(table["intensity"] / table["sigma"])) if len(table) else 0.0,
        "n_overloaded": int(table["overloaded"].sum()),
        "n_partial": int(table["cut"].sum()),
        "integrated_to": d_min,
        "mosaicity_deg": experiment.crystal.mosaicity_deg,
        "shape_width_inv_angstrom": experiment.crystal.shape_width,
        "spot_sigma_px": [float(np.sqrt(profile.a)), float(np.sqrt(profile.c))],
    }
    warnings = []
    if table["overloaded"].any():
        warnings.append(f"{int(table['overloaded'].sum())} reflections hold saturated pixels and are not merged.")
    return Report(numbers, tuple(warnings), {"rocking": _rocking_curves(table, predicted, partials, share)})


def _rocking_curves(table, predicted, partials: Partials, share, most: int = 12) -> list[dict]:
    """The strongest whole reflections' counts and shares, frame by frame."""
    n = len(predicted)
    total = np.bincount(partials.row, partials.intensity, n)
    noise = np.sqrt(np.bincount(partials.row, partials.variance, n))
    whole = np.bincount(partials.row, share, n) > 0.97
    curves = []
    for r in np.argsort(-np.where(whole, total / np.maximum(noise, 1e-9), -1))[: most * 4 : 4]:
        mine = np.flatnonzero(partials.row == r)
        curves.append(
            {
                "hkl": [int(v) for v in predicted.hkl[r]],
                "frame": partials.frame[mine],
                "intensity": partials.intensity[mine],
                "sigma": np.sqrt(partials.variance[mine]),
                "model": share[mine] * total[r],
            }
        )
    return curves
