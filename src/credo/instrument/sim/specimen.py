"""Sample, phases and dose: which crystals the beam meets, how much of each, and what the beam has done to it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from credo.instrument.sim.crystals import Crystals
from credo.instrument.sim.goniometer import Pose
from credo.instrument.sim.lattice import Lattice, lattice_of, structure_of
from credo.instrument.sim.optics import Illumination
from credo.instrument.sim.sample import Sample
from credo.instrument.sim.settings import SampleSettings
from credo.kernels.shadow import illuminated

__all__ = ["Lit", "Specimen"]

#: Crystals in one pattern at most; the share of the beam below which one is not worth rendering.
_MOST, _LEAST = 24, 2e-5
#: Strength tables kept in memory.
_KEPT = 48
#: How much faster reflections fade with resolution: critical fluence at 2 Å is that of the settings.
_FADE_Q2 = 4.0


@dataclass(frozen=True)
class Lit:
    """A crystal in the beam: its row, projected area in the beam and in all [µm²], middle of the lit part (2,) [µm]."""

    row: int
    area: float
    whole: float
    middle: np.ndarray


class Specimen:
    """The hidden specimen."""

    def __init__(self, settings: SampleSettings, seed: int, wavelength: float, d_min: float = 0.45) -> None:
        self.settings, self.wavelength = settings, wavelength
        self.structures = tuple(structure_of(name) for name in settings.phases)
        self._lattices: dict[int, Lattice] = {}
        self._d_min = d_min
        directions = ()
        if settings.preferred is not None:
            uvw = np.array(settings.preferred)
            directions = tuple(np.linalg.inv(s.cell.B).T @ uvw for s in self.structures)
        self.sample = Sample(settings, seed, directions)
        self._strength: OrderedDict[int, np.ndarray] = OrderedDict()
        self.fluence: dict[int, float] = {}
        self.fallen: set[int] = set()

    def lattice(self, phase: int) -> Lattice:
        """The reciprocal lattice of a phase, made at first use."""
        if phase not in self._lattices:
            self._lattices[phase] = lattice_of(self.structures[phase], self._d_min)
        return self._lattices[phase]

    def around(self, pose: Pose, middle: np.ndarray, radius: float) -> Crystals:
        """Particles whose projections may touch a disc of the column (2,), ``radius`` [µm]."""
        # from the column back to the film: the beam's line through the tilted plane, at the film's own height
        squash = max(abs(pose.rotation[2, 2]), 0.2)
        g = self.on_film(pose, middle)
        reach = 3 * self.settings.size_um * np.exp(2 * self.settings.size_spread)
        found = self.sample.near(g, radius / squash + min(reach, 10.0))
        return found.select(~np.isin(found.ident, list(self.fallen))) if self.fallen else found

    def on_film(self, pose: Pose, middle: np.ndarray) -> np.ndarray:
        """The point of the film (2,) [µm] that is seen at the column position ``middle`` (2,)."""
        g, flat = pose.centre[:2], np.linalg.inv(pose.rotation[:2, :2])
        for _ in range(3):
            height = float(self.sample.height(g[None])[0])
            known = pose.rotation[:2, 2] * (height - pose.centre[2])
            g = pose.centre[:2] + flat @ (middle - pose.offset[:2] - known)
        return g

    def lit(self, crystals: Crystals, pose: Pose, beam: Illumination) -> list[Lit]:
        """Those of ``crystals`` that the beam meets, the strongest first."""
        place = pose.place(crystals.place)[:, :2]
        squash = float(max(abs(pose.rotation[1, 1]), 0.2))
        gap = np.hypot(*(place - beam.centre).T) - crystals.reach - beam.radius - beam.edge
        found = []
        for k in np.flatnonzero(gap < 0):
            area, whole, x, y = illuminated(
                place[k], crystals.normal[k], crystals.offset[k], float(crystals.reach[k]), beam.centre, beam.radius,
                beam.edge, squash,
            )  # fmt: skip
            if area > _LEAST * np.pi * beam.radius**2:
                found.append(Lit(int(k), area, whole, np.array([x, y])))
        found.sort(key=lambda one: -one.area * crystals.thickness[one.row])
        return found[:_MOST]

    def strength(self, crystals: Crystals, row: int) -> np.ndarray:
        """∫ (I/I_0) ds of every node of a crystal as it was before the beam met it."""
        key = int(crystals.ident[row])
        if key in self._strength:
            self._strength.move_to_end(key)
            return self._strength[key]
        lattice = self.lattice(int(crystals.phase[row]))
        made = lattice.strength(float(crystals.thickness[row]), self.wavelength, self.settings.dynamical, key)
        self._strength[key] = made = made.astype(np.float32)  # 48 crystals of a large cell would fill the memory
        if len(self._strength) > _KEPT:
            self._strength.popitem(last=False)
        return made

    def loss(self, ident: int) -> tuple[float, float]:
        """(a, b) of what is left of intensities at q, exp(−a − b q²): after the fluence so far (1/e at 2 Å after the
        critical one), and by the crystals' disorder."""
        dose = self.fluence.get(ident, 0.0) / self.settings.critical_fluence
        return 0.5 * dose, 0.5 * dose * _FADE_Q2 + 4 * np.pi**2 * self.settings.disorder

    def irradiate(self, crystals: Crystals, lit: list[Lit], beam: Illumination, seconds: float) -> None:
        """Add the fluence [e/Å²] that each crystal has had on the average over its area."""
        for one in lit:
            ident = int(crystals.ident[one.row])
            added = beam.flux * seconds * 1e-8 * one.area / max(one.whole, 1e-12)
            self.fluence[ident] = self.fluence.get(ident, 0.0) + added
            if self.settings.loose and self.fluence[ident] > self._hold(ident):
                self.fallen.add(ident)

    def _hold(self, ident: int) -> float:
        """Fluence [e/Å²] after which a crystal falls off the film; infinite for those that hold."""
        rng = np.random.default_rng([ident & 0x7FFFFFFF, ident >> 31, 51])
        return float(rng.uniform(0.3, 3.0)) if rng.uniform() < self.settings.loose else float("inf")
