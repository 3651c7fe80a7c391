"""One thread of BLAS for small matrices: more would fight with each other, and with those of the calculators."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import scipy.linalg  # noqa: F401  # brings a BLAS of its own, which must be loaded to be found
from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]

_LIBRARIES = ThreadpoolController()


def one_thread[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with one thread of BLAS, which costs some 15 µs.

    Examples
    --------
    >>> import numpy as np
    >>> one_thread(np.dot)(np.ones(2), np.ones(2))
    np.float64(2.0)
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _LIBRARIES.limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return run
