"""A posterior mean is a sum over the data, and so is a product of the covariance with a vector; no matrix is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.kernels import Kernel, Radial

__all__ = ["Expansion", "summed"]


def summed(radial: Radial, along: Array, alpha: Array, here: Array, both: Array) -> tuple[Array, Array]:
    """Energies (B,) and their gradients by the features (B, D).

    ``E = sum_j alpha_j k_j - a_j d_j.w_j`` with ``d_j = phi - phi_j`` and ``w_j = J_j beta_j`` for weights alpha, beta.

    Parameters
    ----------
    radial
        Kernel terms (B, N).
    along
        (B, N) ``d_j.w_j``.
    alpha
        (N,) weights of energies.
    here
        (B, D) features.
    both
        (2 N, D) features of the data about the same centre, and below them w.
    """
    energies = radial.k @ alpha - np.einsum("ij,ij->i", radial.a, along)
    c = radial.b * along - radial.a * alpha
    gradients = c.sum(axis=1)[:, None] * here
    gradients -= np.hstack([c, radial.a]) @ both
    return energies, gradients


@dataclass(frozen=True, eq=False)
class Expansion:
    """Weights at N configurations, ready to be summed anywhere.

    Attributes
    ----------
    center
        (D,) mean of the features.
    both
        (2 N, D) features about it, and below them w.
    alpha
        (N,) weights of energies.
    squares, along
        (N,) squared norms of the centred features, and their products with w.
    """

    center: Array
    both: Array
    alpha: Array
    squares: Array
    along: Array

    @classmethod
    def of(cls, phi: Array, alpha: Array, pushed: Array) -> Expansion:
        """From features (N, D), weights of energies (N,) and w (N, D)."""
        center = phi.mean(axis=0)
        data = phi - center
        return cls(center, np.vstack([data, pushed]), alpha, (data * data).sum(axis=1), (data * pushed).sum(axis=1))

    def terms(self, phi: Array, kernel: Kernel, length: float) -> tuple[Radial, Array, Array]:
        """For features (B, D): kernel terms (B, N), ``d.w`` (B, N), and the features about the centre of the data."""
        here = phi - self.center
        products = here @ self.both.T
        count = len(self.alpha)
        s = self.squares - 2.0 * products[:, :count]
        s += np.einsum("ij,ij->i", here, here)[:, None]
        radial = kernel.radial(np.maximum(s, 0.0, out=s), length)
        return radial, products[:, count:] - self.along, here

    def at(self, phi: Array, kernel: Kernel, length: float) -> tuple[Array, Array]:
        """Energies (B,) and their gradients by the features (B, D)."""
        radial, along, here = self.terms(phi, kernel, length)
        return summed(radial, along, self.alpha, here, self.both)
