"""What the path finder knows: observations, its band, and how well it has predicted so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.neb.path_result import Lesson

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import State
    from sciopt.core.space import Space
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.surrogate_model import PathModel
    from sciopt.surrogate.data import Observations

__all__ = ["Memory", "calibration", "observed", "prediction_quality", "taken", "taken_back"]

# Chosen on the problems marked `tuned`.
_ENERGY_NOISE, _FORCE_NOISE = 1e-3, 1e-3  # eV and eV/Å: what electronic-structure codes converge to
_STEEP, _CLASH = 10.0, 40.0  # eV/Å: forces that are believed less, and those of atoms inside each other
_DOUBT = (0.01, 0.03)  # of such a force, its standard error
_BAD, _GOOD = (0.4, 2.0), (0.15, 1.0)  # eV and eV/Å of error that shrink the trust region, and let it grow
_FAR_ABOVE = 0.6  # eV of error of an energy that takes the band back
_KEEP_RATIOS = 6
_NOISY_FACTOR = 2.0
# Of what an audit allows: an error that needs no audit of its own.
_CLEARLY = 0.5
# Of the tolerance: an error that an audit always allows.
_SLACK = 0.4


class Memory(NamedTuple):
    """What the finder knows and intends.

    Attributes
    ----------
    data
        Every observation, both ends among them.
    length, variance
        Hyperparameters of the last fit.
    X
        (M+2, n) the band, ends included, Å.
    picks, why
        Images (from 0) that the trial consists of, and why each was chosen.
    energies, forces, deviations
        (b,), (b, n) and (b,) what the surrogate expects at the trial: energies, forces, and the standard deviation of
        the force on an atom.
    climbing, climbed
        The climbing image or None, and whether it was allowed to climb.
    top
        (n,) where a climbing image was evaluated with a force below the tolerance, or None.
    settled
        Whether the band is near enough to climb from the start of a relaxation.
    ratios
        The last true errors of the force in units of the standard deviation.
    audits
        1 when the last audit of the certificate was passed, 0 otherwise.
    spread, bound
        Largest standard deviation of the energy (eV), and largest force that cannot be excluded (eV/Å; infinite
        where it was not asked for), over the images.
    pinched
        Evaluations in a row with the trust region at its smallest.
    frozen
        Whether the band stands still while its images are evaluated one by one for the strict certificate.
    escapes
        How often the band was sent on from a place where it should not be at rest.
    claim
        What is certified: empty, ``"saddle"``, ``"band"`` or ``"strict"``.
    before
        (M+2, n) the band before it was last relaxed on the surrogate, Å.
    lessons
        What was expected of every evaluation, and what came.
    """

    data: Observations
    length: float
    variance: float
    X: Array
    picks: tuple[int, ...]
    why: tuple[str, ...]
    energies: Array
    forces: Array
    deviations: Array
    climbing: int | None = None
    climbed: bool = False
    top: Array | None = None
    settled: bool = False
    ratios: tuple[float, ...] = ()
    audits: int = 0
    spread: float = np.inf
    bound: float = np.inf
    pinched: int = 0
    frozen: bool = False
    escapes: int = 0
    claim: str = ""
    before: Array | None = None
    lessons: tuple[Lesson, ...] = ()


def observed(
    data: Observations, x: Array, energy: float, force: Array, coordinates: Coordinates, noise: float
) -> Observations:
    """`data` and one more answer, believed as far as its force allows; `noise` is that of a force component, eV/Å."""
    steep = float(coordinates.longest(force))
    sigma = float(np.hypot(_FORCE_NOISE, noise))
    # Atoms inside each other say little about the rest of the energy, and their forces are huge.
    doubt = max(1.0, _DOUBT[int(steep > _CLASH)] * steep / sigma) if steep > _STEEP else 1.0
    return data.add(x, energy, force, doubt * float(np.hypot(_ENERGY_NOISE, 0.1 * noise)), doubt * sigma)


def taken(memory: Memory, ev: Evaluation, trust: float, model: PathModel, fmax: float, noise: float) -> Memory:
    """Learn from the answers to the last trial, and from how well they were predicted."""
    data, ratios, audits, top, lessons = memory.data, memory.ratios, memory.audits, memory.top, memory.lessons
    X = memory.X.copy()
    coordinates, factor = model.coordinates, calibration(memory.ratios, model.caution, noise)
    passed: list[bool] = []
    for k, (image, why) in enumerate(zip(memory.picks, memory.why, strict=True)):
        x, energy, force = ev.info["X"][k], float(ev.info["energies"][k]), ev.info["forces"][k]
        # The same configuration has the same answer, noise included: it counts once.
        if not (data.X == x).all(axis=1).any():
            data = observed(data, x, energy, force, coordinates, noise)
        moved = not np.array_equal(x, X[image + 1])
        X[image + 1] = x
        error, deviation = float(coordinates.longest(force - memory.forces[k])), float(memory.deviations[k])
        expected, signal = float(memory.energies[k]), float(memory.variance**0.5)
        lesson = Lesson(
            len(lessons) + 1,
            image + 1,
            why,
            x,
            expected,
            energy,
            error,
            deviation,
            trust,
            memory.length,
            signal,
            memory.bound,
        )
        lessons = (*lessons, lesson)
        if why in ("climbing", "force", "audit") and np.isfinite(error) and not moved:
            ratios = (*ratios, error / max(deviation, 1e-6))[-_KEEP_RATIOS:]
        allowed = max(factor * deviation, _SLACK * fmax)
        if noise > 0.0:
            # Noisy errors audit nothing.
            passed.append(why == "audit")
        elif why == "audit":
            passed.append(error < allowed)
        elif why == "force":
            # A question asked for another reason is an audit as well when it was answered well enough.
            passed.append(error < _CLEARLY * allowed)
        if image == memory.climbing and memory.climbed and noise == 0.0 and float(coordinates.longest(force)) < fmax:
            top = x
    if passed:
        audits = int(all(passed))
    return memory._replace(data=data, ratios=ratios, audits=audits, top=top, X=X, lessons=lessons)


def taken_back(memory: Memory, energies: Array) -> Memory:
    """Back to the band before it was last relaxed, where some of the answers' `energies` (b,) are far above (eV).

    The surrogate has led the band astray, up a wall or towards another reaction: it goes on from where it was, and
    knows better. An answer below what was expected is no wall, and one that had to be asked for elsewhere, because the
    calculation failed, says that the band has to leave. A band whose saddle is known stays.
    """
    above = energies - memory.energies > _FAR_ABOVE
    if memory.top is not None or memory.before is None or not above.any():
        return memory
    return memory._replace(X=memory.before)


def calibration(ratios: tuple[float, ...], least: float, noise: float = 0.0) -> float:
    """By how much deviations of forces are multiplied: the second largest of the last errors in their units.

    At least `least`. With noisy forces errors do not tell, and it is 2.

    Examples
    --------
    >>> calibration((0.4, 2.9, 2.5, 0.3), 2.0)
    2.5
    """
    if noise > 0.0:
        return _NOISY_FACTOR
    if not ratios:
        return least
    ordered = sorted(ratios)
    return float(max(ordered[-1] if len(ordered) < 3 else ordered[-2], least))


def prediction_quality(state: State, ev: Evaluation, space: Space) -> float:
    """Opinion on the trust region: how well energies (eV) and forces (eV/Å) of the last trial were predicted."""
    memory = state.memory
    energy = np.abs(ev.info["energies"] - memory.energies)
    force = np.asarray(space.length((ev.info["forces"] - memory.forces).ravel()))
    # A trial that was moved because it failed was not predicted at all.
    lost = ~np.isfinite(energy)
    if (
        lost.any()
        or np.any((energy > _BAD[0]) & (force > _BAD[1]))
        or np.any(np.asarray(space.length(ev.info["forces"].ravel())) > _CLASH)
    ):
        return -1.0
    return 1.0 if np.all((energy <= _GOOD[0]) & (force <= _GOOD[1])) else 0.0
