"""Topology optimization: designs of least compliance, mechanisms and heat sinks on structured grids."""

from sciopt.topopt.builder import Grid
from sciopt.topopt.field import Projection
from sciopt.topopt.filters import Density, Helmholtz, Sensitivity
from sciopt.topopt.grid.element import Conduction, Elasticity
from sciopt.topopt.material import RAMP, SIMP
from sciopt.topopt.methods import DESIGN_METHODS
from sciopt.topopt.objectives import Compliance, Mechanism, MinimumVolume, ThermalCompliance
from sciopt.topopt.optimize import optimize_topology
from sciopt.topopt.regions import Ball, Block, Line
from sciopt.topopt.result import DesignResult
from sciopt.topopt.runner import Visit
from sciopt.topopt.structure import Structure

__all__ = [
    "DESIGN_METHODS",
    "RAMP",
    "SIMP",
    "Ball",
    "Block",
    "Compliance",
    "Conduction",
    "Density",
    "DesignResult",
    "Elasticity",
    "Grid",
    "Helmholtz",
    "Line",
    "Mechanism",
    "MinimumVolume",
    "Projection",
    "Sensitivity",
    "Structure",
    "ThermalCompliance",
    "Visit",
    "optimize_topology",
]
