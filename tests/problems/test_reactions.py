"""The stored GFN2-xTB reactions against freshly computed energies, forces, curvatures and bonds."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii
from ase.io import read
from tblite.ase import TBLite

import sciopt.problems

DATA = Path(sciopt.problems.__file__).parent / "data"

# Bonds lost and gained on the way, as the name of the reaction says (symbols, sorted).
CHANGES = {
    "hcn_hnc": (["C-H"], ["H-N"]),
    "formaldehyde_h2_co": (["C-H", "C-H"], ["H-H"]),
    "vinyl_alcohol_acetaldehyde": (["H-O"], ["C-H"]),
    "malonaldehyde_transfer": (["H-O"], ["H-O"]),
    "cyclobutene_butadiene": (["C-C"], []),
    "diels_alder": ([], ["C-C", "C-C"]),
}


def change(a: float, b: float) -> float:
    """Angle between two directions in degrees."""
    return abs((a - b + 180) % 360 - 180)
