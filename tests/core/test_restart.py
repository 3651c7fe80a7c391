"""A run continued from a checkpoint on disk is the run that was never interrupted, bit for bit, wherever it is cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from sciopt.core import (
    Adaptive,
    Budget,
    Checkpoint,
    Control,
    Evaluation,
    EvaluationFailed,
    Fade,
    Fixed,
    Flat,
    Improvement,
    Method,
    Plateau,
    Polyak,
    Preconditioned,
    Ratio,
    Record,
    Residual,
    Result,
    Rule,
    Schedule,
    Snapshot,
    StepMethod,
    Tail,
    alignment,
    load_snapshot,
    power,
    reversal,
    run,
    save_snapshot,
)
from sciopt.rules import (
    FIRE,
    FIRE2,
    LBFGS,
    METHODS,
    AdaBelief,
    Adagrad,
    Adam,
    ErrorControl,
    FullAdagrad,
    GradientDescent,
    Momentum,
    PseudoTime,
    RMSprop,
    WithinRadius,
    make_method,
)

N, EVALUATIONS = 3, 10
TIMES = ("evaluating", "overhead")


class Valley:
    """Rosenbrock's function with noise that is a function of the point, and points where it fails."""

    def __init__(self, noise: float = 0.0, fragile: bool = False, has_value: bool = True) -> None:
        self.space = Flat(maxstep=0.3)
        self.noise, self.fragile, self.has_value = noise, fragile, has_value
        self.visited: list[np.ndarray] = []

    def start(self) -> np.ndarray:
        return np.array([-1.2, 1.0, 0.7])

    def evaluate(self, x: np.ndarray) -> Evaluation:
        self.visited.append(x)
        if self.fragile and np.sin(1e5 * x[0]) < -0.3:
            raise EvaluationFailed(f"no answer at x[0] = {x[0]}")
        force = -rosen_der(x) + self.noise * np.sin(1e5 * x)
        return Evaluation(x, force, float(rosen(x)) if self.has_value else None, noise=self.noise, cost={"solves": 2})


RULES: dict[str, Rule] = {
    "gradient descent": GradientDescent(),
    "momentum": Momentum(weight_decay=0.1),
    "nesterov": Momentum(nesterov=True, weight_decay=0.1, decoupled=True),
    "adagrad": Adagrad(),
    "full adagrad": FullAdagrad(),
    "rmsprop": RMSprop(),
    "adam": Adam(),
    "amsgrad": Adam(amsgrad=True, beta2=0.9),
    "adamw": Adam(weight_decay=0.1, decoupled=True),
    "adabelief": AdaBelief(),
    "fire": FIRE(),
    "fire2": FIRE2(),
    "abc-fire": FIRE2(abc=True),
    "lbfgs": LBFGS(memory=4, h0=None, auto=True, curvature=1e-8, reset=True),
    "lbfgs, plain": LBFGS(memory=4, h0=1e-3),
    "pseudo time": PseudoTime(),
    "lbfgs within radius": WithinRadius(LBFGS(memory=4, h0=None, auto=True, curvature=1e-8, reset=True)),
    "adam within radius": WithinRadius(Adam()),
}
# A step size for rules whose direction has the units of the force, and one for those that scale it themselves.
SMALL, LARGE = 1e-3, 0.1
OWN_SCALE = {"adagrad", "full adagrad", "rmsprop", "adam", "amsgrad", "adamw", "adabelief", "lbfgs"}
OWN_SCALE |= {"lbfgs, plain", "lbfgs within radius", "adam within radius"}
CONTROLS: dict[str, Callable[[float], Control]] = {
    "fixed": Fixed,
    "fade": lambda size: Fade(size, after=3, over=2.0),
    "schedule": lambda size: Schedule(lambda k: size / (1 + k)),
    "power": lambda size: Adaptive(size, power, patience=2, forget=True),
    "alignment": lambda size: Adaptive(np.full(N, size), alignment, grow=1.2, most=1.0),
    "reversal": lambda size: Adaptive(size, reversal, grow=1.2, shrink=0.7),
    "ratio": lambda size: Adaptive(size, Ratio(0.1, 0.7), grow=2.0, radius=True, reject=True, forget=True),
    "improvement": lambda size: Adaptive(size, Improvement(), patience=1, reject=True),
    "error": lambda size: ErrorControl(),
}
PER_VARIABLE = {"alignment", "reversal"}
ONE_NUMBER = {"pseudo time", "lbfgs within radius", "adam within radius"}  # these rules read the limit as one number


def combinations() -> list[tuple[str, str]]:
    return [
        (rule, control)
        for rule in RULES
        for control in CONTROLS
        if not (rule in ONE_NUMBER and control in PER_VARIABLE)
        and (control != "error" or rule in ("pseudo time", "gradient descent"))
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files need not survive a power cut: thousands are written here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    return tmp_path


def without_times(records: list[Record]) -> list[str]:
    """Records as text: exact, and NaN equals NaN."""
    return [repr([value for name, value in record._asdict().items() if name not in TIMES]) for record in records]


def same(one: Result, other: Result) -> None:
    assert one.x.tobytes() == other.x.tobytes()
    assert without_times(one.history.records) == without_times(other.history.records)
    assert (one.value, one.residual, one.reason, one.cost) == (other.value, other.residual, other.reason, other.cost)
    assert one.state.trial.tobytes() == other.state.trial.tobytes()
    assert one.history.failures == other.history.failures


def check_every_cut(
    make_problem: Callable[[], Valley], method: Method, folder: Path, average: Tail | Polyak | None = None
) -> Result:
    """Run once writing a checkpoint after every evaluation, then continue from each of them."""
    visited: list[int] = []
    problem, stop = make_problem(), Residual(1e-6) | Budget(EVALUATIONS)

    def save(snapshot: Snapshot) -> None:
        save_snapshot(folder / f"{len(snapshot.history)}", snapshot, method)
        visited.append(len(problem.visited))

    whole = run(problem, method, stop, observers=[save], average=average)
    assert len(visited) >= 5
    for cut, count in enumerate(visited, 1):
        again = make_problem()
        snapshot = load_snapshot(folder / f"{cut}", method)
        assert len(snapshot.history) == cut
        same(run(again, method, stop, average=average, resume=snapshot), whole)
        assert [x.tobytes() for x in again.visited] == [x.tobytes() for x in problem.visited[count:]]
    return whole


@pytest.mark.parametrize(("rule", "control"), combinations())
def test_every_rule_under_every_control(rule: str, control: str, folder: Path) -> None:
    method = StepMethod(RULES[rule], CONTROLS[control](LARGE if rule in OWN_SCALE else SMALL), Flat(maxstep=0.3))
    whole = check_every_cut(Valley, method, folder)
    assert len(set(without_times(whole.history.records))) == len(whole.history)
    if control != "error":  # its first steps are tiny
        assert np.abs(whole.state.here.x - Valley().start()).max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_every_named_method(name: str, folder: Path) -> None:
    check_every_cut(Valley, make_method(name, Flat(maxstep=0.3)), folder)


@pytest.mark.parametrize("average", [Tail(4), Polyak(burn_in=3)])
def test_averages(average: Tail | Polyak, folder: Path) -> None:
    whole = check_every_cut(lambda: Valley(noise=0.5), make_method("adam", Flat(), learning_rate=0.05), folder, average)
    assert not np.array_equal(whole.x, whole.state.here.x)


def test_noise_aware_lbfgs(folder: Path) -> None:
    check_every_cut(lambda: Valley(noise=5.0), make_method("lbfgs", Flat(maxstep=0.1), radius=0.1), folder)


def test_without_a_value(folder: Path) -> None:
    check_every_cut(lambda: Valley(has_value=False), make_method("lbfgs", Flat(), radius=0.3), folder)


@pytest.mark.parametrize("name", ["momentum", "lbfgs", "fire"])
def test_with_failing_evaluations(name: str, folder: Path) -> None:
    method = make_method(name, Flat(maxstep=0.3))
    assert check_every_cut(lambda: Valley(fragile=True), method, folder).history.failures > 0


def test_under_a_preconditioner(folder: Path) -> None:
    space = Preconditioned(Flat(maxstep=0.3), lambda x, f: f / np.array([800.0, 400.0, 200.0]))
    check_every_cut(Valley, make_method("lbfgs", space, h0=1.0), folder)


# Resuming ------------------------------------------------------------------------------------------------------------


def test_resuming_leaves_the_snapshot_as_it_was() -> None:
    method, snapshots = make_method("momentum", Flat(), learning_rate=1e-4), []
    run(Valley(), method, Budget(5), observers=[snapshots.append])
    one = run(Valley(), method, Budget(9), resume=snapshots[-1])
    two = run(Valley(), method, Budget(9), resume=snapshots[-1])
    assert len(snapshots[-1].history) == 5
    same(one, two)


def test_budgets_count_on() -> None:
    method, snapshots = make_method("momentum", Flat(), learning_rate=1e-4), []
    first = run(Valley(), method, Budget(10, "solves"), observers=[snapshots.append])
    assert first.cost == {"evaluations": 5.0, "solves": 10.0}
    problem = Valley()
    assert run(problem, method, Budget(10, "solves"), resume=snapshots[-1]).reason.kind == "budget"
    assert problem.visited == [], "the budget was used up before the run was interrupted"
    assert run(problem, method, Budget(16, "solves"), resume=snapshots[-1]).cost == {"evaluations": 8.0, "solves": 16.0}
    assert len(problem.visited) == 3


def test_a_plateau_is_counted_over_the_cut() -> None:
    method, snapshots = StepMethod(GradientDescent(), Fixed(1e-9), Flat()), []
    run(Valley(), method, Budget(8), observers=[snapshots.append])
    resumed = run(Valley(), method, Plateau(window=10) | Budget(100), resume=snapshots[-1])
    assert resumed.reason.kind == "plateau"
    assert len(resumed.history) == 11


def test_an_average_may_be_asked_for_on_resuming_and_left_out() -> None:
    method, snapshots = make_method("momentum", Flat(), learning_rate=1e-4), []
    run(Valley(), method, Budget(5), observers=[snapshots.append])
    averaged = run(Valley(), method, Budget(8), resume=snapshots[-1], average=Tail(50), observers=[snapshots.append])
    points = np.array([snapshot.state.here.x for snapshot in snapshots[4:8]])
    assert averaged.x == pytest.approx(points.mean(axis=0))
    plain = run(Valley(), method, Budget(8), resume=snapshots[-1])
    assert plain.x_error is None
    assert (plain.x == snapshots[7].best.x).all()


# A crash -------------------------------------------------------------------------------------------------------------

SCRIPT = textwrap.dedent("""
    import os, signal, sys
    import numpy as np
    from sciopt.core import Budget, Checkpoint, Evaluation, Flat, load_snapshot, run
    from sciopt.rules import make_method

    path, kill_at, resume = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "resume"

    class Bowl:
        space, calls = Flat(), 0

        def start(self):
            return np.linspace(-1.0, 2.0, 5)

        def evaluate(self, x):
            self.calls += 1
            if self.calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return Evaluation(x, -np.arange(1, 6) * np.sin(x), float(-np.arange(1, 6) @ np.cos(x)))

    method = make_method("adam", Flat(), learning_rate=0.1)
    snapshot = load_snapshot(path, method) if resume else None
    result = run(Bowl(), method, Budget(25), observers=[Checkpoint(path, method)], resume=snapshot)
    sys.stdout.write(result.x.tobytes().hex() + f" {len(result.history)}")
""")


def test_a_run_killed_in_the_middle_continues_to_the_same_answer(tmp_path: Path) -> None:
    def start(folder: str, kill_at: int, mode: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / folder / "state"), str(kill_at), mode]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = start("whole", 0, "new")
    assert whole.returncode == 0, whole.stderr
    killed = start("killed", 12, "new")
    assert killed.returncode == -signal.SIGKILL
    assert len(load_snapshot(tmp_path / "killed" / "state").history) == 11
    again = start("killed", 0, "resume")
    assert again.returncode == 0, again.stderr
    assert again.stdout == whole.stdout
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["state.json", "state.npz"]


def test_checkpoints_may_be_rare(tmp_path: Path) -> None:
    method, written = make_method("momentum", Flat(), learning_rate=1e-4), []
    keep = Checkpoint(tmp_path / "state", method, seconds=1e6)
    run(Valley(), method, Budget(6), observers=[keep, lambda s: written.append(len(load_snapshot(keep.path).history))])
    assert written == [1] * 6


def test_a_stalled_run_asks_for_nothing_more_when_it_is_resumed(tmp_path: Path) -> None:
    class Bowl:
        space = Flat()

        def start(self) -> np.ndarray:
            return np.array([1.0, -2.0])

        def evaluate(self, x: np.ndarray) -> Evaluation:
            return Evaluation(x, -x, 0.5 * float(x @ x))

    method = StepMethod(GradientDescent(), Fixed(0.0), Flat())
    whole = run(Bowl(), method, Residual(1e-6) | Budget(50), observers=[Checkpoint(tmp_path / "state")])
    assert whole.reason.kind == "stalled"
    again = run(Bowl(), method, Residual(1e-6) | Budget(50), resume=load_snapshot(tmp_path / "state"))
    assert again.reason == whole.reason
    assert len(again.history) == len(whole.history)
