"""A refined structure as CIF with the usual items, its instructions and reflections embedded, and as .fcf.

Names: core dictionary of the IUCr (cif_core 3.4), with the items that it has for electrons; the potential's extremes
in e Å⁻¹ as it wants them: 2π a₀ times those of the map in Å⁻² (φ = h²/(2π m e) ρ, and e/4πε₀ is the unit).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

import gemmi
import numpy as np

from credo import __version__
from credo.io.cif import with_esd
from credo.io.cif_electron import CITATION, collection_items, source_items
from credo.model import Acquisition
from credo.solve.refine.connectivity import bonds_of
from credo.solve.refine.contents import contents_of
from credo.solve.refine.crystal import equivalent_u
from credo.solve.refine.data import Merged, completeness
from credo.solve.refine.geometry import angle_list, bond_list
from credo.solve.refine.result import Refined

__all__ = ["CifExtras", "fcf_text", "structure_cif"]

#: 2π times Bohr's radius [Å].
_POTENTIAL = 2 * np.pi * 0.529177210903
_REFERENCES = (
    f"The credo developers (2026). credo {__version__}: 3D electron diffraction from the grid to the structure.",
    "Wojdyr, M. (2022). J. Open Source Softw. 7, 4200 (GEMMI).",
    "Colliex, C. et al. (2006). International Tables for Crystallography, Vol. C, ch. 4.3 (scattering factors).",
)


@dataclass(frozen=True)
class CifExtras:
    """What the CIF also tells: the merge, the map's extremes [Å⁻²], the .res and .hkl to embed, Z; how the data were
    measured; ``theory``: kinematical or dynamical."""

    wavelength: float
    merged: Merged | None = None
    residual: tuple[float, float, float] | None = None
    res: str = ""
    hkl: str = ""
    z: float = 0.0
    d_min: float | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)
    acquisition: Acquisition = field(default_factory=Acquisition)
    theory: str = "kinematical"
    solution: str = "?"


def structure_cif(refined: Refined, extras: CifExtras, name: str = "credo") -> str:
    """The text of the CIF."""
    document = gemmi.cif.Document()
    block = document.add_new_block("".join(c if c.isalnum() or c in "_.-" else "_" for c in name)[:60] or "credo")
    for items in (
        _audit(extras), _chemistry(refined, extras), _crystal(refined), _experiment(refined, extras),
        _reflections(refined), _refinement(refined, extras),
    ):  # fmt: skip
        for key, value in items:
            block.set_pair(key, _quoted(value))
    _operations(block, refined)
    _atoms(block, refined)
    _geometry(block, refined)
    if extras.res:
        block.set_pair("_iucr_refine_instructions_details", _quoted(extras.res))
    if extras.hkl:
        block.set_pair("_iucr_refine_reflections_details", _quoted(extras.hkl))
    return document.as_string()


def _quoted(value: str) -> str:
    return value if value in ("?", ".") else gemmi.cif.quote(value)


def _audit(extras: CifExtras) -> list[tuple[str, str]]:
    return [
        ("_audit_creation_date", datetime.now(UTC).date().isoformat()),
        ("_audit_creation_method", f"credo {__version__}"),
        ("_computing_structure_solution", extras.solution),
        ("_computing_structure_refinement", CITATION),
        ("_computing_publication_material", f"{CITATION}; GEMMI {version('gemmi')} (Wojdyr, 2022)"),
        ("_publ_section_references", "\n".join(_REFERENCES)),
    ]


def _chemistry(refined: Refined, extras: CifExtras) -> list[tuple[str, str]]:
    contents = contents_of(refined.structure, extras.z)
    return [
        ("_chemical_formula_sum", contents.text),
        ("_chemical_formula_weight", f"{contents.weight:.2f}"),
        ("_cell_formula_units_Z", f"{contents.z:g}"),
        ("_exptl_crystal_density_diffrn", f"{contents.density:.3f}"),
    ]


def _crystal(refined: Refined) -> list[tuple[str, str]]:
    cell = refined.structure.cell
    group = gemmi.SpaceGroup(refined.structure.space_group)
    esd = cell.esd or (None,) * 6
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    digits = (4, 4, 4, 3, 3, 3)
    out = [(f"_cell_{n}", with_esd(v, e or None, d)) for n, v, e, d in zip(names, cell.parameters, esd, digits)]
    return [
        *out, ("_cell_volume", f"{cell.volume:.2f}"), ("_space_group_crystal_system", group.crystal_system_str()),
        ("_space_group_IT_number", str(group.number)), ("_space_group_name_H-M_alt", group.xhm()),
        ("_space_group_name_Hall", group.hall),
    ]  # fmt: skip


def _experiment(refined: Refined, extras: CifExtras) -> list[tuple[str, str]]:
    theta = _theta(refined, extras.wavelength)
    formula = contents_of(refined.structure, extras.z).formula
    out = [
        *source_items(extras.wavelength), *collection_items(extras.acquisition, extras.wavelength, formula),
        ("_diffrn_reflns_theta_min", f"{theta.min():.3f}"), ("_diffrn_reflns_theta_max", f"{theta.max():.3f}"),
    ]  # fmt: skip
    if extras.merged is not None:
        r_int = extras.merged.r_int
        out += [
            ("_diffrn_reflns_number", str(extras.merged.read)),
            ("_diffrn_reflns_av_R_equivalents", "?" if r_int is None else f"{r_int:.4f}"),
        ]
    data, group = refined.data, gemmi.SpaceGroup(refined.structure.space_group)
    share = completeness(data.hkl, group, refined.structure.cell)
    noise = float(data.sigma.sum() / max(np.maximum(data.f2, 0).sum(), 1e-300))
    out += [
        ("_diffrn_measured_fraction_theta_max", f"{share:.4f}"), ("_diffrn_reflns_av_unetI/netI", f"{noise:.4f}"),
    ]  # fmt: skip
    return out


def _theta(refined: Refined, wavelength: float) -> np.ndarray:
    d = refined.structure.cell.d_spacing(refined.data.hkl)
    return np.degrees(np.arcsin(np.clip(wavelength / (2 * d), 0, 1)))


def _reflections(refined: Refined) -> list[tuple[str, str]]:
    a, d = refined.agreement, refined.structure.cell.d_spacing(refined.data.hkl)
    h = refined.data.hkl
    limits = [(f"_reflns_limit_{x}_{w}", str(int(f(h[:, k])))) for k, x in enumerate("hkl") for w, f in _ENDS]
    return [
        ("_reflns_number_total", str(a.n_all)), ("_reflns_number_gt", str(a.n_observed)),
        ("_reflns_threshold_expression", "I > 2\\s(I)"), ("_reflns_d_resolution_high", f"{d.min():.4f}"),
        ("_reflns_d_resolution_low", f"{d.max():.4f}"), *limits,
    ]  # fmt: skip


_ENDS = (("min", np.min), ("max", np.max))


def _refinement(refined: Refined, extras: CifExtras) -> list[tuple[str, str]]:
    a, model = refined.agreement, refined.model
    w = model.weights
    formula = f"w=1/[\\s^2^(Fo^2^)+({w.a:.4f}P)^2^+{w.b:.4f}P] where P=(Fo^2^+2Fc^2^)/3"
    hydrogens = "constr" if model.riding else "undef"
    out = [
        ("_refine.diffraction_theory", extras.theory),
        ("_refine_ls_structure_factor_coef", "Fsqd"), ("_refine_ls_matrix_type", "full"),
        ("_refine_ls_weighting_scheme", "calc"), ("_refine_ls_weighting_details", formula),
        ("_refine_ls_hydrogen_treatment", hydrogens),
        ("_refine_ls_number_reflns", str(a.n_all)), ("_refine_ls_number_parameters", str(refined.n_parameters)),
        ("_refine_ls_number_restraints", str(len(refined.restraint_rows))),
        ("_refine_ls_R_factor_all", f"{a.r1_all:.4f}"), ("_refine_ls_R_factor_gt", f"{a.r1:.4f}"),
        ("_refine_ls_wR_factor_ref", f"{a.wr2:.4f}"), ("_refine_ls_wR_factor_gt", f"{a.wr2_observed:.4f}"),
        ("_refine_ls_goodness_of_fit_ref", f"{a.goof:.3f}"),
        ("_refine_ls_restrained_S_all", f"{a.goof_restrained:.3f}"),
        ("_refine_ls_shift/su_max", f"{refined.shift_over_esd:.3f}"),
        *_extinction(refined), ("_refine_special_details", _remarks(refined, extras)),
    ]  # fmt: skip
    if extras.residual is not None:
        names = ("max", "min", "RMS")
        out += [(f"_refine_diff.potential_{n}", f"{v * _POTENTIAL:.3f}") for n, v in zip(names, extras.residual)]
    return out


def _extinction(refined: Refined) -> list[tuple[str, str]]:
    x = refined.model.extinction
    if x is None:
        return [("_refine_ls_extinction_method", "none")]
    return [
        ("_refine_ls_extinction_method", "SHELXL"),
        ("_refine_ls_extinction_coef", with_esd(x, refined.global_esd.get("extinction"), 4)),
        ("_refine_ls_extinction_expression", "Fc^*^=kFc[1+0.001xFc^2^\\l^3^/sin(2\\q)]^-1/4^"),
    ]


def _remarks(refined: Refined, extras: CifExtras) -> str:
    lines = [
        f"Refinement on F^2^ of electron diffraction ({extras.theory} theory) with electron scattering factors "
        "(International Tables C 4.3.2.2)."
    ]
    if extras.theory == "dynamical":
        lines.append("Agreement is told against intensities corrected for dynamical diffraction.")
    if refined.model.solvent is not None:
        lines.append(f"Solvent by Babinet's principle: g = {refined.model.solvent[0]:.4f}.")
    if refined.model.twin is not None:
        lines.append("Twin fractions: " + ", ".join(f"{f:.4f}" for f in refined.model.twin.fractions) + ".")
    return "\n".join([*lines, *extras.notes])


def _operations(block, refined: Refined) -> None:
    loop = block.init_loop("_space_group_symop_", ["id", "operation_xyz"])
    for i, op in enumerate(gemmi.SpaceGroup(refined.structure.space_group).operations(), start=1):
        loop.add_row([str(i), _quoted(op.triplet())])


def _atoms(block, refined: Refined) -> None:
    structure, esd = refined.structure, refined.esd
    riding = {h for r in refined.model.riding for h in r.atoms}
    names = [
        "label", "type_symbol", "fract_x", "fract_y", "fract_z", "U_iso_or_equiv", "adp_type", "occupancy",
        "site_symmetry_order", "calc_flag", "refinement_flags_posn", "disorder_group",
    ]  # fmt: skip
    loop = block.init_loop("_atom_site_", names)
    for i, a in enumerate(structure.atoms):
        xyz = [with_esd(v, e or None, 5) for v, e in zip(a.xyz, [0, 0, 0] if i in riding else esd[i, :3])]
        part = refined.model.parts[i]
        aniso = a.u_aniso is not None
        loop.add_row([
            a.label, a.element, *xyz, with_esd(a.u_iso, _u_esd(refined, i) or None, 4), "Uani" if aniso else "Uiso",
            with_esd(a.occupancy, esd[i, 3] or None, 4) if esd[i, 3] else f"{a.occupancy:g}", str(refined.orders[i]),
            "calc" if i in riding else "d", "R" if i in riding else "S" if refined.orders[i] > 1 else ".",
            str(part) if part else ".",
        ])  # fmt: skip
    if any(a.u_aniso is not None for a in structure.atoms):
        loop = block.init_loop("_atom_site_aniso_", ["label", "U_11", "U_22", "U_33", "U_23", "U_13", "U_12"])
        for i, a in enumerate(structure.atoms):
            if a.u_aniso is not None:
                row = [with_esd(float(a.u_aniso[k]), esd[i, 4 + k] or None, 4) for k in (0, 1, 2, 5, 4, 3)]
                loop.add_row([a.label, *row])


def _u_esd(refined: Refined, i: int) -> float:
    """σ of U_iso, or of U_eq by the full covariance."""
    if refined.structure.atoms[i].u_aniso is None:
        return float(refined.esd[i, 4])
    v = refined.c[10 * i + 4 : 10 * i + 10].T @ equivalent_u(refined.structure.cell)
    n = refined.c.shape[1]
    return float(np.sqrt(max(v @ refined.covariance[:n, :n] @ v, 0)))


def _geometry(block, refined: Refined) -> None:
    bonds = bonds_of(refined.structure, refined.model.parts)
    loop = block.init_loop(
        "_geom_bond_", ["atom_site_label_1", "atom_site_label_2", "distance", "site_symmetry_2", "publ_flag"]
    )
    for b in bond_list(refined, bonds):
        loop.add_row([b.a, b.b, with_esd(b.value, b.esd, 4), b.code, "?"])
    ends = [f"_geom_angle_{n}" for n in ("atom_site_label_1", "atom_site_label_2", "atom_site_label_3")]
    rest = [f"_geom_angle_{n}" for n in ("site_symmetry_1", "site_symmetry_3", "publ_flag")]
    angles = angle_list(refined, bonds)
    if angles:
        loop = block.init_loop("", [*ends, "_geom_angle", *rest])
        for a in angles:
            loop.add_row([a.a, a.centre, a.b, with_esd(a.value, a.esd, 2), *a.codes, "?"])


def fcf_text(refined: Refined, name: str = "credo") -> str:
    """SHELXL's LIST 4 (h k l Fc² Fo² σ, on the scale of Fc²) with the phase of Fc [deg] beside."""
    document = gemmi.cif.Document()
    block = document.add_new_block("".join(c if c.isalnum() or c in "_.-" else "_" for c in name)[:60] or "credo")
    block.set_pair("_shelx_refln_list_code", "4")
    for key, value in _crystal(refined):
        block.set_pair(key, _quoted(value))
    _operations(block, refined)
    names = ("index_h", "index_k", "index_l", "F_squared_calc", "F_squared_meas", "F_squared_sigma", "phase_calc")
    loop = block.init_loop("_refln_", [*names, "observed_status"])
    k, data = refined.k, refined.data
    phase = np.degrees(np.angle(refined.f_calc)) % 360
    for hkl, y, fo2, s, p in zip(data.hkl.tolist(), refined.y, data.f2 / k, data.sigma / k, phase):
        loop.add_row([*map(str, hkl), f"{y:.5g}", f"{fo2:.6g}", f"{s:.5g}", f"{p:.1f}", "o" if fo2 > 2 * s else "<"])
    return document.as_string()
