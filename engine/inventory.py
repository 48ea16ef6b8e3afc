"""The insurance fund's own holdings: what it was paid with is sold, what it took over is bought back (R28).

Rules: small steps on the spot book like any liquidation, once per `step_ns`; the fund bears the slippage.
What it holds of an asset and what it owes of it are netted first. Must not know where the holdings came from.
"""

from __future__ import annotations

from engine.events import Event
from engine.fixed import multiple_up
from engine.markets import has_stale_price
from engine.pool import owed_units
from engine.small_steps import spot_market_of, take_a_step
from engine.state import State
from engine.units import INSURANCE_FUND, SETTLEMENT_ASSET


def run_inventory(state: State, out: list[Event]) -> None:
    """Make one step per asset, in the order of the assets, when a step is due (R28).

    A step is at most 10% of what the fund held (or owed) when that last rose, see `take_a_step`.
    """
    if state.last_time_ns < state.next_inventory_step_ns:
        return
    fund = state.subaccounts[INSURANCE_FUND]
    for asset in state.assets:
        if asset == SETTLEMENT_ASSET or not (asset in fund.cash or asset in fund.borrowed):
            state.inventory.pop(asset, None)
            continue
        state.next_inventory_step_ns = state.last_time_ns + state.params.step_ns
        market = spot_market_of(state, asset)
        # The fund has no hurry: it trades at no price that nobody vouches for.
        if market and not has_stale_price(state, state.markets[market]):
            _step(state, asset, market, out)


def _step(state: State, asset: str, market: str, out: list[Event]) -> None:
    fund = state.subaccounts[INSURANCE_FUND]
    net_units = fund.cash.get(asset, 0) - owed_units(state, fund, asset)
    entry_units, seen_units = state.inventory.get(asset, (0, 0))
    if abs(net_units) > seen_units:
        entry_units = abs(net_units)
    # The last of what is owed costs a whole lot, or it would bear interest for ever.
    lot_units = state.markets[market].lot_units
    left_units = multiple_up(-net_units, lot_units) if net_units < 0 else net_units
    traded_units = take_a_step(state, fund, market, net_units < 0, left_units, entry_units, out)
    state.inventory[asset] = (entry_units, max(0, abs(net_units) - traded_units))
