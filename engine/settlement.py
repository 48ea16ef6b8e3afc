"""Realizing profit and loss, collecting losses, paying claims (R26).

Owns: the steps of a settlement. Rules: losses are taken from USDC cash, then from queued withdrawals of the
same subaccount, then from lent USDC, then from borrowed USDC, then by converting assets at index less the
haircut; claims are paid pro rata by largest remainder when the pool is short. Σ base stays 0 and Σ quote + Σ
unsettled = pool cash whatever is rounded (I2, I3), because every posting moves one number from one place to
another. Must not know when it is called.
"""

from __future__ import annotations

from engine.borrowing import borrow_automatically
from engine.collateral import conversion_rate_e8, last_conversion_rate_e8, plan_conversion
from engine.events import (
    ClaimPaid,
    CollateralConverted,
    Event,
    LentConverted,
    LossCollected,
    PnlSettled,
    WithdrawalReturned,
)
from engine.fixed import share_out
from engine.ledger import emit
from engine.lending import accrue, has_hole, redeem, repay_incoming
from engine.margin import outstanding_of, position_value_usd6
from engine.orders import spendable_units, unlock
from engine.pool import balance_units, lent_units, pool_cash_units, redeem_shares
from engine.prices import waits_for_index
from engine.small_steps import sell_for_loss
from engine.state import State, Subaccount
from engine.units import FEES, INSURANCE_FUND, ROUNDING, SETTLEMENT_ASSET, SETTLEMENT_POOL

# Of the debt: coins without a fresh index that would pay less do not put off a bankruptcy (R27).
_WAITS_FROM_A = 100


def settle_positions(state: State, one: Subaccount, out: list[Event]) -> None:
    """Realize every position at mark: pnl = floor(base x mark) + quote moves into unsettled (R26)."""
    for market in sorted(one.positions):
        position = one.positions[market]
        pnl_usd6 = position_value_usd6(state, market, position.base_units) + position.quote_usd6
        if pnl_usd6:
            price = state.mark_prices.get(market)
            emit(state, out, PnlSettled(one.id, market, pnl_usd6, 0 if price is None else price.price_e8))


def settle_rounding(state: State, out: list[Event]) -> None:
    """Let the account `rounding` take over what rounding left in each market, so that Σ quote = 0 (I4)."""
    for market in state.markets:
        residue_usd6 = state.totals.quote_usd6[market]
        if residue_usd6:
            price = state.mark_prices.get(market)
            emit(
                state, out, PnlSettled(ROUNDING, market, residue_usd6, 0 if price is None else price.price_e8)
            )


def collect(state: State, one: Subaccount, out: list[Event]) -> None:
    """Take a realized loss from a subaccount as far as it has anything (R26).

    What resting spot orders have locked comes after what is free, and costs it those orders.
    """
    _collect_cash(state, one, out)
    if one.unsettled_usd6 >= 0 or one.is_system:
        return
    if SETTLEMENT_ASSET in one.locked:
        unlock(state, one, SETTLEMENT_ASSET, out)
        _collect_cash(state, one, out)
    if one.unsettled_usd6 < 0 and one.id in state.queued_of:
        cancel_queued(state, one, out)
        _collect_cash(state, one, out)
    if SETTLEMENT_ASSET in one.lent:
        redeem(state, one, SETTLEMENT_ASSET, -one.unsettled_usd6, out, forced=True)
        _collect_cash(state, one, out)
    if borrow_automatically(state, one, SETTLEMENT_ASSET, -one.unsettled_usd6, out):
        _collect_cash(state, one, out)
    # The cheapest conversion for the customer first.
    held = dict.fromkeys((*one.cash, *one.lent))
    for asset in sorted(held, key=lambda symbol: (state.assets[symbol].haircut_ppm, symbol)):
        if one.unsettled_usd6 < 0:
            _convert(state, one, asset, out)


def cancel_queued(state: State, one: Subaccount, out: list[Event]) -> None:
    """Return every queued withdrawal of a subaccount to its cash: no payout was ordered yet."""
    for withdrawal_id in list(state.queued_of.get(one.id, ())):
        queued = state.withdrawals[withdrawal_id]
        emit(
            state,
            out,
            WithdrawalReturned(
                withdrawal_id=withdrawal_id,
                subaccount=one.id,
                asset=queued.asset,
                units=queued.units,
                reason="needed_for_losses",
                held_deposit_id="",
                network_fee_units=0,
                network_fee_owed_units=0,
            ),
        )


def has_collateral(state: State, one: Subaccount) -> bool:
    """Tell whether anything is left that a debt could be taken from, or that only lacks a price.

    Dust worth less than one usd6 at the conversion rate is nothing: cash with what could be redeemed, and
    what is lent beyond the pool's cash (of a pool without a hole), each by itself, as they would be
    converted. Coins that wait for a fresh index are something when all of them, at the last one, would pay a
    hundredth of the debt.
    """
    waiting_usd6, debt_usd6 = 0, max(-one.unsettled_usd6, outstanding_of(state, one))
    for asset in dict.fromkeys((*one.cash, *one.lent)):
        if asset != SETTLEMENT_ASSET and asset not in state.index_prices:
            return True
        params, rate_e8 = state.assets[asset], conversion_rate_e8(state, asset)
        lent = lent_units(state, one, asset)
        redeemable = min(lent, pool_cash_units(state, asset))
        if has_hole(state, asset):
            lent = redeemable
        if waits_for_index(state, asset):
            rate_e8 = last_conversion_rate_e8(state, asset)
            units = one.cash.get(asset, 0) + lent
            waiting_usd6 += plan_conversion(params, units, rate_e8, debt_usd6)[1]
            continue
        for units in (one.cash.get(asset, 0) + redeemable, lent - redeemable):
            if plan_conversion(params, units, rate_e8, 1)[1]:
                return True
    return waiting_usd6 * _WAITS_FROM_A >= debt_usd6 > 0


def pay_claims(state: State, out: list[Event]) -> None:
    """Pay positive unsettled from the pool, pro rata by largest remainder when it is short (R26).

    The account `rounding` comes first: it is owed at most one usd6 per open position, and pays it back when
    they close. What is due to the fund (for borrows of bankrupts that it took over, R27) waits for the
    customers' claims, and the operator's income in `fees` comes last.
    """
    pool = state.subaccounts[SETTLEMENT_POOL]
    claimants = [one for one in state.ordered(state.unsettled_holders) if one.unsettled_usd6 > 0]
    system = {one.id: [one] for one in claimants if one.is_system}
    customers = [one for one in claimants if not one.is_system]
    groups = (system.get(ROUNDING, []), customers, system.get(INSURANCE_FUND, []), system.get(FEES, []))
    for group in groups:
        claims = [one.unsettled_usd6 for one in group]
        available = min(pool.cash.get(SETTLEMENT_ASSET, 0), sum(claims))
        if available == 0:
            continue
        for one, units in zip(group, share_out(available, claims), strict=True):
            if units:
                emit(state, out, ClaimPaid(one.id, units, one.unsettled_usd6 - units))
                repay_incoming(state, one, SETTLEMENT_ASSET, units, out)


def _collect_cash(state: State, one: Subaccount, out: list[Event]) -> None:
    units = min(spendable_units(state, one, SETTLEMENT_ASSET), -one.unsettled_usd6)
    if units > 0:
        emit(state, out, LossCollected(one.id, units, -one.unsettled_usd6 - units))


def _convert(state: State, one: Subaccount, asset: str, out: list[Event]) -> None:
    """Let cash, then what is redeemed, then what is lent and cannot be redeemed, of an asset pay a loss."""
    params, rate_e8 = state.assets[asset], conversion_rate_e8(state, asset)
    if not rate_e8:
        # Not on the book either: in a market that is stale nobody may place a better bid.
        return
    if asset in one.lent:
        accrue(state, asset, out)
    needed_units, _ = plan_conversion(params, balance_units(state, one, asset), rate_e8, -one.unsettled_usd6)
    if needed_units > spendable_units(state, one, asset):
        unlock(state, one, asset, out)
        redeem(state, one, asset, needed_units - one.cash.get(asset, 0), out, forced=True)
    if asset != SETTLEMENT_ASSET and sell_for_loss(state, one, asset, -one.unsettled_usd6, rate_e8, out):
        _collect_cash(state, one, out)
    units, usd6 = plan_conversion(params, one.cash.get(asset, 0), rate_e8, -one.unsettled_usd6)
    if usd6:
        paid_usd6 = fund_pays_usd6(state, usd6)
        emit(
            state,
            out,
            CollateralConverted(one.id, asset, units, usd6, rate_e8, paid_usd6, usd6 - paid_usd6),
        )
    if one.unsettled_usd6 < 0 and asset in one.lent:
        _convert_lent(state, one, asset, rate_e8, out)


def _convert_lent(state: State, one: Subaccount, asset: str, rate_e8: int, out: list[Event]) -> None:
    """Let lent shares pay a loss that the pool has no cash for: the fund takes them over (R26)."""
    accrue(state, asset, out)
    if has_hole(state, asset):
        # At par the fund would pay with the winners' money for what the pool has lost.
        return
    lent = lent_units(state, one, asset)
    units, usd6 = plan_conversion(state.assets[asset], lent, rate_e8, -one.unsettled_usd6)
    if usd6 == 0:
        return
    shares = redeem_shares(state, one, asset, units)
    paid_usd6 = fund_pays_usd6(state, usd6)
    emit(
        state,
        out,
        LentConverted(one.id, asset, units, shares, usd6, rate_e8, paid_usd6, usd6 - paid_usd6),
    )


def fund_pays_usd6(state: State, usd6: int) -> int:
    """Say how much of a purchase the insurance fund can pay at once; it owes the pool the rest (R26)."""
    return min(usd6, state.subaccounts[INSURANCE_FUND].cash.get(SETTLEMENT_ASSET, 0))
