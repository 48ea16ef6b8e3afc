"""What the auditor expects of an order book: price-time priority, trades, fees (R12, R15)."""

from __future__ import annotations

from dataclasses import dataclass

from .books import Resting
from .ledger import Ledger


@dataclass(slots=True)
class Matcher:
    """Matches orders against the books that the events tell of."""

    ledger: Ledger

    def visible(self, market: str, is_buy: bool, limit_e8: int, name: str) -> int:
        """R22: units resting at the limit or better."""
        found = self.opposite(market, is_buy, limit_e8)
        return sum(order.units for order in found)

    def opposite(self, market: str, is_buy: bool, limit_e8: int) -> list[Resting]:
        """Give what an order may meet: best price first, then oldest."""
        sign = 1 if is_buy else -1
        found = [
            order
            for order in self.ledger.books.resting.values()
            if order.market == market and order.is_buy != is_buy and sign * order.price_e8 <= sign * limit_e8
        ]
        return sorted(found, key=lambda order: (sign * order.price_e8, order.order_id))

    def take(self, name: str, market: str, is_buy: bool, units: int, limit_e8: int) -> int:
        """R22: trade at once at the limit or better; units traded."""
        raise NotImplementedError
