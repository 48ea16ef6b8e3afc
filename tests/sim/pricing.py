"""What the auditor expects of quotes, marks and funding (R13, R14), in fractions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from engine import commands as c
from engine import events as e
from engine.params import MarketParams
from engine.units import MAX_PRICE_E8

from . import formulas as f
from .ledger import Ledger

HOUR_NS = 3_600 * 10**9


@dataclass(slots=True)
class Trace:
    """What a market's mark and funding remember: the moving average, and the premium over time."""

    smoothed: int = 0
    priced_ns: int | None = None  # R13: a tick is no price
    since_ns: int | None = None
    premium: int = 0
    weighted: int = 0
    elapsed_ns: int = 0


@dataclass(slots=True)
class Pricer:
    """Turns quotes into an index and marks; keeps premiums; says each hour's funding."""

    ledger: Ledger
    traces: defaultdict[str, Trace] = field(default_factory=lambda: defaultdict(Trace))
    last_funding_ns: int | None = None

    # -- quotes (R13)

    def take_quotes(self, command: c.UpdateQuotes) -> bool:
        """R13: judge quotes; True when index and marks moved."""
        ledger, asset = self.ledger, command.asset
        used = [one for one in command.quotes if self._is_usable(one, command.time_ns)]
        if used:
            middle = _median([price for _, _, price, _ in used])
            reach = Fraction(ledger.params.max_source_deviation_ppm, f.PPM)
            used = [one for one in used if abs(Fraction(one[2] - middle)) <= middle * reach]
        dropped = tuple(f"{one[0]}/{one[1]}" for one in command.quotes if one not in used)
        by_feed: dict[str, list[int]] = {}
        for feed, _, price, _ in used:
            by_feed.setdefault(feed, []).append(price)
        index = _median([_median(prices) for prices in by_feed.values()]) if used else 0
        if len(used) < ledger.params.min_sources:
            ledger.emit(e.QuotesTaken(asset, index, True, len(used), dropped))
            return False
        ledger.emit(e.QuotesTaken(asset, index, False, len(used), dropped))
        marks = [(one.symbol, self._mark(one, index)) for one in ledger.perpetuals() if one.asset == asset]
        self.set_prices(((asset, index),), tuple(marks))
        return True

    def _is_usable(self, quote: tuple[str, str, int, int], now_ns: int) -> bool:
        _, _, price, time_ns = quote
        return 0 < price <= MAX_PRICE_E8 and 0 <= now_ns - time_ns <= self.ledger.params.stale_after_ns

    def _mark(self, market: MarketParams, index: int) -> int:
        """R13: index + moving average of (mid - index), held inside the band."""
        trace, band = self.traces[market.symbol], floor(Fraction(index * market.mark_band_ppm, f.PPM))
        orders = [one for one in self.ledger.books.resting.values() if one.market == market.symbol]
        bids = [one.price_e8 for one in orders if one.is_buy]
        asks = [one.price_e8 for one in orders if not one.is_buy]
        away = 0
        if bids and asks:
            mid = floor(Fraction(max(bids) + min(asks), 2))
            away = max(-band, min(band, mid - index))
        passed = 0 if trace.priced_ns is None else self.ledger.now_ns - trace.priced_ns
        moved = (away - trace.smoothed) * Fraction(passed, self.ledger.params.mark_window_ns + passed)
        trace.smoothed += int(moved)  # toward zero
        return max(1, index + max(-band, min(band, trace.smoothed)))

    def set_prices(self, indices: tuple[tuple[str, int], ...], marks: tuple[tuple[str, int], ...]) -> None:
        """R13, R14: prices of now; the premium of each market concerned is sampled."""
        ledger = self.ledger
        ledger.emit(e.PricesUpdated(indices, marks))
        ledger.index_time_ns.update({asset: ledger.now_ns for asset, _ in indices})
        ledger.mark_time_ns.update({market: ledger.now_ns for market, _ in marks})
        named = {asset for asset, _ in indices} | {market for market, _ in marks}
        for market in ledger.perpetuals():
            if named & {market.symbol, market.asset}:
                self._sample(market)

    def _sample(self, market: MarketParams) -> None:
        mark, index = self.ledger.reference(market), self.ledger.index(market.asset)
        self._pass_time(market)
        self.traces[market.symbol].priced_ns = self.ledger.now_ns
        if mark and index:
            self.traces[market.symbol].premium = floor(Fraction((mark - index) * f.PPM, index))

    def _pass_time(self, market: MarketParams) -> None:
        trace, now_ns = self.traces[market.symbol], self.ledger.now_ns
        if trace.since_ns is not None:
            trace.weighted += trace.premium * (now_ns - trace.since_ns)
            trace.elapsed_ns += now_ns - trace.since_ns
        trace.since_ns = now_ns

    # -- funding (R14)

    def fund(self) -> None:
        """R14: the first tick in each hour of the clock pays; the first ever begins the count."""
        now_ns, before_ns = self.ledger.now_ns, self.last_funding_ns
        if before_ns is not None and now_ns // HOUR_NS == before_ns // HOUR_NS:
            return
        self.last_funding_ns = now_ns
        if before_ns is None:
            return  # the averages began with the first prices
        for market in self.ledger.perpetuals():
            trace = self.traces[market.symbol]
            if trace.since_ns is None:
                continue
            self._pass_time(market)
            if trace.elapsed_ns and not self.ledger.is_market_stale(market):
                self._pay(market, floor(Fraction(trace.weighted, trace.elapsed_ns)))
            trace.weighted = trace.elapsed_ns = 0

    def _pay(self, market: MarketParams, average: int) -> None:
        ledger = self.ledger
        clamp, cap = market.funding_clamp_ppm, market.funding_cap_ppm * 1_000
        eight_hours = average + max(-clamp, min(clamp, market.funding_interest_ppm - average))
        rate = max(-cap, min(cap, floor(Fraction(eight_hours * 1_000, 8))))
        index = ledger.index(market.asset)
        payments = []
        for name in ledger.customers():
            base = ledger.books.base[name, market.symbol]
            usd6 = floor(f.value(-base, index, ledger.decimals(market.asset)) * Fraction(rate, 10**9))
            if usd6:
                payments.append((name, usd6))
        if payments:
            left = -sum(usd6 for _, usd6 in payments)
            ledger.emit(e.FundingPaid(market.symbol, rate, index, tuple(payments), left))


def _median(values: list[int]) -> int:
    """R13: the middle; of an even count the floor of the mean of the middle two."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else floor(Fraction(ordered[half - 1] + ordered[half], 2))
