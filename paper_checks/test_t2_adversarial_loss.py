"""T2 at the paper's scale: MNIST, d = 784, K = 10, L = 10, N = oo, nine pairs.

Run with ``pytest -m paper paper_checks``, or ``advmf check --full --theorem T2``.
"""

import pytest

from advmf.theorems.selection import DEFAULT_ACTIVATIONS, DEFAULT_NETS, GROWING
from advmf.verify.runs import run
from advmf.verify.suite import PAPER, cases
from advmf.verify.verdict import Verdict

pytestmark = pytest.mark.paper


@pytest.mark.parametrize("activation", DEFAULT_ACTIVATIONS)
@pytest.mark.parametrize("net", [net for net in DEFAULT_NETS if net != GROWING])
def test_adversarial_loss(net, activation):
    for outcome in run(cases(["T2"], [net], [activation], profile=PAPER)):
        assert len(outcome.reports) == 9
        assert {r.verdict for r in outcome.reports} == {Verdict.NOT_REFUTED}, "\n".join(map(str, outcome.reports))
        assert {r.verdict for r in outcome.controls} == {Verdict.REFUTED}
