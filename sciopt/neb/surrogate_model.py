"""The Gaussian process of a path: which features, which priors, and how far its word is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sciopt.neb.geodesic import Pairs
from sciopt.surrogate.features import Cartesian, InverseDistances
from sciopt.surrogate.process import GaussianProcess

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.features import Features

__all__ = ["Learner", "PathModel", "Surrogate", "path_features", "path_model"]

_CUTOFF = 6.0  # Å; farther pairs tell a surface nothing that nearer ones do not
# Chosen on the problems marked `tuned`.
# A rougher kernel, less sure of itself, explores; a smoother one predicts better where data are near.
_ROUGH, _SMOOTH = "matern52", "matern72"
_MOLECULE: dict[str, dict[str, Any]] = {
    _ROUGH: {"length": 0.9, "lengths": (0.2, 1.25)},
    _SMOOTH: {"length": 0.8, "lengths": (0.2, 1.1)},
}
_SOLID: dict[str, dict[str, Any]] = {  # 1/Å
    _ROUGH: {"length": 0.5, "lengths": (0.15, 0.95)},
    _SMOOTH: {"length": 0.45, "lengths": (0.15, 0.85)},
}
_CARTESIAN: dict[str, dict[str, Any]] = {  # Å
    _ROUGH: {"length": 0.7, "lengths": (0.1, 4.0)},
    _SMOOTH: {"length": 0.6, "lengths": (0.1, 3.0)},
}
# Factors on the deviations of forces; deviations in a fixed metric are the smaller ones.
_CAUTION = (2.0, 2.5)
_TRUST, _TRUST_SOLID, _TRUST_CARTESIAN = 0.6, 0.35, 0.5  # Å
_STRETCH = 0.3  # in the logarithm of a distance
_CONTACT = 1.05  # pairs up to this many times the shortest distance count in full


class Surrogate(Protocol):
    """What stands for the calculator after some observations; `sciopt.surrogate.Posterior` says more."""

    @property
    def process(self) -> Any:
        """The `Learner` it came from."""

    @property
    def data(self) -> Observations:
        """The observations."""

    @property
    def length(self) -> float:
        """Length scale."""

    @property
    def variance(self) -> float:
        """Signal variance, eV²."""

    def predict(self, X: Array) -> tuple[Array, Array]:
        """Energies (B,) and forces (B, n) at X (B, n)."""

    def energy_deviations(self, X: Array) -> Array:
        """(B,) eV."""

    def force_deviations(self, X: Array, without: Array | None = None) -> Array:
        """(B, n) eV/Å, across the unit vectors `without` (B, n)."""

    def left_out(self, index: int) -> tuple[Array, Array]:
        """(n,) errors of the force at an observation that all others predict, and (n,) their deviations, eV/Å."""

    def hessian(self, x: Array) -> Array:
        """(n, n) eV/Å²."""


class Learner(Protocol):
    """What makes a `Surrogate` of observations: a Gaussian process, or one that corrects a prior."""

    @property
    def features(self) -> Features:
        """What it sees of a configuration."""

    def fit(
        self,
        data: Observations,
        previous: Any = None,
        optimize: bool = True,
        start: tuple[float, float] | None = None,
    ) -> Surrogate:
        """The surrogate given `data`, continued from a `previous` one."""


@dataclass(frozen=True, eq=False)
class PathModel:
    """The prior of a path's energy, and the region around its data in which it is believed.

    Parameters
    ----------
    process
        The Gaussian process.
    smooth
        The one that takes over once a saddle is known.
    coordinates
        The free coordinates.
    radius
        Longest displacement of an atom from the nearest datum, Å, at a trust of 1.
    stretch
        Largest change of the logarithm of a distance from the nearest datum, at a trust of 1; infinite where the
        features are no distances of a molecule.
    caution
        Least factor on the deviations of forces in certificates.
    """

    process: Learner
    smooth: Learner
    coordinates: Coordinates
    radius: float
    stretch: float
    caution: float = 2.0

    def distances(self, X: Array, data: Array) -> Array:
        """(B, N) largest displacement of an atom between configurations X (B, n) and data (N, n), Å."""
        return self.coordinates.longest(X[:, None] - data[None])

    def reach(self, X: Array, data: Array) -> Array:
        """(B,) how far X (B, n) is from the nearest of the data (N, n), in units of the trust region at trust 1."""
        ratio = self.distances(X, data).min(axis=1) / self.radius
        if np.isfinite(self.stretch):
            features = self.process.features
            logs, known = np.log(features.at(X).phi), np.log(features.at(data).phi)
            change = np.abs(logs[:, None] - known[None]).max(axis=2).min(axis=1)
            ratio = np.maximum(ratio, change / self.stretch)
        return ratio


def path_features(coordinates: Coordinates, initial: Array, final: Array, weighted: bool = False) -> Features:
    """Inverse distances between all pairs that matter on a path, or the coordinates where there are no pairs.

    Parameters
    ----------
    coordinates
        The free coordinates.
    initial, final
        (n,) the ends, Å.
    weighted
        Whether pairs that never come close count less: times ``min(1, (1.05 r_min / r)^2)`` with r the shortest
        distance of the pair at the ends, and r_min the shortest of all.
    """
    pairs = Pairs.along(initial, final, coordinates, None if coordinates.rigid else _CUTOFF)
    if not len(pairs):
        return Cartesian(coordinates.size)
    moving = coordinates.moving
    place = np.full(len(coordinates.template), -1)
    place[moving] = np.arange(len(moving))
    second = place[pairs.second]
    positions = coordinates.template.positions
    offsets = pairs.shift + np.where(second[:, None] < 0, positions[pairs.second], 0.0)
    weights = np.ones(len(pairs))
    if weighted:
        shortest = pairs.distances(np.array([initial, final])).min(axis=1)
        weights = np.minimum(1.0, (_CONTACT * shortest.min() / shortest) ** 2)
    else:
        # Relative to contact, stretching a bond of any two elements changes its feature as much.
        weights = pairs.contact
    # Positions of the components of moving atoms that are free, among all components of moving atoms.
    free = 3 * place[coordinates.atom] + coordinates.free % 3
    return InverseDistances(place[pairs.first], second, offsets, free, positions[moving].ravel(), weights)


def path_model(coordinates: Coordinates, initial: Array, final: Array) -> PathModel:
    """The usual model of a path between two configurations (n,)."""
    features = path_features(coordinates, initial, final, weighted=not coordinates.rigid)
    settings, radius, stretch = _SOLID, _TRUST_SOLID, np.inf
    if isinstance(features, Cartesian):
        settings, radius = _CARTESIAN, _TRUST_CARTESIAN
    elif coordinates.rigid:
        settings, radius, stretch = _MOLECULE, _TRUST, _STRETCH
    rough, smooth = (GaussianProcess(features, kernel=name, **settings[name]) for name in (_ROUGH, _SMOOTH))
    caution = _CAUTION[int(coordinates.size >= rough.structured)]
    return PathModel(rough, smooth, coordinates, radius, stretch, caution)
