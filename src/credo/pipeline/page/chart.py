"""Charts as inline SVG: axes with round ticks, lines, dots, bars, bands and rules; colours come from the page's CSS."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from credo.pipeline.page.markup import esc

__all__ = ["MARGIN", "SMALL", "Chart", "path", "resolution_ticks", "ticks"]

#: Room for labels: left, right, top, bottom [px].
MARGIN = 58, 14, 30, 42
SMALL = 38, 6, 22, 22

#: Values of d [Å] that may be written at an axis.
_ROUND_D = (
    50, 20, 10, 7, 5, 4, 3, 2.5, 2, 1.7, 1.5, 1.3, 1.2, 1.1, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.2,
)  # fmt: skip


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high], steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-12 * max(abs(high), 1e-30))
    raw = span / max(about, 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda m: abs(np.log(raw / (m * power))))
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    # + 0.0 turns a negative nought, which would be written with its sign, into nought
    return [float(step * k) + 0.0 for k in np.arange(first, last + 1)][:50]


def resolution_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """(1/d², label d) for an axis in 1/d² from ``low`` to ``high`` [Å⁻²], not too close to each other."""
    out: list[tuple[float, str]] = []
    for d in _ROUND_D:
        at = 1 / d**2
        if low <= at <= high and all(abs(at - a) > 0.075 * (high - low) for a, _ in out):
            out.append((at, f"{d:g}"))
    return out


def path(x: np.ndarray, y: np.ndarray, digits: int = 1) -> str:
    """The d attribute of a polyline through points (n,), (n,), broken at NaN."""
    out, pen = [], "M"
    for a, b in zip(np.round(x, digits).tolist(), np.round(y, digits).tolist()):
        if a != a or b != b:
            pen = "M"
            continue
        out.append(f"{pen}{a:g} {b:g}")
        pen = "L"
    return "".join(out)


class Chart:
    """One pair of axes. ``x``, ``y``: (low, high) in data units; things are drawn in the order in which they are added.

    ``kind`` of a series is a CSS class: c1, c2, c3 (colours), quiet (grey).
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        x_label: str,
        y_label: str,
        size: tuple[int, int] = (480, 270),
        x_ticks: Sequence[tuple[float, str]] | None = None,
        y_ticks: Sequence[tuple[float, str]] | None = None,
        margin: tuple[int, int, int, int] = MARGIN,
    ) -> None:
        self.x, self.y = _widened(x), _widened(y)
        self.labels, self.size = (x_label, y_label), size
        self.x_ticks = list(x_ticks) if x_ticks is not None else [(t, f"{t:g}") for t in ticks(*self.x, size[0] // 75)]
        self.y_ticks = list(y_ticks) if y_ticks is not None else [(t, f"{t:g}") for t in ticks(*self.y, size[1] // 50)]
        self.margin = margin
        self.parts: list[str] = []
        self.legend: list[tuple[str, str]] = []

    def at_x(self, x: np.ndarray | float) -> np.ndarray:
        """Data to image."""
        left, right, _, _ = self.margin
        return left + (np.asarray(x, dtype=float) - self.x[0]) / (self.x[1] - self.x[0]) * (self.size[0] - left - right)

    def at_y(self, y: np.ndarray | float) -> np.ndarray:
        """Data to image; values outside are held at the border, so that a few wild ones do not rule the chart."""
        _, _, top, bottom = self.margin
        y = np.clip(np.asarray(y, dtype=float), *self.y)
        return self.size[1] - bottom - (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.size[1] - top - bottom)

    def line(self, x: np.ndarray, y: np.ndarray, kind: str = "c1", label: str = "", more: str = "") -> Chart:
        self._named(kind, label)
        self.parts.append(f'<path class="line {kind} {more}" d="{path(self.at_x(x), self.at_y(y))}"/>')
        return self

    def dots(self, x: np.ndarray, y: np.ndarray, kind: str = "c1", label: str = "", radius: float = 2.5) -> Chart:
        """Round marks: a path of zero-length segments with round caps, much shorter than as many circles."""
        self._named(kind, label)
        good = np.isfinite(x) & np.isfinite(y)
        u, v = np.round(self.at_x(np.asarray(x)[good]), 1), np.round(self.at_y(np.asarray(y)[good]), 1)
        d = "".join(f"M{a:g} {b:g}h0" for a, b in zip(u.tolist(), v.tolist()))
        self.parts.append(f'<path class="dots {kind}" stroke-width="{2 * radius:g}" d="{d}"/>')
        return self

    def bars(self, left: np.ndarray, right: np.ndarray, y: np.ndarray, kind: str = "quiet", label: str = "") -> Chart:
        self._named(kind, label)
        base = float(self.at_y(max(self.y[0], 0.0)))
        for a, b, top in zip(self.at_x(left), self.at_x(right), self.at_y(y)):
            if np.isfinite(top):
                shape = f'x="{a:.1f}" y="{top:.1f}" width="{max(b - a, 0.5):.1f}" height="{max(base - top, 0):.1f}"'
                self.parts.append(f'<rect class="fill {kind}" {shape}/>')
        return self

    def band(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, kind: str = "c1") -> Chart:
        u = self.at_x(np.concatenate([x, x[::-1]]))
        v = self.at_y(np.concatenate([low, high[::-1]]))
        self.parts.append(f'<path class="band {kind}" d="{path(u, v)}Z"/>')
        return self

    def sticks(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, kind: str = "c1") -> Chart:
        """Error bars."""
        u, a, b = self.at_x(x), self.at_y(low), self.at_y(high)
        d = "".join(f"M{i:.1f} {j:.1f}V{k:.1f}" for i, j, k in zip(u, a, b) if np.isfinite(j + k))
        self.parts.append(f'<path class="line thin {kind}" d="{d}"/>')
        return self

    def rule(self, x: float | None = None, y: float | None = None, text: str = "", kind: str = "quiet") -> Chart:
        """A dashed straight line across the chart with a word beside it."""
        left, right, top, bottom = self.margin
        w, h = self.size
        if x is not None:
            u = float(self.at_x(x))
            late = u > 0.8 * w
            self.parts.append(f'<path class="line thin dashed {kind}" d="M{u:.1f} {top}V{h - bottom}"/>')
            self._text(u + (-4 if late else 4), top + 11, text, "end" if late else "start", "small")
        if y is not None:
            v = float(self.at_y(y))
            self.parts.append(f'<path class="line thin dashed {kind}" d="M{left} {v:.1f}H{w - right}"/>')
            self._text(w - right - 3, v - 4, text, "end", "small")
        return self

    def svg(self, title: str, description: str) -> str:
        """The finished picture; both texts are read out to those who cannot see it."""
        w, h = self.size
        return (
            f'<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{esc(title)}. {esc(description)}">'
            f"<title>{esc(title)}</title><desc>{esc(description)}</desc>"
            f"{self._axes()}{''.join(self.parts)}{self._key()}</svg>"
        )

    def _named(self, kind: str, label: str) -> None:
        if label:
            self.legend.append((kind, label))

    def _text(self, x: float, y: float, text: str, anchor: str, kind: str = "") -> None:
        if text:
            self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{esc(text)}</text>')

    def _axes(self) -> str:
        left, right, top, bottom = self.margin
        w, h = self.size
        out = []
        for value, label in self.y_ticks:
            v = float(self.at_y(value))
            out.append(f'<path class="grid" d="M{left} {v:.1f}H{w - right}"/>')
            out.append(f'<text x="{left - 6}" y="{v + 4:.1f}" text-anchor="end">{esc(_minus(label))}</text>')
        for value, label in self.x_ticks:
            u = float(self.at_x(value))
            out.append(f'<path class="grid" d="M{u:.1f} {top}V{h - bottom}"/>')
            out.append(f'<text x="{u:.1f}" y="{h - bottom + 16}" text-anchor="middle">{esc(_minus(label))}</text>')
        out.append(f'<path class="frame" d="M{left} {top}V{h - bottom}H{w - right}"/>')
        middle = (left + w - right) / 2, (top + h - bottom) / 2
        out.append(f'<text x="{middle[0]:.0f}" y="{h - 8}" text-anchor="middle">{_label(self.labels[0])}</text>')
        turn = f'transform="translate(14 {middle[1]:.0f}) rotate(-90)" text-anchor="middle"'
        return "".join(out) + f"<text {turn}>{_label(self.labels[1])}</text>"

    def _key(self) -> str:
        """The names of the series, in a row on top."""
        x, out = float(self.margin[0]), []
        for kind, label in self.legend:
            out.append(f'<path class="line thick {kind}" d="M{x:.0f} 15h16"/><text x="{x + 21:.0f}" y="19">')
            out.append(f"{esc(label)}</text>")
            x += 36 + 6.4 * len(label)
        return "".join(out)


def _label(text: str) -> str:
    """Escaped, with the letters after R_ as a subscript."""
    return re.sub(r"R_([a-z]+)", r'R<tspan dy="4" font-size="9">\1</tspan>', esc(text))


def _minus(label: str) -> str:
    return label.replace("-", "−")


def _widened(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits that can be divided by."""
    low, high = float(limits[0]), float(limits[1])
    if not (np.isfinite(low) and np.isfinite(high)):
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)
