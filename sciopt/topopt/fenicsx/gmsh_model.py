"""Meshes from Gmsh itself, which is not needed otherwise: live models, and .step files that it meshes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sciopt.core.errors import InputError, SciOptError
from sciopt.topopt.fenicsx.raw_mesh import KINDS, Block, RawMesh, indices_of, refuse_element

__all__ = ["mesh_of_model", "mesh_of_step"]


def mesh_of_model(model: Any) -> RawMesh:
    """Nodes, elements and physical groups of a Gmsh model that has been meshed.

    As in files, only cells in physical groups count where there are groups of cells.

    Parameters
    ----------
    model
        ``gmsh.model``.
    """
    tags, points, _ = model.mesh.getNodes()
    known = np.asarray(tags, dtype=np.int64)
    names = {(dim, tag): model.getPhysicalName(dim, tag) for dim, tag in model.getPhysicalGroups()}
    blocks = []
    for dim, entity in model.getEntities():
        groups = tuple(abs(int(tag)) for tag in model.getPhysicalGroupsForEntity(dim, entity))
        if not groups and any(d == dim for d, _ in names):
            continue
        kinds, _, corners = model.mesh.getElements(dim, entity)
        for kind, nodes in zip(kinds, corners, strict=True):
            refuse_element(int(kind))
            rows = np.asarray(nodes, dtype=np.int64).reshape(-1, KINDS[int(kind)].corners)
            blocks.append(Block(int(kind), indices_of(rows, known), groups))
    return RawMesh(np.asarray(points, dtype=float).reshape(-1, 3), blocks, names)


def mesh_of_step(path: Path, size: float) -> RawMesh:
    """A solid, or a plane face, meshed by Gmsh.

    Parameters
    ----------
    path
        A .step file. Its lengths are in millimetres, whatever unit the file has them in.
    size
        Edge length of cells.

    Raises
    ------
    InputError
        For what cannot be read or meshed.
    SciOptError
        Without Gmsh.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if not 0.0 < size < np.inf:
        raise InputError(f"size is {size}; expected a positive length of edges")
    gmsh = _gmsh()
    mine = not gmsh.isInitialized()
    if mine:
        gmsh.initialize(readConfigFiles=False, interruptible=False)
    quiet = {"General.Terminal": 0.0, "Mesh.MeshSizeMin": size, "Mesh.MeshSizeMax": size}
    before = {name: gmsh.option.getNumber(name) for name in quiet}
    current = gmsh.model.getCurrent()
    try:
        for name, value in quiet.items():
            gmsh.option.setNumber(name, value)
        gmsh.model.add(str(path))
        shapes = gmsh.model.occ.importShapes(str(path))
        gmsh.model.occ.synchronize()
        gmsh.model.mesh.generate(max((dim for dim, _ in shapes), default=0))
        found = mesh_of_model(gmsh.model)
        gmsh.model.remove()
    except SciOptError:
        raise
    except Exception as error:
        # Gmsh knows one kind of exception only.
        raise InputError(f"{path}: Gmsh says: {' '.join(str(error).split())}") from error
    finally:
        if mine:
            gmsh.finalize()
        else:
            gmsh.model.setCurrent(current)
            for name, value in before.items():
                gmsh.option.setNumber(name, value)
    return found


def _gmsh() -> ModuleType:
    try:
        import gmsh
    except (ImportError, OSError) as error:
        # The wheel needs libraries of the system: libGLU among them.
        raise SciOptError(
            f"meshing .step files needs Gmsh, which does not load here ({error}); pip install gmsh, or mesh "
            f"it elsewhere and read the .msh file"
        ) from error
    return gmsh
