"""Surfaces in the plane."""

from __future__ import annotations

from functools import partial

from ase import Atoms
from ase.constraints import FixCartesian

from surfaces.process import Ends, Process

Point = tuple[float, float]


def points(initial: Point, final: Point) -> Ends:
    """One atom at two points of the plane z = 0, which it cannot leave."""
    first, second = (
        Atoms("H", [[*point, 0.0]], constraint=FixCartesian([0], mask=(False, False, True)))
        for point in (initial, final)
    )
    return first, second


PLANAR = (
    Process(
        "muller_brown",
        "analytic",
        "muller-brown",
        partial(points, (-0.558, 1.442), (0.623, 0.028)),
        images=7,
        source="Müller-Brown surface (0.01 eV per unit), deepest minimum to the second, past the shallow third; "
        "K. Müller and L. D. Brown, doi:10.1007/BF00547608",
        tuned=True,
    ),
    Process(
        "leps",
        "analytic",
        "leps",
        partial(points, (0.742, 1.303), (3.001, -1.304)),
        images=7,
        source="LEPS potential coupled to a harmonic oscillator (model II), bond AB to bond BC; "
        "H. Jónsson, G. Mills and K. W. Jacobsen, doi:10.1142/9789812839664_0016",
    ),
    Process(
        "wolfe_quapp",
        "analytic",
        "wolfe-quapp",
        partial(points, (1.124, -1.485), (-0.822, -1.367)),
        images=5,
        source="Wolfe-Quapp surface (0.2 eV per unit), minimum near (1.12, -1.49) to that near (-0.82, -1.37): "
        "the pair with the lowest saddle between them; W. Quapp, doi:10.1063/1.1885467",
    ),
)
