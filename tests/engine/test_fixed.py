"""R1, R2: scales, and which way everything rounds."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import fixed
from engine.units import MAX_PRICE_E8, MAX_UNITS, is_text, order_key, same_account

amounts = st.integers(-(2**70), 2**70)
prices = st.integers(1, MAX_PRICE_E8)
decimals = st.integers(0, 18)


@given(amounts, prices, decimals)
def test_r2_notional_rounds_as_its_name_says(units: int, price_e8: int, places: int) -> None:
    exact = Fraction(units * price_e8, 10 ** (places + 2))
    assert fixed.notional_down_usd6(units, price_e8, places) == floor(exact)
    assert fixed.notional_up_usd6(units, price_e8, places) == ceil(exact)


def test_r2_notional_examples() -> None:
    # 1 lamport at $150 is 0.15 usd6.
    assert fixed.notional_down_usd6(1, 150 * 10**8, 9) == 0
    assert fixed.notional_up_usd6(1, 150 * 10**8, 9) == 1
    assert fixed.notional_down_usd6(-1, 150 * 10**8, 9) == -1
    assert fixed.notional_down_usd6(10**9, 150 * 10**8, 9) == 150_000_000


@given(st.integers(0, 2**64), prices, decimals)
def test_r28_units_for_an_amount_are_the_fewest_that_suffice(usd6: int, price_e8: int, places: int) -> None:
    units = fixed.units_for_usd6_up(usd6, price_e8, places)
    assert units == ceil(Fraction(usd6 * 10 ** (places + 2), price_e8))


@given(amounts, st.integers(0, 10**6))
def test_r2_ratios_round_as_their_names_say(amount: int, ppm: int) -> None:
    assert fixed.ppm_of_down(amount, ppm) == floor(Fraction(amount * ppm, 10**6))
    assert fixed.ppm_of_up(amount, ppm) == ceil(Fraction(amount * ppm, 10**6))
    assert fixed.divide_down(amount, 7) == floor(Fraction(amount, 7))
    assert fixed.divide_up(amount, 7) == ceil(Fraction(amount, 7))
    assert fixed.scale_down(amount, 3, 7) == floor(Fraction(amount * 3, 7))


@given(prices, st.integers(0, 999_999))
def test_r28_haircut_rounds_down(price_e8: int, haircut_ppm: int) -> None:
    assert fixed.discounted_price_down_e8(price_e8, haircut_ppm) == floor(
        Fraction(price_e8 * (10**6 - haircut_ppm), 10**6)
    )


@given(st.integers(0, 2**130))
def test_sqrt_up_is_the_smallest_root_that_suffices(number: int) -> None:
    root = fixed.sqrt_up(number)
    assert root * root >= number
    assert root == 0 or (root - 1) ** 2 < number


@given(st.integers(0, MAX_UNITS), st.integers(0, 10**6), st.integers(0, 10**6), decimals)
def test_r16_weight_never_exceeds_the_exact_weight(units: int, base: int, penalty: int, places: int) -> None:
    weight = fixed.weight_down_ppm(base, penalty, units, places)
    assert 0 <= weight <= base
    # weight x (1 + p sqrt(t)) <= base, squared to stay exact: p^2 t <= (base/weight - 1)^2
    if weight:
        tokens = Fraction(units, 10**places)
        assert Fraction(penalty, 10**6) ** 2 * tokens <= (Fraction(base, weight) - 1) ** 2


def test_r16_weight_examples() -> None:
    # 100 SOL, penalty 1000 ppm per sqrt(token): 900000 / 1.01 = 891089.1...
    assert fixed.weight_down_ppm(900_000, 1_000, 100 * 10**9, 9) == 891_089
    assert fixed.weight_down_ppm(900_000, 1_000, 0, 9) == 900_000
    assert fixed.weight_down_ppm(1_000_000, 0, MAX_UNITS, 6) == 1_000_000


def test_r18_ratio_examples() -> None:
    # SOL: 7.5e-5 x sqrt($1,000,000) = 0.075
    assert fixed.margin_ratio_up_ppm(75_000_000, 10**12) == 75_000
    assert fixed.margin_ratio_up_ppm(75_000_000, 10**12 + 1) == 75_001
    assert fixed.leverage_ratio_up_ppm(50) == 20_000
    assert fixed.leverage_ratio_up_ppm(75) == 13_334


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=12).filter(any), st.data())
def test_r26_shares_add_up_and_follow_the_largest_remainder(weights: list[int], data: st.DataObject) -> None:
    total = sum(weights)
    amount = data.draw(st.integers(0, total))
    parts = fixed.share_out(amount, weights)
    assert sum(parts) == amount
    exact = [Fraction(amount * weight, total) for weight in weights]
    for part, share, weight in zip(parts, exact, weights, strict=True):
        assert part in (floor(share), floor(share) + 1)
        assert part <= weight
    bumped = [share - floor(share) for part, share in zip(parts, exact, strict=True) if part > floor(share)]
    kept = [share - floor(share) for part, share in zip(parts, exact, strict=True) if part == floor(share)]
    assert not bumped or not kept or min(bumped) >= max(kept)


def test_r26_equal_remainders_go_to_the_earlier_place() -> None:
    assert fixed.share_out(1, [1, 1, 1]) == (1, 0, 0)
    assert fixed.share_out(5, [1, 1, 1]) == (2, 2, 1)
    assert fixed.share_out(100, [1, 1, 1]) == (34, 33, 33)


@given(amounts, st.integers(1, 2**70), amounts, st.integers(1, 2**70))
def test_r2_ratios_are_compared_exactly(a: int, b: int, c: int, d: int) -> None:
    found = fixed.compare_ratios(a, b, c, d)
    first, second = Fraction(a, b), Fraction(c, d)
    assert (found > 0) == (first > second) and (found == 0) == (first == second)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("7/0", (0, 7, 0, "")),
        ("10/2", (0, 10, 2, "")),
        ("0/0", (0, 0, 0, "")),
        ("2147483647/2147483647", (0, 2147483647, 2147483647, "")),
        ("insurance_fund", (1, 0, 0, "insurance_fund")),
        ("2147483648/0", None),
        ("07/0", None),
        ("7", None),
        ("7/", None),
        ("/7", None),
        ("7/0/1", None),
        ("-1/0", None),
        (" 7/0", None),
        ("٧/0", None),
        ("7/²", None),
        ("somebody", None),
        ("", None),
        ("1" * 5000 + "/0", None),
    ],
)
def test_r6_spelling_of_subaccounts(text: str, key: tuple[int, int, int, str] | None) -> None:
    assert order_key(text) == key


def test_canonical_order_is_numeric_then_names() -> None:
    names = ["fees", "10/0", "9/1", "insurance_fund", "9/0"]
    assert sorted(names, key=lambda name: order_key(name) or ()) == [
        "9/0",
        "9/1",
        "10/0",
        "fees",
        "insurance_fund",
    ]
    assert same_account("7/0", "7/12") and not same_account("7/0", "71/0")


def test_texts_are_printable_ascii() -> None:
    assert is_text("a b:c") and is_text("", may_be_empty=True)
    for bad in ("", "é", "\n", "\ud83d", "a" * 257):
        assert not is_text(bad)
