"""The parameters of geometry refinement: which are free in each lattice system, how they move the experiment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from credo.kernels.refine import axis_tangents, rotate_about, rotation_derivative, spot_jacobian, spot_positions
from credo.kernels.rotation import rotation_from_vector
from credo.model import Cell, Crystal, Detector, Ellipse, Experiment, Goniometer
from credo.physics.ewald import crossing_speed

__all__ = ["GLOBALS", "Data", "State", "beam_at", "cell_freedom", "constrained_crystal", "linearised", "predicted"]

#: Parameters shared by all crystals, in order: axis in plane, axis out of plane [rad], relative error of the rotation
#: step, ellipse (2), ln(q per pixel), the barrel distortion [Å²], the coma (2) [Å], the steady part of the beam's
#: drift (2) [px] and the seam between the detector's chips (2) [px].
GLOBALS = (
    "axis_in_plane", "axis_out_of_plane", "step", "ellipse_1", "ellipse_2", "log_scale", "barrel", "coma_x", "coma_y",
    "trend_x", "trend_y", "gap_x", "gap_y",
)  # fmt: skip

#: Beyond this turn [rad] from the observed angle a crossing says nothing: the reflection grazes the sphere.
_MAX_TURN = 0.05


@dataclass(frozen=True)
class Data:
    """Indexed spots as plain arrays (n,): ``hkl`` (n, 3), ``crystal``, ``phi`` [rad], ``frame``, ``xy`` (n, 2) [px],
    ``var_xy`` (n, 2) [px²], ``var_phi`` [rad²], ``use_phi`` and the spots' ``row`` in the table they came from."""

    row: np.ndarray
    hkl: np.ndarray
    crystal: np.ndarray
    phi: np.ndarray
    frame: np.ndarray
    xy: np.ndarray
    var_xy: np.ndarray
    var_phi: np.ndarray
    use_phi: np.ndarray

    def part(self, keep: np.ndarray) -> Data:
        """The spots selected by a mask."""
        return Data(*(v[keep] for v in vars(self).values()))


@dataclass(frozen=True)
class State:
    """What is refined: per crystal the six cell constants [Å, deg] and U; axis, ellipse components, scale; the beam.

    ``shift`` (n_frames, 2) [px] is the direct beam of each frame minus ``Detector.origin``, of which ``trend`` (2,)
    times ``time`` (n_frames,), −½ to ½ over the scan, was added as a steady drift.
    """

    cells: tuple[np.ndarray, ...]
    freedom: tuple[np.ndarray, ...]
    orientations: tuple[np.ndarray, ...]
    axis: np.ndarray
    ellipse: np.ndarray
    q_per_pixel: float
    shift: np.ndarray
    trend: np.ndarray
    time: np.ndarray
    wavelength: float
    origin: np.ndarray
    barrel: float = 0.0
    coma: np.ndarray = field(default_factory=lambda: np.zeros(2))
    #: angles are ``pivot`` + (1 + stretch) (φ − ``pivot``) [rad]
    stretch: float = 0.0
    pivot: float = 0.0
    #: seam left out of the images, and the detector's middle (2,) [px]; ``origin`` counts the seam
    gap: np.ndarray = field(default_factory=lambda: np.zeros(2))
    middle: np.ndarray = field(default_factory=lambda: np.zeros(2))

    @classmethod
    def of(cls, experiment: Experiment) -> State:
        """The starting values; cells are first made to obey their lattice system."""
        crystals = [constrained_crystal(c) for c in experiment.crystals]
        scan, det = experiment.scan, experiment.detector
        return cls(
            cells=tuple(np.array(c.cell.parameters) for c in crystals),
            freedom=tuple(cell_freedom(c) for c in crystals),
            orientations=tuple(c.orientation for c in crystals),
            axis=experiment.goniometer.axis,
            ellipse=np.array(det.ellipse.components),
            q_per_pixel=det.q_per_pixel,
            shift=np.zeros((len(scan), 2)) if scan.beam_shift is None else np.array(scan.beam_shift),
            trend=np.zeros(2),
            time=(scan.numbers - scan.numbers.mean()) / max(float(np.ptp(scan.numbers)), 1.0),
            wavelength=experiment.beam.wavelength,
            origin=np.array(det.origin) + det.across_gap(np.array(det.origin)),
            gap=np.array(det.gap),
            middle=np.array([det.shape[1], det.shape[0]]) / 2,
            barrel=det.barrel,
            coma=np.array(det.coma),
            pivot=float(np.radians(scan.mid_deg.mean())),
        )

    def at(self, name: str) -> int:
        """Column of a shared parameter."""
        return self.n_cell + GLOBALS.index(name)

    def angle(self, phi: np.ndarray) -> np.ndarray:
        """The angles that the frames really had [rad], from those of the file."""
        return self.pivot + (1 + self.stretch) * (phi - self.pivot)

    @property
    def n_cell(self) -> int:
        """Number of parameters of the crystals: free cell constants and three rotations each."""
        return sum(f.shape[1] + 3 for f in self.freedom)

    @property
    def n_parameters(self) -> int:
        """Number of parameters but those of the frames."""
        return self.n_cell + len(GLOBALS)

    def ub(self, k: int) -> np.ndarray:
        """UB (3, 3) of crystal ``k``."""
        return self.orientations[k] @ Cell(*self.cells[k]).B

    def moved(self, step: np.ndarray, shift: np.ndarray) -> State:
        """After a step of all parameters (p,) and of the beam (n_frames, 2)."""
        cells, orientations, at = [], [], 0
        for cell, freedom, u in zip(self.cells, self.freedom, self.orientations):
            k = freedom.shape[1]
            change = freedom @ step[at : at + k]
            cells.append(np.concatenate([cell[:3] * np.exp(change[:3]), cell[3:] + np.degrees(change[3:])]))
            orientations.append(rotation_from_vector(step[at + k : at + k + 3]) @ u)
            at += k + 3
        axis = self.axis + step[at : at + 2] @ axis_tangents(self.axis)
        e, t = self.at("ellipse_1"), self.at("trend_x")
        gap = self.gap + step[t + 2 : t + 4]
        return replace(
            self,
            cells=tuple(cells),
            orientations=tuple(orientations),
            axis=axis / np.linalg.norm(axis),
            stretch=float(self.stretch + step[self.at("step")]),
            ellipse=self.ellipse + step[e : e + 2],
            q_per_pixel=float(self.q_per_pixel * np.exp(step[self.at("log_scale")])),
            barrel=float(self.barrel + step[self.at("barrel")]),
            coma=self.coma + step[self.at("coma_x") :][:2],
            shift=self.shift + shift + self.time[:, None] * step[t : t + 2],
            trend=self.trend + step[t : t + 2],
            # one held at zero must not become a rounding error that looks like a seam
            gap=np.where(np.abs(gap) < 1e-9, 0.0, gap),
        )

    def experiment(self, old: Experiment) -> Experiment:
        """``old`` with the refined values; the mean beam position goes to ``Detector.origin``."""
        mean = self.shift.mean(axis=0)
        origin = self.origin + mean
        origin = origin - 0.5 * self.gap * np.sign(origin - self.middle)
        detector: Detector = old.detector.replace(
            q_per_pixel=self.q_per_pixel,
            origin=(float(origin[0]), float(origin[1])),
            gap=(float(self.gap[0]), float(self.gap[1])),
            ellipse=Ellipse.from_components(*self.ellipse),
            barrel=self.barrel,
            coma=(float(self.coma[0]), float(self.coma[1])),
        )
        crystals = [
            c.replace(cell=Cell(*cell), orientation=u)
            for c, cell, u in zip(old.crystals, self.cells, self.orientations)
        ]
        scan = old.scan
        return old.replace(
            detector=detector,
            goniometer=Goniometer(self.axis),
            scan=scan.replace(
                start_deg=np.degrees(self.angle(np.radians(scan.start_deg))),
                width_deg=scan.width_deg * (1 + self.stretch),
                beam_shift=self.shift - mean,
            ),
            crystals=tuple(crystals),
        )


def cell_freedom(crystal: Crystal) -> np.ndarray:
    """(6, k): how the k free parameters of the lattice system change ln a, ln b, ln c, α, β, γ [rad].

    The system follows from the Laue group (monoclinic: unique axis b; trigonal: hexagonal axes unless γ is far from
    120°, then rhombohedral).
    """
    laue, gamma = crystal.laue_group, crystal.cell.gamma
    if laue.startswith(("m-3", "m3")):
        groups = [(0, 1, 2)]
    elif laue.startswith("-3") and abs(gamma - 120) > 5:
        groups = [(0, 1, 2), (3, 4, 5)]
    elif laue.startswith(("4", "-3", "6")):
        groups = [(0, 1), (2,)]
    elif laue == "mmm":
        groups = [(0,), (1,), (2,)]
    elif laue.startswith("2") or laue == "12/m1":
        groups = [(0,), (1,), (2,), (4,)]
    else:
        groups = [(i,) for i in range(6)]
    out = np.zeros((6, len(groups)))
    for j, group in enumerate(groups):
        out[list(group), j] = 1.0
    return out


def constrained_crystal(crystal: Crystal) -> Crystal:
    """The nearest crystal whose cell obeys its lattice system; U follows by polar decomposition."""
    freedom = cell_freedom(crystal)
    p = np.array(crystal.cell.parameters)
    ideal = np.array([0, 0, 0, 90.0, 90.0, 90.0])
    if crystal.laue_group.startswith(("-3", "6")) and freedom[3, -1] == 0:
        ideal[5] = 120.0
    free = freedom.any(axis=1)
    projected = np.concatenate([np.log(p[:3]), p[3:]])
    mean = freedom @ (freedom.T @ projected / freedom.sum(axis=0))
    p = np.where(free, mean, ideal)
    p[:3] = np.exp(p[:3])
    if np.allclose(p, crystal.cell.parameters, rtol=0, atol=1e-12):
        return crystal
    ub = crystal.UB
    cell = Cell(*p)
    u, _, vt = np.linalg.svd(ub @ np.linalg.inv(cell.B))
    return crystal.replace(cell=cell, orientation=u @ vt)


def predicted(state: State, data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (n, 2) [px], excitation errors (n,) [Å⁻¹] and scattering vectors (n, 3) at the observed angles."""
    ubs = np.stack([state.ub(k) for k in range(len(state.cells))])
    q0 = np.einsum("nij,nj->ni", ubs[data.crystal], data.hkl.astype(float))
    q = rotate_about(state.axis, state.angle(data.phi), q0)
    centre = state.origin + beam_at(state.shift, data.frame)
    centre -= 0.5 * state.gap * np.sign(data.xy - state.middle)
    xy, eps = spot_positions(q, state.wavelength, state.q_per_pixel, state.ellipse, centre, state.barrel, state.coma)
    return xy, eps, q


def beam_at(shift: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Beam shift (n, 2) at fractional list indices: linear between the frames' middles, as ``Scan.shift_at``."""
    i = np.arange(len(shift)) + 0.5
    return np.stack([np.interp(frame, i, shift[:, k]) for k in (0, 1)], axis=1)


def linearised(state: State, data: Data) -> tuple[np.ndarray, ...]:
    """Positions (n, 2) [px], excitation errors (n,) [Å⁻¹], q (n, 3) and the derivatives of x, y, ε, each (n, p).

    All are taken where the reflection *crosses* the sphere (one Newton step from the observed angle), and ε there is
    the speed of crossing times the observed minus the calculated angle. Derivatives at the observed angle would carry
    its error, and a least squares in which the residual multiplies its own derivative favours small cells.
    """
    _, eps, q = predicted(state, data)
    speed = crossing_speed(q, state.axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = -eps / speed
    delta = np.where(np.abs(delta) < _MAX_TURN, delta, 0.0)
    angle = state.angle(data.phi) + delta
    q0, dq = _moves(state, data, angle)
    q = rotate_about(state.axis, angle, q0)
    dq[-1] = (data.phi - state.pivot)[:, None] * np.cross(state.axis, q)
    centre = state.origin + beam_at(state.shift, data.frame)
    centre -= 0.5 * state.gap * np.sign(data.xy - state.middle)
    xy, eps = spot_positions(q, state.wavelength, state.q_per_pixel, state.ellipse, centre, state.barrel, state.coma)
    eps = eps - crossing_speed(q, state.axis) * delta
    jx, jy, je = spot_jacobian(q, dq, state.wavelength, state.q_per_pixel, state.ellipse, state.barrel, state.coma)
    time = np.interp(data.frame, np.arange(len(state.time)) + 0.5, state.time)
    zero = np.zeros_like(time)
    side = -0.5 * np.sign(data.xy - state.middle)
    return (
        xy, eps, q, np.column_stack([jx, time, zero, side[:, 0], zero]),
        np.column_stack([jy, zero, time, zero, side[:, 1]]), np.column_stack([je, zero, zero, zero, zero]),
    )  # fmt: skip


def _moves(state: State, data: Data, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U B h (n, 3) and the derivatives of q by cells, orientations and axis (p, n, 3); the last is left to the step."""
    n = len(data.phi)
    dq, q0, at = np.zeros((state.n_cell + 3, n, 3)), np.empty((n, 3)), 0
    for k, (cell, freedom, u) in enumerate(zip(state.cells, state.freedom, state.orientations)):
        mine = data.crystal == k
        h, phi = data.hkl[mine].astype(float), angle[mine]
        q0[mine] = h @ state.ub(k).T
        for db in _cell_derivatives(cell, freedom):
            dq[at, mine] = rotate_about(state.axis, phi, h @ (u @ db).T)
            at += 1
        for e in np.eye(3):
            dq[at, mine] = rotate_about(state.axis, phi, np.cross(e, q0[mine]))
            at += 1
    for j, t in enumerate(axis_tangents(state.axis)):
        dq[at + j] = rotation_derivative(state.axis, angle, q0, t)
    return q0, dq


def _cell_derivatives(cell: np.ndarray, freedom: np.ndarray) -> list[np.ndarray]:
    """dB by each free cell parameter (central differences, exact to 1e-10)."""
    h, out = 1e-5, []
    for column in freedom.T:
        ends = []
        for sign in (h, -h):
            c = sign * column
            ends.append(Cell(*cell[:3] * np.exp(c[:3]), *(cell[3:] + np.degrees(c[3:]))).B)
        out.append((ends[0] - ends[1]) / (2 * h))
    return out
