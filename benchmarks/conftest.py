"""Shared settings of the benchmarks."""

import pytest


@pytest.fixture
def one_thread():
    """One torch thread, so that ratios do not depend on the load of the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
