"""What is asked of a refinement, and the model that follows from it and from a .res, .ins or CIF."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.structure import read_structure
from credo.model import Atom, CannotDo, UnreadableInput
from credo.solve.refine.constraints import with_displacements
from credo.solve.refine.data import Merge
from credo.solve.refine.from_shelx import Prepared, prepared_from_res
from credo.solve.refine.hydrogens import add_hydrogens
from credo.solve.refine.instructions import apply_instructions, parse_instruction
from credo.solve.refine.model import Model, Riding, Twin, UTie, Weights

__all__ = ["RefineSettings", "prepared_model"]


class RefineSettings(BaseModel):
    """What is refined, beyond what the model says, and against which data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cycles: int = Field(default=40, ge=0, le=1000, description="most cycles")
    anisotropic: Literal["as given", "all", "none"] = Field(
        default="as given", description="atoms heavier than H: as in the model, all anisotropic, or all isotropic"
    )
    hydrogens: Literal["as given", "none", "add"] = Field(
        default="as given", description="keep the model's, drop them, or add riding ones where the geometry is clear"
    )
    x_h: Literal["nuclear", "xray"] = Field(default="nuclear", description="distances at which hydrogens ride")
    merge: Merge | None = Field(
        default=None, description="join equivalents of the Laue class (default), of the point group, or none"
    )
    d_min: float = Field(default=0.0, ge=0, description="resolution limit [Å]")
    wavelength: float | None = Field(default=None, gt=0.001, lt=0.2, description="[Å]; matters to extinction only")
    weight_a: float | None = Field(default=None, ge=0, le=2, description="a of w = 1/[σ² + (aP)² + bP]")
    weight_b: float | None = Field(default=None, ge=0, description="b of the same")
    optimise_weights: bool = Field(default=False, description="find a and b that make the fit even")
    extinction: bool = Field(default=False, description="refine SHELXL's EXTI")
    solvent: bool = Field(default=False, description="refine diffuse solvent by Babinet's principle (SWAT)")
    twin: tuple[float, ...] | None = Field(
        default=None, description="twin law: nine numbers, the rows of a matrix on columns of indices"
    )
    scale_cell: str | None = Field(
        default=None, description="scale a, b, c so that a bond has its length, e.g. 'Si O 1.61'"
    )
    dynamical: bool = Field(
        default=False,
        description="free the frames of a .cif_pets of multiple scattering by Bloch waves, cycle by cycle",
    )
    instruction: tuple[str, ...] = Field(
        default=(), description="SHELXL restraints and constraints to add, e.g. 'RIGU' or 'DFIX 1.61 Si1 O1'"
    )


def prepared_model(path: Path, settings: RefineSettings) -> Prepared:
    """The model of a .res, .ins or CIF, with what the settings change in it."""
    path = Path(path)
    nuclear = settings.x_h == "nuclear"
    if path.suffix.lower() in (".res", ".ins"):
        prepared = prepared_from_res(path, nuclear)
    else:
        prepared = Prepared(_model_of_cif(path), 0.0)
    model, notes = _adapted(prepared.model, settings, nuclear)
    return Prepared(
        model, prepared.wavelength, prepared.options, prepared.source, (*prepared.notes, *notes), prepared.z
    )


def _model_of_cif(path: Path) -> Model:
    """Positions and displacements free, occupancies as they are, hydrogens riding on the nearest heavier atom."""
    structure = read_structure(path)
    atoms = _named(structure.atoms)
    heavy = [i for i, a in enumerate(atoms) if a.element not in ("H", "D")]
    if not heavy:
        raise UnreadableInput(f"{path}: holds only hydrogen", "give a complete model")
    riding, ties = [], []
    for i, a in enumerate(atoms):
        if a.element in ("H", "D"):
            gaps = np.array([atoms[k].xyz - a.xyz for k in heavy]) @ structure.cell.O.T
            d = np.linalg.norm(gaps, axis=1)
            if d.min() > 1.45:
                raise UnreadableInput(f"{path}: {a.label} is bonded to no listed atom", "move it next to its parent")
            parent = heavy[int(d.argmin())]
            riding.append(Riding(parent, (i,)))
            ties.append(UTie(i, parent, 1.2))
    plain = tuple(a.replace(u_aniso=None) if a.element in ("H", "D") else a for a in atoms)
    return Model(
        structure.replace(atoms=plain), fixed=frozenset((i, 3) for i in range(len(atoms))), riding=tuple(riding),
        u_ties=tuple(ties), weights=Weights(0.2, 0.0),
    )  # fmt: skip


def _named(atoms: tuple[Atom, ...]) -> tuple[Atom, ...]:
    """Every atom with a name of its own; those that have one keep it."""
    taken = {a.label for a in atoms}
    seen: set[str] = set()
    out = []
    for a in atoms:
        label = a.label
        if label in seen or not label:
            label = next(x for n in range(1, 10_000) if (x := f"{a.element}{n}") not in taken)
            taken.add(label)
        seen.add(label)
        out.append(a.replace(label=label))
    return tuple(out)


def _adapted(model: Model, settings: RefineSettings, nuclear: bool) -> tuple[Model, list[str]]:
    if settings.hydrogens != "as given":
        model = _without_hydrogens(model)
    if settings.anisotropic != "as given":
        model = model.replace(structure=with_displacements(model.structure, settings.anisotropic == "all"))
    if settings.hydrogens == "add":
        model = add_hydrogens(model, nuclear)
    w = model.weights
    a = w.a if settings.weight_a is None else settings.weight_a
    b = w.b if settings.weight_b is None else settings.weight_b
    model = model.replace(weights=Weights(a, b, w.d, w.e, w.f))
    if settings.extinction and model.extinction is None:
        model = model.replace(extinction=0.0)
    if settings.solvent and model.solvent is None:
        model = model.replace(solvent=(0.0, 2.0))
    if settings.twin is not None:
        if len(settings.twin) != 9:
            raise UnreadableInput("a twin law is nine numbers", "give --twin r11 r12 r13 r21 ... r33")
        model = model.replace(twin=Twin(np.array(settings.twin).reshape(1, 3, 3), (0.3,)))
    return apply_instructions(model, [parse_instruction(x, n) for n, x in enumerate(settings.instruction, 1)], nuclear)


def _without_hydrogens(model: Model) -> Model:
    """Only where nothing but riding refers to atoms by number."""
    atoms = model.structure.atoms
    if not any(a.element in ("H", "D") for a in atoms):
        return model
    keep = [i for i, a in enumerate(atoms) if a.element not in ("H", "D")]
    if model.restraints or model.ties or model.same or model.rigid:
        raise CannotDo("hydrogens of a model with restraints or ties are not dropped", "remove them from the .res")
    new = {old: n for n, old in enumerate(keep)}
    return model.replace(
        structure=model.structure.replace(atoms=tuple(atoms[i] for i in keep)),
        parts=tuple(model.parts[i] for i in keep), fixed=frozenset((new[i], k) for i, k in model.fixed if i in new),
        riding=(), u_ties=(),
    )  # fmt: skip
