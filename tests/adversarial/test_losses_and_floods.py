"""Dumping losses on the fund, washing loans, dust, open orders (R6, R10, R12, R23, R24, R26)."""

from __future__ import annotations

from engine import commands as cm
from engine.events import AutoDeleveraged, BackstopFilled, DebtCovered
from engine.margin import margin_of
from engine.outcome import Accepted, Rejected
from engine.pool import lent_units, owed_units
from engine.rejects import RejectReason
from tests.engine.conftest import SOL, USDC, Exchange


def _worth(exchange: Exchange, *names: str) -> int:
    """What an account would have if all were closed now; nothing below zero, for it can be abandoned."""
    return sum(max(0, margin_of(exchange.state, name).account_value_usd6) for name in names)


def _opposite(exchange: Exchange) -> None:
    """1/0 long and 1/1 short 300 SOL at $150 with $1,000 each: 45 times leverage, IM $900."""
    for name in ("1/0", "1/1"):
        exchange.deposit(name, 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "1/1", 300 * SOL, 150), Accepted)
    exchange.wait(1)


def test_r24_opposite_positions_of_one_account_pay_for_each_other(exchange: Exchange) -> None:
    """A gap of $10: the long ends $2,000 below zero; auto-deleveraging takes it from the winning sibling.

    The fund pays nothing, no debt is left, the account has what it brought.
    """
    _opposite(exchange)
    fund = exchange.cash("insurance_fund")
    events = exchange.prices(140)
    taken = [one for one in events if isinstance(one, AutoDeleveraged)]
    assert [(one.counterparty, one.forgone_usd6) for one in taken] == [("1/1", 2_000 * USDC)]
    exchange.tick()
    assert exchange.state.debts == {}
    assert exchange.cash("insurance_fund") == fund
    assert _worth(exchange, "1/0", "1/1") == 2_000 * USDC


def test_r23_a_gap_that_a_provider_takes_costs_the_fund_what_lies_beyond_the_margin(
    exchange: Exchange,
) -> None:
    """With a provider the long closes at mark, and its $2,000 below zero are the fund's: this is the bound.

    What can be won from the fund is (gap - equity at entry), 300 x $10 - $1,000: only when one price step is
    larger than the whole margin (2% at this size), only as far as providers have capacity, and only from the
    fund's cash, never from a customer's balance. Two subaccounts are no better at it than two customers.
    """
    exchange.backstop()
    _opposite(exchange)
    brought = _worth(exchange, "1/0", "1/1")
    fund = exchange.cash("insurance_fund")
    events = exchange.prices(140)
    assert sum(abs(one.base_units) for one in events if isinstance(one, BackstopFilled)) > 0
    events = (*events, *exchange.tick())
    covered = sum(one.units for one in events if isinstance(one, DebtCovered))
    assert covered == fund - exchange.cash("insurance_fund") <= 2_000 * USDC
    assert _worth(exchange, "1/0", "1/1") - brought <= covered
    # The fund is a bound too: a second time it cannot pay more than it has.
    assert exchange.cash("insurance_fund") >= 0


def test_r23_being_ones_own_provider_costs_a_third(exchange: Exchange) -> None:
    """1/1 is a provider and takes 1/0's position: of the equity released a third goes to the fund."""
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("1/1", 100_000 * USDC)
    exchange.must(cm.RegisterBackstop, "1/1")
    exchange.must(cm.SetBackstopCapacity, "1/1", "SOL-PERP", 10**12, 10**13)
    assert isinstance(exchange.trade("1/0", "80/0", 300 * SOL, 150), Accepted)
    exchange.wait(1)
    before = _worth(exchange, "1/0", "1/1")
    events = exchange.prices(147)
    filled = [one for one in events if isinstance(one, BackstopFilled)]
    assert [one.provider for one in filled] == ["1/1"]
    assert filled[0].released_usd6 == 100 * USDC
    assert filled[0].fund_usd6 == 100 * USDC - 200 * USDC // 3
    # 300 SOL x $3 were lost to the market; the rest of the difference is the fund's third.
    assert before - _worth(exchange, "1/0", "1/1") == 900 * USDC + filled[0].fund_usd6


def test_r10_washing_a_loan_pays_the_reserve_fee(exchange: Exchange) -> None:
    """Lending 1,000 SOL and borrowing 900 of them oneself for a day loses a tenth of the interest."""
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 1_000_000 * USDC)
    exchange.deposit("1/0", 1_000 * SOL, "SOL")
    exchange.must(cm.Lend, "1/0", "SOL", 1_000 * SOL)
    exchange.must(cm.Borrow, "2/0", "SOL", 900 * SOL)
    for _ in range(24):
        exchange.wait(3_600)
        exchange.prices(150)
        exchange.tick()
    exchange.must(cm.Repay, "2/0", "SOL", 1)  # brings interest up to now
    state = exchange.state
    lent, owed = (
        lent_units(state, state.subaccounts["1/0"], "SOL"),
        owed_units(state, state.subaccounts["2/0"], "SOL"),
    )
    earned, paid = lent - 1_000 * SOL, owed + 1 - 900 * SOL
    assert 0 < earned < paid
    # What is lost is the reserve fee of 10%, and what the fee, lent too, earns in turn; each of the 26
    # accruals leaves less than two units in the pool.
    assert paid - earned > paid // 10
    fees = lent_units(state, state.subaccounts["fees"], "SOL")
    assert 0 <= paid - earned - fees <= 2 * 26
    # At the kink (90%) the rate is 8% a year: 900 SOL x 8% / 365 = 0.197 SOL a day.
    assert paid // 10**6 == 197


def test_r10_the_throttle_ends_a_wash_before_the_pool_is_empty(exchange: Exchange) -> None:
    """Whoever lends and borrows in turns to drive utilization up stops at 95% of what is lent.

    Of 1,000 SOL 951 would pass the maximum, 950 do not; at 95% the pool is above the throttle of 92%, and
    not even the smallest borrow passes. Lending a part of it back opens the throttle and gains nothing: 950
    of 1,033 SOL are 91.97%, and 31.35 more, 95% of 1,033 less 950, are all that comes of it, for the 33
    that were lent.
    """
    exchange.deposit("1/0", 1_000_000 * USDC)
    exchange.must(cm.Lend, "80/0", "SOL", 1_000 * SOL)

    def borrow(units: int) -> RejectReason | None:
        answer = exchange.send(cm.Borrow, "1/0", "SOL", units)
        return answer.reason if isinstance(answer, Rejected) else None

    assert borrow(950 * SOL + 1) is RejectReason.UTILIZATION_ABOVE_MAXIMUM
    assert borrow(950 * SOL) is None
    assert borrow(SOL // 1_000) is RejectReason.UTILIZATION_ABOVE_THROTTLE
    exchange.must(cm.Lend, "1/0", "SOL", 33 * SOL)
    assert borrow(31_350_000_001) is RejectReason.UTILIZATION_ABOVE_MAXIMUM
    assert borrow(31_350_000_000) is None
    assert borrow(SOL // 1_000) is RejectReason.UTILIZATION_ABOVE_THROTTLE


def test_r2_dust_trades_cost_the_one_who_makes_them(exchange: Exchange) -> None:
    """200 trades of one unit between accomplices: the buyer owes 1 usd6 each, the seller gets 0."""
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 100 * USDC)
    before = _worth(exchange, "1/0", "2/0")
    for number in range(200):
        buyer, seller = ("1/0", "2/0") if number % 2 else ("2/0", "1/0")
        assert isinstance(exchange.trade(buyer, seller, 1, 150), Accepted)
    exchange.tick()
    assert _worth(exchange, "1/0", "2/0") == before - 200


def test_r12_dust_orders_are_no_whole_lots(exchange: Exchange) -> None:
    """The smallest order is a lot: 0.01 SOL."""
    exchange.deposit("1/0", 1_000 * USDC)
    answer = exchange.order("1/0", "buy", 10**7 - 1, 150)
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.NOT_A_WHOLE_LOT
    assert isinstance(exchange.order("1/0", "buy", 10**7, 150), Accepted)


def test_r20_a_dust_position_does_not_keep_a_liquidation_alive(exchange: Exchange) -> None:
    """Positions of one unit in both markets, without money behind them, are gone at the first step."""
    exchange.deposit("1/0", 100_000)
    for market, price in (("SOL-PERP", 150), ("BTC-PERP", 60_000)):
        assert isinstance(
            exchange.trade("1/0", "80/0", 7 if market == "SOL-PERP" else 160, price, market), Accepted
        )
    exchange.wait(1)
    exchange.prices(15, 1_000)
    for _ in range(3):
        exchange.wait(1)
        exchange.prices(15, 1_000)
    exchange.tick()
    assert "1/0" not in exchange.state.liquidations
    assert exchange.cash("1/0") >= 0


def test_r12_open_orders_are_bounded_per_subaccount_and_market(exchange: Exchange) -> None:
    """The 201st resting order is refused (`too_many_open_orders`); one that trades at once is not."""
    exchange.deposit("1/0", 1_000_000 * USDC)
    for _ in range(200):
        assert isinstance(exchange.order("1/0", "buy", 10**7, 140), Accepted)
    answer = exchange.order("1/0", "buy", 10**7, 140)
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.TOO_MANY_OPEN_ORDERS
    assert isinstance(exchange.order("1/0", "buy", 10**7, 140, "ioc"), Accepted)
    exchange.must(cm.CancelAllOrders, "1/0", "SOL-PERP")
    assert isinstance(exchange.order("1/0", "buy", 10**7, 140), Accepted)
