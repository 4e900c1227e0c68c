"""The suite of ``advmf check`` itself: exit code 0 on several seeds and kernels of the processor, the margins of its
findings, and how often a suite refutes what is true.

``pytest -m paper paper_checks/test_suite.py`` (half an hour); ``python paper_checks/test_suite.py 10`` prints the table
of margins over ten seeds.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict

import pytest
from scipy import stats

from advmf.verify.runs import family, run
from advmf.verify.suite import FAMILY_ALPHA, cases

pytestmark = pytest.mark.paper

OTHERS = {
    "as it is": {},
    "no vector units": {"ATEN_CPU_CAPABILITY": "default"},
    "another BLAS kernel": {"OPENBLAS_CORETYPE": "Prescott", "MKL_CBWR": "COMPATIBLE"},
}
"""Environments in which torch and the linear algebra compute with other kernels of the processor."""
OPTIONS = {"nets": None, "data": None, "device": "cpu", "sampler": "auto", "memory": 2**32}


def checked(seed, path, environment=None, *options):
    """The exit code of ``advmf check``, and its JSON."""
    words = [sys.executable, "-m", "advmf.cli", "check", "--seed", str(seed), "--json", str(path), *options]
    code = subprocess.run(words, env={**os.environ, **(environment or {})}, capture_output=True).returncode
    return code, json.loads(path.read_text())


@pytest.mark.parametrize("seed", range(5))
def test_every_seed_ends_in_0(seed, tmp_path):
    code, found = checked(seed, tmp_path / "results.json")
    assert code == 0, found["summary"]


@pytest.mark.parametrize("environment", OTHERS)
def test_verdicts_are_the_same_with_other_kernels(environment, tmp_path):
    code, _ = checked(0, tmp_path / "results.json", OTHERS[environment])
    assert code == 0


def test_suites_refute_what_is_true_as_seldom_as_they_say():
    """100 brief suites: more than 4 with any REFUTED would be one chance in 300 at the declared 1 %."""
    suite = cases(brief=True)
    claims = sum(len(case.claims) for case in suite)
    refuted = 0
    for seed in range(100):
        outcomes = family(list(run(suite, seed=seed, **OPTIONS)), claims)
        refuted += any(report.verdict == "REFUTED" for outcome in outcomes for report in outcome.reports)
    print(f"{refuted} of 100 suites refuted a claim")
    assert stats.binom.sf(refuted - 1, 100, FAMILY_ALPHA) > 1 / 300, refuted


def margins(records):
    """The largest resolution of every theorem, in units of the effect that is declared, and its seconds."""
    worst, seconds = defaultdict(float), defaultdict(list)
    for record in records:
        spent = defaultdict(float)
        for result in record["results"]:
            spent[result["case"]] += result["seconds"]
            for finding in result["findings"]:
                share = finding["resolution"] / finding["effect"]
                worst[result["case"]] = max(worst[result["case"]], share)
        for case, each in spent.items():
            seconds[case].append(each)
    return {case: (share, sum(seconds[case]) / len(seconds[case])) for case, share in worst.items()}


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        found = [checked(seed, Path(folder) / "results.json") for seed in range(int(sys.argv[1]))]
    print("exit codes:", [code for code, _ in found])
    for case, (share, spent) in margins([record for _, record in found]).items():
        print(f"{case:6} {share:.2f} of its effect, {spent:.1f} s for its claims")
