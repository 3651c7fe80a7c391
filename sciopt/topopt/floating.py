"""Parts that can move without resistance, found without assembling anything.

Elements that share a face move as one rigid body when nothing is strained. Bodies that share nodes only are hinged
there; see `sciopt.topopt.rigid`. Heat conduction is the same with one constant temperature per body.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label

from sciopt.core.types import Array, Mask
from sciopt.topopt.grid.element import Conduction
from sciopt.topopt.rigid import Joints, free_body, free_motion_of_one
from sciopt.topopt.structure import Structure

__all__ = ["Part", "free_motion", "parts"]

Labels = NDArray[np.integer[Any]]


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
    component, *where = np.nonzero(held)
    points = np.stack(where[::-1], axis=1) * np.array(structure.spacing)
    whole = free_motion_of_one(points, component)
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


def _loose_body(structure: Structure, held: Mask, labels: Labels, count: int) -> int | None:
    """The label of a body that can move although the part as a whole cannot, or None."""
    lattice = structure.lattice
    corners = np.stack(lattice.corners(), axis=-1)
    centres = np.stack([_per_label(x, labels, count) for x in lattice.centres()], axis=1)
    volumes = np.bincount(labels.ravel(), minlength=count + 1)[1:] * np.prod(structure.spacing)
    component, *where = np.nonzero(held)
    owner = np.maximum.reduce(_around(labels, lattice.nodes))[tuple(where)]
    first, second, at = _joints(labels, lattice.nodes)
    joints = Joints(corners[at], first - 1, second - 1)
    sizes = volumes ** (1.0 / structure.dim)
    loose = free_body(centres, sizes, joints, corners[tuple(where)], component, owner - 1)
    return None if loose is None else 1 + loose


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
