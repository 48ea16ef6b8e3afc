"""Selling and buying on the books because one must: size and price of one small order (R22, R26, R28).

Rules: never beyond `liquidation_band_ppm` of the reference price, so that no far-off order is swept; in
steps, never more than a part of what was there at the start and never more than a part of what rests inside
the band. Must not know who has to trade, nor why.
"""

from __future__ import annotations

from engine.events import Event
from engine.fixed import (
    discounted_price_up_e8,
    multiple_down,
    multiple_up,
    ppm_of_down,
    premium_price_down_e8,
    units_for_usd6_up,
)
from engine.markets import reference_price
from engine.matching import reducible_units
from engine.orders import take_liquidity
from engine.state import State, Subaccount
from engine.units import SubaccountId


def limit_price_e8(state: State, market: str, is_buy: bool) -> int:
    """Give the limit: floor(reference x (1 + band)) to buy, ceil(reference x (1 - band)) to sell (R22); the
    reference is the mark, of a spot market the index. 0 without one.
    """
    params = state.markets[market]
    reference = reference_price(state, params)
    if reference is None:
        return 0
    if is_buy:
        return premium_price_down_e8(reference.price_e8, params.liquidation_band_ppm)
    return discounted_price_up_e8(reference.price_e8, params.liquidation_band_ppm)


def step_units(state: State, market: str, left_units: int, entry_units: int) -> int:
    """Give min(left, max(one lot, 10% of the size at entry in whole lots)), in whole lots (R22)."""
    lot_units = state.markets[market].lot_units
    part_units = multiple_down(ppm_of_down(entry_units, state.params.liquidation_step_ppm), lot_units)
    return multiple_down(min(left_units, max(lot_units, part_units)), lot_units)


def take_a_step(
    state: State,
    one: Subaccount,
    market: str,
    is_buy: bool,
    left_units: int,
    entry_units: int,
    out: list[Event],
) -> int:
    """Make one small immediate order (R22); give the units traded.

    At most the step's size, and at most a quarter of the units resting inside the band, in whole lots.
    """
    limit_e8 = limit_price_e8(state, market, is_buy)
    if not limit_e8:
        return 0
    lot_units = state.markets[market].lot_units
    visible_units = _visible_units(state, market, not is_buy, limit_e8)
    takeable_units = multiple_down(ppm_of_down(visible_units, state.params.depth_share_ppm), lot_units)
    units = min(step_units(state, market, left_units, entry_units), takeable_units)
    return take_liquidity(state, one, market, is_buy, units, limit_e8, out) if units else 0


def _visible_units(state: State, market: str, is_buy: bool, limit_e8: int) -> int:
    """Give the units that rest on a side at the limit or better; of a subaccount's reduce-only orders
    together no more than they could reduce, or a small position could show any depth (R22).
    """
    book = state.books[market]
    offered: dict[SubaccountId, int] = {}
    for order in book.reduce_only.values():
        inside = order.price_e8 >= limit_e8 if is_buy else order.price_e8 <= limit_e8
        if order.is_buy == is_buy and inside:
            offered[order.subaccount] = offered.get(order.subaccount, 0) + order.units
    excess_units = 0
    for name, units in offered.items():
        excess_units += max(0, units - reducible_units(state.subaccounts[name], market, is_buy))
    return book.units_inside(is_buy, limit_e8) - excess_units


def spot_market_of(state: State, asset: str) -> str:
    """Name the first spot market of an asset, "" when there is none."""
    for market, params in state.markets.items():
        if params.is_spot and params.asset == asset:
            return market
    return ""


def sell_for_loss(
    state: State, one: Subaccount, asset: str, loss_usd6: int, rate_e8: int, out: list[Event]
) -> bool:
    """Sell as much free cash of an asset on its book as a loss needs, inside the band (R26). True if any.

    Never below the rate at which the insurance fund would take it. units = ceil(loss / limit), up to whole
    lots; what is free in whole lots at most.
    """
    market = spot_market_of(state, asset)
    limit_e8 = limit_price_e8(state, market, False) if market else 0
    if not limit_e8:
        return False
    limit_e8 = max(limit_e8, rate_e8)
    needed_units = units_for_usd6_up(loss_usd6, limit_e8, state.assets[asset].decimals)
    units = multiple_up(needed_units, state.markets[market].lot_units)
    return take_liquidity(state, one, market, False, units, limit_e8, out) > 0
