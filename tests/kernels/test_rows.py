"""Exponentials and logarithms of rows against numpy's, over their whole range."""

import numpy as np

from credo.kernels.rows import exponentials, logarithms


def test_exponentials_are_good_to_single_precision_and_end_at_sixty():
    x = np.concatenate([np.linspace(0, 59, 5001), [80.0, 1e9]]).astype(np.float32)
    out = np.empty_like(x)
    exponentials(x, np.empty(len(x), np.int32), out)
    # float32 arguments of 59 are themselves good to 2e-6
    assert np.allclose(out[:-2], np.exp(-x[:-2].astype(float)), rtol=5e-6, atol=0)
    assert np.all(out[-2:] < 1e-25)


def test_logarithms_of_all_magnitudes_and_of_nothing():
    x = np.concatenate([np.geomspace(1e-30, 1e30, 4001), [1.0, 0.0]]).astype(np.float32)
    out = np.empty_like(x)
    logarithms(x, np.empty(len(x), np.int32), -50.0, out)
    assert np.allclose(out[:-1], np.maximum(np.log(x[:-1].astype(float)), -50.0), rtol=1e-6, atol=1e-6)
    assert out[-1] == -50.0
