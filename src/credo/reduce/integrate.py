"""Integration: the counts of every predicted reflection, from all frames that saw a part of it, with honest sigmas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import CannotDo, Experiment, Frames, Reflections, Report
from credo.physics.ewald import predict
from credo.reduce.background import Background, mean_background
from credo.reduce.missets import recorded_shares
from credo.reduce.partials import Partials, measure_partials, rocking_sigma_deg, visits
from credo.reduce.profiles import SpotProfile, learn_profile

__all__ = ["IntegrateSettings", "integrate", "predict_all", "recentred", "resolution_limit"]


class IntegrateSettings(BaseModel):
    """What is integrated and what is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    d_min: float | None = Field(None, gt=0, description="resolution limit (None: a quarter beyond the last spots) [Å]")
    min_partiality: float = Field(0.3, gt=0, le=1, description="least part of a rocking curve that must be recorded")
    min_coverage: float = Field(0.7, gt=0, le=1, description="least part of a spot's profile on good pixels")
    max_frames: int = Field(60, ge=3, description="reflections that last longer lie too near the rotation axis")


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

    Two passes over the frames. The first sums; it tells how bright each reflection is, how wide its rocking curve and
    where it really lies. The second fits the known shape, P over the pixels times p_f over the frames:
    I = Σ pP(c − b)/v / Σ (pP)²/v with v = gain (b + I p P), which is summation for strong reflections and the optimum
    filter for weak ones. What gaps, scan ends, bad pixels and neighbours hide is made up for by Σ pP.
    σ² = 1/Σ (pP)²/v, with the background's own uncertainty. Weights come from the model, not from the counts.
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
    first = measure_partials(experiment, frames, bad, predicted, background, profile, where)
    predicted = recentred(experiment, predicted, first)
    experiment = _with_rocking_width(experiment, predicted, first)
    share = recorded_shares(experiment, predicted, first.row, first.frame)
    bright = np.maximum(_combined(first.row, share, first.intensity, first.variance, len(predicted))[0], 0)
    second = measure_partials(
        experiment, frames, bad, predicted, background, profile, where, expected=bright[first.row] * share
    )
    table = _table(experiment, predicted, second, share, settings)
    return experiment, table, _report(experiment, table, predicted, profile, second, share, d_min)


def _combined(row, share, intensity, variance, n) -> tuple[np.ndarray, np.ndarray]:
    """I = Σ p I/σ² / Σ p²/σ² and its variance, per reflection (n,)."""
    b = np.bincount(row, share**2 / variance, n)
    a = np.bincount(row, share * intensity / variance, n)
    return a / np.maximum(b, 1e-30), 1 / np.maximum(b, 1e-30)


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


def _with_rocking_width(experiment: Experiment, predicted: Reflections, partials: Partials) -> Experiment:
    """The factor on the rocking width under which strong reflections' frames agree best with their shares."""
    n = len(predicted)
    total = np.bincount(partials.row, np.maximum(partials.intensity, 0), n)
    noise = np.sqrt(np.bincount(partials.row, partials.variance, n))
    speed_ok = rocking_sigma_deg(experiment, predicted) < 10 * np.median(np.abs(experiment.scan.width_deg))
    noise = np.maximum(noise, 1e-9)
    strong = np.flatnonzero((total > 25 * noise) & speed_ok)
    if len(strong) < 15:
        return experiment
    strong = strong[np.argsort(-(total / noise)[strong], kind="stable")[:400]]
    use = np.isin(partials.row, strong) & (partials.coverage > 0.5)
    row, frame, i, v = (getattr(partials, k)[use] for k in ("row", "frame", "intensity", "variance"))

    def misfit(log_factor: float) -> float:
        share = recorded_shares(experiment, predicted, row, frame, float(np.exp(log_factor)))
        model = _combined(row, share, i, np.ones_like(i), n)[0][row] * share
        # relative to each reflection's own size, robustly: dynamical rocking curves are not Gaussian
        z = (i - model) ** 2 / (v + (0.03 * total[row]) ** 2)
        return float(np.log1p(z / 4).sum())

    grid = np.log(np.array([0.4, 0.55, 0.7, 0.85, 1.0, 1.2, 1.45, 1.8, 2.3]))
    best = int(np.argmin([misfit(g) for g in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    fine = np.linspace(low, high, 7)
    factor = float(np.exp(fine[int(np.argmin([misfit(g) for g in fine]))]))
    crystals = tuple(
        c.replace(mosaicity_deg=c.mosaicity_deg * factor, shape_width=c.shape_width * factor)
        for c in experiment.crystals
    )
    return experiment.replace(crystals=crystals)


@dataclass(frozen=True)
class _Sums:
    a: np.ndarray
    b: np.ndarray
    partiality: np.ndarray
    coverage: np.ndarray
    background: np.ndarray
    overloaded: np.ndarray
    cc: np.ndarray


def _sums(predicted: Reflections, partials: Partials, share: np.ndarray) -> _Sums:
    n, row = len(predicted), partials.row
    over = np.bincount(row, (partials.coverage < 0) & (share > 0.01), n) > 0
    seen = partials.fit_b > 0
    a = np.bincount(row, share * partials.fit_a, n)
    b = np.bincount(row, share**2 * partials.fit_b, n)
    partiality = np.bincount(row, share * seen, n)
    weight = np.maximum(np.bincount(row, share, n), 1e-9)
    coverage = np.bincount(row, share * np.abs(partials.coverage), n) / weight
    background = np.bincount(row, share * partials.background, n) / weight
    return _Sums(a, b, partiality, coverage, background, over, _correlation(row, share, partials.intensity, n))


def _correlation(row: np.ndarray, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Correlation of two values over each reflection's frames (n,); 0 where there are fewer than three."""
    k = np.maximum(np.bincount(row, minlength=n), 1)
    mx, my = np.bincount(row, x, n) / k, np.bincount(row, y, n) / k
    xx = np.bincount(row, x * x, n) / k - mx**2
    yy = np.bincount(row, y * y, n) / k - my**2
    xy = np.bincount(row, x * y, n) / k - mx * my
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((k > 2) & (xx > 0) & (yy > 0), xy / np.sqrt(np.maximum(xx * yy, 1e-30)), 0.0)


def _table(experiment, predicted, partials: Partials, share, settings: IntegrateSettings) -> Reflections:
    s = _sums(predicted, partials, share)
    sigma_phi = rocking_sigma_deg(experiment, predicted)
    lasting = 5 * sigma_phi < settings.max_frames * float(np.median(np.abs(experiment.scan.width_deg)))
    keep = (s.b > 0) & (s.partiality > settings.min_partiality) & (s.coverage > settings.min_coverage) & lasting
    with np.errstate(invalid="ignore", divide="ignore"):
        counts, sigma = s.a / s.b, 1 / np.sqrt(s.b)
    lorentz = predicted["lorentz"]
    return predicted.with_columns(
        intensity=counts / lorentz, sigma=sigma / lorentz, x_calc=predicted["x"], y_calc=predicted["y"],
        phi_calc=predicted["phi"], partiality=s.partiality, background=s.background, profile_cc=s.cc,
        overlap=1 - s.coverage, cut=s.partiality < 0.95, overloaded=s.overloaded,
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
