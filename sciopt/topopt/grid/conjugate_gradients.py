"""Conjugate gradients in double precision, preconditioned in single precision or double."""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from sciopt.core.types import Array
from sciopt.topopt.grid.element_operator import ElementOperator
from sciopt.topopt.grid.element_sweep import FAST
from sciopt.topopt.grid.galerkin import Real

__all__ = ["conjugate_gradients", "few_steps"]


def conjugate_gradients(
    operator: ElementOperator,
    E: Array,
    f: Array,
    u: Array,
    b: NDArray[Real],
    precondition: Callable[[], NDArray[Real]],
    tol: float,
    limit: int,
) -> tuple[float, int]:
    """Improve `u` in place until ``|f − K u| <= tol |f|``; the true residual has the last word.

    The residual that conjugate gradients update drifts away from the true one. Where the true one is found too large,
    iterations start again from the `u` reached, within the same limit.

    Parameters
    ----------
    operator, E
        The matrix ``K(E)``.
    f, u
        Right-hand side and start (c, nz+1, ny+1, nx+1), both zero at fixed unknowns.
    b, precondition
        The preconditioner reads the residual, divided by ``|f|``, in `b` and returns its answer.
    tol, limit
        Relative residual wanted, iterations allowed.

    Returns
    -------
    residual, iterations
        The true relative residual, not a number after a breakdown, and the iterations done.
    """
    size = float(np.linalg.norm(f))
    r, p, q = np.empty_like(f), np.zeros_like(f), np.empty_like(f)
    flat_u, flat_r, flat_p, flat_q, flat_b = u.reshape(-1), r.reshape(-1), p.reshape(-1), q.reshape(-1), b.reshape(-1)
    done = 0
    while True:
        square = operator.residual(E, u, f, r)
        residual = math.sqrt(square) / size
        if not residual > tol or done >= limit:
            return residual, done
        started = done
        np.multiply(r, 1.0 / size, out=b, casting="same_kind")
        old = alpha = 1.0
        while square > (tol * size) ** 2 and done < limit:
            z = precondition().reshape(-1)
            product = dot(flat_r, z)
            # Flexible: orthogonal to the last direction only, whatever rounding did to the symmetry of the cycle. The
            # residual changed by -alpha q.
            direction(flat_p, z, -alpha * dot(flat_q, z) / old if done > started else 0.0)
            old = product
            curvature = operator.apply(E, p, q)
            if not (product > 0.0 and curvature > 0.0):
                return math.nan, done
            alpha = product / curvature
            square = advance(flat_u, flat_r, flat_p, flat_q, flat_b, alpha, 1.0 / size)
            done += 1
            if not math.isfinite(square):
                return math.nan, done


def few_steps(
    operator: ElementOperator,
    E: Array,
    f: Array,
    b: NDArray[Real],
    precondition: Callable[[], NDArray[Real]],
    tol: float,
    limit: int,
) -> tuple[Array, int]:
    """A rough solution of ``K(E) u = f`` from zero and the steps it took: at least one, until ``|r| <= tol |f|``.

    One step is the preconditioner's answer at its best length, which makes the energy of the error least: a smaller
    error than that of the answer itself, whose softest parts are too small. `f` is zero at fixed unknowns.
    """
    u, r, p, q = np.zeros_like(f), f.copy(), np.zeros_like(f), np.empty_like(f)
    size = float(np.linalg.norm(f))
    flat_u, flat_r, flat_p, flat_q, flat_b = u.reshape(-1), r.reshape(-1), p.reshape(-1), q.reshape(-1), b.reshape(-1)
    if size == 0.0:
        return u, 0
    np.multiply(r, 1.0 / size, out=b, casting="same_kind")
    old = alpha = 1.0
    for done in range(limit):
        z = precondition().reshape(-1)
        product = dot(flat_r, z)
        direction(flat_p, z, -alpha * dot(flat_q, z) / old if done else 0.0)
        old = product
        curvature = operator.apply(E, p, q)
        if not (product > 0.0 and curvature > 0.0):
            return u, done
        alpha = product / curvature
        if advance(flat_u, flat_r, flat_p, flat_q, flat_b, alpha, 1.0 / size) <= (tol * size) ** 2:
            return u, done + 1
    return u, limit


@numba.njit(**FAST)
def dot(r, z):
    """``r · z``."""
    total = 0.0
    for i in range(r.size):
        total += r[i] * z[i]
    return total


@numba.njit(**FAST)
def direction(p, z, beta):
    """``p = z + beta p``."""
    for i in range(p.size):
        p[i] = z[i] + beta * p[i]


@numba.njit(**FAST)
def advance(u, r, p, q, b, alpha, scale):
    """``u += alpha p``, ``r -= alpha q``, ``b = scale r``; returns r · r."""
    total = 0.0
    for i in range(u.size):
        u[i] += alpha * p[i]
        value = r[i] - alpha * q[i]
        r[i] = value
        b[i] = value * scale
        total += value * value
    return total
