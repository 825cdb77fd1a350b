"""The simulated instrument under a plan: ``simulated(seed, sample, imperfections, ...)`` is a controller of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from credo.instrument.config import Configuration
from credo.instrument.controller import TEMController
from credo.instrument.opening import open_guard
from credo.instrument.service import LocalLink
from credo.instrument.sim.settings import Imperfections


def perfect() -> dict[str, Any]:
    return Imperfections.none().model_dump()


@pytest.fixture
def simulated() -> Iterator[Callable[..., TEMController]]:
    """``simulated(seed=0, sample={}, perfect=False, **options)``; ``.link.guard.microscope`` is the instrument."""
    made: list[TEMController] = []

    def build(seed: int = 0, *, perfect_one: bool = False, calibration: Any = None, **options: Any) -> TEMController:
        options = {"seed": seed} | ({"imperfections": perfect()} if perfect_one else {}) | options
        table = {"microscope": {"driver": "simulated", "options": options}}
        configuration = Configuration.model_validate(table | ({"calibration": calibration} if calibration else {}))
        made.append(TEMController(LocalLink(open_guard(configuration)), configuration))
        return made[-1]

    yield build
    for ctrl in made:
        ctrl.close()
