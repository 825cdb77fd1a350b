"""Frame orientations for other programs: DIALS's scan-varying crystal, PETS2's file for JANA, XDS's one orientation.

All are made from one experiment whose frames lie as found: what the stage turned is in ``Scan.start_deg`` and
``width_deg``, what is left over in ``misset_deg``. Of a plain table the turn about the beam is arbitrary.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from credo.io.cif_pets import write_cif_pets
from credo.io.dials_write import write_expt
from credo.io.merged import without_geometry
from credo.io.project import write_experiment
from credo.io.xds import write_xparm
from credo.kernels.rotation import rotation_from_vector, rotation_matrix, rotation_vector
from credo.model import Experiment, Reflections, Scan
from credo.orient.orientations import Orientations
from credo.pipeline.orient_input import OrientInput

__all__ = ["export_orientations", "lying_as_found", "mean_orientation"]


def export_orientations(folder: Path, found: Orientations, given: OrientInput) -> None:
    """``orientations.cif_pets``; of processed data also ``experiment.json``, ``orientations.expt`` and ``XPARM.XDS``.

    Smoothed zone axes are taken where there are any: the noise of the fit is no motion of the stage.
    """
    zone = found.zone if found.smooth is None else found.smooth.zone
    if not np.isfinite(zone).all():
        return
    before = given.experiment or _of_table(given, found)
    turned = lying_as_found(before, zone)
    obs = given.observations
    write_cif_pets(
        folder / "orientations.cif_pets", turned,
        Reflections(
            h=obs.hkl[:, 0], k=obs.hkl[:, 1], l=obs.hkl[:, 2], frame=obs.frame + 0.5, intensity=obs.intensity,
            sigma=np.where(obs.sigma > 0, obs.sigma, np.sqrt(np.maximum(obs.intensity, 1.0))),
        ),
    )  # fmt: skip
    if given.experiment is not None:
        write_experiment(folder / "experiment.json", turned)
        write_expt(folder / "orientations.expt", turned)
        write_xparm(folder / "XPARM.XDS", mean_orientation(turned))


def lying_as_found(experiment: Experiment, zone: np.ndarray) -> Experiment:
    """The experiment in which every frame's middle has this zone axis (f, 3); what the frames had of a turn about the
    beam, which zone axes do not tell, stays."""
    scan, axis = experiment.scan, experiment.goniometer.axis
    rotation = rotation_matrix(axis, np.radians(scan.mid_deg)) @ experiment.crystal.orientation
    # the centre of the sphere lies at −z: M R U zone = −z
    v = np.einsum("fij,fj->fi", rotation, zone)
    cross = np.stack([-v[:, 1], v[:, 0], np.zeros(len(v))], axis=1)
    sine = np.linalg.norm(cross, axis=1, keepdims=True)
    misset = cross / np.maximum(sine, 1e-300) * np.arctan2(sine, -v[:, 2:])
    if scan.misset_deg is not None:
        misset[:, 2] = np.radians(scan.misset_deg[:, 2])
    return experiment.replace(scan=_angles_of(scan, axis, misset))


def _angles_of(scan: Scan, axis: np.ndarray, misset: np.ndarray) -> Scan:
    """The scan with the part of ``misset`` (f, 3) [rad] about the axis in its angles: frames that touched still do."""
    turn = np.degrees(misset @ axis)
    start, end = scan.start_deg + turn, scan.end_deg + turn
    touch = np.isclose(scan.end_deg[:-1], scan.start_deg[1:], atol=1e-3) & (np.diff(scan.numbers) == 1)
    border = 0.5 * (end[:-1] + start[1:])
    end[:-1], start[1:] = np.where(touch, border, end[:-1]), np.where(touch, border, start[1:])
    width = end - start
    # a frame turned backwards would be no frame: its own width is kept
    lost = width * scan.width_deg <= 0
    start, width = np.where(lost, scan.start_deg + turn, start), np.where(lost, scan.width_deg, width)
    moved = np.radians(start + 0.5 * width - scan.mid_deg)
    left = rotation_vector(rotation_from_vector(misset) @ rotation_matrix(axis, -moved))
    return scan.replace(start_deg=start, width_deg=width, misset_deg=np.degrees(left))


def mean_orientation(experiment: Experiment) -> Experiment:
    """One orientation and one step for all frames, which is what XPARM.XDS can hold."""
    scan, axis = experiment.scan, experiment.goniometer.axis
    step = float(np.polyfit(scan.numbers, scan.mid_deg, 1)[0]) if len(scan) > 1 else float(scan.width_deg[0])
    middle = scan.mid_deg.mean() + step * (scan.numbers - scan.numbers.mean())
    misset = np.zeros((len(scan), 3)) if scan.misset_deg is None else np.radians(scan.misset_deg)
    lying = rotation_from_vector(misset) @ rotation_matrix(axis, np.radians(scan.mid_deg))
    left = rotation_vector(rotation_matrix(axis, -np.radians(middle)) @ lying)
    crystal = experiment.crystal
    mean = rotation_from_vector(left.mean(axis=0)) @ crystal.orientation
    even = scan.replace(start_deg=middle - step / 2, width_deg=np.full(len(scan), step), misset_deg=None)
    return experiment.replace(scan=even, crystals=(crystal.replace(orientation=mean), *experiment.crystals[1:]))


def _of_table(given: OrientInput, found: Orientations) -> Experiment:
    """An experiment whose axis lies along −x and whose crystal has the found path: without detector."""
    obs, path = given.observations, found.path
    base = without_geometry(found.cell, None, obs.wavelength, source="", kind="table")
    first = np.median(path.turn_deg - obs.angle_deg)
    # at nominal angle nought the zone axis lies at ``first`` on the path
    zero = rotation_matrix(path.axis, np.radians(first)) @ path.origin
    own = np.stack([path.axis, np.cross(-zero, path.axis), -zero])
    width = obs.width_deg or float(np.median(np.abs(np.diff(obs.angle_deg)))) or 1.0
    scan = Scan(np.arange(1, obs.n_frames + 1), obs.angle_deg - width / 2, np.full(obs.n_frames, width))
    # a path that is right-handed in the crystal is a left-handed turn of the crystal
    return base.replace(
        goniometer=base.goniometer.replace(axis=np.array([-1.0, 0.0, 0.0])), scan=scan,
        crystals=(base.crystal.replace(orientation=own),),
    )  # fmt: skip
