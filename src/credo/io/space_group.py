"""Space groups as other programs write them: numbers, ``I M -3 M``, ``P212121``, Hall symbols."""

from __future__ import annotations

import gemmi

__all__ = ["centring_and_laue", "find_space_group", "from_hall", "number_of"]


def find_space_group(text: str | int | None) -> gemmi.SpaceGroup | None:
    """gemmi's space group of a number or of a Hermann-Mauguin symbol in any case and spacing; else None."""
    if text is None:
        return None
    if isinstance(text, int) or str(text).strip().isdigit():
        value = int(text)
        return gemmi.find_spacegroup_by_number(value) if 1 <= value <= 230 else None
    name = " ".join(str(text).replace("_", "").strip("'\" ").split())
    if not name or len(name) > 40:
        return None
    lower = name[:1].upper() + name[1:].lower()
    for trial in (name, lower, lower.replace(" ", "")):
        found = gemmi.find_spacegroup_by_name(trial)
        if found is not None:
            return found
    return None


def from_hall(symbol: str) -> gemmi.SpaceGroup | None:
    """The tabulated group with the operations of a Hall symbol, or None."""
    try:
        return gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(symbol))
    except (ValueError, RuntimeError):
        return None


def centring_and_laue(group: gemmi.SpaceGroup | None) -> dict[str, str]:
    """The fields of :class:`Crystal` that a space group settles; a rhombohedral cell with R is primitive."""
    if group is None:
        return {}
    letter = group.centring_type()
    if letter == "R" and group.ext == "R":
        letter = "P"
    return {"centring": letter, "laue_group": group.laue_str(), "space_group": group.xhm()}


def number_of(symbol: str | None, centring: str = "P", laue: str = "-1") -> int:
    """The number of a space group for files that need one; without a group, the lowest symmorphic one that fits."""
    found = find_space_group(symbol)
    if found is not None:
        return found.number
    for group in gemmi.spacegroup_table():
        if group.centring_type() == centring and group.laue_str() == laue and group.is_sohncke():
            return group.number
    return 1
