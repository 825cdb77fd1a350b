"""XDS's geometry and its files XPARM.XDS (GXPARM.XDS) and SPOT.XDS, to and from credo's conventions.

XDS counts pixels from 1 and means their centres, so that x_credo = x_XDS − 1/2; image n covers z from n − 1 to n, and
φ(z) = STARTING_ANGLE + OSCILLATION_RANGE (z − STARTING_FRAME + 1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.frame_file import reading
from credo.io.lab_frame import lab_frame
from credo.io.space_group import centring_and_laue, find_space_group, number_of
from credo.io.text import at_line, head, read_text, table, write_text
from credo.model import Beam, Cell, Crystal, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import frame_of_angle

__all__ = [
    "HALF",
    "XdsGeometry",
    "angle_of_z",
    "read_spot_xds",
    "read_xparm",
    "sniff_spot_xds",
    "sniff_xparm",
    "write_spot_xds",
    "write_xparm",
    "z_of_angle",
]

#: x_XDS − x_credo [px].
HALF = 0.5


@dataclass(frozen=True)
class XdsGeometry:
    """What XDS's files say, in XDS's own terms. ``axes`` (3, 3): a, b, c as rows [Å] at φ = 0, or None."""

    starting_frame: int = 1
    starting_angle: float = 0.0
    oscillation: float = 1.0
    rotation_axis: tuple[float, ...] = (1.0, 0.0, 0.0)
    wavelength: float = 0.0
    beam: tuple[float, ...] = (0.0, 0.0, 1.0)
    space_group: int = 0
    cell: tuple[float, ...] | None = None
    axes: np.ndarray | None = None
    nx: int = 0
    ny: int = 0
    qx: float = 0.0
    qy: float = 0.0
    orgx: float = 0.0
    orgy: float = 0.0
    distance: float = 0.0
    detector_x: tuple[float, ...] = (1.0, 0.0, 0.0)
    detector_y: tuple[float, ...] = (0.0, 1.0, 0.0)
    overload: float | None = None
    mosaicity: float | None = None

    def experiment(self, numbers: np.ndarray, *, source: str = "", kind: str = "XDS") -> Experiment:
        """The experiment of the frames ``numbers``; ValueError where the geometry is impossible."""
        if not (0 < self.nx <= 2**16 and 0 < self.ny <= 2**16):
            raise ValueError(f"NX, NY are {self.nx}, {self.ny}")
        if not (self.oscillation and np.isfinite(self.oscillation) and abs(self.oscillation) < 180):
            raise ValueError(f"OSCILLATION_RANGE is {self.oscillation}")
        d1, d2 = np.array(self.detector_x), np.array(self.detector_y)
        corner = (HALF - self.orgx) * self.qx * d1 + (HALF - self.orgy) * self.qy * d2
        corner = corner + self.distance * np.cross(d1, d2)
        frame = lab_frame(
            np.array(self.beam), d1, d2, corner, (self.qx, self.qy), (self.ny, self.nx), self.wavelength,
            saturation=self.overload if self.overload and self.overload > 1 else None,
        )  # fmt: skip
        numbers = np.asarray(numbers, dtype=np.int64)
        start = self.starting_angle + self.oscillation * (numbers - self.starting_frame)
        crystal = self.crystal(frame.rotation)
        return Experiment(
            beam=Beam(float(self.wavelength)),
            detector=frame.detector,
            goniometer=Goniometer(frame.rotation @ np.array(self.rotation_axis)),
            scan=Scan(numbers, start, np.full(len(numbers), float(self.oscillation))),
            crystals=() if crystal is None else (crystal,),
            source=source,
            kind=kind,
            known=("wavelength", "q_per_pixel", "origin", "axis", "angles", "pixel_size"),
            problems=frame.problems,
        )

    def crystal(self, rotation: np.ndarray) -> Crystal | None:
        """The crystal in credo's frame, or None where the file gives no axes."""
        if self.axes is None:
            return None
        group = find_space_group(self.space_group) if self.space_group > 1 else None
        more: dict[str, Any] = dict(centring_and_laue(group))
        if self.mosaicity:
            more["mosaicity_deg"] = float(self.mosaicity)
        if self.cell is not None:
            a, b, c, alpha, beta, gamma = self.cell
            more["cell"] = Cell(a, b, c, alpha, beta, gamma)
        return Crystal.from_ub(rotation @ np.linalg.inv(self.axes), **more)

    @classmethod
    def of(cls, experiment: Experiment, *, with_crystal: bool = True) -> XdsGeometry:
        """The experiment in XDS's terms: beam along +z, detector axes along +x and +y, equal angular steps."""
        e, scan = experiment, experiment.scan
        first = int(scan.numbers[0]) if len(scan) else 1
        step = oscillation_of(scan)
        out = cls(
            starting_frame=first, starting_angle=float(scan.start_deg[0]) if len(scan) else 0.0, oscillation=step,
            rotation_axis=tuple(e.goniometer.axis.tolist()), wavelength=e.beam.wavelength,
            nx=e.detector.shape[1], ny=e.detector.shape[0], qx=e.detector.pixel_size_mm, qy=e.detector.pixel_size_mm,
            orgx=e.detector.origin[0] + HALF, orgy=e.detector.origin[1] + HALF,
            distance=e.detector.distance_mm(e.beam.wavelength), overload=e.detector.saturation,
        )  # fmt: skip
        if with_crystal and e.crystals:
            c = e.crystal
            out = replace(
                out, space_group=number_of(c.space_group, c.centring, c.laue_group), cell=c.cell.parameters,
                axes=np.linalg.inv(c.UB), mosaicity=c.mosaicity_deg,
            )  # fmt: skip
        return out


def oscillation_of(scan: Scan) -> float:
    """The angle of one frame number [deg]: from the first and last starts, so that gaps do not matter."""
    if len(scan) < 2:
        return float(scan.width_deg[0]) if len(scan) else 1.0
    return float((scan.start_deg[-1] - scan.start_deg[0]) / (scan.numbers[-1] - scan.numbers[0]))


def angle_of_z(geometry: XdsGeometry, z: np.ndarray) -> np.ndarray:
    """φ [deg] of XDS's z (image n covers z from n − 1 to n)."""
    return geometry.starting_angle + geometry.oscillation * (np.asarray(z) - geometry.starting_frame + 1)


def z_of_angle(geometry: XdsGeometry, phi: np.ndarray) -> np.ndarray:
    """The inverse of :func:`angle_of_z`."""
    return (np.asarray(phi) - geometry.starting_angle) / geometry.oscillation + geometry.starting_frame - 1


def numbers_of_z(z: np.ndarray, starting_frame: int) -> np.ndarray:
    """Frame numbers from the starting frame to the last one that a list of z reaches."""
    last = int(np.ceil(np.max(z))) if len(z) and np.isfinite(z).all() else starting_frame
    if last - starting_frame > 10**6:
        raise ValueError(f"z reaches {last}, which no scan has")
    return np.arange(starting_frame, max(last, starting_frame) + 1)


# ---------------------------------------------------------------- XPARM.XDS


def sniff_xparm(path: Path) -> bool:
    """Whether a file is XPARM.XDS or GXPARM.XDS of XDS 2010 or later."""
    return head(path, 64).lstrip().startswith("XPARM.XDS")


def read_xparm(path: Path) -> XdsGeometry:
    """XPARM.XDS: twelve lines and more, of which the detector segments are not needed."""
    lines = read_text(path, 2**20).split("\n")
    if not lines[0].lstrip().startswith("XPARM.XDS"):
        at_line(path, 1, "not an XPARM.XDS", "give XPARM.XDS or GXPARM.XDS of XDS 2010 or later")
    counts = (6, 4, 7, 3, 3, 3, 5, 3, 3, 3, 3)
    rows = []
    for i, count in enumerate(counts, start=1):
        words = lines[i].split() if i < len(lines) else []
        try:
            values = [float(w) for w in words]
        except ValueError:
            values = []
        if len(values) != count or not np.isfinite(values).all():
            at_line(path, i + 1, f"{count} numbers expected")
        rows.append(values)
    with reading(path, "an XPARM.XDS"):
        return XdsGeometry(
            starting_frame=int(rows[0][0]), starting_angle=rows[0][1], oscillation=rows[0][2],
            rotation_axis=tuple(rows[0][3:]), wavelength=abs(rows[1][0]), beam=tuple(rows[1][1:]),
            space_group=int(rows[2][0]), cell=tuple(rows[2][1:]), axes=np.array(rows[3:6]),
            nx=int(rows[6][1]), ny=int(rows[6][2]), qx=rows[6][3], qy=rows[6][4],
            orgx=rows[7][0], orgy=rows[7][1], distance=rows[7][2],
            detector_x=tuple(rows[8]), detector_y=tuple(rows[9]),
        )  # fmt: skip


def write_xparm(path: Path, experiment: Experiment) -> None:
    """XPARM.XDS of an indexed experiment, laid out as XDS 2010 and later read it."""
    g = XdsGeometry.of(experiment)
    axes = np.linalg.inv(experiment.crystal.UB)
    wave = np.array([0.0, 0.0, 1.0]) / g.wavelength
    rows = [
        " XPARM.XDS    VERSION credo",
        f"{g.starting_frame:6d}{g.starting_angle:14.4f}{g.oscillation:10.4f}" + _f(g.rotation_axis, 10, 6),
        # read without a format: more digits than XDS prints, so that the scale is kept
        f"{g.wavelength:17.8f}" + _f(wave, 15, 6),
        f"{g.space_group:6d}" + _f(experiment.crystal.cell.lengths, 12, 4) + _f(experiment.crystal.cell.angles, 8, 3),
        *(_f(row, 15, 6) for row in axes),
        f"{1:10d}{g.nx:10d}{g.ny:10d}" + _f((g.qx, g.qy), 12, 6),
        _f((g.orgx, g.orgy, g.distance), 15, 6),
        _f((1, 0, 0), 15, 6),
        _f((0, 1, 0), 15, 6),
        _f((0, 0, 1), 15, 6),
        "".join(f"{i:10d}" for i in (1, 1, g.nx, 1, g.ny)),
        _f((0, 0, 0), 8, 2) + _f((1, 0, 0, 0, 1, 0, 0, 0, 1), 9, 5),
    ]
    write_text(path, "\n".join(rows) + "\n")


def _f(values, width: int, digits: int) -> str:
    """Numbers in Fortran's F format; always a blank between them."""
    return "".join(f" {float(v):{width - 1}.{digits}f}" for v in values)


# ---------------------------------------------------------------- SPOT.XDS


def sniff_spot_xds(path: Path) -> bool:
    """Whether a file is a SPOT.XDS: its name, or lines of x y z intensity with or without h k l."""
    if re.match(r"SPOT.*\.XDS", path.name, re.IGNORECASE):
        return True
    words = head(path, 256).split("\n")[0].split()
    return len(words) in (4, 5, 7, 8) and path.suffix.lower() == ".xds" and all(_is_number(w) for w in words)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?\d+\.?\d*(?:[Ee][-+]?\d+)?", word) is not None


def read_spot_xds(
    path: Path, geometry: XdsGeometry, numbers: np.ndarray | None = None
) -> tuple[Experiment, Reflections]:
    """The spots and their experiment. numbers: frame numbers of the scan, or None: as far as the spots reach.

    Columns x y phi frame intensity (h k l lattice if XDS indexed them). Indices 0 0 0 mean: not indexed.
    """
    data = _spot_table(path, read_text(path))
    with reading(path, "a SPOT.XDS with its geometry"):
        if numbers is None:
            numbers = numbers_of_z(data[:, 2], geometry.starting_frame)
        experiment = geometry.experiment(numbers, source=str(path), kind="SPOT.XDS")
        phi = angle_of_z(geometry, data[:, 2])
        frame = frame_of_angle(experiment.scan, phi)
    columns = {"x": data[:, 0] - HALF, "y": data[:, 1] - HALF, "phi": phi, "frame": frame, "intensity": data[:, 3]}
    if data.shape[1] >= 7:
        hkl = data[:, -3:]
        if np.abs(hkl).max(initial=0) > 10**6 or np.any(hkl != np.round(hkl)):
            at_line(path, 1, "h, k, l are not whole numbers")
        columns |= {"h": hkl[:, 0], "k": hkl[:, 1], "l": hkl[:, 2]}
        columns["lattice"] = np.where(np.any(hkl != 0, axis=1), 0, -1)
    else:
        columns["lattice"] = np.full(len(data), -1)
    return experiment, Reflections(columns)


def _spot_table(path: Path, text: str) -> np.ndarray:
    """(n, 4, 5, 7 or 8): x y z intensity [segment] [h k l]; XDS leaves h k l out when it has not indexed."""
    lines = text.lstrip("\n").split("\n", 1)
    count = len(lines[0].split())
    if count not in (4, 5, 7, 8):
        at_line(path, 1, f"{count} columns", "a SPOT.XDS has x y z intensity, and h k l after indexing")
    return table(path, text, count, what="spots")


def write_spot_xds(path: Path, experiment: Experiment, spots: Reflections) -> None:
    """SPOT.XDS as COLSPOT writes it (x y z intensity), with h k l as IDXREF does where there are indices."""
    g = XdsGeometry.of(experiment)
    z = z_of_angle(g, spots["phi"])
    data = np.column_stack([spots["x"] + HALF, spots["y"] + HALF, z, spots["intensity"]])
    lines = ["%.2f %.2f %.2f %.0f." % tuple(row) for row in data.tolist()]  # noqa: UP031 - twice as fast
    if "h" in spots:
        hkl = spots.hkl if "lattice" not in spots else np.where(spots["lattice"][:, None] == 0, spots.hkl, 0)
        lines = [f"{line} {h} {k} {l}" for line, (h, k, l) in zip(lines, hkl.tolist())]
    write_text(path, "".join(f" {line} \n" for line in lines))
