"""The small parts of the page: numbers, markup, images, charts, the data of the lattice."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest

from credo.model import Cell
from credo.pipeline.page.chart import Chart, path, resolution_ticks, ticks
from credo.pipeline.page.image import as_grey, data_uri, png, shrunk
from credo.pipeline.page.lattice3d import lattice_data
from credo.pipeline.page.markup import csv_link, esc, label, section, table
from credo.pipeline.page.numbers import fixed, percent, short, symbol, with_esd
from credo.pipeline.page.pattern import circles, rings
from credo.pipeline.page.reciprocal import fractional_indices, spot_vectors
from credo.pipeline.page.summary import volume_esd


@pytest.mark.parametrize(
    ("value", "esd", "text"),
    [
        (11.92643, 0.00187, "11.9264(19)"),
        (11.92643, 0.00211, "11.926(2)"),
        (78.205, 0.0083, "78.205(8)"),
        (108.138, 0.0272, "108.14(3)"),
        (10.0, 0.0999, "10.00(10)"),
        (1234.5, 12.4, "1234(12)"),
        (1234.5, 31.0, "1230(30)"),
        (-1.5, 0.2, "−1.5(2)"),
        (90.0, 0.0, "90.000"),
        (90.0, None, "90.000"),
        (None, 0.1, "–"),
        (float("nan"), 0.1, "–"),
    ],
)
def test_uncertainties_in_brackets(value, esd, text):
    assert with_esd(value, esd) == text


def test_numbers_that_are_not_there():
    assert fixed(None) == fixed(float("inf")) == percent(None) == short("x") == "–"
    assert fixed(-0.001, 2) == "0.00"
    assert percent(0.8935) == "89.4 %" or percent(0.8935) == "89.3 %"


def test_bars_over_symbols():
    assert symbol("m-3m") == "m3\N{COMBINING OVERLINE}m"
    assert symbol("4/mmm") == "4/mmm"
    assert symbol("-1") == "1\N{COMBINING OVERLINE}"


def test_text_cannot_break_out():
    assert esc("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert "\x00" not in esc("a\x00b")
    esc("\udcff").encode("utf-8")
    assert label("R_int of <x>") == "R<sub>int</sub> of &lt;x&gt;"


def test_csv_quotes_and_disarms():
    from urllib.parse import unquote

    text = unquote(csv_link("t", ("a", "b"), [("1,5", '="x"'), ("−2", "–")]))
    assert '"1,5"' in text
    assert "'=" in text
    assert "\r\n-2,\r\n" in text


def test_an_empty_section_is_nothing():
    assert section("k", "Title", "", "") == ""
    assert table("t", "caption", ("a",), []) == ""


def _pixels(data: bytes) -> np.ndarray:
    """Decode a PNG of ours: grey, 8 bit, filter 0."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, size = 8, b"", (0, 0)
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, part = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + part)
        if kind == b"IHDR":
            size = struct.unpack(">II", part[:8])
        body += part if kind == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(body), dtype=np.uint8).reshape(size[1], size[0] + 1)
    assert (rows[:, 0] == 0).all()
    return rows[:, 1:]


def test_images_are_png():
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    np.testing.assert_array_equal(_pixels(png(image)), image)
    head, body = data_uri(image).split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == png(image)


def test_bright_is_dark_and_nothing_is_grey():
    grey = as_grey(np.array([[0.0, 1.0, 5.0, 50.0, np.nan]]), 0.0, 5.0)
    assert grey[0, 0] == 255
    assert grey[0, 1] > grey[0, 2] == grey[0, 3] == 0
    assert 200 < grey[0, 4] < 250


def test_large_images_shrink_by_whole_blocks():
    image = np.arange(2050 * 2048, dtype=float).reshape(2050, 2048)
    small = shrunk(image, 700)
    assert max(small.shape) <= 700
    assert small[0, 0] == pytest.approx(image[:3, :3].mean())
    assert shrunk(image[:50, :60], 700) is not image
    np.testing.assert_array_equal(shrunk(image[:50, :60], 700), image[:50, :60])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (1e-6, 2e-6), (0, 9e9), (5, 5)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    assert len(found) <= 12
    assert all(low - 1e-9 * abs(low) <= t <= high + 1e-9 * abs(high) for t in found)
    assert "-0" not in [f"{t:g}" for t in found]


def test_resolution_ticks_say_d():
    found = resolution_ticks(0.0, 4.0)
    assert all(1 / float(text) ** 2 == pytest.approx(at) for at, text in found)
    assert len(found) >= 4


def test_lines_break_at_gaps():
    assert path(np.array([0.0, 1, 2, 3]), np.array([0.0, 1, np.nan, 3])) == "M0 0L1 1M3 3"


def test_charts_hold_wild_values_at_the_border():
    chart = Chart((0, 1), (0, 1), "x", "y", (480, 270))
    assert float(chart.at_y(1e9)) == float(chart.at_y(1.0))
    assert float(chart.at_y(0.0)) > float(chart.at_y(1.0)), "up is more"
    text = chart.line(np.array([0.0, 1]), np.array([0.0, 1])).svg("<title>", "words")
    assert "&lt;title&gt;" in text


def test_circles_have_their_middle_where_they_should():
    assert circles(np.array([10.0]), np.array([20.0]), 3.0, "c1").count("M7.0 20.0a3.0 3.0") == 1
    assert circles(np.empty(0), np.empty(0), 3.0, "c1") == ""


def test_rings_lie_at_their_resolution(small_run):
    """Every point of a drawn ring, taken back through the detector, has the d written beside it."""
    import re

    experiment = small_run.experiment
    drawn = rings(experiment)
    paths = re.findall(r'class="ring" d="M([^"]+)"', drawn)
    texts = [float(t) for t in re.findall(r">([\d.]+)</text>", drawn)]
    assert len(paths) >= 2
    for text, d in zip(paths, texts):
        xy = np.array([[float(v) for v in pair.split()] for pair in text.split("L")])
        q = experiment.detector.q_lab(xy, experiment.beam.wavelength)
        np.testing.assert_allclose(1 / np.linalg.norm(q, axis=1), d, rtol=0.01)


def test_spots_turned_back_have_whole_indices(small_run):
    experiment = small_run.experiment.replace(scan=small_run.experiment.scan.replace(misset_deg=None))
    spots = small_run.spots
    h = fractional_indices(experiment.crystal.UB, spot_vectors(experiment, spots))
    off = np.abs(h - np.rint(h)).max(axis=1)
    assert np.median(off[spots["lattice"] == 0]) < 1e-3
    assert np.median(off[spots["lattice"] < 0]) > 0.1


def test_a_frames_misset_is_undone(small_run):
    """A spot predicted on a frame that is turned by its misset comes back to the same node."""
    from credo.kernels.rotation import rotation_from_vector, rotation_matrix
    from credo.physics.ewald import crossing_angles

    experiment = small_run.experiment
    q0 = np.array([[0.3, 0.2, -0.25]])
    phi = crossing_angles(q0, experiment.goniometer.axis, experiment.beam.wavelength)[0]
    f = 20
    turn = rotation_from_vector(np.radians(experiment.scan.misset_deg[f]))
    lab = (turn @ rotation_matrix(experiment.goniometer.axis, phi)[0] @ q0[0])[None]
    frame = np.array([f + 0.5])
    xy = experiment.detector.pixels(lab, experiment.beam.wavelength, experiment.scan.shift_at(frame))
    from credo.model import Reflections

    spot = Reflections(x=xy[:, 0], y=xy[:, 1], phi=np.degrees(phi), frame=frame)
    np.testing.assert_allclose(spot_vectors(experiment, spot), q0, atol=2e-4)
    without = experiment.replace(scan=experiment.scan.replace(misset_deg=None))
    assert np.abs(spot_vectors(without, spot) - q0).max() > 0


def test_the_lattice_goes_into_the_page_and_back(small_run):
    data = lattice_data(small_run.experiment, small_run.spots)
    points = np.frombuffer(base64.b64decode(data["points"]), dtype="<i2").reshape(-1, 3) * data["unit"]
    kind = np.frombuffer(base64.b64decode(data["kind"]), dtype=np.uint8)
    np.testing.assert_allclose(points, spot_vectors(small_run.experiment, small_run.spots), atol=data["unit"])
    np.testing.assert_array_equal(kind, small_run.spots["lattice"] + 1)
    np.testing.assert_allclose(np.array(data["bases"][0]).T, small_run.experiment.crystal.UB, atol=1e-6)


def test_too_many_spots_are_thinned_to_the_strongest(small_run):
    data = lattice_data(small_run.experiment, small_run.spots, most=15)
    kind = np.frombuffer(base64.b64decode(data["kind"]), dtype=np.uint8)
    assert len(kind) == 15


def test_the_volumes_uncertainty_follows_the_covariance():
    """Cubic: σ(V) = 3 a² σ(a) when the three lengths are one parameter, √3 a² σ(a) when they are independent."""
    bound = np.zeros((6, 6))
    bound[:3, :3] = 0.002**2
    assert volume_esd(Cell(12, 12, 12, 90, 90, 90, covariance=bound)) == pytest.approx(3 * 144 * 0.002, rel=1e-4)
    free = np.diag([0.002**2] * 3 + [0.0] * 3)
    assert volume_esd(Cell(12, 12, 12, 90, 90, 90, covariance=free)) == pytest.approx(3**0.5 * 144 * 0.002, rel=1e-4)
    assert volume_esd(Cell(12, 12, 12, 90, 90, 90)) is None
