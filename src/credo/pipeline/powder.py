"""``credo powder``: a structure's X-ray powder pattern, laid over a measured one, as numbers and a picture."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.text import at_line, read_text, write_text
from credo.model import UnreadableInput
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.chart import Chart
from credo.solve.powder import Fitted, PowderLines, Profile, fit_pattern, pattern, powder_lines
from credo.solve.refine.prepare import RefineSettings, prepared_model

__all__ = ["PowderSettings", "powder", "read_xy"]


class PowderSettings(BaseModel):
    """Radiation, range and peak shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wavelength: float = Field(default=1.5406, gt=0.1, lt=10, description="of the X-rays [Å]; Cu Kα1 unless given")
    two_theta_min: float = Field(default=3.0, ge=0, lt=170, description="[deg], where no pattern is given")
    two_theta_max: float = Field(default=60.0, gt=1, le=170, description="[deg]")
    step: float = Field(default=0.02, gt=0.0005, le=1, description="of the simulated scan [deg]")
    width: float = Field(default=0.1, gt=0.001, le=5, description="full width at half height at the start [deg]")
    background_terms: int = Field(default=6, ge=1, le=30, description="terms of the Chebyshev background")


def read_xy(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """2θ [deg] and intensity of a .xy, .xye or .dat: two columns or more, comments and words passed over."""
    rows = []
    for number, line in enumerate(read_text(Path(path), 2**26).split("\n"), start=1):
        words = line.replace(",", " ").split()
        if len(words) < 2 or line.lstrip()[:1] in "#!;'\"":
            continue
        try:
            rows.append((float(words[0]), float(words[1])))
        except ValueError:
            if rows:
                at_line(path, number, f"{line.strip()[:40]!r} is not 2θ and intensity")
    data = np.array(rows).reshape(-1, 2)
    if len(data) < 20 or not np.isfinite(data).all():
        raise UnreadableInput(f"{path}: fewer than 20 points of 2θ and intensity", "give a pattern in two columns")
    if np.any(np.diff(data[:, 0]) <= 0):
        raise UnreadableInput(f"{path}: 2θ does not increase", "sort the pattern, and give one scan only")
    return data[:, 0], data[:, 1]


def powder(
    model: Path,
    measured: Path | None,
    out: Path,
    settings: PowderSettings | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo powder``: simulated.xy, reflections.csv, powder.svg and, with a measured pattern, R."""
    model, settings = Path(model), settings or PowderSettings()
    inputs = [model] + ([Path(measured)] if measured else [])
    output = Output(out, "powder", fingerprint([p for p in inputs if p.exists()], settings), inputs, settings)

    def work(folder: Path) -> dict[str, Any]:
        structure = prepared_model(model, RefineSettings()).model.structure
        scan = read_xy(measured) if measured else None
        top = settings.two_theta_max if scan is None else min(float(scan[0][-1]) + 1, 170.0)
        lines = powder_lines(structure, settings.wavelength, top)
        start = Profile(w=settings.width**2)
        if progress:
            progress(f"{len(lines.d)} reflections")
        if scan is None:
            x = np.arange(settings.two_theta_min, top, settings.step)
            y = pattern(lines, x, settings.wavelength, start)
            fitted = None
        else:
            fitted = fit_pattern(lines, *scan, settings.wavelength, start, settings.background_terms)
            x, y = fitted.two_theta, fitted.calculated
        _write(folder, lines, x, y, fitted)
        return {"n_reflections": len(lines.d), "two_theta_max": float(top), "wavelength": settings.wavelength} | _fit(
            fitted
        )

    return run_command(output, work, force)


def _fit(fitted: Fitted | None) -> dict[str, Any]:
    if fitted is None:
        return {"rwp": None, "rp": None}
    p = fitted.profile
    width = float(np.sqrt(p.w + p.u * np.tan(np.radians(15)) ** 2))
    return {
        "rwp": fitted.rwp, "rp": fitted.rp, "zero_deg": float(p.zero), "cell_factor": float(p.cell),
        "width_at_30_deg": width, "lorentzian": float(p.eta), "scale": fitted.scale,
    }  # fmt: skip


def _write(folder: Path, lines: PowderLines, x: np.ndarray, y: np.ndarray, fitted: Fitted | None) -> None:
    write_text(folder / "simulated.xy", "".join(f"{a:.4f} {b:.6g}\n" for a, b in zip(x, y)))
    top = float(lines.intensity.max()) or 1.0
    rows = zip(lines.hkl.tolist(), lines.two_theta, lines.d, lines.intensity / top * 100)
    body = "".join(f"{h},{k},{l},{t:.4f},{d:.5f},{i:.3f}\n" for (h, k, l), t, d, i in rows)
    write_text(folder / "reflections.csv", "h,k,l,two_theta_deg,d_angstrom,relative_intensity\n" + body)
    write_text(folder / "powder.svg", _picture(lines, x, y, fitted))


def _picture(lines: PowderLines, x: np.ndarray, y: np.ndarray, fitted: Fitted | None) -> str:
    """Measured dots, calculated line, their difference below, ticks where reflections are."""
    high = float(max(y.max(), fitted.observed.max() if fitted else 0.0)) * 1.05
    low = -0.35 * high if fitted else -0.08 * high
    chart = Chart((float(x[0]), float(x[-1])), (low, high), "2θ [°]", "intensity", (1000, 480))
    if fitted is not None:
        chart.dots(x, fitted.observed, "c2", "measured", 1.2)
        chart.line(x, fitted.observed - fitted.calculated - 0.2 * high, "quiet", "difference")
    chart.line(x, y, "c1", "calculated")
    inside = lines.two_theta[(lines.two_theta > x[0]) & (lines.two_theta < x[-1])][:3000]
    chart.sticks(inside, np.full(len(inside), -0.05 * high), np.full(len(inside), -0.02 * high), "c3")
    text = f"Rwp = {fitted.rwp:.4f}" if fitted else "simulated"
    svg = chart.svg("Powder pattern", text)
    style = files("credo.pipeline.page").joinpath("drawing.css").read_text("utf-8")
    colours = (
        ":root{--paper:#fff;--ink:#1c2126;--soft:#5d6873;--line:#dfe3e7;"
        "--c1:#0b66b0;--c2:#c8500a;--c3:#12805c;--quiet:#9aa5ae}"
    )
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="480" '
    return svg.replace("<svg ", head, 1).replace("<title>", f"<style>{colours}{style}</style><title>", 1)
