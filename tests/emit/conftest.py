"""Compiled code of the tests stays with the tests."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVMF_CACHE_DIR", str(tmp_path_factory.mktemp("advmf", numbered=True)))
        yield
