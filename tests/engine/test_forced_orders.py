"""R12, R22, R23, R25: where forced orders trade, where closing stops, what the counters count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine.apply import Accepted
from engine.events import (
    BackstopFilled,
    CollateralConverted,
    LiquidationEnded,
    LiquidationStageChanged,
    SpotTraded,
    Traded,
)
from engine.liquidation import liquidation_status
from engine.params import default_params
from engine.stages import stage_shares
from tests.engine.conftest import DOLLAR_E8, SECOND, SOL, USDC, Exchange

CENT_E8 = 10**6
BTC = 10**8
STATES = [("open", True), ("reduce_only", True), ("post_only", False), ("closed", False)]


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def mark(exchange: Exchange, cents: int) -> tuple[Any, ...]:
    """Set SOL's index and mark in cents; BTC stays at 60,000."""
    exchange.wait(1)
    price_e8, btc_e8 = cents * CENT_E8, 60_000 * DOLLAR_E8
    return exchange.must(
        cm.UpdatePrices,
        (("SOL", price_e8), ("BTC", btc_e8)),
        (("SOL-PERP", price_e8), ("BTC-PERP", btc_e8)),
    )


def rest(exchange: Exchange, market: str, units: int, cents: int) -> None:
    exchange.must(cm.PlaceOrder, "3/0", market, "buy", "post_only", units, cents * CENT_E8)


def leveraged(exchange: Exchange, dollars: int = 1_000) -> Exchange:
    """Give 1/0 long 300 SOL at 150 against 2/0, and 3/0 rich enough to make a market."""
    exchange.open("3/0")
    exchange.deposit("1/0", dollars * USDC)
    exchange.deposit("2/0", 20_000 * USDC)
    exchange.deposit("3/0", 100_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 300 * SOL, 150), Accepted)
    return exchange


@pytest.mark.parametrize(("market_state", "trades"), STATES)
def test_r12_a_liquidation_trades_in_open_and_reduce_only_markets(
    exchange: Exchange, market_state: str, trades: bool
) -> None:
    """R12, R22: 550 of 601.425 at 148.50; bids rest: 30 SOL go, or the step counts as idle."""
    leveraged(exchange)
    rest(exchange, "SOL-PERP", 200 * SOL, 148_50)
    exchange.must(cm.SetMarketState, "SOL-PERP", market_state)
    traded = [one.units for one in of(mark(exchange, 148_50), Traded)]
    assert traded == ([30 * SOL] if trades else [])
    assert liquidation_status(exchange.state, "1/0").idle_steps == (0 if trades else 1)
    exchange.must(cm.SetMarketState, "SOL-PERP", "open")
    assert [one.units for one in of(mark(exchange, 148_50), Traded)] == [30 * SOL]


@pytest.mark.parametrize(("market_state", "trades"), STATES)
def test_r12_a_loss_is_sold_for_in_open_and_reduce_only_spot_markets(
    exchange: Exchange, market_state: str, trades: bool
) -> None:
    """R12, R26: 1/0 owes $60 and has 10 SOL; bids of 149.90: ceil(60 / 148.5) = 0.404040405, in lots 0.41
    SOL.

    Where the book is shut the fund buys: 60 / 142.5 = 0.421052632 SOL.
    """
    exchange.open("3/0")
    exchange.deposit("1/0", 10 * SOL, "SOL")
    exchange.deposit("2/0", 20_000 * USDC)
    exchange.deposit("3/0", 20_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    rest(exchange, "SOL/USDC", 5 * SOL, 149_90)
    exchange.must(cm.SetMarketState, "SOL/USDC", market_state)
    exchange.prices(150, mark_usd=144)
    events = exchange.tick()
    sold = [one.units for one in of(events, SpotTraded)]
    converted = [one.units for one in of(events, CollateralConverted)]
    assert (sold, converted) == (([410_000_000], []) if trades else ([], [421_052_632]))


def test_r22_a_market_is_left_alone_when_the_one_before_it_was_enough(exchange: Exchange) -> None:
    """R22: at 147.30 1/0 has 1,600 - 810 = 790 of 300 x 147.3 x 1.35% + 200.1 = 796.665.

    With 270 SOL it needs 536.9085 + 200.1 = 737.0085, 105% of it 773.86: recovered, so no BTC is sold
    although a bid is there.
    """
    leveraged(exchange, 1_600)
    assert isinstance(exchange.trade("1/0", "2/0", BTC // 2, 60_000, "BTC-PERP"), Accepted)
    rest(exchange, "SOL-PERP", 200 * SOL, 147_30)
    rest(exchange, "BTC-PERP", BTC, 60_000_00)
    events = mark(exchange, 147_30)
    assert [(one.market, one.units) for one in of(events, Traded)] == [("SOL-PERP", 30 * SOL)]
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.base("1/0", "BTC-PERP") == BTC // 2


def test_r23_a_provider_takes_no_second_market_when_the_first_was_enough(
    make_exchange: type[Exchange],
) -> None:
    """R23: at $2.77 million SOL's MMF is 37.5 x 10^-6 x root = 6.2413%; at $1.77 million 4.9891%.

    1/0 has 401,000 - 20,000 x 11.5 = 171,000 of about 172,883 + 400.2. A provider of $1,000,000 a minute
    takes 1,000,000 / 138.5 = 7,220.2 SOL and with them 36.1% of SOL's share of the equity, 61,590: 109,410
    are left for 12,779.8 SOL, which need about 88,307, and 1 BTC, which needs 400.2: more than 105%. The
    BTC stays.
    """
    exchange = make_exchange(replace(default_params(), stage1_patience=0))
    exchange.open("1/0", "2/0", "90/0")
    exchange.prices(150)
    exchange.deposit("1/0", 401_000 * USDC)
    exchange.deposit("2/0", 10_000_000 * USDC)
    exchange.deposit("90/0", 1_000_000 * USDC)
    exchange.must(cm.RegisterBackstop, "90/0")
    for market in ("SOL-PERP", "BTC-PERP"):
        exchange.must(cm.SetBackstopCapacity, "90/0", market, 10**6 * USDC, 10**7 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 20_000 * SOL, 150), Accepted)
    assert isinstance(exchange.trade("1/0", "2/0", BTC, 60_000, "BTC-PERP"), Accepted)
    events = mark(exchange, 138_50)
    assert of(events, LiquidationStageChanged) == [LiquidationStageChanged("1/0", "backstop", "no_progress")]
    (filled,) = of(events, BackstopFilled)
    assert (filled.market, filled.base_units) == ("SOL-PERP", -7_220_216_606_498)
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.base("1/0", "BTC-PERP") == BTC


def test_r25_a_liquidation_counts_once_per_stage_however_often_it_fills(exchange: Exchange) -> None:
    """R25: two steps of 30 SOL at 148.50 are two fills, $8,910, of one subaccount."""
    leveraged(exchange)
    rest(exchange, "SOL-PERP", 200 * SOL, 148_50)
    assert len(of(mark(exchange, 148_50), Traded)) == len(of(mark(exchange, 148_50), Traded)) == 1
    book = stage_shares(exchange.state, exchange.now_ns)[0]
    assert (book.stage, book.fills, book.notional_usd6) == ("book", 2, 8_910 * USDC)
    assert (book.subaccounts, book.day_subaccounts) == (1, 1)
    assert exchange.state.liquidations == {}
    # A second liquidation of the same subaccount counts again: at 148 430 of 240 x 148 x 1.35% = 479.52.
    exchange.must(cm.CancelAllOrders, "3/0", "")
    rest(exchange, "SOL-PERP", 200 * SOL, 148_00)
    assert len(of(mark(exchange, 148_00), Traded)) == 1
    book = stage_shares(exchange.state, exchange.now_ns)[0]
    assert (book.fills, book.subaccounts, book.day_subaccounts) == (3, 2, 2)


def test_r25_a_quarter_of_an_hour_later_a_new_bucket_begins(exchange: Exchange) -> None:
    """R25: a fill exactly 15 minutes after the first is a bucket of its own: a day after the first it still
    counts.
    """
    leveraged(exchange)
    rest(exchange, "SOL-PERP", 200 * SOL, 148_50)
    assert len(of(mark(exchange, 148_50), Traded)) == 1
    first_ns = exchange.now_ns
    exchange.wait(15 * 60 - 1)
    assert len(of(mark(exchange, 148_50), Traded)) == 1
    day_ns = 86_400 * SECOND
    fills = [stage_shares(exchange.state, first_ns + day_ns + more_ns)[0].day_fills for more_ns in (-1, 0)]
    assert fills == [2, 1]
