"""Saddle points: a mode-following search that ends with a measured count of negative modes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import EvaluationFailed, NotFinite
from sciopt.core.evaluation import Evaluation
from sciopt.neb.modes import BudgetSpent, Counted, finite_difference_hessian, lowest_modes, nonrigid, rigid_motion
from sciopt.neb.restricted import (
    Walk,
    checked_matrix,
    checked_vector,
    energy_of,
    guessed_hessian,
    patched_hessian,
    stride,
    trust_radius,
    unit_direction,
    without_rigid,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import sparray

    from sciopt.core.control import Adaptive
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.modes import Evaluate, Modes

__all__ = ["Saddle", "finite_difference_hessian", "lowest_modes", "refine_saddle"]

logger = logging.getLogger("sciopt")

# Up to this many coordinates a stalled search pays for a whole Hessian; beyond, for its lowest modes only.
DENSE = 60
# Evaluations without the force falling by a fifth, refused steps in a row, and remedies tried before giving up.
PATIENCE = 15
MAX_REFUSED = 5
MAX_MEASUREMENTS = 4
FAILURES = (BudgetSpent, EvaluationFailed, NotFinite)
# Steps in a row along a mode that the model calls convex, before asking the true forces. Leaving a basin takes some.
CONVEX = 3
# Overlap from which an eigenvector counts as the mode that was asked for.
LIKE = 0.3


@dataclass(frozen=True, eq=False)
class Saddle:
    """The end of a saddle search.

    Attributes
    ----------
    x
        (n,) free coordinates, Å.
    energy
        eV.
    force_norm
        Largest force on an atom, free of rigid motion, eV/Å.
    eigenvalues
        (k,) lowest eigenvalues of the Hessian, ascending, without rigid motions, eV/Å².
    mode
        (n,) unit eigenvector of the followed mode.
    order
        Number of eigenvalues below minus the threshold (0.02 eV/Å² unless said otherwise); 1 for a transition state.
        Counted until the first eigenvalue that is not negative.
    evaluations
        Evaluations spent, all of them.
    converged
        Whether the forces are small *and* the order is 1.
    reason
        One sentence: why the search ended.
    measured
        Whether eigenvalues and order come from differences of true forces at `x`; otherwise they are those of the
        model Hessian and prove nothing.
    hessian
        (n, n) model Hessian at the end, eV/Å²: a start for a descent.
    """

    x: NDArray[np.float64]
    energy: float
    force_norm: float
    eigenvalues: NDArray[np.float64]
    mode: NDArray[np.float64]
    order: int
    evaluations: int
    converged: bool
    reason: str
    measured: bool
    hessian: NDArray[np.float64] = field(repr=False)


def refine_saddle(
    evaluate: Evaluate,
    x: NDArray[np.float64],
    coordinates: Coordinates,
    mode: NDArray[np.float64] | None = None,
    hessian: NDArray[np.float64] | sparray | None = None,
    fmax: float = 1e-3,
    max_evaluations: int = 500,
    *,
    known: tuple[float, NDArray[np.float64]] | None = None,
    radius: float = 0.1,
    max_radius: float = 0.3,
    threshold: float = 0.02,
    check: bool = True,
) -> Saddle:
    """Walk uphill along one mode and downhill along all others until the forces vanish.

    Restricted steps on the image of a quadratic model (`sciopt.neb.restricted.restricted_step`); TS-BFGS updates of the
    Hessian; the eigenvector that overlaps most with the one followed before is followed. Curvature is measured (a few
    Hessian-vector products) at the start when the given Hessian has no negative mode like the given one, and again
    when the followed mode turns positive or the forces stall: then the whole Hessian by finite differences for up to
    60 coordinates. Where the forces have vanished, the order of the stationary point is measured.

    Parameters
    ----------
    evaluate
        (n,) Å to (eV, (n,) eV/Å).
    x
        (n,) start, Å.
    coordinates
        The free coordinates.
    mode
        (n,) direction to follow uphill, such as the path tangent; None takes the softest mode.
    hessian
        (n, n) initial Hessian, dense or sparse, eV/Å²: measured, or learned by the image of a band, or a model
        (`sciopt.neb.model_hessian.model_hessian` where None).
    fmax
        Convergence: largest force on an atom, eV/Å.
    max_evaluations
        Budget, everything included.
    known
        Energy and force at `x`, when they have been paid for.
    radius, max_radius
        First and largest trust radius, Å of the atom that moves farthest.
    threshold
        An eigenvalue counts as negative below ``-threshold``, eV/Å².
    check
        Measure the order at the end. Without it, it is that of the model Hessian.

    Raises
    ------
    ShapeError
        When `x`, `mode` or `hessian` do not fit the coordinates.
    InputError
        When `mode` is zero or a rigid motion.
    EvaluationFailed, NotFinite
        When the start itself cannot be evaluated. Failures later on shorten the step or end the search.

    References
    ----------
    C. J. Cerjan and W. H. Miller 1981, doi 10.1063/1.442352; T. Helgaker 1991, doi 10.1016/0009-2614(91)90115-P;
    E. D. Hermes et al. 2022, doi 10.1021/acs.jctc.2c00395.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> def double_well(x):
    ...     return (x[0] ** 2 - 1) ** 2 + x[1:] @ x[1:], -np.array([4 * x[0] * (x[0] ** 2 - 1), 2 * x[1], 2 * x[2]])
    >>> saddle = refine_saddle(double_well, np.array([0.2, 0.1, 0.0]), Coordinates.of(Atoms("H")))
    >>> saddle.order, round(saddle.energy, 6), saddle.converged
    (1, 1.0, True)
    """
    x = checked_vector(x, coordinates, "x")
    if mode is not None:
        mode = unit_direction(mode, x, coordinates)
    call = Counted(evaluate, max_evaluations)
    energy, force = (
        call(x) if known is None else (float(known[0]), checked_vector(known[1], coordinates, "the known force"))
    )
    control = trust_radius(radius, max_radius)
    hessian = checked_matrix(guessed_hessian(coordinates, x) if hessian is None else hessian, coordinates)
    walk = Walk(Evaluation(x, without_rigid(force, x, coordinates), energy), hessian, control.start(), mode)
    try:
        walk = _picked(walk, coordinates, threshold) or _measured(walk, call, coordinates, threshold, exact=False)
    except FAILURES as failure:
        return _conclude(walk, call, coordinates, _failed(failure, call), fmax, threshold, check=False)
    walk, reason = _follow(walk, call, coordinates, control, fmax, threshold)
    return _conclude(walk, call, coordinates, reason, fmax, threshold, check)


def _follow(
    walk: Walk, call: Counted, coordinates: Coordinates, control: Adaptive, fmax: float, threshold: float
) -> tuple[Walk, str]:
    """Stride until the forces vanish, measuring curvature whenever the model has proved wrong."""
    best, since, uphill, measurements = np.inf, 0, 0, 0
    try:
        while (norm := float(coordinates.longest(walk.here.force))) >= fmax:
            if norm < 0.8 * best:
                best, since = norm, 0
            lost = uphill >= CONVEX
            if lost or since >= PATIENCE or walk.refused >= MAX_REFUSED:
                if measurements == MAX_MEASUREMENTS:
                    return walk, f"the force stays at {norm:.3g} eV/Å although the curvature was measured anew"
                logger.info("saddle search: %s, measuring the curvature", "mode lost" if lost else "stalled")
                exact = not lost and walk.here.x.size <= DENSE
                walk = _measured(walk, call, coordinates, threshold, exact)
                walk = replace(walk, limit=control.start(), refused=0, curvature=0.0)
                best, since, uphill, measurements = norm, 0, 0, measurements + 1
            walk = stride(walk, call, coordinates, control, monotone=False)
            since += 1
            uphill = uphill + 1 if walk.curvature > 0.0 else 0
            logger.debug("saddle search: %d evaluations, force %.4f eV/Å", call.calls, norm)
    except FAILURES as failure:
        return walk, _failed(failure, call)
    return walk, ""


def _picked(walk: Walk, coordinates: Coordinates, threshold: float) -> Walk | None:
    """Follow the negative mode of the model most like the one followed so far; None if there is none like it."""
    values, vectors = nonrigid(walk.hessian, rigid_motion(coordinates, walk.here.x)).eigen
    vectors = vectors[:, values < -threshold]
    if vectors.shape[1] == 0:
        return None
    if walk.mode is None:
        return replace(walk, mode=vectors[:, 0])
    overlaps = walk.mode @ vectors
    k = int(np.abs(overlaps).argmax())
    if abs(overlaps[k]) < LIKE:
        return None
    return replace(walk, mode=vectors[:, k] * np.copysign(1.0, overlaps[k]))


def _measured(walk: Walk, call: Counted, coordinates: Coordinates, threshold: float, exact: bool) -> Walk:
    """Put true curvature into the model: all of it, or that of the softest mode; then choose the mode to follow."""
    x, force = walk.here.x, walk.here.force
    if exact:
        walk = replace(walk, hessian=finite_difference_hessian(call, x, 0.005, central=False, force0=force))
    else:
        modes = lowest_modes(
            call, x, coordinates, force0=force, start=walk.mode, preconditioner=walk.hessian, rtol=0.3, atol=0.1
        )
        walk = replace(walk, hessian=patched_hessian(walk.hessian, modes.basis, modes.products))
    picked = _picked(walk, coordinates, threshold)
    if picked is not None:
        return picked
    lowest = nonrigid(walk.hessian, rigid_motion(coordinates, x)).eigen[1][:, 0]
    return replace(walk, mode=lowest)


def _conclude(
    walk: Walk, call: Counted, coordinates: Coordinates, reason: str, fmax: float, threshold: float, check: bool
) -> Saddle:
    """Measure the order where the forces vanish, and say what was found."""
    x, mode = walk.here.x, walk.mode
    norm = float(coordinates.longest(walk.here.force))
    rigid = rigid_motion(coordinates, x)
    modes = None
    if check and norm < fmax:
        try:
            modes = _order(walk, call, coordinates, threshold)
        except FAILURES as failure:
            reason = f"the forces vanish, but the negative modes were not counted: {_failed(failure, call)}"
    hessian = walk.hessian if modes is None else patched_hessian(walk.hessian, modes.basis, modes.products)
    model = nonrigid(hessian, rigid)
    dims = x.size - rigid.shape[1]
    values, vectors = (v[..., : min(dims, 3)] for v in model.eigen)
    measured = False
    if modes is not None:
        values, vectors, measured = modes.values, modes.vectors, True
    order = int(np.count_nonzero(values < -threshold))
    overlaps = np.zeros(len(values)) if mode is None else mode @ vectors
    k = int(np.abs(overlaps[: max(order, 1)]).argmax())
    mode = vectors[:, k] * np.copysign(1.0, overlaps[k])
    if not reason:
        reason = _verdict(norm, fmax, order, float(values[0]), measured)
    stiff = hessian - rigid @ (rigid.T @ hessian)
    return Saddle(
        x=x,
        energy=energy_of(walk.here),
        force_norm=norm,
        eigenvalues=values,
        mode=mode,
        order=order,
        evaluations=call.calls,
        converged=norm < fmax and order == 1 and (measured or not check),
        reason=reason,
        measured=measured,
        hessian=stiff - (stiff @ rigid) @ rigid.T,
    )


def _order(walk: Walk, call: Counted, coordinates: Coordinates, threshold: float) -> Modes:
    """Lowest modes at a stationary point, until the first that is not negative."""
    x = walk.here.x
    dims = x.size - rigid_motion(coordinates, x).shape[1]
    start, count = walk.mode, min(2, dims)
    while True:
        modes = lowest_modes(
            call,
            x,
            coordinates,
            count,
            force0=walk.here.force,
            start=start,
            preconditioner=walk.hessian,
            atol=threshold,
        )
        if not modes.converged:
            raise BudgetSpent
        modes = replace(modes, values=_sharpened(modes, call, x, coordinates, 10.0 * threshold))
        if count == dims or modes.values.max() >= -threshold:
            return modes
        start, count = modes.vectors, count + 1


def _sharpened(
    modes: Modes, call: Counted, x: NDArray[np.float64], coordinates: Coordinates, small: float
) -> NDArray[np.float64]:
    """The eigenvalues, those below `small` by central differences.

    Forward differences err by the anharmonicity times the step, and here the sign hangs on it.
    """
    values = modes.values.copy()
    for i in np.flatnonzero(np.abs(values) < small):
        v = modes.vectors[:, i]
        h = 0.01 / float(coordinates.longest(v))
        values[i] = v @ (call(x - h * v)[1] - call(x + h * v)[1]) / (2.0 * h)
    return values


def _verdict(norm: float, fmax: float, order: int, lowest: float, measured: bool) -> str:
    kinds = {0: "no negative mode: a minimum", 1: f"one negative mode of {lowest:.3g} eV/Å²"}
    kind = kinds.get(order, f"{order} negative modes: not a transition state")
    doubt = "" if measured else " (by the model Hessian, not measured)"
    return f"largest force {norm:.2g} eV/Å, below {fmax:g}; {kind}{doubt}"


def _failed(failure: Exception, call: Counted) -> str:
    if isinstance(failure, BudgetSpent):
        return f"the budget of {call.limit} evaluations is spent"
    return f"a point close by, needed to measure the curvature, could not be evaluated: {failure}"
