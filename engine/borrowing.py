"""The commands of borrow-lend and what they are judged by (R10, R11, R19).

Rules: a borrow needs initial margin afterwards, fresh prices, a limit not exceeded, and a pool below its
throttle that stays below its maximum. When a pool is too small, cash that is to be lent by itself comes in
first. The pool is judged with its interest up to now, margins at the indices of the last accrual. Must not
know what the borrowed units are for.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine import commands as cm
from engine.events import Event, LendingSet
from engine.fixed import midpoint_up
from engine.ledger import emit
from engine.lending import borrow, idle_lenders, lend, redeem, repay
from engine.margin import (
    Margin,
    margin_with,
    meets_initial_margin,
    meets_maintenance_margin,
    needs_stale_collateral,
)
from engine.outcome import Accepted, Outcome, Rejected
from engine.pool import (
    borrowable_units,
    free_units,
    is_throttled,
    lent_units,
    owed_units,
    redeemable_units,
)
from engine.prices import stale_collateral_of, stale_price_of
from engine.rejects import RejectReason
from engine.state import State, Subaccount
from engine.units import MAX_UNITS, SETTLEMENT_ASSET, SubaccountId


def set_lending(state: State, command: cm.SetLending) -> Outcome:
    """Set what happens by itself (R10, R11). Rejects: unknown_subaccount, system_account_not_allowed."""
    fault = _who_fault(state, command.subaccount)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    choices = (bool(command.auto_lend), bool(command.auto_borrow), bool(command.auto_repay))
    emit(state, out, LendingSet(command.subaccount, *choices))
    return Accepted(tuple(out))


def lend_by_command(state: State, command: cm.Lend) -> Outcome:
    """Lend free cash (R10). Rejects: those of `_request_fault`, below_minimum, insufficient_settled_cash."""
    fault = _request_fault(state, command)
    if fault is not None:
        return fault
    params = state.assets[command.asset]
    if command.units < params.minimum_deposit_units:
        return Rejected(RejectReason.BELOW_MINIMUM, f"the minimum is {params.minimum_deposit_units} units")
    one = state.subaccounts[command.subaccount]
    if one.id in state.liquidations:
        return Rejected(RejectReason.IN_LIQUIDATION)
    free = free_units(one, command.asset)
    if command.units > free:
        return Rejected(RejectReason.INSUFFICIENT_SETTLED_CASH, would_pass_units=free)
    # No refusal below this line.
    out: list[Event] = []
    lend(state, one, command.asset, command.units, out)
    return Accepted(tuple(out))


def redeem_by_command(state: State, command: cm.Redeem) -> Outcome:
    """Redeem lent units (R10).

    Rejects: those of `_request_fault`, insufficient_lent_balance, utilization_above_throttle,
    utilization_above_maximum.
    """
    fault = _request_fault(state, command)
    if fault is not None:
        return fault
    asset, one = command.asset, state.subaccounts[command.subaccount]
    lent = lent_units(state, one, asset)
    redeemable = redeemable_units(state, one, asset)
    if command.units > lent:
        return Rejected(RejectReason.INSUFFICIENT_LENT_BALANCE, would_pass_units=min(lent, redeemable))
    if is_throttled(state, asset):
        return Rejected(RejectReason.UTILIZATION_ABOVE_THROTTLE)
    if command.units > redeemable:
        return Rejected(RejectReason.UTILIZATION_ABOVE_MAXIMUM, would_pass_units=redeemable)
    # No refusal below this line.
    out: list[Event] = []
    redeem(state, one, asset, command.units, out)
    return Accepted(tuple(out))


def borrow_by_command(state: State, command: cm.Borrow) -> Outcome:
    """Borrow into cash (R11, R19).

    Rejects: those of `_request_fault`, below_minimum, price_unavailable, those of `borrow_fault`, then of
    `pool_fault`. Where the pool is too small for it, idle cash of others is lent first.
    """
    fault = _request_fault(state, command)
    if fault is not None:
        return fault
    asset, params = command.asset, state.assets[command.asset]
    if command.units < params.minimum_deposit_units:
        return Rejected(RejectReason.BELOW_MINIMUM, f"the minimum is {params.minimum_deposit_units} units")
    if asset != SETTLEMENT_ASSET and asset not in state.index_prices:
        return Rejected(RejectReason.PRICE_UNAVAILABLE, asset)
    one = state.subaccounts[command.subaccount]
    fault = borrow_fault(state, one, asset, command.units)
    if fault is not None:
        return fault
    lenders: list[tuple[Subaccount, int]] = []
    if pool_fault(state, asset, command.units) is not None:
        lenders = [lender for lender in idle_lenders(state, asset) if lender[0] is not one]
        fault = pool_fault(state, asset, command.units, [units for _, units in lenders])
        if fault is not None:
            return fault
    # No refusal below this line.
    out: list[Event] = []
    for lender, units in lenders:
        lend(state, lender, asset, units, out)
    borrow(state, one, asset, command.units, out)
    return Accepted(tuple(out))


def repay_by_command(state: State, command: cm.Repay) -> Outcome:
    """Repay a borrow, at most what is owed (R11); more than is owed repays all.

    Rejects: those of `_request_fault`, insufficient_settled_cash, nothing_borrowed.
    """
    fault = _request_fault(state, command)
    if fault is not None:
        return fault
    asset, one = command.asset, state.subaccounts[command.subaccount]
    owed = owed_units(state, one, asset)
    if not owed:
        return Rejected(RejectReason.NOTHING_BORROWED)
    available = free_units(one, asset) + lent_units(state, one, asset)
    if min(command.units, owed) > available:
        return Rejected(RejectReason.INSUFFICIENT_SETTLED_CASH, would_pass_units=available)
    # No refusal below this line.
    out: list[Event] = []
    repay(state, one, asset, command.units, out)
    return Accepted(tuple(out))


def borrow_fault(state: State, one: Subaccount, asset: str, units: int) -> Rejected | None:
    """Find what a subaccount's condition has against borrowing units of an asset that has a price (R19).

    Gives: in_liquidation, outstanding_negative_equity, insufficient_initial_margin, borrow_limit_exceeded,
    stale_price.
    """
    margin = margin_with(state, one)
    if one.id in state.liquidations or (margin.exposure_usd6 and not meets_maintenance_margin(margin)):
        return Rejected(RejectReason.IN_LIQUIDATION)
    if margin.account_value_usd6 < 0 or one.id in state.debts:
        return Rejected(RejectReason.OUTSTANDING_NEGATIVE_EQUITY, f"{-margin.account_value_usd6} usd6")
    after = margin_after_borrow(state, one, asset, units)
    stale = stale_price_of(state, one, also=asset)
    if not meets_initial_margin(after) and not needs_stale_collateral(after):
        reason, detail = RejectReason.INSUFFICIENT_INITIAL_MARGIN, ""
    elif units > _room_units(state, one, asset):
        reason, detail = RejectReason.BORROW_LIMIT_EXCEEDED, ""
    elif stale or needs_stale_collateral(after):
        reason, detail = RejectReason.STALE_PRICE, stale or stale_collateral_of(state, one)
    else:
        return None
    # While what is owed rests on a stale price no amount passes, so none is named.
    passing_units = None if stale else _passing_units(state, one, asset)
    return Rejected(reason, detail, would_pass_units=passing_units)


def pool_fault(state: State, asset: str, units: int, more: Sequence[int] = ()) -> Rejected | None:
    """Find what the pool has against lending units out, as if more amounts were lent to it before (R10).

    Gives: utilization_above_throttle, utilization_above_maximum.
    """
    if is_throttled(state, asset, more):
        return Rejected(RejectReason.UTILIZATION_ABOVE_THROTTLE)
    borrowable = borrowable_units(state, asset, more)
    if units > borrowable:
        return Rejected(RejectReason.UTILIZATION_ABOVE_MAXIMUM, would_pass_units=borrowable)
    return None


def borrow_automatically(state: State, one: Subaccount, asset: str, units: int, out: list[Event]) -> bool:
    """Borrow units when auto_borrow is on and nothing is against it, wholly or not at all (R11, R26)."""
    if units <= 0 or not one.auto_borrow or one.id in state.debts or one.is_system:
        return False
    # What costs least is asked first. Initial margin afterwards implies all else that `borrow_fault` asks.
    if (
        units > _room_units(state, one, asset)
        or one.id in state.liquidations
        or pool_fault(state, asset, units) is not None
    ):
        return False
    if not _has_margin_for(state, one, asset, units) or stale_price_of(state, one, also=asset):
        return False
    borrow(state, one, asset, units, out)
    return True


def plan_funding(
    state: State, one: Subaccount, asset: str, units: int, *, may_borrow: bool
) -> tuple[int, int] | None:
    """Plan how free cash of units comes about: (to redeem, to borrow); None when it cannot (R11).

    What is lent first, as the pool allows; then a borrow, when auto_borrow is on, the limit and the pool
    allow it and no price is stale. The margin after it is for the caller to ask.
    """
    short = units - free_units(one, asset)
    if short <= 0:
        return 0, 0
    to_redeem = min(short, redeemable_units(state, one, asset))
    to_borrow = short - to_redeem
    if not to_borrow:
        return to_redeem, 0
    if not (may_borrow and one.auto_borrow) or (
        asset != SETTLEMENT_ASSET and asset not in state.index_prices
    ):
        return None
    if (
        to_borrow > _room_units(state, one, asset)
        or pool_fault(state, asset, to_borrow, [-to_redeem]) is not None
    ):
        return None
    return None if stale_price_of(state, one, also=asset) else (to_redeem, to_borrow)


def fund(state: State, one: Subaccount, asset: str, to_redeem: int, to_borrow: int, out: list[Event]) -> None:
    """Do what `plan_funding` planned."""
    redeem(state, one, asset, to_redeem, out)
    if to_borrow:
        borrow(state, one, asset, to_borrow, out)


def max_borrow_units(state: State, subaccount: SubaccountId, asset: str) -> int:
    """Say how much a subaccount could borrow of an asset now: its margin, its limit and the pool with idle
    cash of others. Raises KeyError for unknown names.
    """
    one, _ = state.subaccounts[subaccount], state.assets[asset]
    if one.is_system or (asset != SETTLEMENT_ASSET and asset not in state.index_prices):
        return 0
    if borrow_fault(state, one, asset, 0) is not None:
        return 0
    return _passing_units(state, one, asset)


def _passing_units(state: State, one: Subaccount, asset: str) -> int:
    """Give the most that margin, limit and the pool with idle cash of others let a subaccount borrow."""
    more = [units for lender, units in idle_lenders(state, asset) if lender is not one]
    if is_throttled(state, asset, more):
        return 0
    borrowable = borrowable_units(state, asset, more)
    return max(0, min(_room_units(state, one, asset), borrowable, margin_for_units(state, one, asset)))


def _room_units(state: State, one: Subaccount, asset: str) -> int:
    """Give what the borrow limit leaves; negative when interest has carried the borrow beyond it."""
    return state.assets[asset].lending.borrow_limit_units - owed_units(state, one, asset)


def margin_for_units(state: State, one: Subaccount, asset: str) -> int:
    """Find the largest borrow that leaves initial margin, by bisection; the lower end always passes."""
    low, high = 0, state.assets[asset].lending.borrow_limit_units + 1
    if not _has_margin_for(state, one, asset, 0):
        return 0
    while low + 1 < high:
        middle = midpoint_up(low, high)
        if _has_margin_for(state, one, asset, middle):
            low = middle
        else:
            high = middle
    return low


def _has_margin_for(state: State, one: Subaccount, asset: str, units: int) -> bool:
    """Tell whether initial margin is met after borrowing units into cash (R19)."""
    return meets_initial_margin(margin_after_borrow(state, one, asset, units))


def margin_after_borrow(state: State, one: Subaccount, asset: str, units: int) -> Margin:
    """Compute the margin as if units were borrowed into cash."""
    if asset == SETTLEMENT_ASSET:
        return margin_with(state, one, usdc_units=units, owed_asset=asset, owed_more_units=units)
    return margin_with(state, one, asset=asset, asset_units=units, owed_asset=asset, owed_more_units=units)


def _request_fault(state: State, command: cm.Lend | cm.Redeem | cm.Borrow | cm.Repay) -> Rejected | None:
    """Find what is wrong with who, what and how much.

    Gives: unknown_subaccount, system_account_not_allowed, unknown_asset, amount_not_positive,
    amount_too_large.
    """
    fault = _who_fault(state, command.subaccount)
    if fault is not None:
        return fault
    if command.asset not in state.assets:
        return Rejected(RejectReason.UNKNOWN_ASSET)
    if command.units <= 0:
        return Rejected(RejectReason.AMOUNT_NOT_POSITIVE)
    return Rejected(RejectReason.AMOUNT_TOO_LARGE) if command.units > MAX_UNITS else None


def _who_fault(state: State, subaccount: SubaccountId) -> Rejected | None:
    one = state.subaccounts.get(subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED) if one.is_system else None
