"""Stage 2: backstop liquidity providers take positions over (R23).

Owns: providers, their capacities and windows, and how a position is shared out among them. Rules: pro rata to
what each can take; nobody is given more than leaves him his initial margin; at mark, and while the liquidated
side has net equity its share of it is released: two thirds to the provider, the rest to the insurance fund.
Must not know when a subaccount comes here, nor what happens to the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.commands import LeaveBackstop, RegisterBackstop, SetBackstopCapacity
from engine.events import BackstopCapacitySet, BackstopFilled, BackstopLeft, BackstopRegistered, Event
from engine.fixed import midpoint_up, notional_up_usd6, scale_down, share_out, units_for_usd6_down
from engine.ledger import emit
from engine.margin import margin_with, meets_initial_margin, position_value_usd6
from engine.outcome import Accepted, Outcome, Rejected
from engine.rejects import RejectReason
from engine.stages import BACKSTOP, count_fill
from engine.state import BackstopCapacity, State, Subaccount
from engine.units import NS_PER_SECOND, SubaccountId
from engine.zero_price import ZeroShare, close_at_mark, moved_price_e8, zero_share

MINUTE_NS = 60 * NS_PER_SECOND
HOUR_NS = 60 * MINUTE_NS
# Two thirds of what is released go to the provider (R23).
_PROVIDER_PARTS, _ALL_PARTS = 2, 3


@dataclass(frozen=True, slots=True)
class ProviderCapacity:
    """What one provider takes in one market, and how much of it is left at a time, in usd6 (R23)."""

    provider: SubaccountId
    market: str
    per_minute_usd6: int
    per_hour_usd6: int
    left_in_minute_usd6: int
    left_in_hour_usd6: int
    active: bool


def register_backstop(state: State, command: RegisterBackstop) -> Outcome:
    """Make a subaccount a provider, with no capacity yet (R23).

    Rejects: unknown_subaccount, system_account_not_allowed, already_backstop_provider.
    """
    one = state.subaccounts.get(command.subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if one.is_system:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    if one.id in state.backstops:
        return Rejected(RejectReason.ALREADY_BACKSTOP_PROVIDER)
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, BackstopRegistered(one.id))
    return Accepted(tuple(out))


def set_backstop_capacity(state: State, command: SetBackstopCapacity) -> Outcome:
    """Set a provider's capacity in a perpetual market (R23). What was used in the present windows stays used.

    Rejects: unknown_subaccount, system_account_not_allowed, unknown_market, not_backstop_provider,
    amount_negative.
    """
    fault = _provider_fault(state, command.subaccount)
    if fault is not None and fault.reason is not RejectReason.NOT_BACKSTOP_PROVIDER:
        return fault
    market = state.markets.get(command.market)
    if market is None or market.is_spot:
        return Rejected(RejectReason.UNKNOWN_MARKET)
    if fault is not None:
        return fault
    if command.per_minute_usd6 < 0 or command.per_hour_usd6 < 0:
        return Rejected(RejectReason.AMOUNT_NEGATIVE)
    # No refusal below this line.
    out: list[Event] = []
    emit(
        state,
        out,
        BackstopCapacitySet(
            command.subaccount, command.market, command.per_minute_usd6, command.per_hour_usd6
        ),
    )
    return Accepted(tuple(out))


def leave_backstop(state: State, command: LeaveBackstop) -> Outcome:
    """Stop being a provider (R23). Rejects: those of `_provider_fault`."""
    fault = _provider_fault(state, command.subaccount)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, BackstopLeft(command.subaccount))
    return Accepted(tuple(out))


def provider_capacities(state: State, now_ns: int) -> tuple[ProviderCapacity, ...]:
    """List every provider's capacities in canonical order, markets by symbol; what is left at a time.

    `active` is False while a provider is itself in liquidation or bankrupt. Initial margin may let it take
    less.
    """
    return tuple(
        [
            ProviderCapacity(
                one.id,
                market,
                capacity.per_minute_usd6,
                capacity.per_hour_usd6,
                max(0, capacity.per_minute_usd6 - _used_in_minute_usd6(capacity, now_ns)),
                max(0, capacity.per_hour_usd6 - _used_in_hour_usd6(capacity, now_ns)),
                _is_active(state, one),
            )
            for one in state.ordered(dict.fromkeys(state.backstops))
            for market, capacity in sorted(state.backstops[one.id].items())
        ]
    )


def take_by_backstop(state: State, one: Subaccount, market: str, out: list[Event]) -> None:
    """Let providers take a position, as far as they can (R23)."""
    base_units = one.positions[market].base_units
    able = [
        (provider, units)
        for provider in state.ordered(dict.fromkeys(state.backstops))
        if provider is not one and _is_active(state, provider)
        if (units := _takes_units(state, provider, market, base_units))
    ]
    if not able:
        return
    weights = [units for _, units in able]
    parts = share_out(min(abs(base_units), sum(weights)), weights)
    share_usd6 = zero_share(state, one, market).released_usd6
    for (provider, _), units in zip(able, parts, strict=True):
        if units:
            released_usd6 = scale_down(share_usd6, units, abs(base_units))
            _fill(state, one, provider, market, units if base_units < 0 else -units, released_usd6, out)


def _fill(
    state: State,
    one: Subaccount,
    provider: Subaccount,
    market: str,
    moved_units: int,
    released_usd6: int,
    out: list[Event],
) -> None:
    """Move units (signed, as the subaccount's base changes) to a provider."""
    at_mark = close_at_mark(state, one, provider, market, moved_units)
    provider_usd6 = scale_down(released_usd6, _PROVIDER_PARTS, _ALL_PARTS)
    emit(
        state,
        out,
        BackstopFilled(
            subaccount=one.id,
            provider=provider.id,
            market=market,
            base_units=moved_units,
            mark_price_e8=state.mark_prices[market].price_e8,
            price_e8=moved_price_e8(state, market, -moved_units, moved_units, ZeroShare(released_usd6)),
            quote_usd6=at_mark.quote_usd6 - released_usd6,
            provider_quote_usd6=at_mark.counterparty_quote_usd6 + provider_usd6,
            rounding_usd6=at_mark.rounding_usd6,
            released_usd6=released_usd6,
            provider_usd6=provider_usd6,
            fund_usd6=released_usd6 - provider_usd6,
            base_left_units=one.positions[market].base_units + moved_units,
        ),
    )
    _use(state, provider, market, abs(moved_units))
    count_fill(state, one, BACKSTOP, market, abs(moved_units))


def _provider_fault(state: State, subaccount: SubaccountId) -> Rejected | None:
    """Find why there is no such provider. Gives: unknown_subaccount, system_account_not_allowed,
    not_backstop_provider.
    """
    one = state.subaccounts.get(subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if one.is_system:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    return None if one.id in state.backstops else Rejected(RejectReason.NOT_BACKSTOP_PROVIDER)


def _is_active(state: State, provider: Subaccount) -> bool:
    return provider.id not in state.liquidations and provider.id not in state.debts


def _takes_units(state: State, provider: Subaccount, market: str, base_units: int) -> int:
    """Give how many units of a position a provider can take: its windows first, then its initial margin."""
    capacity = state.backstops[provider.id].get(market)
    if capacity is None:
        return 0
    now_ns = state.last_time_ns
    left_usd6 = min(
        capacity.per_minute_usd6 - _used_in_minute_usd6(capacity, now_ns),
        capacity.per_hour_usd6 - _used_in_hour_usd6(capacity, now_ns),
    )
    if left_usd6 <= 0:
        return 0
    decimals = state.assets[state.markets[market].asset].decimals
    price_e8 = state.mark_prices[market].price_e8
    high = units_for_usd6_down(left_usd6, price_e8, decimals)
    is_long = base_units > 0
    if _can_hold(state, provider, market, high if is_long else -high):
        return high
    low = 0
    while low + 1 < high:
        middle = midpoint_up(low, high)
        if _can_hold(state, provider, market, middle if is_long else -middle):
            low = middle
        else:
            high = middle
    return low


def _can_hold(state: State, provider: Subaccount, market: str, base_units: int) -> bool:
    """Tell whether a provider meets initial margin after taking base_units at mark."""
    position = provider.positions.get(market)
    before = 0 if position is None else position.base_units
    quote_usd6 = position_value_usd6(state, market, before) - position_value_usd6(
        state, market, before + base_units
    )
    after = margin_with(state, provider, market=market, base_units=base_units, quote_usd6=quote_usd6)
    return meets_initial_margin(after)


def _use(state: State, provider: Subaccount, market: str, units: int) -> None:
    """Book the notional at mark, rounded up, in both windows; one that has ended begins anew."""
    decimals = state.assets[state.markets[market].asset].decimals
    notional_usd6 = notional_up_usd6(units, state.mark_prices[market].price_e8, decimals)
    capacity, now_ns = state.backstops[provider.id][market], state.last_time_ns
    used_usd6 = _used_in_minute_usd6(capacity, now_ns)
    if not used_usd6:
        capacity.minute_since_ns = now_ns
    capacity.minute_used_usd6 = used_usd6 + notional_usd6
    used_usd6 = _used_in_hour_usd6(capacity, now_ns)
    if not used_usd6:
        capacity.hour_since_ns = now_ns
    capacity.hour_used_usd6 = used_usd6 + notional_usd6


def _used_in_minute_usd6(capacity: BackstopCapacity, now_ns: int) -> int:
    return capacity.minute_used_usd6 if now_ns - capacity.minute_since_ns < MINUTE_NS else 0


def _used_in_hour_usd6(capacity: BackstopCapacity, now_ns: int) -> int:
    return capacity.hour_used_usd6 if now_ns - capacity.hour_since_ns < HOUR_NS else 0
