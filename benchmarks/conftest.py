"""What benchmarks share."""

import pytest


@pytest.fixture
def one_thread():
    """One torch thread, so that ratios do not depend on what else the machine does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
