"""Design tasks from TOML files: validated, with one sentence per mistake that names ``section.key``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciopt.core.errors import InputError
from sciopt.topopt.builder import Grid
from sciopt.topopt.distribute import SPREADS
from sciopt.topopt.field import Projection
from sciopt.topopt.filters import Filter
from sciopt.topopt.lattice import AXES
from sciopt.topopt.length_scale import LEAST_RADIUS
from sciopt.topopt.material import RAMP, SIMP
from sciopt.topopt.methods import DESIGN_METHODS
from sciopt.topopt.optimize import STOPS
from sciopt.topopt.task import FILTERS, OBJECTIVES, SOLVERS, Task, task_options
from sciopt.topopt.toml_regions import GridRegions, RegionReader, Selector
from sciopt.topopt.toml_table import Table, number, suggestion

if TYPE_CHECKING:
    from sciopt.topopt.fenicsx.source import FEniCSx

    Source = Grid | FEniCSx

__all__ = ["names_mesh", "read_task"]

_SINGLE = ("grid", "mesh", "cases", "objective", "filter", "material", "projection", "design", "solver", "optimizer")
_REPEATED = ("support", "load", "source", "spring", "output", "passive")


def read_task(path: str | Path) -> Task:
    """The task that a TOML file describes; docs/designs.md has the table of all keys.

    Parameters
    ----------
    path
        The file. Masks and meshes it names are looked for beside it.

    Raises
    ------
    InputError
        For a file that cannot be read, unknown sections and keys, values of the wrong kind, and whatever makes no
        sense on the grid or mesh: one sentence that begins with the file and names ``section.key``.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    with _beginning(f"{path}: "):
        _check_sections(content)
        return _Reader(content, path).task()


def names_mesh(path: str | Path) -> bool:
    """Whether a TOML file has a section ``[mesh]``, whatever else may be wrong with it."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.partition("#")[0].strip() == "[mesh]" for line in lines)


def _check_sections(content: dict[str, Any]) -> None:
    known = (*_SINGLE, *_REPEATED)
    for name, section in content.items():
        if name not in known:
            what = f"[{name}]" if isinstance(section, dict | list) else f"{name} (outside of any section)"
            raise InputError(
                f"{what} is unknown;{suggestion(name, known, ' did you mean [{}]?')} known are {', '.join(known)}"
            )
        if name in _SINGLE and not isinstance(section, dict):
            what = "repeated" if isinstance(section, list) else "a value"
            raise InputError(f"{name} is {what}; expected one section [{name}]")
        if name in _REPEATED and not (isinstance(section, list) and all(isinstance(item, dict) for item in section)):
            raise InputError(f"{name} is not a list of tables; write [[{name}]] with two brackets")
    if "grid" in content and "mesh" in content:
        raise InputError("there are both [grid] and [mesh]; a structure is made of one of the two")
    if "grid" not in content and "mesh" not in content:
        raise InputError(
            "[grid] is missing; it needs at least a size, for example [grid] size = [60, 20]; or name a mesh, "
            'for example [mesh] file = "part.msh"'
        )


class _Reader:
    def __init__(self, content: dict[str, Any], path: Path) -> None:
        self.content, self.path = content, path
        self.base = "mesh" if "mesh" in content else "grid"

    def task(self) -> Task:
        grid, selector = self._mesh() if self.base == "mesh" else self._grid()
        regions = RegionReader(selector, self.path.parent)
        heat = grid.physics == "heat"
        for table in self._repeated("passive"):
            grid = _passive(grid, regions, table)
        for table in self._repeated("support"):
            grid = _support(grid, regions, table)
        for name in ("source", "load"):
            for table in self._repeated(name):
                if (name == "source") is not heat:
                    used = "[[source]]" if heat else "[[load]]"
                    raise InputError(
                        f"{name}: a {self.base} with physics = {grid.physics!r} has no [[{name}]]; use {used}"
                    )
                grid = _load(grid, regions, table, heat)
        for table in self._repeated("spring"):
            grid = _spring(grid, regions, table)
        for table in self._repeated("output"):
            grid = _output(grid, regions, table)
        grid = self._weights(grid)
        task = Task(
            self.path.stem,
            grid,
            **self._objective(heat),
            filter=self._filter(grid),
            material=self._material(),
            projection=self._projection(),
            symmetry=self._symmetry(),
            **self._solver(),
        )
        return self._with_optimizer(task)

    def _single(self, name: str) -> Table:
        return Table(self.content.get(name, {}), name)

    def _repeated(self, name: str) -> Iterator[Table]:
        entries = self.content.get(name, [])
        for entry, content in enumerate(entries, 1):
            yield Table(content, name, entry if len(entries) > 1 else None)

    def _grid(self) -> tuple[Source, Selector]:
        table = self._single("grid")
        size = table.raw("size")
        if not isinstance(size, list) or len(size) not in (2, 3):
            raise InputError(f"grid.size is {size!r}; expected two or three numbers of elements, for example [60, 20]")
        for n in size:
            if not isinstance(n, int) or isinstance(n, bool) or n < 1:
                raise InputError(f"grid.size: {n!r} is no number of elements; expected whole numbers, at least 1")
        spacing = table.raw("spacing", 1.0)
        edges = table.numbers("spacing") if isinstance(spacing, list) else [table.number("spacing", 1.0)] * len(size)
        if len(edges) != len(size) or min(edges) <= 0.0:
            raise InputError(f"grid.spacing is {spacing!r}; expected a positive length, or one for each of the axes")
        model = _model(table)
        table.finish()
        with _beginning("grid: "):
            grid = Grid(*size, spacing=edges, **model)
        return grid, GridRegions(grid.lattice)

    def _mesh(self) -> tuple[Source, Selector]:
        # FEniCSx is loaded for those who ask for a mesh only.
        from sciopt.topopt.fenicsx.source import FEniCSx

        table = self._single("mesh")
        file = self.path.parent / table.text("file")
        size = table.number("size") if table.says("size") else None
        model = _model(table)
        table.finish()
        with _beginning("mesh: "):
            mesh = FEniCSx.read(file, size=size, **model)
        return mesh, mesh.regions

    def _weights(self, grid: Source) -> Source:
        table = self._single("cases")
        if not table.says("weights"):
            table.finish()
            return grid
        given = table.raw("weights")
        table.finish()
        if not isinstance(given, dict | list):
            raise InputError(f"cases.weights is {given!r}; expected {{name = weight, ...}} or one weight per case")
        if isinstance(given, list):
            with _beginning("cases.weights: ", "case_weights: "):
                return grid.case_weights([number(weight, "cases.weights") for weight in given])
        for case in given:
            if case not in grid.cases:
                raise InputError(
                    f"cases.weights.{case}: there is no such case{suggestion(case, grid.cases)}; "  # type: ignore[arg-type]
                    f"known are {', '.join(map(str, grid.cases)) or 'none'}"
                )
        with _beginning("cases.weights: ", "case_weights: "):
            return grid.case_weights({case: number(weight, f"cases.weights.{case}") for case, weight in given.items()})

    def _objective(self, heat: bool) -> dict[str, Any]:
        table = self._single("objective")
        kind = table.word("kind", OBJECTIVES, "heat" if heat else "compliance")
        if heat is not (kind == "heat"):
            raise InputError(
                f"objective.kind is {kind!r}, but {self.base}.physics is {'heat' if heat else 'elasticity'!r}; "
                f"{'conductors' if heat else 'elastic structures'} need "
                f"{'kind = heat' if heat else 'compliance, mechanism or minimum-volume'}"
            )
        found: dict[str, Any] = {"kind": kind}
        if kind == "minimum-volume":
            found["limit"] = table.number("limit")
            if found["limit"] <= 0.0:
                raise InputError(f"objective.limit is {found['limit']}; expected a positive compliance")
        else:
            found["volume"] = table.number("volume", 0.5)
            if not 0.0 < found["volume"] <= 1.0:
                raise InputError(f"objective.volume is {found['volume']}; expected a fraction in (0, 1]")
        if kind != "mechanism":
            found["worst"] = table.flag("worst", False)
        table.finish()
        return found

    def _filter(self, grid: Source) -> Filter:
        table = self._single("filter")
        kind = table.word("kind", tuple(FILTERS), "density")
        if table.says("radius"):
            radius = table.number("radius")
        else:
            radius = LEAST_RADIUS * max(grid.structure().spacing)
        table.finish()
        if radius <= 0.0:
            raise InputError(f"filter.radius is {radius}; expected a positive length")
        return FILTERS[kind](radius)

    def _material(self) -> SIMP | RAMP:
        table = self._single("material")
        kind = table.word("kind", ("SIMP", "RAMP"), "SIMP")
        penalty = table.number("penalty", 3.0 if kind == "SIMP" else 8.0)
        solid, void = table.number("E0", 1.0), table.number("Emin", 1e-9)
        table.finish()
        with _beginning("material: "):
            return SIMP(penalty, solid, void) if kind == "SIMP" else RAMP(penalty, solid, void)

    def _projection(self) -> Projection | None:
        if "projection" not in self.content:
            return None
        table = self._single("projection")
        beta, robust = table.number("beta", 32.0), table.number("robust", 0.0)
        table.finish()
        return Projection(beta, robust)

    def _symmetry(self) -> tuple[str, ...]:
        table = self._single("design")
        given = table.raw("symmetry", [])
        table.finish()
        axes = [given] if isinstance(given, str) else given
        if not isinstance(axes, list) or not all(isinstance(axis, str) and axis in tuple(AXES) for axis in axes):
            raise InputError(f'design.symmetry is {given!r}; expected axes, for example ["x"]')
        return tuple(axes)

    def _solver(self) -> dict[str, Any]:
        table = self._single("solver")
        found = {"solver": table.word("kind", SOLVERS, "auto"), "tol": table.number("tol", 1e-3)}
        table.finish()
        return found

    def _with_optimizer(self, task: Task) -> Task:
        table = self._single("optimizer")
        method = table.word("method", ("auto", *DESIGN_METHODS), "auto")
        stop = table.word("stop", tuple(STOPS), "plateau")
        budget = table.number("max_solves") if table.says("max_solves") else None
        if budget is not None and budget <= 0.0:
            raise InputError(f"optimizer.max_solves is {budget}; expected a positive number")
        options = table.rest(task_options(method, task.kind))
        task = replace(task, method=method, stop=stop, max_solves=budget, options=options)
        with _beginning("optimizer: "):
            task.check_method()
        return task


def _model(table: Table) -> dict[str, Any]:
    """The equations, which grids and meshes are told in the same words."""
    return {
        "physics": table.word("physics", ("elasticity", "heat"), "elasticity"),
        "nu": table.number("nu", 0.3),
        "plane": table.word("plane", ("stress", "strain"), "stress"),
    }


def _passive(grid: Source, regions: RegionReader, table: Table) -> Source:
    kind = table.word("kind", ("solid", "void"))
    where = regions.elements(table.raw("where"), table.label("where"))
    table.finish()
    return grid.solid(where) if kind == "solid" else grid.void(where)


def _support(grid: Source, regions: RegionReader, table: Table) -> Source:
    where = regions.nodes(table.raw("where"), table.label("where"))
    components = table.text("components", "all")
    table.finish()
    with _beginning(f"{table.label('components')}: ", "fix: "):
        return grid.fix(where, components)


def _load(grid: Source, regions: RegionReader, table: Table, heat: bool) -> Source:
    where = regions.nodes(table.raw("where"), table.label("where"))
    case = table.raw("case", 0)
    if not isinstance(case, str | int) or isinstance(case, bool):
        raise InputError(f"{table.label('case')} is {case!r}; expected a name or a number")
    spread = table.word("spread", SPREADS, "consistent")
    key = "total" if heat else "force"
    total: Any = table.number(key) if heat else table.numbers(key)
    table.finish()
    with _beginning(f"{table.label(key)}: ", "load: force ", "load: ", "source: "):
        # Keys of TOML tables are text, and cases.weights names cases by its keys.
        return (grid.source if heat else grid.load)(where, total, str(case), spread)


def _spring(grid: Source, regions: RegionReader, table: Table) -> Source:
    where = regions.nodes(table.raw("where"), table.label("where"))
    stiffness, components = table.number("stiffness"), table.text("components", "all")
    table.finish()
    with _beginning(f"{table.name}: ", "spring: "):
        return grid.spring(where, stiffness, components)


def _output(grid: Source, regions: RegionReader, table: Table) -> Source:
    where = regions.nodes(table.raw("where"), table.label("where"))
    direction = table.raw("direction")
    if not isinstance(direction, str):
        direction = table.numbers("direction")
    table.finish()
    with _beginning(f"{table.label('direction')}: ", "output: direction ", "output: "):
        return grid.output(where, direction)


@contextmanager
def _beginning(words: str, *instead_of: str) -> Iterator[None]:
    """Begin errors with `words`, in place of what they begin with."""
    try:
        yield
    except InputError as error:
        message = str(error)
        for old in instead_of:
            message = message.removeprefix(old)
        raise InputError(words + message) from error
