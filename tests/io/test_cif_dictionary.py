"""CIFs against dictionaries: a small one of each language here, the IUCr's own where it lies on this machine.

The IUCr's own is the fixture ``cif_core`` of tests/conftest.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from credo.io.cif import write_cif
from credo.io.cif_dictionary import dictionary_complaints
from credo.model import Acquisition, Reflections, UnreadableInput

DDLM = '''#\\#CIF_2.0
data_SMALL
_dictionary.title SMALL
save_RING
_definition.id RING
_definition.class Set
save_
save_ring.size
    _definition.id                '_ring.size'
    loop_
      _alias.definition_id
         '_ring_size'
         '_ring.width'
    _description.text
;
    How large; in 'quotes', with _type.contents Text and loop_ inside.
;
    _name.category_id             ring
    _type.purpose                 Measurand
    _type.container               Single
    _type.contents                Real
    _enumeration.range            0.0:10.0
save_
save_ring.colour
    _definition.id                '_ring.colour'
    _name.category_id             ring
    _type.purpose                 State
    _type.container               Single
    _type.contents                Code
    loop_
      _enumeration_set.state
      _enumeration_set.detail
         red           'Like a "rose".'
         blue
;
  Like the sea.
;
    _description_example.case """a 'b' c"""
save_
save_ring.list
    _definition.id                '_ring.list'
    _name.category_id             ring
    _import.get                   [{'file':templ_attr.cif  'save':general_su}]
save_
'''


@pytest.fixture
def ddlm(tmp_path) -> Path:
    path = tmp_path / "small.dic"
    path.write_text(DDLM)
    return path


def _complaints(path: Path, *lines: str) -> str:
    return "\n".join(dictionary_complaints("data_x\n" + "\n".join(lines) + "\n", path))


def test_ddlm_is_understood(ddlm):
    assert _complaints(ddlm, "_ring.size 3.5(2)", "_ring.colour red", "_ring.list ?") == ""
    assert _complaints(ddlm, "_ring_size ?") == _complaints(ddlm, "_ring.width 1") == ""
    assert "unknown tag _ring.weight" in _complaints(ddlm, "_ring.weight 3")
    assert "out of expected range" in _complaints(ddlm, "_ring.size 11")
    assert "expected number" in _complaints(ddlm, "_ring_size large")
    assert "not one of the allowed values" in _complaints(ddlm, "_ring.colour green")
    assert "in list" in _complaints(ddlm, "loop_", "_ring.size", "1", "2")


def test_what_is_no_dictionary_is_refused(tmp_path):
    (tmp_path / "x.dic").write_text("loop_ loop_ ' ")
    with pytest.raises(UnreadableInput):
        dictionary_complaints("data_x\n", tmp_path / "x.dic")


TOLD = Acquisition(
    mode="rotation", rotation_deg=120.0, speed_deg_s=2.0, exposed_s=60.0, flux=0.05, precession_deg=0.0, tracking=True,
    tracking_method="by shadow images", illumination="parallel", area="probe", area_size_um=1.0, temperature_k=100.0,
    microscope="a", source="LaB6", camera="b", software="c", mosaicity_deg=0.123, crystals=12,
)  # fmt: skip


@pytest.mark.parametrize("told", [Acquisition(), TOLD])
def test_our_intensities_pass_the_core_dictionary(cif_core, indexed, tmp_path, told):
    e, r = indexed()
    e = e.replace(acquisition=told, crystals=(e.crystal.replace(space_group="P -1"),), known=("wavelength",))
    merged = Reflections({k: r[k] for k in ("h", "k", "l", "intensity", "sigma")})
    for table in (r, merged):
        write_cif(tmp_path / "a.cif", e, table)
        assert dictionary_complaints((tmp_path / "a.cif").read_text(), cif_core) == []


def test_the_core_dictionary_finds_the_frequent_error(cif_core):
    said = "\n".join(dictionary_complaints("data_x\n_diffrn_radiation_probe electrons\n", cif_core))
    assert "not one of the allowed values" in said
