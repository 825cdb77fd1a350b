"""Plans: immutable values, read from TOML, that become steps; what every kind of plan has, and the list of kinds."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from tomlkit.items import Table

from credo.collect.rig import Rig
from credo.collect.steps import Set, Steps
from credo.model.errors import UnreadableInput

if TYPE_CHECKING:
    from credo.collect.calibration.ready import Need

__all__ = ["KINDS", "Forecast", "Optics", "Plan", "plan_class", "read_plan", "template"]

#: The kinds of plans and where they are; a plan's module is imported when its kind is asked for.
KINDS = {
    "cred": "credo.collect.cred:Cred",
    "red": "credo.collect.red:Red",
    "serial-ed": "credo.collect.serial_ed:SerialED",
    "serial-red": "credo.collect.serial_red:SerialRED",
    "atlas": "credo.collect.atlas:Atlas",
    "screen": "credo.collect.screen:Screen",
}
_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
_LIMIT = 1_000_000

Format = Literal["smv", "mrc", "tiff", "cbf", "pets", "redp", "xds", "dials"]


class Optics(BaseModel):
    """Lenses for the patterns; what is not given stays as it is."""

    model_config = _STRICT
    camera_length_mm: float | None = Field(default=None, gt=0, description="camera length [mm]")
    spotsize: int | None = Field(default=None, ge=1, description="spot size number")
    brightness: float | None = Field(default=None, description="brightness, which sets the beam's width [units]")
    difffocus: float | None = Field(default=None, description="diffraction focus of a sharp pattern [units]")

    def values(self) -> dict[str, Any]:
        """Settings by the instrument's names, in the order in which they are set."""
        named = {
            "mode": "diff", "magnification": self.camera_length_mm, "spotsize": self.spotsize,
            "brightness": self.brightness, "difffocus": self.difffocus,
        }  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}

    def set_up(self) -> Steps[None]:
        """The focus is come to from below, as it was calibrated: the lens has slack."""
        from credo.collect.calibration.views import approach_focus  # late: who only reads plans needs none of it

        yield Set(self.values())
        if self.difffocus is not None:
            yield from approach_focus(self.difffocus)

    def in_patterns(self, rig: Rig) -> dict[str, Any]:
        """Settings that patterns will be taken with, as far as they are known before the mode is changed."""
        now = rig.settings if rig.settings.get("mode") == "diff" else {"high_tension": rig.settings.get("high_tension")}
        return {**now, **self.values()}

    def camera_length(self, rig: Rig) -> float:
        """[mm]: the plan's, or the one that is set in diffraction, or the shortest above 400."""
        if self.camera_length_mm is not None:
            return self.camera_length_mm
        if rig.settings.get("mode") == "diff":
            return float(rig.settings["magnification"])
        table = rig.magnifications.get("diff", (600.0,))
        return next((v for v in table if v > 400), table[-1])


class Forecast(BaseModel):
    """What a plan will do, told before it does it."""

    model_config = _STRICT
    duration_s: float = Field(description="time that it takes [s]")
    beam_on_s: float = Field(description="time that the beam is on one crystal [s]")
    dose_e_per_A2: float | None = Field(
        default=None, description="fluence on one crystal; absent if the beam is not known"
    )
    rotation_deg: float = Field(default=0.0, description="angle swept by one crystal [deg]")
    reciprocal_fraction: float = Field(default=0.0, description="share of reciprocal space that a crystal sweeps")
    frames: int = Field(default=0, description="frames of data, at most")


class Plan(BaseModel):
    """What every plan has. ``steps`` yields what is to be done; nothing in a plan touches an instrument.

    ``str`` gives the TOML that the user typed, or that says the same. A kind of plan gives ``needs``, ``work`` and
    ``forecast``.
    """

    model_config = _STRICT
    kind: str = Field(description="kind of the plan")
    sample: str = Field(default="", max_length=200, description="what is on the grid, for the record")
    formats: tuple[Format, ...] = Field(
        default=(), description="besides NXmx: smv, mrc, tiff, cbf, and the files xds, pets, redp, dials"
    )
    calibrations: Literal["stop", "measure"] = Field(
        default="stop", description="when one is missing or does not hold: stop, or measure it where that can be done"
    )
    check_calibrations: bool = Field(default=True, description="whether stored ones are checked by images before use")
    _typed: str = PrivateAttr(default="")

    def steps(self, rig: Rig) -> Steps[Any]:
        """The calibrations that the plan needs are looked after first, then comes its work."""
        from credo.collect.calibration.ready import ready  # late: who only reads plans needs none of it

        now = self.settings(rig)
        own = yield from ready(rig, self.needs(rig), self.calibrations, now, self.check_calibrations)
        return (yield from self.work(own))

    def needs(self, rig: Rig) -> Sequence[Need]:
        """Calibrations without which the plan does not begin."""
        return ()

    def settings(self, rig: Rig) -> Mapping[str, Any]:
        """Settings of the instrument under which calibrations will be used, as far as they are known."""
        return {"high_tension": rig.settings.get("high_tension")}

    def work(self, rig: Rig) -> Steps[Any]:
        """What the plan does, with calibrations that hold."""
        raise NotImplementedError

    def forecast(self, rig: Rig) -> Forecast:
        raise NotImplementedError

    def finish(self, session: Path) -> dict[str, Any]:
        """What is made of the data in the folder ``session`` when the run has ended; its facts go into the report."""
        return {}

    def duration(self, rig: Rig) -> float:
        """[s]."""
        return self.forecast(rig).duration_s

    def dose(self, rig: Rig) -> float | None:
        """e/Å² on one crystal; None where nothing tells the beam's intensity."""
        return self.forecast(rig).dose_e_per_A2

    def swept(self, rig: Rig) -> float:
        """Share of reciprocal space that one crystal sweeps (a full sphere is swept by 180°)."""
        return self.forecast(rig).reciprocal_fraction

    def __str__(self) -> str:
        return self._typed or _toml(self.model_dump(exclude_unset=True, mode="json"))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.model_dump() == other.model_dump()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


def fraction(rotation_deg: float) -> float:
    """Share of reciprocal space that a rotation sweeps, Friedel mates counted as one."""
    return min(abs(rotation_deg) / 180.0, 1.0)


def plan_class(kind: str) -> type[Plan]:
    """The class of plans of this kind."""
    if kind not in KINDS:
        raise UnreadableInput(f"no plan is of the kind {kind!r}", f"kinds are {', '.join(KINDS)}")
    module, name = KINDS[kind].split(":")
    return getattr(import_module(module), name)


def read_plan(path: Path) -> Plan:
    """A plan of a TOML file; UnreadableInput names the file, the key and what is allowed there."""
    try:
        if path.stat().st_size > _LIMIT:
            raise UnreadableInput(f"{path} is larger than {_LIMIT} bytes: not a plan")
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise UnreadableInput(f"{path}: {error.strerror}", "credo collect --new cred prints a plan") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{path} is not TOML: {error}", "mend that line") from None
    return parse_plan(table, str(path), text)


def parse_plan(table: Mapping[str, Any], name: str, text: str = "") -> Plan:
    """A plan of a table that ``name`` holds."""
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise UnreadableInput(f"{name}: says no kind", f"kind = one of {', '.join(KINDS)}")
    try:
        plan = plan_class(kind).model_validate(dict(table))
    except ValidationError as error:
        faults = [f"[{'.'.join(map(str, e['loc']))}] {e['msg']}" for e in error.errors()]
        raise UnreadableInput(f"{name}: {'; '.join(faults[:10])}", f"credo collect --new {kind} shows all") from None
    plan._typed = text
    return plan


def template(kind: str) -> str:
    """A plan with every setting at its default, each under a comment that says what it is."""
    document = tomlkit.document()
    document.add(
        tomlkit.comment(f"A plan for `credo collect`. {(plan_class(kind).__doc__ or '').strip().splitlines()[0]}")
    )
    document.add(tomlkit.comment("Lines that begin with # are not set: the instrument's own values then stay."))
    _describe(document, plan_class(kind), kind)
    return tomlkit.dumps(document)


def _describe(into: Any, model: type[BaseModel], kind: str = "") -> None:
    """All fields of ``model``, plain ones first (TOML wants tables last)."""
    tables: list[tuple[str, Table]] = []
    for name, field in model.model_fields.items():
        value = kind if name == "kind" else field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            table = tomlkit.table()
            table.comment(field.description or "")
            _describe(table, type(value))
            tables.append((name, table))
            continue
        if field.description:
            into.add(tomlkit.comment(field.description))
        if value is None or repr(value) == "PydanticUndefined":
            into.add(tomlkit.comment(f"{name} = "))
        else:
            into.add(name, list(value) if isinstance(value, tuple) else value)
    for name, table in tables:
        into.add(tomlkit.nl())
        into.add(name, table)


def _toml(table: Mapping[str, Any]) -> str:
    """Without what is None, which TOML does not have."""
    return tomlkit.dumps(_without_none(table))


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in table.items() if v is not None}
