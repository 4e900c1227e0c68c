"""The audit of a module: repeated initialisations, or one trained module, against the declared law."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count as counting
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advmf.auditing.declared import Declared, declared_law
from advmf.auditing.judge import Sample, find
from advmf.auditing.measure import Measured, Network, Settings, measure
from advmf.auditing.outcome import Audit
from advmf.boundary import public, whole
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.modules.graph import Graph, exported
from advmf.modules.items import Path, Weights, walk
from advmf.modules.measure import measured, pooled
from advmf.modules.read import read, require_same_values, tidy_path
from advmf.nets import Net
from advmf.simulate.data import Images
from advmf.simulate.geometry import order
from advmf.simulate.module import ModuleNetwork, require_batch, require_module
from advmf.simulate.state import lasting, source
from advmf.theorems.t2_adversarial_loss import loss_bound

Modules = nn.Module | Callable[[], nn.Module]
CERTAIN = {"activation": 0.0, "slope": 1.0}
"""Quantities without chance, with the values of a module that has the declared activations."""
SMALL = 1e-4
"""A radius, relative to the inputs, at which T2's bound over eps is that of the Jacobian."""


@public
@lasting
def audit(
    module: nn.Module | Callable[[], nn.Module],
    images: Tensor | np.ndarray | Images,
    *,
    eps: float,
    p: Any = 2,
    q: Any = 2,
    declared: tuple[Net, Mapping[str, float]] | None = None,
    reset: bool = False,
    initialisations: int = 10,
    twins: int = 24,
    inputs: int = 8,
    alpha: float = 0.01,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Compare a PyTorch module with its mean-field law, quantity by quantity.

    A function without arguments that makes a module (a factory) is called ``initialisations`` times; with ``reset`` a
    module draws its own parameters as often, by ``reset_parameters``. Then the verdict is "stands" or "departs": a
    module whose initialisation has the declared law departs with probability at most ``alpha``, all quantities
    together. A module as it is, trained or not, gets no verdict; each quantity that departs is named.

    The law is ``declared``, a net and a point ``at``; by default that of :func:`advmf.from_torch`, with the weights of
    all initialisations taken together, and one variance for all layers that agree. The modules are also compared with
    ``twins``: networks drawn from the law in the module's own shape, with independent weights of the module's own
    distribution. So the widths are finite on both sides.

    The quantities: for each layer ``sigma_w_sq``, ``sigma_b_sq``, ``kurtosis`` (3 for Gaussian weights; only reported),
    ``edge``, the largest singular value squared over the edge of the Marchenko-Pastur law, and ``spectrum``, the
    distance from that law. For each activation, where the law is given, ``activation``, its distance from the declared
    one at the module's own pre-activations, and ``slope``, its mean square slope there over the declared one's. Chance
    has no part in these two, so any other function departs. For each step between layers ``stream`` and ``jacobian``:
    the second moment of the stream, and that of a tangent, over what the law predicts from those before the step. At
    the end ``norm``, the mean of ||J||_{p -> q}, and ``attack``, the mean of the attacked loss in the ball of radius
    ``eps``. Both are also compared with the bound of T2, which is about N -> oo. Each finding says how large a
    departure must be to be found with probability 0.95 (``least``).

    ``images`` is a batch of inputs, or :class:`advmf.simulate.Images`; ``inputs`` of them are drawn, or all where there
    are fewer. Raises the errors of :func:`advmf.from_torch`; ArgumentError for a factory that gives no modules, none of
    one shape, or twice the same weights; DomainError for counts and rates out of range.

    >>> import torch, advmf as mf
    >>> from torch import nn
    >>> def factory():
    ...     return mf.to_torch(mf.vanilla(u=1, v=0), N=64, L=2, d=64, K=5, sigma_w=1.4, sigma_b=0.1)
    >>> found = mf.audit(factory, mf.simulate.load("digits"), eps=0.1, initialisations=4, twins=8, inputs=2)
    >>> found.verdict, len(found.departures)
    ('stands', 0)
    """
    start = time.perf_counter()
    repeats, references = whole("initialisations", initialisations, 2, 10**6), whole("twins", twins, 4, 10**6)
    count, first_seed = whole("inputs", inputs, 1, 10**6), whole("seed", seed, -(2**63))
    if not (isinstance(alpha, float | int) and 0 < alpha < 1):
        raise DomainError(f"alpha is a probability and must be in (0, 1); got {alpha!r}.")
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not (math.isfinite(eps) and eps > 0):
        raise DomainError(f"eps must be positive and finite; got {eps!r}.")
    if declared is not None and not (
        isinstance(declared, tuple) and len(declared) == 2 and isinstance(declared[0], Net)
    ):
        raise ArgumentError(f"declared is a net and a point, as from_torch gives them; got {declared!r:.80}.")
    if not (progress is None or callable(progress)):
        raise ArgumentError(f"progress is a function of two counts, or None; got {progress!r:.80}.")
    exponents = order(p, "p"), order(q, "q")
    each, several = _modules(module, reset, first_seed)
    modules = [next(each)]
    x = _inputs(modules[0], images, count, first_seed)
    modules += [next(each) for _ in range(repeats - 1)] if several else []
    network = ModuleNetwork.at(modules[0], x)
    graph = exported(modules[0], x[:1].expand(2, *x.shape[1:]).clone())
    paths = [tidy_path(_values(each, graph))[0] for each in modules]
    require_same_values(paths[0], modules[0], x)
    _require_drawn_anew(paths)
    law = _law(paths, graph, network, type(modules[0]).__name__, declared)
    generator = torch.Generator().manual_seed(first_seed)
    direction = torch.randn(x.shape, generator=generator, dtype=x.dtype, device="cpu").to(x.device)
    asked = Settings(x, direction, float(eps), *exponents, first_seed)
    total = len(modules) + references
    bounds, silent = _bounds(law, asked)
    own, others = list[Measured](), list[Measured]()

    def done() -> None:
        if progress is not None:
            progress(len(own) + len(others), total)

    for module, path in zip(modules, paths):
        own.append(measure(Network(module, path, {}, law.functions_of(path)), law.law, law.flat, asked))
        done()
    for _ in range(references):
        twin, path, functions = law.draw(generator)
        others.append(measure(Network(twin, path, functions, functions), law.law, law.flat, asked))
        done()
    findings = find(_samples(own, others, law), float(alpha))
    return Audit(
        name=type(modules[0]).__name__,
        net=law.net,
        at={k: float(v) for k, v in law.at.items()},
        single=not several,
        alpha=float(alpha),
        initialisations=len(own),
        twins=references,
        inputs=len(x),
        eps=float(eps),
        p=exponents[0],
        q=exponents[1],
        seed=first_seed,
        findings=tuple(findings),
        reference={
            key[0]: float(np.mean([each.mean(key) for each in others])) for key in (("norm", ""), ("attack", ""))
        },
        bounds=bounds,
        notes=(*law.notes, *silent),
        seconds=time.perf_counter() - start,
    )


def _modules(module: Modules, reset: bool, seed: int) -> tuple[Iterator[nn.Module], bool]:
    """The modules to audit, one after the other, and whether they are several initialisations."""
    if isinstance(module, nn.Module) and not reset:
        return iter((module,)), False
    if not callable(module):
        raise ArgumentError(f"audit takes an nn.Module, or a function that makes one; got {module!r:.80}.")

    if reset and not isinstance(module, nn.Module):
        raise ArgumentError("reset is for a module; a function makes a new module at each call, so leave reset out.")
    factory = _resetting(module) if isinstance(module, nn.Module) else module
    return (made(factory, number) for number in counting(seed)), True


def _resetting(module: nn.Module) -> Callable[[], nn.Module]:
    """A factory of copies of a module with parameters drawn anew. Raises ArgumentError where no part draws any."""

    def parts(of: nn.Module) -> list[Any]:
        own = [part for part in of.modules() if callable(getattr(part, "reset_parameters", None))]
        return own[:1] if own and own[0] is of else own

    def factory() -> nn.Module:
        copied = copy.deepcopy(module)
        for part in parts(copied):
            part.reset_parameters()
        return copied

    if not parts(module):
        raise ArgumentError(
            f"{type(module).__name__} has no reset_parameters; give a function that makes a new module."
        )
    return factory


def made(factory: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The module that a factory makes, with torch's random numbers of a seed. Raises ArgumentError where it fails, or
    gives something else."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            found = factory()
    except Exception as error:
        raise ArgumentError(f"The factory failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, nn.Module):
        raise ArgumentError(f"The factory must give an nn.Module; it gave {type(found).__name__}.")
    return found


def _inputs(module: nn.Module, images: Any, count: int, seed: int) -> Tensor:
    """Inputs of the module, drawn from images."""
    dtype, device = require_module(module)
    if isinstance(images, Images):
        side = math.isqrt(images.d)
        shapes = [(images.d,), *([(1, side, side)] if side**2 == images.d else [])]
        batch = torch.as_tensor(images.x, dtype=dtype, device=device)
        shape = next((shape for shape in shapes[::-1] if _takes(module, batch[:1].reshape(1, *shape))), None)
        if shape is None:
            raise ArgumentError(
                f"{type(module).__name__} takes no inputs of {' or '.join(map(str, shapes))}, the shapes of {images.name}; give a batch as a tensor."
            )
        batch = batch.reshape(-1, *shape)
    else:
        batch = require_batch(images, dtype, device)
    chosen = torch.randperm(len(batch), generator=source(None, seed), dtype=torch.int64, device="cpu")[:count]
    x = batch[chosen.to(batch.device)]
    if bool((x.flatten(1).abs().amax(1) == 0).any()):
        raise DomainError("An image is all zero, and has no direction; leave it out.")
    return x


def _takes(module: nn.Module, x: Tensor) -> bool:
    try:
        with torch.no_grad():
            module(x)
    except Exception:
        return False
    return True


def _values(module: nn.Module, graph: Graph) -> Graph:
    """The graph of another initialisation, with its values."""
    require_module(module)
    state = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    for each in graph.constants.values():
        if (each.trained and each.name not in state) or (
            each.name in state and state[each.name].shape != each.tensor.shape
        ):
            raise ArgumentError(f"The factory must give modules of one shape; their {each.name} differ.")
    return graph.with_values(state)


def _require_drawn_anew(paths: list[Path]) -> None:
    """Raise ArgumentError for a layer with the same weights in two initialisations, whose spread gives the errors."""
    layers = [[item for item in walk(path) if isinstance(item, Weights)] for path in paths]
    for before, after in pairwise(layers):
        for a, b in zip(before, after):
            if torch.equal(a.matrix, b.matrix):
                raise ArgumentError(
                    f"{a.node} has the same weights in two initialisations. Each call of the factory (or of reset_parameters) must draw all "
                    "weights anew: leave out a fixed seed, such as torch.manual_seed(0), and make a new module in the function."
                )


def _law(
    paths: list[Path], graph: Graph, network: ModuleNetwork, name: str, given: tuple[Net, Mapping[str, float]] | None
) -> Declared:
    """The law of the modules, from the weights of all initialisations together."""
    weights = [[item for item in walk(path) if isinstance(item, Weights)] for path in paths]
    layers = [[measured(item) for item in own] for own in weights]
    entries = {own[0].node: _standardised([item.matrix for item in own]) for own in zip(*weights)}
    means = {own[0].node: pooled(own) for own in zip(*layers)}
    found = read(graph, network, name, None, lambda item: means[item.node])
    return declared_law(found, len(network.shape) > 1 and found.net.image is None, given, entries)


def _standardised(matrices: list[Tensor]) -> Tensor:
    """The entries of several matrices about their mean, in units of their deviation."""
    entries = torch.cat([matrix.flatten().cpu() for matrix in matrices])
    entries = entries - entries.mean()  # the law has none: with ReLU it would be added up over the fan-in
    return entries / (entries**2).mean().sqrt()


def _samples(own: list[Measured], others: list[Measured], law: Declared) -> list[Sample]:
    """The quantities in the order of the report."""
    found = list[Sample]()
    for number, layer in enumerate(own[0].layers):
        layers = [each.layers[number] for each in own]
        variance, shift = law.law[layer.node]
        weights, errors = [e.variance for e in layers], [e.variance_error for e in layers]
        tested = law.given or layer.node not in law.open
        found.append(_known("sigma_w_sq", layer.node, weights, errors, variance, tested))
        if shift or layer.bias_variance:
            biases, errors = [e.bias_variance for e in layers], [e.bias_variance_error for e in layers]
            found.append(_known("sigma_b_sq", layer.node, biases, errors, shift, law.given))
        found.append(
            Sample("kurtosis", layer.node, [e.kurtosis for e in layers], 3.0, known=layer.kurtosis_error, tested=False)
        )
    for key in own[0].values:
        if key[0] in CERTAIN:
            if law.given:
                values, expected = [each.mean(key) for each in own], CERTAIN[key[0]]
                found.append(Sample(*key, values, expected, known=0.0, error=own[0].error(key)))
            continue
        values, reference = ([each.mean(key) for each in group] for group in (own, others))
        exact = key[0] in ("stream", "jacobian")
        expected = 1.0 if exact else float(np.mean(reference))
        found.append(Sample(*key, values, expected, reference, exact=exact, error=own[0].error(key)))
    return found


def _known(
    quantity: str, where: str, values: list[float], errors: list[float], expected: float, tested: bool
) -> Sample:
    return Sample(quantity, where, values, expected, known=float(np.sqrt(np.mean(np.square(errors)))), tested=tested)


def _bounds(law: Declared, asked: Settings) -> tuple[dict[str, float], list[str]]:
    """T2's bound on the attacked loss, and beta times the root of the metric for the Jacobian, as means over the
    images; and why there is none."""
    try:
        bound = kernel(loss_bound(law.net, asked.p, asked.q))
    except DeclarationError as error:
        return {}, [f"T2 has no bound for this net: {error}"]
    sizes = (asked.x.double().flatten(1) ** 2).mean(1).cpu().numpy()
    at = {**law.at, "x_sq": sizes}
    values = {name: value for name, value in at.items() if name in bound.arguments}
    small = SMALL * float(sizes.min()) ** 0.5
    found = {
        "attack": float(np.mean(bound(**values, eps=asked.eps))),
        "norm": float(np.mean(bound(**values, eps=small))) / small,
    }
    return found, []
