"""R26-R29: what waits for a fresh index and for how long; what a fund that owes can and cannot do."""

from __future__ import annotations

import pytest

from engine import commands as cm
from engine.apply import Accepted
from engine.deposits import preview_deposit
from engine.events import (
    BorrowTakenOver,
    DebtCovered,
    Lent,
    LentConverted,
    PnlSettled,
    SubaccountBankrupt,
)
from engine.gates import pool_gate_until_ns
from engine.insurance import fund_free_usd6
from engine.margin import outstanding_negative_equity_usd6
from tests.engine.conftest import DOLLAR_E8, SOL, USDC, Exchange

DAY = 86_400


def sol(exchange: Exchange, dollars: int) -> tuple[object, ...]:
    """Set SOL's prices; BTC's feed stays silent."""
    price_e8 = dollars * DOLLAR_E8
    return exchange.must(cm.UpdatePrices, (("SOL", price_e8),), (("SOL-PERP", price_e8),))


def owing(exchange: Exchange, btc_units: int) -> Exchange:
    """Let 1/0 owe $1,000 beside some BTC whose feed has been silent for 71 s; SOL's is fresh.

    It held $1,000 and was long 100 SOL from 150; at 130 it has lost 2,000. 2/0 has the claim.
    """
    exchange.backstop()
    exchange.deposit("90/0", 100_000 * USDC)
    for name in ("1/0", "2/0", "90/0"):
        exchange.must(cm.SetLending, name, 0, 0, 0)
        exchange.deposit(name, 1_000 * USDC)
    exchange.deposit("1/0", btc_units, "BTC")
    exchange.deposit("insurance_fund", 5_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    exchange.wait(71)
    for _ in range(20):
        sol(exchange, 130)
        exchange.wait(1)
    sol(exchange, 130)
    return exchange


@pytest.mark.parametrize(("btc_units", "waits"), [(17_182, False), (17_183, True)])
def test_r26_a_dead_coin_puts_off_a_bankruptcy_from_a_hundredth_of_the_debt(
    exchange: Exchange, btc_units: int, waits: bool
) -> None:
    """R26, R27: at 60,000 x 97% = 58,200 a hundredth of $1,000 is 17,182.13 sats: one less is nothing."""
    owing(exchange, btc_units)
    exchange.tick()
    assert (exchange.unsettled("1/0") == 0) == (not waits)
    # Who is bankrupt is covered by the fund at the next tick at the latest; who waits is not.
    exchange.wait(10)
    sol(exchange, 130)
    exchange.tick()
    assert (exchange.unsettled("1/0"), exchange.unsettled("2/0")) == (
        (-1_000 * USDC, 1_000 * USDC) if waits else (0, 0)
    )


def test_r26_a_coin_is_not_waited_for_longer_than_a_debt_is_old(exchange: Exchange) -> None:
    """R26, R27: BTC worth $582 at the last index; after seven silent days the debt is announced and paid."""
    owing(exchange, 10**6)
    exchange.wait(7 * DAY - 100)
    sol(exchange, 130)
    assert not [one for one in exchange.tick() if isinstance(one, DebtCovered)]
    exchange.wait(100)
    sol(exchange, 130)
    covered = [one.units for one in exchange.tick() if isinstance(one, DebtCovered)]
    assert covered == [1_000 * USDC]
    assert exchange.unsettled("2/0") == 0


def test_r28_a_receipt_says_what_is_outstanding_with_the_coin_that_waits(exchange: Exchange) -> None:
    """R28, R29: a deposit of BTC at a stale index is credited; at its last value it counts.

    0.01 BTC at 60,000 are $600 of the $1,000.
    """
    owing(exchange, 1_000)
    assert outstanding_negative_equity_usd6(exchange.state, "1/0") == 1_000 * USDC - 600_000
    preview = preview_deposit(exchange.state, "1/0", "BTC", 10**6)
    receipt = exchange.deposit("1/0", 10**6, "BTC")
    assert (receipt.applied_units, receipt.credited_units, receipt.rate_e8) == (0, 10**6, 0)
    after_usd6 = 400 * USDC - 600_000
    assert receipt.outstanding_after_usd6 == preview.outstanding_after_usd6 == after_usd6
    assert outstanding_negative_equity_usd6(exchange.state, "1/0") == after_usd6


@pytest.fixture
def empty_fund(exchange: Exchange) -> Exchange:
    """Give an exchange whose fund has taken over a borrow of $100,000 and sold what it got for $59,960 or so.

    1/0 borrowed it against 1,000 SOL and took it away; SOL fell from 150 to 60. 3/0 has lent 110,000.
    """
    exchange.open("3/0", "4/0", "8/0")
    for name in ("1/0", "3/0", "8/0"):
        exchange.must(cm.SetLending, name, 0, 1, 1)
    exchange.deposit("3/0", 110_000 * USDC)
    exchange.must(cm.Lend, "3/0", "USDC", 110_000 * USDC)
    exchange.deposit("1/0", 1_000 * SOL, "SOL")
    exchange.attest(USDC=0)
    exchange.must(cm.Borrow, "1/0", "USDC", 100_000 * USDC)
    assert isinstance(exchange.withdraw("1/0", 100_000 * USDC), Accepted)
    exchange.wait(10)
    for _ in range(3):
        exchange.prices(60)
        exchange.wait(10)
        exchange.tick()
    assert exchange.owed("insurance_fund") > 99_000 * USDC
    assert "1/0" in exchange.state.debts
    return exchange


def test_r29_a_preview_promises_no_dollars_that_the_fund_owes_itself(empty_fund: Exchange) -> None:
    """R29, R31: $50,000 come into a fund that owes the pool 100,000: nothing is left for 1/0's debt."""
    empty_fund.deposit("insurance_fund", 50_000 * USDC)
    assert fund_free_usd6(empty_fund.state) == 0
    assert preview_deposit(empty_fund.state, "1/0", "USDC", 0).fund_covers_usd6 == 0
    assert pool_gate_until_ns(empty_fund.state, "USDC", empty_fund.now_ns) > 0
    empty_fund.wait(1)
    assert not [one for one in empty_fund.tick() if isinstance(one, DebtCovered)]


def test_r10_nothing_is_lent_by_itself_to_a_pool_that_the_fund_cannot_pay(empty_fund: Exchange) -> None:
    """R10, R27: 4/0 comes with default settings; its $60,000 stay its own until the fund can pay again."""
    empty_fund.deposit("4/0", 60_000 * USDC)
    assert not [one for one in empty_fund.tick() if isinstance(one, Lent)]
    assert (empty_fund.cash("4/0"), empty_fund.lent("4/0")) == (60_000 * USDC, 0)
    empty_fund.deposit("insurance_fund", 60_000 * USDC)
    empty_fund.wait(1)
    lent = [(one.subaccount, one.units) for one in empty_fund.tick() if isinstance(one, Lent)]
    assert lent == [("4/0", 60_000 * USDC)]


def test_r26_a_pool_with_a_hole_pays_no_debt_at_par(empty_fund: Exchange) -> None:
    """R26: 3/0's 110,000 are lent to a pool with 10,000 in cash that the empty fund owes 100,000.

    It loses 2,000 x 2 + 4,000 x 3 = $16,000 to 2/0: what the pool has in cash pays 10,000; the fund does not
    take the rest at par, so it is a debt in the open, and 2/0's claim is not turned into the fund's.
    """
    empty_fund.open("9/0")
    for name in ("2/0", "9/0"):
        empty_fund.must(cm.SetLending, name, 0, 0, 0)
        empty_fund.deposit(name, 500_000 * USDC)
    assert isinstance(empty_fund.trade("3/0", "2/0", 2_000 * SOL, 60), Accepted)
    empty_fund.must(cm.UpdatePrices, (("SOL", 60 * DOLLAR_E8),), (("SOL-PERP", 58 * DOLLAR_E8),))
    assert isinstance(empty_fund.trade("2/0", "3/0", 2_000 * SOL, 58), Accepted)
    assert isinstance(empty_fund.trade("3/0", "2/0", 4_000 * SOL, 60), Accepted)
    empty_fund.must(cm.UpdatePrices, (("SOL", 60 * DOLLAR_E8),), (("SOL-PERP", 57 * DOLLAR_E8),))
    assert isinstance(empty_fund.trade("2/0", "3/0", 4_000 * SOL, 57), Accepted)
    before_usd6 = empty_fund.unsettled("insurance_fund")
    pool_cash = empty_fund.cash("lending_pool")
    events = empty_fund.tick()
    assert not [one for one in events if isinstance(one, LentConverted)]
    assert empty_fund.cash("lending_pool") == 0
    assert empty_fund.unsettled("insurance_fund") >= before_usd6
    lost_usd6 = sum(
        -one.pnl_usd6 for one in events if isinstance(one, PnlSettled) and one.subaccount == "3/0"
    )
    assert -empty_fund.unsettled("3/0") == lost_usd6 - pool_cash > 0
    assert "3/0" in empty_fund.state.debts


def test_r27_no_debt_is_fixed_at_a_stale_index(exchange: Exchange) -> None:
    """R27: 1/0 owes 10 SOL and $1,000; while SOL's index is stale nobody says what that comes to."""
    exchange.backstop()
    exchange.open("1/1", "3/0")
    for name in ("1/0", "1/1", "2/0", "3/0", "90/0"):
        exchange.must(cm.SetLending, name, 0, 0, 0)
    exchange.deposit("3/0", 100 * SOL, "SOL")
    exchange.must(cm.Lend, "3/0", "SOL", 100 * SOL)
    exchange.deposit("2/0", 100_000 * USDC)
    exchange.deposit("1/0", 4_000 * USDC)
    exchange.must(cm.Borrow, "1/0", "SOL", 10 * SOL)
    exchange.must(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    assert isinstance(exchange.trade("1/0", "2/0", 10**8 // 5, 60_000, "BTC-PERP"), Accepted)
    exchange.wait(61)
    btc_e8 = 30_000 * DOLLAR_E8
    for _ in range(3):
        exchange.must(cm.UpdatePrices, (("BTC", btc_e8),), (("BTC-PERP", btc_e8),))
        events = exchange.tick()
        assert not [one for one in events if isinstance(one, BorrowTakenOver | SubaccountBankrupt)]
        exchange.wait(1)
    assert list(exchange.state.liquidations) == ["1/0"]
    events = exchange.prices(100, btc_usd=30_000)
    (taken,) = [one for one in events if isinstance(one, BorrowTakenOver)]
    assert taken.rate_e8 == 100 * DOLLAR_E8
    exchange.tick()
    assert "1/0" in exchange.state.debts
