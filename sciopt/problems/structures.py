"""Structures to optimize, to measure methods on: twenty-one that were used for tuning, and more that nobody looked at.

Names, sizes, loads and radii of fourteen of them are fixed, so that measured objectives can be compared. Other sizes of
the same problems are at hand for examples and for tests: lengths scale, loads do not.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sciopt.core.errors import InputError
from sciopt.problems import structures_planar as planar
from sciopt.problems import structures_spatial as spatial
from sciopt.topopt.builder import Grid

__all__ = ["StructureProblem", "structure_problem", "structure_problem_names"]

Kind = Literal["compliance", "heat", "mechanism"]
# Filters below this many elements tie no element to its neighbours.
_LEAST_RADIUS = 1.5
_ALIASES = {
    "cantilever": "cant",
    "l-bracket": "lbr",
    "inverter": "inv",
    "cantilever3d": "c3s",
    "mbb3d": "m3",
}


@dataclass(frozen=True, eq=False)
class StructureProblem:
    """A structure, how much material it may use, and why it is worth solving.

    Attributes
    ----------
    name
        What it is called.
    kind
        ``"compliance"``: minimize ``f . u``, summed over weighted load cases; ``"heat"``: the same with heat sources
        and temperatures; ``"mechanism"``: minimize the output displacement.
    grid
        Supports, loads, passive regions.
    share
        Part of the design elements that may be filled, passive ones not counted.
    radius
        Of the density filter, in units of length.
    Emin
        Modulus (conductivity) of empty elements, relative to that of full ones.
    seen
        Whether a constant of this package was chosen looking at this problem.
    about
        What it is, and why it is interesting.
    """

    name: str
    kind: Kind
    grid: Grid
    share: float
    radius: float
    Emin: float
    seen: bool
    about: str

    @property
    def volume(self) -> float:
        """The same bound as part of all that is not void, passive solid included, as `TopologyProblem` counts."""
        structure = self.grid.structure()
        filled = self.share * structure.volumes.sum() + structure.material[structure.solid].sum()
        return float(filled / structure.material.sum())


@dataclass(frozen=True)
class _Recipe:
    build: Callable[..., Grid]
    shape: tuple[int, ...]
    share: float
    radius: float
    about: str
    kind: Kind = "compliance"
    seen: bool = False
    Emin: float = 1e-9


_MBB = "half of the MBB beam: rollers on the symmetry plane and in the lower right corner, loaded in the middle; "

_RECIPES: dict[str, _Recipe] = {
    "mbb": _Recipe(
        planar.mbb, (144, 48), 0.5, 5.76, _MBB + "the classic, few thick bars; 150 x 50 is that of 88 lines", seen=True
    ),
    "mbb_v3": _Recipe(planar.mbb, (144, 48), 0.3, 4.0, _MBB + "little material", seen=True),
    "mbb_v7": _Recipe(planar.mbb, (144, 48), 0.7, 4.0, _MBB + "much material, many flat optima", seen=True),
    "mbb_rs": _Recipe(planar.mbb, (144, 48), 0.5, 1.6, _MBB + "small radius, many thin bars to choose from", seen=True),
    "mbb_rl": _Recipe(planar.mbb, (144, 48), 0.5, 9.6, _MBB + "large radius, grey joints", seen=True),
    "cant": _Recipe(
        planar.cantilever, (160, 100), 0.4, 2.5, "short cantilever, loaded in the middle of its free end", seen=True
    ),
    "lbr": _Recipe(
        planar.l_bracket, (100, 100), 0.4, 2.5, "L-shaped bracket hung from its leg: a reentrant corner", seen=True
    ),
    "bridge": _Recipe(
        planar.bridge, (128, 64), 0.3, 3.0, "bridge under a loaded, solid deck: distributed load, arch", seen=True
    ),
    "mload": _Recipe(
        planar.two_loads, (120, 80), 0.4, 3.0, "cantilever loaded at two corners in turn, weights 0.6, 0.4", seen=True
    ),
    "heat": _Recipe(
        planar.heated_square,
        (100, 100),
        0.4,
        2.5,
        "square heated everywhere, cooled on a part of its left side: trees, many local optima",
        "heat",
        seen=True,
        Emin=1e-3,
    ),
    "inv": _Recipe(
        planar.inverter,
        (96, 48),
        0.3,
        2.5,
        "half of the force inverter: a push on the left pulls on the right; gradients of both signs, starts flat",
        "mechanism",
        seen=True,
    ),
    "c3s": _Recipe(spatial.cantilever, (24, 12, 12), 0.3, 1.5, "cantilever, lower free edge loaded, small", seen=True),
    "c3m": _Recipe(spatial.cantilever, (40, 20, 20), 0.3, 2.0, "cantilever, lower free edge loaded", seen=True),
    "m3": _Recipe(
        spatial.mbb, (48, 16, 16), 0.3, 2.0, "quarter of an MBB beam, loaded along its upper edge", seen=True
    ),
    "michell": _Recipe(
        planar.michell, (200, 100), 0.25, 3.0, "Michell's half wheel between two pins: thin bars over a wide void"
    ),
    "wheel": _Recipe(
        planar.wheel,
        (128, 128),
        0.3,
        3.0,
        "wheel clamped around a hole, braked at four points of its solid rim in turn: no design is best for one case "
        "alone, and the optimum has a fourfold axis but no mirror plane",
    ),
    "hook": _Recipe(planar.hook, (96, 144), 0.3, 2.5, "hook around a notch, loaded on the lower lip: bending"),
    "portal": _Recipe(
        planar.portal,
        (131, 67),
        0.35,
        2.7,
        "portal over a doorway under a loaded roof and wind: odd sizes, two cases of different scale",
    ),
    "gripper": _Recipe(
        planar.gripper,
        (160, 80),
        0.3,
        3.0,
        "half of a gripper: a push on the axis closes the jaw, across the direction of the push",
        "mechanism",
        seen=True,
    ),
    "dam": _Recipe(
        planar.dam, (140, 100), 0.2, 2.5, "dam in plane strain under water: pressure that grows with depth on a skin"
    ),
    "torsion": _Recipe(
        spatial.torsion, (48, 16, 16), 0.25, 2.0, "bar twisted at its end: the best is a tube, all shear and no bars"
    ),
    "tower": _Recipe(
        spatial.tower,
        (16, 48, 16),
        0.15,
        1.5,
        "tower on four feet under weight and two winds: three cases, slender",
        seen=True,
    ),
    "cooler": _Recipe(
        spatial.cooler,
        (24, 24, 24),
        0.2,
        1.5,
        "cube heated everywhere with three unequal sinks: branching in space",
        "heat",
        Emin=1e-3,
        seen=True,
    ),
    "bricks": _Recipe(
        spatial.wall_bracket,
        (40, 20, 12),
        0.25,
        2.4,
        "bracket on four bolts with two loads, of bricks with edges 1, 0.8 and 1.6: nothing is cubic",
        seen=True,
    ),
    "viaduct": _Recipe(
        spatial.viaduct,
        (48, 24, 12),
        0.15,
        1.5,
        "quarter of a bridge: a solid deck halfway up, arch above or below",
        seen=True,
    ),
    "chip": _Recipe(
        planar.chip, (120, 80), 0.3, 2.0, "plate heated in the middle and all over, unequal sinks", "heat", Emin=1e-3
    ),
    "table": _Recipe(
        spatial.table, (32, 16, 32), 0.2, 2.0, "table on four feet under a spread weight: a grillage", seen=True
    ),
    "corbel": _Recipe(
        spatial.corbel,
        (24, 24, 12),
        0.25,
        1.5,
        "bracket hung from its leg, loaded down and aside: a corner in space",
        seen=True,
    ),
    "slab": _Recipe(
        spatial.slab, (32, 12, 24), 0.25, 1.5, "slab on three columns under an uneven weight: a grillage, shallow"
    ),
    "lug": _Recipe(
        spatial.lug, (32, 20, 20), 0.2, 2.0, "lug on a base with four bolts, three loads in turn: corners in space"
    ),
}


def structure_problem_names(seen: bool | None = None) -> tuple[str, ...]:
    """Names of all problems, or of those (not) used for choosing constants; two dimensions first in each group.

    Examples
    --------
    >>> len(structure_problem_names(seen=True))
    21
    >>> "torsion" in structure_problem_names(seen=False)
    True
    """
    return tuple(name for name, recipe in _RECIPES.items() if seen is None or recipe.seen == seen)


def structure_problem(
    name: str, nx: int | None = None, ny: int | None = None, nz: int | None = None
) -> StructureProblem:
    """The problem called `name`, at its own size or another.

    Parameters
    ----------
    name
        One of `structure_problem_names`, or ``cantilever``, ``l-bracket``, ``inverter``, ``cantilever3d``, ``mbb3d``
        for cant, lbr, inv, c3s and m3. Underscores and hyphens are the same.
    nx, ny, nz
        Elements along the axes. What is left out keeps the proportions of the problem. The radius of the filter scales
        with the first one given, but spans 1.5 elements at least (or what it spans in the problem, if that is less).

    Raises
    ------
    InputError
        For an unknown name, with the closest known one, and for sizes of which the problem cannot be made.

    Examples
    --------
    The beam of Andreassen et al. 2011 (doi 10.1007/s00158-010-0594-7):

    >>> beam = structure_problem("mbb", nx=150)
    >>> beam.grid.lattice.shape, beam.radius, beam.volume
    ((150, 50), 6.0, 0.5)
    """
    known = {one.replace("_", "-"): one for one in _RECIPES} | _ALIASES
    found = known.get(name.replace("_", "-"))
    if found is None:
        close = difflib.get_close_matches(name, [*_RECIPES, *_ALIASES], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(_RECIPES)}"
        raise InputError(f"unknown structure {name!r}{hint}")
    recipe = _RECIPES[found]
    shape, scale = _resized(found, recipe.shape, (nx, ny, nz))
    grid = recipe.build(*shape)
    element = max(grid.lattice.spacing)
    radius = max(recipe.radius * scale, min(recipe.radius, _LEAST_RADIUS * element))
    return StructureProblem(
        found, recipe.kind, grid, recipe.share, round(radius, 12), recipe.Emin, recipe.seen, recipe.about
    )


def _resized(
    name: str, shape: tuple[int, ...], asked: tuple[int | None, int | None, int | None]
) -> tuple[tuple[int, ...], float]:
    """The number of elements per axis, and the scale of lengths."""
    if len(shape) == 2 and asked[2] is not None:
        raise InputError(f"{name} is two-dimensional: leave nz out")
    for axis, n in zip("xyz", asked, strict=True):
        if n is not None and (not isinstance(n, int | np.integer) or n < 4):
            raise InputError(f"{name}: n{axis} is {n!r}; expected a whole number, 4 at least")
    scales = [n / own for n, own in zip(asked, shape, strict=False) if n is not None]
    scale = scales[0] if scales else 1.0
    found = tuple(
        max(1, int(np.floor(own * scale + 0.5))) if n is None else int(n) for n, own in zip(asked, shape, strict=False)
    )
    return found, scale
