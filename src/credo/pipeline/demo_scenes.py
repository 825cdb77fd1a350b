"""What the demonstration can show: which crystals lie on the simulated grid, and what is told to credo about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from credo.model import UnreadableInput

__all__ = ["SCENES", "Scene", "scene"]

#: Crystals per µm²: a grid that was made with care, on which most are alone in the beam.
_DENSITY = 0.005


@dataclass(frozen=True)
class Scene:
    """Of mixtures so many crystals that the chance of fewer than two of either phase, which make none, is 2 %.

    ``phases``: samples that come with credo; ``composition``: all that credo is told; ``crystals``: how many to
    collect unless another number is asked for; ``grid``: settings of the simulated specimen; ``d_min`` [Å]: to which
    the structures are solved; ``guest``: labels of the atoms that are not told, and must be found in the framework."""

    what: str
    phases: tuple[str, ...]
    composition: str
    crystals: int
    d_min: float = 0.9
    fractions: tuple[float, ...] = ()
    grid: dict[str, Any] = field(default_factory=dict)
    guest: tuple[str, ...] = ()

    def sample_settings(self) -> dict[str, Any]:
        """For ``instrument.sim``."""
        return {"phases": list(self.phases), "fractions": list(self.fractions), "density": _DENSITY, **self.grid}


SCENES = {
    "zsm5": Scene("the zeolite ZSM-5", ("ZSM-5",), "Si O2", 4),
    "zsm5-mordenite": Scene(
        "a mixture of the zeolites ZSM-5 and mordenite", ("ZSM-5", "mordenite"), "Si O2", 10, fractions=(0.5, 0.5)
    ),
    "embedded-zeolites": Scene(
        "ZSM-25 and PAU, two zeolites of one family (for PST-20 and ZSM-25)", ("ZSM-25", "PAU"), "Si O2", 12, d_min=1.5,
        fractions=(0.6, 0.4),
    ),
    "mof-guest": Scene(
        "the framework HKUST-1, told without its water", ("HKUST-1",), "Cu3 C18 H6 O12", 4, guest=("O2",)
    ),
    "organic": Scene("paracetamol", ("paracetamol",), "C8 H9 N O2", 4),
    "garnet": Scene("the garnet andradite", ("andradite",), "Ca3 Fe2 Si3 O12", 3, d_min=0.8),
}  # fmt: skip


def scene(name: str) -> Scene:
    """The scene of that name."""
    if name in SCENES:
        return SCENES[name]
    raise UnreadableInput(f"{name!r} is not a sample of the demonstration", f"give one of {', '.join(SCENES)}")
