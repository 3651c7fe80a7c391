"""Drop-in optimizers for ASE: the same keywords, log lines, trajectories and restart files, driven by sciopt's rules."""

from sciopt.ase.fire import ABCFIRE, FIRE, FIRE2
from sciopt.ase.lbfgs import LBFGS
from sciopt.ase.ode import ODE12r
