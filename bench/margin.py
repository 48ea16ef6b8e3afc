"""How long does the full exact margin check of one subaccount take (R16-R20)?

Ten positions and five assets, twenty markets listed: collateral with size-dependent weights, equity, initial
and maintenance margin, and the question of R20, in integers that round as the rules say. The alternative is
the same formula in `decimal.Decimal`, which is what money in Python is usually computed with; it does not
round as the rules say (ratios and weights to whole ppm), so it has to come within two dollars of the exact
result on a million dollars of exposure before it is timed.
"""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from engine.margin import margin_with, meets_maintenance_margin
from engine.params import AssetParams, MarketParams, Params, default_params
from engine.state import Position, Price, State, Subaccount, add_subaccount, new_state

from .report import Row, median_seconds

MARKETS = 20
ASSETS = ("SOL", "BTC", "ETH", "JTO")


def wide_params(markets: int = MARKETS) -> Params:
    """Return parameters with five assets and so many perpetual markets, with the ratios of SOL."""
    base = default_params()
    usdc, sol, btc = base.assets
    more = tuple(AssetParams(symbol, 9, 850_000, 2_000, 50_000, 1, 1, sol.lending) for symbol in ASSETS[2:])
    perps = tuple(
        MarketParams(f"M{n}-PERP", "SOL", 50, 20_000, 75_000_000, 13_500, 37_500_000, 50_000)
        for n in range(markets)
    )
    return replace(base, assets=(usdc, sol, btc, *more), markets=perps)


def price_e8_of(market: int) -> int:
    """Return a market's price: 20 of them from $0.30 to $150,000."""
    return 30_000_000 << market


def priced_state(params: Params) -> State:
    """Return an empty exchange with every price set."""
    state = new_state(params)
    for number, market in enumerate(state.markets):
        state.mark_prices[market] = Price(price_e8_of(number), 0)
    for asset, usd in zip(ASSETS, (150, 60_000, 3_000, 2), strict=True):
        state.index_prices[asset] = Price(usd * 10**8, 0)
    return state


def _portfolio(positions: int) -> tuple[State, Subaccount]:
    rng = random.Random(11)
    state = priced_state(wide_params())
    one = add_subaccount(state, "1/0", "apply")
    one.cash = {"USDC": 50_000 * 10**6, "SOL": 300 * 10**9, "BTC": 10**8, "ETH": 20 * 10**9, "JTO": 10**12}
    for number in rng.sample(range(MARKETS), positions):
        notional_usd6 = rng.randint(1_000, 100_000) * 10**6
        base = rng.choice((-1, 1)) * notional_usd6 * 10**11 // price_e8_of(number)
        value = base * price_e8_of(number) // 10**11
        one.positions[f"M{number}-PERP"] = Position(base, -value * rng.randint(95, 105) // 100)
    return state, one


def _in_decimal(state: State, one: Subaccount) -> tuple[Decimal, Decimal]:
    """Return (net equity, maintenance margin) in dollars, computed as one would with Decimal."""
    equity, maintenance = Decimal(one.unsettled_usd6) / 10**6, Decimal(0)
    for asset, units in one.cash.items():
        params = state.assets[asset]
        tokens = Decimal(units) / 10**params.decimals
        if asset == "USDC":
            equity += tokens
            continue
        weight = min(
            Decimal(params.base_weight_ppm) / 10**6,
            Decimal(params.base_weight_ppm)
            / 10**6
            / (1 + Decimal(params.weight_penalty_ppm) / 10**6 * tokens.sqrt()),
        )
        equity += tokens * Decimal(state.index_prices[asset].price_e8) / 10**8 * weight
    for market, position in one.positions.items():
        rules = state.markets[market]
        tokens = Decimal(position.base_units) / 10 ** state.assets[rules.asset].decimals
        value = tokens * Decimal(state.mark_prices[market].price_e8) / 10**8
        exposure = abs(value)
        # Initial margin too, as the exact check computes it.
        max(
            Decimal(1) / rules.max_leverage,
            Decimal(rules.base_imf_ppm) / 10**6,
            Decimal(rules.imf_factor_e12) / 10**12 * exposure.sqrt(),
        ) * exposure
        ratio = max(
            Decimal(rules.base_mmf_ppm) / 10**6,
            Decimal(rules.mmf_factor_e12) / 10**12 * exposure.sqrt(),
        )
        equity += value + Decimal(position.quote_usd6) / 10**6
        maintenance += exposure * ratio
    return equity, maintenance


def run(quick: bool, block: Path | None) -> list[Row]:
    times = 200 if quick else 5_000
    rows = []
    for positions in (10, 3):
        state, one = _portfolio(positions)
        if positions == 3:
            one.cash = {asset: one.cash[asset] for asset in ("USDC", "SOL")}
        margin = margin_with(state, one)
        equity, maintenance = _in_decimal(state, one)
        # 2 ppm of a million dollars of exposure: the rules round ratios and weights to whole ppm.
        if abs(equity - Decimal(margin.net_equity_usd6) / 10**6) > 2 or abs(
            maintenance - Decimal(margin.maintenance_margin_usd6) / 10**6
        ) > Decimal(2):
            raise RuntimeError(f"the alternative computes something else: {equity}, {maintenance}, {margin}")

        def exact(state: State = state, one: Subaccount = one) -> None:
            for _ in range(times):
                meets_maintenance_margin(margin_with(state, one))

        def decimal(state: State = state, one: Subaccount = one) -> None:
            for _ in range(times):
                _in_decimal(state, one)

        ours, other = times / median_seconds(exact), times / median_seconds(decimal)
        rows.append(
            Row(
                question="full exact margin check of one subaccount",
                workload=(
                    f"{positions} positions, {len(one.cash)} assets; equity, weights, both margins, R20; "
                    f"{times:,} times, one core"
                ),
                figure=ours,
                unit="checks/s",
                alternative="the same formula in decimal.Decimal",
                alternative_figure=other,
                ratio=ours / other,
            )
        )
    return rows
