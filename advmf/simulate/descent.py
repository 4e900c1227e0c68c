"""One step of training: the losses of a batch, their derivatives with respect to the trained matrices, and the step
itself.

The derivative of ``max_eta ||f(x + eta) - f(x)||_q`` is that at a fixed maximiser eta (Danskin), through both outputs.
For each trained matrix it is ``delta(x + eta) h(x + eta)^T - delta(x) h(x)^T``. Here h is the matrix's input, and delta
the cotangent of its output that results from the cotangent t = D_{q*}(f(x + eta) - f(x)) of the network's output. So x
and x + eta go through the networks as two inputs with cotangents -t and t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from advmf.simulate.attack import attack_trace
from advmf.simulate.geometry import conjugate, maximiser, norm
from advmf.simulate.networks import Networks, Trace
from advmf.simulate.race import attack_queries
from advmf.simulate.state import source
from advmf.simulate.tapes import Columns, GradientTape, Matrix, ScalingGradientTape, ScalingTape, TangentTape

LOSSES = ("adversarial", "cross-entropy", "squared", "both", "both-squared")


@dataclass(frozen=True)
class Gradient:
    """The derivative ``delta @ x.mT`` of a loss with respect to one trained matrix: delta (nets, rows, m), x (nets,
    columns, m). The ``answer`` is W x, if it is known."""

    weight: Matrix
    delta: Tensor
    x: Tensor
    answer: Tensor | None = None

    def pairing(self) -> Float[Tensor, " nets"]:
        """``<W, derivative>``, the sum of <delta, W x>, in float64."""
        answer = self.weight.matmul(self.x) if self.answer is None else self.answer
        return (self.delta.double() * answer.double()).sum((1, 2))

    def squared_norm(self) -> Float[Tensor, " nets"]:
        """``||derivative||_F²``, in float64, by Gram matrices of the factors."""
        one, other = (torch.bmm(z.mT, z) for z in (self.delta.double(), self.x.double()))
        return (one * other).sum((1, 2))

    def move(self, rates: Float[Tensor, " nets"]) -> None:
        """``W += rate * derivative``, with a rate for each network; where it is 0 the derivative need not be finite."""
        rates = rates.to(self.delta)[:, None, None]
        self.weight.add(torch.where(rates == 0, 0, rates * self.delta), self.x)


@dataclass(frozen=True)
class Slope:
    """Losses of a batch (nets,), None where not requested, and the derivative of the trained loss."""

    adversarial: Tensor | None
    standard: Tensor | None
    gradients: list[Gradient]


@dataclass(frozen=True)
class Objective:
    """The loss to minimise: "adversarial"; "cross-entropy" or "squared" of the labels; or "both" and "both-squared",
    these + weight * adversarial loss.

    ``p``, ``q``, ``eps``, ``steps`` and ``directions`` are those of :func:`~advmf.simulate.attack.attack_trace`.
    """

    loss: str
    p: float
    q: float
    eps: float
    weight: float
    steps: int
    directions: int

    @property
    def attacks(self) -> bool:
        """Whether every step needs an attack."""
        return self.pull > 0

    @property
    def labelled(self) -> bool:
        """Whether the loss needs labels."""
        return self.loss != "adversarial"

    @property
    def pull(self) -> float:
        """The factor of the adversarial loss."""
        return {"adversarial": 1.0, "both": self.weight, "both-squared": self.weight}.get(self.loss, 0.0)

    def standard(self, output: Tensor, labels: Tensor) -> tuple[Float[Tensor, " nets"], Tensor]:
        """The loss of the labels (nets, inputs), which is the cross-entropy unless a squared one is minimised, and what
        it adds to the derivative in the outputs (nets, K, inputs); means over the inputs."""
        target = torch.nn.functional.one_hot(labels, output.shape[1]).mT
        if self.loss.endswith("squared"):
            off = output - target
            value = off.square().sum(1) / 2
        else:
            logs = torch.log_softmax(output, 1)
            off, value = logs.exp() - target, -(target * logs).sum(1)
        return value.double().mean(1), off / output.shape[2] if self.labelled else torch.zeros_like(output)

    def push(self, change: Tensor, dim: int) -> Tensor:
        """The derivative in f(x + eta) of a loss's part that is adversarial: the factor times a steepest direction of
        the norm of the ``change`` f(x + eta) - f(x), along ``dim``. It is zero where nothing changes, as at a start
        from f = 0: of the directions that the norm has there, this one is no choice."""
        direction = maximiser(change, conjugate(self.q), dim)
        return self.pull * torch.where((change != 0).any(dim, keepdim=True), direction, 0)

    def perturbation(self, trace: Trace, seed: int) -> Columns:
        """The best eta found (nets, d, inputs, 1) at a forward trace; random directions from ``seed``, the same for all
        networks."""
        found = attack_trace(
            trace,
            eps=self.eps,
            pairs=[(self.p, self.q)],
            steps=self.steps,
            directions=self.directions,
            generator=source(None, seed),
        )
        return found.eta[:, :, 0].mT[..., None]

    def slope(self, trace: Trace, x: Columns, labels: Tensor | None, seed: int, watch: bool = False) -> Slope:
        """The losses at the forward trace of x (nets, d, inputs, 1), and the derivatives; means over the inputs.

        ``labels`` (nets, inputs). ``watch``: attack even where the trained loss does not need it.
        """
        batch = x.shape[2]
        t, adversarial, standard = torch.zeros_like(trace.output), None, None
        if labels is not None:
            standard, off = self.standard(trace.output[..., 0], labels)
            t = off[..., None]
        if self.attacks or watch:
            eta = self.perturbation(trace, seed)
            change = trace.shift(eta).output
            adversarial = norm(change, self.q, 1).double().mean((1, 2))
        if self.attacks:
            pull = self.push(change, 1) / batch
            trace, t = trace.networks.trace(torch.cat((x, x + eta), 2)), torch.cat((t - pull, pull), 2)
        return Slope(adversarial, standard, [Gradient(*found) for found in trace.gradients(t)])

    def held_out(self, networks: Networks, x: Columns, labels: Tensor, seed: int) -> dict[str, Tensor]:
        """Shares (nets,) of inputs classified correctly, without a perturbation and also under the one found, and both
        losses. Labels are (inputs,)."""
        trace = networks.trace(x)
        output, change = trace.output[..., 0], trace.shift(self.perturbation(trace, seed)).output
        right = output.argmax(1) == labels
        still = right & ((output + change[..., 0]).argmax(1) == labels)
        return {
            "accuracy": right.double().mean(1),
            "robust": still.double().mean(1),
            "held_standard": self.standard(output, labels.expand(len(output), -1))[0],
            "held_adversarial": norm(change, self.q, 1).double().mean((1, 2)),
        }

    def queries(self, K: int, d: int, batch: int, attacked: bool) -> int:
        """The number of vectors that a batch sends through each matrix in one step, forwards and back."""
        # a trace, a pull, a trace after the step; training on an attack takes traces of x and x + eta, and another pull
        extra = self.attack_queries(K, d) - 1 if attacked else 0
        return batch * (3 + extra + 3 * self.attacks)

    def attack_queries(self, K: int, d: int) -> int:
        """The number of vectors that an input's trace, perturbation and shift send through each matrix."""
        return attack_queries(K, d, 1, self.steps, 1, self.directions) + 1


def capacity(trace: Trace) -> Float[Tensor, " nets"]:
    """``sum_k (sum_l <W^l, d f_k/d W^l>)²``, the mean over the inputs of a forward trace, in float64; one push."""
    return (trace.scaling()[..., 0].double() ** 2).sum(1).mean(1)


def capacity_slope(trace: Trace, e: Float[Tensor, "nets d"], t: Float[Tensor, "nets K"]) -> Float[Tensor, " nets"]:
    """The derivative of :func:`capacity` in time under gradient flow of ``⟨t, J(x) e⟩``, at a forward trace of one
    input for each network, in float64.

    Slopes of activations are constant: x and its neighbours lie in one linear region. With g_k = sum_W <W, df_k/dW>,
    the derivative of <c, g> with respect to W is ``delta (x + x')^T + delta' x^T``. Here delta is the cotangent of W's
    output that results from c, x is W's input, and a prime marks the change when all trained matrices grow in
    proportion to themselves.
    """
    forward, map = trace._forward("the slope of the capacity"), trace.networks.map
    scaled, moved = ScalingTape(forward), TangentTape(forward)
    g = map.push(torch.zeros_like(trace.inputs), scaled)
    map.push(e[:, :, None, None], moved)
    pulled, own = GradientTape(forward), GradientTape(forward)
    map.pull(t[:, :, None, None], pulled)
    map.pull(g, own)
    changed = ScalingGradientTape(forward, own)
    map.pull(torch.zeros_like(g), changed)
    inputs = [x for layer, x in forward.met if layer.trained]
    total = torch.zeros(len(g), dtype=torch.float64, device=g.device)
    for x, grown, a, (_, push), (_, c), (_, dc) in zip(
        reversed(inputs), reversed(scaled.met), reversed(moved.met), pulled.met, own.met, changed.met
    ):
        total += _product(push, c, a, grown) + _product(push, dc, a, x)
    return -2 * total


def _product(u: Tensor, v: Tensor, a: Tensor, b: Tensor) -> Float[Tensor, " nets"]:
    """<u a^T, v b^T>, in float64, for vectors or blocks of columns."""
    one = torch.bmm(u.flatten(2).double().mT, v.flatten(2).double())
    other = torch.bmm(a.flatten(2).double().mT, b.flatten(2).double())
    return (one * other).sum((1, 2))
