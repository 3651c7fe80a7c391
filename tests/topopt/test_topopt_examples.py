"""The examples of designs run, and find what is known of their answers."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def result_of(name: str, *arguments: Any) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](*arguments)


def test_the_beam_is_as_stiff_as_that_of_88_lines(capsys: pytest.CaptureFixture[str]) -> None:
    result = result_of("topopt_beam", 60)
    # Andreassen et al. 2011, doi 10.1007/s00158-010-0594-7, for 60 x 20 elements, radius 2.4 and the density filter.
    assert result.converged and result.compliance < 233.71 * 1.001
    assert result.volume == pytest.approx(0.5, abs=1e-6)
    assert f"compliance {result.compliance:.2f}" in capsys.readouterr().out


def test_projections_make_designs_black_and_white() -> None:
    found = result_of("topopt_black_and_white", 32)
    assert found["grey"].greyness > 0.15
    assert found["projected"].greyness < 0.5 * found["grey"].greyness
    for result in found.values():
        np.testing.assert_allclose(result.density, result.density[:, ::-1], atol=1e-12)


def test_own_arrays_make_a_problem_whose_gradient_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    result = result_of("topopt_own_structure", 24)
    assert "order 2.0" in capsys.readouterr().out
    assert result.volume == pytest.approx(0.3, abs=1e-6)
    # The mean temperature of the best design lies between those of a disc full of material and of an even mixture.
    problem = result.problem
    full, even = problem.evaluate(np.ones(problem.size)), problem.evaluate(problem.start())
    assert full.value < result.compliance < 0.25 * even.value
