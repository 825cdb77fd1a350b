"""Apertures and the intermediate stigmator: what is seen of specimen and pattern; the dose stays that of the beam."""

import numpy as np
import pytest
from tests.instrument.sim.conftest import make

from credo.instrument.sim.optics import Illumination, ellipse_matrix, pattern_geometry
from credo.instrument.sim.settings import Imperfections
from credo.instrument.sim.stops import ANGLES_MRAD, AREAS_UM, selected


def _beam(radius: float = 1.5) -> Illumination:
    return Illumination(np.array([0.3, -0.2]), radius, 0.05, 1e6, np.zeros(2), 1e-4)


@pytest.mark.parametrize("at", [(1.2, 0.6), (0.4, -1.6), (-1.0, -0.9)])
def test_a_hole_that_is_lit_in_part_counts_for_what_is_lit(at):
    beam, hole = _beam(), np.array(at)
    step = 0.01
    points = step * (np.mgrid[-300:300, -300:300].reshape(2, -1).T + 0.5)
    common = points[
        (np.linalg.norm(points - beam.centre, axis=1) < beam.radius) & (np.linalg.norm(points - hole, axis=1) < 1.0)
    ]
    found = selected(beam, hole, 1.0)
    assert np.pi * found.radius**2 == pytest.approx(step**2 * len(common), rel=0.01)
    np.testing.assert_allclose(found.centre, common.mean(axis=0), atol=0.01)
    assert found.flux == pytest.approx(beam.flux)


def test_a_hole_around_the_beam_inside_it_and_beside_it():
    beam = _beam()
    assert selected(beam, beam.centre + 0.3, 3.0) is beam
    inside = selected(beam, beam.centre + 0.3, 0.4)
    assert inside.radius == pytest.approx(0.4) and np.allclose(inside.centre, beam.centre + 0.3)
    assert selected(beam, beam.centre + 9.0, 0.4).current < 1e-5 * beam.current


def test_only_what_lies_in_the_selected_area_diffracts_but_all_that_is_lit_is_damaged(on_crystal):
    scope, _, _ = on_crystal
    camera = scope.cameras["timepix"]
    scope.lenses.set("brightness", round(scope.truth.crossover + 2500))
    scope.specimen.fluence.clear()
    whole = camera.acquire(0.002).data.astype(float).sum()
    scope.blanker.blank(False)  # books the dose of the time so far
    open_dose = dict(scope.specimen.fluence)
    scope.apertures.set("selectedarea", 3)
    scope.specimen.fluence.clear()
    part = camera.acquire(0.002).data.astype(float).sum()
    scope.blanker.blank(False)
    assert part / whole == pytest.approx((AREAS_UM[2] / scope.beam().radius) ** 2, rel=0.1)
    assert scope.specimen.fluence == pytest.approx(open_dose, rel=0.05)
    assert sum(scope.diary[-1].share.values()) < sum(scope.diary[-2].share.values())


def test_the_selected_area_stands_still_when_the_image_is_shifted():
    scope = make({"density": 0.0, "film": "none"}, Imperfections.none())
    scope.blanker.blank(False)
    scope.apertures.set("selectedarea", 1)
    for shift in (32768, 32868):
        scope.deflectors.set("imageshift1", (shift, 32768))
        image = scope.cameras["timepix"].acquire(0.3).data
        yy, xx = np.nonzero(image > 0.2 * image.max())
        assert np.hypot(xx.mean() - 257.5, yy.mean() - 257.5) < 2
        um = 55 / 2500
        assert np.sqrt(len(xx) / np.pi) * um == pytest.approx(AREAS_UM[0], rel=0.05)


def test_the_objective_aperture_cuts_the_pattern_off(on_crystal):
    scope, _, _ = on_crystal
    scope.apertures.set("objective", 3)
    image = scope.cameras["timepix"].acquire(0.3).data
    known = scope.diary[-1]
    yy, xx = np.mgrid[: len(image), : len(image)] + 0.5
    mrad = 1e3 * np.hypot(xx - known.centre[0], yy - known.centre[1]) * 0.055 / known.geometry.length_mm
    assert image[mrad > 1.2 * ANGLES_MRAD[2]].max() <= 1 < image[mrad < ANGLES_MRAD[2]].mean()


def test_the_stigmator_adds_to_the_ellipse_and_can_take_it_away():
    scope = make({"density": 0.0}, Imperfections.none().model_copy(update={"ellipse_percent": 2.4}))
    scope.lenses.set("mode", "diff")
    own = pattern_geometry(scope._column.state, scope.truth, scope.settings.imperfections, 200)
    double = np.radians(2 * own.ellipse_azimuth_deg)
    back = 32768 - own.ellipse_percent / 2e-4 * np.array([np.cos(double), np.sin(double)])
    scope.deflectors.set("intermediatestig", tuple(np.rint(back)))
    round_now = pattern_geometry(scope._column.state, scope.truth, scope.settings.imperfections, 200)
    assert round_now.ellipse_percent < 1e-3
    np.testing.assert_allclose(round_now.matrix, own.length_mm * np.eye(2), rtol=1e-4, atol=0.01)
    scope.deflectors.set("intermediatestig", (32768, 32768 + 5000))
    both = pattern_geometry(scope._column.state, scope.truth, scope.settings.imperfections, 200)
    added = ellipse_matrix(own.ellipse_percent, own.ellipse_azimuth_deg) @ ellipse_matrix(1.0, 45.0)
    np.testing.assert_allclose(both.matrix / both.length_mm, added, atol=2e-4)
