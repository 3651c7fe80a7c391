"""What a process is: two unrelaxed ends on a named potential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ase import Atoms

Ends = tuple[Atoms, Atoms]


@dataclass(frozen=True)
class Process:
    """One process to find the reference of.

    `ends` builds both ends, constraints set, in one atom order; they are relaxed afterwards. `images` is the number of
    movable images, `starts` the number of bent initial bands tried next to the one sciopt chooses.
    """

    name: str
    kind: str
    calculator: str
    ends: Callable[[], Ends]
    images: int
    source: str
    tuned: bool = False
    starts: int = 2
