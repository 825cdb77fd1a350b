"""Descan: image shifts that keep the focused and the defocused pattern in place when the beam is shifted."""

from __future__ import annotations

import numpy as np

from credo.collect.rig import Rig
from credo.model.errors import CannotDo

__all__ = ["descan"]


def descan(rig: Rig, camera_length: float, defocus: float) -> tuple[np.ndarray, np.ndarray]:
    """(4, 2) units of image shift 1 (x, y) and 2 (x, y) per unit of beam shift; and the standard uncertainty (2,) of
    what is left in the focused and in the defocused pattern [px per unit of beam shift].

    With the matrices B, I₁, I₂ of beam shift and image shifts, focused f and defocused d: I₁f a + I₂f b = −B_f u and
    I₁d a + I₂d b = −B_d u (thesis, section 4.2.5). Raises CannotDo where the two image shifts do the same in both.
    """
    found = [
        [rig.deflector_matrix("diff", name, camera_length, off) for name in ("imageshift1", "imageshift2", "beamshift")]
        for off in (0.0, defocus)
    ]
    a = np.block([[np.array(one.value) for one in row[:2]] for row in found])
    b = np.vstack([np.array(row[2].value) for row in found])
    if np.linalg.cond(a) > 1e4:
        raise CannotDo("image shifts 1 and 2 do the same to both patterns", "a larger defocus, or calibrate them again")
    shifts = np.linalg.solve(a, -b)
    esd = np.array([[one.esd or 0.0 for one in row] for row in found])
    size = np.sqrt((shifts.reshape(2, 2, 2) ** 2).sum(axis=1).mean(axis=1))
    return shifts, np.sqrt(esd[:, 2] ** 2 + (esd[:, :2] ** 2) @ size**2)
