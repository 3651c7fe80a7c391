"""What a path search found, said honestly."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.io import write

from sciopt.neb.run_folder import single_point
from sciopt.run_files import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ase import Atoms
    from matplotlib.axes import Axes

    from sciopt.core.history import History
    from sciopt.core.types import Array
    from sciopt.neb.connect import Connection
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.saddle import Saddle

__all__ = ["Lesson", "PathResult", "SaddleCheck"]


class Lesson(NamedTuple):
    """What a surrogate expected of one evaluation, and what it got.

    Attributes
    ----------
    evaluation
        Number of the evaluation, from 1.
    image
        Which image it was (from 1 among the movable ones).
    why
        Why it was asked for: seed, trust, energy, climbing, force, audit, strict.
    x
        (n,) where, Å.
    expected, energy
        Energy the surrogate expected (NaN where it had not been asked) and the true one, eV.
    force_error, force_deviation
        Largest error of the expected force on an atom, and its standard deviation, eV/Å.
    trust
        Trust radius it was chosen under.
    length, deviation
        Length scale and standard deviation of the surrogate's prior.
    bound
        Largest band force that could not be excluded, eV/Å; infinite where that was not the question yet.
    """

    evaluation: int
    image: int
    why: str
    x: Array
    expected: float
    energy: float
    force_error: float
    force_deviation: float
    trust: float
    length: float
    deviation: float
    bound: float


@dataclass(frozen=True, eq=False)
class PathResult:
    """A reaction path.

    Attributes
    ----------
    coordinates
        The free coordinates.
    X
        (M+2, n) the path, ends included, Å.
    absolute_energies
        (M+2,) as calculated, eV.
    forces
        (M+2, n) true forces, eV/Å.
    tangents
        (M, n) unit tangents of the movable images.
    fmax
        Largest band force on an atom over all images (true forces), eV/Å.
    fmax_climbing
        Largest true force on an atom of the climbing image; NaN where no image climbs.
    climbing
        The climbing image (from 0 among the movable), or None when the path has no interior maximum.
    barrier_error
        Estimated error of `barrier`, eV: what the remaining forces could still change, by the curvature model, plus
        what the spacing of the images hides where nothing climbs.
    converged, reason
        Whether what was asked for holds, and the sentence that says why the search stopped.
    calls
        Calculator calls: ``images`` (movable images), ``endpoints``, ``relax``, ``check``.
    method
        The method that ran, and with which options.
    check
        What was verified about the saddle: its order, and the ends it connects. None if that was not asked for.
    history
        One record per band point.
    parameters, wall_seconds, overhead_seconds
        Full parameters and timing.
    energy_errors, force_errors
        (M+2,) standard errors of energies (eV) and of the force on an atom (eV/Å) where the surrogate answers for an
        image, zero where it was evaluated; None without a surrogate.
    lessons
        One per evaluation a surrogate learned from.
    rival
        (M+2, n) another path that the surrogate suspects to be lower, to be started with ``path=result.rival``; None
        where there is none.
    surrogate
        ``X (B, n) -> energies (B,), standard errors (B,)``, eV: what was learned, where it has not been forgotten.
    """

    coordinates: Coordinates
    X: Array
    absolute_energies: Array
    forces: Array
    tangents: Array
    fmax: float
    fmax_climbing: float
    climbing: int | None
    barrier_error: float
    converged: bool
    reason: str
    calls: Mapping[str, int]
    method: str
    history: History
    check: SaddleCheck | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    wall_seconds: float = 0.0
    overhead_seconds: float = 0.0
    energy_errors: Array | None = None
    force_errors: Array | None = None
    lessons: tuple[Lesson, ...] = ()
    rival: Array | None = None
    surrogate: Callable[[Array], tuple[Array, Array]] | None = None

    @property
    def energies(self) -> Array:
        """(M+2,) relative to the initial configuration, eV."""
        return self.absolute_energies - self.absolute_energies[0]

    @property
    def top(self) -> int:
        """Image of the barrier (from 0, ends included): the verified saddle, otherwise the highest image.

        Where only the saddle was converged, images beside it may still be higher than it is.
        """
        if self.climbing is not None and self.check is not None and self.check.passed:
            return self.climbing + 1
        return int(np.argmax(self.absolute_energies))

    @property
    def barrier(self) -> float:
        """Energy of the saddle, or of the highest image, relative to the initial configuration, eV."""
        return float(self.energies[self.top])

    @property
    def barrier_reverse(self) -> float:
        """Energy of the saddle, or of the highest image, relative to the final configuration, eV."""
        return float(self.energies[self.top] - self.energies[-1])

    @property
    def reaction_energy(self) -> float:
        """Energy of the final relative to the initial configuration, eV."""
        return float(self.energies[-1])

    @property
    def images(self) -> list[Atoms]:
        """The path as Atoms with energies and forces attached, ends included.

        With a surrogate, their `info` tells whether they were ``evaluated``, the ``energy_error`` (eV) and the
        ``force_error`` (eV/Å).
        """
        rows = zip(self.X, self.absolute_energies, self.forces, strict=True)
        images = [single_point(self.coordinates, x, energy, force) for x, energy, force in rows]
        if self.energy_errors is not None and self.force_errors is not None:
            for atoms, energy, force in zip(images, self.energy_errors, self.force_errors, strict=True):
                errors = {"evaluated": bool(energy == 0.0), "energy_error": float(energy), "force_error": float(force)}
                atoms.info.update(errors)
        return images

    @property
    def saddle(self) -> Atoms | None:
        """The climbing image with its energy and forces, or None when no image climbs."""
        return None if self.climbing is None else self.images[self.climbing + 1]

    @property
    def distances(self) -> Array:
        """(M+2,) length along the path up to each image, Å."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.X, axis=0), axis=1))])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the energy profile: spline, images, slopes, saddle. Returns the matplotlib axes."""
        from sciopt.neb.plot import plot_profile

        return plot_profile(self, ax)

    def write(self, file: str | Path, **options: Any) -> None:
        """Write the path with any writer of ASE, chosen by the file's ending (`.extxyz`, `.traj`, `.xyz`…)."""
        write(str(file), self.images, **options)

    def summary(self) -> dict[str, Any]:
        """Everything worth keeping as plain data; what `summary.json` holds."""
        content = {
            "versions": versions(),
            "parameters": dict(self.parameters),
            "seed": self.parameters.get("seed"),
            "method": self.method,
            "converged": self.converged,
            "reason": self.reason,
            "calls": dict(self.calls),
            "wall_seconds": self.wall_seconds,
            "overhead_seconds": self.overhead_seconds,
            "barrier": self.barrier,
            "barrier_reverse": self.barrier_reverse,
            "barrier_error": self.barrier_error,
            "reaction_energy": self.reaction_energy,
            "energies": self.energies.tolist(),
            "fmax": self.fmax,
            "fmax_climbing": None if np.isnan(self.fmax_climbing) else self.fmax_climbing,
            "images": len(self.X) - 2,
        }
        if self.energy_errors is not None and self.force_errors is not None:
            content["energy_errors"] = self.energy_errors.tolist()
            content["force_errors"] = self.force_errors.tolist()
        content["sciopt"] = content["versions"].get("sciopt")
        if self.check is not None:
            content["saddle"] = self.check.summary()
        return content


@dataclass(frozen=True, eq=False)
class SaddleCheck:
    """What was verified about a saddle point.

    Attributes
    ----------
    saddle
        The stationary point with the lowest curvatures, measured by finite differences.
    connection
        Where the walks downhill ended; None when the order was already wrong.
    """

    saddle: Saddle
    connection: Connection | None

    @property
    def passed(self) -> bool:
        """One negative mode, and both ends are reached."""
        return (
            self.saddle.measured
            and self.saddle.order == 1
            and self.connection is not None
            and self.connection.connected
        )

    @property
    def message(self) -> str:
        """One sentence for people."""
        if not self.saddle.measured:
            return f"the saddle could not be verified: {self.saddle.reason}"
        if self.saddle.order != 1:
            return f"the saddle has {self.saddle.order} negative modes, expected 1"
        if self.connection is None:
            return "the saddle has one negative mode; its connection was not checked"
        if not self.connection.connected:
            return self.connection.message
        return "the saddle has one negative mode and connects both ends"

    def summary(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "passed": self.passed,
            "message": self.message,
            "order": self.saddle.order,
            "curvatures": self.saddle.eigenvalues.tolist(),
            "fmax": self.saddle.force_norm,
        }
