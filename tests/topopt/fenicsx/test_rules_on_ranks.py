"""Every method for designs on a vector in pieces: the iterates of one rank, and the same decisions on all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# A quadratic objective with three directions that couple all variables; one rank of three has no variable.
SCRIPT = """
import os
os.environ["MPIR_CVAR_POLLS_BEFORE_YIELD"] = "1"  # there may be fewer cores than ranks
import numpy as np
from sciopt.core import Budget, Evaluation, EvaluationFailed, run
from sciopt.rules import make_method
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.fenicsx.space import DistributedSpace
from sciopt.topopt.gradient import check_gradient
from sciopt.topopt.methods import DESIGN_METHODS, design_method
from sciopt.topopt.space import DesignSpace

comm = MPI.COMM_WORLD
N = 60
CUTS = {2: (0, 23, 60), 3: (0, 41, 41, 60)}[comm.size]
PIECE = slice(CUTS[comm.rank], CUTS[comm.rank + 1])
ALL = slice(0, N)
rng = np.random.default_rng(7)
A, B, U = rng.uniform(0.5, 5.0, N), rng.uniform(-0.3, 1.3, N), rng.standard_normal((3, N)) / np.sqrt(N)
W = rng.uniform(0.5, 2.0, N)
W /= W.sum()


class Coupled:
    def __init__(self, space, piece, constrained):
        self.space, self.constrained = space, constrained
        self.a, self.b, self.u, self.w = A[piece], B[piece], U[:, piece], W[piece]
        self.visits = 0

    def start(self):
        return np.full(self.a.size, 0.35)

    def evaluate(self, x):
        self.visits += 1
        along = self.space.total(self.u @ (x - 0.3))
        value = float(self.space.total(0.5 * self.a @ (x - self.b) ** 2)) + 2.0 * float(along @ along)
        gradient = self.a * (x - self.b) + 4.0 * along @ self.u
        if not self.constrained:
            return Evaluation(x, -gradient, value)
        constraints = np.array([value / 9.0 - 1.0, along[0] - 0.1])
        jacobian = np.stack([gradient / 9.0, self.u[0]])
        return Evaluation(x, -self.w, self.space.dot(self.w, x), constraints=constraints, jacobian=jacobian)


def spaces(budget):
    options = {"none": {}, "most": {"capacity": 0.35}, "full": {"capacity": 0.6, "full": True}}[budget]
    weights = (None, None) if budget == "none" else (W, W[PIECE])
    return DesignSpace(0.0, 1.0, weights[0], **options), DistributedSpace(0.0, 1.0, weights[1], **options, comm=comm)


def told(result):
    fields = ("value", "residual", "limit", "accepted", "violation", "moved")
    return [tuple(float(getattr(record, name)) for name in fields) for record in result.history]


def compare(label, build, budget, constrained=False):
    whole, pieces = spaces(budget)
    alone = run(Coupled(whole, ALL, constrained), build(whole), Budget(12))
    shared = run(Coupled(pieces, PIECE, constrained), build(pieces), Budget(12))
    records = comm.allgather((told(shared), shared.reason.message))
    assert all(one == records[0] for one in records), f"{label}: ranks decided differently"
    for name in ("trial", "step"):
        found = np.concatenate(comm.allgather(getattr(shared.state, name)))
        error = np.abs(found - getattr(alone.state, name)).max()
        assert error < 1e-8, f"{label}: {name} differs by {error:.1e}"
    error = np.abs(np.concatenate(comm.allgather(shared.x)) - alone.x).max()
    assert error < 1e-8, f"{label}: the answer differs by {error:.1e}"
    there, here = np.array(told(alone)), np.array(told(shared))
    assert there.shape == here.shape and np.array_equal(there[:, 3], here[:, 3]), f"{label}: other steps were accepted"
    assert np.allclose(there, here, rtol=1e-8, atol=1e-8), f"{label}: records differ"
    assert alone.history[-1].value < alone.history[0].value or constrained, f"{label}: nothing happened"


SAMPLE = ("quasi-newton", "oc", "gcmma", "mirror", "adam", "lbfgs")
names, budget = (DESIGN_METHODS, "most") if comm.size == 2 else (SAMPLE, "full")
for name in names:
    compare(f"{name} ({budget})", lambda space: design_method(name, space), budget)
for name in ("quasi-newton", "spg", "mirror"):
    compare(f"{name} (none)", lambda space: design_method(name, space), "none")
for name in ("fire2", "ode12r"):
    compare(name, lambda space: make_method(name, space), "none")
compare("oc with local limits", lambda space: design_method("oc", space, local=True), "most")
compare("lbfgs in a radius", lambda space: design_method("lbfgs", space, radius=0.1, damping=1.0), "most")
for name in ("mma", "gcmma"):
    for budget in ("none", "most"):
        compare(f"{name} (constrained, {budget})", lambda space: design_method(name, space), budget, True)


check = check_gradient(Coupled(spaces("most")[1], PIECE, False), seed=comm.rank)
assert len(set(comm.allgather((check.error, check.order)))) == 1 and check.error < 1e-9, str(check)


class Fails(Coupled):
    # The force of one rank alone is not finite at the third visit, and the solver of another fails at the fourth.
    def evaluate(self, x):
        ev = super().evaluate(x)
        if self.visits == 3 and comm.rank == comm.size - 1:
            return Evaluation(x, ev.force * np.nan, ev.value)
        if self.visits == 4 and comm.rank == 0:
            raise EvaluationFailed("no answer")
        return ev


_, pieces = spaces("most")
result = run(Fails(pieces, PIECE, False), design_method("quasi-newton", pieces), Budget(12))
records = comm.allgather((told(result), result.history.failures))
assert all(one == records[0] for one in records) and result.history.failures == 2
if comm.rank == 0:
    print("all as on one rank")
"""


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_method_makes_the_steps_of_one_rank(mpi: Callable[..., str], ranks: int) -> None:
    assert "all as on one rank" in mpi(SCRIPT, ranks)
