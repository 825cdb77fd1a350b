"""XDS's reflection files: XDS_ASCII.HKL (read and written) and INTEGRATE.HKL (read), with the geometry they carry."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from credo.io.frame_file import reading
from credo.io.text import at_line, head, read_text, table, write_text
from credo.io.xds import HALF, XdsGeometry, angle_of_z, numbers_of_z, z_of_angle
from credo.io.xds_inp import frame_numbers, geometry_of_keywords, parse_keywords
from credo.model import Experiment, Reflections
from credo.model.errors import CannotDo, UnreadableInput
from credo.physics.ewald import frame_of_angle

__all__ = ["read_integrate_hkl", "read_xds_ascii", "sniff_integrate_hkl", "sniff_xds_ascii", "write_xds_ascii"]

_END = "!END_OF_HEADER"
_DATA_END = "!END_OF_DATA"
_INTEGRATE = (
    "H", "K", "L", "IOBS", "SIGMA", "XCAL", "YCAL", "ZCAL", "RLP", "PEAK", "CORR", "MAXC", "XOBS", "YOBS", "ZOBS",
    "ALF0", "BET0", "ALF1", "BET1", "PSI", "ISEG",
)  # fmt: skip


def sniff_xds_ascii(path: Path) -> bool:
    """Whether a file is XDS_ASCII.HKL, or XSCALE's unmerged output."""
    return head(path, 64).startswith("!FORMAT=XDS_ASCII")


def sniff_integrate_hkl(path: Path) -> bool:
    """Whether a file is INTEGRATE.HKL."""
    return head(path, 64).startswith("!OUTPUT_FILE=INTEGRATE.HKL")


def _split(path: Path) -> tuple[dict[str, list[str]], str, str, int]:
    """Header keywords, header text, data text and the number of the data's first line."""
    text = read_text(path)
    end = text.find(_END)
    if end < 0 or not text.startswith("!"):
        at_line(path, 1, f"no {_END}", "give XDS_ASCII.HKL or INTEGRATE.HKL as XDS wrote it")
    start = text.find("\n", end) + 1
    if start == 0:
        start = len(text)
    stop = text.find(_DATA_END, start)
    if stop < 0:
        raise UnreadableInput(f"{path}: truncated, its last line is not {_DATA_END}", "copy the file again")
    header = "\n".join(line.lstrip("!") for line in text[:start].split("\n"))
    return parse_keywords(header), header, text[start:stop], text.count("\n", 0, start) + 1


def read_xds_ascii(path: Path) -> tuple[Experiment | None, Reflections]:
    """Columns h k l intensity sigma (rejected where SIGMA(IOBS) < 0) and, of unmerged data, x y phi frame as XDS
    predicted them (also as x_calc y_calc phi_calc), profile_cc, partiality (PEAK/100) and rlp (intensity has been
    multiplied by it).

    The experiment is None when the header lacks geometry (XSCALE's output, merged files).
    """
    keywords, _, data, line = _split(path)
    columns = _items(path, keywords)
    values = table(path, data, len(columns), line)
    get = {name: values[:, i] for i, name in enumerate(columns)}
    for name in ("H", "K", "L", "IOBS", "SIGMA(IOBS)"):
        if name not in get:
            at_line(path, 1, f"no ITEM_{name} in the header", "give the file as XDS wrote it")
    out = _indices(path, line, get) | {"intensity": get["IOBS"], "sigma": np.abs(get["SIGMA(IOBS)"])}
    out["rejected"] = get["SIGMA(IOBS)"] < 0
    if not all(n in get for n in ("XD", "YD", "ZD")) or "NX" not in keywords:
        return None, Reflections(out)
    geometry = geometry_of_keywords(path, keywords)
    with reading(path, "an XDS_ASCII.HKL"):
        numbers = frame_numbers(path, keywords)
        experiment = _experiment(path, geometry, numbers, get["ZD"], "XDS_ASCII.HKL")
        out |= _where(experiment, geometry, get, ("XD", "YD", "ZD"), ("XD", "YD", "ZD"))
    if "RLP" in get:
        out["rlp"] = get["RLP"]
    return experiment, Reflections(out | _quality(get))


def _items(path: Path, keywords: dict[str, list[str]]) -> list[str]:
    """The names of the columns in order, from ITEM_…= lines."""
    found = {k[5:]: v[-1] for k, v in keywords.items() if k.startswith("ITEM_")}
    numbers = [int(v) if re.fullmatch(r"\d{1,3}", v) else 0 for v in found.values()]
    if not found or sorted(numbers) != list(range(1, len(found) + 1)):
        at_line(path, 1, "the ITEM_ lines do not number the columns", "give the file as XDS wrote it")
    return [name for _, name in sorted(zip(numbers, found))]


def read_integrate_hkl(path: Path) -> tuple[Experiment, Reflections]:
    """INTEGRATE.HKL: columns h k l intensity sigma, x y phi frame (observed where XDS saw the spot, else predicted),
    x_calc y_calc phi_calc, profile_cc (CORR/100), partiality (PEAK/100), rlp (the factor that intensity was multiplied
    by), n_pixels (MAXC is XDS's largest counter and is left out)."""
    keywords, header, data, line = _split(path)
    count = re.search(r"NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD\s*=\s*(\d{1,3})", header)
    if count is None or int(count[1]) not in (20, 21):
        at_line(path, 1, "a record does not have 20 or 21 items", "give INTEGRATE.HKL of XDS 2010 or later")
    values = table(path, data, int(count[1]), line)
    get = {name: values[:, i] for i, name in enumerate(_INTEGRATE[: int(count[1])])}
    geometry = geometry_of_keywords(path, keywords)
    out = _indices(path, line, get)
    with reading(path, "an INTEGRATE.HKL"):
        experiment = _experiment(path, geometry, frame_numbers(path, keywords), get["ZCAL"], "INTEGRATE.HKL")
        seen = np.any(values[:, 12:15] != 0, axis=1)
        for o, c in (("XOBS", "XCAL"), ("YOBS", "YCAL"), ("ZOBS", "ZCAL")):
            get[o] = np.where(seen, get[o], get[c])
        out |= {"intensity": get["IOBS"], "sigma": get["SIGMA"]}
        out |= _where(experiment, geometry, get, ("XOBS", "YOBS", "ZOBS"), ("XCAL", "YCAL", "ZCAL"))
    out |= {"rlp": get["RLP"], "seen": seen}
    return experiment, Reflections(out | _quality(get))


def _indices(path: Path, line: int, get: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    hkl = np.column_stack([get["H"], get["K"], get["L"]])
    bad = np.flatnonzero(np.any((hkl != np.round(hkl)) | (np.abs(hkl) > 10**6), axis=1))
    if len(bad):
        at_line(path, line + int(bad[0]), "h, k, l are not whole numbers")
    return {"h": hkl[:, 0], "k": hkl[:, 1], "l": hkl[:, 2], "lattice": np.zeros(len(hkl), dtype=int)}


def _experiment(path: Path, geometry: XdsGeometry, numbers: np.ndarray | None, z: np.ndarray, kind: str) -> Experiment:
    if numbers is None:
        numbers = numbers_of_z(z, geometry.starting_frame)
    return geometry.experiment(numbers, source=str(path), kind=kind)


def _where(experiment: Experiment, geometry: XdsGeometry, get: dict, seen: tuple, calculated: tuple) -> dict:
    """Positions in credo's convention."""
    phi = angle_of_z(geometry, get[seen[2]])
    return {
        "x": get[seen[0]] - HALF, "y": get[seen[1]] - HALF, "phi": phi, "frame": frame_of_angle(experiment.scan, phi),
        "x_calc": get[calculated[0]] - HALF, "y_calc": get[calculated[1]] - HALF,
        "phi_calc": angle_of_z(geometry, get[calculated[2]]),
    }  # fmt: skip


def _quality(get: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {}
    if "CORR" in get:
        out["profile_cc"] = get["CORR"] / 100
    if "PEAK" in get:
        out["partiality"] = np.clip(get["PEAK"] / 100, 0, 1)
    return out


def write_xds_ascii(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    """XDS_ASCII.HKL with twelve items, unmerged, readable by XSCALE, XDSCONV, POINTLESS and gemmi.

    Rejected observations get a negative sigma, as XDS marks its misfits. RLP is 1 where the table has none, since
    credo's intensities have been corrected for rotation already.
    """
    r = reflections
    if not experiment.crystals or "h" not in r or "intensity" not in r:
        raise CannotDo(f"{path}: XDS_ASCII.HKL needs an indexed crystal with intensities", "integrate the data first")
    g = XdsGeometry.of(experiment)
    pick = {n: r[f"{n}_calc"] if f"{n}_calc" in r else r[n] for n in ("x", "y", "phi")}
    z = z_of_angle(g, pick["phi"])
    one = np.ones(len(r))
    sigma = np.where(r["rejected"], -r["sigma"], r["sigma"]) if "rejected" in r else r["sigma"]
    columns = [
        r["h"], r["k"], r["l"], r["intensity"], sigma, pick["x"] + HALF, pick["y"] + HALF, z,
        r.get("rlp", one), 100 * r.get("partiality", one), 100 * r.get("profile_cc", one), 0 * one,
    ]  # fmt: skip
    order = np.lexsort((r["l"], r["k"], r["h"]))
    rows = zip(*(np.asarray(c)[order].tolist() for c in columns))
    # the format is free: more digits than XDS prints, so that nothing is lost on the way
    form = "%6d%6d%6d %12.5E %12.5E %8.2f %8.2f %9.3f %9.5f %3.0f %3.0f %7.2f"
    write_text(path, _header(experiment, g) + "\n".join(form % row for row in rows) + f"\n{_DATA_END}\n")


def _header(experiment: Experiment, g: XdsGeometry) -> str:
    """The header's lines, each with the keywords that XSCALE and gemmi look for."""
    scan, crystal = experiment.scan, experiment.crystal
    axes = np.linalg.inv(crystal.UB)
    items = ("H", "K", "L", "IOBS", "SIGMA(IOBS)", "XD", "YD", "ZD", "RLP", "PEAK", "CORR", "PSI")
    lines = [
        "FORMAT=XDS_ASCII    MERGE=FALSE    FRIEDEL'S_LAW=FALSE",
        "OUTPUT_FILE=XDS_ASCII.HKL",
        # gemmi and POINTLESS take the number of columns from the name of XDS's step
        "Generated by CORRECT   (its layout; written by credo)",
        "PROFILE_FITTING= TRUE",
        "NAME_TEMPLATE_OF_DATA_FRAMES=?????.img SMV",
        f"DATA_RANGE={int(scan.numbers[0]):8d}{int(scan.numbers[-1]):8d}",
        f"ROTATION_AXIS={_f(g.rotation_axis, 9)}",
        f"OSCILLATION_RANGE={g.oscillation:12.8f}",
        f"STARTING_ANGLE={g.starting_angle:12.6f}",
        f"STARTING_FRAME={g.starting_frame:8d}",
        f"SPACE_GROUP_NUMBER={g.space_group:5d}",
        f"UNIT_CELL_CONSTANTS={_f(crystal.cell.parameters, 4)}",
        *(f"UNIT_CELL_{n}-AXIS={_f(row, 6)}" for n, row in zip("ABC", axes)),
        f"REFLECTING_RANGE_E.S.D.={crystal.mosaicity_deg:10.4f}",
        f"X-RAY_WAVELENGTH={g.wavelength:12.8f}",
        "INCIDENT_BEAM_DIRECTION=  0.000000  0.000000  1.000000",
        "FRACTION_OF_POLARIZATION=   0.500",
        "POLARIZATION_PLANE_NORMAL=  0.000000  1.000000  0.000000",
        f"NX={g.nx:6d}  NY={g.ny:6d}    QX={g.qx:10.6f}  QY={g.qy:10.6f}",
        f"ORGX={g.orgx:12.4f}  ORGY={g.orgy:12.4f}",
        f"DETECTOR_DISTANCE={g.distance:14.6f}",
        "DIRECTION_OF_DETECTOR_X-AXIS=   1.00000   0.00000   0.00000",
        "DIRECTION_OF_DETECTOR_Y-AXIS=   0.00000   1.00000   0.00000",
        "VARIANCE_MODEL=  1.000E+00  0.000E+00",
        f"NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD={len(items)}",
        *(f"ITEM_{name}={i}" for i, name in enumerate(items, start=1)),
        "END_OF_HEADER",
    ]
    return "".join(f"!{line}\n" for line in lines)


def _f(values, digits: int) -> str:
    return "".join(f" {float(v):.{digits}f}" for v in values)
