"""A molecule on the GFN2-xTB surface: energies, forces, Hessians, minima, saddles and steepest-descent paths.

Everything uses finite-difference Hessians of the forces, so that the references do not depend on any model or update
used by the methods that are measured against them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from tblite.ase import TBLite

Array = NDArray[np.float64]
METHOD = "GFN2-xTB"
ACCURACY = 0.01  # forces agree with finite differences of the energy to 2e-7 eV/Å; 1.0 gives only 3e-5


class NotFound(Exception):
    """A search did not end at the kind of point it was looking for."""


@dataclass(frozen=True)
class Stationary:
    """A stationary point: positions (3N,) in Å, energy in eV, largest atomic force in eV/Å, modes of the Hessian."""

    x: Array
    energy: float
    fmax: float
    curvatures: Array  # eV/Å², ascending, rigid motion excluded
    modes: Array  # (3N, number of curvatures), columns

    @property
    def negative(self) -> int:
        """Number of negative curvatures."""
        return int((self.curvatures < 0).sum())


class Surface:
    """Energy and forces of `numbers` at flat positions (3N,), with a warm-started calculator."""

    def __init__(self, numbers: Array, multiplicity: int = 1) -> None:
        self.numbers = np.asarray(numbers)
        self.multiplicity = multiplicity
        self._atoms = self.atoms(np.zeros(3 * len(self.numbers)))
        self._atoms.calc = self.calculator()

    def calculator(self) -> TBLite:
        """Build a fresh calculator of this surface."""
        extra = {"multiplicity": self.multiplicity} if self.multiplicity != 1 else {}
        return TBLite(method=METHOD, accuracy=ACCURACY, verbosity=0, **extra)

    def atoms(self, x: Array) -> Atoms:
        """Atoms at `x`, without calculator."""
        return Atoms(numbers=self.numbers, positions=np.reshape(x, (-1, 3)))

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and flat forces (eV/Å) at `x`."""
        self._atoms.positions = np.reshape(x, (-1, 3))
        try:
            return self._atoms.get_potential_energy(), self._atoms.get_forces().ravel()
        except CalculationFailed:
            # A warm start from a distant geometry can trap the self-consistency cycle: once more, from scratch.
            self._atoms.calc = self.calculator()
            return self._atoms.get_potential_energy(), self._atoms.get_forces().ravel()

    def hessian(self, x: Array, h: float = 5e-3) -> Array:
        """(3N, 3N) Hessian in eV/Å² by central differences of the forces."""
        rows = []
        for step in h * np.eye(x.size):
            rows.append((self(x - step)[1] - self(x + step)[1]) / (2 * h))
        hessian = np.array(rows)
        return (hessian + hessian.T) / 2

    def stationary(self, x: Array) -> Stationary:
        """Describe the point `x`, whatever it is."""
        energy, force = self(x)
        curvatures, modes = internal_modes(self.hessian(x), x)
        return Stationary(x, energy, longest(force), curvatures, modes)


def longest(v: Array) -> float:
    """Largest per-atom length of the flat vector `v`."""
    return float(np.linalg.norm(v.reshape(-1, 3), axis=1).max())


def internal_basis(x: Array) -> Array:
    """(3N, 3N-6) orthonormal basis of the motions that are not rigid (3N-5 for a linear molecule)."""
    positions = x.reshape(-1, 3) - x.reshape(-1, 3).mean(axis=0)
    rigid = [np.tile(axis, len(positions)) for axis in np.eye(3)]
    rigid += [np.cross(axis, positions).ravel() for axis in np.eye(3)]
    u, s, _ = np.linalg.svd(np.array(rigid).T, full_matrices=True)
    rank = int((s > 1e-3 * s[0]).sum())
    return u[:, rank:]


def internal_modes(hessian: Array, x: Array) -> tuple[Array, Array]:
    """Curvatures (ascending) and modes of `hessian` orthogonal to rigid motion."""
    basis = internal_basis(x)
    curvatures, vectors = np.linalg.eigh(basis.T @ hessian @ basis)
    return curvatures, basis @ vectors


def minimize(surface: Surface, x: Array, fmax: float = 1e-5, steps: int = 150) -> Stationary:
    """Newton steps inside a trust radius down to a minimum, leaving saddles along their negative modes."""
    energy, force = surface(x)
    radius = 0.2
    for _ in range(steps):
        curvatures, modes = internal_modes(surface.hessian(x), x)
        along = modes.T @ force
        if longest(force) < fmax:
            if curvatures[0] > 0:
                return Stationary(x, energy, longest(force), curvatures, modes)
            along[0] = along[0] or 1.0
            along[0] *= radius / abs(along[0])
        move = along / np.maximum(np.abs(curvatures), 1e-4)
        step = modes @ move
        step *= min(1.0, radius / longest(step))
        new_energy, new_force = surface(x + step)
        if new_energy > energy + 1e-7:
            radius = max(radius / 3, 1e-5)
            continue
        radius = min(2 * radius, 0.3)
        x, energy, force = x + step, new_energy, new_force
    raise NotFound(f"no minimum after {steps} Newton steps: force {longest(force):.1e} eV/Å")


def climb(
    surface: Surface, x: Array, direction: Array | None = None, fmax: float = 1e-5, steps: int = 40
) -> Stationary:
    """Follow one mode uphill and all others downhill to a saddle with one negative mode.

    The mode is the one most like `direction` first, and most like the last one after that.
    """
    radius = 0.1
    energy, force = surface(x)
    for _ in range(steps):
        curvatures, modes = internal_modes(surface.hessian(x), x)
        followed = 0 if direction is None else int(np.abs(modes.T @ direction).argmax())
        direction = modes[:, followed]
        if longest(force) < fmax:
            if (curvatures < 0).sum() == 1:
                return Stationary(x, energy, longest(force), curvatures, modes)
            raise NotFound(f"stationary point with {(curvatures < 0).sum()} negative modes")
        along = modes.T @ force
        move = along / np.maximum(np.abs(curvatures), 1e-3)
        move[followed] *= -1
        for _ in range(6):
            shorter = move * min(1.0, radius / longest(modes @ move))
            new_energy, new_force = surface(x + modes @ shorter)
            error = np.linalg.norm(modes.T @ new_force - along + curvatures * shorter)
            if error < 0.5 * np.linalg.norm(along) or longest(new_force) < fmax:
                radius = min(1.5 * radius, 0.2)
                break
            radius = longest(modes @ shorter) / 2
        x, energy, force = x + modes @ shorter, new_energy, new_force
    raise NotFound(f"no saddle after {steps} steps: force {longest(force):.1e} eV/Å")


def descend(surface: Surface, saddle: Stationary, side: int, until: float = 0.02, shift: float = 0.05) -> Array:
    """Steepest descent from one `side` (+1 or -1) of a saddle until no force exceeds `until` (eV/Å).

    The gradient flow dx/dt = F(x) is integrated implicitly (BDF), because the path is stiff: it runs along the floor
    of a valley with steep walls.
    """
    mode = saddle.modes[:, 0]
    start = saddle.x + side * shift * mode / longest(mode)
    if surface(start)[0] > saddle.energy:
        raise NotFound("the energy does not fall along the negative mode")

    def settled(_: float, x: Array) -> float:
        return longest(surface(x)[1]) - until

    settled.terminal = True  # type: ignore[attr-defined]
    settled.direction = -1  # type: ignore[attr-defined]
    flow = solve_ivp(
        lambda _, x: surface(x)[1],
        (0.0, 3e3),
        start,
        method="BDF",
        jac=lambda _, x: -surface.hessian(x),
        events=settled,
        rtol=1e-3,
        atol=1e-4,
        first_step=1e-3,
    )
    if flow.status < 0:
        raise NotFound(f"the steepest-descent path broke off: {flow.message}")
    return flow.y[:, -1]
