"""An order book: price-time priority over integer prices and sizes (R12).

Owns: the resting orders of one market, and who stands next. Walking it changes nothing, so that a handler
can check margin on what it sees before it writes; `rest`, `reduce` and `remove` write, and only
engine/ledger.py calls them. Must not know balances, margin, fees or time.

Shape: per side a dict from price to level, each level a dict from order id to order. Dicts keep insertion
order, which is time priority, and drop a cancelled order in O(1). The prices of a side stand in one sorted
list with the best at the end: the best level is found, and left, in O(1), a new level costs one binary
search. A level knows the sum of its units, so that depth costs what it shows, however many orders rest.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.units import SubaccountId


@dataclass(slots=True)
class Order:
    """A resting order. `order_id` is unique in its market and grows with time."""

    order_id: int
    subaccount: SubaccountId
    is_buy: bool
    price_e8: int
    units: int
    reduce_only: bool
    client_order_id: str


# A dict walks over every entry deleted before its first. One that has lost more than it holds is made anew.
_GONE_AT_LEAST = 64


class Level:
    """The orders of one price, oldest first, and the sum of their units; how many have left its dict."""

    __slots__ = ("gone", "orders", "units")

    def __init__(self) -> None:
        """Start empty."""
        self.orders: dict[int, Order] = {}
        self.units = 0
        self.gone = 0


class Side:
    """One side: levels by key, keys ascending, best last. Bids use the price as key, asks its negative."""

    __slots__ = ("keys", "levels", "sign")

    def __init__(self, sign: int) -> None:
        """Start empty; sign is 1 for bids, -1 for asks."""
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}

    def __eq__(self, other: object) -> bool:
        """Compare what rests, priorities included: states are compared in tests (R5)."""
        return isinstance(other, Side) and list(self.best_first()) == list(other.best_first())

    def add(self, order: Order) -> None:
        """Put an order behind all others of its price."""
        key = order.price_e8 * self.sign
        level = self.levels.get(key)
        if level is None:
            insort(self.keys, key)
            level = self.levels[key] = Level()
        level.orders[order.order_id] = order
        level.units += order.units

    def take(self, order: Order, units: int) -> None:
        """Take units off that the order itself has lost already, and the order when it has none left."""
        key = order.price_e8 * self.sign
        level = self.levels[key]
        level.units -= units
        if order.units > 0:
            return
        orders = level.orders
        del orders[order.order_id]
        if not orders:
            del self.levels[key]
            if self.keys[-1] == key:
                self.keys.pop()
            else:
                del self.keys[bisect_left(self.keys, key)]
            return
        level.gone += 1
        if level.gone > len(orders) + _GONE_AT_LEAST:
            level.orders, level.gone = dict(orders), 0

    def best_price_e8(self) -> int | None:
        """Give the best price, None on an empty side."""
        return self.keys[-1] * self.sign if self.keys else None

    def best_first(self) -> Iterator[Order]:
        """Walk the side: best price first, oldest first. The side must not change meanwhile."""
        levels = self.levels
        for key in reversed(self.keys):
            yield from levels[key].orders.values()


@dataclass(slots=True)
class Book:
    """The resting orders of one market."""

    orders: dict[int, Order] = field(default_factory=dict)
    last_order_id: int = 0
    bids: Side = field(default_factory=lambda: Side(1))
    asks: Side = field(default_factory=lambda: Side(-1))
    by_owner: dict[SubaccountId, dict[int, Order]] = field(default_factory=dict)
    by_client_id: dict[tuple[SubaccountId, str], int] = field(default_factory=dict)
    reduce_only: dict[int, Order] = field(default_factory=dict)

    def best_bid_e8(self) -> int | None:
        """Give the highest price that a resting order buys at, or None."""
        return self.bids.best_price_e8()

    def best_ask_e8(self) -> int | None:
        """Give the lowest price that a resting order sells at, or None."""
        return self.asks.best_price_e8()

    def rest(self, order: Order) -> None:
        """Add a resting order behind all others of its price. The caller has matched it first."""
        self.orders[order.order_id] = order
        owned = self.by_owner.get(order.subaccount)
        if owned is None:
            owned = self.by_owner[order.subaccount] = {}
        owned[order.order_id] = order
        if order.client_order_id:
            self.by_client_id[order.subaccount, order.client_order_id] = order.order_id
        if order.reduce_only:
            self.reduce_only[order.order_id] = order
        (self.bids if order.is_buy else self.asks).add(order)

    def reduce(self, order: Order, units: int) -> None:
        """Take units off a resting order in place: it keeps its time priority; at 0 it leaves the book."""
        order.units -= units
        if order.units <= 0:
            del self.orders[order.order_id]
            owned = self.by_owner[order.subaccount]
            del owned[order.order_id]
            if not owned:
                del self.by_owner[order.subaccount]
            if order.client_order_id:
                del self.by_client_id[order.subaccount, order.client_order_id]
            if order.reduce_only:
                del self.reduce_only[order.order_id]
        (self.bids if order.is_buy else self.asks).take(order, units)

    def remove(self, order: Order) -> None:
        """Take a resting order off the book, with all it has left."""
        self.reduce(order, order.units)

    def depth(self, is_buy: bool, levels: int) -> list[tuple[int, int]]:
        """Give up to `levels` (price_e8, units), best first, of the resting bids (or asks)."""
        side = self.bids if is_buy else self.asks
        return [
            (key * side.sign, side.levels[key].units)
            for key in reversed(side.keys[-levels:] if levels > 0 else [])
        ]

    def units_inside(self, is_buy: bool, limit_price_e8: int) -> int:
        """Give the units resting on a side at a price or better: the depth inside a band."""
        side = self.bids if is_buy else self.asks
        limit_key = limit_price_e8 * side.sign
        total = 0
        for key in reversed(side.keys):
            if key < limit_key:
                break
            total += side.levels[key].units
        return total

    def in_priority(self) -> Iterator[Order]:
        """Walk every resting order, bids then asks, best first, oldest first: the canonical order."""
        yield from self.bids.best_first()
        yield from self.asks.best_first()
