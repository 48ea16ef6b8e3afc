"""R30-R33a, I8, I10: who may take out what, until when, and each payout's single end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected
from engine.events import WithdrawalPaid, WithdrawalQueued, WithdrawalReserved, WithdrawalReturned
from engine.gates import gate_status, owed_to_customers_units
from engine.margin import margin_of
from engine.params import LendingParams, Params, default_params
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state, state_hash
from engine.withdrawals import withdrawable_units
from tests.engine.conftest import SECOND, SOL, USDC, Exchange

HOUR = 3_600
MINUTE = 60


def reason(outcome: Any) -> RejectReason:
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def test_r30_reserves_the_units_at_once_and_is_paid_once(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    exchange.attest()
    outcome = exchange.withdraw("1/0", 60 * USDC, id="w1")
    assert isinstance(outcome, Accepted)
    assert outcome.events == (WithdrawalReserved("w1", "1/0", "USDC", 60 * USDC, "destination", False),)
    assert exchange.cash("1/0") == 40 * USDC
    assert reason(exchange.withdraw("1/0", 41 * USDC)) is RejectReason.INSUFFICIENT_SETTLED_CASH
    paid = exchange.must(cm.ConfirmWithdrawal, "w1", "sig", 0)[0]
    assert isinstance(paid, WithdrawalPaid) and paid.destination == "destination"
    assert exchange.state.withdrawn_units["USDC"] == 60 * USDC
    assert reason(exchange.send(cm.ConfirmWithdrawal, "w1", "sig", 0)) is RejectReason.WITHDRAWAL_ALREADY_PAID
    assert reason(exchange.send(cm.ReturnWithdrawal, "w1", "no", 0)) is RejectReason.WITHDRAWAL_ALREADY_PAID


def test_i10_a_returned_payout_gives_the_units_back_once(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    exchange.attest()
    exchange.withdraw("1/0", 60 * USDC, id="w1")
    returned = exchange.must(cm.ReturnWithdrawal, "w1", "expired", 0)[0]
    assert isinstance(returned, WithdrawalReturned) and returned.reason == "expired"
    assert exchange.cash("1/0") == 100 * USDC
    assert (
        reason(exchange.send(cm.ReturnWithdrawal, "w1", "x", 0)) is RejectReason.WITHDRAWAL_ALREADY_RETURNED
    )
    assert (
        reason(exchange.send(cm.ConfirmWithdrawal, "w1", "s", 0)) is RejectReason.WITHDRAWAL_ALREADY_RETURNED
    )


def test_r30_unpaid_claims_and_unrealized_profit_stay(indebted: Exchange) -> None:
    """R30: 2/0 has $2,000 cash and a claim of $1,000 that nobody has paid."""
    indebted.attest()
    indebted.must(cm.UpdatePrices, (), ())
    assert withdrawable_units(indebted.state, "2/0", "USDC") == 2_000 * USDC
    refused = indebted.withdraw("2/0", 2_000 * USDC + 1)
    assert reason(refused) is RejectReason.INSUFFICIENT_SETTLED_CASH
    assert isinstance(refused, Rejected) and refused.would_pass_units == 2_000 * USDC


def test_r30_an_unpaid_claim_carries_no_position_whose_cash_leaves(indebted: Exchange) -> None:
    """R30: 2/0 has $2,000 and a claim of 1,000; 100 SOL at 130 need 260, so 1,740 may leave.

    At 125 they need 250, and the unrealized loss of 500 is set off against the claim: 1,750. At 115 min(0,
    -1,500 + 1,000) = -500, and 230 are needed: 1,270.
    """
    indebted.open("2/1", "3/0")
    indebted.deposit("3/0", 10_000 * USDC)
    assert isinstance(indebted.trade("2/0", "3/0", 100 * SOL, 130), Accepted)
    for mark_usd, passing_usd in ((130, 1_740), (125, 1_750), (115, 1_270)):
        indebted.prices(130, mark_usd=mark_usd)
        assert withdrawable_units(indebted.state, "2/0", "USDC") == passing_usd * USDC
        refused = indebted.send(cm.Transfer, "2/0", "2/1", "USDC", passing_usd * USDC + 1)
        assert reason(refused) is RejectReason.INSUFFICIENT_INITIAL_MARGIN
    indebted.must(cm.Transfer, "2/0", "2/1", "USDC", 1_270 * USDC)


def test_i8_nobody_with_outstanding_negative_equity_withdraws(indebted: Exchange) -> None:
    indebted.open("1/1")
    indebted.deposit("1/0", 10 * SOL, "SOL")  # settles the debt; the rest is free
    assert indebted.unsettled("1/0") == 0
    indebted.attest()
    assert isinstance(indebted.withdraw("1/0", SOL, "SOL"), Accepted)


def test_r30_margin_decides_to_the_unit_and_says_how_much_would_pass(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.attest()
    # initial margin: 2% of 1500 = 30
    assert withdrawable_units(exchange.state, "1/0", "USDC") == 70 * USDC
    refused = exchange.withdraw("1/0", 70 * USDC + 1)
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.would_pass_units) == (RejectReason.INSUFFICIENT_INITIAL_MARGIN, 70 * USDC)
    assert isinstance(exchange.withdraw("1/0", 70 * USDC), Accepted)
    assert withdrawable_units(exchange.state, "1/0", "USDC") == 0


def test_r30_a_loss_realized_by_a_trade_but_not_settled_yet_stays(exchange: Exchange) -> None:
    """R30: a closed position leaves its loss in quote until the tick; no margin is needed, yet the money
    is not free.
    """
    exchange.open("1/1")
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(110)
    assert isinstance(exchange.trade("2/0", "1/0", 10 * SOL, 110), Accepted)
    exchange.attest()
    assert (exchange.base("1/0"), exchange.unsettled("1/0"), exchange.cash("1/0")) == (0, 0, 1_000 * USDC)
    for refused in (
        exchange.withdraw("1/0", 600 * USDC + 1),
        exchange.send(cm.Transfer, "1/0", "1/1", "USDC", 600 * USDC + 1),
    ):
        assert isinstance(refused, Rejected)
        assert (refused.reason, refused.would_pass_units) == (
            RejectReason.INSUFFICIENT_INITIAL_MARGIN,
            600 * USDC,
        )
    assert isinstance(exchange.withdraw("1/0", 600 * USDC), Accepted)
    exchange.tick()
    assert (exchange.unsettled("1/0"), exchange.cash("1/0")) == (0, 0)


@pytest.mark.parametrize("penalty", [0, 1_000, 50_000])
def test_r30_what_is_said_to_pass_passes_for_weighted_collateral(
    make_exchange: type[Exchange], penalty: int
) -> None:
    base = default_params()
    sol = replace(base.assets[1], weight_penalty_ppm=penalty)
    exchange = make_exchange(
        replace(base, assets=(base.assets[0], sol, base.assets[2]), velocity_floor_ppm=0)
    )
    exchange.open("1/0", "2/0")
    exchange.prices(150)
    exchange.deposit("1/0", 97 * SOL + 12_345, "SOL")
    exchange.deposit("2/0", 100_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 600 * SOL, 150), Accepted)
    exchange.attest()
    units = withdrawable_units(exchange.state, "1/0", "SOL")
    assert 0 < units < 97 * SOL
    # One usd6 of weighted collateral is some lamports: beyond that the next amount must fail.
    assert reason(exchange.withdraw("1/0", units + 20_000, "SOL")) is RejectReason.INSUFFICIENT_INITIAL_MARGIN
    assert isinstance(exchange.withdraw("1/0", units, "SOL"), Accepted)


def test_r30_stale_prices_hold_only_those_who_need_them(exchange: Exchange) -> None:
    exchange.open("3/0")
    for name in ("1/0", "2/0", "3/0"):
        exchange.deposit(name, 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", SOL, 150), Accepted)
    exchange.wait(61)
    exchange.attest()
    refused = exchange.withdraw("1/0", USDC)
    assert isinstance(refused, Rejected) and (refused.reason, refused.detail) == (
        RejectReason.STALE_PRICE,
        "SOL-PERP",
    )
    assert isinstance(exchange.withdraw("3/0", USDC), Accepted)
    exchange.prices(150)
    assert isinstance(exchange.withdraw("1/0", USDC), Accepted)
    # With a fresh mark a stale index holds only what rests on that collateral (R17).
    exchange.deposit("2/0", SOL, "SOL")
    exchange.wait(61)
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 150 * 10**8),))
    exchange.attest()
    # Initial margin of 1 SOL short at 150 is 2%: 3. With the SOL held counted all 1,000 USDC could leave.
    passing_units = 997 * USDC
    refused = exchange.withdraw("2/0", passing_units + 1)
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.detail) == (RejectReason.STALE_PRICE, "SOL")
    assert refused.would_pass_units == passing_units == withdrawable_units(exchange.state, "2/0", "USDC")
    refused = exchange.withdraw("2/0", 1_000 * USDC + 1)
    assert isinstance(refused, Rejected) and refused.reason is RejectReason.INSUFFICIENT_SETTLED_CASH
    assert isinstance(exchange.withdraw("2/0", passing_units), Accepted)
    # The stale coin itself may leave: nothing rests on it.
    exchange.deposit("2/0", 100 * USDC)
    assert isinstance(exchange.withdraw("2/0", SOL, "SOL"), Accepted)


def test_r31_pool_gate_queues_usdc_for_a_bounded_time(indebted: Exchange) -> None:
    """R31: outstanding 1000 > fund 0: USDC waits at most 30 minutes after the deficit; SOL does not; small
    ones pass.
    """
    indebted.deposit("2/0", 10 * SOL, "SOL")
    indebted.attest()
    until_ns = (indebted.state.last_deficit_ns or 0) + 30 * MINUTE * SECOND
    status = gate_status(indebted.state, "USDC", indebted.now_ns)
    assert (status.pool_gate_until_ns, status.pool_gate_remaining_ns) == (
        until_ns,
        until_ns - indebted.now_ns,
    )
    outcome = indebted.withdraw("2/0", 100 * USDC, id="w")
    assert isinstance(outcome, Accepted)
    assert outcome.events == (
        WithdrawalQueued("w", "2/0", "USDC", 100 * USDC, "destination", "pool", until_ns),
    )
    assert reason(indebted.send(cm.ConfirmWithdrawal, "w", "s", 0)) is RejectReason.WITHDRAWAL_QUEUED
    other = indebted.withdraw("2/0", SOL, "SOL")
    assert isinstance(other, Accepted) and isinstance(other.events[0], WithdrawalReserved)
    # The pool holds 1900 USDC: below 0.1% of it is small.
    status = gate_status(indebted.state, "USDC", indebted.now_ns)
    assert (status.small_withdrawal_below_units, status.passing_units) == (1_900_000, 1_899_999)
    small = indebted.withdraw("2/0", 1_899_999)
    assert isinstance(small, Accepted) and isinstance(small.events[0], WithdrawalReserved)
    indebted.wait(30 * MINUTE - 1)
    indebted.attest()
    assert not any(isinstance(event, WithdrawalReserved) for event in indebted.tick())
    indebted.wait(1)
    assert WithdrawalReserved("w", "2/0", "USDC", 100 * USDC, "destination", True) in indebted.tick()
    assert gate_status(indebted.state, "USDC", indebted.now_ns).pool_gate_until_ns == 0


def test_r31_the_gate_opens_as_soon_as_the_fund_can_cover(indebted: Exchange) -> None:
    indebted.attest()
    indebted.withdraw("2/0", 100 * USDC, id="w")
    indebted.deposit("insurance_fund", 1_000 * USDC)
    indebted.attest()
    assert indebted.state.withdrawals["w"].status == "reserved"


def test_r31_queued_survives_a_snapshot(indebted: Exchange) -> None:
    indebted.withdraw("2/0", 100 * USDC, id="w")
    copy = load_state(dump_state(indebted.state))
    assert list(copy.queued) == ["w"] and state_hash(copy) == state_hash(indebted.state)


def grown(make_exchange: type[Exchange], hours: int, params: Params | None = None) -> Exchange:
    """Give an exchange whose USDC pool stood at 1,000 for some hours, ticked every hour."""
    exchange = make_exchange(params)
    exchange.open("1/0", "2/0")
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.tick()
    for _ in range(hours):
        exchange.wait(HOUR)
        exchange.tick()
    exchange.attest()
    return exchange


def test_r32_velocity_guard_by_the_time_weighted_average(make_exchange: type[Exchange]) -> None:
    exchange = grown(make_exchange, 24)
    status = gate_status(exchange.state, "USDC", exchange.now_ns)
    assert (status.velocity_average_units, status.passing_units) == (1_000 * USDC, 250 * USDC)
    over = exchange.withdraw("1/0", 250 * USDC + 1, id="over")
    assert isinstance(over, Accepted)
    queued = over.events[0]
    assert isinstance(queued, WithdrawalQueued)
    assert (queued.gate, queued.until_ns) == ("velocity", exchange.now_ns + 24 * HOUR * SECOND)
    # What is queued has left the pool's cash already, so nothing more may leave before it.
    another = exchange.withdraw("1/0", 10 * USDC)
    assert isinstance(another, Accepted) and isinstance(another.events[0], WithdrawalQueued)
    # New money lifts the pool: both pass, in order.
    exchange.deposit("2/0", 1_000 * USDC)
    released = [event for event in exchange.tick() if isinstance(event, WithdrawalReserved)]
    assert [event.withdrawal_id for event in released][:1] == ["over"] and len(released) == 2


def test_r32_exactly_the_floor_passes(make_exchange: type[Exchange]) -> None:
    exchange = grown(make_exchange, 24)
    outcome = exchange.withdraw("1/0", 250 * USDC)
    assert isinstance(outcome, Accepted) and isinstance(outcome.events[0], WithdrawalReserved)


def test_r32_time_before_the_first_deposit_counts_as_zero(make_exchange: type[Exchange]) -> None:
    """R32: after 12 h at 1,000 the average of 24 h is 500, so the floor is 375."""
    exchange = grown(make_exchange, 12)
    status = gate_status(exchange.state, "USDC", exchange.now_ns)
    assert (status.velocity_average_units, status.passing_units) == (500 * USDC, 625 * USDC)


def test_r32_old_levels_leave_the_window_in_parts(make_exchange: type[Exchange]) -> None:
    exchange = grown(make_exchange, 24)
    exchange.deposit("2/0", 1_000 * USDC)
    exchange.tick()
    exchange.wait(6 * HOUR)
    # 18 h at 1000 and 6 h at 2000, without a tick since.
    assert gate_status(exchange.state, "USDC", exchange.now_ns).velocity_average_units == 1_250 * USDC
    assert len(exchange.state.averages["USDC"].buckets) <= 97


def test_r32_the_wait_is_bounded(make_exchange: type[Exchange]) -> None:
    exchange = grown(make_exchange, 24)
    exchange.withdraw("1/0", 900 * USDC, id="all")
    for _ in range(24):
        exchange.wait(HOUR)
        exchange.tick()
    exchange.attest()
    assert exchange.state.withdrawals["all"].status == "reserved"


def test_r33a_reserves_are_needed_and_must_be_young(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    assert reason(exchange.withdraw("1/0", USDC)) is RejectReason.RESERVES_NOT_ATTESTED
    exchange.attest()
    exchange.wait(60)
    assert isinstance(exchange.withdraw("1/0", USDC), Accepted)
    exchange.wait(1)
    assert reason(exchange.withdraw("1/0", USDC)) is RejectReason.RESERVES_NOT_ATTESTED


def test_r33a_a_shortage_of_one_unit_refuses_that_asset_only(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("1/0", SOL, "SOL")
    exchange.attest(USDC=-1)
    refused = exchange.withdraw("1/0", USDC)
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.detail) == (RejectReason.RESERVES_INSUFFICIENT, "USDC short of 1 units")
    assert isinstance(exchange.withdraw("1/0", SOL // 2, "SOL"), Accepted)


def test_r33a_an_asset_that_is_not_listed_holds_nothing(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    exchange.must(cm.AttestReserves, (("SOL", 5),), 7)
    assert reason(exchange.withdraw("1/0", USDC)) is RejectReason.RESERVES_INSUFFICIENT


def test_r33a_operator_cash_and_payouts_in_flight_are_not_owed_to_customers(exchange: Exchange) -> None:
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("fees", 7 * USDC)
    exchange.deposit("insurance_fund", 11 * USDC)
    exchange.attest()
    exchange.withdraw("1/0", 20 * USDC)
    assert owed_to_customers_units(exchange.state, "USDC") == 91 * USDC
    # The payout has left the chain, its confirmation has not come in yet: no false alarm.
    exchange.attest(USDC=-20 * USDC)
    assert isinstance(exchange.withdraw("1/0", USDC), Accepted)


def test_r33a_slots_do_not_go_back(exchange: Exchange) -> None:
    exchange.must(cm.AttestReserves, (), 7)
    assert reason(exchange.send(cm.AttestReserves, (), 6)) is RejectReason.ATTESTATION_OUT_OF_ORDER
    exchange.must(cm.AttestReserves, (), 7)


def test_i8_a_queued_withdrawal_pays_a_debt_that_arises_meanwhile(make_exchange: type[Exchange]) -> None:
    exchange = grown(make_exchange, 24)
    exchange.deposit("2/0", 200 * USDC)
    exchange.prices(150)
    exchange.backstop()
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.withdraw("1/0", 900 * USDC, id="w")
    assert list(exchange.state.queued) == ["w"]
    exchange.prices(40)  # loss of 1100, cash 100 + queued 900
    assert exchange.state.withdrawals["w"].status == "returned"
    assert exchange.unsettled("1/0") == -100 * USDC and exchange.cash("1/0") == 0


def test_i1_what_a_memo_cost_is_the_operators(make_exchange: type[Exchange]) -> None:
    """A transaction that pays nobody takes lamports from the chain; the ledger takes them from `fees`."""
    exchange = make_exchange()
    exchange.deposit("fees", 7_000_000, "SOL")
    exchange.must(cm.PayNetworkFee, "proof of solvency 1", "signature-1", 5_000)
    assert exchange.state.subaccounts["fees"].cash == {"SOL": 6_995_000}
    (event,) = exchange.must(cm.PayNetworkFee, "proof of solvency 2", "signature-2", 7_000_000)
    assert (event.network_fee_units, event.network_fee_owed_units) == (7_000_000, 5_000)
    assert exchange.state.subaccounts["fees"].cash == {}
    assert exchange.state.network_fees_paid_units == 7_005_000
    # check() ran after every command: liabilities - fees owed = deposits - fees paid.
    assert exchange.state.network_fees_owed_units == 5_000


def test_r31_a_queued_withdrawal_can_be_taken_back_by_its_owner(indebted: Exchange) -> None:
    """R31: what waits is the customer's: it comes back to cash, and that is the end of it."""
    indebted.attest()
    (waiting,) = indebted.withdraw("2/0", 500 * USDC, id="w").events  # type: ignore[union-attr]
    assert isinstance(waiting, WithdrawalQueued)
    cash_units = indebted.cash("2/0")
    returned = indebted.must(cm.CancelWithdrawal, "2/0", "w")
    assert returned == (WithdrawalReturned("w", "2/0", "USDC", 500 * USDC, "requested", "", 0, 0),)
    assert indebted.cash("2/0") == cash_units + 500 * USDC
    assert list(indebted.state.queued) == []
    again = indebted.send(cm.CancelWithdrawal, "2/0", "w")
    assert reason(again) is RejectReason.WITHDRAWAL_ALREADY_RETURNED
    indebted.wait(31 * MINUTE)
    indebted.attest()
    assert not [one for one in indebted.tick() if isinstance(one, WithdrawalReserved)]


def test_r31_what_comes_back_repays_a_borrow_first(indebted: Exchange) -> None:
    """R11, R31: as with any payout that comes back."""
    indebted.open("3/0", "4/0")
    indebted.must(cm.SetLending, "3/0", 0, 1, 1)
    indebted.deposit("3/0", 1_000 * USDC)
    indebted.deposit("3/0", 100 * SOL, "SOL")
    indebted.deposit("4/0", 2_000 * USDC)
    indebted.must(cm.Lend, "4/0", "USDC", 1_000 * USDC)
    indebted.attest()
    (waiting,) = indebted.withdraw("3/0", 500 * USDC, id="w").events  # type: ignore[union-attr]
    assert isinstance(waiting, WithdrawalQueued)
    indebted.must(cm.Borrow, "3/0", "USDC", 100 * USDC)
    kinds = [type(one).__name__ for one in indebted.must(cm.CancelWithdrawal, "3/0", "w")]
    assert kinds == ["WithdrawalReturned", "Repaid"]
    assert indebted.owed("3/0") == 0


def held_by_both_gates(exchange: Exchange) -> int:
    """Let 2/0 owe 100 that nobody covers, 10 s ago, to 1/0, whose pool has stood at 1,000 for a day; give the
    end of the pool gate. 1/0's 900 of then 1,100 are small to neither gate: 200 < 75% of 1,000.
    """
    exchange.prices(150)
    exchange.backstop()
    exchange.deposit("2/0", 100 * USDC)
    assert isinstance(exchange.trade("2/0", "1/0", 10 * SOL, 150), Accepted)
    exchange.prices(130)
    assert isinstance(exchange.trade("1/0", "90/0", 10 * SOL, 130), Accepted)
    exchange.tick()
    exchange.wait(10)
    exchange.attest()
    assert exchange.cash("1/0") == 1_100 * USDC
    until_ns = gate_status(exchange.state, "USDC", exchange.now_ns).pool_gate_until_ns
    assert until_ns == exchange.now_ns + (30 * MINUTE - 10) * SECOND
    return until_ns


def test_r31_r32_when_both_gates_hold_the_velocity_guard_may_end_later(
    make_exchange: type[Exchange],
) -> None:
    """R31, R32: 30 minutes less 10 seconds against 24 hours: the guard's end is told, and kept."""
    exchange = grown(make_exchange, 24)
    pool_until_ns = held_by_both_gates(exchange)
    outcome = exchange.withdraw("1/0", 900 * USDC, id="w")
    assert isinstance(outcome, Accepted)
    (queued,) = outcome.events
    assert isinstance(queued, WithdrawalQueued)
    assert (queued.gate, queued.until_ns) == ("velocity", exchange.now_ns + 24 * HOUR * SECOND)
    exchange.now_ns = pool_until_ns
    exchange.attest()
    assert exchange.state.withdrawals["w"].status == "queued"


def test_r31_r32_when_both_gates_hold_the_pool_gate_may_end_later(make_exchange: type[Exchange]) -> None:
    """R31, R32: with a guard of 10 minutes at most, the pool gate's 29 minutes and 50 seconds count."""
    params = replace(default_params(), velocity_max_ns=10 * MINUTE * SECOND)
    exchange = grown(make_exchange, 24, params)
    pool_until_ns = held_by_both_gates(exchange)
    outcome = exchange.withdraw("1/0", 900 * USDC, id="w")
    assert isinstance(outcome, Accepted)
    (queued,) = outcome.events
    assert isinstance(queued, WithdrawalQueued)
    assert (queued.gate, queued.until_ns) == ("pool", pool_until_ns)
    exchange.wait(11 * MINUTE)
    exchange.attest()
    assert exchange.state.withdrawals["w"].status == "queued"
    exchange.now_ns = pool_until_ns
    exchange.attest()
    assert exchange.state.withdrawals["w"].status == "reserved"


def test_r32_a_tenth_of_a_percent_of_the_pool_is_not_small(indebted: Exchange) -> None:
    """R32: "less than 0.1%": 2 of 2,000 are queued, one unit less is ordered."""
    assert indebted.state.totals.cash_units["USDC"] == 2_000 * USDC
    indebted.attest()
    for units, kind in ((2 * USDC, WithdrawalQueued), (2 * USDC - 1, WithdrawalReserved)):
        outcome = indebted.withdraw("2/0", units)
        assert isinstance(outcome, Accepted)
        assert [type(one) for one in outcome.events] == [kind]
        indebted.deposit("2/0", units)


def test_r31_i8_a_debt_by_interest_alone_turns_a_queued_withdrawal_back(
    make_exchange: type[Exchange],
) -> None:
    """R31, I8: between two ticks nobody looks who fails; what waits is not ordered all the same.

    SOL costs 10,000% a year and needs next to no margin. 1/0 owes 4 SOL ($600) and has $1,000, of which
    399.99 wait: 0.01 is left. After a minute 600 x 100 x 60 / 31,536,000 = 0.114155 of interest is due,
    which somebody's loan makes accrue: 1/0 is 0.104156 below zero (the units owed and their value round up)
    when reserves are attested. Its money comes back.
    """
    dear = LendingParams(
        borrow_limit_units=1_000 * SOL,
        rate_at_zero_ppm=10**8,
        rate_at_optimal_ppm=10**8,
        rate_at_full_ppm=10**8,
        base_imf_ppm=1,
        imf_factor_e12=0,
        base_mmf_ppm=1,
        mmf_factor_e12=0,
    )
    base = default_params()
    assets = tuple([replace(one, lending=dear) if one.symbol == "SOL" else one for one in base.assets])
    exchange = grown(make_exchange, 24, replace(base, assets=assets, auto_lend_default=0))
    exchange.prices(150)
    exchange.open("1/1", "3/0")
    exchange.deposit("3/0", 101 * SOL, "SOL")
    exchange.must(cm.Lend, "3/0", "SOL", 100 * SOL)
    exchange.must(cm.Borrow, "1/0", "SOL", 4 * SOL)
    exchange.must(cm.Transfer, "1/0", "1/1", "SOL", 4 * SOL)
    outcome = exchange.withdraw("1/0", 399_990_000, id="w")
    assert isinstance(outcome, Accepted) and list(exchange.state.queued) == ["w"]
    exchange.wait(60)
    exchange.must(cm.Lend, "3/0", "SOL", SOL)
    assert exchange.state.liquidations == {}
    assert margin_of(exchange.state, "1/0").account_value_usd6 == -104_156
    events = exchange.attest()
    assert (
        WithdrawalReturned("w", "1/0", "USDC", 399_990_000, "outstanding_negative_equity", "", 0, 0) in events
    )
    assert exchange.cash("1/0") == 1_000 * USDC
