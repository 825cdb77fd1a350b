"""Pictures of docs/simulator.md: three charts a data set as SVG, and simulated frames as a small PNG."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

__all__ = ["draw", "write_png"]

_W, _H, _LEFT, _BOTTOM = 300, 210, 46, 34
_COLOURS = {"measured": "#1f77b4", "simulated": "#d95f02"}


def draw(path: Path, name: str, both: dict) -> None:
    """Histogram of counts, counts against q, spots per degree against resolution: measured and simulated."""
    parts = [_panel(0, "counts per pixel", "share of pixels", _histograms(both), (1, 2e4), (1e-7, 1))]
    top = max(max(v["radial"][1]) for v in both.values())
    radial = {k: (v["radial"][0], v["radial"][1]) for k, v in both.items()}
    parts.append(_panel(1, "q (1/Å)", "median counts", radial, (0.03, 2.5), (0.1, 2 * top)))
    shells = {k: ([float(s.split("-")[1]) for s in v["spots"]], list(v["spots"].values())) for k, v in both.items()}
    parts.append(_panel(2, "d (Å)", "spots per degree", shells, (0.4, 6), (0.02, 200)))
    legend = "".join(
        f'<text x="{_LEFT + 10 + 130 * n}" y="14" fill="{c}" font-size="12">{name}, {k}</text>'
        for n, (k, c) in enumerate(_COLOURS.items())
    )
    size = f'viewBox="0 0 {3 * _W} {_H + 20}" width="{3 * _W}" height="{_H + 20}"'
    style = '<rect width="100%" height="100%" fill="white"/><g font-family="sans-serif" font-size="10">'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{legend}<g transform="translate(0,20)">{"".join(parts)}'
        "</g></g></svg>\n",
        encoding="utf-8",
    )


def _histograms(both: dict) -> dict:
    out = {}
    for k, v in both.items():
        edges, share = np.array(v["histogram"][0]), np.array(v["histogram"][1])
        keep = (share > 0) & (edges > 0.6)
        out[k] = (edges[keep], share[keep])
    return out


def _panel(n: int, x_label: str, y_label: str, series: dict, x: tuple, y: tuple) -> str:
    """One chart with logarithmic axes."""
    wide, high = _W - _LEFT - 12, _H - _BOTTOM - 8
    at_x = lambda v: n * _W + _LEFT + wide * np.log(np.asarray(v) / x[0]) / np.log(x[1] / x[0])  # noqa: E731
    at_y = lambda v: 8 + high * (1 - np.log(np.maximum(v, y[0]) / y[0]) / np.log(y[1] / y[0]))  # noqa: E731
    out = [
        f'<rect x="{n * _W + _LEFT}" y="8" width="{wide}" height="{high}" fill="none" stroke="#888"/>',
        f'<text x="{n * _W + _LEFT + wide / 2}" y="{_H - 6}" text-anchor="middle">{x_label}</text>',
        f'<text x="{n * _W + 11}" y="{8 + high / 2}" text-anchor="middle" '
        f'transform="rotate(-90 {n * _W + 11} {8 + high / 2})">{y_label}</text>',
    ]
    for decade in range(int(np.ceil(np.log10(x[0]))), int(np.log10(x[1])) + 1):
        out.append(f'<text x="{at_x(10.0**decade):.0f}" y="{_H - 20}" text-anchor="middle">{10.0**decade:g}</text>')
    for decade in range(int(np.ceil(np.log10(y[0]))), int(np.log10(y[1])) + 1):
        out.append(f'<text x="{n * _W + _LEFT - 3}" y="{at_y(10.0**decade) + 3:.0f}" text-anchor="end">')
        out.append(f"{10.0**decade:g}</text>" if decade > -2 else f"1e{decade}</text>")
    for k, (a, b) in series.items():
        b = np.asarray(b, dtype=float)
        points = " ".join(f"{u:.1f},{v:.1f}" for u, v in zip(at_x(a), at_y(b)))
        out.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[k]}" stroke-width="1.5"/>')
    return "".join(out)


def write_png(path: Path, grey: np.ndarray) -> None:
    """An 8-bit grey image (rows, columns)."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(grey, dtype=np.uint8))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    ]
    chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
