"""From the last point of a search to what users are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.neb.align import remove_rigid
from sciopt.neb.band import highest
from sciopt.neb.imagewise import Learned
from sciopt.neb.low_rank import DenseHessian
from sciopt.neb.path_result import PathResult

if TYPE_CHECKING:
    from sciopt.core.run import Result
    from sciopt.neb.path_result import SaddleCheck
    from sciopt.neb.search import Search
    from sciopt.neb.setup import Ends

__all__ = ["path_answer"]


def path_answer(
    result: Result,
    ends: Ends,
    checked: SaddleCheck | None,
    calls: dict[str, int],
    method: str,
    parameters: dict[str, Any],
    wall: float,
    overhead: float,
    search: Search,
) -> PathResult:
    """The result of a search that ended with `result`."""
    info = result.evaluation.info
    climbing = info["climbing"]
    X, energies, forces = info["X"].copy(), info["energies"].copy(), info["forces"].copy()
    coordinates = ends.coordinates
    fmax_climbing = np.nan
    reason = result.reason.message
    converged = result.converged
    if checked is not None:
        if checked.saddle.converged and climbing is not None:
            place = climbing + 1
            X[place], energies[place] = checked.saddle.x, checked.saddle.energy
            known = search.evaluator.known(checked.saddle.x)
            if known is not None:
                forces[place] = known.force
        reason = f"{reason}; {checked.message}"
        converged = converged and checked.passed
    if climbing is not None:
        fmax_climbing = float(coordinates.longest(info["true"][climbing]))
        if checked is not None:
            fmax_climbing = min(fmax_climbing, checked.saddle.force_norm)
    elif converged and highest(energies) is None:
        reason = f"{reason}; the path has no interior maximum: the higher end is the barrier"
    return PathResult(
        coordinates=coordinates,
        X=X,
        absolute_energies=energies,
        forces=forces,
        tangents=info["tangents"],
        fmax=result.residual,
        fmax_climbing=fmax_climbing,
        climbing=climbing,
        barrier_error=_barrier_error(result, climbing, search, checked),
        converged=converged,
        reason=reason,
        calls=calls,
        method=method,
        history=result.history,
        check=checked,
        parameters=parameters,
        wall_seconds=wall,
        overhead_seconds=overhead,
        energy_errors=info.get("energy_errors"),
        force_errors=info.get("force_errors"),
        lessons=search.lessons,
        rival=search.rival,
        surrogate=search.surrogate,
    )


def _barrier_error(result: Result, climbing: int | None, search: Search, checked: SaddleCheck | None) -> float:
    """Half a Newton decrement of the force left at the top, or what hides between images where nothing climbs."""
    info = result.evaluation.info
    energies, lengths = info["energies"], info["lengths"]
    # Where forces are noisy by sigma, energies usually are by about 0.1 Å times it.
    noise = 0.1 * search.noise
    if climbing is None:
        top = int(np.argmax(energies))
        if top in (0, len(energies) - 1):
            return float(noise)
        i = top - 1
        # A parabola through the top image with its slope and the mean curvature towards its neighbours.
        rise = max(2 * energies[top] - energies[top - 1] - energies[top + 1], 1e-6)
        curvature = rise / (lengths[i] * lengths[i + 1])
        return float(info["along"][i] ** 2 / (2.0 * curvature) + noise)
    if checked is not None and checked.passed and (known := search.evaluator.known(checked.saddle.x)) is not None:
        # The force that is left on the refined saddle, not on the image it was found from.
        force = remove_rigid(checked.saddle.x, known.force) if search.ends.coordinates.rigid else known.force
        return float(abs(0.5 * force @ DenseHessian(checked.saddle.hessian).solve(force, floor=0.05)) + noise)
    force = info["true"][climbing]
    memory = result.state.memory
    if isinstance(memory, Learned):
        return float(abs(0.5 * force @ memory.models[climbing].solve(force, floor=0.05)) + noise)
    return float(0.5 * force @ force + noise)
