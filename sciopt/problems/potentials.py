"""Cheap potentials with published stationary points, as ASE calculators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from numba import njit

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["MorsePt", "Planar", "PlanarSurface", "leps", "leps_oscillator", "muller_brown", "wolfe_quapp"]

PlanarSurface = Callable[[float, float], "tuple[float, NDArray[np.float64]]"]
"""(x, y) to the value and its (2,) gradient."""

_MB_A = np.array([-200.0, -100.0, -170.0, 15.0])
_MB_XX = np.array([-1.0, -1.0, -6.5, 0.7])
_MB_XY = np.array([0.0, 0.0, 11.0, 0.6])
_MB_YY = np.array([-10.0, -10.0, -6.5, 0.7])
_MB_X = np.array([1.0, 0.0, -0.5, -1.0])
_MB_Y = np.array([0.0, 0.5, 1.5, 1.0])

_LEPS_DEPTH = np.array([4.746, 4.746, 3.445])  # eV: AB, BC, AC
_LEPS_SATO = np.array([0.05, 0.80, 0.05])
_LEPS_STEEPNESS = 1.942  # 1/Å
_LEPS_LENGTH = 0.742  # Å
_LEPS_SPAN = 3.742  # Å, between the fixed ends A and C
_LEPS_SPRING = 0.2025  # eV/Å²
_LEPS_COUPLING = 1.154

_PT_DEPTH = 0.7102  # eV
_PT_STEEPNESS = 1.6047  # 1/Å
_PT_LENGTH = 2.8970  # Å
_PT_CUTOFF = 9.5  # Å


def muller_brown(x: float, y: float) -> tuple[float, NDArray[np.float64]]:
    """Müller and Brown's surface: three minima in a row, two saddles between them.

    ``V = Σ A exp(a (x-x₀)² + b (x-x₀)(y-y₀) + c (y-y₀)²)``, four terms, in arbitrary units.

    Parameters
    ----------
    x, y
        Any units.

    Returns
    -------
    The value, and its (2,) gradient.

    References
    ----------
    K. Müller and L. D. Brown, Theor. Chim. Acta 53, 75 (1979), doi 10.1007/BF00547608.

    Examples
    --------
    >>> value, gradient = muller_brown(-0.55822, 1.44173)
    >>> round(value, 2), bool(abs(gradient).max() < 0.05)
    (-146.7, True)
    """
    u, v = x - _MB_X, y - _MB_Y
    terms = _MB_A * np.exp(_MB_XX * u * u + _MB_XY * u * v + _MB_YY * v * v)
    gradient = [terms @ (2.0 * _MB_XX * u + _MB_XY * v), terms @ (_MB_XY * u + 2.0 * _MB_YY * v)]
    return float(terms.sum()), np.array(gradient)


def wolfe_quapp(x: float, y: float) -> tuple[float, NDArray[np.float64]]:
    """The quartic surface of Wolfe and co-workers as used by Quapp: three minima in the corners of a bent path.

    ``V = x⁴ + y⁴ - 2x² - 4y² + xy + 0.3x + 0.1y``, in arbitrary units.

    Parameters
    ----------
    x, y
        Any units.

    Returns
    -------
    The value, and its (2,) gradient.

    References
    ----------
    S. Wolfe et al., J. Am. Chem. Soc. 97, 2020 (1975), doi 10.1021/ja00841a005;
    W. Quapp, J. Chem. Phys. 122, 174106 (2005), doi 10.1063/1.1885467.

    Examples
    --------
    >>> wolfe_quapp(0.0, 0.0)
    (0.0, array([0.3, 0.1]))
    """
    value = x**4 + y**4 - 2.0 * x**2 - 4.0 * y**2 + x * y + 0.3 * x + 0.1 * y
    return value, np.array([4.0 * x**3 - 4.0 * x + y + 0.3, 4.0 * y**3 - 8.0 * y + x + 0.1])


def leps(distances: Sequence[float]) -> tuple[float, NDArray[np.float64]]:
    """London-Eyring-Polanyi-Sato energy of three atoms A, B, C on a line: one bond that moves.

    ``V = Σ Q/(1+s) - √(j_AB² + j_BC² + j_AC² - j_AB j_BC - j_BC j_AC - j_AC j_AB)`` with ``j = J/(1+s)``,
    ``Q = d/2 (3/2 e² - e)``, ``J = d/4 (e² - 6 e)``, ``e = exp(-α (r - r₀))``, and the Sato parameters s = 0.05, 0.80
    and 0.05.

    Parameters
    ----------
    distances
        (3,) r_AB, r_BC and r_AC, Å, treated as independent.

    Returns
    -------
    The energy in eV, and its (3,) derivatives in eV/Å.

    References
    ----------
    H. Jónsson, G. Mills and K. W. Jacobsen in "Classical and Quantum Dynamics in Condensed Phase Simulations" (1998),
    p. 385, appendix, doi 10.1142/9789812839664_0016.

    Examples
    --------
    >>> energy, _ = leps([0.742, 100.0, 100.0])  # a lone bond is a Morse curve
    >>> round(energy, 9) == round(-4.746 / 1.05, 9)
    True
    """
    e = np.exp(-_LEPS_STEEPNESS * (np.asarray(distances, dtype=float) - _LEPS_LENGTH))
    depth = _LEPS_DEPTH / (1.0 + _LEPS_SATO)
    coulomb, exchange = depth / 2.0 * (1.5 * e * e - e), depth / 4.0 * (e * e - 6.0 * e)
    d_coulomb = -_LEPS_STEEPNESS * depth / 2.0 * (3.0 * e * e - e)
    d_exchange = -_LEPS_STEEPNESS * depth / 4.0 * (2.0 * e * e - 6.0 * e)
    others = exchange.sum() - exchange
    root = np.sqrt(0.5 * (exchange @ (2.0 * exchange - others)))
    return float(coulomb.sum() - root), d_coulomb - (2.0 * exchange - others) / (2.0 * root) * d_exchange


def leps_oscillator(x: float, y: float) -> tuple[float, NDArray[np.float64]]:
    """LEPS coupled to a harmonic oscillator: a sharply bent path between two long straight valleys.

    ``V = V_LEPS(x, r_AC - x, r_AC) + 2 k (x - (r_AC/2 - y/c))²``: B moves between the fixed atoms A and C, and y stands
    for the surroundings. Model II of the reference.

    Parameters
    ----------
    x
        Distance r_AB, Å.
    y
        Coordinate of the oscillator, Å.

    Returns
    -------
    The energy in eV, and its (2,) gradient in eV/Å.

    References
    ----------
    H. Jónsson, G. Mills and K. W. Jacobsen in "Classical and Quantum Dynamics in Condensed Phase Simulations" (1998),
    p. 385, appendix, doi 10.1142/9789812839664_0016.

    Examples
    --------
    >>> leps_oscillator(0.742, 1.3)[0] < leps_oscillator(1.5, 0.0)[0]
    True
    """
    energy, slopes = leps([x, _LEPS_SPAN - x, _LEPS_SPAN])
    stretch = x - (_LEPS_SPAN / 2.0 - y / _LEPS_COUPLING)
    pull = 4.0 * _LEPS_SPRING * stretch
    gradient = np.array([slopes[0] - slopes[1] + pull, pull / _LEPS_COUPLING])
    return energy + 2.0 * _LEPS_SPRING * stretch**2, gradient


class Planar(Calculator):
    """A surface in the plane, felt by one atom: its x and y in Å are the arguments, its z feels nothing.

    Parameters
    ----------
    surface
        (x, y) to the value and its (2,) gradient; a module-level function can be pickled.
    scale
        eV per unit of the value.

    Raises
    ------
    InputError
        When there is not exactly one atom.

    Examples
    --------
    >>> from ase import Atoms
    >>> atom = Atoms("H", [[0.5, -1.0, 0.0]], calculator=Planar(wolfe_quapp, 0.2))
    >>> round(atom.get_potential_energy(), 6)
    -0.7775
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 - ASE's own convention

    def __init__(self, surface: PlanarSurface, scale: float = 1.0) -> None:
        super().__init__()
        self.surface = surface
        self.scale = scale

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        positions = self.atoms.positions
        if len(positions) != 1:
            raise InputError(f"a surface in the plane takes exactly one atom, got {len(positions)}")
        value, gradient = self.surface(*positions[0, :2].tolist())
        energy = self.scale * value
        forces = np.array([[-self.scale * gradient[0], -self.scale * gradient[1], 0.0]])
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


class MorsePt(Calculator):
    """Pairwise Morse potential for platinum, cut and shifted.

    ``E = Σ_{i<j} V(r_ij) - V(r_c)`` for ``r_ij < r_c``, with ``V = D (e² - 2e)``, ``e = exp(-a (r - r₀))``,
    D = 0.7102 eV, a = 1.6047 1/Å, r₀ = 2.8970 Å, r_c = 9.5 Å. The shift makes the energy continuous; the force jumps by
    6e-5 eV/Å at the cutoff. All values are those of the Pt(111) island benchmark and of its implementation in eOn.

    Rectangular cells only, periodic in any directions, each at least twice the cutoff: one image of each pair counts.

    Raises
    ------
    InputError
        For other elements than Pt, a cell that is not rectangular, or a period shorter than 19 Å.

    References
    ----------
    G. Henkelman, G. Jóhannesson and H. Jónsson, "Methods for finding saddle points and minimum energy paths" (2000),
    doi 10.1007/0-306-46949-9_10.

    Examples
    --------
    >>> from ase import Atoms
    >>> dimer = Atoms("Pt2", [[0, 0, 0], [0, 0, 2.897]], calculator=MorsePt())
    >>> round(dimer.get_potential_energy(), 4)
    -0.7102
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 - ASE's own convention

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        energy, forces = _morse(self.atoms.positions, _periods(self.atoms))
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


def _periods(atoms: Atoms) -> NDArray[np.float64]:
    """(3,) periods in Å; 0 in the directions that are not periodic."""
    if (atoms.numbers != 78).any():
        raise InputError(f"this Morse potential is for Pt only, got {atoms.get_chemical_formula()}")
    cell = atoms.cell.array
    if atoms.pbc.any() and np.abs(cell - np.diag(np.diag(cell))).max() > 1e-9:
        raise InputError(f"the Morse potential needs a rectangular cell along x, y and z, got {cell.tolist()}")
    periods = np.where(atoms.pbc, np.diag(cell), 0.0)
    if (periods[atoms.pbc] < 2.0 * _PT_CUTOFF).any():
        raise InputError(
            f"the Morse potential needs periods of at least {2.0 * _PT_CUTOFF:g} Å, got {periods.tolist()}; "
            "repeat the cell"
        )
    return periods


@njit(cache=True)
def _morse(positions: Any, periods: Any) -> Any:
    count = positions.shape[0]
    forces = np.zeros((count, 3))
    energy = 0.0
    e = np.exp(-_PT_STEEPNESS * (_PT_CUTOFF - _PT_LENGTH))
    shift = _PT_DEPTH * (e * e - 2.0 * e)
    d = np.empty(3)
    for i in range(count):
        for j in range(i):
            square = 0.0
            for k in range(3):
                d[k] = positions[i, k] - positions[j, k]
                if periods[k] > 0.0:
                    d[k] -= periods[k] * np.rint(d[k] / periods[k])
                square += d[k] * d[k]
            if square >= _PT_CUTOFF * _PT_CUTOFF:
                continue
            r = np.sqrt(square)
            e = np.exp(-_PT_STEEPNESS * (r - _PT_LENGTH))
            energy += _PT_DEPTH * (e * e - 2.0 * e) - shift
            pull = 2.0 * _PT_STEEPNESS * _PT_DEPTH * (e * e - e) / r
            for k in range(3):
                forces[i, k] += pull * d[k]
                forces[j, k] -= pull * d[k]
    return energy, forces
