"""Simulated rotation series with known truth: the scenes on which credo and DIALS are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credo.io.convert import write_frames
from credo.io.project import write_experiment
from credo.model import Atom, Cell, Structure
from credo.physics.rotation_series import FaultSettings, SeriesSettings, simulate_series
from credo.physics.truth import Truth, read_truth, write_truth

__all__ = ["SCENES", "Scene", "glycine", "mfi", "prepared"]

WORK = Path(__file__).parent / "work"

#: Si and O of the MFI framework, Pnma: van Koningsveld, van Bekkum & Jansen, Acta Cryst. B43 (1987) 127.
_MFI = """
Si .4224 .0565 -.3360  Si .3072 .0277 -.1893  Si .2791 .0613 .0312  Si .1222 .0630 .0267  Si .0713 .0272 -.1855
Si .1864 .0590 -.3282  Si .4227 -.1725 -.3272  Si .3078 -.1302 -.1855  Si .2755 -.1728 .0311  Si .1206 -.1731 .0298
Si .0704 -.1304 -.1820  Si .1871 -.1733 -.3193
O .3726 .0534 -.2442  O .3084 .0587 -.0789  O .2007 .0592 .0289  O .0969 .0611 -.0856  O .1149 .0541 -.2763
O .2435 .0553 -.2460  O .3742 -.1561 -.2372  O .3085 -.1552 -.0728  O .1980 -.1554 .0288  O .0910 -.1614 -.0777
O .1169 -.1578 -.2694  O .2448 -.1594 -.2422  O .3047 -.0510 -.1866  O .0768 -.0519 -.1769  O .4161 .1276 -.3896
O .4086 -.0017 -.4136  O .4020 -.1314 -.4239  O .1886 .1298 -.3836  O .1940 .0007 -.4082  O .1951 -.1291 -.4190
O -.0037 .0502 -.2080  O -.0040 -.1528 -.2078  O .4192 -.2500 -.3540  O .1884 -.2500 -.3538  O .2883 -.2500 .0579
O .1085 -.2500 .0611
"""
#: α-glycine, P21/n: Jönsson & Kvick, Acta Cryst. B28 (1972) 1827, to three digits, without hydrogen.
_GLYCINE = "O .305 .094 .236  O -.150 .142 .107  N .301 .090 -.259  C .075 .125 .066  C .064 .145 -.212"


def _structure(name: str, cell: Cell, group: str, text: str, u_iso: float) -> Structure:
    words = text.split()
    rows = [words[i : i + 4] for i in range(0, len(words), 4)]
    atoms = tuple(
        Atom(f"{e}{i + 1}", e, np.array([x, y, z], dtype=float), u_iso=u_iso) for i, (e, x, y, z) in enumerate(rows)
    )
    return Structure(cell, group, atoms, name)


def mfi() -> Structure:
    """The zeolite ZSM-5: a and b differ by 1.8 %."""
    return _structure("ZSM-5", Cell(20.090, 19.738, 13.142, 90, 90, 90), "P n m a", _MFI, 0.015)


def glycine() -> Structure:
    """A small monoclinic cell."""
    return _structure("α-glycine", Cell(5.1054, 11.9688, 5.4645, 90, 111.697, 90), "P 1 21/n 1", _GLYCINE, 0.02)


@dataclass(frozen=True)
class Scene:
    """``bravais``: the true type, which DIALS is told; ``search_axis``: whether the header's axis is wrong."""

    name: str
    settings: SeriesSettings
    bravais: str = "oP"
    search_axis: bool = False
    sample: str = "mfi"

    @property
    def folder(self) -> Path:
        return WORK / self.name

    @property
    def frames(self) -> Path:
        return self.folder / "frames"

    def truth(self) -> Truth:
        return read_truth(self.folder / "truth.json")


_EASY = SeriesSettings(frames=300, counts=5000.0, seed=11)
_REAL = FaultSettings(
    header_axis_deg=2.0, header_beam_px=(2.0, -1.5), header_distance_percent=2.0, ellipse_percent=1.0,
    drift_px=(3.0, -2.0), jitter_px=0.3, slip_deg=0.03, dynamical=0.5,
)  # fmt: skip
_BAD = FaultSettings(header_axis_deg=25.0, header_beam_px=(4.0, 3.0), header_distance_percent=-5.0)


def _with(base: SeriesSettings, faults: FaultSettings | None = None, **changes) -> SeriesSettings:
    return base.model_copy(update=changes | ({"faults": faults} if faults else {}))


_WEDGE = _with(_EASY, frames=121, step_deg=0.33, start_deg=-20.0, q_per_pixel=0.0045)
_ALL = (
    Scene("zsm5_easy", _EASY),
    Scene("zsm5_hr", _with(_EASY, q_per_pixel=0.0045)),
    Scene("glycine_40", _WEDGE, "mP", sample="glycine"),
    Scene("zsm5_weak", _with(_EASY, counts=_EASY.counts / 7, background=_EASY.background / 7)),
    Scene("zsm5_slip", _with(_EASY, FaultSettings(slip_deg=0.057))),
    Scene("zsm5_badhdr", _with(_EASY, _BAD), search_axis=True),
    Scene("zsm5_real_nogap", _with(_EASY, _REAL), search_axis=True),
    Scene("zsm5_real", _with(_EASY, _REAL.model_copy(update={"missing_every": 10})), search_axis=True),
    Scene("zsm5_150", _with(_EASY, frames=150, start_deg=-18.75)),
    Scene("zsm5_600", _with(_EASY, frames=600, start_deg=-75.0)),
)  # fmt: skip
SCENES = {s.name: s for s in _ALL}


def prepared(scene: Scene) -> Scene:
    """The scene with its frames and truth on disk: rendered at the first call."""
    if not (scene.folder / "truth.json").exists():
        series = simulate_series({"mfi": mfi, "glycine": glycine}[scene.sample](), scene.settings)
        scene.folder.mkdir(parents=True, exist_ok=True)
        write_frames(scene.frames, "smv", series.experiment, series.frames)
        write_experiment(scene.folder / "header.json", series.experiment)
        write_truth(scene.folder / "truth.json", series.truth)
    return scene
