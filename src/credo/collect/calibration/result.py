"""What a calibration returns and tells: the value with its conditions, and a note with every point for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from credo.collect.calibration.linear import Response
from credo.collect.rig import Rig
from credo.collect.steps import Note
from credo.instrument.config import Measured, MeasuredMatrix, MeasuredPair

__all__ = ["RESULT", "matrix_of", "number_of", "pair_of", "result_note"]

#: The kind of the notes that results are told by.
RESULT = "calibrated"


def number_of(
    rig: Rig, value: float, esd: float, at: Mapping[str, Any] | None = None, conditions: str = ""
) -> Measured:
    """A number with the day and the settings that it holds at."""
    return Measured(value=float(value), esd=float(esd), date=rig.today, conditions=conditions, at=_plain(at))


def matrix_of(
    rig: Rig, matrix: np.ndarray, esd: float, at: Mapping[str, Any], found: Response | None = None
) -> MeasuredMatrix:
    """A matrix likewise; the conditions say how many images it came from and whether it was straight."""
    (a, b), (c, d) = np.asarray(matrix, dtype=float).tolist()
    said = ""
    if found is not None:
        said = f"{int(found.used.sum())} of {len(found.used)} images, rms {found.rms:.3g}"
        said += f", curved by {found.bend:.2g}" if found.curved else ""
    return MeasuredMatrix(value=((a, b), (c, d)), esd=float(esd), date=rig.today, conditions=said, at=_plain(at))


def pair_of(
    rig: Rig, value: tuple[float, float], esd: tuple[float, float], at: Mapping[str, Any], conditions: str = ""
) -> MeasuredPair:
    """Two numbers likewise."""
    return MeasuredPair(value=value, esd=esd, date=rig.today, conditions=conditions, at=_plain(at))


def _plain(at: Mapping[str, Any] | None) -> dict[str, float | str]:
    return {k: v if isinstance(v, str) else float(v) for k, v in (at or {}).items()}


def result_note(
    table: str, key: str, name: str, result: Measured | MeasuredMatrix | MeasuredPair, details: Mapping[str, Any]
) -> Note:
    """``table``, ``key``, ``name``: where the result belongs in ``Calibration``; ``details``: what it came from."""
    facts = {"table": table, "key": key, "name": name, "result": result.model_dump(mode="json", exclude_defaults=True)}
    return Note(RESULT, facts | {"details": _json(details)})


def _json(value: Any) -> Any:
    """Arrays as lists, numbers as Python's, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return bool(value) if isinstance(value, np.bool_) else value
