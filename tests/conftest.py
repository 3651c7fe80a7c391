"""Settings shared by all tests. Set before numpy is imported: the number of threads is read only once."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ["MPLBACKEND"] = "Agg"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# Compiling and the first calculator call take seconds, on a busy machine more: time limits would fail at random.
settings.register_profile("sciopt", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# CI must answer the same for the same commit; new examples are searched for on developers' machines.
settings.register_profile("ci", settings.get_profile("sciopt"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "sciopt")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, a new one for every test."""
    return np.random.default_rng(20260101)
