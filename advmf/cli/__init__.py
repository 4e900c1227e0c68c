"""The command line: ``advmf check``, ``new``, ``norms``, ``phase``, ``train``, ``show``, ``latex`` and ``list``.

SymPy and torch are imported inside the commands, so that ``advmf --help`` is instant.
"""

from advmf.cli import check, explore, new, show, typeset  # registers the commands
from advmf.cli.shared import main

__all__ = ["check", "explore", "main", "new", "show", "typeset"]
