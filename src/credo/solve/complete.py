"""From sites to a refined structure: elements, isotropic least squares, missing atoms added and false ones dropped."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.model import Cell, CredoError, Structure
from credo.physics.symmetry import group_operations
from credo.solve.candidates import Candidate
from credo.solve.chemistry import impossible_share
from credo.solve.elements import assign_elements
from credo.solve.fourier import difference_peaks
from credo.solve.least_squares import FitState, LeastSquaresSettings, Observed, atoms_from_sites, fit_structure
from credo.solve.normalise import PhasingData
from credo.solve.ranking import expected_r1
from credo.solve.retype import multiplicities, retyped

__all__ = ["Completed", "complete", "observed_in"]

#: Elements are looked at again only where R1 says that the positions are right.
_WORTH_TYPING = 0.4
#: Extinction is tried where R1 is this much above what errors explain, but not lost, and kept where R1 falls so much.
_UNEXPLAINED, _LOST, _PAYS = 0.05, 0.5, 0.01
#: What a few cycles bring no further is left at that.
_GLANCE, _HOPELESS = LeastSquaresSettings(cycles=3, weight_a=0.2, converged=0.1, quick=True), 0.55
#: So few sites cost nothing to go on with.
_SMALL = 15


@dataclass(frozen=True)
class Completed:
    """A candidate after least squares; ``fit`` is None, with the reason, where it could not be refined;
    ``impossible``: the share of its atoms with contacts that are too short for their elements."""

    candidate: Candidate
    structure: Structure
    fit: FitState | None
    reason: str = ""
    n_reflections: int = 0
    impossible: float = 0.0

    @property
    def r1(self) -> float:
        """R1 of the observed reflections, infinite where least squares failed."""
        return self.fit.r1 if self.fit is not None else float("inf")


def observed_in(data: PhasingData, group: gemmi.SpaceGroup) -> Observed:
    """The merged data without what the group forbids."""
    hkl, i, s = data.merged
    keep = ~group.operations().systematic_absences(hkl)
    return Observed(hkl[keep], i[keep], s[keep])


def complete(
    data: PhasingData,
    cell: Cell,
    candidate: Candidate,
    formula: dict[str, float],
    wavelength: float,
    n_atoms: float,
    rounds: int = 3,
    cycles: int = 8,
) -> Completed:
    """cell: conventional. Rounds of least squares, each followed by dropping atoms that melt and adding peaks."""
    sites = candidate.sites
    structure = _named(cell, candidate, sites.xyz @ data.basis.T, sites.height, sites.multiplicity, formula)
    observed = observed_in(data, candidate.fit.group)
    settings = LeastSquaresSettings(cycles=cycles, weight_a=0.2, converged=0.1, quick=True)
    expected = expected_r1(observed.f2, observed.sigma)
    fit = None
    for n in range(rounds + 1):
        try:
            if n == 0:
                fit = fit_structure(structure, observed, wavelength, _GLANCE)
                if fit.r1 > _HOPELESS and len(structure.atoms) > _SMALL:
                    structure = fit.structure
                    break
            start = fit.structure if n == 0 and fit else structure
            fit = _fitted(start, observed, wavelength, settings, expected)
            if fit.r1 < _WORTH_TYPING:
                fit = _with_other_elements(fit, observed, formula, wavelength, settings, expected)
        except CredoError as error:
            return Completed(candidate, structure, None, error.reason, len(observed.f2))
        structure = fit.structure
        if n == rounds:
            break
        kept = _without_false_atoms(structure)
        more = _with_missing_atoms(kept, fit, observed, formula, n_atoms * _cells(data))
        if len(more.atoms) == len(structure.atoms) and len(kept.atoms) == len(structure.atoms):
            break
        structure = more
    return Completed(candidate, structure, fit, "", len(observed.f2), impossible_share(structure))


def _fitted(structure: Structure, observed: Observed, wavelength: float, settings, expected: float) -> FitState:
    """Least squares, with extinction where R1 is more than errors explain and falls by it: dynamical scattering damps
    strong reflections like extinction (Bloch waves, 100 nm: andradite 0.22 for 0.30, diopside 0.17 for 0.29)."""
    fit = fit_structure(structure, observed, wavelength, settings)
    if not expected + _UNEXPLAINED < fit.r1 < _LOST:
        return fit
    damping = settings.model_copy(update={"extinction": True})
    damped = fit_structure(fit.structure, observed, wavelength, damping)
    return damped if damped.r1 < fit.r1 - _PAYS else fit


def _with_other_elements(
    fit: FitState, observed: Observed, formula, wavelength: float, settings, expected: float
) -> FitState:
    """Least squares with elements exchanged, if that agrees better: a light atom called heavy would melt."""
    other = retyped(fit.structure, fit.corrected(observed), formula)
    if other is fit.structure:
        return fit
    again = _fitted(other, observed, wavelength, settings, expected)
    return again if again.r1 < fit.r1 + 0.005 else fit


def _cells(data: PhasingData) -> float:
    """Primitive cells in the conventional one."""
    return float(np.rint(1 / np.linalg.det(data.basis)))


def _named(cell: Cell, candidate: Candidate, xyz, height, multiplicity, formula) -> Structure:
    nearest = nearest_distances(xyz, candidate.fit.group, cell)
    elements = assign_elements(height, multiplicity, formula, nearest)
    return Structure(cell, candidate.fit.symbol, atoms_from_sites(xyz, elements, u_iso=0.02))


def nearest_distances(xyz: np.ndarray, group: gemmi.SpaceGroup, cell: Cell, own: float = 0.7) -> np.ndarray:
    """(n,) [Å]: the next atom of the crystal, images of the site nearer than ``own`` not counted."""
    ops = group_operations(group)
    centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
    images = (np.einsum("rij,nj->nri", ops.rot, xyz) + ops.trans)[:, :, None] + centrings
    images = images.reshape(-1, 3)
    out = np.full(len(xyz), np.inf)
    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for i, x in enumerate(xyz):
        gap = images - x
        gap = ((gap - np.rint(gap))[:, None] + around).reshape(-1, 3)
        d = np.sqrt(np.einsum("ij,jk,ik->i", gap, cell.metric, gap))
        d = d[d > own]
        out[i] = d.min() if len(d) else np.inf
    return out


def _without_false_atoms(structure: Structure, most: float = 0.10) -> Structure:
    """Drops atoms whose displacement says that nothing is there: far above the others', and above ``most`` [Å²]."""
    u = np.array([a.u_iso for a in structure.atoms])
    limit = max(most, 5 * float(np.median(u)))
    keep = tuple(a for a in structure.atoms if a.u_iso < limit)
    return structure.replace(atoms=keep) if len(keep) >= 1 else structure


def _with_missing_atoms(structure: Structure, fit: FitState, observed: Observed, formula, n_atoms: float) -> Structure:
    """Adds difference peaks as strong as half a typical atom, if there is room for them."""
    group = gemmi.SpaceGroup(structure.space_group)
    xyz = np.array([a.xyz for a in structure.atoms])
    in_cell = len(list(group.operations().cen_ops)) * multiplicities(xyz, group).sum()
    # how many atoms a volume holds is known to a third at best
    if in_cell > 1.4 * n_atoms:
        return structure
    peaks = difference_peaks(structure, fit, fit.corrected(observed), most=12)
    light = _lightest(structure, formula)
    atoms = list(structure.atoms)
    for p in peaks:
        if p.height < 0.45 * p.typical or p.nearest < 1.05:
            continue
        atoms.append(atoms_from_sites(p.xyz[None], [light])[0].replace(label=f"{light}{len(atoms) + 1}"))
    return structure.replace(atoms=tuple(atoms))


def _lightest(structure: Structure, formula: dict[str, float]) -> str:
    names = [e for e in (formula or {a.element: 1 for a in structure.atoms}) if e not in ("H", "D")]
    return min(names, key=lambda e: gemmi.Element(e).atomic_number)
