"""R26, R27: what pays a loss and in which order, what the fund redeems, who is paid and who is cut first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected
from engine.events import (
    BackstopFilled,
    Borrowed,
    ClaimPaid,
    CollateralConverted,
    DebtEnded,
    Event,
    LentConverted,
    LiquidationEnded,
    LossCollected,
    LossSocialized,
    OrderCancelled,
    Redeemed,
    SpotTraded,
    SubaccountBankrupt,
)
from engine.params import default_params
from engine.rejects import RejectReason
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange

CENT_E8 = 10**6
DAY = 86_400


def of(events: tuple[Any, ...], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def quiet(exchange: Exchange) -> Exchange:
    """Give 1/0 ... 4/0, who lend and borrow nothing by themselves; 2/0 has $100,000 to trade with."""
    exchange.open("3/0", "4/0")
    for name in ("1/0", "2/0", "3/0", "4/0"):
        exchange.must(cm.SetLending, name, 0, 0, 0)
    exchange.deposit("2/0", 100_000 * USDC)
    return exchange


def lose_sixty(exchange: Exchange) -> tuple[Any, ...]:
    """Let 1/0 be long 10 SOL when the mark falls from 150 to 144, SOL's index standing, and settle."""
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(150, mark_usd=144)
    return exchange.tick()


def throttle(exchange: Exchange, asset: str, units: int, borrowed: int) -> None:
    """Let 1/0 and 3/0 lend units each and 4/0 borrow 95% of both: nobody may redeem by command."""
    for name in ("1/0", "3/0"):
        exchange.deposit(name, units, asset)
        exchange.must(cm.Lend, name, asset, units)
    exchange.must(cm.Borrow, "4/0", asset, borrowed)
    outcome = exchange.send(cm.Redeem, "1/0", asset, 1)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.UTILIZATION_ABOVE_THROTTLE


def test_r26_lent_dollars_pay_a_loss_while_the_pool_is_throttled(quiet: Exchange) -> None:
    """R26, R10: of $2,000 lent $1,900 are borrowed; the loss of 60 is redeemed from the $100 that are
    there.
    """
    quiet.deposit("4/0", 100 * SOL, "SOL")
    throttle(quiet, "USDC", 1_000 * USDC, 1_900 * USDC)
    quiet.deposit("1/0", 10 * SOL, "SOL")
    events = lose_sixty(quiet)
    assert [(one.asset, one.units) for one in of(events, Redeemed)] == [("USDC", 60 * USDC)]
    assert of(events, LossCollected)[0].units == 60 * USDC
    assert (quiet.lent("1/0"), quiet.cash("1/0", "SOL")) == (940 * USDC, 10 * SOL)
    assert quiet.cash("lending_pool") == 40 * USDC


def test_r26_lent_collateral_is_redeemed_for_a_loss_while_the_pool_is_throttled(quiet: Exchange) -> None:
    """R26: of 20 SOL lent 19 are borrowed; 60 / 142.5 = 0.421052632 SOL are redeemed and converted."""
    quiet.deposit("4/0", 10_000 * USDC)
    throttle(quiet, "SOL", 10 * SOL, 19 * SOL)
    events = lose_sixty(quiet)
    assert [(one.asset, one.units) for one in of(events, Redeemed)] == [("SOL", 421_052_632)]
    assert [one.units for one in of(events, CollateralConverted)] == [421_052_632]
    assert not of(events, LentConverted)
    assert quiet.lent("insurance_fund", "SOL") == 0


def test_r26_what_the_fund_has_lent_it_redeems_as_the_pool_allows(quiet: Exchange) -> None:
    """R26.1: a loss of 300 takes the pool's 1 SOL (142.5) and 157.5 / 142.5 = 1.105263158 SOL of lent
    shares.

    The fund's next ticks redeem nothing while 19 of 19.5 are borrowed, although 0.5 SOL are there; when 10
    have been repaid it redeems all.
    """
    quiet.deposit("insurance_fund", 10_000 * USDC)
    quiet.deposit("4/0", 10_000 * USDC)
    throttle(quiet, "SOL", 10 * SOL, 19 * SOL)
    assert isinstance(quiet.trade("1/0", "2/0", 50 * SOL, 150), Accepted)
    quiet.prices(150, mark_usd=144)
    events = quiet.tick()
    assert [(one.subaccount, one.units) for one in of(events, Redeemed)] == [("1/0", SOL)]
    assert [one.units for one in of(events, LentConverted)] == [1_105_263_158]
    assert (quiet.cash("lending_pool", "SOL"), quiet.lent("insurance_fund", "SOL")) == (0, 1_105_263_158)
    quiet.deposit("2/0", SOL // 2, "SOL")
    quiet.must(cm.Lend, "2/0", "SOL", SOL // 2)
    assert not of(quiet.tick(), Redeemed)
    assert quiet.cash("lending_pool", "SOL") == SOL // 2
    quiet.must(cm.Repay, "4/0", "SOL", 10 * SOL)
    assert [(one.subaccount, one.units) for one in of(quiet.tick(), Redeemed)] == [
        ("insurance_fund", 1_105_263_158)
    ]
    assert quiet.cash("insurance_fund", "SOL") == SOL + 1_105_263_158


def test_r27_who_holds_a_coin_that_waits_for_its_price_is_not_bankrupt(quiet: Exchange) -> None:
    """R26, R27: 1/0 has 1 SOL, no position and a loss of 60; SOL's index is 61 s old, so nothing can be
    collected.

    At the last index the coin is worth something: no debt is announced. It pays at the first fresh price:
    60 / (100 x 0.95) = 0.631578948 SOL.
    """
    quiet.deposit("1/0", SOL, "SOL")
    assert isinstance(quiet.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    quiet.prices(150, mark_usd=144)
    assert isinstance(quiet.trade("2/0", "1/0", 10 * SOL, 144), Accepted)
    quiet.wait(61)
    events = quiet.tick()
    assert not of(events, CollateralConverted) and not of(events, SubaccountBankrupt)
    assert (quiet.unsettled("1/0"), quiet.state.debts) == (-60 * USDC, {})
    quiet.prices(100)
    assert [one.units for one in of(quiet.tick(), CollateralConverted)] == [631_578_948]
    assert (quiet.unsettled("1/0"), quiet.state.debts) == (0, {})


def test_r26_a_spot_sell_that_locks_what_a_loss_needs_is_cancelled(quiet: Exchange) -> None:
    """R26: 10 SOL in an order, 5 SOL lent: 0.421052632 SOL are needed. The order goes before anything is
    redeemed, and 10 - 0.421052632 SOL are free afterwards.
    """
    quiet.deposit("1/0", 15 * SOL, "SOL")
    quiet.must(cm.Lend, "1/0", "SOL", 5 * SOL)
    assert isinstance(quiet.order("1/0", "sell", 10 * SOL, 160, market="SOL/USDC"), Accepted)
    events = lose_sixty(quiet)
    assert [(one.units, one.reason) for one in of(events, OrderCancelled)] == [
        (10 * SOL, "needed_for_losses")
    ]
    assert not of(events, Redeemed)
    assert quiet.cash("1/0", "SOL") == 9_578_947_368 and quiet.lent("1/0", "SOL") == 5 * SOL
    assert quiet.state.subaccounts["1/0"].locked == {}


def test_r26_a_spot_sell_that_leaves_enough_free_rests_on(quiet: Exchange) -> None:
    """R26: 10 SOL, 9.57 of them in an order: 0.43 are free, 0.421052632 are needed."""
    quiet.deposit("1/0", 10 * SOL, "SOL")
    assert isinstance(quiet.order("1/0", "sell", 9_570_000_000, 160, market="SOL/USDC"), Accepted)
    events = lose_sixty(quiet)
    assert not of(events, OrderCancelled)
    assert [one.units for one in of(events, CollateralConverted)] == [421_052_632]
    assert quiet.state.subaccounts["1/0"].locked == {"SOL": 9_570_000_000}


def test_r26_the_lowest_haircut_pays_first_whatever_the_symbol(make_exchange: type[Exchange]) -> None:
    """R26: with 1% on SOL and 3% on BTC the loss of 60 takes 60 / 148.5 = 0.404040405 SOL and no BTC."""
    base = default_params()
    assets = tuple([replace(one, haircut_ppm=10_000) if one.symbol == "SOL" else one for one in base.assets])
    exchange = make_exchange(replace(base, assets=assets))
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    exchange.deposit("2/0", 100_000 * USDC)
    exchange.deposit("1/0", 10 * SOL, "SOL")
    exchange.deposit("1/0", 10**6, "BTC")
    converted = of(lose_sixty(exchange), CollateralConverted)
    assert [(one.asset, one.units) for one in converted] == [("SOL", 404_040_405)]


def test_r26_the_book_pays_at_least_what_the_fund_would(make_exchange: type[Exchange]) -> None:
    """R26: with a haircut of 0.5% the fund pays 149.25, more than the edge of the band, 148.50.

    A bid of 149 is left alone, one of 149.25 gets ceil(60 / 149.25) = 0.402010051, in lots 0.41 SOL, of which
    0.3 are there: 44.775. The fund takes 15.225 / 149.25 = 0.102010051 SOL.
    """
    base = default_params()
    assets = tuple([replace(one, haircut_ppm=5_000) if one.symbol == "SOL" else one for one in base.assets])
    exchange = make_exchange(replace(base, assets=assets))
    exchange.open("1/0", "2/0", "3/0")
    exchange.prices(150)
    exchange.deposit("1/0", 10 * SOL, "SOL")
    for name in ("2/0", "3/0"):
        exchange.deposit(name, 10_000 * USDC)
    for sol_tenths, cents in ((50, 149_00), (3, 149_25)):
        price_e8 = cents * CENT_E8
        bid = ("3/0", "SOL/USDC", "buy", "post_only", sol_tenths * SOL // 10, price_e8)
        exchange.must(cm.PlaceOrder, *bid)
    events = lose_sixty(exchange)
    assert [(one.units, one.notional_usd6) for one in of(events, SpotTraded)] == [(300_000_000, 44_775_000)]
    assert [(one.units, one.usd6) for one in of(events, CollateralConverted)] == [(102_010_051, 15_225_000)]


def test_r26_in_liquidation_nothing_is_borrowed_for_a_loss(quiet: Exchange) -> None:
    """R26, R11: 1/0 is long 300 SOL from 150 on 15 SOL, 2,250 x 0.9 / 1.003873 = 2,017.19.

    At 145.20 it has lost 1,440 and keeps 577.19 of 588.06. 100 SOL more would carry any borrow, but until
    its next step it is in liquidation: 1,440 / 142.5 = 10.105263158 SOL are converted. Recovered a second
    later, it borrows the next loss, 300 x 0.2 = 60, from the pool.
    """
    quiet.must(cm.SetLending, "1/0", 0, 1, 0)
    quiet.deposit("3/0", 100_000 * USDC)
    quiet.must(cm.Lend, "3/0", "USDC", 100_000 * USDC)
    quiet.deposit("1/0", 15 * SOL, "SOL")
    assert isinstance(quiet.trade("1/0", "2/0", 300 * SOL, 150), Accepted)

    def mark(cents: int) -> tuple[Event, ...]:
        prices = (("SOL", 150 * DOLLAR_E8),), (("SOL-PERP", cents * CENT_E8),)
        return quiet.must(cm.UpdatePrices, *prices)

    mark(145_20)
    assert list(quiet.state.liquidations) == ["1/0"]
    quiet.deposit("1/0", 100 * SOL, "SOL")
    events = quiet.tick()
    assert not of(events, Borrowed)
    assert [one.units for one in of(events, CollateralConverted)] == [10_105_263_158]
    quiet.wait(1)
    assert LiquidationEnded("1/0", "recovered") in mark(145_20)
    mark(145_00)
    events = quiet.tick()
    assert [(one.asset, one.units) for one in of(events, Borrowed)] == [("USDC", 60 * USDC)]
    assert not of(events, CollateralConverted)


def two_winners(exchange: Exchange) -> None:
    """1/0 has $600, is long 90 SOL from 150 and loses 1,800 at 130: 2/0 (short 30) is owed 600, 3/0 (short
    60) 1,200.
    """
    exchange.backstop()
    exchange.open("3/0")
    for name, dollars in (("1/0", 600), ("2/0", 10_000), ("3/0", 10_000)):
        exchange.must(cm.SetLending, name, 0, 0, 0)
        exchange.deposit(name, dollars * USDC)
    for name, sol in (("2/0", 30), ("3/0", 60)):
        assert isinstance(exchange.trade("1/0", name, sol * SOL, 150), Accepted)
    exchange.prices(130)


def test_r26_r28_two_winners_are_paid_pro_rata_and_in_full_after_the_debtors_deposits(
    exchange: Exchange,
) -> None:
    """R26, R28: claims of 600 and 1,200 against 600 of cash, then 300, then the 900 that are left.

    Each time a third and two thirds: 200 and 400, 100 and 200, 300 and 600.
    """
    two_winners(exchange)

    def paid() -> list[tuple[str, int]]:
        return [(one.subaccount, one.units) for one in of(exchange.tick(), ClaimPaid)]

    assert paid() == [("2/0", 200 * USDC), ("3/0", 400 * USDC)]
    assert (exchange.unsettled("2/0"), exchange.unsettled("3/0")) == (400 * USDC, 800 * USDC)
    exchange.deposit("1/0", 300 * USDC)
    assert paid() == [("2/0", 100 * USDC), ("3/0", 200 * USDC)]
    applied = exchange.must(cm.Deposit, "1/0", "USDC", 1_000 * USDC, "wallet")[0]
    assert (applied.applied_usd6, applied.credited_units) == (900 * USDC, 100 * USDC)
    assert paid() == [("2/0", 300 * USDC), ("3/0", 600 * USDC)]
    assert (exchange.cash("2/0"), exchange.cash("3/0")) == (10_600 * USDC, 11_200 * USDC)
    assert (exchange.unsettled("2/0"), exchange.unsettled("3/0")) == (0, 0)
    assert exchange.state.debts == {} and exchange.cash("1/0") == 100 * USDC


def three_kinds_of_claims(exchange: Exchange) -> dict[str, int]:
    """Let 1/0 owe 10 and 2/0 1,000 while `fees` waits for 0.604, the fund for 26.666667; give what
    customers wait for.

    Both longs fall from 150 to 130 (50 and 100 SOL against 3/0). Then 4/0, long 100 from 130 with $1,000,
    keeps 80 of 163.08 at 120.80: a provider takes it over, and a third of the 80 is the fund's. 6/0 and 7/0
    trade 10 SOL for 1,208: fees of 0.4832 and 0.1208.
    """
    exchange.backstop()
    exchange.open("3/0", "4/0", "5/0", "6/0", "7/0")
    for name, dollars in (("1/0", 990), ("2/0", 1_000), ("4/0", 1_000)):
        exchange.deposit(name, dollars * USDC)
    for name in ("3/0", "5/0", "6/0", "7/0"):
        exchange.deposit(name, 20_000 * USDC)
    assert isinstance(exchange.trade("1/0", "3/0", 50 * SOL, 150), Accepted)
    assert isinstance(exchange.trade("2/0", "3/0", 100 * SOL, 150), Accepted)
    exchange.prices(130)
    assert isinstance(exchange.trade("3/0", "90/0", 150 * SOL, 130), Accepted)
    exchange.tick()
    assert list(exchange.state.debts) == ["1/0", "2/0"]
    assert isinstance(exchange.trade("4/0", "5/0", 100 * SOL, 130), Accepted)
    price = 120_80 * CENT_E8
    prices = (("SOL", price), ("BTC", 60_000 * DOLLAR_E8)), (("SOL-PERP", price), ("BTC-PERP", 6 * 10**12))
    (filled,) = of(exchange.must(cm.UpdatePrices, *prices), BackstopFilled)
    assert (filled.released_usd6, filled.fund_usd6) == (80 * USDC, 26_666_667)
    exchange.must(cm.PlaceOrder, "6/0", "SOL-PERP", "sell", "limit", 10 * SOL, price)
    exchange.must(cm.PlaceOrder, "7/0", "SOL-PERP", "buy", "ioc", 10 * SOL, price)
    exchange.tick()
    assert (exchange.unsettled("fees"), exchange.unsettled("insurance_fund")) == (604_000, 26_666_667)
    customers = {name: exchange.unsettled(name) for name in ("3/0", "5/0", "90/0")}
    assert sum(customers.values()) == 982_729_333
    return customers


def test_r27_a_write_off_cuts_fees_first_then_the_fund_then_customers_pro_rata(exchange: Exchange) -> None:
    """R27: the debt of 10 takes the 0.604 of `fees` and 9.396 of the fund, that of 1,000 the fund's other
    26.666667 - 9.396 = 17.270667 and all 982.729333 of the customers.
    """
    customers = three_kinds_of_claims(exchange)
    exchange.wait(7 * DAY)
    first, second = of(exchange.tick(), LossSocialized)
    assert (first.subaccount, first.extinguished_usd6) == ("1/0", 10 * USDC)
    assert first.cuts == (("fees", 604_000), ("insurance_fund", 9_396_000))
    assert (second.subaccount, second.extinguished_usd6) == ("2/0", 1_000 * USDC)
    assert second.cuts == (("insurance_fund", 17_270_667), *customers.items())


def test_r26_the_fund_is_paid_after_customers_and_before_fees(exchange: Exchange) -> None:
    """R26: 1,000 of the 1,010 come in: customers get their 982.729333, the fund 17.270667 of 26.666667,
    `fees` nothing.
    """
    customers = three_kinds_of_claims(exchange)
    exchange.deposit("1/0", 10 * USDC)
    exchange.deposit("2/0", 990 * USDC)
    paid = {one.subaccount: one.units for one in of(exchange.tick(), ClaimPaid)}
    assert paid == customers | {"insurance_fund": 17_270_667}
    assert (exchange.unsettled("fees"), exchange.unsettled("insurance_fund")) == (604_000, 9_396_000)


def test_r26_rounding_is_paid_before_customers(indebted: Exchange) -> None:
    """R26: 3/0 buys one lamport of 4/0: it owes 1 usd6 for what is worth 0, and 4/0 is short what is worth
    -1.

    The 2 usd6 that are collected are what `rounding` is owed; 2/0's claim of 1,000 waits.
    """
    indebted.open("3/0", "4/0")
    for name in ("3/0", "4/0"):
        indebted.deposit(name, 100 * USDC)
    assert isinstance(indebted.trade("3/0", "4/0", 1, 130), Accepted)
    paid = [(one.subaccount, one.units) for one in of(indebted.tick(), ClaimPaid)]
    assert paid == [("rounding", 2)]
    assert indebted.unsettled("2/0") == 1_000 * USDC


def test_r27_a_bankrupts_resting_orders_are_cancelled(exchange: Exchange) -> None:
    """R27: who is bankrupt without ever having been in liquidation still has his orders: they go.

    1/0 has 400,000,007 lamports and has lost 57.000001 on a position it closed. At 150 they are worth
    60.000001, so its account value is positive; at the tick floor(400,000,007 x 142.5 / 10^9) = 57.000000
    and 400,000,000 lamports pay. What is left is a debt of 1 usd6 and 7 lamports, worth 1 usd6 at the index
    (account value 0, nothing that R20 would look at) and nothing at the rate: no collateral.
    """
    exchange.must(cm.SetLending, "1/0", 0, 0, 0)
    exchange.deposit("2/0", 10_000 * USDC)
    exchange.deposit("1/0", 400_000_007, "SOL")
    exchange.prices(200, mark_usd=150)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    # The buyer of one lamport owes 1 usd6, its seller gets nothing.
    assert isinstance(exchange.trade("1/0", "2/0", 1, 150), Accepted)
    closing = ("SOL-PERP", "2/0", "1/0", 10 * SOL, 144_30 * CENT_E8, ("1/0", "2/0"))
    exchange.must(cm.BlockTrade, *closing)
    assert isinstance(exchange.trade("2/0", "1/0", 1, 150), Accepted)
    assert isinstance(exchange.order("1/0", "buy", 10**7, 140), Accepted)
    exchange.prices(150)
    assert exchange.state.liquidations == {}
    events = exchange.tick()
    assert [(one.units, one.usd6) for one in of(events, CollateralConverted)] == [
        (400_000_000, 57 * USDC),
    ]
    assert [(one.subaccount, one.units, one.reason) for one in of(events, OrderCancelled)] == [
        ("1/0", 10**7, "bankruptcy")
    ]
    assert of(events, SubaccountBankrupt) == [SubaccountBankrupt("1/0", 1)]
    assert exchange.state.books["SOL-PERP"].orders == {} and exchange.cash("1/0", "SOL") == 7
    # With account value 0 there is nothing a deposit could be applied to; the next tick collects the unit.
    exchange.deposit("1/0", USDC)
    assert exchange.cash("1/0") == USDC
    assert DebtEnded("1/0") in exchange.tick()
    assert exchange.cash("1/0") == USDC - 1


def test_r27_who_loses_his_last_position_between_two_steps_is_bankrupt_at_the_tick(
    exchange: Exchange,
) -> None:
    """R26.4, R27: 1/0 enters at 142 with 50 of 76.68 (book; its next step is due in a second), then SOL
    falls to 130 and BTC to 54,000.

    3/0, short 40 SOL and long 0.5 BTC, has 2,300 + 800 - 3,000 = 100 of 180.09 + 70.2 left, less than half:
    its BTC is deleveraged, its SOL netted with 1/0's 40. So 1/0 has lost 800, had 370, and makes no step
    before the tick: that finds nothing left but a debt of 430, says so, and the fund pays.
    """
    exchange.deposit("insurance_fund", 10_000 * USDC)
    exchange.open("3/0", "4/0")
    exchange.deposit("1/0", 370 * USDC)
    exchange.deposit("3/0", 2_300 * USDC)
    exchange.deposit("4/0", 100_000 * USDC)
    assert isinstance(exchange.trade("1/0", "3/0", 40 * SOL, 150), Accepted)
    assert isinstance(exchange.trade("3/0", "4/0", 5 * 10**7, 60_000, "BTC-PERP"), Accepted)
    exchange.prices(142)
    assert list(exchange.state.liquidations) == ["1/0"]
    exchange.now_ns += 1
    exchange.prices(130, btc_usd=54_000)
    assert exchange.base("1/0") == 0 and "1/0" in exchange.state.liquidations
    assert exchange.state.debts == {}
    exchange.now_ns += 1
    events = exchange.tick()
    assert of(events, SubaccountBankrupt) == [SubaccountBankrupt("1/0", 430 * USDC)]
    assert DebtEnded("1/0") in events
    assert exchange.cash("insurance_fund") == 9_570 * USDC
    exchange.wait(1)
    assert LiquidationEnded("1/0", "closed") in exchange.prices(130, btc_usd=54_000)
