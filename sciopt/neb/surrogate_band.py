"""A band that relaxes on a surrogate: as many steps as it takes, none of them paid for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.core.evaluation import Evaluation
from sciopt.neb.band import BandLaw, band_force, band_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.method import Method
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.surrogate_model import Surrogate

__all__ = ["Relaxed", "SurrogateBand", "relax_band"]


@dataclass(frozen=True, eq=False)
class SurrogateBand:
    """The band problem on a posterior instead of a calculator; `info` is that of `BandProblem`.

    The image `pinned` (from 0) stays where it is: the climbing image that was converged by a true evaluation.
    """

    posterior: Surrogate
    coordinates: Coordinates
    ends: tuple[Array, Array]
    energies: tuple[float, float]
    law: BandLaw
    pinned: int | None = None

    def evaluate(self, x: Array) -> Evaluation:
        """Band force at the movable images x (M n,)."""
        images = x.reshape(-1, len(self.ends[0]))
        inner, forces = self.posterior.predict(images)
        X = np.vstack([self.ends[0], images, self.ends[1]])
        energies = np.concatenate([[self.energies[0]], inner, [self.energies[1]]])
        band = band_force(X, energies, forces, self.coordinates, self.law)
        if self.pinned is not None:
            band.force[self.pinned] = 0.0
        zero = np.zeros((1, X.shape[1]))
        info = band_info(X, energies, np.vstack([zero, forces, zero]), band)
        return Evaluation(x, band.force.ravel(), info=info)


class Relaxed(NamedTuple):
    """A band after relaxation on the surrogate.

    Attributes
    ----------
    ev
        Evaluation of the band on the surrogate.
    residual
        Its largest band force, eV/Å.
    outside
        The image (from 0) that wanted to leave the trust region, or None.
    steps
        Band points it took.
    climbed
        Whether the highest image was climbing at the end.
    """

    ev: Evaluation
    residual: float
    outside: int | None
    steps: int
    climbed: bool


def relax_band(
    problem: SurrogateBand,
    x: Array,
    make: Callable[[Array], Method],
    reach: Callable[[Array], Array],
    *,
    tolerance: float,
    trust: float,
    climb: bool,
    climb_below: float = 0.5,
    most: int = 250,
) -> Relaxed:
    """Relax the movable images x (M n,) until the largest band force is below `tolerance`.

    Parameters
    ----------
    problem
        The band on the surrogate.
    x
        Where to begin.
    make
        Makes a method of the core for a band (M+2, n).
    reach
        (M, n) images to (M,) distances from the data in units of the trust region.
    tolerance
        eV/Å.
    trust
        The relaxation ends, one step back, when an image gets farther than this from the data.
    climb, climb_below
        Whether the highest image climbs at once, and otherwise the band force below which it begins to, eV/Å.
    most
        Band points after which the best band so far is the answer.
    """
    wanted = problem.law.climb
    climbing = climb and wanted
    current = replace(problem, law=replace(problem.law, climb=climbing))
    ev = current.evaluate(x)
    method = make(ev.info["X"])
    state = method.start(ev)
    residual = method.space.residual(ev.x, ev.force)
    best, best_residual = ev, residual
    outside = None
    for step in range(most):
        if not climbing and wanted and residual < climb_below:
            climbing = True
            current = replace(problem, law=replace(problem.law, climb=True))
            ev = current.evaluate(ev.x)
            method = make(ev.info["X"])
            state = method.start(ev)
            best, best_residual = ev, np.inf
            residual = method.space.residual(ev.x, ev.force)
        if residual < best_residual:
            best, best_residual = ev, residual
        if residual < tolerance:
            break
        if step > 40 and best_residual < 2.0 and residual > 4.0 * best_residual + 0.2:
            break
        images = state.trial.reshape(-1, len(problem.ends[0]))
        distances = reach(images)
        if step and distances.max() > trust:
            outside = int(np.argmax(distances))
            break
        ev = current.evaluate(state.trial)
        state = method.advance(state, ev)
        ev = state.here
        residual = method.space.residual(ev.x, ev.force)
    if outside is not None and best_residual < 0.5 and residual > 3.0 * best_residual:
        outside = None
    answer = ev if outside is not None or residual <= best_residual else best
    return Relaxed(answer, min(residual, best_residual) if answer is best else residual, outside, step, climbing)
