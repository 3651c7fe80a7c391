"""Cheap curvature models of a potential, from the geometry alone: where a quasi-Newton method starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from ase.units import Bohr, Hartree
from numba import njit
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from sciopt.core.errors import InputError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

    from sciopt.neb.coordinates import Coordinates

__all__ = ["lindh", "model_hessian", "pair_stiffness", "shortest_pairs"]

STRETCH, BEND, TORSION = 0.45, 0.15, 0.005  # Hartree/Bohr², Hartree/rad², Hartree/rad²
RANGE = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])  # 1/Bohr², by period
REFERENCE = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])  # Bohr, by period
WEAKEST = 1e-5  # Hartree/rad²: weaker bends and torsions are left out
STRAIGHT = 0.94  # |cos| beyond which an angle counts as more and more straight (160°)
CUTOFF = 5.0  # Å
SINGLE_PARTICLE = 20.0  # eV/Å²


def lindh(numbers: ArrayLike, positions: ArrayLike) -> NDArray[np.float64]:
    """Hessian of a free molecule by the model of Lindh and co-workers.

    ``H = Σ k_q ∇q ∇qᵀ`` over all stretches, bends and torsions q, with ``k = 0.45 ρ_ij``, ``0.15 ρ_ij ρ_jk`` and
    ``0.005 ρ_ij ρ_jk ρ_kl`` (atomic units) and ``ρ_ij = exp(α_ij (r_ref,ij² − r_ij²))``. Elements beyond the third
    period use its row of the table.

    Two additions keep H finite and continuous where angles become straight: torsions fade out as one of their two
    angles passes 160°, and the bend out of the plane fades in, so that a linear group has both of its bends. What
    that second bend does to a rotation of the whole molecule is projected out: H is positive semi-definite and
    vanishes exactly on rigid motion.

    Parameters
    ----------
    numbers
        (N,) atomic numbers.
    positions
        (N, 3) in Å.

    Returns
    -------
    (3N, 3N) symmetric matrix in eV/Å².

    Raises
    ------
    ShapeError
        When positions is not (N, 3).
    InputError
        When two atoms lie on top of each other.

    References
    ----------
    Lindh, Bernhardsson, Karlström, Malmqvist, Chem. Phys. Lett. 241, 423 (1995), doi:10.1016/0009-2614(95)00646-L

    Examples
    --------
    >>> H = lindh([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> H.shape, bool(abs(H[2, 2] + H[2, 5]) < 1e-12)
    ((6, 6), True)
    """
    numbers = np.asarray(numbers)
    positions = np.ascontiguousarray(positions, dtype=float)
    if positions.shape != (len(numbers), 3):
        raise ShapeError(f"positions have shape {positions.shape}, {len(numbers)} atomic numbers need (N, 3)")
    rows = np.where(numbers <= 2, 0, np.where(numbers <= 10, 1, 2))
    distance2 = np.sum((positions[:, None] - positions) ** 2, axis=-1) / Bohr**2
    _reject_coincident(*np.nonzero((distance2 < 1e-12) & ~np.eye(len(numbers), dtype=bool)))
    damping = np.exp(RANGE[rows[:, None], rows] * (REFERENCE[rows[:, None], rows] ** 2 - distance2))
    np.fill_diagonal(damping, 0.0)
    hessian = _internal_coordinate_hessian(positions / Bohr, damping) * (Hartree / Bohr**2)
    rigid = _rigid_motions(positions)
    hessian -= rigid @ (rigid.T @ hessian)
    hessian -= (hessian @ rigid) @ rigid.T
    return 0.5 * (hessian + hessian.T)


def shortest_pairs(structures: Sequence[Atoms], cutoff: float = CUTOFF) -> dict[tuple[int, int], float]:
    """Shortest distance of every pair of species met in some structures, in Å; periodic images count.

    Pairs of species that never come closer than `cutoff` (Å) are absent. Keys are atomic numbers, the smaller first.

    Examples
    --------
    >>> from ase.build import bulk
    >>> {pair: round(r, 3) for pair, r in shortest_pairs([bulk("Cu", a=3.6)]).items()}
    {(29, 29): 2.546}
    """
    shortest: dict[tuple[int, int], float] = {}
    for atoms in structures:
        everyone = np.arange(len(atoms))
        i, j, vectors = _neighbours(atoms, atoms.positions, everyone, cutoff)
        pairs = np.sort(np.column_stack([atoms.numbers[i], atoms.numbers[j]]), axis=1)
        species, which = np.unique(pairs, axis=0, return_inverse=True)
        least = np.full(len(species), np.inf)
        np.minimum.at(least, which.ravel(), np.linalg.norm(vectors, axis=1))
        for (a, b), r in zip(species.tolist(), least.tolist(), strict=True):
            shortest[a, b] = min(r, shortest.get((a, b), np.inf))
    return shortest


def pair_stiffness(
    coordinates: Coordinates,
    x: NDArray[np.float64],
    r0: Mapping[tuple[int, int], float],
    *,
    strength: float = 4.0,
    decay: float = 3.0,
    cutoff: float = CUTOFF,
) -> csr_array:
    """Stiffness of central springs between near atoms: the model for surfaces, solids and clusters.

    ``K = Σ_pairs c (e_i − e_j)(e_i − e_j)ᵀ ⊗ û ûᵀ`` with ``c = strength · exp(−decay (r/r0 − 1))`` and û the unit
    vector of the pair: the Hessian of springs ``½ c (r − r_now)²``. All periodic images within the cutoff count.
    Fixed components are left out, so that a pair of a moving and a fixed atom holds the moving one in place.

    Parameters
    ----------
    coordinates
        The free components and the cell.
    x
        (n,) free components in Å.
    r0
        Reference distance in Å of each pair of atomic numbers, the smaller first (`shortest_pairs`). For a pair of
        species not listed it is the sum of the covalent radii.
    strength
        Stiffness at r0 in eV/Å².
    decay
        How fast the stiffness falls with r/r0.
    cutoff
        Longest pair in Å.

    Returns
    -------
    (n, n) symmetric positive semi-definite CSR matrix in eV/Å².

    Raises
    ------
    InputError
        When two atoms lie on top of each other.

    References
    ----------
    Packwood et al., J. Chem. Phys. 144, 164109 (2016), doi:10.1063/1.4947024: the exponential weight. They use it in
    a graph Laplacian, which also resists displacements across a bond; here only the change of length costs energy.

    Examples
    --------
    >>> from ase import Atoms
    >>> from ase.constraints import FixAtoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]], constraint=FixAtoms([0]))
    >>> pair_stiffness(Coordinates.of(dimer), dimer.positions[1], {(29, 29): 2.5}).toarray().diagonal()
    array([0., 0., 4.])
    """
    atoms = coordinates.template
    i, j, vectors = _neighbours(atoms, coordinates.positions(x), coordinates.moving, cutoff)
    r = np.linalg.norm(vectors, axis=1)
    stiffness = strength * np.exp(-decay * (r / _reference_distances(atoms.numbers, r0)[i, j] - 1.0))
    unit = vectors / r[:, None]
    blocks = (stiffness[:, None] * unit)[:, :, None] * unit[:, None, :]

    component = np.full((len(atoms), 3), -1)
    component.flat[coordinates.free] = np.arange(coordinates.size)
    own = np.array([np.bincount(i, b, len(atoms)) for b in blocks.reshape(-1, 9).T]).T.reshape(-1, 3, 3)
    both = component[j].max(axis=1) >= 0
    # An atom and its own periodic image never change their distance: their two blocks cancel in the sum.
    first = np.concatenate([i[both], coordinates.moving])
    second = np.concatenate([j[both], coordinates.moving])
    values = np.concatenate([-blocks[both], own[coordinates.moving]])
    rows = np.broadcast_to(component[first][:, :, None], values.shape).ravel()
    columns = np.broadcast_to(component[second][:, None, :], values.shape).ravel()
    free = (rows >= 0) & (columns >= 0)
    matrix = coo_array((values.ravel()[free], (rows[free], columns[free])), shape=(coordinates.size,) * 2)
    return csr_array(matrix)


def model_hessian(
    coordinates: Coordinates, x: NDArray[np.float64], r0: Mapping[tuple[int, int], float]
) -> NDArray[np.float64] | csr_array:
    """The curvature model that suits the system, (n, n) in eV/Å² at the free components `x` (n,) in Å.

    Free molecules: `lindh`, dense. One single atom: 20 times the identity, dense. Everything else: `pair_stiffness`
    with the reference distances `r0`, sparse. The model is only semi-definite; add a multiple of the identity
    before inverting it.

    Examples
    --------
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> model_hessian(Coordinates.of(Atoms("H")), np.zeros(3), {}).diagonal()
    array([20., 20., 20.])
    """
    if len(coordinates.template) == 1:
        return SINGLE_PARTICLE * np.eye(coordinates.size)
    if coordinates.rigid:
        whole = lindh(coordinates.template.numbers, coordinates.positions(x))
        return whole[np.ix_(coordinates.free, coordinates.free)]
    return pair_stiffness(coordinates, x, r0)


def _reference_distances(numbers: NDArray[np.int64], r0: Mapping[tuple[int, int], float]) -> NDArray[np.float64]:
    """(N, N) reference distances in Å."""
    species, which = np.unique(numbers, return_inverse=True)
    table = np.array([[r0.get((min(a, b), max(a, b)), covalent_radii[[a, b]].sum()) for a in species] for b in species])
    return table[which[:, None], which]


def _neighbours(
    atoms: Atoms, positions: NDArray[np.float64], centres: NDArray[np.intp], cutoff: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pairs (i, j, vector from i to j in Å) within the cutoff: i among `centres`, j any atom or periodic image."""
    cell = atoms.cell.complete().array
    fractional = np.linalg.solve(cell.T, positions.T).T
    wrapped = positions - np.where(atoms.pbc, np.floor(fractional), 0.0) @ cell
    # Wrapped atoms are less than one cell apart, hence the one extra shift each way.
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.where(atoms.pbc, np.floor(cutoff / heights).astype(int) + 1, 0)
    shifts = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    images = (shifts @ cell)[:, None] + wrapped
    centre_positions = wrapped[centres]
    low, high = centre_positions.min(axis=0) - cutoff, centre_positions.max(axis=0) + cutoff
    shift, source = np.nonzero(((images >= low) & (images <= high)).all(axis=-1))
    near = images[shift, source]
    found = cKDTree(centre_positions).sparse_distance_matrix(cKDTree(near), cutoff, output_type="ndarray")
    i, j = centres[found["i"]], source[found["j"]]
    itself = (i == j) & ~shifts[shift[found["j"]]].any(axis=1)
    i, j, found = i[~itself], j[~itself], found[~itself]
    on_top = found["v"] < 1e-6
    _reject_coincident(i[on_top], j[on_top])
    return i, j, near[found["j"]] - centre_positions[found["i"]]


def _reject_coincident(i: NDArray[np.intp], j: NDArray[np.intp]) -> None:
    if len(i):
        raise InputError(
            f"atoms {i[0]} and {j[0]} are at the same position; check the order of atoms in the end points"
        )


def _rigid_motions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal basis (3N, 3 to 6) of the translations and rotations of some positions."""
    centred = positions - positions.mean(axis=0)
    motions = [np.tile(axis, (len(positions), 1)) for axis in np.eye(3)]
    motions += [np.cross(axis, centred) for axis in np.eye(3)]
    basis, size, _ = np.linalg.svd(np.reshape(motions, (6, -1)).T, full_matrices=False)
    return basis[:, size > 1e-8 * size[0]]


@njit(cache=True)
def _straightness(cosine):
    """Zero for bent angles, one for straight ones (0° and 180°), smooth in between."""
    t = max(0.0, (abs(cosine) - STRAIGHT) / (1.0 - STRAIGHT))
    t = min(1.0, t)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True)
def _add(hessian, atoms, gradient, stiffness):
    """Add ``stiffness · g gᵀ`` for a gradient (m, 3) on m atoms."""
    for p in range(len(atoms)):
        for a in range(3):
            weight = stiffness * gradient[p, a]
            for q in range(len(atoms)):
                for b in range(3):
                    hessian[3 * atoms[p] + a, 3 * atoms[q] + b] += weight * gradient[q, b]


@njit(cache=True)
def _normal(u, v):
    """Unit vector perpendicular to two unit vectors; any one perpendicular to u where they are parallel."""
    n = np.cross(u, v)
    size = np.sqrt(n @ n)
    if size < 1e-7:
        axis = np.zeros(3)
        axis[np.argmin(np.abs(u))] = 1.0
        n = np.cross(u, axis)
        size = np.sqrt(n @ n)
    return n / size


@njit(cache=True)
def _internal_coordinate_hessian(p, damping):
    """``Σ k ∇q ∇qᵀ`` in atomic units: positions (N, 3) in Bohr, damping (N, N) with a zero diagonal."""
    n = len(p)
    hessian = np.zeros((3 * n, 3 * n))
    distance = np.ones((n, n))
    unit = np.zeros((n, n, 3))
    g2, g3, g4 = np.empty((2, 3)), np.empty((3, 3)), np.empty((4, 3))
    for i in range(n):
        for j in range(n):
            if i != j:
                d = p[j] - p[i]
                distance[i, j] = np.sqrt(d @ d)
                unit[i, j] = d / distance[i, j]
        for j in range(i):
            g2[0] = unit[i, j]
            g2[1] = -unit[i, j]
            _add(hessian, (i, j), g2, STRETCH * damping[i, j])

    for j in range(n):
        for i in range(n):
            for k in range(i):
                stiffness = BEND * damping[i, j] * damping[j, k]
                if stiffness < WEAKEST:
                    continue
                u, v = unit[j, i], unit[j, k]
                cosine = u @ v
                normal = _normal(u, v)
                g3[0] = np.cross(u, normal) / distance[i, j]
                g3[2] = np.cross(normal, v) / distance[j, k]
                g3[1] = -g3[0] - g3[2]
                _add(hessian, (i, j, k), g3, stiffness)
                straight = _straightness(cosine)
                if straight > 0.0:
                    g3[0] = normal / distance[i, j]
                    g3[2] = -np.sign(cosine) * normal / distance[j, k]
                    g3[1] = -g3[0] - g3[2]
                    _add(hessian, (i, j, k), g3, stiffness * straight)

    for j in range(n):
        for k in range(j):
            for i in range(n):
                outer = TORSION * damping[i, j] * damping[j, k]
                if i == k or outer * np.max(damping[k]) < WEAKEST:
                    continue
                cos_j = unit[j, i] @ unit[j, k]
                bent_j = 1.0 - _straightness(cos_j)
                for m in range(n):
                    if m == i or m == j or outer * damping[k, m] < WEAKEST:
                        continue
                    cos_k = unit[k, m] @ unit[k, j]
                    bent = bent_j * (1.0 - _straightness(cos_k))
                    if bent <= 1e-12:
                        continue
                    axis = unit[j, k]
                    # dφ/dr of the end atoms is perpendicular to their plane, 1/(distance from the axis) long.
                    g4[0] = np.cross(axis, unit[j, i]) / (distance[i, j] * (1.0 - cos_j**2))
                    g4[3] = np.cross(unit[k, m], axis) / (distance[k, m] * (1.0 - cos_k**2))
                    along_i = cos_j * distance[i, j] / distance[j, k]
                    along_m = cos_k * distance[k, m] / distance[j, k]
                    g4[1] = (along_i - 1.0) * g4[0] - along_m * g4[3]
                    g4[2] = -g4[0] - g4[1] - g4[3]
                    _add(hessian, (i, j, k, m), g4, outer * damping[k, m] * bent)
    return hessian
