"""The observables of the theory."""

from __future__ import annotations

from typing import Any

import sympy as sp

from advmf.errors import ArgumentError
from advmf.observables.observable import ATTACK, GRADIENTS, JACOBIAN, OUTPUT_MEANS, Observable, UnitObservable
from advmf.symbols import K, N, d, eps


class JacobianEntry(UnitObservable):
    """``(J(x) e)_i`` for a unit vector ``e`` orthogonal to the input: ``JacobianEntry(unit, direction)``."""

    tex = r"J_{{{}{}}}"

    def measure(self, probe: Any) -> Any:
        return probe.numbered(probe.across, self.args)


class JacobianAlong(UnitObservable):
    """``(J(x) x)_i``: the Jacobian along the input, ``JacobianAlong(unit)``."""

    tex = r"(Jx)_{{{}}}"

    def measure(self, probe: Any) -> Any:
        return probe.numbered(probe.along, self.args)


class Offset(UnitObservable):
    """``a(x)_i = f(x)_i - (J(x) x)_i``: ``Offset(unit)``."""

    tex = r"a_{{{}}}"

    def measure(self, probe: Any) -> Any:
        return probe.numbered(probe.output - probe.along, self.args)


class Output(UnitObservable):
    """``f(x)_i``: ``Output(unit)``."""

    tex = r"f_{{{}}}"
    needs = frozenset()

    def measure(self, probe: Any) -> Any:
        return probe.numbered(probe.output, self.args)


class PixelSquare(Observable):
    """The mean of J_{ki}² over the outputs k and the channels of one pixel i of the image: ``PixelSquare(i)``.

    Pixels are counted from 0 in row-major order. Without an image every input is a pixel.
    """

    is_nonnegative = True
    tex = r"\overline{{J_{{\cdot {}}}^2}}"
    needs = frozenset({JACOBIAN})
    polynomial, may_vanish = True, False

    def measure(self, probe: Any) -> Any:
        channels = (probe.trace.networks.net.image or (1,))[0]
        entries, place = probe.jacobian.double().unflatten(2, (channels, -1)), int(self.args[0])
        if not 0 <= place < entries.shape[3]:
            raise ArgumentError(f"{self} is about pixel {place}; the images have {entries.shape[3]}, counted from 0.")
        return entries[..., place].square().mean((1, 2))


class SecondMoment(Observable):
    """``Q_L = |x^L|**2/N``, the second moment of the last stream of one network: ``SecondMoment()``."""

    is_nonnegative = True
    tex = "Q_L"
    needs = frozenset()
    polynomial, may_vanish, weights = True, False, True

    def measure(self, probe: Any) -> Any:
        return (probe.stream**2).mean(1)


class AdversarialLoss(Observable):
    """``max ‖f(x + eta) - f(x)‖_q`` over ``‖eta‖_p <= eps``: ``AdversarialLoss(p, q)``.

    A simulation bounds it from below, by the best value an attack finds.
    """

    is_nonnegative = True
    tex = r"\mathcal{{L}}_{{\mathrm{{adv}}}}^{{{},{}}}"
    needs = frozenset({JACOBIAN, ATTACK})
    maximum, may_vanish = True, False

    @property
    def nearby(self) -> sp.Expr:
        return eps * OperatorNorm(*self.args)

    def measure(self, probe: Any) -> Any:
        return probe.attack(*self.args).value

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = super()._latex(printer)
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class OperatorNorm(Observable):
    """``max ‖J(x) e‖_q`` over ``‖e‖_p <= 1``, the norm of the Jacobian: ``OperatorNorm(p, q)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"\lVert J(x)\rVert_{{{}\to {}}}"
    needs = frozenset({JACOBIAN})
    may_vanish = False

    def measure(self, probe: Any) -> Any:
        return probe.norm(*self.args)


class LargestOperatorNorm(Observable):
    """``max ‖J(x + eta)‖_{p -> q}`` over ``‖eta‖_p <= eps``: ``LargestOperatorNorm(p, q)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"\max_{{\lVert\eta\rVert_{0} \le \epsilon}}\lVert J(x + \eta)\rVert_{{{0}\to {1}}}"


class LimitLoss(Observable):
    """The adversarial loss of the Gaussian process that a network becomes as N -> oo: ``LimitLoss(p, q)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"\mathcal{{L}}_\infty^{{{},{}}}"


class FeatureMaximum(Observable):
    """``max ⟨g, D(eta)⟩`` over ``‖eta‖_p <= eps`` of a standard Gaussian g, with D the features of f(x + eta) - f(x)
    for one output of that process: ``FeatureMaximum(p)``.

    "That process" is the one of :class:`LimitLoss`."""

    is_nonnegative = True
    exponents = 1
    tex = r"\max_{{\lVert\eta\rVert_{} \le \epsilon}}\langle g, D(\eta)\rangle"


class FeatureRadius(Observable):
    """``max |D(eta)|`` over ``‖eta‖_p <= eps``, which is not random: ``FeatureRadius(p)``."""

    is_nonnegative = True
    exponents = 1
    tex = r"\max_{{\lVert\eta\rVert_{} \le \epsilon}}\lVert D(\eta)\rVert_2"


class MatrixNorm(Observable):
    """``‖G‖_{p -> q}`` of a K x d matrix G with independent N(0, 1/d) entries: ``MatrixNorm(p, q)``. Its mean is the
    norm factor."""

    is_nonnegative = True
    exponents = 2
    letters = frozenset((d, K))
    tex = r"\lVert G\rVert_{{{}\to {}}}"


class TrainedMatrix(Observable):
    """An observable of a trained matrix of a block. An optional number selects the matrix; without it, it is the only
    one."""

    def indices(self, printer: Any) -> list[str]:
        return [f",{printer._print(self.args[-1])}" if self.args else ""]


class WeightVariance(Observable):
    """``|W(t)|_F**2/N`` of a trained matrix at training time t: ``WeightVariance(t)``, or ``WeightVariance(t,
    number)``."""

    is_nonnegative = True
    tex = r"\sigma_{{w{1}}}^2({0})"

    def indices(self, printer: Any) -> list[str]:
        time, *number = map(printer._print, self.args)
        return [time, "".join(f",{n}" for n in number)]


class WeightVarianceSlope(TrainedMatrix):
    """d/dt of :class:`WeightVariance` at t = 0 under gradient flow of the adversarial loss: ``WeightVarianceSlope(p,
    q)``, or ``(p, q, number)``.

    It is the mean over the blocks of a network. Without p and q it is the slope for another loss, which is not
    measured.
    """

    tex = r"\dot\sigma_{{w{0}}}^2(0)"
    needs = frozenset({JACOBIAN, ATTACK, GRADIENTS})
    may_vanish = False

    @property
    def nearby(self) -> sp.Expr | None:  # without paths around the matrix
        return -2 / N * eps * OperatorNorm(*self.args[:2]) if self.args else None

    def measure(self, probe: Any) -> Any:
        return -2 * probe.pairing(*self.args) / probe.width

    def indices(self, printer: Any) -> list[str]:
        return ["".join(f",{printer._print(number)}" for number in self.args[2:])]


class WeightNormSlope(WeightVarianceSlope):
    """d/dt of ``|W|_F**2`` under gradient flow of the adversarial loss: ``WeightNormSlope(p, q)``, or ``(p, q,
    number)``."""

    tex = r"\tfrac{{d}}{{dt}}\lVert W{0}\rVert_F^2"

    @property
    def nearby(self) -> sp.Expr | None:
        return -2 * eps * OperatorNorm(*self.args[:2]) if self.args else None

    def measure(self, probe: Any) -> Any:
        return -2 * probe.pairing(*self.args)

    def indices(self, printer: Any) -> list[str]:
        return ["".join(f"_{{{printer._print(number)}}}" for number in self.args[2:])]


class LossDecay(Observable):
    """``-d L_adv/dt = sum_W |dL_adv/dW|_F**2`` under gradient flow on the network's own input, at t = 0: ``LossDecay(p,
    q)``."""

    is_nonnegative = True
    tex = r"-\dot{{\mathcal{{L}}}}_{{\mathrm{{adv}}}}^{{{},{}}}"
    needs = frozenset({JACOBIAN, ATTACK, GRADIENTS})
    may_vanish = False

    def measure(self, probe: Any) -> Any:
        return probe.gradient_square(*self.args)


class HalfLife(TrainedMatrix):
    """The time at which :class:`WeightVariance` has halved: ``HalfLife()``, or ``HalfLife(number)``."""

    is_extended_nonnegative = True  # it may never come
    tex = r"t_{{1/2{0}}}"

    def _eval_is_real(self) -> bool | None:
        return None


class LossAfter(Observable):
    """:class:`AdversarialLoss` after gradient flow on the network's own input for a time t: ``LossAfter(p, q, t)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"\mathcal{{L}}_{{\mathrm{{adv}}}}^{{{0},{1}}}({2})"


class TrainingEnd(Observable):
    """The time at which gradient flow of the adversarial loss has brought it to zero: ``TrainingEnd(p, q)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"t_{{\mathrm{{end}}}}^{{{},{}}}"


class LossLife(Observable):
    """The integral over time of :class:`LossAfter`, over its mean at t = 0: ``LossLife(p, q)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"t_{{\mathrm{{life}}}}^{{{},{}}}"


class EscapeTime(Observable):
    """The first time at which omega**L is outside the trainable band [m, M]: ``EscapeTime()``."""

    is_extended_nonnegative = True  # it may never come
    tex = "t^*"

    def _eval_is_real(self) -> bool | None:
        return None


class Capacity(Observable):
    """``sum_k (sum_l <W^l, d f_k/d W^l>)**2`` of one network: ``Capacity()``, or ``Capacity(t)`` at training time t."""

    is_nonnegative = True
    tex = "C{0}"
    needs = frozenset()
    polynomial, may_vanish, weights = True, False, True

    def measure(self, probe: Any) -> Any:
        return probe.capacity()

    def queries(self, settings: Any, K: int, d: int) -> int:
        return 1

    def indices(self, printer: Any) -> list[str]:
        return [f"({printer._print(self.args[0])})" if self.args else ""]


class CapacitySlope(Observable):
    """d/dt of :class:`Capacity` at t = 0 under gradient flow of the adversarial loss on the network's own input, in a
    ball that lies in one linear region: ``CapacitySlope(p, q)``.

    The loss there is ``eps ‖J(x)‖_{p -> q}``, and slopes of activations are constant. In a larger ball some units
    switch between x and x + eta. They add nothing on average as eps -> 0, but far more scatter than all else.
    """

    exponents = 2
    tex = r"\dot{{C}}^{{{},{}}}"
    needs = frozenset({JACOBIAN})
    weights = True

    def measure(self, probe: Any) -> Any:
        return probe.capacity_slope(*self.args)

    def queries(self, settings: Any, K: int, d: int) -> int:
        return 5  # two pushes and three pulls


class MeanCapacitySlope(CapacitySlope):
    """The mean of :class:`CapacitySlope` over the output layer of one network, given all its other weights:
    ``MeanCapacitySlope(p, q)``.

    Its mean over networks is the same, as the output layer is independent of the other weights, and it scatters far
    less. All pairs (p, q) together take some 3 d vectors through each matrix, where :class:`CapacitySlope` takes five
    for each.
    """

    tex = r"\mathbb{{E}}_{{P_\mathrm{{out}}}}\dot{{C}}^{{{},{}}}"
    needs = frozenset({OUTPUT_MEANS})

    def measure(self, probe: Any) -> Any:
        return probe.mean_capacity_slope(*self.args)

    def queries(self, settings: Any, K: int, d: int) -> int:
        return 0  # the means of all observables are taken together
