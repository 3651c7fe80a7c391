"""Who evaluates the images: exactly one calculator call per configuration, in this process or on any executor."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from sciopt.calculators import Bench, Outcome, Recipe, one_line
from sciopt.core.errors import EvaluationFailed, InputError, NotFinite, SciOptError, ShapeError
from sciopt.neb.worker_start import ctrl_c_waits, one_thread_each, start_worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.neb.coordinates import Coordinates

__all__ = ["Answer", "Images"]

logger = logging.getLogger("sciopt")


@dataclass(frozen=True, eq=False)
class Answer:
    """What a calculator says about one configuration.

    Parameters
    ----------
    energy
        The energy the forces belong to, in eV: the free energy where the calculator gives one, else the energy.
    force
        (n,) minus the gradient of the energy over the free components, in eV/Å. Read-only.
    """

    energy: float
    force: NDArray[np.float64]


class Images:
    """The evaluator of a path's configurations: ``x -> (E(x), F(x) = -dE/dx)``.

    Every configuration is computed exactly once: answers are kept for the whole run under the bits of `x`, and asking
    again costs nothing. Keys are image numbers as on the path: 0 is the initial configuration, 1...M the movable
    images, M+1 the final configuration; larger keys are free for single configurations off the path.

    Parameters
    ----------
    coordinates
        The map from free components x (n,) to atoms.
    calculator
        Either an ASE calculator, shared by all images and used one image at a time, or a factory: a callable (a class,
        a function) that takes no arguments and returns a new calculator. In this process the factory is called once
        per image, so that each calculator can reuse the wavefunctions of its image; elsewhere once per worker.
        Calculators that write input files get a directory of their own per image below the one they were made with.
    workers
        Number of processes. With more than one, fresh (spawned) processes are used, so a script needs
        ``if __name__ == "__main__":``. They run with one OpenMP/BLAS thread each, except where OMP_NUM_THREADS,
        OPENBLAS_NUM_THREADS or MKL_NUM_THREADS is already set: then the user's number holds.
    executor
        Any ``concurrent.futures.Executor`` (threads, Dask's ``client.get_executor()``, ``MPIPoolExecutor``) to use
        instead. It is never shut down. The factory is called once per worker thread or process.
    on_evaluation
        Called as ``on_evaluation(index, x, answer, seconds)`` in this thread for every new answer, as it arrives.
    count
        M, the number of movable images, for messages ("image 3 of 7") and to know the final configuration.
    retries
        How often a failed configuration is tried again, each time with a new calculator where there is a factory.

    Attributes
    ----------
    calls
        Number of true calculator calls, failed ones included.
    seconds
        Wall time spent in :meth:`evaluate`, in s.
    fastest
        Shortest time one successful calculation took, in s: without start-up. Infinite before the first.

    Raises
    ------
    InputError
        For contradictory arguments, such as one calculator object for several workers.

    Examples
    --------
    >>> from ase import Atoms
    >>> from ase.calculators.emt import EMT
    >>> from sciopt.neb.coordinates import Coordinates
    >>> atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    >>> x = atoms.positions.ravel()
    >>> with Images(Coordinates.of(atoms), EMT) as images:
    ...     answers = images.evaluate({0: x, 1: x + 0.1, 2: x})
    >>> list(answers), answers[1].force.shape, images.calls
    ([0, 1, 2], (6,), 2)
    """

    def __init__(
        self,
        coordinates: Coordinates,
        calculator: Any,
        workers: int = 1,
        executor: Executor | None = None,
        on_evaluation: Callable[[int, NDArray[np.float64], Answer, float], object] | None = None,
        *,
        count: int | None = None,
        retries: int = 0,
    ) -> None:
        shared = not isinstance(calculator, type) and hasattr(calculator, "get_forces")
        if isinstance(calculator, Atoms) or not (shared or callable(calculator)):
            raise InputError(
                f"calculator is of type {type(calculator).__name__}, expected an ASE calculator or a callable that "
                "makes one"
            )
        if workers < 1 or retries < 0:
            raise InputError(f"workers={workers} and retries={retries}: expected at least 1 worker and 0 retries")
        if executor is not None and workers > 1:
            raise InputError("both workers and an executor were given; give one, the executor has its own workers")
        if shared and (workers > 1 or executor is not None):
            raise InputError(
                f"one {type(calculator).__name__} object cannot serve several workers; give a factory instead, "
                "a function or class that makes a new calculator"
            )
        self.coordinates = coordinates
        self.workers = workers
        self.count = count
        self.retries = retries
        self.calls = 0
        self.seconds = 0.0
        self.fastest = np.inf
        self._on_evaluation = on_evaluation
        self._answers: dict[bytes, Answer] = {}
        factory = (lambda: calculator) if shared else calculator
        self._recipe = Recipe(uuid.uuid4().hex, factory, coordinates.template, shared)
        self._bench = Bench(self._recipe)
        self._executor = executor
        self._pool: ProcessPoolExecutor | None = None
        self._parcel = b""

    def __enter__(self) -> Images:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes and calculators made here. The answers stay."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._bench.clear()

    def evaluate(self, configurations: Mapping[int, NDArray[np.float64]]) -> dict[int, Answer]:
        """Energies and forces of all `configurations`, image number to x (n,) in Å, in the order given.

        Raises
        ------
        EvaluationFailed
            Naming the images that failed, with their `blocks` counted from 0 among the movable images (none when an
            end point is among them). It is raised after all others have finished; their answers are kept.
        InputError
            When the calculator cannot be created or sent to the workers.
        SciOptError
            When a worker process died.
        """
        started = time.perf_counter()
        asked = {index: self._checked(index, x) for index, x in configurations.items()}
        missing: dict[bytes, tuple[int, NDArray[np.float64]]] = {}
        for index, x in asked.items():
            key = x.tobytes()
            if key not in self._answers:
                missing.setdefault(key, (index, x))
        todo = dict(missing.values())
        try:
            parallel = self._executor is not None or self.workers > 1
            failures = (self._in_parallel if parallel else self._in_turn)(todo) if todo else {}
        finally:
            self.seconds += time.perf_counter() - started
        # A duplicate of a failed configuration has failed as well.
        failed = {i: failures[missing[x.tobytes()][0]] for i, x in asked.items() if x.tobytes() not in self._answers}
        if failed:
            raise EvaluationFailed(self._describe(failed), self._blocks(failed))
        return {index: self._answers[x.tobytes()] for index, x in asked.items()}

    def remember(self, x: NDArray[np.float64], energy: float, force: NDArray[np.float64]) -> Answer:
        """Take energy (eV) and force (n,) in eV/Å at x (n,) as known: they are never computed (for resuming)."""
        x = self._checked(None, x)
        force = np.array(force, dtype=float)
        if force.shape != x.shape:
            raise ShapeError(f"force has shape {force.shape}, expected {x.shape}: one number per free component")
        if not (np.isfinite(energy) and np.isfinite(force).all()):
            raise NotFinite("energy or force to be remembered is not finite; leave that configuration out")
        force.flags.writeable = False
        answer = Answer(float(energy), force)
        self._answers[x.tobytes()] = answer
        return answer

    def known(self, x: NDArray[np.float64]) -> Answer | None:
        """The answer at x (n,) if it has been computed or remembered."""
        return self._answers.get(np.ascontiguousarray(x, dtype=float).tobytes())

    def name(self, index: int) -> str:
        """What users call image `index`."""
        if index == 0:
            return "the initial configuration"
        if self.count is None:
            return f"image {index}"
        if index == self.count + 1:
            return "the final configuration"
        return f"image {index} of {self.count}" if index <= self.count else f"configuration {index}"

    def _blocks(self, failures: Mapping[int, str]) -> tuple[int, ...]:
        last = max(failures) if self.count is None else self.count
        return tuple(sorted(i - 1 for i in failures)) if all(1 <= i <= last for i in failures) else ()

    def _describe(self, failures: Mapping[int, str]) -> str:
        first, *others = sorted(failures)
        more = f" (also failed: {', '.join(map(self.name, others))})" if others else ""
        return f"{self.name(first)}: {failures[first]}{more}"

    def _checked(self, index: int | None, x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = np.array(x, dtype=float)
        name = "x" if index is None else self.name(index)
        if x.shape != (self.coordinates.size,):
            raise ShapeError(f"{name} has shape {x.shape}, expected ({self.coordinates.size},): the free components")
        if not np.isfinite(x).all():
            atom = self.coordinates.atom[np.flatnonzero(~np.isfinite(x))[0]]
            raise NotFinite(f"{name} has a non-finite position at atom {atom}; the step that led there was bad")
        x.flags.writeable = False
        return x

    def _keep(self, index: int, x: NDArray[np.float64], outcome: Outcome) -> str | None:
        """Store one outcome; the message if it is a failure."""
        self.calls += outcome.calls
        if outcome.error is not None:
            logger.debug("%s failed:\n%s", self.name(index), outcome.trace)
            return outcome.error
        self.fastest = min(self.fastest, outcome.seconds)
        answer = self.remember(x, outcome.energy, self.coordinates.reduce(outcome.forces))
        if self._on_evaluation is not None:
            self._on_evaluation(index, x, answer, outcome.seconds)
        return None

    def _in_turn(self, todo: Mapping[int, NDArray[np.float64]]) -> dict[int, str]:
        failures = {}
        for index, x in todo.items():
            # Configurations off the path come in any number and share one calculator.
            own = index if self.count is None else min(index, self.count + 2)
            seat = 0 if self._recipe.shared else own
            outcome = self._bench.outcome(seat, index, self.coordinates.positions(x), self.retries)
            if (message := self._keep(index, x, outcome)) is not None:
                failures[index] = message
        return failures

    def _in_parallel(self, todo: Mapping[int, NDArray[np.float64]]) -> dict[int, str]:
        failures: dict[int, str] = {}
        fatal: SciOptError | None = None
        waiting: dict[Future[Outcome], int] = {}
        try:
            try:
                for index, x in todo.items():
                    waiting[self._submit(index, x)] = index
            except BrokenExecutor:
                fatal = self._broken(todo)
            for future in as_completed(list(waiting)):
                index = waiting.pop(future)
                try:
                    outcome = future.result()
                except CancelledError:
                    continue
                except BrokenExecutor:
                    fatal = fatal or self._broken([index, *waiting.values()])
                except SciOptError as error:
                    fatal = fatal or error
                except Exception as error:  # calculators report failures as outcomes: this one never got to work
                    fatal = fatal or _unsendable(error)
                else:
                    if (message := self._keep(index, todo[index], outcome)) is not None:
                        failures[index] = message
                if fatal is not None:
                    for other in waiting:
                        other.cancel()
        except BaseException:
            # Ctrl-C: nothing is waited for, but what has arrived is kept.
            self._kill()
            for future, index in waiting.items():
                if not future.cancel() and future.done() and not future.cancelled() and future.exception() is None:
                    self._keep(index, todo[index], future.result())
            raise
        if fatal is not None:
            raise fatal
        return failures

    def _submit(self, index: int, x: NDArray[np.float64]) -> Future[Outcome]:
        task = (index, self.coordinates.positions(x), self.retries)
        if self._executor is not None:
            return self._executor.submit(_work, self._recipe, *task)
        if self._pool is None:
            try:
                self._parcel = pickle.dumps(self._recipe)
            except Exception as error:  # pickle raises whatever the object raises
                raise _unsendable(error) from error
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, spawn, initializer=start_worker)
        with one_thread_each(), ctrl_c_waits():
            return self._pool.submit(_unpack_and_work, self._parcel, *task)

    def _broken(self, indices: Iterable[int]) -> SciOptError:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        return SciOptError(
            f"a worker process died while evaluating {', '.join(map(self.name, sorted(indices)))}: it was killed, ran "
            "out of memory, crashed, or the script lacks 'if __name__ == \"__main__\":'; finished images are kept"
        )

    def _kill(self) -> None:
        if self._pool is not None:
            # Before Python 3.14 there is no public way to end workers that are in the middle of a calculation.
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
            for process in processes:
                process.terminate()


def _unsendable(error: Exception) -> InputError:
    return InputError(
        f"the calculator factory cannot be sent to worker processes ({one_line(error)}); "
        "define it as a function or class at the top level of an importable file"
    )


_here = threading.local()


def _work(recipe: Recipe, index: int, positions: NDArray[np.float64], retries: int) -> Outcome:
    """One configuration in a worker thread or process, with the calculator this worker made for this run."""
    benches: dict[str, Bench] = vars(_here).setdefault("benches", {})
    if recipe.token not in benches:
        # Long-lived workers serve one run after another: the calculators of old runs must go.
        while len(benches) >= 4:
            benches.pop(next(iter(benches))).clear()
        benches[recipe.token] = Bench(recipe)
    return benches[recipe.token].outcome(0, index, positions, retries)


def _unpack_and_work(parcel: bytes, *task: Any) -> Outcome:
    # Unpacked here and not by the pool, which dies with all its work when a factory cannot be imported.
    return _work(pickle.loads(parcel), *task)
