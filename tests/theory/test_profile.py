"""Profiles of pixels: against paths counted one by one, gradients of plain torch, and kernels of given images."""

import math
import re

import numpy as np
import pytest
import sympy as sp
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.special import erf

import advmf as mf
from advmf.claim import Regime, Relation
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.special import gaussian_norm, profile, profile_norm, profile_radius, profile_share
from advmf.theorems.t1_pixels import flattened
from advmf.theory.norms import BETA
from advmf.verify.controls import controls, differs

RELU, LEAKY = mf.ReLULike(1, 0), mf.ReLULike(1, "1/5")
AT = {"sigma_w": 1.6, "sigma_b": 0.4}


def block(*more, **given):
    return mf.Serial(mf.Conv(**given), RELU, *more)


NETS = {
    "zero": mf.Net(mf.Stage(block(padding="zero"), 3), image=(1, 6)),
    "strided": mf.Net(
        mf.Stage(block(stride=2, padding="zero"), 1),
        mf.Stage(mf.Residual(mf.Conv(padding="zero"), LEAKY, mf.Mix(), scale="1/2"), 2),
        image=(2, 6, 8),
    ),
    "uneven stride": mf.Net(mf.Stage(block(stride=2), 1), mf.Stage(block(kernel=1), 1), image=(1, 8)),
    "dropout": mf.Net(mf.Stage(block(mf.Dropout("1/3"), padding="zero"), 2), image=(1, 4, 5)),
    "averaged": mf.Net(mf.Stage(block(mf.AvgPool(2), padding="zero"), 1), mf.Stage(block(), 1), image=(1, 6, 6)),
    "pooled": mf.Net(mf.Stage(block(), 2), image=(2, 5), head="pool"),
    "even taps": mf.Net(mf.Stage(block(kernel=4, padding=1, stride=2), 2), image=(1, 7, 9)),
    "unpadded": mf.Net(
        mf.Stage(block(padding="valid"), 2),
        mf.Stage(block(kernel=3, padding="valid", stride=3), 1),
        mf.Stage(mf.Serial(mf.Dense(), RELU), 1),
        image=(2, 7, 7),
    ),
}
EXACT = [name for name in NETS if name not in ("averaged", "pooled")]
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def numbers(net):
    return {s.name: AT[s.name] for number in mf.profile(net).code for s in number.free_symbols}


def counted(net):
    """The profile as a sum over all pairs of positions, by matrices of sources."""
    sizes = net.image[1:]
    matrix = np.eye(math.prod(sizes))

    def averages(leaf, sizes):
        sources = leaf.windows.sources(sizes)
        found = np.zeros((len(sources), math.prod(sizes) + 1))
        for row, met in enumerate(sources):
            for place in met:
                found[row, place] += 1 / len(met)
        return found[:, :-1], leaf.sizes(sizes)

    def after(leaf, matrix, sizes):
        match leaf:
            case mf.nets.Serial(blocks):
                for each in blocks:
                    matrix, sizes = after(each, matrix, sizes)
                return matrix, sizes
            case mf.nets.Residual():
                branch, _ = after(leaf.branch, matrix, sizes)
                return matrix + float(leaf.scale) ** 2 * branch, sizes
            case mf.Dense():
                return AT["sigma_w"] ** 2 * matrix, sizes
            case mf.Conv():
                means, sizes = averages(leaf, sizes)
                return AT["sigma_w"] ** 2 * means @ matrix, sizes
            case mf.AvgPool():
                means, sizes = averages(leaf, sizes)
                return means @ matrix, sizes
            case mf.ReLULike():
                return float(leaf.u**2 + leaf.v**2) / 2 * matrix, sizes
            case mf.Dropout():
                return matrix / float(1 - leaf.rate), sizes
            case _:
                return matrix, sizes

    for stage in net.stages:
        for _ in range(int(stage.repeat)):
            matrix, sizes = after(stage.block, matrix, sizes)
    return math.prod(net.image[1:]) * matrix.mean(0).reshape(net.image[1:])


@every_net
def test_a_profile_counts_paths(net):
    found = mf.profile(net).at(**numbers(net))
    np.testing.assert_allclose(found, counted(net), rtol=1e-13)
    flat = found.ravel()
    for place in (0, found.size // 2):
        assert mf.kernel(mf.profile(net).share(place))(**numbers(net)) == pytest.approx(flat[place], rel=1e-13)
    assert np.ptp(found) > 0.01 or net is NETS["pooled"], "the control: pixels differ"


def test_alike_pixels_have_the_growth_of_dense_networks():
    for net, dense in ((mf.conv(1, 0), mf.vanilla(1, 0)), (mf.conv_residual(), mf.residual())):
        at = {
            "L": 7,
            "sigma_w": 1.3,
            **({"u": 1, "v": 0.5} if net.block.apply(mf.nets.Leaves(), ())[-1] == mf.Mix() else {}),
        }
        np.testing.assert_allclose(mf.profile(net).at(**at), float(mf.kernel(mf.moments(dense).j)(**at)), rtol=1e-12)
    deep = mf.profile(mf.conv(1, 0, padding="zero")).norm(sp.Integer(2))
    assert np.isfinite(mf.kernel(deep)(L=200, sigma_w=[0.5, 1.4])).all()


def test_entries_of_the_jacobian_are_those_of_plain_torch():
    """E J² at each pixel of explicit convolutions with autograd, in 4.9 standard errors.
    A flat profile is the control."""
    generator, N, K, nets = torch.Generator().manual_seed(0), 24, 6, 500
    net = mf.Net(mf.Stage(block(padding="zero", stride=2), 1), mf.Stage(block(padding="zero"), 1), image=(1, 6, 6))
    x, squares = torch.randn(1, 6, 6, generator=generator, dtype=torch.float64), []

    def normal(*shape, variance):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * math.sqrt(variance)

    for _ in range(nets):
        first = normal(N, 1, 1, 1, variance=1)
        weights = [normal(N, N, 3, 3, variance=1.6**2 / (9 * N)) for _ in range(2)]
        biases, last = [normal(N, variance=0.4**2) for _ in range(2)], normal(K, N * 9, variance=1 / (N * 9))

        def f(x, first=first, weights=weights, biases=biases, last=last):
            h = F.conv2d(x[None], first)
            for w, b, stride in zip(weights, biases, (2, 1)):
                h = torch.relu(F.conv2d(h, w, b, stride=stride, padding=1))
            return last @ h.flatten()

        squares.append(torch.autograd.functional.jacobian(f, x).square().mean((0, 1)))
    found = torch.stack(squares).numpy()
    mean, error = found.mean(0), found.std(0) / math.sqrt(nets)
    predicted = mf.profile(net).at(sigma_w=1.6) / 36
    assert (np.abs(mean - predicted) < 4.9 * error).all()
    assert (np.abs(mean - predicted.mean()) > 4.9 * error).any(), "the control"


def changes(net, x, y):
    """E (f_k(x) - f_k(y))², from the kernel of the two images."""
    k = mf.image_kernel(net, np.stack([x, y]), **AT)
    return k[0, 0] + k[1, 1] - 2 * k[0, 1]


@every_net
def test_no_change_is_larger_than_the_profile_says(net):
    rng, s, d = np.random.default_rng(1), mf.profile(net).at(**numbers(net)).ravel(), net.inputs
    ratios = []
    for size in (0.01, 0.3, 3.0):
        for _ in range(3):
            x, step = rng.normal(size=(2, d))
            if rng.random() < 0.5:
                step = np.where(rng.random(d) < 0.8, 0, step) + 1e-3
            bound = (np.tile(s, net.image[0]) * (size * step) ** 2).sum() / d
            ratios.append(changes(net, x, x + size * step) / bound)
    assert max(ratios) <= 1 + 1e-9
    if net in [NETS[name] for name in EXACT]:
        assert mf.profile(net).exact and max(ratios) > 0.9, "half of the profile would be refuted"
    else:
        assert not mf.profile(net).exact
        constant = np.ones(d)
        if net is NETS["pooled"]:  # all positions are equal: the bound is attained
            even = changes(net, 2 * constant, 2.01 * constant) / (s.mean() * 1e-4)
            assert 0.99 < even <= 1 + 1e-9


@pytest.mark.parametrize("r", [1, 1.3, 2, 3, 20, math.inf])
def test_norms_of_uneven_vectors(r):
    """Where all coordinates are alike, the known norm; else an integral over the law of one coordinate."""
    assert profile_norm(r, 3, 1, 5, 0) == pytest.approx(gaussian_norm(15, r), rel=1e-12)
    code = (2, 1, 4, 1, 3, 1, 0.8, 1, 3, 1, -1, 0)
    t = np.repeat(np.sqrt([profile_share(i, *code) for i in range(4)]), 2)
    if r == math.inf:
        wanted = quad(lambda z: 1 - np.prod(erf(z / t / math.sqrt(2))), 0, 12, epsabs=1e-12, epsrel=1e-12)[0]
    elif r == 1:
        wanted = t.sum() * math.sqrt(2 / math.pi)
    else:
        sample = np.random.default_rng(0).standard_normal((400_000, 8)) * t
        norms = np.linalg.norm(sample, r, axis=1)
        assert abs(profile_norm(r, *code) - norms.mean()) < 4.9 * norms.std() / math.sqrt(len(norms))
        assert abs(profile_norm(r, *code) * 1.02 - norms.mean()) > 4.9 * norms.std() / math.sqrt(len(norms)), (
            "the control"
        )
        return
    assert profile_norm(r, *code) == pytest.approx(wanted, rel=1e-9)


def test_numbers_out_of_range_are_nan():
    code = (1, 1, 4, 0)
    assert np.isnan(profile_norm([0.5, math.nan], *code)).all() and np.isnan(profile_radius(0.9, *code))
    assert np.isnan(profile_share([-1, 4, 0.5], *code)).all()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ((1, 1), "it ends too early"),
        ((1, 1, 4, 1, 2, 1, 0.5, 1, 3), "it ends too early"),
        ((1, 1, 4, 0, 7), "1 numbers are left at its end"),
        ((1, 1, 0, 0), "0 stands where a whole number >= 1 was expected"),
        ((1, 1, 4, 1, 1.5, 1, 0.5, 0), "1.5 stands where a whole number >= 0 was expected"),
    ],
)
def test_what_is_no_code_is_refused(code, message):
    for call in (lambda: profile(*code), lambda: profile_norm(2, *code), lambda: profile_share(0, *code)):
        with pytest.raises(DomainError, match=re.escape(message)):
            call()


@pytest.mark.parametrize(("p", "q"), [(1, 2), (2, 2), ("inf", 1), ("inf", "inf"), (3, 2)])
def test_the_norm_factor_bounds_norms_of_matrices(p, q):
    """Of matrices with the profile's columns, searched by sampled signs or known exactly; half of it is exceeded."""
    net, K = mf.conv(1, 0, image=(1, 3, 4), padding="zero"), 3
    at = {"L": 2, "sigma_w": 2.0}
    t = np.sqrt(mf.profile(net).at(**at)).ravel()
    G = np.random.default_rng(0).standard_normal((400, K, 12)) * t / math.sqrt(12)
    if p == 1:
        norms = np.linalg.norm(G, float(q), axis=1).max(1)
    elif q == "inf":
        norms = np.abs(G).sum(2).max(1)
    elif (p, q) == (2, 2):
        norms = np.linalg.norm(G, 2, axis=(1, 2))
    elif p == "inf":
        signs = np.array(np.meshgrid(*[[-1, 1]] * K)).reshape(K, -1)
        norms = np.abs(np.swapaxes(G, 1, 2) @ signs).sum(1).max(1)
    else:  # a lower bound, by the power method
        y = G.mean(2)
        for _ in range(100):
            z = np.einsum("nkd,nk->nd", G, y)
            eta = np.sign(z) * np.abs(z) ** 0.5
            eta /= np.linalg.norm(eta, 3, axis=1, keepdims=True)
            y = np.einsum("nkd,nd->nk", G, eta)
        norms = np.linalg.norm(y, 2, axis=1)
    bound = float(mf.kernel(mf.profile(net).beta(p, q))(**at, K=K, d=12))
    error = norms.std() / 20
    assert norms.mean() < bound + 4.9 * error and norms.mean() - 4.9 * error > bound / 2
    tail = float(mf.kernel(mf.profile(net).beta_quantile(p, q, "1/20"))(**at, K=K, d=12))
    assert bound < tail and (norms > tail).mean() <= 0.05


def test_bounds_of_alike_pixels_are_those_of_dense_networks():
    """The pooled head has the bound of the flat one, by another way."""
    at = {"L": 3, "sigma_w": 1.7, "K": 10, "d": 64, "eps": 0.1}
    for p, q in ((1, 1), (2, 2), ("inf", 2), (3, "3/2")):
        dense, pooled = (mf.loss_bound(net, p, q) for net in (mf.vanilla(1, 0), mf.conv(1, 0, head="pool")))
        assert mf.kernel(pooled)(**at) == pytest.approx(float(mf.kernel(dense)(**at)), rel=1e-10)
        assert pooled.formula == BETA * mf.symbols.eps and mf.Regime.HEURISTIC not in pooled.regime
    thresholds = [
        mf.loss_tail(net, 2, 2, "1/100").lhs.args[0].rhs for net in (mf.vanilla(1, 0), mf.conv(1, 0, head="pool"))
    ]
    one, other = (float(mf.kernel(e)(**at)) for e in thresholds)
    assert one == pytest.approx(other, rel=1e-10)


@pytest.mark.parametrize("net", [NETS["strided"], NETS["averaged"], mf.conv(1, 0, padding="zero")], ids=repr)
def test_claims_are_written_and_read(net):
    claims = [mf.loss_bound(net, "inf", 2), mf.loss_tail(net, 2, 2, "1/10")]
    for claim in [*claims, mf.pixel_law(net)]:
        assert mf.from_json(mf.to_json(claim)) == claim
        text = mf.latex(claim)
        assert ("s_0" in text or r"\sqrt{s}" in text) and text.count("{") == text.count("}")


REFUSED = [
    (
        lambda: mf.profile(mf.vanilla(1, 0)),
        DeclarationError,
        "A profile is that of a network on images; vanilla has vectors",
    ),
    (lambda: mf.profile(mf.conv(phi="tanh")), DeclarationError, "does not scale with its input"),
    (
        lambda: mf.profile(mf.Net(mf.Serial(mf.Conv(), mf.RMSNorm()), image=(1, 5))),
        DeclarationError,
        "divides by a size",
    ),
    (lambda: mf.profile(mf.Net(mf.Residual(mf.Conv(), RELU), image=(1, 6))), DeclarationError, "carries a mean"),
    (lambda: mf.pixel_law(mf.conv(phi="tanh", head="pool")), DeclarationError, "does not scale with its input"),
    (lambda: mf.profile(mf.conv(1, 0)).at(L=1), ArgumentError, "takes numbers for L, sigma_w; got L"),
    (lambda: mf.profile(mf.conv(1, 0)).beta("1/2", 2), DomainError, "p"),
    (lambda: mf.profile(mf.conv(1, 0)).beta_quantile(2, 2, 1.5), DomainError, "delta is a probability"),
    (lambda: mf.loss_bound(mf.conv(1, 0, padding="zero"), 2, 2, "spectral"), ArgumentError, "is for equal pixels"),
    (lambda: mf.loss_bound(mf.conv(1, 0, padding="zero"), 2, 2, "split"), DeclarationError, "gives the positions"),
    (lambda: mf.loss_bound(mf.conv(1, 0, head="pool"), 2, 2, paper=True), DeclarationError, "average over positions"),
]


@pytest.mark.parametrize(("ask", "error", "message"), REFUSED)
def test_what_has_no_profile_is_refused_by_name(ask, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ask()


def test_pixels_are_measured_where_they_are():
    """The claim stands, of images with several channels; with the profile flattened it is refuted."""
    claim = mf.pixel_law(NETS["strided"])
    assert [e.label for e in claim.equations] == ["E J², corner", "E J², edge", "E J², centre"]
    given = {"at": {"d": 96, "K": 8, **AT}, "widths": (16, 32), "nets": 1200, "seed": 0, "progress": False}
    right, wrong = (mf.check(each, **given) for each in (claim, flattened(claim)))
    assert (right.verdict, wrong.verdict) == ("SUPPORTED", "REFUTED"), str(right)


@pytest.mark.parametrize(
    "net", [mf.conv(1, 0, image=(1, 4, 4), head="pool"), NETS["averaged"]], ids=["pool", "average"]
)
def test_where_positions_are_averaged_the_law_of_pixels_is_a_bound(net):
    """A check finds it below the bound, and above that for independent positions."""
    claim = mf.pixel_law(net)
    wrong = controls(claim)
    taken = "pooled head taken for flatten" if net.head == "pool" else "averages left out"
    assert [each.name for each in wrong] == [f"T1.pixels [{e}]" for e in ("positions taken for independent", taken)]
    assert claim.relation is Relation.AT_MOST
    at = {"d": net.inputs, "K": 8, **({"L": 2} if net.repeated else {}), **AT}
    assert all(differs(claim, each, at) for each in wrong) and not differs(claim, claim, at)
    widths = (16,) if claim.regime is Regime.EXACT else (16, 32, 64)
    reports = mf.check_all([claim, *wrong], at, widths=widths, nets=600, progress=False)
    assert [report.verdict for report in reports] == ["NOT_REFUTED", "REFUTED", "REFUTED"], list(map(str, reports))
