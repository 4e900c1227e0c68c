"""Every derivation runs, verifies itself, and is refused when a factor in it is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "derivations").glob("*.py"))
MUTATIONS = {
    "t1_linear_form.py": [
        ("alpha * pre_activation", "2 * alpha * pre_activation"),
        ("sp.sqrt(h / (2 * sp.pi))", "sp.sqrt(h / sp.pi)"),
    ],
    "t2_adversarial_loss.py": [
        ("omega ** (L / 2)", "omega ** L"),
        ("1 / q - sp.Rational(1, 2)", "1 / q"),
        ("/ sp.sqrt(d)", "/ d"),
    ],
    "t6_dimensions.py": [
        ("(1 - x1) * (1 - y1)", "(1 + x1) * (1 - y1)"),
        ("sp.sqrt(2 / sp.pi) * sp.exp", "sp.sqrt(1 / sp.pi) * sp.exp"),
        ("(in_radius * out_radius) ** 2 * half", "(in_radius * out_radius) ** 2 * 2"),
        ("half - 1 / sp.sympify(p)", "1 / sp.sympify(p) - half"),
    ],
    "t3_weight_variance.py": [
        ("sp.diff(w**2 / N, w)", "sp.diff(w**2, w)"),
        ("others ** ((L - 1) / 2) * sp.sqrt", "others ** (L - 1) * sp.sqrt"),
        ("-kappa * z0 * (path / z0) ** r", "-2 * kappa * z0 * (path / z0) ** r"),
        ("1 + alpha * z, ", "1 + 2 * alpha * z, "),
    ],
    "t4_trainability.py": [
        ("m ** (-h / L) - omega_0**-h", "m ** (-h) - omega_0**-h"),
        ("2 * alpha * eps * beta / N", "alpha * eps * beta / N"),
    ],
    "t5_capacity.py": [
        ("L**2 * y**L", "L * y**L"),
        ("(1 + L * y)", "(1 + y)"),
        ("slope, -L * kappa", "slope, -kappa"),
    ],
    "f_finite_width.py": [
        ("/ 2 / alpha**2", "/ alpha**2"),
        ("2 * q * alpha * pre", "q * alpha * pre"),
        ("(three / one - K - d) / 2", "(three / one - K - d)"),
        ("2 + L * diag", "1 + L * diag"),
    ],
}


def run(path):
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_derivations_end_in_the_packages_formula(path):
    result = run(path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("verified")


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in MUTATIONS.items() for change in changes]
)
def test_a_wrong_factor_is_refused(tmp_path, name, change):
    source = next(p for p in FILES if p.name == name).read_text()
    assert source.count(change[0]) >= 1
    (tmp_path / name).write_text(source.replace(*change))
    result = run(tmp_path / name)
    assert result.returncode != 0
    assert "AssertionError" in result.stderr
