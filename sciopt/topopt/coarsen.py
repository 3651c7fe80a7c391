"""The same structure on elements twice as long.

Odd numbers of elements are rounded up: the last coarse element sticks out and holds half the material, spread over all
of it. What is held by that face is longer by one or two fine elements, an error of first order in the spacing; all else
has the error of larger elements.

* Material is averaged over the elements inside a coarse one; what sticks out counts as empty. A coarse element is
  passive solid when at least half of its material is.
* Loads, springs and outputs are shared by the coarse nodes around them, by the transpose of multilinear interpolation,
  so their sums and first moments are preserved: levers keep their lengths. Springs stay diagonal.
* Supports are copied where fine and coarse nodes coincide. A support that no coarse node around it would carry moves
  to the nearest one, halfway away from the middle of the grid; supports of an odd last face go to the coarse face.

A coarse node that carries anything touches material, because the coarse elements around it contain the fine ones.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from sciopt.core.types import Array, Mask
from sciopt.topopt.lattice import Lattice
from sciopt.topopt.structure import Structure

__all__ = ["coarsened", "sum_of_children"]


def coarsened(fine: Structure) -> Structure:
    """The structure on a grid of half as many elements along each axis; see the module."""
    lattice = Lattice(tuple((n + 1) // 2 for n in fine.shape), tuple(2.0 * h for h in fine.spacing))
    cells = fine.lattice.cells
    material = sum_of_children(fine.material.reshape(cells)) / 2.0**fine.dim
    filled = sum_of_children((fine.material * fine.solid).reshape(cells)) / 2.0**fine.dim
    solid = (filled > 0.0) & (filled >= 0.5 * material)
    return Structure(
        shape=lattice.shape,
        spacing=lattice.spacing,
        physics=fine.physics,
        material=material.ravel(),
        solid=solid.ravel(),
        fixed=coarse_supports(fine.supports) | ~lattice.touching(material > 0.0),
        loads=shared(fine.loads, fine.dim),
        weights=fine.weights,
        springs=shared(fine.springs, fine.dim),
        outputs=None if fine.outputs is None else shared(fine.outputs, fine.dim),
    )


def sum_of_children(field: Array) -> Array:
    """Sums over blocks of two elements along each axis of (*cells); missing elements count as zero."""
    padded = np.pad(field, [(0, n % 2) for n in field.shape])
    for axis in range(field.ndim):
        moved = np.moveaxis(padded, axis, 0)
        padded = np.moveaxis(moved[0::2] + moved[1::2], 0, axis)
    return padded


def shared(field: Array, dim: int) -> Array:
    """Nodal values (..., *nodes) shared by the coarse nodes around them: the transpose of linear interpolation."""
    for axis in range(field.ndim - dim, field.ndim):
        moved = np.moveaxis(field, axis, 0)
        n = len(moved) - 1
        coarse = np.zeros(((n + 1) // 2 + 1, *moved.shape[1:]))
        coarse[: n // 2 + 1] = moved[0::2]
        between = 0.5 * moved[1::2]
        coarse[: len(between)] += between
        coarse[1 : len(between) + 1] += between
        field = np.moveaxis(coarse, 0, axis)
    return np.ascontiguousarray(field)


def coarse_supports(supports: Mask) -> Mask:
    """Supports (c, *nodes) on the coarse grid; see the module."""
    counts = np.array(supports.shape[1:]) - 1
    coarse = np.zeros((len(supports), *((n + 1) // 2 + 1 for n in counts)), dtype=bool)
    component, *nodes = np.nonzero(supports)
    index = np.stack(nodes, axis=1)
    odd = index % 2 == 1
    # The last node of an odd number of elements stands for the coarse face behind it.
    index = np.where(odd & (index == counts), index + 1, index)
    odd = index % 2 == 1
    away = (index + np.where(2 * index >= counts, 1, -1)) // 2
    target = np.where(odd, away, index // 2)
    # Nodes with fewer odd indices first: what lies between carried nodes is carried by them.
    for many in range(index.shape[1] + 1):
        now = odd.sum(axis=1) == many
        at, c, to = index[now], component[now], target[now]
        carried = np.zeros(len(at), dtype=bool)
        for side in product((0, 1), repeat=index.shape[1]):
            carried |= coarse[(c, *((at + np.array(side)) // 2).T)]
        lost = ~carried
        coarse[(c[lost], *to[lost].T)] = True
    return coarse
