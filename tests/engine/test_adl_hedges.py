"""R24, R13: stale markets, hedges by borrow-lend, order of netting, and when deleveraging stops."""

from __future__ import annotations

from typing import Any

from engine import commands as cm
from engine.adl import adl_ranks, net_delta_units
from engine.apply import Accepted
from engine.events import AutoDeleveraged, LiquidationEnded, PositionsNetted
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange

CENT_E8 = 10**6


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def trade(exchange: Exchange, buyer: str, seller: str, sol: int, price_cents: int) -> None:
    consents = (buyer, seller)
    exchange.must(cm.BlockTrade, "SOL-PERP", buyer, seller, sol * SOL, price_cents * CENT_E8, consents)


def rich(exchange: Exchange, *names: str) -> None:
    for name in names:
        if name not in exchange.state.subaccounts:
            exchange.open(name)
        exchange.must(cm.SetLending, name, 0, 0, 0)
        exchange.deposit(name, 100_000 * USDC)


def test_r13_r24_nobody_is_deleveraged_in_a_market_whose_price_is_stale(exchange: Exchange) -> None:
    """R13, R24: SOL is fresh at 130, BTC's prices are 61 s old: the short of SOL is reduced, that of BTC
    not.

    1/0: $1,000, long 100 SOL from 150 (loss 2,000), long 0.001 BTC from 60,000. Maintenance margins: 13,000
    x 1.35% = 175.50 and 60 x 0.667% = 0.4002. Of the missing 1,000 SOL's share is ceil(1,000 x 175.5 /
    175.9002) = 997.724847; the rest waits with the position of BTC, and is 1,000 - 997.724847 = 2.275153 at
    its turn.
    """
    exchange.deposit("1/0", 1_000 * USDC)
    rich(exchange, "2/0")
    trade(exchange, "1/0", "2/0", 100, 150_00)
    assert isinstance(exchange.trade("1/0", "2/0", 10**5, 60_000, "BTC-PERP"), Accepted)
    exchange.wait(61)
    fresh = (("SOL", 130 * DOLLAR_E8),), (("SOL-PERP", 130 * DOLLAR_E8),)
    (receipt,) = of(exchange.must(cm.UpdatePrices, *fresh), AutoDeleveraged)
    assert (receipt.market, receipt.base_units) == ("SOL-PERP", -100 * SOL)
    assert (receipt.forgone_usd6, receipt.deficit_usd6) == (997_724_847, 0)
    assert exchange.base("1/0", "BTC-PERP") == 10**5 == -exchange.base("2/0", "BTC-PERP")
    assert exchange.state.liquidations["1/0"].stage == "adl"
    exchange.wait(1)
    # A step at the stale price changes nothing, the first fresh one closes it; 2/0 has no profit on BTC.
    assert not of(exchange.must(cm.UpdatePrices, *fresh), AutoDeleveraged)
    exchange.wait(1)
    events = exchange.prices(130)
    (receipt,) = of(events, AutoDeleveraged)
    assert (receipt.market, receipt.base_units, receipt.forgone_usd6) == ("BTC-PERP", -(10**5), 0)
    assert receipt.deficit_usd6 == 2_275_153
    assert events[-1] == LiquidationEnded("1/0", "bankrupt")


def test_r24_a_borrow_hedges_a_long(exchange: Exchange) -> None:
    """R24: 3/0 is long 100 and owes 100 SOL that it has given away: net delta 100 - 100 = 0, a hedge.

    Its margin fraction (20,000 - 16,200 + 1,200) / 32,400 = 15% is far below 2/0's 100,720 / 9,720, and yet
    2/0, who is long 60 and nothing else, is reduced first.
    """
    exchange.deposit("1/0", 1_600 * USDC)
    exchange.open("3/0", "3/1", "4/0")
    rich(exchange, "2/0")
    exchange.deposit("4/0", 1_000 * SOL, "SOL")
    exchange.must(cm.Lend, "4/0", "SOL", 1_000 * SOL)
    exchange.deposit("3/0", 20_000 * USDC)
    exchange.must(cm.SetLending, "3/0", 0, 0, 0)
    exchange.must(cm.Borrow, "3/0", "SOL", 100 * SOL)
    exchange.must(cm.Transfer, "3/0", "3/1", "SOL", 100 * SOL)
    trade(exchange, "3/0", "1/0", 100, 150_00)
    trade(exchange, "2/0", "1/0", 60, 150_00)
    assert net_delta_units(exchange.state, exchange.state.subaccounts["3/0"], "SOL") == 0
    ranks = {one.subaccount: one for one in adl_ranks(exchange.state, "SOL-PERP")}
    assert [(ranks[name].rank, ranks[name].group) for name in ("2/0", "3/0")] == [
        (1, "reduces_delta"),
        (2, "hedge"),
    ]
    # 1/0: 1,600 - 160 x 12 = -320.
    receipts = of(exchange.prices(162), AutoDeleveraged)
    assert [(one.counterparty, one.base_units, one.group) for one in receipts] == [
        ("2/0", 60 * SOL, "reduces_delta"),
        ("3/0", 100 * SOL, "hedge"),
    ]


def test_r24_lent_units_hedge_a_short(exchange: Exchange) -> None:
    """R24: 3/0 is short 100 and has lent 100 SOL: net delta -100 + 100 = 0; 2/0, short 60, goes first.

    3/0's margin fraction is lower: (100 x 138 x 0.89 + 1,200) / 13,800 = 0.98 against 2/0's 100,720 / 8,280.
    """
    exchange.deposit("1/0", 1_600 * USDC)
    exchange.open("3/0")
    rich(exchange, "2/0")
    exchange.deposit("3/0", 100 * SOL, "SOL")
    exchange.must(cm.Lend, "3/0", "SOL", 100 * SOL)
    trade(exchange, "1/0", "3/0", 100, 150_00)
    trade(exchange, "1/0", "2/0", 60, 150_00)
    assert exchange.cash("3/0", "SOL") == 0
    assert net_delta_units(exchange.state, exchange.state.subaccounts["3/0"], "SOL") == 0
    receipts = of(exchange.prices(138), AutoDeleveraged)
    assert [(one.counterparty, one.base_units, one.group) for one in receipts] == [
        ("2/0", -60 * SOL, "reduces_delta"),
        ("3/0", -100 * SOL, "hedge"),
    ]


def test_r24_netting_takes_who_has_been_in_liquidation_longest(exchange: Exchange) -> None:
    """R24: the shorts 3/0 (20 SOL) and 2/0 (50 SOL) are in liquidation, 3/0 first; the long 1/0 of 40 is
    netted with all of 3/0 and then with 20 of 2/0.

    3/0 fails when SOL as collateral falls to $1: 15 + 4.5 + 20 x 0.5 = 29.5 of 20 x 143 x 1.35% = 38.61
    (more than half). A nanosecond later the mark is 141 and BTC $1: 2/0 has 50 x 1.5 = 75 of 95.175, 1/0
    has 390 - 360 = 30 of 76.14, less than half: it goes on to netting in its first step.
    """
    exchange.deposit("1/0", 390 * USDC)
    exchange.deposit("2/0", 10**6, "BTC")
    exchange.open("3/0")
    exchange.deposit("3/0", 15 * USDC)
    exchange.deposit("3/0", 5 * SOL, "SOL")
    rich(exchange, "4/0", "5/0")
    trade(exchange, "4/0", "2/0", 50, 142_50)
    trade(exchange, "4/0", "3/0", 20, 143_50)
    trade(exchange, "1/0", "5/0", 40, 150_00)
    dollar = ("SOL", DOLLAR_E8)
    exchange.must(cm.UpdatePrices, (dollar,), (("SOL-PERP", 143 * DOLLAR_E8),))
    assert list(exchange.state.liquidations) == ["3/0"]
    exchange.now_ns += 1
    events = exchange.must(cm.UpdatePrices, (dollar, ("BTC", DOLLAR_E8)), (("SOL-PERP", 141 * DOLLAR_E8),))
    assert [(one.subaccount, one.counterparty, one.base_units) for one in of(events, PositionsNetted)] == [
        ("1/0", "3/0", -20 * SOL),
        ("1/0", "2/0", -20 * SOL),
    ]
    # With 30 SOL left 2/0's own step finds 75 of 57.105: it has recovered.
    assert LiquidationEnded("2/0", "recovered") in events and exchange.base("2/0") == -30 * SOL


def test_r24_who_has_recovered_by_netting_keeps_the_rest(exchange: Exchange) -> None:
    """R24: before each market, and again after its netting: recovered? Then stop.

    1/0: $1,000, long 100 SOL from 150 and 0.01 BTC from 60,000. At 140.80: 80 of 100 x 140.8 x 1.35% + 600
    x 0.667% = 194.082, below half. 2/0, in liquidation by its collateral, is short 100 SOL: netting all of
    them at mark leaves 80 of 4.002. Nobody takes the BTC.
    """
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 10 * SOL, "SOL")
    rich(exchange, "4/0", "5/0")
    trade(exchange, "4/0", "2/0", 100, 143_00)
    trade(exchange, "1/0", "5/0", 100, 150_00)
    assert isinstance(exchange.trade("1/0", "5/0", 10**6, 60_000, "BTC-PERP"), Accepted)
    dollar = ("SOL", DOLLAR_E8)
    # 2/0: 100 + 10 x 0.9 of 191.7; 1/0: 200 of 195.702.
    exchange.must(cm.UpdatePrices, (dollar,), (("SOL-PERP", 142 * DOLLAR_E8),))
    assert list(exchange.state.liquidations) == ["2/0"]
    exchange.now_ns += 1
    events = exchange.must(cm.UpdatePrices, (dollar,), (("SOL-PERP", 140_80 * CENT_E8),))
    assert [one.base_units for one in of(events, PositionsNetted)] == [-100 * SOL]
    assert not of(events, AutoDeleveraged)
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.base("1/0", "BTC-PERP") == 10**6


def test_r24_after_a_netting_that_is_enough_no_winner_is_reduced(exchange: Exchange) -> None:
    """R24: the same with one market: netting 60 of the 100 SOL leaves 80 of 40 x 140.8 x 1.35% = 76.032.

    105% of that are 79.8336: recovered, so 5/0, who won, keeps its short of 100.
    """
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 10 * SOL, "SOL")
    rich(exchange, "4/0", "5/0")
    trade(exchange, "4/0", "2/0", 60, 143_00)
    trade(exchange, "1/0", "5/0", 100, 150_00)
    dollar = ("SOL", DOLLAR_E8)
    # 2/0: 60 + 9 of 115.02.
    exchange.must(cm.UpdatePrices, (dollar,), (("SOL-PERP", 142 * DOLLAR_E8),))
    assert list(exchange.state.liquidations) == ["2/0"]
    exchange.now_ns += 1
    events = exchange.must(cm.UpdatePrices, (dollar,), (("SOL-PERP", 140_80 * CENT_E8),))
    assert [one.base_units for one in of(events, PositionsNetted)] == [-60 * SOL]
    assert not of(events, AutoDeleveraged) and exchange.base("5/0") == -100 * SOL
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.base("1/0") == 40 * SOL
