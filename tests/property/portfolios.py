"""Random portfolios for the screen (R33): any size, any price, steered to the edge of danger.

Owns: states that no sequence of commands would reach soon. Balances are changed through the ledger's own
primitives, because it is their notes that the screen lives on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from engine import balances
from engine.margin import Margin, margin_of
from engine.params import AssetParams, LendingParams, MarketParams, Params, default_params
from engine.state import Price, State, add_subaccount, new_state
from engine.units import E18, MAX_PRICE_E8

# How large numbers are: so small that no cap is near, ordinary ones, anything that can enter at all.
SMALL_BITS, ORDINARY_BITS, EXTREME_BITS = 26, 44, 64
AT_THE_EDGE = (-2, -1, 0, 1, 2)


@dataclass(slots=True)
class Portfolios:
    """A state full of random subaccounts and the choices that made it."""

    rng: random.Random
    bits: int
    state: State
    names: list[str]

    def size(self, bits: int | None = None) -> int:
        """Draw a whole number, every order of magnitude alike."""
        return self.rng.randint(0, 2 ** self.rng.randint(0, self.bits if bits is None else bits))

    def signed(self) -> int:
        """Draw a size of either sign."""
        return self.size() * self.rng.choice((-1, 1))

    def price(self) -> int:
        """Draw a price: ordinary ones between $0.01 and $100,000, or 1 to 10^18."""
        if self.bits != EXTREME_BITS:
            return self.rng.randint(1, 10 ** self.rng.randint(6, 13))
        return min(MAX_PRICE_E8, 1 + self.size(60))

    def change(self) -> None:
        """Change one balance of one subaccount."""
        state, rng, name = self.state, self.rng, self.rng.choice(self.names)
        asset = rng.choice(list(state.assets))
        market = rng.choice([one.symbol for one in state.params.markets if not one.is_spot])
        one = state.subaccounts[name]
        kind = rng.randint(0, 6)
        if kind == 0:
            balances.change_position(state, name, market, self.signed(), self.signed(), self.price())
        elif kind == 1 and market in one.positions:
            held = one.positions[market]
            balances.change_position(state, name, market, -held.base_units, -held.quote_usd6, self.price())
        elif kind == 2:
            balances.change_unsettled(state, name, self.signed())
        elif kind == 3:
            balances.change_cash(state, name, asset, max(-one.cash.get(asset, 0), self.signed()))
        elif kind == 4:
            balances.change_lent(state, name, asset, max(-one.lent.get(asset, 0), self.signed()))
        elif kind == 5:
            balances.change_borrowed(state, name, asset, max(-one.borrowed.get(asset, 0), self.signed()))
        elif market in one.positions:
            # A settlement (R26): from quote to unsettled, worth nothing in sum.
            pnl_usd6 = self.signed()
            balances.change_position(state, name, market, 0, -pnl_usd6)
            balances.change_unsettled(state, name, pnl_usd6)

    def move(self) -> None:
        """Move one mark, one index or one pool's interest."""
        state, rng = self.state, self.rng
        asset = rng.choice([one.symbol for one in state.params.assets])
        kind = rng.randint(0, 2)
        if kind == 0:
            market = rng.choice([one.symbol for one in state.params.markets if not one.is_spot])
            state.mark_prices[market] = Price(self.price(), 0)
        elif kind == 1 and asset != "USDC":
            state.index_prices[asset] = Price(self.price(), 0)
        else:
            pool = state.pools[asset]
            pool.borrow_index_e18 += self.size(min(62, self.bits + 12))
            pool.lend_index_e18 += self.size(min(62, self.bits + 12))

    def steer(self, name: str, health_usd6: int) -> None:
        """Give a subaccount the unsettled that makes net equity - maintenance margin what is asked."""
        balances.change_unsettled(self.state, name, health_usd6 - health_of(margin_of(self.state, name)))


def health_of(margin: Margin) -> int:
    """Give net equity - maintenance margin, which decides R20 for whoever has a position or a borrow."""
    return margin.net_equity_usd6 - margin.maintenance_margin_usd6


def is_at_risk(state: State, name: str) -> bool:
    """Tell whether a subaccount has a position or a borrow, so that it needs maintenance margin."""
    one = state.subaccounts[name]
    return bool(one.borrowed) or any(held.base_units for held in one.positions.values())


def random_params(rng: random.Random) -> Params:
    """Draw assets with 0 to 18 decimals and any ratios that parameters may have."""
    base = default_params()
    assets, markets = [base.assets[0]], []
    for symbol, decimals in (("SOL", 9), ("AAA", rng.choice((0, 6, 8))), ("BBB", rng.choice((6, 18)))):
        ratios = [rng.randint(1, 10 ** rng.randint(1, 6)) for _ in range(2)]
        factors = [rng.randint(0, 10 ** rng.choice((0, 7, 8, 12))) for _ in range(2)]
        lending = replace(
            LendingParams(), base_mmf_ppm=min(ratios), base_imf_ppm=max(ratios),
            mmf_factor_e12=min(factors), imf_factor_e12=max(factors),
        )  # fmt: skip
        weight, penalty = rng.randint(0, 10**6), rng.choice((0, 1_000, 10**6))
        assets.append(AssetParams(symbol, decimals, weight, penalty, 0, 1, 1, lending))
        markets.append(
            MarketParams(
                f"{symbol}-PERP", symbol, 50, max(ratios), max(factors), min(ratios), min(factors), 50_000
            )
        )
    return replace(base, assets=tuple(assets), markets=tuple(markets))


def random_portfolios(rng: random.Random, bits: int, count: int = 4) -> Portfolios:
    """Make some subaccounts, each with a handful of holdings."""
    state = new_state(random_params(rng))
    made = Portfolios(rng, bits, state, [f"{number}/0" for number in range(count)])
    for market in state.markets:
        state.mark_prices[market] = Price(made.price(), 0)
    for asset in state.assets:
        if asset != "USDC":
            state.index_prices[asset] = Price(made.price(), 0)
        state.pools[asset].borrow_index_e18 = E18 + made.size(58)
        state.pools[asset].lend_index_e18 = E18 + made.size(58)
    for name in made.names:
        add_subaccount(state, name, "apply")
    for _ in range(5 * count):
        made.change()
    return made
