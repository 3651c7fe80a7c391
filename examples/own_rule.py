"""A rule of one's own moves a band: gradient descent whose learning rate follows the virtual work of each step."""

import sys
from dataclasses import dataclass
from typing import Any

from sciopt import find_path
from sciopt.core import Adaptive, Evaluation, Limit, Proposal, Rule, Space, virtual_work
from sciopt.neb.path_result import PathResult
from sciopt.problems import path_problem


@dataclass(frozen=True)
class Descent(Rule):
    """Steps along the force, as long as the limit says."""

    def propose(self, memory: Any, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        return Proposal(limit.size * space.sharp(here.x, here.force), memory)


def main() -> PathResult:
    problem = path_problem("muller_brown")
    own = (Descent(), Adaptive(0.01, virtual_work, grow=1.1, shrink=0.5))
    path = find_path(problem.initial, problem.final, problem.calculator, method=own, max_calls=5000)
    sys.stdout.write(f"barrier {path.barrier:.3f} eV after {path.calls['images']} calculations; {path.reason}\n")
    return path


if __name__ == "__main__":
    main()
