"""Which path to start from: several candidates, judged without a single energy evaluation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.data import covalent_radii

from sciopt.core.errors import InputError
from sciopt.neb.align import project_out, rigid_bases
from sciopt.neb.geodesic import Pairs, shorten
from sciopt.neb.interpolate import idpp, linear, relax_idpp, sequential_idpp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.neb.coordinates import Coordinates

__all__ = [
    "CANDIDATES",
    "Candidate",
    "Contact",
    "candidates",
    "choose",
    "clash_score",
    "close_contacts",
    "log_length",
    "perturb",
]

logger = logging.getLogger("sciopt")

CANDIDATES = ("idpp", "kicked", "geodesic", "sequential_idpp")

_KICKS = 4
_KICK = 0.25  # Å
_DEPTH, _STEEPNESS = 2.0, 1.9  # eV and 1/Å: a bond of middling strength
_MARGIN = 0.5  # eV by which a clash score must be lower to leave IDPP


@dataclass(frozen=True, eq=False)
class Candidate:
    """A path that could be started from, and how it looks without energies.

    Parameters
    ----------
    name
        How it was made.
    band
        (M+2, n) in Å, end points included.
    clash
        Clash score, eV; see :func:`clash_score`.
    length
        Log-distance length; see :func:`log_length`.
    """

    name: str
    band: NDArray[np.float64]
    clash: float
    length: float


class Contact(NamedTuple):
    """Two atoms too close to each other: image (0 is the initial state), atom indices, distance in Å."""

    image: int
    first: int
    second: int
    distance: float


def candidates(
    initial: NDArray[np.float64],
    final: NDArray[np.float64],
    images: int,
    coordinates: Coordinates,
    names: Sequence[str] | None = None,
) -> list[Candidate]:
    """Paths to choose from, IDPP first. The same input gives the same paths.

    Parameters
    ----------
    initial, final
        (n,) free coordinates of the end points, Å: unwrapped and aligned as for
        :func:`sciopt.neb.interpolate.linear`.
    images
        Number of movable images, M.
    coordinates
        The free components and the template.
    names
        Which of "kicked" (four IDPP paths relaxed from randomly bent ones), "geodesic" and "sequential_idpp" to add.
        None adds all for free molecules and nothing else, where IDPP is nearly always right and the others are dear.

    Returns
    -------
    The candidates with their scores.

    Raises
    ------
    InputError
        For an unknown name, and as :func:`sciopt.neb.interpolate.linear` does.
    """
    if names is None:
        names = CANDIDATES if coordinates.rigid else ()
    for name in names:
        if name not in CANDIDATES:
            raise InputError(f"unknown kind of initial path {name!r}; use any of {', '.join(CANDIDATES)}")
    plain = idpp(initial, final, images, coordinates)
    bands = {"idpp": plain}
    if "kicked" in names:
        straight = linear(initial, final, images, coordinates)
        for kick in range(_KICKS):
            bent = perturb((plain, straight)[kick % 2], coordinates, _KICK, seed=kick, modes=1)
            bands[f"kicked {kick + 1}"] = relax_idpp(bent, coordinates)
    if "geodesic" in names:
        bands["geodesic"] = shorten(plain, coordinates)
    if "sequential_idpp" in names:
        bands["sequential_idpp"] = sequential_idpp(initial, final, images, coordinates)
    found = [
        Candidate(name, band, clash_score(band, coordinates), log_length(band, coordinates))
        for name, band in bands.items()
    ]
    for path in found:
        logger.debug("initial path %s: clash score %.2f eV, length %.2f", path.name, path.clash, path.length)
    return found


def choose(paths: Sequence[Candidate]) -> Candidate:
    """The first candidate, unless another is clearly better.

    Better means a clash score lower by at least 0.5 eV *and* a shorter log-distance length, because a path may well
    avoid every clash by taking the molecule apart; of several such, the one with the smallest sum of the two.

    Raises
    ------
    InputError
        When there is nothing to choose from.

    Examples
    --------
    >>> X = np.zeros((3, 3))
    >>> paths = [Candidate("idpp", X, 9.0, 3.0), Candidate("a", X, 1.0, 4.0), Candidate("b", X, 2.0, 2.5)]
    >>> choose(paths).name
    'b'
    """
    if not paths:
        raise InputError("no initial paths to choose from; make them with candidates()")
    first = paths[0]
    better = [path for path in paths[1:] if path.clash <= first.clash - _MARGIN and path.length < first.length]
    return min(better, key=lambda path: path.clash + path.length, default=first)


def clash_score(X: NDArray[np.float64], coordinates: Coordinates) -> float:
    """Highest classical energy along a path above the higher end point, eV.

    ``E(x) = D sum_{a<b} (exp(-2 a (r - r0)) - 2 exp(-a (r - r0)))``: Morse pairs with D = 2 eV, a = 1.9/Å and r0 the
    sum of covalent radii. Only good for telling clashes and torn bonds from ordinary rearrangements.

    Parameters
    ----------
    X
        (M+2, n) band, Å.
    coordinates
        The free components and the template.
    """
    pairs = Pairs.along(X[0], X[-1], coordinates)
    bond = np.exp(-_STEEPNESS * (pairs.distances(X) - pairs.contact[:, None]))
    energies = _DEPTH * (bond**2 - 2.0 * bond).sum(axis=0)
    return float(energies.max() - max(energies[0], energies[-1]))


def log_length(X: NDArray[np.float64], coordinates: Coordinates) -> float:
    """Length of a path in logarithms of distances: ``sum_i max_{a<b} |ln r_ab(x_{i+1}) - ln r_ab(x_i)|``.

    Parameters
    ----------
    X
        (M+2, n) band, Å.
    coordinates
        The free components and the template.
    """
    pairs = Pairs.along(X[0], X[-1], coordinates)
    if not len(pairs):
        return 0.0
    return float(np.abs(np.diff(np.log(pairs.distances(X)), axis=1)).max(axis=0).sum())


def close_contacts(X: NDArray[np.float64], coordinates: Coordinates, fraction: float = 0.55) -> list[Contact]:
    """Pairs of atoms closer than a fraction of the sum of their covalent radii, anywhere on a path.

    Parameters
    ----------
    X
        (M+2, n) band, Å.
    coordinates
        The free components and the template.
    fraction
        Of the sum of covalent radii; 0.5 to 0.6 finds what no chemistry explains.

    Returns
    -------
    One entry per image and pair, closest first. Pairs of two fixed atoms never count.

    Examples
    --------
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> X = np.array([[0, 0, 0, 0, 0, 1.2], [0, 0, 0, 0, 0, 0.5]])
    >>> close_contacts(X, Coordinates.of(Atoms("CO")))
    [Contact(image=1, first=0, second=1, distance=0.5)]
    """
    numbers = np.unique(coordinates.template.numbers)
    reach = 2.0 * fraction * covalent_radii[numbers].max()
    contacts = []
    for image, x in enumerate(X):
        pairs = Pairs.along(x, x, coordinates, cutoff=reach)
        distances = pairs.distances(x[None])[:, 0]
        contacts += [
            Contact(image, int(pairs.first[p]), int(pairs.second[p]), float(distances[p]))
            for p in np.flatnonzero(distances < fraction * pairs.contact)
        ]
    return sorted(contacts, key=lambda contact: contact.distance)


def perturb(
    X: NDArray[np.float64], coordinates: Coordinates, amplitude: float, seed: int, modes: int = 3
) -> NDArray[np.float64]:
    """Bend a path at random and smoothly: ``x_i + sum_{q=1}^{modes} v_q sin(π q i/(M+1))``.

    Parameters
    ----------
    X
        (M+2, n) band, Å.
    coordinates
        The free components and the template. Rigid motion is taken out of the displacements of free molecules.
    amplitude
        Standard deviation of the components of the Gaussian vectors v_q, Å.
    seed
        Of the random numbers.
    modes
        Number of half waves.

    Returns
    -------
    (M+2, n) band in Å with the same end points.
    """
    vectors = np.random.default_rng(seed).normal(scale=amplitude, size=(modes, coordinates.size))
    t = np.linspace(0.0, 1.0, len(X))[1:-1]
    moves = np.sin(np.pi * np.outer(t, np.arange(1, modes + 1))) @ vectors
    if coordinates.rigid:
        moves = project_out(rigid_bases(X[1:-1]), moves)
    return np.concatenate([X[:1], X[1:-1] + moves, X[-1:]])
