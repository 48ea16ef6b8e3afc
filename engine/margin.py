"""The risk of a subaccount (R16-R20). Pure: reads the state, never writes.

Rules: values round down, requirements round up; ratios are compared by cross-multiplication. Must not know
what is done about a subaccount that is short.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.collateral import collateral_of
from engine.fixed import (
    compare_ratios,
    leverage_ratio_up_ppm,
    margin_ratio_up_ppm,
    notional_down_usd6,
    notional_up_usd6,
    ppm_of_up,
    requirement_up_usd6,
)
from engine.params import MarketParams
from engine.pool import owed_units
from engine.state import State, Subaccount
from engine.units import PPM, SETTLEMENT_ASSET, SubaccountId


@dataclass(frozen=True, slots=True)
class Margin:
    """Where a subaccount stands, all in usd6. Open orders count in initial_margin_usd6 only (R18).

    net_equity weighs collateral (R17), account_value does not; both are after liabilities, which are borrows
    at index (R11). withdrawal_equity is net equity without positive unrealized profit and without unpaid
    claims (R28, R30). stale_collateral is the part of each that rests on a stale index: what is to be taken
    on, or to leave, must do without it (R17).
    """

    net_equity_usd6: int
    account_value_usd6: int
    withdrawal_equity_usd6: int
    unrealized_pnl_usd6: int
    exposure_usd6: int
    initial_margin_usd6: int
    maintenance_margin_usd6: int
    liabilities_usd6: int
    stale_collateral_usd6: int


def margin_of(state: State, subaccount: SubaccountId) -> Margin:
    """Compute the margin of a subaccount at the present prices (R17, R18). Raises KeyError for an unknown
    one.
    """
    return margin_with(state, state.subaccounts[subaccount])


def margin_with(
    state: State,
    one: Subaccount,
    *,
    market: str = "",
    base_units: int = 0,
    quote_usd6: int = 0,
    buy_units: int = 0,
    sell_units: int = 0,
    asset: str = "",
    asset_units: int = 0,
    usdc_units: int = 0,
    owed_asset: str = "",
    owed_more_units: int = 0,
) -> Margin:
    """Compute a margin as if something had changed.

    In a perpetual market: the position by (base_units, quote_usd6), open orders by (buy_units, sell_units).
    In cash: asset_units of an asset, usdc_units of USDC. In borrows: owed_more_units of an asset.
    """
    full_usd6, weighted_usd6, stale_usd6 = collateral_of(state, one, asset, asset_units, usdc_units)
    unrealized_usd6, exposure_usd6, initial_usd6, maintenance_usd6 = _positions_risk(
        state, one, market, base_units, quote_usd6, buy_units, sell_units
    )
    liabilities_usd6 = 0
    if one.borrowed or owed_asset:
        for owed in dict.fromkeys((*one.borrowed, owed_asset) if owed_asset else one.borrowed):
            units = owed_units(state, one, owed) + (owed_more_units if owed == owed_asset else 0)
            liability, initial, maintenance = borrow_risk(state, owed, units)
            liabilities_usd6 += liability
            exposure_usd6 += liability
            initial_usd6 += initial
            maintenance_usd6 += maintenance
    open_usd6 = unrealized_usd6 + one.unsettled_usd6
    return Margin(
        net_equity_usd6=weighted_usd6 + open_usd6 - liabilities_usd6,
        account_value_usd6=full_usd6 + open_usd6 - liabilities_usd6,
        withdrawal_equity_usd6=weighted_usd6 + min(0, open_usd6) - liabilities_usd6,
        unrealized_pnl_usd6=unrealized_usd6,
        exposure_usd6=exposure_usd6,
        initial_margin_usd6=initial_usd6,
        maintenance_margin_usd6=maintenance_usd6,
        liabilities_usd6=liabilities_usd6,
        stale_collateral_usd6=stale_usd6,
    )


def may_trade(
    state: State,
    one: Subaccount,
    market: str,
    base_units: int,
    quote_usd6: int,
    buy_units: int,
    sell_units: int,
) -> bool:
    """Tell whether a change in a perpetual market is allowed (R19), as `may_become` of the two margins.

    Initial margin alone is asked first: it decides almost always, and needs no margin before.
    """
    if not one.borrowed:
        unrealized_usd6, _, initial_usd6, _ = _positions_risk(
            state, one, market, base_units, quote_usd6, buy_units, sell_units
        )
        _, weighted_usd6, stale_usd6 = collateral_of(state, one)
        if weighted_usd6 - stale_usd6 + unrealized_usd6 + one.unsettled_usd6 >= initial_usd6:
            return True
    after = margin_after_trade(state, one, market, base_units, quote_usd6, buy_units, sell_units)
    return may_become(margin_with(state, one), after)


def margin_after_trade(
    state: State,
    one: Subaccount,
    market: str,
    base_units: int,
    quote_usd6: int,
    buy_units: int,
    sell_units: int,
) -> Margin:
    """Compute the margin as if a position in a perpetual market and its open orders had changed."""
    return margin_with(
        state,
        one,
        market=market,
        base_units=base_units,
        quote_usd6=quote_usd6,
        buy_units=buy_units,
        sell_units=sell_units,
    )


def _positions_risk(
    state: State,
    one: Subaccount,
    market: str,
    base_units: int,
    quote_usd6: int,
    buy_units: int,
    sell_units: int,
) -> tuple[int, int, int, int]:
    """Sum (unrealized pnl, exposure, initial margin, maintenance margin) over positions and open orders."""
    unrealized_usd6 = exposure_usd6 = initial_usd6 = maintenance_usd6 = 0
    positions, open_orders = one.positions, one.open_orders
    names: Iterable[str] = positions
    if open_orders and not open_orders.keys() <= positions.keys():
        names = {**positions, **open_orders}
    if market and market not in names:
        names = (*names, market)
    for name in names:
        position, orders = positions.get(name), open_orders.get(name)
        base, quote = (0, 0) if position is None else (position.base_units, position.quote_usd6)
        buys, sells = (0, 0) if orders is None else (orders.buy_units, orders.sell_units)
        if name == market:
            base, quote = base + base_units, quote + quote_usd6
            buys, sells = buys + buy_units, sells + sell_units
        pnl, exposure, initial, maintenance = _position_risk(state, name, base, quote, buys, sells)
        unrealized_usd6 += pnl
        exposure_usd6 += exposure
        initial_usd6 += initial
        maintenance_usd6 += maintenance
    return unrealized_usd6, exposure_usd6, initial_usd6, maintenance_usd6


def position_value_usd6(state: State, market: str, base_units: int) -> int:
    """Value a signed base at mark, rounded down: floor(base x mark / 10^(decimals + 2)); 0 for no base."""
    if base_units == 0:
        return 0
    decimals = state.assets[state.markets[market].asset].decimals
    return notional_down_usd6(base_units, state.mark_prices[market].price_e8, decimals)


def liability_usd6(state: State, asset: str, units: int) -> int:
    """Value owed units at index, rounded up (R17). What was borrowed once has a price."""
    if asset == SETTLEMENT_ASSET:
        return units
    return notional_up_usd6(units, state.index_prices[asset].price_e8, state.assets[asset].decimals)


def borrow_risk(state: State, asset: str, units: int) -> tuple[int, int, int]:
    """Give (liability, initial margin, maintenance margin) of owed units: a borrow is a short (R11, R18)."""
    liability = liability_usd6(state, asset, units)
    lending = state.assets[asset].lending
    imf_ppm = max(lending.base_imf_ppm, margin_ratio_up_ppm(lending.imf_factor_e12, liability))
    mmf_ppm = max(lending.base_mmf_ppm, margin_ratio_up_ppm(lending.mmf_factor_e12, liability))
    return liability, ppm_of_up(liability, imf_ppm), ppm_of_up(liability, mmf_ppm)


def outstanding_negative_equity_usd6(state: State, subaccount: SubaccountId) -> int:
    """Give max(0, -account_value) of a subaccount, its positions at mark (R28). Raises KeyError for an
    unknown one.
    """
    return outstanding_of(state, state.subaccounts[subaccount])


def outstanding_of(state: State, one: Subaccount) -> int:
    """Give max(0, -account_value); constant time for a subaccount without positions, borrows and realized
    loss.
    """
    if one.unsettled_usd6 >= 0 and not one.positions and not one.borrowed:
        return 0
    value_usd6 = collateral_of(state, one)[0] + realized_usd6(state, one)
    for asset in one.borrowed:
        value_usd6 -= liability_usd6(state, asset, owed_units(state, one, asset))
    return max(0, -value_usd6)


def can_pay_without_claims(state: State, one: Subaccount) -> bool:
    """Tell whether all that is held, at index, covers all that is owed; claims not paid yet do not count.

    For a subaccount without positions: the insurance fund (R10, R27).
    """
    value_usd6 = collateral_of(state, one)[0] + min(0, one.unsettled_usd6)
    for asset in one.borrowed:
        value_usd6 -= liability_usd6(state, asset, owed_units(state, one, asset))
    return value_usd6 >= 0


def realized_usd6(state: State, one: Subaccount) -> int:
    """Give what unsettled would be if every position were realized at mark now (R26)."""
    value_usd6 = one.unsettled_usd6
    for market, position in one.positions.items():
        value_usd6 += position_value_usd6(state, market, position.base_units) + position.quote_usd6
    return value_usd6


def meets_maintenance_margin(margin: Margin) -> bool:
    """Tell whether a subaccount is left alone (R20): account value not negative, and with positions MMR <
    100%.
    """
    if margin.account_value_usd6 < 0:
        return False
    return margin.maintenance_margin_usd6 == 0 or margin.net_equity_usd6 > margin.maintenance_margin_usd6


def is_recovered(state: State, margin: Margin) -> bool:
    """Tell whether closing may stop (R20): net_equity >= maintenance_margin x 1.05, account value not
    negative.
    """
    needed = margin.maintenance_margin_usd6 * state.params.liquidation_end_ppm
    return margin.account_value_usd6 >= 0 and margin.net_equity_usd6 * PPM >= needed


def compare_margin_fractions(first: Margin, second: Margin) -> int:
    """Compare net_equity / exposure of two subaccounts with positions (R19); negative when the first is
    lower.
    """
    return compare_ratios(
        first.net_equity_usd6, first.exposure_usd6, second.net_equity_usd6, second.exposure_usd6
    )


def meets_initial_margin(margin: Margin) -> bool:
    """Tell whether net equity without stale collateral covers initial margin (R17, R19)."""
    return margin.net_equity_usd6 - margin.stale_collateral_usd6 >= margin.initial_margin_usd6


def needs_stale_collateral(margin: Margin) -> bool:
    """Tell whether initial margin would be met if collateral with a stale index counted (R19)."""
    return margin.net_equity_usd6 >= margin.initial_margin_usd6 and not meets_initial_margin(margin)


def may_become(before: Margin, after: Margin) -> bool:
    """Tell whether a step is allowed (R19): initial margin is met afterwards, or nothing got worse.

    Nothing got worse: neither margin is higher, and net equity is no lower; or maintenance margin is lower,
    net equity not negative and net_equity / maintenance_margin no lower, so that who is short of initial
    margin can close a position although that costs a fee. Stale collateral does not count for the first,
    and counts for the second.
    """
    if meets_initial_margin(after):
        return True
    if (
        after.initial_margin_usd6 > before.initial_margin_usd6
        or after.maintenance_margin_usd6 > before.maintenance_margin_usd6
    ):
        return False
    if after.net_equity_usd6 >= before.net_equity_usd6:
        return True
    return (
        after.net_equity_usd6 >= 0
        and after.maintenance_margin_usd6 < before.maintenance_margin_usd6
        and after.net_equity_usd6 * before.maintenance_margin_usd6
        >= before.net_equity_usd6 * after.maintenance_margin_usd6
    )


def initial_ratio_ppm(market: MarketParams, exposure_usd6: int) -> int:
    """Give IMF = max(1/max_leverage, base_imf, imf_factor x sqrt(exposure in USD)), rounded up (R18)."""
    return max(_initial_floor_ppm(market), margin_ratio_up_ppm(market.imf_factor_e12, exposure_usd6))


def _initial_floor_ppm(market: MarketParams) -> int:
    return max(leverage_ratio_up_ppm(market.max_leverage), market.base_imf_ppm)


def maintenance_ratio_ppm(market: MarketParams, exposure_usd6: int) -> int:
    """Give MMF = max(base_mmf, mmf_factor x sqrt(exposure in USD)), rounded up (R18)."""
    return max(market.base_mmf_ppm, margin_ratio_up_ppm(market.mmf_factor_e12, exposure_usd6))


def _position_risk(
    state: State, market: str, base_units: int, quote_usd6: int, buy_units: int, sell_units: int
) -> tuple[int, int, int, int]:
    """Give (unrealized pnl, exposure, initial margin, maintenance margin) of one position and its orders.

    Initial margin is for the larger of |base + buys| and |base - sells| (R18), the rest for |base|.
    """
    held_units = abs(base_units)
    worst_units = held_units
    if buy_units or sell_units:
        worst_units = max(abs(base_units + buy_units), abs(base_units - sell_units))
    if held_units == 0 and worst_units == 0:
        return quote_usd6, 0, 0, 0
    params = state.markets[market]
    price_e8, decimals = state.mark_prices[market].price_e8, state.assets[params.asset].decimals
    worst_usd6 = notional_up_usd6(worst_units, price_e8, decimals)
    initial_usd6 = requirement_up_usd6(worst_usd6, _initial_floor_ppm(params), params.imf_factor_e12)
    if held_units == 0:
        return quote_usd6, 0, initial_usd6, 0
    exposure_usd6 = worst_usd6
    if worst_units != held_units:
        exposure_usd6 = notional_up_usd6(held_units, price_e8, decimals)
    return (
        notional_down_usd6(base_units, price_e8, decimals) + quote_usd6,
        exposure_usd6,
        initial_usd6,
        requirement_up_usd6(exposure_usd6, params.base_mmf_ppm, params.mmf_factor_e12),
    )
