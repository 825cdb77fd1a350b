"""A map in a page: its values survive being packed, a fine map is thinned without moving, the peak is found."""

from __future__ import annotations

import base64

import numpy as np

from credo.model import Atom, Cell, Structure
from credo.pipeline.page import map_section as module
from credo.pipeline.page.map_section import map_data, map_section


def unpacked(data) -> np.ndarray:
    """The map in units of its rms."""
    values = np.frombuffer(base64.b64decode(data["values"]), dtype=np.int8)
    return values.reshape(data["shape"]) * data["unit"]


def wave(n: tuple[int, int, int]) -> np.ndarray:
    """A smooth map with its highest value at x = y = z = 0.25."""
    x, y, z = (np.exp(3 * np.cos(2 * np.pi * (np.arange(k) / k - 0.25))) for k in n)
    return x[:, None, None] * y[:, None] * z


def test_values_survive():
    rho = wave((16, 20, 24))
    data = map_data("Fo", rho)
    assert data["extent"] == [1, 1, 1]
    assert np.abs(unpacked(data) - rho / rho.std()).max() <= 0.51 * data["unit"]
    assert [p / n for p, n in zip(data["peak"], data["shape"])] == [0.25, 0.25, 0.25]


def test_a_fine_map_is_thinned_in_place(monkeypatch):
    monkeypatch.setattr(module, "MOST", 1000)
    rho = wave((32, 21, 24))
    data = map_data("Fo", rho)
    assert np.prod(data["shape"]) <= 1000
    # grid point i lies at i / (shape · extent), wherever the thinning left off
    i, n, extent = (np.array(data[k]) for k in ("peak", "shape", "extent"))
    assert np.abs(i / (n * extent) - 0.25).max() < 0.05


def test_a_flat_map_does_no_harm():
    structure = Structure(Cell(5, 6, 7, 90, 90, 90), "P 1", (Atom("C1", "C", np.zeros(3)),))
    assert 'data-map="1"' in map_section({"a": np.zeros((4, 5, 6)), "b": wave((4, 5, 6))}, structure)
    assert map_section({}, structure) == ""
