"""How often indexing succeeds: random crystals of all Bravais types, one error at a time, credo beside DIALS.

python -m benchmarks.robustness --log credo.jsonl [--kinds clean,beam_15 --first 100 --crystals 28 --dials]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.score import primitive, score_lattice
from credo.model import Beam, Cell, CredoError, Crystal, Detector, Ellipse, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import predict
from credo.physics.symmetry import primitive_basis
from credo.reduce.bravais import settings_of
from credo.reduce.index import IndexSettings, index
from credo.reduce.lattice import reduced

BRAVAIS = ("aP", "mP", "mC", "oP", "oC", "oI", "oF", "tP", "tI", "hP", "hR", "cP", "cI", "cF")
WAVELENGTH = 0.02508


@dataclass(frozen=True)
class Errors:
    """What is wrong with a scene. ``axis_deg``: how far the file's axis is off, None: it says nothing."""

    axis_deg: float | None = 0.0
    beam_px: float = 0.5
    distance: float = 0.0
    drift_px: float = 0.0
    jitter_px: float = 0.0
    ellipse_percent: float = 0.0
    slip_deg: float = 0.0
    wedge_deg: float = 75.0
    spurious: float = 0.05
    second: float = 0.0
    known_cell: bool = False
    most: int = 1000
    near_tetragonal: bool = False
    noise: float = 1.0


KINDS: dict[str, Errors] = {
    "clean": Errors(),
    "axis": Errors(axis_deg=None),
    "beam_4": Errors(beam_px=4), "beam_10": Errors(beam_px=10), "beam_15": Errors(beam_px=15),
    "distance_-20": Errors(distance=-0.2), "distance_+20": Errors(distance=0.2),
    "drift_6": Errors(drift_px=6), "drift_12": Errors(drift_px=12),
    "jitter_1": Errors(jitter_px=1), "jitter_2": Errors(jitter_px=2),
    "ellipse_2": Errors(ellipse_percent=2), "ellipse_4": Errors(ellipse_percent=4),
    "slip_0.3": Errors(slip_deg=0.3),
    "wedge_45": Errors(wedge_deg=45), "wedge_30": Errors(wedge_deg=30), "wedge_20": Errors(wedge_deg=20),
    "wedge_15": Errors(wedge_deg=15), "wedge_10": Errors(wedge_deg=10), "wedge_5": Errors(wedge_deg=5),
    "wedge_10_cell": Errors(wedge_deg=10, known_cell=True), "wedge_5_cell": Errors(wedge_deg=5, known_cell=True),
    "distance_10_cell": Errors(distance=0.1, known_cell=True),
    "spurious_30": Errors(spurious=0.3),
    "second_15": Errors(second=0.15), "second_40": Errors(second=0.4),
    "weak": Errors(most=200, noise=1.5),
    "near_tetragonal": Errors(near_tetragonal=True, ellipse_percent=1),
    "real": Errors(axis_deg=3, beam_px=3.6, distance=0.03, drift_px=5, jitter_px=0.4, ellipse_percent=1.5,
                   slip_deg=0.05),
    "hard": Errors(axis_deg=6, beam_px=6.4, distance=0.06, drift_px=9.4, jitter_px=0.8, ellipse_percent=3,
                   slip_deg=0.1, wedge_deg=45),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A list of spots, what the program is told, and the truth. ``label`` (n,): crystal of each spot, −1 spurious."""

    guess: Experiment
    spots: Reflections
    settings: IndexSettings
    truth: Experiment
    label: np.ndarray
    bravais: str


def random_cell(bravais: str, rng: np.random.Generator) -> Cell:
    """A cell of 4-50 Å whose metric has no higher symmetry within 1.5 %."""
    while True:
        a, b, c = np.exp(rng.uniform(np.log(4), np.log(50), 3))
        al, be, ga = rng.uniform(72, 108, 3)
        match bravais[0]:
            case "m":
                al, ga, be = 90.0, 90.0, rng.uniform(93, 118)
            case "o":
                al = be = ga = 90.0
            case "t":
                al, be, ga, b = 90.0, 90.0, 90.0, a
            case "h":
                al, be, ga, b = 90.0, 90.0, 120.0, a
            case "c":
                al, be, ga, b, c = 90.0, 90.0, 90.0, a, a
        if max(a, b, c) > 6 * min(a, b, c):
            continue
        cell = Cell(a, b, c, al, be, ga)
        basis = reduced(_direct(cell, bravais[1]))
        if np.linalg.norm(basis, axis=1).min() < 3.5:
            continue
        best = settings_of(Cell.from_vectors(basis), 1.5)[0]
        if best.bravais == bravais or {best.bravais, bravais} == {"mC", "mI"}:
            return cell


def _direct(cell: Cell, centring: str) -> np.ndarray:
    """Primitive direct basis, rows."""
    return (cell.O @ primitive_basis(centring)).T


def scene(kind: str, seed: int, axis_known: bool = True) -> Scene:
    """The scene ``kind`` (see KINDS) with the crystal, orientation and noise of ``seed``."""
    errors = KINDS[kind]
    if not axis_known:
        errors = replace(errors, axis_deg=None)
    rng = np.random.default_rng([seed, 77])
    bravais = "oP" if errors.near_tetragonal else BRAVAIS[seed % len(BRAVAIS)]
    if errors.near_tetragonal:
        a = rng.uniform(10, 25)
        cell = Cell(a, a * 1.018, a * rng.uniform(0.5, 0.8), 90, 90, 90)
    else:
        cell = random_cell(bravais, rng)
    turns = Rotation.random(2, random_state=int(rng.integers(1 << 31))).as_matrix()  # pyright: ignore[reportCallIssue]
    crystals = tuple(Crystal(cell, u, centring=bravais[1]) for u in turns[: 2 if errors.second else 1])
    axis_deg, tilt = rng.uniform(0, 360), rng.normal() * 0.2
    truth, given = _geometry(errors, cell, bravais[1], crystals, axis_deg, tilt, rng)
    spots, label = _spots(truth, given.scan, errors, rng)
    settings = IndexSettings()
    if errors.known_cell:
        settings = IndexSettings(cell=cell.parameters, centring=bravais[1])
    return Scene(given, spots, settings, truth, label, bravais)


def _geometry(errors, cell, centring, crystals, axis_deg, tilt, rng) -> tuple[Experiment, Experiment]:
    """The true experiment, and the one that the files tell."""
    longest = float(np.linalg.norm(reduced(_direct(cell, centring)), axis=1).max())
    qpp = float(np.clip(1 / (10 * longest), 0.0012, 0.005)) * rng.uniform(0.8, 1.2)
    n = max(round(errors.wedge_deg / 0.25), 8)
    scan = Scan.regular(n, -errors.wedge_deg / 2 + rng.uniform(-10, 10), 0.25)
    way = rng.uniform(0, 2 * np.pi)
    drift = np.outer(np.linspace(-0.5, 0.5, n), errors.drift_px * np.array([np.cos(way), np.sin(way)]))
    drift = drift + errors.jitter_px * rng.normal(size=(n, 2))
    origin = 258 + rng.uniform(-8, 8, 2)
    ellipse = Ellipse(errors.ellipse_percent, float(rng.uniform(0, 180)))
    detector = Detector((516, 516), qpp, (float(origin[0]), float(origin[1])), ellipse=ellipse)
    truth = Experiment(
        Beam(WAVELENGTH), detector, Goniometer.in_plane(axis_deg, tilt), scan.replace(beam_shift=drift), crystals
    )
    way = rng.uniform(0, 2 * np.pi)
    wrong = origin + errors.beam_px * np.array([np.cos(way), np.sin(way)])
    told = Detector((516, 516), qpp / (1 + errors.distance), (float(wrong[0]), float(wrong[1])))
    unknown = errors.axis_deg is None
    file_axis = 0.0 if errors.axis_deg is None else axis_deg + errors.axis_deg * rng.choice([-1, 1])
    known = ("wavelength", "q_per_pixel", "origin", "angles") + (() if unknown else ("axis",))
    return truth, Experiment(Beam(WAVELENGTH), told, Goniometer.in_plane(file_axis), scan, known=known)


def _spots(truth: Experiment, scan: Scan, errors: Errors, rng) -> tuple[Reflections, np.ndarray]:
    """The strongest crossings of each crystal, measured with noise, among spurious spots."""
    n = len(scan)
    parts = []
    for number, crystal in enumerate(truth.crystals):
        p = predict(truth, crystal, 0.72)
        strength = rng.exponential(size=len(p)) * np.exp(-3.0 / (2 * p["d"] ** 2)) * np.minimum(p["lorentz"], 30)
        strength *= errors.second if number else 1.0
        parts.append((p, strength, np.full(len(p), number)))
    p = Reflections.concatenate([part[0] for part in parts])
    strength, label = np.concatenate([s for _, s, _ in parts]), np.concatenate([k for _, _, k in parts])
    share = 0.4 * np.count_nonzero(label == 0)
    keep = min(len(p), errors.most, max(round(share), 150))
    rows = np.argsort(-strength, kind="stable")[:keep]
    p, strength, label = p.select(rows), strength[rows], label[rows]
    strength = 300 * strength / np.median(strength)
    sigma_xy = errors.noise * np.clip(4 / np.sqrt(strength), 0.08, 0.6)
    sigma_phi = errors.noise * np.clip(1.5 / np.sqrt(strength), 0.04, 0.15)
    slip = errors.slip_deg * rng.normal(size=n)
    phi = p["phi"] - slip[np.minimum(p["frame"].astype(int), n - 1)] + sigma_phi * rng.normal(size=keep)
    xy = p.xy + sigma_xy[:, None] * rng.normal(size=(keep, 2))
    extra = round(errors.spurious * keep)
    near = extra // 3
    radius, way = rng.uniform(8, 40, near), rng.uniform(0, 2 * np.pi, near)
    beam = np.stack([radius * np.cos(way), radius * np.sin(way)], axis=1) + truth.detector.origin
    noise_xy = np.concatenate([beam, rng.uniform(0, 516, (extra - near, 2))])
    noise_phi = rng.uniform(scan.start_deg[0], scan.end_deg[-1], extra)
    strength = np.concatenate([strength, rng.exponential(200, extra) + 40])
    sigma_xy = np.concatenate([sigma_xy, np.full(extra, 0.4)])
    sigma_phi = np.concatenate([sigma_phi, np.full(extra, 0.1)])
    xy, phi = np.concatenate([xy, noise_xy]), np.concatenate([phi, noise_phi])
    phi = np.clip(phi, scan.start_deg[0], scan.end_deg[-1] - 1e-6)
    frame = (phi - scan.start_deg[0]) / 0.25
    order = np.argsort(phi, kind="stable")
    table = Reflections(
        x=xy[:, 0], y=xy[:, 1], phi=phi, frame=frame, var_x=sigma_xy**2, var_y=sigma_xy**2, var_phi=sigma_phi**2,
        first=np.floor(frame), last=np.floor(frame), intensity=strength, sigma=np.sqrt(strength + 50),
        lattice=np.full(len(phi), -1),
    )  # fmt: skip
    return table.select(order), np.concatenate([label, np.full(extra, -1)])[order]


@dataclass(frozen=True)
class Outcome:
    """How one scene came out. ``indexed``: share of the true spots of the first crystal outside the beam that got
    the right index; ``angle``: misorientation [deg]; ``second``: the second crystal found (or none where none is)."""

    lattice: bool
    bravais: bool
    second: bool
    angle: float
    axis_error: float
    indexed: float
    cpu: float
    note: str = ""
    extra: dict = field(default_factory=dict)


def lost(note: str, cpu: float = 0.0) -> Outcome:
    """Nothing found."""
    return Outcome(False, False, False, float("nan"), float("nan"), 0.0, cpu, note)


def run_credo(s: Scene) -> Outcome:
    """``index`` on a scene, scored."""
    start = time.process_time()
    try:
        found, table, _ = index(s.guess, s.spots, s.settings)
    except CredoError as error:
        return lost(error.reason.splitlines()[0], time.process_time() - start)
    return score(s, found, table, time.process_time() - start)


def score(s: Scene, found: Experiment, table: Reflections, cpu: float, bravais: str | None = None) -> Outcome:
    """Against the truth: the lattice up to a common scale, in the laboratory, so that a wrong hand counts as wrong.

    bravais: the type chosen, if the first crystal of ``found`` does not say it.
    """
    truth = s.truth.crystals[0]
    true_ub = primitive(truth.UB, truth.centring)
    first = found.crystals[0]
    fits = [score_lattice(primitive(c.UB, c.centring), true_ub, 0.2) for c in found.crystals]
    best = max(range(len(fits)), key=lambda i: (fits[i].right and fits[i].misorientation_deg < 3, -i))
    got = fits[best]
    right = bool(got.right and got.misorientation_deg < 3)
    bravais = bravais or _bravais(first)
    second = len(found.crystals) == len(s.truth.crystals)
    if second and len(fits) > 1:
        other = s.truth.crystals[1]
        two = score_lattice(
            primitive(found.crystals[1 - best].UB, first.centring), primitive(other.UB, other.centring), 0.2
        )
        second = bool(two.right and two.misorientation_deg < 3)
    axis = float(np.degrees(np.arccos(np.clip(found.goniometer.axis @ s.truth.goniometer.axis, -1, 1))))
    gap = table.xy - s.truth.detector.origin
    mine = (s.label == 0) & (np.hypot(gap[:, 0], gap[:, 1]) > 20)
    share = float(np.mean(table["lattice"][mine] == best)) if mine.any() else 0.0
    same = bravais == s.bravais or {bravais, s.bravais} == {"mC", "mI"}
    note = "" if right and same else f"{s.bravais} {truth.cell} found {bravais} {first.cell}"
    return Outcome(right, right and same, second, got.misorientation_deg, axis, share, cpu, note, {"scale": got.scale})


def _bravais(crystal: Crystal) -> str:
    system = {"-1": "a", "2/m": "m", "mmm": "o", "4/m": "t", "4/mmm": "t", "m-3": "c", "m-3m": "c"}
    return system.get(crystal.laue_group, "h") + crystal.centring


def table_of(results: dict[str, list[Outcome]]) -> str:
    """The rates as a Markdown table."""
    lines = [
        "| kind | n | lattice % | Bravais % | crystals % | angle median, 90 % [deg] | axis [deg] | indexed % | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, runs in results.items():
        good = [r for r in runs if r.lattice]
        angles = np.array([r.angle for r in good] or [np.nan])
        axis = np.array([r.axis_error for r in good] or [np.nan])
        lines.append(
            f"| {kind} | {len(runs)} | {100 * len(good) / len(runs):.0f} | "
            f"{100 * np.mean([r.bravais for r in runs]):.0f} | {100 * np.mean([r.second for r in runs]):.0f} | "
            f"{np.median(angles):.3f}, {np.quantile(angles, 0.9):.3f} | {np.median(axis):.3f} | "
            f"{100 * np.mean([r.indexed for r in good] or [0]):.0f} | {np.median([r.cpu for r in runs]):.1f} |"
        )
    return "\n".join(lines)


def done_in(log: Path) -> dict[tuple[str, int], Outcome]:
    """The outcomes in a log of JSON lines, by kind and seed."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return {(r.pop("kind"), r.pop("seed")): Outcome(**r) for r in rows}


def main() -> None:
    """Run what the log has not yet, seed by seed so that all kinds stay equally far, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--crystals", type=int, default=28)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--axis", choices=["file", "unknown"], default="file")
    parser.add_argument("--dials", action="store_true")
    parser.add_argument("--log", type=Path, required=True, help="outcomes as JSON lines; a run goes on from it")
    options = parser.parse_args()
    runner = run_credo
    if options.dials:
        from benchmarks.robustness_dials import run_dials_index as runner
    kinds, seeds = options.kinds.split(","), range(options.first, options.first + options.crystals)
    done = done_in(options.log)
    with options.log.open("a") as log:
        for seed, kind in ((s, k) for s in seeds for k in kinds if (k, s) not in done):
            outcome = done[kind, seed] = runner(scene(kind, seed, options.axis == "file"))
            log.write(json.dumps({"kind": kind, "seed": seed, **asdict(outcome)}) + "\n")
            log.flush()
            if outcome.note or not outcome.second:
                sys.stderr.write(f"{kind} {seed} second={outcome.second} {outcome.indexed:.2f} {outcome.note}\n")
    results = {k: [done[k, s] for s in seeds] for k in kinds}
    sys.stdout.write(table_of(results) + "\n")


if __name__ == "__main__":
    main()
