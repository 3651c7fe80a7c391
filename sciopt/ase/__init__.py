"""Drop-in optimizers for ASE: its keywords, log lines, trajectories and restarts, driven by the rules of sciopt."""

from sciopt.ase.adagrad import Adagrad, FullAdagrad, RMSprop
from sciopt.ase.adam import AdaBelief, Adam, AdamW, AMSGrad
from sciopt.ase.descent import GradientDescent, Momentum, Nesterov
from sciopt.ase.fire import ABCFIRE, FIRE, FIRE2
from sciopt.ase.lbfgs import LBFGS
from sciopt.ase.ode import ODE12r
from sciopt.ase.optimizer import StepOptimizer
from sciopt.ase.preconditioned import PreconditionedFIRE, PreconditionedLBFGS

__all__ = [
    "ABCFIRE",
    "FIRE",
    "FIRE2",
    "LBFGS",
    "AMSGrad",
    "AdaBelief",
    "Adagrad",
    "Adam",
    "AdamW",
    "FullAdagrad",
    "GradientDescent",
    "Momentum",
    "Nesterov",
    "ODE12r",
    "PreconditionedFIRE",
    "PreconditionedLBFGS",
    "RMSprop",
    "StepOptimizer",
]
