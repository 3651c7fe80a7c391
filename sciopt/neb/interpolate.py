"""Paths between two configurations before any energy is known."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from sciopt.core.errors import InputError, NotFinite, ShapeError
from sciopt.neb.align import align_band, project_out, rigid_bases
from sciopt.neb.geodesic import Pairs, shorten, side_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sciopt.neb.coordinates import Coordinates

__all__ = [
    "INTERPOLATIONS",
    "geodesic",
    "idpp",
    "idpp_objective",
    "interpolate",
    "linear",
    "redistribute",
    "relax_idpp",
    "sequential_idpp",
]

logger = logging.getLogger("sciopt")

_STEPS, _GROWTH_STEPS = 300, 100
_TOLERANCE = 2e-3  # Å, in the estimated distance to the relaxed image
_ROUNDS = 3
_COINCIDE = 0.01  # Å
_SOFTEST = 1e-3  # 1/Å⁴; stiffness given to an atom without neighbours
_STEEPEST = 2.0 - np.sqrt(2.0 / 3.0)  # r/d where the slope of (d - r)^2/r^4 is largest, r > d
_LONGEST = 0.2  # Å, largest displacement of an atom in one step


def linear(
    initial: NDArray[np.float64], final: NDArray[np.float64], images: int, coordinates: Coordinates
) -> NDArray[np.float64]:
    """Straight line: ``x_i = x_0 + i/(M+1) (x_{M+1} - x_0)``.

    Parameters
    ----------
    initial, final
        (n,) free coordinates of the end points, Å. Across periodic boundaries call
        :func:`sciopt.neb.align.unwrap` on them first; align free molecules with :func:`sciopt.neb.align.align`.
    images
        Number of movable images, M >= 1.
    coordinates
        The free components and the template.

    Returns
    -------
    (M+2, n) band in Å, both end points included and exact.

    Raises
    ------
    InputError
        For less than one image; ShapeError or NotFinite for end points that are not (n,) finite numbers.

    Examples
    --------
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> coordinates = Coordinates.of(Atoms("H"))
    >>> linear(np.zeros(3), np.array([0.0, 0.0, 2.0]), 3, coordinates)[:, 2]
    array([0. , 0.5, 1. , 1.5, 2. ])
    """
    ends = []
    for name, x in (("initial", initial), ("final", final)):
        x = np.asarray(x, dtype=float)
        if x.shape != (coordinates.size,):
            raise ShapeError(
                f"the {name} end point has shape {x.shape}, the path has {coordinates.size} free components; "
                "reduce positions with Coordinates.reduce"
            )
        if not np.isfinite(x).all():
            raise NotFinite(
                f"the {name} end point has a coordinate that is not a finite number (atom "
                f"{coordinates.atom[~np.isfinite(x)][0]}); check the structure"
            )
        ends.append(x)
    if images < 1:
        raise InputError(f"a path needs at least one movable image, got images={images}")
    t = _fractions(images)[:, None]
    X = ends[0] + t * (ends[1] - ends[0])
    X[0], X[-1] = ends
    return X


def idpp(
    initial: NDArray[np.float64], final: NDArray[np.float64], images: int, coordinates: Coordinates
) -> NDArray[np.float64]:
    """Image dependent pair potential: interatomic distances change as evenly as three dimensions allow.

    Image i is relaxed, perpendicular to the band and with springs along it, on
    ``S_i(x) = sum_{a<b} (d_ab^i - r_ab)^2 / r_ab^4`` with ``d_ab^i`` interpolated between the two ends. Where the
    straight line would lead atoms through each other they start aside, always to the same side. Where a distance
    exceeds the wanted one so far that S falls off again, S is continued along its tangent.

    Parameters
    ----------
    initial, final, images, coordinates
        As for :func:`linear`.

    Returns
    -------
    (M+2, n) band in Å, both end points included and exact.

    References
    ----------
    S. Smidstrup, A. Pedersen, K. Stokbro and H. Jónsson, J. Chem. Phys. 140, 214106 (2014), doi:10.1063/1.4878664.

    Examples
    --------
    A hydrogen atom goes around a carbon atom, not through it:

    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> start = Atoms("CNH", [[0, 0, 0], [1.15, 0, 0], [-1.07, 0, 0]])
    >>> end = Atoms("CNH", [[0, 0, 0], [1.17, 0, 0], [2.17, 0, 0]])
    >>> X = idpp(start.positions.ravel(), end.positions.ravel(), 5, Coordinates.of(start))
    >>> bool(np.linalg.norm(X[:, 6:] - X[:, :3], axis=1).min() > 1.0)
    True
    """
    return relax_idpp(side_step(linear(initial, final, images, coordinates), coordinates), coordinates)


def relax_idpp(X: NDArray[np.float64], coordinates: Coordinates) -> NDArray[np.float64]:
    """Relax any band on the image dependent pair potential; see :func:`idpp`."""
    pairs = Pairs.along(X[0], X[-1], coordinates)
    return _relax(X, pairs)


def sequential_idpp(
    initial: NDArray[np.float64], final: NDArray[np.float64], images: int, coordinates: Coordinates
) -> NDArray[np.float64]:
    """Image dependent pair potential, with the path grown from both ends.

    The band starts with one image next to either end; the two frontier images are followed by new ones, each placed
    on the line between them and relaxed with the rest, until the halves meet. A path grown so does not inherit the
    clashes of the straight line.

    Parameters
    ----------
    initial, final, images, coordinates
        As for :func:`linear`.

    Returns
    -------
    (M+2, n) band in Å, both end points included and exact.

    References
    ----------
    Y. L. A. Schmerwitz, V. Ásgeirsson and H. Jónsson, J. Chem. Theory Comput. 20, 155 (2024),
    doi:10.1021/acs.jctc.3c01111.
    """
    straight = linear(initial, final, images, coordinates)
    # A tenth of the way aside: enough to leave a symmetric line, too little to choose the path.
    nudge = 0.1 * (side_step(straight, coordinates) - straight)
    pairs = Pairs.along(initial, final, coordinates)
    target, t = _targets(pairs, straight), _fractions(images)
    X = straight[[0, -1]]
    left, right = 0, images + 1
    while right - left > 1:
        gap = right - left
        ahead, behind = X[left], X[left + 1]
        new = [ahead + (behind - ahead) / gap + nudge[left + 1]]
        if gap > 2:
            new.append(behind + (ahead - behind) / gap + nudge[right - 1])
        X = np.insert(X, left + 1, new, axis=0)
        left, right = left + 1, right - 1
        present = np.r_[0 : left + 1, max(right, left + 1) : images + 2]
        X = _fire(X, t[present], target[:, present[1:-1]], pairs, _GROWTH_STEPS)
    return _relax(X, pairs)


def geodesic(
    initial: NDArray[np.float64], final: NDArray[np.float64], images: int, coordinates: Coordinates
) -> NDArray[np.float64]:
    """Shortest path in scaled interatomic distances, found from the IDPP path; see :mod:`sciopt.neb.geodesic`.

    Meant for free molecules; for crystals and surfaces it works too, at a cost that grows with the cube of n.

    Parameters
    ----------
    initial, final, images, coordinates
        As for :func:`linear`.

    Returns
    -------
    (M+2, n) band in Å, both end points included and exact.
    """
    return shorten(idpp(initial, final, images, coordinates), coordinates)


INTERPOLATIONS: dict[
    str, Callable[[NDArray[np.float64], NDArray[np.float64], int, Coordinates], NDArray[np.float64]]
] = {"linear": linear, "idpp": idpp, "sequential_idpp": sequential_idpp, "geodesic": geodesic}


def interpolate(
    name: str, initial: NDArray[np.float64], final: NDArray[np.float64], images: int, coordinates: Coordinates
) -> NDArray[np.float64]:
    """A path by the name of its method; see :data:`INTERPOLATIONS`.

    Parameters
    ----------
    name
        "linear", "idpp", "sequential_idpp" or "geodesic".
    initial, final, images, coordinates
        As for :func:`linear`.

    Returns
    -------
    (M+2, n) band in Å, both end points included and exact.

    Raises
    ------
    InputError
        For an unknown name.

    Examples
    --------
    >>> interpolate("straight", np.zeros(3), np.ones(3), 5, None)
    Traceback (most recent call last):
    sciopt.core.errors.InputError: unknown interpolation 'straight'; use one of linear, idpp, sequential_idpp, geodesic
    """
    if name not in INTERPOLATIONS:
        raise InputError(f"unknown interpolation {name!r}; use one of {', '.join(INTERPOLATIONS)}")
    return INTERPOLATIONS[name](initial, final, images, coordinates)


def redistribute(X: NDArray[np.float64], images: int | None = None) -> NDArray[np.float64]:
    """Equidistant images on the cubic spline through a band.

    Parameters
    ----------
    X
        (M+2, n) band, Å.
    images
        Number of movable images of the new band; None keeps M.

    Returns
    -------
    (images+2, n) band in Å with the same end points and equal distances between neighbours. A band of no length is
    returned as it is, repeated.

    Examples
    --------
    >>> uneven = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    >>> redistribute(uneven, images=3)[:, 0].round(6)
    array([0., 1., 2., 3., 4.])
    """
    X = np.asarray(X, dtype=float)
    count = len(X) if images is None else images + 2
    steps = np.linalg.norm(np.diff(X, axis=0), axis=1)
    if not steps.any():
        return np.repeat(X[:1], count, axis=0)
    distinct = np.r_[True, steps > 1e-12 * steps.sum()]
    length = np.r_[0.0, np.cumsum(steps[distinct[1:]])]
    spline = CubicSpline(length, X[distinct])
    s = np.linspace(0.0, length[-1], count)
    for _ in range(50):
        new = spline(s)
        chords = np.linalg.norm(np.diff(new, axis=0), axis=1)
        if np.ptp(chords) < 1e-9 * chords.sum():
            break
        along = np.r_[0.0, np.cumsum(chords)]
        s = np.interp(np.linspace(0.0, along[-1], count), along, s)
    new[0], new[-1] = X[0], X[-1]
    return new


def idpp_objective(X: NDArray[np.float64], coordinates: Coordinates) -> NDArray[np.float64]:
    """Image dependent pair potential of every image of a band: (M+2, n) in Å to (M+2,) in 1/Å²; see :func:`idpp`."""
    pairs = Pairs.along(X[0], X[-1], coordinates)
    r = pairs.distances(X)
    return ((_targets(pairs, X) - r) ** 2 / r**4).sum(axis=0)


def _fractions(images: int) -> NDArray[np.float64]:
    """(M+2,) positions of evenly spread images along a path, from 0 to 1."""
    return np.linspace(0.0, 1.0, images + 2)


def _targets(pairs: Pairs, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, M+2) distances interpolated between the ends of a band."""
    ends = pairs.distances(X[[0, -1]])
    if ends.size and ends.min() < _COINCIDE:
        pair = ends.min(axis=1).argmin()
        who = f"atoms {pairs.first[pair]} and {pairs.second[pair]}"
        raise InputError(f"{who} are {ends.min():.3f} Å apart at an end point; correct the structure")
    return ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * _fractions(len(X) - 2)


def _relax(X: NDArray[np.float64], pairs: Pairs) -> NDArray[np.float64]:
    """Relax the movable images of a band on their pair potentials.

    The potentials leave the orientation of a free molecule open, so its images are aligned along the band in between.
    """
    target, t = _targets(pairs, X)[:, 1:-1], _fractions(len(X) - 2)
    if not pairs.coordinates.rigid:
        return _fire(X, t, target, pairs, _STEPS)
    for _ in range(_ROUNDS):
        relaxed = _fire(X, t, target, pairs, _STEPS)
        X = align_band(relaxed)
        if np.abs(X - relaxed).max() < 2.0 * _TOLERANCE:
            break
    return X


def _fire(
    X: NDArray[np.float64], t: NDArray[np.float64], target: NDArray[np.float64], pairs: Pairs, steps: int
) -> NDArray[np.float64]:
    """Every image by its own FIRE iteration (doi:10.1103/PhysRevLett.97.170201).

    The metric is the stiffness of the pairs each atom belongs to, which makes the time step a pure number.
    """
    X, coordinates = np.array(X, dtype=float), pairs.coordinates
    if not len(pairs):
        return X
    stiffness = _stiffness(target, pairs)
    velocity, images = np.zeros_like(stiffness), len(stiffness)
    time, mixing, streak = np.full(images, 0.4), np.full(images, 0.1), np.zeros(images, dtype=int)
    for step in range(steps):
        force = _band_force(X, t, target, stiffness, pairs)
        if coordinates.rigid:
            # Taken out on both sides of the metric, which keeps `ahead` downhill.
            rigid = rigid_bases(X[1:-1])
            force = project_out(rigid, force)
            ahead = project_out(rigid, force / stiffness)
        else:
            ahead = force / stiffness
        if coordinates.longest(ahead).max() < _TOLERANCE:
            logger.debug("idpp: %d images relaxed in %d steps", images, step)
            break
        uphill = (force * velocity).sum(axis=1) < 0.0
        streak = np.where(uphill, 0, streak + 1)
        faster = streak > 5
        time = np.where(uphill, 0.5 * time, np.where(faster, np.minimum(1.1 * time, 1.0), time))
        mixing = np.where(uphill, 0.1, np.where(faster, 0.99 * mixing, mixing))
        velocity[uphill] = 0.0
        ahead = _capped(ahead, np.full(images, _LONGEST), coordinates)
        velocity += time[:, None] * ahead
        speed, pull = (np.sqrt((stiffness * v * v).sum(axis=1)) for v in (velocity, ahead))
        velocity = (1.0 - mixing)[:, None] * velocity + (mixing * speed / np.maximum(pull, 1e-30))[:, None] * ahead
        # Capping the velocity and not only the step keeps no momentum from a clash.
        velocity = _capped(velocity, _LONGEST / time, coordinates)
        X[1:-1] += time[:, None] * velocity
    return X


def _capped(v: NDArray[np.float64], most: NDArray[np.float64], coordinates: Coordinates) -> NDArray[np.float64]:
    """(M, n) vectors, each shortened until no atom moves by more than its (M,) limit."""
    return v * np.minimum(1.0, most / np.maximum(coordinates.longest(v), 1e-30))[:, None]


def _stiffness(target: NDArray[np.float64], pairs: Pairs) -> NDArray[np.float64]:
    """(M, n) diagonal of the second derivative of the pair potentials at their minimum, 1/Å⁴, direction averaged."""
    atoms = abs(pairs.incidence).T @ (2.0 / target**4)
    return np.maximum(atoms[pairs.coordinates.atom].T, _SOFTEST)


def _band_force(
    X: NDArray[np.float64],
    t: NDArray[np.float64],
    target: NDArray[np.float64],
    stiffness: NDArray[np.float64],
    pairs: Pairs,
) -> NDArray[np.float64]:
    """(M, n) forces: of the pair potential across the band and of springs along it, 1/Å³."""
    v = pairs.vectors(X[1:-1])
    r = np.sqrt(np.einsum("pck,pck->pk", v, v))
    # Beyond its steepest point the potential is continued along its tangent: as published it flattens out and, from
    # twice the wanted distance on, pushes atoms that a clash has thrown apart ever further away.
    stretch = np.minimum(r / target, _STEEPEST)
    slope = 2.0 * (stretch - 1.0) * (2.0 - stretch) / (stretch**5 * target**3)
    force = -pairs.gather(v * (slope / r)[:, None, :])

    steps = np.diff(X, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    unit = steps / np.maximum(lengths, 1e-12)[:, None]
    tangent = unit[1:] + unit[:-1]
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1), 1e-12)[:, None]
    # Springs as stiff as the pairs are, with rest lengths in proportion to the fractions they span.
    shares = np.diff(t)
    evenly = lengths / shares
    pull = (stiffness * tangent**2).sum(axis=1) * (evenly[1:] - evenly[:-1]) * np.minimum(shares[1:], shares[:-1]) / 2.0
    along = pull - (force * tangent).sum(axis=1)
    return force + along[:, None] * tangent
