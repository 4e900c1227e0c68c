"""D2.life for ReLU: gradient descent in small balls, against gradient flow as the ball shrinks, and water-filling.

A unit that switches between x and x + eta changes the gradient by a finite amount, however small the ball. Where the
switch would raise the loss, gradient flow stops at the kink and goes along it. A step at such a kink throws the unit
back by about 1/(sqrt(N) eps steps), beyond the ball's own eps: steps of one size follow the flow only where steps eps^2
sqrt(N) is not small. ``kinked`` computes the flow as eps -> 0, with kinks as walls, in plain NumPy.

docs/training.md has the tables. Run with ``pytest -m paper paper_checks/test_d2_relu.py``; ``python
paper_checks/test_d2_relu.py`` prints them.
"""

import functools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.simulate.networks import layers
from advmf.special import proximal_map

pytestmark = pytest.mark.paper

RELU = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 0)))
LINEAR = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)))
SIZES = {"L": 2, "d": 6, "K": 3}
HALF = 0.5
"""The share of the time at which water-filling ends."""


def image():
    """One digit of six pixels."""
    found = mf.simulate.load("digits").resampled(SIZES["d"]).scaled(1.0)
    return replace(found, x=found.x[:1], labels=None)


def end_of(eps, N):
    """The mean time at which water-filling ends; the linear net of sigma_w = 1 has the kernel of ReLU's at sqrt 2."""
    return 2 * float(mf.kernel(mf.training_flow(LINEAR, 2, 2).end)(N=N, eps=eps, sigma_w=1.0, **SIZES))


# -- gradient flow as eps -> 0 -----------------------------------------------------------------------------------------


@dataclass
class Kinked:
    """A ReLU network f(x) = P_out phi(V phi(W P_in x)) under gradient flow of ‖J(x)‖, the limit of small balls.

    ``on`` (2, N) are the slopes of the units. ``walls`` are the units at a kink which raises ‖J‖, (layer, unit), with
    the sign of their side.
    """

    P_in: np.ndarray
    W: np.ndarray
    V: np.ndarray
    P_out: np.ndarray
    x: np.ndarray
    on: np.ndarray = field(init=False)
    walls: dict = field(default_factory=dict)
    crossed: int = 0
    kinks: bool = True
    """Whether slopes change at all."""

    def __post_init__(self):
        self.start = self.P_in @ self.x
        first = self.W @ self.start
        self.on = np.array([first > 0, self.V @ np.maximum(first, 0) > 0], dtype=float)

    def pre(self):
        """The pre-activations at x, with the slopes as they are."""
        first = self.W @ self.start
        return np.array([first, self.V @ (self.on[0] * first)])

    def factors(self):
        """For either layer what a unit's slope multiplies in J: a column from above and a row from below."""
        below = self.W @ self.P_in
        return ((self.P_out * self.on[1]) @ self.V, below), (self.P_out, self.V @ (self.on[0][:, None] * below))

    def jacobian(self):
        above, below = self.factors()[1]
        return (above * self.on[1]) @ below

    def step(self, tau):
        """A step of the flow in which walls are not crossed, and then what meets a kink."""
        u, _, v = np.linalg.svd(self.jacobian(), full_matrices=False)
        below, x = self.W @ self.P_in, self.on[0] * (self.W @ self.start)
        upper = self.on[1] * (self.P_out.T @ u[:, 0])
        dW = -np.outer(self.on[0] * (self.V.T @ upper), self.P_in @ v[0])
        dV = -np.outer(upper, self.on[0] * (below @ v[0]))
        held = {}
        if self.walls:
            units, sides = list(self.walls), np.array(list(self.walls.values()))
            own = np.zeros((2, len(units), len(x)))  # the rows of W and V along which a unit's pre-activation moves
            for row, (layer, unit) in enumerate(units):
                own[layer, row, unit] = 1
                if layer:
                    own[0, row] = self.on[0] * self.V[unit]
            gram = own[0] @ own[0].T * (self.start @ self.start) + own[1] @ own[1].T * (x @ x)
            speed = own[0] @ (dW @ self.start) + own[1] @ (dV @ x)
            off = np.array([self.pre()[unit] for unit in units])
            force = pushes(gram * np.outer(sides, sides), -sides * (speed + off / tau))
            dW += np.outer((force * sides) @ own[0], self.start)
            dV += np.outer((force * sides) @ own[1], x)
            held = dict(zip(units, force))
        self.W, self.V = self.W + tau * dW, self.V + tau * dV
        if self.kinks:
            self._meet(held)

    def _meet(self, held):
        """Units whose pre-activation has changed its sign cross where that lowers ‖J‖, and else become walls."""
        for layer in (0, 1):
            moved = np.flatnonzero((self.pre()[layer] > 0) != (self.on[layer] > 0))
            for unit in {*moved.tolist(), *(own for level, own in self.walls if level == layer)}:
                key, (above, below), J = (layer, unit), self.factors()[layer], self.jacobian()
                beyond = (self.pre()[layer][unit] > 0) != (self.on[layer][unit] > 0)
                switched = J + (1 - 2 * self.on[layer][unit]) * np.outer(above[:, unit], below[unit])
                if np.linalg.norm(switched, 2) <= np.linalg.norm(J, 2):
                    self.walls.pop(key, None)
                    if beyond:
                        self.on[layer][unit] = 1 - self.on[layer][unit]
                        self.crossed += 1
                elif beyond:
                    self.walls.setdefault(key, 1 if self.on[layer][unit] else -1)
                elif held.get(key) == 0:
                    self.walls.pop(key, None)


def pushes(gram, need, rounds=300):
    """The least forces μ >= 0 with gram μ >= need, by coordinate descent."""
    force = np.maximum(need / np.diag(gram), 0)
    for _ in range(rounds):
        before = force.copy()
        for i in range(len(need)):
            force[i] = max(0.0, force[i] + (need[i] - gram[i] @ force) / gram[i, i])
        if abs(force - before).max() < 1e-9 * (1 + before.max()):
            break
    return force


# -- networks ----------------------------------------------------------------------------------------------------------


def drawn(N, nets, seed):
    """Networks, their matrices as NumPy has them, and their input."""
    generator = torch.Generator().manual_seed(seed)
    options = {"nets": nets, "sigma_w": 2**0.5, "keep": True, "sampler": "dense"}
    networks = mf.simulate.sample(RELU, N=N, generator=generator, **options, **SIZES)
    chunks = [[layer.weight.values.double().numpy() for layer in layers(each.map)] for each in networks.chunks()]
    return networks, [own for matrices in chunks for own in zip(*matrices)]


@functools.cache
def limit(N=64, nets=32, seed=3, steps=400, kinks=True):
    """‖J‖ at the start, at half of the end as eps -> 0, and what water-filling gives, each (nets,); and how many units
    crossed a kink, stood at one, or have another sign than at the start."""
    x, time = image().x[0], HALF * end_of(1.0, N)
    tau = N * time / SIZES["d"]  # kappa omega^L t/d, with kappa = L N alpha/omega = N
    rows = []
    for own in drawn(N, nets, seed)[1]:
        net = Kinked(*own, x, kinks=kinks)
        start = net.jacobian()
        for _ in range(steps):
            net.step(time / steps)
        sizes = [np.linalg.norm(each, 2) for each in (start, net.jacobian(), proximal_map(start, tau, 2, 2))]
        turned = ((net.pre() > 0) != (net.on > 0)).sum()
        rows.append([*sizes, net.crossed, len(net.walls), turned])
    return np.array(rows).T


@functools.cache
def halfway(eps, steps, N=64, nets=32, seed=3):
    """The losses of the same networks over eps, at the start and at half of the end, by gradient descent: (2, nets)."""
    networks, _ = drawn(N, nets, seed)
    options = {"loss": "adversarial", "batch": 1, "log_every": steps, "generator": torch.Generator().manual_seed(1)}
    run = mf.simulate.train(networks, image(), eps=eps, rate=HALF * end_of(eps, N) / steps, steps=steps, **options)
    return run.adversarial.numpy() / eps


LIVES = 6
"""So many lives are measured."""


@functools.cache
def lived(eps, steps, N=100, nets=64, seed=4):
    """The integral of the loss up to each of LIVES lives, over D2.life times the mean loss at the start, with its
    standard error: two arrays (LIVES,)."""
    networks, _ = drawn(N, nets, seed)
    life = float(mf.kernel(mf.loss_life(RELU, 2, 2, "spectral"))(N=N, eps=eps, sigma_w=2**0.5, **SIZES))
    options = {"loss": "adversarial", "batch": 1, "generator": torch.Generator().manual_seed(1)}
    run = mf.simulate.train(networks, image(), eps=eps, rate=LIVES * life / steps, steps=steps, **options)
    loss = run.adversarial.numpy()
    area = (run.rate * loss[:-1]).cumsum(0)[steps // LIVES - 1 :: steps // LIVES] / life
    ratio = area.mean(1) / loss[0].mean()
    return ratio, (area - ratio[:, None] * loss[0]).std(1, ddof=1) / nets**0.5 / loss[0].mean()


def departure(found, other):
    """The mean difference of losses over eps, in units of the mean ‖J‖ at the start, and its standard error."""
    off = (found - other) / limit()[0].mean()
    return off.mean(), off.std(ddof=1) / len(off) ** 0.5


def test_without_kinks_the_flow_of_the_network_is_that_of_its_jacobian():
    """The matrices are those of the networks, and J of the walls' code is theirs."""
    networks, matrices = drawn(64, 3, 0)
    J = networks.jacobian(torch.as_tensor(image().x))[:, 0].double().numpy()
    assert np.allclose([Kinked(*own, image().x[0]).jacobian() for own in matrices], J, rtol=1e-5, atol=1e-6)


def test_fine_steps_follow_the_flow_with_walls_and_coarse_ones_do_not():
    """At eps = 0.01: 1600 steps within 4 standard errors and 1 % of the start, 100 steps not."""
    flow = limit()[1]
    (fine, error), (coarse, wide) = (departure(halfway(1e-2, steps)[1], flow) for steps in (1600, 100))
    assert abs(fine) < 4 * error + 0.01
    assert coarse > 2 * wide and coarse > 0.04


def test_small_balls_follow_water_filling_and_large_ones_fall_faster():
    _, flow, level, *_ = limit()
    off, error = departure(flow, level)
    assert abs(off) < 4 * error + 0.02
    off, error = departure(halfway(0.5, 200)[1], flow)
    assert off < -3 * error


def test_the_loss_of_a_large_ball_outlives_the_claim_and_that_of_a_small_one_does_not():
    """At eps = 1, two fifths of ‖x‖, the integral after six lives is above D2.life by more than five standard errors,
    with either number of steps. At 0.3 it is not."""
    for steps in (600, 1200):
        ratio, error = lived(1.0, steps)
        assert ratio[-1] > 1 + 5 * error[-1]
    ratio, error = lived(0.3, 600)
    assert ratio[-1] < 1 + 3 * error[-1]


if __name__ == "__main__":
    for eps, steps, N, nets in ((0.3, 600, 100, 64), (1.0, 600, 100, 64), (1.0, 1200, 100, 64), (1.0, 600, 400, 32)):
        ratio, error = lived(eps, steps, N, nets)
        print(f"eps {eps:g}, {steps} steps, N {N}: integral over life {ratio.round(3)} ± {error[-1]:.3f}", flush=True)
    for N, nets in ((100, 128), (200, 96), (400, 64)):
        start, flow, level, crossed, walls, _ = limit(N, nets)
        _, smooth, *_, turned = limit(N, nets, kinks=False)
        print(f"N {N}, {nets} networks: water-filling {level.mean() / start.mean():.3f}", end="")
        for what, found, other in (("without kinks", smooth, level), ("with kinks less that", flow, smooth)):
            off = (found - other) / start.mean()
            print(f", {what} {off.mean():.4f} ± {off.std(ddof=1) / nets**0.5:.4f}", end="")
        counts = (each.mean() for each in (turned, crossed, walls))
        print("; {:.1f} turn without kinks, {:.1f} cross, {:.1f} are at a wall".format(*counts), flush=True)
    start, flow, level, *_ = limit()
    print(
        f"N 64, 32 networks: eps -> 0 {flow.mean() / start.mean():.3f}, water-filling {level.mean() / start.mean():.3f}"
    )
    for steps in (100, 400, 1600, 6400):
        for eps in (0.5, 0.1, 1e-2, 3e-3, 1e-3, 1e-4):
            before, after = halfway(eps, steps)
            off, error = departure(after, flow)
            print(f"eps {eps:g}, {steps} steps, steps eps^2 sqrt(N) = {steps * eps**2 * 8:.2g}: ", end="")
            print(f"{after.mean() / before.mean():.3f}, {off:.4f} ± {error:.4f} above the limit", flush=True)
