"""Put configurations next to each other: rotation, rigid motion and the minimum image convention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import find_mic

from sciopt.core.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.neb.coordinates import Coordinates

__all__ = ["align", "align_band", "project_out", "remove_rigid", "rigid_bases", "rigid_basis", "rotation", "unwrap"]

# A molecule counts as linear when its smallest moment is this fraction of the largest: atoms within about 0.1 % of
# its length from a line. Turning about that line is then no motion that a finite step could follow.
_LINEAR = 1e-6
_LEVI_CIVITA = np.array(
    [[[0, 0, 0], [0, 0, 1], [0, -1, 0]], [[0, 0, -1], [0, 0, 0], [1, 0, 0]], [[0, 1, 0], [-1, 0, 0], [0, 0, 0]]],
    dtype=float,
)


def align(reference: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move and turn `positions` onto `reference` with the least root mean square distance.

    ``min_{R, t} sum_i |reference_i - R positions_i - t|^2`` over proper rotations R: a mirror image is never used.

    Parameters
    ----------
    reference
        (N, 3) positions in Å.
    positions
        (N, 3) positions in Å of the same atoms in the same order.

    Returns
    -------
    (N, 3) positions in Å.

    Raises
    ------
    ShapeError
        When the two do not have the same shape (N, 3).

    References
    ----------
    W. Kabsch, Acta Cryst. A 32, 922 (1976), doi:10.1107/S0567739476001873.

    Examples
    --------
    >>> bent = np.array([[0.0, 0.8, 0.6], [0.0, 0.0, 0.0], [0.0, -0.8, 0.6]])
    >>> turned = bent @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]] + 5.0
    >>> np.allclose(align(bent, turned), bent)
    True
    """
    reference, positions = np.asarray(reference, dtype=float), np.asarray(positions, dtype=float)
    turned = (positions - positions.mean(axis=0)) @ rotation(reference, positions)
    return turned + reference.mean(axis=0)


def rotation(reference: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The proper rotation R (3, 3) with which ``positions @ R`` is closest to `reference`, both (N, 3), up to shifts.

    Forces at `positions` turn with the same R. Raises ShapeError as :func:`align` does.
    """
    if reference.shape != positions.shape or reference.shape[1:] != (3,):
        raise ShapeError(
            f"reference has shape {reference.shape} and positions {positions.shape}, expected the same (N, 3) twice; "
            "compare configurations with the same atoms"
        )
    moved = positions - positions.mean(axis=0)
    left, _, right = np.linalg.svd(moved.T @ (reference - reference.mean(axis=0)))
    if np.linalg.det(left) * np.linalg.det(right) < 0.0:
        left[:, 2] = -left[:, 2]
    return np.asarray(left @ right)


def align_band(X: NDArray[np.float64], sweeps: int = 20, tolerance: float = 1e-3) -> NDArray[np.float64]:
    """Turn and move the images of a free molecule so that the path through them is short; both ends stay.

    Each movable image is aligned to the mean of its neighbours, forwards and backwards along the band, which lowers
    ``sum_i |x_{i+1} - x_i|^2`` over rigid motions only.

    Parameters
    ----------
    X
        (M+2, 3N) band in Å.
    sweeps
        Largest number of passes over the band.
    tolerance
        Stop when no coordinate moved by more than this in a pass, Å.

    Returns
    -------
    (M+2, 3N) band in Å with the same interatomic distances.
    """
    X = np.array(X, dtype=float)
    inner = range(1, len(X) - 1)
    for sweep in range(sweeps):
        before = X.copy()
        for i in inner if sweep % 2 == 0 else reversed(inner):
            middle = (X[i - 1] + X[i + 1]) / 2.0
            X[i] = align(middle.reshape(-1, 3), X[i].reshape(-1, 3)).ravel()
        if np.abs(X - before).max() < tolerance:
            break
    return X


def rigid_basis(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal translations and infinitesimal rotations of a free molecule.

    The rotations ``a_k × (r - center)`` about the principal axes of the (unweighted) atoms are orthogonal to each
    other and to the translations, so each only needs its length, the square root of the moment about a_k.

    Parameters
    ----------
    x
        (3N,) positions in Å; all atoms are free.

    Returns
    -------
    (k, 3N): k = 6, 5 for linear molecules, 3 for a single atom.

    Raises
    ------
    ShapeError
        When x is not whole atoms.

    Examples
    --------
    >>> rigid_basis(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.1])).shape
    (5, 6)
    """
    x = np.asarray(x, dtype=float)
    if x.ndim != 1 or x.size % 3:
        raise ShapeError(
            f"x has shape {x.shape}, expected (3 N,): rigid motion is only removed from free molecules, whose atoms "
            "are all free; set rigid=False where atoms are constrained"
        )
    rows = rigid_bases(x[None])[0]
    return rows[rows.any(axis=1)]


def rigid_bases(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rigid motions of many configurations at once: (K, 3N) positions to (K, 6, 3N); see :func:`rigid_basis`.

    A motion that does not exist (about the axis of a linear molecule) is a row of zeros.
    """
    images, n = X.shape
    r = X.reshape(images, -1, 3)
    natoms = r.shape[1]
    r = r - r.sum(axis=1, keepdims=True) / natoms
    squares, axes = np.linalg.eigh(r.transpose(0, 2, 1) @ r)
    moments = squares.sum(axis=1, keepdims=True) - squares
    exists = moments > _LINEAR * moments.max(axis=1, keepdims=True)
    # The vector product with each principal axis, divided by the length of the rotation it generates.
    scale = exists / np.sqrt(np.where(exists, moments, 1.0))
    generators = (axes.transpose(0, 2, 1) * scale[:, :, None]) @ _LEVI_CIVITA.reshape(3, 9)
    rows = np.zeros((images, 6, n))
    for axis in range(3):
        rows[:, axis, axis::3] = natoms**-0.5
    rows[:, 3:] = (r[:, None] @ generators.reshape(images, 3, 3, 3)).reshape(images, 3, n)
    return rows


def project_out(bases: NDArray[np.float64], V: NDArray[np.float64]) -> NDArray[np.float64]:
    """One vector per configuration, (K, n), without its part in the orthonormal rows of (K, k, n) `bases`."""
    return V - ((V[:, None] @ bases.transpose(0, 2, 1)) @ bases)[:, 0]


def remove_rigid(x: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take translation and rotation out of vectors at one configuration: ``v - sum_k (v·b_k) b_k``.

    Parameters
    ----------
    x
        (3N,) positions in Å.
    v
        (..., 3N) forces, steps or tangents.

    Returns
    -------
    (..., 3N) in the units of v.

    Examples
    --------
    >>> water = np.array([0.0, 0.76, 0.6, 0.0, 0.0, 0.0, 0.0, -0.76, 0.6])
    >>> bool(np.abs(remove_rigid(water, np.ones(9))).max() < 1e-12)
    True
    """
    basis = rigid_basis(x)
    return v - (v @ basis.T) @ basis


def unwrap(
    initial: NDArray[np.float64], final: NDArray[np.float64], coordinates: Coordinates
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move atoms of the final configuration by lattice vectors so that each takes the short way.

    Fixed components never change: an atom whose nearest image would need that stays where it was given.

    Parameters
    ----------
    initial, final
        (n,) free coordinates of the end points, Å.
    coordinates
        Where the cell and its periodicity come from.

    Returns
    -------
    final
        (n,) the same configuration, nearest to `initial`, Å.
    moved
        (N,) distance each atom moves along the straight path, Å.

    Examples
    --------
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> coordinates = Coordinates.of(Atoms("Ar", cell=[5, 5, 5], pbc=True))
    >>> final, moved = unwrap(np.array([4.5, 0.0, 0.0]), np.array([0.5, 0.0, 0.0]), coordinates)
    >>> final, moved
    (array([5.5, 0. , 0. ]), array([1.]))
    """
    start, end = coordinates.positions(initial), coordinates.positions(final)
    way = end - start
    pbc = coordinates.template.pbc
    # Without its aperiodic vectors: a slanted one sends find_mic too few cells far for long ways.
    nearest, _ = find_mic(way, coordinates.template.cell * pbc[:, None], pbc)
    shift = nearest - way
    fixed = np.ones(way.size, dtype=bool)
    fixed[coordinates.free] = False
    reachable = ~(fixed.reshape(-1, 3) & (np.abs(shift) > 1e-9)).any(axis=1)
    # Untouched atoms keep their coordinates to the last bit; find_mic rounds even where it changes nothing.
    reachable &= np.abs(shift).max(axis=1) > 1e-9
    way = np.where(reachable[:, None], nearest, way)
    end = np.where(reachable[:, None], start + nearest, end)
    return coordinates.reduce(end), np.linalg.norm(way, axis=1)
