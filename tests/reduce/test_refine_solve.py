"""The eliminated solution against the plain dense one, and the robust weights."""

import numpy as np
import pytest

from credo.reduce.refine_solve import Equations, Variances, student_correction, student_weights, walk_precision


def equations(seed=0, n=60, p=4, frames=9):
    rng = np.random.default_rng(seed)
    j = rng.normal(size=(3, n, p))
    return Equations(
        jx=j[0], jy=j[1], je=j[2], rx=rng.normal(size=n), ry=rng.normal(size=n), re=rng.normal(size=n),
        wx=rng.uniform(0.5, 2, n), wy=rng.uniform(0.5, 2, n), we=rng.uniform(0.5, 2, n),
        frame=rng.uniform(0, frames, n), numbers=np.r_[np.arange(frames - 1), frames + 3.0],
        departure=rng.normal(size=(frames, 2)), prior=rng.uniform(0.1, 1, p), offset=rng.normal(size=p),
    )  # fmt: skip


def dense(e: Equations, walk: float):
    """Normal matrix and right side of everything at once."""
    n, frames, p = len(e.frame), len(e.numbers), len(e.prior)
    hats = np.array([np.interp(e.frame, np.arange(frames) + 0.5, row) for row in np.eye(frames)]).T
    zero = np.zeros((n, frames))
    j = np.vstack([np.hstack([e.jx, hats, zero]), np.hstack([e.jy, zero, hats]), np.hstack([e.je, zero, zero])])
    w, r = np.r_[e.wx, e.wy, e.we], np.r_[e.rx, e.ry, e.re]
    diagonal, off = walk_precision(e.numbers, walk)
    q = np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)
    precision = np.zeros((p + 2 * frames,) * 2)
    precision[:p, :p] = np.diag(e.prior)
    precision[p : p + frames, p : p + frames] = precision[p + frames :, p + frames :] = q
    away = np.r_[e.offset, e.departure[:, 0], e.departure[:, 1]]
    a = (j * w[:, None]).T @ j + precision
    b = j.T @ (w * r) - precision @ away
    evidence = 0.5 * b @ np.linalg.solve(a, b) - 0.5 * away[p:] @ precision[p:, p:] @ away[p:]
    evidence += np.linalg.slogdet(q)[1] - 0.5 * np.linalg.slogdet(a)[1]
    return a, b, evidence


@pytest.mark.parametrize("walk", [0.01, 0.5])
def test_elimination_equals_the_dense_solution(walk):
    e = equations()
    a, b, evidence = dense(e, walk)
    x, s = np.linalg.solve(a, b), e.solve(walk)
    assert np.allclose(s.step, x[:4])
    assert np.allclose(s.shift.T.ravel(), x[4:])
    assert np.allclose(s.covariance, np.linalg.inv(a)[:4, :4])
    other = dense(e, 2 * walk)[2] - evidence
    assert e.solve(2 * walk).evidence - s.evidence == pytest.approx(other)


def test_one_frame_is_enough():
    e = equations(frames=2)
    single = Equations(**{**vars(e), "numbers": np.array([5.0]), "departure": np.zeros((1, 2))})
    assert np.isfinite(single.solve(0.1).step).all()


def test_excess_variance_is_found():
    rng = np.random.default_rng(1)
    n = 20000
    speed, length = rng.uniform(0.1, 1, n), np.ones(n)
    dxy = rng.normal(size=(n, 2)) * np.sqrt(0.01 + 0.04)
    eps = rng.normal(size=n) * speed * np.sqrt(1e-6 + 4e-6)
    found = Variances.found(dxy, np.full((n, 2), 0.01), eps, np.full(n, 1e-6), speed, length, 1.0)
    # the scale of Student's t is below the deviation of a normal
    assert 0.6 * 0.04 < found.position < 1.05 * 0.04
    assert 0.5 * 4e-6 < found.angle < 1.1 * 4e-6


def test_gross_errors_have_no_weight_and_normal_ones_keep_their_efficiency():
    rng = np.random.default_rng(2)
    assert student_weights(np.array([1e6]), 2)[0] < 1e-4
    assert 0.7 < student_correction(rng.normal(size=(50000, 1)), 1) < 1.4
