"""Public test problems and potentials with known answers."""

from sciopt.problems.path_problem import PathProblem, path_calculator, path_problem, path_problem_names
from sciopt.problems.potentials import MorsePt, Planar, leps, leps_oscillator, muller_brown, wolfe_quapp
from sciopt.problems.structures import StructureProblem, structure_problem, structure_problem_names

__all__ = [
    "MorsePt",
    "PathProblem",
    "Planar",
    "StructureProblem",
    "leps",
    "leps_oscillator",
    "muller_brown",
    "path_calculator",
    "path_problem",
    "path_problem_names",
    "structure_problem",
    "structure_problem_names",
    "wolfe_quapp",
]
