"""What rests on the books, and the ordinary trade that meets it.

Rules: ladders and trades are orders like anybody's. Before a maker quotes anew, all makers of the market
cancel, so that no stale quote is picked off by another maker. Depth on each side is the scenario's share of
the open interest at the start; spot books rest a quarter of that, as far as the maker holds it. The spot
book of an asset that is collateral alone, whose perpetual nobody holds, rests that share of what customers
brought of it.
"""

from __future__ import annotations

from random import Random

from daemon.crash.curve import happens
from daemon.crash.exchange import Exchange
from daemon.crash.population import Cast, units_of
from daemon.crash.prices import Prices
from daemon.crash.scenario import PPM, Scenario
from engine import commands as cm
from engine.params import MarketParams

SPOT_SHARE = 4


class Makers:
    """Quotes every market."""

    def __init__(self, exchange: Exchange, scenario: Scenario, prices: Prices, cast: Cast) -> None:
        self.exchange, self.scenario, self.prices, self.cast = exchange, scenario, prices, cast
        markets = exchange.state.params.markets
        self._measures = {market.symbol: self._measured(market) for market in markets}

    def _measured(self, market: MarketParams) -> tuple[int, int]:
        """Give what depth is a share of, and by what it is divided besides."""
        interest_usd6 = self.cast.open_interest_usd6.get(f"{market.asset}-PERP", 0)
        if not market.is_spot:
            return interest_usd6, 1
        return self.cast.measure_usd6(market.asset), SPOT_SHARE if interest_usd6 else 1

    def quote(self, second: int) -> None:
        """Renew every ladder when it is time."""
        shape = self.scenario.book
        if second % shape.refresh_s:
            return
        for market in self.exchange.state.params.markets:
            for maker in self.cast.makers:
                self.exchange.do(
                    cm.CancelAllOrders(
                        self.exchange.new_id("cancel"), self.exchange.now_ns, maker, market.symbol
                    )
                )
            for number, maker in enumerate(self.cast.makers):
                self._ladder(market, maker, number, second)

    def _ladder(self, market: MarketParams, maker: str, number: int, second: int) -> None:
        shape = self.scenario.book
        middle_e8 = self.prices.at(market.asset, second - shape.quote_lag_s.at(second))
        measure_usd6, parts = self._measures[market.symbol]
        side_usd6 = measure_usd6 * shape.depth_ppm.at(second) // PPM // len(self.cast.makers) // parts
        near_ppm = shape.half_spread_ppm.at(second)
        far_ppm = max(near_ppm, shape.reach_ppm.at(second))
        asset = self.exchange.state.assets[market.asset]
        steps = shape.levels * (shape.levels + 1) // 2
        for level in range(shape.levels):
            away_ppm = near_ppm + (far_ppm - near_ppm) * level // max(1, shape.levels - 1)
            # Each maker stands a hair behind the one before, so that levels do not coincide.
            away_ppm += number * max(1, near_ppm // 10)
            level_usd6 = side_usd6 * (level + 1) // steps
            for is_buy in (True, False):
                price_e8 = self._on_tick(market, middle_e8, away_ppm, is_buy)
                units = units_of(asset, level_usd6, price_e8)
                if market.is_spot and not is_buy:
                    held = self.exchange.state.subaccounts[maker].cash.get(market.asset, 0)
                    units = min(units, held * (level + 1) // steps)
                self._rest(market, maker, is_buy, units, price_e8)

    def _on_tick(self, market: MarketParams, middle_e8: int, away_ppm: int, is_buy: bool) -> int:
        if is_buy:
            return max(1, middle_e8 * (PPM - away_ppm) // PPM // market.tick_e8) * market.tick_e8
        return -(-middle_e8 * (PPM + away_ppm) // (PPM * market.tick_e8)) * market.tick_e8

    def _rest(self, market: MarketParams, maker: str, is_buy: bool, units: int, price_e8: int) -> None:
        units -= units % market.lot_units
        if units:
            self.exchange.do(
                cm.PlaceOrder(
                    self.exchange.new_id("quote"),
                    self.exchange.now_ns,
                    maker,
                    market.symbol,
                    "buy" if is_buy else "sell",
                    "post_only",
                    units,
                    price_e8,
                )
            )


class Flow:
    """Customers who go on trading: most reduce what they hold, some add to it."""

    def __init__(self, exchange: Exchange, scenario: Scenario, cast: Cast, rng: Random) -> None:
        self.exchange, self.scenario, self.cast, self.rng = exchange, scenario, cast, rng
        self._traders = {
            market: [one.subaccount for one in cast.customers if one.exposure.get(market)]
            for market in cast.open_interest_usd6
        }

    def trade(self, second: int) -> None:
        """Send one order a market; a minute of them is at most the scenario's share of open interest."""
        for market, traders in self._traders.items():
            per_second_usd6 = (
                self.cast.open_interest_usd6[market] * self.scenario.book.flow_ppm.at(second) // PPM // 60
            )
            if traders and per_second_usd6:
                self._order(market, traders[self.rng.randrange(len(traders))], per_second_usd6)

    def _order(self, market: str, trader: str, most_usd6: int) -> None:
        state = self.exchange.state
        params = state.markets[market]
        position = state.subaccounts[trader].positions.get(market)
        if position is None or not position.base_units:
            return
        reduces = happens(self.rng, 700_000)
        is_buy = (position.base_units < 0) == reduces
        price_e8 = state.mark_prices[market].price_e8
        most = units_of(state.assets[params.asset], most_usd6, price_e8)
        units = min(most, abs(position.base_units) * (10 + self.rng.randrange(41)) // 100)
        units -= units % params.lot_units
        if not units:
            return
        limit_e8 = price_e8 * (1_005_000 if is_buy else 995_000) // PPM
        limit_e8 -= limit_e8 % params.tick_e8
        self.exchange.do(
            cm.PlaceOrder(
                self.exchange.new_id("order"),
                self.exchange.now_ns,
                trader,
                market,
                "buy" if is_buy else "sell",
                "ioc",
                units,
                limit_e8,
                int(reduces),
            )
        )
