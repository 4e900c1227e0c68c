"""The house rules: imports point down, simulation shares no theory with what it judges, symbolic work never loads
torch."""

import ast
import subprocess
import sys
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
    "outputs",
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
    "theorems": SHARED | {"theory", "theorems"},
    "emit": SHARED | {"theory", "theorems", "emit"},
    "verify": SHARED | {"theory", "theorems", "simulate", "emit", "verify"},
    "experiments": SHARED | {"theory", "theorems", "simulate", "emit", "verify", "experiments"},
    "report": SHARED | {"theory", "theorems", "emit", "verify", "report"},
    "cli": SHARED | {"theory", "theorems", "simulate", "emit", "verify", "experiments", "report", "cli"},
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
