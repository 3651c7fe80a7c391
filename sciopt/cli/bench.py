"""`sciopt bench`: published benchmarks, side by side with what people use today."""

from __future__ import annotations

import typer

from sciopt.cli.bench_fenicsx import fenicsx
from sciopt.cli.bench_noise import noise
from sciopt.cli.bench_paths import paths
from sciopt.cli.bench_topopt import designs, speed

__all__ = ["app"]

app = typer.Typer(help="Benchmarks; each prints its table and says what failed.")
app.command("paths")(paths)
app.command("noise")(noise)
app.command("topopt")(designs)
app.command("fenicsx")(fenicsx)
app.command("topopt-speed")(speed)


@app.callback()
def _group() -> None:
    """Benchmarks; each prints its table and says what failed."""


@app.command("overhead")
def overhead() -> int:
    """CPU time per band point besides the forces, and calculator calls per image, next to ASE's optimizers."""
    from sciopt.bench.overhead import overhead as measure
    from sciopt.bench.sharing import sharing
    from sciopt.run_files import versions

    print("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    print(f"{'system':16s} {'coordinates':>11s} {'images':>6s} {'method':12s} {'ms per band':>11s}")
    for cost in measure():
        row = f"{cost.system:16s} {cost.coordinates:11d} {cost.images:6d} {cost.method:12s} {cost.milliseconds:11.2f}"
        print(row)
    print()
    print(f"{'calls per image and band point':32s} {'separate':>9s} {'shared':>9s}")
    for method, separate, shared in sharing():
        print(f"{method:32s} {separate:9.2f} {shared:9.2f}")
    return 0
