"""The numbers of a subaccount: the only functions that change them, with their totals and indices (R7).

Rules: cash, shares and what is set aside never go below zero; an attempt raises LedgerError and is our bug.
Zero entries are not kept. Used by engine/ledger.py alone. Must not know events.
"""

from __future__ import annotations

from engine.fixed import entry_cost_after
from engine.state import Position, State
from engine.units import SETTLEMENT_ASSET, SubaccountId


class LedgerError(RuntimeError):
    """A posting would break the ledger: a bug of the engine. The writer must stop."""


def _equity_changes(state: State, subaccount: SubaccountId, usd6: int) -> None:
    """Note for the screen (R33) what any price would value alike; a settlement nets to zero here."""
    changes = state.equity_changes
    changes[subaccount] = changes.get(subaccount, 0) + usd6


def change_cash(state: State, subaccount: SubaccountId, asset: str, units: int) -> None:
    """Change cash of an asset; raises LedgerError below zero."""
    if units == 0:
        return
    one = state.subaccounts[subaccount]
    cash = one.cash
    after = cash.get(asset, 0) + units
    if after > 0:
        cash[asset] = after
        if one.auto_lend:
            state.idle[asset][subaccount] = None
    elif after == 0:
        del cash[asset]
        state.idle[asset].pop(subaccount, None)
    else:
        raise LedgerError(f"cash of {subaccount} in {asset} would be {after}")
    if asset == SETTLEMENT_ASSET:
        _equity_changes(state, subaccount, units)
    else:
        state.reshaped[subaccount] = None
    state.totals.cash_units[asset] += units


def change_lent(state: State, subaccount: SubaccountId, asset: str, shares: int) -> None:
    """Change lent shares of an asset and the total of its pool (R9)."""
    pool = state.pools[asset]
    pool.lent_shares += shares
    pool.roundings += 1
    _shares(state.subaccounts[subaccount].lent, subaccount, asset, shares)
    state.reshaped[subaccount] = None


def change_borrowed(state: State, subaccount: SubaccountId, asset: str, shares: int) -> None:
    """Change borrowed shares of an asset and the total of its pool (R9)."""
    pool = state.pools[asset]
    if not pool.borrowed_shares:
        # Nothing was owed until now, so nothing has accrued.
        pool.accrued_ns = state.last_time_ns
    pool.borrowed_shares += shares
    pool.roundings += 1
    borrowed = state.subaccounts[subaccount].borrowed
    _shares(borrowed, subaccount, asset, shares)
    state.reshaped[subaccount] = None
    if borrowed:
        state.borrowers[subaccount] = None
    else:
        state.borrowers.pop(subaccount, None)


def _shares(held: dict[str, int], subaccount: SubaccountId, asset: str, shares: int) -> None:
    after = held.get(asset, 0) + shares
    if after > 0:
        held[asset] = after
    elif after == 0:
        held.pop(asset, None)
    else:
        raise LedgerError(f"shares of {subaccount} in {asset} would be {after}")


def change_unsettled(state: State, subaccount: SubaccountId, usd6: int) -> None:
    """Change unsettled."""
    if usd6 == 0:
        return
    one = state.subaccounts[subaccount]
    one.unsettled_usd6 += usd6
    _equity_changes(state, subaccount, usd6)
    state.totals.unsettled_usd6 += usd6
    if subaccount in state.debts:
        state.totals.debts_usd6 -= usd6
    if one.unsettled_usd6:
        state.unsettled_holders[subaccount] = None
    else:
        state.unsettled_holders.pop(subaccount, None)


def change_position(
    state: State, subaccount: SubaccountId, market: str, base_units: int, quote_usd6: int, price_e8: int = 0
) -> None:
    """Change a position; price_e8 is the price of the trade when base changes (the entry price of R7)."""
    one = state.subaccounts[subaccount]
    position = one.positions.get(market)
    if position is None:
        position = one.positions[market] = Position()
        if not one.is_system:
            state.holders[market][subaccount] = None
    if base_units:
        position.entry_cost = entry_cost_after(position.base_units, position.entry_cost, base_units, price_e8)
    position.base_units += base_units
    position.quote_usd6 += quote_usd6
    _equity_changes(state, subaccount, quote_usd6)
    if base_units:
        state.reshaped[subaccount] = None
    state.totals.base_units[market] += base_units
    state.totals.quote_usd6[market] += quote_usd6
    if position.base_units == 0 and position.quote_usd6 == 0:
        del one.positions[market]
        state.holders[market].pop(subaccount, None)


def set_aside(totals: dict[str, int], asset: str, units: int) -> None:
    """Change units pending or held; raises LedgerError below zero."""
    totals[asset] += units
    if totals[asset] < 0:
        raise LedgerError(f"units set aside in {asset} would be {totals[asset]}")
