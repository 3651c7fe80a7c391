"""Gaussian processes that learn from energies and forces."""

from sciopt.surrogate.data import Observations
from sciopt.surrogate.features import Cartesian, InverseDistances
from sciopt.surrogate.kernels import KERNELS
from sciopt.surrogate.process import GaussianProcess, Posterior

__all__ = ["KERNELS", "Cartesian", "GaussianProcess", "InverseDistances", "Observations", "Posterior"]
