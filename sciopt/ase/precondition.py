"""Approximate inverse Hessians for atoms and bands: one block per image, rebuilt when its atoms have moved far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.mep.neb import NEBOptimizable
from ase.optimize.optimize import OptimizableAtoms
from ase.optimize.precon.precon import Precon
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import eye_array, issparse
from scipy.sparse.linalg import splu

from sciopt.core.errors import InputError
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.model_hessian import model_hessian, shortest_pairs

if TYPE_CHECKING:
    from ase.utils.abc import Optimizable

    from sciopt.core.types import Array

__all__ = ["BlockInverse", "preconditioner"]

Solve = Callable[["Array", "Array"], "Array"]
Block = Callable[["Array"], Callable[["Array"], "Array"]]

SHIFT = 1.0  # eV/Å², added to the model: what rigid motion and forgotten interactions cost
FAR = 0.3  # Å


class BlockInverse:
    """``(x, force) -> H^-1 force`` with one block per image, each built at a reference point.

    A block is rebuilt at the present point once an atom has moved more than `far` from the reference.

    Parameters
    ----------
    blocks
        One function per image: positions (3N,) in Å to a function that solves ``H s = force``.
    far
        Distance in Å.
    """

    def __init__(self, blocks: Sequence[Block], far: float = FAR) -> None:
        self.blocks = blocks
        self.far = far
        self._references: list[Array] = []
        self._inverses: list[Callable[[Array], Array]] = []

    @property
    def memory(self) -> Array | None:
        """(blocks, 3N) the reference points in Å, None before the first use: all that a restart needs."""
        return np.array(self._references) if self._references else None

    @memory.setter
    def memory(self, references: Array) -> None:
        self._references = list(references)
        self._inverses = [build(x) for build, x in zip(self.blocks, references, strict=True)]

    def __call__(self, x: Array, force: Array) -> Array:
        points = x.reshape(len(self.blocks), -1)
        if not self._references:
            self.memory = points.copy()
        for number, point in enumerate(points):
            moved = (point - self._references[number]).reshape(-1, 3)
            if np.linalg.norm(moved, axis=1).max() > self.far:
                self._references[number] = point.copy()
                self._inverses[number] = self.blocks[number](point)
        forces = force.reshape(points.shape)
        return np.concatenate([inverse(f) for inverse, f in zip(self._inverses, forces, strict=True)])


def preconditioner(precon: Any, optimizable: Optimizable) -> Solve:
    """The inverse Hessian that `precon` means for `optimizable`, ``(x, force) -> step``.

    Parameters
    ----------
    precon
        ``"auto"`` for the model that suits the system (Lindh for free molecules, pair stiffness otherwise), a
        preconditioner of ``ase.optimize.precon``, or a function ``(x, force) -> step``.
    optimizable
        What is optimized.

    Raises
    ------
    InputError
        For anything else, and for a model on something that is neither atoms nor a band.
    """
    if not (precon == "auto" or isinstance(precon, Precon)):
        if callable(precon):
            return precon
        raise InputError(
            f"precon is {precon!r}; give 'auto', a preconditioner of ase.optimize.precon, or a function "
            "(x, force) -> step"
        )
    build = _model_block if precon == "auto" else lambda atoms: _ase_block(precon, atoms)
    return BlockInverse([build(atoms) for atoms in _images(optimizable)])


def _images(optimizable: Optimizable) -> list[Atoms]:
    if isinstance(optimizable, NEBOptimizable):
        return list(optimizable.neb.images[1:-1])
    if isinstance(optimizable, OptimizableAtoms) and isinstance(optimizable.atoms, Atoms):
        return [optimizable.atoms]
    raise InputError(
        f"there is no curvature model for {type(optimizable).__name__}; models know atoms and bands. "
        "Give precon a function (x, force) -> step, or use LBFGS for cell filters"
    )


def _model_block(atoms: Atoms) -> Block:
    coordinates = _coordinates(atoms)

    def build(x: Array) -> Callable[[Array], Array]:
        point = x[coordinates.free]
        model = model_hessian(coordinates, point, shortest_pairs([coordinates.atoms(point)]))
        if issparse(model):
            inverse = splu((model + SHIFT * eye_array(coordinates.size)).tocsc()).solve
        else:
            factor = cho_factor(model + SHIFT * np.eye(coordinates.size))

            def inverse(force: Array) -> Array:
                return cho_solve(factor, force)

        def solve(force: Array) -> Array:
            step = np.zeros_like(force)
            step[coordinates.free] = inverse(force[coordinates.free])
            return step

        return solve

    return build


def _coordinates(atoms: Atoms) -> Coordinates:
    try:
        return Coordinates.of(atoms)
    except InputError:
        # Bond lengths, springs and the like: ASE applies them to forces and steps, the model may ignore them.
        template = atoms.copy()
        template.set_constraint()
        return Coordinates(template, np.arange(3 * len(atoms)), False)


def _ase_block(precon: Precon, atoms: Atoms) -> Block:
    own = precon.copy()

    def build(x: Array) -> Callable[[Array], Array]:
        here = atoms.copy()
        # Some preconditioners estimate their scale from forces.
        here.calc = atoms.calc
        here.set_positions(x.reshape(-1, 3), apply_constraint=False)
        # Its own test of how far atoms have moved compares with the last call, which may be long ago.
        own.P = None
        own.make_precon(here)
        return own.solve

    return build
