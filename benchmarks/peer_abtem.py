"""Bloch waves by abtem, in its own Python: ``python peer_abtem.py < problem.json > answer.json``.

    python -m venv /tmp/abtem && /tmp/abtem/bin/pip install abtem
    python -m benchmarks dynamical --abtem /tmp/abtem/bin/python

credo never imports abtem. The problem holds rows of direct cell vectors [Å] as the crystal lies (beam along +z), P1
atoms (element, xyz, u_iso), kilovolts, d_min, s_max, thickness; the answer the indices, the intensities (thickness,
beam) with and without abtem's factors 1/(1 + g_z/K), and CPU seconds of both steps. The scattering factors are those
of Peng, Int. Tables C 4.3.2.2, in both programs.
"""

import json
import sys
import time


def main():
    import abtem
    import ase
    import numpy as np
    from abtem.bloch import BlochWaves, StructureFactor
    from abtem.parametrizations import PengParametrization

    abtem.config.set({"precision": "float64"})
    problem = json.load(sys.stdin)
    atoms = ase.Atoms(
        [a["element"] for a in problem["atoms"]], cell=problem["direct"], pbc=True,
        scaled_positions=[a["xyz"] for a in problem["atoms"]],
    )  # fmt: skip
    sigma = np.sqrt([a["u_iso"] for a in problem["atoms"]])
    start = time.process_time()
    factors = StructureFactor(
        atoms, g_max=2 / problem["d_min"], parametrization=PengParametrization("peng_low.json"), thermal_sigma=sigma,
        cutoff="hard", centering="P",
    ).build(lazy=False)  # fmt: skip
    built = time.process_time()
    answer = {"abtem": abtem.__version__, "seconds_potential": built - start}
    for name, paraxial in (("intensity", True), ("intensity_metric", False)):
        waves = BlochWaves(
            factors, energy=1e3 * problem["kilovolts"], sg_max=problem["s_max"], g_max=1 / problem["d_min"],
            centering="P", use_wave_eq=paraxial,
        )  # fmt: skip
        pattern = waves.calculate_diffraction_patterns(problem["thickness"], lazy=False)
        answer[name] = np.asarray(pattern.array).tolist()
        answer["hkl"] = np.asarray(pattern.miller_indices).tolist()
    answer["seconds_pattern"] = (time.process_time() - built) / 2
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
