"""Windows' Component Object Model, reached only where it exists, and errors of it told as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from credo.instrument.errors import HardwareFault, InstrumentError

__all__ = ["com_client", "told"]


def com_client(multithreaded: bool) -> Any:
    """``comtypes.client`` with COM initialised for the calling thread, as every thread that uses it must do."""
    try:
        import sys

        if multithreaded and "comtypes" not in sys.modules:
            sys.coinit_flags = 0  # type: ignore[attr-defined] (read by comtypes when it is first imported)
        import comtypes  # type: ignore[import-not-found]
        import comtypes.client  # type: ignore[import-not-found]
    except (ImportError, OSError) as error:
        raise InstrumentError(
            f"this driver needs Windows and the package comtypes ({error})",
            "run it on the microscope's PC: pip install comtypes; elsewhere use driver = 'remote' or 'simulated'",
        ) from None
    try:
        comtypes.CoInitializeEx(comtypes.COINIT_MULTITHREADED if multithreaded else comtypes.COINIT_APARTMENTTHREADED)
    except OSError:
        comtypes.CoInitialize()
    return comtypes.client


@contextmanager
def told(what: str) -> Iterator[None]:
    """Any error of the COM call within as ``HardwareFault`` that says what was being done."""
    try:
        yield
    except InstrumentError:
        raise
    except Exception as error:
        raise HardwareFault(
            f"{what}: {type(error).__name__}: {error}"[:500], "look at the microscope's own software"
        ) from error


Connect = Callable[[], Any]
