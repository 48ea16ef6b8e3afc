"""Withdrawals: the gate of R30 in its order, queueing, and each payout's exactly-once end (I10).

Theory of operation. A request either is refused, or its units leave the subaccount's cash at once and are
`pending`:

    request ──> queued ──> reserved ──> paid       the payout is final on chain
       │           │           └──────> returned   it never will be: back to cash, or held again
       │           └──────────────────> returned   a debt arose, or losses needed the units
       └──────────────────> reserved

Reserved is the order to pay; only the chain's finding (Confirm, Return) ends it. Must not know how a payout
is sent.
"""

from __future__ import annotations

from engine.collateral import asset_value_usd6, collateral_value_usd6
from engine.commands import (
    CancelWithdrawal,
    ConfirmWithdrawal,
    PayNetworkFee,
    RequestWithdrawal,
    ReturnWithdrawal,
)
from engine.events import (
    Event,
    NetworkFeePaid,
    WithdrawalPaid,
    WithdrawalQueued,
    WithdrawalReserved,
    WithdrawalReturned,
)
from engine.fixed import midpoint_up
from engine.gates import queue_for, reserves_fault
from engine.ledger import emit
from engine.lending import redeem_shortage, repay_incoming
from engine.margin import Margin, margin_with, meets_maintenance_margin, outstanding_of
from engine.outcome import Accepted, Outcome, Rejected
from engine.pool import available_units, balance_units
from engine.prices import is_stale, stale_collateral_of, stale_price_of
from engine.rejects import RejectReason
from engine.state import State, Subaccount, Withdrawal
from engine.units import FEES, MAX_UNITS, NETWORK_FEE_ASSET, SubaccountId


def request_withdrawal(state: State, command: RequestWithdrawal) -> Outcome:
    """Check a withdrawal by R30, first failure wins, then queue it or order the payout.

    Rejects: unknown_subaccount, system_account_not_allowed, unknown_asset, amount_not_positive,
    amount_too_large, below_minimum, destination_invalid, those of `cash_out_fault`, reserves_not_attested,
    reserves_insufficient.
    """
    one = state.subaccounts.get(command.subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if one.is_system:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    fault = amount_fault(state, command.asset, command.units)
    if fault is not None:
        return fault
    minimum_units = state.assets[command.asset].minimum_withdrawal_units
    if command.units < minimum_units:
        return Rejected(RejectReason.BELOW_MINIMUM, f"the minimum is {minimum_units} units")
    if command.destination_fault:
        return Rejected(RejectReason.DESTINATION_INVALID, command.destination_fault)
    fault = cash_out_fault(state, one, command.asset, command.units)
    if fault is not None:
        return fault
    level_units = state.totals.cash_units[command.asset]
    gate, until_ns = queue_for(state, command.asset, command.units, level_units, command.time_ns)
    if not gate:
        fault = reserves_fault(state, command.asset)
        if fault is not None:
            return fault
    # No refusal below this line.
    out: list[Event] = []
    redeem_shortage(state, one, command.asset, command.units, out)
    common = (command.id, one.id, command.asset, command.units, command.destination)
    if gate:
        emit(state, out, WithdrawalQueued(*common, gate=gate, until_ns=until_ns))
    else:
        emit(state, out, WithdrawalReserved(*common, was_queued=False))
    return Accepted(tuple(out))


def amount_fault(state: State, asset: str, units: int) -> Rejected | None:
    """Find what is wrong with an amount. Gives: unknown_asset, amount_not_positive, amount_too_large."""
    if asset not in state.assets:
        return Rejected(RejectReason.UNKNOWN_ASSET)
    if units <= 0:
        return Rejected(RejectReason.AMOUNT_NOT_POSITIVE)
    if units > MAX_UNITS:
        return Rejected(RejectReason.AMOUNT_TOO_LARGE)
    return None


def cash_out_fault(state: State, one: Subaccount, asset: str, units: int) -> Rejected | None:
    """Find what a subaccount's condition has against taking cash out of it (R30, R19).

    Gives: in_liquidation, outstanding_negative_equity, uncollected_loss, insufficient_settled_cash,
    insufficient_initial_margin, stale_price. A subaccount whose account value is negative without positions
    is not called in liquidation: nothing is left to close, its debt is what stands in the way.
    """
    margin = margin_with(state, one)
    if one.id in state.liquidations or (margin.exposure_usd6 and not meets_maintenance_margin(margin)):
        return Rejected(RejectReason.IN_LIQUIDATION)
    if outstanding_of(state, one):
        return Rejected(RejectReason.OUTSTANDING_NEGATIVE_EQUITY, f"{-margin.account_value_usd6} usd6")
    if one.unsettled_usd6 < 0:
        return Rejected(
            RejectReason.UNCOLLECTED_LOSS,
            f"{-one.unsettled_usd6} usd6",
            retry_at_ns=state.next_settlement_ns() or None,
        )
    held_units = balance_units(state, one, asset)
    stale = stale_price_of(state, one)
    reason = None
    if units > available_units(state, one, asset):
        reason = RejectReason.INSUFFICIENT_SETTLED_CASH
    elif not _leaves_initial_margin(state, margin, asset, held_units, units):
        reason = RejectReason.INSUFFICIENT_INITIAL_MARGIN
    elif stale or not _leaves_initial_margin(state, margin, asset, held_units, units, vouched=True):
        reason = RejectReason.STALE_PRICE
    if reason is None:
        return None
    # While what is owed rests on a stale price no amount passes, so none is named.
    passing_units = None if stale else _passing_units(state, one, margin, asset)
    detail = (stale or stale_collateral_of(state, one)) if reason is RejectReason.STALE_PRICE else ""
    return Rejected(reason, detail, would_pass_units=passing_units)


def withdrawable_units(state: State, subaccount: SubaccountId, asset: str) -> int:
    """Say how much the subaccount's own condition lets out of an asset now; 0 when something forbids any.

    The exchange's gates are not asked (`gate_status` tells them). The amount passes; when the weight of the
    asset depends on the amount, a slightly larger one might, by the rounding of the weight. Raises KeyError
    for unknown names.
    """
    one, _ = state.subaccounts[subaccount], state.assets[asset]
    if one.is_system or cash_out_fault(state, one, asset, 0) is not None:
        return 0
    return _passing_units(state, one, margin_with(state, one), asset)


def release_queued(state: State, now_ns: int, out: list[Event]) -> None:
    """Order the payouts that the gates now let through, in the order of arrival (R31, R32).

    At until_ns the gates have no more say. A debt that arose meanwhile turns the withdrawal back (I8);
    reserves are asked every time (R33a).
    """
    for withdrawal_id in list(state.queued):
        queued = state.withdrawals[withdrawal_id]
        if outstanding_of(state, state.subaccounts[queued.subaccount]):
            emit(state, out, _returned(queued, "outstanding_negative_equity", 0, 0))
            continue
        if now_ns < queued.until_ns:
            # Its units have already left the pool's cash.
            level_units = state.totals.cash_units[queued.asset] + queued.units
            if queue_for(state, queued.asset, queued.units, level_units, now_ns)[0]:
                continue
        if reserves_fault(state, queued.asset) is None:
            emit(
                state,
                out,
                WithdrawalReserved(
                    queued.withdrawal_id,
                    queued.subaccount,
                    queued.asset,
                    queued.units,
                    queued.destination,
                    was_queued=True,
                ),
            )


def confirm_withdrawal(state: State, command: ConfirmWithdrawal) -> Outcome:
    """Book a payout as final on chain, once (I10). Rejects: as `_open_fault`."""
    fault = _open_fault(state, command.withdrawal_id)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    paid = state.withdrawals[command.withdrawal_id]
    emit(
        state,
        out,
        WithdrawalPaid(
            withdrawal_id=paid.withdrawal_id,
            subaccount=paid.subaccount,
            asset=paid.asset,
            units=paid.units,
            destination=paid.destination,
            signature=command.signature,
            network_fee_units=command.network_fee_units,
            network_fee_owed_units=_fee_not_covered(state, command.network_fee_units),
        ),
    )
    return Accepted(tuple(out))


def return_withdrawal(state: State, command: ReturnWithdrawal) -> Outcome:
    """Give a payout's units back, once (I10): to cash, or to held deposits. Rejects: as `_open_fault`."""
    fault = _open_fault(state, command.withdrawal_id)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    returned = state.withdrawals[command.withdrawal_id]
    owed_units = _fee_not_covered(state, command.network_fee_units)
    emit(state, out, _returned(returned, command.reason, command.network_fee_units, owed_units))
    if not returned.held_deposit_id:
        one = state.subaccounts[returned.subaccount]
        repay_incoming(state, one, returned.asset, returned.units, out)
    return Accepted(tuple(out))


def cancel_withdrawal(state: State, command: CancelWithdrawal) -> Outcome:
    """Give a queued withdrawal's units back to cash because its owner asks (R31).

    Rejects: unknown_withdrawal (also of another subaccount), withdrawal_already_ordered, _paid, _returned.
    """
    queued = state.withdrawals.get(command.withdrawal_id)
    if queued is None or queued.subaccount != command.subaccount:
        return Rejected(RejectReason.UNKNOWN_WITHDRAWAL)
    if queued.status != "queued":
        return Rejected(_NOT_OPEN.get(queued.status, RejectReason.WITHDRAWAL_ALREADY_ORDERED))
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, _returned(queued, "requested", 0, 0))
    repay_incoming(state, state.subaccounts[queued.subaccount], queued.asset, queued.units, out)
    return Accepted(tuple(out))


def pay_network_fee(state: State, command: PayNetworkFee) -> Outcome:
    """Book what a transaction that pays nobody cost, from the cash of `fees`, else as owed (I1). Rejects:
    nothing: the chain has spoken.
    """
    owed_units = _fee_not_covered(state, command.network_fee_units)
    # No refusal below this line.
    out: list[Event] = []
    emit(
        state,
        out,
        NetworkFeePaid(command.purpose, command.signature, command.network_fee_units, owed_units),
    )
    return Accepted(tuple(out))


def _open_fault(state: State, withdrawal_id: str) -> Rejected | None:
    """Find why a payout cannot end now: unknown, still queued, already paid, already returned."""
    known = state.withdrawals.get(withdrawal_id)
    if known is None:
        return Rejected(RejectReason.UNKNOWN_WITHDRAWAL)
    reason = _NOT_OPEN.get(known.status)
    return None if reason is None else Rejected(reason)


_NOT_OPEN = {
    "queued": RejectReason.WITHDRAWAL_QUEUED,
    "paid": RejectReason.WITHDRAWAL_ALREADY_PAID,
    "returned": RejectReason.WITHDRAWAL_ALREADY_RETURNED,
}


def _returned(one: Withdrawal, reason: str, fee_units: int, owed_units: int) -> WithdrawalReturned:
    return WithdrawalReturned(
        withdrawal_id=one.withdrawal_id,
        subaccount=one.subaccount,
        asset=one.asset,
        units=one.units,
        reason=reason,
        held_deposit_id=one.held_deposit_id,
        network_fee_units=fee_units,
        network_fee_owed_units=owed_units,
    )


def _fee_not_covered(state: State, fee_units: int) -> int:
    return max(0, fee_units - state.subaccounts[FEES].cash.get(NETWORK_FEE_ASSET, 0))


def _leaves_initial_margin(
    state: State, margin: Margin, asset: str, cash_units: int, units: int, *, vouched: bool = False
) -> bool:
    """Tell whether withdrawal equity without these units still meets initial margin (R30), with or without
    collateral that has a stale index (R17).
    """
    equity_usd6 = margin.withdrawal_equity_usd6
    if vouched:
        equity_usd6 -= margin.stale_collateral_usd6
        index = state.index_prices.get(asset)
        if index is not None and is_stale(state, index):
            return equity_usd6 >= margin.initial_margin_usd6
    lost_usd6 = _weighted(state, asset, cash_units) - _weighted(state, asset, cash_units - units)
    return equity_usd6 - lost_usd6 >= margin.initial_margin_usd6


def _passing_units(state: State, one: Subaccount, margin: Margin, asset: str) -> int:
    """Find the largest amount that leaves initial margin, by bisection; the lower end always passes."""
    cash_units, most_units = balance_units(state, one, asset), available_units(state, one, asset)
    if _leaves_initial_margin(state, margin, asset, cash_units, most_units, vouched=True):
        return most_units
    low, high = 0, most_units
    if not _leaves_initial_margin(state, margin, asset, cash_units, 0, vouched=True):
        return 0
    while low + 1 < high:
        middle = midpoint_up(low, high)
        if _leaves_initial_margin(state, margin, asset, cash_units, middle, vouched=True):
            low = middle
        else:
            high = middle
    return low


def _weighted(state: State, asset: str, units: int) -> int:
    return collateral_value_usd6(state.assets[asset], asset_value_usd6(state, asset, units), units)
