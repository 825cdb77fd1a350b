"""``credo merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.pipeline.merge import MergeSettings
from credo.pipeline.merge import merge as run_merge
from credo.pipeline.output import default_folder

__all__ = ["merge"]


def merge(
    paths: Annotated[
        list[Path],
        Parameter(
            help="XDS_ASCII.HKL, INTEGRATE.HKL, .refl with .expt, .hkl with .ins, folders of `credo process` or of any "
            "of these, or one result of `credo cluster`."
        ),
    ],
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[MergeSettings | None, Parameter(name="*")] = None,
) -> None:
    """Integrated data sets of one phase, or of each phase of a `credo cluster`, scaled together and merged.

    Brings cells onto common axes, finds Laue group and space group, scales, judges every set by the others, and writes
    the merged intensities for SHELX, CCP4 and CIF readers, a table of the data sets, report.html and report.json.
    """
    folder = out or default_folder("merge", paths)
    with progress() as say:
        report = run_merge(paths, folder, settings, force, say)
    show(report, folder, json, _summary)


def _summary(report: dict, folder: Path) -> str:
    out = []
    for p in report["phases"]:
        cell = " ".join(f"{x:.2f}" for x in p["cell"])
        others = ", ".join(f"{c['space_group']} {c['probability']:.2f}" for c in p["candidates"][:3])
        r = f"R_int {_number(p['r_int'])}, R_meas {_number(p['r_meas'])}, CC½ {_number(p['cc_half'])}"
        out += [
            f"phase {p['name']}: {len(p['members'])} data sets, {len(p['rejected'])} left out",
            f"  cell         {cell}",
            f"  space group  {p['space_group']} (probabilities: {others})",
            f"  complete     {100 * p['completeness']:.1f} % to {p['resolution']:.2f} Å, {p['multiplicity']:.1f} times",
            f"  merging      {r}, by crystals {_number(p['cc_half_by_crystals'])}",
        ]
        if d := p.get("damping"):
            out.append(f"  damping      {'taken out' if d['applied'] else 'not taken out'}: {d['reason']}")
        out += [f"  left out     {x['dataset']}: {x['reason']}" for x in p["rejected"][:10]]
    out += [f"phase {f['phase']}: not merged, {f['reason']}" for f in report["failed"]]
    return "\n".join([*out, f"page {folder / 'report.html'}"])


def _number(value: float | None) -> str:
    return "not determined" if value is None else f"{value:.3f}"
