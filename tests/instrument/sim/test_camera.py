"""Counts: linear in exposure and beam current, Poisson in their noise, and spoilt as a camera spoils them."""

import numpy as np
import pytest
from tests.instrument.sim.conftest import make

from credo.instrument.errors import HardwareFault
from credo.instrument.sim.detector import Detector
from credo.instrument.sim.settings import CameraSettings
from credo.kernels.noise import add_normal, poisson_image, poisson_tables

TABLES = poisson_tables()


@pytest.mark.parametrize("mean", [0.003, 0.2, 0.5, 3.7, 40.2, 127.9, 300.0, 20000.0])
def test_noise_is_poisson(mean):
    out = np.empty((700, 700), dtype=np.int64)
    poisson_image(np.full(out.shape, mean), 5, *TABLES, 2**40, out)
    n = out.size
    assert out.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / n))
    assert out.var() / out.mean() == pytest.approx(1, abs=5 * np.sqrt((2 + 1 / mean) / n))
    third = ((out - mean) ** 3).mean() / mean
    assert third == pytest.approx(1, abs=6 * np.sqrt(15 * (mean + 4 + 1 / mean**2) / n) + 0.02)
    # neighbours know nothing of each other
    a, b = out[:, 1:].ravel() - mean, out[:, :-1].ravel() - mean
    assert abs((a * b).mean()) / mean < 5 / np.sqrt(n)


def test_small_counts_have_poissons_probabilities():
    out = np.empty((1000, 1000), dtype=np.int64)
    poisson_image(np.full(out.shape, 1.3), 9, *TABLES, 2**40, out)
    share = np.bincount(out.ravel(), minlength=4)[:4] / out.size
    np.testing.assert_allclose(share, np.exp(-1.3) * np.array([1, 1.3, 1.3**2 / 2, 1.3**3 / 6]), atol=0.002)


def test_read_out_noise_has_its_rms():
    image = np.zeros((400, 400))
    add_normal(image, 3, 2.5)
    assert image.std() == pytest.approx(2.5, rel=0.02)
    assert image.mean() == pytest.approx(0, abs=0.05)


def test_counts_grow_with_exposure_and_with_current(on_crystal):
    scope, _, _ = on_crystal
    scope.lenses.set("spotsize", 8)
    camera = scope.cameras["timepix"]
    shown = camera.acquire(2.0).data < 20000  # without the direct beam, which saturates
    count = lambda t: camera.acquire(t).data[shown].astype(float).sum()  # noqa: E731
    mean = {t: count(t) for t in (0.5, 1.0, 2.0)}
    assert mean[1.0] / mean[0.5] == pytest.approx(2, rel=5e-3)
    assert mean[2.0] / mean[0.5] == pytest.approx(4, rel=5e-3)
    scope.lenses.set("spotsize", 7)
    assert count(0.5) / mean[0.5] == pytest.approx(2, rel=5e-3)
    scope.blanker.blank(True)
    assert camera.acquire(0.5).data.max() == 0


def test_one_electron_in_is_one_electron_out(on_crystal):
    """All that the beam sends is in the pattern: spots, smooth scattering and direct beam."""
    scope, _, _ = on_crystal
    scope.lenses.set("magnification", 200.0)
    electrons, _ = scope._render(scope.cameras["timepix"], 0.0, 1.0)
    assert electrons.sum() / scope.beam().current == pytest.approx(1, abs=0.02)


def test_the_cross_of_a_timepix():
    settings = CameraSettings(kind="timepix", size=516, hot=0, dead=0)
    image = Detector(settings, 0).read(np.full((516, 516), 200.0, dtype=np.float32), 1.0, 4)
    wide = image[30:200, 255:261]
    assert np.all(wide[:, 0] == wide[:, 2]) and np.all(wide[:, 3] == wide[:, 5])
    assert wide.mean() == pytest.approx(600 / 2.15, rel=0.02)
    assert image[30:200, 30:200].mean() == pytest.approx(200, rel=0.01)


def test_bad_pixels_saturation_gain_and_binning():
    settings = CameraSettings(kind="cmos", size=512, hot=1e-3, dead=1e-3, gain=3.0, read_noise=1.0, offset=50)
    camera = Detector(settings, 1)
    image = camera.read(np.full((512, 512), 9.0, dtype=np.float32), 1.0, 4).astype(float)
    assert np.median(image) == pytest.approx(50 + 27, abs=1.5)
    steady = camera.read(np.full((512, 512), 900.0, dtype=np.float32), 1.0, 5).astype(float)
    assert np.sum(abs(steady - 50) < 6) == pytest.approx(1e-3 * 512**2, rel=0.3)
    assert np.sum(image > 50 + 3 * 30) > 100
    again = Detector(settings, 1).read(np.full((512, 512), 9.0, dtype=np.float32), 1.0, 4)
    np.testing.assert_array_equal(image, again)
    binned = camera.read(np.full((512, 512), 9.0, dtype=np.float32), 1.0, 4, 2)
    assert binned.shape == (256, 256)
    plain = Detector(CameraSettings(size=512, hot=0, dead=0, saturation=100), 0)
    assert plain.read(np.full((512, 512), 150.0, dtype=np.float32), 1.0, 4).max() == 100


def test_a_stream_keeps_its_beat_and_loses_frames():
    camera = CameraSettings(dropped=0.3, dead_time=0.008, kind="cmos")
    scope = make(cameras=(camera,))
    frames = list(scope.cameras["timepix"].stream(0.1, 1, 60))
    numbers = np.array([f.number for f in frames])
    assert 25 < len(frames) < 55 and np.all(np.diff(numbers) > 0)
    began = np.array([f.began for f in frames])
    np.testing.assert_allclose(began - began[0], (numbers - numbers[0]) * 0.108, atol=1e-6)
    assert frames[0].ended - frames[0].began == pytest.approx(0.1)
    # who does not come back in time misses frames
    stream = make().cameras["timepix"]
    scope = make()
    late = []
    for f in scope.cameras["timepix"].stream(0.1, 1, 40):
        late.append(f.number)
        scope.clock.sleep(0.25)
    assert stream.info.dead_time == 0.008
    assert np.all(np.diff(late) == 4)


def test_impossible_exposures_are_refused():
    camera = make().cameras["timepix"]
    for exposure, binning in ((0.0, 1), (1e4, 1), (0.1, 3)):
        with pytest.raises(HardwareFault, match="exposure"):
            camera.acquire(exposure, binning)


def test_pile_up_darkens_the_middle_of_a_bright_beam():
    settings = CameraSettings(kind="cmos", size=512, hot=0, dead=0, count_rate_ns=1e5, saturation=60000)
    electrons = np.full((512, 512), 1e4, dtype=np.float32)
    electrons[:, 256:] = 1e5
    image = Detector(settings, 0).read(electrons, 1.0, 4)
    assert image[:, :256].mean() == pytest.approx(1e4 * np.exp(-1), rel=0.01)
    assert image[:, 256:].mean() == pytest.approx(1e5 * np.exp(-10), abs=1)
