"""R20-R22, R13, R25: entering, the steps on the book, leaving; figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine import commands as cm
from engine.apply import Accepted, Rejected
from engine.deposits import preview_deposit
from engine.events import (
    AutoDeleveraged,
    BorrowTakenOver,
    LiquidationEnded,
    LiquidationStageChanged,
    LiquidationStarted,
    OrderCancelled,
    Repaid,
    SpotTraded,
    SubaccountBankrupt,
    Traded,
)
from engine.liquidation import liquidation_status
from engine.margin import margin_of
from engine.params import default_params
from engine.pool import owed_units
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state
from engine.stages import stage_shares
from engine.zero_price import bankruptcy_price_e8
from tests.engine.conftest import SECOND, SOL, USDC, Exchange

CENT_E8 = 10**6


def mark(exchange: Exchange, cents: int) -> tuple[Any, ...]:
    """Set SOL's index and mark in cents."""
    return exchange.must(
        cm.UpdatePrices,
        (("SOL", cents * CENT_E8),),
        (("SOL-PERP", cents * CENT_E8), ("BTC-PERP", 6 * 10**12)),
    )


def rest(exchange: Exchange, name: str, side: str, sol: int, cents: int) -> None:
    exchange.must(cm.PlaceOrder, name, "SOL-PERP", side, "post_only", sol * SOL, cents * CENT_E8)


def step(exchange: Exchange, cents: int) -> tuple[Any, ...]:
    """Wait a second, so that a step is due, and set the same mark again."""
    exchange.wait(1)
    return mark(exchange, cents)


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def leveraged(exchange: Exchange) -> Exchange:
    """Give 1/0 with $1,000 long 300 SOL at $150 against 2/0, and 3/0 rich enough to make a market."""
    exchange.open("3/0")
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 20_000 * USDC)
    exchange.deposit("3/0", 100_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 300 * SOL, 150), Accepted)
    return exchange


def test_r22_a_partial_liquidation_stops_when_healthy(exchange: Exchange) -> None:
    """R22, R20: 30 SOL (10% of the size at entry) per second, at the bid, until 105% is reached."""
    leveraged(exchange)
    rest(exchange, "3/0", "buy", 200, 148_50)
    # Loss 450: equity 550; maintenance 300 x 148.5 x 1.35% = 601.425, half of it 300.7: no backstop yet.
    events = mark(exchange, 148_50)
    assert of(events, LiquidationStarted) == [LiquidationStarted("1/0", 550 * USDC, 550 * USDC, 601_425_000)]
    assert [(one.units, one.price_e8, one.taker, one.taker_fee_usd6) for one in of(events, Traded)] == [
        (30 * SOL, 148_50 * CENT_E8, "1/0", 0)
    ]
    # Maintenance of 270 SOL is 541.28, 105% of it 568.35: healthy would not be enough to stop.
    status = liquidation_status(exchange.state, "1/0")
    assert status.margin.maintenance_margin_usd6 == 541_282_500
    assert (status.state, status.next_step_ns) == ("book", exchange.now_ns + SECOND)
    # Half a second later no step is due.
    exchange.now_ns += SECOND // 2
    assert not of(mark(exchange, 148_50), Traded)
    exchange.now_ns += SECOND // 2
    events = mark(exchange, 148_50)
    assert [one.units for one in of(events, Traded)] == [30 * SOL]
    # 240 SOL: maintenance 481.14, 105% 505.197 <= 550.
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.base("1/0") == 240 * SOL and not exchange.state.liquidations
    assert margin_of(exchange.state, "1/0").net_equity_usd6 == 550 * USDC
    assert not of(step(exchange, 148_50), LiquidationStarted)


def test_r22_at_most_a_quarter_of_the_depth_and_never_beyond_the_band(exchange: Exchange) -> None:
    leveraged(exchange)
    # The limit is 148.5 x 0.99 = 147.015: 147.01 is a stink bid, 147.02 is not.
    rest(exchange, "3/0", "buy", 1_000, 147_01)
    rest(exchange, "3/0", "buy", 30, 147_02)
    rest(exchange, "3/0", "buy", 10, 148_40)
    traded = of(mark(exchange, 148_50), Traded)
    assert [(one.units, one.price_e8) for one in traded] == [(10 * SOL, 148_40 * CENT_E8)]
    # 30 SOL are visible now: a quarter is 7.5.
    traded = of(step(exchange, 148_50), Traded)
    assert [(one.units, one.price_e8) for one in traded] == [(7 * SOL + SOL // 2, 147_02 * CENT_E8)]


def test_r22_shorts_buy_below_the_upper_edge_of_the_band(exchange: Exchange) -> None:
    exchange.open("3/0")
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 20_000 * USDC)
    exchange.deposit("3/0", 100_000 * USDC)
    assert isinstance(exchange.trade("2/0", "1/0", 300 * SOL, 150), Accepted)
    # Loss 420: equity 580, maintenance 300 x 151.4 x 1.35% = 613.17; limit 151.4 x 1.01 = 152.914.
    rest(exchange, "3/0", "sell", 1_000, 152_92)
    rest(exchange, "3/0", "sell", 40, 152_91)
    traded = of(mark(exchange, 151_40), Traded)
    assert [(one.units, one.price_e8, one.taker_is_buy) for one in traded] == [
        (10 * SOL, 152_91 * CENT_E8, True)
    ]


def test_r22_an_empty_book_is_waited_for_only_so_long(exchange: Exchange) -> None:
    """R22, R23: five steps without a fill, then the next stage; nobody backs, so R24, zero price."""
    leveraged(exchange)
    mark(exchange, 148_50)
    for idle in range(1, 5):
        assert liquidation_status(exchange.state, "1/0").idle_steps == idle
        assert not of(step(exchange, 148_50), LiquidationStageChanged)
    events = step(exchange, 148_50)
    assert of(events, LiquidationStageChanged) == [
        LiquidationStageChanged("1/0", "backstop", "no_progress"),
        LiquidationStageChanged("1/0", "adl", "backstop_exhausted"),
    ]
    # Equity 550 over 300 SOL: the zero price is 148.5 - 1.83333333.
    assert [(one.counterparty, one.price_e8, one.forgone_usd6) for one in of(events, AutoDeleveraged)] == [
        ("2/0", 146_66666667, -550 * USDC)
    ]
    assert events[-1] == LiquidationEnded("1/0", "closed") and exchange.cash("1/0") == 0


def test_r22_a_fill_starts_the_patience_anew(exchange: Exchange) -> None:
    leveraged(exchange)
    mark(exchange, 148_50)
    for _ in range(4):
        step(exchange, 148_50)
    assert liquidation_status(exchange.state, "1/0").idle_steps == 5
    # It is asked before a step acts: a bid that comes now is too late, one step earlier it is not.
    exchange2 = leveraged(Exchange2())
    mark(exchange2, 148_50)
    for _ in range(3):
        step(exchange2, 148_50)
    rest(exchange2, "3/0", "buy", 4, 148_50)
    assert [one.units for one in of(step(exchange2, 148_50), Traded)] == [SOL]
    assert liquidation_status(exchange2.state, "1/0").idle_steps == 0


class Exchange2(Exchange):
    """A second exchange like the fixture's."""

    def __init__(self) -> None:
        super().__init__()
        self.open("1/0", "2/0")
        self.prices(150)


def test_r20_a_deposit_ends_it_at_the_next_step(exchange: Exchange) -> None:
    leveraged(exchange)
    mark(exchange, 148_50)
    exchange.deposit("1/0", 82 * USDC)
    assert "1/0" in exchange.state.liquidations
    # 105% of 601.425 is 631.49625: 550 + 82 is enough, 81 would not be.
    assert step(exchange, 148_50)[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.base("1/0") == 300 * SOL


def test_r20_steps_are_made_by_ticks_too(exchange: Exchange) -> None:
    leveraged(exchange)
    rest(exchange, "3/0", "buy", 200, 148_50)
    mark(exchange, 148_50)
    exchange.wait(1)
    assert [one.units for one in of(exchange.tick(), Traded)] == [30 * SOL]


def test_r20_who_is_in_liquidation_can_only_deposit(exchange: Exchange) -> None:
    leveraged(exchange)
    exchange.open("1/1")
    mark(exchange, 148_50)
    exchange.deposit("1/0", 10 * USDC)
    # 610 of 601: it does not fail any more, but has not recovered (631.5) either.
    exchange.deposit("1/0", 50 * USDC)
    assert margin_of(exchange.state, "1/0").net_equity_usd6 > 601_425_000
    order = exchange.send(cm.PlaceOrder, "1/0", "SOL-PERP", "sell", "limit", SOL, 149 * 10**8, 1)
    trade = exchange.send(cm.BlockTrade, "SOL-PERP", "3/0", "1/0", SOL, 148_50 * CENT_E8, ("1/0", "3/0"))
    withdrawal = exchange.withdraw("1/0", 2 * USDC)
    transfer = exchange.send(cm.Transfer, "1/0", "1/1", "USDC", USDC)
    for outcome in (order, trade, withdrawal, transfer):
        assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.IN_LIQUIDATION


def test_r20_the_next_step_is_due_a_second_after_the_last_one(exchange: Exchange) -> None:
    """R20: a step that comes late (2.5 s) is one step, and the one after it is due at 3.5 s, not at 3.

    At 148.20 1/0 has 460 of 600.21; three steps of 30 SOL leave 210, which need 420.147, 105% of it 441.15.
    """
    leveraged(exchange)
    rest(exchange, "3/0", "buy", 200, 148_20)
    traded = []
    for half_seconds in (0, 5, 1, 1):
        exchange.now_ns += half_seconds * SECOND // 2
        traded.append([one.units for one in of(mark(exchange, 148_20), Traded)])
    assert traded == [[30 * SOL], [30 * SOL], [], [30 * SOL]]
    assert exchange.state.liquidations == {}


def test_r21_all_orders_are_canceled_first(exchange: Exchange) -> None:
    leveraged(exchange)
    rest(exchange, "1/0", "sell", 5, 152_00)
    rest(exchange, "1/0", "sell", 5, 151_00)
    events = mark(exchange, 148_50)
    kinds = [type(one) for one in events[1:4]]
    assert kinds == [LiquidationStarted, OrderCancelled, OrderCancelled]
    assert [one.reason for one in events[2:4]] == ["liquidation", "liquidation"]


def test_r22_the_largest_maintenance_margin_goes_first(exchange: Exchange) -> None:
    """R22: SOL needs 300 x 148.5 x 1.35% = 601, BTC 0.5 x 60,000 x 0.667% = 200, so BTC is second."""
    leveraged(exchange)
    exchange.deposit("1/0", 600 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 5 * 10**7, 60_000, "BTC-PERP"), Accepted)
    rest(exchange, "3/0", "buy", 200, 147_30)
    exchange.must(cm.PlaceOrder, "3/0", "BTC-PERP", "buy", "post_only", 2 * 10**7, 60_000 * 10**8)
    # Equity 1,600 - 840 = 760; maintenance 300 x 147.2 x 1.35% + 200.1 = 796.26.
    traded = of(mark(exchange, 147_20), Traded)
    assert [(one.market, one.units) for one in traded] == [("SOL-PERP", 30 * SOL), ("BTC-PERP", 5 * 10**6)]


def test_r13_a_stale_mark_leaves_only_the_book(exchange: Exchange) -> None:
    """R13, R20: SOL as collateral falls while the mark of SOL-PERP is too old; nobody has to take it."""
    exchange.open("3/0")
    exchange.deposit("3/0", 100_000 * USDC)
    exchange.backstop()
    exchange.deposit("1/0", 6 * SOL, "SOL")
    exchange.deposit("2/0", 20_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    rest(exchange, "3/0", "buy", 8, 149_90)
    exchange.wait(61)
    events = exchange.must(cm.UpdatePrices, (("SOL", 10 * 10**8),), ())
    assert of(events, LiquidationStageChanged) == [LiquidationStageChanged("1/0", "backstop", "below_acmf")]
    assert [one.units for one in of(events, Traded)] == [2 * SOL]
    assert exchange.base("1/0") == 98 * SOL
    exchange.wait(1)
    # The provider's collateral needs an index again, or it takes nothing (R17).
    events = exchange.must(cm.UpdatePrices, (("BTC", 60_000 * 10**8),), (("SOL-PERP", 150 * 10**8),))
    assert exchange.base("1/0") == 0 and exchange.base("90/0") == 98 * SOL
    assert isinstance(events[-1], LiquidationEnded)


def test_r20_bankruptcy_at_once_on_the_mark_that_causes_it(exchange: Exchange) -> None:
    """R20, R23, R27: far below zero the first step goes straight to the backstop, at mark."""
    exchange.backstop()
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    events = exchange.prices(130)
    assert [type(one).__name__ for one in events[1:]] == [
        "LiquidationStarted",
        "PnlSettled",
        "LiquidationStageChanged",
        "BackstopFilled",
        "LossCollected",
        "SubaccountBankrupt",
        "LiquidationEnded",
    ]
    assert of(events, SubaccountBankrupt)[0].outstanding_usd6 == 1_000 * USDC
    assert events[-1].outcome == "bankrupt" and list(exchange.state.debts) == ["1/0"]
    assert liquidation_status(exchange.state, "1/0").state == "bankrupt"


def test_r26_r28_a_winner_is_paid_in_full_after_the_debtors_deposits(indebted: Exchange) -> None:
    assert (indebted.cash("2/0"), indebted.unsettled("2/0")) == (2_000 * USDC, 1_000 * USDC)
    indebted.deposit("1/0", 400 * USDC)
    indebted.tick()
    assert (indebted.cash("2/0"), indebted.unsettled("2/0")) == (2_400 * USDC, 600 * USDC)
    applied = indebted.must(cm.Deposit, "1/0", "USDC", 700 * USDC, "wallet")[0]
    assert (applied.applied_usd6, applied.credited_units) == (600 * USDC, 100 * USDC)
    indebted.tick()
    assert (indebted.cash("2/0"), indebted.unsettled("2/0")) == (3_000 * USDC, 0)
    assert liquidation_status(indebted.state, "1/0").state == "healthy"


def test_r23_the_zero_price_is_public_and_shared_by_maintenance_margin(exchange: Exchange) -> None:
    """R23: equity 760 (see above), 596.16 / 796.26 of it behind SOL: 569.01, i.e. 1.8967 for each."""
    leveraged(exchange)
    exchange.deposit("1/0", 600 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 5 * 10**7, 60_000, "BTC-PERP"), Accepted)
    mark(exchange, 147_20)
    # floor(760 x 596.16 / 796.26) = 569.012131; over 300 SOL that is 1.89670710 a piece, rounded down.
    assert bankruptcy_price_e8(exchange.state, "1/0", "SOL-PERP") == 147_20 * CENT_E8 - 189_670_710
    assert bankruptcy_price_e8(exchange.state, "2/0", "SOL-PERP") > 147_20 * CENT_E8


def test_r25_shares_since_start_and_over_a_day(exchange: Exchange) -> None:
    """R25: 30 SOL on the book; a day later 270 SOL by ADL."""
    leveraged(exchange)
    rest(exchange, "3/0", "buy", 120, 148_50)
    mark(exchange, 148_50)
    book = stage_shares(exchange.state, exchange.now_ns)[0]
    assert (book.stage, book.notional_usd6, book.fills, book.subaccounts, book.share_ppm) == (
        "book",
        4_455 * USDC,
        1,
        1,
        10**6,
    )
    exchange.must(cm.CancelAllOrders, "3/0", "")
    exchange.wait(86_400)
    mark(exchange, 140_00)
    shares = {one.stage: one for one in stage_shares(exchange.state, exchange.now_ns)}
    assert shares["adl"].notional_usd6 == 270 * 140 * USDC
    # 4,455 of 42,255 is 10.5431...%.
    assert (shares["book"].share_ppm, shares["adl"].share_ppm) == (105_431, 894_568)
    assert (shares["book"].day_notional_usd6, shares["adl"].day_share_ppm) == (0, 10**6)
    assert load_state(dump_state(exchange.state)).stages == exchange.state.stages


def test_r5_a_liquidation_survives_a_snapshot(exchange: Exchange) -> None:
    leveraged(exchange)
    exchange.backstop()
    rest(exchange, "3/0", "buy", 200, 148_50)
    mark(exchange, 148_50)
    assert exchange.state.liquidations["1/0"].entry_units == {"SOL-PERP": 300 * SOL}
    again = load_state(dump_state(exchange.state))
    assert again.liquidations == exchange.state.liquidations and again.backstops == exchange.state.backstops
    assert dump_state(again) == dump_state(exchange.state)


def test_r20_patience_is_a_parameter(make_exchange: type[Exchange]) -> None:
    """R22: without patience the first step already goes on."""
    exchange = make_exchange(replace(default_params(), stage1_patience=0))
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    leveraged(exchange)
    assert of(mark(exchange, 148_50), AutoDeleveraged)


def test_r22_a_borrow_and_a_perpetual_are_closed_side_by_side(exchange: Exchange) -> None:
    """R22, R11: 1/0 is short 50 SOL on the perpetual and owes 5 SOL it has sold; SOL rises to 184.

    Equity 2,000 - 0.30 fee - 55 x 34 = 129.70; maintenance 50 x 184 x 1.35% + 5 x 184 x 5% = 170.20. Each
    second the perpetual goes by a quarter of what is offered (20 at 184.5: 5, 3.75, 2.81, 2.11, 1.58), the
    borrow by 10% of its size at entry (0.5 at 185). After the fifth order on the perpetual 34.75 SOL and a
    borrow of 3 need 86.319 + 27.6 = 113.919, 105% of which are 119.615; the equity left is 120.07.
    """
    exchange.open("3/0")
    exchange.must(cm.SetLending, "3/0", 0, 0, 0)
    exchange.must(cm.SetLending, "1/0", 0, 0, 0)
    exchange.deposit("3/0", 100_000 * USDC)
    exchange.deposit("3/0", 200 * SOL, "SOL")
    exchange.deposit("2/0", 20_000 * USDC)
    exchange.deposit("1/0", 2_000 * USDC)
    exchange.must(cm.Lend, "3/0", "SOL", 100 * SOL)
    exchange.must(cm.Borrow, "1/0", "SOL", 5 * SOL)
    exchange.must(cm.PlaceOrder, "3/0", "SOL/USDC", "buy", "post_only", 5 * SOL, 150 * 10**8)
    exchange.must(cm.PlaceOrder, "1/0", "SOL/USDC", "sell", "ioc", 5 * SOL, 150 * 10**8)
    assert exchange.cash("1/0") == 2_749_700_000 and exchange.cash("1/0", "SOL") == 0
    assert isinstance(exchange.trade("2/0", "1/0", 50 * SOL, 150), Accepted)
    rest(exchange, "3/0", "sell", 20, 184_50)
    exchange.must(cm.PlaceOrder, "3/0", "SOL/USDC", "sell", "post_only", 8 * SOL, 185 * 10**8)
    events = mark(exchange, 184_00)
    assert (events[1].net_equity_usd6, events[1].maintenance_margin_usd6) == (129_700_000, 170_200_000)
    bought, borrowed = [], []
    for _ in range(5):
        bought += [one.units for one in of(events, Traded)]
        borrowed += [one.units for one in of(events, SpotTraded)]
        events = step(exchange, 184_00)
    assert bought == [5 * SOL, 3_750_000_000, 2_810_000_000, 2_110_000_000, 1_580_000_000]
    assert borrowed == [SOL // 2] * 4
    assert exchange.base("1/0") == -34_750_000_000
    assert 3 * SOL <= owed_units(exchange.state, exchange.state.subaccounts["1/0"], "SOL") < 3 * SOL + 1_000
    assert not exchange.state.liquidations


def test_r23_the_fund_takes_over_what_the_books_do_not_buy_back(exchange: Exchange) -> None:
    """R21, R23: the same borrow, and nobody sells SOL: after the patience the fund takes it over."""
    exchange.open("3/0")
    exchange.must(cm.SetLending, "3/0", 0, 0, 0)
    exchange.must(cm.SetLending, "1/0", 0, 0, 0)
    exchange.deposit("3/0", 100_000 * USDC)
    exchange.deposit("3/0", 200 * SOL, "SOL")
    exchange.deposit("1/0", 200 * USDC)
    exchange.must(cm.Lend, "3/0", "SOL", 100 * SOL)
    exchange.must(cm.Borrow, "1/0", "SOL", 5 * SOL)
    exchange.must(cm.PlaceOrder, "3/0", "SOL/USDC", "buy", "post_only", 5 * SOL, 150 * 10**8)
    exchange.must(cm.PlaceOrder, "1/0", "SOL/USDC", "sell", "ioc", 5 * SOL, 150 * 10**8)
    # 949.70 dollars, and 5 SOL owed: at 181 they are 905 and need 45.25.
    mark(exchange, 181_00)
    assert list(exchange.state.liquidations) == ["1/0"]
    for _ in range(4):
        assert exchange.state.subaccounts["1/0"].borrowed
        step(exchange, 181_00)
    events = step(exchange, 181_00)
    (taken,) = of(events, BorrowTakenOver)
    # 5% of 905 would be 45.25, and there are 44.70: at index then, so that nobody is brought into debt by it.
    assert (taken.rate_e8, taken.units >= 5 * SOL) == (181 * 10**8, True)
    assert events[-1] == LiquidationEnded("1/0", "closed")
    assert exchange.cash("1/0") == 949_700_000 - taken.usd6
    assert not exchange.state.subaccounts["1/0"].borrowed
    assert exchange.state.subaccounts["insurance_fund"].borrowed


def test_r29_a_preview_says_that_a_liquidation_is_on(exchange: Exchange) -> None:
    """R29, R20: between 100% and 105% of maintenance nobody fails, but a liquidation goes on."""
    leveraged(exchange)
    assert not preview_deposit(exchange.state, "1/0", "USDC", USDC).being_liquidated
    mark(exchange, 148_50)
    exchange.deposit("1/0", 60 * USDC)
    assert margin_of(exchange.state, "1/0").net_equity_usd6 > 601_425_000
    assert preview_deposit(exchange.state, "1/0", "USDC", USDC).being_liquidated


def test_r13_a_stale_index_leaves_only_the_book_too(exchange: Exchange) -> None:
    """R13: too few sources: the last good mark is young, but nobody is made to take over at it."""
    exchange.backstop()
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 20_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    # The mark alone falls below everything, in the same second in which the index loses its sources.
    exchange.must(cm.UpdateQuotes, "SOL", (("feed", "one", 150 * 10**8, exchange.now_ns),))
    events = exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 130 * 10**8),))
    assert of(events, LiquidationStageChanged) == [LiquidationStageChanged("1/0", "backstop", "below_acmf")]
    assert exchange.base("1/0") == 100 * SOL
    exchange.wait(1)
    events = exchange.prices(130)
    assert exchange.base("1/0") == 0 and exchange.base("90/0") == 100 * SOL
    assert events[-1] == LiquidationEnded("1/0", "bankrupt")


def test_r22_reduce_only_orders_are_as_deep_as_the_position_behind_them(exchange: Exchange) -> None:
    """R22: 40 SOL shown by real bids; 3/0, short 8 SOL, shows 200 more that could never trade: 8 count.

    A quarter of 48 is 12; with all 240 counted the step would be 30.
    """
    leveraged(exchange)
    exchange.open("4/0")
    exchange.deposit("4/0", 20_000 * USDC)
    assert isinstance(exchange.trade("2/0", "3/0", 8 * SOL, 150), Accepted)
    rest(exchange, "4/0", "buy", 40, 148_00)
    for _ in range(25):
        exchange.must(
            cm.PlaceOrder, "3/0", "SOL-PERP", "buy", "post_only", 8 * SOL, 147_90 * CENT_E8, reduce_only=1
        )
    traded = of(mark(exchange, 148_00), Traded)
    assert sum(one.units for one in traded) == 12 * SOL


def test_r21_what_is_owed_is_repaid_with_its_interest_at_once(exchange: Exchange) -> None:
    """R9, R21: interest accrues first, then what is owed is read: one repayment, nothing left over."""
    for name in ("1/0", "2/0"):
        exchange.must(cm.SetLending, name, 0, 0, 0)
    exchange.deposit("2/0", 100_000 * USDC)
    exchange.deposit("2/0", 100 * SOL, "SOL")
    exchange.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("1/0", SOL, "SOL")
    exchange.must(cm.Borrow, "1/0", "SOL", 5 * SOL)
    assert isinstance(exchange.trade("1/0", "2/0", 200 * SOL, 150), Accepted)
    exchange.wait(30)
    events = mark(exchange, 146_00)
    repaid = of(events, Repaid)
    assert [(one.asset, one.owed_units) for one in repaid] == [("SOL", 0)]
    assert repaid[0].cash_units > 5 * SOL
    assert exchange.owed("1/0", "SOL") == 0
