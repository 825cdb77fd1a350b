"""python -m benchmarks NAME [options]: one benchmark; without a name, the list of them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main() -> int:
    """Each module of this package that has a ``main`` is a benchmark; its options are its own."""
    here = Path(__file__).parent
    names = sorted(p.stem for p in here.glob("*.py") if "\ndef main(" in p.read_text() and p.stem != "__main__")
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.stderr.write(f"benchmarks: {', '.join(names)}; python -m benchmarks NAME --help\n")
        return 2 if len(sys.argv) > 1 else 0
    module = import_module(f"benchmarks.{sys.argv[1]}")
    sys.argv = [f"benchmarks {sys.argv[1]}", *sys.argv[2:]]
    return module.main() or 0


if __name__ == "__main__":
    raise SystemExit(main())
