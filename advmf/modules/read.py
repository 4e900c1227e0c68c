"""The law of a PyTorch module: a declared net, and the point at which it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from advmf.boundary import public, whole
from advmf.errors import ArgumentError, DeclarationError
from advmf.modules.declare import net_of, parts_of
from advmf.modules.dense import with_one_position
from advmf.modules.follow import follow
from advmf.modules.graph import Graph, exported, where
from advmf.modules.items import Flat, Path, Values, Weights, require_once
from advmf.modules.measure import Layer, measured
from advmf.modules.operations import RULES, refuse
from advmf.modules.tidy import require_known, tidy
from advmf.nets import Net
from advmf.simulate.module import ModuleNetwork, require_batch, require_module
from advmf.simulate.state import lasting

SAME = 0.02
"""The largest relative difference between the module's outputs and those of what was read, which leaves out the eps of
norms."""
SUPPORTED = (
    "Linear, Conv1d, Conv2d; functions of each coordinate, such as ReLU, LeakyReLU, Tanh, GELU, SiLU, Softplus, ELU, SELU, Hardtanh, Sigmoid; "
    "BatchNorm (eval), LayerNorm, RMSNorm, Dropout (eval); Flatten, AvgPool over windows beside each other, "
    "AdaptiveAvgPool over all positions, layers after either; sums, and factors"
)


@dataclass(frozen=True)
class Read:
    """A module as a declared ``net`` and a point ``at``, the measured ``layers`` in the order of a forward pass, and
    ``notes`` on what the declaration leaves out. It unpacks as ``net, at``."""

    net: Net
    at: dict[str, float]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]
    inputs: bool
    """Whether the first layer is ``P_in`` itself."""
    graph: Graph = field(repr=False, compare=False)
    path: Path = field(repr=False, compare=False)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.net, self.at))


@public
@lasting
def from_torch(module: nn.Module, example_input: Tensor, *, N: int | None = None) -> Read:
    """The declared net of a module, and the point ``at`` which its weights stand.

    ``example_input`` is a batch of one or more inputs, (B, d) or images (B, channels, sizes). ``N`` is the width that
    widths are multiples of; by default the most common one.

    Layers whose variances agree within four standard errors share the symbol ``sigma_w`` (and ``sigma_b``), measured
    together in ``at``. Each other layer has a symbol of its own, such as ``sigma_w_3``. Blocks that are alike are a
    stage. A first layer that is not a frozen matrix of variance 1/d is declared as a layer after ``P_in``, of which it
    has the law as N -> oo. A last layer whose weights do not have the variance 1/N is ``P_out`` times ``gain``, a last
    stage. A frozen layer of variance 1/N without bias is a :class:`advmf.Mix`, unless all layers are frozen.

    A batch norm in eval mode is folded into the layer before it. Dropout in eval mode is the identity.

    Raises DeclarationError for a part that no declared net has, with its node and what is supported, for weights that
    two nodes share, and for a net that the theory cannot carry; ArgumentError and DomainError for modules and inputs
    that cannot be read: half precision, lazy parameters, parts in the mode of training, several devices, values that
    are not finite, sizes that do not fit.

    >>> import torch, advmf as mf
    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> module = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    >>> for layer in module[::2]:
    ...     _ = nn.init.kaiming_normal_(layer.weight), nn.init.zeros_(layer.bias)
    >>> net, at = mf.from_torch(module, torch.zeros(1, 64))
    >>> net.stages[0]
    Stage(Serial(Dense(sigma_w=sigma_w, sigma_b=sigma_b), ReLULike(u=1, v=0)), repeat=2)
    >>> {name: float(f"{value:.2g}") for name, value in sorted(at.items())}
    {'K': 10.0, 'N': 260.0, 'd': 64.0, 'gain': 1.4, 'sigma_b': 0.0, 'sigma_w': 1.4}
    """
    dtype, device = require_module(module)
    batch = require_batch(example_input, dtype, device)
    if batch.ndim not in (2, 3, 4):
        raise ArgumentError(
            f"Inputs are vectors (B, d), or images (B, channels, sizes) with one or two sizes; got shape {tuple(batch.shape)}."
        )
    given = None if N is None else whole("N", N, 1)
    network = ModuleNetwork.at(module, batch)
    graph = exported(module, batch[:1].expand(2, *batch.shape[1:]).clone())
    found = read(graph, network, type(module).__name__, given)
    require_same_values(found.path, module, batch)
    return found


def require_same_values(path: Path, module: nn.Module, batch: Tensor) -> None:
    """Raise DeclarationError where what was read has not the values of the module."""
    with torch.no_grad():
        vectors = next(item for item in path if isinstance(item, Weights)).axes == 0
        own, read = module(batch), follow(path, batch.flatten(1) if vectors else batch, {})
    departure = float((own - read).norm() / own.norm().clamp(min=torch.finfo(own.dtype).tiny))
    if not departure <= SAME:
        raise DeclarationError(
            f"What was read gives outputs that differ from the module's by {departure:.1%}. Without the small constants (eps) of its norms "
            "the module is another one at this input; give inputs at which they do not matter."
        )


def read(
    graph: Graph, network: ModuleNetwork, name: str, N: int | None, measure: Callable[[Weights], Layer] = measured
) -> Read:
    """The net of an exported module, by the measurements of its layers."""
    shape = network.shape
    path, flat = tidy_path(graph)
    image = shape if len(shape) > 1 and not flat else None
    if not path or not isinstance(path[0], Weights):
        raise DeclarationError("The module must begin with a Linear or Conv layer, or with Flatten and a Linear layer.")
    found = net_of(parts_of(path, image), image, name, N, measure)
    at = {**found.at, "d": network.d}
    return Read(found.net, at, tuple(found.layers), tuple(found.notes), found.inputs, graph, path)


def name_of(node: Any) -> str:
    """The name of a node's operation, with its library where that is not torch's aten."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return str(getattr(node.target, "__name__", node.target))
    library, _, name = schema.name.partition("::")
    return name if library == "aten" else f"{library}.{name}"


def tidy_path(graph: Graph) -> tuple[Path, bool]:
    """The items of a graph in their places, and whether the input is flattened before them."""
    path = path_of(graph)
    require_once(path)
    flat = bool(path) and isinstance(path[0], Flat)
    path = path[1:] if flat else path
    require_known(path)
    return with_one_position(tidy(path)[0], () if flat else graph.shape[1:]), flat


def path_of(graph: Graph) -> Path:
    """What the nodes of a graph do to the input, one after the other. Raises DeclarationError for a node that has no
    rule, and for constants that two nodes share."""
    values: dict[str, Any] = {**graph.constants, graph.input: ()}
    users = dict[str, Any]()

    def value(node: Any, arg: Any) -> Any:
        if hasattr(arg, "name") and hasattr(arg, "op"):
            found = values[arg.name]
            if isinstance(found, Values) and found.tensor.numel() > 1:
                if found.name in users and users[found.name] is not node:
                    raise refuse(
                        node,
                        f"it shares {found.name} with {where(users[found.name])}. Shared weights have another law than independent ones.",
                    )
                users[found.name] = node
            return found
        return arg

    for node in graph.nodes:
        operation = name_of(node)
        name = operation.removesuffix("_")
        rule = RULES.get(operation) or RULES.get(name)
        if rule is None:
            raise refuse(node, f"the operation {node.target} has no declared form. Supported are: {SUPPORTED}.")
        args = [value(node, arg) for arg in node.args]
        try:
            found = rule(node, *args, **{key: value(node, arg) for key, arg in node.kwargs.items()})
        except DeclarationError:
            raise
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            raise refuse(
                node,
                f"{node.target} is used in a way that has no declared form ({type(error).__name__}: {error}). Supported are: {SUPPORTED}.",
            ) from error
        values[node.name] = found
        if operation != name and hasattr(node.args[0], "name"):  # in place: later nodes meet the changed value
            values[node.args[0].name] = found
    found = values[graph.output.name]
    if not isinstance(found, tuple):
        raise DeclarationError("The module's output does not depend on its input.")
    return found
