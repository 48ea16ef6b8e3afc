"""R28, R29, D10: deposits settle negative equity first, to the unit; previews tell the truth; hold waits."""

from __future__ import annotations

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected
from engine.deposits import preview_deposit
from engine.events import (
    DebtEnded,
    DepositApplied,
    DepositHeld,
    DepositReturned,
    PnlSettled,
    WithdrawalPaid,
    WithdrawalReturned,
)
from engine.invariants import expected_holdings_units, liabilities_units
from engine.ledger import post
from engine.margin import outstanding_negative_equity_usd6
from engine.rejects import RejectReason
from engine.snapshot import dump_state
from tests.engine.conftest import SOL, USDC, Exchange


def test_r28_without_debt_all_is_credited(exchange: Exchange) -> None:
    event = exchange.deposit("1/0", 5 * USDC)
    assert (event.applied_units, event.credited_units, event.outstanding_before_usd6) == (0, 5 * USDC, 0)
    assert exchange.cash("1/0") == 5 * USDC


@pytest.mark.parametrize(
    ("units", "applied", "credited"),
    [
        (400 * USDC, 400 * USDC, 0),
        (1_000 * USDC - 1, 1_000 * USDC - 1, 0),
        (1_000 * USDC, 1_000 * USDC, 0),
        (1_000 * USDC + 1, 1_000 * USDC, 1),
        (2**64 - 1, 1_000 * USDC, 2**64 - 1 - 1_000 * USDC),
    ],
)
def test_r28_usdc_pays_the_debt_one_for_one(
    indebted: Exchange, units: int, applied: int, credited: int
) -> None:
    event = indebted.must(cm.Deposit, "1/0", "USDC", units, "wallet")[0]
    assert isinstance(event, DepositApplied)
    assert (event.deposited_units, event.applied_units, event.applied_usd6) == (units, applied, applied)
    assert (event.credited_units, event.rate_e8) == (credited, 10**8)
    assert (event.outstanding_before_usd6, event.outstanding_after_usd6) == (
        1_000 * USDC,
        1_000 * USDC - applied,
    )
    assert (indebted.cash("1/0"), indebted.unsettled("1/0")) == (credited, applied - 1_000 * USDC)
    assert indebted.cash("settlement_pool") == applied
    assert ("1/0" in indebted.state.debts) == (applied < 1_000 * USDC)


def test_r28_another_asset_pays_at_index_less_haircut_units_rounded_up(indebted: Exchange) -> None:
    """R28: SOL at 130 less 5% is 123.5; 1000 / 123.5 = 8.097165991902834.. SOL, rounded up to the lamport."""
    event = indebted.must(cm.Deposit, "1/0", "SOL", 10 * SOL, "w")[0]
    assert (event.rate_e8, event.applied_usd6, event.applied_units) == (
        12_350_000_000,
        1_000 * USDC,
        8_097_165_992,
    )
    assert event.credited_units == 10 * SOL - 8_097_165_992
    # The units are the fund's; it had no USDC, so it owes the pool, and the customer owes nothing.
    assert (event.fund_paid_usd6, event.fund_owed_usd6) == (0, 1_000 * USDC)
    assert (indebted.cash("insurance_fund", "SOL"), indebted.unsettled("insurance_fund")) == (
        8_097_165_992,
        -1_000 * USDC,
    )
    assert (indebted.unsettled("1/0"), indebted.cash("1/0", "SOL")) == (0, 10 * SOL - 8_097_165_992)
    # The fund's later income pays that first.
    paid = indebted.deposit("insurance_fund", 1_500 * USDC)
    assert (paid.applied_usd6, paid.credited_units) == (1_000 * USDC, 500 * USDC)
    indebted.tick()
    assert (indebted.cash("2/0"), indebted.unsettled("2/0")) == (3_000 * USDC, 0)


def test_r28_the_fund_pays_at_once_as_far_as_it_has(indebted: Exchange) -> None:
    indebted.deposit("insurance_fund", 100 * USDC)
    event = indebted.must(cm.Deposit, "1/0", "SOL", SOL, "w")[0]
    assert (event.applied_usd6, event.fund_paid_usd6, event.fund_owed_usd6) == (
        123_500_000,
        100 * USDC,
        23_500_000,
    )
    assert (event.applied_units, event.credited_units) == (SOL, 0)
    assert indebted.cash("insurance_fund") == 0


def test_r28_an_asset_without_a_price_is_credited_and_collected_later(make_exchange: type[Exchange]) -> None:
    exchange = make_exchange()
    exchange.open("1/0", "2/0")
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 150 * 10**8),))
    exchange.backstop()
    exchange.deposit("90/0", 1_000 * USDC)
    exchange.deposit("1/0", 40 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.must(cm.UpdatePrices, (), (("SOL-PERP", 140 * 10**8),))
    event = exchange.deposit("1/0", SOL, "SOL")
    assert (event.applied_usd6, event.rate_e8, event.credited_units) == (0, 0, SOL)
    refused = exchange.withdraw("1/0", SOL // 2, "SOL")
    assert isinstance(refused, Rejected) and refused.reason is RejectReason.OUTSTANDING_NEGATIVE_EQUITY
    exchange.must(cm.UpdatePrices, (("SOL", 100 * 10**8),), ())
    exchange.tick()
    assert (exchange.unsettled("1/0"), exchange.cash("1/0", "SOL")) == (0, SOL - 631_578_948)


def test_r28_positions_are_marked_first(exchange: Exchange) -> None:
    """R28: an outstanding that is still unrealized is realized, then paid.

    1/0 enters liquidation at 141 with 10 of 19.035, 90 realized; its next step is due in a second. Before
    that the mark falls to 130: 110 more, unrealized.
    """
    exchange.deposit("1/0", 100 * USDC)
    exchange.deposit("2/0", 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.prices(141)
    exchange.now_ns += 1
    exchange.prices(130)
    assert (exchange.base("1/0"), exchange.unsettled("1/0")) == (10 * SOL, -90 * USDC)
    assert outstanding_negative_equity_usd6(exchange.state, "1/0") == 100 * USDC
    preview = preview_deposit(exchange.state, "1/0", "USDC", 150 * USDC)
    events = exchange.must(cm.Deposit, "1/0", "USDC", 150 * USDC, "w")
    assert events[0] == PnlSettled("1/0", "SOL-PERP", -110 * USDC, 130 * 10**8)
    assert (events[1].applied_usd6, events[1].credited_units) == (100 * USDC, 50 * USDC)
    assert (preview.applied_usd6, preview.credited_units, preview.being_liquidated) == (
        100 * USDC,
        50 * USDC,
        True,
    )


def test_r28_debt_never_crosses_to_another_subaccount(indebted: Exchange) -> None:
    indebted.open("1/1")
    event = indebted.deposit("1/1", 500 * USDC)
    assert (event.applied_usd6, event.credited_units) == (0, 500 * USDC)
    assert indebted.unsettled("1/0") == -1_000 * USDC


@pytest.mark.parametrize("asset", ["USDC", "SOL", "BTC"])
@pytest.mark.parametrize("units", [0, 1, 999, 100_000, 7_777_777_777, 2**64 - 1])
def test_r29_preview_is_exactly_what_happens(indebted: Exchange, asset: str, units: int) -> None:
    before = dump_state(indebted.state)
    preview = preview_deposit(indebted.state, "1/0", asset, units)
    assert dump_state(indebted.state) == before
    assert preview.next_settlement_ns == indebted.state.last_tick_ns + 10 * 10**9
    outcome = indebted.send(cm.Deposit, "1/0", asset, units, "w")
    if isinstance(outcome, Rejected):
        assert outcome.reason in (RejectReason.BELOW_MINIMUM, RejectReason.AMOUNT_NOT_POSITIVE)
        return
    event = outcome.events[0]
    assert isinstance(event, DepositApplied)
    for name in (
        "applied_units",
        "applied_usd6",
        "rate_e8",
        "credited_units",
        "outstanding_before_usd6",
        "outstanding_after_usd6",
    ):
        assert getattr(preview, name) == getattr(event, name), name
    assert preview.held is False


def test_r29_preview_tells_what_the_fund_will_cover(indebted: Exchange) -> None:
    assert preview_deposit(indebted.state, "1/0", "USDC", USDC).fund_covers_usd6 == 0
    indebted.deposit("insurance_fund", 300 * USDC)
    assert preview_deposit(indebted.state, "1/0", "USDC", USDC).fund_covers_usd6 == 300 * USDC
    indebted.tick()
    assert indebted.unsettled("1/0") == -700 * USDC


def test_r29_preview_refuses_nonsense(indebted: Exchange) -> None:
    for name, asset in (("9/9", "USDC"), ("1/0", "DOGE")):
        with pytest.raises(KeyError):
            preview_deposit(indebted.state, name, asset, 1)
    for units in (-1, 2**64):
        with pytest.raises(ValueError, match="units"):
            preview_deposit(indebted.state, "1/0", "USDC", units)


def hold(exchange: Exchange, units: int = 300 * USDC, asset: str = "USDC") -> str:
    exchange.must(cm.SetOnDebt, "1/0", "hold")
    assert preview_deposit(exchange.state, "1/0", asset, units).held is True
    event = exchange.must(cm.Deposit, "1/0", asset, units, "sender")[0]
    assert isinstance(event, DepositHeld)
    return str(event.deposit_id)


def test_r29_held_is_a_liability_and_nobodys_collateral(indebted: Exchange) -> None:
    before = liabilities_units(indebted.state)["USDC"]
    hold(indebted)
    assert outstanding_negative_equity_usd6(indebted.state, "1/0") == 1_000 * USDC
    assert indebted.cash("1/0") == 0
    assert (
        liabilities_units(indebted.state)["USDC"]
        == before + 300 * USDC
        == expected_holdings_units(indebted.state)["USDC"]
    )
    indebted.tick()
    assert indebted.unsettled("1/0") == -1_000 * USDC


def test_r29_accepting_applies_it(indebted: Exchange) -> None:
    deposit_id = hold(indebted, 1_200 * USDC)
    event = indebted.must(cm.AcceptHeldDeposit, deposit_id)[0]
    assert (event.applied_usd6, event.credited_units, event.was_held) == (1_000 * USDC, 200 * USDC, True)
    assert indebted.state.held == {} and indebted.cash("1/0") == 200 * USDC
    again = indebted.send(cm.AcceptHeldDeposit, deposit_id)
    assert isinstance(again, Rejected) and again.reason is RejectReason.UNKNOWN_DEPOSIT


def test_r29_held_is_released_when_the_debt_is_gone(indebted: Exchange) -> None:
    hold(indebted)
    indebted.deposit("insurance_fund", 1_000 * USDC)
    released = [event for event in indebted.tick() if isinstance(event, DepositApplied)]
    assert [(event.applied_usd6, event.credited_units, event.was_held) for event in released] == [
        (0, 300 * USDC, True)
    ]
    assert indebted.cash("1/0") == 300 * USDC


def test_r29_another_deposit_that_ends_the_debt_releases_it(indebted: Exchange) -> None:
    hold(indebted)
    indebted.must(cm.SetOnDebt, "1/0", "apply")
    events = indebted.must(cm.Deposit, "1/0", "USDC", 1_000 * USDC, "w")
    assert [type(event) for event in events] == [DepositApplied, DebtEnded, DepositApplied]
    assert indebted.cash("1/0") == 300 * USDC


def test_r29_accepting_one_that_ends_the_debt_releases_the_others(indebted: Exchange) -> None:
    first, second = hold(indebted, 1_000 * USDC), hold(indebted, 50 * USDC)
    events = indebted.must(cm.AcceptHeldDeposit, first)
    assert [type(event) for event in events] == [DepositApplied, DebtEnded, DepositApplied]
    assert (events[2].deposit_id, indebted.cash("1/0"), indebted.state.held) == (second, 50 * USDC, {})


def test_r29_returning_costs_the_network_fee_and_happens_once(indebted: Exchange) -> None:
    """R29, I10: 10,000 lamports at $130 are 1300 usd6; the charge is the operator's and pays the network."""
    indebted.deposit("fees", SOL, "SOL")
    deposit_id = hold(indebted)
    event = indebted.must(cm.ReturnHeldDeposit, deposit_id, 10_000, id="return-1")[0]
    assert event == DepositReturned(
        "return-1", deposit_id, "1/0", "USDC", 300 * USDC - 1_300, 1_300, 0, "sender"
    )
    assert (indebted.cash("fees"), indebted.state.totals.pending_units["USDC"]) == (1_300, 300 * USDC - 1_300)
    paid = indebted.must(cm.ConfirmWithdrawal, "return-1", "sig", 9_000)[0]
    assert isinstance(paid, WithdrawalPaid)
    assert indebted.cash("fees", "SOL") == SOL - 9_000
    for kind, extra in ((cm.ConfirmWithdrawal, ("sig", 0)), (cm.ReturnWithdrawal, ("late", 0))):
        again = indebted.send(kind, "return-1", *extra)
        assert isinstance(again, Rejected) and again.reason is RejectReason.WITHDRAWAL_ALREADY_PAID


def test_r29_a_return_that_fails_on_chain_is_held_again(indebted: Exchange) -> None:
    deposit_id = hold(indebted, 2 * SOL, "SOL")
    event = indebted.must(cm.ReturnHeldDeposit, deposit_id, 5_000, id="return-1")[0]
    assert (event.units, event.charged_units) == (2 * SOL - 5_000, 5_000)
    returned = indebted.must(cm.ReturnWithdrawal, "return-1", "account frozen", 5_000)[0]
    assert isinstance(returned, WithdrawalReturned) and returned.held_deposit_id == deposit_id
    assert indebted.cash("fees", "SOL") == 0
    assert indebted.state.held[deposit_id].units == 2 * SOL - 5_000
    assert indebted.state.held[deposit_id].sender == "sender"
    indebted.must(cm.ReturnHeldDeposit, deposit_id, 5_000, id="return-2")


def test_r8_network_fees_beyond_the_operators_sol_are_owed_and_collected_first(exchange: Exchange) -> None:
    """I1: what the operator owes for network fees is public and taken from the next SOL credited to
    `fees`.
    """
    exchange.deposit("1/0", 10 * USDC)
    exchange.attest()
    assert isinstance(exchange.withdraw("1/0", 5 * USDC, id="w"), Accepted)
    paid = exchange.must(cm.ConfirmWithdrawal, "w", "sig", 2_000_000)[0]
    assert paid.network_fee_owed_units == 2_000_000 == exchange.state.network_fees_owed_units
    assert expected_holdings_units(exchange.state)["SOL"] == -2_000_000
    event = exchange.deposit("fees", 5_000_000, "SOL")
    assert (event.network_fees_collected_units, exchange.cash("fees", "SOL")) == (2_000_000, 3_000_000)
    assert exchange.state.network_fees_owed_units == 0
    assert expected_holdings_units(exchange.state) == liabilities_units(exchange.state)


def test_r4_a_refused_deposit_can_be_credited_later_an_accepted_one_only_once(exchange: Exchange) -> None:
    refused = exchange.send(cm.Deposit, "3/0", "USDC", USDC, "w", id="sig:account:mint")
    assert isinstance(refused, Rejected) and refused.reason is RejectReason.UNKNOWN_SUBACCOUNT
    exchange.open("3/0")
    first = exchange.send(cm.Deposit, "3/0", "USDC", USDC, "w", id="sig:account:mint")
    exchange.wait(5)
    again = exchange.send(cm.Deposit, "3/0", "USDC", USDC, "w", id="sig:account:mint")
    assert (
        isinstance(first, Accepted) and again == first and (first.recorded, again.recorded) == (True, False)
    )
    other = exchange.send(cm.Deposit, "3/0", "USDC", 2 * USDC, "w", id="sig:account:mint")
    assert isinstance(other, Rejected) and other.reason is RejectReason.ID_REUSED_WITH_DIFFERENT_BODY
    assert exchange.cash("3/0") == USDC


def test_r4_a_customer_cannot_block_a_deposit_by_using_its_id(exchange: Exchange) -> None:
    exchange.withdraw("1/0", USDC, id="sig:account:mint")
    assert isinstance(exchange.send(cm.Deposit, "2/0", "USDC", USDC, "w", id="sig:account:mint"), Accepted)


def test_events_alone_reproduce_a_deposit(indebted: Exchange) -> None:
    """R5: posting the event to a copy of the state gives the same balances."""
    from engine.snapshot import load_state

    copy = load_state(dump_state(indebted.state))
    events = indebted.must(cm.Deposit, "1/0", "SOL", 10 * SOL, "w")
    copy.last_time_ns = indebted.now_ns
    for event in events:
        post(copy, event)
    assert copy.subaccounts == indebted.state.subaccounts and copy.totals == indebted.state.totals
