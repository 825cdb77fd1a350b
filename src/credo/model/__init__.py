"""The nouns of 3D electron diffraction: immutable values, their geometry, their JSON."""

from credo.model.acquisition import Acquisition
from credo.model.cell import Cell
from credo.model.crystal import Crystal
from credo.model.errors import CannotDo, CredoError, UnreadableInput
from credo.model.experiment import Experiment
from credo.model.frames import ArrayFrames, Frames, LazyFrames
from credo.model.geometry import Beam, Detector, Ellipse, Goniometer, Optics, Scan
from credo.model.reflections import Reflections
from credo.model.report import Report
from credo.model.structure import Atom, Structure

__all__ = [
    "Acquisition",
    "ArrayFrames",
    "Atom",
    "Beam",
    "CannotDo",
    "Cell",
    "CredoError",
    "Crystal",
    "Detector",
    "Ellipse",
    "Experiment",
    "Frames",
    "Goniometer",
    "LazyFrames",
    "Optics",
    "Reflections",
    "Report",
    "Scan",
    "Structure",
    "UnreadableInput",
]
