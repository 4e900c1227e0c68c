"""The command line: ``advmf check``, ``mutate``, ``report``, ``norms``, ``phase``, ``train``, ``show`` and ``list``.

SymPy and torch are imported inside the commands, so that ``advmf --help`` is instant.
"""

from advmf.cli import check, explore, mutate, report, show  # registers the commands
from advmf.cli.shared import main

__all__ = ["check", "explore", "main", "mutate", "report", "show"]
