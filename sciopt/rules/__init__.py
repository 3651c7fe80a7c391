"""Where to go: the rules every domain shares."""

from sciopt.rules.fire import FIRE, FIRE2
from sciopt.rules.first_order import FirstOrder, GradientDescent, Momentum
from sciopt.rules.lbfgs import LBFGS
from sciopt.rules.moments import AdaBelief, Adagrad, Adam, FullAdagrad, RMSprop
from sciopt.rules.named import METHODS, make_method, method_options
from sciopt.rules.ode import ErrorControl, PseudoTime
from sciopt.rules.within_radius import WithinRadius

__all__ = [
    "FIRE",
    "FIRE2",
    "LBFGS",
    "METHODS",
    "AdaBelief",
    "Adagrad",
    "Adam",
    "ErrorControl",
    "FirstOrder",
    "FullAdagrad",
    "GradientDescent",
    "Momentum",
    "PseudoTime",
    "RMSprop",
    "WithinRadius",
    "make_method",
    "method_options",
]
