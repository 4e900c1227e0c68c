"""The house rules: imports point down, simulation shares no theory with what it judges, symbolic work never loads
torch."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import advmf

ROOT = Path(advmf.__file__).parent
SHARED = {
    "boundary",
    "symbols",
    "errors",
    "events",
    "budget",
    "inputs",
    "outputs",
    "drawing",
    "tabled",
    "progress",
    "quantities",
    "nets",
    "notebook",
    "claim",
    "expressions",
    "functions",
    "observables",
    "special",
}
MAY_IMPORT = {
    "shared": SHARED,
    "theory": SHARED | {"theory"},
    "simulate": SHARED | {"simulate"},
    "modules": SHARED | {"simulate", "modules"},
    "theorems": SHARED | {"theory", "theorems"},
    "emit": SHARED | {"theory", "theorems", "emit"},
    "verify": SHARED | {"theory", "theorems", "simulate", "emit", "verify"},
    "experiments": SHARED | {"theory", "theorems", "simulate", "emit", "verify", "report", "experiments"},
    "report": SHARED | {"theory", "theorems", "emit", "verify", "report"},
    "auditing": SHARED | {"modules", "theory", "theorems", "simulate", "emit", "report", "auditing"},
    "__main__": {"cli"},
    "cli": SHARED
    | {"auditing", "modules", "theory", "theorems", "simulate", "emit", "verify", "experiments", "report", "cli"},
}


def imports(path: Path) -> set[str]:
    """The rooms of advmf that a file imports at module level or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""] if node.module != "advmf" else [f"advmf.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        found |= {m.split(".")[1] for m in modules if m.startswith("advmf.")}
    return found - {"__version__"}


def violations(sources: dict[str, set[str]]) -> list[str]:
    return [
        f"{room}: {', '.join(sorted(extra))}" for room, used in sources.items() if (extra := used - MAY_IMPORT[room])
    ]


def rooms() -> dict[str, set[str]]:
    used: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            used["shared" if room in SHARED else room] |= imports(path)
    return used


def test_imports_point_down():
    used = rooms()
    assert violations(used) == []


def dependencies(sources: dict[str, str]) -> dict[str, set[str]]:
    """The modules that each module imports, at its top or inside functions, but not for types alone."""

    def module(name: str) -> str:
        while name and name not in sources:
            name = name.rpartition(".")[0]
        return name

    found = {}
    for name, text in sources.items():
        tree = ast.parse(text)
        typing = {
            id(node)
            for branch in ast.walk(tree)
            if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
            for node in ast.walk(branch)
        }
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in typing]
        named = {module(f"{node.module}.{alias.name}") for node in nodes if node.module for alias in node.names}
        found[name] = named - {name, "advmf", ""}
    return found


def test_no_modules_import_each_other_in_a_circle():
    paths = {".".join(("advmf", *path.relative_to(ROOT).with_suffix("").parts)): path for path in ROOT.rglob("*.py")}
    sources = {name.removesuffix(".__init__"): path.read_text() for name, path in paths.items()}
    order = list(TopologicalSorter(dependencies(sources)).static_order())
    assert order.index("advmf.quantities") < order.index("advmf.expressions") < order.index("advmf.symbols")
    circle = {"advmf.a": "from advmf.b import x", "advmf.b": "def f():\n    from advmf.a import y"}
    with pytest.raises(CycleError):
        list(TopologicalSorter(dependencies(circle)).static_order())


def borrowed(text: str) -> list[str]:
    """The private names of other modules that a module imports."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    names = [a.name for node in nodes if (node.module or "").startswith("advmf") for a in node.names]
    return [name for name in names if name.startswith("_") and not name.startswith("__")]


def test_no_private_name_is_imported_by_another_module():
    assert {str(path): found for path in ROOT.rglob("*.py") if (found := borrowed(path.read_text()))} == {}
    assert borrowed("from advmf.claim import Claim, _x") == ["_x"], "the control"


def test_the_import_rule_can_fail():
    assert violations({"simulate": {"theory"}}) == ["simulate: theory"]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import advmf", ("torch", "sympy")),
        (
            "import advmf as mf; mf.latex(mf.loss_bound(mf.residual(), 2, 2)); mf.kernel(mf.beta(2, 2))(d=3, K=2)",
            ("torch",),
        ),
        ("import advmf.cli", ("torch", "sympy")),
        ("import advmf.verify.pytest_plugin", ("torch", "sympy", "numpy")),
    ],
)
def test_symbolic_work_does_not_load_torch(code, absent):
    probe = f"{code}\nimport sys\nassert not [m for m in {absent!r} if m in sys.modules]"
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_every_public_name_exists_and_is_documented():
    for name in advmf.__all__:
        assert (getattr(advmf, name).__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = advmf.nonsense
