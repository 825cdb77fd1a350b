"""A file that grows: read while it does, after a clean end, and after the process was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from credo.io import nxmx
from credo.io.nxmx_stream import GrowingNXmx, being_written, mend, read_columns
from credo.io.open import open_experiment
from credo.model import Beam, Detector, Experiment, Goniometer, Scan
from credo.model.errors import CannotDo


def experiment() -> Experiment:
    detector = Detector((40, 50), 0.004, (24.0, 21.0), saturation=11810)
    return Experiment(Beam(0.02508), detector, Goniometer.in_plane(141.0), Scan.regular(0, 0.0, 1.0))


def values(i: int, n: int | None = None) -> dict[str, float]:
    return {"number": n or i + 1, "timestamp": 1.8e9 + i, "exposure": 0.5, "omega": -5 + 0.5 * i,
            "omega_end": -4.55 + 0.5 * i, "dose": 0.1 * i}  # fmt: skip


def grow(path: Path, n: int) -> GrowingNXmx:
    store = GrowingNXmx(path, experiment(), np.dtype("u2"), {"dose": "e/angstrom^2"})
    for i in range(n):
        store.append(np.full((40, 50), i, dtype=np.uint16), values(i, i + 1 + (i > 2)))
    return store


def test_read_while_it_grows_and_afterwards(tmp_path):
    store = grow(tmp_path / "frames.h5", 6)
    growing = nxmx.read(store.path)
    assert growing.shape == (6, 40, 50)
    assert growing.numbers.tolist() == [1, 2, 3, 5, 6, 7]
    np.testing.assert_array_equal(growing.read(4), np.full((40, 50), 4))
    store.append(np.zeros((40, 50), dtype=np.uint16), values(6, 8))
    better = np.array([0.01234567, 0.913, 1.8142, 3.61, 4.513, 5.4121, 6.3139])
    assert being_written(store.path)
    store.close({"omega": better, "omega_end": better + 0.8}, origin=(25.5, 20.5))
    assert not being_written(store.path)
    found = open_experiment(store.path)
    assert found.frames is not None and len(found.frames) == 7
    assert found.experiment.detector.origin == (25.5, 20.5)
    assert found.experiment.goniometer.angle_deg == pytest.approx(141.0)
    np.testing.assert_allclose(found.experiment.scan.start_deg, better)
    assert set(found.experiment.known) >= {"wavelength", "q_per_pixel", "origin", "axis", "angles"}
    with h5py.File(store.path, "r", locking=False) as file:  # an ordinary file for other programs
        assert file["entry/credo/dose"].attrs["units"] == "e/angstrom^2"


def test_a_killed_process_loses_no_frame(tmp_path):
    path = tmp_path / "frames.h5"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_nxmx_stream as t
store = t.grow(Path({str(path)!r}), 5)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert nxmx.read(path).shape[0] == 5  # as it lies there
    assert being_written(path) and mend(path, {"dose": np.arange(5.0)}) == 5
    assert not being_written(path)
    with h5py.File(path, "r") as file:
        assert file["entry/data/data"].shape == (5, 40, 50)
        assert file["entry/data/data"][3].max() == 3
    assert read_columns(path)["number"].tolist() == [1, 2, 3, 5, 6]
    np.testing.assert_allclose(read_columns(path)["dose"], np.arange(5.0))


def test_nothing_is_overwritten(tmp_path):
    grow(tmp_path / "frames.h5", 1).close()
    with pytest.raises(CannotDo, match="exists"):
        grow(tmp_path / "frames.h5", 1)


FULL = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import numpy as np
import test_nxmx_stream as t
from credo.io import nxmx
from credo.model.errors import CannotDo
store = t.GrowingNXmx(Path({path!r}), t.experiment(), np.dtype("u2"), {{"dose": ""}})
rng, n = np.random.default_rng(0), 0
try:
    while n < 5000:
        n += 1
        store.append(rng.integers(0, 60000, (40, 50)).astype("u2"), t.values(n))
except CannotDo as error:
    store.abandon()
    file = nxmx.read(Path({path!r}))
    print(n, file.shape[0], int(file.read(file.shape[0] - 1).max()), error.reason)
"""


def test_a_full_disk_ends_it_without_loss(tmp_path):
    """On a disk of 4 MB of its own, where the system lets us have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    code = FULL.format(here=str(Path(__file__).parent), path=str(disk / "frames.h5"))
    (tmp_path / "full.py").write_text(code)
    inner = f"mount -t tmpfs -o size=4m none {disk} && {sys.executable} {tmp_path / 'full.py'}"
    try:
        done = subprocess.run(["unshare", "-Urm", "sh", "-c", inner], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("FULL DISK NOT TESTED: there is no unshare here")
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"FULL DISK NOT TESTED: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    tried, kept, largest, reason = done.stdout.split(maxsplit=3)
    assert int(tried) == int(kept) > 100  # the frame that met the full disk is there too
    assert int(largest) > 50_000
    assert "disk is full" in reason
