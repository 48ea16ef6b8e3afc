"""R11, R17-R19, R26-R28 with borrows: margin, losses, bankruptcy, deposits. Every number by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected
from engine.borrowing import max_borrow_units
from engine.deposits import preview_deposit
from engine.events import (
    Borrowed,
    BorrowTakenOver,
    CollateralConverted,
    DepositApplied,
    LentConverted,
    LossCollected,
    Redeemed,
    Repaid,
    SubaccountBankrupt,
)
from engine.margin import margin_of, outstanding_negative_equity_usd6
from engine.params import default_params
from engine.rejects import RejectReason
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange


@pytest.fixture
def market() -> Exchange:
    """Give an exchange with 100 SOL in the pool, lent by 2/0, and $2,000 of 1/0; nothing repays by itself."""
    params = replace(default_params(), auto_lend_default=0, auto_repay_default=0, velocity_floor_ppm=0)
    made = Exchange(params)
    made.open("1/0", "1/1", "2/0", "3/0")
    made.prices(150)
    made.deposit("1/0", 2_000 * USDC)
    made.deposit("2/0", 100 * SOL, "SOL")
    made.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    made.attest()
    return made


def of_type(events: tuple[object, ...], kind: type) -> list[object]:
    return [event for event in events if type(event) is kind]


def test_r17_r18_a_borrow_and_a_perpetual_position(market: Exchange) -> None:
    """R17, R18: $2,000; 10 SOL borrowed and moved away; short 10 SOL-PERP at 150; then SOL at 160."""
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    margin = margin_of(market.state, "1/0")
    # 10 SOL weigh 0.9 / (1 + 0.001 x 3.162278) = 0.897162 (down): $1,345.743 of $1,500.
    assert margin.net_equity_usd6 == 2_000 * USDC + 1_345_743_000 - 1_500 * USDC
    assert margin.account_value_usd6 == 2_000 * USDC
    assert margin.liabilities_usd6 == margin.exposure_usd6 == 1_500 * USDC
    assert (margin.initial_margin_usd6, margin.maintenance_margin_usd6) == (150 * USDC, 75 * USDC)
    market.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    market.deposit("3/0", 10_000 * USDC)
    assert isinstance(market.trade("3/0", "1/0", 10 * SOL, 150), Accepted)
    market.prices(160)
    margin = margin_of(market.state, "1/0")
    # 2,000 - 1,600 owed - 100 lost on the short.
    assert margin.net_equity_usd6 == margin.account_value_usd6 == 300 * USDC
    assert margin.withdrawal_equity_usd6 == 300 * USDC
    assert margin.exposure_usd6 == 3_200 * USDC
    # Borrow: 10% and 5% of 1,600. Perpetual: 2% and 1.35% of 1,600.
    assert margin.initial_margin_usd6 == 160 * USDC + 32 * USDC
    assert margin.maintenance_margin_usd6 == 80 * USDC + 21_600_000


def test_r19_a_borrow_needs_initial_margin_afterwards(market: Exchange) -> None:
    """R19: the largest borrow passes, one unit more does not; the refusal says how much would."""
    market.must(cm.Transfer, "1/0", "1/1", "USDC", 1_900 * USDC)
    # $100: each borrowed SOL costs $150 x (1 - weight + 10%).
    most = max_borrow_units(market.state, "1/0", "SOL")
    outcome = market.send(cm.Borrow, "1/0", "SOL", most + 1)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.would_pass_units) == (RejectReason.INSUFFICIENT_INITIAL_MARGIN, most)
    market.must(cm.Borrow, "1/0", "SOL", most)
    margin = margin_of(market.state, "1/0")
    assert 0 <= margin.net_equity_usd6 - margin.initial_margin_usd6 < 10
    # About 100 / (150 x 0.2) less the size penalty of the weight.
    assert 3 * SOL < most < 3_334_000_000


def test_r19_what_is_borrowed_can_be_withdrawn_as_far_as_initial_margin(market: Exchange) -> None:
    """R30: 2,000 + w(10 - x) - 1,500 >= 150 lets all 10 SOL go; after that $350 of the dollars."""
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    assert isinstance(market.withdraw("1/0", 10 * SOL, "SOL"), Accepted)
    outcome = market.withdraw("1/0", 350 * USDC + 1)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.would_pass_units) == (
        RejectReason.INSUFFICIENT_INITIAL_MARGIN,
        350 * USDC,
    )
    assert isinstance(market.withdraw("1/0", 350 * USDC), Accepted)


def test_r11_incoming_units_repay_first() -> None:
    """R11: a deposit, a transfer and a spot purchase of a borrowed asset repay it; the rest is cash."""
    made = Exchange(replace(default_params(), auto_lend_default=0))
    made.open("1/0", "1/1", "2/0")
    made.prices(150)
    made.deposit("1/0", 10_000 * USDC)
    made.deposit("2/0", 110 * SOL, "SOL")
    made.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    made.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    applied, repaid = made.must(cm.Deposit, "1/0", "SOL", 2 * SOL, "wallet")
    assert (applied.credited_units, applied.applied_units) == (2 * SOL, 0)
    assert repaid == Repaid("1/0", "SOL", 2 * SOL, 0, 0, 2 * SOL, 8 * SOL)
    made.must(cm.PlaceOrder, "2/0", "SOL/USDC", "sell", "limit", 3 * SOL, 150 * DOLLAR_E8)
    made.must(cm.PlaceOrder, "1/0", "SOL/USDC", "buy", "limit", 3 * SOL, 150 * DOLLAR_E8)
    assert (made.owed("1/0", "SOL"), made.cash("1/0", "SOL")) == (5 * SOL, 10 * SOL)
    made.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    made.must(cm.Transfer, "1/1", "1/0", "SOL", 6 * SOL)
    assert (made.owed("1/0", "SOL"), made.cash("1/0", "SOL")) == (0, SOL)
    assert made.state.borrowers == {}


def test_r11_without_auto_repay_nothing_repays_by_itself(market: Exchange) -> None:
    market.must(cm.Borrow, "1/0", "SOL", SOL)
    market.deposit("1/0", SOL, "SOL")
    assert (market.owed("1/0", "SOL"), market.cash("1/0", "SOL")) == (SOL, 2 * SOL)


def test_r11_what_is_lent_is_set_off_although_the_pool_is_empty(market: Exchange) -> None:
    """R11: repaying out of lent units needs no cash of the pool and no throttle."""
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    market.must(cm.Lend, "1/0", "SOL", 10 * SOL)
    market.deposit("3/0", 100_000 * USDC)
    market.must(cm.Borrow, "3/0", "SOL", 94 * SOL)
    market.must(cm.Transfer, "1/0", "1/1", "USDC", 1_000 * USDC)
    (repaid,) = market.must(cm.Repay, "1/0", "SOL", 10 * SOL)
    assert repaid == Repaid("1/0", "SOL", 0, 10 * SOL, 10 * SOL, 10 * SOL, 0)
    assert market.cash("lending_pool", "SOL") == 6 * SOL


def losing(lent_usdc: int, pool_usdc: int, *, auto_borrow: bool = True) -> Exchange:
    """Give an exchange in which 1/0 has 100 SOL, has lent some USDC, and loses $500 on a perpetual."""
    params = replace(default_params(), auto_lend_default=0, auto_borrow_default=int(auto_borrow))
    made = Exchange(params)
    made.open("1/0", "2/0", "3/0")
    made.prices(150)
    made.deposit("1/0", 100 * SOL, "SOL")
    made.deposit("2/0", 10_000 * USDC)
    if lent_usdc:
        made.deposit("1/0", lent_usdc)
        made.must(cm.Lend, "1/0", "USDC", lent_usdc)
    if pool_usdc:
        made.deposit("3/0", pool_usdc)
        made.must(cm.Lend, "3/0", "USDC", pool_usdc)
    assert isinstance(made.trade("2/0", "1/0", 10 * SOL, 150), Accepted)
    made.prices(150, mark_usd=200)
    return made


def test_r26_lent_dollars_pay_before_anything_is_borrowed() -> None:
    """R26: cash, lent, borrowed, converted: $300 are lent, $200 are borrowed; no collateral is sold."""
    made = losing(300 * USDC, 1_000 * USDC)
    events = made.tick()
    assert of_type(events, Redeemed) == [Redeemed("1/0", "USDC", 300 * USDC, 300 * USDC)]
    assert of_type(events, Borrowed) == [Borrowed("1/0", "USDC", 200 * USDC, 200 * USDC)]
    collected = [(one.units, one.remaining_usd6) for one in of_type(events, LossCollected)]  # type: ignore[attr-defined]
    assert collected == [(300 * USDC, 200 * USDC), (200 * USDC, 0)]
    assert made.cash("2/0") == 10_500 * USDC
    assert (made.owed("1/0"), made.cash("1/0", "SOL")) == (200 * USDC, 100 * SOL)
    # Profit that comes back repays the borrow first.
    made.prices(150, mark_usd=190)
    made.tick()
    assert (made.owed("1/0"), made.cash("1/0")) == (100 * USDC, 0)


@pytest.mark.parametrize(("pool_usdc", "auto_borrow"), [(1_000 * USDC, False), (300 * USDC, True)])
def test_r26_who_may_not_borrow_is_converted(pool_usdc: int, auto_borrow: bool) -> None:
    """R26: without auto_borrow, or when the pool cannot lend the whole rest, SOL pays at 95%."""
    made = losing(0, pool_usdc, auto_borrow=auto_borrow)
    events = made.tick()
    assert of_type(events, Borrowed) == []
    (converted,) = of_type(events, CollateralConverted)
    # ceil(500 / 142.5) SOL
    assert isinstance(converted, CollateralConverted)
    assert (converted.units, converted.usd6) == (3_508_771_930, 500 * USDC)


def test_r26_a_borrow_for_a_loss_needs_initial_margin() -> None:
    """R26: $500 more owed would need initial margin that is not there; then collateral is converted."""
    params = replace(default_params(), auto_lend_default=0)
    made = Exchange(params)
    made.open("1/0", "2/0", "3/0")
    made.prices(150)
    made.deposit("1/0", 4 * SOL, "SOL")
    made.deposit("2/0", 10_000 * USDC)
    made.deposit("3/0", 10_000 * USDC)
    made.must(cm.Lend, "3/0", "USDC", 10_000 * USDC)
    assert isinstance(made.trade("2/0", "1/0", 10 * SOL, 150), Accepted)
    # 600 x 0.898 = 538.9, minus 500 leaves 38.9: above maintenance (27), below initial (40 + 25).
    made.prices(150, mark_usd=200)
    events = made.tick()
    assert of_type(events, Borrowed) == []
    assert of_type(events, CollateralConverted)


def test_r26_lent_shares_pay_when_the_pool_is_empty() -> None:
    """R26: the pool has lent out all but 5%; the fund takes lent shares at par, no dollar is waited for."""
    made = losing(400 * USDC, 0, auto_borrow=False)
    made.deposit("3/0", 100 * SOL, "SOL")
    made.must(cm.Borrow, "3/0", "USDC", 380 * USDC)
    made.deposit("insurance_fund", 1_000 * USDC)
    events = made.tick()
    assert of_type(events, Redeemed)[0] == Redeemed("1/0", "USDC", 20 * USDC, 20 * USDC)
    (converted,) = of_type(events, LentConverted)
    assert converted == LentConverted(
        "1/0", "USDC", 380 * USDC, 380 * USDC, 380 * USDC, DOLLAR_E8, 380 * USDC, 0
    )
    assert made.unsettled("1/0") == 0
    assert made.lent("insurance_fund") == 380 * USDC
    # As soon as it is repaid, the fund has its dollars back.
    made.must(cm.Repay, "3/0", "USDC", 380 * USDC)
    made.tick()
    assert made.lent("insurance_fund") == 0


def ruined(market: Exchange) -> tuple[object, ...]:
    """Let 1/0 borrow 10 SOL, move them away, and SOL rise to 250: it owes 2,500 and has 2,000."""
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    market.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    return market.prices(250)


def test_r27_lenders_never_lose_by_a_bankrupt_borrower(market: Exchange) -> None:
    """R27: the fund takes the borrow over at index, the debt is what collateral could not pay."""
    before = market.lent("2/0", "SOL")
    events = ruined(market)
    (taken,) = of_type(events, BorrowTakenOver)
    assert taken == BorrowTakenOver("1/0", "SOL", 10 * SOL, 10 * SOL, 2_500 * USDC, 250 * DOLLAR_E8)
    assert of_type(events, SubaccountBankrupt) == [SubaccountBankrupt("1/0", 500 * USDC)]
    assert outstanding_negative_equity_usd6(market.state, "1/0") == 500 * USDC
    assert market.owed("insurance_fund", "SOL") == 10 * SOL
    assert market.lent("2/0", "SOL") == before
    market.wait(10)
    market.tick()
    # What was collected is the fund's, to buy back with; the rest it is owed.
    assert market.cash("insurance_fund") == 2_000 * USDC
    assert market.lent("2/0", "SOL") > before


def test_r28_a_deposit_pays_the_debt_that_a_borrow_left(market: Exchange) -> None:
    """R28: of $800 the $500 are applied; the fund, whose claim it is, is paid at the tick."""
    ruined(market)
    (applied,) = of_type(market.must(cm.Deposit, "1/0", "USDC", 800 * USDC, "wallet"), DepositApplied)
    assert isinstance(applied, DepositApplied)
    assert (applied.applied_usd6, applied.repaid_units) == (500 * USDC, 0)
    assert market.cash("1/0") == 300 * USDC
    assert outstanding_negative_equity_usd6(market.state, "1/0") == 0
    market.tick()
    assert market.cash("insurance_fund") == 2_500 * USDC
    assert market.unsettled("insurance_fund") == 0


def test_r27_customers_claims_come_before_the_funds(market: Exchange) -> None:
    """R26, R27: what the fund is owed for a borrow waits until winners are paid, and is cut before them."""
    ruined(market)
    fund = market.state.subaccounts["insurance_fund"]
    assert fund.unsettled_usd6 == 2_500 * USDC
    market.deposit("2/0", 1_000 * USDC)
    market.deposit("3/0", 1_000 * USDC)
    assert isinstance(
        market.send(cm.BlockTrade, "SOL-PERP", "2/0", "3/0", SOL, 250 * DOLLAR_E8, ("2/0", "3/0")), Accepted
    )
    market.prices(300)
    market.tick()
    # 3/0 lost $50 to 2/0; both sums come out of the same pool.
    assert market.cash("2/0") == 1_050 * USDC
    market.wait(7 * 86_400)
    market.tick()
    assert market.unsettled("1/0") == 0
    assert fund.unsettled_usd6 == 0
    assert market.state.debts == {}


def stuck(market: Exchange) -> Exchange:
    """Leave 1/0 with $500 and 10 SOL owed at a stale $150: $1,000 short, nothing taken over yet.

    A backstop provider took its losing short at mark.
    """
    market.backstop()
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    market.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    market.deposit("3/0", 10_000 * USDC)
    assert isinstance(market.trade("3/0", "1/0", 10**7, 60_000, "BTC-PERP"), Accepted)
    market.wait(61)
    btc_e8 = 75_000 * DOLLAR_E8
    market.must(cm.UpdatePrices, (("BTC", btc_e8),), (("BTC-PERP", btc_e8),))
    market.tick()
    base_units = market.base("1/0", "BTC-PERP")
    assert (market.cash("1/0"), base_units, market.unsettled("1/0")) == (500 * USDC, 0, 0)
    # 10 SOL x 0.889% x 61 s / year
    assert market.owed("1/0", "SOL") == 10 * SOL + 172
    return market


def test_r28_a_deposit_of_the_borrowed_asset_repays_it_without_a_haircut(market: Exchange) -> None:
    """R28: 4 SOL at index are $600 of the $1,000; the next 5 SOL: 2.67 repay the rest, 2.33 are credited."""
    stuck(market)
    outstanding = outstanding_negative_equity_usd6(market.state, "1/0")
    assert 1_000 * USDC <= outstanding <= 1_000 * USDC + 26
    preview = preview_deposit(market.state, "1/0", "SOL", 4 * SOL)
    applied = of_type(market.must(cm.Deposit, "1/0", "SOL", 4 * SOL, "wallet"), DepositApplied)[0]
    assert isinstance(applied, DepositApplied)
    assert (applied.applied_units, applied.applied_usd6) == (4 * SOL, 600 * USDC)
    assert (applied.repaid_units, applied.repaid_usd6) == (4 * SOL, 600 * USDC)
    assert (preview.applied_units, preview.applied_usd6) == (4 * SOL, 600 * USDC)
    assert (applied.fund_paid_usd6, applied.fund_owed_usd6, applied.credited_units) == (0, 0, 0)
    left = outstanding_negative_equity_usd6(market.state, "1/0")
    assert 400 * USDC <= left <= 400 * USDC + 26
    applied = of_type(market.must(cm.Deposit, "1/0", "SOL", 5 * SOL, "wallet"), DepositApplied)[0]
    assert isinstance(applied, DepositApplied)
    assert applied.applied_usd6 == left
    # ceil(400.000026 / 150)
    assert applied.repaid_units == 2_666_666_840
    assert applied.credited_units == 5 * SOL - applied.repaid_units
    assert outstanding_negative_equity_usd6(market.state, "1/0") == 0


def test_r28_a_deposit_of_another_asset_lets_the_fund_take_the_borrow_over(market: Exchange) -> None:
    """R28: $600 of dollars take over 4 SOL at index (one for one), what is over the $1,000 is credited."""
    stuck(market)
    events = market.must(cm.Deposit, "1/0", "USDC", 600 * USDC, "wallet")
    applied = of_type(events, DepositApplied)[0]
    assert isinstance(applied, DepositApplied)
    assert (applied.applied_usd6, applied.repaid_usd6, applied.credited_units) == (600 * USDC, 0, 0)
    (taken,) = of_type(events, BorrowTakenOver)
    assert isinstance(taken, BorrowTakenOver)
    assert (taken.units, taken.usd6, taken.rate_e8) == (4 * SOL, 600 * USDC, 150 * DOLLAR_E8)
    assert market.unsettled("1/0") == 0
    assert 400 * USDC <= outstanding_negative_equity_usd6(market.state, "1/0") <= 400 * USDC + 26
    market.must(cm.Deposit, "1/0", "USDC", 1_000 * USDC, "wallet")
    assert outstanding_negative_equity_usd6(market.state, "1/0") == 0
    assert market.unsettled("1/0") == 0
    # $500 were left, $1,600 came, $1,000 (and the interest of a minute) were applied.
    assert 1_100 * USDC - 30 <= market.cash("1/0") <= 1_100 * USDC


def test_r21_what_is_there_of_the_asset_repays_first_and_nothing_is_sold(market: Exchange) -> None:
    """R21: 1/0 keeps what it borrowed: below maintenance through a perpetual, it repays and is healthy."""
    market.must(cm.Borrow, "1/0", "SOL", 50 * SOL)
    market.deposit("3/0", 10_000 * USDC)
    assert isinstance(market.trade("1/0", "3/0", 20 * SOL, 150), Accepted)
    # 2,000 + 7,500 x 0.89368 - 7,500 - 20 x 55 = 102.6, needs 375 + 25.65.
    events = market.prices(150, mark_usd=95)
    assert of_type(events, Repaid)
    assert market.owed("1/0", "SOL") == 0
    assert market.base("1/0") == 20 * SOL
    assert market.state.liquidations == {}


def test_r22_a_borrow_is_bought_back_on_the_spot_book(market: Exchange) -> None:
    """R22: 10 SOL owed at 183, $1,900: $70 of equity, maintenance 91.50. Each SOL bought at 184 costs $1 and
    frees 9.15; (70 - k) >= 1.05 x 9.15 x (10 - k) from k = 4 on.
    """
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    market.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    market.must(cm.Transfer, "1/0", "1/1", "USDC", 100 * USDC)
    market.must(cm.PlaceOrder, "1/1", "SOL/USDC", "sell", "limit", 10 * SOL, 184 * DOLLAR_E8)
    market.prices(183)
    assert list(market.state.liquidations) == ["1/0"]
    # A tenth of 10 SOL; a quarter of what rests inside the band would be 2.5.
    assert (market.owed("1/0", "SOL"), market.cash("1/0")) == (9 * SOL, (1_900 - 184) * USDC)
    for _ in range(5):
        market.wait(1)
        market.tick()
    assert market.state.liquidations == {}
    assert 6 * SOL <= market.owed("1/0", "SOL") < 6 * SOL + 100
    assert market.cash("1/0") == (1_900 - 4 * 184) * USDC
    assert market.owed("insurance_fund", "SOL") == 0


def test_r21_the_fund_takes_over_what_no_book_can_buy(market: Exchange) -> None:
    """R21: no book: after the patience of stage 1 the fund takes the borrow over for all that is left."""
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    market.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    market.prices(182)
    # 2,000 - 1,820 = 180 of equity, maintenance is 91: healthy.
    assert market.state.liquidations == {}
    market.prices(191)
    # 90 < 95.5, but more than half of it: the book is tried first.
    assert list(market.state.liquidations) == ["1/0"]
    taken: list[object] = []
    for _ in range(8):
        market.wait(1)
        taken += of_type(market.tick(), BorrowTakenOver)
    (one,) = taken
    assert isinstance(one, BorrowTakenOver)
    # 5% of $1,910 is $95.50, more than the $90 that are left: these are paid, closing makes no debt.
    assert one.rate_e8 == 191 * DOLLAR_E8
    assert one.usd6 == 2_000 * USDC
    assert market.cash("1/0") == market.unsettled("1/0") == 0
    assert market.state.liquidations == {} and market.state.debts == {}


def test_r21_the_haircut_of_a_take_over_is_paid_by_who_can(market: Exchange) -> None:
    """R21: a borrow of $1,500 beside a losing perpetual: 105% of the index while equity bears it."""
    market.deposit("3/0", 100_000 * USDC)
    market.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    market.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    market.deposit("1/0", 6 * 10**5, "BTC")
    # 2,000 + 360 x 0.95 - 1,500 = 842; 65 x 2% of 65 x 150 are 195, and 150 for the borrow.
    assert isinstance(market.trade("1/0", "3/0", 65 * SOL, 150), Accepted)
    events = market.prices(150, mark_usd=140)
    # Equity 192, maintenance 75 + 122.9.
    assert list(market.state.liquidations) == ["1/0"], events
    seen: list[object] = []
    for _ in range(8):
        market.wait(1)
        seen += of_type(market.tick(), BorrowTakenOver)
    (one,) = seen
    assert isinstance(one, BorrowTakenOver)
    assert (one.rate_e8, one.usd6) == (15_750_000_000, 1_575_000_003)
    assert (market.state.liquidations, market.state.debts) == ({}, {})


def test_max_borrow_is_what_passes(exchange: Exchange) -> None:
    """R11: margin, limit and pool with idle cash, whichever is least."""
    exchange.deposit("1/0", 10_000 * USDC)
    assert max_borrow_units(exchange.state, "1/0", "SOL") == 0
    exchange.deposit("2/0", 10 * SOL, "SOL")
    assert max_borrow_units(exchange.state, "1/0", "SOL") == 9_500_000_000
    assert isinstance(exchange.send(cm.Borrow, "1/0", "SOL", 9_500_000_001), Rejected)
    exchange.must(cm.Borrow, "1/0", "SOL", 9_500_000_000)
    assert max_borrow_units(exchange.state, "1/0", "SOL") == 0
    assert max_borrow_units(exchange.state, "fees", "SOL") == 0
    assert max_borrow_units(exchange.state, "2/0", "BTC") == 0


def test_r11_spot_margin_sells_what_is_borrowed_in_the_same_step() -> None:
    """R11: 1/0 sells 5 SOL it has not: 1 of cash, 1 of what it lent, 3 borrowed; then buys back."""
    made = Exchange(replace(default_params(), auto_lend_default=0))
    made.open("1/0", "2/0", "3/0")
    made.prices(150)
    made.deposit("1/0", 1_000 * USDC)
    made.deposit("1/0", 2 * SOL, "SOL")
    made.must(cm.Lend, "1/0", "SOL", SOL)
    made.deposit("2/0", 100 * SOL, "SOL")
    made.deposit("3/0", 10_000 * USDC)
    sell = ("SOL/USDC", "sell", "ioc", 5 * SOL, 150 * DOLLAR_E8)
    made.must(cm.PlaceOrder, "3/0", "SOL/USDC", "buy", "limit", 5 * SOL, 150 * DOLLAR_E8)
    outcome = made.send(cm.PlaceOrder, "1/0", *sell)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.INSUFFICIENT_SETTLED_CASH
    made.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    # What rests is never borrowed for.
    outcome = made.send(cm.PlaceOrder, "1/0", "SOL/USDC", "sell", "limit", 6 * SOL, 150 * DOLLAR_E8)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.INSUFFICIENT_SETTLED_CASH
    redeemed, borrowed, traded = made.must(cm.PlaceOrder, "1/0", *sell)
    assert (redeemed.units, borrowed.units, traded.units) == (SOL, 3 * SOL, 5 * SOL)
    # 750 less the taker's 0.04%.
    assert made.cash("1/0") == 1_750 * USDC - 300_000
    assert (made.cash("1/0", "SOL"), made.owed("1/0", "SOL")) == (0, 3 * SOL)
    made.prices(100)
    made.must(cm.PlaceOrder, "3/0", "SOL/USDC", "sell", "limit", 3 * SOL, 100 * DOLLAR_E8)
    made.must(cm.PlaceOrder, "1/0", "SOL/USDC", "buy", "ioc", 3 * SOL, 100 * DOLLAR_E8)
    assert (made.cash("1/0", "SOL"), made.owed("1/0", "SOL")) == (0, 0)
    assert made.cash("1/0") == 1_450 * USDC - 300_000 - 120_000


def test_r11_spot_margin_needs_initial_margin_and_the_will(exchange: Exchange) -> None:
    """R11, R19: with $100 nobody sells 10 borrowed SOL; without auto_borrow nobody sells any."""
    exchange.open("3/0")
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 100 * SOL, "SOL")
    exchange.must(cm.Lend, "2/0", "SOL", 100 * SOL)
    exchange.deposit("3/0", 10_000 * USDC)
    exchange.must(cm.PlaceOrder, "3/0", "SOL/USDC", "buy", "limit", 10 * SOL, 150 * DOLLAR_E8)
    outcome = exchange.send(cm.PlaceOrder, "1/0", "SOL/USDC", "sell", "ioc", 10 * SOL, 150 * DOLLAR_E8)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.INSUFFICIENT_INITIAL_MARGIN
    exchange.must(cm.SetLending, "1/0", 1, 0, 1)
    outcome = exchange.send(cm.PlaceOrder, "1/0", "SOL/USDC", "sell", "ioc", SOL, 150 * DOLLAR_E8)
    assert isinstance(outcome, Rejected) and outcome.reason is RejectReason.INSUFFICIENT_SETTLED_CASH
    exchange.must(cm.SetLending, "1/0", 1, 1, 1)
    exchange.must(cm.PlaceOrder, "1/0", "SOL/USDC", "sell", "ioc", SOL, 150 * DOLLAR_E8)
    assert exchange.owed("1/0", "SOL") == SOL


def test_r11_a_spot_purchase_on_borrowed_dollars(exchange: Exchange) -> None:
    exchange.open("3/0")
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 5 * SOL, "SOL")
    exchange.deposit("3/0", 1_000 * USDC)
    exchange.must(cm.Lend, "3/0", "USDC", 1_000 * USDC)
    exchange.must(cm.PlaceOrder, "2/0", "SOL/USDC", "sell", "limit", SOL, 150 * DOLLAR_E8)
    exchange.must(cm.PlaceOrder, "1/0", "SOL/USDC", "buy", "fok", SOL, 150 * DOLLAR_E8)
    # 150 + 0.04% - 100
    assert (exchange.cash("1/0"), exchange.owed("1/0")) == (0, 50_060_000)
    assert exchange.cash("1/0", "SOL") == SOL
