from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def _mpiexec() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    assert found, "no mpiexec beside Python nor on the PATH: FEniCSx brings one"
    return found


@pytest.fixture
def mpi(tmp_path: Path) -> Callable[..., str]:
    """Run a script on several ranks; its output, standard error included."""

    def run(script: str, ranks: int = 2, *args: str, timeout: float = 120.0) -> str:
        file = tmp_path / f"script{len(list(tmp_path.glob('script*.py')))}.py"
        file.write_text(script)
        command = [_mpiexec(), "-n", str(ranks), sys.executable, "-W", "error", str(file), *args]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"exit code {done.returncode} on {ranks} ranks:\n{done.stdout[-4000:]}"
        return done.stdout

    return run
