"""What can be said of a structure, one call after the other, whatever it is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics
from sciopt.topopt.lattice import AXES, axis_names

__all__ = ["Case", "Described", "Said", "finite_number"]

Case = str | int


@dataclass(frozen=True, eq=False)
class Said:
    """What the calls have said so far, as arrays; None where nothing was said.

    Parameters
    ----------
    supports
        (c, *nodes) what is held.
    solid, void
        (*cells) passive material.
    springs
        (c, *nodes) stiffness to the ground.
    outputs
        (c, *nodes), or None.
    cases
        Loads (c, *nodes) by case.
    weights
        Of cases, where they are not one.
    """

    supports: Mask
    solid: Mask
    void: Mask
    springs: Array
    outputs: Array | None = None
    cases: Mapping[Case, Array] = field(default_factory=dict)
    weights: Mapping[Case, float] = field(default_factory=dict)


class Described:
    """Supports, loads and passive regions of something that has nodes and cells; every call returns a new one.

    What it is made of says which nodes and cells a region selects, and how a total is shared by nodes.
    """

    physics: str
    nu: float
    plane: str
    _said: Said | None

    @property
    @abstractmethod
    def dim(self) -> int:
        """2 or 3."""

    @abstractmethod
    def _nodes(self, where: Any, call: str) -> Mask: ...

    @abstractmethod
    def _cells(self, where: Any, call: str) -> Mask: ...

    @abstractmethod
    def _shares(self, where: Any, spread: str, call: str) -> Array: ...

    @property
    def model(self) -> Physics:
        """The equations: `Elasticity` or `Conduction`."""
        return Conduction() if self.physics == "heat" else Elasticity(self.nu, self.plane)

    def fix(self, where: Any, components: str = "all") -> Self:
        """Hold nodes: displacements are zero, or in heat conduction the temperature (a sink).

        Parameters
        ----------
        where
            Region.
        components
            ``"all"``, or the axes to hold: ``"x"``, ``"yz"`` …
        """
        chosen = self._nodes(where, "fix")
        supports = self._now.supports.copy()
        supports[self._named(components, "fix")] |= chosen
        return self._say(supports=supports)

    def load(self, where: Any, force: Sequence[float], case: Case = 0, spread: str = "consistent") -> Self:
        """Apply a total force to a region.

        Parameters
        ----------
        where
            Region.
        force
            (fx, fy) or (fx, fy, fz): the sum over the region, in units of force.
        case
            Name or number of the load case; cases act one at a time, and what is said of one case adds up.
        spread
            ``"consistent"``: as a uniform traction or body force acts on the elements. ``"equal"``: the same for all
            nodes.
        """
        if self.physics == "heat":
            raise InputError("load: heat conduction knows no forces; use .source(where, total)")
        return self._loaded("load", where, self._vector(force, "load: force"), case, spread)

    def source(self, where: Any, total: float, case: Case = 0, spread: str = "consistent") -> Self:
        """Produce heat in a region.

        Parameters
        ----------
        where
            Region.
        total
            Heat per time, summed over the region.
        case, spread
            As in `load`.
        """
        if self.physics != "heat":
            raise InputError('source: only physics="heat" has heat sources; use .load(where, force)')
        return self._loaded("source", where, np.array([finite_number(total, "source: total")]), case, spread)

    def case_weights(self, weights: Sequence[float] | Mapping[Case, float]) -> Self:
        """Set the weights of load cases in the objective; they are 1 if nothing is said.

        Parameters
        ----------
        weights
            By name, or one per case in the order in which the cases were first loaded. At least zero.
        """
        known = list(self._now.cases)
        if not isinstance(weights, Mapping):
            if len(weights) != len(known):
                raise InputError(
                    f"case_weights: {len(weights)} weights for {len(known)} cases ({', '.join(map(str, known))})"
                )
            weights = dict(zip(known, weights, strict=True))
        for case, weight in weights.items():
            if case not in known:
                raise InputError(f"case_weights: there is no case {case!r}; known are {', '.join(map(repr, known))}")
            if finite_number(weight, f"case_weights: weight of case {case!r}") < 0.0:
                raise InputError(f"case_weights: weight of case {case!r} is {weight}; expected at least zero")
        return self._say(weights={**self._now.weights, **weights})

    def spring(self, where: Any, stiffness: float, component: str = "all") -> Self:
        """Tie a region to the ground by springs.

        Parameters
        ----------
        where
            Region.
        stiffness
            Force per displacement (heat per temperature), summed over the region and shared like a load.
        component
            The axes along which the springs act; each gets the full stiffness.
        """
        stiffness = finite_number(stiffness, "spring: stiffness")
        if stiffness <= 0.0:
            raise InputError(f"spring: stiffness is {stiffness}; expected a positive number")
        springs = self._now.springs.copy()
        springs[self._named(component, "spring")] += stiffness * self._shares(where, "consistent", "spring")
        return self._say(springs=springs)

    def output(self, where: Any, direction: str | Sequence[float]) -> Self:
        """Name the displacement that a mechanism minimizes; several calls add up.

        Parameters
        ----------
        where
            Region; its mean displacement counts, weighted like a load.
        direction
            ``"x"``, ``"-y"`` … or a vector. The output is the displacement along it: ``sum(outputs * u)``.
        """
        if self.physics == "heat":
            raise InputError("output: heat conduction knows no displacements")
        if isinstance(direction, str):
            sign, axis = (-1.0, direction[1:]) if direction.startswith("-") else (1.0, direction)
            if len(axis) != 1 or axis not in AXES[: self.dim]:
                raise InputError(
                    f"output: direction is {direction!r}; expected one of {axis_names(self.dim)}, "
                    f"perhaps with a minus sign, or a vector"
                )
            vector = np.zeros(self.dim)
            vector[AXES.index(axis)] = sign
        else:
            vector = self._vector(direction, "output: direction")
        more = np.multiply.outer(vector, self._shares(where, "consistent", "output"))
        return self._say(outputs=more if self._now.outputs is None else self._now.outputs + more)

    def solid(self, where: Any) -> Self:
        """Fill elements for good."""
        return self._say(solid=self._now.solid | self._cells(where, "solid"))

    def void(self, where: Any) -> Self:
        """Keep elements empty for good."""
        return self._say(void=self._now.void | self._cells(where, "void"))

    @property
    def cases(self) -> tuple[Case, ...]:
        """Names of the load cases, in the order in which they were first loaded."""
        return tuple(self._now.cases)

    @property
    def case_loads(self) -> Array:
        """(cases, c, *nodes) the loads."""
        loads = list(self._now.cases.values())
        return np.stack(loads) if loads else np.zeros((0, *self._now.springs.shape))

    @property
    def weights_of_cases(self) -> Array:
        """(cases,) the weights."""
        return np.array([float(self._now.weights.get(case, 1.0)) for case in self._now.cases])

    @property
    def _components(self) -> int:
        return 1 if self.physics == "heat" else self.dim

    @property
    def _now(self) -> Said:
        assert self._said is not None  # set when it is made
        return self._said

    def _say(self, **changes: Any) -> Self:
        return replace(self, _said=replace(self._now, **changes))  # type: ignore[type-var]

    def _loaded(self, call: str, where: Any, total: Array, case: Case, spread: str) -> Self:
        if not isinstance(case, str | int):
            raise InputError(f"{call}: case is {case!r}; expected a name or a number")
        if not total.any():
            raise InputError(f"{call}: the total is zero; leave the call out")
        more = np.multiply.outer(total, self._shares(where, spread, call))
        before = self._now.cases.get(case)
        return self._say(cases={**self._now.cases, case: more if before is None else before + more})

    def _vector(self, given: Any, what: str) -> Array:
        if np.shape(given) != (self.dim,):
            raise InputError(f"{what} is {given!r}; expected {self.dim} numbers ({axis_names(self.dim)})")
        return np.array([finite_number(g, what) for g in given])

    def _named(self, components: str, call: str) -> list[int]:
        """Indices of components given by their letters."""
        known = AXES[: self.dim]
        if components == "all":
            return list(range(self._components))
        if self.physics == "heat":
            raise InputError(f"{call}: a temperature has no components; leave {components!r} out")
        if not isinstance(components, str) or not components or set(components) - set(known):
            raise InputError(
                f"{call}: components are {components!r}; expected 'all' or some of {axis_names(len(known))}"
            )
        return [known.index(letter) for letter in dict.fromkeys(components)]


def finite_number(given: Any, what: str) -> float:
    """The number.

    Raises
    ------
    InputError
        For what is none, or is not finite.
    """
    try:
        number = float(given)
    except (TypeError, ValueError):
        raise InputError(f"{what} is {given!r}; expected a number") from None
    if not np.isfinite(number):
        raise InputError(f"{what} is {given}; expected a finite number")
    return number
