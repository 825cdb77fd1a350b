"""The frame of every page: one self-contained HTML file of a headline and titled sections, with the house's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from credo import __version__
from credo.pipeline.page.markup import esc

__all__ = ["Part", "document"]


@dataclass(frozen=True)
class Part:
    """A section of a page: ``body`` is the markup of ``markup.section`` with the same ``key``, or empty (left out)."""

    key: str
    title: str
    body: str


def document(
    title: str, headline: str, parts: Sequence[Part], source: str = "", warnings: Sequence[str] | None = None,
    scripts: Sequence[str] = (),
) -> str:  # fmt: skip
    """The whole page; ``headline`` is markup; ``title``, ``source`` and ``warnings`` are texts, escaped here.

    ``scripts``: names of files beside this one, run after page.js (``("turn.js", "lattice.js")``).
    """
    shown = [p for p in parts if p.body]
    links = "".join(f'<a href="#{p.key}">{esc(p.title)}</a>' for p in shown)
    navigation = f'<nav aria-label="Sections">{links}</nav>' if len(shown) > 1 else ""
    below = f'<p class="source">{esc(source)}</p>' if source else ""
    run = "".join(f"<script>{_file(name)}</script>" for name in ("page.js", *scripts))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)} – credo</title><style>{_file('page.css')}</style>"
        f'<style id="drawing-style">{_file("drawing.css")}</style></head>\n'
        f'<body><a class="skip" href="#main">To the results</a><header><h1>{esc(title)}</h1>{below}</header>\n'
        f'{navigation}\n<main id="main"><section class="headline" aria-label="Summary">'
        f"{_notes(warnings)}{headline}</section>\n" + "\n".join(p.body for p in shown)
        + f"</main><footer>credo {esc(__version__)}</footer>\n{run}</body></html>\n"
    )  # fmt: skip


def _file(name: str) -> str:
    return files("credo.pipeline.page").joinpath(name).read_text("utf-8")


def _notes(sentences: Sequence[str] | None) -> str:
    if sentences is None:
        return ""
    if not sentences:
        return '<p class="calm">No warnings.</p>'
    items = "".join(f"<li>{esc(_sentence(s))}</li>" for s in sentences)
    count = "One warning" if len(sentences) == 1 else f"{len(sentences)} warnings"
    return f'<div class="warnings" role="note"><h2>{count}</h2><ul>{items}</ul></div>'


def _sentence(text: str) -> str:
    """Without the stage's name in front, with a capital."""
    head, _, rest = text.partition(": ")
    text = rest if rest and head in ("refine", "index", "integrate", "scale", "missets") else text
    return text[:1].upper() + text[1:]
