"""R13: an index out of quotes, a mark out of index and book; what goes stale and how it comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine import events as ev
from engine.apply import Accepted, Rejected
from engine.markets import market_state
from engine.params import default_params
from engine.quotes import index_of, median_down, smoothed_premium_e8
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state, state_hash
from tests.engine.conftest import DOLLAR_E8, SECOND, SOL, USDC, Exchange

NOW = 1_000 * SECOND
PARAMS = default_params()


def quotes(*rows: tuple[str, str, float], at_ns: int = NOW) -> tuple[tuple[str, str, int, int], ...]:
    """Build quotes from (feed, source, dollars)."""
    return tuple([(feed, source, round(price * DOLLAR_E8), at_ns) for feed, source, price in rows])


def test_r13_median_of_an_even_count_is_the_floor_of_the_middle() -> None:
    assert median_down([7]) == 7
    assert median_down([1, 9, 4]) == 4
    assert median_down([4, 1, 9, 5]) == 4
    assert median_down([1, 2]) == 1


def test_r13_median_over_feeds_of_medians_over_sources() -> None:
    """Feed a: 100, 100.2, 100.4 -> 100.2; b: 100.6 -> 100.6; c: 99.8, 100 -> 99.9: the index is 100.2.

    The median of all six would be 100.1: a feed counts once, however many sources it has.
    """
    found = index_of(
        PARAMS,
        quotes(("a", "1", 100), ("a", "2", 100.2), ("a", "3", 100.4), ("b", "1", 100.6))
        + quotes(("c", "1", 99.8), ("c", "2", 100)),
        NOW,
    )
    assert (found.price_e8, found.used_sources, found.dropped) == (10_020_000_000, 6, ())


def test_r13_dropped_are_old_future_absurd_and_far_quotes() -> None:
    fresh = quotes(("a", "1", 100), ("a", "2", 101), ("b", "1", 100), ("b", "2", 98.99))
    bad = (
        ("c", "zero", 0, NOW),
        ("c", "huge", 10**18 + 1, NOW),
        ("c", "future", 100 * DOLLAR_E8, NOW + 1),
        ("c", "old", 100 * DOLLAR_E8, NOW - PARAMS.stale_after_ns - 1),
    )
    edge = (("d", "edge", 100 * DOLLAR_E8, NOW - PARAMS.stale_after_ns),)
    found = index_of(PARAMS, bad + fresh + edge, NOW)
    # 101 is exactly 1% away and stays; 98.99 is further and goes.
    assert found.dropped == ("b/2", "c/future", "c/huge", "c/old", "c/zero")
    # Feed a: floor((100 + 101) / 2) = 100.5; b: 100; d: 100.
    assert (found.price_e8, found.used_sources) == (100 * DOLLAR_E8, 4)
    assert index_of(PARAMS, bad, NOW) == replace(found, price_e8=0, used_sources=0, dropped=found.dropped[1:])
    assert index_of(PARAMS, (), NOW).used_sources == 0


@pytest.mark.parametrize(
    ("premium", "observed", "seconds", "expected"),
    [
        (0, 610, 1, 10),
        (610, 0, 1, 600),
        (0, -610, 1, -10),
        (100, 100, 9, 100),
        (0, 120, 60, 60),
        (0, 7, 0, 0),
    ],
)
def test_r13_the_average_moves_by_dt_over_window_plus_dt(
    premium: int, observed: int, seconds: int, expected: int
) -> None:
    assert smoothed_premium_e8(premium, observed, seconds * SECOND, 60 * SECOND) == expected


def test_r13_the_average_rounds_toward_where_it_was() -> None:
    assert smoothed_premium_e8(0, 60, SECOND, 60 * SECOND) == 0
    assert smoothed_premium_e8(0, -60, SECOND, 60 * SECOND) == 0
    assert smoothed_premium_e8(0, 1_000, 10**6 * SECOND, 60 * SECOND) == 999


@pytest.fixture
def market() -> Exchange:
    exchange = Exchange()
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 10_000 * USDC)
    return exchange


def send(exchange: Exchange, *dollars: float, asset: str = "SOL") -> tuple[Any, ...]:
    rows = quotes(*[(f"feed{n}", "s", price) for n, price in enumerate(dollars)], at_ns=exchange.now_ns)
    return exchange.must(cm.UpdateQuotes, asset, rows)


def test_r13_a_mark_follows_index_and_book(market: Exchange) -> None:
    """Index 151, mid 151.61: the first look, 1 s after the last price, moves the average by 61 x 1/61."""
    market.order("1/0", "buy", SOL, 151.11)
    market.order("2/0", "sell", SOL, 152.11)
    market.wait(1)
    taken, updated = send(market, 151, 151, 151)
    assert taken == ev.QuotesTaken("SOL", 151 * DOLLAR_E8, False, 3, ())
    assert updated == ev.PricesUpdated((("SOL", 151 * DOLLAR_E8),), (("SOL-PERP", 15_101_000_000),))
    market.wait(60)
    # (0.61 - 0.01) x 60 / 120 = 0.30 more.
    assert send(market, 151, 151, 151)[1].mark_prices == (("SOL-PERP", 15_131_000_000),)
    # One side gone: the observation is 0. 0.31 - 0.31 x 60 / 120 = 0.155.
    market.must(cm.CancelAllOrders, "2/0", "")
    market.wait(60)
    assert send(market, 151, 151, 151)[1].mark_prices == (("SOL-PERP", 15_115_500_000),)
    loaded = load_state(dump_state(market.state))
    assert state_hash(loaded) == state_hash(market.state)


def test_r13_the_mark_stays_inside_its_band_whatever_the_book_says(market: Exchange) -> None:
    """Self-traders put the book at 290; after a day of it the mark is index + 5% and not one unit more."""
    market.order("1/0", "buy", SOL, 280)
    market.order("2/0", "sell", SOL, 300)
    market.wait(50)
    assert send(market, 150, 150, 150)[1].mark_prices[0][1] == 15_000_000_000 + 750_000_000 * 50 // 110
    for _ in range(200):
        market.wait(50)
        mark_e8 = send(market, 150, 150, 150)[1].mark_prices[0][1]
        assert mark_e8 <= 15_750_000_000
    assert mark_e8 > 15_749_999_000
    # The index falls by a third: the band is of the new index at once.
    market.wait(1)
    assert send(market, 100, 100, 100)[1].mark_prices[0][1] <= 10_500_000_000


def test_r13_too_few_sources_make_the_index_stale_and_enough_bring_it_back(market: Exchange) -> None:
    assert isinstance(market.trade("1/0", "2/0", SOL, 150), Accepted)
    market.attest()
    (taken,) = send(market, 150, 150, 140)
    assert taken == ev.QuotesTaken("SOL", 150 * DOLLAR_E8, True, 2, ("feed2/s",))
    price = market.state.index_prices["SOL"]
    assert (price.price_e8, price.stale) == (150 * DOLLAR_E8, True)
    for name in ("SOL-PERP", "SOL/USDC"):
        assert market_state(market.state, name) == "reduce_only"
    assert market_state(market.state, "BTC-PERP") == "open"
    refused = market.order("1/0", "buy", SOL, 150)
    assert isinstance(refused, Rejected) and refused.reason is RejectReason.MARKET_REDUCE_ONLY
    assert refused.detail == "its price is stale"
    assert isinstance(market.order("1/0", "sell", SOL, 150, reduce_only=1), Accepted)
    loaded = load_state(dump_state(market.state))
    assert loaded.index_prices["SOL"].stale and state_hash(loaded) == state_hash(market.state)
    send(market, 150, 150, 150)
    assert market_state(market.state, "SOL-PERP") == "open"
    assert isinstance(market.order("1/0", "buy", SOL, 149), Accepted)


def test_r13_withdrawals_that_need_a_stale_price_are_held(market: Exchange) -> None:
    market.deposit("1/0", SOL, "SOL")
    assert isinstance(market.trade("1/0", "2/0", SOL, 150), Accepted)
    market.attest()
    send(market)
    # Of 10,000 USDC 3 are initial margin: what is more than the rest needs the price of SOL.
    refused = market.withdraw("1/0", 9_997 * USDC + 1)
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.detail) == (RejectReason.STALE_PRICE, "SOL")
    assert isinstance(market.withdraw("1/0", 9_997 * USDC), Accepted)


def test_r13_quotes_set_off_liquidations_like_prices(market: Exchange) -> None:
    assert isinstance(market.trade("1/0", "2/0", 400 * SOL, 150), Accepted)
    market.wait(1)
    # 400 SOL down by 24 cost 9,600 of 10,000: below maintenance, still above zero.
    happened = send(market, 126, 126, 126)
    assert any(isinstance(event, ev.LiquidationStarted) for event in happened)


def test_r13_the_average_counts_from_the_last_price_whatever_ticks_between(market: Exchange) -> None:
    """R13: the first tick of an hour pays funding; it does not cut short the time the average moves by.

    Mid 7 above the index for 60 s: 150 + 7 x 60 / 120 = 153.5, with or without that tick a second before.
    """
    hour_ns = 3_600 * SECOND
    market.now_ns += hour_ns - market.now_ns % hour_ns - 40 * SECOND
    send(market, 150, 150, 150)
    market.tick()
    market.order("1/0", "buy", SOL, 156.9)
    market.order("2/0", "sell", SOL, 157.1)
    market.wait(59)
    market.tick()
    market.wait(1)
    send(market, 150, 150, 150)
    assert market.state.mark_prices["SOL-PERP"].price_e8 == 15_350_000_000


def test_r13_a_price_of_sixty_seconds_is_fresh_and_a_nanosecond_later_stale(exchange: Exchange) -> None:
    """R13: stale is what is older than 60 s: the last order of the minute passes, the next does not."""
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.wait(60)
    assert isinstance(exchange.order("1/0", "buy", SOL, 150), Accepted)
    exchange.now_ns += 1
    outcome = exchange.order("1/0", "buy", SOL, 150)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.MARKET_REDUCE_ONLY
