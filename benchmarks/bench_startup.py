"""Start-up: ``advmf --help`` and ``import advmf`` against a bare interpreter in the same run."""

import subprocess
import sys
import time

import pytest

CODE = {
    "help": "from advmf.cli import main; main(['--help'])",
    "import advmf": "import advmf",
    "symbolic bound": "import advmf as mf; mf.latex(mf.loss_bound(mf.residual(), 2, 2))",
}


def run(code):
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", CODE)
def test_startup(benchmark, name):
    run(CODE[name])
    bare = []
    for _ in range(5):
        start = time.perf_counter()
        run("pass")
        bare.append(time.perf_counter() - start)
    benchmark.pedantic(run, args=(CODE[name],), rounds=5)
    benchmark.extra_info["bare interpreter (s)"] = round(sorted(bare)[2], 4)
    benchmark.extra_info["ratio"] = round(benchmark.stats.stats.median / sorted(bare)[2], 2)
