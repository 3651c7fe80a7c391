"""The shared machine: measure how the last step turned out, change a limit, propose the next step."""

from sciopt.core.average import Mean, Polyak, Tail
from sciopt.core.box import Bounded, Box, Quadratic
from sciopt.core.checkpoint import Checkpoint, load_snapshot, save_snapshot
from sciopt.core.control import Adaptive, Control, Fade, Fixed, Limit, Schedule, Verdict
from sciopt.core.errors import (
    EvaluationFailed,
    InputError,
    NotFinite,
    RestartMismatch,
    SciOptError,
    ShapeError,
)
from sciopt.core.evaluation import Evaluation, Problem
from sciopt.core.history import History, Record
from sciopt.core.method import Method, State, StepMethod
from sciopt.core.products import Products
from sciopt.core.rule import Proposal, Rule
from sciopt.core.run import Result, Snapshot, run
from sciopt.core.signals import Improvement, Nonmonotone, Ratio, alignment, power, reversal, virtual_work
from sciopt.core.space import Flat, Preconditioned, Space
from sciopt.core.stop import Budget, NoiseFloor, Plateau, Progress, Reason, Residual, Still, Stop

__all__ = [
    "Adaptive",
    "Bounded",
    "Box",
    "Budget",
    "Checkpoint",
    "Control",
    "Evaluation",
    "EvaluationFailed",
    "Fade",
    "Fixed",
    "Flat",
    "History",
    "Improvement",
    "InputError",
    "Limit",
    "Mean",
    "Method",
    "NoiseFloor",
    "Nonmonotone",
    "NotFinite",
    "Plateau",
    "Polyak",
    "Preconditioned",
    "Problem",
    "Products",
    "Progress",
    "Proposal",
    "Quadratic",
    "Ratio",
    "Reason",
    "Record",
    "Residual",
    "RestartMismatch",
    "Result",
    "Rule",
    "Schedule",
    "SciOptError",
    "ShapeError",
    "Snapshot",
    "Space",
    "State",
    "StepMethod",
    "Still",
    "Stop",
    "Tail",
    "Verdict",
    "alignment",
    "load_snapshot",
    "power",
    "reversal",
    "run",
    "save_snapshot",
    "virtual_work",
]
