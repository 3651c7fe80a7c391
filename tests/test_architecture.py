"""The architecture invariants of docs/architecture.md, asserted on the syntax trees of all modules."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sciopt"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each layer may import from the package, besides itself. Exceptions are made here, in the open, or not at all.
LAYERS: dict[str, set[str]] = {
    "core": set(),
    "rules": {"core"},
    "calculators": {"core"},  # a service: neither a geometry nor a method
    "run_files": {"core"},  # what the run folders of all domains share
    "minimization": {"core", "rules"},  # any function with a gradient
    # domains
    "surrogate": {"core", "rules"},
    "topopt": {"core", "rules", "run_files"},
    "neb": {"core", "rules", "surrogate", "calculators", "run_files"},
    # a face of the atomistic domain: ASE owns the loop, the band's curvature models precondition
    "ase": {"core", "rules", "neb"},
    # on top: ready-made problems, then the programs
    "problems": {"core", "rules", "calculators", "neb", "topopt", "surrogate"},
    "bench": {"core", "rules", "calculators", "run_files", "ase", "neb", "topopt", "surrogate", "problems"},
    "cli": {"core", "rules", "calculators", "run_files", "ase", "neb", "topopt", "surrogate", "problems", "bench"},
}
ROOT_MAY_IMPORT = set(LAYERS) - {"bench", "cli"}
PURE = ("core", "rules")
DOMAINS = ("neb", "surrogate", "topopt")
HEAVY = ("ase", "dolfinx", "matplotlib", "mpi4py", "numba", "petsc4py", "scipy", "tblite", "typer", "ufl")
FENICSX = ("basix", "dolfinx", "dolfinx_solver", "ffcx", "mpi4py", "petsc4py", "ufl")
MAX_LINES = 400


def layer(path: Path) -> str:
    """Name of the layer a module belongs to; the empty string is the package's own __init__.py."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything imported, inside functions and TYPE_CHECKING blocks too."""
    package = dotted(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def violations(path: Path, tree: ast.AST) -> list[str]:
    """Imports of one module that the layers forbid."""
    here = layer(path)
    allowed = LAYERS[here] | {here} if here else ROOT_MAY_IMPORT
    found = []
    for line, name in imports(path, tree):
        top, *rest = name.split(".")
        if top == "sciopt":
            target = rest[0] if rest else ""
            if target not in allowed:
                found.append(f"{path}:{line}: {here or 'sciopt/__init__'} imports {name}")
        elif here in PURE and top != "numpy" and top not in sys.stdlib_module_names:
            found.append(f"{path}:{line}: {here} imports {name}; only numpy and the standard library are allowed")
    return found


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def each_module(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(PACKAGE)))


def test_there_are_modules() -> None:
    assert {"core", "rules", "neb"} <= {layer(path) for path in MODULES}


@each_module(MODULES)
def test_every_module_has_a_layer(path: Path) -> None:
    assert layer(path) in {"", *LAYERS}, f"{path}: give the new layer its line in LAYERS and in docs/architecture.md"


@each_module(MODULES)
def test_imports_respect_the_layers(path: Path) -> None:
    assert violations(path, tree_of(path)) == []


def test_the_table_keeps_domains_apart() -> None:
    for domain in DOMAINS:
        exceptions = {"surrogate"} if domain == "neb" else set()
        assert LAYERS[domain] & set(DOMAINS) == exceptions
    for below in ("core", "rules", "calculators", *DOMAINS):
        assert not LAYERS[below] & {"problems", "bench", "cli"}


@pytest.mark.parametrize(
    ("where", "source", "count"),
    [
        ("core/run.py", "import numpy as np\nfrom pathlib import Path\nfrom sciopt.core.stop import Stop", 0),
        ("core/run.py", "from sciopt.rules import Adam", 1),
        ("core/run.py", "def f():\n    import ase.io", 1),
        ("core/run.py", "from ..neb import band", 1),
        ("core/run.py", "from . import stop", 0),
        ("core/__init__.py", "from .run import run", 0),
        ("rules/fire.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from scipy import sparse", 1),
        ("rules/fire.py", "import sciopt", 1),
        ("neb/path.py", "from sciopt import surrogate, calculators", 0),
        ("neb/path.py", "from sciopt.ase import FIRE", 1),
        ("ase/fire.py", "from ase.optimize.optimize import Optimizer\nfrom sciopt.topopt import grid", 1),
        ("cli/main.py", "from sciopt.neb import find_path\nfrom sciopt.bench import paths", 0),
        ("__init__.py", "from sciopt.cli import main", 1),
    ],
)
def test_the_check_itself_finds_violations(where: str, source: str, count: int) -> None:
    assert len(violations(PACKAGE / where, ast.parse(source))) == count


@each_module(MODULES)
def test_files_are_short_and_have_a_subject(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path} has {lines} lines: split it by idea"
    assert path.stem not in {"utils", "util", "misc", "common"}, f"{path}: name it after what it is about"


@each_module([path for path in MODULES if layer(path) != "cli"])
def test_only_the_command_line_prints(path: Path) -> None:
    calls = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == [], f"{path} prints in lines {calls}; log with logging.getLogger('sciopt') or return the text"


@each_module([path for path in MODULES if path.name == "__init__.py"])
def test_init_files_only_re_export(path: Path) -> None:
    for node in tree_of(path).body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.FunctionDef(name="__getattr__" | "__dir__"):
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body):
                assert all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in body), f"{path}:{node.lineno}"
            # Tables for __getattr__ are data, and private.
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                assert name in {"__all__", "__version__"} or name.startswith("_"), (
                    f"{path}:{node.lineno} defines {name}"
                )
            case _:
                pytest.fail(f"{path}:{node.lineno}: an __init__.py only re-exports; this belongs into a module")


def loaded_after(statement: str) -> set[str]:
    """Names of the top-level packages a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport json, sys\nsys.stdout.write(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return {name.split(".")[0] for name in json.loads(answer.stdout)}


@pytest.mark.parametrize("statement", ["import sciopt", "import sciopt.core", "import sciopt.rules"])
def test_import_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) & set(HEAVY) == set()


def test_only_the_backend_knows_of_fenicsx() -> None:
    found = [
        f"{path}:{line}: {name}"
        for path in MODULES
        if not path.is_relative_to(PACKAGE / "topopt" / "fenicsx")
        for line, name in imports(path, tree_of(path))
        if name.split(".")[0] in FENICSX
    ]
    assert found == []
    assert loaded_after("import sciopt.topopt, sciopt.topopt.fenicsx") & set(FENICSX) == set()


def test_a_heavy_import_would_be_seen() -> None:
    assert "scipy" in loaded_after("from scipy import optimize")
