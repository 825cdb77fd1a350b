"""HTML by hand: escaped text, sections, tables with their CSV, and figures with their captions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

__all__ = ["comma_separated", "csv_link", "data_block", "esc", "figure", "key_values", "label", "section", "table"]


def esc(text: object) -> str:
    """Text that may hold anything (file names do), safe between tags and inside quoted attributes."""
    clean = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return escape(clean.encode("utf-8", "replace").decode("utf-8"), quote=True)


def data_block(data: Any) -> str:
    """Data for a script of the page, as JSON in which no text can end the block."""
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def label(text: object) -> str:
    """Escaped, with the letters after R_ as a subscript, as in R_int."""
    return re.sub(r"\bR_([a-z]+)", r"R<sub>\1</sub>", esc(text))


def section(key: str, title: str, *parts: str, note: str = "") -> str:
    """A part of the page with a heading; nothing when all ``parts`` are empty. ``note``: escaped by the caller."""
    body = "\n".join(p for p in parts if p)
    if not body:
        return ""
    lead = f'<p class="note">{note}</p>' if note else ""
    return f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{esc(title)}</h2>{lead}\n{body}</section>'


def figure(name: str, picture: str, caption: str, wide: bool = False) -> str:
    """A picture (markup) with its caption (markup) and, when it is an SVG or a canvas, a button that saves it."""
    kept = "SVG" if "<svg" in picture else "PNG" if "<canvas" in picture else ""
    save = f'<button type="button" class="save" data-name="{esc(name)}">{kept}</button>' if kept else ""
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}>{picture}<figcaption>{caption} {save}</figcaption></figure>"


def table(name: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], marked: int = -1) -> str:
    """A table of texts (escaped here) with a link to itself as CSV; row ``marked`` stands out."""
    if not rows:
        return ""
    top = "".join(f'<th scope="col">{label(h)}</th>' for h in head)
    body = "".join(
        f"<tr{' class=chosen' if i == marked else ''}>"
        + f'<th scope="row">{esc(row[0])}</th>'
        + "".join(f"<td>{esc(v)}</td>" for v in row[1:])
        + "</tr>"
        for i, row in enumerate(rows)
    )
    return (
        f'<div class="table"><table><caption>{esc(caption)} {csv_link(name, head, rows)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def csv_link(name: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A link that downloads the rows as a CSV file, held in the page itself."""
    address = f"data:text/csv;charset=utf-8,{quote(comma_separated(head, rows))}"
    return f'<a class="save" download="{esc(name)}.csv" href="{address}">CSV</a>'


def comma_separated(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The text of a CSV file."""
    return "\r\n".join(",".join(_cell(v) for v in row) for row in (head, *rows)) + "\r\n"


def _cell(value: object) -> str:
    """One field; the page's minus sign and dash for nothing become what a spreadsheet reads."""
    text = str(value).replace("−", "-")
    text = "" if text == "–" else text
    # a text that begins like a formula would be run by a spreadsheet
    text = "'" + text if text[:1] in "=+@" and text[:1] else text
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def key_values(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values (markup) as a definition list."""
    return "<dl>" + "".join(f"<div><dt>{label(k)}</dt><dd>{v}</dd></div>" for k, v in rows) + "</dl>"
