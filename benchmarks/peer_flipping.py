"""Charge flipping by smtbx in cctbx's own Python: ``python peer_flipping.py < problem.json > answer.json``.

Run by benchmarks/solution.py with the interpreter named in CREDO_CCTBX_PYTHON; credo never imports it. The problem has
cell, hall (smtbx wants the true space group), hkl, intensity, n_sites (of the asymmetric unit), seed, seconds; the
answer sites and CPU seconds, or why there are none. Two of its defects are gone round: a number of iterations that
becomes a fraction, and an assertion in the normalisation, for which it gets plain amplitudes.
"""

import json
import random
import sys
import time


def flipped(problem, f_obs, normalised):
    """The first solution that it believes in, started again until time is up."""
    from cctbx.array_family import flex
    from smtbx.ab_initio import charge_flipping

    class Whole(charge_flipping.solving_iterator):
        _most = 500
        max_solving_iterations = property(lambda s: s._most, lambda s, n: setattr(s, "_most", int(n)))

    started, best = time.process_time(), None
    flex.set_random_seed(problem["seed"])
    random.seed(problem["seed"])
    while time.process_time() - started < problem["seconds"]:
        solving = Whole(
            charge_flipping.weak_reflection_improved_iterator(delta=None), f_obs,
            normalisations_for=charge_flipping.amplitude_quasi_normalisations if normalised else None,
            yield_during_delta_guessing=True, yield_solving_interval=20,
        )  # fmt: skip
        for _ in solving:
            if solving.state is solving.finished or time.process_time() - started > problem["seconds"]:
                break
        if solving.f_calc_solutions:
            best = max(solving.f_calc_solutions, key=lambda s: s[2])
            break
    return best, time.process_time() - started


def answer(problem):
    from cctbx import crystal, maptbx, miller, sgtbx
    from cctbx.array_family import flex

    symmetry = crystal.symmetry(
        unit_cell=problem["cell"], space_group_info=sgtbx.space_group_info("Hall: " + problem["hall"])
    )
    chosen = miller.set(symmetry, flex.miller_index([tuple(h) for h in problem["hkl"]]), anomalous_flag=False)
    f_obs = miller.array(
        chosen, flex.double([max(i, 0.0) ** 0.5 for i in problem["intensity"]])
    ).set_observation_type_xray_amplitude()
    try:
        best, seconds = flipped(problem, f_obs, True)
    except AssertionError:
        best, seconds = flipped(problem, f_obs, False)
    if best is None:
        return {"sites": [], "seconds": seconds, "why": "no phase transition"}
    f_calc, _, cc = best
    grid = f_calc.fft_map(symmetry_flags=maptbx.use_space_group_symmetry, resolution_factor=1 / 3)
    grid.apply_volume_scaling()
    search = maptbx.peak_search_parameters(
        peak_search_level=1, interpolate=True, min_distance_sym_equiv=0.7, max_clusters=problem["n_sites"]
    )
    found = grid.peak_search(search).all(max_clusters=problem["n_sites"])
    return {"sites": [list(s) for s in found.sites()], "seconds": seconds, "cc": cc}


if __name__ == "__main__":
    # cctbx must be imported before anything that brings another libstdc++
    import cctbx.xray  # noqa: F401

    print(json.dumps(answer(json.load(sys.stdin))))
