"""``python -m advmf.cli``."""

from advmf.cli import main

main()
