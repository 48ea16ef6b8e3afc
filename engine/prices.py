"""Index and mark prices as commands bring them, and their age (R13).

Must not know where prices come from.
"""

from __future__ import annotations

from engine.commands import UpdatePrices
from engine.outcome import Rejected
from engine.rejects import RejectReason
from engine.state import Price, State, Subaccount
from engine.units import MAX_PRICE_E8, SETTLEMENT_ASSET


def is_stale(state: State, price: Price) -> bool:
    """Tell whether a price is older than stale_after_ns at the time of the present command, or lost its
    sources.
    """
    return price.stale or state.last_time_ns - price.time_ns > state.params.stale_after_ns


def stale_price_of(state: State, one: Subaccount, also: str = "") -> str:
    """Name a price that what a subaccount owes rests on and that is stale or missing; "" when all are good:
    the marks of its positions, the indices of its borrows and of `also`, which is to be borrowed.

    What it holds needs no price here: stale collateral counts nothing (R17, `stale_collateral_of`).
    """
    for market in sorted(one.positions):
        mark = state.mark_prices.get(market)
        if mark is None or is_stale(state, mark):
            return market
    for asset in sorted({*one.borrowed, also or SETTLEMENT_ASSET}):
        index = state.index_prices.get(asset)
        if asset != SETTLEMENT_ASSET and (index is None or is_stale(state, index)):
            return asset
    return ""


def waits_for_index(state: State, asset: str) -> bool:
    """Tell whether what is to happen at an asset's index waits for a fresh one: it is stale, but not for so
    long that nobody expects it back (write_off_after_ns, R27). USDC has no index and never waits.
    """
    index = state.index_prices.get(asset)
    if index is None or not is_stale(state, index):
        return False
    return state.last_time_ns - index.time_ns <= state.params.write_off_after_ns


def stale_collateral_of(state: State, one: Subaccount) -> str:
    """Name the first asset, by symbol, that a subaccount holds or lends and whose index is stale; "" for
    none.
    """
    for asset in sorted({*one.cash, *one.lent}):
        index = state.index_prices.get(asset)
        if index is not None and is_stale(state, index):
            return asset
    return ""


def price_fault(state: State, command: UpdatePrices) -> Rejected | None:
    """Find what is wrong with new prices. Gives: unknown_asset, unknown_market, price_out_of_range.

    USDC has no index: it is the unit of account (R1). A spot market has no mark.
    """
    for asset, _ in command.index_prices:
        if asset not in state.assets or asset == SETTLEMENT_ASSET:
            return Rejected(RejectReason.UNKNOWN_ASSET, asset)
    for market, _ in command.mark_prices:
        params = state.markets.get(market)
        if params is None or params.is_spot:
            return Rejected(RejectReason.UNKNOWN_MARKET, market)
    for name, price_e8 in command.index_prices + command.mark_prices:
        if not 0 < price_e8 <= MAX_PRICE_E8:
            return Rejected(RejectReason.PRICE_OUT_OF_RANGE, name)
    return None
