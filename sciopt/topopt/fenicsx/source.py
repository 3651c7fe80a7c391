"""Describe a structure on a mesh, one call after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.described import Described, Said
from sciopt.topopt.fenicsx.groups import Groups, groups_of_tags
from sciopt.topopt.fenicsx.nodes import Nodes, by_unknown, function_space
from sciopt.topopt.fenicsx.read_mesh import GroupedMesh, mesh_from_model, read_mesh
from sciopt.topopt.fenicsx.regions import MeshRegion, MeshRegions
from sciopt.topopt.fenicsx.structure import MeshStructure
from sciopt.topopt.lattice import AXES

__all__ = ["FEniCSx"]

# The normals of a plane of symmetry may differ by this from an axis, in radians.
_STRAIGHT = 1e-6


@dataclass(frozen=True, eq=False)
class FEniCSx(Described):
    """A dolfinx mesh of any shape with supports, loads and passive regions: `Grid` for meshes.

    Every call returns a new one. Regions are explained in `sciopt.topopt.fenicsx.regions`: names of physical groups,
    points, `Line`, `Block`, `Ball`, faces of the box around the mesh, functions of the coordinates. On several ranks
    all must say the same.

    Parameters
    ----------
    mesh
        A dolfinx mesh of triangles, quadrilaterals, tetrahedra or hexahedra with straight edges; what
        ``dolfinx.io.gmsh`` returns; or the name of a file, see `read`. Coordinates in units of length.
    cell_tags, facet_tags
        Physical groups of cells and facets, as dolfinx MeshTags.
    names
        Numbers of tags by name; or pairs (dimension, number), as in ``dolfinx.io.gmsh.MeshData.physical_groups``.
    physics
        ``"elasticity"``, with displacements and forces, or ``"heat"``, with temperatures and heat sources.
    nu
        Poisson's ratio.
    plane
        ``"stress"`` or ``"strain"``, in two dimensions; the thickness is 1.

    Raises
    ------
    InputError
        For input that makes no sense, on all ranks. What can only be judged once all is said is judged by
        `MeshStructure.check`.

    Examples
    --------
    >>> from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
    >>> mesh = dolfinx.mesh.create_rectangle(MPI.COMM_WORLD, [(0.0, 0.0), (3.0, 1.0)], [30, 10])
    >>> beam = FEniCSx(mesh).symmetry("left").fix((3, 0), "y").load((0, 1), (0, -1))
    >>> beam.structure().size
    600
    """

    mesh: Any
    cell_tags: Any = None
    facet_tags: Any = None
    names: Mapping[str, Any] | None = None
    _: KW_ONLY
    physics: str = "elasticity"
    nu: float = 0.3
    plane: str = "stress"
    _regions: MeshRegions | None = field(default=None, repr=False)
    _said: Said | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self._said is not None:
            return
        if self.physics not in ("elasticity", "heat"):
            raise InputError(f"physics is {self.physics!r}; expected 'elasticity' or 'heat'")
        # Its arguments are judged where they are used; building it once here tells errors early.
        _ = self.model
        mesh, groups = self._grouped()
        object.__setattr__(self, "mesh", mesh)
        nodes = Nodes(function_space(mesh, 1 if self.physics == "heat" else int(mesh.topology.dim)))
        object.__setattr__(self, "_regions", MeshRegions(nodes, groups))
        nodal, nothing = (self._components, nodes.owned), np.zeros(nodes.owned_cells, dtype=bool)
        object.__setattr__(self, "_said", Said(np.zeros(nodal, dtype=bool), nothing, nothing, np.zeros(nodal)))

    @classmethod
    def read(cls, path: str | Path, *, size: float | None = None, comm: Any = None, **options: Any) -> Self:
        """The mesh in a file: .msh (Gmsh, formats 2.2 and 4.1), .xdmf (dolfinx), or .step, which Gmsh meshes.

        Parameters
        ----------
        path
            The file. Only rank 0 reads .msh and .step files.
        size
            Edge length of cells, for .step files; lengths are in millimetres there.
        comm
            Communicator, all ranks by default.
        options
            `physics`, `nu`, `plane`.
        """
        return cls(read_mesh(Path(path), comm, size), **options)

    @classmethod
    def from_gmsh(cls, model: Any, *, comm: Any = None, **options: Any) -> Self:
        """The mesh of a live Gmsh model.

        Parameters
        ----------
        model
            ``gmsh.model`` after ``mesh.generate``, on rank 0; anything on the other ranks.
        comm
            Communicator, all ranks by default.
        options
            `physics`, `nu`, `plane`.
        """
        return cls(mesh_from_model(model, comm), **options)

    @property
    def dim(self) -> int:
        return int(self.mesh.topology.dim)

    @property
    def regions(self) -> MeshRegions:
        """Selects nodes and cells."""
        assert self._regions is not None  # set in __post_init__
        return self._regions

    def symmetry(self, *where: MeshRegion) -> Self:
        """Make facets in a plane across an axis a plane of symmetry: only displacements in the plane are left.

        The mesh is then one half of what is meant, and carries one half of every load, those on the plane included.

        Parameters
        ----------
        where
            Regions: names of physical groups, ``"left"`` …; see `sciopt.topopt.fenicsx.regions`.

        Raises
        ------
        InputError
            When the nodes of a region do not lie in a plane across x, y or z.
        """
        found = self
        for one in where:
            axis = self._normal(one)
            found = found.fix(one, AXES[axis]) if self.physics == "elasticity" else found
        return found

    def structure(self) -> MeshStructure:
        """The arrays that describe the structure; not checked yet, see `MeshStructure.check`."""
        said, at = self._now, self.regions.at
        held = at.touching(~said.void)[: at.owned]

        return MeshStructure(
            space=at.space,
            physics=self.model,
            material=(~said.void).astype(float),
            solid=said.solid,
            fixed=by_unknown(said.supports | ~held),
            loads=by_unknown(self.case_loads),
            weights=self.weights_of_cases,
            springs=by_unknown(said.springs),
            outputs=None if said.outputs is None else by_unknown(said.outputs),
            supports=by_unknown(said.supports),
        )

    def _nodes(self, where: Any, call: str) -> Mask:
        return self.regions.nodes(where, call)[: self.regions.at.owned]

    def _cells(self, where: Any, call: str) -> Mask:
        return self.regions.cells(where, call)

    def _shares(self, where: Any, spread: str, call: str) -> Array:
        return self.regions.shares(where, spread, call)

    def _normal(self, where: MeshRegion) -> int:
        """The axis across a plane region."""
        at = self.regions.at
        x = at.x[self.regions.nodes(where, "symmetry")]
        low, high = at.extremes(x)
        flat = np.flatnonzero(high - low <= max(at.slack, _STRAIGHT * float((high - low).max())))
        if len(flat) != 1:
            reach = ", ".join(f"{AXES[i]} from {low[i]:.4g} to {high[i]:.4g}" for i in range(self.dim))
            raise InputError(
                f"symmetry: {where!r} is no plane across {' or '.join(AXES[: self.dim])} (it has {reach}); expected "
                f"one, or name the components to hold with .fix(where, components)"
            )
        return int(flat[0])

    def _grouped(self) -> tuple[Any, Groups]:
        mesh = self.mesh
        if isinstance(mesh, str | Path):
            mesh = read_mesh(Path(mesh))
        if isinstance(mesh, GroupedMesh):
            return mesh.mesh, mesh.groups
        tags: dict[str, Any] = {"cell_tags": self.cell_tags, "facet_tags": self.facet_tags}
        names = self.names
        if hasattr(mesh, "physical_groups"):
            names = mesh.physical_groups if names is None else names
            held = {name: getattr(mesh, name) for name in ("cell_tags", "facet_tags", "ridge_tags", "peak_tags")}
            tags = held | {name: one for name, one in tags.items() if one is not None}
            mesh = mesh.mesh
        if not hasattr(mesh, "topology"):
            raise InputError(
                f"mesh is {mesh!r}; expected a dolfinx mesh, what dolfinx.io.gmsh returns, or the name of a file"
            )
        dim = int(mesh.topology.dim)
        by_dim = {}
        for codim, (name, one) in enumerate(tags.items()):
            if one is not None and one.dim != dim - codim:
                raise InputError(
                    f"{name}: its dimension is {one.dim}; expected {dim - codim} on a mesh of dimension {dim}"
                )
            if codim <= dim:
                by_dim[dim - codim] = one
        return mesh, groups_of_tags(dim, by_dim, names)
