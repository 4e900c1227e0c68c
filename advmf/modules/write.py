"""A sampled network as an ordinary PyTorch module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from advmf.boundary import public, whole
from advmf.errors import ArgumentError, DomainError
from advmf.modules import parts
from advmf.nets import Algebra, AvgPool, Conv, Dropout, GaussianLayer, Net, Norm, Pointwise, Residual, Sizes
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.networks import Linear, Mask, leaves
from advmf.simulate.pointwise import Smooth
from advmf.simulate.sampling import sample
from advmf.simulate.state import lasting, without_gradients
from advmf.symbols import z

CONVOLUTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers by the number of sizes of the image that they act on."""


class DeclaredNetwork(nn.Sequential):
    """A network of a declared law: its layers in order, with the declaration in ``ensemble``.

    Inputs are batches (B, d), or of images (B, channels, sizes); outputs are (B, K). Weights that the law does not
    train (``P_in``, ``P_out`` and those of :class:`advmf.Mix`) do not require gradients.
    """

    def __init__(self, ensemble: Ensemble, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.ensemble = ensemble

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew from the declared law; from torch's global generator if ``generator`` is None."""
        seeds = torch.randint(2**63 - 1, (1,), generator=generator, dtype=torch.int64, device="cpu")
        self.ensemble = replace(self.ensemble, nets=1, seeds=seeds, _kept=[])
        _fill(self, self.ensemble, 0)

    def __getitem__(self, index: Any) -> Any:
        """A layer, or a slice of them as an ``nn.Sequential``."""
        return nn.Sequential(*self)[index]

    def __deepcopy__(self, memo: dict[int, Any]) -> DeclaredNetwork:
        import copy

        own = DeclaredNetwork(self.ensemble, *(copy.deepcopy(layer, memo) for layer in self))
        own.training = self.training
        return own


@public
@lasting
def to_torch(
    net: Net | Ensemble,
    *,
    N: int | None = None,
    L: int | None = None,
    d: int | None = None,
    K: int | None = None,
    member: int = 0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    **values: float,
) -> nn.Module:
    """A network of the declared law as an ordinary ``nn.Module``, with parameters, gradients and a state_dict.

    ``net`` is a declared net, with the sizes and values of :func:`advmf.simulate.sample`; or an ensemble with explicit
    weights, of which the network number ``member`` is copied. Its outputs are those of the ensemble up to rounding.

    The module maps batches (B, d), or images (B, channels, sizes), to (B, K). Trained layers require gradients;
    ``P_in``, ``P_out`` and the matrices of :class:`advmf.Mix` do not. A mask of :class:`advmf.Dropout` is a buffer,
    since it is part of the random network. ``reset_parameters()`` draws the network anew.

    Raises the errors of :func:`advmf.simulate.sample`; ArgumentError for an ensemble without explicit weights, or with
    sizes besides it; DomainError for a member that it does not have.

    >>> import torch, advmf as mf
    >>> module = mf.to_torch(mf.vanilla(u=1, v=0), N=50, L=2, d=8, K=3, sigma_w=1.4, sigma_b=0.1,
    ...                      generator=torch.Generator().manual_seed(0))
    >>> module(torch.ones(5, 8)).shape, [type(layer).__name__ for layer in module]
    (torch.Size([5, 3]), ['Linear', 'Linear', 'ReLU', 'Linear', 'ReLU', 'Linear'])
    """
    if isinstance(net, Ensemble):
        if given := sorted(
            name for name, value in {"N": N, "L": L, "d": d, "K": K, **values}.items() if value is not None
        ):
            raise ArgumentError(f"An ensemble has its sizes and values already; got {', '.join(given)} besides it.")
        ensemble = net
    elif isinstance(net, Net):
        if missing := [name for name, value in {"N": N, "d": net.inputs or d, "K": K}.items() if value is None]:
            raise ArgumentError(f"to_torch needs {', '.join(missing)}, e.g. to_torch(net, N=256, L=4, d=64, K=10, …).")
        sizes: dict[str, Any] = {"N": N, "L": L, "d": net.inputs if d is None else d, "K": K, **values}
        ensemble = sample(net, **sizes, sampler="dense", generator=generator, dtype=dtype, device=device)
    else:
        raise ArgumentError(f"to_torch takes a Net, such as advmf.residual(u=1, v=0), or an ensemble; got {net!r:.80}.")
    if getattr(ensemble, "sampler", None) != "dense":
        raise ArgumentError(
            'A module has explicit weights, and this ensemble has none; sample it with sampler="dense" and a finite N.'
        )
    member = whole("member", member, 0)
    if member >= ensemble.nets:
        raise DomainError(f"member counts from 0 and the ensemble has {ensemble.nets} networks; got {member}.")
    one = ensemble.part(member, member + 1)
    module = DeclaredNetwork(one, *_layers(one))
    _fill(module, one, 0)
    return module


@dataclass(frozen=True)
class Written:
    """The modules of a path so far, with the width and the sizes of the image after them."""

    modules: tuple[nn.Module, ...]
    width: int
    sizes: Sizes

    def then(self, module: nn.Module, width: int | None = None, sizes: Sizes | None = None) -> Written:
        return Written((*self.modules, module), width or self.width, self.sizes if sizes is None else sizes)


class Writer(Algebra[Written]):
    """The modules of one copy of a block, with weights that are not filled yet."""

    def __init__(self, ensemble: Ensemble, width: int) -> None:
        self._number, self._width = ensemble.number, width
        self._made: dict[str, Any] = {"dtype": ensemble.dtype, "device": ensemble.device}
        self._empty = torch.empty(0, dtype=ensemble.dtype, device=ensemble.device)

    def gaussian(self, layer: GaussianLayer, state: Written) -> Written:
        return self.layer(layer, state, 1, {}, state.sizes)

    def convolution(self, layer: Conv, state: Written) -> Written:
        windows = layer.windows
        wrap = "circular" if windows.circular else "zeros"
        how = {"padding": -windows.first, "padding_mode": wrap, "stride": layer.stride}
        return self.layer(layer, state, layer.kernel, how, layer.sizes(state.sizes))

    def average(self, pool: AvgPool, state: Written) -> Written:
        made = (nn.AvgPool1d, nn.AvgPool2d)[len(state.sizes) - 1](pool.size)
        return state.then(made, sizes=pool.sizes(state.sizes))

    def layer(self, layer: GaussianLayer, state: Written, kernel: int, how: dict[str, Any], sizes: Sizes) -> Written:
        bias = bool(self._number(layer.bias_deviation))
        made = linear(state.width, self._width, len(state.sizes), kernel, bias, layer.trained, {**how, **self._made})
        return state.then(made, self._width, sizes)

    def pointwise(self, activation: Pointwise, state: Written) -> Written:
        function = activation.tensors(self._number) or Smooth.of(activation.phi(z), self._number)
        return state.then(parts.activation(activation, function, self._number))

    def norm(self, norm: Norm, state: Written) -> Written:
        size, how = state.width, dict[str, Any](eps=0.0, elementwise_affine=False)
        made = nn.LayerNorm(size, **how) if norm.centred else nn.RMSNorm(size, **how)
        return state.then(parts.Channels(made) if state.sizes else made)

    def dropout(self, dropout: Dropout, state: Written) -> Written:
        return state.then(parts.Mask(self._empty.new_empty(state.width), len(state.sizes)))

    def fork(self, state: Written) -> Written:
        return Written((), state.width, state.sizes)

    def add(self, block: Residual, shortcut: Written, branch: Written, before: Written) -> Written:
        paths = [nn.Identity() if not path.modules else _one(path.modules) for path in (shortcut, branch)]
        made = parts.Sum(paths[0], paths[1], self._number(block.scale))
        return before.then(made, shortcut.width, shortcut.sizes)


def linear(
    before: int, after: int, axes: int, kernel: int, bias: bool, trained: bool, how: dict[str, Any]
) -> nn.Module:
    """A layer without its weights, on vectors or on images with so many axes."""
    sizes = {} if not axes else {"kernel_size": kernel}
    made: nn.Module = nn.utils.skip_init(CONVOLUTIONS[axes], before, after, bias=bias, **sizes, **how)
    return made.requires_grad_(trained)


def _one(modules: tuple[nn.Module, ...]) -> nn.Module:
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _layers(ensemble: Ensemble) -> Iterator[nn.Module]:
    """The modules of all layers, in order."""
    net, how = ensemble.net, {"dtype": ensemble.dtype, "device": ensemble.device}
    sizes = (net.image or (1,))[1:]
    first, last = ensemble.ends
    yield linear(first.columns, first.rows, len(sizes), 1, False, False, how)
    for run in ensemble.runs:
        for _ in range(run.copies):
            yield from run.block.apply(Writer(ensemble, run.after), Written((), run.before, run.sizes)).modules
    if sizes:
        if net.head == "pool":
            yield (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[len(sizes) - 1](1)
        yield nn.Flatten()
    yield linear(last.columns, last.rows, 0, 1, False, False, how)


@without_gradients
def _fill(module: nn.Module, ensemble: Ensemble, member: int) -> None:
    """Copy the weights, biases and masks of a sampled network into its module."""
    (networks,) = ensemble.chunks()
    modules = [part for part in module.modules() if isinstance(part, (*CONVOLUTIONS, parts.Mask))]
    random = [leaf for leaf in leaves(networks.map) if isinstance(leaf, Linear | Mask)]
    assert len(modules) == len(random), "both are in the order of a forward pass"
    for part, drawn in zip(modules, random):
        if isinstance(drawn, Mask):
            assert isinstance(part, parts.Mask)
            part.mask.copy_(drawn.values[member].reshape(part.mask.shape))
            continue
        assert isinstance(drawn.weight, DenseMatrix)
        for values, own in ((part.weight, drawn.weight.values), (part.bias, drawn.bias)):
            if own is not None:
                assert isinstance(values, Tensor)
                values.copy_(own[member].reshape(values.shape))
