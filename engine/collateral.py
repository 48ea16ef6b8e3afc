"""What cash and lent units are worth (R10, R16), and what they pay when converted (R26, R28). Pure.

Must not know positions or debts.
"""

from __future__ import annotations

from engine.fixed import (
    discounted_price_down_e8,
    notional_down_usd6,
    ppm_of_down,
    units_for_usd6_up,
    weight_down_ppm,
)
from engine.params import AssetParams
from engine.pool import balances_units
from engine.prices import is_stale
from engine.state import State, Subaccount
from engine.units import SETTLEMENT_ASSET

# One USDC is one dollar by definition (R1); its price is no index.
SETTLEMENT_PRICE_E8 = 10**8


def asset_value_usd6(state: State, asset: str, units: int) -> int:
    """Value units at index, rounded down; 0 while the asset has no index price."""
    if asset == SETTLEMENT_ASSET:
        return units
    price = state.index_prices.get(asset)
    return 0 if price is None else notional_down_usd6(units, price.price_e8, state.assets[asset].decimals)


def collateral_value_usd6(params: AssetParams, value_usd6: int, units: int) -> int:
    """Weigh a value: floor(value x weight / 10^6), weight as in R16."""
    weight = weight_down_ppm(params.base_weight_ppm, params.weight_penalty_ppm, units, params.decimals)
    return ppm_of_down(value_usd6, weight)


def collateral_of(
    state: State, one: Subaccount, changed: str = "", changed_units: int = 0, usdc_units: int = 0
) -> tuple[int, int, int]:
    """Sum a subaccount's cash and lent units in usd6, each asset rounded down: (at full value, weighted, of
    the weighted what has a stale index, R17).

    As if it held changed_units more of one asset and usdc_units more of USDC.
    """
    full_usd6 = weighted_usd6 = usdc_units
    stale_usd6 = 0
    balances = balances_units(state, one) if one.lent else one.cash
    if changed_units and changed not in balances:
        full_usd6 += (value_usd6 := asset_value_usd6(state, changed, changed_units))
        collateral_usd6 = collateral_value_usd6(state.assets[changed], value_usd6, changed_units)
        weighted_usd6 += collateral_usd6
        if collateral_usd6 and is_stale(state, state.index_prices[changed]):
            stale_usd6 += collateral_usd6
    for asset, units in balances.items():
        if asset == SETTLEMENT_ASSET:
            full_usd6 += units
            weighted_usd6 += units
            continue
        if asset == changed:
            units += changed_units
        value_usd6 = asset_value_usd6(state, asset, units)
        full_usd6 += value_usd6
        collateral_usd6 = collateral_value_usd6(state.assets[asset], value_usd6, units)
        weighted_usd6 += collateral_usd6
        if collateral_usd6 and is_stale(state, state.index_prices[asset]):
            stale_usd6 += collateral_usd6
    return full_usd6, weighted_usd6, stale_usd6


def conversion_rate_e8(state: State, asset: str) -> int:
    """Give the price at which an asset pays a debt: index x (1 - haircut), rounded down; 0 without a fresh
    index: nobody buys at a price that nobody vouches for (R26).
    """
    price = state.index_prices.get(asset)
    if price is not None and is_stale(state, price):
        return 0
    return last_conversion_rate_e8(state, asset)


def last_conversion_rate_e8(state: State, asset: str) -> int:
    """Give the conversion rate at the last index, however old; 0 when there never was one."""
    if asset == SETTLEMENT_ASSET:
        return SETTLEMENT_PRICE_E8
    price = state.index_prices.get(asset)
    return 0 if price is None else discounted_price_down_e8(price.price_e8, state.assets[asset].haircut_ppm)


def plan_conversion(
    params: AssetParams, available_units: int, rate_e8: int, debt_usd6: int
) -> tuple[int, int]:
    """Plan how a debt is paid out of units at a rate: (units, usd6), R28.

    usd6 = min(debt, value of all units rounded down); units = those worth usd6, rounded up, at most all of
    them.
    """
    if rate_e8 <= 0:
        return 0, 0
    usd6 = min(debt_usd6, notional_down_usd6(available_units, rate_e8, params.decimals))
    return min(available_units, units_for_usd6_up(usd6, rate_e8, params.decimals)), usd6
