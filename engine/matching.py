"""What an incoming order would trade with, planned before anything is written (R12, R15, R19). Pure.

Rules: price-time priority at the resting order's price. A resting order is passed over, and cancelled when
the plan is posted, when it cannot be carried any more: a reduce-only order with nothing left to reduce (the
rest of one that a trade has used up goes at once, so that no book is crossed), a maker whose cash is gone,
or whose margin after this trade would be neither above initial margin nor no worse than before. So no loss
is ever put on a subaccount that cannot bear it, and no taker is stopped by it. The maker's fee of an order
rounds up once over all its trades, the taker's for each trade. Must not write.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.book import Order
from engine.fixed import notional_down_usd6, ppm_of_up
from engine.margin import margin_with, may_become, may_trade, meets_initial_margin
from engine.params import MarketParams
from engine.state import State, Subaccount
from engine.units import SETTLEMENT_ASSET


@dataclass(slots=True)
class Incoming:
    """An order that wants to trade now, against the resting ones at stop_e8 or better.

    limit_e8 is where it would rest; own_account is "" for a forced order, which self-trade prevention must
    not stop.
    """

    one: Subaccount
    params: MarketParams
    is_buy: bool
    units: int
    stop_e8: int
    limit_e8: int
    own_account: str
    taker_fee_ppm: int


@dataclass(slots=True)
class Fill:
    """One planned trade."""

    order: Order
    units: int
    notional_usd6: int
    maker_fee_usd6: int
    taker_fee_usd6: int


@dataclass(slots=True)
class Plan:
    """What would happen: trades and dropped makers in the order met, and what is left of the order.

    ended says why it did not go on although it could have: "" | "self_trade" | "price_band". notional and fee
    are the taker's sums.
    """

    steps: list[Fill | tuple[Order, str]] = field(default_factory=list)
    unfilled_units: int = 0
    filled_units: int = 0
    notional_usd6: int = 0
    taker_fee_usd6: int = 0
    ended: str = ""


@dataclass(slots=True)
class _MakerSoFar:
    """What this plan has done to one maker: its own balance changes, open-order changes included."""

    base_units: int = 0
    quote_usd6: int = 0
    buy_units: int = 0
    sell_units: int = 0


def plan_match(state: State, incoming: Incoming) -> Plan:
    """Walk the other side of the book and plan what the order does."""
    book = state.books[incoming.params.symbol]
    is_buy, params = incoming.is_buy, incoming.params
    left_units = incoming.units
    plan = Plan()
    side = book.asks if is_buy else book.bids
    best_e8 = side.best_price_e8()
    if best_e8 is None or (best_e8 > incoming.limit_e8 if is_buy else best_e8 < incoming.limit_e8):
        plan.unfilled_units = left_units
        return plan
    decimals = state.assets[params.asset].decimals
    stop_e8, own_account = incoming.stop_e8, incoming.own_account
    makers: dict[str, _MakerSoFar] = {}
    for order in side.best_first():
        if left_units == 0:
            break
        price_e8 = order.price_e8
        if price_e8 > stop_e8 if is_buy else price_e8 < stop_e8:
            if price_e8 <= incoming.limit_e8 if is_buy else price_e8 >= incoming.limit_e8:
                plan.ended = "price_band"
            break
        if own_account and order.subaccount.partition("/")[0] == own_account:
            plan.ended = "self_trade"
            break
        so_far = makers.get(order.subaccount)
        if so_far is None:
            so_far = makers[order.subaccount] = _MakerSoFar()
        fill = _fill(state, incoming, order, min(left_units, order.units), so_far, decimals)
        if isinstance(fill, str):
            plan.steps.append((order, fill))
            continue
        plan.steps.append(fill)
        if fill.units < min(left_units, order.units):
            # A reduce-only order that has nothing left to reduce would stand across what rests behind it.
            plan.steps.append((order, "nothing_to_reduce"))
        left_units -= fill.units
        plan.notional_usd6 += fill.notional_usd6
        plan.taker_fee_usd6 += fill.taker_fee_usd6
    plan.unfilled_units = left_units
    plan.filled_units = incoming.units - left_units
    return plan


def _fill(
    state: State, incoming: Incoming, order: Order, units: int, so_far: _MakerSoFar, decimals: int
) -> Fill | str:
    """Plan one trade, or say why the resting order cannot be carried any more."""
    params = incoming.params
    maker = state.subaccounts[order.subaccount]
    if order.reduce_only:
        units = min(units, reducible_units(maker, params.symbol, order.is_buy, so_far.base_units))
        if units <= 0:
            return "nothing_to_reduce"
    notional_usd6 = notional_down_usd6(units, order.price_e8, decimals)
    fee_ppm = params.maker_fee_ppm
    # The fee of what rests before and after: over an order's life these add up to the fee of the whole.
    maker_fee_usd6 = 0
    if fee_ppm:
        whole_usd6 = notional_down_usd6(order.units, order.price_e8, decimals)
        maker_fee_usd6 = ppm_of_up(whole_usd6, fee_ppm) - ppm_of_up(whole_usd6 - notional_usd6, fee_ppm)
    taker_fee_usd6 = ppm_of_up(notional_usd6, incoming.taker_fee_ppm)
    # A rebate comes out of the taker's fee; who is liquidated pays none (R20).
    maker_fee_usd6 = max(maker_fee_usd6, -taker_fee_usd6)
    signed_units = units if order.is_buy else -units
    paid_usd6 = (-notional_usd6 if order.is_buy else notional_usd6) - maker_fee_usd6
    before = (so_far.base_units, so_far.quote_usd6, so_far.buy_units, so_far.sell_units)
    so_far.base_units += signed_units
    so_far.quote_usd6 += paid_usd6
    if not order.reduce_only:
        if order.is_buy:
            so_far.buy_units -= units
        else:
            so_far.sell_units -= units
    fault = (
        _spot_fault(state, maker, params, so_far)
        if params.is_spot
        else _margin_fault(state, maker, params, so_far)
    )
    if fault:
        so_far.base_units, so_far.quote_usd6, so_far.buy_units, so_far.sell_units = before
        return fault
    return Fill(order, units, notional_usd6, maker_fee_usd6, taker_fee_usd6)


def reducible_units(one: Subaccount, market: str, is_buy: bool, changed_units: int = 0) -> int:
    """Give what an order could reduce of a position that has changed by changed_units; never negative."""
    position = one.positions.get(market)
    base_units = changed_units if position is None else position.base_units + changed_units
    return max(0, -base_units if is_buy else base_units)


def _margin_fault(state: State, maker: Subaccount, params: MarketParams, so_far: _MakerSoFar) -> str:
    allowed = may_trade(
        state,
        maker,
        params.symbol,
        so_far.base_units,
        so_far.quote_usd6,
        so_far.buy_units,
        so_far.sell_units,
    )
    return "" if allowed else "insufficient_margin"


def _spot_fault(state: State, maker: Subaccount, params: MarketParams, so_far: _MakerSoFar) -> str:
    if (
        maker.cash.get(SETTLEMENT_ASSET, 0) + so_far.quote_usd6 < 0
        or maker.cash.get(params.asset, 0) + so_far.base_units < 0
    ):
        return "insufficient_cash"
    after = margin_with(
        state, maker, asset=params.asset, asset_units=so_far.base_units, usdc_units=so_far.quote_usd6
    )
    if meets_initial_margin(after) or may_become(margin_with(state, maker), after):
        return ""
    return "insufficient_margin"
