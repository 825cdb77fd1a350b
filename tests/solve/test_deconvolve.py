"""Sites found one after another stand where side maxima of a map with a missing wedge hide them."""

import numpy as np

from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import compatible_groups, group_operations
from credo.solve.deconvolve import deconvolved_sites
from credo.solve.normalise import normalise
from credo.solve.space_group import GroupFit


def phased(structure, laue, centring, measured):
    """Data and its true phases at the group's own origin."""
    data = normalise(structure.cell, centring, laue, *measured)
    f = structure_factors(structure, np.rint(data.hkl @ np.linalg.inv(data.basis)).astype(int))
    group = next(g for g in compatible_groups(laue, centring) if g.xhm() == structure.space_group)
    fit = GroupFit(group, group_operations(group).on_basis(data.basis), np.zeros(3), 1.0, 1.0)
    # the transform of a map: Σ ρ exp(−2πi h·x)
    return data, fit, data.e * np.exp(-1j * np.angle(f))


def nearest(structure, data, fit, sites):
    """(atoms,) [Å]: from each atom to the nearest image of a site."""
    images = (np.einsum("rij,nj->nri", fit.operations.rot, sites.xyz) + fit.operations.trans).reshape(-1, 3)
    out = []
    for atom in structure.atoms:
        d = images - np.linalg.inv(data.basis) @ atom.xyz
        d -= np.rint(d)
        out.append(np.sqrt(np.einsum("ij,jk,ik->i", d, data.cell.metric, d).min()))
    return np.array(out)


def test_all_atoms_from_a_wedge_at_low_resolution(chain, intensities):
    s = chain("P b c a")
    hkl, i, sigma = intensities(s, 1.2, error=0.1)
    # a wedge about c is missing: 70 % of the unique reflections are left
    angle = np.arctan2(hkl[:, 2] / s.cell.lengths[2], hkl[:, 0] / s.cell.lengths[0])
    kept = np.abs(angle) < np.quantile(np.abs(angle), 0.7)
    data, fit, phases = phased(s, "mmm", "P", (hkl[kept], i[kept], sigma[kept]))
    sites = deconvolved_sites(data, fit, phases, 8 * len(s.atoms))
    gaps = nearest(s, data, fit, sites)
    assert np.mean(gaps < 0.3) >= 8 / 9 and len(sites.xyz) <= 10


def test_special_positions_and_weights(garnet, intensities):
    """All four sites of the garnet, each with its multiplicity; the heaviest scatterer stands first."""
    data, fit, phases = phased(garnet, "m-3m", "I", intensities(garnet, 1.0))
    sites = deconvolved_sites(data, fit, phases, 80)
    assert sorted(sites.multiplicity.tolist()) == [8, 12, 12, 48]
    assert nearest(garnet, data, fit, sites).max() < 0.1
    ca = np.flatnonzero(sites.multiplicity == 12)
    assert np.all(sites.height[ca] > sites.height[sites.multiplicity == 48])


def test_nothing_in_nothing_out(chain, intensities):
    s = chain("P b c a")
    data, fit, phases = phased(s, "mmm", "P", intensities(s, 1.2))
    assert len(deconvolved_sites(data, fit, phases * 0 + 1e-9, 0).xyz) == 0
