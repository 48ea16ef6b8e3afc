"""Postings: what each event does, one function per event; nothing else changes a balance (R5).

Owns: what each event does to balances, running totals and derived indices, as the events' docstrings say.
Rules: an event that would make cash, pending or held negative raises LedgerError and is our bug; it is never
the customer's. Must not know why an event happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import events as ev
from engine.balances import (
    LedgerError,
    change_borrowed,
    change_cash,
    change_lent,
    change_position,
    change_unsettled,
    set_aside,
)
from engine.book import Order
from engine.state import (
    BackstopCapacity,
    HeldDeposit,
    Liquidation,
    Price,
    State,
    Withdrawal,
    add_subaccount,
    count_open_order,
    queue_withdrawal,
)
from engine.units import (
    FEES,
    INSURANCE_FUND,
    LENDING_POOL,
    NETWORK_FEE_ASSET,
    ROUNDING,
    SETTLEMENT_ASSET,
    SETTLEMENT_POOL,
)


def post(state: State, event: ev.Event) -> None:
    """Post one event to the state."""
    _POSTINGS[type(event)](state, event)


def emit(state: State, out: list[ev.Event], event: ev.Event) -> None:
    """Post one event and append it to the answer."""
    _POSTINGS[type(event)](state, event)
    out.append(event)


def _rounding(state: State, market: str, usd6: int) -> None:
    if usd6:
        state.rounding_postings += 1
        change_position(state, ROUNDING, market, 0, usd6)


def _subaccount_opened(state: State, event: ev.SubaccountOpened) -> None:
    add_subaccount(state, event.subaccount, event.on_debt)


def _on_debt_set(state: State, event: ev.OnDebtSet) -> None:
    state.subaccounts[event.subaccount].on_debt = event.on_debt


def _prices_updated(state: State, event: ev.PricesUpdated) -> None:
    for asset, price_e8 in event.index_prices:
        state.index_prices[asset] = Price(price_e8, state.last_time_ns)
    for market, price_e8 in event.mark_prices:
        state.mark_prices[market] = Price(price_e8, state.last_time_ns)


def _block_traded(state: State, event: ev.BlockTraded) -> None:
    change_position(
        state, event.buyer, event.market, event.base_units, event.buyer_quote_usd6, event.price_e8
    )
    change_position(
        state, event.seller, event.market, -event.base_units, event.seller_quote_usd6, event.price_e8
    )
    _rounding(state, event.market, event.rounding_usd6)


def _order_rested(state: State, event: ev.OrderRested) -> None:
    book = state.books[event.market]
    whose = (event.order_id, event.subaccount, event.is_buy)
    order = Order(*whose, event.price_e8, event.units, event.reduce_only, event.client_order_id)
    book.rest(order)
    state.subaccounts[event.subaccount].open_order_count += 1
    book.last_order_id = max(book.last_order_id, event.order_id)
    count_open_order(state, event.market, order, event.units)


def _leaves_book(state: State, market: str, order_id: int, units: int) -> None:
    """Take units off an order if it rests: the incoming order of a trade never has."""
    book = state.books[market]
    book.last_order_id = max(book.last_order_id, order_id)
    order = book.orders.get(order_id)
    if order is not None:
        book.reduce(order, units)
        if order.units == 0:
            state.subaccounts[order.subaccount].open_order_count -= 1
        count_open_order(state, market, order, -units)


def _order_cancelled(state: State, event: ev.OrderCancelled) -> None:
    _leaves_book(state, event.market, event.order_id, event.units)


def _off_the_book(state: State, event: ev.Traded | ev.SpotTraded) -> tuple[int, int]:
    """Take a trade off the book; give what the taker gets of the asset and pays for it, signed."""
    _leaves_book(state, event.market, event.maker_order_id, event.units)
    book = state.books[event.market]
    book.last_order_id = max(book.last_order_id, event.taker_order_id)
    sign = 1 if event.taker_is_buy else -1
    return sign * event.units, sign * event.notional_usd6


def _traded(state: State, event: ev.Traded) -> None:
    market, price_e8 = event.market, event.price_e8
    units, notional_usd6 = _off_the_book(state, event)
    change_position(state, event.maker, market, -units, notional_usd6 - event.maker_fee_usd6, price_e8)
    change_position(state, event.taker, market, units, -notional_usd6 - event.taker_fee_usd6, price_e8)
    fees_usd6 = event.maker_fee_usd6 + event.taker_fee_usd6
    if fees_usd6:
        change_position(state, FEES, market, 0, fees_usd6)


def _spot_traded(state: State, event: ev.SpotTraded) -> None:
    asset = state.markets[event.market].asset
    units, notional_usd6 = _off_the_book(state, event)
    change_cash(state, event.maker, SETTLEMENT_ASSET, notional_usd6 - event.maker_fee_usd6)
    change_cash(state, event.taker, SETTLEMENT_ASSET, -notional_usd6 - event.taker_fee_usd6)
    change_cash(state, FEES, SETTLEMENT_ASSET, event.maker_fee_usd6 + event.taker_fee_usd6)
    change_cash(state, event.maker, asset, -units)
    change_cash(state, event.taker, asset, units)


def _market_state_set(state: State, event: ev.MarketStateSet) -> None:
    if event.market_state == "open":
        state.market_states.pop(event.market, None)
    else:
        state.market_states[event.market] = event.market_state


def _quotes_taken(state: State, event: ev.QuotesTaken) -> None:
    """Mark an index as stale; a good one is set by the PricesUpdated that follows."""
    price = state.index_prices.get(event.asset)
    if event.stale and price is not None:
        price.stale = True


def _funding_paid(state: State, event: ev.FundingPaid) -> None:
    for subaccount, usd6 in event.payments:
        change_position(state, subaccount, event.market, 0, usd6)
    # Each payment was rounded by less than 1 usd6 (I9).
    state.rounding_postings += len(event.payments)
    if event.rounding_usd6:
        change_position(state, ROUNDING, event.market, 0, event.rounding_usd6)


def _pnl_settled(state: State, event: ev.PnlSettled) -> None:
    if event.subaccount == ROUNDING:
        state.rounding_postings += 1
    change_position(state, event.subaccount, event.market, 0, -event.pnl_usd6)
    change_unsettled(state, event.subaccount, event.pnl_usd6)


def _backstop_filled(state: State, event: ev.BackstopFilled) -> None:
    market, units, price_e8 = event.market, event.base_units, event.price_e8
    change_position(state, event.subaccount, market, units, event.quote_usd6, price_e8)
    change_position(state, event.provider, market, -units, event.provider_quote_usd6, price_e8)
    _rounding(state, event.market, event.rounding_usd6)
    change_unsettled(state, INSURANCE_FUND, event.fund_usd6)


def _closed_against(state: State, event: ev.PositionsNetted | ev.AutoDeleveraged) -> None:
    market, units = event.market, event.base_units
    price_e8 = event.price_e8 if isinstance(event, ev.AutoDeleveraged) else event.mark_price_e8
    change_position(state, event.subaccount, market, units, event.quote_usd6, price_e8)
    change_position(state, event.counterparty, market, -units, event.counterparty_quote_usd6, price_e8)
    _rounding(state, event.market, event.rounding_usd6)


def _liquidation_started(state: State, event: ev.LiquidationStarted) -> None:
    now_ns = state.last_time_ns
    state.liquidations[event.subaccount] = Liquidation("book", now_ns, now_ns)


def _liquidation_stage_changed(state: State, event: ev.LiquidationStageChanged) -> None:
    state.liquidations[event.subaccount].stage = event.stage


def _liquidation_ended(state: State, event: ev.LiquidationEnded) -> None:
    del state.liquidations[event.subaccount]


def _backstop_registered(state: State, event: ev.BackstopRegistered) -> None:
    state.backstops[event.subaccount] = {}


def _backstop_capacity_set(state: State, event: ev.BackstopCapacitySet) -> None:
    capacities = state.backstops[event.subaccount]
    known = capacities.get(event.market)
    if known is None:
        capacities[event.market] = BackstopCapacity(event.per_minute_usd6, event.per_hour_usd6)
    else:
        known.per_minute_usd6, known.per_hour_usd6 = event.per_minute_usd6, event.per_hour_usd6


def _backstop_left(state: State, event: ev.BackstopLeft) -> None:
    del state.backstops[event.subaccount]


def _loss_collected(state: State, event: ev.LossCollected) -> None:
    change_cash(state, event.subaccount, SETTLEMENT_ASSET, -event.units)
    change_cash(state, SETTLEMENT_POOL, SETTLEMENT_ASSET, event.units)
    change_unsettled(state, event.subaccount, event.units)


def _fund_buys(state: State, asset: str, units: int, paid_usd6: int, owed_usd6: int) -> None:
    change_cash(state, INSURANCE_FUND, asset, units)
    _fund_pays(state, paid_usd6, owed_usd6)


def _fund_pays(state: State, paid_usd6: int, owed_usd6: int) -> None:
    change_cash(state, INSURANCE_FUND, SETTLEMENT_ASSET, -paid_usd6)
    change_cash(state, SETTLEMENT_POOL, SETTLEMENT_ASSET, paid_usd6)
    change_unsettled(state, INSURANCE_FUND, -owed_usd6)


def _collateral_converted(state: State, event: ev.CollateralConverted) -> None:
    change_cash(state, event.subaccount, event.asset, -event.units)
    change_unsettled(state, event.subaccount, event.usd6)
    _fund_buys(state, event.asset, event.units, event.fund_paid_usd6, event.fund_owed_usd6)


def _subaccount_bankrupt(state: State, event: ev.SubaccountBankrupt) -> None:
    state.debts[event.subaccount] = state.last_time_ns
    state.totals.debts_usd6 -= state.subaccounts[event.subaccount].unsettled_usd6
    state.last_deficit_ns = state.last_time_ns


def _debt_ended(state: State, event: ev.DebtEnded) -> None:
    del state.debts[event.subaccount]
    state.totals.debts_usd6 += state.subaccounts[event.subaccount].unsettled_usd6


def _debt_covered(state: State, event: ev.DebtCovered) -> None:
    change_cash(state, INSURANCE_FUND, SETTLEMENT_ASSET, -event.units)
    change_cash(state, SETTLEMENT_POOL, SETTLEMENT_ASSET, event.units)
    change_unsettled(state, event.subaccount, event.units)


def _claim_paid(state: State, event: ev.ClaimPaid) -> None:
    change_cash(state, SETTLEMENT_POOL, SETTLEMENT_ASSET, -event.units)
    change_cash(state, event.subaccount, SETTLEMENT_ASSET, event.units)
    change_unsettled(state, event.subaccount, -event.units)


def _loss_socialized(state: State, event: ev.LossSocialized) -> None:
    change_unsettled(state, event.subaccount, event.extinguished_usd6)
    for winner, cut_usd6 in event.cuts:
        change_unsettled(state, winner, -cut_usd6)


def _deposit_applied(state: State, event: ev.DepositApplied) -> None:
    asset = event.asset
    if event.was_held:
        set_aside(state.totals.held_units, asset, -event.deposited_units)
        del state.held[event.deposit_id]
    else:
        state.deposited_units[asset] += event.deposited_units
    change_cash(state, event.subaccount, asset, event.credited_units)
    if event.applied_units:
        units = event.applied_units - event.repaid_units
        change_unsettled(state, event.subaccount, event.applied_usd6 - event.repaid_usd6)
        if asset == SETTLEMENT_ASSET:
            change_cash(state, SETTLEMENT_POOL, asset, units)
        else:
            _fund_buys(state, asset, units, event.fund_paid_usd6, event.fund_owed_usd6)
    if event.repaid_shares:
        change_cash(state, LENDING_POOL, asset, event.repaid_units)
        change_borrowed(state, event.subaccount, asset, -event.repaid_shares)
    if event.network_fees_collected_units:
        change_cash(state, event.subaccount, asset, -event.network_fees_collected_units)
        state.network_fees_owed_units -= event.network_fees_collected_units


def _deposit_held(state: State, event: ev.DepositHeld) -> None:
    state.deposited_units[event.asset] += event.units
    set_aside(state.totals.held_units, event.asset, event.units)
    state.held[event.deposit_id] = HeldDeposit(
        event.deposit_id, event.subaccount, event.asset, event.units, event.sender
    )


def _deposit_returned(state: State, event: ev.DepositReturned) -> None:
    set_aside(state.totals.held_units, event.asset, -event.units - event.charged_units)
    del state.held[event.deposit_id]
    change_cash(state, FEES, event.asset, event.charged_units - event.network_fees_collected_units)
    state.network_fees_owed_units -= event.network_fees_collected_units
    set_aside(state.totals.pending_units, event.asset, event.units)
    state.withdrawals[event.withdrawal_id] = Withdrawal(
        withdrawal_id=event.withdrawal_id,
        subaccount=event.subaccount,
        asset=event.asset,
        units=event.units,
        destination=event.destination,
        status="reserved",
        gate="",
        until_ns=0,
        held_deposit_id=event.deposit_id,
    )


def _transfer_made(state: State, event: ev.TransferMade) -> None:
    change_cash(state, event.source, event.asset, -event.units)
    change_cash(state, event.target, event.asset, event.units)


def _lending_set(state: State, event: ev.LendingSet) -> None:
    one = state.subaccounts[event.subaccount]
    one.auto_lend, one.auto_borrow, one.auto_repay = event.auto_lend, event.auto_borrow, event.auto_repay
    for asset in one.cash:
        if one.auto_lend:
            state.idle[asset][one.id] = None
        else:
            state.idle[asset].pop(one.id, None)


def _interest_accrued(state: State, event: ev.InterestAccrued) -> None:
    pool = state.pools[event.asset]
    if event.borrow_index_e18 < pool.borrow_index_e18 or event.lend_index_e18 < pool.lend_index_e18:
        raise LedgerError(f"an index of {event.asset} would fall (I6)")
    pool.borrow_index_e18, pool.lend_index_e18 = event.borrow_index_e18, event.lend_index_e18
    pool.accrued_ns = state.last_time_ns
    change_lent(state, FEES, event.asset, event.fee_shares)


def _lent_cash(state: State, event: ev.Lent) -> None:
    change_cash(state, event.subaccount, event.asset, -event.units)
    change_cash(state, LENDING_POOL, event.asset, event.units)
    change_lent(state, event.subaccount, event.asset, event.shares)


def _redeemed(state: State, event: ev.Redeemed) -> None:
    change_lent(state, event.subaccount, event.asset, -event.shares)
    change_cash(state, LENDING_POOL, event.asset, -event.units)
    change_cash(state, event.subaccount, event.asset, event.units)


def _borrowed_cash(state: State, event: ev.Borrowed) -> None:
    change_cash(state, LENDING_POOL, event.asset, -event.units)
    change_cash(state, event.subaccount, event.asset, event.units)
    change_borrowed(state, event.subaccount, event.asset, event.shares)


def _repaid(state: State, event: ev.Repaid) -> None:
    change_cash(state, event.subaccount, event.asset, -event.cash_units)
    change_cash(state, LENDING_POOL, event.asset, event.cash_units)
    change_lent(state, event.subaccount, event.asset, -event.lent_shares)
    change_borrowed(state, event.subaccount, event.asset, -event.shares)


def _borrow_taken_over(state: State, event: ev.BorrowTakenOver) -> None:
    # The fund first, so that the pool is never without a borrower in between.
    change_borrowed(state, INSURANCE_FUND, event.asset, event.shares)
    change_borrowed(state, event.subaccount, event.asset, -event.shares)
    change_unsettled(state, event.subaccount, -event.usd6)
    change_unsettled(state, INSURANCE_FUND, event.usd6)


def _lent_converted(state: State, event: ev.LentConverted) -> None:
    change_lent(state, event.subaccount, event.asset, -event.shares)
    change_lent(state, INSURANCE_FUND, event.asset, event.shares)
    change_unsettled(state, event.subaccount, event.usd6)
    _fund_pays(state, event.fund_paid_usd6, event.fund_owed_usd6)


def _take_aside(state: State, event: ev.WithdrawalQueued | ev.WithdrawalReserved) -> Withdrawal:
    change_cash(state, event.subaccount, event.asset, -event.units)
    set_aside(state.totals.pending_units, event.asset, event.units)
    made = Withdrawal(
        withdrawal_id=event.withdrawal_id,
        subaccount=event.subaccount,
        asset=event.asset,
        units=event.units,
        destination=event.destination,
        status="reserved",
        gate="",
        until_ns=0,
        held_deposit_id="",
    )
    state.withdrawals[event.withdrawal_id] = made
    return made


def _withdrawal_queued(state: State, event: ev.WithdrawalQueued) -> None:
    made = _take_aside(state, event)
    made.status, made.gate, made.until_ns = "queued", event.gate, event.until_ns
    queue_withdrawal(state, made)


def _leaves_queue(state: State, withdrawal_id: str, subaccount: str) -> None:
    del state.queued[withdrawal_id]
    queued = state.queued_of[subaccount]
    del queued[withdrawal_id]
    if not queued:
        del state.queued_of[subaccount]


def _withdrawal_reserved(state: State, event: ev.WithdrawalReserved) -> None:
    if event.was_queued:
        state.withdrawals[event.withdrawal_id].status = "reserved"
        _leaves_queue(state, event.withdrawal_id, event.subaccount)
    else:
        _take_aside(state, event)


def _network_fee(state: State, fee_units: int, owed_units: int) -> None:
    change_cash(state, FEES, NETWORK_FEE_ASSET, owed_units - fee_units)
    state.network_fees_paid_units += fee_units
    state.network_fees_owed_units += owed_units


def _withdrawal_paid(state: State, event: ev.WithdrawalPaid) -> None:
    set_aside(state.totals.pending_units, event.asset, -event.units)
    state.withdrawn_units[event.asset] += event.units
    state.withdrawals[event.withdrawal_id].status = "paid"
    _network_fee(state, event.network_fee_units, event.network_fee_owed_units)


def _withdrawal_returned(state: State, event: ev.WithdrawalReturned) -> None:
    withdrawal = state.withdrawals[event.withdrawal_id]
    if withdrawal.status == "queued":
        _leaves_queue(state, event.withdrawal_id, event.subaccount)
    withdrawal.status = "returned"
    set_aside(state.totals.pending_units, event.asset, -event.units)
    if event.held_deposit_id:
        set_aside(state.totals.held_units, event.asset, event.units)
        state.held[event.held_deposit_id] = HeldDeposit(
            event.held_deposit_id, event.subaccount, event.asset, event.units, withdrawal.destination
        )
    else:
        change_cash(state, event.subaccount, event.asset, event.units)
    _network_fee(state, event.network_fee_units, event.network_fee_owed_units)


def _network_fee_paid(state: State, event: ev.NetworkFeePaid) -> None:
    _network_fee(state, event.network_fee_units, event.network_fee_owed_units)


def _nothing(state: State, event: ev.ReservesAttested) -> None:
    """Change no balance: what was attested is kept by engine/gates.py."""


_POSTINGS: dict[type[ev.Event], Callable[[State, Any], None]] = {
    ev.SubaccountOpened: _subaccount_opened,
    ev.OnDebtSet: _on_debt_set,
    ev.PricesUpdated: _prices_updated,
    ev.BlockTraded: _block_traded,
    ev.OrderRested: _order_rested,
    ev.OrderCancelled: _order_cancelled,
    ev.Traded: _traded,
    ev.SpotTraded: _spot_traded,
    ev.MarketStateSet: _market_state_set,
    ev.QuotesTaken: _quotes_taken,
    ev.FundingPaid: _funding_paid,
    ev.PnlSettled: _pnl_settled,
    ev.LiquidationStarted: _liquidation_started,
    ev.LiquidationStageChanged: _liquidation_stage_changed,
    ev.LiquidationEnded: _liquidation_ended,
    ev.BackstopFilled: _backstop_filled,
    ev.PositionsNetted: _closed_against,
    ev.AutoDeleveraged: _closed_against,
    ev.BackstopRegistered: _backstop_registered,
    ev.BackstopCapacitySet: _backstop_capacity_set,
    ev.BackstopLeft: _backstop_left,
    ev.LossCollected: _loss_collected,
    ev.CollateralConverted: _collateral_converted,
    ev.SubaccountBankrupt: _subaccount_bankrupt,
    ev.DebtEnded: _debt_ended,
    ev.DebtCovered: _debt_covered,
    ev.ClaimPaid: _claim_paid,
    ev.LossSocialized: _loss_socialized,
    ev.DepositApplied: _deposit_applied,
    ev.DepositHeld: _deposit_held,
    ev.DepositReturned: _deposit_returned,
    ev.TransferMade: _transfer_made,
    ev.LendingSet: _lending_set,
    ev.InterestAccrued: _interest_accrued,
    ev.Lent: _lent_cash,
    ev.Redeemed: _redeemed,
    ev.Borrowed: _borrowed_cash,
    ev.Repaid: _repaid,
    ev.BorrowTakenOver: _borrow_taken_over,
    ev.LentConverted: _lent_converted,
    ev.WithdrawalQueued: _withdrawal_queued,
    ev.WithdrawalReserved: _withdrawal_reserved,
    ev.WithdrawalPaid: _withdrawal_paid,
    ev.WithdrawalReturned: _withdrawal_returned,
    ev.NetworkFeePaid: _network_fee_paid,
    ev.ReservesAttested: _nothing,
}
