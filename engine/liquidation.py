"""What happens to a subaccount below maintenance margin (R20).

Until the three-stage waterfall exists, `close_at_mark` is all there is: position by position, the largest
maintenance margin first, against opposite holders at mark, the lowest margin fraction first, ties in
canonical order, until the subaccount has recovered or nothing is left. Then its loss is collected at once,
and if a debt is left the subaccount is bankrupt.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cmp_to_key

from engine.events import Event, PositionClosed
from engine.insurance import declare_if_bankrupt
from engine.ledger import emit
from engine.margin import (
    Margin,
    compare_margin_fractions,
    is_recovered,
    margin_with,
    meets_maintenance_margin,
    position_value_usd6,
)
from engine.settlement import cancel_queued, collect, settle_positions
from engine.state import State, Subaccount


def close_endangered(state: State, candidates: Iterable[Subaccount], out: list[Event]) -> bool:
    """Check candidates exactly, in the order given, and close those that fail R20. True if any was closed."""
    any_closed = False
    for one in candidates:
        if not meets_maintenance_margin(margin_with(state, one)):
            close_at_mark(state, one, out)
            any_closed = True
    return any_closed


def close_at_mark(state: State, one: Subaccount, out: list[Event]) -> None:
    """Close one endangered subaccount; the waterfall (R21-R24) will replace this function."""
    if state.queued:
        cancel_queued(state, one, out)
    settle_positions(state, one, out)
    for market in _by_maintenance_margin(state, one):
        if is_recovered(state, margin_with(state, one)):
            break
        _close_position(state, one, market, out)
    collect(state, one, out)
    declare_if_bankrupt(state, one, out)


def endangered_candidates(state: State) -> list[Subaccount]:
    """List everyone who could fail R20 after a price change: position holders and realized losers, in
    canonical order.
    """
    ids = dict.fromkeys(state.unsettled_holders)
    for market in state.markets:
        ids.update(state.holders[market])
    return [one for one in state.ordered(ids) if not one.is_system and one.id not in state.debts]


def _by_maintenance_margin(state: State, one: Subaccount) -> list[str]:
    def rank(market: str) -> tuple[int, str]:
        position = one.positions[market]
        without = margin_with(state, one, market=market, base_units=-position.base_units)
        return without.maintenance_margin_usd6, market

    # The market without which least maintenance margin is left is the one that needs most.
    return sorted([market for market in one.positions if one.positions[market].base_units], key=rank)


def _close_position(state: State, one: Subaccount, market: str, out: list[Event]) -> None:
    base_units = one.positions[market].base_units
    for counterparty in _opposite_holders(state, one, market):
        opposite_units = counterparty.positions[market].base_units
        size = min(abs(base_units), abs(opposite_units))
        moved = -size if base_units > 0 else size
        settle_positions(state, counterparty, out)
        _trade_at_mark(state, one, counterparty, market, moved, out)
        base_units += moved
        if base_units == 0:
            return


def _opposite_holders(state: State, one: Subaccount, market: str) -> list[Subaccount]:
    """List holders of the opposite side: lowest margin fraction first, ties in canonical order."""
    is_long = one.positions[market].base_units > 0
    holders: list[tuple[Margin, Subaccount]] = []
    for other in state.ordered(state.holders[market]):
        base_units = other.positions[market].base_units
        if base_units and (base_units > 0) != is_long:
            holders.append((margin_with(state, other), other))
    holders.sort(key=cmp_to_key(_lower_margin_fraction))
    return [other for _, other in holders]


def _lower_margin_fraction(first: tuple[Margin, Subaccount], second: tuple[Margin, Subaccount]) -> int:
    return compare_margin_fractions(first[0], second[0])


def _trade_at_mark(
    state: State, one: Subaccount, counterparty: Subaccount, market: str, base_units: int, out: list[Event]
) -> None:
    """Move base_units from the counterparty to one; each side's quote stays minus the value of its base at
    mark.
    """
    quote_usd6 = _quote_change(state, one, market, base_units)
    counterparty_quote_usd6 = _quote_change(state, counterparty, market, -base_units)
    emit(
        state,
        out,
        PositionClosed(
            subaccount=one.id,
            counterparty=counterparty.id,
            market=market,
            base_units=base_units,
            price_e8=state.mark_prices[market].price_e8,
            quote_usd6=quote_usd6,
            counterparty_quote_usd6=counterparty_quote_usd6,
            rounding_usd6=-quote_usd6 - counterparty_quote_usd6,
            base_left_units=one.positions[market].base_units + base_units,
        ),
    )


def _quote_change(state: State, one: Subaccount, market: str, base_units: int) -> int:
    before = one.positions[market].base_units
    return position_value_usd6(state, market, before) - position_value_usd6(
        state, market, before + base_units
    )
