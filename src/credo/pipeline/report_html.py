"""The report page of a run: one file that needs nothing else, what matters first, pictures below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from credo.io.atomic import atomic_write
from credo.pipeline.page.cuts import cuts_section
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.every_number import numbers_section
from credo.pipeline.page.geometry import geometry_section
from credo.pipeline.page.pattern import pattern_section
from credo.pipeline.page.rocking import rocking_section
from credo.pipeline.page.scan import scan_section
from credo.pipeline.page.shells import shells_section
from credo.pipeline.page.summary import headline
from credo.pipeline.page.symmetry import symmetry_section
from credo.pipeline.page.wilson import wilson_section

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["page", "write_page"]

#: The sections below the first screen, in order: key, short name in the navigation, maker.
_SECTIONS = (
    ("pattern", "Pattern", pattern_section),
    ("cuts", "Cuts", cuts_section),
    ("shells", "Statistics", shells_section),
    ("symmetry", "Symmetry", symmetry_section),
    ("geometry", "Geometry", geometry_section),
    ("scan", "Along the scan", scan_section),
    ("rocking", "Rocking curves", rocking_section),
    ("wilson", "Wilson", wilson_section),
    ("numbers", "All numbers", numbers_section),
)

#: What every data set calls its folders and lists of spots.
_COMMON_NAMES = {
    "data", "smv", "tiff", "mrc", "cbf", "red", "frames", "images", "img", "pets", "tiff_image", "spot", "strong",
    "imported", "indexed", "refined", "integrated", "scaled", "experiment",
}  # fmt: skip


def write_page(path: Path, found: Processed) -> None:
    """Write ``page(found)`` to ``path``, whole or not at all."""
    text = page(found).encode("utf-8")
    with atomic_write(path) as stream:
        stream.write(text)


def page(found: Processed) -> str:
    """The HTML of everything in ``found``; what a run did not come to is left out."""
    parts = [Part(key, name, make(found)) for key, name, make in _SECTIONS]
    return document(
        _title(found), headline(found), parts, found.experiment.source, found.report.warnings, ("turn.js", "lattice.js")
    )


def _title(found: Processed) -> str:
    """After the innermost folder with a name of its own."""
    names = [n for n in reversed(Path(found.experiment.source).parts) if Path(n).stem.lower() not in _COMMON_NAMES]
    return f"Electron diffraction of {names[0]}" if names and names[0] != "/" else "Electron diffraction"
