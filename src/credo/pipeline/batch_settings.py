"""What may be told to ``credo batch``, and how it tells of its progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from credo.model import UnreadableInput

__all__ = ["BatchSettings", "Link", "Progress", "Tick", "compositions"]


class BatchSettings(BaseModel):
    """What may be known of the crystals, and how the work is spread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    composition: tuple[str, ...] = Field(
        default=(), description="formula of all phases, or NAME=FORMULA of a known phase or of the letter of one"
    )
    known: tuple[str, ...] = Field(
        default=(), description="known phases, by which those found are named: CIFs, or NAME=a,b,c,al,be,ga,CENTRING"
    )
    d_min: float | None = Field(default=None, gt=0, description="resolution limit of integration and merging [Å]")
    fewest: int = Field(default=2, ge=1, description="data sets that make a phase")
    second: bool = Field(
        default=True, description="try frames that have no lattice, or fit nowhere, with the cells of the phases found"
    )
    merge: bool = Field(default=True, description="sort into phases and merge; else each data set is only processed")
    solve: bool = Field(default=True, description="solve and refine each phase that is complete enough")
    solve_completeness: float = Field(
        default=0.5, ge=0, le=1, description="least completeness of a phase that is solved"
    )
    damping: bool = Field(
        default=True,
        description="when a structure is known, merge again without the damping of strong reflections "
        "that it tells of, and refine with these data",
    )
    seconds: float | None = Field(default=None, gt=0, description="CPU seconds for each solution")
    workers: int | None = Field(
        default=None, ge=0, description="processes at once (default: as many as processors; 0: all in this one)"
    )
    executor: Literal["local", "dask"] = Field(default="local", description="where the work is done")
    scheduler: str | None = Field(default=None, description="address of the Dask scheduler, tcp://HOST:8786")
    timeout: float = Field(default=1800.0, gt=0, description="a data set that takes longer is given up [s]")
    watch: bool = Field(default=False, description="go on as new data sets arrive, until interrupted")
    nice: int = Field(default=0, ge=0, le=19, description="how much the local processes give way to others")
    quiet: float = Field(default=10.0, gt=0, description="a data set has arrived when unchanged for so long [s]")


@dataclass(frozen=True)
class Tick:
    """What a progress view shows: the stage, how many of its tasks are done, and what is at work."""

    stage: str
    done: int
    total: int
    running: tuple[str, ...] = ()
    message: str = ""


Progress = Callable[[Tick], None]


def _ignore(_: dict[str, Any]) -> None:
    pass


@dataclass(frozen=True)
class Link:
    """To whoever runs a batch beside something else: ``stop()`` ends a watch, ``told(numbers)`` gets each new report,
    ``more()`` names folders outside the root that are taken in too."""

    stop: Callable[[], bool] = lambda: False
    told: Callable[[dict[str, Any]], None] = _ignore
    more: Callable[[], Sequence[Path]] = tuple


def compositions(words: Sequence[str]) -> dict[str, str]:
    """Formula by the name of a phase, that of all others under ``""``."""
    found: dict[str, str] = {}
    for word in words:
        name, _, formula = word.rpartition("=")
        if name in found or not formula.strip():
            raise UnreadableInput(f"--composition {word}: twice, or empty", "give FORMULA, or NAME=FORMULA once each")
        found[name] = formula.strip()
    return found
