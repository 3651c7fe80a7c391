"""Who evaluates the images, against ASE called directly and a log that the calculator itself writes."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, FileIOCalculator
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.constraints import FixAtoms
from hypothesis import given
from hypothesis import strategies as st

from sciopt.calculators import calculator_factory
from sciopt.core.errors import EvaluationFailed, InputError, NotFinite, SciOptError, ShapeError
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Answer, Images

# Spawned processes must be able to import the calculator, so it lives in a file of its own.
WORKER_MODULE = '''
import os, threading, time
import numpy as np
from ase.calculators.lj import LennardJones

class Stubborn(Exception):
    """An exception that cannot be unpickled."""
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")

class Counting(LennardJones):
    """Writes one line per call; misbehaves where the first two atoms are more than 5 apart."""
    def __init__(self, log, misbehave="raise", sleep=0.0):
        super().__init__()
        self.log, self.misbehave, self.sleep = log, misbehave, sleep
        self._write(f"made {os.getpid()} {threading.get_ident()} {os.environ.get('OMP_NUM_THREADS')}")

    def _write(self, line):
        with open(self.log, "a") as file:
            file.write(line + "\\n")

    def calculate(self, atoms=None, properties=None, system_changes=("positions",)):
        distance = atoms.get_distance(0, 1)
        self._write(f"call {distance:.6f}")
        time.sleep(self.sleep * max(0.0, 3.0 - distance))
        super().calculate(atoms, properties, system_changes)
        if distance > 5:
            if self.misbehave == "interrupt":
                raise KeyboardInterrupt
            if self.misbehave == "raise":
                raise Stubborn("SCF not", "converged")
            if self.misbehave == "die":
                os._exit(3)
            if self.misbehave == "nan forces":
                self.results["forces"][1, 2] = np.nan
            if self.misbehave == "nan energy":
                self.results["energy"] = self.results["free_energy"] = np.nan
            if self.misbehave == "shape":
                self.results["forces"] = np.zeros((1, 3))
            if self.misbehave == "no forces":
                del self.results["forces"]
            if self.misbehave == "once":
                self._write("spoilt")
                with open(self.log) as file:
                    if file.read().count("spoilt") == 1:
                        raise RuntimeError("try again")
'''


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("worker")
    (folder / "counting_calculator.py").write_text(WORKER_MODULE)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("counting_calculator")
    sys.path.remove(str(folder))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


TRIMER = Atoms("Ar3", [[0, 0, 0], [1.1, 0, 0], [0.5, 1.0, 0]], constraint=FixAtoms([0]))
COORDINATES = Coordinates.of(TRIMER)


def at(distance: float) -> np.ndarray:
    """Free components with atom 1 at `distance` from atom 0."""
    return np.array([distance, 0, 0, 0.5, 1.0, 0.1])


def read(log: Path, what: str) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.removeprefix(what).strip() for line in lines if line.startswith(what)]


def direct(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy and free force from ASE alone."""
    atoms = TRIMER.copy()
    atoms.positions[1:] = x.reshape(2, 3)
    atoms.calc = LennardJones()
    return atoms.get_potential_energy(force_consistent=True), atoms.get_forces()[1:].ravel()


def assert_right(answers: dict[int, Answer], configurations: dict[int, np.ndarray]) -> None:
    assert list(answers) == list(configurations)
    for index, x in configurations.items():
        energy, force = direct(x)
        assert answers[index].energy == energy
        np.testing.assert_array_equal(answers[index].force, force)


BAND = {i: at(1.0 + 0.15 * i) for i in range(6)}


@contextmanager
def opened(way: str, factory: Callable[[], Any], **settings: Any) -> Iterator[Images]:
    """Images that evaluate in the given way."""
    executor: Executor | None = None
    if way == "threads":
        executor = ThreadPoolExecutor(2)
    elif way == "user's processes":
        executor = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
    try:
        calculator = factory() if way == "shared" else factory
        workers = 2 if way == "processes" else 1
        with Images(COORDINATES, calculator, workers, executor, count=4, **settings) as images:
            yield images
        if executor is not None:
            assert executor.submit(max, 1, 2).result() == 2, "a user's executor must survive"
    finally:
        if executor is not None:
            executor.shutdown()


WAYS = ["shared", "separate", "threads", "processes", "user's processes"]


@pytest.mark.parametrize("way", WAYS)
def test_one_call_per_configuration(way: str, worker: ModuleType, log: Path) -> None:
    with opened(way, partial(worker.Counting, log)) as images:
        assert_right(images.evaluate(BAND), BAND)
        assert images.calls == 6
        moved = {**BAND, 2: at(1.31), 3: at(1.46)}
        assert_right(images.evaluate(moved), moved)
        assert_right(images.evaluate(BAND), BAND)
    assert images.calls == 8
    assert images.seconds > 0
    distances = Counter(read(log, "call"))
    assert len(distances) == 8
    assert set(distances.values()) == {1}
    made = read(log, "made")
    assert len(made) == {"shared": 1, "separate": 6}.get(way, len(set(made)))
    assert len(set(made)) <= 2


def test_order_is_kept_when_workers_finish_out_of_order(worker: ModuleType, log: Path) -> None:
    arrived: list[int] = []
    with ThreadPoolExecutor(3) as executor:
        images = Images(
            COORDINATES,
            partial(worker.Counting, log, sleep=0.3),
            executor=executor,
            on_evaluation=lambda index, x, answer, seconds: arrived.append(index),
        )
        band = {7: at(1.0), 1: at(2.5), 3: at(3.2)}
        assert_right(images.evaluate(band), band)
    assert arrived == [3, 1, 7]


def test_new_answers_are_announced_once_with_all_there_is_to_log(worker: ModuleType, log: Path) -> None:
    seen: list[tuple[int, np.ndarray, Answer, float]] = []
    images = Images(
        COORDINATES, partial(worker.Counting, log, sleep=0.01), on_evaluation=lambda *event: seen.append(event)
    )
    answers = images.evaluate({1: at(1.2), 2: at(1.3)})
    images.evaluate({1: at(1.3), 2: at(1.2)})
    assert [event[0] for event in seen] == [1, 2]
    assert seen[0][2] is answers[1]
    np.testing.assert_array_equal(seen[1][1], at(1.3))
    assert all(0.01 < event[3] <= images.seconds for event in seen)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.lists(st.integers(0, 4), max_size=4))
def test_calls_are_the_distinct_configurations(first: list[int], second: list[int]) -> None:
    points = [at(1.0 + 0.2 * i) for i in range(5)]
    images = Images(COORDINATES, LennardJones())
    for choice in (first, second):
        configurations = {i: points[k] for i, k in enumerate(choice)}
        assert_right(images.evaluate(configurations), configurations)
    assert images.calls == len({*first, *second})


@pytest.mark.parametrize("way", WAYS)
def test_a_failing_image_is_named_and_the_others_are_kept(way: str, worker: ModuleType, log: Path) -> None:
    band = {**BAND, 3: at(6.0)}
    with opened(way, partial(worker.Counting, log)) as images:
        with pytest.raises(EvaluationFailed, match=r"^image 3 of 4: SCF not converged$") as failure:
            images.evaluate(band)
        assert failure.value.blocks == (2,)
        assert images.calls == 6
        assert all(images.known(band[i]) for i in band if i != 3)
        assert images.known(band[3]) is None
        repaired = {**band, 3: at(1.47)}
        assert_right(images.evaluate(repaired), repaired)
        assert images.calls == 7
    assert Counter(read(log, "call"))["6.000000"] == 1


def test_failures_are_listed_and_end_points_fail_as_a_whole(worker: ModuleType, log: Path) -> None:
    images = Images(COORDINATES, partial(worker.Counting, log), count=4)
    with pytest.raises(EvaluationFailed, match=r"^image 2 of 4: .* \(also failed: image 4 of 4\)") as failure:
        images.evaluate({4: at(6), 1: at(1), 2: at(7)})
    assert failure.value.blocks == (1, 3)
    for index, name in {0: "the initial configuration", 5: "the final configuration", 9: "configuration 9"}.items():
        with pytest.raises(EvaluationFailed, match=f"^{name}: SCF") as failure:
            images.evaluate({index: at(8 + index)})
        assert failure.value.blocks == ()
    calls = images.calls
    with pytest.raises(EvaluationFailed) as failure:
        images.evaluate({1: at(20), 2: at(20)})
    assert failure.value.blocks == (0, 1)
    assert images.calls == calls + 1


@pytest.mark.parametrize(
    ("misbehave", "message"),
    [
        ("nan forces", "the force on atom 1 is not finite"),
        ("nan energy", "the energy is not finite"),
        ("shape", r"the forces have shape \(1, 3\), expected \(3, 3\)"),
        ("no forces", "Counting gave no forces"),
    ],
)
@pytest.mark.parametrize("way", ["shared", "separate", "threads"])
def test_unusable_numbers(way: str, misbehave: str, message: str, worker: ModuleType, log: Path) -> None:
    with opened(way, partial(worker.Counting, log, misbehave)) as images:
        with pytest.raises(EvaluationFailed, match=f"^image 1 of 4: {message}"):
            images.evaluate({1: at(6), 2: at(1.2)})
        assert images.known(at(1.2)) is not None
        assert images.calls == 2


@pytest.mark.parametrize("way", ["shared", "separate", "threads"])
def test_retries(way: str, worker: ModuleType, log: Path) -> None:
    factory = partial(worker.Counting, log, "once")
    with opened(way, factory, retries=1) as images:
        assert_right(images.evaluate({1: at(6)}), {1: at(6)})
        assert images.calls == 2
    assert len(read(log, "made")) == (1 if way == "shared" else 2)
    with opened(way, partial(worker.Counting, log), retries=2) as images, pytest.raises(EvaluationFailed):
        images.evaluate({1: at(6)})
    assert images.calls == 3


@pytest.mark.parametrize("way", ["shared", "separate", "threads"])
def test_interrupts_pass(way: str, worker: ModuleType, log: Path) -> None:
    with opened(way, partial(worker.Counting, log, "interrupt")) as images:
        images.evaluate({1: at(1.1)})
        with pytest.raises(KeyboardInterrupt):
            images.evaluate({1: at(1.1), 2: at(6), 3: at(1.2)})
        assert images.known(at(1.1)) is not None


def test_interrupts_pass_at_once_from_processes(worker: ModuleType, log: Path) -> None:
    before = set(multiprocessing.active_children())
    images = Images(COORDINATES, partial(worker.Counting, log, "interrupt", sleep=30.0), workers=2)
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        images.evaluate({1: at(1.0), 2: at(6), 3: at(1.1)})
    # Another thread may be reaping a worker just now, which then seems alive to this one for a moment.
    while not set(multiprocessing.active_children()) <= before and time.perf_counter() - started < 30:
        time.sleep(0.01)
    assert time.perf_counter() - started < 30
    images.close()


CTRL_C_SCRIPT = """
import signal, sys
from functools import partial
from ase import Atoms
from counting_calculator import Counting
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Images

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    coordinates = Coordinates.of(Atoms("Ar2", [[0, 0, 0], [0, 0, 1]]))
    images = Images(
        coordinates,
        partial(Counting, sys.argv[1], sleep=100),
        workers=2,
        on_evaluation=lambda *event: print("arrived", flush=True),
    )
    try:
        with images:
            images.evaluate({i: [0, 0, 0, 0, 0, distance] for i, distance in enumerate([3.5, 1, 2])})
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_in_a_terminal_ends_everything_quietly(worker: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CTRL_C_SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "log")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "arrived\n"
    os.killpg(process.pid, signal.SIGINT)
    # The workers hold the pipe as well: it closes only when the last of them is gone.
    output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("interrupted\n", 0)


def test_ctrl_c_while_the_workers_start_is_quiet_too(worker: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif 'spawn_main' in ' '.join(sys.orig_argv): time.sleep(2)\n"
    )
    script = tmp_path / "script.py"
    early = "    import os, threading\n    threading.Timer(0.7, os.killpg, (os.getpgrp(), signal.SIGINT)).start()\n"
    script.write_text(CTRL_C_SCRIPT.replace("    try:\n", early + "    try:\n", 1))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "log")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            "PYTHONWARNINGS": "ignore",
        },
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("interrupted\n", 0)


def test_a_dead_worker_is_one_sentence_and_the_pool_recovers(worker: ModuleType, log: Path) -> None:
    with Images(COORDINATES, partial(worker.Counting, log, "die"), workers=2, count=4) as images:
        images.evaluate({1: at(1.1)})
        with pytest.raises(SciOptError, match=r"^a worker process died while evaluating .*image 2 of 4"):
            images.evaluate({1: at(1.1), 2: at(6)})
        assert_right(images.evaluate({1: at(1.1), 2: at(1.3)}), {1: at(1.1), 2: at(1.3)})


def test_workers_run_one_thread_each(worker: ModuleType, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    with Images(COORDINATES, partial(worker.Counting, log), workers=2) as images:
        images.evaluate({1: at(1.1)})
    assert [line.split()[-1] for line in read(log, "made")] == ["1"]
    assert "OMP_NUM_THREADS" not in os.environ
    assert int(read(log, "made")[0].split()[0]) != os.getpid()


def test_threads_build_their_own_calculator_once(worker: ModuleType, log: Path) -> None:
    barrier = threading.Barrier(2)

    class Meeting(LennardJones):
        def calculate(self, *args: Any) -> None:
            if not hasattr(self, "met"):
                self.met = barrier.wait(10)  # returns only if two threads are at work with their own calculators
            super().calculate(*args)

    made: list[int] = []

    def factory() -> Meeting:
        made.append(threading.get_ident())
        return Meeting()

    with ThreadPoolExecutor(2) as executor:
        images = Images(COORDINATES, factory, executor=executor)
        assert_right(images.evaluate(BAND), BAND)
        images.evaluate({i: at(2 + 0.1 * i) for i in range(4)})
    assert len(made) == len(set(made)) == 2


def test_threads_that_serve_many_runs_let_old_calculators_go() -> None:
    closed: list[int] = []

    class Closing(LennardJones):
        def __init__(self, run: int) -> None:
            super().__init__()
            self.run = run

        def close(self) -> None:
            closed.append(self.run)

    with ThreadPoolExecutor(1) as executor:
        for run in range(7):
            Images(COORDINATES, partial(Closing, run), executor=executor).evaluate({1: at(1.1)})
    assert closed == [0, 1, 2]


def test_answers_can_be_remembered(worker: ModuleType, log: Path) -> None:
    images = Images(COORDINATES, partial(worker.Counting, log))
    images.remember(at(1.2), -1.5, np.arange(6))
    answer = images.evaluate({1: at(1.2)})[1]
    assert (answer.energy, images.calls, read(log, "call")) == (-1.5, 0, [])
    np.testing.assert_array_equal(answer.force, np.arange(6))
    with pytest.raises(ValueError, match="read-only"):
        answer.force[0] = 1.0
    with pytest.raises(ShapeError, match=r"force has shape \(9,\), expected \(6,\)"):
        images.remember(at(1.2), 0.0, np.zeros(9))
    with pytest.raises(NotFinite):
        images.remember(at(1.2), np.nan, np.zeros(6))


def test_what_a_shared_calculator_knows_already_is_not_computed_again(worker: ModuleType, log: Path) -> None:
    atoms = COORDINATES.atoms(at(1.2))
    atoms.calc = worker.Counting(log)
    atoms.get_forces()
    with Images(COORDINATES, atoms.calc) as images:
        assert_right(images.evaluate({0: at(1.2)}), {0: at(1.2)})
    assert images.calls == 0
    atoms.get_potential_energy()
    assert len(read(log, "call")) == 1


def test_calculators_that_compute_only_what_is_asked_are_called_once() -> None:
    asked: list[list[str]] = []

    class Literal(Calculator):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012

        def calculate(self, atoms: Any, properties: list[str], system_changes: Any) -> None:
            super().calculate(atoms, properties, system_changes)
            asked.append(properties)
            self.results = {name: {"energy": 1.0, "forces": np.zeros((3, 3))}[name] for name in properties}

    Images(COORDINATES, Literal()).evaluate({1: at(1.1)})
    assert asked == [["energy", "forces"]]


def test_sums_of_calculators_call_each_once(worker: ModuleType, log: Path) -> None:
    both = SumCalculator([worker.Counting(log), worker.Counting(log)])
    answer = Images(COORDINATES, both).evaluate({1: at(1.3)})[1]
    assert read(log, "call") == ["1.300000"] * 2
    energy, force = direct(at(1.3))
    assert answer.energy == 2 * energy
    np.testing.assert_array_equal(answer.force, 2 * force)


def test_the_energy_is_the_one_forces_belong_to() -> None:
    class Smeared(LennardJones):
        def calculate(self, *args: Any) -> None:
            super().calculate(*args)
            self.results["energy"] += 0.5

    answer = Images(COORDINATES, Smeared).evaluate({1: at(1.1)})[1]
    assert answer.energy == direct(at(1.1))[0]


def test_calculators_outside_ase_need_two_methods_only() -> None:
    class Foreign:
        def get_forces(self, atoms: Atoms) -> np.ndarray:
            return -2 * atoms.positions

        def get_potential_energy(self, atoms: Atoms) -> float:
            return float((atoms.positions**2).sum())

    images = Images(COORDINATES, Foreign())
    np.testing.assert_array_equal(images.evaluate({1: at(1.1)})[1].force, -2 * at(1.1))
    assert images.calls == 1


@pytest.mark.parametrize("way", ["separate", "threads"])
def test_calculators_with_files_get_a_directory_per_image(way: str, tmp_path: Path) -> None:
    class Filed(FileIOCalculator):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012

        def calculate(self, atoms: Any, properties: Any, system_changes: Any) -> None:
            self.write_input(atoms, properties, system_changes)
            Path(self.directory, "distance").write_text(str(atoms.get_distance(0, 1)))
            self.results = {"energy": 0.0, "forces": np.zeros((3, 3))}

    with opened(way, partial(Filed, command="none", directory=tmp_path / "calc")) as images:
        images.evaluate(BAND)
        images.evaluate({3: at(2.0)})
    found = {path.parent.name: float(path.read_text()) for path in (tmp_path / "calc").glob("*/distance")}
    assert found == pytest.approx({f"image-{i:02d}": 2.0 if i == 3 else 1.0 + 0.15 * i for i in range(6)})


def test_wrong_set_ups_are_input_errors(worker: ModuleType, log: Path) -> None:
    def broken() -> None:
        raise FileNotFoundError("no pseudopotential for Ar")

    cases: list[tuple[str, Callable[[], object]]] = [
        ("cannot serve several workers", lambda: Images(COORDINATES, LennardJones(), workers=2)),
        ("both workers and an executor", lambda: Images(COORDINATES, LennardJones, 2, ThreadPoolExecutor(1))),
        ("workers=0", lambda: Images(COORDINATES, LennardJones, workers=0)),
        ("of type Atoms", lambda: Images(COORDINATES, TRIMER)),
        ("of type str", lambda: Images(COORDINATES, "emt")),
        ("could not be created: no pseudo", lambda: Images(COORDINATES, broken).evaluate({1: at(1.1)})),
        ("factory returned None", lambda: Images(COORDINATES, lambda: None).evaluate({1: at(1.1)})),
        ("cannot be sent", lambda: Images(COORDINATES, lambda: None, workers=2).evaluate({1: at(1.1)})),
        (r"shape \(9,\)", lambda: Images(COORDINATES, LennardJones).evaluate({1: np.zeros(9)})),
    ]
    for message, call in cases:
        with pytest.raises(InputError, match=message):
            call()
    with ThreadPoolExecutor(1) as executor, pytest.raises(InputError, match="no pseudopotential"):
        Images(COORDINATES, broken, executor=executor).evaluate(BAND)
    with pytest.raises(NotFinite, match="image 2 has a non-finite position at atom 1"):
        Images(COORDINATES, LennardJones).evaluate({2: at(np.nan)})


def test_a_factory_that_workers_cannot_import_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ModuleType("only_here")
    exec("def factory(): raise AssertionError", vars(here))
    monkeypatch.setitem(sys.modules, "only_here", here)
    with (
        Images(COORDINATES, here.factory, workers=2) as images,
        pytest.raises(InputError, match=r"cannot be sent to worker processes \(No module named 'only_here'\)"),
    ):
        images.evaluate({1: at(1.1)})


def test_failures_can_be_traced(worker: ModuleType, log: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "sciopt"), pytest.raises(EvaluationFailed):
        Images(COORDINATES, partial(worker.Counting, log)).evaluate({1: at(6)})
    assert "Stubborn: SCF not converged" in caplog.text
    assert "counting_calculator.py" in caplog.text


def test_quantum_chemistry_that_does_not_converge() -> None:
    coordinates = Coordinates.of(Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]))
    x = coordinates.template.positions.ravel()
    with Images(coordinates, calculator_factory("tblite:GFN2-xTB", {"max_iterations": 2}), count=1) as images:
        with pytest.raises(EvaluationFailed, match=r"^image 1 of 1: SCF not converged in 2 cycles"):
            images.evaluate({1: x})
        with pytest.raises(EvaluationFailed, match=r"^image 1 of 1: Too close interatomic distances"):
            images.evaluate({1: 0 * x})
