"""ASE's own tests of its optimizers pass with ours in their place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import ase.test
import pytest

HERE = Path(__file__).parent
SUITE = Path(ase.test.__file__).parent
OPTIMIZE = [
    "optimize/test_fire.py",
    "optimize/test_fire2.py",
    "optimize/test_maxstep.py",
    "optimize/test_nsteps.py",
    "optimize/test_optimize_stepwise.py",
    "optimize/test_optimizer_restart.py",
    "optimize/test_optimizers.py",
    "optimize/test_pure.py",
    "optimize/test_replay.py",
    "optimize/test_restart.py",
]
USERS = [
    "constraints",
    "filter/test_filter.py",
    "filter/test_strain_emt.py",
    "neb/test_COCu111.py",
    "neb/test_neb.py",
    "neb/test_neb_tr.py",
    "neb/test_shared_calculator_neb.py",
    "test_basin.py",
]
# CellAwareBFGS and BFGSLineSearch are classes of ASE's that sciopt does not replace.
OTHERS = "not CellAwareBFGS and not BFGSLineSearch"


def passed(tmp_path: Path, files: list[str], standin: str, only: str = OTHERS) -> int:
    """Number of tests that passed; fails when one did not."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={SUITE}", "-p", "no:cacheprovider"]
    command += ["-p", "substitute", "-W", "ignore:Setting the shape on a NumPy array:DeprecationWarning", "-k", only]
    paths = [str(HERE), str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "SUBSTITUTE": standin}
    answer = subprocess.run(
        [*command, *(str(SUITE / file) for file in files)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr
    summary = answer.stdout.splitlines()[-1]
    assert not re.search("failed|error", summary), summary
    found = re.search(r"(\d+) passed", summary)
    assert found, summary
    return int(found[1])


def test_optimizers(tmp_path: Path) -> None:
    # 17 classes in four tests, 15 on a function of two variables, and the rest.
    assert passed(tmp_path, OPTIMIZE, "LBFGS") > 80


def test_code_that_uses_optimizers(tmp_path: Path) -> None:
    assert passed(tmp_path, USERS, "LBFGS") > 50


@pytest.mark.parametrize("standin", ["FIRE2", "AMSGrad", "PreconditionedLBFGS"])
def test_running_and_restarting(tmp_path: Path, standin: str) -> None:
    files = ["test_nsteps.py", "test_optimize_stepwise.py", "test_restart.py"]
    assert passed(tmp_path, [f"optimize/{name}" for name in files], standin) >= 8
