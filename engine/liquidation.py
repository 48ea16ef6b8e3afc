"""What happens to a subaccount below maintenance margin (R20).

Until the three-stage waterfall exists, `close_at_mark` is all there is: position by position, the largest
maintenance margin first, against opposite holders at mark, the lowest margin fraction first, ties in
canonical order, until the subaccount has recovered or nothing is left. Then its loss is collected at once,
and if a debt is left the subaccount is bankrupt.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cmp_to_key
from heapq import heapify, heappop, heappush
from typing import Any

from engine.events import Event, PositionClosed
from engine.insurance import declare_if_bankrupt
from engine.ledger import emit
from engine.margin import (
    compare_margin_fractions,
    is_recovered,
    margin_with,
    meets_maintenance_margin,
    position_value_usd6,
)
from engine.settlement import cancel_queued, collect, settle_positions
from engine.state import State, Subaccount
from engine.units import OrderKey, SubaccountId

# (margin fraction, canonical order, version, who): no two share the first three.
_Entry = tuple[Any, OrderKey, int, Subaccount]
_by_margin_fraction = cmp_to_key(compare_margin_fractions)


class Ranking:
    """Holders of each side of each market by margin fraction, lowest first, ties in canonical order.

    Good for one command: prices must not change while it lives. A side is ranked when it is first asked for;
    after that only those whose balances changed are ranked anew, so that a crash of n subaccounts costs n log
    n and not n squared.
    """

    def __init__(self, state: State) -> None:
        """Rank nothing yet."""
        self._state = state
        self._sides: dict[tuple[str, bool], list[_Entry]] = {}
        self._versions: dict[SubaccountId, int] = {}

    def take_lowest(self, market: str, is_long: bool) -> Subaccount | None:
        """Take the holder with the lowest margin fraction off a side; None when nobody is left."""
        side = self._sides.get((market, is_long))
        if side is None:
            holders = [self._state.subaccounts[name] for name in self._state.holders[market]]
            side = [self._entry(one) for one in holders if _is_on_side(one, market, is_long)]
            heapify(side)
            self._sides[market, is_long] = side
        while side:
            _, _, version, one = heappop(side)
            if version == self._versions.get(one.id, 0) and _is_on_side(one, market, is_long):
                return one
        return None

    def changed(self, one: Subaccount) -> None:
        """Rank a holder anew wherever it is ranked, because its balances changed."""
        self._versions[one.id] = self._versions.get(one.id, 0) + 1
        for (market, is_long), side in self._sides.items():
            if _is_on_side(one, market, is_long):
                heappush(side, self._entry(one))

    def _entry(self, one: Subaccount) -> _Entry:
        fraction = _by_margin_fraction(margin_with(self._state, one))
        return fraction, one.order, self._versions.get(one.id, 0), one


def close_endangered(state: State, candidates: Iterable[Subaccount], out: list[Event]) -> bool:
    """Check candidates exactly, in the order given, and close those that fail R20. True if any was closed."""
    ranking: Ranking | None = None
    for one in candidates:
        if not meets_maintenance_margin(margin_with(state, one)):
            ranking = ranking or Ranking(state)
            close_at_mark(state, one, ranking, out)
    return ranking is not None


def close_at_mark(state: State, one: Subaccount, ranking: Ranking, out: list[Event]) -> None:
    """Close one endangered subaccount; the waterfall (R21-R24) will replace this function."""
    if state.queued:
        cancel_queued(state, one, out)
    settle_positions(state, one, out)
    for market in _by_maintenance_margin(state, one):
        if is_recovered(state, margin_with(state, one)):
            break
        _close_position(state, one, market, ranking, out)
    collect(state, one, out)
    declare_if_bankrupt(state, one, out)
    ranking.changed(one)


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


def _close_position(state: State, one: Subaccount, market: str, ranking: Ranking, out: list[Event]) -> None:
    base_units = one.positions[market].base_units
    is_long = base_units > 0
    while base_units:
        counterparty = ranking.take_lowest(market, not is_long)
        if counterparty is None:  # cannot be while Σ base = 0 (I2)
            return
        size = min(abs(base_units), abs(counterparty.positions[market].base_units))
        moved = -size if is_long else size
        settle_positions(state, counterparty, out)
        _trade_at_mark(state, one, counterparty, market, moved, out)
        ranking.changed(counterparty)
        base_units += moved


def _is_on_side(one: Subaccount, market: str, is_long: bool) -> bool:
    position = one.positions.get(market)
    return position is not None and position.base_units != 0 and (position.base_units > 0) == is_long


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
