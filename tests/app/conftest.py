"""The program as a user calls it, and one small simulated series with its result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from credo.io.convert import write_frames
from credo.model import ArrayFrames, Beam, Detector, Experiment, Goniometer, Scan
from credo.physics.rotation_series import SeriesSettings
from credo.pipeline.simulate import simulate_frames

PROGRAM = shutil.which("credo", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="session")
def credo_program() -> str:
    assert PROGRAM, "the command `credo` is not installed beside this Python"
    return PROGRAM


@pytest.fixture(scope="session")
def credo(credo_program: str) -> Callable[..., subprocess.CompletedProcess]:
    """``credo("process", folder, cwd=...)``: a finished process with its output as text."""

    def call(*words, cwd: Path, **more) -> subprocess.CompletedProcess:
        command = [credo_program, *map(str, words)]
        env = {**os.environ, "PYTHONUTF8": "1"}
        return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", timeout=500, env=env, **more)

    return call


@pytest.fixture(scope="session")
def series(tmp_path_factory) -> Path:
    """60 frames of 256 x 256 pixels of grossular over 90°, with truth.json: never to be changed."""
    folder = tmp_path_factory.mktemp("simulated") / "garnet"
    settings = SeriesSettings(frames=60, step_deg=1.5, start_deg=-45, shape=(256, 256), q_per_pixel=0.008, seed=3)
    simulate_frames(folder, sample_name="grossular", settings=settings)
    return folder


@pytest.fixture
def images() -> np.ndarray:
    """6 noisy images of 64 x 64 pixels with a bright beam."""
    y, x = np.mgrid[0:64, 0:64]
    beam = 900 * np.exp(-0.5 * ((x - 31) ** 2 + (y - 33) ** 2) / 4)
    return np.random.default_rng(1).poisson(beam + 2, (6, 64, 64)).astype(np.uint16)


@pytest.fixture
def write_series() -> Callable[[Path, np.ndarray, str], Path]:
    """``write_series(folder, images, "smv")``: images (n, y, x) as an instrument would have left them."""

    def write(folder: Path, images: np.ndarray, form: str = "smv") -> Path:
        n, *shape = images.shape
        detector = Detector((shape[0], shape[1]), 0.01, (shape[1] / 2, shape[0] / 2))
        experiment = Experiment(Beam(0.0251), detector, Goniometer.in_plane(30.0), Scan.regular(n, -20.0, 0.5))
        write_frames(folder, form, experiment, ArrayFrames(images))
        return folder

    return write
