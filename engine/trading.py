"""Block trades and transfers inside an account (R19).

Rules: both sides of a block trade consent, and each must meet initial margin afterwards or get no worse. A
transfer is judged like a withdrawal by the source, so that no profit that is not withdrawable leaves through
a sibling.
"""

from __future__ import annotations

from engine.commands import BlockTrade, Transfer
from engine.events import BlockTraded, Event, TransferMade
from engine.fixed import notional_down_usd6, notional_up_usd6
from engine.ledger import emit
from engine.lending import redeem_shortage, repay_incoming
from engine.margin import margin_with, may_become, needs_stale_collateral, outstanding_of
from engine.markets import CLOSED, POST_ONLY, REDUCE_ONLY, market_state
from engine.matching import reducible_units
from engine.outcome import Accepted, Outcome, Rejected
from engine.prices import is_stale, stale_collateral_of
from engine.rejects import RejectReason
from engine.state import State
from engine.units import MAX_PRICE_E8, MAX_UNITS, PPM, same_account
from engine.withdrawals import amount_fault, cash_out_fault


def block_trade(state: State, command: BlockTrade) -> Outcome:
    """Book a block trade: the buyer owes the notional rounded up, the seller is given it rounded down (R2).

    Rejects: those of `_terms_fault`, in_liquidation, outstanding_negative_equity,
    insufficient_initial_margin, stale_price.
    """
    fault = _terms_fault(state, command)
    if fault is not None:
        return fault
    decimals = state.assets[state.markets[command.market].asset].decimals
    buyer_quote_usd6 = -notional_up_usd6(command.base_units, command.price_e8, decimals)
    seller_quote_usd6 = notional_down_usd6(command.base_units, command.price_e8, decimals)
    sides = (
        (state.subaccounts[command.buyer], command.base_units, buyer_quote_usd6),
        (state.subaccounts[command.seller], -command.base_units, seller_quote_usd6),
    )
    for one, _, _ in sides:
        if one.id in state.liquidations:
            return Rejected(RejectReason.IN_LIQUIDATION, one.id)
    for one, _, _ in sides:
        # A debtor who has come to collateral pays at the next tick; until then it takes no position (I8).
        if one.id in state.debts or outstanding_of(state, one):
            return Rejected(RejectReason.OUTSTANDING_NEGATIVE_EQUITY, one.id)
    stale = command.market if is_stale(state, state.mark_prices[command.market]) else ""
    for one, base_units, quote_usd6 in sides:
        after = margin_with(state, one, market=command.market, base_units=base_units, quote_usd6=quote_usd6)
        if may_become(margin_with(state, one), after):
            continue
        if not needs_stale_collateral(after):
            return Rejected(RejectReason.INSUFFICIENT_INITIAL_MARGIN, one.id)
        stale = stale or stale_collateral_of(state, one)
    if stale:
        return Rejected(RejectReason.STALE_PRICE, stale)
    # No refusal below this line.
    out: list[Event] = []
    emit(
        state,
        out,
        BlockTraded(
            market=command.market,
            buyer=command.buyer,
            seller=command.seller,
            base_units=command.base_units,
            price_e8=command.price_e8,
            buyer_quote_usd6=buyer_quote_usd6,
            seller_quote_usd6=seller_quote_usd6,
            rounding_usd6=-buyer_quote_usd6 - seller_quote_usd6,
        ),
    )
    return Accepted(tuple(out))


def transfer(state: State, command: Transfer) -> Outcome:
    """Move cash between two subaccounts of one account (R19). A debt of the target is collected at the
    next tick.

    Rejects: unknown_subaccount, system_account_not_allowed, unknown_asset, same_subaccount,
    different_accounts, amount_not_positive, amount_too_large, those of `cash_out_fault`.
    """
    source, target = state.subaccounts.get(command.source), state.subaccounts.get(command.target)
    if source is None or target is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if source.is_system or target.is_system:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    if command.asset not in state.assets:
        return Rejected(RejectReason.UNKNOWN_ASSET)
    if source is target:
        return Rejected(RejectReason.SAME_SUBACCOUNT)
    if not same_account(source.id, target.id):
        return Rejected(RejectReason.DIFFERENT_ACCOUNTS)
    fault = amount_fault(state, command.asset, command.units)
    if fault is None:
        fault = cash_out_fault(state, source, command.asset, command.units)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    redeem_shortage(state, source, command.asset, command.units, out)
    emit(state, out, TransferMade(source.id, target.id, command.asset, command.units))
    repay_incoming(state, target, command.asset, command.units, out)
    return Accepted(tuple(out))


def _terms_fault(state: State, command: BlockTrade) -> Rejected | None:
    """Find what is wrong with the terms of a block trade.

    Gives: unknown_subaccount, system_account_not_allowed, unknown_market, same_subaccount, market_closed,
    market_post_only, market_reduce_only, consent_missing, amount_not_positive, amount_too_large,
    price_out_of_range, price_unavailable, price_outside_band.
    """
    for side in (command.buyer, command.seller):
        if side not in state.subaccounts:
            return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    for side in (command.buyer, command.seller):
        if state.subaccounts[side].is_system:
            return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    market = state.markets.get(command.market)
    if market is None or market.is_spot:
        return Rejected(RejectReason.UNKNOWN_MARKET)
    if command.buyer == command.seller:
        return Rejected(RejectReason.SAME_SUBACCOUNT)
    fault = _state_fault(state, command)
    if fault is not None:
        return fault
    for side in (command.buyer, command.seller):
        if side not in command.consents:
            return Rejected(RejectReason.CONSENT_MISSING, side)
    if command.base_units <= 0:
        return Rejected(RejectReason.AMOUNT_NOT_POSITIVE)
    if command.base_units > MAX_UNITS:
        return Rejected(RejectReason.AMOUNT_TOO_LARGE)
    if not 0 < command.price_e8 <= MAX_PRICE_E8:
        return Rejected(RejectReason.PRICE_OUT_OF_RANGE)
    mark = state.mark_prices.get(market.symbol)
    if mark is None:
        return Rejected(RejectReason.PRICE_UNAVAILABLE, market.symbol)
    distance_e8 = abs(command.price_e8 - mark.price_e8)
    if distance_e8 * PPM > mark.price_e8 * market.block_trade_band_ppm:
        return Rejected(RejectReason.PRICE_OUTSIDE_BAND, f"mark is {mark.price_e8}")
    return None


def _state_fault(state: State, command: BlockTrade) -> Rejected | None:
    """Find what a market's state has against a block trade: in a reduce-only one both sides must reduce
    (R12, R13). Gives: market_closed, market_post_only, market_reduce_only.
    """
    now = market_state(state, command.market)
    if now == CLOSED:
        return Rejected(RejectReason.MARKET_CLOSED)
    if now == POST_ONLY:
        return Rejected(RejectReason.MARKET_POST_ONLY)
    if now == REDUCE_ONLY:
        for side, is_buy in ((command.buyer, True), (command.seller, False)):
            if command.base_units > reducible_units(state.subaccounts[side], command.market, is_buy):
                return Rejected(RejectReason.MARKET_REDUCE_ONLY, side)
    return None
