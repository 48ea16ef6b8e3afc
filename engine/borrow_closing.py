"""Closing borrows of a subaccount in liquidation (R21, R22): from balances, on the books, by the fund.

Rules: what is there of the asset repays first. Then one small order per step: collateral is sold as far as
dollars are short, the borrowed asset is bought with what dollars are there, inside the band. What the books
cannot do the insurance fund does in the later stages: it takes the borrow over at index x (1 + haircut), of
which the haircut is paid as far as the account value goes: closing brings nobody into debt. Must not
know positions.
"""

from __future__ import annotations

from engine.events import Event
from engine.fixed import multiple_up, notional_up_usd6, units_for_usd6_up
from engine.lending import accrue, index_e8, repay, take_over_borrow, take_over_rate_e8
from engine.margin import borrow_risk, is_recovered, margin_with
from engine.pool import free_units, owed_units
from engine.prices import waits_for_index
from engine.settlement import collect
from engine.small_steps import limit_price_e8, spot_market_of, take_a_step
from engine.stages import BACKSTOP, BOOK, count_fill
from engine.state import State, Subaccount
from engine.units import MAX_UNITS, SETTLEMENT_ASSET


def close_borrows(state: State, one: Subaccount, use_fund: bool, out: list[Event]) -> bool:
    """Make one step per borrow, the largest maintenance margin first, ties by symbol, until recovered (R22).

    With use_fund what is left is taken over by the fund. True if anything was done.
    """
    progress = False
    for asset in _by_maintenance_margin(state, one):
        if is_recovered(state, margin_with(state, one)):
            break
        if _repay_and_trade(state, one, asset, out):
            progress = True
        if use_fund and asset in one.borrowed and not is_recovered(state, margin_with(state, one)):
            progress = _hand_over(state, one, asset, out) or progress
    return progress


def _by_maintenance_margin(state: State, one: Subaccount) -> list[str]:
    def rank(asset: str) -> tuple[int, str]:
        return -borrow_risk(state, asset, owed_units(state, one, asset))[2], asset

    return sorted(one.borrowed, key=rank)


def _repay_and_trade(state: State, one: Subaccount, asset: str, out: list[Event]) -> bool:
    progress = _repay(state, one, asset, out)
    if asset not in one.borrowed:
        return True
    owed = owed_units(state, one, asset)
    if asset == SETTLEMENT_ASSET:
        if _raise_dollars(state, one, owed, out):
            progress = _repay(state, one, asset, out) or progress
        return progress
    market = spot_market_of(state, asset)
    limit_e8 = limit_price_e8(state, market, True) if market else 0
    if not limit_e8:
        return progress
    lots_units = multiple_up(owed, state.markets[market].lot_units)
    needed_usd6 = notional_up_usd6(lots_units, limit_e8, state.assets[asset].decimals)
    if _raise_dollars(state, one, needed_usd6, out):
        progress = True
    entry_units = state.liquidations[one.id].entry_units.setdefault(market, lots_units)
    traded = take_a_step(state, one, market, True, lots_units, entry_units, out)
    if traded:
        count_fill(state, one, BOOK, market, traded)
        _repay(state, one, asset, out)
    return progress or traded > 0


def _repay(state: State, one: Subaccount, asset: str, out: list[Event]) -> bool:
    return repay(state, one, asset, MAX_UNITS, out) > 0


def _raise_dollars(state: State, one: Subaccount, needed_usd6: int, out: list[Event]) -> bool:
    """Sell collateral that is not owed, one step per asset, lowest haircut first, until there are as many
    free dollars as needed. True if anything was sold.
    """
    sold = False
    for asset in sorted(one.cash, key=lambda symbol: (state.assets[symbol].haircut_ppm, symbol)):
        short_usd6 = needed_usd6 - free_units(one, SETTLEMENT_ASSET)
        market = "" if asset == SETTLEMENT_ASSET else spot_market_of(state, asset)
        limit_e8 = limit_price_e8(state, market, False) if market else 0
        if short_usd6 <= 0 or not limit_e8 or asset in one.borrowed:
            continue
        free = free_units(one, asset)
        lot_units, decimals = state.markets[market].lot_units, state.assets[asset].decimals
        left = min(free, multiple_up(units_for_usd6_up(short_usd6, limit_e8, decimals), lot_units))
        entry_units = state.liquidations[one.id].entry_units.setdefault(market, free)
        traded = take_a_step(state, one, market, False, left, entry_units, out)
        if traded:
            count_fill(state, one, BOOK, market, traded)
            sold = True
    return sold


def _hand_over(state: State, one: Subaccount, asset: str, out: list[Event]) -> bool:
    """Let the fund take over what is left of a borrow, and collect what that costs (R26); not at a stale
    price.
    """
    if waits_for_index(state, asset):
        return False
    accrue(state, asset, out)
    owed, decimals = owed_units(state, one, asset), state.assets[asset].decimals
    at_index_e8, rate_e8 = index_e8(state, asset), take_over_rate_e8(state, asset)
    at_index_usd6 = notional_up_usd6(owed, at_index_e8, decimals)
    haircut_usd6 = notional_up_usd6(owed, rate_e8, decimals) - at_index_usd6
    left_usd6 = max(0, margin_with(state, one).account_value_usd6)
    if left_usd6 < haircut_usd6:
        rate_e8, haircut_usd6 = at_index_e8, left_usd6
    market = spot_market_of(state, asset)
    done = take_over_borrow(state, one, asset, owed, rate_e8, out, usd6=at_index_usd6 + haircut_usd6) > 0
    if done and market:
        count_fill(state, one, BACKSTOP, market, owed)
    collect(state, one, out)
    return done
