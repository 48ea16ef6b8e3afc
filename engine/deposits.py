"""Deposits: negative equity first, the rest credited; previews; holding and returning (R28, R29).

Owns: the plan of a deposit, which the preview and the posting share, so that they cannot differ. Rules: a
deposit is never applied beyond the outstanding negative equity of its own subaccount; USDC pays one for one,
another asset at index less its haircut with units rounded up, and the units go to the insurance fund. Must
not know how the deposit was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.collateral import asset_value_usd6, conversion_rate_e8, plan_conversion
from engine.commands import AcceptHeldDeposit, Deposit, ReturnHeldDeposit
from engine.events import DepositApplied, DepositHeld, DepositReturned, Event
from engine.fixed import notional_divisor, notional_up_usd6, scale_down, units_for_usd6_up
from engine.insurance import end_settled_debts, fund_would_cover_usd6
from engine.ledger import emit
from engine.lending import accrue, index_e8, repay_incoming, take_over_borrow
from engine.margin import (
    liability_usd6,
    margin_with,
    meets_maintenance_margin,
    outstanding_of,
    realized_usd6,
)
from engine.outcome import Accepted, Outcome, Rejected
from engine.pool import owed_units, plan_repayment, repay_shares
from engine.prices import is_stale
from engine.rejects import RejectReason
from engine.settlement import fund_pays_usd6, settle_positions
from engine.state import HeldDeposit, State, Subaccount
from engine.units import (
    FEES,
    MAX_UNITS,
    NETWORK_FEE_ASSET,
    OPERATOR_ACCOUNTS,
    SETTLEMENT_ASSET,
    SubaccountId,
)

# Applied units, applied usd6, rate; of it: units that repay a borrow of the same asset, worth usd6 at index.
_Plan = tuple[int, int, int, int, int]
_HELD: _Plan = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class DepositPreview:
    """What a deposit would do now (R29).

    fund_covers_usd6 is what the insurance fund would pay of the debt at the next tick if nothing were
    deposited. next_settlement_ns is 0 before the first tick.
    """

    applied_units: int
    applied_usd6: int
    rate_e8: int
    credited_units: int
    outstanding_before_usd6: int
    outstanding_after_usd6: int
    held: bool
    next_settlement_ns: int
    fund_covers_usd6: int
    being_liquidated: bool


def preview_deposit(state: State, subaccount: SubaccountId, asset: str, units: int) -> DepositPreview:
    """Say exactly what R28 would do with a deposit now; changes nothing.

    Raises KeyError for an unknown subaccount or asset and ValueError for an amount outside 0..2^64-1.
    """
    one, _ = state.subaccounts[subaccount], state.assets[asset]
    if not 0 <= units <= MAX_UNITS:
        raise ValueError("units must be 0 to 2^64-1")
    outstanding_usd6 = _outstanding(one, state, asset)
    held = outstanding_usd6 > 0 and one.on_debt == "hold"
    planned_units, planned_usd6, rate_e8, _, _ = (
        _HELD if held else _plan(state, one, asset, units, outstanding_usd6)
    )
    return DepositPreview(
        applied_units=planned_units,
        applied_usd6=planned_usd6,
        rate_e8=rate_e8,
        credited_units=0 if held else units - planned_units,
        outstanding_before_usd6=outstanding_usd6,
        outstanding_after_usd6=outstanding_usd6
        if held
        else _outstanding_after(state, asset, outstanding_usd6 - planned_usd6, units - planned_units),
        held=held,
        next_settlement_ns=state.next_settlement_ns(),
        fund_covers_usd6=0 if one.is_system else fund_would_cover_usd6(state, subaccount),
        being_liquidated=subaccount in state.liquidations
        or (not one.is_system and not meets_maintenance_margin(margin_with(state, one))),
    )


def deposit(state: State, command: Deposit) -> Outcome:
    """Post a deposit (R28) or hold it (R29).

    Rejects: unknown_subaccount, system_account_not_allowed, unknown_asset, amount_not_positive,
    amount_too_large, below_minimum.
    """
    one = state.subaccounts.get(command.subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if one.is_system and one.id not in OPERATOR_ACCOUNTS:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    params = state.assets.get(command.asset)
    if params is None:
        return Rejected(RejectReason.UNKNOWN_ASSET)
    units = command.units
    if units <= 0:
        return Rejected(RejectReason.AMOUNT_NOT_POSITIVE)
    if units > MAX_UNITS:
        return Rejected(RejectReason.AMOUNT_TOO_LARGE)
    if units < params.minimum_deposit_units:
        return Rejected(RejectReason.BELOW_MINIMUM, f"the minimum is {params.minimum_deposit_units} units")
    # No refusal below this line.
    out: list[Event] = []
    outstanding_usd6 = _outstanding(one, state, command.asset)
    if outstanding_usd6 and one.on_debt == "hold":
        emit(
            state,
            out,
            DepositHeld(command.id, one.id, command.asset, units, command.sender, outstanding_usd6),
        )
        return Accepted(tuple(out))
    incoming = HeldDeposit(command.id, one.id, command.asset, units, command.sender)
    _apply_deposit(state, one, incoming, outstanding_usd6, False, out)
    if state.held:
        release_held(state, out)
    return Accepted(tuple(out))


def accept_held(state: State, command: AcceptHeldDeposit) -> Outcome:
    """Post a held deposit as R28 would (R29). Rejects: unknown_deposit."""
    held = state.held.get(command.deposit_id)
    if held is None:
        return Rejected(RejectReason.UNKNOWN_DEPOSIT)
    # No refusal below this line.
    out: list[Event] = []
    one = state.subaccounts[held.subaccount]
    _apply_deposit(state, one, held, _outstanding(one, state, held.asset), True, out)
    release_held(state, out)
    return Accepted(tuple(out))


def return_held(state: State, command: ReturnHeldDeposit) -> Outcome:
    """Order the payout of a held deposit to its sender, less the network fee (R29).

    charged = fee for SOL; for another asset ceil(fee in usd6 rounded up / index price), units rounded up. It
    goes to `fees`, which pays the network. Rejects: unknown_deposit, destination_invalid, price_unavailable,
    stale_price, amount_below_network_fee.
    """
    held = state.held.get(command.deposit_id)
    if held is None:
        return Rejected(RejectReason.UNKNOWN_DEPOSIT)
    if not held.sender:
        return Rejected(RejectReason.DESTINATION_INVALID, "the sender is not known")
    for asset in (NETWORK_FEE_ASSET, held.asset):
        if held.asset != NETWORK_FEE_ASSET and asset != SETTLEMENT_ASSET and asset not in state.index_prices:
            return Rejected(RejectReason.PRICE_UNAVAILABLE, asset)
    for asset in (NETWORK_FEE_ASSET, held.asset):
        if (
            held.asset != NETWORK_FEE_ASSET
            and asset != SETTLEMENT_ASSET
            and is_stale(state, state.index_prices[asset])
        ):
            return Rejected(RejectReason.STALE_PRICE, asset)
    charged_units = _fee_in(state, held.asset, command.network_fee_units)
    if held.units <= charged_units:
        return Rejected(RejectReason.AMOUNT_BELOW_NETWORK_FEE)
    # No refusal below this line.
    out: list[Event] = []
    collected_units = (
        min(state.network_fees_owed_units, charged_units) if held.asset == NETWORK_FEE_ASSET else 0
    )
    emit(
        state,
        out,
        DepositReturned(
            withdrawal_id=command.id,
            deposit_id=held.deposit_id,
            subaccount=held.subaccount,
            asset=held.asset,
            units=held.units - charged_units,
            charged_units=charged_units,
            network_fees_collected_units=collected_units,
            destination=held.sender,
        ),
    )
    return Accepted(tuple(out))


def release_held(state: State, out: list[Event]) -> None:
    """Credit every held deposit whose subaccount's debt is gone (R29), in the order of arrival."""
    for held in list(state.held.values()):
        one = state.subaccounts[held.subaccount]
        if outstanding_of(state, one) == 0:
            _apply_deposit(state, one, held, 0, True, out)


def _outstanding(one: Subaccount, state: State, asset: str) -> int:
    """Give what a deposit may be applied to: outstanding negative equity, or what the fund owes the pool
    in USDC.
    """
    if not one.is_system:
        return outstanding_of(state, one)
    return max(0, -one.unsettled_usd6) if asset == SETTLEMENT_ASSET else 0


def _plan(state: State, one: Subaccount, asset: str, units: int, outstanding_usd6: int) -> _Plan:
    """Plan a deposit (R28): the unsettled debt first, then a borrow of the same asset, then other borrows.

    Between a mark and its settlement nothing else is asked.
    """
    rate_e8 = conversion_rate_e8(state, asset)
    if outstanding_usd6 == 0:
        return 0, 0, rate_e8, 0, 0
    params = state.assets[asset]
    if not one.borrowed:
        applied_units, applied_usd6 = plan_conversion(params, units, rate_e8, outstanding_usd6)
        return (applied_units, applied_usd6, rate_e8, 0, 0) if applied_usd6 else (0, 0, rate_e8, 0, 0)
    debt_usd6 = min(outstanding_usd6, max(0, -realized_usd6(state, one)))
    debt_units, debt_usd6 = plan_conversion(params, units, rate_e8, debt_usd6)
    if not debt_usd6:
        debt_units = 0
    left_usd6, left_units = outstanding_usd6 - debt_usd6, units - debt_units
    repaid_units, repaid_usd6 = plan_repayment(state, one, asset, left_units, left_usd6)
    left_usd6, left_units = left_usd6 - repaid_usd6, left_units - repaid_units
    others_usd6 = sum(
        [liability_usd6(state, name, owed_units(state, one, name)) for name in one.borrowed if name != asset]
    )
    more_units, more_usd6 = plan_conversion(params, left_units, rate_e8, min(left_usd6, others_usd6))
    if not more_usd6:
        more_units = 0
    applied_units = debt_units + repaid_units + more_units
    return applied_units, debt_usd6 + repaid_usd6 + more_usd6, rate_e8, repaid_units, repaid_usd6


def _outstanding_after(state: State, asset: str, left_usd6: int, credited_units: int) -> int:
    """Give what is outstanding after a deposit: what is credited although something is left counts at index
    (a coin that waits for a fresh one, or too little to convert).
    """
    return max(0, left_usd6 - asset_value_usd6(state, asset, credited_units)) if left_usd6 else 0


def _apply_deposit(
    state: State,
    one: Subaccount,
    incoming: HeldDeposit,
    outstanding_usd6: int,
    was_held: bool,
    out: list[Event],
) -> None:
    asset, units = incoming.asset, incoming.units
    applied_units, applied_usd6, rate_e8, repaid_units, repaid_usd6 = _plan(
        state, one, asset, units, outstanding_usd6
    )
    paid_usd6 = owed_usd6 = collected_units = repaid_shares = 0
    if applied_usd6:
        if one.positions:
            settle_positions(state, one, out)
        if asset != SETTLEMENT_ASSET:
            paid_usd6 = fund_pays_usd6(state, applied_usd6 - repaid_usd6)
            owed_usd6 = applied_usd6 - repaid_usd6 - paid_usd6
        if repaid_units:
            accrue(state, asset, out)
            repaid_shares = repay_shares(state, one, asset, repaid_units)
    if one.id == FEES and asset == NETWORK_FEE_ASSET:
        collected_units = min(state.network_fees_owed_units, units)
    emit(
        state,
        out,
        DepositApplied(
            deposit_id=incoming.deposit_id,
            subaccount=one.id,
            asset=asset,
            sender=incoming.sender,
            deposited_units=units,
            applied_units=applied_units,
            applied_usd6=applied_usd6,
            rate_e8=rate_e8,
            credited_units=units - applied_units,
            outstanding_before_usd6=outstanding_usd6,
            outstanding_after_usd6=_outstanding_after(
                state, asset, outstanding_usd6 - applied_usd6, units - applied_units
            ),
            fund_paid_usd6=paid_usd6,
            fund_owed_usd6=owed_usd6,
            network_fees_collected_units=collected_units,
            was_held=was_held,
            repaid_units=repaid_units,
            repaid_usd6=repaid_usd6,
            repaid_shares=repaid_shares,
        ),
    )
    if one.borrowed:
        if one.unsettled_usd6 > 0 and applied_usd6:
            _pay_other_borrows(state, one, asset, applied_usd6 - repaid_usd6, out)
        repay_incoming(state, one, asset, units - applied_units, out)
    if applied_usd6:
        end_settled_debts(state, out)


def _pay_other_borrows(state: State, one: Subaccount, asset: str, most_usd6: int, out: list[Event]) -> None:
    """Let the fund take over other borrows for what a deposit paid beyond the unsettled debt (R28)."""
    for name in sorted(one.borrowed):
        left_usd6 = min(one.unsettled_usd6, most_usd6)
        if name != asset and left_usd6 > 0:
            price_e8 = index_e8(state, name)
            units = scale_down(left_usd6, notional_divisor(state.assets[name].decimals), price_e8)
            most_usd6 -= take_over_borrow(state, one, name, units, price_e8, out)


def _fee_in(state: State, asset: str, network_fee_units: int) -> int:
    if asset == NETWORK_FEE_ASSET:
        return network_fee_units
    lamport_price = state.index_prices[NETWORK_FEE_ASSET].price_e8
    fee_usd6 = notional_up_usd6(network_fee_units, lamport_price, state.assets[NETWORK_FEE_ASSET].decimals)
    if asset == SETTLEMENT_ASSET:
        return fee_usd6
    return units_for_usd6_up(fee_usd6, state.index_prices[asset].price_e8, state.assets[asset].decimals)
