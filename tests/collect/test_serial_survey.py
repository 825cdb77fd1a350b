"""Survey on synthetic images: what is not taken, which bars are told, and a crystal recognised at a tilt by others."""

from dataclasses import replace

import numpy as np
import pytest
from tests.collect.test_serial_steering import bench

from credo.collect.raster import Fields, raster
from credo.collect.serial_survey import Candidate, Particle, Survey
from credo.collect.steps import Look, Move, Note, Pose, Shot
from credo.instrument.protocols import Frame

PX = 0.022
SIDE = 516


@pytest.fixture
def flat():
    """A bench whose image shows 22 nm a pixel, the beam in its middle."""
    middle = np.full(2, SIDE / 2)
    return replace(bench(), pixel_um=PX, beam_px=middle, image=np.eye(2) / PX, valid=np.ones((SIDE, SIDE), dtype=bool))


def image_of(discs, seed=0, bar_from=None, tilt=0.0):
    """Counts of discs (x, y, radius) [µm from the middle], foreshortened along y; from ``bar_from`` on [px] a bar."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2) * PX
    y = y / np.cos(np.radians(tilt))
    image = np.full((SIDE, SIDE), 400.0)
    for cx, cy, r in discs:
        image *= 1 - 0.5 * (np.hypot(x - cx, y - cy) < r)
    if bar_from is not None:
        image[:, bar_from:] = 0
    return rng.poisson(image).astype(np.uint16)


def shot_of(image, tilt=0.0):
    pose = Pose(0.0, 0.0, 0.0, tilt, 0.0, 1.0)
    return Shot(Frame(image, 0.0, 0.2, 0.2), pose, pose)


def looked(survey, image):
    """(candidates, notes) of a look at this image."""
    steps, answer, notes = survey.look(0.0, 0.0), None, []
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return end.value, notes
        answer = (
            shot_of(image) if isinstance(step, Look) else Pose(0, 0, 0, 0, 0, 0) if isinstance(step, Move) else None
        )
        if isinstance(step, Note):
            notes.append((step.kind, step.facts))


def reasons(notes):
    return [facts["reason"] for kind, facts in notes if kind == "rejected"]


def test_neighbours_count_as_near_as_they_come_at_the_largest_tilt(flat):
    pair = [(0.0, -1.0, 0.3), (0.0, 0.9, 0.3)]  # a gap of 1.3 µm across the axis, 0.65 at 60°
    assert len(looked(Survey(flat, 1.0, 10.0), image_of(pair))[0]) == 2
    found, notes = looked(Survey(flat, 1.0, 60.0), image_of(pair))
    assert found == [] and reasons(notes) == ["not isolated"] * 2
    along = [(y, x, r) for x, y, r in pair]
    assert len(looked(Survey(flat, 1.0, 60.0), image_of(along))[0]) == 2


def test_a_notched_outline_is_of_several_crystals(flat):
    found, notes = looked(
        Survey(flat, 1.0, 60.0),
        image_of([(k * 0.3, 0.0, 0.22) for k in range(4)] + [(0.0, k * 0.3, 0.22) for k in range(4)]),
    )
    assert found == [] and "notched" in reasons(notes)[0]
    assert len(looked(Survey(flat, 1.0, 60.0), image_of([(0.0, 0.0, 0.6)]))[0]) == 1


def test_crystals_beside_a_bar_are_noted_and_left(flat):
    survey = Survey(flat, 1.0, 60.0)
    found, _ = looked(survey, image_of([(-2.0, 1.0, 0.3), (1.9, -2.0, 0.3)], bar_from=SIDE // 2 + int(2.9 / PX)))
    assert len(found) == 2 and 0.5 < survey.film < 0.8
    steps, notes = survey.clear(found), []
    try:
        while True:
            notes.append(next(steps))
    except StopIteration as end:
        free = end.value
    assert [round(one.place[0]) for one in free] == [-2]
    assert [note.facts["reason"] for note in notes] == ["beside a bar of the mesh"]


def test_a_bridged_cross_shows_no_crystals(flat):
    image = image_of([], seed=3)
    image[254:262] = image[:, 254:262] = 1600
    valid = np.ones((SIDE, SIDE), dtype=bool)
    valid[254:262] = valid[:, 254:262] = False
    survey = Survey(replace(flat, valid=valid), 1.0, 60.0)
    found, notes = looked(survey, image)
    assert found == [] and reasons(notes) == [] and survey.seen == []


def test_a_crystal_is_recognised_by_its_neighbours(flat):
    """Two particles of its size lie in reach of where it should be: the one around which the others are in place."""
    survey = Survey(flat, 1.0, 60.0)
    truth = np.array([[0.0, 0.0], [2.5, 3.0], [-3.0, -2.0], [1.0, -5.0]])
    survey.seen = [Particle((float(x), float(y)), 0.28) for x, y in truth]
    one = Candidate(0, (0.0, 0.0), 0.28, 0.5, 3.0)
    tilt, away = 60.0, np.array([0.3, 2.4])  # as after a height that is 2.8 µm off
    moved = [(x + away[0], y + away[1] / np.cos(np.radians(tilt)), 0.3) for x, y in truth]
    shot = shot_of(image_of(moved, tilt=tilt), tilt)
    mean, sd = np.zeros(2), np.array([0.5, 2.0])
    at = survey.recognised(shot, one, mean, sd)
    assert at is not None and np.allclose(at, away, atol=0.1)
    # another particle of its size would be nearer to where it was expected
    nearer = shot_of(image_of([*moved, (0.0, 0.5, 0.3)], tilt=tilt), tilt)
    again = survey.recognised(nearer, one, mean, sd)
    assert again is not None and np.allclose(again, away, atol=0.1)
    assert survey.recognised(shot, one, np.array([0.0, -4.0]), np.array([0.3, 0.3])) is None


def test_fields_beside_film_come_first_and_bars_are_left():
    """Squares of 45 µm between bars of 24 µm: few views of bars before all film within reach was seen."""
    places = raster((3.0, 2.0), 100.0, 9.0)
    fields, here = Fields(places, 9.0), (3.0, 2.0)

    def film(x, y):
        return float(all(abs((v + 34.5) % 69 - 34.5) < 22.5 for v in (x, y)))

    seen = []
    for _ in range(60):
        here = fields.next(here)
        seen.append(film(*here))
        fields.look(*here, seen[-1])
    assert sum(seen) > 35
    by_distance = places[np.argsort(np.hypot(*(places - (3.0, 2.0)).T), kind="stable")]
    assert sum(seen) > 1.3 * sum(film(x, y) for x, y in by_distance[:60])
    assert len(fields.left) == len(places) - 60
