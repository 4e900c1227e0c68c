import importlib
import math
from itertools import pairwise

import pytest
import torch

from advmf.errors import ArgumentError, DomainError, MemoryBudgetError
from advmf.simulate import gaussian_norms

INF = math.inf
PAIRS = [(INF, 1), (2, 2), (3, 1.5), (1, 2), (3, 3)]


@pytest.mark.parametrize("certify", [False, True])
def test_a_seed_gives_the_same_numbers_in_blocks_of_any_size(certify, monkeypatch):
    options = {"samples": 7, "seed": 3, "cooling": 4, "certify": certify}
    whole = gaussian_norms(17, 14, PAIRS, **options)
    for count in (1, 3):
        monkeypatch.setattr(importlib.import_module("advmf.simulate.matrices"), "BYTES", count * 8 * 14 * 17)
        for pair, norms in gaussian_norms(17, 14, PAIRS, **options).items():
            torch.testing.assert_close(norms.lower, whole[pair].lower, rtol=1e-10, atol=0)
            if certify:
                torch.testing.assert_close(norms.upper, whole[pair].upper, rtol=1e-10, atol=0)
    longer = gaussian_norms(17, 14, PAIRS, **options | {"samples": 9})
    other = gaussian_norms(17, 14, PAIRS, **options | {"seed": 4})
    for pair in PAIRS:
        torch.testing.assert_close(longer[pair].lower[:7], whole[pair].lower, rtol=1e-10, atol=0)
        assert (other[pair].lower != whole[pair].lower).all()


def test_one_matrix_for_all_pairs_and_brackets():
    norms = gaussian_norms(20, 9, [(p, q) for p in (1, 3, INF) for q in (1, 2, INF)], samples=20, certify=True)
    assert all((found.lower <= found.upper).all() for found in norms.values())
    for p in (1, 3, INF):
        assert all((norms[p, q].lower >= norms[p, r].lower).all() for q, r in pairwise((1, 2, INF)))
    assert [pair for pair, found in norms.items() if not found.exact] == [(3, 2), (INF, 2)]
    assert gaussian_norms(5, 2, [(2, 2)], samples=2)[2, 2].upper is None


def test_the_variance_of_an_entry():
    squares = (
        gaussian_norms(50, 1, [(2, 2)], samples=400)[2, 2].lower ** 2
    )  # chi squared with 50 degrees of freedom, over 50
    assert abs(squares.mean() - 1) < 5 * math.sqrt(2 / 50 / 400)
    assert squares.var() == pytest.approx(2 / 50, rel=0.4)


def test_signs_and_keys():
    norms = gaussian_norms(14, 20, [("inf", 1), ("3/2", "inf")], samples=2, signs=14)
    assert set(norms) == {("inf", 1), ("3/2", "inf")} and norms["inf", 1].exact
    loose = gaussian_norms(14, 20, [("inf", 1)], samples=2)["inf", 1]
    assert not loose.exact and (loose.lower <= norms["inf", 1].lower * (1 + 1e-12)).all()


def test_progress():
    calls = []
    gaussian_norms(4, 3, [(1, 1), (2, 2)], samples=5, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(5, 10), (10, 10)]


def test_errors():
    right = {"d": 3, "K": 2, "pairs": [(2, 2)], "samples": 1}
    for name, wrong in (
        ("d", 0),
        ("K", 2.0),
        ("samples", 0),
        ("seed", -1),
        ("starts", -1),
        ("cooling", True),
        ("signs", 25),
    ):
        with pytest.raises((ArgumentError, DomainError), match=f"{name} must be (an integer|at)"):
            gaussian_norms(**right | {name: wrong})
    for wrong in ([], 3, "22", [2, 2], [(1, 2, 3)]):
        with pytest.raises(ArgumentError, match="pairs must be"):
            gaussian_norms(**right | {"pairs": wrong})
    with pytest.raises(DomainError, match="q must be"):
        gaussian_norms(**right | {"pairs": [(2, 0.5)]})


@pytest.mark.parametrize("sizes", [(10**9, 2, 10), (10, 10**9, 2), (4, 2, 10**20)])
def test_what_does_not_fit_is_refused_with_bytes(sizes):
    d, K, samples = sizes
    with pytest.raises(MemoryBudgetError, match=r"\d,\d{3} bytes"):
        gaussian_norms(d, K, [(2, 2)], samples=samples)
