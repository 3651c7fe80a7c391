"""Which minima a saddle point separates: downhill on both sides, then a comparison with the end points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError, NotFinite
from sciopt.core.evaluation import Evaluation
from sciopt.neb.align import align, unwrap
from sciopt.neb.modes import BudgetSpent, Counted
from sciopt.neb.restricted import (
    Walk,
    checked_matrix,
    energy_of,
    guessed_hessian,
    stride,
    trust_radius,
    unit_direction,
    without_rigid,
)

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
# Interatomic distances that agree to this many Å belong to one structure, up to reflection and equal atoms.
SAME_DISTANCE = 0.1


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
    model = checked_matrix(guessed_hessian(coordinates, x) if hessian is None else hessian, coordinates)
    control = trust_radius(min(displace, maxstep), maxstep)
    reached, reason, here = None, "", None
    try:
        here = _first(call, x, coordinates, way * (displace / float(coordinates.longest(way))), energy)
        if here is None:
            return _nowhere(x, energy, call, "no lower point was found along the direction")
        walk = Walk(here, model, control.start())
        reached = None if arrived is None else arrived(here)
        while reached is None and coordinates.longest(walk.here.force) >= fmax and walk.refused < MAX_REFUSED:
            walk = stride(walk, call, coordinates, control, monotone=True)
            if arrived is not None and walk.refused == 0:
                reached = arrived(walk.here)
    except BudgetSpent:
        reason = f"the budget of {call.calls} evaluations is spent"
        if here is None:
            return _nowhere(x, energy, call, reason)
    norm = float(coordinates.longest(walk.here.force))
    converged = reached is not None or norm < fmax
    if reached is not None:
        reason = f"it is in the basin of the {reached} state"
    elif converged:
        reason = f"largest force {norm:.2g} eV/Å, below {fmax:g}"
    elif not reason:
        reason = f"{MAX_REFUSED} steps in a row did not lower the energy"
    return Descent(walk.here.x, energy_of(walk.here), norm, call.calls, converged, reached, reason)


def _nowhere(x: NDArray[np.float64], energy: float | None, call: Counted, reason: str) -> Descent:
    unknown = float("nan")
    return Descent(x, unknown if energy is None else energy, unknown, call.calls, False, None, reason)


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
        if energy is None or value < energy:
            return Evaluation(there, without_rigid(force, there, coordinates), value)
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
    its energy is that of a harmonic basin around the end point: ``E - E_end`` agrees within a third (and 5 meV) with
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
        Å, of the atom that is farthest from its place; at most 0.4 times the same distance between the end points.
    energy_tolerance
        eV.
    fmax
        Largest force on an atom in a minimum, eV/Å.
    max_evaluations
        Budget of both walks together.

    Raises
    ------
    InputError
        When both end points are the same.
    """
    initial_x, final_x = np.asarray(initial_x, dtype=float), np.asarray(final_x, dtype=float)
    apart = float(coordinates.longest(displacement(coordinates, initial_x, final_x)))
    if apart < 1e-3:
        raise InputError(f"the end points differ by {apart:.1g} Å only; give two different ones")
    tolerance = min(tolerance, 0.4 * apart)
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
        if down.converged and down.reached is None:
            down = replace(down, reached=_identified(call, coordinates, down, ends, tolerance, energy_tolerance))
        descents.append(down)
    connected = {down.reached for down in descents} == {"initial", "final"}
    message = "the saddle connects the initial and the final state"
    if not connected:
        message = _complaint(coordinates, saddle.energy, descents, ends)
    return Connection(descents[0], descents[1], connected, call.calls, message)


def _energy_of(end: _End, call: Counted) -> float:
    if end.energy is None:
        end.energy = call(end.x)[0]
    return end.energy


def _in_basin(call: Counted, coordinates: Coordinates, here: Evaluation, end: _End, tolerance: float) -> bool:
    """Whether `here` is close to the end point on the same harmonic slope."""
    left = displacement(coordinates, here.x, end.x)
    if coordinates.longest(left) > tolerance:
        return False
    work, above = 0.5 * float(here.force @ left), energy_of(here) - _energy_of(end, call)
    return abs(work - above) < abs(above) / 3.0 + 0.005


def _identified(
    call: Counted,
    coordinates: Coordinates,
    down: Descent,
    ends: tuple[_End, _End],
    tolerance: float,
    energy_tolerance: float,
) -> Name | None:
    """The end point that a minimum is."""
    for end in ends:
        if coordinates.longest(displacement(coordinates, down.x, end.x)) <= tolerance:
            try:
                energy = _energy_of(end, call)
            except BudgetSpent:
                return None
            if abs(down.energy - energy) < energy_tolerance:
                return end.name
    return None


def _complaint(coordinates: Coordinates, top: float, descents: list[Descent], ends: tuple[_End, _End]) -> str:
    """Which end is not reached and what was found instead, in one sentence."""
    reached = [down.reached for down in descents]
    if None not in reached:
        other = "initial" if reached[0] == "final" else "final"
        return f"the {other} state is not reached: both sides of the saddle lead to the {reached[0]} state"
    missing = [end for end in ends if end.name not in reached]
    names = " and the ".join(end.name for end in missing)
    verb = "is" if len(missing) == 1 else "are"
    found = "; ".join(_found(coordinates, top, down, missing) for down in descents if down.reached is None)
    return f"the {names} state {verb} not reached: downhill from the saddle lies {found}"


def _found(coordinates: Coordinates, top: float, down: Descent, missing: list[_End]) -> str:
    """What a descent ended in, as seen from the end points that are missing."""
    parts = []
    for end in missing:
        distance = float(coordinates.longest(displacement(coordinates, down.x, end.x)))
        part = f"{distance:.2f} Å from the {end.name} state" + _likeness(coordinates, down.x, end.x)
        if end.energy is not None:
            part += f" and {down.energy - end.energy:+.3f} eV against it"
        parts.append(part)
    what = "another minimum" if down.converged else f"no minimum yet ({down.reason}) but a point"
    return f"{what} {', '.join(parts)}, {down.energy - top:+.3f} eV against the saddle"


def _likeness(coordinates: Coordinates, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """How a molecule may be the same and yet not the same: its distances tell."""
    if not coordinates.rigid:
        return ""
    numbers = coordinates.template.numbers
    i, j = np.triu_indices(len(numbers), 1)
    a, b = (np.linalg.norm(r[i] - r[j], axis=1) for r in map(coordinates.positions, (x, y)))
    if np.abs(a - b).max() < SAME_DISTANCE:
        return " (its mirror image)"
    pair = np.sort(np.column_stack([numbers[i], numbers[j]]), axis=1) @ np.array([1000, 1])
    if np.abs(a[np.lexsort((a, pair))] - b[np.lexsort((b, pair))]).max() < SAME_DISTANCE:
        return " (the same but for equal atoms exchanged)"
    return ""
