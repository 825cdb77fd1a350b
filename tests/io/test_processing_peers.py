"""Processing files that credo writes, read by DIALS and cctbx (Debian's dials), which find the same crystal in them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from credo.io.reflection_files import write_any
from credo.model import Experiment, Reflections

pytestmark = pytest.mark.peer

_READ = """
import json, sys
folder = sys.argv[1]
from dxtbx.model.experiment_list import ExperimentListFactory
from dials.array_family import flex
from dials.algorithms.refinement.prediction.managed_predictors import ExperimentsPredictorFactory
out = {}
experiments = ExperimentListFactory.from_json_file(folder + "/a.expt", check_format=False)
e = experiments[0]
beam = e.detector[0].get_ray_intersection_px(e.beam.get_s0())
out["expt"] = dict(
    wavelength=e.beam.get_wavelength(), beam=beam, size=e.detector[0].get_image_size(),
    distance=e.detector[0].get_directed_distance(), images=e.scan.get_image_range(), start=e.scan.get_oscillation(),
    cell=e.crystal.get_unit_cell().parameters(), group=e.crystal.get_space_group().type().number(),
)
table = flex.reflection_table.from_file(folder + "/a.refl")
table.assert_experiment_identifiers_are_consistent(experiments)
written = table["xyzcal.px"].as_double()
ExperimentsPredictorFactory.from_experiments(experiments)(table)
out["refl"] = dict(
    n=len(table), moved=flex.max(flex.abs(table["xyzcal.px"].as_double() - written)),
    hkl=list(table["miller_index"]), value=list(table["intensity.prf.value"] * table["lp"]),
    flags=list(table.get_flags(table.flags.integrated_prf)).count(True),
)
import iotbx.mtz, iotbx.cif, iotbx.xds.xparm, iotbx.xds.spot_xds, iotbx.xds.xds_inp
from iotbx.reflection_file_reader import any_reflection_file
from iotbx.shelx import crystal_symmetry_from_ins
for name in ("XDS_ASCII.HKL", "unmerged.mtz", "merged.mtz", "merged.cif", "a.hkl"):
    if name == "a.hkl":
        file = any_reflection_file(folder + "/a.hkl=hklf4")
        symmetry = crystal_symmetry_from_ins.extract_from(folder + "/a.ins")
        arrays = file.as_miller_arrays(crystal_symmetry=symmetry, merge_equivalents=False)
    else:
        file = any_reflection_file(folder + "/" + name)
        arrays = file.as_miller_arrays(merge_equivalents=False)
    a = [x for x in arrays if x.is_xray_intensity_array()][0]
    out[name] = dict(
        type=str(file.file_type()), cell=a.unit_cell().parameters(), hkl=list(a.indices()), value=list(a.data()),
        sigma=list(a.sigmas()), group=a.space_group().type().number(),
    )
mtz = iotbx.mtz.object(folder + "/unmerged.mtz")
out["batches"] = [[b.num(), b.phistt(), b.phiend()] for b in mtz.batches()]
out["original"] = list(mtz.extract_original_index_miller_indices())
x = iotbx.xds.xparm.reader(); x.read_file(folder + "/XPARM.XDS")
out["xparm"] = dict(
    wavelength=x.wavelength, axis=x.rotation_axis, cell=x.unit_cell, a=x.unit_cell_a_axis, size=x.detector_size,
    origin=x.detector_origin, distance=x.detector_distance, start=[x.starting_frame, x.starting_angle],
)
x = iotbx.xds.spot_xds.reader(); x.read_file(folder + "/SPOT.XDS")
out["spots"] = dict(xyz=list(x.centroid), hkl=list(x.miller_index))
x = iotbx.xds.xds_inp.reader(); x.read_file(folder + "/XDS.INP")
out["inp"] = dict(
    n=[x.nx, x.ny], origin=[x.orgx, x.orgy], axis=x.rotation_axis, distance=x.detector_distance, range=x.data_range,
    wavelength=x.xray_wavelength, start=x.starting_angle, step=x.oscillation_range,
)
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def scene(dials, tmp_path_factory) -> tuple[Experiment, Reflections, dict]:
    """An oblique crystal in a monoclinic group's clothes, and what DIALS and cctbx read of its files."""
    from credo.kernels.rotation import rotation_from_vector
    from credo.model import Beam, Cell, Crystal, Detector, Goniometer, Scan
    from credo.physics.ewald import predict

    scan = Scan.regular(120, -31.5, 0.4, first=3)
    e = Experiment(
        beam=Beam(0.0250793),
        detector=Detector((500, 520), 0.0041, (255.3, 248.9), pixel_size_mm=0.055, saturation=11810.0),
        goniometer=Goniometer.in_plane(137.4, 0.6),
        scan=scan.part(np.delete(np.arange(120), [5, 6, 60])),
        crystals=(
            Crystal(
                Cell(7.1, 8.3, 10.9, 90.0, 97.0, 90.0), rotation_from_vector(np.array([0.4, -1.1, 0.7])),
                laue_group="2/m", space_group="P 1 21 1", mosaicity_deg=0.17,
            ),
        ),
    )  # fmt: skip
    r = predict(e, e.crystal, 1.2)
    rng = np.random.default_rng(1)
    intensity = rng.exponential(300.0, len(r)) - 10
    r = r.with_columns(
        intensity=intensity, sigma=3 + np.sqrt(np.abs(intensity)), lattice=np.zeros(len(r), dtype=int),
        x_calc=r["x"], y_calc=r["y"], phi_calc=r["phi"], partiality=np.ones(len(r)),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("peers")
    _, first = np.unique(_asu(r.hkl), axis=0, return_index=True)
    merged = Reflections({k: r[k][first] for k in ("h", "k", "l", "intensity", "sigma")})
    for name in ("a.refl", "XDS_ASCII.HKL", "unmerged.mtz", "XPARM.XDS", "SPOT.XDS", "XDS.INP", "a.hkl"):
        write_any(folder / name, e, r)
    for name in ("merged.mtz", "merged.cif"):
        write_any(folder / name, e, merged)
    return e, r, json.loads(dials(_READ, [str(folder)]))


def _asu(hkl: np.ndarray) -> np.ndarray:
    """2/m, unique axis b: k ≥ 0, l ≥ 0, h ≥ 0 where l = 0."""
    hkl = hkl * np.where((hkl[:, 2] < 0) | ((hkl[:, 2] == 0) & (hkl[:, 0] < 0)), -1, 1)[:, None]
    return np.column_stack([hkl[:, 0], np.abs(hkl[:, 1]), hkl[:, 2]])


def _same(read: dict, r: Reflections, **tolerance) -> None:
    """Intensities and sigmas by index, whatever the order."""
    theirs = np.array(read["hkl"])
    a, b = np.lexsort((read["value"], *theirs.T)), np.lexsort((r["intensity"], *r.hkl.T))
    assert np.array_equal(theirs[a], r.hkl[b])
    assert np.array(read["value"])[a] == pytest.approx(r["intensity"][b], **tolerance)
    assert np.array(read["sigma"])[a] == pytest.approx(r["sigma"][b], **tolerance)


def test_dials_predicts_what_we_wrote(scene) -> None:
    e, r, read = scene
    x = read["expt"]
    assert x["wavelength"] == pytest.approx(e.beam.wavelength)
    assert x["beam"] == pytest.approx(e.detector.origin)
    assert x["size"] == [520, 500]
    assert abs(x["distance"]) == pytest.approx(e.detector.distance_mm(e.beam.wavelength))
    assert (x["images"], x["start"]) == ([3, 122], pytest.approx([-31.5, 0.4]))
    assert x["cell"] == pytest.approx(e.crystal.cell.parameters)
    assert x["group"] == 4
    # DIALS's own prediction from the experiment lands on ours: axis, hand, orientation, beam and detector are right
    assert read["refl"]["n"] == read["refl"]["flags"] == len(r)
    assert read["refl"]["moved"] < 0.002
    assert np.array_equal(read["refl"]["hkl"], r.hkl)
    assert read["refl"]["value"] == pytest.approx(r["intensity"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("XDS_ASCII.HKL", "xds_ascii"), ("unmerged.mtz", "ccp4_mtz"), ("a.hkl", "shelx_hklf")],
)
def test_cctbx_reads_unmerged_intensities(scene, name, kind) -> None:
    e, r, read = scene
    x = read[name]
    assert x["type"] == kind
    assert x["group"] == 4
    assert x["cell"] == pytest.approx(e.crystal.cell.parameters, abs=2e-3)
    if name == "unmerged.mtz":
        x = x | {"hkl": read["original"]}
    _same(x, r, rel=1e-4, abs=0.006)


@pytest.mark.parametrize(("name", "kind"), [("merged.mtz", "ccp4_mtz"), ("merged.cif", "cif")])
def test_cctbx_reads_merged_intensities(scene, name, kind) -> None:
    e, r, read = scene
    x = read[name]
    _, first = np.unique(_asu(r.hkl), axis=0, return_index=True)
    merged = r.select(first)
    assert x["type"] == kind
    assert x["cell"] == pytest.approx(e.crystal.cell.parameters, abs=2e-3)
    x = x | {"hkl": _asu(np.array(x["hkl"])).tolist()}
    _same(x, merged.with_columns(hkl=_asu(merged.hkl)), rel=1e-4, abs=1e-3)


def test_batches_carry_the_gaps_and_angles(scene) -> None:
    e, _, read = scene
    batches = np.array(read["batches"])
    assert batches[:, 0].tolist() == e.scan.numbers.tolist()
    assert batches[:, 1] == pytest.approx(e.scan.start_deg, abs=1e-4)
    assert batches[:, 2] == pytest.approx(e.scan.end_deg, abs=1e-4)


def test_cctbx_reads_the_geometry_of_xds(scene) -> None:
    e, r, read = scene
    distance = e.detector.distance_mm(e.beam.wavelength)
    x, inp = read["xparm"], read["inp"]
    assert (x["wavelength"], inp["wavelength"]) == pytest.approx((e.beam.wavelength,) * 2)
    for axis in (x["axis"], inp["axis"]):
        assert axis == pytest.approx(e.goniometer.axis, abs=1e-6)
    assert x["size"] == inp["n"] == [520, 500]
    assert x["origin"] == pytest.approx([255.8, 249.4])
    assert inp["origin"] == pytest.approx([255.8, 249.4])
    assert (x["distance"], inp["distance"]) == pytest.approx((distance, distance))
    assert x["a"] == pytest.approx(np.linalg.inv(e.crystal.UB)[0], abs=1e-5)
    assert x["cell"] == pytest.approx(e.crystal.cell.parameters, abs=1e-3)
    assert (x["start"], inp["start"], inp["step"]) == ([3, -31.5], -31.5, pytest.approx(0.4))
    assert inp["range"] == [3, 122]
    xyz = np.array(read["spots"]["xyz"])
    assert xyz[:, :2] == pytest.approx(r.xy + 0.5, abs=0.0051)
    assert xyz[:, 2] == pytest.approx((r["phi"] + 31.5) / 0.4 + 2, abs=0.0051)
    assert read["spots"]["hkl"] == r.hkl.tolist()
