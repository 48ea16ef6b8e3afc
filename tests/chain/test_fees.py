"""What a payout asks for and offers (W6): exact integers, and never above the cap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.fees import compute_unit_limit_for, compute_unit_price_for, priority_fee_lamports


@pytest.mark.parametrize(
    ("consumed", "limit"),
    [(0, 1_000), (1, 1_002), (5, 1_006), (450, 1_540), (30_000, 37_000), (1_300_000, 1_400_000)],
)
def test_w6_the_limit_is_the_simulation_with_headroom(consumed: int, limit: int) -> None:
    assert compute_unit_limit_for(consumed) == limit


@pytest.mark.parametrize(
    ("limit", "price", "fee"), [(1_000_000, 1, 1), (1, 1, 1), (0, 5, 0), (300_000, 10, 3), (300_001, 10, 4)]
)
def test_w6_the_priority_fee_is_rounded_up(limit: int, price: int, fee: int) -> None:
    assert priority_fee_lamports(limit, price) == fee


@pytest.mark.parametrize(
    ("prices", "attempt", "price"),
    [
        ([], 1, 0),
        ([0, 0, 0, 0], 3, 0),
        ([10], 1, 10),
        ([1, 2, 3, 4], 1, 3),  # nearest rank of 75 of 4 is the third
        ([4, 3, 2, 1, 5], 1, 4),  # ceil(3.75) = 4th of the sorted
        ([10], 3, 40),  # doubled for each attempt after the first
        ([10**9], 1, 1_000_000),  # 1,000 lamports x 10^6 / 1,000 units
        ([10**9], 60, 1_000_000),
    ],
)
def test_w6_the_price_is_what_others_pay_within_the_cap(prices: list[int], attempt: int, price: int) -> None:
    assert compute_unit_price_for(prices, 1_000, 1_000, attempt) == price


def test_w6_a_limit_of_nothing_has_no_price() -> None:
    with pytest.raises(ValueError, match="is positive, not 0"):
        compute_unit_price_for([1], 0, 1)


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=200),
    st.integers(1, 1_400_000),
    st.integers(0, 10**9),
    st.integers(1, 20),
)
def test_w6_the_fee_never_exceeds_the_cap(prices: list[int], limit: int, cap: int, attempt: int) -> None:
    price = compute_unit_price_for(prices, limit, cap, attempt)
    assert priority_fee_lamports(limit, price) <= cap
