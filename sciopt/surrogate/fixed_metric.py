"""An exact Gaussian process of energies and forces under one fixed metric, cheap where coordinates outnumber data.

With features ``z = R^T x``, ``R R^T = G``, forces orthogonal to all differences of the data share one (N, N)
covariance; only the span of the differences needs a dense matrix. De Roos, Gessner and Hennig 2021, High-dimensional
Gaussian process inference with derivatives, ICML, doi 10.48550/arXiv.2102.07542.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, solve_triangular

from sciopt.surrogate.covariance import Geometry, covariance, energy_columns, squared_distances
from sciopt.surrogate.factor import JITTER, MORE_NOISE, Factor
from sciopt.surrogate.nested import Nested

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.features import FeatureValues
    from sciopt.surrogate.kernels import Kernel

__all__ = ["FixedMetric", "Frame", "Metric", "Told"]

# Configurations whose J^T J are averaged; a floor under the eigenvalues relative to their mean; most rows of the dense
# part, N (m+1), while it grows, and of one that is made anew every time. They decide how many iterations the exact
# equations take, not what they are solved to.
_AVERAGED = 4
_FLOOR = 1e-2
_GROWING, _ROWS = 5000, 2500


@dataclass(frozen=True, eq=False)
class Metric:
    """The mean of ``J^T J``, floored.

    Attributes
    ----------
    root
        (n, n) lower triangle, ``G = R R^T``.
    count
        How many data there were.
    """

    root: Array
    count: int

    @classmethod
    def of(cls, values: FeatureValues) -> Metric:
        """Of the features of the data."""
        count = len(values.phi)
        some = np.unique(np.linspace(0, count - 1, min(count, _AVERAGED)).round().astype(int))
        G = np.mean([values.stiffness(i) for i in some], axis=0)
        diagonal = np.einsum("ii->i", G)
        diagonal += _FLOOR * diagonal.mean()
        return cls(np.linalg.cholesky(G), count)

    @cached_property
    def inverse(self) -> Array:
        """(n, n) ``G^-1``."""
        return cho_solve((self.root, True), np.eye(len(self.root)), check_finite=False)

    @cached_property
    def stretch(self) -> float:
        """Geometric mean of the eigenvalues of G."""
        return float(np.exp(2.0 * np.log(np.diag(self.root)).mean()))


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates in which a metric is the identity, and what the data span there.

    Attributes
    ----------
    metric
        Theirs.
    X
        (N, n) the data.
    center
        (n,) the origin.
    span
        (n, m) orthonormal basis of the differences of the data, as far as it is treated densely.
    seen
        (m,) the first of the data that leads into each direction, ascending.
    inside
        (N, m) the data in that basis.
    pulled
        (n, m) ``R^-T`` times the span.
    """

    metric: Metric
    X: Array
    center: Array
    span: Array
    seen: NDArray[np.intp]
    inside: Array
    pulled: Array

    @classmethod
    def of(cls, values: FeatureValues, X: Array, earlier: Frame | None = None) -> Frame:
        """The frame of configurations X (N, n), with the values of their features.

        The metric of `earlier` is kept until there are twice as many data, and so are its directions as far as X begins
        like its data. Every configuration adds the direction in which it leaves the span of those before it. When there
        are too many of them, the directions in which the data differ most are chosen.
        """
        n = X.shape[1]
        keep = earlier is not None and len(X) < 2 * earlier.metric.count
        metric = earlier.metric if earlier is not None and keep else Metric.of(values)
        none = np.zeros((n, 0))
        frame = cls(metric, X[:0], X[0], none, np.zeros(0, dtype=np.intp), np.zeros((0, 0)), none)
        if earlier is not None and keep and earlier.grows and (known := _alike(X, earlier.X)):
            frame = earlier.until(known)
        for x in X[len(frame.X) :]:
            frame = frame._with(x)
            if not frame.grows:
                return cls._chosen(metric, X)
        return frame

    @property
    def grows(self) -> bool:
        """Whether there is room for what the next observation adds."""
        return self.inside.size + len(self.inside) <= _GROWING

    def until(self, count: int) -> Frame:
        """The frame of the first data."""
        known = int((self.seen < count).sum())
        return replace(
            self,
            X=self.X[:count],
            span=self.span[:, :known],
            seen=self.seen[:known],
            inside=self.inside[:count, :known],
            pulled=self.pulled[:, :known],
        )

    def shared(self, earlier: Frame) -> int:
        """How many of the first data are the first of `earlier`, in the same directions."""
        known = _alike(self.X, earlier.X) if self.metric is earlier.metric else 0
        one, other = self.until(known), earlier.until(known)
        return known if np.array_equal(one.span, other.span) else 0

    def _with(self, x: Array) -> Frame:
        """One configuration more."""
        z = (x - self.center) @ self.metric.root
        inside = z @ self.span
        across = z - self.span @ inside
        # Once more: what rounding has left of the span is as long as the rest where a configuration is hardly new.
        more = across @ self.span
        inside, across = inside + more, across - self.span @ more
        distance = float(np.linalg.norm(across))
        span, seen, pulled, known = self.span, self.seen, self.pulled, self.inside
        if distance > 1e-7 * max(float(np.linalg.norm(z)), 1e-9):
            unit = across / distance
            span = np.column_stack([span, unit])
            seen = np.append(seen, len(known))
            pulled = np.column_stack([pulled, solve_triangular(self.metric.root, unit, lower=True, trans=1)])
            known = np.column_stack([known, np.zeros(len(known))])
            inside = np.append(inside, distance)
        return replace(
            self, X=np.vstack([self.X, x]), span=span, seen=seen, pulled=pulled, inside=np.vstack([known, inside])
        )

    @classmethod
    def _chosen(cls, metric: Metric, X: Array) -> Frame:
        """Directions in which the data differ most."""
        center = X.mean(axis=0)
        Z = (X - center) @ metric.root
        _, sizes, directions = np.linalg.svd(Z, full_matrices=False)
        kept = min(int((sizes > 1e-7 * max(sizes[0], 1e-9)).sum()), max(_ROWS // len(X) - 1, 1))
        span = np.ascontiguousarray(directions[:kept].T)
        pulled = solve_triangular(metric.root, span, lower=True, trans=1, check_finite=False)
        return cls(metric, X, center, span, np.zeros(kept, dtype=np.intp), Z @ span, np.ascontiguousarray(pulled))

    def geometry(self, outside: int = 0) -> Geometry:
        """The data in the span, and in `outside` more directions that none of them has a part in."""
        count, size = self.inside.shape
        return _flat(np.hstack([self.inside, np.zeros((count, outside))]), size + outside)

    def place(self, X: Array) -> tuple[Geometry, Array]:
        """X (B, n) in the span and one direction more, its own; (B, n) ``R u`` for these unit vectors u."""
        Z = (X - self.center) @ self.metric.root
        inside = Z @ self.span
        across = Z - inside @ self.span.T
        distance = np.linalg.norm(across, axis=1)
        unit = across / np.maximum(distance, 1e-9)[:, None]
        return _flat(np.column_stack([inside, distance]), inside.shape[1] + 1), unit @ self.metric.root.T


def _alike(X: Array, earlier: Array) -> int:
    """How many of the first rows are equal."""
    count = min(len(X), len(earlier))
    return int(np.argmin(np.append((X[:count] == earlier[:count]).all(axis=1), False)))


def _flat(points: Array, size: int) -> Geometry:
    """Features that are coordinates."""
    rows = np.zeros((len(points), size + 1, size))
    rows[:, 1:] = np.eye(size)
    return Geometry(points, rows, rows[:, 1:])


class Told(NamedTuple):
    """Observations in a frame.

    Attributes
    ----------
    inner
        (N (m+1), 2) ones beside energies, and the energies and forces within the span.
    outer
        (N, N) products of the forces orthogonal to it.
    """

    inner: Array
    outer: Array

    @classmethod
    def of(cls, frame: Frame, data: Observations) -> Told:
        """`data` in their frame."""
        inside = data.forces @ frame.pulled
        inner = np.zeros((len(data), inside.shape[1] + 1, 2))
        inner[:, 0, 0], inner[:, 0, 1], inner[:, 1:, 1] = 1.0, data.energies, inside
        products = data.forces @ frame.metric.inverse @ data.forces.T - inside @ inside.T
        return cls(inner.reshape(-1, 2), products)


@dataclass(frozen=True, eq=False)
class FixedMetric:
    """The factorised covariance of N observations in a frame.

    Attributes
    ----------
    frame, kernel, length, variance
        The prior; the noise is relative to `variance`, eV².
    noise
        (N, 2) of energies and of force components in the frame.
    inner
        Factor of energies and forces within the span.
    outer
        Factor of one orthogonal component of the forces.
    """

    frame: Frame
    kernel: Kernel
    length: float
    variance: float
    noise: Array
    inner: Nested
    outer: Factor

    @classmethod
    def of(
        cls,
        frame: Frame,
        data: Observations,
        kernel: Kernel,
        length: float,
        variance: float,
        earlier: FixedMetric | None = None,
    ) -> FixedMetric:
        """Factorise; `earlier`, with the same hyperparameters, is continued as far as it is of the same observations.

        Raises
        ------
        LinAlgError
            If the covariance is not one, even with a lot more noise.
        """
        noise = np.column_stack([data.energy_noise**2, data.force_noise**2 / frame.metric.stretch]) / variance + JITTER
        radial = kernel.radial(squared_distances(frame.inside, frame.inside), length)
        panels: tuple[Array, ...] = ()
        if earlier is not None and (kernel, length) == (earlier.kernel, earlier.length):
            panels = earlier.inner.panels[: min(frame.shared(earlier.frame), _alike(noise, earlier.noise))]
        for known, more in ((panels, 0.0), *(((), more) for more in MORE_NOISE)):
            outer = Factor.of(radial.a + np.diag(noise[:, 1] + more))
            if outer is None:
                continue
            # The factor of a leading block is the leading block of the factor.
            corner = np.ascontiguousarray(outer.panels[0].corner.T)
            inner = Nested.of(frame.inside, frame.seen, radial, corner, noise + more, known)
            if inner is not None:
                return cls(frame, kernel, length, variance, noise + more, inner, outer)
        raise LinAlgError("the covariance of the observations is not positive definite, even with a noise of 1e-3")

    def solve(self, y: Array) -> Array:
        """(N, n+1) energies and forces to their weights, ``K^-1 y``."""
        frame, forces = self.frame, y[:, 1:]
        inside = forces @ frame.pulled
        inner = self.inner.solve(np.column_stack([y[:, 0], inside]))
        # With F = R^-1 forces: R^-T (outer^-1 F (1 - Q Q^T) + inner Q^T), multiplied out.
        weights = np.empty_like(y)
        weights[:, 0] = inner[:, 0]
        weights[:, 1:] = self.outer.solve(forces) @ frame.metric.inverse
        weights[:, 1:] += (inner[:, 1:] - self.outer.solve(inside)) @ frame.pulled.T
        return weights

    def evidence(self, told: Told, constant: bool) -> tuple[float, float]:
        """Log evidence with the signal variance profiled out, and that variance."""
        ones, ys = self.inner.whiten(told.inner).T
        if constant:
            ys = ys - (ones @ ys) / (ones @ ones) * ones
        count = len(told.outer)
        n = len(self.frame.center)
        square = float(ys @ ys) + float(np.trace(self.outer.solve(told.outer)))
        found = square / (count * (n + 1))
        determinant = self.inner.log_determinant + (n - self.frame.span.shape[1]) * self.outer.log_determinant
        return -0.5 * count * (n + 1) * np.log(found + 1e-12) - determinant, found

    def _explained(self, K: Array) -> Array:
        """``L^-1 K`` for K (N (m+2), c): the data in the span and one direction more, against anything."""
        count, size = self.frame.inside.shape
        K = K.reshape(count, size + 2, -1)
        inner = self.inner.whiten(K[:, :-1].reshape(count * (size + 1), -1))
        return np.vstack([inner, self.outer.whiten(np.ascontiguousarray(K[:, -1]))])

    def energy_variances(self, X: Array) -> Array:
        """(B,) posterior variances of energies at X (B, n), in units of the signal variance."""
        points, _ = self.frame.place(X)
        explained = self._explained(energy_columns(self.frame.geometry(1), points.phi, self.kernel, self.length))
        return 1.0 - np.einsum("ij,ij->j", explained, explained)

    def force_variances(self, X: Array, without: Array | None) -> Array:
        """(B, n) of the force components, those along `without` (B, n) left out.

        ``R (Q S Q^T + c (1 - Q Q^T)) R^T``: S within the span and the direction that leads to x, c in all others.
        """
        frame = self.frame
        points, outward = frame.place(X)
        explained = self._explained(covariance(frame.geometry(1), points, self.kernel, self.length))
        explained = explained.reshape(len(explained), len(X), -1)
        prior = self.kernel.radial(np.zeros(1), self.length).a[0]
        lengthwise = (self.outer.whiten(self._unseen(points)) ** 2).sum(axis=0)
        root = frame.metric.root
        span = root @ frame.span
        left = np.empty(X.shape)
        for i, x in enumerate(outward):
            unseen = prior - lengthwise[i]
            part = explained[:, i, 1:]
            S = (prior - unseen) * np.eye(part.shape[1]) - part.T @ part
            seen, own = np.column_stack([span, x]), (root**2).sum(axis=1)
            if without is not None:
                t = without[i]
                seen = seen - np.outer(t, t @ seen)
                pulled = root @ (t @ root)
                own = own - 2.0 * t * pulled + t * t * (t @ pulled)
            left[i] = unseen * own + np.einsum("nr,nr->n", seen @ S, seen)
        return left

    def left_out(self, index: int, weights: Array) -> tuple[Array, Array]:
        """(n,) errors of the force at one of the data, with `weights` (n+1,), that all others predict; their variances.

        Weights within the span are told apart from those across it, whose block of ``K^-1`` is a number.
        """
        frame, (count, size) = self.frame, self.frame.inside.shape
        own = np.zeros((count * (size + 1), size + 1))
        own[index * (size + 1) : (index + 1) * (size + 1)] = np.eye(size + 1)
        inner = self.inner.whiten(own)
        block = inner.T @ inner
        across = float((self.outer.whiten(np.eye(count)[:, [index]]) ** 2).sum())
        root, span = frame.metric.root, frame.span
        beta = weights[1:] @ root
        inside = beta @ span
        errors = np.linalg.solve(block, np.append(weights[0], inside))[1:]
        errors = root @ ((beta - span @ inside) / across + span @ errors)
        noise, seen = self.noise[index, 1], root @ span
        unseen = 1.0 / across - noise
        S = np.linalg.inv(block)[1:, 1:] - (noise + unseen) * np.eye(size)
        return errors, unseen * (root**2).sum(axis=1) + np.einsum("nr,nr->n", seen @ S, seen)

    def _unseen(self, points: Geometry) -> Array:
        """(N, B) covariances of one force component orthogonal to all differences."""
        data = self.frame.geometry(1).phi
        s = ((data[:, None] - points.phi[None]) ** 2).sum(axis=2)
        return self.kernel.radial(s, self.length).a
