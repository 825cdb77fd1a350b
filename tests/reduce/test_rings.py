"""Ring patterns rendered here give back pixel size, centre and ellipse; what is no ring pattern is refused."""

import numpy as np
import pytest
from tests.instrument.sim.conftest import diffraction, make

from credo.instrument.sim.settings import Imperfections
from credo.io.open import open_experiment
from credo.io.samples import sample
from credo.model import CannotDo
from credo.physics.electron import wavelength
from credo.reduce.ring_lines import lines_of_structure
from credo.reduce.rings import amplitude_and_azimuth, fit_rings

LINES = lines_of_structure(sample("gold"))
LAMBDA = wavelength(200)
CENTRE = 163.3, 158.6
FORMS = np.sqrt([3, 4, 8, 11, 12, 16, 19, 20]) / 4.0786
HEIGHTS = 1, 0.45, 0.23, 0.23, 0.06, 0.02, 0.06, 0.05


def pattern(azimuth=30.0, rings=slice(None), pixel=0.006, n=320):
    """Gold: the long axis 1 + ε at ``azimuth`` from +x to +y, the short one 1 − ε; ratio 1.024."""
    eps, a = 0.024 / 2.024, np.radians(azimuth)
    y, x = np.mgrid[:n, :n] + 0.5
    u = (x - CENTRE[0]) * np.cos(a) + (y - CENTRE[1]) * np.sin(a)
    v = (y - CENTRE[1]) * np.cos(a) - (x - CENTRE[0]) * np.sin(a)
    r = pixel * np.hypot(u / (1 + eps), v / (1 - eps))
    q = 2 * np.sin(0.5 * np.arctan(LAMBDA * r)) / LAMBDA
    light = 3 / (1 + (r / 0.08) ** 2) + 0.3 + 50 * np.exp(-0.5 * (r / 0.012) ** 2)
    for at, height in zip(FORMS[rings], HEIGHTS[rings]):
        light = light + height * np.exp(-0.5 * ((q - at) / 0.006) ** 2)
    return np.random.default_rng(1).poisson(300 * light).astype(float)


def _check(fit, percent, azimuth, pixel):
    a, s_a, t, s_t = amplitude_and_azimuth(fit.parameters[2:4], fit.covariance[2:4, 2:4])
    assert abs(a - percent) < 4 * s_a < 0.1
    assert abs((t - azimuth + 90) % 180 - 90) < 4 * s_t < 2
    assert abs(fit.pixel_size[0] - pixel) < 4 * fit.pixel_size[1] < 1e-3 * pixel


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 83.0, 120.0])
def test_the_ellipse_is_found_with_its_sign(azimuth):
    fit = fit_rings(pattern(azimuth), LINES, LAMBDA)
    _check(fit, 2.4, azimuth, 0.006)
    assert fit.parameters[:2] == pytest.approx(CENTRE, abs=0.02)


@pytest.mark.parametrize("azimuth", [30.0, 120.0])
def test_the_simulated_microscopes_gold_gives_its_hidden_truth(azimuth):
    off = {"calibration": 0.02, "rotation_deg": 4.0, "ellipse_percent": 2.4, "ellipse_azimuth_deg": azimuth}
    scope = make({"gold": True, "density": 0.0}, Imperfections.none().model_copy(update=off))
    diffraction(scope, spread=1500)
    fit = fit_rings(scope.cameras["timepix"].acquire(10.0).data, LINES, LAMBDA)
    _check(fit, 2.4, azimuth, 0.055 / (600 * scope.truth.length_factor[600.0] * LAMBDA))


def test_what_is_no_ring_pattern_is_refused():
    for image, words in (
        (np.zeros((128, 128)), "blank"),
        (pattern(rings=slice(0)), "no rings"),
        (pattern(rings=slice(1)), "one ring only"),
    ):
        with pytest.raises(CannotDo, match=words):
            fit_rings(image, LINES, LAMBDA)


@pytest.mark.data
def test_measured_gold(shared_data):
    """The azimuth of the known fact; the amplitude of the tops of three rings traced one by one: ε 1.72 to 1.79 %."""
    gold, crystal = (
        open_experiment(shared_data / "powder_rings" / f"{name}_20cm.tif", need_angles=False).frames
        for name in ("au_xgrating", "moo3")
    )
    assert gold is not None and crystal is not None
    fit = fit_rings(gold[0], LINES, LAMBDA)
    a, _, t, _ = amplitude_and_azimuth(fit.parameters[2:4], fit.covariance[2:4, 2:4])
    assert t == pytest.approx(146.5, abs=2) and a == pytest.approx(3.55, abs=0.2)
    with pytest.raises(CannotDo):
        fit_rings(crystal[0], LINES, LAMBDA)
