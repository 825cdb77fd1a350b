"""Calibrations done from the images alone give back what was hidden."""

import numpy as np
import pytest
from tests.instrument.sim.conftest import bring, diffraction, isolated, make

from credo.instrument.protocols import Camera, Deflectors, Lenses, Microscope, Stage
from credo.instrument.sim import open_microscope
from credo.instrument.sim.optics import image_geometry, pattern_geometry
from credo.instrument.sim.settings import CameraSettings, Imperfections
from credo.physics.electron import wavelength

IMPERFECT = Imperfections.none().model_copy(
    update={"calibration": 0.02, "rotation_deg": 4.0, "ellipse_percent": 2.4, "ellipse_azimuth_deg": 83.37}
)


def test_it_is_what_the_instrument_layer_asks_for():
    scope = open_microscope({"seed": 4})
    assert isinstance(scope, Microscope)
    assert isinstance(scope.stage, Stage)
    assert isinstance(scope.lenses, Lenses) and isinstance(scope.deflectors, Deflectors)
    assert isinstance(scope.cameras["timepix"], Camera)
    assert scope.blanker.is_blanked() and all(scope.readiness().values())
    for group in (scope.lenses, scope.deflectors, scope.apertures):
        for name, own in group.properties.items():
            value = group.get(name)
            if own.writable and (not own.modes or scope.lenses.get("mode") in own.modes):
                group.set(name, value)
                assert group.get(name) == value


def test_beam_and_image_shift_move_the_image_by_their_matrices():
    scope = make({"density": 0.0, "texture": 3.0, "film_nm": 60.0}, IMPERFECT)
    scope.blanker.blank(False)
    camera, truth = scope.cameras["timepix"], scope.truth
    geometry = image_geometry(scope._column.state, truth)
    start = camera.acquire(2.0).data.astype(float)
    for step in ((400.0, 0.0), (0.0, 400.0)):
        scope.deflectors.set("imageshift1", (32768 + step[0], 32768 + step[1]))
        moved = _shift(camera.acquire(2.0).data.astype(float), start)
        expected = geometry.matrix @ truth.deflectors["imageshift1"].image @ np.array(step) / 0.055
        np.testing.assert_allclose(moved, expected, atol=0.7)
        scope.deflectors.set("imageshift1", (32768, 32768))
    # without a film a narrow beam is a plain disc, which the beam shift moves
    scope = make({"density": 0.0, "film": "none"}, IMPERFECT)
    scope.blanker.blank(False)
    camera = scope.cameras["timepix"]
    scope.lenses.set("brightness", round(truth.crossover + 2500))
    discs = []
    for step in ((0.0, 0.0), (60.0, 0.0), (0.0, 60.0)):
        scope.deflectors.set("beamshift", (32768 + step[0], 32768 + step[1]))
        discs.append(_moments(camera.acquire(0.05).data.astype(float))[0])
    measured = np.array(discs[1:]) - discs[0]
    expected = (geometry.matrix @ truth.deflectors["beamshift"].position * 60 / 0.055).T
    np.testing.assert_allclose(measured, expected, atol=0.3)


def _shift(a, b):
    """Translation [px] of ``a`` against ``b``, to a fraction of a pixel by the centroid of the correlation's peak."""
    f = np.fft.fft2(a - a.mean()) * np.conj(np.fft.fft2(b - b.mean()))
    c = np.fft.fftshift(np.fft.ifft2(f).real)
    i, j = np.unravel_index(np.argmax(c), c.shape)
    return np.array([j - c.shape[1] // 2, i - c.shape[0] // 2], dtype=float)


def _centroid(image):
    lit = image > 0.5 * np.quantile(image, 0.99)
    i, j = np.nonzero(lit)
    return np.array([j.mean() + 0.5, i.mean() + 0.5])


def _moments(image):
    """Centroid (2,) [px] and the radius of a disc with the same second moment."""
    i, j = np.indices(image.shape) + 0.5
    x, y = (image * j).sum() / image.sum(), (image * i).sum() / image.sum()
    return np.array([x, y]), np.sqrt(2 * (image * ((j - x) ** 2 + (i - y) ** 2)).sum() / image.sum())


def _ring(image, centre, q_px, azimuths, width=6.0):
    """Radius of a ring at each azimuth: the centroid above the background between its two sides."""
    r = np.arange(q_px - 2 * width, q_px + 2 * width, 0.25)
    out = []
    for a in azimuths:
        fan = a + np.radians(np.arange(-4, 4.1, 0.5))
        x, y = centre[0] + np.outer(r, np.cos(fan)), centre[1] + np.outer(r, np.sin(fan))
        profile = image[np.floor(y).astype(int), np.floor(x).astype(int)].mean(axis=1)
        ends = 0.5 * (profile[:8].mean() + profile[-8:].mean())
        height = np.clip(profile - ends - 0.2 * (profile.max() - ends), 0, None)
        out.append((height * r).sum() / height.sum())
    return np.array(out)


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 83.37, 120.0])
def test_gold_rings_give_camera_length_and_ellipse(azimuth):
    off = IMPERFECT.model_copy(update={"ellipse_azimuth_deg": azimuth})
    scope = make({"gold": True, "density": 0.0}, off)
    diffraction(scope, spread=1500)
    image = scope.cameras["timepix"].acquire(10.0).data.astype(float)
    centre = _centroid(np.where(image > 20000, image, 0))
    a = np.radians(np.arange(0, 360, 5))
    q111 = np.sqrt(3) / 4.0786
    nominal = 600 * wavelength(200) * q111 / 0.055
    radius = _ring(image, centre, nominal, a)
    # r(a) = r0 (1 + e cos 2(a − a0)) + what a wrong centre adds
    design = np.stack([np.ones(len(a)), np.cos(2 * a), np.sin(2 * a), np.cos(a), np.sin(a)], axis=1)
    fit, *_ = np.linalg.lstsq(design, radius, rcond=None)
    e = np.hypot(fit[1], fit[2]) / fit[0]
    assert fit[0] / nominal == pytest.approx(scope.truth.length_factor[600.0], rel=2e-3)
    assert 100 * ((1 + e) / (1 - e) - 1) == pytest.approx(2.4, abs=0.12)
    found = np.degrees(np.arctan2(fit[2], fit[1])) / 2
    assert (found - azimuth + 90) % 180 - 90 == pytest.approx(0, abs=2.0)


def test_camera_lengths_scale_the_pattern_and_its_distortion():
    scope = make(imperfections=IMPERFECT)
    diffraction(scope)
    seen = []
    for length in (300.0, 600.0, 1200.0):
        scope.lenses.set("magnification", length)
        seen.append(pattern_geometry(scope._column.state, scope.truth, IMPERFECT, 200.0))
    assert seen[1].ellipse_percent == pytest.approx(2.4)
    assert seen[1].ellipse_azimuth_deg == pytest.approx(83.37)
    assert seen[0].ellipse_percent < 2.4 < seen[2].ellipse_percent
    assert seen[2].length_mm / seen[0].length_mm == pytest.approx(4, rel=0.1)


def test_a_defocused_pattern_is_a_disc_with_the_crystals_shadow(on_crystal):
    scope, table, row = on_crystal
    camera = scope.cameras["timepix"]
    scope.lenses.set("difffocus", round(scope.truth.focus + 1000))
    image = camera.acquire(1.0).data.astype(float)
    geometry, beam = scope.diary[-1].geometry, scope.beam()
    scale = np.sqrt(abs(np.linalg.det(geometry.shadow))) / 0.055
    disc = image > 0.25 * np.quantile(image, 0.98)
    assert disc.sum() == pytest.approx(np.pi * (scale * beam.radius) ** 2, rel=0.05)
    np.testing.assert_allclose(_centroid(image), scope.diary[-1].centre, atol=2)
    # the crystal's shadow: darker, in the middle, of the crystal's size
    i, j = np.nonzero(disc)
    bright = np.median(image[disc])
    dark = disc & (image < 0.8 * bright)
    inner = (
        np.hypot(*(np.indices(image.shape)[::-1] + 0.5 - scope.diary[-1].centre[:, None, None]))
        < 0.9 * scale * beam.radius
    )
    area = (dark & inner).sum() / scale**2
    assert area == pytest.approx(table.area[row], rel=0.25)
    assert len(i) == len(j)


def test_the_beam_shift_moves_the_defocused_disc_and_hardly_the_sharp_pattern(on_crystal):
    scope, _, _ = on_crystal
    camera, start = scope.cameras["timepix"], np.array(scope.deflectors.get("beamshift"))
    centres = {}
    for focus in (0, 1000):
        scope.lenses.set("difffocus", round(scope.truth.focus + focus))
        for step in (0, 10):
            scope.deflectors.set("beamshift", tuple(start + [step, 0]))
            camera.acquire(0.5)
            centres[focus, step] = scope.diary[-1].centre
    sharp = np.linalg.norm(centres[0, 10] - centres[0, 0])
    moved = centres[1000, 10] - centres[1000, 0]
    geometry = scope.diary[-1].geometry
    expected = geometry.shadow @ scope.truth.deflectors["beamshift"].position @ [10, 0] / 0.055
    assert sharp < 0.02 * np.linalg.norm(moved)
    np.testing.assert_allclose(moved, expected, atol=0.2)


def test_hysteresis_of_the_focus_depends_on_where_it_comes_from():
    scope = make(imperfections=IMPERFECT.model_copy(update={"hysteresis": 20.0}))
    scope.lenses.set("mode", "diff")
    left = []
    for before in (25000, 35000):
        scope.lenses.set("difffocus", before)
        scope.lenses.set("difffocus", 30000)
        assert scope.lenses.get("difffocus") == 30000
        left.append(scope._column.state.focus_memory)
    assert left == [29990.0, 30010.0]


def test_brightness_spreads_the_same_electrons():
    scope = make({"film": "none", "density": 0.0}, cameras=(CameraSettings(kind="cmos", saturation=65535),))
    scope.blanker.blank(False)
    radius, total = [], []
    for spread in (1500, 3000):
        scope.lenses.set("brightness", round(scope.truth.crossover + spread))
        image = scope.cameras["timepix"].acquire(0.02).data.astype(float)
        total.append(image.sum())
        radius.append(_moments(image)[1])
    assert radius[1] / radius[0] == pytest.approx(2, rel=0.05)
    assert total[1] / total[0] == pytest.approx(1, rel=0.02)


def test_the_beam_stop_hides_the_direct_beam(on_crystal):
    scope, _, _ = on_crystal
    scope.apertures.set("beamstop", True)
    image = scope.cameras["timepix"].acquire(0.3).data
    assert image[250:262, 250:262].max() < 20000
    scope.screen.set_up(False)
    assert scope.cameras["timepix"].acquire(0.3).data.max() == 0


def test_isolated_crystals_can_be_brought_into_the_beam():
    scope = make({"density": 0.01}, Imperfections(), seed=2)
    table, row = isolated(scope)
    bring(scope, table.place[row])
    diffraction(scope)
    scope.cameras["timepix"].acquire(0.1)
    assert scope.diary[-1].share[int(table.ident[row])] > 0.8


def test_tilting_the_beam_is_tilting_the_crystal_the_other_way(on_crystal):
    scope, _, _ = on_crystal
    camera, degrees = scope.cameras["timepix"], 0.5

    def strongest():
        camera.acquire(0.2)
        spots = scope.diary[-1].spots[0]
        return dict(zip(spots.row.tolist(), spots.electrons.tolist()))

    straight = strongest()
    u = np.linalg.solve(scope.truth.deflectors["beamtilt"].tilt, [0.0, np.tan(np.radians(degrees))])
    scope.deflectors.set("beamtilt", tuple(32768 + u))
    tilted = strongest()
    scope.deflectors.set("beamtilt", (32768, 32768))
    scope.stage.start({"a": degrees})
    scope.clock.sleep(10)
    turned = strongest()
    strong = [r for r, e in turned.items() if e > 0.02 * max(turned.values())]
    assert len(strong) > 15
    np.testing.assert_allclose([tilted.get(r, 0.0) for r in strong], [turned[r] for r in strong], rtol=0.05)
    assert not np.allclose([straight.get(r, 0.0) for r in strong], [turned[r] for r in strong], rtol=0.5)
