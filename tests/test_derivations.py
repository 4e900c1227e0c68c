"""Every derivation verifies itself and ends in the package's formula; each of its steps, with a wrong factor, is
refused."""

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import sympy as sp

import advmf as mf
from advmf.errors import ArgumentError, StepError
from advmf.symbols import N, u, v
from advmf.theorems import THEOREMS
from advmf.theorems.derivations import derived
from advmf.theory.lemmas import find_lemma
from advmf.theory.proof import Limit, Status
from advmf.theory.propagation import ALPHA

FOLDER = Path(__file__).parents[1] / "derivations"
FILES = sorted(FOLDER.glob("*.py"))
NETS = {"vanilla": mf.vanilla(), "residual": mf.residual()}
LINEAR = {"vanilla": mf.vanilla(1, 1), "residual": mf.residual(1, 1)}
NORMED = {"relu-like": mf.pre_norm(), "tanh": mf.pre_norm(phi="tanh"), "gelu": mf.pre_norm(phi="gelu")}
UNBIASED = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)), name="vanilla")
OF_NO_THEOREM = {"depth_law", "uniform_integrability", "d2_finite_width", "loss_life"}
"""Scripts about a result that no theorem states: of the package, or one that T2 needs."""
OWN_NETS = {"depth_law": NORMED, "d2_water_filling": LINEAR, "d2_finite_width": {"vanilla": UNBIASED}}
ROWS = [(path, net) for path in FILES for net in OWN_NETS.get(path.stem, NETS).values()]

MUTATIONS = {
    "t1_linear_form": [("alpha * h, by(slopes)", "2 * alpha * h, by(slopes)"), ("alpha * (rho**2 + s**2)", "alpha * (rho**2 + 2 * s**2)")],
    "t2_adversarial_loss": [("eps * in_size * in_radius", "eps * in_radius"), ("/ sp.sqrt(d),", "/ d,")],
    "t3_weight_variance": [("-4 * w**2 / N**2", "-4 * w**2 / N"), ("rate = -2 / N", "rate = -4 / N")],
    "t4_trainability": [("(1 / sp.sqrt(m) - 1)", "(1 / m - 1)"), ("2 * alpha * eps * beta", "alpha * eps * beta")],
    "t5_capacity": [("(2 * Q + Q_r)", "(Q + Q_r)"), ("shortcut + L * y", "shortcut + y")],
    "t6_dimensions": [("d ** (half - 1 / p)", "d ** (1 - 1 / p)"), ("K ** (1 / q)", "K ** (1 / q - half)")],
    "d1_capacity_rate": [("omega ** (L / 2) * x_sq,", "omega**L * x_sq,"), ("N * sp.Derivative(share, z)", "N * sp.Derivative(of_z, z)")],
    "d2_water_filling": [("kappa * omega ** (L / 2) * t", "kappa * omega**L * t"), ("- 2 * s * level)", "- s * level)")],
    "d2_finite_width": [("sp.Rational(5, 2))", "sp.Rational(3, 2))"), ("d + K - 1 + k", "d + K + k"), ("L + 1 - layer", "L - layer")],
    "loss_life": [("life = K * d / (2 *", "life = K * d / (4 *"), ("kappa * omega**L / d, \"k", "kappa * omega**L, \"k")],
    "beta_tilted": [("(1 - x1) * (1 - y1)", "(1 + x1) * (1 - y1)"), ("-(m**2) * d * K / 2", "-(m**2) * d * K")],
    "depth_law": [('sigma_w**2 * gain / g, "the power"', 'sigma_w**2 * second / g, "the power"'), ("(c + L) * g", "(c + 2 * L) * g")],
    "uniform_integrability": [("else 2 * ell * sigma_w", "else ell * sigma_w"), ("edges[1] ** 2 + 1), lemma", "edges[1] ** 2), lemma")],
    "f_finite_width": [("/ 2 / alpha**2", "/ alpha**2"), ("2 * q * alpha * pre", "q * alpha * pre"), ("2 + L * C_DIAG", "1 + L * C_DIAG")],
}  # fmt: skip


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("path", "net"), ROWS, ids=[f"{path.stem}-{net.name}" for path, net in ROWS])
def test_a_derivation_verifies_itself_and_every_wrong_step_is_refused(path, net):
    made = load(path).derive(net)
    for proof in made if isinstance(made, list) else [made]:
        assert len(proof.steps) >= 4
        assert all(step.status in (Status.PROVED, Status.CONFIRMED) for step in proof.steps)
        assert f"{len(proof.rests_on()[Status.PROVED])} of {len(proof.steps)} steps" in str(proof)
        for step in proof.steps:
            wrong = step.right * sp.Rational(21, 20) if step.right != 0 else sp.S.One
            with pytest.raises(StepError):
                step.verify(wrong)


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in MUTATIONS.items() for change in changes]
)
def test_a_mutated_copy_is_refused(tmp_path, name, change):
    source = (FOLDER / f"{name}.py").read_text()
    assert source.count(change[0]) >= 1
    (tmp_path / f"{name}.py").write_text(source.replace(*change))
    with pytest.raises((AssertionError, StepError)) as refused:
        runpy.run_path(str(tmp_path / f"{name}.py"), run_name="__main__")
    if isinstance(refused.value, StepError):
        assert ", step " in str(refused.value), "the error names the step"


def test_the_mean_square_is_bounded_by_steps_alone():
    """No step is assumed; each lemma's check fails with a smaller right side; and without the 1/N of the output layer
    there is no bound."""
    module = load(FOLDER / "uniform_integrability.py")
    for net in (mf.vanilla(phi="tanh"), mf.residual(phi="gelu")):
        proof = module.derive(net)
        assert proof.result.status is Status.PROVED and proof.result.relation == "lim <="
        assert not proof.rests_on()[Status.ASSUMED]
    for name, factor in module.CONTROLS.items():
        with pytest.raises(StepError, match="fails in a random case"):
            find_lemma(name).check(factor=factor)
    last = proof.steps[-1]
    with pytest.raises(StepError):
        Limit(N, sp.oo).verify(N * last.left, last.right)
    with pytest.raises(AssertionError, match="the steps are those of two nets"):
        module.derive(mf.plain_residual())


def test_the_life_of_the_loss_rests_on_the_kernel_regime_and_small_balls():
    """The chain ends in T2's bound times what the package derives; its lemma fails with a smaller right side."""
    module = load(FOLDER / "loss_life.py")
    for net in NETS.values():
        proof, claim = module.derive(net), mf.loss_life(net, "p", "q")
        assert proof.result.relation == "lim <=" and len(proof.rests_on()[Status.ASSUMED]) == 5
        assert sp.simplify(proof.result.right / (mf.loss_bound(net, "p", "q").formula * claim.formula)) == 1
    for name, factor in module.CONTROLS.items():
        with pytest.raises(StepError, match="fails in a random case"):
            find_lemma(name).check(factor=factor)


def test_scripts_print_what_they_rest_on(capsys):
    """One in a process of its own, as its users run it; the longer one here, where its steps are verified already."""
    result = subprocess.run(
        [sys.executable, str(FOLDER / "t2_adversarial_loss.py")], capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    assert "proved: 5 of 5 steps" in result.stdout
    assert "assumed: assumption 1 (as N -> oo the outputs converge in law" in result.stdout
    runpy.run_path(str(FOLDER / "f_finite_width.py"), run_name="__main__")
    assert capsys.readouterr().out.strip().endswith("verified")


@pytest.mark.parametrize("slopes", [(1, 0), ("1/10", 2)])
@pytest.mark.parametrize("preset", [mf.vanilla, mf.residual])
@pytest.mark.parametrize("theorem", ["T1", "T2", "T3"])
def test_the_steps_for_given_slopes_end_in_the_claim_about_them(theorem, preset, slopes):
    net = preset(*slopes)
    (proof,) = mf.derivations(theorem, net)
    ends = [part.fact.right for part in proof.parts if part.steps]
    claims = THEOREMS[theorem].stated(net, "p", "q", "chevet")
    assert any(claim.formula in ends for claim in claims)
    general = [claim.formula for claim in THEOREMS[theorem].stated(preset(), "p", "q", "chevet")]
    assert not [formula for formula in general if formula.has(ALPHA) and formula in ends], "that of the symbols"


def test_the_steps_to_T4_and_T5_for_given_slopes():
    for theorem in ("T4", "T5"):
        (proof,) = mf.derivations(theorem, mf.vanilla(1, 1))
        assert not {u, v} & {letter for step in proof.steps for letter in step.right.free_symbols}


def test_every_theorem_has_steps_or_an_error_that_says_where_they_are():
    scripts = {theorem.derive.script for theorem in THEOREMS.values()}
    assert scripts | OF_NO_THEOREM == {path.stem for path in FOLDER.glob("*.py")} and not scripts & OF_NO_THEOREM
    assert all(derived(name, mf.vanilla()) for name in THEOREMS if name != "D2")
    assert derived("D2", mf.vanilla(1, 1)) and not derived("D2", mf.vanilla())
    with pytest.raises(ArgumentError, match=r"D2 is derived step by step for .*, linear activations"):
        mf.derivations("D2", mf.vanilla())
    other = mf.Net(mf.Serial(mf.Dense(), mf.ReLULike(1, 0), mf.Dense(), mf.ReLULike(1, "1/2")))
    for net in (mf.preactivation(), other, None, "vanilla"):
        assert not derived("T1", net)
        with pytest.raises(ArgumentError, match=r"T1 is derived step by step for advmf\.vanilla\(u, v\) and"):
            mf.derivations("T1", net)
    for name in ("T9", "t", "", "beta2"):
        with pytest.raises(ArgumentError, match="There is no theorem"):
            mf.derivations(name, mf.vanilla())
    assert mf.derivations("BETA")[0].name == "beta"
