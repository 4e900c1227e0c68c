"""The command line: ``advmf check``, ``sweep``, ``audit``, ``new``, ``mutate``, ``report``, ``explore``, ``norms``,
``phase``, ``train``, ``show``, ``latex`` and ``list``.

SymPy and torch are imported inside the commands, so that ``advmf --help`` is instant.
"""

try:
    # registers the commands
    from advmf.cli import audit, check, explore, figures, mutate, new, report, show, sweep, train, typeset
    from advmf.cli.shared import main
except KeyboardInterrupt:
    raise SystemExit(130) from None

__all__ = [
    "audit", "check", "explore", "figures", "main", "mutate", "new", "report", "show", "sweep", "train", "typeset",
]  # fmt: skip
