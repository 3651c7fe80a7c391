"""Where to go: the rules every domain shares."""

from sciopt.rules.fire import FIRE, FIRE2
from sciopt.rules.first_order import FirstOrder, GradientDescent, Momentum
from sciopt.rules.gcmma import GCMMA, Conservative
from sciopt.rules.lbfgs import LBFGS
from sciopt.rules.mirror import MirrorDescent
from sciopt.rules.mma import MMA
from sciopt.rules.moments import AdaBelief, Adagrad, Adam, FullAdagrad, RMSprop
from sciopt.rules.named import METHODS, make_method, method_options
from sciopt.rules.named_box import BOX_METHODS
from sciopt.rules.oc import OptimalityCriteria
from sciopt.rules.ode import ErrorControl, PseudoTime
from sciopt.rules.spectral import SpectralProjectedGradient
from sciopt.rules.within_radius import WithinRadius

__all__ = [
    "BOX_METHODS",
    "FIRE",
    "FIRE2",
    "GCMMA",
    "LBFGS",
    "METHODS",
    "MMA",
    "AdaBelief",
    "Adagrad",
    "Adam",
    "Conservative",
    "ErrorControl",
    "FirstOrder",
    "FullAdagrad",
    "GradientDescent",
    "MirrorDescent",
    "Momentum",
    "OptimalityCriteria",
    "PseudoTime",
    "RMSprop",
    "SpectralProjectedGradient",
    "WithinRadius",
    "make_method",
    "method_options",
]
