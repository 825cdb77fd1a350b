"""What the log beside frames says of how they were collected: credo's collect.json, Instamatic's cRED_log.txt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from credo.io.frame_file import read_head
from credo.model import Acquisition

__all__ = ["read_acquisition", "read_collect_json"]

MAX_TEXT = 2**22
#: Folders above the frames in which a collect.json may lie.
_LEVELS = 2
#: Keys of collect.json that are fields of an Acquisition, with their type.
_NUMBERS = (
    "rotation_deg", "speed_deg_s", "exposed_s", "flux", "precession_deg", "area_size_um", "temperature_k",
)  # fmt: skip
_WORDS = ("tracking_method", "microscope", "source", "camera", "software", "date")
_CHOICES = {
    "mode": ("rotation", "stepwise"), "illumination": ("parallel", "convergent"), "area": ("SAED", "probe"),
}  # fmt: skip


def read_acquisition(folder: Path, log: Path | None = None) -> Acquisition:
    """Of a folder of frames: its collect.json (there or above), else ``log``, a text of Instamatic's kind."""
    for place in (folder, *list(folder.parents)[:_LEVELS]):
        found = place / "collect.json"
        if found.is_file():
            return read_collect_json(found)
    return _read_text(log) if log is not None and log.is_file() else Acquisition()


def read_collect_json(path: Path) -> Acquisition:
    """Its part ``acquisition``; what is not of the kind expected is passed over, never guessed."""
    try:
        data = json.loads(read_head(path, MAX_TEXT).decode("utf-8", "replace"))
    except ValueError:
        return Acquisition()
    told = data.get("acquisition") if isinstance(data, dict) else None
    return _checked(told, path.name) if isinstance(told, dict) else Acquisition(log=path.name)


def _checked(told: Mapping[str, Any], name: str) -> Acquisition:
    values: dict[str, Any] = {"log": name}
    for key in _NUMBERS:
        value = told.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
            values[key] = float(value)
    for key in _WORDS:
        if isinstance(told.get(key), str) and told[key].strip():
            values[key] = told[key].strip()[:200]
    values |= {key: told[key] for key, known in _CHOICES.items() if told.get(key) in known}
    if isinstance(told.get("tracking"), bool):
        values["tracking"] = told["tracking"]
    return Acquisition(**values)


def _read_text(path: Path) -> Acquisition:
    """A log of Instamatic or its relatives. "Total time" is that of the rotation, with the beam on throughout; the
    spot size and the brightness it tells are no flux."""
    text = read_head(path, MAX_TEXT).decode("utf-8", "replace")

    def word(key: str) -> str | None:
        match = re.search(rf"^\s*{key}\s*:\s*(\S.*?)\s*$", text, re.IGNORECASE | re.MULTILINE)
        return match[1][:200] if match else None

    def value(key: str) -> float | None:
        match = re.match(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", word(key) or "")
        return abs(float(match[0])) if match else None

    total, turned = value("Total time"), value("Rotation range")
    continuous = path.name.lower().startswith("cred") or word("Rotation speed") is not None
    speed = value("Rotation speed") or (turned / total if continuous and turned and total else None)
    followed = "image interval" in text.lower()
    return Acquisition(
        mode="rotation" if continuous else "stepwise" if path.name.lower().startswith("red") else None,
        rotation_deg=turned,
        speed_deg_s=speed,
        exposed_s=total,
        tracking=True if followed else None,
        tracking_method="defocused diffraction images taken at intervals" if followed else None,
        software=word("Program"),
        date=word("Data Collection Time"),
        log=path.name,
    )
