"""Training: exact identities, gradients against autograd, one law for both samplers, resumption, and bad input.

``ROUNDING`` bounds float64 rounding in sums of some thousand terms of size one, with a margin of a hundred.
"""

import hashlib
import io
import math

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.errors import ArgumentError, DataError, DomainError, MemoryBudgetError
from advmf.simulate import course
from advmf.simulate.conditioned import ConditionedMatrix
from advmf.simulate.descent import Objective, capacity
from advmf.simulate.geometry import norm
from advmf.simulate.networks import layers

ROUNDING = 100 * 1000**0.5 * torch.finfo(torch.float64).eps
DIGITS = mf.simulate.load("digits").scaled(1.0)
SIZES = {"d": 64, "K": 10}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def networks(net=None, *, N=60, L=3, nets=3, sigma_b=0.0, sampler="dense", dtype=torch.float64, seed=0, **options):
    options = {**SIZES, "queries": 20, **options}
    return mf.simulate.sample(net or mf.vanilla(1, 0), N=N, L=L, nets=nets, sigma_w=2**0.5, sigma_b=sigma_b,
                              sampler=sampler, dtype=dtype, generator=generator(seed), **options)  # fmt: skip


def train(ensemble, images=DIGITS, **options):
    return mf.simulate.train(
        ensemble, images, **{"loss": "adversarial", "rate": 0.01, "steps": 4, "batch": 2, **options}
    )


def trained(ensemble):
    return [m.weight for chunk in ensemble.chunks() for m in layers(chunk.map) if m.trained]


def whole(weight, N):
    """All entries of a square matrix (nets, N, N)."""
    nets = len(weight.norm_change())
    return weight.matmul(torch.eye(N, dtype=torch.float64).expand(nets, N, N))


# -- identities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
@pytest.mark.parametrize("loss", ["adversarial", "cross-entropy", "both"])
def test_a_step_changes_the_norm_by_pairing_and_gradient(loss, sampler):
    """||W'||² - ||W||² = -2 rate <W, g> + rate² ||g||², by what is logged and by the matrices' own norms."""
    N, ensemble = 200, networks(mf.residual(1, 0), N=200, L=2, sampler=sampler, sigma_b=0.1)
    run = train(ensemble, loss=loss, rate=0.05)
    grown = -2 * run.rate * run.pairing[:-1] + run.rate**2 * run.gradient[:-1]
    torch.testing.assert_close(N * run.change.diff(dim=0), grown, rtol=0, atol=N * ROUNDING)
    own = torch.stack([w.norm_change() for w in trained(ensemble)], 1)
    norms = torch.stack([w.squared_norm() for w in trained(ensemble)], 1)
    torch.testing.assert_close(N * run.change[-1], own, rtol=0, atol=N * ROUNDING)
    torch.testing.assert_close(N * run.variance[-1], norms, rtol=ROUNDING, atol=0)
    assert float(own.abs().min()) > 1e-4  # the steps were seen
    assert float((run.rate**2 * run.gradient).mean()) > 1e6 * N * ROUNDING  # and their second order was


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
def test_euler_the_adversarial_loss_is_its_pairing_with_every_matrix(sampler):
    """Without biases f is homogeneous in each matrix of a vanilla network: <W, dL/dW> = L, for all (p, q), trained or
    not."""
    for p, q in ((2, 2), ("inf", 1), (1, "inf"), (1.5, 3)):
        run = train(networks(sampler=sampler), p=p, q=q, steps=2, rate=0.2)
        torch.testing.assert_close(
            run.pairing, run.adversarial[..., None].expand(-1, -1, 3), rtol=1e4 * ROUNDING, atol=0
        )


@pytest.mark.parametrize(("net", "sigma_b"), [(mf.residual(1, 0), 0.0), (mf.vanilla(1, 0), 0.5)])
def test_euler_fails_with_shortcuts_and_can_fail_with_biases(net, sigma_b):
    """Biases leave the pairing equal only while x and x + eta share a linear region."""
    run = train(networks(net, sigma_b=sigma_b), steps=1, eps=2.0)
    assert float((run.pairing / run.adversarial[..., None] - 1).abs().mean()) > 0.01


def test_the_share_of_a_residual_branch_is_that_of_the_theory():
    """<W, dL/dW>/L in the mean is y/(1 + y) = 1/2 at alpha sigma_w² = 1, to the standard error of 40 networks and
    finite width."""
    run = train(networks(mf.residual(1, 0), N=200, L=2, nets=40, dtype=torch.float32), steps=1, batch=1)
    share = run.pairing[0] / run.adversarial[0][:, None]
    error = share.mean(1).std() / math.sqrt(40)
    assert abs(float(share.mean()) - 0.5) < 4 * float(error) + 2 * 10 / 200
    assert float(error) < 0.05


def test_the_capacity_of_a_vanilla_network_is_that_of_its_outputs():
    """Every pairing with f_k is f_k itself, so the statistic is L² |f|²; not so with shortcuts."""
    for net, same in ((mf.vanilla(1, 0), True), (mf.residual(1, 0), False)):
        ensemble = networks(net)
        x = torch.as_tensor(DIGITS.x[:2])
        square = (9 * ensemble.forward(x).square().sum(2)).mean(1)
        for chunk in ensemble.chunks():
            found = capacity(chunk.trace(ensemble.inputs(x)))
        assert torch.allclose(found, square, rtol=1e3 * ROUNDING, atol=0) == same


@pytest.mark.parametrize(
    "net", [mf.vanilla(1, 0), mf.residual(1, 0), mf.preactivation(1, 0), mf.pyramid(1, 0), mf.pre_norm(1, 0)]
)
def test_the_capacity_is_that_of_the_pairings_with_every_gradient(net):
    """One push, against a pull for each output."""
    given = {"L": 3, "sigma_w": 1.3, "sigma_b": 0.2}
    if not net.repeated:
        del given["L"]
    ensemble = mf.simulate.sample(net, N=24, d=6, K=3, nets=4, dtype=torch.float64, generator=generator(), **given)
    (chunk,) = ensemble.chunks()
    trace = chunk.trace(ensemble.inputs(torch.ones(6, dtype=torch.float64)))
    square = torch.zeros(4, dtype=torch.float64)
    for k in range(3):
        pull = torch.zeros_like(trace.output)
        pull[:, k] = 1
        paired = [(delta * weight.matmul(x)).sum((1, 2)) for weight, delta, x in trace.gradients(pull)]
        square += torch.stack(paired).sum(0) ** 2
    torch.testing.assert_close(capacity(trace), square, rtol=1e-10, atol=0)


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
@pytest.mark.parametrize("loss", ["adversarial", "cross-entropy", "squared", "both", "both-squared"])
@pytest.mark.parametrize(("p", "q"), [(2, 2), ("inf", 1), (1.5, "inf")])
def test_a_step_is_that_of_autograd(loss, p, q, sampler):
    """At the perturbation that the attack found, on the explicit network with biases and shortcuts."""
    N, rate = 60, 0.1
    ensemble = networks(mf.residual(1, 0), N=N, L=2, sigma_b=0.3, sampler=sampler)
    (chunk,) = ensemble.chunks()
    x = torch.as_tensor(DIGITS.x[:6].reshape(3, 2, 64)).mT[..., None]
    labels = torch.tensor([[0, 1], [2, 3], [4, 5]])
    p, q = float(p), float(q)
    objective = Objective(loss, p, q, 0.5, 0.7, 3, 1)
    trace = chunk.trace(x)
    eta = objective.perturbation(trace, 5)[..., 0]
    slope = objective.slope(trace, x, labels, 5, watch=True)
    maps = list(layers(chunk.map))
    before = [m.weight.matmul(torch.eye(n, dtype=torch.float64).expand(3, n, n)) for m, n in zip(maps, [64] + 5 * [N])]
    leaves = [w.clone().requires_grad_() for w in before]

    def f(x):
        stream = leaves[0] @ x
        for i in (1, 3):
            stream = stream + leaves[i + 1] @ torch.relu(leaves[i] @ stream + maps[i].bias[..., None])
        return leaves[5] @ stream

    moved = norm(f(x[..., 0] + eta) - f(x[..., 0]), q, 1).mean(1)
    entropy = torch.nn.functional.cross_entropy(f(x[..., 0]), labels, reduction="none").mean(1)
    torch.testing.assert_close(slope.adversarial, moved.detach(), rtol=1e3 * ROUNDING, atol=0)
    target = torch.nn.functional.one_hot(labels, 10).mT
    squared = (f(x[..., 0]) - target).square().sum(1).mean(1) / 2
    standard = squared if loss.endswith("squared") else entropy
    torch.testing.assert_close(slope.standard, standard.detach(), rtol=1e3 * ROUNDING, atol=0)
    both = standard + 0.7 * moved
    losses = {"adversarial": moved, "cross-entropy": entropy, "squared": squared, "both": both, "both-squared": both}
    losses[loss].sum().backward()
    assert len(slope.gradients) == 2
    for found, leaf, start in zip(slope.gradients, (leaves[1], leaves[3]), (before[1], before[3])):
        full = found.delta @ found.x.mT
        small = float(1e3 * ROUNDING * leaf.grad.norm())
        torch.testing.assert_close(full, leaf.grad, rtol=0, atol=small)
        torch.testing.assert_close(found.pairing(), (leaf.grad * start).sum((1, 2)), rtol=0, atol=100 * small)
        torch.testing.assert_close(found.squared_norm(), leaf.grad.square().sum((1, 2)), rtol=1e4 * ROUNDING, atol=0)
        found.move(torch.full((3,), -rate, dtype=torch.float64))
        torch.testing.assert_close(whole(found.weight, N), start - rate * leaf.grad, rtol=0, atol=1e3 * ROUNDING)


# -- samplers, seeds, rates --------------------------------------------------------------------------------------------


def test_both_samplers_train_in_one_law():
    """Means over 150 networks of the change of the norms and of the losses after four steps: z-scores below 4.5,
    false-fail 1e-4."""
    runs = []
    for sampler in ("dense", "conditioned"):
        ensemble = networks(N=400, L=2, nets=150, sampler=sampler, dtype=torch.float32, seed=len(runs))
        runs.append(train(ensemble, rate=0.02, batch=1))
        if sampler == "conditioned":
            assert all(isinstance(w, ConditionedMatrix) and w._learnt is not None for w in trained(ensemble))
    zs = []
    for name in ("change", "adversarial", "gradient", "variance"):
        one, two = (getattr(run, name)[-1].reshape(150, -1) for run in runs)
        zs.append((one.mean(0) - two.mean(0)) / ((one.var(0) + two.var(0)) / 150).sqrt())
    zs = torch.cat(zs)
    assert float(zs.abs().max()) < 4.5
    change = runs[0].change[-1]
    assert float(change.mean().abs() / change.mean(1).std() * 150**0.5) > 20  # the test has something to compare


def test_numbers_are_those_of_the_seed_and_not_of_the_chunks():
    one, two = train(networks(nets=4)), train(networks(nets=4))
    assert torch.equal(one.change, two.change)
    size = networks().bytes_per_network
    ensemble = networks(nets=4, memory=3 * size)
    assert len(list(ensemble.chunks())) == 2
    torch.testing.assert_close(train(ensemble).change, one.change, rtol=1e4 * ROUNDING, atol=0)
    other = train(networks(nets=4), generator=generator(1))
    assert not torch.allclose(other.change, one.change, rtol=1e-3)
    assert train(networks(), log_every=3).step.tolist() == [0, 3, 4]


def test_the_suggested_rate_meets_its_resolution():
    ensemble, options = networks(N=100, nets=8), {"loss": "adversarial", "batch": 2}
    rate = mf.simulate.suggest_rate(ensemble, DIGITS, resolution=0.02, **options)
    run = train(ensemble, rate=rate, steps=1)
    ratio = (rate**2 * run.gradient[0]).mean(0) / (2 * rate * run.pairing[0]).mean(0)
    # the batch is another one: a matrix's ratio differs by the spread of the gradients of sixteen inputs
    assert 0.01 < float(ratio.max()) < 0.04
    assert mf.simulate.suggest_rate(ensemble, DIGITS, resolution=0.04) > rate
    with pytest.raises(DomainError, match="resolution must be positive"):
        mf.simulate.suggest_rate(ensemble, DIGITS, resolution=-1)


@pytest.mark.parametrize("options", [{}, {"loss": "cross-entropy", "log_every": 3, "capacity": True},
                                     {"loss": "both", "log_every": 2, "held_out": 3}])  # fmt: skip
def test_a_run_asks_no_more_than_it_says(options):
    options = {"loss": "adversarial", "steps": 4, "batch": 2, **options}
    most = mf.simulate.training_queries(10, 64, **options)
    options["held_out"] = DIGITS.split(3, generator())[1] if "held_out" in options else None
    ensemble = networks(N=1500, L=3, nets=2, sampler="conditioned")
    train(ensemble, **options)
    assert ensemble.queries == most
    assert all(sum(w._counts) <= most for w in trained(ensemble))
    assert any(sum(w._counts) > 0.6 * most for w in trained(ensemble))


# -- learning, divergence ----------------------------------------------------------------------------------------------


def test_standard_training_learns_the_digits():
    train_on, held_out = DIGITS.split(200, generator())
    run = train(networks(N=64, L=2, dtype=torch.float32), train_on, loss="cross-entropy", rate=0.05, steps=60, batch=32,
                held_out=held_out, log_every=30)  # fmt: skip
    chance = 0.1 + 5 * math.sqrt(0.09 / 200)  # five standard errors above it
    assert (run.accuracy[-1] > max(chance, 0.6)).all()
    assert (run.accuracy[0] < run.accuracy[-1]).all()
    assert (run.robust <= run.accuracy).all() and (run.standard[-1] < run.standard[0]).all()
    assert (run.diverged == -1).all()


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
def test_a_network_that_runs_away_stays_at_its_last_good_state(sampler, monkeypatch):
    ensemble = networks(N=200, nets=2, sampler=sampler)
    run = train(ensemble, rate=1e9, steps=3)
    assert run.diverged.tolist() == [0, 0]
    assert not run.change.any() and torch.isfinite(run.adversarial).all()
    # A step that only the outputs betray is taken back.
    x = torch.as_tensor(DIGITS.x[:1])
    before = ensemble.forward(x)
    monkeypatch.setattr(course, "OUTPUT", 1e-3)
    run = train(ensemble, rate=0.1, steps=3)
    assert run.diverged.tolist() == [0, 0] and not run.change.any()
    torch.testing.assert_close(ensemble.forward(x), before, rtol=0, atol=ROUNDING)


def test_one_network_diverges_alone(monkeypatch):
    ensemble = networks(N=100, nets=6)
    plain = train(ensemble, rate=0.3, steps=3)
    limit = (plain.variance / plain.variance[0]).amax((0, 2)).sort().values
    assert limit[-1] > limit[-2]
    monkeypatch.setattr(course, "GROWTH", float(limit[-2:].mean()))
    run = train(networks(N=100, nets=6), rate=0.3, steps=3)
    stopped = run.diverged >= 0
    assert stopped.sum() == 1
    assert torch.equal(run.change[:, ~stopped], plain.change[:, ~stopped])


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
def test_what_is_logged_stays_finite_when_networks_run_away(sampler):
    """Each at a step of its own, by itself: nothing here is set to make it so but a rate that is far too large."""
    ensemble = networks(N=100, nets=4, sampler=sampler, dtype=torch.float32)
    run = train(ensemble, loss="both", rate=10.0, steps=8)
    assert (run.diverged >= 0).all() and len(set(run.diverged.tolist())) > 1
    for name in ("variance", "pairing", "gradient", "adversarial", "standard"):
        assert torch.isfinite(getattr(run, name)).all(), name
    assert torch.isfinite(ensemble.forward(torch.ones(64))).all()
    for net, step in enumerate(run.diverged):
        assert torch.equal(run.change[step:, net], run.change[step, net].expand(len(run.step) - step, -1))


def test_outputs_that_are_not_finite_are_refused():
    with pytest.raises(DomainError, match="not finite at the start"):
        train(mf.simulate.sample(mf.vanilla(1, 0), N=20, L=40, sigma_w=1e3, sigma_b=0.0, **SIZES))


# -- checkpoints -------------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize(("sampler", "N"), [("dense", 60), ("conditioned", 300), ("conditioned", 60)])
def test_an_interrupted_run_resumes_bit_by_bit(tmp_path, sampler, N):
    """At N = 60 conditioned matrices become explicit on the way. Several chunks; interrupted twice, in the first and
    the last."""
    options = {"loss": "both", "steps": 5, "rate": 0.05, "held_out": DIGITS.split(3, generator())[1], "batch": 1}
    options |= {"checkpoint": tmp_path / "run", "save_every": 2}

    def sampled():
        return networks(mf.residual(1, 0), N=N, L=2, nets=3, sampler=sampler, sigma_b=0.1, queries=600)

    def stop_at(step):
        def progress(done, total):
            assert total == 15
            if done >= step:
                raise Stop

        return progress

    unbroken = sampled()
    expected = train(unbroken, **{**options, "checkpoint": None})
    for step in (9, 15):
        with pytest.raises(Stop):
            train(sampled(), **options, resume=step > 9, progress=stop_at(step))
    again = sampled()
    run = train(again, **options, resume=True)
    for name in vars(run):
        one, two = getattr(run, name), getattr(expected, name)
        assert one == two if name == "rate" or one is None else torch.equal(one, two), name
    x = torch.as_tensor(DIGITS.x[:2])
    assert torch.equal(again.forward(x), unbroken.forward(x))  # what comes after is the same as well
    assert not list(tmp_path.rglob("*.part"))
    with pytest.raises(ArgumentError, match="holds a run already"):
        train(sampled(), **options)
    with pytest.raises(DataError, match="of another run: rate differ"):
        train(sampled(), **{**options, "rate": 0.1}, resume=True)
    with pytest.raises(DataError, match="of another run: images differ"):
        train(sampled(), mf.simulate.Images("own", DIGITS.x, DIGITS.labels[::-1]), **options, resume=True)
    (file, *_) = (tmp_path / "run").glob("*.pt")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="no readable checkpoint"):
        train(sampled(), **options, resume=True)


def test_a_run_that_does_not_resume_bit_by_bit_would_be_seen():
    one = train(networks(N=300, sampler="conditioned"), steps=3)
    ensemble = networks(N=300, sampler="conditioned")
    ensemble.forward(torch.as_tensor(DIGITS.x[:1]))  # a question more: other draws of the same law
    assert not torch.equal(train(ensemble, steps=3).change, one.change)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint in the middle of a run, and how to go on with one in another folder."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    options = {"steps": 4, "rate": 0.05, "batch": 1, "save_every": 2}

    def go_on(where, **more):
        return train(networks(N=12, L=1, nets=2, sigma_b=0.1), **{**options, **more}, checkpoint=where, resume=True)

    def stop(done, total):
        if done >= 6:
            raise Stop

    with pytest.raises(Stop):
        train(networks(N=12, L=1, nets=2, sigma_b=0.1), **options, checkpoint=folder, progress=stop)
    (file,) = folder.glob("*.pt")
    return file, go_on


def test_every_flipped_bit_of_a_checkpoint_is_noticed(saved, tmp_path):
    file, go_on = saved
    content = file.read_bytes()
    chance = np.random.default_rng(0)
    path = tmp_path / file.name
    for at in chance.choice(len(content), 60, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 1 << chance.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(DataError, match="no readable checkpoint: it is not what was written"):
            go_on(tmp_path)
    for count in (0, 10, 40, len(content) - 1):
        path.write_bytes(content[:count])
        with pytest.raises(DataError, match="no readable checkpoint"):
            go_on(tmp_path)
    path.write_bytes(content)
    assert go_on(tmp_path).step.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["course"].update(step=-5),
        lambda state: state["course"].update(step=0),
        lambda state: state["course"].update(step=9),
        lambda state: state["course"].update(step="2"),
        lambda state: state["course"].update(rows=[]),
        lambda state: state["course"].update(change=state["course"]["change"][:1]),
        lambda state: state["course"].update(diverged=None),
        lambda state: state["course"]["rows"][0].update(pairing=torch.zeros(1)),
        lambda state: state.update(weights=[]),
        lambda state: state["weights"].__setitem__(0, {}),
        lambda state: state["weights"][0].update(values=torch.zeros(1, 7)),
        lambda state: state.update(mark=None),
        lambda state: state.pop("course"),
    ],
)
def test_a_checkpoint_that_no_run_has_written_is_refused(change, saved, tmp_path):
    """Though its checksum is right."""
    file, go_on = saved
    state = torch.load(file, weights_only=True)
    change(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    (tmp_path / file.name).write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    with pytest.raises(DataError, match="no readable checkpoint"):
        go_on(tmp_path)


def test_a_run_in_other_chunks_is_refused_by_name(tmp_path):
    def sampled(memory):
        return mf.simulate.sample(
            mf.vanilla(1, 0),
            N=12,
            L=1,
            d=DIGITS.d,
            K=10,
            nets=4,
            sigma_w=1.4,
            sigma_b=0.1,
            generator=generator(),
            memory=memory,
        )

    one = sampled(2**30).bytes_per_network
    train(sampled(2 * one), steps=1, checkpoint=tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 2
    for memory in (one, 3 * one, 2**30):
        with pytest.raises(DataError, match=r"memory= was another|memory differ"):
            train(sampled(memory), steps=1, checkpoint=tmp_path, resume=True)


# -- bad input ---------------------------------------------------------------------------------------------------------

UNLABELLED = mf.simulate.Images("own", DIGITS.x)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "hinge"}, ArgumentError, "adversarial, cross-entropy, squared, both, both-squared; got 'hinge'"),
        ({"eps": 0.0}, DomainError, "eps must be positive and finite; got 0.0"),
        ({"rate": -1.0}, DomainError, "rate must be positive"),
        ({"rate": math.nan}, DomainError, "rate must be positive"),
        ({"rate": "fast"}, ArgumentError, "rate must be a number"),
        ({"weight": 0}, DomainError, "weight must be positive"),
        ({"steps": 0}, DomainError, "steps must be at least 1; got 0"),
        ({"steps": 1.5}, ArgumentError, "steps must be an integer"),
        ({"batch": 0}, DomainError, "batch"),
        ({"log_every": 0}, DomainError, "log_every"),
        ({"save_every": 0}, DomainError, "save_every"),
        ({"directions": 0}, DomainError, "directions"),
        ({"p": 0.5}, DomainError, "p must be"),
        ({"q": "two"}, DomainError, "q"),
        ({"loss": "both", "images": UNLABELLED}, DataError, "has no labels"),
        ({"held_out": UNLABELLED}, DataError, "held_out: own has no labels"),
        ({"images": DIGITS.resampled(30)}, DataError, r"resampled\(64\)"),
        ({"images": DIGITS.x}, ArgumentError, "images must be Images"),
        ({"images": mf.simulate.Images("own", DIGITS.x * np.nan)}, DataError, "NaN or infinite"),
        ({"loss": "both", "images": mf.simulate.Images("own", DIGITS.x, DIGITS.labels + 0.5)}, DataError, "one integer"),
        ({"loss": "both", "images": mf.simulate.Images("own", DIGITS.x, DIGITS.labels + 1)}, DataError, r"from 1 to 10"),
        ({"loss": "both", "images": mf.simulate.Images("own", DIGITS.x, DIGITS.labels // 2)}, DataError, "has 5 classes"),
        ({"resume": True}, ArgumentError, "needs checkpoint="),
        ({"generator": 3}, ArgumentError, "torch.Generator or None"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_any_work(options, error, message, monkeypatch):
    ensemble = networks()
    monkeypatch.setattr(type(ensemble), "chunks", lambda self: pytest.fail("work was started"))
    with pytest.raises(error, match=message):
        train(ensemble, options.pop("images", DIGITS), **options)


def test_ensembles_that_cannot_be_trained_are_refused():
    with pytest.raises(ArgumentError, match="Nothing to train"):
        train(networks(L=0))
    with pytest.raises(ArgumentError, match="ensemble must be an Ensemble"):
        train(mf.vanilla(1, 0))
    wide = networks(N=50_000, L=2, sampler="conditioned", memory=10**8, queries=10)
    with pytest.raises(MemoryBudgetError, match="vectors at each matrix"):
        train(wide, steps=100)


def test_gradients_in_scaled_branches():
    """Finite differences along random rank-one changes of each matrix of a two-layer branch with a scale, and of a
    shortcut."""
    shortcut = mf.Serial(mf.Dense(sigma_b=0))
    net = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, "1/5"), mf.Dense(sigma_b=0), scale="7/10", shortcut=shortcut))
    generator = torch.Generator().manual_seed(1)
    networks = mf.simulate.sample(
        net, N=6, L=2, d=4, K=1, nets=1, sigma_w=1.2, sigma_b=0.3, generator=generator, dtype=torch.float64, sampler="dense"
    )  # fmt: skip
    x, h = torch.randn(1, 4, 1, 1, dtype=torch.float64, generator=generator), 1e-6
    for chunk in networks.chunks():
        trace = chunk.trace(x)
        gradients = trace.gradients(torch.ones_like(trace.output))
        assert len(gradients) == 6
        for weight, delta, met in gradients:
            u, v = torch.randn(2, 1, 6, 1, dtype=torch.float64, generator=generator)
            expected = ((delta.mT @ u) * (met.mT @ v)).sum()
            weight.add(h * u, v)
            above = chunk.trace(x).output
            weight.add(-2 * h * u, v)
            below = chunk.trace(x).output
            weight.add(h * u, v)
            torch.testing.assert_close(((above - below) / (2 * h)).sum(), expected, rtol=1e-6, atol=1e-9)
