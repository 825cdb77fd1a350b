"""What is wrong with a series or its fit, named: wrong cell, wrong hand, split crystal, frames that tell too little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from credo.orient.halves import HalfSets
from credo.orient.observations import Observations
from credo.orient.rocking import RockingFit, fit_rocking
from credo.orient.split import second_piece
from credo.orient.start import Start, start_directions
from credo.orient.strain import InPlane, Strain, strain_of_rocking, strained

__all__ = ["Problem", "problems_of"]

#: Significance of a strain at which it is looked into, and at which it needs no confirmation by a better fit.
_DOUBT, _CERTAIN = 5.0, 28.0
#: Gain of −ln L for every row that confirms a strain, of one of these shares of its linear step.
_GAIN, _SHARES = 0.005, (0.3, 0.1, 0.03)
#: Least share of what one piece leaves over that a second must explain: where the rest of the model holds, and where
#: errors in proportion to the intensity, at least so large, say that scattering is multiple.
_PIECE, _PIECE_OF_MANY, _DYNAMICAL = 0.008, 0.025, 0.03
#: Reflections on half the frames, of fewer than which no frame can be oriented by itself.
_FEW = 6
#: Frames whose uncertainty is so many times the median's are named.
_POOR = 10.0


@dataclass(frozen=True)
class Problem:
    """``kind``: a name that scripts may rely on; ``text``: a sentence for people."""

    kind: str
    text: str


def problems_of(
    obs: Observations, fit: RockingFit, start: Start, halves: HalfSets, in_plane: InPlane | None
) -> tuple[Problem, ...]:
    """All that is noticed, the worst first."""
    found = [*_hand(start, in_plane), *_pieces(obs, fit, start)]
    # positions tell of the cell where there are any
    cell = () if in_plane is not None else _cell(obs, fit, start, halves)
    return (*found, *cell, *_frames(obs, fit, start), *_errors(halves))


def _hand(start: Start, in_plane: InPlane | None) -> Iterator[Problem]:
    if in_plane is not None and in_plane.mirrored < 1:
        yield Problem(
            "wrong hand",
            f"the spots lie as the mirror image of the indices' pattern ({in_plane.mirrored:.2f} times the misfit): "
            "the indices, the sense of the rotation or the image have the other hand",
        )
    if start.hemisphere < 1.3:
        yield Problem(
            "180 degree ambiguity",
            f"the opposite directions fit nearly as well ({start.hemisphere:.2f} times the misfit): all frames may be "
            "turned by 180°, and the hand of the indices is not certain",
        )


def _cell(obs: Observations, fit: RockingFit, start: Start, halves: HalfSets) -> Iterator[Problem]:
    strain = strain_of_rocking(obs, fit, start.axis, max(1.0, halves.factor))
    said = strain.significance
    # multiple scattering bends rocking curves too, but no other cell makes them fit
    certain = said > _CERTAIN and fit.kappa[0] < _DYNAMICAL
    if said < _DOUBT or not (certain or _confirmed(obs, fit, strain)):
        return
    yield Problem(
        "wrong cell",
        f"the rocking curves do not fit the cell ({said:.0f} times their uncertainty): zone axes may all be off by "
        "some tenths of a degree; give a better cell, or x and y of the spots",
    )


def _confirmed(obs: Observations, fit: RockingFit, strain: Strain) -> bool:
    """Whether part of the step towards another cell makes the fit better."""
    for share in _SHARES:
        cell, _ = strained(obs.cell, fit.zone, Strain(share * strain.components, strain.covariance))
        there = obs.with_cell(cell)
        start = start_directions(there)
        if fit.loss - fit_rocking(there, start.zone, start.axis, fit).loss > _GAIN:
            return True
    return False


def _pieces(obs: Observations, fit: RockingFit, start: Start) -> Iterator[Problem]:
    piece = second_piece(obs, fit, start.axis)
    if piece.explains > (_PIECE if fit.kappa[0] < _DYNAMICAL else _PIECE_OF_MANY):
        along, across = piece.turn_deg
        yield Problem(
            "split crystal",
            f"a second piece of the crystal, turned by {along:+.1f}° along the path and {across:+.1f}° across it, "
            f"explains {100 * piece.explains:.0f} % of what the first leaves: orientations may be those of neither",
        )
    if fit.foreign > 0.05:
        yield Problem(
            "foreign reflections",
            f"{100 * fit.foreign:.0f} % of the reflections do not cross the sphere where the others do: wrong indices, "
            "a wrong cell, or a second crystal",
        )


def _frames(obs: Observations, fit: RockingFit, start: Start) -> Iterator[Problem]:
    count = np.bincount(obs.frame, minlength=obs.n_frames)
    if np.median(count) < _FEW:
        said = f"half of the frames show {np.median(count):.0f} reflections or fewer: too few to orient them by"
        yield Problem("too few reflections", said)
    empty = count == 0
    if empty.any():
        yield Problem("empty frames", f"{_named(empty)} without reflections: their orientation is their neighbours'")
    size = np.sqrt(np.trace(fit.covariance, axis1=1, axis2=2))
    known = np.isfinite(size)
    poor = ~empty & ~(size < _POOR * float(np.median(size[known])) if known.any() else known)
    if poor.any():
        yield Problem("poor frames", f"{_named(poor)} poorly determined: see their uncertainties")
    if start.strays.any():
        yield Problem("stray frames", f"{_named(start.strays)} found far off the path and begun again on it")


def _errors(halves: HalfSets) -> Iterator[Problem]:
    if halves.factor > 2:
        yield Problem(
            "multiple scattering",
            f"half sets differ {halves.factor:.1f} times as much as counting statistics explain: multiple scattering "
            "or a bent crystal; errors are given accordingly",
        )


def _named(frames: np.ndarray) -> str:
    """How many, and which (counted from 0): the first of them."""
    which = np.flatnonzero(frames)
    more = ", …" if len(which) > 12 else ""
    word = "frame is" if len(which) == 1 else "frames are"
    return f"{len(which)} {word} ({', '.join(map(str, which[:12]))}{more})"
