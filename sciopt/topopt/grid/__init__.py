"""Finite elements on regular grids of bricks, solved by multigrid without assembling a matrix."""

from sciopt.topopt.grid.element import Conduction, Elasticity, Physics
from sciopt.topopt.grid.system import GridSystem, Solution

__all__ = ["Conduction", "Elasticity", "GridSystem", "Physics", "Solution"]
