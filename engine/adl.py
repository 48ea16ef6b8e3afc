"""Stage 3: netting of positions in liquidation, then hedge-aware auto-deleveraging (R24).

Owns: who is reduced, in which order, by how much and at what price. Rules: positions in liquidation are first
closed against each other at mark. Then opposite holders are reduced, those first whose reduction lowers their
own net delta in the underlying, so that a hedge is not broken while an unhedged winner remains; lowest margin
fraction first. The price is the zero price of the liquidated side, but no holder gives more than the profit
his position has not settled yet. Must not know when a subaccount comes here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from heapq import heapify, heappop, heappush
from typing import Any

from engine.collateral import collateral_of
from engine.events import AutoDeleveraged, Event, PositionsNetted
from engine.fixed import fraction_key, notional_down_usd6, notional_up_usd6, scale_down, scale_up
from engine.ledger import emit
from engine.margin import liability_usd6, position_value_usd6
from engine.pool import lent_units, owed_units
from engine.stages import ADL, NETTING, count_fill
from engine.state import State, Subaccount
from engine.units import OrderKey, SubaccountId
from engine.zero_price import ZeroShare, close_at_mark, moved_price_e8, zero_share

REDUCES_DELTA = "reduces_delta"
HEDGE = "hedge"
_GROUPS = (REDUCES_DELTA, HEDGE)
# (group, margin fraction, -unrealized profit, canonical order, version, who): no two share the first five.
_Entry = tuple[int, int, int, OrderKey, int, Subaccount]
# How events call the subaccounts whose balances they change.
_NAMES = ("subaccount", "counterparty", "provider", "maker", "taker")
_NAMED_BY: dict[Any, tuple[str, ...]] = {}


@dataclass(frozen=True, slots=True)
class AdlRank:
    """A holder's place on his side of a market: rank 1 would be reduced first (R24).

    reducible_units is how much of the position would be taken at this rank: in the group "reduces_delta" at
    most the net delta; the rest would follow among the hedges.
    """

    subaccount: SubaccountId
    is_long: bool
    rank: int
    group: str
    base_units: int
    reducible_units: int


def adl_ranks(state: State, market: str) -> tuple[AdlRank, ...]:
    """Rank every holder of a market as R24 would reduce them now, longs first, then shorts.

    Those in liquidation are not ranked: they are netted. Raises KeyError for an unknown market.
    """
    ranks: list[AdlRank] = []
    for is_long in (True, False):
        side = sorted(
            [
                _entry(state, one, market, 0)
                for one in (state.subaccounts[name] for name in state.holders[market])
                if _is_on_side(one, market, is_long) and one.id not in state.liquidations
            ],
            key=lambda entry: entry[:4],
        )
        for rank, (group, _, _, _, _, one) in enumerate(side, start=1):
            base_units, cap = one.positions[market].base_units, _cap_units(state, one, market)
            ranks.append(AdlRank(one.id, is_long, rank, _GROUPS[group], base_units, cap))
    return tuple(ranks)


class Opposites:
    """Who may be closed against, per side of a market, in the orders of R24; good for one command.

    Prices must not change while it lives. A side is ranked when it is first asked for; after that only those
    whom an event has named since are ranked anew, so that a crash of n subaccounts costs n log n and not n
    squared.
    """

    def __init__(self, state: State, out: list[Event]) -> None:
        """Rank nothing yet; `out` is the answer that all changes of this command are appended to."""
        self._state = state
        self._out = out
        self._seen = len(out)
        self._sides: dict[tuple[str, bool], list[_Entry]] = {}
        self._versions: dict[SubaccountId, int] = {}
        self._liquidating: dict[tuple[str, bool], list[Subaccount]] = {}
        self._ranks: dict[tuple[str, bool], dict[SubaccountId, int]] = {}

    def in_liquidation(self, market: str, is_long: bool) -> Subaccount | None:
        """Give the one longest in liquidation on a side of a market; None when nobody is left there."""
        waiting = self._liquidating.get((market, is_long))
        if waiting is None:
            waiting = [self._state.subaccounts[name] for name in self._state.liquidations]
            waiting = [one for one in reversed(waiting) if _is_on_side(one, market, is_long)]
            self._liquidating[market, is_long] = waiting
        while waiting:
            one = waiting[-1]
            if one.id in self._state.liquidations and _is_on_side(one, market, is_long):
                return one
            waiting.pop()
        return None

    def first_holder(self, market: str, is_long: bool) -> Subaccount | None:
        """Give the holder whom R24 reduces first on a side of a market; None when nobody is left there."""
        self._rank_anew()
        side = self._sides.get((market, is_long))
        if side is None:
            holders = [self._state.subaccounts[name] for name in self._state.holders[market]]
            side = [self._entry_of(one, market) for one in holders if _is_on_side(one, market, is_long)]
            heapify(side)
            self._sides[market, is_long] = side
        while side:
            _, _, _, _, version, one = side[0]
            if version == self._versions.get(one.id, 0) and _is_on_side(one, market, is_long):
                return one
            heappop(side)
        return None

    def rank_of(self, market: str, is_long: bool, one: Subaccount) -> int:
        """Count how many different holders of a side this command has reduced, this one included."""
        ranks = self._ranks.setdefault((market, is_long), {})
        return ranks.setdefault(one.id, len(ranks) + 1)

    def _rank_anew(self) -> None:
        changed: dict[SubaccountId, None] = {}
        for event in self._out[self._seen :]:
            for name in _named_by(type(event)):
                changed[getattr(event, name)] = None
        self._seen = len(self._out)
        for subaccount in changed:
            one = self._state.subaccounts[subaccount]
            if one.is_system:
                continue
            self._versions[one.id] = self._versions.get(one.id, 0) + 1
            for (market, is_long), side in self._sides.items():
                if _is_on_side(one, market, is_long):
                    heappush(side, self._entry_of(one, market))

    def _entry_of(self, one: Subaccount, market: str) -> _Entry:
        return _entry(self._state, one, market, self._versions.get(one.id, 0))


def net_liquidatees(
    state: State, one: Subaccount, market: str, opposites: Opposites, out: list[Event]
) -> None:
    """Close a position against opposite ones in liquidation, in order of entry, at mark (R24)."""
    while base_units := _base(one, market):
        other = opposites.in_liquidation(market, base_units < 0)
        if other is None:
            return
        units = min(abs(base_units), abs(other.positions[market].base_units))
        moved_units = -units if base_units > 0 else units
        at_mark = close_at_mark(state, one, other, market, moved_units)
        emit(
            state,
            out,
            PositionsNetted(
                subaccount=one.id,
                counterparty=other.id,
                market=market,
                base_units=moved_units,
                mark_price_e8=state.mark_prices[market].price_e8,
                quote_usd6=at_mark.quote_usd6,
                counterparty_quote_usd6=at_mark.counterparty_quote_usd6,
                rounding_usd6=at_mark.rounding_usd6,
                base_left_units=base_units + moved_units,
            ),
        )
        count_fill(state, one, NETTING, market, units)


def auto_deleverage(
    state: State, one: Subaccount, market: str, opposites: Opposites, out: list[Event]
) -> None:
    """Close what is left of a position against opposite holders, in the order of R24, at the zero price."""
    whole_units = abs(_base(one, market))
    if not whole_units:
        return
    share = zero_share(state, one, market)
    missing_left_usd6 = share.missing_usd6
    while base_units := _base(one, market):
        holder = opposites.first_holder(market, base_units < 0)
        if holder is None:  # cannot be while Σ base = 0 (I2)
            return
        units = min(abs(base_units), _cap_units(state, holder, market))
        wanted_usd6 = min(missing_left_usd6, scale_up(share.missing_usd6, units, whole_units))
        missing_left_usd6 -= wanted_usd6
        moved = ZeroShare(
            scale_down(share.released_usd6, units, whole_units),
            min(wanted_usd6, _profit_on(state, holder, market, units)),
        )
        rank = opposites.rank_of(market, base_units < 0, holder)
        _reduce(state, one, holder, market, units, moved, wanted_usd6, rank, out)


def _reduce(
    state: State,
    one: Subaccount,
    holder: Subaccount,
    market: str,
    units: int,
    moved: ZeroShare,
    wanted_usd6: int,
    rank: int,
    out: list[Event],
) -> None:
    base_units = one.positions[market].base_units
    moved_units = -units if base_units > 0 else units
    at_mark = close_at_mark(state, one, holder, market, moved_units)
    forgone_usd6 = moved.missing_usd6 - moved.released_usd6
    emit(
        state,
        out,
        AutoDeleveraged(
            subaccount=one.id,
            counterparty=holder.id,
            market=market,
            base_units=moved_units,
            mark_price_e8=state.mark_prices[market].price_e8,
            price_e8=moved_price_e8(state, market, base_units, units, moved),
            quote_usd6=at_mark.quote_usd6 + forgone_usd6,
            counterparty_quote_usd6=at_mark.counterparty_quote_usd6 - forgone_usd6,
            rounding_usd6=at_mark.rounding_usd6,
            forgone_usd6=forgone_usd6,
            deficit_usd6=wanted_usd6 - moved.missing_usd6,
            group=_GROUPS[_group(state, holder, market)],
            rank=rank,
            base_left_units=base_units + moved_units,
        ),
    )
    count_fill(state, one, ADL, market, units)


def net_delta_units(state: State, one: Subaccount, asset: str) -> int:
    """Give a subaccount's net delta in an underlying: Σ base + cash + lent - borrowed of the asset (R24)."""
    delta = one.cash.get(asset, 0) + lent_units(state, one, asset) - owed_units(state, one, asset)
    for market, position in one.positions.items():
        if state.markets[market].asset == asset:
            delta += position.base_units
    return delta


def _entry(state: State, one: Subaccount, market: str, version: int) -> _Entry:
    profit_usd6 = _unrealized_usd6(state, one, market)
    return (
        _group(state, one, market),
        margin_fraction_key(state, one),
        -profit_usd6,
        one.order,
        version,
        one,
    )


def margin_fraction_key(state: State, one: Subaccount) -> int:
    """Order holders of positions by margin fraction = net equity / exposure (R19), exactly.

    The same two figures as `margin_with`, without the margins: a crash ranks every holder of a side at once.
    """
    equity_usd6, exposure_usd6 = collateral_of(state, one)[1] + one.unsettled_usd6, 0
    for market, position in one.positions.items():
        base_units = position.base_units
        equity_usd6 += position.quote_usd6
        if base_units:
            price_e8 = state.mark_prices[market].price_e8
            decimals = state.assets[state.markets[market].asset].decimals
            equity_usd6 += notional_down_usd6(base_units, price_e8, decimals)
            exposure_usd6 += notional_up_usd6(abs(base_units), price_e8, decimals)
    for asset in one.borrowed:
        liability = liability_usd6(state, asset, owed_units(state, one, asset))
        equity_usd6 -= liability
        exposure_usd6 += liability
    return fraction_key(equity_usd6, exposure_usd6)


def _group(state: State, one: Subaccount, market: str) -> int:
    """Give 0 when reducing the position lowers the holder's own net delta, 1 when it is a hedge."""
    delta_units = net_delta_units(state, one, state.markets[market].asset)
    base_units = one.positions[market].base_units
    return 0 if delta_units and (delta_units > 0) == (base_units > 0) else 1


def _cap_units(state: State, one: Subaccount, market: str) -> int:
    base_units = one.positions[market].base_units
    if _group(state, one, market):
        return abs(base_units)
    return min(abs(base_units), abs(net_delta_units(state, one, state.markets[market].asset)))


def _profit_on(state: State, one: Subaccount, market: str, units: int) -> int:
    """Give the unrealized profit on units of a position: floor(max(0, profit) x units / |base|)."""
    profit_usd6 = max(0, _unrealized_usd6(state, one, market))
    return scale_down(profit_usd6, units, abs(one.positions[market].base_units))


def _unrealized_usd6(state: State, one: Subaccount, market: str) -> int:
    position = one.positions[market]
    return position_value_usd6(state, market, position.base_units) + position.quote_usd6


def _base(one: Subaccount, market: str) -> int:
    position = one.positions.get(market)
    return 0 if position is None else position.base_units


def _is_on_side(one: Subaccount, market: str, is_long: bool) -> bool:
    base_units = _base(one, market)
    return base_units != 0 and (base_units > 0) == is_long


def _named_by(kind: type[Event]) -> tuple[str, ...]:
    names = _NAMED_BY.get(kind)
    if names is None:
        names = _NAMED_BY[kind] = tuple([one.name for one in fields(kind) if one.name in _NAMES])
    return names
