"""R20, R26, R27: closing, realizing, collecting, paying claims, covering and writing off debts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine import commands as cm
from engine.apply import Accepted
from engine.events import (
    BackstopFilled,
    ClaimPaid,
    CollateralConverted,
    DebtCovered,
    DebtEnded,
    LiquidationEnded,
    LiquidationStarted,
    LossCollected,
    LossSocialized,
    OrderCancelled,
    PnlSettled,
    SpotTraded,
    SubaccountBankrupt,
    WithdrawalQueued,
    WithdrawalReturned,
)
from engine.insurance import fund_shortfall_usd6
from engine.invariants import check, check_after_tick
from engine.params import default_params
from engine.snapshot import dump_state, load_state
from tests.engine.conftest import SECOND, SOL, USDC, Exchange

DAY = 86_400


def kinds(events: tuple[object, ...]) -> list[type]:
    return [type(event) for event in events]


def test_r26_a_healthy_tick_moves_profit_in_cash(exchange: Exchange) -> None:
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(155)
    events = exchange.tick()
    assert kinds(events) == [PnlSettled, PnlSettled, LossCollected, ClaimPaid]
    assert (exchange.cash("1/0"), exchange.cash("2/0")) == (1_050 * USDC, 950 * USDC)
    assert exchange.state.unsettled_holders == {}
    assert exchange.state.next_settlement_ns() == exchange.now_ns + 10 * SECOND
    assert exchange.tick() == ()


def test_r26_rounding_is_zero_sum_to_the_unit(exchange: Exchange) -> None:
    """I3, I4, I9: marks that divide badly, many small holders; nothing is lost, `rounding` gives all back
    at the end.
    """
    names = [f"{n}/0" for n in range(10, 17)]
    exchange.open(*names)
    for name in (*names, "1/0"):
        exchange.deposit(name, 100 * USDC)
    for name in names:
        assert isinstance(exchange.trade(name, "1/0", 333_333_337, 150), Accepted)
    for mark in (15_000_000_001, 14_999_999_993, 15_123_456_789):
        exchange.must(cm.UpdatePrices, (), (("SOL-PERP", mark),))
        exchange.tick()
        rounding = exchange.state.subaccounts["rounding"]
        # One usd6 per open position and one per trade.
        assert 0 <= rounding.cash.get("USDC", 0) <= 8 + 7
    for name in names:
        consents = (name, "1/0")
        exchange.must(cm.BlockTrade, "SOL-PERP", "1/0", name, 333_333_337, 15_123_456_789, consents)
    exchange.tick()
    assert exchange.state.totals.quote_usd6["SOL-PERP"] == 0
    everyone = [*names, "1/0", "rounding", "settlement_pool"]
    assert sum(exchange.cash(name) for name in everyone) == 800 * USDC
    # What is left in `rounding` are the residues of the fourteen trades, at most one usd6 each.
    assert 0 <= exchange.cash("rounding") <= 14


def test_r26_losses_convert_collateral_cheapest_haircut_first(exchange: Exchange) -> None:
    """R26: after USDC, BTC (3% haircut) goes before SOL (5%); the fund pays what it has and owes the rest."""
    exchange.deposit("1/0", 10**6, "BTC")  # 0.01 BTC = $600
    exchange.deposit("1/0", 4 * SOL, "SOL")  # $600
    exchange.deposit("1/0", 50 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    exchange.deposit("insurance_fund", 100 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(170, mark_usd=80)
    # 1/0 lost $700: 50 in cash, BTC worth 582 after haircut, then 68 / (170 x 0.95 = 161.5) SOL, rounded up.
    converted = [event for event in exchange.tick() if isinstance(event, CollateralConverted)]
    assert [(event.asset, event.usd6, event.units) for event in converted] == [
        ("BTC", 582 * USDC, 10**6),
        ("SOL", 68 * USDC, 421_052_632),
    ]
    assert [event.rate_e8 for event in converted] == [58_200 * 10**8, 16_150_000_000]
    assert sum(event.fund_paid_usd6 for event in converted) == 100 * USDC
    assert exchange.unsettled("insurance_fund") == -550 * USDC
    assert (exchange.cash("insurance_fund", "BTC"), exchange.cash("insurance_fund", "SOL")) == (
        10**6,
        421_052_632,
    )
    # The winner has 150 of 700 so far; fund income pays the fund's own debt first.
    assert (exchange.cash("2/0"), exchange.unsettled("2/0")) == (1_150 * USDC, 550 * USDC)
    applied = exchange.deposit("insurance_fund", 600 * USDC)
    assert (applied.applied_usd6, applied.credited_units) == (550 * USDC, 50 * USDC)
    exchange.tick()
    assert (exchange.cash("2/0"), exchange.unsettled("2/0")) == (1_700 * USDC, 0)


def test_r20_an_account_without_positions_below_zero_is_not_missed(exchange: Exchange) -> None:
    """R20: all collateral is SOL, the loss is realized but not collected, and SOL's index falls before the
    tick.
    """
    exchange.deposit("1/0", 4 * SOL, "SOL")  # $600
    exchange.deposit("2/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.must(
        cm.UpdatePrices, (), (("SOL-PERP", 110 * 10**8),)
    )  # loss of 400, weighted equity 538.9 - 400
    assert exchange.base("1/0") == 10 * SOL
    assert isinstance(exchange.trade("2/0", "1/0", 10 * SOL, 110), Accepted)
    assert exchange.base("1/0") == 0
    events = exchange.must(cm.UpdatePrices, (("SOL", 90 * 10**8),), ())
    # 4 SOL at 90 x 0.95 pay 342 of 400.
    assert kinds(events[1:]) == [
        LiquidationStarted,
        PnlSettled,
        CollateralConverted,
        SubaccountBankrupt,
        LiquidationEnded,
    ]
    assert events[-2].outstanding_usd6 == 58 * USDC
    assert events[-1].outcome == "bankrupt" and not exchange.state.liquidations


def test_r26_claims_are_paid_pro_rata_by_largest_remainder(exchange: Exchange) -> None:
    exchange.open("3/0", "4/0")
    exchange.backstop()
    exchange.deposit("1/0", 100 * USDC)
    for name in ("2/0", "3/0", "4/0"):
        exchange.deposit(name, 1_000 * USDC)
        assert isinstance(exchange.trade("1/0", name, SOL, 150), Accepted)
    exchange.prices(50)
    events = [event for event in exchange.tick() if isinstance(event, ClaimPaid)]
    # 1/0 lost 300 and had 100: a third of each claim of 100; the odd unit goes to the first.
    assert [(event.subaccount, event.units) for event in events] == [
        ("2/0", 33_333_334),
        ("3/0", 33_333_333),
        ("4/0", 33_333_333),
    ]
    assert exchange.unsettled("1/0") == -200 * USDC


def test_r27_the_fund_covers_oldest_debts_first_and_for_good(indebted: Exchange) -> None:
    indebted.open("3/0")
    indebted.deposit("3/0", 20 * USDC)
    indebted.deposit("2/0", 1_000 * USDC)
    assert isinstance(indebted.trade("3/0", "2/0", 5 * SOL, 130), Accepted)
    indebted.wait(10)
    indebted.prices(120)
    assert list(indebted.state.debts) == ["1/0", "3/0"]
    indebted.deposit("insurance_fund", 1_010 * USDC)
    covered = [event for event in indebted.tick() if isinstance(event, DebtCovered | DebtEnded)]
    assert covered == [
        DebtCovered("1/0", 1_000 * USDC, 0),
        DebtCovered("3/0", 10 * USDC, 20 * USDC),
        DebtEnded("1/0"),
    ]
    # Non-recourse: the customer comes back and owes nobody anything.
    applied = indebted.deposit("1/0", 50 * USDC)
    assert (applied.applied_usd6, applied.credited_units) == (0, 50 * USDC)
    assert indebted.cash("insurance_fund") == 0


def test_r27_write_off_cuts_claims_pro_rata(indebted: Exchange) -> None:
    indebted.wait(7 * DAY - 1)
    assert not any(isinstance(event, LossSocialized) for event in indebted.tick())
    indebted.wait(1)
    events = indebted.tick()
    assert LossSocialized("1/0", 1_000 * USDC, (("2/0", 1_000 * USDC),)) in events
    assert DebtEnded("1/0") in events
    assert (indebted.unsettled("1/0"), indebted.unsettled("2/0")) == (0, 0)
    assert check_after_tick(indebted.state) == []
    applied = indebted.deposit("1/0", 5 * USDC)
    assert applied.applied_usd6 == 0


def test_r27_write_off_shares_between_winners(make_exchange: type[Exchange]) -> None:
    exchange = make_exchange(replace(default_params(), write_off_after_ns=SECOND))
    exchange.open("1/0", "2/0", "3/0", "4/0")
    exchange.prices(150)
    exchange.backstop()
    exchange.deposit("1/0", 100 * USDC)
    for name in ("2/0", "3/0", "4/0"):
        exchange.deposit(name, 1_000 * USDC)
        assert isinstance(exchange.trade("1/0", name, SOL, 150), Accepted)
    exchange.prices(50)
    exchange.wait(1)
    loss = next(event for event in exchange.tick() if isinstance(event, LossSocialized))
    # What is left of the claims after the payment of 33.333334 and 33.333333 twice.
    assert loss.cuts == (("2/0", 66_666_666), ("3/0", 66_666_667), ("4/0", 66_666_667))
    assert loss.extinguished_usd6 == 200 * USDC == sum(cut for _, cut in loss.cuts)


@pytest.fixture
def short_fund(exchange: Exchange) -> Exchange:
    """Give an exchange where the fund owes the pool $1,000 for SOL that is worth more.

    1/0 holds 10 SOL, loses $1,000 on a long and pays with SOL at 150 x (1 - 5%) = 142.5: 7.017543860 SOL. The
    fund has no dollar, so the winner 2/0 waits for all of it.
    """
    exchange.deposit("1/0", 20 * SOL, "SOL")
    exchange.deposit("2/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    exchange.prices(150, mark_usd=140)
    assert isinstance(exchange.trade("2/0", "1/0", 100 * SOL, 140), Accepted)
    exchange.tick()
    assert exchange.unsettled("insurance_fund") == -1_000 * USDC
    assert exchange.unsettled("2/0") == 1_000 * USDC
    assert exchange.cash("insurance_fund", "SOL") == 7_017_543_860
    assert fund_shortfall_usd6(exchange.state) == 0
    return exchange


def test_r27_what_the_fund_lacks_for_seven_days_is_written_off(short_fund: Exchange) -> None:
    """R27: 7.01754386 SOL x 71.25 = 500: of its debt of 1,000 the fund could never pay the other 500."""
    short_fund.must(cm.UpdatePrices, (("SOL", 7_125_000_000),), ())
    assert fund_shortfall_usd6(short_fund.state) == 500 * USDC
    short_fund.tick()
    short_fund.wait(7 * DAY - 1)
    assert not any(isinstance(event, LossSocialized) for event in short_fund.tick())
    short_fund.wait(1)
    events = short_fund.tick()
    assert LossSocialized("insurance_fund", 500 * USDC, (("2/0", 500 * USDC),)) in events
    assert (short_fund.unsettled("insurance_fund"), short_fund.unsettled("2/0")) == (-500 * USDC, 500 * USDC)
    assert fund_shortfall_usd6(short_fund.state) == 0
    # What it still owes it can pay by selling: that is never written off.
    short_fund.wait(8 * DAY)
    assert not any(isinstance(event, LossSocialized) for event in short_fund.tick())


def test_r27_only_what_was_short_all_the_time_is_written_off(short_fund: Exchange) -> None:
    """R27: short by 500, for a day by 250 only, then by 750: 250 go after 7 days, 500 begin anew."""

    def sol(price_e8: int) -> None:
        short_fund.must(cm.UpdatePrices, (("SOL", price_e8),), ())
        short_fund.tick()

    sol(7_125_000_000)
    short_fund.wait(DAY)
    sol(10_687_500_000)
    short_fund.wait(DAY)
    sol(3_562_500_000)
    short_fund.wait(5 * DAY)
    events = short_fund.tick()
    written = [one.extinguished_usd6 for one in events if isinstance(one, LossSocialized)]
    assert written == [250 * USDC]
    short_fund.wait(7 * DAY - 1)
    assert not any(isinstance(event, LossSocialized) for event in short_fund.tick())
    short_fund.wait(1)
    written = [one.extinguished_usd6 for one in short_fund.tick() if isinstance(one, LossSocialized)]
    assert written == [500 * USDC]


def test_r27_a_shortfall_that_ends_begins_anew(short_fund: Exchange) -> None:
    """R27: income of the fund, or a better price, ends it: seven days in a row are asked for."""
    short_fund.must(cm.UpdatePrices, (("SOL", 7_125_000_000),), ())
    short_fund.tick()
    short_fund.wait(6 * DAY)
    short_fund.deposit("insurance_fund", 500 * USDC)
    short_fund.tick()
    assert (short_fund.state.fund_short_since_ns, short_fund.state.fund_short_usd6) == (0, 0)
    short_fund.must(cm.UpdatePrices, (("SOL", 3_562_500_000),), ())
    short_fund.wait(DAY)
    assert not any(isinstance(event, LossSocialized) for event in short_fund.tick())
    assert short_fund.state.fund_short_usd6 == 250 * USDC
    copy = load_state(dump_state(short_fund.state))
    assert (copy.fund_short_since_ns, copy.fund_short_usd6) == (short_fund.now_ns, 250 * USDC)


def test_r26_what_a_second_round_of_liquidations_moves_is_settled_too(make_exchange: type[Exchange]) -> None:
    """R26, I4, I9: a haircut of 20% costs 1/0 its margin in the tick; the provider's gain is the provider's.

    Before the tick 1/0 has 100 SOL (15,000 x weight) and has lost 11,505 on 3.25 BTC from 60,000 to 56,460.
    """
    base = default_params()
    assets = tuple([replace(one, haircut_ppm=200_000) if one.symbol == "SOL" else one for one in base.assets])
    exchange = make_exchange(replace(base, assets=assets, auto_lend_default=0))
    exchange.open("1/0", "2/0", "9/0")
    exchange.prices(150)
    exchange.deposit("1/0", 100 * SOL, "SOL")
    for name in ("2/0", "9/0"):
        exchange.deposit(name, 100_000 * USDC)
    exchange.must(cm.RegisterBackstop, "9/0")
    exchange.must(cm.SetBackstopCapacity, "9/0", "BTC-PERP", 10**13, 10**14)
    assert isinstance(exchange.trade("1/0", "2/0", 325 * 10**6, 60_000, "BTC-PERP"), Accepted)
    exchange.wait(1)
    exchange.must(cm.UpdatePrices, (("BTC", 60_000 * 10**8),), (("BTC-PERP", 56_460 * 10**8),))
    assert exchange.state.liquidations == {}
    events = exchange.tick()
    (filled,) = [one for one in events if isinstance(one, BackstopFilled)]
    assert filled.provider_usd6 > 300 * USDC
    assert exchange.unsettled("9/0") == filled.provider_usd6
    assert exchange.unsettled("rounding") == exchange.cash("rounding") == 0
    assert check(exchange.state) == [] == check_after_tick(exchange.state)


def test_r26_queued_withdrawals_come_back_only_while_something_is_owed(exchange: Exchange) -> None:
    """R26: dollars locked by an order pay the whole loss; the SOL that wait to leave are not touched."""
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("1/0", 100 * SOL, "SOL")
    exchange.deposit("2/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    for _ in range(30):
        exchange.prices(150)
        exchange.tick()
        exchange.wait(3_600)
    exchange.prices(150)
    # 6 SOL at 149 and the maker's fee lock 894.0894 of the 1,000; the loss is 150.
    assert isinstance(exchange.order("1/0", "buy", 6 * SOL, 149, market="SOL/USDC"), Accepted)
    exchange.attest()
    queued = exchange.withdraw("1/0", 60 * SOL, "SOL", id="w")
    assert isinstance(queued, Accepted) and isinstance(queued.events[0], WithdrawalQueued)
    exchange.prices(150, mark_usd=135)
    events = exchange.tick()
    assert [one.units for one in events if isinstance(one, LossCollected)] == [105_910_600, 44_089_400]
    assert [one.reason for one in events if isinstance(one, OrderCancelled)] == ["needed_for_losses"]
    assert not any(isinstance(one, WithdrawalReturned) for one in events)
    assert list(exchange.state.queued) == ["w"]


def test_r26_the_fund_buys_nothing_at_a_stale_index(exchange: Exchange) -> None:
    """R26: SOL's feed is silent: the loss waits, in full view, and is collected at the first fresh price."""
    exchange.deposit("insurance_fund", 10_000 * USDC)
    exchange.deposit("1/0", 100 * SOL, "SOL")
    exchange.deposit("2/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10**7, 60_000, "BTC-PERP"), Accepted)
    # A bid left over inside the band of the last index gets nothing either: nobody may place a better one.
    assert isinstance(exchange.order("2/0", "buy", SOL, 149, market="SOL/USDC"), Accepted)
    exchange.wait(61)
    btc_e8 = 59_000 * 10**8
    exchange.must(cm.UpdatePrices, (("BTC", btc_e8),), (("BTC-PERP", btc_e8),))
    assert not any(isinstance(one, CollateralConverted | SpotTraded) for one in exchange.tick())
    assert (exchange.unsettled("1/0"), exchange.unsettled("2/0")) == (-100 * USDC, 100 * USDC)
    exchange.must(cm.CancelAllOrders, "2/0", "")
    assert exchange.cash("insurance_fund") == 10_000 * USDC
    assert exchange.state.debts == {}
    # It really was 75: 100 / (75 x 0.95) = 1.403508772 SOL.
    exchange.prices(75, btc_usd=59_000)
    (converted,) = [one for one in exchange.tick() if isinstance(one, CollateralConverted)]
    assert (converted.units, converted.usd6) == (1_403_508_772, 100 * USDC)
    assert (exchange.unsettled("1/0"), exchange.unsettled("2/0")) == (0, 0)


def test_r27_two_dusts_are_not_collateral(exchange: Exchange) -> None:
    """R27: 6 lamports in cash and 6 lent, 0.57 usd6 each at 95: neither pays anything, so 6/0 is bankrupt
    although both together would be worth 1 usd6; the pool has no cash to bring them together.
    """
    exchange.open("4/0", "5/0", "6/0", "6/1")
    for name in ("6/0", "6/1", "2/0", "4/0", "5/0"):
        exchange.must(cm.SetLending, name, 0, 0, 0)
    exchange.deposit("insurance_fund", 10_000 * USDC)
    for name in ("2/0", "5/0"):
        exchange.deposit(name, 100_000 * USDC)
    exchange.deposit("6/0", 1_000 * USDC)
    exchange.deposit("6/0", 2 * 10**6, "SOL")
    exchange.must(cm.Lend, "6/0", "SOL", 10**6)
    exchange.must(cm.Redeem, "6/0", "SOL", 10**6 - 6)
    exchange.must(cm.Transfer, "6/0", "6/1", "SOL", 2 * 10**6 - 12)
    exchange.deposit("4/0", SOL, "SOL")
    exchange.must(cm.Lend, "4/0", "SOL", SOL)
    exchange.must(cm.Borrow, "5/0", "SOL", 95 * SOL // 100)
    # The lender 4/0 is liquidated first and redeems what the pool has left.
    exchange.deposit("4/0", 100 * USDC)
    assert isinstance(exchange.trade("4/0", "2/0", 9 * SOL, 150), Accepted)
    assert isinstance(exchange.trade("6/0", "2/0", 100 * SOL, 150), Accepted)
    exchange.prices(100)
    exchange.wait(10)
    exchange.prices(100)
    exchange.tick()
    assert exchange.cash("lending_pool", "SOL") == 0
    assert (exchange.cash("6/0", "SOL"), exchange.lent("6/0", "SOL")) == (6, 6)
    assert exchange.state.liquidations == {} == exchange.state.debts
    assert exchange.unsettled("6/0") == 0
    assert exchange.cash("insurance_fund") < 10_000 * USDC


def test_r26_collateral_without_a_price_waits_for_one(make_exchange: type[Exchange]) -> None:
    """R26, R27: BTC that has no index cannot be converted, so the subaccount is short but not bankrupt
    yet.
    """
    exchange = make_exchange()
    exchange.open("1/0", "2/0")
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 150 * 10**8),))
    exchange.backstop()
    exchange.deposit("90/0", 1_000 * USDC)
    exchange.deposit("1/0", 10**6, "BTC")
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 130 * 10**8),))
    exchange.tick()
    assert exchange.unsettled("1/0") == -100 * USDC and not exchange.state.debts
    # Nothing is left to close, but the liquidation waits for the price.
    assert list(exchange.state.liquidations) == ["1/0"]
    exchange.wait(1)
    events = exchange.must(cm.UpdatePrices, (("BTC", 60_000 * 10**8),), ())
    assert events[-1] == LiquidationEnded("1/0", "closed")
    converted = [event for event in events if isinstance(event, CollateralConverted)]
    assert [(event.usd6, event.units) for event in converted] == [(100 * USDC, 171_822)]
    assert exchange.unsettled("1/0") == 0


def test_r26_dust_worth_nothing_does_not_keep_a_debt_alive(exchange: Exchange) -> None:
    exchange.deposit("1/0", 30 * USDC)
    exchange.deposit("1/0", 10**6, "SOL")  # $0.15
    exchange.deposit("2/0", 1_000 * USDC)
    exchange.backstop()
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(130)
    exchange.tick()
    assert exchange.cash("1/0", "SOL") == 0 or exchange.cash("1/0", "SOL") < 9
    assert list(exchange.state.debts) == ["1/0"]


def test_r21_queued_withdrawals_come_back_before_positions_are_closed(make_exchange: type[Exchange]) -> None:
    """A withdrawal still waiting at a gate is the customer's money yet: it saves the position."""
    params = replace(default_params(), velocity_floor_ppm=10**6)
    exchange = make_exchange(params)
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    for _ in range(25):
        exchange.prices(150)
        exchange.tick()
        exchange.wait(3_600)
    exchange.prices(150)
    queued = exchange.withdraw("1/0", 60 * USDC)
    assert isinstance(queued, Accepted) and list(exchange.state.queued)
    events = exchange.prices(147)  # equity 40 - 30 = 10 <= maintenance 19.85; with the 60 back it is 70
    assert [type(event) for event in events if isinstance(event, WithdrawalReturned | LiquidationEnded)] == [
        WithdrawalReturned,
        LiquidationEnded,
    ]
    assert events[-1] == LiquidationEnded("1/0", "recovered")
    assert exchange.base("1/0") == 10 * SOL and not exchange.state.queued
