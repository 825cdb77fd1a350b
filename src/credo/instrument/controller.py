"""``TEMController``: a microscope and its camera as a script sees them, here or on a server, simulated by default."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from credo.instrument.controls import (
    Beam,
    Deflector,
    DiffFocus,
    Lens,
    Link,
    Magnification,
    Mode,
    Reading,
    Screen,
    Stage,
)  # fmt: skip
from credo.instrument.errors import Refused
from credo.instrument.protocols import CameraInfo, Frame

__all__ = ["TEMController"]

# Instamatic's names of states (in its files and in to_dict) -> ours
_STATES = {
    "FunctionMode": "mode", "Magnification": "magnification", "SpotSize": "spotsize", "Brightness": "brightness",
    "DiffFocus": "difffocus", "GunShift": "gunshift", "GunTilt": "guntilt", "BeamShift": "beamshift",
    "BeamTilt": "beamtilt", "ImageShift1": "imageshift1", "ImageShift2": "imageshift2", "DiffShift": "diffshift",
}  # fmt: skip


class _Spot(int):
    """The spot size, which as in the thesis ``ctrl.spotsize(3)`` sets."""

    _set: Callable[[int], None]

    def __call__(self, value: int) -> None:
        self._set(value)


class TEMController:
    """Handles under the field's names: ``stage``, ``beam``, ``screen``, ``mode``, ``magnification``, ``brightness``,
    ``difffocus``, ``beamshift``, ``beamtilt``, ``imageshift1``, ``imageshift2``, ``diffshift``, ``gunshift``,
    ``guntilt``, and whatever else the instrument has. Units are the instrument's (``.unit``); the stage's nm and deg.

    Every command passes the guard of ``safety``, here or at the server. As a context manager the controller puts
    optics and rotation speed back after an exception; ``close`` ends control with the beam off.
    """

    def __init__(self, link: Link, configuration: Any = None) -> None:
        self.link, self.configuration = link, configuration
        self._about = link.call("describe")
        self.stage, self.beam, self.screen = Stage(link), Beam(link), Screen(link)
        self._handles = {n: self._handle(n, p) for n, p in self._about["settings"].items()}
        self._stored: dict[str, dict[str, Any]] = {}
        self._closed = False
        self._default_camera = configuration.camera.name if configuration else None
        if not self._about["cameras"] or self._default_camera not in (None, *self._about["cameras"]):
            self._default_camera = None
        atexit.register(self.close)

    @classmethod
    def initialize(cls, config: Path | str | None = None, *, read_only: bool = False) -> TEMController:
        """The instrument of the configuration (``credo config``), or, where there is none, the simulated one.

        With ``global.server.connect`` the controller goes to the server there; ``read_only`` then takes no lease.
        """
        from credo.instrument.config import load  # late: the handles need no pydantic

        return cls.of(load(Path(config) if config is not None else None), read_only=read_only)

    @classmethod
    def of(cls, configuration: Any, *, read_only: bool = False) -> TEMController:
        """The instrument of a ``Configuration``."""
        server = configuration.global_.server
        if server.connect:
            from credo.instrument.client import Client
            from credo.instrument.opening import read_token

            client = Client((server.host, server.port), read_token(server.token_file))
            if not read_only:
                client.control()
            return cls(client, configuration)
        from credo.instrument.opening import open_guard
        from credo.instrument.service import LocalLink

        return cls(LocalLink(open_guard(configuration)), configuration)

    def _handle(self, name: str, about: Mapping[str, Any]) -> Any:
        if about["group"] == "deflector" or about.get("kind") == "pair":
            return Deflector(self.link, name, about)
        if name == "magnification":
            return Magnification(self.link, name, about, self._about["magnifications"])
        kinds = {"mode": Mode, "difffocus": DiffFocus}
        return kinds.get(name, Lens if about["writable"] else Reading)(self.link, name, about)

    def __getattr__(self, name: str) -> Any:
        handles = self.__dict__.get("_handles", {})
        if name in handles:
            return handles[name]
        raise AttributeError(f"this instrument has no {name!r}; it has {', '.join(handles)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._handles]

    # --- names that are not handles ---------------------------------------------------------------------------------

    @property
    def spotsize(self) -> int:
        spot = _Spot(self._handles["spotsize"].value)
        spot._set = self._handles["spotsize"].set
        return spot

    @spotsize.setter
    def spotsize(self, value: int) -> None:
        self._handles["spotsize"].set(value)

    @property
    def high_tension(self) -> float:
        """[V]; read only, always."""
        return self._handles["high_tension"].value

    @property
    def current_density(self) -> float:
        """On the screen [pA/cm²]."""
        return self._handles["current_density"].value

    @property
    def name(self) -> str:
        return self._about["name"]

    @property
    def camera(self) -> CameraInfo:
        """The camera that ``get_image`` uses unless told otherwise."""
        cameras = self._about["cameras"]
        if not cameras:
            raise Refused("this instrument has no camera")
        return CameraInfo.of(cameras[self._default_camera or next(iter(cameras))])

    # --- images -----------------------------------------------------------------------------------------------------

    def acquire(self, exposure: float | None = None, binning: int | None = None, **options: Any) -> Frame:
        """One ``Frame`` with its times; options ``camera``, ``dark``."""
        exposure, binning = self._how(exposure, binning)
        options = {"camera": self._default_camera} | options
        return self.link.call("image", exposure=exposure, binning=binning, **options)

    def get_image(
        self, exposure: float | None = None, binning: int | None = None, *, binsize: int | None = None,
        comment: str = "", out: Path | str | None = None, header_keys: tuple[str, ...] | None = (), dark: bool = False,
    ) -> tuple[np.ndarray, dict[str, Any]]:  # fmt: skip
        """(image, header); the beam is on only during the exposure unless it was on before.

        ``header_keys``: states to put into the header, None for none, empty for all. ``out``: a TIFF to write.
        """
        frame = self.acquire(exposure, binsize or binning, dark=dark)
        header = self._header(frame, comment) | ({} if header_keys is None else self.to_dict(*header_keys))
        if out is not None:
            _write(Path(out), frame.data, header)
        return frame.data, header

    def get_raw_image(self, exposure: float | None = None, binning: int | None = None) -> np.ndarray:
        return self.acquire(exposure, binning).data

    def get_movie(
        self, n_frames: int, exposure: float | None = None, binning: int | None = None, *, binsize: int | None = None,
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:  # fmt: skip
        """(image, header) of consecutive frames, with the camera's dead time between them and the beam on throughout;
        ``ImageNumber`` jumps where frames were lost."""
        exposure, binning = self._how(exposure, binsize or binning)
        for frame in self.link.stream(self._default_camera, exposure, binning, n_frames):
            yield frame.data, self._header(frame, "")

    def _how(self, exposure: float | None, binning: int | None) -> tuple[float, int]:
        usual = self.configuration.camera if self.configuration else None
        usual_exposure, usual_binning = (usual.exposure_s, usual.binning) if usual else (0.1, 1)
        return usual_exposure if exposure is None else float(exposure), usual_binning if binning is None else binning

    def _header(self, frame: Frame, comment: str) -> dict[str, Any]:
        info = self.camera
        return {
            "ImageExposureTime": frame.exposure,
            "ImageBinsize": frame.binning,
            "ImageGetTimeStart": frame.began,
            "ImageGetTimeEnd": frame.ended,
            "ImageNumber": frame.number,
            "ImageResolution": list(frame.data.shape),
            "ImageComment": comment,
            "ImageCameraName": info.name,
            "ImageCameraDimensions": list(info.shape),
            "ImagePhysicalPixelsize": info.pixel_size_um / 1e3 * frame.binning,
            **frame.extra,
        }

    # --- states -----------------------------------------------------------------------------------------------------

    def to_dict(self, *keys: str) -> dict[str, Any]:
        """States under Instamatic's names (``FunctionMode``, ``BeamShift``, ... and ``StagePosition``)."""
        known = {k: n for k, n in _STATES.items() if n in self._handles}
        wanted = keys or (*known, "StagePosition")
        if unknown := [k for k in wanted if k not in (*known, "StagePosition")]:
            raise Refused(f"no state is called {', '.join(unknown)}", f"there is {', '.join(known)}, StagePosition")
        values = self.link.call("get", names=[known[k] for k in wanted if k in known])
        found = {k: tuple(self.stage.get()) if k == "StagePosition" else values[known[k]] for k in wanted}
        return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}

    def from_dict(self, states: Mapping[str, Any]) -> None:
        """Set what ``to_dict`` gave, in the safe order; the stage last."""
        ours = {_STATES[k]: v for k, v in states.items() if k in _STATES}
        self.link.call("restore", state=ours)
        if (place := states.get("StagePosition")) is not None:
            axes = self.stage.limits
            self.stage.set(**{n: v for n, v in zip("xyzab", place, strict=True) if n in axes})

    def store(self, name: str = "stash", keys: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Remember optics (not the stage) under ``name``: the given states, or all that can be put back."""
        self._stored[name] = self.link.call("snapshot") if keys is None else self._ours(self.to_dict(*keys))
        return dict(self._stored[name])

    def restore(self, name: str = "stash") -> None:
        if name not in self._stored:
            raise Refused(f"nothing is stored as {name!r}", f"there is {', '.join(self._stored) or 'nothing'}")
        state = {n: tuple(v) if isinstance(v, list) else v for n, v in self._stored[name].items()}
        self.link.call("restore", state=state)

    @staticmethod
    def _ours(states: Mapping[str, Any]) -> dict[str, Any]:
        return {_STATES[k]: v for k, v in states.items() if k in _STATES}

    @contextmanager
    def restored(self) -> Iterator[TEMController]:
        """Within, change optics at will; afterwards, whatever happens, they and the rotation speed are as before."""
        before, speed = self.link.call("snapshot"), self.stage.get_rotation_speed()
        try:
            yield self
        except BaseException:
            self.beam.blank()
            raise
        finally:
            self.put_back(before, speed)

    def put_back(self, before: Mapping[str, Any], speed: float) -> None:
        """Stop the stage, set the rotation speed and the optics of an earlier ``link.call("snapshot")``."""
        status = self.link.call("status")
        if status["alarm"]:
            return  # nothing moves or changes until somebody has looked; the end of control puts it back
        if status["moving"]:
            self.stage.stop()
        if status["rotation_speed"] != speed:
            self.stage.set_rotation_speed(speed)
        self.link.call("restore", state={n: tuple(v) if isinstance(v, list) else v for n, v in before.items()})

    # --- safety -----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        return self.link.call("status")

    def stop(self, reason: str = "stop") -> None:
        """Emergency: stop the stage, blank, refuse everything until ``reset``."""
        self.link.call("stop", reason=reason)

    def reset(self) -> None:
        """End an alarm, after somebody has looked at the instrument."""
        self.link.call("reset")

    def confirm(self) -> None:
        """Go on after small first moves, or after the stage was moved by hand."""
        self.link.call("confirm")

    def check_dose(self) -> float:
        """Current density on the lowered screen [pA/cm²]; approves a fragile camera for it where it is low enough."""
        return self.link.call("check_dose")

    def rehearse(self) -> TEMController:
        """A controller of a replica of the present state, under the limits of the configuration: nothing real moves.
        Its images are black, and its clock (``link.clock``) tells how long the plan takes."""
        from credo.instrument.replica import Replica
        from credo.instrument.safety import Guard
        from credo.instrument.service import LocalLink

        values = self.link.call("get", names=list(self._handles))
        replica = Replica.described(self._about, values, self.status, self.link.call("holder"))
        guard = getattr(self.link, "guard", None)
        safety = guard.safety if guard else self.configuration.microscope.safety if self.configuration else None
        return TEMController(LocalLink(Guard(replica, safety), "rehearsal"), self.configuration)

    def close(self) -> None:
        """End control: the beam is blanked, the rotation speed as at the start."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self.link.close()

    def __enter__(self) -> TEMController:
        self._entered = (self.link.call("snapshot"), self.stage.get_rotation_speed())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is not None:
                self.beam.blank()
                self.put_back(*self._entered)
        finally:
            self.close()

    def __repr__(self) -> str:
        return f"TEMController({self.name}: {', '.join(['stage', 'beam', 'screen', *self._handles])})"

    # --- the thesis' spellings --------------------------------------------------------------------------------------

    @property
    def stageposition(self) -> Stage:
        return self.stage

    @property
    def beamblank(self) -> Beam:
        return self.beam

    @beamblank.setter
    def beamblank(self, on: bool) -> None:
        self.beam(on)

    @property
    def HTValue(self) -> Reading:
        return self._handles["high_tension"]

    @property
    def cam(self) -> CameraInfo:
        return self.camera

    getImage = get_image
    getRawImage = get_raw_image


def _write(path: Path, image: np.ndarray, header: Mapping[str, Any]) -> None:
    import json

    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, description=json.dumps(header, default=str), metadata=None)
