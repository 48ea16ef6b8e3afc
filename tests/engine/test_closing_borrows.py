"""R21, R22: what is lent comes home first, in which order borrows are closed, and when that stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine import commands as cm
from engine.apply import Accepted
from engine.events import (
    BorrowTakenOver,
    LiquidationEnded,
    LossCollected,
    Redeemed,
    Repaid,
    SpotTraded,
    SubaccountBankrupt,
)
from engine.liquidation import liquidation_status
from engine.margin import margin_of
from engine.params import default_params
from engine.stages import stage_shares
from tests.engine.conftest import DOLLAR_E8, SECOND, SOL, USDC, Exchange

CENT_E8 = 10**6
BTC = 10**8


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def index(exchange: Exchange, sol_cents: int, btc_usd: int = 60_000) -> tuple[Any, ...]:
    prices = (("SOL", sol_cents * CENT_E8), ("BTC", btc_usd * DOLLAR_E8))
    return exchange.must(cm.UpdatePrices, prices, ())


def lenders(exchange: Exchange) -> Exchange:
    """Open 1/0, 1/1, 2/0, 3/0, nobody lends by himself; 3/0 has lent 1,000 SOL, 10 BTC and $100,000, and
    keeps $100,000, 1,000 SOL and 10 BTC to make markets with.
    """
    for name in ("1/0", "1/1", "2/0", "3/0"):
        if name not in exchange.state.subaccounts:
            exchange.open(name)
        exchange.must(cm.SetLending, name, 0, 0, 0)
    for asset, units in (("SOL", 1_000 * SOL), ("BTC", 10 * BTC), ("USDC", 100_000 * USDC)):
        exchange.deposit("3/0", 2 * units, asset)
        exchange.must(cm.Lend, "3/0", asset, units)
    return exchange


def offer(exchange: Exchange, market: str, side: str, units: int, price_cents: int) -> None:
    exchange.must(cm.PlaceOrder, "3/0", market, side, "post_only", units, price_cents * CENT_E8)


def owing_both(exchange: Exchange) -> Exchange:
    """Let 1/0 owe 20 SOL ($3,000) and 0.01 BTC ($600), both given away, with $4,000 behind it; asks of both.

    As many as a step can want are offered at the index that a test sets: SOL at 160.70 or 161, BTC at 60,000.
    """
    lenders(exchange)
    exchange.deposit("1/0", 4_000 * USDC)
    exchange.must(cm.Borrow, "1/0", "SOL", 20 * SOL)
    exchange.must(cm.Borrow, "1/0", "BTC", BTC // 100)
    exchange.must(cm.Transfer, "1/0", "1/1", "SOL", 20 * SOL)
    exchange.must(cm.Transfer, "1/0", "1/1", "BTC", BTC // 100)
    offer(exchange, "BTC/USDC", "sell", BTC, 60_000_00)
    return exchange


def test_r21_what_is_lent_is_redeemed_as_far_as_the_pools_have_cash(exchange: Exchange) -> None:
    """R21, R10: of 10 SOL lent the pool has 0.5 (95% are borrowed, above the throttle), of $500 all.

    1/0: $100 and $500 lent, 10 SOL at 0.9 / (1 + 0.001 x 3.162278) = 1,345.74; long 300 SOL from 150. At
    145.40 a loss of 1,380: 565.74 of 300 x 145.4 x 1.35% = 588.87.
    """
    exchange.open("4/0")
    for name in ("1/0", "2/0", "4/0"):
        exchange.must(cm.SetLending, name, 0, 0, 0)
    for name in ("2/0", "4/0"):
        exchange.deposit(name, 20_000 * USDC)
    exchange.deposit("1/0", 600 * USDC)
    exchange.deposit("1/0", 10 * SOL, "SOL")
    exchange.must(cm.Lend, "1/0", "USDC", 500 * USDC)
    exchange.must(cm.Lend, "1/0", "SOL", 10 * SOL)
    exchange.must(cm.Borrow, "4/0", "SOL", 9_500_000_000)
    assert isinstance(exchange.trade("1/0", "2/0", 300 * SOL, 150), Accepted)
    events = exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 145_40 * CENT_E8),))
    assert list(exchange.state.liquidations) == ["1/0"]
    assert [(one.asset, one.units) for one in of(events, Redeemed)] == [
        ("SOL", 500_000_000),
        ("USDC", 500 * USDC),
    ]
    assert (exchange.cash("1/0"), exchange.cash("1/0", "SOL")) == (600 * USDC, 500_000_000)
    assert (exchange.lent("1/0"), exchange.lent("1/0", "SOL")) == (0, 9_500_000_000)


def test_r22_the_borrow_with_the_larger_maintenance_margin_is_closed_first(exchange: Exchange) -> None:
    """R22: SOL at 161: 4,000 - 3,220 - 600 = 180 of 161 + 30 = 191. First a tenth of the SOL, then of the
    BTC.

    Each is bought at the index, so 180 stay; after 2 SOL the margin is 144.9 + 30 = 174.9, 105% of it
    183.645.
    """
    owing_both(exchange)
    offer(exchange, "SOL/USDC", "sell", 20 * SOL, 161_00)
    bought = of(index(exchange, 161_00), SpotTraded)
    assert [(one.market, one.units) for one in bought] == [
        ("SOL/USDC", 2 * SOL),
        ("BTC/USDC", BTC // 1_000),
    ]
    assert margin_of(exchange.state, "1/0").net_equity_usd6 == 180 * USDC
    assert margin_of(exchange.state, "1/0").maintenance_margin_usd6 == 171_900_000


def test_r22_a_borrow_is_left_alone_when_the_one_before_it_was_enough(exchange: Exchange) -> None:
    """R22: SOL at 160.70: 186 of 190.70; after 2 SOL 186 of 174.63, 105% of which are 183.3615: recovered."""
    owing_both(exchange)
    offer(exchange, "SOL/USDC", "sell", 20 * SOL, 160_70)
    events = index(exchange, 160_70)
    assert [(one.market, one.units) for one in of(events, SpotTraded)] == [("SOL/USDC", 2 * SOL)]
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert (exchange.owed("1/0", "SOL"), exchange.owed("1/0", "BTC")) == (18 * SOL, BTC // 100)


def test_r22_the_fund_takes_nothing_over_when_the_book_was_enough(make_exchange: type[Exchange]) -> None:
    """R22.4: without patience the first step is one of the stage "backstop": the book first, then
    "recovered?".

    1/0 has 3,400 and owes 20 SOL: at 162 160 of 162; after 2 SOL bought 160 of 145.8, 105% of it 153.09.
    """
    exchange = make_exchange(replace(default_params(), stage1_patience=0))
    exchange.open("1/0")
    exchange.prices(150)
    lenders(exchange)
    exchange.deposit("1/0", 3_400 * USDC)
    exchange.must(cm.Borrow, "1/0", "SOL", 20 * SOL)
    exchange.must(cm.Transfer, "1/0", "1/1", "SOL", 20 * SOL)
    offer(exchange, "SOL/USDC", "sell", 20 * SOL, 162_00)
    events = index(exchange, 162_00)
    assert [one.units for one in of(events, SpotTraded)] == [2 * SOL]
    assert not of(events, BorrowTakenOver)
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.owed("insurance_fund", "SOL") == 0
    assert exchange.owed("1/0", "SOL") == 18 * SOL


def test_r22_r25_what_the_fund_takes_over_is_paid_at_once_and_counts_as_backstop(
    make_exchange: type[Exchange],
) -> None:
    """R22.4, R25: without patience; SOL at 161 and not offered, BTC offered: 180 of 191.

    The fund takes 20 SOL at 161 x 1.05 = 169.05: 3,381 are owed and collected; 19 are left of 30. A tenth
    of the BTC is bought for 60, the other 0.009 go at 60,000 x 1.03: 556.20. Left: 4,000 - 3,381 - 60 -
    556.20 = 2.80. The fund's part counts at index: 3,220 + 540.
    """
    exchange = make_exchange(replace(default_params(), stage1_patience=0))
    exchange.open("1/0")
    exchange.prices(150)
    owing_both(exchange)
    events = index(exchange, 161_00)
    steps = [one for one in events if isinstance(one, BorrowTakenOver | LossCollected | SpotTraded)]
    assert [type(one) for one in steps] == [
        BorrowTakenOver,
        LossCollected,
        SpotTraded,
        BorrowTakenOver,
        LossCollected,
    ]
    assert [one.usd6 for one in of(events, BorrowTakenOver)] == [3_381 * USDC, 556_200_000]
    assert [one.units for one in of(events, LossCollected)] == [3_381 * USDC, 556_200_000]
    assert events[-1] == LiquidationEnded("1/0", "closed") and exchange.cash("1/0") == 2_800_000
    shares = {one.stage: one for one in stage_shares(exchange.state, exchange.now_ns)}
    assert (shares["book"].notional_usd6, shares["book"].fills) == (60 * USDC, 1)
    backstop = shares["backstop"]
    assert (backstop.notional_usd6, backstop.fills, backstop.subaccounts) == (3_760 * USDC, 2, 1)


def test_r22_dollars_are_raised_from_the_lowest_haircut_first(make_exchange: type[Exchange]) -> None:
    """R22.2: 1/0 owes $1,500 and holds 10 SOL and 0.02 BTC; with haircuts of 1% and 3% SOL is sold before
    BTC.

    SOL at 74.30, BTC at 45,000: 743 x 0.9 / 1.003163 = 666.59 and 900 x 0.95 / 1.001415 = 853.79, less
    1,500: 20.38 of 2.5% = 37.50. A tenth of each is sold: 1 SOL for 74.30, 0.002 BTC for 90; together they
    repay 164.30. A second later a tenth of what was there at first again, not of what is left.
    """
    base = default_params()
    assets = tuple([replace(one, haircut_ppm=10_000) if one.symbol == "SOL" else one for one in base.assets])
    exchange = make_exchange(replace(base, assets=assets))
    exchange.open("1/0")
    exchange.prices(150)
    lenders(exchange)
    exchange.deposit("1/0", 10 * SOL, "SOL")
    exchange.deposit("1/0", BTC // 50, "BTC")
    exchange.must(cm.Borrow, "1/0", "USDC", 1_500 * USDC)
    exchange.must(cm.Transfer, "1/0", "1/1", "USDC", 1_500 * USDC)
    offer(exchange, "SOL/USDC", "buy", 10 * SOL, 74_30)
    offer(exchange, "BTC/USDC", "buy", BTC // 10, 45_000_00)
    for _ in range(2):
        sold = of(index(exchange, 74_30, 45_000), SpotTraded)
        assert [(one.market, one.units, one.notional_usd6) for one in sold] == [
            ("SOL/USDC", SOL, 74_300_000),
            ("BTC/USDC", BTC // 500, 90 * USDC),
        ]
        exchange.wait(1)
    book = stage_shares(exchange.state, exchange.now_ns)[0]
    assert (book.notional_usd6, book.fills, book.subaccounts) == (328_600_000, 4, 1)


def test_r22_no_more_collateral_is_sold_than_dollars_are_short(exchange: Exchange) -> None:
    """R22.2: 20 SOL owed, at 161 at most 162.61 each: 3,252.20; of them 3,248.20 are there, 4 are short.

    ceil(4 / 59,400) in lots of 0.0001 BTC is one lot; a tenth of the 0.0023 BTC held would be two. Nobody
    offers SOL, but something was sold: the step does not count as idle. Equity 3,248.20 + 138 x 0.9495 -
    3,220 of 161.
    """
    lenders(exchange)
    exchange.deposit("1/0", 3_248_200_000)
    exchange.deposit("1/0", 230_000, "BTC")
    exchange.must(cm.Borrow, "1/0", "SOL", 20 * SOL)
    exchange.must(cm.Transfer, "1/0", "1/1", "SOL", 20 * SOL)
    offer(exchange, "BTC/USDC", "buy", BTC, 60_000_00)
    sold = of(index(exchange, 161_00), SpotTraded)
    assert [(one.market, one.units, one.notional_usd6) for one in sold] == [("BTC/USDC", 10_000, 6 * USDC)]
    assert liquidation_status(exchange.state, "1/0").idle_steps == 0
    assert exchange.owed("1/0", "SOL") == 20 * SOL
    # 3,254.20 are enough for 20.01 SOL (interest of a second, in whole lots): nothing moves, an idle step.
    exchange.wait(1)
    assert not of(index(exchange, 161_00), SpotTraded)
    assert liquidation_status(exchange.state, "1/0").idle_steps == 1


def test_r22_what_is_itself_owed_is_not_sold_for_dollars(exchange: Exchange) -> None:
    """R22.2: 1/0 owes SOL and BTC, and gets 0.005 BTC while in liquidation, which auto_repay (off) leaves
    alone.

    Of its $4,000 it has lent 2,000, and others have borrowed 1,900 of them: 2,100 are free. After a first
    step (2 SOL for 322, 0.001 BTC for 60) 1,718 are. SOL at 177: 18 at the limit of 178.77 are 3,217.86, so
    dollars are short, and a bid for BTC is there; but BTC is owed and repays its own borrow, when its turn
    comes.
    """
    owing_both(exchange)
    exchange.open("4/0")
    exchange.deposit("4/0", 1_000 * SOL, "SOL")
    exchange.must(cm.Redeem, "3/0", "USDC", 100_000 * USDC)
    exchange.must(cm.Lend, "1/0", "USDC", 2_000 * USDC)
    exchange.must(cm.Borrow, "4/0", "USDC", 1_900 * USDC)
    offer(exchange, "BTC/USDC", "buy", BTC, 59_900_00)
    offer(exchange, "SOL/USDC", "sell", 20 * SOL, 161_00)
    assert len(of(index(exchange, 161_00), SpotTraded)) == 2
    assert exchange.cash("1/0") == 1_718 * USDC
    exchange.deposit("1/0", BTC // 200, "BTC")
    exchange.wait(1)
    # 1,718 + 1,900 + 300 x 0.9494 - 18 x 177 - 540 = 176.8 of 159.3 + 27 = 186.3: it goes on, on the book.
    exchange.must(cm.CancelAllOrders, "3/0", "SOL/USDC")
    offer(exchange, "SOL/USDC", "sell", 20 * SOL, 177_00)
    events = index(exchange, 177_00)
    traded = of(events, SpotTraded)
    assert [(one.market, one.taker_is_buy) for one in traded] == [("SOL/USDC", True), ("BTC/USDC", True)]
    repaid = [one.cash_units for one in of(events, Repaid) if one.asset == "BTC"]
    assert repaid == [BTC // 200, BTC // 1_000]


def test_r27_a_borrow_that_waits_for_its_price_goes_to_the_fund_with_its_bankrupt(
    exchange: Exchange,
) -> None:
    """R22.4, R27: SOL's index is seven days old, so the step does not hand the borrow over; the tick half a
    second later finds the bankrupt.

    1/0: $4,000, owes 10 SOL that it gave away, long 0.2 BTC from 60,000; at 30,000 it has lost 6,000. A
    provider takes the BTC, the tick collects 4,000: 2,000 are left and the borrow, with interest of 10 SOL
    x 8% x 1 / 90 x 604,800.5 / 31,536,000 = 170,471.9 lamports: at the last index, 150, that is
    ceil(1,500,025,570.8) usd6.
    """
    exchange.backstop()
    lenders(exchange)
    exchange.deposit("2/0", 100_000 * USDC)
    exchange.deposit("1/0", 4_000 * USDC)
    exchange.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    exchange.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    assert isinstance(exchange.trade("1/0", "2/0", BTC // 5, 60_000, "BTC-PERP"), Accepted)
    exchange.wait(7 * 86_400)
    btc_e8 = 30_000 * DOLLAR_E8
    events = exchange.must(cm.UpdatePrices, (("BTC", btc_e8),), (("BTC-PERP", btc_e8),))
    assert exchange.base("1/0", "BTC-PERP") == 0
    assert not of(events, BorrowTakenOver) and list(exchange.state.liquidations) == ["1/0"]
    exchange.now_ns += SECOND // 2
    events = exchange.tick()
    (taken,) = of(events, BorrowTakenOver)
    assert (taken.units, taken.usd6, taken.rate_e8) == (10_000_170_472, 1_500_025_571, 150 * DOLLAR_E8)
    assert of(events, SubaccountBankrupt) == [SubaccountBankrupt("1/0", 3_500_025_571)]
    assert exchange.state.subaccounts["1/0"].borrowed == {}
    assert exchange.owed("insurance_fund", "SOL") == 10_000_170_472
    # Its liquidation ends at its next step.
    exchange.wait(1)
    assert LiquidationEnded("1/0", "bankrupt") in exchange.tick()


def test_r28_the_fund_nets_what_it_holds_with_what_it_owes(make_exchange: type[Exchange]) -> None:
    """R28: the fund has taken 20 SOL over (as above) and then gets 21 SOL; before the next tick it holds
    both.

    A second's interest on 20 SOL is due, so 0.99 SOL in whole lots are to be sold, less than a tenth of the
    20.
    """
    exchange = make_exchange(replace(default_params(), stage1_patience=0))
    exchange.open("1/0")
    exchange.prices(150)
    owing_both(exchange)
    index(exchange, 161_00)
    exchange.deposit("insurance_fund", 21 * SOL, "SOL")
    assert exchange.owed("insurance_fund", "SOL") == 20 * SOL
    exchange.must(cm.CancelAllOrders, "3/0", "BTC/USDC")
    offer(exchange, "SOL/USDC", "buy", 100 * SOL, 161_00)
    exchange.wait(1)
    exchange.must(cm.Lend, "3/0", "SOL", SOL)
    sold = of(index(exchange, 161_00), SpotTraded)
    assert [(one.taker, one.taker_is_buy, one.units) for one in sold] == [
        ("insurance_fund", False, 990_000_000)
    ]
