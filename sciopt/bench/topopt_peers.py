"""The same designs by pyMOTO, where it is installed: CPU time per iteration, and its designs evaluated by us.

pyMOTO (Delissen et al., https://github.com/aatmdelissen/pyMOTO, MIT) is no dependency; it runs on the same loads,
supports, filter and material, with its own solvers and optimizers.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.bench.fresh_process import in_fresh_process, peak_memory
from sciopt.bench.topopt_speed import Case, speed_of
from sciopt.core.errors import SciOptError

if TYPE_CHECKING:
    from sciopt.core.types import Array, Mask
    from sciopt.topopt.problem import TopologyProblem

__all__ = ["PEER_CASES", "Peer", "peer_of", "peers"]

PEER_CASES = (
    Case("peers", "mbb", (300, 100), 12.0, "oc", 40),
    Case("peers", "mbb", (300, 100), 12.0, "mma", 40),
    Case("peers", "c3m", (48, 24, 24), 2.4, "oc", 15),
    Case("peers", "c3m", (48, 24, 24), 2.4, "mma", 15),
)

# What its examples for multigrid use.
_CG_TOL, _LEAST_SIDE = 1e-5, 8
_MOVE = 0.2


class Peer(NamedTuple):
    """What pyMOTO did: CPU seconds of the first iteration (with the setup) and of the others, and its last design.

    `claimed` is its own objective there, `objective` and `volume` are ours; `solver` is what it chose, `peak` in GB.
    """

    dofs: int
    setup: float
    median: float
    peak: float
    claimed: float
    objective: float
    volume: float
    solver: str


def peers(iterations: int | None = None) -> Iterator[str]:
    """Ours and theirs, case by case, each in a process of its own."""
    if importlib.util.find_spec("pymoto") is None:
        yield (
            "pyMOTO is not installed: `pip install pymoto mkl` puts it beside sciopt, and this comparison runs; "
            "without mkl it has no fast direct solver"
        )
        return
    yield f"pyMOTO {version('pymoto')} and sciopt, same loads, supports, filter, material and number of iterations"
    header = f"{'case':24s} {'program':27s} {'CPU s/iteration':>15s} {'setup':>8s} {'peak GB':>7s}"
    yield header + f" {'objective':>10s} {'volume':>7s}"
    for case in PEER_CASES:
        try:
            theirs = in_fresh_process(peer_of, case, iterations)
            note = f"; says {theirs.claimed:.5g}" if abs(theirs.claimed / theirs.objective - 1.0) > 1e-3 else ""
            row = _row(case, f"pymoto {theirs.solver}", theirs.median, theirs.setup, theirs.peak, theirs.objective)
            yield row + f" {theirs.volume:7.4f}{note}"
        except Exception as error:  # another program may break in any way, and then that is the result
            yield f"{case.name:24s} pymoto failed: {type(error).__name__}: {' '.join(str(error).split())}"
        for tol in (1e-3, _CG_TOL):
            mine = Case("peers", case.problem, case.shape, case.radius, case.method, case.iterations, tol)
            ours = in_fresh_process(speed_of, mine, iterations)
            yield _row(case, f"sciopt tol {tol:g}", ours.median, ours.setup, ours.peak, ours.objective)


def _row(case: Case, program: str, median: float, setup: float, peak: float, objective: float) -> str:
    return f"{case.name:24s} {program:27s} {median:15.4f} {setup:8.2f} {peak:7.2f} {objective:10.5g}"


def peer_of(case: Case, iterations: int | None = None) -> Peer:
    """Run `case` with pyMOTO in this process; plane stress, density filter, penalty 3.

    Raises
    ------
    SciOptError
        When pyMOTO is missing.
    """
    try:
        pymoto = importlib.import_module("pymoto")
    except ImportError as error:
        raise SciOptError(f"pyMOTO cannot be imported ({error}); install it with `pip install pymoto`") from error
    problem = case.make()
    begun = time.process_time()
    design, compliance, optimizer, solver = _network(pymoto, problem, case)
    clocks = [begun]
    x = design.state
    for _ in range(iterations or case.iterations):
        # The design that was evaluated is kept, not the next one.
        design_here, (x, *_) = x, optimizer.step(x)
        clocks.append(time.process_time())
    peak = peak_memory()
    # Both number elements with x fastest, then y.
    ours = problem.at(tol=1e-8).evaluate(np.array(design_here))
    laps = np.diff(clocks)
    return Peer(
        problem.system.dofs,
        float(laps[0]),
        float(np.median(laps[1:])),
        peak,
        float(compliance.state),
        float(ours.info["objective"]),
        float(ours.info["volume"]),
        type(getattr(solver.solver, "solver", solver.solver)).__name__,
    )


def _network(pymoto: Any, problem: TopologyProblem, case: Case) -> tuple[Any, Any, Any, Any]:
    """The design variables, the compliance, the optimizer and the linear solver of pyMOTO."""
    structure = problem.structure
    domain = pymoto.VoxelDomain(*structure.shape)
    fixed = np.flatnonzero(_node_values(structure.fixed))
    force = _node_values(structure.loads[0]).astype(float)
    share = problem.volume
    design = pymoto.Signal("x", state=np.full(domain.nel, share))
    chosen = _multigrid(pymoto, domain) if structure.dim == 3 else None
    solver = pymoto.LinSolve(hermitian=True, positive_definite=True, solver=chosen)
    with pymoto.Network() as network:
        density = pymoto.DensityFilter(domain, radius=case.radius)(design)
        modulus = pymoto.MathExpression("1e-9 + (1 - 1e-9)*inp0^3")(density)
        stiffness = pymoto.AssembleStiffness(domain, bc=fixed, plane="stress")(modulus)
        displacement = solver(stiffness, force)
        compliance = pymoto.EinSum("i,i->")(displacement, force)
        if case.method == "oc":
            optimizer = pymoto.OC(design, compliance, network, move=_MOVE, verbosity=0)
        else:
            scaled = pymoto.Scaling(scaling=100.0)(compliance)
            filled = pymoto.EinSum("i->")(density)
            excess = pymoto.MathExpression(f"10*(inp0/{domain.nel} - {share})")(filled)
            optimizer = pymoto.MMA(design, [scaled, excess], network, move=_MOVE, verbosity=0)
    return design, compliance, optimizer, solver


def _multigrid(pymoto: Any, domain: Any) -> Any:
    """Conjugate gradients with a geometric multigrid preconditioner, coarsened while sides are even and 8 at least."""
    finest = level = pymoto.solvers.GeometricMultigrid(domain)
    while all(n % 2 == 0 and n >= _LEAST_SIDE for n in level.sub_domain.size):
        level.inner_level = pymoto.solvers.GeometricMultigrid(level.sub_domain)
        level = level.inner_level
    return pymoto.solvers.CG(preconditioner=finest, tol=_CG_TOL)


def _node_values(field: Array | Mask) -> Array | Mask:
    """(dofs,) values of a nodal field (c, *nodes) in pyMOTO's order: node by node, x fastest, components innermost."""
    return np.moveaxis(field, 0, -1).ravel()
