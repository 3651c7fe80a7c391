"""Feature maps written a second time, plainly, and a Gaussian process of loops and `numpy.linalg.solve`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.special import gamma, kv

from sciopt.surrogate import Cartesian, InverseDistances, Observations


class System(NamedTuple):
    """Features as the package has them, the same written down again, and a configuration they are well defined at."""

    features: Any
    plain: Callable[[np.ndarray], np.ndarray]
    start: np.ndarray


def pairs(first, second, offsets, free, rest, weights) -> Callable[[np.ndarray], np.ndarray]:
    """Weighted inverse distances, pair by pair; works for complex x."""

    def plain(x: np.ndarray) -> np.ndarray:
        whole = np.array(rest, dtype=x.dtype)
        whole[free] = x
        atoms = whole.reshape(-1, 3)
        phi = []
        for i, j, t, w in zip(first, second, offsets, weights, strict=True):
            d = atoms[i] - t - (atoms[j] if j >= 0 else 0.0)
            phi.append(w / np.sqrt((d * d).sum()))
        return np.array(phi)

    return plain


def pair_system(first, second, offsets, atoms: np.ndarray, free=None, weights=None) -> System:
    first, second = np.array(first), np.array(second)
    offsets = np.array(offsets, dtype=float)
    free = np.arange(atoms.size) if free is None else np.array(free)
    weights = np.ones(len(first)) if weights is None else np.array(weights)
    rest = atoms.ravel().copy()
    parts = (first, second, offsets, free, rest, weights)
    return System(InverseDistances(*parts), pairs(*parts), rest[free])


def make_system(name: str) -> System:
    tetrahedron = np.array([[0.0, 0.0, 0.0], [1.1, 0.1, 0.0], [0.2, 1.2, -0.1], [0.3, 0.2, 1.3]])
    i, j = np.triu_indices(4, 1)
    nothing = np.zeros((6, 3))
    three = tetrahedron[:3]
    sites = [[0.4, 0.5, -1.2], [0.4, 0.5, -1.2], [1.6, 1.1, 0.9], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    match name:
        case "cartesian":
            return System(Cartesian(5), lambda x: x.copy(), np.array([0.3, -0.2, 0.5, 0.1, -0.4]))
        case "free":
            return pair_system(i, j, nothing, tetrahedron)
        case "at rest":
            return pair_system([0, 1, 2, 0, 1], [-1, -1, -1, 1, 2], sites, three)
        case "lattice":
            offsets = [[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -2.5, 0.0], [2.5, 2.5, 0.0]]
            return pair_system([0, 0, 0, 1, 1], [1, 1, 2, 2, 2], offsets, three)
        case "some components":
            return pair_system([0, 1, 2, 0, 1], [-1, -1, -1, 1, 2], sites, three, free=[0, 1, 3, 4, 5, 8])
        case "weights":
            return pair_system(i, j, nothing, tetrahedron, weights=[1.0, 0.5, 0.8, 0.3, 1.2, 0.9])
    raise ValueError(name)


SYSTEMS = ("cartesian", "free", "at rest", "lattice", "some components", "weights")


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    return make_system(request.param)


@pytest.fixture
def molecule() -> System:
    return make_system("free")


def observe(system: System, x: np.ndarray, scale: float = 1.0) -> tuple[float, np.ndarray]:
    """A smooth function of the features, so that it has their symmetries, and minus its gradient."""
    phi = system.plain(x)
    waves = np.cos(np.arange(3 * phi.size).reshape(3, -1) * 1.7) * 0.6
    phase = waves @ phi + np.arange(3)
    return scale * float(np.sin(phase).sum()), -scale * jacobian(system.plain, x).T @ waves.T @ np.cos(phase)


@pytest.fixture
def sample() -> Callable[..., Observations]:
    """N observations about the start of a system."""

    def draw(
        system: System,
        count: int,
        seed: int = 0,
        width: float = 0.12,
        scale: float = 1.0,
        energy_noise: float = 1e-3,
        force_noise: float = 1e-2,
    ) -> Observations:
        rng = np.random.default_rng(seed)
        data = Observations.none(len(system.start))
        for x in system.start + width * rng.normal(size=(count, len(system.start))):
            data = data.add(x, *observe(system, x, scale), energy_noise, force_noise)
        return data

    return draw


def jacobian(plain: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """(D, n) by complex steps: exact to rounding."""
    step = 1e-30
    return np.array([plain(x + 1j * step * unit).imag / step for unit in np.eye(len(x))]).T


def slopes(kernel: str, s: float, length: float) -> tuple[float, float, float]:
    """k, dk/ds and d2k/ds2 at the squared distance s; Matérn kernels from the Bessel functions that define them."""
    if kernel == "se":
        k = np.exp(-s / (2 * length**2))
        return k, -k / (2 * length**2), k / (4 * length**4)
    nu = {"matern52": 2.5, "matern72": 3.5}[kernel]
    c = np.sqrt(2 * nu) / length
    r = c * np.sqrt(s)

    def bessel(order: float) -> float:
        """``r^order K_order(r)``."""
        return 2 ** (order - 1) * gamma(order) if r < 1e-8 else r**order * kv(order, r)

    scale = 2 ** (1 - nu) / gamma(nu)
    return scale * bessel(nu), -scale * c**2 / 2 * bessel(nu - 1), scale * c**4 / 4 * bessel(nu - 2)


class Reference:
    """The posterior with `numpy.linalg.solve`, observation by observation."""

    def __init__(self, plain, kernel: str, length: float, variance: float, data: Observations, constant: bool = True):
        self.plain, self.kernel, self.length, self.variance = plain, kernel, length, variance
        n = data.X.shape[1]
        self.points = [self.point(x) for x in data.X]
        K = np.block([[self.covariance(x, y) for y in self.points] for x in self.points])
        noise = [np.append(e**2, np.full(n, f**2)) for e, f in zip(data.energy_noise, data.force_noise, strict=True)]
        # Forces along directions that no feature sees are told by no model, and are not counted.
        self.rows = len(data) + sum(int(np.linalg.matrix_rank(J)) for _, J in self.points)
        self.K = K + np.diag(np.concatenate(noise))
        y = np.concatenate([np.append(e, f) for e, f in zip(data.energies, data.forces, strict=True)])
        one = np.tile(np.append(1.0, np.zeros(n)), len(data))
        weights = np.linalg.solve(self.K, one)
        self.mean = float(weights @ y / (weights @ one)) if constant else 0.0
        self.weights = np.linalg.solve(self.K, y - self.mean * one)
        self.quadratic = float((y - self.mean * one) @ self.weights)

    def point(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.plain(x), jacobian(self.plain, x)

    def covariance(self, x: tuple[np.ndarray, np.ndarray], y: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """(n+1, n+1) of (E, F) at one point with (E, F) at another."""
        (phi_x, Jx), (phi_y, Jy) = x, y
        d = phi_x - phi_y
        k, slope, curve = slopes(self.kernel, float(d @ d), self.length)
        by_x, by_y = 2 * slope * Jx.T @ d, -2 * slope * Jy.T @ d
        mixed = -2 * slope * Jx.T @ Jy - 4 * curve * np.outer(Jx.T @ d, Jy.T @ d)
        return self.variance * np.block([[np.array([[k]]), -by_y[None]], [-by_x[:, None], mixed]])

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n+1,) mean and (n+1, n+1) covariance of energy and forces."""
        here = self.point(x)
        across = np.hstack([self.covariance(here, y) for y in self.points])
        mean = across @ self.weights
        mean[0] += self.mean
        return mean, self.covariance(here, here) - across @ np.linalg.solve(self.K, across.T)


@pytest.fixture
def reference() -> type[Reference]:
    return Reference


@pytest.fixture
def differentiate() -> Callable[..., tuple[float, float]]:
    """Order of the error of central differences in h, and the smallest error."""

    def order(function, derivative, x: np.ndarray, v: np.ndarray, h: float = 0.004) -> tuple[float, float]:
        steps = h * 0.5 ** np.arange(4)
        errors = [np.abs((function(x + t * v) - function(x - t * v)) / (2 * t) - derivative).max() for t in steps]
        return float(np.polyfit(np.log(steps), np.log(errors), 1)[0]), float(errors[-1])

    return order
