"""Refines a model with smtbx, in cctbx's own Python: ``python peer_smtbx.py < problem.json > answer.json``.

Run by benchmarks/refinement.py with the interpreter named in CREDO_CCTBX_PYTHON; credo never imports it. The problem
holds cell, hall, atoms (label, element, xyz, occupancy, u_iso or u_aniso in CIF convention), gaussians (element -> a,
b, c), hkl, f2, sigma, a, b, cycles; the answer agreement, parameters and their esds, and CPU seconds.
"""

import json
import sys
import time


def structure_of(problem):
    from cctbx import adptbx, crystal, eltbx, sgtbx, xray

    group = sgtbx.space_group_info("Hall: " + problem["hall"])
    symmetry = crystal.symmetry(unit_cell=problem["cell"], space_group_info=group)
    structure = xray.structure(crystal.special_position_settings(symmetry, min_distance_sym_equiv=0.3))
    for a in problem["atoms"]:
        cif = a.get("u_aniso")
        # cctbx orders tensors u11 u22 u33 u12 u13 u23, as we do
        u = adptbx.u_cif_as_u_star(structure.unit_cell(), cif) if cif else a["u_iso"]
        sc = xray.scatterer(a["label"], site=a["xyz"], u=u, occupancy=a["occupancy"], scattering_type=a["element"])
        structure.add_scatterer(sc)
    for sc in structure.scatterers():
        sc.flags.set_grad_site(True)
        sc.flags.set_grad_u_iso(sc.flags.use_u_iso())
        sc.flags.set_grad_u_aniso(sc.flags.use_u_aniso())
    table = {e: eltbx.xray_scattering.gaussian(g["a"], g["b"], g["c"]) for e, g in problem["gaussians"].items()}
    structure.scattering_type_registry(custom_dict=table)
    return structure


def refine(problem):
    from cctbx import miller
    from cctbx.array_family import flex
    from scitbx.lstbx import normal_eqns_solving
    from smtbx import utils
    from smtbx.refinement import constraints, least_squares

    structure = structure_of(problem)
    indices = flex.miller_index([tuple(h) for h in problem["hkl"]])
    array = miller.array(
        miller.set(structure.crystal_symmetry(), indices, anomalous_flag=problem["friedel_apart"]),
        flex.double(problem["f2"]), flex.double(problem["sigma"]),
    ).set_observation_type_xray_intensity()  # fmt: skip
    parameters = constraints.reparametrisation(
        structure=structure, constraints=[], connectivity_table=utils.connectivity_table(structure)
    )
    ls = least_squares.crystallographic_ls(
        array.as_xray_observations(), parameters, may_parallelise=False,
        weighting_scheme=least_squares.mainstream_shelx_weighting(a=problem["a"], b=problem["b"]),
    )  # fmt: skip
    started = time.process_time()
    done = normal_eqns_solving.naive_iterations(
        ls, n_max_iterations=problem["cycles"], track_all=True, gradient_threshold=1e-12, step_threshold=1e-10
    )
    seconds = time.process_time() - started
    return answer(ls, structure, seconds, max(done.n_iterations, 1))


def answer(ls, structure, seconds, cycles):
    covariance = ls.covariance_matrix_and_annotations()
    esd = {n: v**0.5 for n, v in zip(covariance.annotations, covariance.diagonal())}
    star = structure.unit_cell().reciprocal_parameters()[:3]
    atoms = []
    for sc in structure.scatterers():
        row = {"label": sc.label, "xyz": list(sc.site), "xyz_esd": [esd.get(f"{sc.label}.{k}", 0.0) for k in "xyz"]}
        if sc.flags.use_u_aniso():
            pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
            scale = [star[i] * star[j] for i, j in pairs]
            names = ["u11", "u22", "u33", "u12", "u13", "u23"]
            row["u"] = [u / s for u, s in zip(sc.u_star, scale)]
            row["u_esd"] = [esd.get(f"{sc.label}.{n}", 0.0) / s for n, s in zip(names, scale)]
        else:
            row["u"], row["u_esd"] = [sc.u_iso], [esd.get(f"{sc.label}.uiso", 0.0)]
        atoms.append(row)
    return {
        "r1": ls.r1_factor(cutoff_factor=2)[0], "n_observed": ls.r1_factor(cutoff_factor=2)[1], "wr2": ls.wR2(),
        "goof": ls.goof(), "n_parameters": ls.n_parameters, "atoms": atoms, "seconds": seconds, "cycles": cycles,
        "annotations": sorted(esd)[:12],
    }  # fmt: skip


if __name__ == "__main__":
    # cctbx must be imported before anything that brings another libstdc++
    import cctbx.xray  # noqa: F401

    json.dump(refine(json.load(sys.stdin)), sys.stdout)
