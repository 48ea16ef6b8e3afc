"""Orders: into trades, onto the book, and off it (R12, R15, R18, R19)."""

from __future__ import annotations

from engine.events import Event, OrderCancelled
from engine.ledger import emit
from engine.state import State, Subaccount


def take_liquidity(
    state: State,
    one: Subaccount,
    market: str,
    is_buy: bool,
    units: int,
    limit_price_e8: int,
    out: list[Event],
) -> int:
    """Trade at once with what rests at the limit or better, for a liquidation (R22); give the units traded.

    A reduce-only immediate-or-cancel order without a margin check of the taker and without a taker fee (R20:
    no liquidation fee). units are cut to the position (perpetual) or to the cash (spot), and to whole lots.
    Nothing trades in a closed market.
    """
    raise NotImplementedError


def cancel_all(state: State, one: Subaccount, out: list[Event], reason: str = "liquidation") -> None:
    """Cancel every resting order of a subaccount, by market in the order listed, oldest first (R21)."""
    for market, book in state.books.items():
        for order in sorted(book.by_owner.get(one.id, {}).values(), key=lambda order: order.order_id):
            emit(state, out, OrderCancelled(market, order.order_id, one.id, order.units, reason))
