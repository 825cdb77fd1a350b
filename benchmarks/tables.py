"""The results of the reduction benchmark as Markdown."""

from __future__ import annotations

__all__ = ["reduction_tables"]


def reduction_tables(results: dict) -> str:
    """Time, geometry, intensities, and χ² in every bin."""
    parts = [_time(results), _geometry(results), _intensities(results), _sigmas(results)]
    return "\n\n".join(parts) + "\n"


def _table(head: list[str], rows: list[list]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(v) for v in row) + " |" for row in rows])


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _time(results: dict) -> str:
    rows = []
    for name, r in results.items():
        credo, dials = r["runs"].get("credo", {}), r["runs"].get("dials", {})
        ratio = dials["cpu"] / credo["cpu"] if credo and dials else None
        rows.append([
            name, _number(credo.get("cpu"), 1), _number(credo.get("memory_mb"), 0), _number(dials.get("cpu"), 1),
            "" if dials.get("ok", True) else "stopped early", _number(ratio, 1),
        ])  # fmt: skip
    return _table(["scene", "credo CPU s", "credo MB", "DIALS CPU s", "", "ratio"], rows)


def _programs(results: dict):
    for name, r in results.items():
        for program, s in r["scores"].items():
            yield name, program, s


def _geometry(results: dict) -> str:
    rows = []
    for name, program, s in _programs(results):
        if "failed" in s:
            rows.append([name, program, s["failed"][:60], *[""] * 8])
            continue
        cell = " ".join(f"{v:.3f}" for v in s["cell"])
        rows.append([
            name, program, "right" if s["lattice"] else "**wrong**", s["bravais"], cell, _number(s["strain_percent"]),
            _number(s["scale"], 5), _number(s.get("axis_deg"), 3), _number(s["static_deg"]),
            _number(s.get("frame_mean_deg")), _number(s.get("frame_rms_deg")), _number(s.get("frame_max_deg"), 3),
        ])  # fmt: skip
    head = ["scene", "program", "lattice", "type", "cell", "strain %", "scale", "axis °", "U °", "frames: mean °",
            "rms °", "max °"]  # fmt: skip
    return _table(head, rows)


def _intensities(results: dict) -> str:
    rows = []
    for name, program, s in _programs(results):
        for kind, i in s.get("intensities", {}).items():
            c = s.get("common", {}).get(kind)
            rows.append([
                name, program, kind, i["n"], _number(i["cc"], 5), _number(i["r1"], 4), _number(i["chi2"], 2),
                c["n"] if c else "", _number(c["cc"], 5) if c else "", _number(c["r1"], 4) if c else "",
                _number(c["chi2"], 2) if c else "",
            ])  # fmt: skip
    return _table(["scene", "program", "", "n", "CC", "R1", "χ²", "n common", "CC", "R1", "χ²"], rows)


def _sigmas(results: dict) -> str:
    rows = []
    for name, program, s in _programs(results):
        i = s.get("intensities", {}).get("fitted")
        if i:
            rows.append([
                name, program, " ".join(_number(v, 2) for v in i["chi2_by_intensity"]),
                " ".join(_number(v, 2) for v in i["chi2_by_resolution"]),
            ])  # fmt: skip
    return _table(
        ["scene", "program", "χ² from weak to strong, eighths", "χ² from high to low resolution, eighths"], rows
    )
