"""R14: the hourly rate and what it moves, worked out by hand; zero-sum to the unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine import events as ev
from engine.apply import Accepted
from engine.funding import expected_funding_rate_e9, funding_rate_e9
from engine.params import default_params
from tests.engine.conftest import DOLLAR_E8, SECOND, SOL, USDC, Exchange

MARKET = default_params().markets[0]
HOUR = 3_600


@pytest.mark.parametrize(
    ("premium_ppm", "interest_ppm", "expected_e9"),
    [
        # Inside +-500 ppm the premium is cancelled.
        (400, 0, 0),
        (-500, 0, 0),
        # 900 - 500 = 400 ppm per 8 hours = 50 ppm per hour.
        (900, 0, 50_000),
        (-900, 0, -50_000),
        # Interest of 100 ppm per 8 hours: 12.5 ppm per hour.
        (0, 100, 12_500),
        (400, 100, 12_500),
        # 1 ppm per 8 hours is 125 x 10^-9 per hour; -501 gives -1 ppm.
        (501, 0, 125),
        (-501, 0, -125),
        # The cap of 5,000 ppm per hour: premiums beyond 40,500 ppm.
        (40_500, 0, 5_000_000),
        (49_999, 0, 5_000_000),
        (-49_999, 0, -5_000_000),
    ],
)
def test_r14_the_hourly_rate(premium_ppm: int, interest_ppm: int, expected_e9: int) -> None:
    assert funding_rate_e9(replace(MARKET, funding_interest_ppm=interest_ppm), premium_ppm) == expected_e9


@pytest.fixture
def market() -> Exchange:
    """1/0 is long 10 SOL against 2/0 (7) and 3/0 (3); the clock stands 100 s after a full hour."""
    exchange = Exchange()
    assert exchange.now_ns % (HOUR * SECOND) == 0
    exchange.wait(100)
    exchange.open("1/0", "2/0", "3/0")
    exchange.prices(150)
    for name in ("1/0", "2/0", "3/0"):
        exchange.deposit(name, 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 7 * SOL, 150), Accepted)
    assert isinstance(exchange.trade("1/0", "3/0", 3 * SOL, 150), Accepted)
    exchange.tick()
    return exchange


def funding(happened: tuple[Any, ...]) -> list[ev.FundingPaid]:
    return [event for event in happened if isinstance(event, ev.FundingPaid)]


def marks(exchange: Exchange, cents: int) -> None:
    exchange.must(
        cm.UpdatePrices, (("SOL", 150 * DOLLAR_E8),), (("SOL-PERP", 150 * DOLLAR_E8 + cents * 10**6),)
    )


def test_r14_longs_pay_shorts_once_an_hour_exactly_zero_sum(market: Exchange) -> None:
    """The mark stands 60 cents above the index (4,000 ppm) for half the time since the last hour.

    Sampled: 0 for 1,000 s, 4,000 for 1,000 s: average 2,000 ppm; (2,000 - 500) / 8 = 187.5 ppm per hour. Of
    10 SOL x 150 = 1,500 USD that is 281,250; of 7: 196,875; of 3: 84,375.
    """
    market.wait(1_000)
    marks(market, 60)
    market.wait(1_000)
    marks(market, 0)
    assert funding(market.tick()) == []
    market.now_ns += (HOUR - 2_100) * SECOND - 1
    market.prices(150)
    assert funding(market.tick()) == []
    market.now_ns += 1
    # From 2,100 s to 3,600 s the premium was 0: 4,000 x 1,000 / 3,500 = 1,142.857 -> 1,142 ppm.
    market.prices(150)
    (paid,) = funding(market.tick())
    # (1,142 - 500) / 8 = 80.25 ppm per hour: 1,500 USD -> 120,375; 1,050 -> 84,262.5; 450 -> 36,112.5.
    assert paid.rate_e9 == 80_250
    assert paid.payments == (("1/0", -120_375), ("2/0", 84_262), ("3/0", 36_112))
    assert paid.rounding_usd6 == 1
    assert market.cash("1/0") == 1_000 * USDC - 120_375
    assert market.cash("2/0") == 1_000 * USDC + 84_262
    assert market.cash("rounding") == 1
    market.wait(10)
    assert funding(market.tick()) == []


def test_r14_below_the_index_shorts_pay(market: Exchange) -> None:
    marks(market, -150)
    market.wait(HOUR - 100)
    assert expected_funding_rate_e9(market.state, "SOL-PERP") == -1_187_500
    marks(market, -150)
    (paid,) = funding(market.tick())
    # -10,000 + 500 = -9,500 ppm; / 8 = -1,187.5: of 1,500 USD 1.78125, of 1,050 1.246875, of 450 0.534375.
    assert paid.rate_e9 == -1_187_500
    assert paid.payments == (("1/0", 1_781_250), ("2/0", -1_246_875), ("3/0", -534_375))
    assert paid.rounding_usd6 == 0


def test_r14_missed_hours_are_not_made_up_for(market: Exchange) -> None:
    marks(market, 150)
    market.wait(5 * HOUR)
    marks(market, 150)
    assert len(funding(market.tick())) == 1
    market.wait(1)
    assert funding(market.tick()) == []


def test_r14_a_stale_price_pays_nothing_and_begins_anew(market: Exchange) -> None:
    marks(market, 150)
    market.wait(HOUR - 100)
    assert funding(market.tick()) == []
    premium = market.state.premiums["SOL-PERP"]
    assert (premium.weighted_ppm_ns, premium.elapsed_ns) == (0, 0)


def test_r14_no_premium_costs_nothing_and_spot_has_no_funding(market: Exchange) -> None:
    for _ in range(3):
        market.wait(HOUR)
        market.prices(150)
        assert funding(market.tick()) == []
    assert set(market.state.premiums) == {"SOL-PERP", "BTC-PERP"}
    assert expected_funding_rate_e9(market.state, "BTC-PERP") == 0
