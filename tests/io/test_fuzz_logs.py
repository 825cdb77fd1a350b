"""Whatever the texts beside the frames and the values in their headers say, a series opens or refuses clearly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credo.io import smv
from credo.io.check import check
from credo.io.open import open_experiment
from credo.model.errors import CredoError

BOUND = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
value = st.one_of(
    st.floats().map(repr),
    st.sampled_from(
        ["0", "-0.0", "1e999", "-1e-320", "5e-324", "nan", "0.0251", "99999999999999999999", "0.5", "200", "abc", ""]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=";{}"), max_size=8),
)
LOG = ("Starting angle", "Ending angle", "Exposure Time", "Pixelsize", "Physical pixelsize", "Wavelength", "Spot Size",
       "Rotation axis", "Oscillation angle", "Number of frames", "Camera length")  # fmt: skip
XDS = ("STARTING_ANGLE", "STARTING_FRAME", "NX", "NY", "QX", "ORGX", "ORGY", "DETECTOR_DISTANCE", "OSCILLATION_RANGE",
       "X-RAY_WAVELENGTH", "EXCLUDE_DATA_RANGE")  # fmt: skip
ED3D = ("WAVELENGTH", "ROTATIONAXIS", "CCDPIXELSIZE", "GONIOTILTSTEP", "FILE 00001.mrc", "FILE 00002.mrc")
SMV = (b"PIXEL_SIZE", b"WAVELENGTH", b"DISTANCE", b"OSC_START", b"OSC_RANGE", b"BEAM_CENTER_X", b"TIME", b"PHI")


@BOUND
@given(
    log=st.dictionaries(st.sampled_from(LOG), value),
    xds=st.dictionaries(st.sampled_from(XDS), value),
    ed3d=st.dictionaries(st.sampled_from(ED3D), value),
    header=st.dictionaries(st.sampled_from(SMV), value),
)
def test_absurd_numbers(tmp_path: Path, small, log: dict, xds: dict, ed3d: dict, header: dict) -> None:
    e = small((8, 8), n=3)
    for i in range(3):
        path = tmp_path / f"{i + 1:05d}.img"
        smv.write(path, np.ones((8, 8), np.uint16), e, i)
        raw = path.read_bytes()
        head = raw[:512]
        for key, text in header.items():
            old = next(line for line in head.split(b"\n") if line.startswith(key + b"="))
            head = head.replace(old, key + b"=" + text.encode() + b";")
        path.write_bytes(head.rstrip(b"\0").ljust(512, b"\0")[:512] + raw[512:])
    (tmp_path / "cRED_log.txt").write_text("".join(f"{k}: {v} um\n" for k, v in log.items()))
    template = "NAME_TEMPLATE_OF_DATA_FRAMES= ?????.img\nROTATION_AXIS= 0 0 0\n"
    (tmp_path / "XDS.INP").write_text(template + "".join(f"{k}= {v} 3\n" for k, v in xds.items()))
    (tmp_path / "1.ed3d").write_text("".join(f"{k}   {v}\n" for k, v in ed3d.items()))
    try:
        x = open_experiment(tmp_path).experiment
        assert check(tmp_path).numbers["frames"] >= 1
    except CredoError as error:
        assert error.remedy
        return
    det = x.detector
    assert 1e-6 <= det.q_per_pixel <= 1
    assert np.isfinite(det.origin).all()
    assert np.isfinite(x.scan.start_deg).all()
    assert (np.abs(x.scan.width_deg) <= 720).all()
    assert x.scan.width_deg.all()


@BOUND
@given(raw=st.binary(max_size=400))
def test_random_texts(tmp_path: Path, small, raw: bytes) -> None:
    for i in range(2):
        smv.write(tmp_path / f"{i + 1:05d}.img", np.ones((8, 8), np.uint16), small((8, 8), n=2), i)
    for name in ("cRED_log.txt", "XDS.INP", "1.ed3d", "pets.pts"):
        (tmp_path / name).write_bytes(raw)
    assert open_experiment(tmp_path).experiment.scan.width_deg[0] == 0.25
