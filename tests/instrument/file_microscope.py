"""An instrument that outlives the process that drives it: its state is a file. For the watchdog's test."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

_spec = importlib.util.spec_from_file_location("plain", Path(__file__).with_name("conftest.py"))
_plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_plain)


def open_microscope(settings):
    from credo.instrument.clock import RealClock

    path = Path(settings["path"])
    microscope = _plain.plain_microscope(RealClock())
    lenses, blanker, halt = microscope.lenses, microscope.blanker, microscope.halt

    def keep():
        path.write_text(json.dumps({"lenses": lenses.values, "blanked": blanker.on}))

    if path.exists():
        kept = json.loads(path.read_text())
        lenses.values.update(kept["lenses"])
        blanker.on = kept["blanked"]
    set_lens, blank = lenses.set, blanker.blank
    lenses.set = lambda name, value: (set_lens(name, value), keep())
    blanker.blank = lambda on: (blank(on), keep())
    microscope.halt = lambda: (halt(), keep())
    return microscope
