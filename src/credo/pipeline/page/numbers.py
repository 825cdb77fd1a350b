"""Numbers as a crystallographer writes them: uncertainties in brackets, percent, a dash where there is nothing."""

from __future__ import annotations

import math

__all__ = ["counted", "fixed", "percent", "short", "symbol", "with_esd"]

#: What stands for a number that does not exist.
NOTHING = "–"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def fixed(value: object, digits: int = 2) -> str:
    """With ``digits`` decimals."""
    if not _is_number(value):
        return NOTHING
    # + 0.0 takes the sign off a nought
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # type: ignore[call-overload]


def counted(n: int, thing: str) -> str:
    """1 spot, 2 spots."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def percent(value: object, digits: int = 1) -> str:
    """A fraction as percent."""
    return fixed(100 * value, digits) + " %" if _is_number(value) else NOTHING  # type: ignore[operator]


def short(value: object) -> str:
    """Four figures, no more zeros than needed; whole numbers whole."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return f"{value:.4g}".replace("-", "−") if _is_number(value) else NOTHING


def with_esd(value: object, esd: object = None, digits: int = 3) -> str:
    """11.9264(19): the uncertainty in units of the last digit, by the rule of 19; without one, ``digits`` decimals."""
    if not _is_number(value):
        return NOTHING
    if not _is_number(esd) or not esd > 0:  # type: ignore[operator]
        return fixed(value, digits)
    places = -math.floor(math.log10(esd))  # type: ignore[arg-type]
    if esd * 10 ** (places + 1) < 19.5:  # type: ignore[operator]
        places += 1
    if places < 0:
        return f"{fixed(round(value, places), 0)}({round(esd, places):.0f})"  # type: ignore[call-overload]
    return f"{fixed(value, places)}({round(esd * 10**places)})"  # type: ignore[operator]


def symbol(name: object) -> str:
    """A symmetry symbol with its bars drawn: m-3m as m3̄m; plain text, to be escaped."""
    text, out, i = str(name), "", 0
    while i < len(text):
        if text[i] == "-" and i + 1 < len(text) and text[i + 1].isdigit():
            out += text[i + 1] + "\N{COMBINING OVERLINE}"
            i += 2
        else:
            out += text[i]
            i += 1
    return out
