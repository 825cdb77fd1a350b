"""What a calibration returns and tells: the value with its conditions, and a note with every point for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from credo.collect.calibration.linear import Response
from credo.collect.rig import Rig
from credo.collect.steps import Note, Step, Steps
from credo.instrument.config import Calibration, Measured, MeasuredMatrix, MeasuredPair
from credo.model.errors import CredoError

__all__ = ["RESULT", "learnt", "matrix_of", "number_of", "pair_of", "result_note", "with_result"]

#: The kind of the notes that results are told by.
RESULT = "calibrated"


def number_of(
    rig: Rig, value: float, esd: float, at: Mapping[str, Any] | None = None, conditions: str = ""
) -> Measured:
    """A number with the day and the settings that it holds at."""
    return Measured(value=float(value), esd=float(esd), date=rig.today, conditions=conditions, at=_at(rig, at))


def matrix_of(
    rig: Rig, matrix: np.ndarray, esd: float, at: Mapping[str, Any], found: Response | None = None
) -> MeasuredMatrix:
    """A matrix likewise; the conditions say how many images it came from and whether it was straight."""
    (a, b), (c, d) = np.asarray(matrix, dtype=float).tolist()
    said = ""
    if found is not None:
        said = f"{int(found.used.sum())} of {len(found.used)} images, rms {found.rms:.3g}"
        said += f", curved by {found.bend:.2g}" if found.curved else ""
    return MeasuredMatrix(value=((a, b), (c, d)), esd=float(esd), date=rig.today, conditions=said, at=_at(rig, at))


def pair_of(
    rig: Rig, value: tuple[float, float], esd: tuple[float, float], at: Mapping[str, Any], conditions: str = ""
) -> MeasuredPair:
    """Two numbers likewise."""
    return MeasuredPair(value=value, esd=esd, date=rig.today, conditions=conditions, at=_at(rig, at))


def _at(rig: Rig, at: Mapping[str, Any] | None) -> dict[str, float | str]:
    """The settings as plain values, and the high tension, which everything depends on."""
    volts = rig.settings.get("high_tension")
    told = {**(at or {}), **({"high_tension": volts} if volts else {})}
    return {k: v if isinstance(v, str) else float(v) for k, v in told.items()}


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


def with_result(calibration: Calibration, facts: Mapping[str, Any]) -> Calibration:
    """The calibration with one result put in its place, as the note of kind "calibrated" tells it."""
    table = calibration.model_dump(mode="json", exclude_defaults=True)
    name, keys = facts["table"], [k for k in (facts["key"], facts["name"]) if k]
    place: Any = table
    for key in [name, *keys][:-1]:
        place = place.setdefault(key, {})
    place[[name, *keys][-1]] = facts["result"]
    return Calibration.model_validate(table)


def learnt(rig: Rig, steps: Steps[Any]) -> Steps[tuple[Rig, Any]]:
    """Do ``steps``; the rig with all results that they told, and what they returned."""
    try:
        step: Step = next(steps)
        while True:
            if isinstance(step, Note) and step.kind == RESULT:
                rig = replace(rig, calibration=with_result(rig.calibration, step.facts))
            try:
                outcome = yield step
            except CredoError as error:
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
    except StopIteration as end:
        return rig, end.value
