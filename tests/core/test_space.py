"""Lengths, caps and metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sciopt.core import Flat, Preconditioned
from sciopt.core.space import everywhere

vectors = arrays(np.float64, 6, elements=st.floats(-1e6, 1e6, allow_subnormal=False))
caps = st.floats(1e-6, 1e3)
NORMS = ["group", "whole", "component"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("group", [1, 2, 3])
@given(step=vectors, cap=caps)
def test_clip_never_lengthens_and_obeys_the_cap(norm: str, group: int, step: np.ndarray, cap: float) -> None:
    space = Flat(cap, group, norm)
    clipped = space.clip(step)
    assert space.length(clipped) <= cap * (1 + 1e-12)
    assert (np.abs(clipped) <= np.abs(step) * (1 + 1e-12)).all()
    if space.length(step) <= cap:
        assert (clipped == step).all()


@pytest.mark.parametrize("norm", ["group", "whole"])
@given(step=vectors, cap=caps)
def test_clip_keeps_the_direction(norm: str, step: np.ndarray, cap: float) -> None:
    clipped = Flat(cap, 3, norm).clip(step)
    ratio = np.linalg.norm(clipped) / max(np.linalg.norm(step), 1e-300)
    assert clipped == pytest.approx(ratio * step, rel=1e-9, abs=1e-9 * cap)


@given(step=vectors, cap=caps)
def test_a_cap_per_component_keeps_signs(step: np.ndarray, cap: float) -> None:
    clipped = Flat(cap, norm="component").clip(step)
    assert (np.sign(clipped) == np.sign(step)).all()
    assert np.abs(clipped) == pytest.approx(np.minimum(np.abs(step), cap))


def test_what_each_norm_measures() -> None:
    step = np.array([3.0, 0.0, 4.0, 0.0, 12.0, 0.0])
    assert Flat(group=3).length(step) == 12.0
    assert Flat(group=3, norm="whole").length(step) == 13.0
    assert Flat(group=3, norm="component").length(step) == 12.0
    assert Flat(group=2).length(step) == 12.0
    assert Flat(group=6).length(step) == 13.0


def test_the_residual_is_the_largest_force_on_a_particle() -> None:
    force = np.array([3.0, 0.0, 4.0, 0.0, 4.5, 0.0])
    assert Flat(group=3).residual(np.zeros(6), force) == 5.0
    assert Flat(maxstep=0.01, group=3, norm="whole").residual(np.zeros(6), force) == 5.0, "no limit may change it"


@given(vectors, vectors)
def test_between_undoes_move(x: np.ndarray, step: np.ndarray) -> None:
    space = Flat()
    assert space.between(x, space.move(x, step)) == pytest.approx(step, rel=1e-9, abs=1e-9)


class Recorder:
    """A space that notes what it is asked and answers with something recognisable."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def __getattr__(self, name: str):
        def method(*arguments):
            self.asked.append((name, *arguments))
            return f"answer of {name}"

        return method


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("dot", ("a", "b")),
        ("tangent", ("x", "f")),
        ("clip", ("s",)),
        ("length", ("s",)),
        ("move", ("x", "s", "metric")),
        ("between", ("x", "y")),
        ("residual", ("x", "f")),
    ],
)
def test_a_preconditioner_changes_nothing_but_the_metric(name: str, arguments: tuple) -> None:
    base = Recorder()
    space = Preconditioned(base, lambda x, f: f)
    assert getattr(space, name)(*arguments) == f"answer of {name}"
    assert base.asked == [(name, *arguments)]


def test_sharp_solves_with_the_preconditioner_at_the_point() -> None:
    space = Preconditioned(Recorder(), lambda x, f: f / x)
    assert space.sharp(np.array([2.0, 4.0]), np.ones(2)).tolist() == [0.5, 0.25]
    assert space.base.asked == []


@given(vectors)
def test_a_space_of_whole_vectors_has_nothing_to_reduce(x: np.ndarray) -> None:
    for space in (Flat(), Preconditioned(Flat(), lambda x, f: f)):
        assert space.total(x) is x
        assert space.largest(-1.5) == -1.5
        assert everywhere(space, x == x) and not everywhere(space, np.append(x, 1.0) != 1.0)


@pytest.mark.parametrize("other", [0.0, 1.0])
def test_what_holds_everywhere_holds_on_other_ranks(other: float) -> None:
    class Shared(Flat):
        def largest(self, part: float) -> float:
            return max(part, other)

    for space in (Shared(), Preconditioned(Shared(), lambda x, f: f)):
        assert everywhere(space, True) == (other == 0.0)
        assert everywhere(space, np.zeros(0, dtype=bool)) == (other == 0.0)
        assert not everywhere(space, False)
