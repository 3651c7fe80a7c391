"""Parts that can move without resistance, found without assembling anything.

Elements that share a face move as one rigid body when nothing is strained. Bodies that share nodes only are hinged
there: their displacements agree at the shared nodes, and otherwise they turn freely. So the null space of the stiffness
of all possible material is that of a small matrix, whose unknowns are the rigid motions of the bodies and whose rows
are shared nodes, supports and springs:

``u_a(p) = u_b(p)`` at shared nodes p,  ``u_a(p) · e_i = 0`` at supported or sprung components.

Heat conduction is the same with one constant temperature per body.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label
from scipy.sparse import coo_array, csc_array, csr_array, eye_array
from scipy.sparse.linalg import splu

from sciopt.core.types import Array, Mask
from sciopt.topopt.grid.element import Conduction
from sciopt.topopt.lattice import AXES
from sciopt.topopt.structure import Structure

__all__ = ["Part", "free_motion", "parts"]

Labels = NDArray[np.integer[Any]]

# Rigid motions are measured in units of the part's size, so the smallest eigenvalue of what is held is far above this
# (the fourth power of one over the number of hinged bodies in a row), and that of what is free is rounding.
_SINGULAR = 1e-11
_SHIFT = 1e-12


@dataclass(frozen=True, eq=False)
class Part:
    """Material that hangs together, at least by single nodes.

    Parameters
    ----------
    elements
        (*cells) its elements.
    nodes
        (*nodes) the corners of its elements.
    """

    elements: Mask
    nodes: Mask


def parts(structure: Structure) -> Iterator[Part]:
    """The connected parts of all that may hold material, in the order of their first elements."""
    material = (structure.material > 0.0).reshape(structure.lattice.cells)
    labels, count = label(material, generate_binary_structure(structure.dim, structure.dim))
    for number in range(1, count + 1):
        elements = labels == number
        yield Part(elements, structure.lattice.touching(elements))


class Motion(NamedTuple):
    """A motion without strain: its name, and where what moves is."""

    name: str
    at: tuple[float, ...]


def free_motion(structure: Structure, part: Part) -> Motion | None:
    """A motion that neither strains the part nor is hindered by its supports and springs, or None.

    Parameters
    ----------
    structure
        Supports and springs of either size count the same.
    part
        One of `parts`.
    """
    held = (structure.supports | (structure.springs > 0.0)) & part.nodes
    if isinstance(structure.physics, Conduction):
        return None if held.any() else Motion("its temperature", _middle(structure, part.elements))
    whole = _whole_motion(structure, held)
    if whole is not None:
        return Motion(whole, _middle(structure, part.elements))
    labels, count = label(part.elements, generate_binary_structure(structure.dim, 1))
    if count == 1:
        return None
    loose = _loose_body(structure, held, labels, count)
    if loose is None:
        return None
    return Motion("turning about the single nodes or edges it hangs on", _middle(structure, labels == loose))


def _middle(structure: Structure, elements: Mask) -> tuple[float, ...]:
    return tuple(float(x[elements].mean()) for x in structure.lattice.centres())


def _whole_motion(structure: Structure, held: Mask) -> str | None:
    """The name of a free motion of all as one rigid body, from the components (c, *nodes) that are held."""
    dim = structure.dim
    component, *nodes = np.nonzero(held)
    free = [AXES[axis] for axis in range(dim) if not (component == axis).any()]
    if free:
        return f"displacement along {' and '.join(free)}"
    # All axes are held, so that what is left is a turn. Relative to the middle of the held nodes and their distances,
    # the rows are of order one, however close together these nodes are.
    at = np.stack(nodes[::-1], axis=1) * np.array(structure.spacing)
    at = at - at.mean(axis=0)
    at = at / (np.abs(at).max() or 1.0)
    rows = _displacements(at)[np.arange(len(at)), component]
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    if values[0] > _SINGULAR:
        return None
    if dim == 2:
        return "rotation about z"
    turns, _ = np.linalg.qr(vectors[dim:, values <= _SINGULAR])
    for axis in range(dim):
        if np.linalg.norm(turns[axis]) > 0.999:
            return f"rotation about {AXES[axis]}"
    # The first of the largest entries counts as 1, whatever the signs and the rounding of eigenvectors.
    size = np.abs(turns[:, 0])
    direction = turns[:, 0] / turns[np.flatnonzero(size > 0.999 * size.max())[0], 0]
    return f"rotation about the direction ({', '.join(f'{d:g}' for d in direction.round(2) + 0.0)})"


def _displacements(offset: Array) -> Array:
    """Displacements (points, dim, modes) of points at `offset` (points, dim), per unit of each rigid motion."""
    many, dim = offset.shape
    found = np.zeros((many, dim, dim + dim * (dim - 1) // 2))
    found[:, range(dim), range(dim)] = 1.0
    turns = [(0, 1)] if dim == 2 else [(1, 2), (2, 0), (0, 1)]
    for mode, (a, b) in enumerate(turns, start=dim):
        found[:, a, mode] = -offset[:, b]
        found[:, b, mode] = offset[:, a]
    return found


def _loose_body(structure: Structure, held: Mask, labels: Labels, count: int) -> int | None:
    """The label of a body that can move although the part as a whole cannot, or None."""
    lattice, dim = structure.lattice, structure.dim
    corners = lattice.corners()
    # Every body's motions are measured about its own middle, in units of its own size.
    centres = np.stack([_per_label(x, labels, count) for x in lattice.centres()], axis=1)
    volumes = np.bincount(labels.ravel(), minlength=count + 1)[1:] * np.prod(structure.spacing)

    def displacements(nodes: tuple[NDArray[np.intp], ...], body: Labels) -> Array:
        offset = np.stack([x[nodes] for x in corners], axis=1) - centres[body - 1]
        return _displacements(offset / volumes[body - 1, None] ** (1.0 / dim))

    component, *where = np.nonzero(held)
    at = tuple(where)
    # A node of several bodies may be held as a part of any one of them: the joints tie the others.
    owner = np.maximum.reduce(_around(labels, lattice.nodes))[at]
    first, second, joints = _joints(labels, lattice.nodes)
    supports = displacements(at, owner)[np.arange(len(owner)), component]
    modes = supports.shape[1]
    one, two = (displacements(joints, body).reshape(-1, modes) for body in (first, second))
    rows = np.arange(len(one))
    blocks = [
        (rows, np.repeat(first, dim), one),
        (rows, np.repeat(second, dim), -two),
        (len(rows) + np.arange(len(owner)), owner, supports),
    ]
    matrix = _sparse(blocks, (len(rows) + len(owner), count * modes))
    normal = csc_array(matrix.T @ matrix)
    factors = splu(csc_array(normal + _SHIFT * eye_array(count * modes)))
    v = np.random.default_rng(0).standard_normal(count * modes)
    for _ in range(4):
        v = factors.solve(v)
        v /= np.linalg.norm(v)
    if float(v @ (normal @ v)) > _SINGULAR:
        return None
    return 1 + int(np.square(v).reshape(count, modes).sum(axis=1).argmax())


def _sparse(parts: list[tuple[NDArray[np.intp], Labels, Array]], shape: tuple[int, int]) -> csr_array:
    """Put blocks (rows, modes) into the given rows and the columns of the given bodies."""
    rows, columns, values = [], [], []
    for row, body, block in parts:
        modes = block.shape[1]
        rows.append(np.repeat(row, modes))
        columns.append(((body[:, None] - 1) * modes + np.arange(modes)).ravel())
        values.append(block.ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return coo_array(entries, shape=shape).tocsr()


def _per_label(x: Array, labels: Labels, count: int) -> Array:
    """Mean of `x` (*cells) over the elements of each label but 0."""
    totals = np.bincount(labels.ravel(), x.ravel(), minlength=count + 1)
    return totals[1:] / np.bincount(labels.ravel(), minlength=count + 1)[1:]


def _around(labels: Labels, nodes: tuple[int, ...]) -> list[Labels]:
    """The labels of the 2^d elements around every node, 0 outside."""
    padded = np.pad(labels, 1)
    return [
        padded[tuple(slice(c, c + n) for c, n in zip(corner, nodes, strict=True))]
        for corner in np.ndindex(*(2,) * len(nodes))
    ]


def _joints(labels: Labels, nodes: tuple[int, ...]) -> tuple[Labels, Labels, tuple[NDArray[np.intp], ...]]:
    """Pairs of different bodies and the nodes they share; a pair may come more than once."""
    one, two, at = [], [], []
    for a, b in combinations(_around(labels, nodes), 2):
        shared = np.nonzero((a > 0) & (b > 0) & (a != b))
        one.append(a[shared])
        two.append(b[shared])
        at.append(np.stack(shared))
    return np.concatenate(one), np.concatenate(two), tuple(np.concatenate(at, axis=1))
