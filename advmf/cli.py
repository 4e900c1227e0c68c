"""The command line: ``advmf check``, ``advmf norms``, ``advmf show``, ``advmf list``.

SymPy and torch are imported inside the commands, so that ``advmf --help`` is instant.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.verify.norm_table import NormTable
    from advmf.verify.suite import Outcome

EXIT_REFUTED, EXIT_USAGE, EXIT_UNDERPOWERED, EXIT_INTERRUPTED = 1, 2, 3, 130


@contextmanager
def _usage_errors() -> Iterator[None]:
    """An error that advmf raises on purpose becomes one line and exit code 2."""
    from advmf.errors import AdvmfError

    try:
        yield
    except AdvmfError as error:
        raise click.UsageError(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="advmf")
def main() -> None:
    """Derive, typeset, compile and check the mean-field theory of adversarial training (arXiv:2505.14021)."""


@main.command(name="list")
def list_() -> None:
    """List the theorems, networks, activations and symbols."""
    from rich.table import Table

    from advmf.net import PRESETS
    from advmf.symbols import SYMBOLS
    from advmf.theory.norms import ROUTES
    from advmf.theory.propagation import omega
    from advmf.verify.catalogue import ACTIVATIONS, PAIRS, TITLES

    console = _console()
    table = Table("theorem", "statement", box=None)
    for name, title in TITLES.items():
        table.add_row(name, title)
    console.print(table, "")
    table = Table("net", "block", "omega", box=None)
    for name, preset in PRESETS.items():
        table.add_row(name, str(preset.__doc__).split("``")[1], str(omega(preset())))
    console.print(table, "")
    table = Table("activation", "u", "v", box=None)
    for name, (u, v) in ACTIVATIONS.items():
        table.add_row(name, str(u), str(v))
    console.print(table, "")
    console.print(
        f"pairs (p, q): {', '.join(f'({p}, {q})' for p, q in PAIRS)}, and any other in [1, inf]", highlight=False
    )
    console.print()
    table = Table("route to beta", "rigour", "pairs", box=None)
    for route in ROUTES.values():
        table.add_row(route.name, route.rigour, route.pairs)
    console.print(table, "")
    table = Table("symbol", "domain", "meaning", box=None)
    for quantity in SYMBOLS.values():
        table.add_row(quantity.name, quantity.domain, quantity.meaning)
    console.print(table)


@main.command()
@click.argument("theorem")
@click.option("--net", default="residual", show_default=True, help="Network: see 'advmf list'.")
@click.option("--activation", help="Activation by name; its slopes stay symbols if not given.")
@click.option("--p", "p", default="2", show_default=True, help="lp ball of the perturbation: a number or inf.")
@click.option("--q", "q", default="2", show_default=True, help="lq norm of the output: a number or inf.")
@click.option("--route", default="chevet", show_default=True, help="The route to beta: see 'advmf list'.")
@click.option("--latex", "form", flag_value="latex", help="Print LaTeX.")
@click.option("--sympy", "form", flag_value="sympy", help="Print the right-hand side for SymPy.")
def show(theorem: str, net: str, activation: str | None, p: str, q: str, route: str, form: str | None) -> None:
    """Show what THEOREM says of a network."""
    with _usage_errors():
        from advmf.emit.latex import latex
        from advmf.errors import ArgumentError
        from advmf.net import PRESETS
        from advmf.theory.bound import loss_bound
        from advmf.theory.norms import norm_factor
        from advmf.verify.catalogue import ACTIVATIONS, MATRICES, THEOREMS, choose

        choose("theorem", [theorem], {**THEOREMS, **MATRICES}, ())
        choose("net", [net], PRESETS, ())
        slopes = (
            [str(s) for s in ACTIVATIONS[choose("activation", [activation], ACTIVATIONS, ())[0]]] if activation else []
        )
        declared = PRESETS[net](*slopes)
        if theorem in MATRICES:
            claims = [norm_factor(p, q, route)] if theorem == "beta" else MATRICES[theorem]([(p, q)])
        else:
            claims = [loss_bound(declared, p, q, route)] if theorem == "T2" else THEOREMS[theorem](declared, ())
        if not claims:
            raise ArgumentError(f"{theorem} says nothing of {net}: its moment rules are not exact at finite width.")
    for claim in claims:
        if form == "latex":
            click.echo(latex(claim))
        elif form == "sympy":
            click.echo(str(claim.rhs))
        else:
            click.echo(str(claim))
            if claim.where:
                click.echo("  where       " + "; ".join(f"{k} = {v}" for k, v in claim.where.items()))
            click.echo(f"  regime      {str(claim.regime).removeprefix('Regime.')}")
            if claim.heuristic:
                click.echo(f"  heuristic   {claim.heuristic}")
            for assumption in claim.assumptions:
                click.echo(f"  assumes     {assumption}")
            for equation in claim.equations:
                click.echo(f"  implies     {equation.label} = {equation.rhs}")
            click.echo(f"  source      {claim.source}")


@main.command()
@click.option("--theorem", "theorems", multiple=True, help="Check only this theorem; may be repeated.")
@click.option("--net", "nets", multiple=True, help="Check only this network; may be repeated.")
@click.option(
    "--activation", "activations", multiple=True, help="Activation (default: relu and leaky_relu); may be repeated."
)
@click.option("--p", "p", help="Exponent of the perturbation's ball (default: 1, 2 and inf).")
@click.option("--q", "q", help="Exponent of the output's norm (default: 1, 2 and inf).")
@click.option(
    "--at", "at", multiple=True, metavar="NAME=VALUE", help="Override a value of the point, e.g. L=10; may be repeated."
)
@click.option("--networks", type=click.IntRange(min=2), help="Networks of the smallest width; wider ones get fewer.")
@click.option("--data", help="digits, mnist, fashion-mnist, or the path of an IDX or npz file.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same numbers.")
@click.option("--device", default="cpu", show_default=True, help="Where to simulate: cpu or cuda.")
@click.option(
    "--sampler",
    type=click.Choice(["auto", "dense", "conditioned"]),
    default="auto",
    show_default=True,
    help="With weights, or without.",
)
@click.option(
    "--memory", type=click.FloatRange(min=0, min_open=True), help="Budget for the networks in GiB.  [default: 4]"
)
@click.option(
    "--full", is_flag=True, help="At the paper's scale: MNIST, L = 10, T2 at widths to 1,000,000; hours on two cores."
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the results here.",
)
def check(
    theorems: tuple[str, ...], nets: tuple[str, ...], activations: tuple[str, ...], p: str | None, q: str | None,
    at: tuple[str, ...], networks: int | None, data: str | None, seed: int, device: str, sampler: str, memory: float | None, full: bool,
    json_path: Path | None,
) -> None:  # fmt: skip
    """Check theorems against simulated networks.

    Every claim comes with negative controls: wrong versions of it that the same check must refute.

    Exit code: 0 nothing refuted, 1 something refuted, 2 usage, 3 nothing refuted but something underpowered (a negative control
    that was not refuted counts as that).
    """
    console = _console()
    with _usage_errors():
        from advmf.verify.catalogue import PAIRS
        from advmf.verify.suite import PAPER, QUICK, cases, run

        pairs = [(a, b) for a, b in PAIRS if p is None and q is None] or [
            (a, b) for a in ([p] if p else ["1", "2", "inf"]) for b in ([q] if q else ["1", "2", "inf"])
        ]
        suite = cases(theorems, nets, activations, pairs, PAPER if full else QUICK, _point(at))
    outcomes: list[Outcome] = []
    interrupted = False
    with _usage_errors(), _progress(len(suite)) as advance:
        try:
            options = {"nets": networks, "data": data, "device": device, "sampler": sampler}
            budget = None if memory is None else int(memory * 2**30)
            for outcome in run(suite, seed=seed, progress=advance, memory=budget, **options):
                outcomes.append(outcome)
                if json_path:
                    _write(json_path, outcomes, seed, complete=len(outcomes) == len(suite))
        except KeyboardInterrupt:
            interrupted = True
    _tables(console, outcomes)
    if interrupted:
        click.echo(f"interrupted: {len(outcomes)} of {len(suite)} cases finished", err=True)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(_exit_code(outcomes))


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
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same numbers.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw the table here (png, pdf, svg).",
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write it here."
)
def norms(
    d: int, K: int, exponents: tuple[str, ...], routes: tuple[str, ...], samples: int, seed: int, plot: Path | None, json_path: Path | None
) -> None:  # fmt: skip
    """Simulate the norm factor beta over a square of (p, q), and divide by what the routes say.

    A simulated norm is a lower bound where it cannot be exact; the bracket column is the mean certified upper bound over it.
    """
    with _usage_errors(), _progress(1) as advance:
        from advmf import figures
        from advmf.verify.norm_table import EXPONENTS, norm_table

        if plot:
            figures.check_target(plot)
        done = 0

        def step(count: int, total: int) -> None:
            nonlocal done
            advance((count - done) / total, f"norms of {d} x {K}")
            done = count

        options: dict[str, Any] = {"routes_": routes} if routes else {}
        table = norm_table(d, K, exponents=exponents or EXPONENTS, samples=samples, seed=seed, progress=step, **options)
    if json_path:
        _replace(json_path, table.to_json())
    _norms_table(_console(), table)
    if plot:
        figures.norm_ratios(table, plot)


def _norms_table(console: Console, table: NormTable) -> None:
    from rich.table import Table

    heads = [*(f"simulated/{route}" for route in table.routes), "bracket"]
    out = Table("p", "q", "simulated", *heads, box=None)
    for c in (cell for row in table.cells for cell in row):
        ratios = ["" if r is None else f"{r:.3f}" for r in map(c.ratio, table.routes)]
        bracket = "exact" if c.exact else f"{c.upper / c.mean:.3f}"
        p, q = ("inf" if r.is_infinite else f"{float(r):g}" for r in (c.p, c.q))
        out.add_row(p, q, f"{c.mean:.5g} ± {c.stderr:.1g}", *ratios, bracket)
    console.print(out)


def _console() -> Console:
    """A console that is plain in pipes and under NO_COLOR; piped tables are not squeezed to 80 columns."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _point(at: Sequence[str]) -> dict[str, float]:
    point = {}
    for item in at:
        name, equals, value = item.partition("=")
        try:
            point[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise click.UsageError(f"--at takes NAME=VALUE with a number, e.g. --at L=10; got {item!r}.")
    return point


@contextmanager
def _progress(count: int) -> Iterator[Any]:
    """A progress bar on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=count)
        case = ""

        def advance(share: float, what: str) -> None:
            nonlocal case
            if share == 0.0:
                case = what
            bar.update(task, advance=share, description=case if share == 0.0 else f"{case} {what}")

        yield advance


def _results(outcomes: Sequence[Outcome], seed: int, complete: bool) -> dict[str, Any]:
    reports = [report for outcome in outcomes for report in outcome.reports]
    controls = [report for outcome in outcomes for report in outcome.controls]
    counts = {v: sum(r.verdict == v for r in reports) for v in ("SUPPORTED", "NOT_REFUTED", "REFUTED", "UNDERPOWERED")}
    return {
        "version": __version__,
        "seed": seed,
        "results": [
            {**report.to_dict(), "activation": outcome.case.activation}
            for outcome in outcomes
            for report in outcome.reports
        ],
        "summary": {
            **counts,
            "complete": complete,
            "seconds": round(sum(r.seconds for r in reports + controls), 2),
            "controls": {
                "total": len(controls),
                "refuted": sum(r.verdict == "REFUTED" for r in controls),
                "missed": [
                    f"{r.theorem} {r.net} {r.p or ''} {r.q or ''}".strip() for r in controls if r.verdict != "REFUTED"
                ],
            },
        },
    }


def _write(path: Path, outcomes: Sequence[Outcome], seed: int, complete: bool) -> None:
    _replace(path, json.dumps(_results(outcomes, seed, complete), indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    """Replace the file at once, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    verdicts = {report.verdict for outcome in outcomes for report in outcome.reports}
    if "REFUTED" in verdicts:
        return EXIT_REFUTED
    missed = any(report.verdict != "REFUTED" for outcome in outcomes for report in outcome.controls)
    return EXIT_UNDERPOWERED if "UNDERPOWERED" in verdicts or missed else 0


_STYLE = {"SUPPORTED": "green", "NOT_REFUTED": "green", "REFUTED": "bold red", "UNDERPOWERED": "yellow"}
_NUMBERS = {
    "T2": "attack/bound at N -> oo",
    "T6.d": "slope in ln d, simulated (predicted)",
    "T6.K": "slope in ln K, simulated (predicted)",
    "F2": "coefficient of 1/N, simulated/predicted",
}
_SHORT = {"SUPPORTED": "supported", "NOT_REFUTED": "stands", "REFUTED": "REFUTED", "UNDERPOWERED": "underpowered"}


def _tables(console: Console, outcomes: Sequence[Outcome]) -> None:
    """One table per theorem: a row per network, a column per claim; then the reasons, the controls and the totals."""
    from rich.table import Table
    from rich.text import Text

    for theorem in dict.fromkeys(outcome.case.theorem for outcome in outcomes):
        rows = [outcome for outcome in outcomes if outcome.case.theorem == theorem]
        heads = [f"{r.p},{r.q}" if r.p else r.theorem for r in rows[0].reports]
        console.print(f"{theorem}: {_NUMBERS.get(theorem, 'simulated/predicted')}", style="italic")
        table = Table("net", "activation", *heads, box=None)
        for outcome in rows:
            cells = []
            for r in outcome.reports:
                number = f"{r.ratio:.3f} " if r.predicted else ""
                if r.theorem == "T6":
                    number = f"{r.estimate:.3f} ({r.predicted:.3f}) "
                cells.append(Text(f"{number}{_SHORT[r.verdict]}", style=_STYLE[r.verdict]))
            table.add_row(outcome.case.name, outcome.case.activation, *cells)
        console.print(table, "")
    for outcome in outcomes:
        for report in outcome.reports:
            for finding in report.findings:
                if finding.verdict in ("REFUTED", "UNDERPOWERED"):
                    pair = f" p={report.p} q={report.q}" if report.p else ""
                    where = f"{report.theorem} {report.net} {outcome.case.activation}{pair}"
                    console.print(
                        f"{where}: {finding.label}: {finding.verdict}: {finding.reason}", style=_STYLE[finding.verdict]
                    )
    if outcomes:
        summary = _results(outcomes, 0, True)["summary"]
        counts = ", ".join(f"{n} {v}" for v, n in summary.items() if v in _STYLE and n)
        controls = summary["controls"]
        console.print(f"{counts}; negative controls refuted: {controls['refuted']} of {controls['total']}")
        for missed in controls["missed"]:
            console.print(f"negative control not refuted: {missed}", style="yellow")
        images = dict.fromkeys(r.settings["data"] for o in outcomes for r in o.reports if "data" in r.settings)
        console.print(f"{summary['seconds']:.0f} s" + "".join(f"; images: {name}" for name in images))


if __name__ == "__main__":
    main()
