"""A small finished run, made by hand: frames rendered from a known crystal, and tables and stages as they would be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.kernels.render import add_spots
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
    Report,
    Scan,
)
from credo.physics.ewald import predict
from credo.pipeline.process import Processed
from credo.reduce.statistics import merging_statistics


def _experiment() -> Experiment:
    cell = Cell(9.1, 11.4, 13.2, 90, 90, 90, covariance=np.diag([0.0123, 0.0019, 0.0151, 0, 0, 0]) ** 2)
    orientation = Rotation.random(random_state=5).as_matrix()
    crystal = Crystal(cell, orientation, laue_group="mmm", mosaicity_deg=0.2)
    scan = Scan.regular(60, -60.0, 2.0).part(np.r_[0:40, 42:60])
    n = len(scan)
    shift = np.stack([np.linspace(-1.5, 1.5, n), np.zeros(n)], axis=1)
    misset = np.random.default_rng(1).normal(0, 0.05, (n, 3))
    detector = Detector((128, 128), 0.011, (66.2, 62.9), ellipse=Ellipse(2.0, 30.0))
    scan = scan.replace(beam_shift=shift, misset_deg=misset)
    return Experiment(Beam(0.02508), detector, Goniometer.in_plane(40.0), scan, (crystal,), source="/data/small")


def _tables(experiment: Experiment) -> tuple[Reflections, Reflections]:
    """Integrated reflections, and the strongest of them as spots with ten spurious ones."""
    rng = np.random.default_rng(2)
    p = predict(experiment, experiment.crystal, 1.5)
    mid = experiment.scan.mid_deg
    whole = np.abs(mid[np.clip(p["frame"].astype(int), 0, len(mid) - 1)] - p["phi"]) <= 1.0
    p = p.select((p["lorentz"] < 15) & whole)
    n = len(p)
    strength = np.abs(np.sum(np.sin(np.abs(p.hkl) * [0.9, 1.7, 2.3]), axis=1)) * 300 * np.exp(-1 / p["d"])
    intensity, sigma = strength + rng.normal(0, 8, n), np.full(n, 8.0)
    table = p.with_columns(
        intensity=intensity, sigma=sigma, intensity_sum=intensity, sigma_sum=sigma, x_calc=p["x"], y_calc=p["y"],
        phi_calc=p["phi"], lattice=np.zeros(n), rejected=np.zeros(n), overloaded=np.zeros(n),
    )  # fmt: skip
    strong = np.flatnonzero(intensity > 40)
    frame = np.r_[p["frame"][strong], rng.uniform(0, len(mid), 10)]
    spots = Reflections(
        x=np.r_[p["x"][strong], rng.uniform(5, 123, 10)], y=np.r_[p["y"][strong], rng.uniform(5, 123, 10)],
        phi=np.r_[p["phi"][strong], np.interp(frame[-10:], np.arange(len(mid)) + 0.5, mid)], frame=frame,
        first=frame.astype(int), last=frame.astype(int), intensity=np.r_[intensity[strong], np.full(10, 50.0)],
        sigma=np.full(len(frame), 8.0), lattice=np.r_[np.zeros(len(strong)), np.full(10, -1)],
    )  # fmt: skip
    return table, spots


def _frames(experiment: Experiment, spots: Reflections) -> ArrayFrames:
    """Each spot on the one frame of its centroid, on a flat background."""
    n = len(experiment.scan)
    data = np.full((n, *experiment.detector.shape), 5.0)
    at = np.clip(spots["frame"].astype(int), 0, n - 1)
    for f in range(n):
        mine = at == f
        add_spots(data[f], spots["x"][mine], spots["y"][mine], 10 * spots["intensity"][mine], np.full(mine.sum(), 1.0))
    return ArrayFrames(np.rint(data).astype(np.uint16))


def _stages(experiment: Experiment, frames: ArrayFrames, spots: Reflections, table: Reflections) -> dict[str, Report]:
    n, rng = len(frames), np.random.default_rng(3)
    crystal = experiment.crystal
    shells = merging_statistics(table, crystal.cell, "mmm").to_dict()
    mean = np.mean([frames[i] for i in range(n)], axis=0)
    curve = {"frame": np.arange(5), "intensity": np.array([1.0, 5, 20, 6, 1]), "sigma": np.ones(5)}
    curve["model"] = np.array([1.0, 6, 18, 6, 1])
    return {
        "mask": Report({"gain": 1.0}, (), {"mean_image": mean, "bad": mean < 0}),
        "beam": Report({}, (), {"beam_xy": np.tile([66.4, 63.0], (n, 1)), "beam_seen": np.ones(n, dtype=bool)}),
        "index": Report(
            {
                "hand_score": {"this": 321.0, "opposite": 123.0},
                "bravais_candidates": [
                    {"bravais": "oP", "cell": list(crystal.cell.parameters), "strain_percent": 0.1,
                     "chi2_per_constraint": 1.5, "chosen": True},
                    {"bravais": "aP", "cell": list(crystal.cell.parameters), "strain_percent": 0.0,
                     "chi2_per_constraint": 0.0, "chosen": False},
                ],
            },
            (),
            {"axis_score": {"angle_deg": np.arange(0, 360, 2.0), "score": np.cos(np.arange(180) / 30) + 2}},
        ),
        "refine": Report(
            {"rms_x_px": 0.3, "rms_y_px": 0.4, "rms_phi_deg": 0.2, "rotation_axis_esd_deg": 0.02},
            (),
            {"residual_x_px": rng.normal(0, 0.3, 200), "residual_y_px": rng.normal(0, 0.4, 200),
             "residual_phi_deg": rng.normal(0, 0.2, 200)},
        ),
        "missets": Report(
            {},
            (),
            {"misset_about_axis_deg": rng.normal(0, 0.05, n), "misset_across_deg": rng.normal(0, 0.05, n),
             "misset_about_beam_deg": np.zeros(n), "misset_esd_deg": np.full((n, 2), 0.01)},
        ),
        "integrate": Report({}, (), {"rocking": [{"hkl": [1, -2, 3], **curve}], "frame_scale": np.ones(n)}),
        "symmetry": Report({"laue_candidates": [{"laue_group": "mmm", "order": 4, "score": 0.0, "cc": 0.98}]}),
        "scale": Report(
            {}, (), {"scale": {"angle_deg": np.array([-61.0, 61.0]), "scale": np.ones(2), "b": np.zeros(2)}}
        ),
        "statistics": Report({}, (), {"shells": shells, "inside": shells}),
    }  # fmt: skip


@pytest.fixture(scope="session")
def small_run() -> Processed:
    """58 of 60 frames, 128 x 128 px, an orthorhombic crystal, ten spots that are not indexed; never to be changed."""
    experiment = _experiment()
    table, spots = _tables(experiment)
    frames = _frames(experiment, spots)
    stages = _stages(experiment, frames, spots, table)
    overall = stages["statistics"].figures["inside"]["overall"]
    names = ("r_int", "r_meas", "r_pim", "cc_half", "completeness", "multiplicity", "i_over_sigma")
    numbers = {k: overall[k] for k in names} | {
        "n_spots": len(spots), "n_indexed": len(spots) - 10, "indexed_fraction": 0.9, "n_integrated": len(table),
        "n_unique": overall["unique"], "resolution": 1.6, "resolution_by": "cc_half", "scale_determined": False,
    }  # fmt: skip
    return Processed(experiment, spots, table, Report(numbers, ("The camera length is off.",)), frames, stages)
