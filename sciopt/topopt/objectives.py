"""What is minimized: compliance, thermal compliance, the output of a mechanism, volume under a compliance limit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.evaluation import Evaluation
from sciopt.topopt.grid.element import Conduction
from sciopt.topopt.hessian import state_curve
from sciopt.topopt.problem import Response, TopologyProblem

if TYPE_CHECKING:
    from sciopt.core.box import Box
    from sciopt.core.types import Array
    from sciopt.topopt.field import Realization
    from sciopt.topopt.hessian import Curve

__all__ = ["Compliance", "Mechanism", "MinimumVolume", "ThermalCompliance"]

# Exponent of the norm that stands for the worst load case: 1.1 % above the worst of two equal ones.
_WORST_NORM = 64.0


class Compliance(TopologyProblem):
    """Least compliance: minimize ``sum_k w_k f_k . u_k`` with ``K(rho) u_k = f_k``.

    The value is ``2 f.u - u.K u``, whose error is second order in the residual of the equations, with the derivative
    ``-u_e K_0 u_e`` by the modulus of element e. With ``worst=True`` the load cases compete:
    ``(sum_k (w_k c_k)^p)^(1/p)`` with p = 64, a smooth stand-in for the largest; the true largest is reported.

    Parameters
    ----------
    grid, volume, filter, material, projection, symmetry, solver, tol
        See `TopologyProblem`.
    worst
        Minimize the worst load case instead of the weighted sum.

    References
    ----------
    Bendsøe and Sigmund 2004, doi 10.1007/978-3-662-05086-6; Amir, Sigmund, Lazarov and Schevenels 2012,
    doi 10.1002/nme.3271, for inexact solves.
    """

    def __init__(self, grid: Any, volume: float = 0.5, *, worst: bool = False, **options: Any) -> None:
        self.worst = worst
        super().__init__(grid, volume, **options)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"worst": self.worst}

    def _decisive(self, realizations: tuple[Realization, ...]) -> list[tuple[int, Realization]]:
        # The eroded design has the least material everywhere, so it is the softest.
        return [(0, realizations[0])]

    def _respond(self, moduli: Array, number: int) -> Response:
        structure = self.structure
        solution = self._solve(moduli, structure.loads, number)
        cases, slopes = [], []
        for load, u in zip(structure.loads, solution.u, strict=True):
            energies = self.system.energies(u)
            stored = float(moduli @ energies) + float(np.vdot(structure.springs, u * u))
            cases.append(structure.total(2.0 * float(np.vdot(load, u)) - stored))
            slopes.append(-energies)
        value, shares = self._combine(structure.weights * np.array(cases))
        slope = np.tensordot(shares * structure.weights, np.array(slopes), axes=1)
        report = {"cases": np.array(cases), "equations": float(solution.residual.max())}
        curve = state_curve(self, moduli, solution.u, solution.u, -shares * structure.weights)
        if self.worst and len(cases) > 1 and curve is not None:
            curve = _with_shifting_shares(curve, structure.weights[:, None] * np.array(slopes), shares, value)
        return Response(value, slope, int(solution.iterations.sum()), report, curve)

    def _combine(self, cases: Array) -> tuple[float, Array]:
        """The value of the weighted `cases` (m,) and its derivative by each."""
        if not self.worst or len(cases) == 1:
            return float(cases.sum()), np.ones_like(cases)
        largest = float(cases.max())
        powers = (cases / largest) ** _WORST_NORM
        value = largest * float(powers.sum()) ** (1.0 / _WORST_NORM)
        return value, (cases / value) ** (_WORST_NORM - 1.0)


def _with_shifting_shares(curve: Curve, slopes: Array, shares: Array, value: float) -> Curve:
    """`curve` at fixed shares, and what follows from shares that move on to the cases that grow, (m, e) `slopes`."""
    # shares = (c / value)^(p - 1)
    powers = shares ** ((_WORST_NORM - 2.0) / (_WORST_NORM - 1.0))

    def whole(change: Array) -> tuple[Array, float]:
        found, solves = curve(change)
        grown = slopes @ change
        moved = (_WORST_NORM - 1.0) / value * (powers * grown - shares * float(shares @ grown))
        return found + moved @ slopes, solves

    return whole


class ThermalCompliance(Compliance):
    """Least thermal compliance: minimize ``q . T`` with ``K(k) T = q``, heat sources q and temperatures T.

    `grid` must be ``Grid(..., physics="heat")``.
    """

    def _prepare(self) -> None:
        if not isinstance(self.structure.physics, Conduction):
            raise InputError('thermal compliance needs a grid of conductors: Grid(..., physics="heat")')
        super()._prepare()


class Mechanism(TopologyProblem):
    """Compliant mechanism: minimize the displacement ``l . u`` of the grid's output, with ``K u = f``.

    A mechanism that should push the output forward minimizes the displacement in the opposite direction. The adjoint
    ``K lambda = l`` is solved along, and the value ``l.u + lambda.(f - K u)`` has an error of second order.

    Sigmund 1997, doi 10.1080/08905459708945415.
    """

    def _prepare(self) -> None:
        if self.structure.outputs is None:
            raise InputError("a mechanism needs an output; give the grid one with .output(where, direction)")
        super()._prepare()

    @property
    def fragile(self) -> bool:
        return True

    def _make_space(self) -> Box:
        # Allowed to use less, methods take the cheap way out: no material, no displacement.
        return replace(super()._make_space(), full=True)

    def _respond(self, moduli: Array, number: int) -> Response:
        structure = self.structure
        load = np.tensordot(structure.weights, structure.loads, axes=1)
        output = structure.outputs
        assert output is not None  # refused in _prepare
        solution = self._solve(moduli, np.stack([load, output]), number)
        u, adjoint = solution.u
        value = float(np.vdot(output, u)) + float(np.vdot(adjoint, load - self.system.apply(moduli, u)))
        value = structure.total(value)
        report = {"equations": float(solution.residual.max())}
        slope = -self.system.energies(u, adjoint)
        curve = state_curve(self, moduli, u[None], adjoint[None], np.array([-1.0]))
        return Response(value, slope, int(solution.iterations.sum()), report, curve)


class MinimumVolume(Compliance):
    """Least volume under a compliance limit: minimize the filled share subject to ``c(x) <= limit``.

    Parameters
    ----------
    grid, filter, material, projection, symmetry, solver, tol, worst
        See `Compliance`.
    limit
        The largest compliance.
    """

    def __init__(self, grid: Any, limit: float, **options: Any) -> None:
        if not 0.0 < limit < np.inf:
            raise InputError(f"limit is {limit}; expected a positive compliance")
        self.limit = float(limit)
        super().__init__(grid, 1.0, **options)

    def _make_space(self) -> Box:
        space: Box = self.structure.box()
        return space

    @property
    def constrained(self) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"limit": self.limit}

    def _evaluation(
        self, x: Array, value: float, gradient: Array, info: dict[str, Any], cost: dict[str, float]
    ) -> Evaluation:
        constraint = np.array([value / self.limit - 1.0])
        weights = self.field.weights
        return Evaluation(
            x,
            -weights,
            self.space.dot(weights, x),
            constraints=constraint,
            jacobian=gradient[None, :] / self.limit,
            cost=cost,
            info=info | {"objective": value},
        )
