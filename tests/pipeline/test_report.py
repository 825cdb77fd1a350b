"""The report of a session: what the folder holds is told, what it lacks is left out, nothing is asked of the net."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.spatial.transform import Rotation

from credo.io.project import write_experiment, write_json
from credo.model import (
    Acquisition,
    Atom,
    Beam,
    CannotDo,
    Cell,
    Crystal,
    Detector,
    Experiment,
    Goniometer,
    Scan,
    Structure,
    UnreadableInput,
)
from credo.pipeline.output import Output, run_command
from credo.pipeline.report import report
from credo.pipeline.session import read_session
from credo.solve.fourier import write_ccp4

CELL = Cell(5.0, 6.0, 7.0, 90, 90, 90)
CIF = """data_x
_cell_length_a 5
_cell_length_b 6
_cell_length_c 7
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P m m m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si1 Si 0 0 0
O1 O 0.5 0 0
"""
SHELLS = [
    {"d_max": 5.0, "d_min": 1.2, "cc_half": 0.99, "completeness": 1.0, "r_meas": 0.1},
    {"d_max": 1.2, "d_min": 0.9, "cc_half": 0.5, "completeness": 0.8, "r_meas": None},
]


def _crystal(folder: Path, k: int, frames: Path, cell: Cell = CELL, ok: bool = True) -> None:
    scan = Scan.regular(60 + k, -30.0, 1.0) if k % 2 else Scan.regular(50, 25.0, -1.0)
    u = Rotation.random(random_state=k).as_matrix()
    experiment = Experiment(
        Beam(0.0251), Detector((64, 64), 0.01, (32, 32)), Goniometer.in_plane(0), scan, (Crystal(cell, u),),
        known=("angles", "wavelength"),
        acquisition=Acquisition(mode="rotation", exposed_s=30.0, flux=0.1, camera="<Timepix>", log="collect.json"),
    )  # fmt: skip

    def work(staging: Path) -> dict:
        if not ok:
            raise CannotDo("no lattice fits", "try again")
        write_experiment(staging / "experiment.json", experiment)
        return {"cell": list(cell.parameters), "centring": "P", "r_int": 0.2, "resolution": 0.9, "n_unique": 99}

    output = Output(folder, "process", f"k{k}", [frames])
    if ok:
        run_command(output, work)
    else:
        with pytest.raises(CannotDo):
            run_command(output, work)


def _merge(folder: Path, members: list[Path], rejected: list[Path]) -> None:
    numbers = {
        "name": "A", "cell": list(CELL.parameters), "cell_esd": [0.01, 0.02, 0.03, 0, 0, 0], "space_group": "P m m m",
        "members": [str(m / "experiment.json") for m in members], "completeness": 0.9, "resolution": 0.95,
        "r_int": 0.25, "cc_half": 0.98, "shells": SHELLS, "warnings": ["Few & small."],
        "rejected": [{"dataset": str(r / "experiment.json"), "reason": "it is of another crystal"} for r in rejected],
    }  # fmt: skip

    def work(staging: Path) -> dict:
        (staging / "merged.hkl").write_text("data")
        return {**numbers, "phases": [numbers]}

    run_command(Output(folder, "merge", "m", [*members, *rejected]), work)


def _structure(folder: Path, command: str, inputs: list[Path], cif: str, ccp4: str, numbers: dict) -> None:
    structure = Structure(CELL, "P m m m", (Atom("Si1", "Si", np.zeros(3)),))

    def work(staging: Path) -> dict:
        (staging / cif).write_text(CIF)
        write_ccp4(staging / ccp4, np.random.default_rng(1).normal(size=(10, 12, 14)), structure)
        return numbers

    run_command(Output(folder, command, command, inputs), work)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Five crystals, one not indexed and one left out, merged, solved and refined."""
    root = tmp_path / "session <1>"
    crystals = []
    for k in range(1, 6):
        frames = tmp_path / "raw" / f"x{k}"
        frames.mkdir(parents=True)
        (frames / "a.img").write_text(str(k))
        write_json(frames / "collect.json", {"position_um": [10.0 * k, -3.0 * k, 0.5]})
        crystals.append(root / "crystals" / f"{k:04d}")
        cell = CELL if k < 4 else Cell(9.0, 11.0, 15.0, 90, 97, 90)
        _crystal(crystals[-1], k, frames, cell, ok=k < 5)
    _merge(root / "phases" / "A", crystals[:3], crystals[3:4])
    merged = root / "phases" / "A" / "merged.hkl"
    solve, refine = root / "phases" / "A" / "solve", root / "phases" / "A" / "refine"
    _structure(solve, "solve", [merged], "structure.cif", "observed.ccp4", {"solved": True, "r1": 0.2, "n_atoms": 2})
    found = {"r1_obs": 0.1234, "r1_all": 0.15, "space_group": "P m m m", "n_parameters": 7, "resolution": 0.95}
    _structure(refine, "refine", [solve / "structure.cif", merged], "refined.cif", "difference.ccp4", found)
    return root


def test_everything_in_the_folder_is_told(project: Path):
    told = report(project)
    assert told["datasets"] == 5 and [p["members"] for p in told["phases"]] == [3]
    reasons = {r["dataset"]: r["reason"] for r in told["rejected"]}
    assert list(reasons) == ["crystals/0004", "crystals/0005"]
    assert reasons["crystals/0004"] == "left out of phase A: it is of another crystal"
    assert reasons["crystals/0005"].endswith("x5: no lattice fits")
    page = (project / "report.html").read_text()
    for key in ("phases", "grid", "tracks", "tree", "phase-A", "sets", "rejected", "measured", "made"):
        assert f'<section id="{key}"' in page, key
    assert page.count('<div class="structure">') == 1 and page.count('<div class="fourier">') == 1
    assert "0.1234" in page and "&lt;Timepix&gt;" in page and "<Timepix>" not in page
    assert "Few &amp; small." in page and 'href="phases/A/refine/report.html"' not in page


def test_it_asks_nothing_of_the_net(project: Path):
    report(project)
    page = (project / "report.html").read_text()
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", page)
    assert len(page) < 2_000_000


def test_tracks_and_places_can_be_taken_out(project: Path):
    report(project)
    page = (project / "report.html").read_text()
    assert 'download="tracks.csv"' in page and 'download="places.csv"' in page and 'download="left-out.csv"' in page
    assert "crystals/0002%2C25.000%2C-25.000" in page and "crystals/0002%2CA%2C20.000%2C-6.000" in page


def test_the_session_is_the_same_after_a_move(project: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere"
    project.rename(moved)
    s = read_session(moved)
    assert [c.phase for c in s.crystals] == ["A", "A", "A", "", ""]
    assert s.phases[0].structure is not None and set(s.phases[0].maps) == {"Fo − Fc", "Fo"}


def test_two_data_sets_alone_make_a_sensible_page(project: Path, tmp_path: Path):
    folder = tmp_path / "two"
    folder.mkdir()
    for k in (1, 2):
        shutil.copytree(project / "crystals" / f"{k:04d}", folder / f"set{k}")
    told = report(folder)
    assert told["datasets"] == 2 and told["phases"] == [] and told["rejected"] == []
    page = (folder / "report.html").read_text()
    assert '<section id="tracks"' in page and '<section id="sets"' in page
    for key in ("phases", "tree", "cells", "rejected"):
        assert f'<section id="{key}"' not in page, key


def test_a_batch_names_its_data_sets(project: Path):
    sets = [
        {"dataset": f"day/x{k}", "number": k, "phase": "A" if k < 4 else None, "reason": "" if k < 4 else f"why {k}"}
        for k in range(1, 6)
    ]
    told = {
        "command": "batch", "ok": True, "datasets": 5, "sets": sets, "phases": [{"name": "A", "known": "quartz"}],
        "left": [{"path": "day/notes.img", "reason": "not frames"}],
        "rejected": [{"dataset": "day/x4", "reason": "why 4"}, {"dataset": "day/x9", "reason": "twice"}],
    }  # fmt: skip
    s = read_session(project, told)
    assert [c.name for c in s.crystals] == [f"day/x{k}" for k in range(1, 6)]
    assert s.phases[0].title == "Phase A (quartz)"
    assert s.rejected == (
        ("day/x4", "why 4"), ("day/x5", "why 5"), ("day/x9", "twice"), ("day/notes.img", "not frames"),
    )  # fmt: skip


def test_damaged_results_are_passed_over(project: Path):
    (project / "phases" / "A" / "refine" / "refined.cif").write_text("data_x\nloop_ ")
    (project / "phases" / "A" / "refine" / "difference.ccp4").write_bytes(b"no map")
    (project / "crystals" / "0001" / "experiment.json").write_text("{")
    (project / "sorting.json").write_text("[]")
    told = report(project)
    assert told["phases"][0]["structure"] is True and told["datasets"] == 5


def test_an_unsolved_phase_says_why(project: Path):
    shutil.rmtree(project / "phases" / "A" / "refine")
    path = project / "phases" / "A" / "solve" / "report.json"
    write_json(path, {**json.loads(path.read_text()), "ok": False, "solved": False, "reason": "all merits alike"})
    report(project)
    assert "all merits alike" in (project / "report.html").read_text()


def test_nothing_foreign_is_overwritten_and_nothing_is_told_of_nothing(project: Path, tmp_path: Path):
    (project / "report.html").write_text("my own page")
    with pytest.raises(UnreadableInput, match="no page of credo"):
        report(project)
    assert report(project, tmp_path / "x.html")["page"] == str(tmp_path / "x.html")
    # a command's own page stays
    write_json(project / "report.json", {"command": "merge", "ok": True, "phases": [], "files": ["report.html"]})
    assert report(project)["page"] == str(project / "session.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotDo, match="no results"):
        report(tmp_path / "empty")
    with pytest.raises(UnreadableInput):
        report(tmp_path / "x.html")


def test_a_collection_that_was_not_processed_has_tracks_places_and_its_atlas(tmp_path: Path):
    for k, (start, end) in enumerate([(-40.0, 30.0), (25.0, -10.0), (5.0, 7.0)]):
        told = {"start_deg": start, "end_deg": end, "position_um": [100.0 + 20 * k, 50.0 - 10 * k, 0.0],
                "reason_ended": "the crystal was lost"}  # fmt: skip
        (tmp_path / "crystals" / f"c{k}").mkdir(parents=True)
        write_json(tmp_path / "crystals" / f"c{k}" / "collect.json", told)
    (tmp_path / "grid").mkdir()
    image = np.full((90, 60), np.nan, dtype=np.float32)
    image[:50] = np.random.default_rng(0).normal(1, 0.1, (50, 60))
    tifffile.imwrite(tmp_path / "grid" / "atlas.tiff", image)
    write_json(tmp_path / "grid" / "atlas.json", {"pixel_um": 2.0, "corner_um": [60.0, -30.0], "shape": [90, 60]})
    passed = [{"reason": "too near another"}, {"reason": "thick & dark"}, {"reason": "thick & dark"}]
    write_json(tmp_path / "report.json", {"command": "collect", "ok": True, "rejected": passed})
    told = report(tmp_path)
    assert told["datasets"] == 3 and all("the crystal was lost" in r["reason"] for r in told["rejected"])
    page = (tmp_path / "report.html").read_text()
    assert '<section id="tracks"' in page and 'href="data:image/png;base64,' in page
    assert "c1%2C25.000%2C-10.000" in page and "c2%2C%2C140.000%2C30.000" in page
    assert "thick &amp; dark%" not in page and "thick%20%26%20dark%2C2%0D%0Atoo%20near%20another%2C1" in page
    # an atlas that is damaged is left out
    (tmp_path / "grid" / "atlas.tiff").write_bytes(b"no image")
    report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert '<section id="grid"' in page and "data:image/png" not in page


def test_the_atlas_lies_where_the_stage_was(tmp_path: Path):
    from credo.pipeline.page.chart import Chart
    from credo.pipeline.page.session_grid import _image

    chart = Chart((0.0, 100.0), (0.0, 100.0), "x", "y", (140, 140), margin=(20, 20, 20, 20))
    drawn = _image(chart, np.zeros((10, 20), np.uint8), {"pixel_um": 2.0, "corner_um": [10.0, 30.0]})
    # 10 to 50 µm across, 30 to 50 µm up, where y grows upwards
    assert 'x="30.0" y="70.0" width="40.0" height="20.0"' in drawn


@pytest.mark.parametrize(("cell_of", "folder"), [(None, "0001"), ("A", "0001-A")])
def test_a_set_that_was_tried_with_a_known_cell_is_one_set(tmp_path, cell_of, folder):
    for name, ok in (("0001", cell_of is None), ("0001-A", cell_of is not None)):
        place = tmp_path / "crystals" / name
        place.mkdir(parents=True)
        report = {"command": "process", "ok": ok, "reason": "" if ok else "no lattice"}
        (place / "report.json").write_text(json.dumps(report), encoding="utf-8")
    sets = [{"dataset": "one", "number": 1, "cell_of": cell_of, "phase": "A", "reason": ""}]
    found = read_session(tmp_path, {"phases": [], "datasets": 1, "sets": sets})
    assert [(c.name, c.folder.name, c.phase) for c in found.crystals] == [("one", folder, "A")]
