"""Small experiments and images that the tests of file formats write and read back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from credo.kernels.rotation import rotation_from_vector
from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import predict


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives are unpacked to a folder of this test session, never to the user's cache."""
    monkeypatch.setenv("CREDO_CACHE", os.environ.get("CREDO_TEST_CACHE", str(tmp_path_factory.getbasetemp() / "cache")))


@pytest.fixture
def small() -> Callable[..., Experiment]:
    """``small(shape=(rows, columns), n=4)``: an experiment with every number different from a default."""

    def make(shape: tuple[int, int] = (40, 60), n: int = 4, numbers: list[int] | None = None) -> Experiment:
        scan = Scan.regular(n, -12.5, 0.25)
        if numbers is not None:
            count = np.array(numbers)
            scan = Scan(count, -12.5 + 0.25 * (count - count[0]), np.full(len(count), 0.25))
        return Experiment(
            beam=Beam(0.0250793),
            detector=Detector(shape, 0.00412, (shape[1] / 2 + 1.25, shape[0] / 2 - 2.5), saturation=11000.0),
            goniometer=Goniometer.in_plane(128.34),
            scan=scan.replace(exposure_s=np.full(len(scan), 0.3)),
        )

    return make


@pytest.fixture
def pictures() -> Callable[..., np.ndarray]:
    """``pictures(n, shape, dtype)``: images with a peak off the middle, smooth enough to see wrong shapes."""

    def make(n: int = 4, shape: tuple[int, int] = (40, 60), dtype: str = "u2", seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[: shape[0], : shape[1]]
        spot = 300 * np.exp(-((x - 0.6 * shape[1]) ** 2 + (y - 0.3 * shape[0]) ** 2) / 30)
        top = 100 if np.dtype(dtype).itemsize == 1 else 300
        return (rng.poisson(3 + spot[None].repeat(n, 0)).clip(0, top)).astype(dtype)

    return make


@pytest.fixture(scope="session")
def dials() -> Callable[[str, list[str]], str]:
    """``dials(code, arguments)``: run Python with dxtbx of DIALS; skipped, loudly, where it is not installed."""
    probe = Path("/usr/bin/dials.python"), Path("/usr/bin/python3")
    program = next((p for p in probe if p.exists() and _has_dxtbx(p)), None)
    if program is None:
        pytest.skip("DIALS ABSENT: apt install dials python3-dials, so this check by another program did not run")

    def run(code: str, arguments: list[str]) -> str:
        done = subprocess.run(
            [str(program), "-W", "ignore", "-c", code, *arguments], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def _has_dxtbx(program: Path) -> bool:
    return subprocess.run([str(program), "-c", "import dxtbx"], capture_output=True, timeout=120).returncode == 0


@pytest.fixture
def indexed() -> Callable[..., tuple[Experiment, Reflections]]:
    """``indexed(gaps=True)``: an oblique triclinic crystal, its predicted reflections and made-up intensities."""

    def make(d_min: float = 1.2, gaps: bool = False, n: int = 120) -> tuple[Experiment, Reflections]:
        cell = Cell(7.1, 8.3, 10.9, 83.0, 97.0, 104.0, covariance=np.diag([1e-6, 2e-6, 3e-6, 1e-5, 2e-5, 3e-5]))
        u = rotation_from_vector(np.array([0.4, -1.1, 0.7]))
        scan = Scan.regular(n, -31.5, 0.4, first=3)
        if gaps:
            scan = scan.part(np.delete(np.arange(n), [5, 6, 60]))
        experiment = Experiment(
            beam=Beam(0.0250793),
            detector=Detector((500, 520), 0.0041, (255.3, 248.9), pixel_size_mm=0.055, saturation=11810.0),
            goniometer=Goniometer.in_plane(137.4, 0.6),
            scan=scan,
            crystals=(Crystal(cell, u, laue_group="-1", mosaicity_deg=0.17),),
        )
        r = predict(experiment, experiment.crystal, d_min)
        rng = np.random.default_rng(1)
        intensity = rng.exponential(300.0, len(r)) - 10
        r = r.with_columns(
            intensity=intensity, sigma=3 + np.sqrt(np.abs(intensity)), lattice=np.zeros(len(r), dtype=int),
            x_calc=r["x"], y_calc=r["y"], phi_calc=r["phi"], x=r["x"] + rng.normal(0, 0.2, len(r)),
        )  # fmt: skip
        return experiment, r

    return make
