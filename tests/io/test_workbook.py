"""The same content, the same bytes, whatever the time."""

import datetime as dt

import openpyxl

from credo.io.workbook import save_workbook


def book(when):
    made = openpyxl.Workbook()
    made.properties.created = when
    made.active.append(["a", 1.5, None, "=not a formula"])
    return made


def test_bytes_depend_on_content_only(tmp_path):
    save_workbook(book(dt.datetime(2001, 2, 3)), tmp_path / "a.xlsx")
    save_workbook(book(dt.datetime(2026, 7, 8)), tmp_path / "b.xlsx")
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    rows = list(openpyxl.load_workbook(tmp_path / "a.xlsx").active.values)
    assert rows[0][:3] == ("a", 1.5, None)
    other = book(dt.datetime(2001, 2, 3))
    other.active.append([2])
    save_workbook(other, tmp_path / "c.xlsx")
    assert (tmp_path / "c.xlsx").read_bytes() != (tmp_path / "a.xlsx").read_bytes()
