"""``python -m advmf``, the same as the command ``advmf``."""

from advmf.cli import main

if __name__ == "__main__":
    main(prog_name="python -m advmf")
