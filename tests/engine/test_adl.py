"""R24: netting, then deleveraging: order, caps, prices, receipts; figures worked out by hand."""

from __future__ import annotations

from typing import Any

from engine import commands as cm
from engine.adl import adl_ranks, margin_fraction_key, net_delta_units
from engine.apply import Accepted
from engine.events import (
    AutoDeleveraged,
    LiquidationEnded,
    PnlSettled,
    PositionsNetted,
    SubaccountBankrupt,
)
from engine.margin import compare_margin_fractions, margin_of
from engine.stages import stage_shares
from tests.engine.conftest import SOL, USDC, Exchange

CENT_E8 = 10**6


def mark(exchange: Exchange, cents: int, btc_usd: int = 60_000) -> tuple[Any, ...]:
    index = (("SOL", cents * CENT_E8), ("BTC", btc_usd * 10**8))
    return exchange.must(cm.UpdatePrices, index, (("SOL-PERP", cents * CENT_E8),))


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def trade(exchange: Exchange, buyer: str, seller: str, sol: int, usd: int = 150) -> None:
    assert isinstance(exchange.trade(buyer, seller, sol * SOL, usd), Accepted)


def rich(exchange: Exchange, *names: str) -> None:
    for name in names:
        if name not in exchange.state.subaccounts:
            exchange.open(name)
        exchange.deposit(name, 100_000 * USDC)


def test_r24_the_zero_price_beyond_the_mark_costs_the_winner_profit_not_more(exchange: Exchange) -> None:
    """R24: 1/0 has $1,000 behind 100 SOL and loses 20 on each: the zero price is 140, not 130."""
    exchange.deposit("1/0", 1_000 * USDC)
    rich(exchange, "2/0")
    trade(exchange, "1/0", "2/0", 100)
    events = mark(exchange, 130_00)
    (receipt,) = of(events, AutoDeleveraged)
    assert (receipt.counterparty, receipt.mark_price_e8, receipt.price_e8) == (
        "2/0",
        130 * 10**8,
        140 * 10**8,
    )
    assert (receipt.forgone_usd6, receipt.deficit_usd6, receipt.rank) == (1_000 * USDC, 0, 1)
    assert (receipt.quote_usd6, receipt.counterparty_quote_usd6) == (14_000 * USDC, -14_000 * USDC)
    assert events[-1] == LiquidationEnded("1/0", "closed")
    exchange.tick()
    assert (exchange.cash("1/0"), exchange.cash("2/0")) == (0, 101_000 * USDC)


def test_r24_the_deficit_is_what_the_winners_profit_does_not_cover(exchange: Exchange) -> None:
    """R24, R26: 3/0 has been short from 143 only: at 135 its profit is 8 each, 1/0 lacks 11 each."""
    exchange.deposit("1/0", 400 * USDC)
    rich(exchange, "2/0", "3/0")
    trade(exchange, "1/0", "2/0", 100)
    trade(exchange, "2/0", "3/0", 100, 143)
    events = mark(exchange, 135_00)
    (receipt,) = of(events, AutoDeleveraged)
    assert (receipt.counterparty, receipt.price_e8) == ("3/0", 143 * 10**8)
    assert (receipt.forgone_usd6, receipt.deficit_usd6) == (800 * USDC, 300 * USDC)
    assert of(events, SubaccountBankrupt) == [SubaccountBankrupt("1/0", 300 * USDC)]
    exchange.tick()
    assert exchange.cash("3/0") == 100_000 * USDC  # no profit, no loss
    # 2/0's profit of 700 was realized by its own trade: it has a claim of 300 until somebody pays.
    assert (exchange.cash("2/0"), exchange.unsettled("2/0")) == (100_400 * USDC, 300 * USDC)


def test_r24_what_is_missing_is_shared_rounded_up_until_nothing_is_left(exchange: Exchange) -> None:
    """R24: 1/0 has 800 and loses 1,800 on 90 SOL: 1,000 are missing, a third of it from each of three shorts.

    ceil(1,000 / 3) twice, the rest from the third: together exactly 1,000.
    """
    exchange.deposit("1/0", 800 * USDC)
    rich(exchange, "2/0", "3/0", "4/0")
    for name in ("2/0", "3/0", "4/0"):
        trade(exchange, "1/0", name, 30)
    receipts = of(mark(exchange, 130_00), AutoDeleveraged)
    assert [one.forgone_usd6 for one in receipts] == [333_333_334, 333_333_334, 333_333_332]
    assert sum(one.deficit_usd6 for one in receipts) == 0
    exchange.tick()
    assert exchange.cash("1/0") == 0 and exchange.state.debts == {}


def test_r24_a_settled_profit_is_never_touched(exchange: Exchange) -> None:
    """R24: what a tick has settled is cash; only what moved since then can be forgone."""
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.backstop()
    rich(exchange, "2/0")
    trade(exchange, "1/0", "2/0", 100)
    mark(exchange, 144_00)
    exchange.tick()
    assert exchange.cash("2/0") == 100_600 * USDC
    exchange.must(cm.LeaveBackstop, "90/0")
    (receipt,) = of(mark(exchange, 135_00), AutoDeleveraged)
    # Equity 400 - 900 = -500; 2/0's profit since the tick is 900.
    assert receipt.forgone_usd6 == 500 * USDC
    exchange.tick()
    assert exchange.cash("2/0") == 101_000 * USDC


def test_r24_a_hedged_holder_is_left_alone_while_an_unhedged_winner_remains(exchange: Exchange) -> None:
    """R24: 3/0 is short 100 against 100 SOL of its own (and has the lowest margin fraction of all); 2/0 is
    short 60 with nothing: it goes first, wholly.
    """
    exchange.deposit("1/0", 2_000 * USDC)
    rich(exchange, "2/0", "4/0")
    exchange.open("3/0")
    exchange.deposit("3/0", 100 * SOL, "SOL")
    trade(exchange, "1/0", "2/0", 60)
    trade(exchange, "1/0", "3/0", 100)
    assert net_delta_units(exchange.state, exchange.state.subaccounts["3/0"], "SOL") == 0
    ranks = {one.subaccount: one for one in adl_ranks(exchange.state, "SOL-PERP")}
    assert (ranks["2/0"].rank, ranks["2/0"].group, ranks["2/0"].reducible_units) == (
        1,
        "reduces_delta",
        60 * SOL,
    )
    assert (ranks["3/0"].rank, ranks["3/0"].group, ranks["3/0"].reducible_units) == (2, "hedge", 100 * SOL)
    assert (ranks["1/0"].is_long, ranks["1/0"].rank) == (True, 1)
    receipts = of(mark(exchange, 138_00), AutoDeleveraged)
    assert [(one.counterparty, one.base_units, one.group, one.rank) for one in receipts] == [
        ("2/0", -60 * SOL, "reduces_delta", 1),
        ("3/0", -100 * SOL, "hedge", 2),
    ]


def test_r24_a_hedge_stays_whole_when_it_is_not_needed(exchange: Exchange) -> None:
    exchange.deposit("1/0", 1_000 * USDC)
    rich(exchange, "2/0", "4/0")
    exchange.open("3/0")
    exchange.deposit("3/0", 100 * SOL, "SOL")
    trade(exchange, "4/0", "3/0", 100)
    trade(exchange, "1/0", "2/0", 80)
    receipts = of(mark(exchange, 137_00), AutoDeleveraged)
    assert [(one.counterparty, one.base_units) for one in receipts] == [("2/0", -80 * SOL)]
    assert exchange.base("3/0") == -100 * SOL


def test_r24_in_the_first_group_at_most_the_net_delta(exchange: Exchange) -> None:
    """R24: 3/0 is short 100 with 40 SOL: 60 may go before others' turn, then it is a hedge of 40."""
    exchange.deposit("1/0", 2_500 * USDC)
    rich(exchange, "2/0")
    exchange.open("3/0")
    exchange.deposit("3/0", 40 * SOL, "SOL")
    trade(exchange, "1/0", "3/0", 100)
    trade(exchange, "1/0", "2/0", 70)
    receipts = of(mark(exchange, 135_00), AutoDeleveraged)
    # 3/0's margin fraction is by far the lower one.
    assert [(one.counterparty, one.base_units, one.group, one.rank) for one in receipts] == [
        ("3/0", -60 * SOL, "reduces_delta", 1),
        ("2/0", -70 * SOL, "reduces_delta", 2),
        ("3/0", -40 * SOL, "hedge", 1),
    ]


def test_r24_lowest_margin_fraction_then_larger_profit_then_canonical(exchange: Exchange) -> None:
    """R24: 3/0 and 4/0 are alike to the unit; 5/0 has the same margin fraction and less unrealized profit,
    because a part of the same profit has been settled; 2/0 is the least leveraged.
    """
    exchange.open("3/0", "4/0", "5/0")
    exchange.deposit("1/0", 52 * USDC)
    exchange.deposit("2/0", 900 * USDC)
    for name in ("3/0", "4/0", "5/0"):
        exchange.deposit(name, 500 * USDC)
    # 5/0 sells three at 149 instead of 150 and has three dollars more instead.
    exchange.deposit("5/0", 3 * USDC)
    trade(exchange, "1/0", "5/0", 3, 149)
    for seller, size in (("2/0", 4), ("4/0", 3), ("3/0", 3)):
        trade(exchange, "1/0", seller, size)
    # 1/0: 52 - 10 x 4.2 - 3 x 3.2 = 0.4 of equity at 145.8; maintenance 25.6.
    events = mark(exchange, 145_80)
    assert [(one.counterparty, one.base_units, one.rank) for one in of(events, AutoDeleveraged)] == [
        ("3/0", -3 * SOL, 1),
        ("4/0", -3 * SOL, 2),
        ("5/0", -3 * SOL, 3),
        ("2/0", -4 * SOL, 4),
    ]
    # The 0.4 goes to those who were reduced, 0.0307692 a piece, each part rounded down.
    assert [-one.forgone_usd6 for one in of(events, AutoDeleveraged)] == [92_307, 92_307, 92_307, 123_076]
    assert exchange.cash("1/0") == 3


def test_r24_netting_and_the_rest(exchange: Exchange) -> None:
    """R24: the short 2/0 fails by its collateral (below ACMF), the long 1/0 by the mark. 1/0, the first in
    canonical order, is netted with all of 2/0, and 3/0 takes the rest.
    """
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 10**6, "BTC")
    rich(exchange, "3/0", "4/0")
    trade(exchange, "4/0", "2/0", 50, 143)
    trade(exchange, "1/0", "3/0", 100)
    # 2/0 at 142: equity 1 x 50, maintenance 142 x 50 x 1.35% = 95.85: it fails, but is above half of it.
    events = mark(exchange, 142_00, btc_usd=1)
    assert [one.subaccount for one in of(events, LiquidationEnded)] == []
    assert list(exchange.state.liquidations) == ["2/0"]
    # Now 1/0 falls to 1,000 - 945 = 55 of 189.7: it goes on to R24 and finds 2/0 waiting on the book.
    exchange.now_ns += 1
    events = mark(exchange, 140_55, btc_usd=1)
    (netted,) = of(events, PositionsNetted)
    assert (netted.subaccount, netted.counterparty, netted.base_units, netted.mark_price_e8) == (
        "1/0",
        "2/0",
        -50 * SOL,
        140_55 * CENT_E8,
    )
    # At mark: floor values on both sides, nobody gains.
    assert (netted.quote_usd6, netted.counterparty_quote_usd6) == (7_027_500_000, -7_027_500_000)
    (receipt,) = of(events, AutoDeleveraged)
    assert (receipt.counterparty, receipt.base_units, receipt.price_e8) == (
        "3/0",
        -50 * SOL,
        139_45 * CENT_E8,
    )
    shares = {one.stage: one for one in stage_shares(exchange.state, exchange.now_ns)}
    assert shares["netting"].notional_usd6 == shares["adl"].notional_usd6 == 7_027_500_000
    # 2/0 has nothing left to close: it is over at its next step.
    exchange.wait(1)
    assert LiquidationEnded("2/0", "closed") in mark(exchange, 140_55, btc_usd=1)


def test_r24_collateral_that_does_not_count_in_full_is_used_before_winners_profit(exchange: Exchange) -> None:
    """R24: net equity is below zero, account value is not: closed at mark, the collateral pays."""
    exchange.deposit("1/0", 10 * SOL, "SOL")
    rich(exchange, "2/0")
    trade(exchange, "1/0", "2/0", 50)
    # SOL index stays at 150: 1,500 in full, 1,345.7 weighted. The mark falls by 28: a loss of 1,400.
    events = exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 122 * 10**8),))
    (receipt,) = of(events, AutoDeleveraged)
    assert (receipt.price_e8, receipt.forgone_usd6, receipt.deficit_usd6) == (122 * 10**8, 0, 0)
    assert events[-1] == LiquidationEnded("1/0", "closed")
    # 1,400 at 142.5 take 9.824561404 SOL.
    assert exchange.cash("1/0", "SOL") == 10 * SOL - 9_824_561_404


def test_r24_counterparties_are_not_realized(exchange: Exchange) -> None:
    """R24, R26: a receipt changes quote only; the tick settles."""
    exchange.deposit("1/0", 1_000 * USDC)
    rich(exchange, "2/0")
    trade(exchange, "1/0", "2/0", 100)
    events = mark(exchange, 130_00)
    assert {one.subaccount for one in of(events, PnlSettled)} == {"1/0"}
    assert exchange.unsettled("2/0") == 0
    assert exchange.state.subaccounts["2/0"].positions["SOL-PERP"].quote_usd6 == 1_000 * USDC


def test_r24_the_order_is_that_of_cross_multiplication(exchange: Exchange) -> None:
    """R24, R19: the key of each holder orders exactly as net equity / exposure does, and the figures are
    those of the margin: with weights, losses, and fractions that differ in the last digit only.
    """
    exchange.open("3/0", "4/0", "5/0", "6/0")
    for number, name in enumerate(("2/0", "3/0", "4/0", "5/0", "6/0")):
        exchange.deposit(name, 900 * USDC + number // 2)
        exchange.deposit(name, (1 + number) * SOL, "SOL")
    exchange.deposit("1/0", 20_000 * USDC)
    for number, name in enumerate(("2/0", "3/0", "4/0", "5/0", "6/0")):
        consents = ("1/0", name)
        exchange.must(cm.BlockTrade, "SOL-PERP", "1/0", name, 30 * SOL + number // 3, 150 * 10**8, consents)
    exchange.prices(157)
    holders = [exchange.state.subaccounts[f"{n}/0"] for n in range(1, 7)]
    keys = {one.id: margin_fraction_key(exchange.state, one) for one in holders}
    margins = {one.id: margin_of(exchange.state, one.id) for one in holders}
    for first in holders:
        for second in holders:
            exact = compare_margin_fractions(margins[first.id], margins[second.id])
            assert (keys[first.id] > keys[second.id]) == (exact > 0)
            assert (keys[first.id] == keys[second.id]) == (exact == 0)
    assert len(set(keys.values())) > 4
