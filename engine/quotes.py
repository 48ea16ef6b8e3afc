"""Index and mark prices out of quotes and books (R13).

    index = median over feeds of the median over a feed's sources
    mark  = index + EMA(book mid - index), inside index +- mark_band

A quote is dropped when its price is out of range, it is older than stale_after_ns or from the future, or it
stands more than max_source_deviation from the median of all fresh quotes. With fewer than min_sources left
the index is stale: index and marks keep their last good value, marked as stale, until enough sources are
back. Must not know accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.commands import UpdateQuotes
from engine.events import Event, PricesUpdated, QuotesTaken
from engine.fixed import clamp, divide_down, ppm_of_down, scale_toward_zero
from engine.funding import sample_premium
from engine.ledger import emit
from engine.markets import mid_price_e8
from engine.outcome import Rejected
from engine.params import MarketParams, Params
from engine.rejects import RejectReason
from engine.state import Premium, State
from engine.units import MAX_PRICE_E8, PPM, SETTLEMENT_ASSET

Quote = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Index:
    """An index price and how it came about; price_e8 is 0 when no source is usable."""

    price_e8: int
    used_sources: int
    dropped: tuple[str, ...]


def quotes_fault(state: State, command: UpdateQuotes) -> Rejected | None:
    """Find what is wrong with quotes as a whole. Gives: unknown_asset (also for USDC, R1)."""
    if command.asset not in state.assets or command.asset == SETTLEMENT_ASSET:
        return Rejected(RejectReason.UNKNOWN_ASSET, command.asset)
    return None


def take_quotes(state: State, command: UpdateQuotes, out: list[Event]) -> None:
    """Set the index of an asset and the marks of its perpetual markets, or call them stale (R13)."""
    asset = command.asset
    index = index_of(state.params, command.quotes, command.time_ns)
    stale = index.used_sources < state.params.min_sources
    emit(state, out, QuotesTaken(asset, index.price_e8, stale, index.used_sources, index.dropped))
    if stale:
        return
    markets = [one for one in state.markets.values() if one.asset == asset and not one.is_spot]
    marks = tuple([(one.symbol, _next_mark_e8(state, one, index.price_e8)) for one in markets])
    emit(state, out, PricesUpdated(((asset, index.price_e8),), marks))
    for one in markets:
        sample_premium(state, one.symbol)


def index_of(params: Params, quotes: Sequence[Quote], now_ns: int) -> Index:
    """Compute an index at a time (R13), `median_down` over sources, then over feeds."""
    fresh: list[Quote] = []
    dropped: list[str] = []
    for quote in quotes:
        feed, source, price_e8, time_ns = quote
        if 0 < price_e8 <= MAX_PRICE_E8 and 0 <= now_ns - time_ns <= params.stale_after_ns:
            fresh.append(quote)
        else:
            dropped.append(f"{feed}/{source}")
    feeds: dict[str, list[int]] = {}
    if fresh:
        middle_e8 = median_down([price_e8 for _, _, price_e8, _ in fresh])
        for feed, source, price_e8, _ in fresh:
            if abs(price_e8 - middle_e8) * PPM > params.max_source_deviation_ppm * middle_e8:
                dropped.append(f"{feed}/{source}")
            else:
                feeds.setdefault(feed, []).append(price_e8)
    used = sum([len(prices) for prices in feeds.values()])
    price_e8 = median_down([median_down(prices) for prices in feeds.values()]) if feeds else 0
    return Index(price_e8, used, tuple(sorted(dropped)))


def median_down(values: Sequence[int]) -> int:
    """Give the median; of an even count the mean of the middle two, rounded down. Needs one value."""
    ordered = sorted(values)
    middle = divide_down(len(ordered), 2)
    if len(ordered) == 2 * middle:
        return divide_down(ordered[middle - 1] + ordered[middle], 2)
    return ordered[middle]


def smoothed_premium_e8(premium_e8: int, observed_e8: int, elapsed_ns: int, window_ns: int) -> int:
    """Move an average toward an observation: premium + (observed - premium) x dt / (window + dt), toward
    premium (R13).

    The backward Euler step of an exponential moving average with that time constant: stable for any gap. A
    gap much longer than the window takes the observation almost whole.
    """
    return premium_e8 + scale_toward_zero(observed_e8 - premium_e8, elapsed_ns, window_ns + elapsed_ns)


def _next_mark_e8(state: State, params: MarketParams, index_e8: int) -> int:
    """Observe the book, remember the average, give the mark. A book without two sides shows no premium.

    The observation itself is held inside the band, so that one absurd order moves the average by at most
    band x dt / (window + dt).
    """
    band_e8 = ppm_of_down(index_e8, params.mark_band_ppm)
    premium = state.premiums.get(params.symbol)
    if premium is None:
        premium = state.premiums[params.symbol] = Premium(
            sampled_ns=state.last_time_ns, priced_ns=state.last_time_ns
        )
    mid_e8 = mid_price_e8(state, params.symbol)
    observed_e8 = 0 if mid_e8 is None else clamp(mid_e8 - index_e8, band_e8)
    elapsed_ns = state.last_time_ns - premium.priced_ns
    premium.smoothed_e8 = smoothed_premium_e8(
        premium.smoothed_e8, observed_e8, elapsed_ns, state.params.mark_window_ns
    )
    return max(1, index_e8 + clamp(premium.smoothed_e8, band_e8))
