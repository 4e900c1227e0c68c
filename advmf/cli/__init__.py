"""The command line: ``advmf check``, ``new``, ``mutate``, ``report``, ``norms``, ``phase``, ``train``, ``show``, ``latex`` and ``list``.

SymPy and torch are imported inside the commands, so that ``advmf --help`` is instant.
"""

from advmf.cli import check, explore, mutate, new, report, show, typeset  # registers the commands
from advmf.cli.shared import main

__all__ = ["check", "explore", "main", "mutate", "new", "report", "show", "typeset"]
