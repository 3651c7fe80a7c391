"""Which minima a saddle point separates: downhill on both sides, then a comparison with the end points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError, NotFinite
from sciopt.core.evaluation import Evaluation
from sciopt.neb.align import align, unwrap
from sciopt.neb.modes import BudgetSpent, Counted
from sciopt.neb.restricted import Walk, stride, trust_radius
from sciopt.neb.saddle import guess, matrix, tangent, unit_direction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import sparray

    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.modes import Evaluate
    from sciopt.neb.saddle import Saddle

__all__ = ["Connection", "Descent", "connects", "descend", "displacement"]

Name = Literal["initial", "final"]
Arrival = Callable[[Evaluation], "Name | None"]

MAX_REFUSED = 8


@dataclass(frozen=True, eq=False)
class Descent:
    """The end of a walk downhill.

    Attributes
    ----------
    x
        (n,) free coordinates, Å.
    energy
        eV.
    force_norm
        Largest force on an atom, free of rigid motion, eV/Å.
    evaluations
        Evaluations spent.
    converged
        Whether it ended in a minimum (small forces) or in the basin of a known end point.
    reached
        The end point whose basin it ended in: "initial", "final" or None.
    reason
        Why it stopped.
    """

    x: NDArray[np.float64]
    energy: float
    force_norm: float
    evaluations: int
    converged: bool
    reached: Name | None
    reason: str


@dataclass(frozen=True, eq=False)
class Connection:
    """What lies on the two sides of a saddle point.

    Attributes
    ----------
    forward, backward
        The descents towards the final and the initial state.
    connected
        Whether one of them reached the initial and the other the final state.
    evaluations
        Evaluations spent on both.
    message
        One sentence: which end is not reached, and what was found instead.
    """

    forward: Descent
    backward: Descent
    connected: bool
    evaluations: int
    message: str


@dataclass
class _End:
    """An end point of the path; its energy is only paid for when a walk comes near."""

    name: Name
    x: NDArray[np.float64]
    energy: float | None


def displacement(coordinates: Coordinates, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (n,) vector in Å from `x` to `y`: atom by atom, the mapping kept.

    Free molecules are first turned and moved onto each other (`sciopt.neb.align.align`); otherwise every atom takes
    the short way through periodic boundaries.

    Examples
    --------
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> coordinates = Coordinates.of(Atoms("Ar", cell=[5, 5, 5], pbc=True))
    >>> displacement(coordinates, np.array([4.5, 0.0, 0.0]), np.array([0.5, 0.0, 0.0]))
    array([1., 0., 0.])
    """
    if coordinates.rigid:
        return coordinates.reduce(align(coordinates.positions(x), coordinates.positions(y))) - x
    return unwrap(x, y, coordinates)[0] - x


def descend(
    evaluate: Evaluate,
    x: NDArray[np.float64],
    coordinates: Coordinates,
    direction: NDArray[np.float64],
    *,
    energy: float | None = None,
    hessian: NDArray[np.float64] | sparray | None = None,
    fmax: float = 0.02,
    displace: float = 0.1,
    maxstep: float = 0.15,
    max_evaluations: int = 200,
    arrived: Arrival | None = None,
) -> Descent:
    """Slide downhill from a saddle point into the minimum on one side.

    The first step is `displace` along the direction. From there quasi-Newton steps (restricted-step, updated Hessian)
    no longer than `maxstep`, whose energy never rises: short steps on a falling path stay in the valley they started
    in, although they do not trace its floor as an intrinsic reaction coordinate would.

    Parameters
    ----------
    evaluate
        (n,) Å to (eV, (n,) eV/Å).
    x
        (n,) the saddle point, Å.
    coordinates
        The free coordinates.
    direction
        (n,) the side: plus or minus the negative mode.
    energy
        Energy at `x`, eV: the first step is halved, up to four times, until it lies lower. None skips that test.
    hessian
        (n, n) model Hessian at `x`, eV/Å², such as ``Saddle.hessian``.
    fmax
        Largest force on an atom in the minimum, eV/Å.
    displace, maxstep
        First and longest step, Å of the atom that moves farthest.
    max_evaluations
        Budget.
    arrived
        Called with every accepted `Evaluation`; the walk stops when it names an end point.

    Raises
    ------
    ShapeError, InputError
        When `direction` or `hessian` do not fit, or `direction` is zero or a rigid motion.

    Examples
    --------
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> def double_well(x):
    ...     return (x[0] ** 2 - 1) ** 2 + x[1:] @ x[1:], -np.array([4 * x[0] * (x[0] ** 2 - 1), 2 * x[1], 2 * x[2]])
    >>> down = descend(double_well, np.zeros(3), Coordinates.of(Atoms("H")), np.array([1.0, 0.0, 0.0]), fmax=1e-4)
    >>> down.converged, down.x.round(4).tolist()
    (True, [1.0, 0.0, 0.0])
    """
    x = np.asarray(x, dtype=float)
    way = unit_direction(direction, x, coordinates)
    call = Counted(evaluate, max_evaluations)
    model = matrix(guess(coordinates, x) if hessian is None else hessian, coordinates)
    control = trust_radius(min(displace, maxstep), maxstep)
    here = _first(call, x, coordinates, way * (displace / float(coordinates.longest(way))), energy)
    if here is None:
        lost = float("nan") if energy is None else energy
        return Descent(x, lost, float("nan"), call.calls, False, None, "no lower point was found along the direction")
    walk = Walk(here, model, control.start())
    reached = None if arrived is None else arrived(walk.here)
    reason = ""
    try:
        while reached is None and coordinates.longest(walk.here.force) >= fmax and walk.refused < MAX_REFUSED:
            last = walk.here
            walk = stride(walk, call, coordinates, control, monotone=True)
            if arrived is not None and walk.here is not last:
                reached = arrived(walk.here)
    except BudgetSpent:
        reason = f"the budget of {max_evaluations} evaluations is spent"
    norm = float(coordinates.longest(walk.here.force))
    converged = reached is not None or norm < fmax
    if reached is not None:
        reason = f"it is in the basin of the {reached} state"
    elif converged:
        reason = f"largest force {norm:.2g} eV/Å, below {fmax:g}"
    elif not reason:
        reason = f"{MAX_REFUSED} steps in a row did not lower the energy"
    return Descent(walk.here.x, float(walk.here.value), norm, call.calls, converged, reached, reason)


def _first(
    call: Counted, x: NDArray[np.float64], coordinates: Coordinates, step: NDArray[np.float64], energy: float | None
) -> Evaluation | None:
    """The first point beside the saddle that lies lower."""
    for halvings in range(5):
        there = x + step * 0.5**halvings
        try:
            value, force = call(there)
        except (EvaluationFailed, NotFinite):
            continue
        except BudgetSpent:
            return None
        if energy is None or value < energy:
            return Evaluation(there, tangent(force, there, coordinates), value)
    return None


def connects(
    evaluate: Evaluate,
    saddle: Saddle,
    initial_x: NDArray[np.float64],
    final_x: NDArray[np.float64],
    coordinates: Coordinates,
    *,
    initial_energy: float | None = None,
    final_energy: float | None = None,
    tolerance: float = 0.25,
    energy_tolerance: float = 0.05,
    fmax: float = 0.02,
    max_evaluations: int = 400,
) -> Connection:
    """Whether the saddle point separates the initial from the final state.

    One `descend` on each side of the saddle's mode. A minimum is an end point when no atom is farther than `tolerance`
    from its place (mapping kept; free molecules aligned by proper rotations, others under the minimum image
    convention) and the energies differ by less than `energy_tolerance`. A walk stops earlier when it is that close and
    its energy is that of a harmonic basin around the end point: ``E - E_end`` agrees within one half (and 5 meV) with
    the work ``F·(x_end - x) / 2`` left to do.

    Parameters
    ----------
    evaluate
        (n,) Å to (eV, (n,) eV/Å).
    saddle
        Result of `sciopt.neb.saddle.refine_saddle`.
    initial_x, final_x
        (n,) the end points, Å.
    coordinates
        The free coordinates.
    initial_energy, final_energy
        eV. Where None, one evaluation is spent when a walk comes near that end.
    tolerance
        Å, of the atom that is farthest from its place.
    energy_tolerance
        eV.
    fmax
        Largest force on an atom in a minimum, eV/Å.
    max_evaluations
        Budget of both walks together.

    Raises
    ------
    InputError
        When both end points are the same within `tolerance`.
    """
    initial_x, final_x = np.asarray(initial_x, dtype=float), np.asarray(final_x, dtype=float)
    apart = float(coordinates.longest(displacement(coordinates, initial_x, final_x)))
    if apart <= tolerance:
        raise InputError(
            f"the end points differ by {apart:.3f} Å at most, within the tolerance of {tolerance} Å; "
            "give different end points or a smaller tolerance"
        )
    call = Counted(evaluate, max_evaluations)
    ends = (_End("initial", initial_x, initial_energy), _End("final", final_x, final_energy))

    def arrived(here: Evaluation) -> Name | None:
        return next((end.name for end in ends if _in_basin(call, coordinates, here, end, tolerance)), None)

    onward = displacement(coordinates, saddle.x, final_x) - displacement(coordinates, saddle.x, initial_x)
    forward = saddle.mode * np.copysign(1.0, saddle.mode @ onward)
    descents = []
    for direction in (forward, -forward):
        down = descend(
            call,
            saddle.x,
            coordinates,
            direction,
            energy=saddle.energy,
            hessian=saddle.hessian,
            fmax=fmax,
            max_evaluations=max_evaluations,
            arrived=arrived,
        )
        descents.append(_identified(call, coordinates, down, ends, tolerance, energy_tolerance))
    connected = {down.reached for down in descents} == {"initial", "final"}
    message = _message(coordinates, saddle, descents, ends)
    return Connection(descents[0], descents[1], connected, call.calls, message)
