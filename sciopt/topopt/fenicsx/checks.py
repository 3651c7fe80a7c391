"""Can this structure on a mesh be solved? The questions behind `MeshStructure.check`, answered alike on all ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.agree import together
from sciopt.topopt.fenicsx.floating import Material, free_motion, middle, parts
from sciopt.topopt.fenicsx.nodes import Nodes
from sciopt.topopt.fenicsx.structure import MeshStructure
from sciopt.topopt.grid.element import Conduction

__all__ = ["check_structure"]


def check_structure(structure: MeshStructure) -> None:
    """Raise the same `InputError` on all ranks for what makes no sense; return if there is nothing to say.

    Raises
    ------
    InputError
        For numbers that are not finite, contradictory passive regions, missing, useless or misplaced loads, supports
        and outputs, and parts that can move freely. One sentence says which, where, and what to do.
    """
    _Check(structure).all()


class _Check:
    def __init__(self, structure: MeshStructure) -> None:
        self.structure, self.comm = structure, structure.comm
        self.nodes = Nodes(structure.space)
        self.heat = isinstance(structure.physics, Conduction)
        # (owned nodes,) that touch a cell with material.
        self.touching = self.nodes.touching(structure.material > 0.0)[: self.nodes.owned]
        self.supports = structure.fixed & self.per_unknown(self.touching)

    def all(self) -> None:
        self.numbers()
        self.material()
        self.loads()
        self.outputs()
        self.held()
        self.floating()

    def per_unknown(self, nodal: Mask) -> Mask:
        return np.repeat(nodal, self.structure.unknowns // max(self.nodes.owned, 1))

    def per_node(self, unknowns: Any) -> Any:
        """(nodes, components) of an array over unknowns."""
        components = 1 if self.heat else self.structure.dim
        return unknowns.reshape(self.nodes.owned, components)

    def count(self, mask: Any) -> int:
        return int(self.comm.allreduce(int(np.count_nonzero(mask))))

    def numbers(self) -> None:
        structure = self.structure
        for name in ("material", "loads", "weights", "springs", "outputs"):
            values = getattr(structure, name)
            if values is None:
                continue
            # Weights are the same on all ranks.
            here = ~np.isfinite(values)
            lost = int(here.sum()) if name == "weights" else self.count(here)
            if lost:
                raise InputError(f"{name}: {lost} numbers are not finite")
        low, high = structure.extremes(structure.material)
        if low < 0.0 or high > 1.0:
            raise InputError(
                f"material: parts of elements go from {low:.3g} to {high:.3g}; expected numbers from 0 to 1"
            )
        for name in ("springs", "weights"):
            least = structure.extremes(getattr(structure, name))[0]
            if least < 0.0:
                raise InputError(f"{name}: the smallest is {least:.3g}; expected at least zero")

    def material(self) -> None:
        structure = self.structure
        both = structure.solid & (structure.material == 0.0)
        count = self.count(both)
        if count:
            raise InputError(
                f"solid and void contradict each other in {count} elements, one of them at "
                f"{self.first(both, self.nodes.centres)}; take them out of one of the two regions"
            )
        if self.count(structure.design) == 0:
            raise InputError("there is nothing to design: every element is passive solid or void")

    def loads(self) -> None:
        structure = self.structure
        what, call = ("heat source", ".source(where, total)") if self.heat else ("load", ".load(where, force)")
        if not len(structure.loads):
            raise InputError(f"there is no {what}; add one with {call}")
        if not structure.weights.any():
            raise InputError("weights: all load cases have weight zero; then there is nothing to optimize")
        for number, load in enumerate(structure.loads):
            case = f" of case {number}" if len(structure.loads) > 1 else ""
            self.refuse_on_void(load, f"{what}{case}")
            if not self.count(load):
                raise InputError(f"the {what}{case} is zero everywhere")
            if not self.count(load[~structure.fixed]):
                raise InputError(
                    f"the {what}{case} acts only on what is fixed, so nothing would respond; move it or the supports"
                )

    def outputs(self) -> None:
        outputs = self.structure.outputs
        if outputs is None:
            return
        self.refuse_on_void(outputs, "output")
        if not self.count(outputs[~self.structure.fixed]):
            raise InputError(
                "output: it is measured only where displacements are fixed, so it is zero whatever the design"
            )

    def held(self) -> None:
        sprung = self.structure.springs[self.per_unknown(self.touching)]
        if not self.count(self.supports) and not self.count(sprung):
            hint = "a sink: nothing cools it" if self.heat else "a support: nothing holds it"
            raise InputError(f"the structure needs {hint}; add one with .fix(where), where there is material")

    def floating(self) -> None:
        gathered = self.gathered()
        with together(self.comm):
            if gathered is not None:
                _refuse_floating(gathered, self.heat)

    def gathered(self) -> Material | None:
        """All material on rank 0, cells in the order of the input; None on the other ranks."""
        structure, nodes = self.structure, self.nodes
        present = structure.material > 0.0
        numbers = structure.space.dofmap.index_map.local_to_global(np.arange(nodes.local, dtype=np.int32))
        order = structure.mesh.topology.original_cell_index[: nodes.owned_cells]
        held = self.per_node(self.supports | (structure.springs > 0.0))
        loaded = self.per_node(structure.loads.any(axis=0)).any(axis=1)
        own = (numbers[nodes.cells[present]], order[present], nodes.x[: nodes.owned], held, loaded)
        every = self.comm.gather(own)
        if every is None:
            return None
        # Nodes are numbered rank by rank, so that what all ranks own is in order of its number.
        cells, order, points, held, loaded = (np.concatenate(pieces) for pieces in zip(*every, strict=True))
        return Material(cells[np.argsort(order, kind="stable")], points, held, loaded)

    def refuse_on_void(self, unknowns: Array, what: str) -> None:
        lost = self.per_node(unknowns).any(axis=1) & ~self.touching
        count = self.count(lost)
        if count:
            raise InputError(
                f"the {what} acts on {count} nodes that touch no material, one of them at "
                f"{self.first(lost, self.nodes.x[: self.nodes.owned])}; move it, or take its surroundings out of "
                f"the void"
            )

    def first(self, mask: Mask, at: Array) -> str:
        """Coordinates of the marked point that is lowest, then leftmost, on all ranks."""
        own = min((tuple(map(float, x[::-1])) for x in at[mask]), default=None)
        return _told(min(one for one in self.comm.allgather(own) if one is not None)[::-1], 6)


def _refuse_floating(material: Material, heat: bool) -> None:
    for part in parts(material):
        motion = free_motion(material, part)
        if motion is None:
            continue
        name = "the structure"
        if len(part) < len(material.cells):
            name = f"a part of {len(part)} element{'s' * (len(part) > 1)} around {_told(middle(material, part), 4)}"
        nodes = np.unique(material.cells[part])
        held, loaded = material.held[nodes].any(), material.loaded[nodes].any()
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
            f"{name} is not held: {motion.name} is free (about {_told(motion.at, 4)}); add a support that prevents it, "
            f"or widen what connects it"
        )


def _told(point: tuple[float, ...], digits: int) -> str:
    return f"({', '.join(f'{x:.{digits}g}' for x in point)})"
