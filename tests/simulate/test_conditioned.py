"""Conditioned matrices: the algebra of a matrix to rounding, and the law of an explicit Gaussian one.

A statistical test compares samples of explicit and of conditioned matrices at a stated false-fail rate: ``ALPHA`` for
every comparison, some sixty of them, so that one run in 1,600 fails by chance (seeds are fixed: it has not). The same
comparisons must catch a matrix that is conditioned on one side only.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import advmf as mf
from advmf.errors import ArgumentError, DomainError, MemoryBudgetError, NonFiniteError
from advmf.simulate import span
from advmf.simulate.budget import Budget
from advmf.simulate.conditioned import LEFT, RIGHT, ConditionedMatrix
from advmf.simulate.dense import DenseMatrix

ALPHA = 1e-5
DRAWS = 20_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def conditioned(nets, rows, columns, std=1.0, seed=0, dtype=torch.float64, **options):
    return ConditionedMatrix(nets, rows, columns, std, generator=generator(seed), dtype=dtype, **options)


def explicit(nets, rows, columns, std=1.0, seed=0):
    return DenseMatrix(std * torch.randn(nets, rows, columns, generator=generator(seed), dtype=torch.float64))


class OneSided(ConditionedMatrix):
    """A wrong matrix: answers to one side know nothing of earlier answers to the other."""

    aware = RIGHT

    def _leave_out_known(self, draws, side):
        if side == self.aware:
            super()._leave_out_known(draws, side)


class OtherSided(OneSided):
    aware = LEFT


# -- algebra -----------------------------------------------------------------------------------------------------------


@st.composite
def questions(draw):
    """Sizes, and a sequence of blocks of vectors with the side that they come from; some repeat or combine earlier
    ones."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    source = generator(draw(st.integers(0, 2**20)))
    blocks = []
    for _ in range(draw(st.integers(1, 6))):
        side, count = draw(st.sampled_from([RIGHT, LEFT])), draw(st.integers(0, 5))
        y = torch.randn(2, (columns, rows)[side], count, generator=source, dtype=dtype)
        kind = draw(st.sampled_from(["new", "new", "again", "close", "zero", "huge"]))
        earlier = [b for s, b in blocks if s == side and b.shape[2]]
        if kind in ("again", "close") and earlier and count:
            past = earlier[-1]
            mix = torch.randn(2, past.shape[2], count, generator=source, dtype=dtype)
            y = past @ mix + (1e-3 * y if kind == "close" else 0)
        elif kind == "zero":
            y = 0 * y
        elif kind == "huge":
            y = y * 1e25
        blocks.append((side, y))
    return rows, columns, dtype, blocks


@given(questions())
@settings(max_examples=150, deadline=None)
def test_answers_are_those_of_one_matrix(case):
    """In any order of questions: the adjoint identity, linearity, and repeated questions."""
    rows, columns, dtype, blocks = case
    W = conditioned(2, rows, columns, 1 / math.sqrt(columns), dtype=dtype, queries=1)
    answers = [(W.matmul if side == RIGHT else W.rmatmul)(y) for side, y in blocks]
    # An answer leaves out what counts as seen: 128 eps of each of at most 5 vectors, times |W|, which exceeds its mean
    # by 6/sqrt(columns) once in 1e8. Two answers are compared.
    small = 2 * math.sqrt(5) * 128 * torch.finfo(dtype).eps * (1 + math.sqrt(rows / columns) + 6 / math.sqrt(columns))

    def size(z):
        return z.double().norm(dim=1)

    for (side, y), answer in zip(blocks, answers):
        again = (W.matmul if side == RIGHT else W.rmatmul)(y)
        bound = small * size(y)
        assert (size(again - answer) <= bound + 1e-300).all()
        if y.shape[2] > 1:
            t = torch.randn(y.shape[2], 1, generator=generator(1), dtype=dtype)
            both = (W.matmul if side == RIGHT else W.rmatmul)(y @ t)
            assert (size(both - answer @ t) <= bound @ t.double().abs() + 1e-300).all()
        for (other, z), their in zip(blocks, answers):
            if side == RIGHT and other == LEFT:
                one, two = z.double().mT @ answer.double(), their.double().mT @ y.double()
                assert ((one - two).abs() <= small * size(z)[..., None] * size(y)[:, None, :] + 1e-300).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_is_the_same_matrix_plus_outer_products(dtype):
    W = conditioned(3, 50, 70, 0.2, dtype=dtype, queries=2)
    source = generator(1)
    x, z = (torch.randn(3, n, 2, generator=source, dtype=dtype) for n in (70, 50))
    before, back, norm = W.matmul(x), W.rmatmul(z), W.squared_norm()
    u, v = (torch.randn(3, n, 4, generator=source, dtype=dtype) for n in (50, 70))
    inner = (u * W.matmul(v)).double().sum((1, 2))
    W.add(u[..., :1], v[..., :1])
    W.add(u[..., 1:], v[..., 1:])
    small = {"rtol": 0, "atol": 3e4 * torch.finfo(dtype).eps}
    torch.testing.assert_close(W.matmul(x), before + u @ (v.mT @ x), **small)
    torch.testing.assert_close(W.rmatmul(z), back + v @ (u.mT @ z), **small)
    grown = 2 * inner + (u.double() @ v.double().mT).square().sum((1, 2))
    torch.testing.assert_close(W.norm_change(), grown, rtol=1e4 * torch.finfo(dtype).eps, atol=0)
    torch.testing.assert_close(W.squared_norm(), norm + grown, rtol=1e3 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_the_norm_is_that_of_the_matrix_whenever_it_is_asked_for(when):
    W = conditioned(2, 30, 40, 0.5)
    W.matmul(torch.randn(2, 40, 3, generator=generator(1), dtype=torch.float64))
    early = W.squared_norm() if when == "before" else None
    W.rmatmul(torch.randn(2, 30, 3, generator=generator(2), dtype=torch.float64))
    early = W.squared_norm() if when == "between" else early
    full = W.matmul(torch.eye(40, dtype=torch.float64).expand(2, 40, 40))
    whole = full.square().sum((1, 2))
    for norm in (early, W.squared_norm()):
        if norm is not None:
            torch.testing.assert_close(norm, whole)


@pytest.mark.parametrize("block", [1, 7, 30])
def test_the_answers_to_all_directions_are_the_matrix(block):
    """Beyond the point where factors cost more than the matrix, and to full rank, products stay those of one matrix."""
    W = conditioned(2, 30, 30, queries=4)
    source = generator(1)
    left = torch.randn(2, 30, 4, generator=source, dtype=torch.float64)
    back = W.rmatmul(left)
    basis = torch.linalg.qr(torch.randn(2, 30, 30, generator=source, dtype=torch.float64)).Q
    answers = torch.cat([W.matmul(part) for part in basis.split(block, 2)], 2)
    whole = answers @ basis.mT
    y = torch.randn(2, 30, 3, generator=source, dtype=torch.float64)
    torch.testing.assert_close(W.matmul(y), whole @ y)
    torch.testing.assert_close(W.rmatmul(y), whole.mT @ y)
    torch.testing.assert_close(back, whole.mT @ left)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repeated_vectors_beside_new_ones_are_not_taken_for_new(dtype):
    W, source = conditioned(2, 400, 400, 0.05, dtype=dtype), generator(1)
    x, y = torch.randn(2, 2, 400, 10, generator=source, dtype=torch.float64).to(dtype)
    answer = W.matmul(x)
    both = W.matmul(torch.cat((x, y), 2))
    small = 1e3 * torch.finfo(dtype).eps
    assert W._counts == [20, 0]
    torch.testing.assert_close(both[..., :10], answer, rtol=0, atol=small)
    torch.testing.assert_close(W.matmul(y), both[..., 10:], rtol=0, atol=small)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("again", [None, 1 / 128])
def test_directions_stay_orthonormal_however_little_is_new(dtype, again, monkeypatch):
    """A hundred steps of a fifth along a path, from both sides; errors grow if what is little is not orthogonalised
    again."""
    if again is not None:
        monkeypatch.setattr("advmf.simulate.conditioned._AGAIN", again)
    W, source = conditioned(1, 1000, 1000, 1000**-0.5, dtype=dtype), generator(1)
    x, z = torch.randn(2, 1, 1000, 1, generator=source, dtype=dtype)
    for _ in range(100):
        x = x + 0.2 * torch.relu(W.rmatmul(z))
        z = z + 0.2 * torch.relu(W.matmul(x))
        x, z = (1000**0.5 * y / y.norm() for y in (x, z))
    grams = [torch.bmm(W._asked(side), W._asked(side).mT).double() for side in (RIGHT, LEFT)]
    worst = max(float((gram @ gram - gram).abs().max()) for gram in grams)
    assert (worst < 100 * torch.finfo(dtype).eps) == (again is None)


def test_vectors_of_any_size_are_answered():
    W = conditioned(1, 20, 20, dtype=torch.float32)
    y = torch.randn(1, 20, 1, generator=generator(1))
    answer = W.matmul(y)
    for scale in (1e-30, 1e30):
        torch.testing.assert_close(W.matmul(y * scale), answer * scale, rtol=1e-4, atol=0)
    assert W._counts == [1, 0]
    assert not W.matmul(torch.zeros(1, 20, 2)).any()
    assert W.matmul(torch.zeros(1, 20, 0)).shape == (1, 20, 0)
    assert W._counts == [1, 0]


def test_networks_may_know_different_numbers_of_directions():
    W = conditioned(2, 30, 30)
    y = torch.randn(2, 30, 2, generator=generator(1), dtype=torch.float64)
    y[1, :, 1] = 2 * y[1, :, 0]
    answer = W.matmul(y)
    torch.testing.assert_close(answer[1, :, 1], 2 * answer[1, :, 0])
    z = torch.randn(2, 30, 3, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(z.mT @ answer, W.rmatmul(z).mT @ y)
    W.squared_norm()
    torch.testing.assert_close(W.rmatmul(z).mT @ y, z.mT @ answer)
    assert W._missing[RIGHT].tolist() == [0, 1]


# -- the law -----------------------------------------------------------------------------------------------------------


def transcript(W, rows, columns, dtype=torch.float64):
    """A dialogue in which each question depends on the answers before, as in an attack; (nets, numbers)."""
    x = torch.linspace(-1, 1, columns, dtype=dtype).expand(W_nets(W), columns)[..., None]
    z = torch.linspace(1, 2, rows, dtype=dtype).expand(W_nets(W), rows)[..., None]
    seen = []
    for step in range(3):
        y = W.matmul(x)
        back = W.rmatmul(torch.cat((torch.relu(y), z), 2) if step == 1 else torch.relu(y) + 0.1 * z)
        seen += [y, back]
        x = x + back[..., :1] / columns
    return seen


def W_nets(W):
    return len(W.values) if isinstance(W, DenseMatrix) else W._nets


def features(seen):
    """Numbers whose laws are compared: lengths, singular values and moments of the answers up to order four."""
    first, back = seen[0], seen[1]
    found = {f"length {i}": answer.norm(dim=1)[:, 0] for i, answer in enumerate(seen)}
    values = torch.linalg.svdvals(torch.cat([a[..., :1] for a in seen[::2]], 2))
    found |= {f"singular value {i}": values[:, i] for i in range(values.shape[1])}
    found["overlap"] = (seen[0] * seen[2]).sum(1)[:, 0]
    found["overlap back"] = (seen[1][..., :1] * seen[3][..., :1]).sum(1)[:, 0]
    a, b, c = first[:, 0, 0], first[:, 1, 0], back[:, 0, 0]
    for powers in [(1, 0, 1), (1, 1, 0), (2, 0, 1), (2, 2, 0), (2, 0, 2), (1, 1, 2), (3, 0, 1), (4, 0, 0), (0, 0, 4)]:
        found[f"a^{powers[0]} b^{powers[1]} c^{powers[2]}"] = a ** powers[0] * b ** powers[1] * c ** powers[2]
    return {name: value.numpy() for name, value in found.items()}


def departures(one, two):
    """The comparisons of two samples that fail: Kolmogorov-Smirnov for the laws, and Welch's test for the means."""
    failed = []
    for name in one:
        ks = stats.ks_2samp(one[name], two[name], method="asymp").pvalue
        mean = stats.ttest_ind(one[name], two[name], equal_var=False).pvalue
        failed += [f"{name}: {test} p={p:.1g}" for test, p in (("law", ks), ("mean", mean)) if p < ALPHA]
    return failed


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (16, 30), (9, 9)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_law_of_a_dialogue_is_that_of_an_explicit_matrix(rows, columns, dtype):
    """(9, 9) meets more questions than it has directions to spare, and becomes explicit on the way."""
    std = 1 / math.sqrt(columns)
    W = conditioned(DRAWS, rows, columns, std, dtype=dtype)
    ours = features(transcript(W, rows, columns, dtype))
    theirs = features(transcript(explicit(DRAWS, rows, columns, std, seed=1), rows, columns))
    assert departures(ours, theirs) == []
    assert (W._explicit is not None) == (rows == 9)


@pytest.mark.parametrize("wrong", [OneSided, OtherSided])
def test_conditioning_on_one_side_only_is_caught(wrong):
    W = wrong(DRAWS, 24, 24, 1 / math.sqrt(24), generator=generator(), dtype=torch.float64)
    ours = features(transcript(W, 24, 24))
    theirs = features(transcript(explicit(DRAWS, 24, 24, 1 / math.sqrt(24), seed=1), 24, 24))
    assert len(departures(ours, theirs)) > 5


def test_a_prototype_without_room_is_caught():
    """Conditioning past the rank of the matrix, with every residual of rounding taken for a new direction, has another
    law."""

    class Blind(ConditionedMatrix):
        def _pays(self, more):
            return True

    W = Blind(DRAWS, 5, 5, 1 / math.sqrt(5), generator=generator(), dtype=torch.float64, tolerance=0.0)
    ours = features(transcript_of_many(W, 5))
    theirs = features(transcript_of_many(explicit(DRAWS, 5, 5, 1 / math.sqrt(5), seed=1), 5))
    assert departures(ours, theirs)
    right = conditioned(DRAWS, 5, 5, 1 / math.sqrt(5))
    assert departures(features(transcript_of_many(right, 5)), theirs) == []


def transcript_of_many(W, size):
    """Eight random questions from the right, more than there are directions, before the dialogue."""
    for i in range(8):
        W.matmul(torch.randn(1, size, 1, generator=generator(i), dtype=torch.float64).expand(W_nets(W), size, 1))
    return transcript(W, size, size)


def test_all_directions_give_a_matrix_of_independent_entries():
    size, W = 6, conditioned(DRAWS, 6, 6)
    W.rmatmul(torch.ones(DRAWS, size, 1, dtype=torch.float64))
    W.matmul(torch.ones(DRAWS, size, 1, dtype=torch.float64))
    whole = W.matmul(torch.eye(size, dtype=torch.float64).expand(DRAWS, size, size)).flatten(1)
    entries = whole.flatten()
    assert stats.kstest(entries.numpy(), "norm").pvalue > ALPHA
    z = (torch.cov(whole.mT) - torch.eye(size**2)) * math.sqrt(DRAWS)
    z.diagonal().div_(math.sqrt(2))
    assert float(z.abs().max()) < stats.norm.isf(ALPHA / size**4)
    assert abs(float((entries**4).mean()) - 3) < stats.norm.isf(ALPHA) * math.sqrt(96 / entries.numel())


class Forgetful(ConditionedMatrix):
    """A wrong matrix: once its norm is known, later draws do not heed it."""

    def _draw(self, count, kept, side):
        told, self._unseen = self._unseen, None
        super()._draw(count, kept, side)
        self._unseen = told


def told_its_norm(W, size=14):
    """One question from each side, the norm, and then new questions: lengths, and how they vary with the norm."""
    vectors = torch.linalg.qr(torch.randn(size, 4, generator=generator(5), dtype=torch.float64)).Q
    one, two, three, four = (v.expand(W_nets(W), size)[..., None] for v in vectors.mT)
    before = [W.matmul(one), W.rmatmul(two)]
    norm = W.squared_norm()
    after = [W.matmul(torch.relu(before[1]) + three), W.rmatmul(torch.relu(before[0]) + four)]
    found = {"norm": norm, "entry": after[0][:, 0, 0], "overlap": (before[0] * after[0]).sum((1, 2))}
    for i, answer in enumerate(before + after):
        square = answer.square().sum((1, 2))
        found |= {f"square {i}": square, f"norm and square {i}": (norm - size**2) * (square - square.mean())}
    return {name: value.numpy() for name, value in found.items()}


def test_the_norm_and_what_follows_have_their_joint_law():
    """Asked for in the middle of a dialogue: the squared norm is a chi-square, and new answers are those of a matrix of
    that norm."""
    W = conditioned(DRAWS, 14, 14)
    ours, theirs = told_its_norm(W), told_its_norm(explicit(DRAWS, 14, 14, seed=1))
    assert W._explicit is None
    assert departures(ours, theirs) == []
    assert stats.kstest(ours["norm"], "chi2", args=(196,)).pvalue > ALPHA
    wrong = told_its_norm(Forgetful(DRAWS, 14, 14, 1.0, generator=generator(), dtype=torch.float64))
    assert departures(wrong, theirs)


# -- networks ----------------------------------------------------------------------------------------------------------

NETS = {
    "vanilla": mf.vanilla(1, 0),
    "residual": mf.residual(1, 0),
    "plain": mf.plain_residual(1, 0),
    "preactivation": mf.preactivation(1, 0),
    "two layers": mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dense(sigma_b=0))),
}


def networks(net, sampler, nets=3000, queries=8, **sizes):
    sizes = {"N": 24, "L": 2, "d": 20, "K": 3} | sizes
    return mf.simulate.sample(
        net, **sizes, nets=nets, sampler=sampler, queries=queries, sigma_w=1.0, sigma_b=0.3, generator=generator()
    )


@pytest.mark.parametrize("name", NETS)
def test_networks_of_either_sampler_have_one_law(name):
    """Outputs, Jacobians, attack values and the norms of the weights after two steps of training."""

    def play(sampler):
        ensemble, x = networks(NETS[name], sampler, nets=2000, N=64, queries=30), torch.linspace(-1, 1, 20)
        f, J = ensemble.forward(x), ensemble.jacobian(x)
        found = {"f": f[:, 0], "|f|": f.norm(dim=1)}
        found |= {"J": J[:, 0, 0], "|J|": torch.linalg.matrix_norm(J, 2)}
        attacked = mf.simulate.attack(ensemble, x, eps=0.5, p=2, q=2, steps=2, directions=1)
        found["attack"] = attacked.value
        norms = []
        for chunk in ensemble.chunks():
            for _ in range(2):
                trace = chunk.trace(ensemble.inputs(x))
                trace.descend(trace.output, 0.05)
            layers = [layer for layer, _ in trace.tape.met if layer.trained]
            norms.append(torch.stack([layer.weight.norm_change() for layer in layers], 1))
            norms[-1] = torch.cat((norms[-1], torch.stack([layer.weight.squared_norm() for layer in layers], 1)), 1)
        found |= {f"norm {i}": values for i, values in enumerate(torch.cat(norms).unbind(1))}
        found["f trained"] = ensemble.forward(x)[:, 0]
        if sampler == "conditioned":
            weights = [layer.weight for layer in layers]
            assert all(
                isinstance(w, ConditionedMatrix) and w._explicit is None and w._learnt is not None for w in weights
            )
        return {key: value.double().numpy() for key, value in found.items()}

    assert departures(play("conditioned"), play("dense")) == []


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
def test_a_gradient_step_is_that_of_autograd(sampler):
    ensemble, x = networks(NETS["residual"], sampler, nets=2), torch.linspace(-1, 1, 20)
    (chunk,) = ensemble.chunks()

    def whole():
        met = chunk.trace(ensemble.inputs(x)).tape.met
        return [layer.weight.matmul(torch.eye(z.shape[1]).expand(2, -1, -1)) for layer, z in met]

    trace = chunk.trace(ensemble.inputs(x))
    layers, before = [layer for layer, _ in trace.tape.met], whole()
    first, one, mix, two, other, last = (w.clone().requires_grad_() for w in before)
    stream = first @ x[:, None]
    for weight, out, layer in ((one, mix, layers[1]), (two, other, layers[3])):
        stream = stream + out @ torch.relu(weight @ stream + layer.bias[..., None])
    ((last @ stream) ** 2).sum().div(2).backward()
    trace.descend(trace.output, 0.1)
    for layer, old, new, leaf in zip(layers, before, whole(), (first, one, mix, two, other, last)):
        step = -0.1 * leaf.grad if layer.trained else torch.zeros_like(old)
        torch.testing.assert_close(new - old, step, rtol=0, atol=1e-4)
        assert not layer.trained or float(step.abs().max()) > 1e-2


def test_a_gradient_step_of_bad_values_changes_nothing():
    ensemble, x = networks(NETS["residual"], "conditioned", nets=2), torch.linspace(-1, 1, 20)
    (chunk,) = ensemble.chunks()
    trace = chunk.trace(ensemble.inputs(x))
    good = trace.output
    for bad, rate in (
        (good[:, :2], 0.1),
        (good.double(), 0.1),
        (good * math.nan, 0.1),
        (good, math.inf),
    ):
        with pytest.raises((ArgumentError, DomainError), match=r"descend takes|A gradient takes"):
            trace.descend(bad, rate)
    with pytest.raises(ArgumentError, match="a gradient needs a forward trace"):
        trace.shift(0.1 * ensemble.inputs(x).expand(2, -1, -1, -1)).descend(good, 0.1)
    torch.testing.assert_close(ensemble.forward(x), good[:, :, 0, 0])


def test_auto_takes_the_faster_one_and_says_which():
    assert networks(mf.vanilla(1, 0), "auto", nets=1, N=64, queries=100).sampler == "dense"
    assert networks(mf.vanilla(1, 0), "auto", nets=1, N=6400, queries=100).sampler == "conditioned"
    many = {"N": 2000, "queries": 400, "nets": 2000}
    assert networks(mf.vanilla(1, 0), "auto", **many).sampler == "dense"  # so many answers could not be kept
    assert networks(mf.vanilla(1, 0), "auto", **many, keep=False).sampler == "conditioned"


def test_a_network_keeps_its_answers_between_calls():
    ensemble = networks(mf.vanilla(1, 0), "conditioned", nets=4)
    x = torch.linspace(-1, 1, 20)
    torch.testing.assert_close(ensemble.forward(x), ensemble.forward(x))
    (chunk,) = ensemble.chunks()
    assert next(ensemble.chunks()) is chunk
    forgetful = networks(mf.vanilla(1, 0), "conditioned", nets=4, keep=False)
    assert next(forgetful.chunks()) is not next(forgetful.chunks())


def test_chunks_that_were_left_early_are_kept_as_well():
    ensemble = networks(mf.vanilla(1, 0), "conditioned", nets=4)
    x = torch.linspace(-1, 1, 20)
    first = next(iter(ensemble.traces(x))).output
    torch.testing.assert_close(ensemble.forward(x)[: len(first)], first[:, :, 0, 0])


def test_a_wide_network_needs_no_weights():
    ensemble = mf.simulate.sample(
        mf.residual(1, 0), N=200_000, L=3, d=30, K=2, queries=40, sigma_w=1.0, sigma_b=0.1, generator=generator()
    )
    assert ensemble.sampler == "conditioned"
    x = torch.linspace(-1, 1, 30)
    found = mf.simulate.attack(ensemble, x, eps=0.1, p="inf", q=2, steps=3, directions=1)
    J = ensemble.jacobian(x)
    linear = float(mf.simulate.operator_norm(J, "inf", 2).value) * 0.1
    assert 0.9 < float(found.value) / linear < 1.2


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_bad_vectors_change_nothing():
    W = conditioned(2, 20, 30)
    y = torch.randn(2, 30, 1, generator=generator(1), dtype=torch.float64)
    answer = W.matmul(y)
    for bad in (y[:1], y[:, :29], y[..., 0], y.float(), torch.full_like(y, math.nan), torch.full_like(y, math.inf)):
        with pytest.raises((ArgumentError, DomainError), match=r"takes vectors of shape|NaN or infinite"):
            W.matmul(bad)
    with pytest.raises(ArgumentError, match=r"from the left; got \(2, 30, 1\)"):
        W.rmatmul(y)
    with pytest.raises(ArgumentError, match="as many columns in u as in v"):
        W.add(torch.zeros(2, 20, 1, dtype=torch.float64), torch.zeros(2, 30, 2, dtype=torch.float64))
    assert W._counts == [1, 0]
    torch.testing.assert_close(W.matmul(y), answer)


def test_a_spent_budget_changes_nothing():
    W = conditioned(1, 1000, 1000, budget=Budget(20_000))
    y = torch.randn(1, 1000, 1, generator=generator(1), dtype=torch.float64)
    answer = W.matmul(y)
    with pytest.raises(MemoryBudgetError, match="budget are left"):
        W.rmatmul(y)
    torch.testing.assert_close(W.matmul(y), answer)


def test_memory_is_refused_before_anything_is_sampled():
    with pytest.raises(MemoryBudgetError, match="300 vectors at each matrix"):
        networks(mf.vanilla(1, 0), "conditioned", nets=1, N=10**6, queries=300)
    ensemble = networks(mf.vanilla(1, 0), "conditioned", nets=1, N=10**6, L=4, queries=50)
    with pytest.raises(MemoryBudgetError, match="vectors at each matrix"):
        mf.simulate.attack(ensemble, torch.ones(20), eps=0.1, p=2, q=2)
    with pytest.raises(MemoryBudgetError, match="ensemble of 20 networks"):
        networks(mf.vanilla(1, 0), "conditioned", nets=20, N=10**6, queries=50)
    assert networks(mf.vanilla(1, 0), "conditioned", nets=20, N=10**6, queries=50, keep=False).keep is False
    with pytest.raises(MemoryBudgetError, match='sampler="conditioned"'):
        networks(mf.vanilla(1, 0), "dense", nets=1, N=10**6)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ArgumentError, match="auto, dense, conditioned, limit; got 'sparse'"):
        networks(mf.vanilla(1, 0), "sparse", nets=1)
    with pytest.raises(DomainError, match="queries"):
        networks(mf.vanilla(1, 0), "conditioned", nets=1, queries=0)


def test_numbers_are_those_of_the_seed():
    x = torch.linspace(-1, 1, 20)
    values = [networks(mf.vanilla(1, 0), "conditioned", nets=5).jacobian(x) for _ in range(2)]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("shape", [(3, 2, 5), (200, 4, 700), (2, 3, 90_000)])
def test_gram_matrices_are_those_of_the_rows_however_they_are_split(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wide = rows.double()
    torch.testing.assert_close(span._gram(rows), wide @ wide.mT, rtol=1e-12, atol=1e-12 * shape[2])


def test_rows_of_zeros_need_no_scale_and_tiny_rows_do():
    rows = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    rows[0, 1] = 0
    scale, size = span.sizes(rows)
    assert scale is None and size[0, 1] == 0
    rows[1, 2] = 1e-30  # its squares vanish in float32
    scale, size = span.sizes(rows)
    assert scale is not None and size[0, 1] == 0 and abs(size[1, 2] - 2) < 1e-6
    with pytest.raises(NonFiniteError):
        span.sizes(rows / torch.zeros(()))
