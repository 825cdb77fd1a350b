"""Frames without their crystal: found by how bright its reflections are, and left out of the integration."""

import numpy as np
import pytest

from credo.model import ArrayFrames
from credo.reduce.integrate import IntegrateSettings, integrate

BAD = np.zeros((160, 160), bool)


@pytest.fixture
def run(frame_scene):
    """The scene integrated with the frames ``span`` replaced by ``others`` (n, y, x)."""

    def integrated(span, others):
        images = np.stack([frame_scene.frames[k] for k in range(len(frame_scene.frames))])
        images[span] = others(images)[span]
        return integrate(frame_scene.truth, ArrayFrames(images), BAD, IntegrateSettings(d_min=1.6))

    return integrated


def film(images):
    """No crystal: the background, and the direct beam."""
    return np.random.default_rng(1).poisson(np.median(images, axis=0) + 0.3, size=images.shape).astype(np.uint16)


def another(images):
    """Another crystal: the same, seen a quarter turn about the beam further."""
    return np.rot90(images, axes=(1, 2))


def test_a_crystal_that_stays_is_lit_on_every_frame(run):
    _, _, report = run(slice(0, 0), film)
    assert report.numbers["n_dark_frames"] == 0 and not report.warnings
    assert np.median(report.figures["brightness"]) == pytest.approx(0.9, abs=0.2)


@pytest.mark.parametrize("others", [film, another])
@pytest.mark.parametrize("span", [slice(32, 64), slice(20, 40)])
def test_what_is_recorded_without_the_crystal_is_left_out(run, frame_scene, span, others):
    _, table, report = run(span, others)
    dark = np.zeros(64, bool)
    for a, b in report.figures["dark"]:
        dark[a : b + 1] = True
    gone = np.zeros(64, bool)
    gone[span] = True
    # its borders are as sharp as the average over angles
    assert np.sum(dark != gone) <= 8 and dark[span][5:-5].all()
    inside = (table["frame"] > span.start + 5) & (table["frame"] < span.stop - 5)
    assert not inside.any()
    assert "out of the beam" in report.warnings[0]
    where = {(*h, round(f)): i for i, (h, f) in enumerate(zip(frame_scene.predicted.hkl.tolist(),
                                                             frame_scene.predicted["frame"]))}  # fmt: skip
    pairs = [(r, where[(*h, round(f))]) for r, (h, f) in enumerate(zip(table.hkl.tolist(), table["frame"]))
             if (*h, round(f)) in where and not dark[max(int(f) - 4, 0) : int(f) + 5].any()]  # fmt: skip
    a, b = np.array(pairs).T
    assert len(a) > 60
    assert np.corrcoef(table["intensity"][a], frame_scene.strength[b])[0, 1] > 0.97
