"""Array types shared by the core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Mask"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
