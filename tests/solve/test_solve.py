"""From intensities to a judged structure, and clear answers to what cannot be solved."""

import numpy as np
import pytest

from credo.model import Cell, UnreadableInput
from credo.solve.compare import compare
from credo.solve.laue import find_centring, likely_laue_groups
from credo.solve.solve import SolveSettings, solve


def test_organic_in_a_polar_free_acentric_group(chain, intensities, wavelength):
    s = chain("P 21 21 21")
    found = solve(s.cell, "P", "mmm", *intensities(s, 0.9), wavelength, "C5 N O3")
    assert found.solved and found.best is not None
    assert compare(found.best.structure, s).same_structure()
    assert found.best.r1 < 0.1
    assert "hand is not determined" in found.best.note


def test_centrosymmetric_with_missing_reflections_and_errors(chain, intensities, wavelength):
    s = chain("P 1 21/c 1")
    found = solve(s.cell, "P", "2/m", *intensities(s, 0.9, error=0.2, keep=0.75), wavelength, "C5 N O3")
    assert found.solved and compare(found.best.structure, s).same_structure()


def test_garnet_with_elements(garnet, intensities, wavelength):
    found = solve(garnet.cell, "I", "m-3m", *intensities(garnet, 0.9), wavelength, "Ca3 Al2 Si3 O12")
    assert found.solved
    assert found.best.space_group == "I a -3 d"
    assert sorted(a.element for a in found.best.structure.atoms) == ["Al", "Ca", "O", "Si"]
    assert compare(found.best.structure, garnet).max_deviation < 0.05
    # alternatives are reported beside it
    assert len(found.candidates) > 1 and all(c.merit >= found.best.merit for c in found.candidates)


def test_same_seed_same_answer(chain, intensities, wavelength):
    s = chain("P 1 21/c 1")
    data = intensities(s, 1.0)
    one, two = (solve(s.cell, "P", "2/m", *data, wavelength, "C5 N O3", seed=4) for _ in range(2))
    assert one.merits == two.merits and one.best.r1 == two.best.r1


def test_unsolvable_is_an_answer_with_reasons(wavelength):
    """Intensities that belong to no structure."""
    rng = np.random.default_rng(0)
    h = np.stack(np.meshgrid(*[np.arange(0, 9)] * 3, indexing="ij"), -1).reshape(-1, 3)[1:]
    cell = Cell(9, 10, 11, 90, 90, 90)
    h = h[cell.d_spacing(h) > 1.3]
    i = rng.exponential(100.0, len(h))
    found = solve(cell, "P", "mmm", h, i, 0.05 * i + 1, wavelength, "C", SolveSettings(trials=2, seconds=5))
    assert not found.solved
    assert any("not solved after 2 trials" in r for r in found.reasons)
    assert any("beyond 1.2 Å" in r for r in found.reasons)
    assert found.best_trial.rho.size and len(found.merits) == 2


def test_wrong_composition_still_gives_the_right_positions(chain, intensities, wavelength):
    s = chain("P 1 21/c 1")
    found = solve(s.cell, "P", "2/m", *intensities(s, 0.9), wavelength, "Si O2", SolveSettings(trials=4, seconds=10))
    assert found.best is not None
    assert compare(found.best.structure, s).matched > 0.6


@pytest.mark.parametrize(
    ("cell", "words"),
    [(Cell(1, 1, 1, 90, 90, 90), "cannot be phased"), (Cell(900, 900, 900, 90, 90, 90), "cannot be phased")],
)
def test_absurd_cells(cell, words, wavelength):
    h = np.array([[1, 0, n] for n in range(40)])
    with pytest.raises(UnreadableInput, match=words):
        solve(cell, "P", "mmm", h, np.ones(40), np.ones(40), wavelength)


def test_bad_arrays(wavelength):
    cell, ones = Cell(9, 10, 11, 90, 90, 90), np.ones(40)
    h = np.array([[1, 0, n] for n in range(40)])
    with pytest.raises(UnreadableInput, match="whole numbers"):
        solve(cell, "P", "mmm", h + 0.5, ones, ones, wavelength)
    with pytest.raises(UnreadableInput, match="belong together"):
        solve(cell, "P", "mmm", h, ones[:-1], ones, wavelength)
    with pytest.raises(UnreadableInput, match="absurd"):
        solve(cell, "P", "mmm", h * 100, ones, ones, wavelength)
    with pytest.raises(UnreadableInput, match="0 usable"):
        solve(cell, "P", "mmm", h, ones * np.nan, ones, wavelength)
    with pytest.raises(UnreadableInput, match="formula"):
        solve(cell, "P", "mmm", h, ones, ones, wavelength, "what?")


def test_centring_and_laue_class_from_the_data(garnet, chain, intensities):
    hkl, i, s = intensities(garnet, 1.0)
    assert find_centring(garnet.cell, hkl, i, s) == "I"
    # every equivalent written out, with its own error
    rng = np.random.default_rng(2)
    orbit = np.concatenate([hkl[:, list(p)] * np.array(sign) for p in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
                            for sign in ((1, 1, 1), (-1, 1, 1))])  # fmt: skip
    groups = likely_laue_groups(garnet.cell, orbit, np.tile(i, 6) * rng.normal(1, 0.05, 6 * len(i)), np.tile(s, 6))
    assert groups[0][0] == "m-3m" and groups[0][1] < 0.1
    mono = chain("P 1 21/c 1")
    hkl, i, s = intensities(mono, 1.0)
    assert find_centring(mono.cell, hkl, i, s) == "P"
    assert [g for g, _ in likely_laue_groups(mono.cell, hkl, i, s)] == ["2/m", "-1"]
