"""Noise that is the same for the same configuration, and searches on it judged by the truth."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT

import sciopt.bench.path_noise as path_noise
from sciopt.bench.path_noise import NOISE_PROBLEMS, NoiseOutcome, Noisy, noise_benchmark, noise_table
from sciopt.bench.path_record import read_rows, write_rows
from sciopt.problems import path_problem

NAME = "au_al100_hop"


def forces(factory: Noisy, shift: float) -> tuple[float, np.ndarray]:
    atoms = path_problem(NAME).initial.copy()
    atoms.positions[-1, 0] += shift
    atoms.calc = factory()
    return atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)


def test_noise_belongs_to_the_configuration_and_the_seed() -> None:
    noisy = Noisy(EMT, 0.1, 3)
    for one, other in zip(forces(noisy, 0.1), forces(pickle.loads(pickle.dumps(noisy)), 0.1), strict=True):
        np.testing.assert_array_equal(one, other)
    kinds = [forces(noisy, 0.1), forces(noisy, 0.1 + 1e-12), forces(Noisy(EMT, 0.1, 4), 0.1)]
    clean = forces(Noisy(EMT, 0.0, 3), 0.1)
    deviations = np.array([(kind[1] - clean[1]).ravel() for kind in kinds])
    assert np.abs(np.corrcoef(deviations) - np.eye(3)).max() < 0.4


def test_noise_has_the_size_it_is_said_to_have() -> None:
    clean = [forces(Noisy(EMT, 0.0, 0), 0.01 * k) for k in range(60)]
    noisy = [forces(Noisy(EMT, 0.1, 0), 0.01 * k) for k in range(60)]
    force = np.array([one[1] - other[1] for one, other in zip(noisy, clean, strict=True)])
    energy = np.array([one[0] - other[0] for one, other in zip(noisy, clean, strict=True)])
    assert force.std() == pytest.approx(0.1, rel=0.1) and abs(force.mean()) < 0.01
    assert energy.std() == pytest.approx(0.01, rel=0.35) and abs(energy.mean()) < 0.005


def test_searches_are_judged_by_the_truth() -> None:
    (exact,) = noise_benchmark([NAME], ["imagewise"], [1e-9], seeds=1)
    assert exact.claimed and exact.force < 0.05
    assert abs(exact.barrier_error) < 0.01 and exact.barrier_error == pytest.approx(exact.saddle_error, abs=1e-6)
    (one,) = noise_benchmark([NAME], ["auto"], [0.1], seeds=1, max_calls=100)
    (again,) = noise_benchmark([NAME], ["auto"], [0.1], seeds=1, max_calls=100)
    assert one == again
    assert one.key == (NAME, 0.1, 0, "auto")
    # Told and true differ by the noise.
    assert 1e-6 < abs(one.barrier_error - one.saddle_error) < 0.1
    assert one.good == (one.claimed and one.force < 0.08 and one.calls <= 60)
    done = {one.key}
    rest = noise_benchmark([NAME], ["auto"], [0.1], seeds=2, max_calls=10, done=done)
    assert [outcome.seed for outcome in rest] == [1]


def test_what_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_noise, "find_path", lambda *_, **__: 1 / 0)
    (broken,) = noise_benchmark([NAME], ["auto"], [0.03], seeds=1)
    assert not broken.claimed and not broken.good
    assert math.isnan(broken.force) and "ZeroDivisionError" in broken.note


def outcome(**changes: object) -> NoiseOutcome:
    return replace(NoiseOutcome("a", 0.03, 0, "gp", 20, True, 0.02, 0.001, -0.002, True, ""), **changes)  # type: ignore[arg-type]


def test_tables_show_medians_and_the_worst(tmp_path: Path) -> None:
    rows = [
        outcome(),
        outcome(seed=1, calls=30, force=0.06, barrier_error=-0.005, good=False),
        outcome(problem="bb", calls=40, force=math.nan, claimed=False, good=False),
        outcome(sigma=0.1, saddle_error=0.5),
    ]
    lines = list(noise_table(rows))
    assert "gp, 0.03" in lines[0] and "0.05 within 30" in lines[0]
    words = [line.replace(" (", "(").split() for line in lines]
    assert words[2] == ["a", "1/2", "2/2", "25(30)", "0.040(0.060)", "3.0(5.0)", "2.0(2.0)"]
    assert words[3][:5] == ["bb", "0/1", "0/1", "40(40)", "inf(inf)"]
    assert words[4][:5] == ["all", "1/3", "2/3", "30(40)", "0.060(inf)"]
    assert "gp, 0.1" in lines[5] and words[7][-1] == "500.0(500.0)"
    write_rows(tmp_path / "noise.csv", rows, NoiseOutcome)
    assert str(read_rows(tmp_path / "noise.csv", NoiseOutcome)) == str(rows)


def test_the_default_problems_exist() -> None:
    assert {"malonaldehyde_transfer", "hcn_hnc", NAME} <= set(NOISE_PROBLEMS)
    assert len({path_problem(name).kind for name in NOISE_PROBLEMS}) == 3
