"""Torch's operations and what they do to a path. A new one is a rule in one of these files, or in a file of one's own:

>>> import sympy as sp
>>> import advmf as mf
>>> from advmf.modules.operations import rule, with_function
>>> @rule("mine.root")  # torch.ops.mine.root, an operation of one's own
... def root(node, x):
...     return with_function(node, x, sp.sqrt(1 + mf.symbols.z**2))
"""

from advmf.modules.operations import layers, shapes, sums  # registers the rules
from advmf.modules.operations.functions import with_function
from advmf.modules.operations.table import RULES, refuse, rule

__all__ = ["RULES", "layers", "refuse", "rule", "shapes", "sums", "with_function"]
