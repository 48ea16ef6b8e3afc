"""Orders: into trades, onto the book, and off it (R12, R15, R18, R19).

Rules: every order is planned against the book (engine/matching.py) and checked before anything is posted;
then its trades, the resting orders it drops and what becomes of its rest are posted in the order met. An
order_id is taken by every accepted order, also by one that never rests. Must not know how prices or
liquidations come about.
"""

from __future__ import annotations

from engine.borrowing import fund, plan_funding
from engine.commands import CancelAllOrders, CancelOrder, PlaceOrder, SetMarketState
from engine.events import Event, MarketStateSet, OrderCancelled, OrderRested, SpotTraded, Traded
from engine.fixed import divide_down, is_not_multiple, multiple_down, notional_up_usd6, ppm_of_up
from engine.ledger import emit
from engine.lending import repay_incoming
from engine.margin import (
    Margin,
    margin_after_trade,
    margin_with,
    may_become,
    may_trade,
    needs_stale_collateral,
)
from engine.markets import (
    CLOSED,
    POST_ONLY,
    REDUCE_ONLY,
    has_stale_price,
    is_inside_limits,
    market_state,
    reference_price,
    taker_stop_e8,
)
from engine.matching import Fill, Incoming, Plan, plan_match, reducible_units
from engine.outcome import Accepted, Outcome, Rejected
from engine.params import MarketParams
from engine.prices import stale_collateral_of
from engine.rejects import RejectReason
from engine.state import State, Subaccount
from engine.units import MAX_PRICE_E8, MAX_UNITS, SETTLEMENT_ASSET

_MAY_REST = ("limit", "post_only")


def place_order(state: State, command: PlaceOrder) -> Outcome:
    """Match an order and rest, cancel or refuse what is left of it (R12).

    Rejects: unknown_subaccount, system_account_not_allowed, unknown_market, those of `_order_fault` and
    `_terms_fault`, price_unavailable (of the mark), those of `_plan_order` and `_condition_fault`.
    """
    one = state.subaccounts.get(command.subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if one.is_system:
        return Rejected(RejectReason.SYSTEM_ACCOUNT_NOT_ALLOWED)
    params = state.markets.get(command.market)
    if params is None:
        return Rejected(RejectReason.UNKNOWN_MARKET)
    reference = reference_price(state, params)
    is_buy = command.side == "buy"
    fault = _order_fault(state, command, one, params) or _terms_fault(state, command, one, params, is_buy)
    if fault is not None:
        return fault
    if reference is None:
        return Rejected(RejectReason.PRICE_UNAVAILABLE, params.symbol)
    plan = _plan_order(state, command, one, params, reference.price_e8)
    if isinstance(plan, Rejected):
        return plan
    resting_units = plan.unfilled_units if command.kind in _MAY_REST and not plan.ended else 0
    fault = _condition_fault(state, command, one, params, plan, resting_units)
    if fault is not None:
        return fault
    # No refusal below this line.
    out: list[Event] = []
    order_id = state.books[params.symbol].last_order_id + 1
    if params.is_spot:
        _fund_spot(state, command, one, params, plan, resting_units, out)
    _post_plan(state, one, params, is_buy, plan, order_id, out)
    if resting_units:
        rested = OrderRested(
            params.symbol,
            order_id,
            one.id,
            is_buy,
            command.price_e8,
            resting_units,
            command.reduce_only == 1,
            command.client_order_id,
        )
        emit(state, out, rested)
    elif plan.unfilled_units:
        reason = plan.ended or "immediate_or_cancel"
        emit(state, out, OrderCancelled(params.symbol, order_id, one.id, plan.unfilled_units, reason))
    return Accepted(tuple(out))


def _plan_order(
    state: State, command: PlaceOrder, one: Subaccount, params: MarketParams, reference_e8: int
) -> Plan | Rejected:
    """Plan what an order does to the book. Gives: post_only_would_trade, fill_or_kill_unfilled."""
    units, kind, is_buy = command.base_units, command.kind, command.side == "buy"
    if command.reduce_only:
        units = min(units, reducible_units(one, params.symbol, is_buy))
    limit_e8 = command.price_e8 or (MAX_PRICE_E8 if is_buy else 0)
    if kind == "post_only":
        if _would_trade(state, params.symbol, is_buy, limit_e8):
            return Rejected(RejectReason.POST_ONLY_WOULD_TRADE)
        return Plan(unfilled_units=units)
    stop_e8 = taker_stop_e8(params, is_buy, reference_e8)
    stop_e8 = min(stop_e8, limit_e8) if is_buy else max(stop_e8, limit_e8)
    account = one.id.partition("/")[0]
    plan = plan_match(
        state, Incoming(one, params, is_buy, units, stop_e8, limit_e8, account, params.taker_fee_ppm)
    )
    if kind == "fok" and plan.unfilled_units:
        return Rejected(RejectReason.FILL_OR_KILL_UNFILLED, would_pass_units=plan.filled_units)
    return plan


def cancel_order(state: State, command: CancelOrder) -> Outcome:
    """Cancel a resting order of the subaccount, by order id or client order id (R12). A market's state does
    not matter.

    Rejects: unknown_subaccount, unknown_market, unknown_order.
    """
    one = state.subaccounts.get(command.subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    book = state.books.get(command.market)
    if book is None:
        return Rejected(RejectReason.UNKNOWN_MARKET)
    order_id = command.order_id or book.by_client_id.get((one.id, command.client_order_id), 0)
    order = book.orders.get(order_id)
    if order is None or order.subaccount != one.id:
        return Rejected(RejectReason.UNKNOWN_ORDER)
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, OrderCancelled(command.market, order_id, one.id, order.units, "requested"))
    return Accepted(tuple(out))


def cancel_all_orders(state: State, command: CancelAllOrders) -> Outcome:
    """Cancel all resting orders of a subaccount in one market or in all (R12); none to cancel is fine.

    Rejects: unknown_subaccount, unknown_market.
    """
    one = state.subaccounts.get(command.subaccount)
    if one is None:
        return Rejected(RejectReason.UNKNOWN_SUBACCOUNT)
    if command.market and command.market not in state.markets:
        return Rejected(RejectReason.UNKNOWN_MARKET)
    # No refusal below this line.
    out: list[Event] = []
    cancel_all(state, one, out, "requested", command.market)
    return Accepted(tuple(out))


def set_market_state(state: State, command: SetMarketState) -> Outcome:
    """Set what a market lets in; resting orders stay (R12). Rejects: unknown_market."""
    if command.market not in state.markets:
        return Rejected(RejectReason.UNKNOWN_MARKET)
    # No refusal below this line.
    out: list[Event] = []
    emit(state, out, MarketStateSet(command.market, command.market_state))
    return Accepted(tuple(out))


def take_liquidity(
    state: State,
    one: Subaccount,
    market: str,
    is_buy: bool,
    units: int,
    limit_price_e8: int,
    out: list[Event],
) -> int:
    """Trade at once with what rests at the limit or better, for a liquidation (R22); give the units traded.

    A reduce-only immediate-or-cancel order without a margin check of the taker and without a taker fee (R20:
    no liquidation fee). units are cut to the position (perpetual), or to the cash (spot), and to whole lots.
    Nothing trades while the market is closed or post-only. No event when nothing trades.
    """
    params = state.markets[market]
    if units <= 0 or market_state(state, market) in (CLOSED, POST_ONLY):
        return 0
    units = multiple_down(
        min(units, _forced_units(state, one, params, is_buy, limit_price_e8)), params.lot_units
    )
    if units <= 0:
        return 0
    plan = plan_match(state, Incoming(one, params, is_buy, units, limit_price_e8, limit_price_e8, "", 0))
    _post_plan(state, one, params, is_buy, plan, state.books[market].last_order_id + 1, out)
    return plan.filled_units


def cancel_all(
    state: State, one: Subaccount, out: list[Event], reason: str = "liquidation", only_market: str = ""
) -> None:
    """Cancel every resting order of a subaccount, by market in the order listed, oldest first (R21)."""
    if not one.open_order_count:
        return
    for market, book in state.books.items():
        if not only_market or market == only_market:
            for order_id, order in sorted(book.by_owner.get(one.id, {}).items()):
                emit(state, out, OrderCancelled(market, order_id, one.id, order.units, reason))


def unlock(state: State, one: Subaccount, asset: str, out: list[Event]) -> None:
    """Cancel the resting spot orders that lock an asset, because the subaccount owes (R26): oldest first."""
    if asset not in one.locked:
        return
    for market, book in state.books.items():
        params = state.markets[market]
        if params.is_spot and asset in (params.asset, SETTLEMENT_ASSET):
            for order_id, order in sorted(book.by_owner.get(one.id, {}).items()):
                if order.is_buy == (asset == SETTLEMENT_ASSET):
                    emit(
                        state, out, OrderCancelled(market, order_id, one.id, order.units, "needed_for_losses")
                    )


def spendable_units(state: State, one: Subaccount, asset: str) -> int:
    """Give what a subaccount may spend of an asset: cash not locked by resting spot orders (R7)."""
    return one.cash.get(asset, 0) - one.locked.get(asset, 0)


def _order_fault(state: State, command: PlaceOrder, one: Subaccount, params: MarketParams) -> Rejected | None:
    """Find what forbids any such order here now.

    Gives: client_order_id_in_use, too_many_open_orders, market_closed, market_post_only, market_reduce_only.
    """
    book = state.books[params.symbol]
    if command.client_order_id and (one.id, command.client_order_id) in book.by_client_id:
        return Rejected(RejectReason.CLIENT_ORDER_ID_IN_USE)
    if command.kind in _MAY_REST and len(book.by_owner.get(one.id, ())) >= state.params.max_open_orders:
        return Rejected(RejectReason.TOO_MANY_OPEN_ORDERS)
    now = market_state(state, params.symbol)
    if now == CLOSED:
        return Rejected(RejectReason.MARKET_CLOSED)
    if now == POST_ONLY and command.kind != "post_only":
        return Rejected(RejectReason.MARKET_POST_ONLY)
    if now == REDUCE_ONLY and not command.reduce_only:
        detail = "its price is stale" if has_stale_price(state, params) else ""
        return Rejected(RejectReason.MARKET_REDUCE_ONLY, detail)
    return None


def _terms_fault(
    state: State, command: PlaceOrder, one: Subaccount, params: MarketParams, is_buy: bool
) -> Rejected | None:
    """Find what is wrong with an order's size and price.

    Gives: amount_not_positive, amount_too_large, price_out_of_range, not_a_whole_lot, not_a_whole_tick,
    price_unavailable (of the index), price_outside_limits, nothing_to_reduce.
    """
    units, price_e8 = command.base_units, command.price_e8
    if units <= 0:
        return Rejected(RejectReason.AMOUNT_NOT_POSITIVE)
    if units > MAX_UNITS:
        return Rejected(RejectReason.AMOUNT_TOO_LARGE)
    is_market = command.kind == "market"
    if price_e8 != 0 if is_market else not 0 < price_e8 <= MAX_PRICE_E8:
        return Rejected(RejectReason.PRICE_OUT_OF_RANGE, "a market order has no price" if is_market else "")
    if is_not_multiple(units, params.lot_units):
        return Rejected(RejectReason.NOT_A_WHOLE_LOT, f"the lot is {params.lot_units} units")
    if is_not_multiple(price_e8, params.tick_e8):
        return Rejected(RejectReason.NOT_A_WHOLE_TICK, f"the tick is {params.tick_e8}")
    index = state.index_prices.get(params.asset)
    if index is None:
        return Rejected(RejectReason.PRICE_UNAVAILABLE, params.asset)
    if not is_market and not is_inside_limits(params, price_e8, index.price_e8):
        return Rejected(RejectReason.PRICE_OUTSIDE_LIMITS, f"index is {index.price_e8}")
    if command.reduce_only and (params.is_spot or reducible_units(one, params.symbol, is_buy) == 0):
        return Rejected(RejectReason.NOTHING_TO_REDUCE)
    return None


def _would_trade(state: State, market: str, is_buy: bool, limit_e8: int) -> bool:
    book = state.books[market]
    best_e8 = book.best_ask_e8() if is_buy else book.best_bid_e8()
    return best_e8 is not None and (best_e8 <= limit_e8 if is_buy else best_e8 >= limit_e8)


def _condition_fault(
    state: State,
    command: PlaceOrder,
    one: Subaccount,
    params: MarketParams,
    plan: Plan,
    resting_units: int,
) -> Rejected | None:
    """Find what the subaccount's condition has against what the order would do (R19).

    Gives: in_liquidation, outstanding_negative_equity, insufficient_settled_cash,
    insufficient_initial_margin, stale_price. Whoever meets initial margin afterwards cannot owe anything.
    """
    if one.id in state.liquidations:
        return Rejected(RejectReason.IN_LIQUIDATION)
    if one.id in state.debts:
        return Rejected(RejectReason.OUTSTANDING_NEGATIVE_EQUITY)
    is_buy = command.side == "buy"
    if not params.is_spot:
        sign = 1 if is_buy else -1
        opening_units = 0 if command.reduce_only else resting_units
        change = (
            sign * plan.filled_units,
            -sign * plan.notional_usd6 - plan.taker_fee_usd6,
            opening_units if is_buy else 0,
            0 if is_buy else opening_units,
        )
        if may_trade(state, one, params.symbol, *change):
            return None
        after = margin_after_trade(state, one, params.symbol, *change)
    else:
        found = _after_spot(state, command, one, params, plan, resting_units)
        if isinstance(found, Rejected):
            return found
        after = found
        if may_become(margin_with(state, one), after):
            return None
    if margin_with(state, one).account_value_usd6 < 0:
        return Rejected(RejectReason.OUTSTANDING_NEGATIVE_EQUITY)
    if needs_stale_collateral(after):
        return Rejected(RejectReason.STALE_PRICE, stale_collateral_of(state, one))
    return Rejected(RejectReason.INSUFFICIENT_INITIAL_MARGIN)


def _spot_payment(
    state: State, command: PlaceOrder, params: MarketParams, plan: Plan, resting_units: int
) -> tuple[str, int]:
    """Give what a spot order needs free: for its trades and for what its rest locks (R7, R12)."""
    if command.side == "sell":
        return params.asset, plan.filled_units + resting_units
    lock_usd6 = 0
    if resting_units:
        decimals = state.assets[params.asset].decimals
        lock_usd6 = notional_up_usd6(resting_units, command.price_e8, decimals)
        lock_usd6 += max(0, ppm_of_up(lock_usd6, params.maker_fee_ppm))
    return SETTLEMENT_ASSET, plan.notional_usd6 + plan.taker_fee_usd6 + lock_usd6


def _after_spot(
    state: State, command: PlaceOrder, one: Subaccount, params: MarketParams, plan: Plan, resting_units: int
) -> Margin | Rejected:
    """Give the margin after a spot order's trades, or refuse what it cannot pay with what is not locked, lent
    or, when nothing of it rests, borrowed (R11).
    """
    payment, needed_units = _spot_payment(state, command, params, plan, resting_units)
    funding = plan_funding(state, one, payment, needed_units, may_borrow=not resting_units)
    if funding is None:
        return Rejected(RejectReason.INSUFFICIENT_SETTLED_CASH)
    if payment == SETTLEMENT_ASSET:
        asset_units, usdc_units = plan.filled_units, funding[1] - plan.notional_usd6 - plan.taker_fee_usd6
    else:
        asset_units, usdc_units = funding[1] - plan.filled_units, plan.notional_usd6 - plan.taker_fee_usd6
    return margin_with(
        state,
        one,
        asset=params.asset,
        asset_units=asset_units,
        usdc_units=usdc_units,
        owed_asset=payment if funding[1] else "",
        owed_more_units=funding[1],
    )


def _fund_spot(
    state: State,
    command: PlaceOrder,
    one: Subaccount,
    params: MarketParams,
    plan: Plan,
    resting_units: int,
    out: list[Event],
) -> None:
    """Redeem and borrow what `_after_spot` has found to be missing (R11)."""
    payment, needed_units = _spot_payment(state, command, params, plan, resting_units)
    funding = plan_funding(state, one, payment, needed_units, may_borrow=not resting_units)
    if funding is not None:
        fund(state, one, payment, *funding, out)


def _forced_units(
    state: State, one: Subaccount, params: MarketParams, is_buy: bool, limit_price_e8: int
) -> int:
    """Give the most that a forced order may trade: it only reduces a position, or spends what is there."""
    if not params.is_spot:
        return reducible_units(one, params.symbol, is_buy)
    if not is_buy:
        return max(0, spendable_units(state, one, params.asset))
    lot_usd6 = notional_up_usd6(params.lot_units, limit_price_e8, state.assets[params.asset].decimals)
    usdc_units = max(0, spendable_units(state, one, SETTLEMENT_ASSET))
    return divide_down(usdc_units, max(1, lot_usd6)) * params.lot_units


def _post_plan(
    state: State,
    one: Subaccount,
    params: MarketParams,
    is_buy: bool,
    plan: Plan,
    order_id: int,
    out: list[Event],
) -> None:
    market = params.symbol
    kind = SpotTraded if params.is_spot else Traded
    for step in plan.steps:
        if isinstance(step, Fill):
            maker, maker_is_buy = step.order.subaccount, step.order.is_buy
            trade = kind(
                market,
                maker,
                step.order.order_id,
                one.id,
                order_id,
                is_buy,
                step.units,
                step.order.price_e8,
                step.notional_usd6,
                step.maker_fee_usd6,
                step.taker_fee_usd6,
            )
            emit(state, out, trade)
            if params.is_spot:
                brought = (params.asset, step.units)
                if not maker_is_buy:
                    brought = (SETTLEMENT_ASSET, step.notional_usd6 - step.maker_fee_usd6)
                repay_incoming(state, state.subaccounts[maker], *brought, out)
        else:
            order, reason = step
            emit(state, out, OrderCancelled(market, order.order_id, order.subaccount, order.units, reason))
    if params.is_spot and plan.filled_units:
        brought = (params.asset, plan.filled_units)
        if not is_buy:
            brought = (SETTLEMENT_ASSET, plan.notional_usd6 - plan.taker_fee_usd6)
        repay_incoming(state, one, *brought, out)
