"""``advmf list`` and ``advmf show``."""

from __future__ import annotations

import click

from advmf.cli.shared import alone, console, declared, main, own_file, statement_options, usage_errors


@main.command(name="list")
def list_() -> None:
    """List the theorems, networks, activations and symbols."""
    from rich.table import Table

    from advmf.nets import PRESETS, STEPS, Activation
    from advmf.symbols import SYMBOLS
    from advmf.theorems import THEOREMS
    from advmf.theorems.selection import PAIRS
    from advmf.theory.norms import ROUTES
    from advmf.theory.propagation import grows_uniformly, omega
    from advmf.verify.catalogue import ACTIVATIONS

    out = console()
    table = Table("theorem", "statement", box=None)
    for theorem in THEOREMS.values():
        table.add_row(theorem.name, theorem.title)
    out.print(table, "")
    table = Table("net", "block", "omega", box=None)
    for name, preset in PRESETS.items():
        net = preset()
        table.add_row(name, STEPS[name], str(omega(net)) if grows_uniformly(net) else "none: metric(net)")
    out.print(table, "")
    table = Table("activation", "phi(z)", box=None)
    for name, phi in ACTIVATIONS.items():
        table.add_row(name, str(phi.formula) if isinstance(phi, Activation) else repr(phi))
    out.print(table, "")
    out.print(f"pairs (p, q): {', '.join(f'({p}, {q})' for p, q in PAIRS)}, and any other in [1, inf]", highlight=False)
    out.print()
    table = Table("route to beta", "rigour", "pairs", box=None)
    for route in ROUTES.values():
        table.add_row(route.name, route.rigour, route.pairs)
    out.print(table, "")
    table = Table("symbol", "domain", "meaning", box=None)
    for quantity in SYMBOLS.values():
        table.add_row(quantity.name, quantity.domain, quantity.meaning)
    out.print(table)


@main.command()
@click.argument("theorem")
@statement_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "latex", "sympy", "srepr", "python", "javascript", "json"]),
    default="text",
    show_default=True,
    help="For people, for TeX, for SymPy (readable, or exact by srepr), a Python or JavaScript file without advmf, or JSON for mf.from_json.",
)
@click.option("--latex", "form", flag_value="latex", help="The same as --format latex.")
@click.option("--sympy", "form", flag_value="sympy", help="The same as --format sympy.")
@click.pass_context
def show(
    context: click.Context, theorem: str, net: str, activation: str | None, p: str, q: str, route: str, form: str
) -> None:
    """Show what THEOREM says of a network. THEOREM may be a file with your own bound, as 'advmf new' writes it."""
    with usage_errors():
        from advmf.emit.export import export
        from advmf.errors import ArgumentError
        from advmf.theorems import THEOREMS
        from advmf.verify.catalogue import choose, silence

        if file := own_file([theorem]):
            from advmf.verify.own import load

            alone(context, file, "form")
            for claim in load(file).claims:
                click.echo(export(claim, form))
            return
        (theorem,) = choose("theorem", [theorem], THEOREMS, ())
        chosen = declared(net, activation)
        claims = THEOREMS[theorem].stated(chosen, p, q, route)
        if not claims:
            raise ArgumentError(f"{silence(THEOREMS[theorem], chosen)}.")
        texts = [export(claim, form) for claim in claims]
    for text in texts:
        click.echo(text)
