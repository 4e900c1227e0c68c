"""Compiled code of the tests stays with the tests, and is shared by the workers of a parallel run."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # A worker's folder lies in that of the run.
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "advmf"
        folder.mkdir(mode=0o700, exist_ok=True)
        patch.setenv("ADVMF_CACHE_DIR", str(folder))
        yield
