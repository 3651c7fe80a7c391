"""An ASE band whose images are evaluated once per point, also with one shared calculator."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep.neb import NEBOptimizable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from ase import Atoms
    from ase.mep.neb import BaseNEB
    from numpy.typing import NDArray

__all__ = ["OnceBand"]


class OnceBand(NEBOptimizable):
    """Answers repeated questions about the same band from memory.

    ASE asks for the gradient three times per step, and its NEB computes every image each time: with one calculator
    shared by all images, which remembers only its last structure, that is three calls per image. Here it is one. Two
    end points that share the calculator too are computed once per run.

    An answer is given from memory only while positions, cells, calculators, springs, tangent and climbing image are
    those it was computed for, and nobody else has asked the band for forces since. What cannot be seen from outside
    (an observer that changes the settings of a calculator) takes effect at the next point.

    Parameters
    ----------
    neb
        The band.
    """

    def __init__(self, neb: BaseNEB) -> None:
        super().__init__(neb)
        self.forget()

    def forget(self) -> None:
        """Compute everything anew the next time."""
        self._known: tuple[Any, ...] | None = None
        self._gradient: NDArray[np.float64] | None = None
        self._ends: dict[int, tuple[tuple[Any, ...], float]] = {}
        # Identities are compared by id; the objects must live as long as their ids are remembered.
        self._held: list[Any] = []

    def get_gradient(self) -> NDArray[np.float64]:
        if self._gradient is None or self._known != self._situation():
            with self._ends_known():
                self._gradient = super().get_gradient()
            self._known = self._situation()
            neb = self.neb
            self._held = [neb.real_forces, neb.precon, neb.neb_method, *(image.calc for image in neb.images)]
        return self._gradient.copy()

    def _situation(self) -> tuple[Any, ...]:
        """Everything the forces depend on, and whether they are the last ones the band computed."""
        neb = self.neb
        return (
            *(_structure(image) for image in neb.images),
            tuple(neb.k),
            neb.climb,
            neb.method,
            neb.remove_rotation_and_translation,
            *(getattr(neb, name, None) for name in ("dynamic_relaxation", "fmax", "scale_fmax")),
            *map(id, (neb.neb_method, neb.precon, neb.real_forces)),
        )

    @contextmanager
    def _ends_known(self) -> Iterator[None]:
        """Give end points that share a calculator their known energy for the time of one evaluation."""
        images = self.neb.images
        inner = {id(image.calc) for image in images[1:-1]}
        # Other tangents need forces or preconditioners at the ends; a rotated end point is a new structure.
        simple = self.neb.method in ("aseneb", "improvedtangent", "eb")
        if not (self.neb.allow_shared_calculator and simple) or self.neb.remove_rotation_and_translation:
            yield
            return
        ends = [end for end in (0, len(images) - 1) if id(images[end].calc) in inner]
        own = [images[end].calc for end in ends]
        try:
            for end in ends:
                images[end].calc = SinglePointCalculator(images[end], energy=self._end_energy(end))
            yield
        finally:
            for end, calc in zip(ends, own, strict=True):
                images[end].calc = calc

    def _end_energy(self, end: int) -> float:
        structure = _structure(self.neb.images[end])
        if end not in self._ends or self._ends[end][0] != structure:
            self._ends[end] = structure, float(self.neb.images[end].get_potential_energy())
        return self._ends[end][1]


def _structure(atoms: Atoms) -> tuple[Any, ...]:
    arrays = (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
    return (*(array.tobytes() for array in arrays), id(atoms.calc))
