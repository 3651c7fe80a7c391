"""Assembled matrices, products and energies against dolfinx's own assembly and plain NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array

from sciopt.topopt.fenicsx.assembly import StiffnessMatrix
from sciopt.topopt.fenicsx.cells import cell_shapes
from sciopt.topopt.fenicsx.elements import Elements, lame_constants
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx, ufl
from sciopt.topopt.fenicsx.near_nullspace import near_nullspace, rigid_motions
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics

SHAPES = {"triangle": (4, 3), "quadrilateral": (4, 3), "tetrahedron": (2, 3, 2), "hexahedron": (2, 3, 2)}


def make_space(cell: str, physics: Physics, distorted: bool = True):
    shape = SHAPES[cell]
    dim = len(shape)
    make = dolfinx.mesh.create_rectangle if dim == 2 else dolfinx.mesh.create_box
    mesh = make(MPI.COMM_SELF, [[0.0] * dim, list(shape)], shape, dolfinx.mesh.CellType[cell])
    if distorted:
        mesh.geometry.x[:, :dim] += np.random.default_rng(1).uniform(-0.15, 0.15, (len(mesh.geometry.x), dim))
    element = ("Lagrange", 1) if isinstance(physics, Conduction) else ("Lagrange", 1, (dim,))
    return dolfinx.fem.functionspace(mesh, element)


def scipy_matrix(matrix) -> csr_array:
    start, columns, values = matrix.getValuesCSR()
    return csr_array((values, columns, start), shape=matrix.getSize())


def by_dolfinx(space, physics: Physics, E: np.ndarray) -> csr_array:
    """The same matrix from the weak form."""
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    modulus = dolfinx.fem.Function(dolfinx.fem.functionspace(space.mesh, ("DG", 0)))
    modulus.x.array[:] = E
    if isinstance(physics, Conduction):
        density = ufl.inner(ufl.grad(u), ufl.grad(v))
    else:
        lam, mu = lame_constants(physics, space.mesh.topology.dim)
        strain = ufl.sym(ufl.grad(u))
        stress = lam * ufl.tr(strain) * ufl.Identity(len(u)) + 2.0 * mu * strain
        density = ufl.inner(stress, ufl.sym(ufl.grad(v)))
    # Two points of Gauss per axis: degree 3 for products of linear functions, which rational integrands need not be.
    form = dolfinx.fem.form(modulus * density * ufl.dx(metadata={"quadrature_degree": 3}))
    matrix = dolfinx.fem.petsc.assemble_matrix(form)
    matrix.assemble()
    found = scipy_matrix(matrix)
    matrix.destroy()
    return found


def element_matrices(space, physics: Physics) -> np.ndarray:
    """``Σ_q w Bᵀ C B`` of every cell in plain NumPy, unknowns node by node."""
    shapes = cell_shapes(space.mesh)
    G, w = shapes.gradients[shapes.kind], shapes.weights[shapes.kind]
    if isinstance(physics, Conduction):
        return np.einsum("kq,kqai,kqbi->kab", w, G, G)
    dim = G.shape[-1]
    lam, mu = lame_constants(physics, dim)
    one = np.eye(dim)
    C = lam * np.einsum("ij,kl->ijkl", one, one)
    C += mu * (np.einsum("ik,jl->ijkl", one, one) + np.einsum("il,jk->ijkl", one, one))
    matrices = np.einsum("eq,eqaj,ijkl,eqbl->eaibk", w, G, C, G)
    size = G.shape[2] * dim
    return matrices.reshape(-1, size, size)


CASES = [
    *[(cell, Elasticity(0.3)) for cell in SHAPES],
    *[(cell, Conduction()) for cell in SHAPES],
    ("triangle", Elasticity(0.4, "strain")),
    ("quadrilateral", Elasticity(0.2, "strain")),
]


@pytest.mark.parametrize("distorted", [False, True])
@pytest.mark.parametrize(("cell", "physics"), CASES)
def test_everything_equals_dolfinx_and_numpy(
    cell: str, physics: Physics, distorted: bool, rng: np.random.Generator
) -> None:
    space = make_space(cell, physics, distorted)
    elements = Elements(space, physics)
    # On the spot: elastic solids whose cells all differ; with a table: the others.
    on_the_spot = distorted and len(SHAPES[cell]) == 3 and isinstance(physics, Elasticity)
    assert (len(elements.cells.table) == 0) == on_the_spot
    unknowns, cells = elements.unknowns, elements.cells.kind.size
    E = rng.uniform(0.1, 2.0, cells)
    stiffness = StiffnessMatrix(elements, np.zeros(unknowns, bool), np.zeros(unknowns))
    assert stiffness.assemble(rng.uniform(size=cells))
    assert stiffness.assemble(E)  # nothing of the first one stays
    seen, expected = scipy_matrix(stiffness.matrix), by_dolfinx(space, physics, E)
    scale = np.abs(expected.data).max()
    assert np.abs((seen - expected).toarray()).max() < 2e-14 * scale
    u, v = rng.standard_normal((2, unknowns))
    np.testing.assert_allclose(elements.product(E, u), expected @ u, atol=1e-12 * scale)
    matrices = element_matrices(space, physics)
    c = elements.components
    at = (c * space.dofmap.list[:, :, None] + np.arange(c)).reshape(cells, -1)
    np.testing.assert_allclose(elements.energies(u, v), np.einsum("ki,kij,kj->k", u[at], matrices, v[at]), rtol=1e-11)
    np.testing.assert_allclose(elements.energies(u), np.einsum("ki,kij,kj->k", u[at], matrices, u[at]), rtol=1e-11)


@pytest.mark.parametrize("cell", SHAPES)
def test_rigid_motions_cost_nothing(cell: str) -> None:
    space = make_space(cell, Elasticity())
    elements = Elements(space, Elasticity())
    dim = len(SHAPES[cell])
    E = np.ones(elements.cells.kind.size)
    for motion in rigid_motions(space.tabulate_dof_coordinates()[:, :dim]):
        assert np.abs(elements.product(E, motion.ravel())).max() < 1e-13
        assert np.abs(elements.energies(motion.ravel())).max() < 1e-13
    stiffness = StiffnessMatrix(elements, np.zeros(elements.unknowns, bool), np.zeros(elements.unknowns))
    stiffness.assemble(E)
    vectors = near_nullspace(space, stiffness.matrix).getVecs()
    assert len(vectors) == {2: 3, 3: 6}[dim]
    for one, a in enumerate(vectors):
        assert (stiffness.matrix * a).norm() < 1e-13
        for other, b in enumerate(vectors):
            assert a.dot(b) == pytest.approx(float(one == other), abs=1e-12)


def test_fixed_rows_are_empty_and_keep_a_diagonal_of_their_size(rng: np.random.Generator) -> None:
    space = make_space("quadrilateral", Elasticity())
    elements = Elements(space, Elasticity())
    unknowns, cells = elements.unknowns, elements.cells.kind.size
    springs = np.where(rng.random(unknowns) < 0.2, 3.0, 0.0)
    E = np.ones(cells)
    left = space.mesh.geometry.x[space.mesh.geometry.dofmaps[0]][:cells, :, 0].mean(axis=1) < 1.2
    E[left] = 0.0
    fixed = np.repeat(space.tabulate_dof_coordinates()[:, 0] < 0.5, 2)
    fixed[rng.integers(0, unknowns, 5)] = True
    plain = StiffnessMatrix(elements, np.zeros(unknowns, bool), np.zeros(unknowns))
    assert not plain.assemble(E)  # the nodes on the left hang on nothing
    held = StiffnessMatrix(elements, fixed, springs)
    assert held.assemble(E)
    expected, seen = scipy_matrix(plain.matrix).toarray(), scipy_matrix(held.matrix).toarray()
    expected[np.ix_(fixed, fixed)] = np.diag(seen.diagonal()[fixed])
    diagonal = scipy_matrix(plain.matrix).toarray().diagonal()
    untouched = np.repeat(np.isclose(space.tabulate_dof_coordinates()[:, 0], 0.0, atol=0.3), 2)
    expected[fixed, :] = expected[:, fixed] = 0.0
    expected += np.diag(np.where(fixed, 0.0, springs))
    free = ~fixed
    np.testing.assert_allclose(seen[np.ix_(free, free)], expected[np.ix_(free, free)], atol=1e-14)
    assert not seen[np.ix_(fixed, free)].any() and not seen[np.ix_(free, fixed)].any()
    inside = fixed & ~untouched
    np.testing.assert_allclose(seen.diagonal()[inside], diagonal[inside], rtol=1e-13)
    largest = seen.diagonal()[~untouched].max()
    np.testing.assert_allclose(seen.diagonal()[untouched], largest, rtol=1e-13)
    assert np.count_nonzero(seen[fixed]) == fixed.sum()
    assert held.matrix.getBlockSize() == 2


def test_two_ranks_assemble_the_same(mpi: Callable[..., str]) -> None:
    script = """
import numpy as np
from sciopt.topopt.fenicsx.assembly import StiffnessMatrix
from sciopt.topopt.fenicsx.elements import Elements
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.structure import cell_corners
from sciopt.topopt.grid.element import Elasticity

found = []
for cell, comm in (("quadrilateral", MPI.COMM_SELF), ("quadrilateral", MPI.COMM_WORLD),
                   ("tetrahedron", MPI.COMM_SELF), ("tetrahedron", MPI.COMM_WORLD)):
    dim = 2 if cell == "quadrilateral" else 3
    if dim == 2:
        mesh = dolfinx.mesh.create_unit_square(comm, 7, 5, dolfinx.mesh.CellType[cell])
    else:
        mesh = dolfinx.mesh.create_unit_cube(comm, 4, 3, 3, dolfinx.mesh.CellType[cell])
    space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1, (dim,)))
    elements = Elements(space, Elasticity())
    x = space.tabulate_dof_coordinates()[: space.dofmap.index_map.size_local, :dim]
    centres = cell_corners(mesh).mean(axis=1)
    E = 1.0 + np.sin(9.0 * centres @ np.arange(1.0, dim + 1.0))
    u, v = (np.cos(k * x + x[:, ::-1]).ravel() for k in (3.0, 5.0))
    fixed = np.repeat(x[:, 0] < 0.2, dim)
    springs = np.where(x.ravel() > 0.9, 1.0, 0.0)
    stiffness = StiffnessMatrix(elements, fixed, springs)
    assert stiffness.assemble(1.0 + E) and stiffness.assemble(E)
    a, b = stiffness.matrix.createVecs()
    a.array[:] = u
    stiffness.matrix.mult(a, b)
    numbers = [v @ b.array, v @ elements.product(E, u), elements.energies(u, v) @ E]
    found.append([b.norm(), *(comm.allreduce(float(n)) for n in numbers)])
if MPI.COMM_WORLD.rank == 0:
    print(*np.ravel(found))
"""
    one, two = np.array(mpi(script).split(), dtype=float).reshape(2, 2, 4).swapaxes(0, 1)
    np.testing.assert_allclose(two, one, rtol=1e-12)
    np.testing.assert_allclose(one[:, 2], one[:, 3], rtol=1e-12)
