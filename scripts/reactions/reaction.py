"""What a reaction is: two geometries in one atom order, and the bonds or torsions that must change between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.io.zmatrix import parse_zmatrix
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bond = tuple[int, int]


@dataclass(frozen=True)
class Reaction:
    """One elementary step on GFN2-xTB.

    Geometries are z-matrices in ASE's notation (first atom is 1); `bonds`, `breaks`, `forms` and `torsion` count
    atoms from 0. A guess of the saddle replaces the two ends, which are then the minima its descents lead to.
    """

    name: str
    source: str
    bonds: str  # of the initial state, as "0-1 0-2"
    breaks: str = ""
    forms: str = ""
    initial: str = ""
    final: str = ""
    saddle: str = ""
    torsion: tuple[int, int, int, int] | None = None  # for conformers: it must differ by more than 30 degrees
    multiplicity: int = 1
    tuned: bool = False
    shelf: float = 0.0  # stop the descent to the initial state at this force (eV/Å), short of the minimum
    starts: int = 3  # perturbed initial bands, next to the linear and the IDPP one
    mirror: str = ""  # pairs of atoms that the mirror plane of both ends exchanges; all others lie in it

    @property
    def initial_bonds(self) -> frozenset[Bond]:
        """Bonds the initial state must have."""
        return pairs(self.bonds)

    @property
    def final_bonds(self) -> frozenset[Bond]:
        """Bonds the final state must have."""
        return (pairs(self.bonds) - pairs(self.breaks)) | pairs(self.forms)

    def geometry(self, which: str) -> Atoms:
        """Build the initial, final or saddle guess."""
        return parse_zmatrix(getattr(self, which))


def pairs(text: str) -> frozenset[Bond]:
    """Read "0-1 0-2" as a set of sorted index pairs."""
    return frozenset(tuple(sorted(map(int, pair.split("-")))) for pair in text.split())  # type: ignore[misc]


def bonds_of(numbers: Array, x: Array, factor: float = 1.3) -> frozenset[Bond]:
    """Pairs of atoms closer than `factor` times the sum of their covalent radii."""
    positions = x.reshape(-1, 3)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    limits = factor * (covalent_radii[numbers][:, None] + covalent_radii[numbers][None])
    i, j = np.nonzero(np.triu(distances < limits, 1))
    return frozenset(zip(i.tolist(), j.tolist(), strict=True))


def dihedral(x: Array, torsion: tuple[int, int, int, int]) -> float:
    """Signed dihedral angle in degrees."""
    n = x.size // 3
    return float(Atoms("H" * n, positions=x.reshape(-1, 3)).get_dihedral(*torsion))


def difference(a: float, b: float) -> float:
    """Smallest angle between two directions, in degrees."""
    return abs((a - b + 180) % 360 - 180)


def aligned(x: Array, target: Array) -> Array:
    """`x` moved rigidly onto `target` with the smallest root-mean-square distance (Kabsch)."""
    a, b = target.reshape(-1, 3), x.reshape(-1, 3)
    centred = b - b.mean(axis=0)
    u, _, vt = np.linalg.svd(centred.T @ (a - a.mean(axis=0)))
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (centred @ u @ proper @ vt + a.mean(axis=0)).ravel()


def in_plane(x: Array, mirror: frozenset[Bond]) -> Array:
    """`x` turned so that its mirror plane is z = 0, and made exactly symmetric; `mirror` pairs change places."""
    positions = x.reshape(-1, 3)
    flat = np.setdiff1d(np.arange(len(positions)), np.array(sorted(mirror)))
    axes = np.linalg.svd(positions[flat] - positions[flat].mean(axis=0))[2]
    axes[2] *= np.linalg.det(axes)
    return symmetric(((positions - positions[flat].mean(axis=0)) @ axes.T).ravel(), mirror)


def symmetric(x: Array, mirror: frozenset[Bond]) -> Array:
    """The mean of `x` and its mirror image in z = 0."""
    image = x.reshape(-1, 3) * [1.0, 1.0, -1.0]
    for i, j in mirror:
        image[[i, j]] = image[[j, i]]
    return (x + image.ravel()) / 2


def distance(a: Array, b: Array) -> float:
    """Largest atomic displacement between two geometries after alignment, in Å."""
    return float(np.linalg.norm((aligned(a, b) - b).reshape(-1, 3), axis=1).max())
