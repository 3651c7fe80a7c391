"""A quadratic model of the energy around one configuration that a free molecule may shift and turn under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciopt.neb.model_hessian import model_hessian, shortest_pairs

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates

__all__ = ["ModelMean"]


@dataclass(frozen=True, eq=False)
class ModelMean:
    """``Q(x) = d H d / 2`` with d the displacement from the anchor, of free molecules once they are turned onto it.

    Parameters
    ----------
    anchor
        (n,) where the model has its minimum, Å.
    hessian
        (n, n) its curvature, eV/Å²; without rigid motions where `rigid`.
    rigid
        Whether configurations are turned onto the anchor first.

    Examples
    --------
    >>> import numpy as np
    >>> mean = ModelMean(np.zeros(2), np.diag([2.0, 4.0]), False)
    >>> mean.at(np.array([[1.0, 0.5]]))
    (array([1.5]), array([[-2., -2.]]))
    """

    anchor: Array
    hessian: Array
    rigid: bool

    @classmethod
    def around(cls, coordinates: Coordinates, x: Array) -> ModelMean:
        """The usual curvature model at x (n,)."""
        hessian = model_hessian(coordinates, x, shortest_pairs([coordinates.atoms(x)]))
        return cls(x, hessian if isinstance(hessian, np.ndarray) else hessian.toarray(), coordinates.rigid)

    def scaled(self, factor: float) -> ModelMean:
        """The same with all curvatures times `factor`."""
        return ModelMean(self.anchor, factor * self.hessian, self.rigid)

    def at(self, X: Array) -> tuple[Array, Array]:
        """Energies (B,) in eV and forces (B, n) at X (B, n)."""
        if not self.rigid:
            away = X - self.anchor
            pull = away @ self.hessian
            return 0.5 * np.einsum("ij,ij->i", away, pull), -pull
        pairs = [self._turned(x) for x in X]
        return np.array([energy for energy, _ in pairs]), np.array([force for _, force in pairs])

    def _turned(self, x: Array) -> tuple[float, Array]:
        """Energy and force of a free molecule.

        With ``y = R x`` turned onto the anchor a, ``sum a x y = 0`` says how R follows a displacement: the gradient is
        ``R^T (g - s x a)`` where ``g = H d`` and ``(sum (a.y) 1 - a y^T) s = sum y x g``.
        """
        a = self.anchor.reshape(-1, 3)
        a = a - a.mean(axis=0)
        y = x.reshape(-1, 3)
        u, _, v = np.linalg.svd((y - y.mean(axis=0)).T @ a)
        rotation = u * np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
        y = (y - y.mean(axis=0)) @ rotation
        d = (y - a).ravel()
        g = (self.hessian @ d).reshape(-1, 3)
        follows = np.eye(3) * np.sum(a * y) - a.T @ y
        s = np.linalg.lstsq(follows, np.cross(y, g).sum(axis=0))[0]
        gradient = (g - np.cross(s, a)) @ rotation.T
        return 0.5 * float(d @ g.ravel()), -gradient.ravel()
