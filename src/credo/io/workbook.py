"""Excel workbooks whose bytes depend on nothing but their content: no time of day, so that results can be compared."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from credo.io.atomic import atomic_write

__all__ = ["save_workbook"]

#: The earliest date that a zip archive can hold.
_THEN = (1980, 1, 1, 0, 0, 0)
_TIMES = re.compile(rb"(<dcterms:(created|modified)[^>]*>)[^<]*")


def save_workbook(book: Any, path: Path) -> None:
    """Write an openpyxl ``Workbook``, whole or not at all, as of 1980."""
    made, plain = BytesIO(), BytesIO()
    book.save(made)
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            data = source.read(item)
            if item.filename == "docProps/core.xml":
                data = _TIMES.sub(rb"\g<1>1980-01-01T00:00:00Z", data)
            info = zipfile.ZipInfo(item.filename, _THEN)
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, data)
    with atomic_write(path) as stream:
        stream.write(plain.getvalue())
