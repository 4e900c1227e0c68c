"""``advmf check`` on a small suite whose cases wait until a test lets them go on, so that it can end the run at a place
of its choice.

A case that has been begun is a file ``CASE.PID`` in the folder $HELD, and goes on when there is a file ``CASE.go``. The
numbers are those of the same cases elsewhere.
"""

import os
import signal
import time
from dataclasses import fields, replace
from pathlib import Path

from advmf.verify import suite
from advmf.verify.suite import Case, Scale

SMALL = replace(suite.QUICK, scales={"F1": Scale(L=2, d=16, K=2, widths=(8, 16), nets=(40, 40))})
chosen = suite.cases


def label(case):
    """The name of a case's files."""
    return f"{case.theorem}-{case.name}-{case.activation}"


class Held(Case):
    """A case that waits before it computes. Workers import it by name, with the folder of this file on their path."""

    def check(self, mutants, options):
        folder, name = Path(os.environ["HELD"]), label(self)
        (folder / f"{name}.{os.getpid()}").touch()
        while not (folder / f"{name}.go").exists():
            time.sleep(0.01)
        return super().check(mutants, options)


def cases(*args, **options):
    """The cases of a suite, held."""
    return [Held(*(getattr(case, field.name) for field in fields(case))) for case in chosen(*args, **options)]


def main():
    """``advmf`` with them."""
    from advmf.cli import main

    # A shell that starts the tests in the background has made them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    suite.QUICK, suite.cases = SMALL, cases
    main()
