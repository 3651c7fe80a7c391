"""The `sciopt` command: its options, its exit codes, and how errors are said."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer

from sciopt.cli import bench, neb, plot, relax, topopt
from sciopt.core.errors import SciOptError

__all__ = ["app", "main"]

CONVERGED, ERROR, BUDGET = 0, 1, 2
# What the CLI library returns for Ctrl-C outside a run; inside, the run ends with its best point.
_INTERRUPTED = 130

app = typer.Typer(
    name="sciopt",
    help="Adaptive-step optimization for problems whose every evaluation is expensive.",
    epilog="Exit codes: 0 converged, 2 stopped without converging, 1 an error.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("neb")(neb.neb)
app.command("relax")(relax.relax)
app.command("topopt")(topopt.topopt)
app.command("plot")(plot.plot)
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sciopt {installed('sciopt')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
) -> None:
    """Set up logging; `help` and `epilog` above are what is shown."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr
    )
    for name in ("matplotlib", "numba", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors become one line on stderr and exit code 1."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        print(f"sciopt: {error.format_message()} (see --help)", file=sys.stderr)
        code = ERROR
    except (SciOptError, OSError) as error:
        if "--debug" in arguments:
            raise
        print(f"sciopt: {' '.join(str(error).split())}", file=sys.stderr)
        code = ERROR
    if code == _INTERRUPTED:
        print("sciopt: interrupted", file=sys.stderr)
        code = BUDGET
    sys.exit(code or CONVERGED)
