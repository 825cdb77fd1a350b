"""``credo cluster``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.pipeline.cluster import ClusterSettings
from credo.pipeline.cluster import cluster as run_cluster
from credo.pipeline.output import default_folder

__all__ = ["cluster"]


def cluster(
    paths: Annotated[
        list[Path],
        Parameter(
            help="Folders, or files with cells: experiment.json, XDS_ASCII.HKL, .expt, cells.yaml, .xlsx, .stream."
        ),
    ],
    /,
    *,
    known: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, negative="", help="Known phases: CIFs, or NAME=a,b,c,al,be,ga,CENTRING."),
    ] = None,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[ClusterSettings | None, Parameter(name="*")] = None,
) -> None:
    """Cells sorted by their lattice, then data sets by their intensities.

    The number of phases is found. Each member comes with the change of axes to those of its cluster, and with the
    probability of each known phase and of none of them, where such are given.
    """
    folder = out or default_folder("cluster", paths)
    with progress() as say:
        report = run_cluster(paths, folder, settings, force, say, known or ())
    show(report, folder, json, _summary)


def _summary(report: dict, folder: Path) -> str:
    lines = [
        f"{len(report['datasets'])} cells in {report['k']} clusters, cut at {report['metric']} {report['cut']:.3g}"
    ]
    if report["rejected"]:
        lines.append(f"{len(report['rejected'])} could not be read:")
        lines += [f"     {r['dataset']}: {r['reason']}" for r in report["rejected"][:10]]
    if "identity" in report:
        counts = ", ".join(f"{name} {n}" for name, n in report["phase_counts"].items())
        scale, esd = 100 * (report["camera_scale"] - 1), 100 * report["camera_scale_esd"]
        lines.append(f"known phases: {counts}; all lengths are {scale:+.1f}({esd:.1f}) % off the known cells")
    for k, part in enumerate(report["clusters"], start=1):
        cell = " ".join(f"{x:.2f}" for x in part["cell"])
        lines.append(f"{k:>3}  {len(part['members']):>4} members  {cell}")
        if "intensity_verdicts" in part:
            lines += _intensities(part, report["datasets"])
    return "\n".join([*lines, f"all in {folder / 'report.html'} and report.json"])


def _intensities(part: dict, names: list[str]) -> list[str]:
    """How the sets of one cell part by intensity, and why some are in no phase."""
    verdicts = part["intensity_verdicts"]
    sizes = [sum(v["label"] == k for v in verdicts) for k in range(1, part["intensity_k"] + 1)]
    lines = [f"     by intensity: {' + '.join(map(str, sizes)) or 'no two agree'}"]
    lines += [
        f"       {v['kind']}: {names[i]}: {v['reason']}" for i, v in zip(part["members"], verdicts) if v["label"] == 0
    ]
    return [*lines, *(f"     {w}" for w in part.get("warnings", []))]
