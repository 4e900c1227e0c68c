"""F1 and F2: closed forms and recursions against oracles in other words, sampled matrices, and the consistency of the
two."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.optimize import minimize_scalar

import advmf as mf
from advmf.claim import Regime
from advmf.errors import DeclarationError, DomainError
from advmf.functions import Recursion, SpectralNorm
from advmf.observables import Expectation, OperatorNorm, SecondMoment
from advmf.special import spectral_norm
from advmf.symbols import K, L, N, d, sigma_b, sigma_w, u, v, x_sq
from advmf.theory.finite_width import C_DIAG, C_OFF, perturb

UNBIASED = mf.Dense(sigma_b=0)
VANILLA = mf.Net(mf.Serial(UNBIASED, mf.ReLULike()))
RESIDUAL = mf.Net(mf.Residual(UNBIASED, mf.ReLULike(), mf.Mix()))
NETS = {
    "vanilla": VANILLA,
    "residual": RESIDUAL,
    "two layers": mf.Net(mf.Residual(UNBIASED, mf.ReLULike(1, 0), UNBIASED, scale="1/3")),
    "mixed shortcut": mf.Net(mf.Residual(UNBIASED, mf.ReLULike(1, 0), scale=-0.5, shortcut=mf.Mix())),
    "nested": mf.Net(mf.Residual(mf.Residual(UNBIASED, mf.ReLULike(1, 0), mf.Mix()), mf.Mix(), scale="1/2")),
    "activation first": mf.Net(mf.Serial(mf.ReLULike(1, 0), UNBIASED)),
    "linear": mf.Net(mf.Residual(UNBIASED, mf.ReLULike(1, 1))),
}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


class TestStreamFluctuation:
    def test_vanilla_is_a_power(self):
        ratio = mf.stream_fluctuation(VANILLA).rhs / (mf.omega(VANILLA) ** L * x_sq) ** 2
        kappa = 6 * (u**4 + v**4) / (u**2 + v**2) ** 2
        expected = (1 + 2 / N) * (1 + (kappa - 1) / N) ** L
        for depth in (0, 1, 3):
            assert sp.simplify((ratio - expected).subs(L, depth)) == 0

    @pytest.mark.parametrize(("slopes", "kappa"), [((1, 0), 6), ((1, -1), 3), ((2, 2), 3)])
    def test_kurtosis_of_the_classic_activations(self, slopes, kappa):
        claim = mf.stream_fluctuation(mf.Net(mf.Serial(UNBIASED, mf.ReLULike(*slopes))))
        factor = claim.rhs.subs({L: 1, x_sq: 1, sigma_w: 1, N: 10}) / (sp.Rational(sum(s * s for s in slopes), 2)) ** 2
        assert factor == sp.Rational(12, 10) * (1 + sp.Rational(kappa - 1, 10))

    def test_the_claim(self):
        claim = mf.stream_fluctuation(mf.residual())
        assert (claim.name, claim.relation, claim.regime) == ("F1", "==", Regime.EXACT)
        assert claim.lhs == Expectation(SecondMoment() ** 2)
        (equation,) = claim.implied
        assert (equation.exact, equation.order, equation.scale) == (True, 0, claim.rhs)
        assert mf.latex(claim.lhs) == r"\mathbb{E}[Q_L^2]"
        assert claim.rhs.has(Recursion) and not mf.stream_fluctuation(RESIDUAL).rhs.has(Recursion)

    @pytest.mark.parametrize("name", ["vanilla", "residual"])
    def test_the_recursion_against_one_written_by_hand(self, name):
        width, depth, sw, sb, a, b, x = 7, 5, 1.1, 0.4, 1.0, 0.25, 1.3
        alpha, fourth = (a * a + b * b) / 2, 3 * (a**4 + b**4) / 2
        first, second = x, x * x * (1 + 2 / width)
        for _ in range(depth):
            h, hh = sw**2 * first + sb**2, sw**4 * second + 2 * sw**2 * sb**2 * first + sb**4
            active, square = alpha * h, hh * (alpha**2 * (width - 1) + fourth) / width
            if name == "vanilla":
                first, second = active, square
                continue
            with_stream = alpha * (sw**2 * second + sb**2 * first)
            square = square * (1 + 2 / width)
            first, second = first + active, second + (2 + 4 / width) * with_stream + square
        found = mf.kernel(mf.stream_fluctuation(mf.PRESETS[name](a, b)))
        assert found(N=width, L=depth, sigma_w=sw, sigma_b=sb, x_sq=x) == pytest.approx(second, rel=1e-13)

    @pytest.mark.parametrize("slopes", [(1, 1), (1, 0), (2, -1)])
    def test_width_one_by_integration(self, slopes):
        """At N = 1 the residual block is x (1 + V phi(W) sign...), whose fourth moment is a sum over
        Gaussian moments."""
        net = mf.Net(mf.Residual(mf.Dense(1, 0), mf.ReLULike(*slopes), mf.Mix()))
        second, fourth = sum(s**2 for s in slopes) / sp.Integer(2), 3 * sum(s**4 for s in slopes) / sp.Integer(2)
        exact = 3 * (1 + 6 * second + 3 * fourth)
        assert mf.stream_fluctuation(net).rhs.subs({N: 1, L: 1, x_sq: 1}) == exact

    @every_net
    def test_infinite_width_leaves_no_fluctuation(self, net):
        claim = mf.stream_fluctuation(net)
        point = {L: 3, x_sq: sp.Rational(4, 3), sigma_w: sp.Rational(5, 4), u: 1, v: sp.Rational(1, 2)}
        assert sp.limit(claim.rhs.subs(point), N, sp.oo) == mf.moments(net).Q.subs(point).doit() ** 2

    @pytest.mark.parametrize("name", ["vanilla", "residual"])
    def test_biases_continue_the_case_without(self, name):
        biased = mf.kernel(mf.stream_fluctuation(mf.PRESETS[name](1, 0)))
        plain = mf.kernel(mf.stream_fluctuation(NETS[name]))
        point = {"N": [1, 9, 80], "L": 4, "sigma_w": 1.2, "x_sq": 0.8, "u": 1, "v": 0}
        assert np.allclose(biased(**point, sigma_b=0), plain(**point), rtol=1e-13)

    @pytest.mark.parametrize("net", [mf.plain_residual(1, 0), mf.plain_residual(), mf.preactivation(1, 0)])
    def test_nets_without_an_exact_law(self, net):
        for theorem in (mf.stream_fluctuation, mf.jacobian_norm):
            with pytest.raises(DeclarationError, match=r"net\.exact is False"):
                theorem(net)

    def test_an_activation_without_a_gaussian_stage(self):
        net = mf.Net(mf.Residual(mf.Serial(mf.ReLULike(1, -1), mf.Mix()), shortcut=mf.Mix()))
        with pytest.raises(DeclarationError, match="not Gaussian given its variance"):
            mf.stream_fluctuation(net)

    def test_blocks_without_a_rule(self):
        class Identity(mf.Block):
            pass

        for rule in (lambda b: perturb(b), lambda b: mf.theory.finite_width.fluctuate(b, None)):
            with pytest.raises(DeclarationError, match=r"Identity has no rule in advmf\.theory\.finite_width"):
                rule(Identity())


def root(S):
    """The symmetric square roots of matrices that need not have full rank."""
    w, U = torch.linalg.eigh(S)
    return U * w.clamp(min=0).sqrt()[..., None, :] @ U.mT


def gaussian_image(random, X, width, scale):
    """W X for a matrix W of ``width`` rows and entries N(0, scale²/N): rows N(0, scale² X^T X/N), exactly."""
    return scale * random(X.shape[0], width, X.shape[2]) @ root(X.mT @ X / X.shape[1])


def explicit(kind, X, random, depth, sw, sb, slopes, by_size=False):
    """The stream (first column) and tangents (the others) of sampled networks after ``depth`` blocks, by hand.

    ``by_size`` is a wrong activation, whose slope depends on the size of the pre-activation instead of its sign.
    """
    width = X.shape[1]
    for _ in range(depth):
        z = gaussian_image(random, X, width, sw)
        z[..., 0] += sb * random(*z.shape[:2])
        size = z[..., :1].abs()
        y = torch.where((size > size.median(1, keepdim=True).values) if by_size else (z[..., :1] >= 0), *slopes) * z
        X = y if kind == "vanilla" else X + gaussian_image(random, y, width, 1.0)
    return X


def product(kind, rows, width, nets, random, depth, sw, slopes):
    """P_out and ``depth`` blocks with independent slopes, from the output on: a K x N matrix, by Gaussian matrices of K
    rows."""

    def through(A, scale):
        return scale * root(A @ A.mT / width) @ random(nets, rows, width)

    A = random(nets, rows, width) / math.sqrt(width)
    for _ in range(depth):
        slope = torch.where(random(nets, 1, width) >= 0, *slopes)
        A = through(A, sw) * slope if kind == "vanilla" else A + through(through(A, 1.0) * slope, sw)
    return A


def generator(seed):
    source = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=source)


@pytest.mark.parametrize(("kind", "sb"), [("vanilla", 0.7), ("vanilla", 0.0), ("residual", 0.7), ("residual", 0.0)])
def test_sampled_streams_have_the_derived_second_moment(kind, sb):
    """20,000 networks at N = 8; 4.5 standard errors, a false alarm in 7e-6 of seeds."""
    width, depth, nets, sw, slopes = 8, 3, 20_000, 1.0, (1.0, 0.3)
    random = generator(3)
    X = explicit(kind, math.sqrt(1.3) * random(nets, width, 1), random, depth, sw, sb, slopes)
    square = (X**2).mean((1, 2)) ** 2
    kernel = mf.kernel(mf.stream_fluctuation(mf.PRESETS[kind](*slopes)))
    predicted = kernel(N=width, L=depth, sigma_w=sw, sigma_b=sb, x_sq=1.3)
    allowance = 4.5 * float(square.std()) / math.sqrt(nets)
    assert abs(float(square.mean()) - predicted) < allowance
    # The control: the value without fluctuations is far below, and that of a stream one wider is told apart.
    mean = mf.kernel(mf.moments(mf.PRESETS[kind](*slopes)).Q)(L=depth, sigma_w=sw, sigma_b=sb, x_sq=1.3)
    assert float(square.mean()) - mean**2 > 3 * allowance


class TestJacobianNorm:
    def test_the_claim(self):
        claim = mf.jacobian_norm(mf.residual())
        assert (claim.name, claim.relation, claim.regime) == ("F2", "==", Regime.LARGE_WIDTH)
        assert claim.lhs == Expectation(OperatorNorm(2, 2))
        (coefficient,) = claim.implied
        assert (coefficient.order, coefficient.exact, coefficient.lhs) == (1, False, claim.lhs)
        point = {"K": 4, "d": 9, "L": 3, "sigma_w": 1.1, "u": 1, "v": 0}
        kernel, scale = mf.kernel(claim), mf.kernel(coefficient.scale)
        assert "N" not in scale.arguments
        assert scale(**point) == pytest.approx(1e4 * (kernel(**point, N=1e4) - kernel(**point, N=1e300)), rel=1e-9)
        assert r"c_{\mathrm{off}}" in mf.latex(claim)

    @pytest.mark.parametrize(
        ("net", "off", "diag"),
        [
            (mf.vanilla(1, 0), 2, 5),
            (mf.vanilla(1, -1), 1, 2),
            (mf.vanilla(3, 3), 1, 2),
            (mf.residual(1, 0), None, None),
        ],
    )
    def test_perturbations_by_hand(self, net, off, diag):
        factor = perturb(net.block)
        if off is None:
            gain = sigma_w**2 / 2
            off = (2 * gain + gain**2 * (2 + 1)) / (1 + gain) ** 2
            diag = (4 * gain + gain**2 * (5 + 2)) / (1 + gain) ** 2
        assert sp.simplify(factor.off - off) == 0
        assert sp.simplify(factor.diag - diag) == 0
        assert sp.simplify(factor.gain - mf.omega(net)) == 0

    @every_net
    def test_the_diagonal_agrees_with_the_exact_fluctuation_of_the_stream(self, net):
        """|J e|² fluctuates as Q_L does: without biases E Q_L²/(E Q_L)² = 1 + (2 + L c_diag)/N + O(1/N²)."""
        inverse = sp.Symbol("inverse")
        exact = mf.stream_fluctuation(net).rhs / mf.moments(net).Q ** 2
        for depth in (0, 1, 2):
            first = sp.diff(exact.subs(L, depth).doit().subs(N, 1 / inverse), inverse).subs(inverse, 0)
            assert sp.simplify(first - (2 + depth * perturb(net.block).diag)) == 0

    @every_net
    def test_rotation_invariance_and_bounds(self, net):
        factor = perturb(net.block)
        point = {sigma_w: sp.Rational(5, 4), u: 1, v: sp.Rational(1, 2)}
        assert factor.diag.subs(point) >= 2 * factor.off.subs(point) > 0

    def test_one_output_has_only_the_fluctuation_of_its_length(self):
        """At K = 1 nothing mixes: the mean of a root is lowered by an eighth of the relative variance."""
        claim = mf.jacobian_norm(VANILLA)
        coefficient = (claim.formula * sp.sqrt(d) / SpectralNorm(K, d, 1)).subs(K, 1).subs(L, 0)
        at_zero = sp.simplify(coefficient.subs({C_OFF: 2, C_DIAG: 5}).subs(d, 7))
        assert sp.expand(at_zero) == 1 - sp.Rational(1, 4) / N

    @pytest.mark.parametrize(("rows", "columns"), [(50, 784), (128, 2000)])
    def test_the_edge_of_the_free_product_has_the_same_first_order(self, rows, columns):
        width, off, depth = 1e9, 2.0, 5
        edge = lambda z: (  # noqa: E731
            math.log1p(1 / z)
            + math.log1p(z * rows / columns)
            + math.log1p(z * rows / width)
            + depth * math.log1p(off * z * rows / width)
        )
        start = math.sqrt(columns / rows)
        lowest = minimize_scalar(edge, bracket=(0.9 * start, start, 1.1 * start), tol=1e-14).fun
        excess = width * math.expm1((lowest - 2 * math.log1p(math.sqrt(rows / columns))) / 2)
        kernel = mf.kernel(mf.jacobian_norm(mf.vanilla(1, 0)))
        point = {"K": rows, "d": columns, "L": depth, "sigma_w": math.sqrt(2)}
        first = 1e6 * (kernel(**point, N=1e6) / kernel(**point, N=1e300) - 1)
        assert excess == pytest.approx((1 + depth * off) * math.sqrt(rows * columns) / 2, rel=1e-4)
        # Edge effects lower T = (E s³/E s - d - K)/2 below sqrt(Kd) by a relative K**(-2/3).
        assert first == pytest.approx(excess, rel=2 * rows ** (-2 / 3))

    @pytest.mark.parametrize("kind", ["vanilla", "residual"])
    def test_the_product_has_the_derived_coefficient(self, kind):
        """Two widths rid the coefficient of the next order; 4.5 standard errors, a false alarm in 7e-6 of seeds.

        J = S^{1/2} G/sqrt(d), S = A A^T. The norm of G, whose mean is exact, and the first-order change of it, whose
        mean is zero, lower the variance.
        """
        rows, columns, depth, nets, slopes = 4, 12, 2, 6000, (1.0, 0.0)
        sw = math.sqrt(2) if kind == "vanilla" else 2.0
        kernel = mf.kernel(mf.jacobian_norm(mf.PRESETS[kind](*slopes)))
        point = {"K": rows, "d": columns, "L": depth, "sigma_w": sw}
        growth = float(mf.kernel(mf.omega(mf.PRESETS[kind](*slopes)))(sigma_w=sw)) ** depth
        mean, random, found = spectral_norm(rows, columns, 1), generator(11), {}
        for width in (200, 400):
            norms, controls = [], []
            for _ in range(nets // 1000):
                A = product(kind, rows, width, 1000, random, depth, sw, slopes) / math.sqrt(growth)
                G, S = random(1000, rows, columns), A @ A.mT
                w, U = torch.linalg.eigh(S)
                norms.append(torch.linalg.matrix_norm(w.sqrt()[..., None] * (U.mT @ G), 2) / mean - 1)
                left, s, _ = torch.linalg.svd(G, full_matrices=False)
                shift = (left[..., :1].mT @ S @ left[..., :1])[:, 0, 0] - 1
                controls.append(torch.stack([s[:, 0] - mean, shift, shift * s[:, 0]], 1))
            norm, control = torch.cat(norms).numpy(), torch.cat(controls).numpy()
            slope = np.linalg.lstsq(control - control.mean(0), norm - norm.mean(), rcond=None)[0]
            values = width * (norm - control @ slope)
            found[width] = values.mean(), values.std() / math.sqrt(nets)
        measured = 2 * found[400][0] - found[200][0]
        allowance = 4.5 * math.hypot(2 * found[400][1], found[200][1])
        predicted = 1e6 * (kernel(**point, N=1e6) / kernel(**point, N=1e300) - 1)
        assert abs(measured - predicted) < allowance
        # The control: the coefficient of a net one block deeper is refused.
        deeper = {**point, "L": depth + 1}
        wrong = 1e6 * (kernel(**deeper, N=1e6) / kernel(**deeper, N=1e300) - 1)
        assert abs(measured - wrong) > allowance

    @pytest.mark.parametrize("kind", ["vanilla", "residual"])
    def test_the_jacobian_of_a_network_is_a_product_with_independent_slopes(self, kind):
        """At small widths, biases included: moments of J J^T of sampled networks at their input, and of the product, by
        two samples.

        4.5 standard errors of the difference for each of four means, a false alarm in 3e-5 of seeds. The input is the
        first basis vector of four: a law of its own along it would show.
        """
        rows, columns, width, depth, nets, sw, slopes = 3, 4, 6, 3, 30_000, 1.2, (1.0, 0.0)

        def moments(J):
            s = torch.linalg.svdvals(J)
            return torch.stack([s[:, 0], s[:, 0] ** 2, (s**4).sum(1), s.sum(1) ** 2], 1)

        def networks(biases, first):
            random = generator(5)
            X = random(nets, width, columns)
            X = torch.cat([X[..., :1], X], 2)  # the stream, and the tangents
            X = explicit(kind, X, random, depth, sw, biases, slopes, first)[..., 1:]
            return moments(random(nets, rows, width) @ X / math.sqrt(width * columns))

        random = generator(6)
        A = product(kind, rows, width, nets, random, depth, sw, slopes)
        independent = moments(A @ random(nets, width, columns) / math.sqrt(columns))

        def furthest(sample):
            error = (sample.var(0) + independent.var(0)).sqrt() / math.sqrt(nets)
            return float(((sample.mean(0) - independent.mean(0)) / error).abs().max())

        assert furthest(networks(0.0, False)) < 4.5
        assert furthest(networks(0.8, False)) < 4.5
        assert (
            furthest(networks(0.0, True)) > 10
        )  # the control: slopes at one coordinate's absolute value are not independent


class TestSpectralNorm:
    def test_symbols_and_numbers(self):
        assert SpectralNorm(d, K, 1) == SpectralNorm(K, d, 1)
        assert SpectralNorm(1, d, 2).subs(d, 5).doit() == 5
        assert SpectralNorm(2, 2, 1).evalf() == pytest.approx(math.sqrt(math.pi), rel=1e-14)
        assert SpectralNorm(K, 3, 1).evalf() == SpectralNorm(K, 3, 1)
        assert mf.latex(SpectralNorm(K, d, 3)) == r"\mathbb{E}\lVert G_{K \times d}\rVert_{2 \to 2}^3"

    def test_kernels(self):
        for backend in ("numpy", "torch"):
            values = mf.kernel(SpectralNorm(K, d, 1) / sp.sqrt(d), backend)(K=[1, 2], d=[[4], [9]])
            expected = [[float(SpectralNorm(k, n, 1).evalf()) / math.sqrt(n) for k in (1, 2)] for n in (4, 9)]
            assert np.allclose(np.asarray(values), expected, rtol=1e-14)

    @pytest.mark.parametrize("bad", [{"K": 1.5, "d": 3}, {"K": 3, "d": 10.25}, {"K": 3, "d": math.inf}])
    def test_sizes_are_whole_numbers(self, bad):
        with pytest.raises(DomainError, match=r"whole K, d >= 1; got|outside its domain"):
            mf.kernel(mf.jacobian_norm(mf.vanilla(1, 0)))(N=100, L=1, sigma_w=1, **bad)


def test_regimes_of_biases_do_not_matter_to_the_jacobian():
    assert sigma_b not in mf.jacobian_norm(mf.residual()).rhs.free_symbols
