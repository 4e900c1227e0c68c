"""``advmf norms`` and ``advmf phase``: theory and simulation side by side, as tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from advmf.cli.shared import console, declared, main, point, require_figure, usage_errors, values_over, writing
from advmf.cli.types import CSV, PLOT, SEED, SIZE, OutputFile
from advmf.outputs import Output
from advmf.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.experiments.norm_table import NormTable


@main.command()
@click.option("--d", "d", type=click.IntRange(min=1), required=True, help="Input dimension.")
@click.option("--K", "K", type=click.IntRange(min=1), required=True, help="Output dimension.")
@click.option(
    "--exponent",
    "exponents",
    multiple=True,
    help="A value of p and q (default: 1, 1.5, 2, 3, 4, inf); may be repeated.",
)
@click.option(
    "--route", "routes", multiple=True, help="Default: chevet, best and estimate; may be repeated. See 'advmf list'."
)
@click.option("--samples", type=click.IntRange(min=2), default=100, show_default=True, help="Matrices to sample.")
@SEED
@PLOT
@SIZE
@CSV
@click.option("--json", "json_path", type=OutputFile(), help="Write it here; - is standard output.")
def norms(
    d: int, K: int, exponents: tuple[str, ...], routes: tuple[str, ...], samples: int, seed: int, plot: Output | None, size: str | None,
    csv_path: Output | None, json_path: Output | None,
) -> None:  # fmt: skip
    """Simulate the norm factor beta over a square of (p, q), and divide it by the values of the routes.

    A simulated norm is a lower bound where it cannot be exact. The bracket column is the mean certified upper bound,
    divided by it.
    """
    with usage_errors(), progress(1) as advance:
        from advmf.experiments.norm_table import EXPONENTS, norm_table

        require_figure(plot, size)
        done = 0

        def step(count: int, total: int) -> None:
            nonlocal done
            advance((count - done) / total, f"norms of {d} x {K}")
            done = count

        options: dict[str, Any] = {"routes_": routes} if routes else {}
        table = norm_table(d, K, exponents=exponents or EXPONENTS, samples=samples, seed=seed, progress=step, **options)
    _norms_table(console(json_path, csv_path), table)
    with writing() as outputs:
        if plot:
            outputs.callback(table.plot, plot, size or "two")
        if csv_path:
            outputs.callback(table.csv, csv_path)
        if json_path:
            outputs.callback(json_path.write, table.to_json())


def _norms_table(console: Console, table: NormTable) -> None:
    from rich.table import Table

    out = Table("p", "q", "simulated", *table.routes, "bracket", box=None)
    for c in (cell for row in table.cells for cell in row):
        ratios = ["" if r is None else f"{r:.3f}" for r in map(c.ratio, table.routes)]
        bracket = "exact" if c.exact else f"{c.upper / c.mean:.3f}"
        p, q = ("inf" if r.is_infinite else f"{float(r):g}" for r in (c.p, c.q))
        out.add_row(p, q, f"{c.mean:.5g} ± {c.stderr:.1g}", *ratios, bracket)
    console.print(f"d = {table.d}, K = {table.K}: simulated norm factor, and divided by that of each route")
    console.print(out)


NET = click.option("--net", default="vanilla", show_default=True, help="Network: see 'advmf list'.")
ACTIVATION = click.option("--activation", default="relu", show_default=True, help="Activation: see 'advmf list'.")
P = click.option("--p", "p", default="2", show_default=True, help="lp ball of the perturbation: a number or inf.")
Q = click.option("--q", "q", default="2", show_default=True, help="lq norm of the output: a number or inf.")


PHASE = ("eps", "d", "K", "m", "M", "sigma_w", "N", "L")
"""The quantities of a point of a phase diagram."""


@main.command()
@NET
@ACTIVATION
@P
@Q
@click.option(
    "--axes",
    type=click.Choice(["L,N", "sigma_w_sq,L"]),
    default="L,N",
    show_default=True,
    help="Rows and columns of the diagram.",
)
@click.option(
    "--over",
    "over",
    multiple=True,
    metavar="NAME=LOW:HIGH",
    help="The range of an axis, as L=2:64, or its values, as L=2,4,8; may be repeated.",
)
@click.option("--at", "at", multiple=True, metavar="NAME=VALUE", help="eps, d, K, m, M, sigma_w, N; may be repeated.")
@PLOT
@SIZE
@CSV
def phase(
    net: str, activation: str, p: str, q: str, axes: str, over: tuple[str, ...], at: tuple[str, ...], plot: Output | None,
    size: str | None, csv_path: Output | None,
) -> None:  # fmt: skip
    """T4: how long networks stay trainable, m <= omega(t)^L <= M, over depth and width, or variance and depth."""
    with usage_errors():
        import numpy as np

        from advmf.errors import ArgumentError, DomainError, refuse_unused
        from advmf.experiments.phase import phase_diagram
        from advmf.symbols import x_sq
        from advmf.theory.propagation import omega
        from advmf.verify.suite import SHORTCUT_GAIN

        require_figure(plot, size)
        network = declared(net, activation)
        omega(network)
        names = (axes.split(",")[0], axes.split(",")[1])
        refuse_unused("--at", set(point(at)) - set(names), PHASE)
        gain = 1.0 if network.name == "vanilla" else SHORTCUT_GAIN / 25  # in the band up to depth 35
        values: dict[str, Any] = {"eps": 0.1, "d": 784, "K": 10, "m": 0.5, "M": 2.0, "N": 1000.0}
        values |= {"sigma_w": (gain / float(network.activations[0].gain(x_sq))) ** 0.5, **point(at)}
        if fixed := sorted(set(names) & set(point(at))):
            raise ArgumentError(
                f"{fixed[0]} runs along an axis of this diagram and cannot be set by --at; --over sets its range."
            )
        if not values["sigma_w"] > 0:
            raise DomainError(f"sigma_w is a standard deviation and must be positive; got {values['sigma_w']:g}.")
        grids = {
            "L": np.arange(2.0, 65.0),
            "N": np.geomspace(64, 65_536, 121),
            "sigma_w_sq": np.geomspace(0.01, 2.0, 121) * values["sigma_w"] ** 2,
        }
        for given in over:
            name, own = values_over(given, count=121)
            if name not in names:
                raise ArgumentError(f"--over sets the range of an axis, {names[0]} or {names[1]}; got {name!r}.")
            grids[name] = np.array(own)
        for name in names:
            values.pop("sigma_w" if name == "sigma_w_sq" else name, None)
        found = phase_diagram(network, p, q, names, **values, **{name: grids[name] for name in names})
    inside = found.trainable & np.isfinite(found.escape)
    share = f"{found.trainable.mean():.0%} of the networks start in the band"
    ends = (
        f"; they leave it at t = {found.escape[inside].min():.3g} to {found.escape[inside].max():.3g}"
        if inside.any()
        else ""
    )
    never = "; some never do" if np.isinf(found.escape).any() else ""
    gone = inside & ~found.lasting
    early = (
        f"; in {gone.sum() / inside.sum():.0%} of these the adversarial loss is gone before, so that they stay (advmf.loss_life)"
        if gone.any()
        else ""
    )
    ranges = ", ".join(f"{name} = {grids[name].min():g} to {grids[name].max():g}" for name in names)
    out = console(csv_path)
    out.print(f"{net} {activation}, (p, q) = ({p}, {q}), over {ranges}")
    out.print(f"omega^L is {found.start.min():.3g} to {found.start.max():.3g} before training")
    out.print(f"{share}{ends}{early}{never}")
    with writing() as outputs:
        if csv_path:
            outputs.callback(found.csv, csv_path)
        if plot:
            outputs.callback(found.plot, plot, f"{net} {activation}, $(p, q) = ({p}, {q})$", size or "one")
