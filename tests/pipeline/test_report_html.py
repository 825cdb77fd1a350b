"""The page is whole, needs nothing from outside, holds the numbers, survives hostile names and missing stages."""

from __future__ import annotations

import csv
import html.parser
import io
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from credo.io.open import GeometryOverrides, Opened, open_experiment
from credo.model import ArrayFrames, Reflections, Report
from credo.pipeline.page.numbers import fixed
from credo.pipeline.process import Processed, ProcessSettings, Unfinished, reduce_frames
from credo.pipeline.report_html import page, write_page

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(html.parser.HTMLParser):
    """Elements with their attributes; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def whole(small_run) -> str:
    return page(small_run)


def test_tags_match_and_identifiers_are_unique(whole):
    outline = Outline(whole)
    ids = [a["id"] for _, a in outline.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in outline.elements if t == "a" and (a.get("href") or "").startswith("#")}
    assert targets <= set(ids)
    labels = {a["aria-labelledby"] for _, a in outline.elements if "aria-labelledby" in a}
    assert labels and labels <= set(ids)


def test_nothing_is_fetched_from_outside(whole):
    text = whole
    code = re.sub(r"base64,[^\"]*|: \"[A-Za-z0-9+/=]{20,}\"|^ *// .*$", "", text, flags=re.M)
    assert re.search(r"https?:|//[a-z]|@import|url\(", code) is None
    for tag, attributes in Outline(text).elements:
        assert tag not in ("link", "iframe", "img", "object", "base")
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)


def test_every_drawing_is_well_formed_and_says_what_it_is(whole):
    text = whole
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(drawings) > 15
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert root.findtext("title")
    assert "NaN" not in "".join(drawings)
    assert "nan" not in re.sub(r"[a-z]{4,}|base64,[^\"]*", "", "".join(drawings))


def test_it_holds_the_numbers(small_run, whole):
    text = Outline(whole).text
    n = small_run.report.numbers
    # esds 0.0123, 0.0019 and 0.0151 by the rule of 19
    for words in ("9.100(12) Å", "11.4000(19) Å", "13.200(15) Å", "orthorhombic P", "primitive", "mmm", "1.60 Å"):
        assert words in text
    for value in (fixed(n["r_int"], 3), fixed(n["cc_half"], 3), fixed(n["multiplicity"], 1)):
        assert value in text
    assert f"{n['n_unique']}of {n['n_integrated']} integrated" in text
    assert "The camera length is off." in text
    assert "58, 120.0°" in text and "2 missing" in text
    assert "log-likelihood 321 for this hand, 123 for the other" in text
    for title in ("Diffraction pattern", "Cuts of reciprocal space", "Statistics by resolution", "Lattice and symmetry",
                  "Geometry", "Along the scan", "Rocking curves", "Wilson statistics"):  # fmt: skip
        assert title in text


def test_warnings_come_before_the_numbers(whole):
    text = Outline(whole).text
    assert text.index("The camera length is off.") < text.index("9.100(12) Å") < text.index("Statistics by resolution")


def test_tables_can_be_taken_away_as_csv(small_run, whole):
    links = [a for t, a in Outline(whole).elements if t == "a" and "download" in a]
    by_name = {a["download"]: unquote(a["href"].split(",", 1)[1]) for a in links}
    rows = list(csv.reader(io.StringIO(by_name["shells.csv"])))
    shells = small_run.stages["statistics"].figures["shells"]["shells"]
    assert len(rows) == len(shells) + 2
    assert [int(r[1]) for r in rows[1:-1]] == [s["observations"] for s in shells]
    drift = list(csv.reader(io.StringIO(by_name["beam.csv"])))
    assert float(drift[1][2]) == pytest.approx(-1.5)
    assert len(drift) == 59


def test_hostile_names_stay_text(small_run):
    name = "/data/<script>alert(1)</script>\" onload='x' \x00\udc80 &amp;/run"
    experiment = small_run.experiment.replace(source=name)
    warned = replace(small_run.report, warnings=("<img src=x onerror=alert(2)>",))
    text = page(replace(small_run, experiment=experiment, report=warned))
    text.encode("utf-8")
    outline = Outline(text)
    tags = [t for t, _ in outline.elements]
    assert tags.count("script") == 4, "three scripts of ours and the data of the lattice"
    assert "img" not in tags
    assert not any(k.startswith("on") for _, a in outline.elements for k in a)
    assert "<script>alert(1)</script>" in outline.text
    assert "<img src=x onerror=alert(2)>" in outline.text


@pytest.mark.parametrize(
    "stage", ["mask", "beam", "index", "refine", "missets", "integrate", "symmetry", "scale", "statistics"]
)
def test_a_stage_that_did_not_run_leaves_the_rest(small_run, stage):
    stages = {k: v for k, v in small_run.stages.items() if k != stage}
    # cuts, which take longest, do not depend on stages
    short = replace(small_run, frames=None) if stage != "mask" else small_run
    assert "9.100(12) Å" in Outline(page(replace(short, stages=stages))).text
    empty = {**small_run.stages, stage: Report()} if stage != "statistics" else stages
    assert "9.100(12) Å" in Outline(page(replace(short, stages=empty))).text


def test_a_list_of_spots_without_frames(small_run):
    stages = {k: small_run.stages[k] for k in ("index", "refine")}
    only = replace(small_run, frames=None, reflections=None, stages=stages, report=Report({"n_spots": 7}))
    text = Outline(page(only)).text
    assert "9.100(12) Å" in text
    assert "Cuts of reciprocal space" in text
    assert "Wilson statistics" not in text


def test_without_a_lattice_the_page_says_so_and_shows_the_frames(small_run):
    experiment = small_run.experiment.replace(crystals=())
    spots = small_run.spots.with_columns(lattice=np.full(len(small_run.spots), -1))
    stages = {k: small_run.stages[k] for k in ("mask", "beam")}
    text = Outline(page(Processed(experiment, spots, None, Report(), small_run.frames, stages))).text
    assert "No lattice was found." in text
    assert "Mean of the frames" in text
    assert "Cuts of reciprocal space" not in text


def test_without_a_single_spot(small_run):
    none = Reflections({name: [] for name in ("x", "y", "phi", "frame", "intensity", "lattice")})
    experiment = small_run.experiment.replace(crystals=())
    stages = {"mask": small_run.stages["mask"]}
    text = Outline(page(Processed(experiment, none, None, Report(), small_run.frames, stages))).text
    assert "No lattice was found." in text


def test_a_run_that_finds_nothing_hands_over_what_it_saw():
    rng = np.random.default_rng(0)
    data = rng.poisson(3.0, (12, 64, 64)).astype(np.uint16)
    data[:, 31:34, 31:34] += 400
    from credo.model import Beam, Detector, Experiment, Goniometer, Scan

    experiment = Experiment(
        Beam(0.0251), Detector((64, 64), 0.01, (32.5, 32.5)), Goniometer.in_plane(0.0), Scan.regular(12, 0, 1.0)
    )
    with pytest.raises(Unfinished) as raised:
        reduce_frames(Opened(experiment, ArrayFrames(data)), ProcessSettings(), lambda _: None)
    found = raised.value.found
    assert raised.value.exit_code == 1
    assert raised.value.numbers == {"n_frames": 12, "n_spots": len(found.spots)}
    assert raised.value.reason in found.report.warnings[0]
    assert raised.value.remedy in found.report.warnings[0]
    assert "Mean of the frames" in Outline(page(found)).text


def test_the_page_is_written_whole_and_alone(small_run, whole, tmp_path):
    target = tmp_path / "report.html"
    write_page(target, small_run)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    text = target.read_text(encoding="utf-8")
    assert text == whole, "the same run makes the same page"
    assert text.endswith("</html>\n")


def test_two_crystals_are_told_apart(small_run):
    crystal = small_run.experiment.crystal
    turned = crystal.replace(orientation=np.roll(crystal.orientation, 1, axis=0))
    experiment = small_run.experiment.replace(crystals=(crystal, turned))
    lattice = np.array(small_run.spots["lattice"])
    lattice[:5] = 1
    both = replace(small_run, experiment=experiment, spots=small_run.spots.with_columns(lattice=lattice), frames=None)
    text = Outline(page(both)).text
    assert "Crystal 1" in text and "Crystal 2" in text
    assert "second crystal" in text


def test_numbers_that_do_not_exist_are_dashes(small_run):
    gone = {k: float("nan") if isinstance(v, float) else v for k, v in small_run.report.numbers.items()}
    gone |= {"r_int": None, "resolution": 1.6}
    text = Outline(page(replace(small_run, report=Report(gone), frames=None))).text
    assert "R int –" in text or "Rint–" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("/a/garnet_1", "Electron diffraction of garnet_1"),
        ("/a/experiment_14/SMV/data", "Electron diffraction of experiment_14"),
        ("/a/quartz/strong.refl", "Electron diffraction of quartz"),
        ("", "Electron diffraction"),
    ],
)
def test_the_title_is_the_data_sets_own_name(small_run, source, title):
    bare = replace(small_run, experiment=small_run.experiment.replace(source=source), frames=None, stages={})
    assert f"<h1>{title}</h1>" in page(bare)


@pytest.mark.data
def test_measured_lysozyme(measured, tmp_path: Path):
    opened = open_experiment([measured("lysozyme")], GeometryOverrides())
    found = reduce_frames(opened, ProcessSettings(), lambda _: None)
    write_page(tmp_path / "report.html", found)
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "tetragonal P" in outline.text
    for title in ("Diffraction pattern", "Cuts of reciprocal space", "Statistics by resolution", "Lattice and symmetry",
                  "Geometry", "Along the scan", "Rocking curves", "Wilson statistics"):  # fmt: skip
        assert title in outline.text
