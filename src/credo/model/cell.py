"""The unit cell: six constants, their covariance, and the matrices O and B (thesis eqs 8-11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from credo.model.value import Value, array_field

__all__ = ["Cell"]


@dataclass(frozen=True, eq=False)
class Cell(Value):
    """Lengths [Å], angles [deg] and, where refined, the covariance (6, 6) of the six [Å, deg]."""

    a: float
    b: float
    c: float
    alpha: float
    beta: float
    gamma: float
    covariance: np.ndarray | None = array_field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("a", "b", "c", "alpha", "beta", "gamma"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (min(self.lengths) > 0 and self._gram() > 1e-9 and all(0 < x < 180 for x in self.angles)):
            raise ValueError(f"Cell: {self.parameters} does not span a volume")

    @property
    def lengths(self) -> tuple[float, float, float]:
        """a, b, c [Å]."""
        return self.a, self.b, self.c

    @property
    def angles(self) -> tuple[float, float, float]:
        """α, β, γ [deg]."""
        return self.alpha, self.beta, self.gamma

    @property
    def parameters(self) -> tuple[float, float, float, float, float, float]:
        """a, b, c [Å], α, β, γ [deg]."""
        return (*self.lengths, *self.angles)

    @property
    def esd(self) -> tuple[float, ...] | None:
        """Standard uncertainties of the six constants [Å, deg], or ``None``."""
        return None if self.covariance is None else tuple(float(x) for x in np.sqrt(np.diag(self.covariance)))

    def _gram(self) -> float:
        ca, cb, cg = np.cos(np.radians(self.angles))
        return float(1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg)

    @property
    def volume(self) -> float:
        """V [Å³]."""
        return self.a * self.b * self.c * float(np.sqrt(self._gram()))

    @property
    def O(self) -> np.ndarray:  # noqa: E743 - the thesis's symbol
        """Orthogonalisation matrix [Å], upper triangular, a along x (thesis eq. 8): x = O · fractional."""
        ca, cb, cg = np.cos(np.radians(self.angles))
        sg = np.sin(np.radians(self.gamma))
        return np.array(
            [
                [self.a, self.b * cg, self.c * cb],
                [0.0, self.b * sg, self.c * (ca - cb * cg) / sg],
                [0.0, 0.0, self.c * np.sqrt(self._gram()) / sg],
            ]
        )

    @property
    def B(self) -> np.ndarray:
        """B = (O⁻¹)ᵀ [Å⁻¹]: the columns are a*, b*, c* without 2π (thesis eq. 11)."""
        return np.linalg.inv(self.O).T

    @property
    def metric(self) -> np.ndarray:
        """Metric tensor G = OᵀO [Å²]."""
        return self.O.T @ self.O

    def d_spacing(self, hkl: np.ndarray) -> np.ndarray:
        """d [Å] of Miller indices (n, 3); infinite for 000."""
        with np.errstate(divide="ignore"):
            return 1.0 / np.linalg.norm(np.asarray(hkl) @ self.B.T, axis=-1)

    def reindexed(self, p: np.ndarray) -> Cell:
        """The cell of the basis (a', b', c') = (a, b, c) P; the covariance is carried along."""
        new = Cell.from_metric(np.asarray(p, dtype=float).T @ self.metric @ np.asarray(p, dtype=float))
        if self.covariance is None:
            return new
        j = _jacobian(lambda x: np.array(Cell(*x).replace().reindexed(p).parameters), np.array(self.parameters))
        return new.replace(covariance=j @ self.covariance @ j.T)

    @classmethod
    def from_metric(cls, g: np.ndarray) -> Self:
        """From a metric tensor (3, 3) [Å²]."""
        a, b, c = np.sqrt(np.diag(g))
        cosines = np.clip([g[1, 2] / (b * c), g[0, 2] / (a * c), g[0, 1] / (a * b)], -1, 1)
        return cls(a, b, c, *np.degrees(np.arccos(cosines)))

    @classmethod
    def from_vectors(cls, direct: np.ndarray) -> Self:
        """From direct basis vectors as rows (3, 3) [Å]."""
        direct = np.asarray(direct, dtype=float)
        return cls.from_metric(direct @ direct.T)

    def __str__(self) -> str:
        return " ".join(f"{x:.4f}" for x in self.lengths) + " " + " ".join(f"{x:.3f}" for x in self.angles)


def _jacobian(f, x: np.ndarray) -> np.ndarray:
    """Central differences, (m, n)."""
    steps = 1e-5 * np.maximum(np.abs(x), 1.0)
    return np.stack([(f(x + dx) - f(x - dx)) / (2 * h) for h, dx in zip(steps, np.diag(steps))], axis=1)
