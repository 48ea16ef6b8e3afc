"""Who is there before it begins: customers with equity, leverage and hedges; makers, providers, the fund.

Rules: a plan is drawn first, in whole numbers, then carried out by commands; the engine refuses what its
margins do not allow, and what was refused is counted. Longs are matched with shorts and hedgers by block
trades; what is left over stands against the market makers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isqrt
from random import Random
from typing import Any

from daemon.crash.curve import happens, pick, spread
from daemon.crash.exchange import Exchange
from daemon.crash.prices import Prices
from daemon.crash.scenario import PPM, AssetPath, Scenario
from daemon.errors import ConfigError
from engine import commands as cm
from engine.outcome import Accepted
from engine.params import (
    AssetParams,
    LendingParams,
    MarketParams,
    Params,
    default_params,
    params_faults,
    spot_market,
)

USDC = 10**6
FIRST_MAKER, FIRST_PROVIDER, FIRST_CUSTOMER = 1, 100, 1_000

_ETH = AssetParams(
    "ETH", 8, 920_000, 4_000, 40_000, 10_000, 100_000, LendingParams(borrow_limit_units=10_000 * 10**8)
)
_ETH_PERP = MarketParams(
    "ETH-PERP",
    "ETH",
    60,
    16_670,
    40_000_000,
    10_000,
    22_000_000,
    50_000,
    tick_e8=1_000_000,
    lot_units=1_000_000,
)

# What ETH is worth about, for parameters of other assets; below $10 a price moves in smaller steps.
_ETH_E8 = 4_000 * 10**8
_CHEAP_E8, _FINE_TICK_E8 = 10 * 10**8, 10_000


@dataclass(slots=True)
class Customer:
    """A customer and what they came with; `exposure` is planned notional per market, shorts negative."""

    subaccount: str
    kind: str
    asset: str
    units: int
    equity_usd6: int
    exposure: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody, after they came in. Open interest is the sum of longs at the first mark."""

    customers: tuple[Customer, ...]
    makers: tuple[str, ...]
    providers: tuple[str, ...]
    open_interest_usd6: dict[str, int]
    provider_capital_usd6: int

    @property
    def total_open_interest_usd6(self) -> int:
        """Sum over markets."""
        return sum(self.open_interest_usd6.values())

    def measure_usd6(self, asset: str) -> int:
        """Give the open interest in an asset; of one that is collateral alone, what customers brought."""
        interest_usd6 = self.open_interest_usd6.get(f"{asset}-PERP", 0)
        return interest_usd6 or sum(one.equity_usd6 for one in self.customers if one.asset == asset)


def engine_params(scenario: Scenario) -> Params:
    """Give the engine's parameters for a scenario. Raises ConfigError when its overrides do not fit."""
    base = default_params()
    symbols = [path.symbol for path in scenario.prices]
    known_assets = {asset.symbol: asset for asset in (*base.assets, _ETH)}
    spot_eth = spot_market("ETH/USDC", "ETH", tick_e8=1_000_000, lot_units=1_000_000)
    known_markets = (*base.markets, _ETH_PERP, spot_eth)
    paths = [path for path in scenario.prices if path.symbol not in ("USDC", "SOL")]
    assets = [known_assets["USDC"], known_assets["SOL"]]
    assets += [known_assets.get(path.symbol, _like_eth(path)) for path in paths]
    markets = [market for market in known_markets if market.asset in symbols]
    covered = {market.asset for market in markets}
    for path in scenario.prices:
        if path.symbol not in covered:
            symbol, tick_e8 = path.symbol, _FINE_TICK_E8 if path.start_e8 < _CHEAP_E8 else _ETH_PERP.tick_e8
            markets.append(replace(_ETH_PERP, symbol=f"{symbol}-PERP", asset=symbol, tick_e8=tick_e8))
            markets.append(replace(spot_eth, symbol=f"{symbol}/USDC", asset=symbol, tick_e8=tick_e8))
    overrides: dict[str, Any] = dict(scenario.markets)
    engine: dict[str, Any] = dict(scenario.engine)
    markets = [market if market.is_spot else replace(market, **overrides) for market in markets]
    params = replace(base, assets=tuple(assets), markets=tuple(markets), **engine)
    faults = params_faults(params)
    if faults:
        raise ConfigError(f"scenario {scenario.source}", faults)
    return params


def _like_eth(path: AssetPath) -> AssetParams:
    """Give parameters to an asset that has none: those of ETH, for the same dollars. A weight falls with the
    root of the tokens (R16) and a loan ends at so many of them (R11), however little one is worth.
    """
    lending = _ETH.lending
    limit_units = lending.borrow_limit_units * _ETH_E8 // path.start_e8
    return replace(
        _ETH,
        symbol=path.symbol,
        weight_penalty_ppm=min(PPM, _ETH.weight_penalty_ppm * isqrt(path.start_e8) // isqrt(_ETH_E8)),
        lending=replace(lending, borrow_limit_units=max(1, limit_units)),
    )


def scale_of(decimals: int) -> int:
    """Give the divisor between units x price and usd6 (R2)."""
    return int(10 ** (decimals + 2))


def units_of(params: AssetParams, usd6: int, price_e8: int) -> int:
    """Give how many units a sum buys at a price, rounded down."""
    return usd6 * scale_of(params.decimals) // price_e8


class Population:
    """Draws the plan and carries it out."""

    def __init__(self, exchange: Exchange, scenario: Scenario, prices: Prices, rng: Random) -> None:
        self.exchange, self.scenario, self.prices, self.rng = exchange, scenario, prices, rng
        self.refused = 0

    def arrive(self, accounts: int) -> Cast:
        """Bring everybody in: deposits, positions, borrows, capacity; ends with a settlement."""
        customers = [self._drawn(FIRST_CUSTOMER + number) for number in range(accounts)]
        planned: dict[str, int] = {}
        for one in customers:
            for market, notional in one.exposure.items():
                planned[market] = planned.get(market, 0) + max(0, notional)
        total_usd6 = max(1_000 * USDC, sum(planned.values()))
        makers = self._makers(total_usd6)
        for one in customers:
            self._open(one.subaccount, happens(self.rng, self.scenario.customers.hold_ppm))
            self.exchange.deposit(one.subaccount, one.asset, one.units)
        self._operator(total_usd6)
        held = {market: self._match(market, customers, makers) for market in sorted(planned)}
        providers = self._providers(total_usd6, held)
        self._borrow(customers)
        self.exchange.settle()
        self.exchange.attest()
        capital_usd6 = self._provider_capital(total_usd6) * len(providers)
        return Cast(tuple(customers), makers, providers, held, capital_usd6)

    # -- drawing --

    def _drawn(self, number: int) -> Customer:
        rng, choices = self.rng, self.scenario.customers
        kind = pick(rng, choices.kinds)
        equity_usd6 = spread(rng, pick(rng, choices.equity_usd) * USDC)
        market = pick(rng, choices.markets)
        asset = "USDC" if kind == "lender" else pick(rng, choices.collateral)
        if kind == "hedger":
            asset = market.partition("-")[0]
        elif kind == "borrower":
            asset = "USDC"
        price_e8 = 10**8 if asset == "USDC" else self.prices.at(asset, 0)
        units = max(1, units_of(self.exchange.state.assets[asset], equity_usd6, price_e8))
        one = Customer(f"{number}/0", kind, asset, units, equity_usd6)
        if kind == "hedger":
            # Short what is held, less a little, so that the margin of the short is covered too.
            one.exposure[market] = -(equity_usd6 * 97 // 100)
        elif kind in ("long", "short"):
            self._bets(one, market)
        return one

    def _bets(self, one: Customer, market: str) -> None:
        rng, choices = self.rng, self.scenario.customers
        leverage = pick(rng, choices.leverage)
        weight_ppm = self.exchange.state.assets[one.asset].base_weight_ppm
        equity_usd6 = one.equity_usd6 * weight_ppm // PPM
        chosen = [market]
        other = pick(rng, choices.markets)
        if other != market and happens(rng, choices.second_market_ppm):
            chosen.append(other)
        sign = 1 if one.kind == "long" else -1
        for name in chosen:
            share_usd6 = equity_usd6 // len(chosen)
            wanted_usd6 = spread(rng, share_usd6 * leverage)
            one.exposure[name] = sign * min(wanted_usd6, self._most(name, share_usd6))

    def _most(self, market: str, equity_usd6: int) -> int:
        """Bound an exposure so that 19/20 of the equity meet its initial margin."""
        params = self.exchange.state.markets[market]
        exposure_usd6 = equity_usd6 * params.max_leverage
        while exposure_usd6 > USDC:
            root_ppm = params.imf_factor_e12 * isqrt(exposure_usd6 // USDC + 1) // 10**6
            ratio_ppm = max(PPM // params.max_leverage + 1, params.base_imf_ppm, root_ppm)
            if exposure_usd6 * ratio_ppm <= equity_usd6 * PPM * 19 // 20:
                break
            exposure_usd6 = exposure_usd6 * 9 // 10
        return exposure_usd6

    # -- carrying out --

    def _open(self, subaccount: str, hold: bool = False) -> None:
        name = self.exchange.new_id("open")
        self.exchange.do(
            cm.OpenSubaccount(name, self.exchange.now_ns, subaccount, "hold" if hold else "apply")
        )

    def _makers(self, total_usd6: int) -> tuple[str, ...]:
        count = self.scenario.book.makers
        names = tuple(f"{FIRST_MAKER + number}/0" for number in range(count))
        for name in names:
            self._open(name)
            # A maker needs its cash for quotes, so it is not lent out.
            self.exchange.do(cm.SetLending(self.exchange.new_id("set"), self.exchange.now_ns, name, 0, 0, 0))
            # Market makers hedge elsewhere: capital is not what stops them, the scenario's depth is.
            self.exchange.deposit(name, "USDC", total_usd6 // count + 1)
            for path in self.scenario.prices:
                asset = self.exchange.state.assets[path.symbol]
                units = units_of(asset, total_usd6 // (10 * count), path.start_e8)
                self.exchange.deposit(name, path.symbol, max(1, units))
        return names

    def _operator(self, total_usd6: int) -> None:
        fund_usd6 = total_usd6 * self.scenario.fund_ppm // PPM
        if fund_usd6:
            self.exchange.deposit("insurance_fund", "USDC", max(fund_usd6, 100_000))
        self.exchange.deposit("fees", "SOL", 1_000 * 10**9)

    def _match(self, market: str, customers: list[Customer], makers: tuple[str, ...]) -> int:
        """Match longs with shorts in random order, the rest with makers; returns the open interest."""
        params = self.exchange.state.markets[market]
        asset = self.exchange.state.assets[params.asset]
        mark_e8 = self.exchange.state.mark_prices[market].price_e8
        sides: dict[bool, list[tuple[str, int]]] = {True: [], False: []}
        for one in customers:
            notional = one.exposure.get(market, 0)
            lots = units_of(asset, abs(notional), mark_e8) // params.lot_units
            if lots:
                sides[notional > 0].append((one.subaccount, lots * params.lot_units))
        for side in sides.values():
            self.rng.shuffle(side)
        longs, shorts = sides[True], sides[False]
        opened = 0
        while longs or shorts:
            buyer, wanted = longs.pop() if longs else (makers[opened % len(makers)], 0)
            seller, offered = shorts.pop() if shorts else (makers[opened % len(makers)], 0)
            units = min(wanted or offered, offered or wanted)
            if self._block(market, buyer, seller, units, mark_e8):
                opened += 1
                if wanted > units:
                    longs.append((buyer, wanted - units))
                if offered > units:
                    shorts.append((seller, offered - units))
        holders = self.exchange.state.holders[market]
        state = self.exchange.state
        longs_units = sum(max(0, state.subaccounts[name].positions[market].base_units) for name in holders)
        return longs_units * mark_e8 // scale_of(asset.decimals)

    def _block(self, market: str, buyer: str, seller: str, units: int, price_e8: int) -> bool:
        exchange = self.exchange
        name = exchange.new_id("block")
        command = cm.BlockTrade(
            name, exchange.now_ns, market, buyer, seller, units, price_e8, (buyer, seller)
        )
        done = type(exchange.do(command)) is Accepted
        self.refused += not done
        return done

    def _providers(self, total_usd6: int, held: dict[str, int]) -> tuple[str, ...]:
        shape = self.scenario.backstop
        names = tuple(f"{FIRST_PROVIDER + number}/0" for number in range(shape.providers))
        exchange = self.exchange
        for name in names:
            self._open(name)
            exchange.deposit(name, "USDC", self._provider_capital(total_usd6))
            exchange.do(cm.RegisterBackstop(exchange.new_id("provider"), exchange.now_ns, name))
            for market, open_usd6 in held.items():
                minute_usd6 = open_usd6 * shape.minute_ppm // PPM // len(names)
                hour_usd6 = open_usd6 * shape.hour_ppm // PPM // len(names)
                exchange.do(
                    cm.SetBackstopCapacity(
                        exchange.new_id("capacity"), exchange.now_ns, name, market, minute_usd6, hour_usd6
                    )
                )
        return names

    def _provider_capital(self, total_usd6: int) -> int:
        shape = self.scenario.backstop
        return total_usd6 * shape.capital_ppm // PPM // max(1, shape.providers) + USDC

    def _borrow(self, customers: list[Customer]) -> None:
        """Let lenders lend what they have and borrowers borrow a share of their equity."""
        exchange, shape = self.exchange, self.scenario.lending
        assets = {asset for asset, _ in shape.assets}
        for one in customers:
            if one.kind in ("lender", "hedger", "long") and one.asset in assets | {"USDC"} and one.units > 1:
                units = one.units // 2 if one.kind != "lender" else one.units
                exchange.do(
                    cm.Lend(exchange.new_id("lend"), exchange.now_ns, one.subaccount, one.asset, units)
                )
        for one in customers:
            if one.kind != "borrower":
                continue
            asset = pick(self.rng, shape.assets)
            price_e8 = 10**8 if asset == "USDC" else self.prices.at(asset, 0)
            usd6 = one.equity_usd6 * shape.borrow_ppm // PPM
            units = units_of(exchange.state.assets[asset], usd6, price_e8)
            if units:
                exchange.do(
                    cm.Borrow(exchange.new_id("borrow"), exchange.now_ns, one.subaccount, asset, units)
                )
