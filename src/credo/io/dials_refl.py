"""DIALS's reflection tables (.refl): msgpack with raw numpy columns, read within bounds, written so that DIALS goes on.

Shoeboxes (the pixels of every spot) are not read. Positions need no change: DIALS too has pixel i cover [i, i + 1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from credo.io.atomic import atomic_write
from credo.io.dials import DialsExperiment, read_expt_groups
from credo.io.dials_write import TURN, identifiers_of
from credo.io.frame_file import reading
from credo.io.text import read_bytes
from credo.io.xds import oscillation_of
from credo.model import Experiment, Reflections, Scan
from credo.model.errors import UnreadableInput
from credo.physics.ewald import frame_of_angle, scattering_vectors

__all__ = ["FLAGS", "beside", "read_columns", "read_refl", "sniff_refl", "write_refl"]

MAX_REFL = 2**31
_TYPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "int": ("<i4", ()), "std::size_t": ("<u8", ()), "double": ("<f8", ()), "float": ("<f4", ()), "bool": ("?", ()),
    "vec2<double>": ("<f8", (2,)), "vec3<double>": ("<f8", (3,)), "mat3<double>": ("<f8", (3, 3)),
    "int6": ("<i4", (6,)), "cctbx::miller::index<>": ("<i4", (3,)), "tiny<int,2>": ("<i4", (2,)),
}  # fmt: skip
#: Bits of DIALS's ``flags`` column that matter here.
FLAGS = {
    "predicted": 1, "observed": 2, "indexed": 4, "used_in_refinement": 8, "strong": 32, "integrated_sum": 256,
    "integrated_prf": 512, "overloaded": 1024, "includes_bad_pixels": 49152, "bad_for_scaling": 29360128,
    "scaled": 67108864,
}  # fmt: skip


def sniff_refl(path: Path) -> bool:
    """Whether a file is a DIALS reflection table in msgpack (DIALS 2 and later)."""
    with reading(path, "a readable file"), path.open("rb") as stream:
        return b"dials::af::reflection_table" in stream.read(64)


def read_columns(path: Path) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """The columns as DIALS names them, those of known types, and the identifiers by id."""
    data = read_bytes(path, MAX_REFL)
    with reading(path, "a DIALS .refl"):
        # lengths inside the file cannot make msgpack allocate more than the file is long
        content: Any = msgpack.unpackb(data, raw=False, strict_map_key=False, max_ext_len=0)
        if not (isinstance(content, list) and len(content) == 3 and content[0] == "dials::af::reflection_table"):
            raise UnreadableInput(f"{path}: not a DIALS reflection table", "give a .refl of DIALS 2 or later")
        rows = content[2]["nrows"]
        columns: dict[str, np.ndarray] = {}
        for name, (kind, (count, raw)) in content[2]["data"].items():
            if kind not in _TYPES:
                continue
            dtype, shape = _TYPES[kind]
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            if count != rows or not isinstance(raw, bytes) or len(raw) != rows * size:
                raise UnreadableInput(f"{path}: column {name} is cut off", "copy the file again")
            columns[str(name)] = np.frombuffer(raw, dtype=dtype).reshape(rows, *shape)
        names = {int(k): str(v) for k, v in content[2].get("identifiers", {}).items()}
    return columns, names


def beside(path: Path) -> Path | None:
    """The .expt that belongs to a .refl: the same stem, or the step that went before, or the only one there."""
    stem = path.with_suffix("")
    before = {"strong": ["imported"], "reindexed": ["bravais_setting_2", "indexed"], "observations": ["integrated"]}
    names = [f"{stem.name}.expt", f"{stem.name}_experiments.json"]
    names += [f"{n}.expt" for n in before.get(stem.name, [])]
    for name in names:
        if (path.parent / name).is_file():
            return path.parent / name
    others = sorted(path.parent.glob("*.expt"))
    return others[0] if len(others) == 1 else None


def read_refl(path: Path, expt: Path | None = None) -> tuple[Experiment | None, Reflections]:
    """A table and its experiment (``expt``, or the file that :func:`beside` finds).

    Intensities: scaled where DIALS scaled them, else profile-fitted where it fitted them, else summed; multiplied by
    DIALS's lp where the table has it, as its own exports do (column ``lorentz`` is 1/lp).
    """
    columns, names = read_columns(path)
    expt = expt or beside(path)
    if expt is None:
        return None, _reflections(path, columns, None, {})
    groups = read_expt_groups(expt)
    group, lattice = _chosen(path, groups, names, columns)
    return group.experiment, _reflections(path, columns, group.experiment, lattice)


def _chosen(
    path: Path, groups: list[DialsExperiment], names: dict[int, str], columns: dict[str, np.ndarray]
) -> tuple[DialsExperiment, dict[int, int]]:
    """The data set that the table is about, and lattice by id."""
    present = np.unique(columns["id"]).tolist() if "id" in columns else [0]
    present = [i for i in present if i >= 0]

    def lattices(group: DialsExperiment) -> dict[int, int]:
        by_name = {name: k for k, name in enumerate(group.identifiers) if name}
        found = {i: by_name[n] for i, n in names.items() if n in by_name}
        return found or {i: k for k, i in enumerate(group.ids)}

    if len(groups) == 1:
        return groups[0], lattices(groups[0])
    for group in groups:
        known = lattices(group)
        if set(present) <= set(known):
            return group, known
    raise UnreadableInput(
        f"{path}: reflections of {len(groups)} data sets in one file", "split it with dials.split_experiments"
    )


def _reflections(
    path: Path, columns: dict[str, np.ndarray], experiment: Experiment | None, lattice: dict[int, int]
) -> Reflections:
    with reading(path, "a DIALS .refl"):
        out = _positions(columns, None if experiment is None else experiment.scan)
        out |= _indices(columns, experiment is not None and bool(experiment.crystals), lattice)
        out |= _intensities(columns)
        flags = columns.get("flags", np.zeros(len(next(iter(columns.values()), [])), dtype="u8"))
        if (flags & FLAGS["overloaded"]).any():
            out["overloaded"] = (flags & FLAGS["overloaded"]) > 0
        if (flags & FLAGS["scaled"]).any():
            out["rejected"] = (flags & FLAGS["bad_for_scaling"]) > 0
        return Reflections(out)


def _positions(columns: dict[str, np.ndarray], scan: Scan | None) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    if "xyzobs.px.value" in columns:
        xyz = columns["xyzobs.px.value"]
        out |= {"x": xyz[:, 0], "y": xyz[:, 1]}
        if scan is not None:
            out["phi"] = _phi(scan, xyz[:, 2])
            out["frame"] = xyz[:, 2] - scan.numbers[0] + 1
    if "xyzobs.px.variance" in columns:
        var = columns["xyzobs.px.variance"]
        out |= {"var_x": var[:, 0], "var_y": var[:, 1]}
        if scan is not None:
            out["var_phi"] = var[:, 2] * oscillation_of(scan) ** 2
    if "xyzcal.px" in columns:
        xyz = columns["xyzcal.px"]
        out |= {"x_calc": xyz[:, 0], "y_calc": xyz[:, 1]}
        if scan is not None:
            out["phi_calc"] = _phi(scan, xyz[:, 2])
            if "phi" not in out:
                out |= {"x": xyz[:, 0], "y": xyz[:, 1], "phi": out["phi_calc"]}
                out["frame"] = frame_of_angle(scan, out["phi_calc"])
    if "bbox" in columns and scan is not None:
        box = columns["bbox"].astype(np.int64)
        out |= {"first": box[:, 4] - scan.numbers[0] + 1, "last": box[:, 5] - scan.numbers[0]}
    return out


def _phi(scan: Scan, z: np.ndarray) -> np.ndarray:
    """φ [deg] of DIALS's z, in which image n covers n − 1 to n."""
    return float(scan.start_deg[0]) + oscillation_of(scan) * (z - float(scan.numbers[0]) + 1)


def _indices(columns: dict[str, np.ndarray], crystals: bool, lattice: dict[int, int]) -> dict[str, np.ndarray]:
    n = len(next(iter(columns.values()), []))
    if "miller_index" not in columns:
        return {"lattice": np.full(n, -1)}
    hkl, ids = columns["miller_index"], columns.get("id", np.zeros(n, dtype=int))
    number = np.full(n, -1)
    for i in np.unique(ids).tolist():
        number[ids == i] = lattice.get(i, 0 if i >= 0 and not lattice else -1)
    number[~hkl.any(axis=1)] = -1
    return {"h": hkl[:, 0], "k": hkl[:, 1], "l": hkl[:, 2], "lattice": number if crystals else np.full(n, -1)}


_PLAIN = {
    "n_signal": "n_pixels", "num_pixels.foreground": "n_pixels", "background.mean": "background", "d": "d",
    "partiality": "partiality", "profile.correlation": "profile_cc", "credo.peak": "peak",
}  # fmt: skip


def _intensities(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {ours: columns[theirs] for theirs, ours in _PLAIN.items() if theirs in columns}
    if "intensity.scale.value" in columns:
        scale = columns.get("inverse_scale_factor", np.ones(1))
        safe = np.where(scale != 0, scale, 1.0)
        out["intensity"] = columns["intensity.scale.value"] / safe
        out["sigma"] = np.sqrt(np.maximum(columns["intensity.scale.variance"], 0)) / np.abs(safe)
        out["scale"] = np.broadcast_to(safe, out["intensity"].shape)
        return out
    if "intensity.sum.value" not in columns:
        return out
    value, variance = columns["intensity.sum.value"], columns["intensity.sum.variance"]
    if "intensity.prf.value" in columns and "flags" in columns:
        fitted = (columns["flags"] & FLAGS["integrated_prf"]) > 0
        value = np.where(fitted, columns["intensity.prf.value"], value)
        variance = np.where(fitted, columns["intensity.prf.variance"], variance)
    sigma = np.sqrt(np.maximum(variance, 0))
    if "lp" in columns:
        lp = columns["lp"]
        value, sigma = value * lp, sigma * lp
        out["lorentz"] = 1 / np.where(lp > 0, lp, 1.0)
    return out | {"intensity": value, "sigma": sigma}


# ---------------------------------------------------------------- writing


def write_refl(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    """A .refl for the .expt that :func:`credo.io.dials.write_expt` makes of the same experiment.

    Spots become what dials.find_spots gives, indexed ones what dials.index gives (refinement goes on from there),
    integrated ones (with d or lorentz columns) count as summed and profile-fitted.
    """
    r, e = reflections, experiment
    columns = _their_positions(r, e) | _their_intensities(r)
    n = len(r)
    lattice = r["lattice"] if "lattice" in r else np.full(n, -1)
    indexed = (lattice >= 0) & bool(e.crystals) & ("h" in r)
    # DIALS keeps spots without an index in data set -1, but before indexing in data set 0
    columns["id"] = ("int", np.where(indexed, lattice, -1 if e.crystals else 0))
    columns["panel"] = ("std::size_t", np.zeros(n))
    columns["imageset_id"] = ("int", np.zeros(n))
    if "h" in r:
        columns["miller_index"] = ("cctbx::miller::index<>", np.where(indexed[:, None], r.hkl, 0))
    if e.crystals and "h" in r:
        columns |= _their_vectors(r, e, indexed, lattice)
    columns["flags"] = ("std::size_t", _flags(r, indexed))
    data = {}
    for name, (kind, values) in sorted(columns.items()):
        dtype, shape = _TYPES[kind]
        raw = np.ascontiguousarray(np.asarray(values).reshape(n, *shape), dtype=dtype).tobytes()
        data[name] = (kind, (n, raw))
    content = {"identifiers": dict(enumerate(identifiers_of(e))), "nrows": n, "data": data}
    packed: Any = msgpack.packb(["dials::af::reflection_table", 1, content], use_bin_type=True)
    with atomic_write(path) as stream:
        stream.write(packed)


def _z(scan: Scan, phi: np.ndarray) -> np.ndarray:
    return (phi - float(scan.start_deg[0])) / oscillation_of(scan) + float(scan.numbers[0]) - 1


def _their_positions(r: Reflections, e: Experiment) -> dict[str, tuple[str, np.ndarray]]:
    scan, px, n = e.scan, e.detector.pixel_size_mm, len(r)
    step = oscillation_of(scan)
    xyz = np.column_stack([r["x"], r["y"], _z(scan, r["phi"])])
    var = np.column_stack([r[f"var_{k}"] if f"var_{k}" in r else np.full(n, 1 / 12) for k in "xy"])
    var = np.column_stack([var, r["var_phi"] / step**2 if "var_phi" in r else np.full(n, 1 / 12)])
    mm = np.array([px, px, np.radians(step)])
    out = {
        "xyzobs.px.value": ("vec3<double>", xyz),
        "xyzobs.px.variance": ("vec3<double>", var),
        "xyzobs.mm.value": ("vec3<double>", np.column_stack([xyz[:, :2] * px, np.radians(r["phi"])])),
        "xyzobs.mm.variance": ("vec3<double>", var * mm**2),
    }
    if "x_calc" in r:
        calc = np.column_stack([r["x_calc"], r["y_calc"], _z(scan, r["phi_calc"])])
        out["xyzcal.px"] = ("vec3<double>", calc)
        out["xyzcal.mm"] = ("vec3<double>", np.column_stack([calc[:, :2] * px, np.radians(r["phi_calc"])]))
    low = np.floor(xyz[:, :2]).astype(int) - 3
    z0, z1 = np.floor(xyz[:, 2]), np.floor(xyz[:, 2]) + 1
    if "first" in r and "last" in r:
        top = len(scan) - 1
        z0 = scan.numbers[np.clip(r["first"], 0, top)] - 1
        z1 = scan.numbers[np.clip(r["last"], 0, top)]
    ny, nx = e.detector.shape
    box = [np.clip(low[:, 0], 0, nx - 1), np.clip(low[:, 0] + 7, 1, nx), np.clip(low[:, 1], 0, ny - 1)]
    out["bbox"] = ("int6", np.column_stack([*box, np.clip(low[:, 1] + 7, 1, ny), z0, np.maximum(z1, z0 + 1)]))
    return out


def _their_intensities(r: Reflections) -> dict[str, tuple[str, np.ndarray]]:
    n = len(r)
    out: dict[str, tuple[str, np.ndarray]] = {}
    theirs = {ours: name for name, ours in _PLAIN.items() if name != "num_pixels.foreground"}
    for ours in theirs:
        if ours in r:
            out[theirs[ours]] = ("int" if ours == "n_pixels" else "double", r[ours])
    value = r["intensity"] if "intensity" in r else np.zeros(n)
    sigma = r["sigma"] if "sigma" in r else np.sqrt(np.maximum(value, 1.0))
    if "lorentz" in r:
        lp = 1 / np.where(r["lorentz"] > 0, r["lorentz"], 1.0)
        out["lp"] = ("double", lp)
        value, sigma = value / lp, sigma / lp
    for kind in ("sum", "prf") if _integrated(r) else ("sum",):
        out[f"intensity.{kind}.value"] = ("double", value)
        out[f"intensity.{kind}.variance"] = ("double", sigma**2)
    return out


def _integrated(r: Reflections) -> bool:
    """Whether a table holds integrated intensities rather than spots."""
    return "lorentz" in r or "partiality" in r or "profile_cc" in r


def _their_vectors(
    r: Reflections, e: Experiment, indexed: np.ndarray, lattice: np.ndarray
) -> dict[str, tuple[str, np.ndarray]]:
    """s1 and the side from which each reflection enters, in DIALS's frame; s1 of the others from their position."""
    q = e.detector.q_lab(r.xy, e.beam.wavelength)
    phi = r["phi_calc"] if "phi_calc" in r else r["phi"]
    entering = np.zeros(len(r), dtype=bool)
    for i, crystal in enumerate(e.crystals):
        rows = np.flatnonzero(indexed & (lattice == i))
        q[rows] = scattering_vectors(crystal.UB, r.hkl[rows], e.goniometer.axis, phi[rows])
        # dxtbx: entering when s1 . (s0 x m) < 0
        m, s0 = TURN @ e.goniometer.axis, TURN @ e.beam.s0
        entering[rows] = ((q[rows] + e.beam.s0) @ TURN) @ np.cross(s0, m) < 0
    s1 = (q + e.beam.s0) @ TURN
    return {"s1": ("vec3<double>", s1), "entering": ("bool", entering)}


def _flags(r: Reflections, indexed: np.ndarray) -> np.ndarray:
    n = len(r)
    integrated = FLAGS["integrated_sum"] | FLAGS["integrated_prf"]
    flags = np.full(n, integrated | FLAGS["predicted"] if _integrated(r) else FLAGS["strong"], dtype=np.uint64)
    flags |= np.where(indexed, np.uint64(FLAGS["indexed"]), np.uint64(0))
    if "overloaded" in r:
        flags |= np.where(r["overloaded"], np.uint64(FLAGS["overloaded"]), np.uint64(0))
    return flags
