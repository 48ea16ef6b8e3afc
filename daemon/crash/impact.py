"""What forced trades do to the price outside, when a scenario says that they do anything.

Rules: whole numbers only. What liquidations and the insurance fund trade on the books of an asset moves its
price outside by the scenario's `impact` for every percent of the open interest, from the next second on; half
of a move is gone after a minute. What providers and the deleveraged take moves nothing: it is not sold.
"""

from __future__ import annotations

from typing import Any

from daemon.crash.exchange import Exchange
from daemon.crash.population import Cast
from daemon.crash.prices import PPB, Prices
from engine import events as ev
from engine.units import INSURANCE_FUND

# Of a move, this much is left a second later: the 60th root of a half.
LEFT_PPB = 988_514_020


class Impact:
    """Adds up forced trades and moves prices; does nothing and hears nothing without an `impact`."""

    def __init__(self, exchange: Exchange, prices: Prices, cast: Cast, impact_ppm: int) -> None:
        self.exchange, self.prices, self.cast, self.impact_ppm = exchange, prices, cast, impact_ppm
        # By asset: what was bought less what was sold since the last second, and how far the price is moved.
        self._bought_usd6: dict[str, int] = {}
        self._moved_ppb: dict[str, int] = {}
        if impact_ppm:
            exchange.listen(ev.Traded, self._on_traded)
            exchange.listen(ev.SpotTraded, self._on_traded)
            self._forced = {INSURANCE_FUND}
            exchange.listen(ev.LiquidationStarted, lambda event: self._forced.add(event.subaccount))
            exchange.listen(ev.LiquidationEnded, lambda event: self._forced.discard(event.subaccount))

    def _on_traded(self, event: Any) -> None:
        if event.taker in self._forced:
            asset = self.exchange.state.markets[event.market].asset
            usd6 = event.notional_usd6 if event.taker_is_buy else -event.notional_usd6
            self._bought_usd6[asset] = self._bought_usd6.get(asset, 0) + usd6

    def move(self, second: int) -> None:
        """Move the prices outside of this second by what was traded before it."""
        for asset in sorted(self._bought_usd6.keys() | self._moved_ppb.keys()):
            moved_ppb = self._moved_ppb.get(asset, 0)
            left_ppb = abs(moved_ppb) * LEFT_PPB // PPB
            moved_ppb = left_ppb if moved_ppb > 0 else -left_ppb
            measure_usd6 = max(1, self.cast.measure_usd6(asset))
            usd6 = self._bought_usd6.pop(asset, 0)
            fresh_ppb = abs(usd6) * self.impact_ppm * 100_000 // measure_usd6
            moved_ppb += fresh_ppb if usd6 > 0 else -fresh_ppb
            self._moved_ppb[asset] = moved_ppb
            self.prices.move(asset, second, moved_ppb)
