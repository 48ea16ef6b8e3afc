"""I1-I10: every check finds the breach it is there for, and `check_totals` the ones it can."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine import commands as cm
from engine.apply import Accepted
from engine.balances import LedgerError
from engine.events import LossCollected, OrderRested
from engine.invariants import check, check_after_tick, check_totals
from engine.ledger import post
from engine.state import Position, State
from tests.engine.conftest import SOL, USDC, Exchange


@pytest.fixture
def full(indebted: Exchange) -> State:
    indebted.must(cm.SetOnDebt, "1/0", "hold")
    indebted.must(cm.Deposit, "1/0", "USDC", 5 * USDC, "sender")
    indebted.deposit("insurance_fund", USDC)
    indebted.open("3/0")
    indebted.deposit("3/0", 1_000 * USDC)
    assert isinstance(indebted.trade("3/0", "2/0", SOL, 130), Accepted)
    indebted.attest()
    indebted.withdraw("2/0", 500 * USDC, id="queued")
    indebted.withdraw("2/0", USDC, id="reserved")
    assert check(indebted.state) == [] == check_totals(indebted.state)
    return indebted.state


def steal(state: State) -> None:
    state.subaccounts["2/0"].cash["USDC"] -= 1


def mint(state: State) -> None:
    state.totals.cash_units["USDC"] += 1


def lose_base(state: State) -> None:
    state.subaccounts["2/0"].positions["SOL-PERP"].base_units += 1


def lose_base_in_totals(state: State) -> None:
    state.totals.base_units["SOL-PERP"] += 1


def invent_claim(state: State) -> None:
    state.subaccounts["2/0"].unsettled_usd6 += 1


def invent_claim_in_totals(state: State) -> None:
    state.totals.unsettled_usd6 += 1


def overdraw_fund(state: State) -> None:
    state.subaccounts["insurance_fund"].cash["USDC"] = -1


def round_too_much(state: State) -> None:
    state.subaccounts["rounding"].cash["USDC"] = 1_000


def forget_payout(state: State) -> None:
    del state.withdrawals["reserved"]


def pay_unseen(state: State) -> None:
    state.withdrawals["reserved"].status = "paid"


def dequeue(state: State) -> None:
    state.queued.clear()


def show_too_much(state: State) -> None:
    post(state, OrderRested("SOL-PERP", 1, "1/0", True, 1, 1, True, ""))
    assert check(state) == []
    state.books["SOL-PERP"].bids.levels[1].units += 1


def forget_who_waits(state: State) -> None:
    state.queued_of.clear()


def forget_debt(state: State) -> None:
    state.totals.debts_usd6 -= 1


def forget_held(state: State) -> None:
    state.held.clear()


def forget_holder(state: State) -> None:
    state.holders["SOL-PERP"].clear()


def forget_unsettled(state: State) -> None:
    state.unsettled_holders.pop("2/0")


def false_debtor(state: State) -> None:
    state.debts["2/0"] = 0


def system_position(state: State) -> None:
    state.subaccounts["fees"].positions["SOL-PERP"] = Position(1, 0)


def empty_position(state: State) -> None:
    state.subaccounts["1/0"].positions["SOL-PERP"] = Position(0, 0)


def unexplained_deposit(state: State) -> None:
    state.deposited_units["SOL"] += 1


def negative_fee_debt(state: State) -> None:
    state.network_fees_owed_units = -1


def lose_quote(state: State) -> None:
    state.totals.quote_usd6["SOL-PERP"] -= 1


BREACHES: list[tuple[str, Callable[[State], None], bool]] = [
    ("totals", steal, False),
    ("I1", mint, True),
    ("I1", unexplained_deposit, True),
    ("I1", negative_fee_debt, True),
    ("totals", lose_base, False),
    ("I2", lose_base_in_totals, True),
    ("I2", system_position, False),
    ("totals", invent_claim, False),
    ("I3", invent_claim_in_totals, True),
    ("I3", lose_quote, True),
    ("I5", overdraw_fund, True),
    ("I9", round_too_much, True),
    ("totals", forget_payout, False),
    ("I10", pay_unseen, False),
    ("I10", dequeue, False),
    ("R12", show_too_much, False),
    ("indices", forget_who_waits, False),
    ("totals", forget_debt, False),
    ("totals", forget_held, False),
    ("indices", forget_holder, False),
    ("indices", forget_unsettled, False),
    ("indices", empty_position, False),
    ("I8", false_debtor, False),
]


@pytest.mark.parametrize(
    ("invariant", "break_it", "in_totals"), BREACHES, ids=[row[1].__name__ for row in BREACHES]
)
def test_breaches_are_found(
    full: State, invariant: str, break_it: Callable[[State], None], in_totals: bool
) -> None:
    break_it(full)
    assert invariant in {breach.invariant for breach in check(full)}
    assert (invariant in {breach.invariant for breach in check_totals(full)}) == in_totals


def test_i4_is_found(full: State) -> None:
    full.totals.unsettled_usd6 += 1
    full.totals.quote_usd6["SOL-PERP"] += 1
    assert [breach.invariant for breach in check_after_tick(full)] == ["I4", "I4"]


def test_the_ledger_refuses_to_go_below_zero(full: State) -> None:
    with pytest.raises(LedgerError, match="cash of 1/0"):
        post(full, LossCollected("1/0", 1, 0))
