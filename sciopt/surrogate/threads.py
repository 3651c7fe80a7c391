"""One thread of BLAS while matrices are factorised: threads would fight with those of the calculators."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]

_LIBRARIES = ThreadpoolController()


def one_thread[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with one thread of BLAS.

    It costs 0.1 ms: for whole factorisations, not for single predictions.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _LIBRARIES.limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return run
