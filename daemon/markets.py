"""What can be asked about markets, positions, pools and liquidations.

Owns: names checked before they are looked up, lists that are bounded, and how often all holders of a market
are looked at. Must not know: HTTP, how a view is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from daemon import market_views as views
from daemon.answers import listed, refusal
from daemon.api import market_bodies as mb
from daemon.clock import Clock
from daemon.runner import Runner
from daemon.store.rows import TradeRow
from engine.adl import AdlRank
from engine.markets import open_interest_units
from engine.params import Params
from engine.state import State

T = TypeVar("T")

LISTED_AT_MOST: Final = 1_000
MOST_LEVELS: Final = 500
# What looks at all holders of a market takes the writer's time: beyond this many, at most a twentieth of it.
_ASKED_EVERY_TIME: Final = 1_000
_SHARE_OF_TIME: Final = 20


@dataclass(slots=True)
class _Known:
    """An answer about all holders of a market, and the machine's time before which it is not made anew."""

    value: Any
    good_until_s: float


@dataclass(slots=True)
class Markets:
    """Questions about markets and pools."""

    runner: Runner
    params: Params
    clock: Clock
    _known: dict[tuple[str, str], _Known] = field(default_factory=dict)

    async def all(self) -> list[mb.MarketBody]:
        """Show every market."""
        return await self.runner.ask(lambda state: [self._view(state, name) for name in state.markets])

    async def one(self, market: str) -> mb.MarketBody:
        """Show one market."""
        name = self._market(market)
        return await self.runner.ask(lambda state: self._view(state, name))

    async def depth(self, market: str, levels: int) -> mb.DepthBody:
        """Show the best levels of a book, aggregated by price."""
        name = self._market(market)
        if not 1 <= levels <= MOST_LEVELS:
            raise refusal("malformed_request", f"levels: {levels}; should be from 1 to {MOST_LEVELS}", 400)
        return await self.runner.ask(lambda state: views.depth_view(state, name, levels))

    async def trades(self, market: str | None, subaccount: str | None, last: int) -> list[mb.TradeBody]:
        """List the newest trades, oldest first, of a market, a subaccount, or both."""
        if market is not None:
            self._market(market)
        if not 1 <= last <= LISTED_AT_MOST:
            raise refusal("malformed_request", f"last: {last}; should be from 1 to {LISTED_AT_MOST}", 400)
        rows = await self.runner.in_store(
            lambda database: database.trades(market=market, subaccount=subaccount, limit=last)
        )
        return [_trade_body(row) for row in rows]

    async def orders(self, subaccount: str, market: str | None) -> list[mb.OrderBody]:
        """List the resting orders of a subaccount, oldest first in each market."""
        if market is not None:
            self._market(market)

        def question(state: State) -> list[mb.OrderBody] | None:
            if subaccount not in state.subaccounts:
                return None
            return views.orders_view(state, subaccount, market)

        return _open(await self.runner.ask(question), subaccount)

    async def positions(self, subaccount: str) -> mb.PositionsBody:
        """Show a subaccount's positions with entry, profit, prices of danger, and ADL rank."""

        def question(state: State) -> mb.PositionsBody | None:
            found = views.positions_view(state, subaccount)
            for position in [] if found is None else found.positions:
                _, ranks = self._ranks(state, position.market)
                mine = [one for one in ranks if one.subaccount == subaccount]
                position.adl = views.rank_body(mine[0]) if mine else None
            return found

        return _open(await self.runner.ask(question), subaccount)

    async def adl(self, market: str, subaccount: str | None) -> mb.AdlBody:
        """Show who would be reduced first on each side of a market (R24); of one subaccount if asked."""
        name = self._market(market)
        time_ns, ranks = await self.runner.ask(lambda state: self._ranks(state, name))
        longs = sum(rank.is_long for rank in ranks)
        half = LISTED_AT_MOST // 2
        shown = [
            views.rank_body(rank)
            for rank in ranks
            if (rank.rank <= half if subaccount is None else rank.subaccount == subaccount)
        ]
        return mb.AdlBody(name, time_ns, longs, len(ranks) - longs, shown)

    async def pools(self) -> list[mb.PoolBody]:
        """Show every lending pool."""
        return await self.runner.ask(views.pools_view)

    async def lending(self, subaccount: str) -> mb.LendingBody:
        """Show what a subaccount has lent, owes, and could borrow."""
        return _open(await self.runner.ask(lambda state: views.lending_view(state, subaccount)), subaccount)

    async def liquidations(self) -> mb.LiquidationsBody:
        """Show the public numbers of the waterfall, and who is in it."""
        now_ns = self.clock.now_ns()
        return await self.runner.ask(lambda state: views.liquidations_view(state, now_ns, LISTED_AT_MOST))

    async def capacities(self) -> list[mb.CapacityBody]:
        """Show the backstop providers' capacities and what is left of them."""
        now_ns = self.clock.now_ns()
        return await self.runner.ask(lambda state: views.capacities_view(state, now_ns))

    def _market(self, name: str) -> str:
        return listed(name, "market", [one.symbol for one in self.params.markets])

    def _view(self, state: State, market: str) -> mb.MarketBody:
        held_long = self._seldom("open interest", market, state, open_interest_units)
        return views.market_view(state, market, held_long)

    def _ranks(self, state: State, market: str) -> tuple[int, tuple[AdlRank, ...]]:
        return self._seldom("ranks", market, state, views.ranks_view)

    def _seldom(self, what: str, market: str, state: State, compute: Callable[[State, str], T]) -> T:
        """Compute something about all holders of a market, or give what was found a short while ago."""
        known, begun_s = self._known.get((what, market)), time.monotonic()
        if known is not None and begun_s < known.good_until_s:
            value: T = known.value
            return value
        value = compute(state, market)
        ended_s = time.monotonic()
        is_large = len(state.holders[market]) > _ASKED_EVERY_TIME
        pause_s = (ended_s - begun_s) * _SHARE_OF_TIME if is_large else 0.0
        self._known[what, market] = _Known(value, ended_s + pause_s)
        return value


def _open(found: T | None, subaccount: str) -> T:
    if found is None:
        raise refusal("unknown_subaccount", f"subaccount {subaccount!r} is not open", 404)
    return found


def _trade_body(row: TradeRow) -> mb.TradeBody:
    event = msgspec.json.decode(row.event)
    units, price, side = told_trade(event)
    return mb.TradeBody(
        sequence=row.sequence,
        time_ns=row.time_ns,
        market=row.market,
        kind=row.kind,
        taker_side=side,
        buyer=row.buyer,
        seller=row.seller,
        base_units=units,
        price_e8=price,
        event=event,
    )


def told_trade(event: Mapping[str, Any]) -> tuple[int, int, str | None]:
    """Give (units, price_e8, side of the taker) of an event that moves base."""
    units = event["units"] if "units" in event else abs(event["base_units"])
    price = event["price_e8"] if "price_e8" in event else event["mark_price_e8"]
    if "taker_is_buy" not in event:
        return units, price, None
    return units, price, "buy" if event["taker_is_buy"] else "sell"
