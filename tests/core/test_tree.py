"""Trees of plain data survive the way to arrays and JSON and back; anything else is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sciopt.core import Adaptive, Evaluation, Flat, RestartMismatch, Schedule, power
from sciopt.core.tree import decode, describe, encode
from sciopt.rules import Adam, make_method


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass(frozen=True, eq=False)
class Box:
    content: Any
    label: str = ""


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.bool_, np.complex128]), arrays.array_shapes(min_side=0)
    )
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.builds(Pair, inner, inner)
        | st.builds(Box, inner, st.text())
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value, type and bits."""
    if type(one) is not type(other):
        return False
    match one:
        case np.ndarray():
            return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        case float():
            return np.float64(one).tobytes() == np.float64(other).tobytes() or (one != one and other != other)
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case dict():
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        case Box():
            return same(one.content, other.content) and one.label == other.label
    return one == other


def through_json(tree: Any) -> Any:
    stored: dict[str, np.ndarray] = {}
    return decode(json.loads(json.dumps(encode(tree, stored), allow_nan=False)), stored)


@given(trees)
def test_round_trip(tree: Any) -> None:
    assert same(through_json(tree), tree)


@pytest.mark.parametrize("number", [np.float64(0.1), np.int64(3), np.bool_(True), np.float32(0.1)])
def test_numpy_scalars_come_back_as_the_same_numbers(number: np.generic) -> None:
    assert through_json(number) == number
    assert isinstance(through_json(number), bool | int | float)


def test_states_come_back(rng: np.random.Generator) -> None:
    method = make_method("lbfgs", Flat(), radius=1.0)
    x = rng.normal(size=4)
    state = method.advance(method.start(Evaluation(x, -x, 1.0)), Evaluation(x / 2, -x / 2, 0.2, info={"images": [x]}))
    again = through_json(state)
    assert type(again) is type(state) and type(again.memory) is type(state.memory)
    assert again.limit == state.limit
    assert again.here.info["images"][0].tobytes() == x.tobytes()


@pytest.mark.parametrize("thing", [{1, 2}, object(), lambda: None, Box, b"bytes"])
def test_other_things_are_refused_by_name(thing: Any) -> None:
    with pytest.raises(TypeError, match=f"a {type(thing).__name__} cannot be stored"):
        encode([thing], {})


@pytest.mark.parametrize(
    "name",
    [
        "sciopt.core.method:Missing",
        "no_such_module:State",
        "sciopt.core.tree:encode",  # exists, but is no record
        "os:system",
        "subprocess:Popen",
        "builtins:dict",
    ],
)
def test_only_known_records_are_rebuilt(name: str) -> None:
    with pytest.raises(RestartMismatch, match=f"needs {name.split(':')[1]} from {name.split(':')[0]}"):
        decode({"type": name, "fields": ["true"]}, {})


def test_changed_fields_are_noticed() -> None:
    skeleton = encode(Pair(1, 2), {})
    skeleton["fields"].append(3)
    with pytest.raises(RestartMismatch, match=r"Pair with 3 fields, this version has 2"):
        decode(skeleton, {})


def test_descriptions_tell_settings_apart() -> None:
    def text(thing: Any) -> str:
        return json.dumps(describe(thing), allow_nan=False)

    same_settings = [Adam(beta1=0.8), Adam(beta1=0.8)]
    assert text(same_settings[0]) == text(same_settings[1])
    different = [
        Adam(),
        Adam(beta1=0.8),
        Adam(eps=float("inf")),
        Flat(),
        Adaptive(0.1, power),
        Adaptive(np.full(3, 0.1), power),
        Adaptive(np.full(4, 0.1), power),
        Adaptive(np.full(3, 0.2), power),
        Schedule(abs),
        Schedule(round),
        {"a": (1, 2)},
        {"a": [1, 3]},
        np.int64(1),
        None,
    ]
    assert len({text(thing) for thing in different}) == len(different)
    assert describe((1, 2)) == describe([1, 2]), "JSON knows no tuples"
