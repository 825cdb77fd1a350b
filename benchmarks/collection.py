"""Collection: frames written per CPU-second, beside Instamatic's conversion in the same run on the same frames.

``--peers PYTHON``: of an environment with ``pip install instamatic``. Each side runs in a process of its own, rounds
take turns; CPU time of the process, its system calls included. 200 counting frames, to SMV and MRC with the direct
beam's place, which is what Instamatic writes after every rotation, and what ``credo collect`` writes for
``formats = ["smv", "mrc"]``; ``--formats smv mrc tiff`` is what Instamatic writes unless it is told not to. ``floor``:
what writing the bytes of SMV and MRC costs alone; ``growing``: NXmx while collecting; ``nowhere``: the same conversions
with every file opened for writing replaced by the null device.
"""

from __future__ import annotations

import argparse
import builtins
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np

_N = 200
#: Of each format, the folder.
_PLACES = {"smv": "SMV/data", "mrc": "RED", "tiff": "tiff"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks collection", description=__doc__)
    parser.add_argument("--peers", type=Path, help="python of an environment with instamatic")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=516, help="pixels along an edge")
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    parser.add_argument("--formats", nargs="+", default=["smv", "mrc"], choices=list(_PLACES))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        side, _, where = given.side.partition(", ")
        print(json.dumps(_N / _SIDES[side](given, bool(where))))
        return 0
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        _report(_compared(given, Path(folder)), given)
    return 0


def frames(size: int) -> np.ndarray:
    """(n, size, size) uint16: background of one count, a direct beam, and spots, at places that differ."""
    rng = np.random.default_rng(0)
    images = rng.poisson(1.0, (_N, size, size)).astype(np.uint16)
    y, x = np.mgrid[:size, :size]
    for i, image in enumerate(images):
        cy, cx = size / 2 + 3 * np.sin(i / 9), size / 2 + 2 * np.cos(i / 7)
        image += (3000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 18)).astype(np.uint16)
        for sy, sx in rng.integers(5, size - 5, (60, 2)):
            image[sy - 1 : sy + 2, sx - 1 : sx + 2] += 200
    return images


def timed(work: Callable[[], None], nowhere: bool = False) -> float:
    """CPU seconds."""
    with _to_nowhere() if nowhere else nullcontext():
        began = time.process_time()
        work()
        return time.process_time() - began


@contextmanager
def _to_nowhere() -> Iterator[None]:
    """Files that are opened for writing are the null device."""
    plain, low = builtins.open, os.open

    def open_(name, mode="r", *args, **kwargs):
        writes = isinstance(name, (str, Path)) and any(c in mode for c in "wxa")
        return plain(os.devnull if writes else name, mode.replace("x", "w") if writes else mode, *args, **kwargs)

    def low_(name, flags, *args, **kwargs):
        return low(os.devnull, os.O_WRONLY) if flags & os.O_CREAT else low(name, flags, *args, **kwargs)

    builtins.open, os.open = open_, low_
    try:
        yield
    finally:
        builtins.open, os.open = plain, low


def credo(given: argparse.Namespace, nowhere: bool = False) -> float:
    """CPU seconds."""
    from credo.collect.dataset import CENTRED, beam_place
    from credo.io.convert import write_frames
    from credo.io.xds_inp import write_xds_inp
    from credo.model import ArrayFrames, Beam, Detector, Experiment, Goniometer, Scan

    folder, size = given.folder, given.size
    images = frames(size)
    scan = Scan.regular(_N, -40.0, 0.4)
    detector = Detector((size, size), 0.00365, (size / 2, size / 2), saturation=11810)

    def work() -> None:
        centre = np.median([beam_place(image) for image in images[:CENTRED]], axis=0)
        e = Experiment(Beam(0.02508), detector.replace(origin=tuple(centre)), Goniometer.in_plane(141.0), scan)
        for name in given.formats:
            write_frames(folder / _PLACES[name], name, e, ArrayFrames(images))
        write_xds_inp(folder / "SMV" / "XDS.INP", e, "data/?????.img")

    return timed(work, nowhere)


def growing(given: argparse.Namespace, nowhere: bool = False) -> float:
    """CPU seconds of appending to an NXmx file, each flushed, as while collecting."""
    from credo.collect.dataset import COLUMNS
    from credo.io.nxmx_stream import GrowingNXmx
    from credo.model import Beam, Detector, Experiment, Goniometer, Scan

    folder, size = given.folder, given.size
    images = frames(size)
    detector = Detector((size, size), 0.00365, (size / 2, size / 2), saturation=11810)
    e = Experiment(Beam(0.02508), detector, Goniometer.in_plane(141.0), Scan.regular(0, 0.0, 1.0))

    def work() -> None:
        store = GrowingNXmx(folder / "frames.h5", e, np.dtype("u2"), COLUMNS, 0.5)
        for i, image in enumerate(images):
            values = dict.fromkeys([*COLUMNS, "timestamp", "exposure", "omega", "omega_end"], float(i))
            store.append(image, values | {"number": i + 1})
        store.close()

    return timed(work, nowhere)


def floor(given: argparse.Namespace, nowhere: bool = False) -> float:
    """The same bytes by nothing but ``open`` and ``write``."""
    folder, images = given.folder, frames(given.size)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)

    def work() -> None:
        for i, image in enumerate(images):
            for name, head in (("a", bytes(512)), ("b", bytes(1024))):
                with (folder / name / f"{i:05d}").open("xb", buffering=0) as stream:
                    stream.write(head)
                    stream.write(image.data)

    return timed(work, nowhere)


def instamatic(given: argparse.Namespace, nowhere: bool = False) -> float:
    """Its own conversion of a buffer, the beam's place found on every frame, 1 thread (8 are not faster)."""
    package = next(Path(p) / "instamatic" for p in sys.path if (Path(p) / "instamatic").is_dir())
    shutil.copytree(package / "config", Path(os.environ["instamatic"]) / "config", dirs_exist_ok=True)  # noqa: SIM112
    for name in ("msvcrt", "comtypes", "comtypes.client"):  # its package imports Windows's console
        sys.modules.setdefault(name, ModuleType(name))
    from instamatic.processing.ImgConversionTPX import ImgConversionTPX  # pyright: ignore[reportMissingImports]

    folder = given.folder
    buffer = [(i + 1, image, {"ImageExposureTime": 0.4}) for i, image in enumerate(frames(given.size))]
    for name in _PLACES.values():
        (folder / name).mkdir(parents=True)
    places = {"smv_path": folder / "SMV"} | {f"{k}_path": folder / _PLACES[k] for k in ("mrc", "tiff")}
    wanted = {f"{name}_path": places[f"{name}_path"] for name in given.formats}

    def work() -> None:
        conversion = ImgConversionTPX(
            buffer=buffer, osc_angle=0.4, start_angle=-40.0, end_angle=40.0, rotation_axis=-2.24,
            acquisition_time=0.408, flatfield=None, pixelsize=0.00365, physical_pixelsize=0.055, wavelength=0.02508,
        )  # fmt: skip
        conversion.threadpoolwriter(**wanted, workers=1)

    return timed(work, nowhere)


_SIDES = {"credo": credo, "growing": growing, "instamatic": instamatic, "floor": floor}


def _compared(given: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    both = ["credo", "instamatic"] if given.peers else ["credo"]
    # a TIFF cannot be written to the null device
    nowhere = [] if "tiff" in given.formats else [f"{side}, nowhere" for side in both]
    sides = [*both, *nowhere, "floor", "growing"]
    found: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(given.rounds):
        for side in sides:
            place = folder / side
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            found[side].append(_one(given, side, place))
            shutil.rmtree(place)
    return found


def _one(given: argparse.Namespace, side: str, place: Path) -> float:
    python = given.peers if side.startswith("instamatic") else Path(sys.executable)
    home = place.parent / "home"
    home.mkdir(exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "instamatic": str(home), "AppData": str(home)}
    command = [str(python), __file__, "--side", side, "--folder", str(place), "--size", str(given.size),
               "--formats", *given.formats]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return float(json.loads(done.stdout.strip().splitlines()[-1]))
    raise SystemExit(f"{side}: {done.stderr[-2000:]}")


def _report(found: dict[str, list[float]], given: argparse.Namespace) -> None:
    print(f"{_N} frames of {given.size}² to {' '.join(given.formats)}, {given.rounds} rounds, frames per CPU-second")
    print("| | best | median | per frame, best |\n|---|---|---|---|")
    for side, values in found.items():
        print(f"| {side} | {max(values):.0f} | {np.median(values):.0f} | {1e3 / max(values):.2f} ms |")
    if "instamatic" in found:
        for where in ("", ", nowhere")[: 1 if "tiff" in given.formats else 2]:
            ours, theirs = found[f"credo{where}"], found[f"instamatic{where}"]
            ratio = f"{max(ours) / max(theirs):.1f} (best), {np.median(ours) / np.median(theirs):.1f} (median)"
            print(f"credo / instamatic{where}: {ratio}")


if __name__ == "__main__":
    raise SystemExit(main())
