"""The zero price: where a position in liquidation is closed so that its share of the equity is used up (R23).

Rules: a subaccount's equity is shared out to its positions by their maintenance margins. Positive net equity
is released to whoever takes the position; a negative account value is what the other side is asked for (R24).
Between the two (collateral that is worth something, but does not count in full) the zero price is the mark.
Pure; must not know who takes a position.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.fixed import (
    midpoint_up,
    notional_up_usd6,
    ppm_of_up,
    price_distance_down_e8,
    scale_down,
    scale_up,
)
from engine.margin import (
    maintenance_ratio_ppm,
    margin_with,
    meets_maintenance_margin,
    position_value_usd6,
)
from engine.state import Price, State, Subaccount
from engine.units import MAX_PRICE_E8, SubaccountId


@dataclass(frozen=True, slots=True)
class ZeroShare:
    """What closing a whole position at its zero price moves against a close at mark; at most one is not 0.

    released_usd6 is paid by the subaccount, missing_usd6 is asked of the other side.
    """

    released_usd6: int = 0
    missing_usd6: int = 0


@dataclass(frozen=True, slots=True)
class ClosedAtMark:
    """What closing at mark does to quotes, so that neither side gains or loses; `rounding` takes the rest."""

    quote_usd6: int
    counterparty_quote_usd6: int
    rounding_usd6: int


def zero_share(state: State, one: Subaccount, market: str) -> ZeroShare:
    """Give a position's share of the equity (R23, R24).

    released = floor(net equity x maintenance margin of the position / of the subaccount) if net equity > 0;
    missing = ceil(-account value x the same ratio) if account value < 0.
    """
    margin = margin_with(state, one)
    total_usd6 = margin.maintenance_margin_usd6
    part_usd6 = position_maintenance_usd6(state, market, one.positions[market].base_units)
    if part_usd6 == 0:
        return ZeroShare()
    if margin.account_value_usd6 < 0:
        return ZeroShare(missing_usd6=scale_up(-margin.account_value_usd6, part_usd6, total_usd6))
    if margin.net_equity_usd6 > 0:
        return ZeroShare(released_usd6=scale_down(margin.net_equity_usd6, part_usd6, total_usd6))
    return ZeroShare()


def bankruptcy_price_e8(state: State, subaccount: SubaccountId, market: str) -> int:
    """Give the zero price of a position at the present prices (R23), 0 when no price above 0 uses it up.

    mark - floor(share x 10^(decimals + 2) / |base|) for a long, plus for a short. Raises KeyError when there
    is no such position.
    """
    one = state.subaccounts[subaccount]
    base_units = one.positions[market].base_units
    if base_units == 0:
        raise KeyError(market)
    share = zero_share(state, one, market)
    return max(0, moved_price_e8(state, market, base_units, base_units, share))


def liquidation_price_e8(state: State, subaccount: SubaccountId, market: str) -> int:
    """Give the mark nearest the present one at which a subaccount would fail (R20) if nothing but this mark
    moved, for display; the present mark when it fails already, 0 when no mark against the position does it.

    By bisection between the present mark and the end of all prices. Raises KeyError when there is no such
    position.
    """
    one = state.subaccounts[subaccount]
    base_units = one.positions[market].base_units
    if base_units == 0:
        raise KeyError(market)
    mark_e8 = state.mark_prices[market].price_e8
    supposed = replace(state, mark_prices=dict(state.mark_prices))

    def fails(price_e8: int) -> bool:
        supposed.mark_prices[market] = Price(price_e8, state.last_time_ns)
        return not meets_maintenance_margin(margin_with(supposed, one))

    if fails(mark_e8):
        return mark_e8
    failing_e8, good_e8 = (1 if base_units > 0 else MAX_PRICE_E8), mark_e8
    if not fails(failing_e8):
        return 0
    while abs(good_e8 - failing_e8) > 1:
        middle_e8 = midpoint_up(min(good_e8, failing_e8), max(good_e8, failing_e8) - 1)
        if fails(middle_e8):
            failing_e8 = middle_e8
        else:
            good_e8 = middle_e8
    return failing_e8


def moved_price_e8(state: State, market: str, base_units: int, units: int, moved: ZeroShare) -> int:
    """Give the price at which units of a long (base > 0) or short position go when an amount is moved besides
    the close at mark.
    """
    decimals = state.assets[state.markets[market].asset].decimals
    distance_e8 = price_distance_down_e8(moved.released_usd6 or moved.missing_usd6, abs(units), decimals)
    against = (base_units > 0) == (moved.missing_usd6 == 0)
    return state.mark_prices[market].price_e8 + (-distance_e8 if against else distance_e8)


def position_maintenance_usd6(state: State, market: str, base_units: int) -> int:
    """Give the maintenance margin of a position (R18): ceil(exposure x MMF)."""
    params = state.markets[market]
    decimals = state.assets[params.asset].decimals
    exposure_usd6 = notional_up_usd6(abs(base_units), state.mark_prices[market].price_e8, decimals)
    return ppm_of_up(exposure_usd6, maintenance_ratio_ppm(params, exposure_usd6))


def markets_by_maintenance(state: State, one: Subaccount) -> list[str]:
    """List the markets with base, largest maintenance margin of the position first, ties by symbol (R22)."""
    ranked = [
        (-position_maintenance_usd6(state, market, position.base_units), market)
        for market, position in one.positions.items()
        if position.base_units
    ]
    return [market for _, market in sorted(ranked)]


def close_at_mark(
    state: State, one: Subaccount, counterparty: Subaccount, market: str, base_units: int
) -> ClosedAtMark:
    """Plan a move of base_units from the counterparty to one: each side's quote changes by the value of its
    base at mark before less after.
    """
    quote_usd6 = _value_given(state, one, market, base_units)
    counterparty_quote_usd6 = _value_given(state, counterparty, market, -base_units)
    return ClosedAtMark(quote_usd6, counterparty_quote_usd6, -quote_usd6 - counterparty_quote_usd6)


def _value_given(state: State, one: Subaccount, market: str, base_units: int) -> int:
    position = one.positions.get(market)
    before = 0 if position is None else position.base_units
    return position_value_usd6(state, market, before) - position_value_usd6(
        state, market, before + base_units
    )
