"""What a Gaussian process has been told: configurations, energies, forces and how much to trust each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import NotFinite, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array, Mask

    Indices = NDArray[np.intp]

__all__ = ["Observations"]


@dataclass(frozen=True, eq=False)
class Observations:
    """Energies and forces at N configurations.

    Parameters
    ----------
    X
        (N, n) configurations.
    energies
        (N,) in eV, or any unit of energy.
    forces
        (N, n) minus the gradients, in that unit per unit of x.
    energy_noise, force_noise
        (N,) standard errors of an energy, and of one component of a force.

    Examples
    --------
    >>> import numpy as np
    >>> one = Observations.none(2).add(np.zeros(2), 1.0, np.ones(2), 1e-3, 1e-3)
    >>> len(one), one.force_noise
    (1, array([0.001]))
    """

    X: Array
    energies: Array
    forces: Array
    energy_noise: Array
    force_noise: Array

    def __post_init__(self) -> None:
        count = len(self.X)
        if self.forces.shape != self.X.shape or any(
            len(part) != count for part in (self.energies, self.energy_noise, self.force_noise)
        ):
            raise ShapeError(
                f"observations: X {self.X.shape}, energies {self.energies.shape}, forces {self.forces.shape}, noise "
                f"{self.energy_noise.shape} and {self.force_noise.shape} do not belong together"
            )
        for name, part in (("energy", self.energies), ("force", self.forces), ("configuration", self.X)):
            if not np.isfinite(part).all():
                raise NotFinite(f"an observed {name} is not finite; leave that observation out")

    def __len__(self) -> int:
        return len(self.X)

    @classmethod
    def none(cls, coordinates: int) -> Observations:
        """No observations of configurations with `coordinates` components."""
        empty = np.zeros(0)
        return cls(np.zeros((0, coordinates)), empty, np.zeros((0, coordinates)), empty, empty)

    def add(self, x: Array, energy: float, force: Array, energy_noise: float, force_noise: float) -> Observations:
        """These and one more."""
        return Observations(
            np.vstack([self.X, x]),
            np.append(self.energies, energy),
            np.vstack([self.forces, force]),
            np.append(self.energy_noise, energy_noise),
            np.append(self.force_noise, force_noise),
        )

    def shared(self, earlier: Observations) -> int:
        """How many of the first of these are the first ones of `earlier`, noise included."""
        count = min(len(self), len(earlier))
        same = np.zeros(count + 1, dtype=bool)
        same[:count] = True
        for name in self.__dataclass_fields__:
            equal = getattr(self, name)[:count] == getattr(earlier, name)[:count]
            same[:count] &= equal.all(axis=tuple(range(1, equal.ndim)))
        return int(np.argmin(same))

    def take(self, which: Array | Mask | Indices) -> Observations:
        """Those selected by a mask or indices."""
        return Observations(
            self.X[which], self.energies[which], self.forces[which], self.energy_noise[which], self.force_noise[which]
        )
