"""Sphinx configuration: MyST pages, and the list of commands made from the program itself."""

from __future__ import annotations

from pathlib import Path

from credo import __version__

project = "credo"
author = "The credo developers"
copyright = "2026, The credo developers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "3D electron diffraction, from the grid to the refined structure",
    "page_width": "1000px",
}
suppress_warnings = ["myst.header"]


def _write_commands(app) -> None:
    """docs/_generated/commands.md: every option with its unit, from the settings that the program reads."""
    from credo.app.cli import app as program

    page = Path(app.srcdir) / "_generated" / "commands.md"
    page.parent.mkdir(exist_ok=True)
    text = program.generate_docs(output_format="markdown", include_hidden=False)
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def setup(app) -> None:
    app.connect("builder-inited", _write_commands)
