"""Interest, lending, redeeming, borrowing, repaying, taking over: what writes (R9-R11, R21, R27).

Theory of operation. One pool per asset. Its cash is in the system account `lending_pool`; lenders and
borrowers hold shares, and interest only moves the two indices. Before shares change hands in any way,
interest accrues up to the present time, so nobody earns or pays for time in which he was not there.

cash --lend--> lent shares --redeem--> cash (pauses above the throttle unless forced: losses, liquidations)
pool --borrow--> cash and borrowed shares --repay--> pool
borrowed shares --take over--> insurance_fund: the lenders never notice

Every function here that writes first makes interest accrue; none refuses: who asks has checked. Must not know
settlements, deposits and withdrawals, which call it.
"""

from __future__ import annotations

from engine.events import (
    Borrowed,
    BorrowTakenOver,
    Event,
    InterestAccrued,
    Lent,
    Redeemed,
    Repaid,
)
from engine.fixed import increased_price_up_e8, notional_up_usd6, scale_up
from engine.ledger import emit
from engine.margin import can_pay_without_claims
from engine.pool import (
    accrual,
    borrow_rate_ppm,
    borrow_shares,
    free_units,
    lend_shares,
    lent_units,
    owed_units,
    pool_cash_units,
    redeem_shares,
    redeemable_units,
    repay_shares,
    utilization_ppm,
)
from engine.state import State, Subaccount
from engine.units import E18, INSURANCE_FUND, MAX_UNITS, SETTLEMENT_ASSET

_ONE_DOLLAR_E8 = 10**8


def accrue(state: State, asset: str, out: list[Event]) -> None:
    """Make a pool's interest accrue up to now (R9); nothing happens twice at one time."""
    pool = state.pools[asset]
    if not pool.borrowed_shares:
        return
    due = accrual(state.assets[asset].lending, pool, state.last_time_ns)
    if due is not None:
        emit(
            state,
            out,
            InterestAccrued(
                asset=asset,
                utilization_ppm=utilization_ppm(state, asset),
                borrow_rate_ppm=borrow_rate_ppm(state, asset),
                borrow_index_e18=due.borrow_index_e18,
                lend_index_e18=due.lend_index_e18,
                fee_shares=due.fee_shares,
            ),
        )


def accrue_all(state: State, out: list[Event]) -> None:
    """Make interest of every pool accrue (R9), in the order of the assets."""
    for asset in state.assets:
        accrue(state, asset, out)


def idle_lenders(state: State, asset: str) -> list[tuple[Subaccount, int]]:
    """List who has cash that is to be lent by itself, and how much, in canonical order (R10).

    Free cash of at least the asset's minimum deposit, of subaccounts with auto_lend on that do not owe the
    asset and are not in liquidation. Dollars of whoever has a position stay: every settlement takes from them
    or adds to them. Nobody, while the insurance fund owes to the pool what it could not pay.
    """
    if has_hole(state, asset):
        return []
    minimum_units = state.assets[asset].minimum_deposit_units
    found = {}
    for name in state.idle[asset]:
        one = state.subaccounts[name]
        units = free_units(one, asset)
        if units < minimum_units or asset in one.borrowed or name in state.liquidations:
            continue
        if not (one.positions and asset == SETTLEMENT_ASSET):
            found[name] = units
    return [(one, found[one.id]) for one in state.ordered(found)]


def has_hole(state: State, asset: str) -> bool:
    """Tell whether the insurance fund owes a pool what it could not pay: what is lent to it beyond its cash
    is worth less than it says (R10, R26, R27).
    """
    fund = state.subaccounts[INSURANCE_FUND]
    return asset in fund.borrowed and not can_pay_without_claims(state, fund)


def lend_idle(state: State, out: list[Event]) -> None:
    """Lend idle cash of every asset that somebody borrows (R10), in the order of the assets: a loan that
    nobody takes earns nothing.
    """
    for asset in state.assets:
        if state.pools[asset].borrowed_shares and state.idle[asset]:
            for one, units in idle_lenders(state, asset):
                lend(state, one, asset, units, out)


def lend(state: State, one: Subaccount, asset: str, units: int, out: list[Event]) -> None:
    """Lend free cash (R10); shares round down. Nothing happens when it is too little for a share."""
    accrue(state, asset, out)
    shares = lend_shares(state.pools[asset], units)
    if shares:
        emit(state, out, Lent(one.id, asset, units, shares))


def redeem(
    state: State, one: Subaccount, asset: str, units: int, out: list[Event], *, forced: bool = False
) -> int:
    """Redeem up to units of what is lent, as the pool allows (R10), and give the units redeemed. MAX_UNITS
    asks for all.

    Forced, for a loss or a liquidation: throttle and maximum have no say, only the pool's cash.
    """
    if asset not in one.lent or units <= 0:
        return 0
    accrue(state, asset, out)
    if forced:
        most_units = min(lent_units(state, one, asset), pool_cash_units(state, asset))
    else:
        most_units = redeemable_units(state, one, asset)
    units = min(units, most_units)
    if units > 0:
        emit(state, out, Redeemed(one.id, asset, units, redeem_shares(state, one, asset, units)))
    return units


def redeem_shortage(state: State, one: Subaccount, asset: str, units: int, out: list[Event]) -> None:
    """Redeem what free cash lacks of units, as the pool allows (R30)."""
    redeem(state, one, asset, units - free_units(one, asset), out)


def redeem_for_liquidation(state: State, one: Subaccount, out: list[Event]) -> None:
    """Redeem all that is lent, as far as the pools have cash (R21)."""
    for asset in sorted(one.lent):
        redeem(state, one, asset, MAX_UNITS, out, forced=True)


def borrow(state: State, one: Subaccount, asset: str, units: int, out: list[Event]) -> None:
    """Borrow units into cash (R11); shares round up. The caller has asked `borrow_fault` and `pool_fault`."""
    accrue(state, asset, out)
    emit(state, out, Borrowed(one.id, asset, units, borrow_shares(state.pools[asset], units)))


def repay(
    state: State, one: Subaccount, asset: str, units: int, out: list[Event], *, from_lent: bool = True
) -> int:
    """Repay up to units of a borrow from free cash, then from what is lent of the asset (R11). MAX_UNITS asks
    for all.

    Shares round down, all of them for all that is owed. What is lent is set off against what is owed, so
    that the pool needs no cash for it. Gives the units paid.
    """
    if asset not in one.borrowed or units <= 0:
        return 0
    accrue(state, asset, out)
    units = min(units, owed_units(state, one, asset))
    from_cash = min(units, free_units(one, asset))
    set_off = min(units - from_cash, lent_units(state, one, asset)) if from_lent else 0
    shares = repay_shares(state, one, asset, from_cash + set_off)
    if shares == 0:
        return 0
    left = one.borrowed[asset] - shares
    emit(
        state,
        out,
        Repaid(
            subaccount=one.id,
            asset=asset,
            cash_units=from_cash,
            lent_units=set_off,
            lent_shares=redeem_shares(state, one, asset, set_off) if set_off else 0,
            shares=shares,
            owed_units=scale_up(left, state.pools[asset].borrow_index_e18, E18),
        ),
    )
    return from_cash + set_off


def repay_incoming(state: State, one: Subaccount, asset: str, units: int, out: list[Event]) -> None:
    """Let units that have just come in repay a borrow of the same asset, when auto_repay is on (R11)."""
    if one.borrowed and one.auto_repay and asset in one.borrowed:
        repay(state, one, asset, units, out, from_lent=False)


def repay_from_cash(state: State, one: Subaccount, out: list[Event]) -> None:
    """Repay every borrow from cash and lent units of the same asset, as far as they go (R21)."""
    for asset in sorted(one.borrowed):
        repay(state, one, asset, MAX_UNITS, out)


def take_over_borrow(
    state: State,
    one: Subaccount,
    asset: str,
    units: int,
    rate_e8: int,
    out: list[Event],
    *,
    usd6: int | None = None,
) -> int:
    """Let the insurance fund take over up to units of a borrow at a rate, and give what it costs in usd6.

    usd6 (ceil(units x rate) when it is not given) is owed by the subaccount and due to the fund, both in
    unsettled; shares round down, all of them for all that is owed.
    """
    accrue(state, asset, out)
    units = min(units, owed_units(state, one, asset))
    shares = repay_shares(state, one, asset, units)
    if shares == 0:
        return 0
    if usd6 is None:
        usd6 = notional_up_usd6(units, rate_e8, state.assets[asset].decimals)
    emit(state, out, BorrowTakenOver(one.id, asset, units, shares, usd6, rate_e8))
    return usd6


def take_over_rate_e8(state: State, asset: str) -> int:
    """Give the price at which the fund takes over a borrow from who still owns something: index x (1 +
    haircut), rounded up (R21). The fund has to buy the units.
    """
    haircut_ppm = state.assets[asset].haircut_ppm
    return increased_price_up_e8(index_e8(state, asset), haircut_ppm)


def move_borrow_to_fund(state: State, one: Subaccount, asset: str, out: list[Event]) -> None:
    """Move a bankrupt subaccount's whole borrow to the insurance fund at index (R27)."""
    accrue(state, asset, out)
    units = owed_units(state, one, asset)
    take_over_borrow(state, one, asset, units, index_e8(state, asset), out)


def put_fund_in_order(state: State, out: list[Event]) -> None:
    """Let the insurance fund repay what it has taken over from what it has of the asset, and redeem the rest
    of what it has lent as the pools allow; at every tick.
    """
    fund = state.subaccounts[INSURANCE_FUND]
    if fund.borrowed:
        repay_from_cash(state, fund, out)
    for asset in sorted(fund.lent):
        redeem(state, fund, asset, MAX_UNITS, out)


def index_e8(state: State, asset: str) -> int:
    """Give the index price of an asset that has one; a dollar for USDC (R1)."""
    return _ONE_DOLLAR_E8 if asset == SETTLEMENT_ASSET else state.index_prices[asset].price_e8
