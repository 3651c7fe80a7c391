"""Designs of a coarse grid on the finer one, without the stairs at their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.topopt.structure import Structure

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["interpolated"]

# Weight of the element a child lies in, along one axis; its neighbour on the side of the child has the rest.
_OWN = 0.75


def interpolated(coarse: Structure, fine: Any, x: Array) -> Array:
    """The densities `x` (coarse.n_design,) on `fine`, which `coarse` was coarsened from, linear between centres.

    Passive solid counts as 1, void does not count, and beyond the grid is what is at its face: a constant design is
    kept.

    Returns
    -------
    Array
        (fine.n_design,) densities between the least and the largest around.
    """
    if not isinstance(fine, Structure):
        return np.asarray(fine.sampled(coarse, x))
    some = (coarse.material > 0.0).astype(float)
    cut = tuple(slice(n) for n in fine.lattice.cells)
    density = _doubled((coarse.full(x) * some).reshape(coarse.lattice.cells))[cut]
    # A design element lies in a coarse element with material, so its weight is not zero.
    weight = _doubled(some.reshape(coarse.lattice.cells))[cut]
    design = fine.design
    return np.asarray(density.ravel()[design] / weight.ravel()[design])


def _doubled(field: Array) -> Array:
    """(*2n) values at the centres of the halves of elements, linear between those of the elements."""
    for axis in range(field.ndim):
        own = np.moveaxis(field, axis, 0)
        before, after = np.concatenate([own[:1], own[:-1]]), np.concatenate([own[1:], own[-1:]])
        halves = np.empty((2 * len(own), *own.shape[1:]))
        halves[0::2] = _OWN * own + (1.0 - _OWN) * before
        halves[1::2] = _OWN * own + (1.0 - _OWN) * after
        field = np.moveaxis(halves, 0, axis)
    return field
