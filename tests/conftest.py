"""Shared fixtures: the measured data of ../shared/data, unpacked once per machine, skipped loudly where absent."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# the same examples every time: a failure in CI must be one that can be run again
settings.register_profile("credo", derandomize=True, deadline=None, database=None)
settings.load_profile("credo")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ARCHIVES = {
    "garnet": "frames_0001-0400.tar.bz2",
    "cinchonine": "diff_405frames.tar.bz2",
    "mordenite": "Cu-MOR-K_31_53frames_mrc.tar.bz2",
    "lysozyme": "experiment_14_frames.tar.bz2",
}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured data; tests that need it are skipped, loudly, where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"MEASURED DATA ABSENT: {SHARED} does not exist, so this check on real data did not run")
    return SHARED


@pytest.fixture(scope="session")
def measured(shared_data: Path) -> Callable[[str], Path]:
    """``measured("garnet")``: the folder with that data set's frames, unpacked to a cache folder."""
    cache = Path(os.environ.get("CREDO_TEST_DATA", Path(tempfile.gettempdir()) / "credo-data"))

    def unpack(name: str) -> Path:
        folder = cache / name
        if not folder.exists():
            cache.mkdir(parents=True, exist_ok=True)
            # unpacked beside and renamed, since several test processes may want it at once
            with tempfile.TemporaryDirectory(dir=cache) as beside:
                with tarfile.open(shared_data / name / ARCHIVES[name]) as archive:
                    archive.extractall(beside, filter="data")
                with contextlib.suppress(OSError):
                    Path(beside).rename(folder)
                Path(beside).mkdir(exist_ok=True)
        return folder

    return unpack


@pytest.fixture(scope="session")
def cif_core() -> Path:
    """The IUCr's core dictionary (https://github.com/COMCIFS/cif_core, 3.4 or later), which is not shipped: the file
    that CREDO_CIF_CORE names, else ../shared/dictionaries/cif_core.dic."""
    beside = ROOT.parent / "shared" / "dictionaries" / "cif_core.dic"
    path = Path(os.environ.get("CREDO_CIF_CORE", beside))
    if not path.is_file():
        pytest.skip(f"CIF DICTIONARY ABSENT: neither CREDO_CIF_CORE nor {beside}: our CIFs were not validated")
    return path


@pytest.fixture(scope="session")
def benchmark_module() -> Callable[[str], ModuleType]:
    """``benchmark_module("wedges")``: a module of benchmarks/, whose scenes tests use too; it is not in the package."""

    def load(name: str) -> ModuleType:
        sys.path.insert(0, str(ROOT))
        try:
            return importlib.import_module(f"benchmarks.{name}")
        finally:
            sys.path.remove(str(ROOT))

    return load


@pytest.fixture(scope="session")
def wedges(benchmark_module) -> Callable:
    """``wedges(seed, n=30, ...)``: simulated data sets of one phase with their truth."""
    return benchmark_module("wedges").wedges


@pytest.fixture(scope="session")
def andradite_series():
    """The module benchmarks/andradite.py: simulated series with geometry of its own, outside the package."""
    place = Path(__file__).parents[1] / "benchmarks" / "andradite.py"
    spec = importlib.util.spec_from_file_location("andradite_series", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
