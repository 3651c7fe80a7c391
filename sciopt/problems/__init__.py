"""Public test problems and potentials with known answers."""

from sciopt.problems.path_problem import PathProblem, path_calculator, path_problem, path_problem_names
from sciopt.problems.potentials import LEPS, MorsePt, MullerBrown, WolfeQuapp

__all__ = [
    "LEPS",
    "MorsePt",
    "MullerBrown",
    "PathProblem",
    "WolfeQuapp",
    "path_calculator",
    "path_problem",
    "path_problem_names",
]
