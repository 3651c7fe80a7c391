"""Designs in pieces: projections, tangents and models against plain NumPy, and against the whole on one rank."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciopt.core import Quadratic
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.fenicsx.space import DistributedSpace
from sciopt.topopt.space import DesignSpace

N = 12


def model_of(rng: np.random.Generator, metric: np.ndarray, pairs: int) -> Quadratic:
    """A positive definite quadratic model."""
    vectors = rng.standard_normal((pairs, N)) / np.sqrt(N)
    middle = 0.3 * np.linalg.inv(np.eye(pairs) + vectors @ vectors.T) if pairs else np.zeros((0, 0))
    return Quadratic(rng.standard_normal(N), 1.7, metric, vectors, middle)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.booleans(), st.integers(0, 4))
def test_one_rank_answers_as_a_whole(seed: int, capacity: float, full: bool, pairs: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.05, 2.0, N)
    weights /= weights.sum()
    metric = rng.uniform(0.1, 3.0, N)
    spaces = [
        DesignSpace(0.0, 1.0, weights, capacity, full),
        DistributedSpace(0.0, 1.0, weights, capacity, full, comm=MPI.COMM_SELF),
    ]
    y = rng.normal(0.5, 1.0, N)
    projected = [space.project(y, 0.0, 1.0, given) for space in spaces for given in (None, weights, metric)]
    for one, other in zip(projected[:3], projected[3:], strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-11)
    x, force = projected[0], rng.standard_normal(N)
    lower, upper = np.maximum(x - 0.2, 0.0), np.minimum(x + 0.2, 1.0)
    model = model_of(rng, weights, pairs)
    for name in ("tangent", "residual"):
        one, other = (getattr(space, name)(x, force) for space in spaces)
        assert np.allclose(one, other, rtol=0, atol=1e-9), name
    # Models are kept in single precision on one process, so an iteration may end one earlier or later: by what that is
    # worth the two may differ.
    steps = [space.minimize(model, x, lower, upper) for space in spaces]
    one, other = (model.force @ step - 0.5 * step @ model.curve(step) for step in steps)
    assert one == pytest.approx(other, rel=2e-3, abs=1e-9)
    step = steps[1]
    assert (x + step >= lower - 1e-12).all() and (x + step <= upper + 1e-12).all()
    assert weights @ (x + step) <= capacity * (1.0 + 1e-11)


def test_without_a_budget_there_are_bounds_alone() -> None:
    space = DistributedSpace(0.0, 1.0, comm=MPI.COMM_SELF)
    assert space.project(np.array([-1.0, 0.3, 2.0]), 0.0, 1.0).tolist() == [0.0, 0.3, 1.0]
    model = Quadratic(np.array([1.0, 4.0]), 2.0, np.ones(2), np.zeros((0, 2)), np.zeros((0, 0)))
    assert np.allclose(space.minimize(model, np.zeros(2), np.zeros(2), np.ones(2)), [0.5, 1.0])


SCRIPT = """
from dataclasses import dataclass
import numpy as np
from sciopt.core import Box, Quadratic
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.fenicsx.space import DistributedSpace
from sciopt.topopt.space import DesignSpace

comm = MPI.COMM_WORLD
N = 50
CUTS = (0, 14, 14, 50)  # the second rank has nothing
PIECE = slice(CUTS[comm.rank], CUTS[comm.rank + 1])


class Plain(Box):
    # NumPy alone, for comparison.
    def total(self, part):
        return comm.allreduce(np.asarray(part, dtype=float))

    def largest(self, part):
        return comm.allreduce(part, MPI.MAX)


def together(piece):
    return np.concatenate(comm.allgather(piece)) if np.ndim(piece) else piece


space = DistributedSpace(0.0, 1.0, comm=comm)
assert space.total(1.5) == 1.5 * comm.size and isinstance(space.total(1), float)
assert space.total(np.array([1.0, comm.rank])).tolist() == [comm.size, sum(range(comm.size))]
assert space.largest(float(-comm.rank)) == 0.0

for seed in range(8):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 2.0, N)
    weights /= weights.sum()
    options = {"capacity": rng.uniform(0.1, 0.8), "full": bool(seed % 2), "maxstep": 0.3}
    lower, upper = rng.uniform(0.0, 0.1, N), rng.uniform(0.9, 1.0, N)
    whole = DesignSpace(lower, upper, weights, **options)
    pieces = [kind(lower[PIECE], upper[PIECE], weights[PIECE], **options, **more)
              for kind, more in ((DistributedSpace, {"comm": comm}), (Plain, {}))]
    y, force = rng.normal(0.5, 1.0, N), rng.standard_normal(N)
    metric = rng.uniform(0.1, 2.0, N)
    x = whole.project(y, lower, upper)
    least, most = np.maximum(x - 0.2, lower), np.minimum(x + 0.2, upper)
    vectors = rng.standard_normal((4, N)) / np.sqrt(N)
    middle = 0.3 * np.linalg.inv(np.eye(4) + vectors @ vectors.T)
    asked = {
        "project": lambda s, p: s.project(y[p], lower[p], upper[p], metric[p]),
        "tangent": lambda s, p: s.tangent(x[p], force[p]),
        "residual": lambda s, p: s.residual(x[p], force[p]),
        "clip": lambda s, p: s.clip(force[p]),
        "length": lambda s, p: s.length(force[p]),
        "dot": lambda s, p: s.dot(force[p], y[p]),
        "move": lambda s, p: s.move(x[p], force[p], metric[p]),
        "minimize": lambda s, p: s.minimize(
            Quadratic(force[p], 1.3, weights[p], vectors[:, p], middle, s.total), x[p], least[p], most[p]
        ),
    }
    for name, ask in asked.items():
        wanted = ask(whole, slice(0, N))
        for space in pieces:
            found = together(ask(space, PIECE))
            assert np.allclose(found, wanted, rtol=0, atol=1e-9), (name, type(space).__name__, seed)
if comm.rank == 0:
    print("all as on one rank")
"""


def test_pieces_answer_as_the_whole(mpi: Callable[..., str]) -> None:
    assert "all as on one rank" in mpi(SCRIPT, 3)


def test_few_sums_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every sum makes all ranks wait for each other: one per step of the multiplier, one per inner iteration beside.
    asked: list[str] = []
    for name in ("total", "largest"):
        kept = getattr(DistributedSpace, name)
        monkeypatch.setattr(DistributedSpace, name, lambda self, part, kept=kept: asked.append("") or kept(self, part))
    rng = np.random.default_rng(0)
    weights = np.full(N, 1.0 / N)
    space = DistributedSpace(0.0, 1.0, weights, 0.4, comm=MPI.COMM_SELF)
    x = space.project(rng.normal(0.5, 1.0, N), 0.0, 1.0)
    assert 2 <= len(asked) <= 6
    asked.clear()
    space.minimize(model_of(rng, weights, 4), x, np.maximum(x - 0.2, 0.0), np.minimum(x + 0.2, 1.0))
    assert len(asked) <= 25 * 6
