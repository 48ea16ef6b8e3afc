"""The lending pool of one asset: shares and units, utilization, rates, what it can give out (R9, R10). Pure.

Rules: a share is worth its index, 10^18 = one unit. What is owed rounds up, what is lent rounds down; shares
that are given out round against who gets them, so that what the pool owns is never less than what it owes:
cash x 10^18 + borrowed shares x borrow index >= lent shares x lend index (I6). Ratios are compared by cross-
multiplication. Must not know margins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.fixed import notional_down_usd6, scale_down, scale_up, units_for_usd6_up
from engine.params import LendingParams
from engine.state import LendingPool, State, Subaccount
from engine.units import E18, LENDING_POOL, PPM, SETTLEMENT_ASSET, YEAR_NS

# 10^18 of a whole = 10^6 ppm: ppm of a rate to e18.
_E18_PER_PPM = 10**12


@dataclass(frozen=True, slots=True)
class Accrual:
    """What interest does to a pool (R9): its indices after it, and the shares the reserve fee buys."""

    borrow_index_e18: int
    lend_index_e18: int
    fee_shares: int


def lent_units(state: State, one: Subaccount, asset: str) -> int:
    """Give what a subaccount has lent: floor(shares x lend index / 10^18)."""
    shares = one.lent.get(asset)
    return scale_down(shares, state.pools[asset].lend_index_e18, E18) if shares else 0


def owed_units(state: State, one: Subaccount, asset: str) -> int:
    """Give what a subaccount owes to a pool: ceil(shares x borrow index / 10^18)."""
    shares = one.borrowed.get(asset)
    return scale_up(shares, state.pools[asset].borrow_index_e18, E18) if shares else 0


def free_units(one: Subaccount, asset: str) -> int:
    """Give the cash that no resting order has locked."""
    return one.cash.get(asset, 0) - one.locked.get(asset, 0)


def balance_units(state: State, one: Subaccount, asset: str) -> int:
    """Give cash and lent units together, which is what counts as collateral (R10)."""
    return one.cash.get(asset, 0) + lent_units(state, one, asset)


def balances_units(state: State, one: Subaccount) -> dict[str, int]:
    """Give cash and lent units together, per asset."""
    return {asset: balance_units(state, one, asset) for asset in dict.fromkeys((*one.cash, *one.lent))}


def pool_cash_units(state: State, asset: str) -> int:
    """Give the units that are in a pool and not borrowed."""
    return state.subaccounts[LENDING_POOL].cash.get(asset, 0)


def pool_lent_units(state: State, asset: str) -> int:
    """Give what all lenders of a pool have lent, rounded down, for display (R9)."""
    pool = state.pools[asset]
    return scale_down(pool.lent_shares, pool.lend_index_e18, E18)


def pool_owed_units(state: State, asset: str) -> int:
    """Give what all borrowers owe to a pool, rounded up, for display (R9)."""
    pool = state.pools[asset]
    return scale_up(pool.borrowed_shares, pool.borrow_index_e18, E18)


def utilization_ppm(state: State, asset: str) -> int:
    """Give borrowed / lent in ppm, rounded up, at most 10^6; 0 when nothing is owed (R9)."""
    owed, lent = _owed_and_lent(state.pools[asset])
    return scale_up(PPM, owed, lent) if owed else 0


def borrow_rate_ppm(state: State, asset: str) -> int:
    """Give the yearly borrow rate at the present utilization in ppm, rounded up (R9)."""
    return scale_up(borrow_rate_e18(state.assets[asset].lending, state.pools[asset]), 1, _E18_PER_PPM)


def lend_rate_ppm(state: State, asset: str) -> int:
    """Give what lenders earn a year in ppm, rounded down: borrow rate x utilization x (1 - fee), R9."""
    lending = state.assets[asset].lending
    owed, lent = _owed_and_lent(state.pools[asset])
    earned_e18 = scale_down(borrow_rate_e18(lending, state.pools[asset]), owed, lent)
    return scale_down(earned_e18, PPM - lending.reserve_fee_ppm, PPM * _E18_PER_PPM)


def borrow_rate_e18(lending: LendingParams, pool: LendingPool) -> int:
    """Give the yearly borrow rate x 10^18, rounded up: two slopes that meet at the optimal utilization (R9).

    Up to optimal: zero + (optimal rate - zero) x U / optimal; above: optimal rate + (full - optimal rate) x
    (U - optimal) / (1 - optimal).
    """
    owed, lent = _owed_and_lent(pool)
    optimal = lending.optimal_utilization_ppm
    if owed * PPM <= lent * optimal:
        slope = lending.rate_at_optimal_ppm - lending.rate_at_zero_ppm
        return lending.rate_at_zero_ppm * _E18_PER_PPM + scale_up(
            slope * _E18_PER_PPM, owed * PPM, lent * optimal
        )
    slope = lending.rate_at_full_ppm - lending.rate_at_optimal_ppm
    return lending.rate_at_optimal_ppm * _E18_PER_PPM + scale_up(
        slope * _E18_PER_PPM, owed * PPM - lent * optimal, lent * (PPM - optimal)
    )


def accrual(lending: LendingParams, pool: LendingPool, now_ns: int) -> Accrual | None:
    """Plan the interest of a pool up to a time (R9); None when nothing is owed or no time has passed.

    borrow index' = index + ceil(index x rate x elapsed / year); interest = borrowed shares x its rise; lend
    index' = index + floor(interest x (1 - fee) / lent shares); fee shares = floor(interest x fee / lend
    index').
    """
    elapsed_ns = now_ns - pool.accrued_ns
    if not pool.borrowed_shares or elapsed_ns <= 0:
        return None
    rise_e18 = scale_up(pool.borrow_index_e18 * borrow_rate_e18(lending, pool), elapsed_ns, E18 * YEAR_NS)
    interest_e18 = pool.borrowed_shares * rise_e18
    lend_index_e18 = pool.lend_index_e18
    if pool.lent_shares:
        lend_index_e18 += scale_down(interest_e18, PPM - lending.reserve_fee_ppm, PPM * pool.lent_shares)
    fee_shares = scale_down(interest_e18, lending.reserve_fee_ppm, PPM * lend_index_e18)
    return Accrual(pool.borrow_index_e18 + rise_e18, lend_index_e18, fee_shares)


def lend_shares(pool: LendingPool, units: int) -> int:
    """Give the shares that lent units buy: floor(units x 10^18 / lend index)."""
    return scale_down(units, E18, pool.lend_index_e18)


def redeem_shares(state: State, one: Subaccount, asset: str, units: int) -> int:
    """Give the shares that redeeming units takes: ceil(units x 10^18 / lend index); all shares for all
    units.
    """
    if units == lent_units(state, one, asset):
        return one.lent.get(asset, 0)
    return scale_up(units, E18, state.pools[asset].lend_index_e18)


def borrow_shares(pool: LendingPool, units: int) -> int:
    """Give the shares that borrowed units owe: ceil(units x 10^18 / borrow index)."""
    return scale_up(units, E18, pool.borrow_index_e18)


def repay_shares(state: State, one: Subaccount, asset: str, units: int) -> int:
    """Give the shares that repaying units frees: floor(units x 10^18 / borrow index); all shares for all
    that is owed.
    """
    if units >= owed_units(state, one, asset):
        return one.borrowed.get(asset, 0)
    return scale_down(units, E18, state.pools[asset].borrow_index_e18)


def pool_now(state: State, asset: str) -> LendingPool:
    """Give a pool as it is with interest up to the present command's time: what redeeming and borrowing are
    judged by.
    """
    pool = state.pools[asset]
    due = accrual(state.assets[asset].lending, pool, state.last_time_ns)
    if due is None:
        return pool
    return replace(
        pool,
        lent_shares=pool.lent_shares + due.fee_shares,
        lend_index_e18=due.lend_index_e18,
        borrow_index_e18=due.borrow_index_e18,
        accrued_ns=state.last_time_ns,
    )


def plan_repayment(state: State, one: Subaccount, asset: str, units: int, debt_usd6: int) -> tuple[int, int]:
    """Plan how units repay a borrow of the same asset, at most debt_usd6 of it: (units, usd6), R28.

    units = those worth the debt, rounded up, at most all of them and what is owed; usd6 = min(debt, their
    value rounded down). (0, 0) when that is nothing.
    """
    owed = owed_units(state, one, asset)
    if asset == SETTLEMENT_ASSET:
        price_e8 = 10**8
    else:
        price = state.index_prices.get(asset)
        price_e8 = 0 if price is None else price.price_e8
    if not owed or not price_e8:
        return 0, 0
    decimals = state.assets[asset].decimals
    repaid = min(units, owed, units_for_usd6_up(debt_usd6, price_e8, decimals))
    usd6 = min(debt_usd6, notional_down_usd6(repaid, price_e8, decimals))
    return (repaid, usd6) if usd6 and repay_shares(state, one, asset, repaid) else (0, 0)


def is_throttled(state: State, asset: str, more: Sequence[int] = ()) -> bool:
    """Tell whether redeeming and borrowing pause: utilization > throttle (R10), as if more were lent."""
    pool = pool_now(state, asset)
    owed, lent = _owed_and_lent(pool, sum([lend_shares(pool, units) for units in more]))
    return owed * PPM > lent * state.assets[asset].lending.throttle_utilization_ppm


def borrowable_units(state: State, asset: str, more: Sequence[int] = ()) -> int:
    """Give the most that may be borrowed at once below the throttle: utilization stays <= max, and the cash
    is there (R10).

    Asked as if more amounts were lent to the pool before.
    """
    pool = pool_now(state, asset)
    lent_shares = pool.lent_shares + sum([lend_shares(pool, units) for units in more])
    most_shares = scale_down(
        lent_shares * pool.lend_index_e18,
        state.assets[asset].lending.max_utilization_ppm,
        PPM * pool.borrow_index_e18,
    )
    spare = max(0, most_shares - pool.borrowed_shares)
    return min(scale_down(spare, pool.borrow_index_e18, E18), pool_cash_units(state, asset) + sum(more))


def redeemable_units(state: State, one: Subaccount, asset: str) -> int:
    """Give the most that a subaccount may redeem at once (R10): nothing above the throttle; afterwards
    utilization <= max.
    """
    shares = one.lent.get(asset, 0)
    if not shares or is_throttled(state, asset):
        return 0
    pool = pool_now(state, asset)
    owed = pool.borrowed_shares * pool.borrow_index_e18
    max_utilization_ppm = state.assets[asset].lending.max_utilization_ppm
    must_stay = scale_up(owed, PPM, max_utilization_ppm * pool.lend_index_e18)
    spare = pool.lent_shares - must_stay
    all_units = scale_down(shares, pool.lend_index_e18, E18)
    if shares <= spare:
        return min(all_units, pool_cash_units(state, asset))
    # Redeeming all units takes all shares; one unit less takes only what it is worth.
    most_units = scale_down(max(0, spare), pool.lend_index_e18, E18)
    return max(0, min(most_units, all_units - 1, pool_cash_units(state, asset)))


def available_units(state: State, one: Subaccount, asset: str) -> int:
    """Give free cash and what may be redeemed now: what can leave a subaccount (R30). Interest since the last
    accrual does not count yet, as in margins.
    """
    free = free_units(one, asset)
    if asset not in one.lent:
        return free
    return free + min(redeemable_units(state, one, asset), lent_units(state, one, asset))


def _owed_and_lent(pool: LendingPool, more_shares: int = 0) -> tuple[int, int]:
    """Give what is owed and what is lent, x 10^18, for ratios: owed <= lent, lent > 0.

    Residues of a pool that every lender has left can be owed to nobody: utilization is 1 then (R9).
    """
    owed = pool.borrowed_shares * pool.borrow_index_e18
    lent = (pool.lent_shares + more_shares) * pool.lend_index_e18
    if not lent:
        return (1, 1) if owed else (0, 1)
    return min(owed, lent), lent
