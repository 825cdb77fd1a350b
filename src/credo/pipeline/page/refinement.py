"""The page of a refinement: structure, Fo against Fc, residuals, map, worst reflections, atoms, bonds."""

from __future__ import annotations

import numpy as np

from credo.io.cif import with_esd
from credo.pipeline.page.chart import Chart, resolution_ticks
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.map_section import SCRIPTS, map_section
from credo.pipeline.page.markup import esc, figure, key_values, section, table
from credo.pipeline.page.structure3d import structure_section
from credo.solve.refine.contents import contents_of
from credo.solve.refine.geometry import angle_list, bond_list, without_hydrogens
from credo.solve.refine.result import outliers
from credo.solve.refine.run import Refinement

__all__ = ["refinement_page"]


def refinement_page(done: Refinement, name: str) -> str:
    """One self-contained HTML file."""
    structure = done.refined.structure
    parts = [
        Part("structure", "Structure", structure_section(structure)), Part("fit", "Fit", _fit(done)),
        Part("map", "Difference map", map_section({"Fo − Fc": done.difference}, structure, title="Difference map")),
        Part("peaks", "Peaks", _peaks(done)), Part("disagreement", "Worst reflections", _worst(done)),
        Part("atoms", "Atoms", _atoms(done)), Part("bonds", "Bonds and angles", _bonds(done)),
        Part("restraints", "Restraints", _restraints(done)),
    ]  # fmt: skip
    return document(f"Refinement of {name}", _headline(done), parts, "", done.notes, SCRIPTS)


def _headline(done: Refinement) -> str:
    refined, a = done.refined, done.refined.agreement
    cell, contents = refined.structure.cell, contents_of(refined.structure, done.prepared.z)
    w = refined.model.weights
    rows = [
        ("Formula", f"{esc(contents.text)}, Z = {contents.z:g}, {contents.density:.3f} g cm⁻³"),
        ("Space group", esc(refined.structure.space_group)), ("Cell", esc(str(cell))),
        ("R1 of I > 2σ", f"{a.r1:.4f} ({a.n_observed} reflections)"), ("R1 of all", f"{a.r1_all:.4f} ({a.n_all})"),
        ("wR2", f"{a.wr2:.4f}"), ("Goodness of fit", f"{a.goof:.3f}, with restraints {a.goof_restrained:.3f}"),
        ("Parameters, restraints", f"{refined.n_parameters}, {len(refined.restraint_rows)}"),
        ("Largest last shift", f"{refined.shift_over_esd:.3f} esd"), ("Weights", f"a = {w.a:g}, b = {w.b:g}"),
        ("Difference map", f"{done.difference.min():.3f} … {done.difference.max():.3f} Å⁻²"),
    ]  # fmt: skip
    if done.merged.r_int is not None:
        rows.append(("R_int", f"{done.merged.r_int:.4f} ({done.merged.read} measured)"))
    if refined.model.extinction is not None:
        value = with_esd(refined.model.extinction, refined.global_esd.get("extinction"), 3)
        rows.append(("Extinction", esc(value)))
    return key_values(rows)


def _fit(done: Refinement) -> str:
    refined = done.refined
    fo = np.sqrt(np.maximum(refined.data.f2, 0) / refined.k)
    fc = np.sqrt(np.maximum(refined.y, 0))
    top = float(max(fo.max(), fc.max())) * 1.03
    strong = refined.data.f2 > 2 * refined.data.sigma
    chart = Chart((0, top), (0, top), "Fc", "Fo", (420, 400))
    chart.line(np.array([0, top]), np.array([0, top]), "quiet", "", "dashed")
    chart.dots(fc[~strong], fo[~strong], "quiet", "I < 2σ", 1.4).dots(fc[strong], fo[strong], "c1", "I > 2σ", 1.8)
    first = figure("fo-fc", chart.svg("Fo against Fc", f"{len(fo)} reflections"), "Observed and calculated amplitudes.")
    return section("fit", "Fit", f'<div class="three">{first}{_by_resolution(done, fo, fc)}{_normal_plot(done)}</div>')


def _by_resolution(done: Refinement, fo: np.ndarray, fc: np.ndarray) -> str:
    refined = done.refined
    q2 = 1 / refined.structure.cell.d_spacing(refined.data.hkl) ** 2
    shells = np.array_split(np.argsort(q2), int(np.clip(len(q2) // 40, 2, 15)))
    x = np.array([q2[s].mean() for s in shells])
    r = np.array([np.abs(fo[s] - fc[s]).sum() / max(fo[s].sum(), 1e-12) for s in shells])
    k = np.array([fo[s].sum() / max(fc[s].sum(), 1e-12) for s in shells])
    span = (0.0, float(q2.max()) * 1.02)
    chart = Chart(
        span, (0, max(1.25, float(r.max()) * 1.1)), "d [Å]", "R1, ΣFo/ΣFc", (420, 400), resolution_ticks(*span)
    )
    chart.line(x, r, "c2", "R1").dots(x, r, "c2", radius=3).line(x, k, "c1", "ΣFo/ΣFc").rule(y=1.0)
    return figure("by-resolution", chart.svg("Agreement with resolution", "R1 and the scale in shells"),
                  "R1 and the scale in shells of equal numbers of reflections.")  # fmt: skip


def _normal_plot(done: Refinement) -> str:
    """Sorted residuals against those of a normal distribution (Abrahams & Keve, Acta Cryst. A27 (1971) 157)."""
    from scipy.stats import norm

    refined = done.refined
    error = np.sort(np.sqrt(refined.weights) * (refined.data.f2 - refined.k * refined.y))
    expected = norm.ppf((np.arange(len(error)) + 0.5) / len(error))
    reach = float(min(max(abs(error[0]), abs(error[-1])), 8)) * 1.05
    chart = Chart((-4, 4), (-reach, reach), "expected", "(Fo² − Fc²)/esd", (420, 400))
    chart.line(np.array([-4, 4]), np.array([-4, 4]), "quiet", "", "dashed").dots(expected, error, "c1", radius=1.5)
    return figure("normal", chart.svg("Normal probability plot", "sorted residuals"),
                  "Residuals as they would lie on the line if errors were normal and the weights right.")  # fmt: skip


def _worst(done: Refinement) -> str:
    rows = [
        (" ".join(map(str, o.hkl)), f"{o.fo2:.2f}", f"{o.fc2:.2f}", f"{o.error_over_esd:+.1f}", f"{o.d:.2f}")
        for o in outliers(done.refined, 30)
    ]
    head = ("h k l", "Fo²", "Fc²", "error/esd", "d [Å]")
    return section("disagreement", "Worst reflections", table("outliers", "Beyond 3 esd", head, rows))


def _atoms(done: Refinement) -> str:
    refined = done.refined
    rows = []
    for i, a in enumerate(refined.structure.atoms):
        esd = refined.esd[i]
        u = with_esd(a.u_iso, esd[4] or None if a.u_aniso is None else None, 4)
        rows.append((a.label, *(with_esd(v, e or None, 5) for v, e in zip(a.xyz, esd[:3])), u, f"{a.occupancy:.3g}"))
    head = ("Atom", "x", "y", "z", "U or Ueq [Å²]", "occupancy")
    return section("atoms", "Atoms", table("atoms", f"{len(rows)} atoms", head, rows))


def _bonds(done: Refinement) -> str:
    bonds = without_hydrogens(done.refined)
    lengths = [(f"{b.a}–{b.b}", with_esd(b.value, b.esd, 3), b.code) for b in bond_list(done.refined, bonds)]
    angles = [
        (f"{a.a}–{a.centre}–{a.b}", with_esd(a.value, a.esd, 1), f"{a.codes[0]} {a.codes[1]}")
        for a in angle_list(done.refined, bonds)[:400]
    ]
    return section(
        "bonds", "Bonds and angles", table("bonds", "Bonds [Å]", ("Bond", "length", "symmetry"), lengths),
        table("angles", "Angles [°]", ("Angle", "value", "symmetry"), angles),
    )  # fmt: skip


def _restraints(done: Refinement) -> str:
    """Those that the model obeys least."""
    labels = [a.label for a in done.refined.structure.atoms]
    rows = done.refined.restraint_rows
    worst = sorted(rows, key=lambda r: -abs(r.value - r.target) / r.sigma)[:30]
    shown = [
        (r.kind, " ".join(labels[i] for i in r.atoms), f"{r.value:.4f}", f"{r.target:.4f}", f"{r.sigma:.4f}")
        for r in worst
        if abs(r.value - r.target) > r.sigma
    ]
    head = ("Kind", "Atoms", "value", "target", "σ")
    return section("restraints", "Restraints", table("restraints", f"Beyond σ, of {len(rows)}", head, shown))


def _peaks(done: Refinement) -> str:
    rows = [
        (f"Q{n}", *(f"{v:.4f}" for v in p.xyz), f"{p.height:.3f}", f"{p.sigma:.1f}", f"{p.nearest:.2f} to {p.atom}")
        for n, p in enumerate(done.peaks, 1)
    ]
    head = ("Peak", "x", "y", "z", "height [Å⁻²]", "σ of the map", "nearest atom [Å]")
    return section("peaks", "Peaks", table("peaks", "Highest peaks of Fo − Fc", head, rows))
