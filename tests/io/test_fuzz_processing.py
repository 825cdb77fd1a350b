"""Whatever a processing file holds, its reader gives an experiment and a table, or a CredoError, in little memory."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credo.io.project import read_experiment, read_reflections, write_experiment, write_reflections
from credo.io.reflection_files import FORMATS, read_any, write_any
from credo.kernels.rotation import rotation_from_vector
from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.model.errors import CredoError

BOUND = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
NAMES = {
    "refl": "a.refl", "expt": "a.expt", "mtz": "a.mtz", "xds_ascii": "XDS_ASCII.HKL", "integrate_hkl": "INTEGRATE.HKL",
    "xparm": "XPARM.XDS", "spot_xds": "SPOT.XDS", "xds_inp": "XDS.INP", "lp": "CORRECT.LP", "cif_pets": "a.cif_pets",
    "pts": "a.pts", "ed3d": "a.ed3d", "cif": "a.cif", "ins": "a.ins", "hkl": "a.hkl", "cells_yaml": "cells.yaml",
}  # fmt: skip
TEXT = [n for n in NAMES if n not in ("refl", "mtz")]
LP = """ ***** CORRECT *****  (VERSION Jun 30, 2024)
 CRYSTAL MOSAICITY (DEGREES)     0.210
 LAB COORDINATES OF ROTATION AXIS  0.79-0.61 0.01
 SPACE GROUP NUMBER      4
 UNIT CELL PARAMETERS     10.732   7.283  11.107  90.000 108.060  90.000
 E.S.D. OF CELL PARAMETERS  1.1E-02 7.3E-03 1.1E-02 0.0E+00 1.0E-01 0.0E+00

 SUBSET OF INTENSITY DATA WITH SIGNAL/NOISE >= -3.0 AS FUNCTION OF RESOLUTION
 RESOLUTION     NUMBER OF REFLECTIONS    COMPLETENESS R-FACTOR  R-FACTOR COMPARED I/SIGMA   R-meas  CC(1/2)
   LIMIT     OBSERVED  UNIQUE  POSSIBLE     OF DATA   observed  expected
     2.90          85      35        41       85.4%      6.7%      8.8%       82    9.62      8.3%    98.8*
    total        2012     649       916       70.9%     10.0%     11.7%     1902    5.50     12.2%    99.3*
"""


class _Files(dict[str, bytes]):
    """Good files, which hypothesis must not print."""

    def __repr__(self) -> str:
        return "<files>"


def _scene() -> tuple[Experiment, Reflections]:
    e = Experiment(
        Beam(0.0251), Detector((64, 80), 0.01, (40.0, 32.0)), Goniometer.in_plane(130.0), Scan.regular(5, 0.0, 0.5),
        crystals=(Crystal(Cell(5.0, 6.0, 7.0, 90.0, 95.0, 90.0), rotation_from_vector(np.array([0.1, 0.2, 0.3]))),),
    )  # fmt: skip
    n = 6
    r = Reflections(
        h=np.arange(n), k=np.ones(n), l=-np.arange(n), x=np.full(n, 10.5), y=np.full(n, 12.5), phi=np.full(n, 0.6),
        frame=np.full(n, 1.2), intensity=np.arange(n) * 10.0, sigma=np.ones(n), lattice=np.zeros(n),
        x_calc=np.full(n, 10.4), y_calc=np.full(n, 12.4), phi_calc=np.full(n, 0.6), partiality=np.ones(n),
    )  # fmt: skip
    return e, r


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> _Files:
    """One good file of every format."""
    folder = tmp_path_factory.mktemp("valid")
    e, r = _scene()
    for f in FORMATS:
        if f.writer:
            write_any(folder / NAMES[f.name], e, r)
    out = _Files({n: (folder / NAMES[n]).read_bytes() for n in NAMES if (folder / NAMES[n]).exists()})
    out["lp"] = LP.encode()
    row = "1 2 3 {i} 2 10.5 12.5 1.2 1.0 100 90 20 10.4 12.4 1.1 0 0 0 0 5.0 1\n"
    ascii_ = out["xds_ascii"].decode().split("!NUMBER_OF_ITEMS")[0]
    header = ascii_.replace("!FORMAT=XDS_ASCII    MERGE=FALSE    FRIEDEL'S_LAW=FALSE", "!OUTPUT_FILE=INTEGRATE.HKL", 1)
    end = "!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=21\n!END_OF_HEADER\n"
    out["integrate_hkl"] = (header + end + "".join(row.format(i=i) for i in range(4)) + "!END_OF_DATA\n").encode()
    return out


@pytest.fixture(autouse=True)
def _little_memory():
    """An attempt to allocate gigabytes fails here instead of being noticed by nobody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _place(folder: Path, valid: _Files, name: str, raw: bytes) -> Path:
    """The file in question, with the good geometry that its reader looks for beside it."""
    beside = {"refl": ["expt"], "spot_xds": ["xds_inp"], "hkl": ["ins"], "xparm": ["xds_inp"]}.get(name, [])
    for other in beside:
        (folder / NAMES[other]).write_bytes(valid[other])
    path = folder / NAMES[name]
    path.write_bytes(raw)
    return path


def _try(path: Path, name: str) -> None:
    """Also by the format's own reader, which sniffing might have kept from the file."""
    for read in (read_any, next(f for f in FORMATS if f.name == name).read):
        try:
            experiment, table = read(path)
        except CredoError as error:
            assert str(path.parent) in str(error)
            assert error.remedy
            continue
        assert experiment is None or np.isfinite(experiment.beam.wavelength)
        assert all(len(v) == len(table) for v in table.values())


def test_every_format_is_fuzzed() -> None:
    assert set(NAMES) == {f.name for f in FORMATS}


@pytest.mark.parametrize("name", NAMES)
def test_the_good_file_is_good(name, valid, tmp_path) -> None:
    experiment, table = read_any(_place(tmp_path, valid, name, valid[name]))
    assert experiment is not None
    if name in ("refl", "mtz", "xds_ascii", "integrate_hkl", "spot_xds", "cif_pets", "cif", "hkl"):
        assert len(table) in (4, 5, 6)


@pytest.mark.parametrize("name", NAMES)
@BOUND
@given(flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes(name, valid, tmp_path, flips) -> None:
    raw = bytearray(valid[name])
    for place, value in flips:
        raw[place % len(raw)] = value
    _try(_place(tmp_path, valid, name, bytes(raw)), name)


@pytest.mark.parametrize("name", NAMES)
@BOUND
@given(part=st.floats(0, 1, exclude_max=True), tail=st.binary(max_size=30))
def test_truncation(name, valid, tmp_path, part, tail) -> None:
    raw = valid[name]
    _try(_place(tmp_path, valid, name, raw[: int(part * len(raw))] + tail), name)


evil = st.sampled_from(
    ["0", "-1", "-0.0", "1e999", "nan", "-inf", "1e-320", "99999999999999999999", "2147483648", "1e6", "180", "?", "''",
     "abc", "", "(", "1(2)", "&a [*a]", "\x00", "é", "0x10", "1_000"]
)  # fmt: skip


@pytest.mark.parametrize("name", TEXT)
@BOUND
@given(changes=st.lists(st.tuples(st.integers(0, 10**4), evil), min_size=1, max_size=4))
def test_absurd_numbers(name, valid, tmp_path, changes) -> None:
    text = valid[name].decode("utf-8")
    for place, value in changes:
        found = list(re.finditer(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?", text))
        if not found:
            break
        hit = found[place % len(found)]
        text = text[: hit.start()] + value + text[hit.end() :]
    _try(_place(tmp_path, valid, name, text.encode("utf-8")), name)


@pytest.mark.parametrize("name", TEXT)
@BOUND
@given(cut=st.tuples(st.integers(0, 500), st.integers(1, 5)), twice=st.integers(0, 500))
def test_lines_lost_and_repeated(name, valid, tmp_path, cut, twice) -> None:
    lines = valid[name].decode("utf-8").split("\n")
    at = cut[0] % len(lines)
    lines = lines[:at] + lines[at + cut[1] :]
    lines.insert(twice % (len(lines) + 1), lines[twice % len(lines)] if lines else "")
    _try(_place(tmp_path, valid, name, "\n".join(lines).encode("utf-8")), name)


@pytest.mark.parametrize("name", NAMES)
@BOUND
@given(raw=st.binary(max_size=600), keep=st.integers(0, 80))
def test_random_bytes(name, valid, tmp_path, raw, keep) -> None:
    _try(_place(tmp_path, valid, name, valid[name][:keep] + raw), name)


@BOUND
@given(
    flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=6),
    part=st.floats(0.1, 1),
)
def test_our_own_project_files(tmp_path, flips, part) -> None:
    e, r = _scene()
    for name, write, value, read in (
        ("experiment.json", write_experiment, e, read_experiment),
        ("reflections.h5", write_reflections, r, read_reflections),
    ):  # fmt: skip
        path = tmp_path / name
        write(path, value)  # type: ignore[operator]
        raw = bytearray(path.read_bytes())
        for place, byte in flips:
            raw[place % len(raw)] = byte
        path.write_bytes(bytes(raw[: max(1, int(part * len(raw)))]))
        try:
            read(path)
        except CredoError as error:
            assert name in str(error)
            assert error.remedy
