"""The observable k Fc² of every reflection: twin domains, extinction and solvent on top of |F|², with derivatives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.model import CannotDo
from credo.solve.refine.crystal import AtomParameters, Crystal
from credo.solve.refine.data import Observed
from credo.solve.refine.model import Model, Twin

__all__ = ["Block", "Globals", "Prediction"]


#: Limits of the solvent's g.
_SOLVENT = (-5.0, 0.99)


@dataclass(frozen=True)
class Globals:
    """Factors that act on reflections as a whole: k, the twin fractions (m − 1,), and where refined x and g."""

    k: float
    fractions: np.ndarray
    extinction: float | None = None
    solvent: float | None = None
    solvent_u: float = 2.0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the variables, in order."""
        out = ["scale", *(f"BASF{i + 1}" for i in range(len(self.fractions)))]
        out += ["extinction"] if self.extinction is not None else []
        return (*out, *(["solvent"] if self.solvent is not None else []))

    def stuck(self, step: np.ndarray) -> np.ndarray:
        """Which variables stand at a limit that the step would pass."""
        n = len(self.fractions)
        values = np.concatenate([[np.inf], self.fractions, [np.inf] * (len(step) - 1 - n)])
        low, high = np.full(len(step), -np.inf), np.full(len(step), np.inf)
        low[1 : 1 + n], high[1 : 1 + n] = 0.0, 1.0
        if self.extinction is not None:
            values[1 + n], low[1 + n] = self.extinction, 0.0
        if self.solvent is not None:
            values[-1], low[-1], high[-1] = self.solvent, *_SOLVENT
        return np.flatnonzero(((values <= low) & (step < 0)) | ((values >= high) & (step > 0) & np.isfinite(high)))

    def moved(self, step: np.ndarray) -> Globals:
        """After a step of the variables, kept physical."""
        n = len(self.fractions)
        rest = list(step[1 + n :])
        x = None if self.extinction is None else max(0.0, self.extinction + rest.pop(0))
        g = None if self.solvent is None else float(np.clip(self.solvent + rest.pop(0), *_SOLVENT))
        fractions = np.clip(self.fractions + step[1 : 1 + n], 0.0, 1.0)
        return replace(self, k=max(self.k + step[0], 0.01 * self.k), fractions=fractions, extinction=x, solvent=g)


@dataclass(frozen=True)
class Block:
    """Of some reflections: y (b,) = Fc² with all factors, its derivatives to the atoms' used parameters (b, p), and to
    the globals but k (b, g); ``f`` (b,) complex of the first domain."""

    y: np.ndarray
    jac: np.ndarray
    others: np.ndarray
    f: np.ndarray


class Prediction:
    """Fc² of the observations of a model."""

    def __init__(self, model: Model, data: Observed, aniso: np.ndarray, wavelength: float) -> None:
        self.domains = _domains(data.hkl, model.twin)
        m = len(self.domains)
        hkl = np.stack(self.domains, axis=1).reshape(-1, 3)
        self.crystal = Crystal(model.structure, hkl, aniso, dict(model.factors))
        self.m, self.s2 = m, self.crystal.s2.reshape(-1, m)[:, 0]
        sin_t = np.clip(np.sqrt(self.s2) * wavelength, 1e-9, 1)
        self._g = 0.001 * wavelength**3 / np.maximum(2 * sin_t * np.sqrt(1 - sin_t**2), 1e-9)

    def start(self, model: Model, p: AtomParameters, data: Observed) -> Globals:
        """The factors of the model; the scale by least squares with weights 1/σ² where it is not given."""
        fractions = np.array(model.twin.fractions if model.twin else (), dtype=float)
        solvent, u = model.solvent or (None, 2.0)
        g = Globals(1.0, fractions, model.extinction, solvent, u)
        if model.scale:
            return replace(g, k=model.scale)
        y = self.values(p, g)[0]
        w = 1 / data.sigma**2
        return replace(g, k=max(float((w * data.f2) @ y / (w * y @ y)), 1e-12))

    def values(self, p: AtomParameters, g: Globals) -> tuple[np.ndarray, np.ndarray]:
        """y (n,) and F (n,) of the first domain."""
        f = self.crystal.amplitudes(p).reshape(-1, self.m)
        y, _, _ = self._combined(np.abs(f) ** 2, g, slice(None))
        return y, f[:, 0]

    def block(self, p: AtomParameters, g: Globals, rows: slice) -> Block:
        """With derivatives, of observations ``rows``."""
        f, jac = self.crystal.derivatives(p, slice(rows.start * self.m, rows.stop * self.m))
        f = f.reshape(-1, self.m)
        f2 = np.abs(f) ** 2
        share = _shares(g)
        if self.m > 1:
            jac = np.einsum("bmp,m->bp", jac.reshape(len(f), self.m, -1), share)
        y, dy, others = self._combined(f2, g, rows)
        jac *= dy[:, None]
        return Block(y, jac, others, f[:, 0])

    def _combined(self, f2: np.ndarray, g: Globals, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y = sol · S/√t with S = Σ s |F|², t = 1 + x G S (SHELXL's EXTI: 0.001 x Fc² λ³/sin 2θ), sol = 1 − g
        exp(−8π² U s²) (Babinet's principle: Moews & Kretsinger, J. Mol. Biol. 91 (1975) 201); dy/dS; d/d others."""
        s = f2 @ _shares(g)
        x = g.extinction or 0.0
        t = 1 + x * self._g[rows] * s
        damp = np.exp(-8 * np.pi**2 * g.solvent_u * self.s2[rows])
        sol = 1 - (g.solvent or 0.0) * damp
        dy = sol * (t**-0.5 - 0.5 * x * self._g[rows] * s * t**-1.5)
        others = [dy * (f2[:, i] - f2[:, 0]) for i in range(1, self.m)]
        if g.extinction is not None:
            others.append(-0.5 * sol * self._g[rows] * s**2 * t**-1.5)
        if g.solvent is not None:
            others.append(-damp * s / np.sqrt(t))
        return sol * s / np.sqrt(t), dy, np.array(others).reshape(len(others), len(s)).T


def _shares(g: Globals) -> np.ndarray:
    return np.concatenate([[1 - g.fractions.sum()], g.fractions])


def _domains(hkl: np.ndarray, twin: Twin | None) -> list[np.ndarray]:
    """The indices of every observation in each domain."""
    if twin is None:
        return [hkl]
    out = [hkl]
    for r in twin.rotations:
        turned = hkl @ np.asarray(r, dtype=float).T
        if np.abs(turned - np.rint(turned)).max() > 0.1:
            raise CannotDo("the twin law does not turn all indices into whole numbers", "give a merohedral twin law")
        out.append(np.rint(turned).astype(int))
    return out
