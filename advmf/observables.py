"""The random quantities of one sampled network that claims speak of, each with its name, its LaTeX and how it is
measured.

An observable is measured by a :class:`~advmf.simulate.estimate.Probe`, which has what can be seen of sampled networks.
Nothing here imports torch.

Each is an array over one network's output units and directions. ``unit`` and ``direction`` number *different* units and
directions, so that ``JacobianEntry(0, 0)*JacobianEntry(1, 0)`` is a product of two entries of one column. A claim's
left-hand side is an :class:`Expectation` of a polynomial in observables: the mean over units and directions of one
network, then over networks.
"""

from __future__ import annotations

from string import Formatter
from typing import Any

import sympy as sp
from sympy.core.function import Function
from sympy.printing.str import StrPrinter

from advmf.errors import ArgumentError
from advmf.expressions import expression
from advmf.notebook import Shown
from advmf.symbols import SYMBOLS, K, d, exponent

JACOBIAN, ATTACK, GRADIENTS, SEARCH = "jacobian", "attack", "gradients", "search"
"""What an observable may need of a probe: the Jacobian at its input; the best attack at the (p, q) of its first two
arguments; the gradients of the loss there; a search of its own."""


class Observable(Shown, Function):
    """Base of every observable, the package's and your own; an :class:`Expectation` may hold any of them.

    ``tex`` is its LaTeX, with one ``{}`` for each index, or numbers, ``{0}``; without it the name of the class is set,
    with its arguments. Raises ArgumentError for other numbers of indices than ``tex`` has places.

    An observable is a real number, of either sign unless its class says ``is_nonnegative = True``; and it depends on
    the network's letters (``letters``: all of them unless its class says less), so that its derivative by one of these
    is not zero.

    >>> from advmf.observables import Observable
    >>> class LargestOutput(Observable):
    ...     tex = r"\\lVert f\\rVert_\\infty"
    ...     def measure(self, probe):
    ...         return probe.output.abs().amax((1, 2))
    >>> LargestOutput()
    LargestOutput()
    """

    is_commutative = True
    is_number = False
    tex = ""
    letters = frozenset(quantity.symbol for quantity in SYMBOLS.values())
    needs = frozenset({JACOBIAN, SEARCH})
    """What :meth:`measure` uses of a probe: :data:`JACOBIAN`, :data:`ATTACK`, :data:`GRADIENTS`, and :data:`SEARCH` for
    a search of its own."""
    maximum = False
    """Whether :meth:`measure` searches for a maximum, as an attack does, and so may find too little, but never too
    much."""
    polynomial = False
    """Whether its moments are polynomials in 1/N, by recursion over the layers."""
    may_vanish = True
    """Whether it may be zero without having underflowed."""
    weights = False
    """Whether :meth:`measure` uses the weights or the stream, which networks of infinite width do not have."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        made = super().__new__(cls, *args, **options)
        if cls.tex and isinstance(made, cls):
            _require_places(made)
        return made

    def measure(self, probe: Any) -> Any:
        """Its value for each network of a probe: a tensor of shape (nets,)."""
        raise ArgumentError(
            f"{type(self).__name__} has no measure(probe); define it, to return one number for each network. A probe has trace, output, "
            "jacobian, attack(p, q), settings, generator and more: see advmf.simulate.Probe."
        )

    def queries(self, settings: Any, K: int, d: int) -> int:
        """How many vectors :meth:`measure` sends through each matrix beside the trace, its Jacobian and the attacks
        that it shares with others; for a search of its own as many as an attack."""
        return int(settings.queries(K, d)) if SEARCH in self.needs else 0

    def _eval_is_real(self) -> bool | None:
        return True

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return super().free_symbols | self.letters

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return _derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        given = self.indices(printer)
        text = (
            self.tex.format(*given)
            if self.tex
            else rf"\mathrm{{{type(self).__name__}}}" + (f"({', '.join(given)})" if given else "")
        )
        return text if exp is None else rf"{{{text}}}^{{{exp}}}"

    def indices(self, printer: Any) -> list[str]:
        return [printer._print(arg) for arg in self.args]


def _require_places(made: Observable) -> None:
    """Raises ArgumentError unless every index of an observable has its place in ``tex``, and every place its index."""
    name, count = type(made).__name__, len(made.indices(StrPrinter()))
    try:
        fields = [field for _, field, _, _ in Formatter().parse(made.tex) if field is not None]
    except ValueError as error:
        raise ArgumentError(
            f"{name}.tex is no format: {error}; double the braces of LaTeX. Got {made.tex!r}."
        ) from None
    automatic = all(field == "" for field in fields)
    places = {str(i) for i in range(len(fields))} if automatic else set(fields)
    if places != {str(i) for i in range(count)}:
        raise ArgumentError(
            f"{name}.tex has places {{{'}, {'.join(fields)}}} for {count} arguments; give it one {{}} for each, and double the other "
            f"braces of LaTeX. Got {made.tex!r} for {made.func.__name__}{made.args}."
        )


def _derivative(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """The derivative of what depends on a letter in a way that nothing here knows."""
    return sp.Derivative(expr, symbol, evaluate=False) if symbol in expr.free_symbols else sp.S.Zero


class UnitObservable(Observable):
    """An observable of an output unit, and of a direction where it has one; measured for all of them, (nets, units,
    directions)."""

    needs = frozenset({JACOBIAN})
    polynomial, may_vanish = True, False

    def indices(self, printer: Any) -> list[str]:
        return [letter + "'" * int(arg) for letter, arg in zip("ij", self.args)]


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

    def measure(self, probe: Any) -> Any:
        return probe.attack(*self.args).value

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = super()._latex(printer)
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class OperatorNorm(Observable):
    """``‖J(x)‖_{p -> q}``: ``OperatorNorm(p, q)``."""

    is_nonnegative = True
    tex = r"\lVert J(x)\rVert_{{{}\to {}}}"
    needs = frozenset({JACOBIAN})
    may_vanish = False

    def measure(self, probe: Any) -> Any:
        return probe.norm(*self.args)


class LargestOperatorNorm(Observable):
    """``max ‖J(x + eta)‖_{p -> q}`` over ``‖eta‖_p <= eps``: ``LargestOperatorNorm(p, q)``."""

    is_nonnegative = True
    tex = r"\max_{{\lVert\eta\rVert_{0} \le \epsilon}}\lVert J(x + \eta)\rVert_{{{0}\to {1}}}"


class LimitLoss(Observable):
    """The adversarial loss of the Gaussian process that a network is as N -> oo: ``LimitLoss(p, q)``."""

    is_nonnegative = True
    tex = r"\mathcal{{L}}_\infty^{{{},{}}}"


class FeatureMaximum(Observable):
    """``max ⟨g, D(eta)⟩`` over ``‖eta‖_p <= eps`` of a standard Gaussian g, with features D of f(x + eta) - f(x) for
    each output of that process: ``FeatureMaximum(p)``."""

    is_nonnegative = True
    tex = r"\max_{{\lVert\eta\rVert_{} \le \epsilon}}\langle g, D(\eta)\rangle"


class FeatureRadius(Observable):
    """``max |D(eta)|`` over ``‖eta‖_p <= eps``, not random: ``FeatureRadius(p)``."""

    is_nonnegative = True
    tex = r"\max_{{\lVert\eta\rVert_{} \le \epsilon}}\lVert D(\eta)\rVert_2"


class MatrixNorm(Observable):
    """``‖G‖_{p -> q}`` of a K x d matrix G with independent N(0, 1/d) entries: ``MatrixNorm(p, q)``; its mean is the
    norm factor."""

    is_nonnegative = True
    letters = frozenset((d, K))
    tex = r"\lVert G\rVert_{{{}\to {}}}"


class TrainedMatrix(Observable):
    """An observable of a trained matrix of a block, which may be numbered: of the first, the only one, without
    arguments."""

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

    The mean over the blocks of a network. Without p and q that of another loss, which is not measured.
    """

    tex = r"\dot\sigma_{{w{0}}}^2(0)"
    needs = frozenset({JACOBIAN, ATTACK, GRADIENTS})
    may_vanish = False

    def measure(self, probe: Any) -> Any:
        return -2 * probe.pairing(*self.args) / probe.width

    def indices(self, printer: Any) -> list[str]:
        return ["".join(f",{printer._print(number)}" for number in self.args[2:])]


class WeightNormSlope(WeightVarianceSlope):
    """d/dt of ``|W|_F**2`` under gradient flow of the adversarial loss: ``WeightNormSlope(p, q)``, or ``(p, q,
    number)``."""

    tex = r"\tfrac{{d}}{{dt}}\lVert W{0}\rVert_F^2"

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
    needs = frozenset({JACOBIAN})
    polynomial, may_vanish, weights = True, False, True

    def measure(self, probe: Any) -> Any:
        return probe.capacity()

    def queries(self, settings: Any, K: int, d: int) -> int:
        return K

    def indices(self, printer: Any) -> list[str]:
        return [f"({printer._print(self.args[0])})" if self.args else ""]


class Expectation(Shown, Function):
    """The mean over random networks.

    >>> from advmf.observables import Expectation, Offset
    >>> Expectation(Offset(0)**2)
    Expectation(Offset(0)**2)
    """

    def _eval_is_real(self) -> bool | None:
        return self.args[0].is_real

    def _eval_is_nonnegative(self) -> bool | None:
        return True if self.args[0].is_nonnegative else None

    def _eval_is_positive(self) -> bool | None:
        return True if self.args[0].is_positive else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return _derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\mathbb{{E}}\left[{printer._print(self.args[0])}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"

    @property
    def observables(self) -> set[sp.Basic]:
        """Every observable inside."""
        return set(self.args[0].atoms(Observable))


class Probability(Function):
    """The probability of an event, a relation between observables.

    >>> from advmf.observables import MatrixNorm, Probability
    >>> Probability(MatrixNorm(2, 2) >= 3)
    Probability(MatrixNorm(2, 2) >= 3)
    """

    is_nonnegative = True

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return _derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\mathbb{{P}}\left[{printer._print(self.args[0])}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


class Quantile(Function):
    """The number that an observable exceeds with probability delta: ``Quantile(observable, delta)``.

    It is the least x with P(observable > x) <= delta, the (1 - delta)-quantile. ``delta`` is a number in (0, 1), or an
    expression in letters. Raises ArgumentError for any other number, and for another count of arguments.

    >>> from advmf.observables import MatrixNorm, Quantile
    >>> Quantile(MatrixNorm(2, 2), sp.Rational(1, 20))
    Quantile(MatrixNorm(2, 2), 1/20)
    """

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if len(args) != 2:
            raise ArgumentError(
                f"Quantile takes an observable and delta, the probability that it is exceeded with; got {args}."
            )
        delta = expression(args[1])
        if delta.is_number and not (delta.is_real and 0 < delta < 1):
            raise ArgumentError(f"delta of a Quantile is a probability and must lie in (0, 1); got {delta}.")
        return super().__new__(cls, args[0], delta, **options)

    def _eval_is_real(self) -> bool | None:
        return self.args[0].is_real

    def _eval_is_nonnegative(self) -> bool | None:
        return True if self.args[0].is_nonnegative else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return _derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inside, delta = self.args
        text = rf"Q_{{{printer._print(1 - delta)}}}\left({printer._print(inside)}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"


def adversarial_loss(p: object, q: object) -> sp.Expr:
    """The mean adversarial loss, ``Expectation(AdversarialLoss(p, q))``."""
    return Expectation(AdversarialLoss(exponent(p, "p"), exponent(q, "q")))
