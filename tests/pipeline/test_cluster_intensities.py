"""What `credo cluster` reports of intensities: keys, operators put together, a warning for mixed wavelengths."""

from types import SimpleNamespace

import numpy as np
import pytest

from credo.model import Beam, Cell, Crystal, Reflections
from credo.physics.ewald import miller_indices
from credo.pipeline.cluster_intensities import intensity_numbers

CELL = Cell(6.5, 7.6, 8.9, 95.0, 102.0, 107.0)


def _sets(n: int) -> list[Reflections]:
    rng = np.random.default_rng(0)
    hkl = miller_indices(CELL.B, 1.2)
    hkl = hkl[hkl[:, 2] > 0]
    true = 1000 * rng.normal(size=len(hkl)) ** 2
    out = []
    for _ in range(n):
        rows = rng.choice(len(hkl), 150, replace=False)
        h = hkl[rows]
        i = true[rows] * np.exp(0.2 * rng.normal(size=150))
        out.append(Reflections(h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=i, sigma=np.sqrt(i + 5)))
    return out


def _experiments(wavelengths: list[float]):
    crystal = Crystal(CELL, np.eye(3))
    return [SimpleNamespace(crystal=crystal, beam=Beam(w), known={"wavelength"}) for w in wavelengths]


def _part(n: int):
    return SimpleNamespace(members=tuple(range(n)), reference=0, reindex=tuple(np.eye(3) for _ in range(n)))


def test_one_phase_and_its_keys():
    found = intensity_numbers(_part(5), _experiments([0.0251] * 5), _sets(5), 2.0)
    assert found["intensity_k"] == 1 and list(found["intensity_labels"]) == [1] * 5
    assert found["warnings"] == [] and len(found["intensity_verdicts"]) == 5
    assert all(np.allclose(p, np.eye(3)) for p in found["reindex"])


@pytest.mark.parametrize("wavelengths, warned", [([0.0251, 0.0251, 0.0197], True), ([0.0251, 0.02512, 0.0251], False)])
def test_mixed_wavelengths_are_said(wavelengths, warned):
    found = intensity_numbers(_part(3), _experiments(wavelengths), _sets(3), 2.0)
    assert any("wavelengths differ" in w for w in found["warnings"]) == warned
    assert found["intensity_k"] == 1, "electrons of another voltage see the same structure"
