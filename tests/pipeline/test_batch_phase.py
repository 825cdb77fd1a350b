"""A phase is what agrees: data sets of one lattice whose intensities have nothing in common are not merged into one."""

import numpy as np
import pytest

from credo.io.project import write_experiment, write_reflections
from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.pipeline.batch_phase import phase


def write_set(folder, intensity, seed):
    """A crystal of 9 × 11 × 13 Å whose reflections hkl and -h-k-l have ``intensity`` (n, 2), measured to 5 %."""
    rng = np.random.default_rng(seed)
    scan = Scan.regular(1, 0, 1)
    crystal = Crystal(Cell(9, 11, 13, 90, 90, 90), np.eye(3), laue_group="mmm")
    experiment = Experiment(Beam(0.025), Detector((8, 8), 0.01, (4, 4)), Goniometer.in_plane(0), scan, (crystal,))
    h = HKL[:, None, :] * np.array([[[1, 1, 1]], [[-1, -1, -1]]]).reshape(1, 2, 3)
    i = (intensity * rng.normal(1, 0.05, size=intensity.shape)).ravel()
    h = h.reshape(-1, 3)
    n = len(h)
    table = Reflections(h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=i, sigma=0.05 * np.abs(i) + 0.01, phi=np.zeros(n),
                        frame=np.zeros(n), lattice=np.zeros(n, dtype=int))  # fmt: skip
    folder.mkdir()
    write_experiment(folder / "experiment.json", experiment)
    write_reflections(folder / "reflections.h5", table)
    return {"name": folder.name, "folder": str(folder)}


HKL = np.array([[h, k, m] for h in range(1, 7) for k in range(1, 7) for m in range(1, 7)])


@pytest.mark.parametrize("alike", [True, False])
def test_only_what_agrees_is_a_phase(tmp_path, alike):
    rng = np.random.default_rng(3)
    one = rng.exponential(size=(len(HKL), 1)) * np.ones(2)
    # all fade alike, which is no agreement
    fade = np.exp(-0.015 * (HKL**2).sum(axis=1))[:, None]
    sets = [fade * (one if alike else rng.exponential(size=(len(HKL), 2))) for _ in range(3)]
    members = [write_set(tmp_path / f"c{k}", s, k) for k, s in enumerate(sets)]
    settings = {"space_group": "P 21 21 21"}
    answer = phase({"name": "A", "target": str(tmp_path / "A"), "members": members, "key": "k", "settings": settings})
    assert answer["ok"] is alike
    if not alike:
        assert "agree" in answer["reason"] and "c0" in answer["reason"], answer
