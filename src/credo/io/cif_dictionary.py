"""A CIF validated by gemmi against a dictionary of the IUCr, also one in DDLm, which gemmi cannot read.

DDLm (COMCIFS, cif_core 3) is written in CIF 2; what gemmi checks of it is said in the older DDL1: names and aliases,
numbers or text, uncertainties, allowed values, ranges, what may be looped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gemmi

from credo.io.frame_file import reading
from credo.io.text import read_text

__all__ = ["dictionary_complaints", "in_ddl1"]

_TOKEN = re.compile(
    r"""\#[^\n]*|\'{3}.*?\'{3}|\"{3}.*?\"{3}|^;.*?^;|\[[^\n]*\](?=\s)|\{[^\n]*\}(?=\s)"""
    r"""|'[^'\n]*'(?=\s)|"[^"\n]*"(?=\s)|\S+""",
    re.MULTILINE | re.DOTALL,
)
_NUMBERS = {"real", "integer", "count", "index"}


def dictionary_complaints(text: str, dictionary: Path) -> list[str]:
    """What gemmi's validation against a CIF dictionary (the IUCr's cif_core.dic, also gzipped) has to say of a CIF."""
    complaints: list[str] = []
    ddl = gemmi.cif.Ddl(logger=(complaints.append, 6), print_unknown_tags=True, use_regex=True, use_context=True)
    with reading(dictionary, "a CIF dictionary"):
        words = read_text(dictionary)
        ddl.read_ddl(gemmi.cif.read_string(in_ddl1(words) if _is_ddlm(words) else words))
    ddl.validate_cif(gemmi.cif.read_string(text))
    return complaints


def _is_ddlm(text: str) -> bool:
    return "_definition.id" in text and "_type.contents" in text


def in_ddl1(text: str) -> str:
    """A DDLm dictionary's items as DDL1, one block each."""
    frames = [_items(body) for body in re.findall(r"^save_\S+\s*$(.*?)^save_\s*$", text, re.MULTILINE | re.DOTALL)]
    looped = {f["_definition.id"][0].lower() for f in frames if f.get("_definition.class") == ["Loop"]}
    head = "data_on_this_dictionary\n_dictionary_name cif_core.dic\n_dictionary_version 3\n"
    blocks = (_block(f, looped) for f in frames if f.get("_definition.id", [""])[0].startswith("_"))
    return head + "".join(f"data_{i}\n{block}" for i, block in enumerate(blocks))


def _items(body: str) -> dict[str, list[str]]:
    """Values by item name of a save frame; those of a loop in their order."""
    tokens = [t for t in _TOKEN.findall(body) if not t.startswith("#")]
    out: dict[str, list[str]] = {}
    i = 0
    while i < len(tokens):
        if tokens[i].lower() == "loop_":
            names = []
            while i + 1 < len(tokens) and tokens[i + 1].startswith("_"):
                names.append(tokens[i + 1].lower())
                i += 1
            i += 1
            values = []
            while i < len(tokens) and not (tokens[i].startswith("_") or tokens[i].lower() == "loop_"):
                values.append(_plain(tokens[i]))
                i += 1
            out |= {n: values[k :: len(names)] for k, n in enumerate(names)}
        elif tokens[i].startswith("_") and i + 1 < len(tokens):
            out[tokens[i].lower()] = [_plain(tokens[i + 1])]
            i += 2
        else:
            i += 1
    return out


def _plain(token: str) -> str:
    for quote in ("'''", '"""'):
        if token.startswith(quote):
            return token[3:-3]
    if token[:1] in "'\"":
        return token[1:-1]
    return token[1:-1].strip() if token.startswith(";") else token


def _block(frame: dict[str, list[str]], looped: set[str]) -> str:
    return "".join(f"{line}\n" for line in _lines(frame, looped))


def _lines(frame: dict[str, list[str]], looped: set[str]) -> Iterator[str]:
    names = dict.fromkeys([*frame["_definition.id"], *frame.get("_alias.definition_id", [])])
    yield from ("loop_", "_name", *(f"'{n}'" for n in names))
    category = frame.get("_name.category_id", [""])[0].lower()
    yield f"_list {'both' if category in looped else 'no'}"
    single = frame.get("_type.container", [""]) == ["Single"]
    number = single and frame.get("_type.contents", [""])[0].lower() in _NUMBERS
    if number:
        yield "_type numb"
        if frame.get("_type.purpose") in (["Measurand"], ["SU"]):
            yield "_type_conditions esd"
    elif single and "_type.contents" in frame:
        yield "_type char"
    if number and "_enumeration.range" in frame:
        yield f"_enumeration_range {frame['_enumeration.range'][0]}"
    if states := frame.get("_enumeration_set.state"):
        yield from ("loop_", "_enumeration", *(gemmi.cif.quote(s) for s in states))
