"""The grid of crystals, made square by square from the seed: any part of it comes out the same whenever it is seen."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from scipy.spatial.transform import Rotation

from credo.instrument.sim.crystals import EDGES, Crystals
from credo.instrument.sim.settings import SampleSettings
from credo.model.errors import UnreadableInput

__all__ = ["Sample"]

#: Edge of the tiles in which the grid is made [µm]; the grid's radius [µm]; tiles kept in memory.
_TILE, _RADIUS, _KEPT = 20.0, 1500.0, 4096


class Sample:
    """Positions on the grid are stage coordinates of an ideal stage [µm], the origin in the middle of a square."""

    def __init__(self, settings: SampleSettings, seed: int, directions: tuple[np.ndarray, ...] = ()) -> None:
        """``directions``: per phase, the preferred direction as a Cartesian vector of the crystal."""
        self.settings, self._seed = settings, seed
        self._shares = _shares(settings)
        self._directions = directions
        self._tiles: OrderedDict[tuple[int, int], Crystals] = OrderedDict()
        self._last: tuple[tuple[int, int, int, int], Crystals] | None = None
        rng = np.random.default_rng([seed, 21])
        self._waves = rng.normal(size=(4, 2)) * (2 * np.pi / np.array([300.0, 160, 90, 400]))[:, None]
        self._phases = rng.uniform(0, 2 * np.pi, size=4)
        self.texture = _texture(rng)
        self.pitch_um = 25400.0 / settings.mesh
        self.bar_um = 0.38 * self.pitch_um

    def height(self, xy: np.ndarray) -> np.ndarray:
        """Height of the film (n,) [µm] at positions (n, 2)."""
        waves = np.sin(np.asarray(xy) @ self._waves.T + self._phases)
        return self.settings.film_waviness_um * np.sqrt(0.5) * waves.sum(axis=-1)

    def near(self, xy: np.ndarray, radius: float) -> Crystals:
        """Particles whose centres lie within ``radius`` [µm] of ``xy`` (2,)."""
        low = np.floor((np.asarray(xy) - radius) / _TILE).astype(int)
        high = np.floor((np.asarray(xy) + radius) / _TILE).astype(int)
        table = self._joined(*low.tolist(), *high.tolist())
        d = table.place[:, :2] - xy
        return table.select(np.einsum("ij,ij->i", d, d) <= radius**2)

    def _joined(self, left: int, low: int, right: int, high: int) -> Crystals:
        """All tiles of a rectangle as one table; the last is kept, for the beam stays where it is for many frames."""
        if self._last is None or self._last[0] != (left, low, right, high):
            tiles = [self._tile(i, j) for i in range(left, right + 1) for j in range(low, high + 1)]
            self._last = (left, low, right, high), Crystals.joined(tiles)
        return self._last[1]

    def _tile(self, i: int, j: int) -> Crystals:
        key = (i, j)
        if key not in self._tiles:
            self._tiles[key] = self._made(i, j)
            if len(self._tiles) > _KEPT:
                self._tiles.popitem(last=False)
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def _made(self, i: int, j: int) -> Crystals:
        """The particles of one tile; none on the bars or off the grid."""
        s = self.settings
        rng = np.random.default_rng([self._seed, 22, i + 10_000, j + 10_000])
        n = int(rng.poisson(s.density * _TILE**2))
        xy = (np.array([i, j]) + rng.uniform(size=(n, 2))) * _TILE
        phase = rng.choice(len(self._shares), size=n, p=self._shares)
        phase[rng.uniform(size=n) < s.debris / (1 + s.debris)] = -1
        size = s.size_um * np.exp(s.size_spread * rng.normal(size=n))
        _clustered(xy, size, s.clustered, rng)
        on = self._on_film(xy)
        table = self._grown(i, j, xy, phase, size, rng)
        return table.select(on)

    def _on_film(self, xy: np.ndarray) -> np.ndarray:
        inside = np.linalg.norm(xy, axis=1) < _RADIUS
        if self.settings.film == "none":
            return inside
        off = np.abs(xy - self.pitch_um * np.rint(xy / self.pitch_um))
        return inside & (off.max(axis=1) < 0.5 * (self.pitch_um - self.bar_um))

    def _grown(self, i: int, j: int, xy: np.ndarray, phase: np.ndarray, size: np.ndarray, rng) -> Crystals:
        """Shapes, thicknesses and orientations of particles of length ``size`` (n,) at ``xy`` (n, 2)."""
        s, n = self.settings, len(xy)
        normal, offset = _outlines(size, s, rng)
        thickness = s.thickness_ratio * size * np.exp(0.25 * rng.normal(size=n))
        quaternions = rng.normal(size=(n, 4))
        orientation = Rotation.from_quat(quaternions).as_matrix() if n else np.empty((0, 3, 3))
        if s.preferred is not None:
            leaning = self._leaning(phase, rng)
            follows = rng.uniform(size=n) < s.preferred_share if s.preferred_share < 1 else np.ones(n, dtype=bool)
            orientation = np.where(follows[:, None, None], leaning, orientation)
        twin = rng.uniform(size=n) < s.second_lattice
        lean = Rotation.from_rotvec(rng.normal(size=(n, 3)) * np.radians(8.0)).as_matrix() if n else orientation
        mosaicity = s.mosaicity_deg * np.exp(0.3 * rng.normal(size=n))
        bend = s.bend_deg * np.exp(0.5 * rng.normal(size=n))
        domain_share = np.where(twin, rng.uniform(0.05, 0.6, size=n), 0.0)
        above = self.height(xy) - 0.5 * thickness
        reach = (offset.max(axis=1) * 1.3) if n else np.empty(0)
        ident = ((i + 10_000) * 100_000 + (j + 10_000)) * 1000 + np.arange(n)
        return Crystals(
            ident.astype(np.int64), phase, np.column_stack([xy, above]), normal, offset, reach, thickness,
            orientation, mosaicity, bend, lean @ orientation, domain_share,
        )  # fmt: skip

    def _leaning(self, phase: np.ndarray, rng) -> np.ndarray:
        """U (n, 3, 3) with the preferred direction near the beam (−z: towards the source) and a random azimuth."""
        out = np.empty((len(phase), 3, 3))
        for k, p in enumerate(phase):
            d = self._directions[p] if p >= 0 and self._directions else np.array([0, 0, 1.0])
            upright = Rotation.align_vectors([[0, 0, -1.0]], [d / np.linalg.norm(d)])[0]
            spin = Rotation.from_rotvec([0, 0, rng.uniform(0, 2 * np.pi)])
            lean = Rotation.from_rotvec(
                np.radians(self.settings.preferred_spread_deg) * np.array([*rng.normal(size=2), 0])
            )
            out[k] = (lean * spin * upright).as_matrix()
        return out


def _shares(s: SampleSettings) -> np.ndarray:
    shares = np.array(s.fractions or np.ones(len(s.phases)), dtype=float)
    if len(shares) != len(s.phases) or np.any(shares < 0) or shares.sum() <= 0:
        raise UnreadableInput("sample: one positive fraction for each phase is needed", "correct `fractions`")
    return shares / shares.sum()


def _clustered(xy: np.ndarray, size: np.ndarray, share: float, rng) -> None:
    """Move a share of the particles beside an earlier one of the tile, in place."""
    for k in range(1, len(xy)):
        if rng.uniform() < share:
            other = int(rng.integers(k))
            a = rng.uniform(0, 2 * np.pi)
            xy[k] = xy[other] + 0.45 * (size[k] + size[other]) * rng.uniform(0.5, 1.1) * np.array(
                [np.cos(a), np.sin(a)]
            )


def _outlines(size: np.ndarray, s: SampleSettings, rng) -> tuple[np.ndarray, np.ndarray]:
    """Edge normals (n, e, 2) and distances (n, e) [µm]: convex, about ``size`` long and size/aspect wide."""
    n = len(size)
    edges = np.where(rng.uniform(size=n) < 0.5, 4, 6) if not s.round else np.full(n, EDGES)
    k = np.minimum(np.arange(EDGES)[None], edges[:, None] - 1)
    angle = 2 * np.pi * k / edges[:, None]
    jitter = 0.12 * rng.normal(size=(n, EDGES))
    angle = angle + np.take_along_axis(jitter, k, axis=1)
    aspect = 1 + (s.aspect - 1) * rng.uniform(0.4, 1.6, size=n)
    half = 0.5 * size
    distance = half[:, None] / np.hypot(np.cos(angle) * 1.0, np.sin(angle) * aspect[:, None])
    distance *= np.take_along_axis(np.exp(0.08 * rng.normal(size=(n, EDGES))), k, axis=1)
    turn = angle + rng.uniform(0, 2 * np.pi, size=n)[:, None]
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1), distance


def _texture(rng, size: int = 512, grain: float = 3.0) -> np.ndarray:
    """A periodic random map (size, size) of unit variance: white noise seen through a Gaussian of ``grain`` samples."""
    f = np.fft.fftfreq(size)
    blur = np.exp(-2 * (np.pi * grain) ** 2 * (f[:, None] ** 2 + f[None] ** 2))
    broad = np.exp(-2 * (np.pi * 12 * grain) ** 2 * (f[:, None] ** 2 + f[None] ** 2))
    noise = np.fft.fft2(rng.normal(size=(size, size)))
    fine, coarse = np.fft.ifft2(noise * blur).real, np.fft.ifft2(noise * broad).real
    both = fine / fine.std() + 0.7 * coarse / coarse.std()
    return np.ascontiguousarray(both / both.std()).astype(np.float32)
