"""SHELX reflection files (.hkl, HKLF 4): fixed columns 3I4, 2F8, I4 with or without blanks between them; and free ones.

The list ends at 0 0 0, as in SHELX. A number without a decimal point in an F8.2 column means hundredths there; that is
followed only where the columns are not separated by blanks.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from credo.io.frame_file import reading
from credo.io.text import at_line, head, read_text, table, write_text
from credo.model import Experiment, Reflections
from credo.model.errors import CannotDo

__all__ = ["parse_lines", "read_hkl", "sniff_hkl", "write_hkl"]

_FIXED = re.compile(r"[ \d+-]{12}[ \d.+\-Ee]{8}[ \d.+\-Ee]{8}")
_BOUNDS = ((0, 4), (4, 8), (8, 12), (12, 20), (20, 28), (28, 32))


def sniff_hkl(path: Path) -> bool:
    """Whether a file is an HKLF 4 list: its suffix and numbers in its first line."""
    if ".hkl" not in path.name.lower() or path.name.upper() in ("XDS_ASCII.HKL", "INTEGRATE.HKL"):
        return False
    first = next((line for line in head(path, 512).split("\n") if line.strip()), "")
    return bool(_FIXED.match(first.ljust(28))) or _free(first) is not None


def _free(line: str) -> list[float] | None:
    """h k l I [sigma [batch]] separated by blanks, or None."""
    words = line.split()
    if not 4 <= len(words) <= 7 or not all(re.fullmatch(r"[-+]?\d{1,4}", w) for w in words[:3]):
        return None
    try:
        return [float(w) for w in words]
    except ValueError:
        return None


def read_hkl(path: Path) -> Reflections:
    """Columns h k l intensity sigma, and batch where the numbers differ. A file without sigmas has none."""
    return parse_lines(path, read_text(path).split("\n"))


def parse_lines(path: Path, lines: list[str]) -> Reflections:
    """The reflections in the lines of an HKLF 4 file; ``path`` is for messages."""
    kept = _until_end(lines)
    if not kept:
        at_line(path, 1, "no reflections", "give an HKLF 4 file: h k l I sigma")
    data = _parse(path, kept)
    out = {"h": data[:, 0], "k": data[:, 1], "l": data[:, 2], "intensity": data[:, 3]}
    if np.any(np.abs(data[:, :3]) > 10**4) or np.any(data[:, :3] != np.round(data[:, :3])):
        at_line(path, 1, "h, k, l are not whole numbers")
    if data.shape[1] > 4:
        out["sigma"] = data[:, 4]
    if data.shape[1] > 5 and len(np.unique(data[:, 5])) > 1:
        out["batch"] = np.clip(data[:, 5], -(2**31), 2**31 - 1).astype(np.int32)
    with reading(path, "an HKLF 4 file"):
        return Reflections(out)


def _until_end(lines: list[str]) -> list[str]:
    """The reflections: up to 0 0 0 or to the first empty line after them."""
    end = re.compile(r"\s*(?:0\s+0\s+0\s|0   0   0)|\s{3}0\s{3}0\s{3}0")
    for i, line in enumerate(lines):
        if not line.strip() or end.match(line + " "):
            return lines[:i]
    return lines


def _parse(path: Path, lines: list[str]) -> np.ndarray:
    """(n, 4 to 6): with blanks where every line has them in the same number, else by columns."""
    words = [len(line.split()) for line in lines]
    same = min(words) == max(words)
    if same and 4 <= words[0] <= 7 and all(_free(line) is not None for line in lines[:50]):
        data = table(path, "\n".join(lines), words[0])
        # three columns of four digits each may hide a missing blank between h, k and l only if a word is too long
        if np.all(data[:, :3] == np.round(data[:, :3])):
            return data[:, :6]
    return _columns(path, lines)


def _columns(path: Path, lines: list[str]) -> np.ndarray:
    """Fixed columns of the whole file at once."""
    width = 32 if any(line[28:32].strip() for line in lines[:200]) else 28
    # what is not ASCII becomes a question mark, which is no number
    block = np.array([line[:width].ljust(width).encode("ascii", "replace") for line in lines], dtype=f"S{width}")
    cells = block.view("S1").reshape(len(lines), width)
    out = np.zeros((len(lines), 6 if width == 32 else 5))
    for k, (a, b) in enumerate(_BOUNDS[: out.shape[1]]):
        field = np.ascontiguousarray(cells[:, a:b]).view(f"S{b - a}").ravel()
        field = np.where(np.char.strip(field) == b"", b"0", field)
        try:
            out[:, k] = field.astype(float)
        except ValueError:
            bad = next(i for i, f in enumerate(field.tolist()) if not _is_number(f))
            at_line(path, bad + 1, f"columns {a + 1}-{b} hold {field[bad].decode('ascii', 'replace')!r}, not a number")
        if k in (3, 4):
            out[np.char.find(field, b".") < 0, k] *= 0.01
    if not np.isfinite(out).all():
        at_line(path, int(np.argwhere(~np.isfinite(out))[0, 0]) + 1, "not a finite number")
    return out


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_hkl(path: Path, reflections: Reflections, experiment: Experiment | None = None) -> None:
    """HKLF 4. The scale is chosen so that the strongest intensity fits eight columns with digits to spare (the sigmas
    are on the same scale); rejected observations are left out. Ends with 0 0 0.

    experiment: only to have the signature of the other writers.
    """
    r = reflections
    if not all(n in r for n in ("h", "k", "l", "intensity", "sigma")):
        raise CannotDo(f"{path}: HKLF 4 needs indices, intensities and sigmas", "integrate the data first")
    keep = np.isfinite(r["intensity"]) & np.isfinite(r["sigma"]) & np.any(r.hkl != 0, axis=1)
    if "rejected" in r:
        keep &= ~r["rejected"]
    if "lattice" in r:
        keep &= r["lattice"] >= 0
    r = r.select(keep)
    if np.any(np.abs(r.hkl) > 999):
        raise CannotDo(f"{path}: indices above 999 do not fit HKLF 4", "write MTZ or CIF")
    top = max(float(np.abs(r["intensity"]).max(initial=0)), float(r["sigma"].max(initial=0)))
    # eight columns, with a leading blank: 99999.99 fits, larger numbers are scaled down by a power of ten
    scale = 1.0 if top < 99999 else 10.0 ** (4 - np.floor(np.log10(top)))
    batch = r["batch"] if "batch" in r else np.ones(len(r), dtype=int)
    rows = zip(*(v.tolist() for v in (r["h"], r["k"], r["l"], r["intensity"] * scale, r["sigma"] * scale, batch)))
    body = "".join(f"{h:4d}{k:4d}{l:4d}{_f8(i)}{_f8(s)}{min(b, 9999):4d}\n" for h, k, l, i, s, b in rows)
    write_text(path, body + "   0   0   0    0.00    0.00   0\n")


def _f8(value: float) -> str:
    """A number in eight columns with as many decimals as fit after at least one blank, at most four."""
    for digits in (4, 3, 2, 1):
        text = f"{value:.{digits}f}"
        if len(text) <= 7:
            return f"{text:>8}"
    return f"{value:8.0f}." if len(f"{value:.0f}") <= 6 else f"{value:7.0f}."
