"""R12, R15, R18, R19: every kind of order, fees, self-trades, makers, locks, with numbers worked out by hand.

SOL-PERP: mark and index $150, lot 0.01 SOL, tick $0.01, maker fee 100 ppm, taker fee 400 ppm. One SOL at 150
is 150,000,000 usd6: maker fee 15,000, taker fee 60,000.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine import events as ev
from engine.apply import Accepted, Rejected
from engine.invariants import check
from engine.margin import margin_of
from engine.markets import average_entry_price_e8, depth, mid_price_e8, open_orders_of
from engine.orders import cancel_all, take_liquidity
from engine.params import default_params, params_faults
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state, state_hash
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange

LOT = SOL // 100
R = RejectReason


@pytest.fixture
def market() -> Exchange:
    """Four customers with $10,000 each, 3/0 also with 10 SOL."""
    exchange = Exchange()
    exchange.open("1/0", "2/0", "3/0", "4/0", "1/1")
    exchange.prices(150)
    for name in ("1/0", "2/0", "3/0", "4/0", "1/1"):
        exchange.deposit(name, 10_000 * USDC)
    exchange.deposit("3/0", 10 * SOL, "SOL")
    return exchange


def events(outcome: Any) -> tuple[Any, ...]:
    assert isinstance(outcome, Accepted), outcome
    return outcome.events


def reason(outcome: Any) -> RejectReason:
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def quote(exchange: Exchange, name: str, market: str = "SOL-PERP") -> int:
    position = exchange.state.subaccounts[name].positions.get(market)
    return 0 if position is None else position.quote_usd6


def test_r12_a_limit_order_rests_and_trades_at_the_resting_price(market: Exchange) -> None:
    (rested,) = events(market.order("1/0", "buy", 2 * SOL, 149))
    assert rested == ev.OrderRested("SOL-PERP", 1, "1/0", True, 149 * DOLLAR_E8, 2 * SOL, False, "")
    traded, rest = events(market.order("2/0", "sell", 3 * SOL, 148))
    # 2 SOL at 149: 298,000,000; maker 29,800; taker 119,200.
    assert traded == ev.Traded(
        "SOL-PERP",
        "1/0",
        1,
        "2/0",
        2,
        False,
        2 * SOL,
        149 * DOLLAR_E8,
        298_000_000,
        29_800,
        119_200,
    )
    assert (rest.order_id, rest.units, rest.is_buy) == (2, SOL, False)
    assert (market.base("1/0"), market.base("2/0")) == (2 * SOL, -2 * SOL)
    assert (quote(market, "1/0"), quote(market, "2/0")) == (-298_029_800, 297_880_800)
    assert quote(market, "fees") == 149_000
    market.tick()
    # Fees are income of `fees`, paid out of the pool like any claim, after the customers'.
    assert market.cash("fees") == 149_000
    assert depth(market.state, "SOL-PERP", 5).asks == ((148 * DOLLAR_E8, SOL),)


def test_r12_price_then_time(market: Exchange) -> None:
    market.order("1/0", "sell", SOL, 151)
    market.order("2/0", "sell", SOL, 150)
    market.order("3/0", "sell", SOL, 150)
    first, second, third = events(market.order("4/0", "buy", 2 * SOL + LOT, 152, "ioc"))
    assert [one.maker for one in (first, second, third)] == ["2/0", "3/0", "1/0"]
    assert [one.units for one in (first, second, third)] == [SOL, SOL, LOT]
    assert third.price_e8 == 151 * DOLLAR_E8


def test_r12_ioc_market_fok_post_only(market: Exchange) -> None:
    market.order("1/0", "sell", SOL, 150)
    market.order("1/0", "sell", SOL, 151)
    traded, cancelled = events(market.order("2/0", "buy", 2 * SOL, 150, "ioc"))
    assert traded.units == SOL
    assert cancelled == ev.OrderCancelled("SOL-PERP", 3, "2/0", SOL, "immediate_or_cancel")
    refused = market.order("2/0", "buy", 2 * SOL, 151, "fok")
    assert isinstance(refused, Rejected) and refused.reason is R.FILL_OR_KILL_UNFILLED
    assert refused.would_pass_units == SOL
    assert reason(market.order("2/0", "buy", SOL, 151, "post_only")) is R.POST_ONLY_WOULD_TRADE
    (rested,) = events(market.order("2/0", "buy", SOL, 150.99, "post_only"))
    assert rested.price_e8 == 15_099_000_000
    assert events(market.order("3/0", "buy", SOL, 0, "market"))[0].price_e8 == 151 * DOLLAR_E8
    (nothing,) = events(market.order("3/0", "buy", SOL, 0, "market"))
    assert (nothing.reason, nothing.units) == ("immediate_or_cancel", SOL)
    filled = events(market.order("4/0", "sell", SOL, 150, "fok"))
    assert len(filled) == 1 and filled[0].price_e8 == 15_099_000_000


def test_r12_self_trade_cancels_the_newest_in_the_whole_account(market: Exchange) -> None:
    market.order("2/0", "sell", SOL, 149)
    market.order("1/1", "sell", SOL, 150)
    traded, cancelled = events(market.order("1/0", "buy", 3 * SOL, 151))
    assert traded.maker == "2/0"
    assert (cancelled.reason, cancelled.units, cancelled.subaccount) == ("self_trade", 2 * SOL, "1/0")
    assert [order.subaccount for _, order in open_orders_of(market.state, "1/1")] == ["1/1"]


def test_r12_cancel_by_either_id_and_all(market: Exchange) -> None:
    market.order("1/0", "buy", SOL, 140, client_order_id="a")
    market.order("1/0", "buy", SOL, 141)
    market.order("1/0", "buy", SOL, 142, market="SOL/USDC")
    assert market.state.subaccounts["1/0"].open_orders["SOL-PERP"].buy_units == 2 * SOL
    (gone,) = market.must(cm.CancelOrder, "1/0", "SOL-PERP", 0, "a")
    assert gone == ev.OrderCancelled("SOL-PERP", 1, "1/0", SOL, "requested")
    market.must(cm.SetMarketState, "SOL-PERP", "closed")
    assert [one.market for one in market.must(cm.CancelAllOrders, "1/0", "")] == ["SOL-PERP", "SOL/USDC"]
    assert market.must(cm.CancelAllOrders, "1/0", "SOL-PERP") == ()
    one = market.state.subaccounts["1/0"]
    assert (one.open_orders, one.locked, one.open_order_count) == ({}, {}, 0)


def test_r12_a_reduce_only_order_that_was_met_leaves_no_crossed_book(market: Exchange) -> None:
    """A buy of 5 that may reduce a short of 2.5 only: a sell below it must not rest under its other 2.5."""
    assert isinstance(market.trade("4/0", "3/0", 5 * SOL, 150), Accepted)
    (rested,) = events(market.order("3/0", "buy", 5 * SOL, 150, reduce_only=1))
    assert rested.units == 5 * SOL
    # Half of the short is closed elsewhere: the order may reduce 2.5 from now on.
    assert isinstance(market.trade("3/0", "4/0", 5 * SOL // 2, 150), Accepted)
    traded, cancelled, rest = events(market.order("1/1", "sell", 20 * SOL, 149))
    assert (traded.maker, traded.units) == ("3/0", 5 * SOL // 2)
    assert (cancelled.subaccount, cancelled.units, cancelled.reason) == (
        "3/0",
        5 * SOL // 2,
        "nothing_to_reduce",
    )
    assert (rest.subaccount, rest.units) == ("1/1", 20 * SOL - 5 * SOL // 2)
    assert check(market.state) == []


def test_r12_reduce_only_is_cut_to_the_position_and_dies_with_it(market: Exchange) -> None:
    market.trade("1/0", "2/0", 2 * SOL, 150)
    (rested,) = events(market.order("1/0", "sell", 5 * SOL, 151, reduce_only=1))
    assert (rested.units, rested.reduce_only) == (2 * SOL, True)
    assert market.state.subaccounts["1/0"].open_orders == {}
    market.order("1/0", "sell", SOL, 150)  # not reduce-only, ahead of it
    market.order("3/0", "sell", 9 * SOL, 151)
    first, second, dropped, third = events(market.order("4/0", "buy", 4 * SOL, 151))
    # 1 SOL of the plain order, 1 SOL of the reduce-only one (of its 2, whose rest goes), then 3/0.
    trades = [(one.maker, one.units) for one in (first, second, third)]
    assert trades == [("1/0", SOL), ("1/0", SOL), ("3/0", 2 * SOL)]
    assert market.base("1/0") == 0
    assert dropped == ev.OrderCancelled("SOL-PERP", 1, "1/0", SOL, "nothing_to_reduce")


def test_r12_a_reduce_only_order_whose_position_is_gone_is_dropped_when_met(market: Exchange) -> None:
    market.trade("1/0", "2/0", 2 * SOL, 150)
    events(market.order("1/0", "sell", 2 * SOL, 151, reduce_only=1))
    market.order("3/0", "sell", 9 * SOL, 151)
    market.trade("2/0", "1/0", 2 * SOL, 150)
    dropped, traded = events(market.order("4/0", "buy", SOL, 151))
    assert dropped == ev.OrderCancelled("SOL-PERP", 1, "1/0", 2 * SOL, "nothing_to_reduce")
    assert traded.maker == "3/0"


def test_r12_market_states(market: Exchange) -> None:
    market.trade("1/0", "2/0", SOL, 150)
    market.order("3/0", "buy", SOL, 149)
    market.must(cm.SetMarketState, "SOL-PERP", "reduce_only")
    assert events(market.order("1/0", "sell", SOL, 149, reduce_only=1))[0].maker == "3/0"
    market.must(cm.SetMarketState, "SOL-PERP", "post_only")
    assert events(market.order("3/0", "buy", SOL, 149, "post_only"))[0].units == SOL
    market.must(cm.SetMarketState, "SOL-PERP", "open")
    assert market.state.market_states == {}
    market.wait(61)
    assert reason(market.order("3/0", "buy", SOL, 149)) is R.MARKET_REDUCE_ONLY
    market.prices(150)
    assert isinstance(market.order("3/0", "buy", SOL, 149), Accepted)


def test_r12_an_order_that_cannot_be_carried_is_dropped_when_it_is_met(market: Exchange) -> None:
    """2/0 bids for 600 SOL at 150 with $10,000; the mark falls to 140: buying at 150 would cost it $6,000.

    Equity 10,000 - 6,000 - fee 9 = 3,991; initial margin of 600 x 140 = 84,000 at 2.174% is 1,826.16: it may.
    At 135: 10,000 - 9,000 - 9 = 991 against 600 x 135 at 2.135%: 1,729. It may not.
    """
    for mark, expected in ((140, "traded"), (135, "dropped")):
        copy = Exchange()
        copy.open("1/0", "2/0", "4/0")
        copy.prices(150)
        for name in ("1/0", "2/0", "4/0"):
            copy.deposit(name, 10_000 * USDC)
        events(copy.order("2/0", "buy", 600 * SOL, 150))
        copy.prices(mark)
        happened = events(copy.order("4/0", "sell", 600 * SOL, mark, "ioc"))
        if expected == "traded":
            assert [type(one) for one in happened] == [ev.Traded]
        else:
            dropped, rest = happened
            assert (dropped.subaccount, dropped.reason) == ("2/0", "insufficient_margin")
            assert (rest.subaccount, rest.reason) == ("4/0", "immediate_or_cancel")
            assert copy.base("2/0") == 0 and copy.state.books["SOL-PERP"].orders == {}


def test_r12_a_maker_met_twice_is_judged_on_both_trades(market: Exchange) -> None:
    """Two bids for 240 SOL at 150, mark 130: the first costs 4,800 and leaves 5,196 against an initial margin
    of 240 x 130 x 2% = 624; the second would leave 393 against 480 x 130 = 62,400 at 2%: 1,248.
    """
    events(market.order("2/0", "buy", 240 * SOL, 150))
    events(market.order("2/0", "buy", 240 * SOL, 150))
    market.prices(130)
    traded, dropped, rest = events(market.order("4/0", "sell", 480 * SOL, 130, "ioc"))
    assert (traded.maker, traded.units) == ("2/0", 240 * SOL)
    assert (dropped.reason, dropped.order_id) == ("insufficient_margin", 2)
    assert rest.units == 240 * SOL


def test_r12_fees_round_once_per_resting_order_and_for_each_taker_trade() -> None:
    """One lot at $0.01 x 0.01 SOL is 100 usd6: maker 0.01, taker 0.04; rounded up each is 1.

    A resting order of 300 lots at 150.01 is 450,030,000 usd6: fee 45,003. In three trades of 100 lots,
    150,010,000 each: exact 15,001. With a fee of 101 ppm the whole is 45,453.03 -> 45,454, the parts are
    15,151.01: 15,152 + 15,151 + 15,151.
    """
    params = default_params()
    first = replace(params.markets[0], maker_fee_ppm=101)
    exchange = Exchange(replace(params, markets=(first, *params.markets[1:])))
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 10_000 * USDC)
    exchange.order("1/0", "sell", 300 * LOT, 150.01)
    fees = [events(exchange.order("2/0", "buy", 100 * LOT, 150.01))[0].maker_fee_usd6 for _ in range(3)]
    assert sorted(fees) == [15_151, 15_151, 15_152] and sum(fees) == 45_454


def test_r12_a_rebate_never_exceeds_the_takers_fee() -> None:
    params = default_params()
    first = replace(params.markets[0], maker_fee_ppm=-400, taker_fee_ppm=400)
    assert params_faults(replace(params, markets=(first, *params.markets[1:]))) == ()
    worse = replace(params.markets[0], maker_fee_ppm=-401, taker_fee_ppm=400)
    assert "maker_fee_ppm" in params_faults(replace(params, markets=(worse, *params.markets[1:])))[0]
    exchange = Exchange(replace(params, markets=(first, *params.markets[1:])))
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 10_000 * USDC)
    exchange.order("1/0", "sell", 7 * LOT, 150.01)
    for _ in range(7):
        traded = events(exchange.order("2/0", "buy", LOT, 150.01))[0]
        assert traded.maker_fee_usd6 + traded.taker_fee_usd6 >= 0
    # 10.5007 USDC x 400 ppm = 4,200.28: the rebate rounds down to 4,200.
    assert quote(exchange, "1/0") == 7 * 1_500_100 + 4_200


def test_r12_lots_and_ticks_make_every_trade_exact() -> None:
    params = default_params()
    odd = replace(params.markets[0], tick_e8=1)
    faults = params_faults(replace(params, markets=(odd, *params.markets[1:])))
    assert faults == ("market SOL-PERP: tick_e8 x lot_units must be a whole number of usd6",)


def test_r15_a_taker_stops_at_the_band_and_its_rest_does_not_cross(market: Exchange) -> None:
    """150 + 5% = 157.50: the ask at 157.50 trades, the one at 157.51 does not."""
    market.order("2/0", "sell", SOL, 157.50)
    market.order("2/0", "sell", SOL, 157.51)
    traded, cancelled = events(market.order("1/0", "buy", 3 * SOL, 160))
    assert traded.price_e8 == 15_750_000_000
    assert (cancelled.reason, cancelled.units) == ("price_band", 2 * SOL)
    (cancelled,) = events(market.order("1/0", "buy", SOL, 0, "market"))
    assert cancelled.reason == "price_band"
    (rested,) = events(market.order("1/0", "buy", SOL, 157.50))
    assert rested.units == SOL
    market.order("4/0", "buy", SOL, 142.49)
    market.must(cm.CancelAllOrders, "1/0", "")
    (cancelled,) = events(market.order("3/0", "sell", SOL, 140))
    assert cancelled.reason == "price_band"


def test_r15_price_limits_include_their_edges(market: Exchange) -> None:
    for price in (37.50, 300):
        assert isinstance(market.order("1/0", "sell" if price == 300 else "buy", LOT, price), Accepted)
    for price in (37.49, 300.01):
        assert reason(market.order("1/0", "sell", LOT, price)) is R.PRICE_OUTSIDE_LIMITS


def test_r18_open_orders_count_on_their_worst_side(market: Exchange) -> None:
    """Long 2 with bids for 3 and asks for 4: the worst side is 5. 750 USD at 2% is 15."""
    market.trade("1/0", "2/0", 2 * SOL, 150)
    market.order("1/0", "buy", 3 * SOL, 140)
    market.order("1/0", "sell", 4 * SOL, 160)
    margin = margin_of(market.state, "1/0")
    assert margin.initial_margin_usd6 == 15 * USDC
    assert margin.exposure_usd6 == 300 * USDC
    # Maintenance is for the position alone: 300 x 1.35%.
    assert margin.maintenance_margin_usd6 == 4_050_000
    market.order("1/0", "sell", 4 * SOL, 161)
    # Now |2 - 8| = 6.
    assert margin_of(market.state, "1/0").initial_margin_usd6 == 18 * USDC


def test_r18_orders_without_a_position_need_initial_margin_and_bind_withdrawals(market: Exchange) -> None:
    market.attest()
    events(market.order("1/0", "buy", 100 * SOL, 150))
    # 15,000 USD at 2% (75e-6 x sqrt(15,000) = 0.92%): 300.
    assert margin_of(market.state, "1/0").initial_margin_usd6 == 300 * USDC
    assert reason(market.withdraw("1/0", 9_700 * USDC + 1)) is R.INSUFFICIENT_INITIAL_MARGIN


def test_r19_a_position_can_be_closed_below_initial_margin_at_the_cost_of_a_fee(market: Exchange) -> None:
    market.open("5/0")
    market.deposit("5/0", 31 * USDC)
    assert isinstance(market.trade("5/0", "2/0", 10 * SOL, 150), Accepted)
    market.must(cm.UpdatePrices, (), (("SOL-PERP", 14_940_000_000),))
    margin = margin_of(market.state, "5/0")
    assert margin.maintenance_margin_usd6 < margin.net_equity_usd6 < margin.initial_margin_usd6
    market.order("1/0", "buy", 20 * SOL, 149.40)
    assert reason(market.order("5/0", "buy", LOT, 149)) is R.INSUFFICIENT_INITIAL_MARGIN
    assert events(market.order("5/0", "sell", SOL, 149.40))[0].taker_fee_usd6 == 59_760
    # Through zero into a short is more than closing.
    assert reason(market.order("5/0", "sell", 20 * SOL, 149.40, "ioc")) is R.INSUFFICIENT_INITIAL_MARGIN
    assert isinstance(market.order("5/0", "sell", 20 * SOL, 149.40, "ioc", reduce_only=1), Accepted)
    assert market.base("5/0") == 0


def test_r7_the_average_entry_price(market: Exchange) -> None:
    market.trade("1/0", "2/0", 2 * SOL, 150)
    market.trade("1/0", "2/0", SOL, 153)
    assert average_entry_price_e8(market.state, "1/0", "SOL-PERP") == 151 * DOLLAR_E8
    market.trade("2/0", "1/0", SOL, 145)
    assert average_entry_price_e8(market.state, "1/0", "SOL-PERP") == 151 * DOLLAR_E8
    market.trade("2/0", "1/0", 3 * SOL, 147)
    assert market.base("1/0") == -SOL
    assert average_entry_price_e8(market.state, "1/0", "SOL-PERP") == 147 * DOLLAR_E8
    market.tick()
    assert average_entry_price_e8(market.state, "1/0", "SOL-PERP") == 147 * DOLLAR_E8
    assert average_entry_price_e8(market.state, "4/0", "SOL-PERP") == 0


def test_r12_spot_moves_cash_on_both_sides(market: Exchange) -> None:
    events(market.order("3/0", "sell", 4 * SOL, 151, market="SOL/USDC"))
    assert market.state.subaccounts["3/0"].locked == {"SOL": 4 * SOL}
    (traded,) = events(market.order("1/0", "buy", SOL, 151, market="SOL/USDC"))
    # 151,000,000: maker 15,100; taker 60,400.
    assert isinstance(traded, ev.SpotTraded)
    assert market.cash("1/0") == 10_000 * USDC - 151_060_400
    assert market.cash("3/0") == 10_000 * USDC + 150_984_900
    assert (market.cash("1/0", "SOL"), market.cash("3/0", "SOL")) == (SOL, 9 * SOL)
    assert market.cash("fees") == 75_500
    assert market.state.subaccounts["3/0"].locked == {"SOL": 3 * SOL}


def test_r7_a_resting_spot_buy_locks_its_price_and_its_fee(market: Exchange) -> None:
    events(market.order("1/0", "buy", 2 * SOL, 149.99, market="SOL/USDC"))
    # 299.98 and a fee of 29,998.
    assert market.state.subaccounts["1/0"].locked == {"USDC": 300_009_998}
    assert events(market.order("3/0", "sell", SOL, 149, "ioc", market="SOL/USDC"))[0].maker_fee_usd6 == 14_999
    assert market.state.subaccounts["1/0"].locked == {"USDC": 150_004_999}
    assert market.cash("1/0") == 10_000 * USDC - 150_004_999


def test_r26_a_loss_takes_free_cash_first_and_costs_spot_orders_only_when_needed(market: Exchange) -> None:
    """1/0 has $10,000, about $3,000 of it locked in a bid: a loss of $5,000 leaves it, $8,000 does not."""
    for mark, survives in ((100, True), (70, False)):
        exchange = Exchange()
        exchange.open("1/0", "2/0")
        exchange.prices(150)
        exchange.deposit("1/0", 10_000 * USDC)
        exchange.deposit("2/0", 10_000 * USDC)
        exchange.trade("1/0", "2/0", 100 * SOL, 150)
        events(exchange.order("1/0", "buy", 50 * SOL, 60, market="SOL/USDC"))
        exchange.prices(150, mark_usd=mark)
        happened = exchange.tick()
        cancelled = [one for one in happened if isinstance(one, ev.OrderCancelled)]
        assert [one.reason for one in cancelled] == ([] if survives else ["needed_for_losses"])
        assert exchange.cash("1/0") == 10_000 * USDC - (150 - mark) * 100 * USDC


def test_r22_a_forced_order_reduces_only_pays_no_fee_and_passes_a_sibling(market: Exchange) -> None:
    market.trade("1/0", "2/0", 3 * SOL, 150)
    events(market.order("1/1", "buy", SOL, 149))
    events(market.order("3/0", "buy", 9 * SOL, 148.50))
    out: list[Any] = []
    one = market.state.subaccounts["1/0"]
    assert take_liquidity(market.state, one, "SOL-PERP", True, SOL, 150 * DOLLAR_E8, out) == 0
    assert take_liquidity(market.state, one, "SOL-PERP", False, SOL, 150 * DOLLAR_E8, out) == 0
    assert out == []
    units = take_liquidity(market.state, one, "SOL-PERP", False, 2 * SOL + LOT // 2, 148 * DOLLAR_E8, out)
    assert units == 2 * SOL
    assert [(step.maker, step.units, step.taker_fee_usd6) for step in out] == [
        ("1/1", SOL, 0),
        ("3/0", SOL, 0),
    ]
    assert take_liquidity(market.state, one, "SOL-PERP", False, 99 * SOL, 148 * DOLLAR_E8, out) == SOL
    assert market.base("1/0") == 0


def test_r22_a_forced_spot_sale_spends_what_is_there(market: Exchange) -> None:
    market.deposit("insurance_fund", 2 * SOL, "SOL")
    events(market.order("1/0", "buy", 9 * SOL, 149, market="SOL/USDC"))
    out: list[Any] = []
    fund = market.state.subaccounts["insurance_fund"]
    units = take_liquidity(market.state, fund, "SOL/USDC", False, 99 * SOL, 149 * DOLLAR_E8, out)
    assert (units, market.cash("insurance_fund"), market.cash("1/0", "SOL")) == (2 * SOL, 298 * USDC, 2 * SOL)
    market.must(cm.SetMarketState, "SOL/USDC", "closed")
    assert take_liquidity(market.state, fund, "SOL/USDC", True, SOL, 149 * DOLLAR_E8, out) == 0


def test_r21_all_orders_of_a_subaccount_go_by_market_oldest_first(market: Exchange) -> None:
    for price in (141, 149, 145):
        market.order("1/0", "buy", SOL, price)
    market.order("1/0", "buy", SOL, 140, market="SOL/USDC")
    out: list[Any] = []
    cancel_all(market.state, market.state.subaccounts["1/0"], out)
    assert [(one.market, one.order_id, one.reason) for one in out] == [
        ("SOL-PERP", 1, "liquidation"),
        ("SOL-PERP", 2, "liquidation"),
        ("SOL-PERP", 3, "liquidation"),
        ("SOL/USDC", 1, "liquidation"),
    ]


def test_r4_an_order_that_traded_is_remembered_for_ever_one_that_rested_for_a_while() -> None:
    exchange = Exchange(replace(default_params(), remembered_orders=2))
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 10_000 * USDC)
    first = exchange.order("1/0", "sell", SOL, 150, id="rested")
    traded = exchange.order("2/0", "buy", SOL, 150, id="traded")
    assert exchange.order("1/0", "sell", SOL, 150, id="rested") == first
    for _ in range(2):
        exchange.order("1/0", "buy", LOT, 140)
    assert exchange.order("2/0", "buy", SOL, 150, id="traded") == traded
    assert "rested" not in exchange.state.order_answers and len(exchange.state.order_answers) == 2
    assert exchange.base("2/0") == SOL


def test_r5_books_are_dumped_in_priority_and_loaded_with_it(market: Exchange) -> None:
    for name, side, price in (
        ("1/0", "buy", 149),
        ("2/0", "buy", 149),
        ("1/0", "buy", 149.5),
        ("3/0", "sell", 151),
        ("4/0", "sell", 150.5),
    ):
        events(market.order(name, side, SOL, price, client_order_id=f"{name}{price}"))
    events(market.order("3/0", "sell", SOL, 152, market="SOL/USDC"))
    events(market.order("2/0", "sell", LOT, 149.5))
    market.must(cm.SetMarketState, "BTC-PERP", "post_only")
    loaded = load_state(dump_state(market.state))
    assert state_hash(loaded) == state_hash(market.state)
    for symbol, book in market.state.books.items():
        assert list(loaded.books[symbol].in_priority()) == list(book.in_priority())
        assert loaded.books[symbol].by_client_id == book.by_client_id
        assert loaded.books[symbol].last_order_id == book.last_order_id
    for name, one in market.state.subaccounts.items():
        found = loaded.subaccounts[name]
        assert (found.open_orders, found.locked, found.open_order_count) == (
            one.open_orders,
            one.locked,
            one.open_order_count,
        )
    market.state = loaded
    assert [one.maker for one in events(market.order("4/0", "sell", 2 * SOL, 149))][:2] == ["1/0", "1/0"]


def test_r12_the_mid_is_the_floor_of_the_middle(market: Exchange) -> None:
    assert mid_price_e8(market.state, "SOL-PERP") is None
    market.order("1/0", "buy", SOL, 149)
    assert mid_price_e8(market.state, "SOL-PERP") is None
    market.order("2/0", "sell", SOL, 150.01)
    assert mid_price_e8(market.state, "SOL-PERP") == 14_950_500_000


def test_r4_the_memory_of_orders_goes_on_after_a_snapshot() -> None:
    exchange = Exchange(replace(default_params(), remembered_orders=3))
    exchange.open("1/0")
    exchange.prices(150)
    exchange.deposit("1/0", 10_000 * USDC)
    for number in range(3):
        events(exchange.order("1/0", "buy", LOT, 140, id=f"o{number}"))
    exchange.state = load_state(dump_state(exchange.state))
    events(exchange.order("1/0", "buy", LOT, 140, id="o3"))
    assert list(exchange.state.order_answers) == ["o1", "o2", "o3"]
    again = exchange.order("1/0", "buy", LOT, 140, id="o1")
    assert isinstance(again, Accepted) and not again.recorded


def test_r4_nobodys_orders_push_out_the_answer_to_anothers() -> None:
    """R4: each subaccount has its own memory: whatever 2/0 sends, a repeat of 1/0 rests nothing twice."""
    exchange = Exchange(replace(default_params(), remembered_orders=3))
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 10_000 * USDC)
    events(exchange.order("1/0", "buy", SOL, 149, id="mine"))
    for _ in range(10):
        events(exchange.order("2/0", "buy", LOT, 140))
    again = exchange.order("1/0", "buy", SOL, 149, id="mine")
    assert isinstance(again, Accepted) and not again.recorded
    assert [one.units for one in exchange.state.books["SOL-PERP"].by_owner["1/0"].values()] == [SOL]
    assert len(exchange.state.order_answers) == 4


def test_r12_a_rebate_is_paid_out_of_the_takers_fee_and_never_by_the_exchange() -> None:
    """R12, R20: a forced order pays no fee, so its maker gets no rebate: `fees` pays none."""
    base = default_params()
    rebates = tuple([replace(one, maker_fee_ppm=-100) for one in base.markets])
    exchange = Exchange(replace(base, markets=rebates, auto_lend_default=0))
    exchange.open("1/0", "2/0", "3/0", "4/0")
    exchange.prices(150)
    for name in ("2/0", "3/0"):
        exchange.deposit(name, 100_000 * USDC)
    # An ordinary trade: 150 x 400 ppm = 0.06 paid, 150 x 100 ppm = 0.015 of it to the maker.
    exchange.order("3/0", "sell", SOL, 150)
    (trade,) = [one for one in events(exchange.order("2/0", "buy", SOL, 150)) if isinstance(one, ev.Traded)]
    assert (trade.taker_fee_usd6, trade.maker_fee_usd6) == (60_000, -15_000)
    # A loss paid by a sale on the spot book (R26), and a position closed on the book (R22).
    exchange.deposit("1/0", 10 * SOL, "SOL")
    assert isinstance(exchange.trade("1/0", "2/0", 40 * SOL, 150), Accepted)
    exchange.order("3/0", "buy", 20 * SOL, 149, market="SOL/USDC")
    exchange.order("3/0", "buy", 40 * SOL, 143.6)
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 145 * 10**8),))
    (sold,) = [one for one in exchange.tick() if isinstance(one, ev.SpotTraded)]
    assert (sold.taker_fee_usd6, sold.maker_fee_usd6) == (0, 0)
    exchange.deposit("4/0", 1_000 * USDC)
    assert isinstance(exchange.trade("4/0", "2/0", 300 * SOL, 145), Accepted)
    forced = exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 14_290_000_000),))
    fees = [(one.taker_fee_usd6, one.maker_fee_usd6) for one in forced if isinstance(one, ev.Traded)]
    assert fees and set(fees) == {(0, 0)}
    exchange.tick()
    assert exchange.unsettled("fees") >= 0
