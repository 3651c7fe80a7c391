"""Can this structure be solved? The questions behind `Structure.check`."""

from __future__ import annotations

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.floating import Part, free_motion, parts
from sciopt.topopt.grid.element import Conduction
from sciopt.topopt.structure import Structure

__all__ = ["check_structure"]


def check_structure(structure: Structure) -> None:
    """Raise `InputError` for what `Structure.check` lists; return if there is nothing to say."""
    _check_numbers(structure)
    _check_material(structure)
    _check_loads(structure)
    _check_outputs(structure)
    _check_supports(structure)


def _check_numbers(structure: Structure) -> None:
    for name in ("material", "loads", "weights", "springs", "outputs"):
        values = getattr(structure, name)
        if values is not None and not np.isfinite(values).all():
            raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(values))} numbers are not finite")
    if structure.material.min() < 0.0 or structure.material.max() > 1.0:
        raise InputError(
            f"material: parts of elements go from {structure.material.min():.3g} to {structure.material.max():.3g}; "
            f"expected numbers from 0 to 1"
        )
    for name in ("springs", "weights"):
        values = getattr(structure, name)
        if values.size and values.min() < 0.0:
            raise InputError(f"{name}: the smallest is {values.min():.3g}; expected at least zero")


def _check_material(structure: Structure) -> None:
    both = structure.solid & (structure.material == 0.0)
    if both.any():
        at = _first(both.reshape(structure.lattice.cells), structure.lattice.centres())
        raise InputError(
            f"solid and void contradict each other in {np.count_nonzero(both)} elements, one of them at {at}; "
            f"take them out of one of the two regions"
        )
    if structure.size == 0:
        raise InputError("there is nothing to design: every element is passive solid or void")


def _check_loads(structure: Structure) -> None:
    heat = isinstance(structure.physics, Conduction)
    what, call = ("heat source", ".source(where, total)") if heat else ("load", ".load(where, force)")
    if not len(structure.loads):
        raise InputError(f"there is no {what}; add one with {call}")
    if not structure.weights.any():
        raise InputError("weights: all load cases have weight zero; then there is nothing to optimize")
    for number, load in enumerate(structure.loads):
        case = f" of case {number}" if len(structure.loads) > 1 else ""
        _refuse_on_void(structure, load, f"{what}{case}")
        if not load.any():
            raise InputError(f"the {what}{case} is zero everywhere")
        if not load[~structure.fixed].any():
            raise InputError(
                f"the {what}{case} acts only on what is fixed, so nothing would respond; move it or the supports"
            )


def _check_outputs(structure: Structure) -> None:
    if structure.outputs is None:
        return
    _refuse_on_void(structure, structure.outputs, "output")
    if not structure.outputs[~structure.fixed].any():
        raise InputError("output: it is measured only where displacements are fixed, so it is zero whatever the design")


def _refuse_on_void(structure: Structure, nodal: Array, what: str) -> None:
    lost: Mask = nodal.any(axis=0) & ~structure.held
    if lost.any():
        raise InputError(
            f"the {what} acts on {np.count_nonzero(lost)} nodes that touch no material, one of them at "
            f"{_first(lost, structure.lattice.corners())}; move it, or take its surroundings out of the void"
        )


def _check_supports(structure: Structure) -> None:
    heat = isinstance(structure.physics, Conduction)
    if not structure.supports.any() and not structure.springs[:, structure.held].any():
        hint = "a sink: nothing cools it" if heat else "a support: nothing holds it"
        raise InputError(f"the structure needs {hint}; add one with .fix(where), where there is material")
    for part in parts(structure):
        motion = free_motion(structure, part)
        if motion is None:
            continue
        name = _named(structure, part)
        held = (structure.supports | (structure.springs > 0.0))[:, part.nodes].any()
        loaded = structure.loads[..., part.nodes].any()
        at = f"({', '.join(f'{x:.4g}' for x in motion.at)})"
        if not held and not loaded:
            raise InputError(
                f"{name} is neither {'cooled nor heated' if heat else 'held nor loaded'} and not connected to the rest:"
                f" it is useless; make it void, or connect it"
            )
        if not held:
            raise InputError(
                f"{name} is {'heated but not cooled' if heat else 'loaded but not held'} and not connected to the rest;"
                f" {'cool' if heat else 'hold'} it with .fix(where), or connect it"
            )
        raise InputError(
            f"{name} is not held: {motion.name} is free (about {at}); add a support that prevents it, "
            f"or widen what connects it"
        )


def _named(structure: Structure, part: Part) -> str:
    if np.array_equal(part.elements.ravel(), structure.material > 0.0):
        return "the structure"
    middle = tuple(float(x[part.elements].mean()) for x in structure.lattice.centres())
    count = int(np.count_nonzero(part.elements))
    return f"a part of {count} element{'s' * (count > 1)} around ({', '.join(f'{x:.4g}' for x in middle)})"


def _first(mask: Mask, at: tuple[Array, ...]) -> str:
    """Coordinates of the first marked point."""
    return f"({', '.join(f'{x[mask][0]:.6g}' for x in at)})"
