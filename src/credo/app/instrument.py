"""``credo config`` and ``credo serve``: the configuration of an instrument, and the process that owns it."""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from credo.instrument.config import Configuration, default_path, load, read
from credo.model.errors import CannotDo

__all__ = ["config_import", "config_show", "config_validate", "config_write", "serve"]

_Config = Annotated[Path | None, Parameter(help="Configuration file (default: the user's, see `credo config show`).")]


def config_show(config: _Config = None, *, everything: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Show the configuration in use: what differs from the defaults, or everything with its description."""
    from credo.instrument.config_write import to_toml

    where = config or default_path()
    state = "" if where.exists() else " (absent: the defaults, which are the simulated instrument)"
    sys.stdout.write(f"# {where}{state}\n{to_toml(load(config), everything)}")


def config_write(path: Path | None = None) -> None:
    """Write a file with every setting, its default and its description, to be edited."""
    from credo.instrument.config_write import to_toml

    where = path or default_path()
    _write_new(where, to_toml(Configuration(), everything=True))
    sys.stdout.write(f"{where}\n")


def config_validate(path: Path | None = None) -> None:
    """Check a configuration file: every key, value and unit's range."""
    where = path or default_path()
    found = read(where)
    sys.stdout.write(f"{where}: fine (driver {found.microscope.driver})\n")


def config_import(
    folder: Path,
    *,
    to: Annotated[Path | None, Parameter(help="File to write (default: shown only).")] = None,
) -> None:
    """Translate Instamatic's configuration folder (with settings.yaml); what was not taken is said on stderr."""
    from credo.instrument.config_import import import_instamatic
    from credo.instrument.config_write import to_toml

    found, remarks = import_instamatic(folder)
    text = to_toml(found)
    if to is None:
        sys.stdout.write(text)
    else:
        _write_new(to, text)
        sys.stdout.write(f"{to}\n")
    for remark in remarks:
        sys.stderr.write(f"{remark}\n")


def serve(
    config: _Config = None,
    *,
    host: Annotated[str | None, Parameter(help="Address to listen at instead of the configuration's.")] = None,
    port: Annotated[int | None, Parameter(help="Port instead of the configuration's; 0 takes a free one.")] = None,
    watchdog: Annotated[bool, Parameter(help="Have a second process put things in order should this one die.")] = True,
    new_token: Annotated[Path | None, Parameter(help="Write a new secret to this file and end.")] = None,
) -> None:
    """Own the instrument and serve it: one client controls, any number read, stop and blank go before everything."""
    from credo.instrument.opening import open_guard, read_token
    from credo.instrument.server import Server
    from credo.instrument.watchdog import Watchdog

    if new_token is not None:
        _write_new(new_token, secrets.token_hex(32) + "\n", mode=0o600)
        sys.stdout.write(f"{new_token}\n")
        return
    chosen = _in_real_time(load(config))
    part = chosen.global_.server
    token = read_token(part.token_file)
    server = Server(lambda: open_guard(chosen), host or part.host, part.port if port is None else port, token)
    server.start()
    # what dies with this process needs nobody to look after it
    where = config or default_path()
    guardian = Watchdog(where) if watchdog and chosen.microscope.driver != "simulated" and where.exists() else None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop_waiting())
    sys.stderr.write(f"credo serve: {server.guard.microscope.name} at {server.address[0]}:{server.address[1]}\n")
    sys.stderr.flush()
    try:
        server.wait()
    finally:
        server.close()
        if guardian is not None:
            guardian.close()


def _in_real_time(chosen: Configuration) -> Configuration:
    """A served simulator keeps the time of the clock on the wall, as its clients do."""
    part: Any = chosen.microscope
    if part.driver != "simulated":
        return chosen
    part = part.model_copy(update={"options": {"real_time": 1.0} | part.options})
    return chosen.model_copy(update={"microscope": part})


def _write_new(path: Path, text: str, mode: int = 0o644) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=mode, exist_ok=False)
        path.write_text(text, encoding="utf-8")
    except FileExistsError:
        raise CannotDo(f"{path} exists and is not overwritten", "give another name, or move it away") from None
    except OSError as error:
        raise CannotDo(f"{path}: {error.strerror}", "give another place") from None
