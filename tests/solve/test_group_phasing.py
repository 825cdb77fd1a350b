"""Phases within a group: orbits are averaged as the group asks, and random starts find a structure of high symmetry."""

import gemmi
import numpy as np

from credo.kernels.flip import MISSING, OBSERVED, impose_moduli
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import group_operations
from credo.solve.group_phasing import GroupPhasing, Orbits
from credo.solve.normalise import normalise
from credo.solve.phasing import PhasingSettings, recipes_for, transform_at
from credo.solve.space_group import GroupFit, likely_by_absences


def indices(limit):
    h = np.stack(np.meshgrid(*[np.arange(-limit, limit + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return h[np.any(h != 0, axis=1)]


def transform_of(rho, hkl):
    return transform_at(hkl, np.fft.rfftn(rho).astype(np.complex64).reshape(-1), rho.shape)


def test_orbits_leave_a_symmetric_transform_alone_and_make_any_other_so():
    """Of random density on a grid that the group maps on itself: averaged in space and in orbits it is the same."""
    ops = group_operations(gemmi.SpaceGroup("P 21 21 21"))
    shape = (8, 8, 12)
    rng = np.random.default_rng(0)
    rho = rng.random(shape).astype(np.float32)
    at = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    mean = np.zeros(shape)
    for r, t in zip(ops.rot, ops.trans):
        to = np.rint(at @ r.T + t * shape).astype(int) % shape
        mean += rho[tuple(to.T)].reshape(shape) / len(ops)
    hkl = indices(3)
    g = np.fft.rfftn(rho).astype(np.complex64).reshape(-1)
    Orbits(hkl, ops, shape)(g)
    assert np.allclose(transform_at(hkl, g, shape), transform_of(mean, hkl), atol=1e-3)
    again = g.copy()
    Orbits(hkl, ops, shape)(again)
    assert np.allclose(again, g, atol=1e-4)


def test_what_rounding_leaves_of_nought_makes_no_nan():
    g = np.full(4, 1e-41 + 1e-41j, dtype=np.complex64)
    impose_moduli(g, np.ones(4, np.float32), np.array([OBSERVED, OBSERVED, MISSING, OBSERVED], np.int8), 0.9, False)
    assert np.isfinite(g).all() and np.allclose(np.abs(g[[0, 1, 3]]), 1)


def test_random_starts_in_the_group_find_the_garnet(garnet, intensities):
    data = normalise(garnet.cell, "I", "m-3m", *intensities(garnet, 0.9))
    group = gemmi.SpaceGroup("I a -3 d")
    fit = GroupFit(group, group_operations(group).on_basis(data.basis), np.zeros(3), 0.0, 0.0)
    true = structure_factors(garnet, np.rint(data.hkl @ np.linalg.inv(data.basis)).astype(int))
    recipes, best = recipes_for(0.9), 0.0
    for n in range(3 * len(recipes)):  # about one start in five succeeds
        if best > 0.9:
            break
        phasing = GroupPhasing(data, fit, recipes[n % len(recipes)], PhasingSettings(grid_per_d=2.5))
        phases, rho = phasing.trial(np.random.default_rng(n), 250, 10)
        assert np.isfinite(rho).all()
        # the group has one more origin, ½ ½ ½ of the primitive cell
        for shift in (0.0, 0.5):
            turn = np.exp(2j * np.pi * data.hkl @ np.full(3, shift))
            cosine = np.cos(np.angle(phases * turn * true.conj()))
            best = max(best, float(data.e**2 @ cosine / (data.e**2).sum()))
    assert best > 0.9


def test_absences_put_the_right_group_first(garnet, chain, intensities):
    data = normalise(garnet.cell, "I", "m-3m", *intensities(garnet, 0.9))
    assert likely_by_absences(data, "m-3m", "I")[0].symbol == "I a -3 d"
    s = chain("P b c a")
    assert likely_by_absences(normalise(s.cell, "P", "mmm", *intensities(s, 0.9)), "mmm", "P")[0].symbol == "P b c a"
