"""The nudged elastic band itself: tangents, springs, climbing. Pure functions of positions, energies and forces.

A band is X (M+2, n): two fixed ends and M movable images, with energies E (M+2,) in eV and true forces F (M, n) of the
movable images in eV/Å.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import CubicSpline

from sciopt.core.errors import InputError
from sciopt.neb.align import project_out, rigid_bases

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates

__all__ = ["TANGENTS", "BandForce", "BandLaw", "band_force", "band_info", "branches", "highest"]


def highest(energies: Array) -> int | None:
    """Movable image (from 0) that is an interior maximum of the path, or None when an end is the highest point."""
    top = int(np.argmax(energies))
    return None if top in (0, len(energies) - 1) else top - 1


def branches(energies: Array) -> Array:
    """(M,) +1 where energy rises towards the next image, -1 where towards the previous, 0 at extrema."""
    rise = np.diff(energies)
    return np.where((rise[1:] > 0) & (rise[:-1] > 0), 1, np.where((rise[1:] < 0) & (rise[:-1] < 0), -1, 0))


def improved_tangent(X: Array, energies: Array) -> Array:
    """The segment to the higher neighbour; at extrema both segments weighted by the energy differences.

    Henkelman and Jónsson 2000, doi 10.1063/1.1323224, eqs. 8-11.
    """
    forward, backward = X[2:] - X[1:-1], X[1:-1] - X[:-2]
    rise = np.diff(energies)
    ahead, behind = np.abs(rise[1:]), np.abs(rise[:-1])
    large, small = np.maximum(ahead, behind), np.minimum(ahead, behind)
    next_higher = energies[2:] > energies[:-2]
    weight_forward = np.where(next_higher, large, small)
    weight_backward = np.where(next_higher, small, large)
    branch = branches(energies)
    weight_forward = np.where(branch == 1, 1.0, np.where(branch == -1, 0.0, weight_forward))
    weight_backward = np.where(branch == -1, 1.0, np.where(branch == 1, 0.0, weight_backward))
    # Three equal energies give no weight to either side.
    flat = (weight_forward == 0) & (weight_backward == 0)
    weight_forward, weight_backward = np.where(flat, 1.0, weight_forward), np.where(flat, 1.0, weight_backward)
    return weight_forward[:, None] * forward + weight_backward[:, None] * backward


def central_tangent(X: Array, energies: Array) -> Array:
    """The chord between both neighbours, as in the first nudged elastic bands.

    Mills, Jónsson and Schenter 1995, doi 10.1016/0039-6028(94)00731-4.
    """
    return X[2:] - X[:-2]


def bisection_tangent(X: Array, energies: Array) -> Array:
    """The bisector of both segments, which spaces images more evenly on curved paths.

    Jónsson, Mills and Jacobsen 1998, doi 10.1142/9789812839664_0016.
    """
    forward, backward = X[2:] - X[1:-1], X[1:-1] - X[:-2]
    return _unit(forward) + _unit(backward)


def spline_tangent(X: Array, energies: Array) -> Array:
    """The derivative of a cubic spline through the images.

    Makri, Ortner and Kermode 2019, doi 10.1063/1.5064465.
    """
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(X, axis=0), axis=1))])
    return np.asarray(CubicSpline(length, X)(length[1:-1], 1))


TANGENTS: Mapping[str, Callable[[Array, Array], Array]] = {
    "improved": improved_tangent,
    "central": central_tangent,
    "bisection": bisection_tangent,
    "spline": spline_tangent,
}
"""Tangents by name: functions of X (M+2, n) and energies (M+2,), giving (M, n), not normalised."""


@dataclass(frozen=True)
class BandLaw:
    """What force a band feels.

    Parameters
    ----------
    spring
        Spring constant in eV/Å². 0 together with redistribution of the images is the string method.
    spring_low
        With energy-weighted springs, the constant at and below the higher end; `spring` then holds at the top. None
        gives uniform springs.
    tangent
        A key of `TANGENTS`.
    climb
        Whether the highest image climbs.

    Raises
    ------
    InputError
        For an unknown tangent or a negative spring constant.
    """

    spring: float = 0.1
    spring_low: float | None = None
    tangent: str = "improved"
    climb: bool = True

    def __post_init__(self) -> None:
        if self.tangent not in TANGENTS:
            raise InputError(f"unknown tangent {self.tangent!r}; known are {', '.join(TANGENTS)}")
        if self.spring < 0 or (self.spring_low is not None and self.spring_low < 0):
            raise InputError(f"spring constants must not be negative, got {self.spring} and {self.spring_low}")


@dataclass(frozen=True, eq=False)
class BandForce:
    """The forces on a band and what they were made of; all of movable images.

    Attributes
    ----------
    force
        (M, n) band force: perpendicular true force, plus springs along the path; the climbing image feels the true
        force with its component along the path reversed.
    true
        (M, n) true force, rigid motion removed where the coordinates are rigid.
    tangents
        (M, n) unit tangents, towards the final configuration.
    along
        (M,) true force along the tangent.
    lengths
        (M+1,) distances between neighbouring images.
    climbing
        The climbing image (from 0), or None.
    """

    force: Array
    true: Array
    tangents: Array
    along: Array
    lengths: Array
    climbing: int | None


def band_info(X: Array, energies: Array, forces: Array, band: BandForce) -> dict[str, Any]:
    """What rules and answers need to know of a band, as `Evaluation.info` carries it.

    ``X`` (M+2, n), ``energies`` (M+2,), ``forces`` (M+2, n) as calculated, ``true`` (M, n) without rigid motion,
    ``tangents`` (M, n), ``along`` (M,), ``lengths`` (M+1,), ``climbing`` (index or None).
    """
    return {
        "X": X,
        "energies": energies,
        "forces": forces,
        "true": band.true,
        "tangents": band.tangents,
        "along": band.along,
        "lengths": band.lengths,
        "climbing": band.climbing,
    }


def band_force(X: Array, energies: Array, forces: Array, coordinates: Coordinates, law: BandLaw) -> BandForce:
    """The nudged elastic band force.

    ``G_i = F_i - (F_i.t_i) t_i + (k_i+1 |x_i+1 - x_i| - k_i |x_i - x_i-1|) t_i``; the climbing image feels
    ``F - 2 (F.t) t``.

    Henkelman, Uberuaga and Jónsson 2000, doi 10.1063/1.1329672.

    Parameters
    ----------
    X
        (M+2, n) band in Å.
    energies
        (M+2,) in eV.
    forces
        (M, n) true forces of the movable images in eV/Å.
    """
    tangents = TANGENTS[law.tangent](X, energies)
    true = forces
    if coordinates.rigid:
        rigid = rigid_bases(X[1:-1])
        tangents, true = project_out(rigid, tangents), project_out(rigid, forces)
    tangents = _unit(tangents)
    lengths = np.linalg.norm(np.diff(X, axis=0), axis=1)
    along = np.einsum("ij,ij->i", true, tangents)
    springs = _spring_constants(energies, law) * lengths
    force = true + (np.diff(springs) - along)[:, None] * tangents
    climbing = highest(energies) if law.climb else None
    if climbing is not None:
        force[climbing] = true[climbing] - 2.0 * along[climbing] * tangents[climbing]
    return BandForce(force, true, tangents, along, lengths, climbing)


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(float).tiny)


def _spring_constants(energies: Array, law: BandLaw) -> Array | float:
    """Spring constants (M+1,): uniform, or linear in the energy of the higher end of each segment.

    Ásgeirsson et al. 2021, doi 10.1021/acs.jctc.1c00462, eq. 12.
    """
    if law.spring_low is None:
        return law.spring
    top, reference = energies.max(), max(energies[0], energies[-1])
    if top <= reference:
        return law.spring_low
    height = (np.maximum(energies[1:], energies[:-1]) - reference) / (top - reference)
    return law.spring_low + (law.spring - law.spring_low) * np.clip(height, 0.0, 1.0)
