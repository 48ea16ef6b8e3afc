"""Bankruptcy, what the insurance fund covers, and what is written off in the end (R27).

Rules: the fund first pays what it owes itself for assets it bought, then debts, oldest first; what it pays is
extinguished for good. A debt older than the write-off age is extinguished and the claims behind it are cut
pro rata; so is what the fund itself has lacked for as long.
"""

from __future__ import annotations

from engine.events import DebtCovered, DebtEnded, Event, LossSocialized, SubaccountBankrupt
from engine.fixed import share_out
from engine.ledger import emit
from engine.lending import move_borrow_to_fund
from engine.margin import outstanding_of
from engine.orders import cancel_all
from engine.pool import owed_units
from engine.prices import waits_for_index
from engine.settlement import has_collateral
from engine.state import State, Subaccount
from engine.units import FEES, INSURANCE_FUND, SETTLEMENT_ASSET, SubaccountId


def declare_if_bankrupt(state: State, one: Subaccount, out: list[Event]) -> None:
    """Announce outstanding negative equity: a debt, no positions and no collateral left (R27).

    Borrows that are left move to the insurance fund at index first, and are part of the debt; not at an index
    that nobody vouches for.
    """
    if one.positions or one.is_system or one.id in state.debts:
        return
    if one.unsettled_usd6 >= 0 and not (one.borrowed and outstanding_of(state, one)):
        return
    if any(waits_for_index(state, asset) for asset in one.borrowed):
        return
    if not has_collateral(state, one):
        cancel_all(state, one, out, "bankruptcy")
        for asset in sorted(one.borrowed):
            move_borrow_to_fund(state, one, asset, out)
        emit(state, out, SubaccountBankrupt(one.id, -one.unsettled_usd6))


def cover_debts(state: State, out: list[Event]) -> None:
    """Let the fund pay outstanding debts, oldest first, as far as it has USDC (R27)."""
    fund = state.subaccounts[INSURANCE_FUND]
    for subaccount in state.debts:
        debt_usd6 = -state.subaccounts[subaccount].unsettled_usd6
        units = min(fund.cash.get(SETTLEMENT_ASSET, 0), debt_usd6)
        if units > 0:
            emit(state, out, DebtCovered(subaccount, units, debt_usd6 - units))


def fund_free_usd6(state: State) -> int:
    """Give the dollars that the fund has for debts of others: its own come first (R27, R31)."""
    fund = state.subaccounts[INSURANCE_FUND]
    owed = owed_units(state, fund, SETTLEMENT_ASSET)
    return max(0, fund.cash.get(SETTLEMENT_ASSET, 0) + min(0, fund.unsettled_usd6) - owed)


def fund_would_cover_usd6(state: State, subaccount: SubaccountId) -> int:
    """Say how much of a subaccount's debt the fund would pay at a tick now, older debts first (R29)."""
    left = fund_free_usd6(state)
    for debtor in state.debts:
        if not left:
            return 0
        covered = max(0, min(left, -state.subaccounts[debtor].unsettled_usd6))
        if debtor == subaccount:
            return covered
        left -= covered
    return max(0, min(left, -state.subaccounts[subaccount].unsettled_usd6))


def socialize_old_debts(state: State, now_ns: int, out: list[Event]) -> None:
    """Write off debts that are write_off_after_ns old: extinguished, claims cut pro rata (R27).

    The claim of `fees` is cut first, then the fund's, then customers' pro rata; never that of `rounding`,
    which holds nothing but residues it has to give back. The fund's own shortfall comes last.
    """
    for subaccount, since_ns in state.debts.items():
        debtor = state.subaccounts[subaccount]
        if now_ns - since_ns >= state.params.write_off_after_ns and debtor.unsettled_usd6 < 0:
            _write_off(state, debtor, -debtor.unsettled_usd6, out)
    _socialize_fund_shortfall(state, now_ns, out)


def fund_shortfall_usd6(state: State) -> int:
    """Say what of its own debt the fund could not pay if it sold all it holds at index now (R27)."""
    fund = state.subaccounts[INSURANCE_FUND]
    return min(outstanding_of(state, fund), max(0, -fund.unsettled_usd6))


def _socialize_fund_shortfall(state: State, now_ns: int, out: list[Event]) -> None:
    """Write off what the fund has lacked at every tick of write_off_after_ns (R27).

    A shortfall that grew meanwhile is written off as far as it was there all the time; the rest begins anew.
    """
    short_usd6 = fund_shortfall_usd6(state)
    if short_usd6 and state.fund_short_since_ns:
        state.fund_short_usd6 = min(state.fund_short_usd6, short_usd6)
        if now_ns - state.fund_short_since_ns < state.params.write_off_after_ns:
            return
        _write_off(state, state.subaccounts[INSURANCE_FUND], state.fund_short_usd6, out)
        short_usd6 = fund_shortfall_usd6(state)
    state.fund_short_since_ns = now_ns if short_usd6 else 0
    state.fund_short_usd6 = short_usd6


def _write_off(state: State, debtor: Subaccount, debt_usd6: int, out: list[Event]) -> None:
    winners = [
        one for one in state.ordered(state.unsettled_holders) if one.unsettled_usd6 > 0 and not one.is_system
    ]
    claims = [one.unsettled_usd6 for one in winners]
    fees_usd6 = max(0, state.subaccounts[FEES].unsettled_usd6)
    fund_usd6 = max(0, state.subaccounts[INSURANCE_FUND].unsettled_usd6)
    extinguished = min(debt_usd6, fees_usd6 + fund_usd6 + sum(claims))
    if extinguished:
        from_fees_usd6 = min(extinguished, fees_usd6)
        from_fund_usd6 = min(extinguished - from_fees_usd6, fund_usd6)
        rest_usd6 = extinguished - from_fees_usd6 - from_fund_usd6
        parts = share_out(rest_usd6, claims) if winners else ()
        shares = [(FEES, from_fees_usd6), (INSURANCE_FUND, from_fund_usd6)]
        shares += zip([one.id for one in winners], parts, strict=True)
        cuts = tuple([(name, cut) for name, cut in shares if cut])
        emit(state, out, LossSocialized(debtor.id, extinguished, cuts))


def end_settled_debts(state: State, out: list[Event]) -> None:
    """Announce every debt that is gone."""
    for subaccount in list(state.debts):
        if state.subaccounts[subaccount].unsettled_usd6 >= 0:
            emit(state, out, DebtEnded(subaccount))


def total_outstanding_usd6(state: State) -> int:
    """Sum outstanding negative equity of bankrupt subaccounts (R31)."""
    return state.totals.debts_usd6
