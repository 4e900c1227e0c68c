"""The command line: ``advmf check``, ``sweep``, ``audit``, ``new``, ``mutate``, ``report``, ``norms``, ``phase``,
``train``, ``show``, ``latex`` and ``list``.

SymPy and torch are imported inside the commands, so that ``advmf --help`` is instant.
"""

try:
    from advmf.cli import audit, check, explore, mutate, new, report, show, sweep, typeset  # registers the commands
    from advmf.cli.shared import main
except KeyboardInterrupt:
    raise SystemExit(130) from None

__all__ = ["audit", "check", "explore", "main", "mutate", "new", "report", "show", "sweep", "typeset"]
