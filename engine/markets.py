"""Markets seen from outside: state, reference price, limits, book, entry prices (R7, R12, R13, R15). Pure.

Rules: a perpetual market's reference price is its mark, a spot market's the index of its asset. A market
whose prices are stale is reduce-only for as long as they are, whatever was set (R13); it recovers by itself.
Must not know margin.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.book import Order
from engine.fixed import divide_down, ppm_of_down, ppm_of_up
from engine.params import MarketParams
from engine.prices import is_stale
from engine.state import Price, State
from engine.units import PPM, SubaccountId

OPEN = "open"
POST_ONLY = "post_only"
REDUCE_ONLY = "reduce_only"
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Depth:
    """A book's best levels, (price_e8, units) each, best first."""

    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


def depth(state: State, market: str, levels: int) -> Depth:
    """Give the best levels of both sides of a book. Raises KeyError for an unknown market."""
    book = state.books[market]
    return Depth(tuple(book.depth(True, levels)), tuple(book.depth(False, levels)))


def best_bid_e8(state: State, market: str) -> int | None:
    """Give the best price somebody buys at, None when nobody does."""
    return state.books[market].best_bid_e8()


def best_ask_e8(state: State, market: str) -> int | None:
    """Give the best price somebody sells at, None when nobody does."""
    return state.books[market].best_ask_e8()


def mid_price_e8(state: State, market: str) -> int | None:
    """Give floor((best bid + best ask) / 2), None without two sides."""
    book = state.books[market]
    bid_e8, ask_e8 = book.best_bid_e8(), book.best_ask_e8()
    return None if bid_e8 is None or ask_e8 is None else divide_down(bid_e8 + ask_e8, 2)


def open_orders_of(state: State, subaccount: SubaccountId) -> tuple[tuple[str, Order], ...]:
    """List a subaccount's resting orders with their markets, oldest first in each market."""
    return tuple(
        [
            (market, order)
            for market, book in state.books.items()
            for _, order in sorted(book.by_owner.get(subaccount, {}).items())
        ]
    )


def open_interest_units(state: State, market: str) -> int:
    """Give the base that is held long in a perpetual market, for display; as much is held short (I2). Raises
    KeyError for an unknown market.
    """
    held = (state.subaccounts[name].positions[market].base_units for name in state.holders[market])
    return sum([base_units for base_units in held if base_units > 0])


def average_entry_price_e8(state: State, subaccount: SubaccountId, market: str) -> int:
    """Give floor(entry_cost / |base|) of a position, for display (R7); 0 without one."""
    position = state.subaccounts[subaccount].positions.get(market)
    if position is None or position.base_units == 0:
        return 0
    return divide_down(position.entry_cost, abs(position.base_units))


def market_state(state: State, market: str) -> str:
    """Give what a market lets in now: what was set, or reduce-only while its price is stale (R12, R13).

    A closed market stays closed.
    """
    chosen = state.market_states.get(market, OPEN)
    return REDUCE_ONLY if chosen != CLOSED and has_stale_price(state, state.markets[market]) else chosen


def has_stale_price(state: State, params: MarketParams) -> bool:
    """Tell whether a market's index, or its mark, is too old or rests on too few sources."""
    index = state.index_prices.get(params.asset)
    if index is not None and is_stale(state, index):
        return True
    mark = state.mark_prices.get(params.symbol)
    return mark is not None and is_stale(state, mark)


def reference_price(state: State, params: MarketParams) -> Price | None:
    """Give a market's mark, or for a spot market the index of its asset."""
    return state.index_prices.get(params.asset) if params.is_spot else state.mark_prices.get(params.symbol)


def is_inside_limits(params: MarketParams, price_e8: int, index_e8: int) -> bool:
    """Tell whether an order's price is inside floor..ceiling of the index, edges included (R15)."""
    scaled = price_e8 * PPM
    return index_e8 * params.price_floor_ppm <= scaled <= index_e8 * params.price_ceiling_ppm


def taker_stop_e8(params: MarketParams, is_buy: bool, reference_e8: int) -> int:
    """Give the worst price a taker trades at (R15): reference +- impact_band, rounded toward it."""
    if is_buy:
        return reference_e8 + ppm_of_down(reference_e8, params.impact_band_ppm)
    return ppm_of_up(reference_e8, PPM - params.impact_band_ppm)
