"""Many integrated data sets to merged intensities: common axes, Laue group, scale, space group, statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gemmi
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.space_group import find_space_group
from credo.merge.common_axes import common_axes, mean_cell
from credo.merge.damping import Damping, undamped
from credo.merge.halves import cc_half_by_crystals
from credo.merge.members import Member, scale_members
from credo.merge.one_setting import one_setting
from credo.merge.scale import Pool, Scaled, ScalingSettings, pool
from credo.merge.symmetry import GroupCandidate, LaueCandidate, rank_laue, rank_space_groups
from credo.model import CannotDo, Cell, Reflections, UnreadableInput
from credo.physics.symmetry import laue_rotations
from credo.pipeline.data_set import DataSet, Refused
from credo.pipeline.merge_input import read_phases, wavelengths
from credo.pipeline.merge_model import in_setting_of, intensities_of, on_axes_of, read_model
from credo.pipeline.output import Output, fingerprint, run_command
from credo.reduce.statistics import Statistics, find_resolution, merging_statistics

__all__ = ["MergeSettings", "Merged", "letters", "merge", "merge_sets"]

Progress = Callable[[str], None]


class MergeSettings(BaseModel):
    """What may be known beforehand, and what is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space_group: str | None = Field(default=None, description="known space group, Hermann-Mauguin or number")
    laue_group: str | None = Field(default=None, description="known Laue group, on the axes of the data")
    cell: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="cell a b c α β γ [Å, deg] of files that hold none"
    )
    d_min: float | None = Field(default=None, gt=0, description="leave out what is beyond this resolution [Å]")
    posterior: float = Field(
        default=0.05, ge=0, lt=1, description="a data set less likely than this to be of the phase is left out"
    )
    tolerance: float = Field(
        default=3.0, gt=0, lt=15, description="strain within which the lattice is taken as symmetric [%]"
    )
    ambiguity: bool = Field(default=True, description="bring sets that may be indexed in several ways into one setting")
    knot_deg: float = Field(
        default=4.0, gt=0, description="spacing of the knots of scale and B along the rotation [deg]"
    )
    model: Path | None = Field(
        default=None,
        description="refined structure (.cif, .res) by which the damping of strong reflections is taken "
        "out, crystal by crystal: what is merged then depends on it",
    )
    xscale: bool = Field(default=False, description="write XSCALE.INP and the data sets on common axes for it")
    dials: bool = Field(default=False, description="write the data sets on common axes for dials.scale")
    engine: Literal["credo", "xscale", "dials"] = Field(
        default="credo", description="who scales: credo, or a program that is installed"
    )


@dataclass(frozen=True)
class Merged:
    """One phase. ``sets``: those on common axes, in the order of ``members``; ``observations`` unmerged, scaled, with
    ``dataset``; ``table``: unique reflections; ``halves``: CC½ by crystals overall and by shell;
    ``damping``: what was found of it with a model."""

    name: str
    sets: list[DataSet]
    members: list[Member]
    refused: list[Refused]
    cell: Cell
    wavelength: float
    laue: LaueCandidate
    laue_candidates: list[LaueCandidate]
    group: gemmi.SpaceGroup
    candidates: list[GroupCandidate]
    data: Pool
    scaled: Scaled
    observations: Reflections
    table: Reflections
    everything: Statistics
    inside: Statistics
    resolution: float
    resolution_by: str
    halves: list[float]
    warnings: tuple[str, ...]
    damping: Damping | None = None


def merge(
    paths: Sequence[Path],
    out: Path,
    settings: MergeSettings | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """``credo merge``: reflection files, folders of them, or a result of `credo cluster`; returns the report."""
    paths, settings = [Path(p) for p in paths], settings or MergeSettings()
    say = progress or (lambda _: None)
    inputs = [*paths, *([settings.model] if settings.model else [])]
    output = Output(out, "merge", fingerprint([p for p in inputs if p.exists()], settings), inputs, settings)
    places = settings.xscale or settings.dials or settings.engine != "credo"

    def work(folder: Path) -> dict[str, Any]:
        from credo.pipeline.merge_output import numbers_of
        from credo.pipeline.page.merging import merging_page

        phases, refused = read_phases(paths, settings.cell, say, places)
        done, failed = _each(phases, refused, settings, folder, output.folder, say)
        report = [numbers_of(f) for f in done]
        (folder / "report.html").write_text(merging_page(done, failed, str(paths[0])), encoding="utf-8")
        every = [{"name": f.name, **n} for f, n in zip(done, report)]
        return {**report[0], "engine": settings.engine, "phases": every, "failed": failed}

    return run_command(output, work, force)


def _each(
    phases: list[list[DataSet]], refused: list[Refused], settings: MergeSettings, folder: Path, lasting: Path, say
) -> tuple[list[Merged], list[dict[str, Any]]]:
    """Merge and write phase by phase: what was done, and what failed with the reason; one phase has no folder."""
    from credo.pipeline.merge_output import write_phase

    done: list[Merged] = []
    failed: list[dict[str, Any]] = []
    for k, sets in enumerate(phases):
        name = letters(k)
        try:
            found = merge_sets(sets, settings, name, refused if k == 0 else [], say)
        except CannotDo as error:
            if len(phases) == 1:
                raise
            failed.append({"phase": name, "reason": error.reason, "datasets": [s.name for s in sets]})
            continue
        say(f"writing phase {name}")
        inside = "" if len(phases) == 1 else name
        (folder / inside).mkdir(exist_ok=True)
        write_phase(folder / inside, found, settings, lasting / inside)
        done.append(found)
    if not done:
        raise CannotDo(
            f"no phase could be merged: {failed[0]['reason']}", "see the reasons in report.json", {"failed": failed}
        )
    return done, failed


def letters(k: int) -> str:
    """A, B, ... Z, AA, ..."""
    return (letters(k // 26 - 1) if k >= 26 else "") + chr(65 + k % 26)


def merge_sets(
    sets: Sequence[DataSet],
    settings: MergeSettings | None = None,
    name: str = "A",
    refused: Sequence[Refused] = (),
    say: Progress = lambda _: None,
) -> Merged:
    """Merge the data sets of one phase."""
    settings = settings or MergeSettings()
    warnings: list[str] = []
    say("common axes")
    sets, out = _aligned(list(sets))
    refused = [*refused, *out]
    model = None if settings.model is None else read_model(settings.model)
    if model is not None:
        sets = on_axes_of(model, sets)
        settings = settings.model_copy(update={"space_group": model.space_group})
    wavelength = _wavelength(sets, warnings)
    say("symmetry of the lattice and the intensities")
    cell, centring = mean_cell([s.crystal.cell for s in sets], np.eye(3)[None]), sets[0].crystal.centring
    candidates = _laue_groups(sets, cell, centring, settings)
    laue = candidates[0]
    sets = [s.on(laue.change, laue.centring, laue.laue_group) for s in sets]
    if settings.ambiguity:
        say("one setting for all")
        sets = _in_one_setting(sets, laue, settings)
    if model is not None:
        sets = in_setting_of(model, sets, settings.tolerance / 100)
    cell = mean_cell([s.crystal.cell for s in sets], laue_rotations(laue.laue_group))
    say("scaling")
    smooth = ScalingSettings(knot_deg=settings.knot_deg)
    observed, names = pool([_within(s.table, cell, settings.d_min) for s in sets]), [s.name for s in sets]
    data, scaled, members = scale_members(observed, cell, laue.laue_group, smooth, names, settings.posterior)
    damping = None
    if model is not None:
        say("damping of strong reflections")
        f2 = intensities_of(model, scaled.hkl)
        data, scaled, damping = undamped(data, scaled, f2, cell, laue.laue_group, wavelength, smooth)
    say("space group and statistics")
    observations, table = _tables(data, scaled, cell, damping)
    groups = rank_space_groups(table, cell, laue.laue_group, laue.centring, scaled.errors.a * scaled.errors.b)
    group = _find_group(settings) or groups[0].group
    everything = merging_statistics(observations, cell, laue.laue_group, laue.centring)
    resolution, by = find_resolution(everything)
    inside = merging_statistics(observations, cell, laue.laue_group, laue.centring, group.xhm(), d_min=resolution)
    halves = cc_half_by_crystals(data, scaled, _shells_of(scaled, cell, everything, resolution))
    _doubts(warnings, candidates, groups, settings, members, inside)
    return Merged(
        name, sets, members, refused, cell, wavelength, laue, candidates, group, groups, data, scaled, observations,
        table, everything, inside, resolution, by, halves, tuple(warnings), damping,
    )  # fmt: skip


def _aligned(sets: list[DataSet]) -> tuple[list[DataSet], list[Refused]]:
    """The sets on the axes of one of them, and those whose lattice is another."""
    axes = common_axes(
        [s.crystal.cell for s in sets], [s.crystal.centring for s in sets], [float(len(s.table)) for s in sets]
    )  # fmt: skip
    reference = sets[axes.reference].crystal
    kept, out = [], []
    for s, change, strain in zip(sets, axes.change, axes.strain):
        if change is None:
            text = " ".join(f"{x:.2f}" for x in s.crystal.cell.parameters)
            out.append(Refused(s.name, f"its cell {text} is strained by {strain:.1%} against that of the others"))
            continue
        moved = s.on(change, reference.centring, reference.laue_group)
        if len(moved.table):
            kept.append(moved)
        else:
            out.append(Refused(s.name, "none of its indices is whole on the common axes"))
    return kept, out


def _in_one_setting(sets: list[DataSet], laue: LaueCandidate, settings: MergeSettings) -> list[DataSet]:
    cell = mean_cell([s.crystal.cell for s in sets], np.eye(3)[None])
    tables = [s.table for s in sets]
    changes = one_setting(tables, cell, laue.laue_group, laue.centring, settings.tolerance / 100)
    return [s.on(t, laue.centring, laue.laue_group) for s, t in zip(sets, changes)]


def _wavelength(sets: Sequence[DataSet], warnings: list[str]) -> float:
    known = wavelengths(sets)
    if not len(known):
        return sets[0].experiment.beam.wavelength
    middle = float(np.median(known))
    if np.abs(known / middle - 1).max() > 0.01:
        warnings.append(
            f"The wavelengths differ ({known.min():.5f} to {known.max():.5f} Å): intensities of different voltages are "
            f"merged as if they were alike, and {middle:.5f} Å is written."
        )
    return middle


def _laue_groups(sets, cell: Cell, centring: str, settings: MergeSettings) -> list[LaueCandidate]:
    """Ranked, or the one that is given."""
    given = settings.laue_group
    group = _find_group(settings)
    if group is not None:
        laue = group.laue_str()
        given = laue if laue != "-3m" else "-31m" if "31m" in group.point_group_hm() else "-3m1"
        centring = "P" if group.ext == "R" else group.centring_type()
    if given is not None:
        laue_rotations(given)
        return [LaueCandidate(given, 1.0, np.eye(3), centring, float("nan"), 0.0)]
    return rank_laue([s.table for s in sets], cell, centring, settings.tolerance / 100)


def _find_group(settings: MergeSettings) -> gemmi.SpaceGroup | None:
    if settings.space_group is None:
        return None
    group = find_space_group(settings.space_group)
    if group is None:
        raise UnreadableInput(
            f"{settings.space_group!r} is not a space group", "write it as P 21 21 21, or give its number"
        )
    return group


def _within(table: Reflections, cell: Cell, d_min: float | None) -> Reflections:
    return table if d_min is None else table.select(cell.d_spacing(table.hkl) >= d_min)


def _tables(
    data: Pool, scaled: Scaled, cell: Cell, damping: Damping | None
) -> tuple[Reflections, Reflections]:  # fmt: skip
    """Unmerged on the common scale, and merged; ``scale``: by what the intensities were divided in all."""
    hkl = data.hkl
    damped = damping.factor if damping is not None and damping.applied else 1.0
    observations = Reflections(
        h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=data.intensity / scaled.scale, sigma=scaled.sigma_scaled,
        phi=data.phi, dataset=data.dataset, rejected=scaled.outlier & (scaled.multiplicity[scaled.of] > 2),
        scale=scaled.scale * damped,
    )  # fmt: skip
    h = scaled.hkl
    table = Reflections(
        h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=scaled.intensity, sigma=scaled.sigma,
        multiplicity=scaled.multiplicity, d=cell.d_spacing(h),
    )  # fmt: skip
    return observations, table


def _shells_of(scaled: Scaled, cell: Cell, statistics: Statistics, resolution: float) -> list[np.ndarray]:
    """Rows of the unique reflections within the resolution, and of each shell."""
    d = cell.d_spacing(scaled.hkl)
    shells = [np.flatnonzero((d <= s.d_max) & (d > s.d_min)) for s in statistics.shells]
    return [np.flatnonzero(d >= resolution), *shells]


def _doubts(
    warnings: list[str], laue: list[LaueCandidate], groups: list[GroupCandidate], settings: MergeSettings,
    members: list[Member], inside: Statistics,
) -> None:  # fmt: skip
    """What a user must know before using the result."""
    if len(laue) > 1 and laue[1].probability > 0.1:
        warnings.append(
            f"The Laue group {laue[0].laue_group} (probability {laue[0].probability:.2f}) is hardly likelier than "
            f"{laue[1].laue_group} ({laue[1].probability:.2f}): few equivalents were measured."
        )
    if settings.space_group is None and groups[0].probability < 0.7:
        others = ", ".join(f"{g.symbol} {g.probability:.2f}" for g in groups[:3])
        warnings.append(f"The space group is not settled by intensities alone: {others}. A solution decides.")
    if len(groups) and groups[0].twin is not None and settings.space_group is None:
        warnings.append(
            f"{groups[0].symbol} and its mirror image {groups[0].twin.xhm()} cannot be told apart by intensities."
        )
    gone = sum(not m.kept for m in members)
    if gone > 0.3 * len(members):
        warnings.append(f"{gone} of {len(members)} data sets were left out: see the reasons.")
    if inside.overall.completeness < 0.6:
        warnings.append(f"Only {inside.overall.completeness:.0%} of the unique reflections were measured.")
    if sum(m.kept for m in members) == 1:
        warnings.append("One data set: nothing is told by the agreement of crystals.")
