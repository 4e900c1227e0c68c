"""The graph of a module, by torch.export: its nodes in order, with one operation for a module, a function and a method.

torch.fx was the other candidate. It is faster (15 ms, where torch.export takes 90), but it needs three tables, for
modules, functions and methods. It does not see into leaf modules, and not whether a functional batch norm or dropout is
in the mode of training. torch.export has one table, and the values of sizes.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from advmf.errors import ArgumentError, DeclarationError
from advmf.modules.items import Values


@dataclass(frozen=True)
class Graph:
    """An exported module: its ``program``, its ``nodes``, the constants by node, and the name of the input's node."""

    program: Any
    constants: dict[str, Values]
    input: str

    def with_values(self, state: Mapping[str, Tensor]) -> Graph:
        """The same graph with other values of the module's parameters and buffers, by their names."""
        constants = {
            name: replace(each, tensor=state[each.name].detach()) if each.name in state else each
            for name, each in self.constants.items()
        }
        return Graph(self.program, constants, self.input)

    @property
    def nodes(self) -> list[Any]:
        """The nodes that compute something, in order."""
        return [node for node in self.program.graph.nodes if node.op not in ("placeholder", "output")]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of one input."""
        (given,) = (node for node in self.program.graph.nodes if node.name == self.input)
        return self.sizes(given)

    @property
    def output(self) -> Any:
        """The node of the module's output."""
        (last,) = (node for node in self.program.graph.nodes if node.op == "output")
        return last.args[0][0]

    def sizes(self, node: Any) -> tuple[int, ...]:
        """The sizes of a node's value, without the batch."""
        return tuple(int(size) for size in node.meta["val"].shape[1:])


def exported(module: nn.Module, batch: Tensor) -> Graph:
    """The graph of a module at a batch of two inputs. Raises ArgumentError for a module that torch cannot export."""
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(module, (batch,))
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ArgumentError(
            f"torch.export cannot read {type(module).__name__}: {why}. Its forward must not decide by the values of its input."
        ) from error
    signature, state = program.graph_signature, {**dict(program.state_dict), **program.constants}
    trained = {name: p.requires_grad for name, p in module.named_parameters(remove_duplicate=False)}
    constants = {}
    for spec in signature.input_specs:
        if spec.target is not None:
            values = state[spec.target]
            constants[spec.arg.name] = Values(spec.target, values.detach(), trained.get(spec.target, False))
    (given,) = signature.user_inputs
    if len(signature.user_outputs) != 1:
        raise DeclarationError(f"The module must give one tensor; it gives {len(signature.user_outputs)} values.")
    if changed := [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]:
        raise DeclarationError(f"The module changes {', '.join(changed)} when it runs; only fixed modules have a law.")
    return Graph(program, constants, given)


def where(node: Any) -> str:
    """A node by its name, with the part of the module that it stands in."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    name = str(kind).rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    return f"{node.name} (in {path}, a {name})" if path else str(node.name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's warnings about an export are about the export's later use."""
    loud = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = loud.level
    loud.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        loud.setLevel(before)
