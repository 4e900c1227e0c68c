"""Shared settings of the benchmarks."""

import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def unchecked_shapes():
    """No checks of shapes at run time, as tests have them: they take a third of the time of small chunks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def one_thread():
    """One torch thread, so that ratios do not depend on the load of the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
