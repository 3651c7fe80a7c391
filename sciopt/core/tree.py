"""Plain-data trees to arrays and JSON and back: how states are stored without pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from sciopt.core.errors import RestartMismatch

__all__ = ["decode", "describe", "encode", "holders"]


def encode(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """JSON-able skeleton of `tree`; its arrays are put into `arrays` and referred to by name.

    Trees are made of None, bool, int, float, str, numpy arrays and scalars, tuples, lists, dicts with string keys,
    named tuples and dataclasses. A class that cannot be rebuilt from its fields (it keeps a factorisation, say) offers
    ``to_plain() -> tree`` and the class method ``from_plain(tree)``.

    Examples
    --------
    >>> import numpy as np
    >>> arrays = {}
    >>> decode(encode((1, "a", np.arange(2)), arrays), arrays)
    (1, 'a', array([0, 1]))
    """
    match tree:
        case None | bool() | int() | str():
            return tree
        case float():
            return tree if np.isfinite(tree) else {"float": str(tree)}
        case np.generic():
            return encode(tree.item(), arrays)
        case np.ndarray():
            name = f"a{len(arrays)}"
            arrays[name] = tree
            return {"array": name}
        case tuple() if hasattr(tree, "_fields"):
            return {"type": _name(type(tree)), "fields": [encode(item, arrays) for item in tree]}
        case tuple():
            return {"tuple": [encode(item, arrays) for item in tree]}
        case list():
            return [encode(item, arrays) for item in tree]
        case Mapping():
            return {"dict": {str(key): encode(item, arrays) for key, item in tree.items()}}
    if hasattr(tree, "to_plain"):
        return {"type": _name(type(tree)), "plain": encode(tree.to_plain(), arrays)}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        values = [encode(getattr(tree, field.name), arrays) for field in dataclasses.fields(tree)]
        return {"type": _name(type(tree)), "fields": values}
    raise TypeError(
        f"a {type(tree).__name__} cannot be stored in a checkpoint; keep state in arrays, numbers and tuples"
    )


def decode(skeleton: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The tree that `encode` was given.

    Raises
    ------
    RestartMismatch
        When the skeleton names a type that is not imported, or whose fields have changed.
    """
    match skeleton:
        case list():
            return [decode(item, arrays) for item in skeleton]
        case {"float": text}:
            return float(text)
        case {"array": name}:
            return np.asarray(arrays[name])
        case {"tuple": items}:
            return tuple(decode(item, arrays) for item in items)
        case {"dict": items}:
            return {key: decode(item, arrays) for key, item in items.items()}
        case {"type": name, "plain": plain}:
            return _find(name).from_plain(decode(plain, arrays))
        case {"type": name, "fields": values}:
            kind = _find(name)
            fields = [decode(item, arrays) for item in values]
            names = _fields(kind)
            if len(names) != len(fields):
                raise RestartMismatch(
                    f"the checkpoint stores {name} with {len(fields)} fields, this version has {len(names)}; "
                    "restart without resuming, or with the version that wrote it"
                )
            return kind(*fields)
    return skeleton


def holders(skeleton: Any, holder: str = "") -> dict[str, str]:
    """Where each array of a skeleton belongs: the name that `encode` gave it to ``Type.field``, ``Type.field.key`` ….

    Examples
    --------
    >>> import numpy as np
    >>> from sciopt.core.control import Limit
    >>> holders(encode((Limit(np.ones(2)), {"seen": np.ones(3)}), {}))
    {'a0': 'Limit.size', 'a1': 'seen'}
    """
    inside: list[tuple[Any, str]] = []
    match skeleton:
        case {"array": name}:
            return {name: holder}
        case list() | {"tuple": list()}:
            items = skeleton if isinstance(skeleton, list) else skeleton["tuple"]
            inside = [(item, holder) for item in items]
        case {"dict": items}:
            inside = [(item, f"{holder}.{key}" if holder else key) for key, item in items.items()]
        case {"type": name, "plain": plain}:
            inside = [(plain, name.partition(":")[2])]
        case {"type": name, "fields": values}:
            kind = name.partition(":")[2]
            inside = [(item, f"{kind}.{field}") for item, field in zip(values, _fields(_find(name)), strict=True)]
    return {name: place for item, around in inside for name, place in holders(item, around).items()}


def describe(thing: Any) -> Any:
    """A JSON-able description of settings, for telling whether a checkpoint belongs to them.

    Dataclasses become dicts, arrays their shape and a hash, functions their qualified names.
    """
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = {field.name: describe(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
        return {"type": type(thing).__qualname__, **fields}
    match thing:
        case None | bool() | int() | str() | float():
            return thing if not (isinstance(thing, float) and not np.isfinite(thing)) else str(thing)
        case np.generic():
            return describe(thing.item())
        case np.ndarray():
            return f"array{thing.shape} {hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()[:16]}"
        case tuple() | list():
            return [describe(item) for item in thing]
        case Mapping():
            return {str(key): describe(item) for key, item in thing.items()}
    return getattr(thing, "__qualname__", type(thing).__qualname__)


def _fields(kind: Any) -> list[str]:
    return list(getattr(kind, "_fields", None) or [field.name for field in dataclasses.fields(kind)])


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _find(name: str) -> Any:
    """The class called `name`. Only modules that are already imported are looked at: data must not run code."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    is_record = isinstance(found, type) and (hasattr(found, "_fields") or dataclasses.is_dataclass(found))
    if not is_record:
        raise RestartMismatch(f"the checkpoint needs {path} from {module}; import that module before resuming")
    return found
