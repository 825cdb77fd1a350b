"""SHELXL, Olex2 and JANA: the model and data written for them, and SHELXL's listing read."""

import sys

import gemmi
import numpy as np
import pytest

from credo.io.shelx import read_hkl
from credo.io.shelx_res import read_res
from credo.io.structure import read_structure
from credo.model import CannotDo
from credo.solve.adapters.jana import write_jana
from credo.solve.adapters.olex2 import write_olex2
from credo.solve.adapters.shelxl import read_figures, refine_with_shelxl
from credo.solve.refine.data import merge_equivalents
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.from_shelx import prepared_from_res
from credo.solve.refine.model import Model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")

LISTING = """ wR2 =  0.5000 before cycle   1 for     400 data and     37 /     37 parameters
 R1 =  0.3000 for     300 Fo > 4sig(Fo)  and  0.3500 for all     400 data
 wR2 =  0.4429, GooF = S =   1.423, Restrained GooF =    1.423  for all data
 R1 =  0.1765 for     868 Fo > 4sig(Fo)  and  0.2113 for all    1234 data
"""


@pytest.fixture(scope="module")
def problem(chain_task):
    """(model, merged data, wavelength)."""
    structure, task = chain_task
    group = gemmi.SpaceGroup(structure.space_group)
    merged = merge_equivalents(task.hkl, task.intensity, task.sigma, group, structure.cell)
    fixed = frozenset((i, 3) for i in range(len(structure.atoms)))
    return Model(structure, fixed=fixed), merged, task.wavelength


def test_refined(problem, fake, same_atoms, tmp_path):
    model, merged, wavelength = problem
    fake(
        "shelxl",
        "text = pathlib.Path(name + '.ins').read_text()\n"
        "pathlib.Path(name + '.res').write_text(text)\n"
        f"pathlib.Path(name + '.lst').write_text({LISTING!r})",
    )
    done = refine_with_shelxl(model, merged.observed, wavelength, tmp_path / "run")
    assert (done.r1, done.r1_all, done.wr2, done.goof) == (0.1765, 0.2113, 0.4429, 1.423)
    assert (done.n_observed, done.n_all, done.space_group) == (868, 1234, "P 1 21/c 1")
    assert same_atoms(done.structure, model.structure)
    assert "REM" not in (tmp_path / "run" / "credo.ins").read_text()


def test_input_has_electron_factors_and_the_merged_data(problem, tmp_path):
    model, merged, wavelength = problem
    path = write_olex2(model, merged.observed, wavelength, tmp_path)
    res = read_res(path)
    assert set(res.factors) == {"C", "N", "O"} and res.header.wavelength == pytest.approx(wavelength, abs=1e-5)
    # f(0) of carbon for electrons is 2.5 Å, for X-rays it would be 6
    f0 = sum(res.factors["C"][0:8:2]) + res.factors["C"][8]
    assert f0 == pytest.approx(2.5, abs=0.1)
    table = read_hkl(path.with_suffix(".hkl"))
    assert np.array_equal(table.hkl, merged.observed.hkl)
    assert prepared_from_res(path).model.fixed >= {(0, 3)}


def test_error_of_shelxl_is_told(problem, fake, tmp_path):
    model, merged, wavelength = problem
    fake(
        "shelxl",
        "pathlib.Path(name + '.res').write_text('')\n"
        "pathlib.Path(name + '.lst').write_text(' ** Cell contents from UNIT instruction wrong **\\n')",
    )
    with pytest.raises(CannotDo, match=r"SHELXL gave no result in .*Cell contents from UNIT instruction wrong"):
        refine_with_shelxl(model, merged.observed, wavelength, tmp_path / "run")


def test_absent(problem, fake, tmp_path):
    model, merged, wavelength = problem
    with pytest.raises(CannotDo, match="SHELXL is not on PATH"):
        refine_with_shelxl(model, merged.observed, wavelength, tmp_path / "run")


def test_jana_files(problem, same_atoms, tmp_path):
    model, merged, wavelength = problem
    refined = refine_model(model, merged.observed, wavelength, FitSettings(0))
    cif = write_jana(refined, merged, wavelength, tmp_path)
    assert same_atoms(read_structure(cif), model.structure, 1e-3)
    assert np.array_equal(read_hkl(cif.with_suffix(".hkl")).hkl, merged.observed.hkl)


@pytest.mark.data
def test_listing_of_a_real_run(shared_data):
    listing = (shared_data / "cinchonine" / "shelxl" / "shelxl.lst").read_text(errors="replace")
    figures = read_figures(listing)
    assert figures is not None and figures[:5] == (0.1765, 0.2113, 0.4429, 1.423, 868)
