"""From frames to integrated intensities of one crystal: the stages in order, nothing given but the path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.open import GeometryOverrides, Opened, in_memory, open_experiment
from credo.model import CannotDo, Cell, CredoError, Experiment, Frames, Reflections, Report, UnreadableInput
from credo.pipeline.collection import measured
from credo.pipeline.given_orientations import lying_as_given
from credo.pipeline.output import Output, fingerprint, run_command

__all__ = [
    "ProcessSettings",
    "Processed",
    "Unfinished",
    "known_group",
    "laue_and_scale",
    "process",
    "reduce_frames",
    "reduce_spots",
    "summary",
    "write_result",
]

Progress = Callable[[str], None]


#: Relative esd of a cell length from which that axis counts as unknown.
_UNDETERMINED = 0.2
#: Share of the frames without the crystal from which the others alone tell its lattice.
_GONE = 0.1


class ProcessSettings(BaseModel):
    """What may be known beforehand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="Known cell a b c α β γ [Å, deg]"
    )
    space_group: str | None = Field(default=None, description="Known space group, Hermann-Mauguin or number")
    d_min: float | None = Field(default=None, gt=0, description="Resolution limit of the integration [Å]")
    missets: bool = Field(default=True, description="Fit the orientation of every frame")
    max_lattices: int = Field(default=2, ge=1, le=2, description="How many crystals to look for")
    orientations: Path | None = Field(
        default=None, description="experiment.json of `credo orient`, or its folder: integrate with these orientations"
    )


@dataclass(frozen=True)
class Processed:
    """All that a run found: ``reflections`` unmerged, ``spots`` with indices, what the pages are made from, and
    ``partials``: what every frame recorded of the first crystal's reflections."""

    experiment: Experiment
    spots: Reflections
    reflections: Reflections | None
    report: Report
    frames: Frames | None = None
    stages: dict[str, Report] = field(default_factory=dict)
    partials: Reflections | None = None


class Unfinished(CannotDo):
    """It could not be done to the end; ``found`` is what there was till then, for the page."""

    def __init__(self, error: CredoError, found: Processed) -> None:
        frames = len(found.experiment.scan) if found.frames is None else len(found.frames)
        super().__init__(error.reason, error.remedy, {"n_frames": frames, "n_spots": len(found.spots)})
        sentence = f"{error.reason}. What to try: {error.remedy}" if error.remedy else error.reason
        self.found = replace(found, report=Report({"n_spots": len(found.spots)}, (sentence, *found.report.warnings)))


def process(
    paths: Sequence[Path],
    out: Path,
    settings: ProcessSettings | None = None,
    overrides: GeometryOverrides | None = None,
    force: bool = False,
    progress: Progress | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """``credo process``: writes ``out`` and returns its report.json. See the contract for the keys.

    key: of the input and the settings, instead of one made from names, sizes and times.
    """
    from credo.pipeline.report_html import write_page

    settings, overrides = settings or ProcessSettings(), overrides or GeometryOverrides()
    paths = [Path(p) for p in paths]
    missing = next((p for p in paths if not p.exists()), None)
    read = [settings.orientations] if settings.orientations and settings.orientations.exists() else []
    key = "" if missing else key or fingerprint([*paths, *read], (settings, overrides))
    output = Output(out, "process", key, paths, (settings, overrides), read)
    say = progress or (lambda _: None)

    def work(folder: Path) -> dict[str, Any]:
        say("opening")
        opened = open_experiment(paths, overrides)
        try:
            reduce = reduce_frames if opened.frames is not None else reduce_spots
            found = reduce(opened, settings, say)
        except Unfinished as error:
            write_page(output.folder / "report.html", error.found)
            raise
        say("writing")
        write_result(folder, found)
        return {**found.report.numbers, "warnings": list(found.report.warnings)}

    return run_command(output, work, force)


def reduce_frames(opened: Opened, settings: ProcessSettings, say: Progress) -> Processed:
    """Mask, beam, spots, axis and lattice, geometry, frame orientations, integration, symmetry, scale."""
    from credo.reduce.background import mean_background
    from credo.reduce.beam import find_beam
    from credo.reduce.integrate import IntegrateSettings, integrate
    from credo.reduce.mask import find_mask
    from credo.reduce.saturation import find_saturation
    from credo.reduce.spots import find_spots

    assert opened.frames is not None
    if len(opened.frames) < 3:
        raise CannotDo(
            f"{opened.experiment.source}: {len(opened.frames)} frame(s); a rotation needs at least 3",
            "give the whole series of frames",
        )
    frames, experiment = in_memory(opened.frames), opened.experiment
    stages: dict[str, Report] = {}
    say("background and mask")
    background = mean_background(frames)
    _check_signal(background.raw_mean, frames, experiment)
    experiment, stages["saturation"] = find_saturation(experiment, frames)
    bad, stages["mask"] = find_mask(experiment, frames, background=background)
    say("direct beam")
    experiment, stages["beam"] = find_beam(experiment, frames, bad, background=background)
    say("spots")
    spots = Reflections({name: [] for name in ("x", "y", "phi", "frame", "intensity", "lattice")})
    try:
        experiment, spots, stages["spots"] = find_spots(experiment, frames, bad, background=background)
        if settings.orientations is None:
            experiment, spots = _index(experiment, spots, settings, stages, say)
        else:
            experiment, spots = lying_as_given(settings.orientations, experiment, spots, stages)
    except CannotDo as error:
        so_far = Report({}, _warnings(experiment, stages))
        raise Unfinished(error, Processed(experiment, spots, None, so_far, frames, stages)) from error
    partials = None
    if settings.orientations is None and settings.missets:
        say("frame orientations")
        experiment, spots, partials = _fit_frames(experiment, frames, bad, background, spots, settings, stages, say)
    say("integration")
    limits = IntegrateSettings(d_min=settings.d_min)
    experiment, reflections, stages["integrate"] = integrate(experiment, frames, bad, limits, background, spots)
    say("symmetry and scale")
    experiment, reflections = laue_and_scale(experiment, reflections, settings, stages)
    experiment = experiment.replace(acquisition=measured(experiment))
    report = summary(experiment, spots, reflections, frames, stages)
    return Processed(experiment, spots, reflections, report, frames, stages, partials)


def reduce_spots(opened: Opened, settings: ProcessSettings, say: Progress) -> Processed:
    """A list of spots: axis and lattice, and the geometry."""
    spots, experiment = opened.spots, opened.experiment
    if spots is None or not len(spots):
        raise CannotDo(f"{experiment.source}: no spots", "give frames or a list of spots")
    if not {"x", "y", "phi"} <= set(spots):
        raise UnreadableInput(
            f"{experiment.source}: reflections without positions on the detector",
            "give frames or a list of spots (SPOT.XDS, .refl); intensities alone go to `credo solve`",
        )
    missing = {"frame", "intensity", "lattice"} - set(spots)
    if missing:
        n = len(spots)
        more = {"frame": np.interp(spots["phi"], experiment.scan.mid_deg, np.arange(len(experiment.scan)) + 0.5),
                "intensity": np.ones(n), "lattice": np.full(n, -1)}  # fmt: skip
        spots = spots.with_columns(**{k: more[k] for k in missing})
    stages: dict[str, Report] = {}
    try:
        experiment, spots = _index(experiment, spots, settings, stages, say)
    except CannotDo as error:
        so_far = Report({}, _warnings(experiment, stages))
        raise Unfinished(error, Processed(experiment, spots, None, so_far, None, stages)) from error
    return Processed(experiment, spots, None, summary(experiment, spots, None, None, stages), None, stages)


def _check_signal(mean: np.ndarray, frames: Frames, experiment: Experiment) -> None:
    if not np.isfinite(mean).all():
        raise UnreadableInput(f"{experiment.source}: pixels that are not numbers (NaN)", "export the frames again")
    if mean.max() <= 0:
        raise CannotDo(f"{experiment.source}: all {len(frames)} frames are empty", "check the camera and the export")


def _index(experiment, spots, settings: ProcessSettings, stages: dict[str, Report], say: Progress):
    from credo.reduce.index import IndexSettings, index
    from credo.reduce.refine import RefineSettings, refine

    say("axis and lattice")
    options: dict[str, Any] = {"max_lattices": settings.max_lattices}
    if settings.cell is not None:
        options |= {"cell": settings.cell, "centring": _centring(settings.space_group)}
    experiment, spots, stages["index"] = index(experiment, spots, IndexSettings(**options))
    say("geometry")
    experiment, spots, stages["refine"] = refine(
        experiment, spots, RefineSettings(known_cell=settings.cell, round_lens=True)
    )
    if settings.cell is None:
        _check_determined(experiment.source, experiment.crystal.cell)
    return experiment, spots


def _check_determined(source: str, cell: Cell) -> None:
    """Spots of one plane of the reciprocal lattice fit any length of the axis across it."""
    axis, length, esd = max(zip("abc", cell.lengths, cell.esd or (0.0,) * 6), key=lambda a: a[2] / a[1])
    if esd > _UNDETERMINED * length:
        raise CannotDo(
            f"{source}: the spots do not determine the cell: {axis} is {length:.2f} Å with an esd of {esd:.1f} Å",
            "collect more of this crystal, or give the cell of a known phase by --cell",
        )


def _centring(space_group: str | None) -> str:
    if not space_group:
        return "P"
    return known_group(space_group).centring_type()


def known_group(name: str):
    import gemmi

    group = gemmi.find_spacegroup_by_number(int(name)) if name.isdigit() else gemmi.find_spacegroup_by_name(name)
    if group is None:
        raise UnreadableInput(f"{name!r} is not a space group", "write it as P 21 21 21, or give its number")
    return group


def _fit_frames(experiment, frames, bad, background, spots, settings, stages, say):
    """Each frame's orientation, from partial intensities, left alone where that is not possible; those intensities of
    the first crystal; and the spots, without those of frames that this crystal was not on."""
    from credo.reduce.lit import lit_frames
    from credo.reduce.missets import fit_missets, recorded_shares
    from credo.reduce.partials import frame_table

    predicted, partials = _partials(experiment, frames, bad, background, spots, settings)
    share = recorded_shares(experiment, predicted, partials.row, partials.frame)
    dark = lit_frames(experiment, predicted, partials, share).dark[0]
    if dark.mean() > _GONE:
        again = _index_lit(experiment, spots, dark, settings, stages, say)
        if again is not None:
            experiment, spots = again
            predicted, partials = _partials(experiment, frames, bad, background, spots, settings)
    fitted, stages["missets"] = fit_missets(experiment, predicted, partials)
    return fitted, spots, frame_table(predicted, partials)


def _partials(experiment, frames, bad, background, spots, settings):
    """The predicted reflections, and what every frame recorded of them."""
    from credo.reduce.integrate import predict_all, resolution_limit
    from credo.reduce.partials import measure_partials, visits
    from credo.reduce.profiles import learn_profile

    d_min = settings.d_min or 1.2 * resolution_limit(experiment, spots)
    predicted = predict_all(experiment, d_min)
    profile = learn_profile(experiment, frames, bad, spots, background)
    where = visits(experiment, predicted, reach=4.0, extra_deg=0.3)
    return predicted, measure_partials(experiment, frames, bad, predicted, background, profile, where)


def _index_lit(experiment, spots, dark, settings: ProcessSettings, stages: dict[str, Report], say: Progress):
    """Lattice and geometry from the frames on which the crystal was in the beam, without what came in afterwards;
    ``None`` where they are too few."""
    at = np.clip(spots["frame"].astype(int), 0, len(dark) - 1)
    lit = spots.select(~dark[at]).with_columns(lattice=np.full(int(np.sum(~dark[at])), -1))
    kept = dict(stages)
    try:
        return _index(experiment.replace(crystals=()), lit, settings, stages, say)
    except CannotDo:
        stages.update(kept)
        return None


def laue_and_scale(experiment, reflections, settings: ProcessSettings, stages):
    from credo.reduce.scale import scale_one
    from credo.reduce.symmetry import SymmetrySettings, find_laue_group

    known = None
    if settings.space_group:
        known = {"-3m": "-31m" if "31m" in known_group(settings.space_group).xhm() else "-3m1"}.get(
            known_group(settings.space_group).laue_str(), known_group(settings.space_group).laue_str()
        )
    experiment, reflections, stages["symmetry"] = find_laue_group(
        experiment, reflections, SymmetrySettings(laue_group=known)
    )
    if settings.space_group:
        name = known_group(settings.space_group).xhm()
        experiment = experiment.replace(crystals=tuple(c.replace(space_group=name) for c in experiment.crystals))
    experiment, reflections, stages["scale"] = scale_one(experiment, reflections)
    return experiment, reflections


def summary(experiment, spots, reflections, frames, stages: dict[str, Report]) -> Report:
    """The keys of the contract, and a sentence for everything a user should know."""
    crystal, detector = experiment.crystal, experiment.detector
    index, refined = stages["index"].numbers, stages["refine"].numbers
    numbers: dict[str, Any] = {
        "n_frames": len(frames) if frames is not None else len(experiment.scan),
        "n_missing_frames": len(experiment.scan.missing),
        "n_spots": len(spots),
        "n_indexed": int(np.sum(spots["lattice"] >= 0)),
        "indexed_fraction": index["indexed_fraction"],
        "cell": list(crystal.cell.parameters),
        "cell_esd": list(crystal.cell.esd or ()),
        "centring": crystal.centring,
        "laue_group": crystal.laue_group,
        "space_group": crystal.space_group,
        "collection": experiment.acquisition.to_dict(),
        "rotation_axis_deg": experiment.goniometer.angle_deg,
        "hand_score": index["hand_score"],
        "beam_center": list(detector.origin),
        "pixel_size_inv_angstrom": detector.q_per_pixel,
        "scale_determined": refined.get("scale_determined"),
        "wavelength": experiment.beam.wavelength,
        "ellipse_percent": detector.ellipse.amplitude_percent,
        "ellipse_azimuth_deg": detector.ellipse.azimuth_deg,
        "lattices": len(experiment.crystals),
        "cells": [list(c.cell.parameters) for c in experiment.crystals],
        "bravais_candidates": index["bravais_candidates"],
        "rms_x_px": refined.get("rms_x_px"),
        "rms_y_px": refined.get("rms_y_px"),
        "rms_phi_deg": refined.get("rms_phi_deg"),
        "n_integrated": 0,
    }
    if reflections is not None:
        numbers |= _merged_numbers(experiment, reflections, stages)
    return Report(numbers, _warnings(experiment, stages))


def _warnings(experiment: Experiment, stages: dict[str, Report]) -> tuple[str, ...]:
    """All sentences, once each, in the order of the work."""
    n = len(experiment.scan.missing)
    gaps = [f"{n} frames are missing between the first and the last number: kept as gaps of one scan."] if n else []
    every = [*experiment.problems, *gaps, *(w for report in stages.values() for w in report.warnings)]
    return tuple(dict.fromkeys(every))


def _merged_numbers(experiment, reflections, stages: dict[str, Report]) -> dict[str, Any]:
    from credo.reduce.statistics import find_resolution, merging_statistics

    crystal = experiment.crystal
    main = reflections.select(reflections["lattice"] == 0)
    everything = merging_statistics(main, crystal.cell, crystal.laue_group, crystal.centring)
    resolution, by = find_resolution(everything)
    stats = merging_statistics(main, crystal.cell, crystal.laue_group, crystal.centring, d_min=resolution)
    overall = stats.overall
    figures = {"shells": everything.to_dict(), "inside": stats.to_dict()}
    stages["statistics"] = Report({}, _doubt(overall.cc_half, overall.r_int), figures)
    missets = experiment.scan.misset_deg
    rms = float(np.sqrt(np.mean(np.sum(np.asarray(missets) ** 2, axis=1)))) if missets is not None else 0.0
    return {
        "n_integrated": len(reflections),
        "n_unique": overall.unique,
        "r_int": overall.r_int,
        "r_meas": overall.r_meas,
        "r_pim": overall.r_pim,
        "cc_half": overall.cc_half,
        "completeness": overall.completeness,
        "multiplicity": overall.multiplicity,
        "i_over_sigma": overall.i_over_sigma,
        "resolution": resolution,
        "resolution_by": by,
        "orientation_rms_deg": rms,
        "mosaicity_deg": crystal.mosaicity_deg,
        "laue_candidates": stages["symmetry"].numbers.get("laue_candidates", []),
        "error_model": stages["scale"].numbers.get("error_model"),
        "shells": everything.to_dict()["shells"],
    }


def _doubt(cc_half: float | None, r_int: float | None) -> tuple[str, ...]:
    """A sentence where equivalents do not agree at all, as those of a wrong lattice do, or nearly all are noise."""
    if cc_half is None or r_int is None or r_int < 0.5 or (cc_half > 0.3 and r_int < 1.2):
        return ()
    return (
        f"Equivalent intensities do not agree (CC½ {cc_half:.2f}, R_int {r_int:.2f}): the lattice is probably wrong. "
        "Look at the predicted spots on the page; try a known --cell or --beam-center.",
    )


def write_result(folder: Path, found: Processed) -> None:
    """Our own files, everybody else's, and the page."""
    from credo.io.project import write_experiment, write_reflections
    from credo.io.reflection_files import write_any
    from credo.pipeline.report_html import write_page

    write_experiment(folder / "experiment.json", found.experiment)
    write_reflections(folder / "spots.h5", found.spots)
    if found.reflections is not None:
        write_reflections(folder / "reflections.h5", found.reflections)
        if found.partials is not None:
            write_reflections(folder / "partials.h5", found.partials)
        main = found.reflections.select(found.reflections["lattice"] == 0)
        for name in ("XDS_ASCII.HKL", "shelx.hkl", "integrated.mtz", "integrated.cif", "integrated.refl"):
            write_any(folder / name, found.experiment, main)
    write_page(folder / "report.html", found)
