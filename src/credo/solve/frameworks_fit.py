"""A net judged: oxygens placed, distances relaxed, then least squares against F² with the distances restrained."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.model import CannotDo, Structure
from credo.solve.frameworks_dls import TARGETS, distance_least_squares
from credo.solve.frameworks_net import Net
from credo.solve.frameworks_topology import Signature, name_of_net, signature
from credo.solve.ranking import corrected_r1
from credo.solve.refine.constraints import with_displacements
from credo.solve.refine.data import Observed
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.model import Model, SameParameters, Weights
from credo.solve.refine.restraints import Distance

__all__ = ["Framework", "judged"]


@dataclass(frozen=True, eq=False)
class Framework:
    """One topology in one space group.

    ``codes``: IZA framework types with its coordination sequences; ``merit`` and ``cc`` of the T sites alone; ``r1``
    and ``corrected_r1`` of the restrained refinement; ``misfit``: root mean square of (distance − ideal)/tolerance
    after distance least squares alone, below 1 for a net that silicates can have; ``angle``: smallest T–O–T [°];
    ``density``: T per 1000 Å³; ``restraints`` on T–O and O…O that it was refined with;
    ``hits``: trials that found it.
    """

    space_group: str
    structure: Structure
    codes: tuple[str, ...]
    sequences: Signature
    merit: float
    cc: float
    r1: float
    corrected_r1: float
    misfit: float
    angle: float
    density: float
    n_t: int
    restraints: tuple[Distance, ...] = ()
    hits: int = 1

    @property
    def key(self) -> tuple[str, Signature]:
        """What makes it another framework."""
        return self.space_group, self.sequences

    @property
    def name(self) -> str:
        """The IZA code, several where they share their sequences, or "unknown"."""
        return " or ".join(self.codes) or "unknown"


def judged(net: Net, merit: float, cc: float, observed: Observed, wavelength: float, element: str) -> Framework:
    """Everything the data and chemistry say of a complete net."""
    geometry = distance_least_squares(net, element)
    sequences = signature(net)
    restraints = tuple(Distance(geometry.distances.pairs(kind), *TARGETS[kind]) for kind in ("T-O", "O-O"))
    structure, r1, corrected = _refined(geometry.structure, restraints, observed, wavelength, element)
    return Framework(
        gemmi.SpaceGroup(structure.space_group).xhm(), structure, name_of_net(net, sequences), sequences, merit, cc, r1,
        corrected, geometry.misfit, geometry.angle, net.density, len(net.xyz), restraints,
    )  # fmt: skip


def _refined(structure: Structure, restraints: tuple, observed: Observed, wavelength: float, element: str):
    """(structure, R1, R1 corrected for its parameters); R1 infinite where least squares cannot be done."""
    n_t = sum(a.element == element for a in structure.atoms)
    n = len(structure.atoms)
    same = tuple(SameParameters("U", tuple(part)) for part in (range(n_t), range(n_t, n)) if len(part) > 1)
    model = Model(
        with_displacements(structure, False), fixed=frozenset((i, 3) for i in range(n)), same=same,
        restraints=restraints, weights=Weights(0.2, 0.0),
    )  # fmt: skip
    try:
        done = refine_model(model, observed, wavelength, FitSettings(cycles=15, converged=0.1))
    except (CannotDo, np.linalg.LinAlgError):
        return structure, np.inf, np.inf
    r1 = float(done.agreement.r1)
    return done.structure, r1, corrected_r1(r1, len(observed), done.n_parameters)
