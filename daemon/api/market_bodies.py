"""Requests and answers about markets, orders, lending and liquidations; the rules of `daemon.api.bodies`.

Prices come in as decimal text and go out as whole numbers of 10^-8 USD per token (`_e8`); sizes are base
units of the market's asset, both ways.
"""

from __future__ import annotations

from typing import Any

import msgspec

from daemon.api.bodies import DoneBody, Request


class OrderRequest(Request):
    """Place an order; a market order has no price, every other kind has one."""

    id: str
    subaccount: str
    market: str
    side: str
    base_units: int
    kind: str = "limit"
    price: str | None = None
    reduce_only: bool = False
    client_order_id: str = ""


class CancelRequest(Request):
    """Cancel a resting order by its order_id or by its client_order_id: one of the two."""

    id: str
    subaccount: str
    market: str
    order_id: int | None = None
    client_order_id: str = ""


class CancelAllRequest(Request):
    """Cancel every resting order of a subaccount, in one market or, without one, in all."""

    id: str
    subaccount: str
    market: str = ""


class MarketStateRequest(Request):
    """Set what a market lets in: open, post_only, reduce_only or closed."""

    id: str
    market: str
    state: str


class QuoteBody(Request):
    """What one source of a feed says; `time_ns` is when it said so, without it the time of the request."""

    feed: str
    source: str
    price: str
    time_ns: int | None = None


class QuotesRequest(Request):
    """What sources say an asset is worth; index and marks follow."""

    id: str
    asset: str
    quotes: list[QuoteBody]


class LendingRequest(Request):
    """Lend, redeem, borrow or repay units of an asset."""

    id: str
    subaccount: str
    asset: str
    units: int


class SwitchesRequest(Request):
    """Choose what happens by itself: lending of idle cash, borrowing for a shortage, repaying."""

    id: str
    subaccount: str
    auto_lend: bool
    auto_borrow: bool
    auto_repay: bool


class OrderResult(msgspec.Struct):
    """What became of an order at once.

    ended: "filled" (all of it traded), "rests", or why the rest was cancelled. cut_units were never ordered:
    a reduce-only order is cut to the position. average_price_e8 is rounded down, None without a fill.
    """

    market: str
    order_id: int
    client_order_id: str
    ended: str
    filled_units: int
    average_price_e8: int | None
    notional_usd6: int
    fee_usd6: int
    resting_units: int
    cancelled_units: int
    cut_units: int


class OrderDoneBody(DoneBody):
    """An order was accepted: its events, and what they mean for it."""

    order: OrderResult


class OrderBody(msgspec.Struct):
    """A resting order; base_units is what is left of it."""

    market: str
    order_id: int
    client_order_id: str
    side: str
    price_e8: int
    base_units: int
    reduce_only: bool


class MarketBody(msgspec.Struct):
    """A market as it is: what it lets in now, its prices, its book, its parameters.

    `state` is reduce_only while the price is stale; `chosen_state` is what was set. Mark, funding and open
    interest are None on a spot market, prices before there is one.
    """

    market: str
    asset: str
    kind: str
    decimals: int
    tick_e8: int
    lot_units: int
    state: str
    chosen_state: str
    is_stale: bool
    index_price_e8: int | None
    index_time_ns: int | None
    mark_price_e8: int | None
    best_bid_e8: int | None
    best_ask_e8: int | None
    mid_price_e8: int | None
    expected_funding_rate_e9: int | None
    open_interest_units: int | None
    open_orders: int
    params: dict[str, Any]


class LevelBody(msgspec.Struct):
    """One price of a book with all that rests there."""

    price_e8: int
    units: int


class DepthBody(msgspec.Struct):
    """The best levels of both sides, best first."""

    market: str
    time_ns: int
    bids: list[LevelBody]
    asks: list[LevelBody]


class TradeBody(msgspec.Struct):
    """Base changed hands: a fill, a block trade, or a step of a liquidation.

    kind: book, forced (a liquidation's order), block, backstop, netting or adl. `event` is the receipt, with
    fees and orders.
    """

    sequence: int
    time_ns: int
    market: str
    kind: str
    taker_side: str | None
    buyer: str
    seller: str
    base_units: int
    price_e8: int
    event: dict[str, Any]


class AdlRankBody(msgspec.Struct):
    """A holder's place on its side of a market; rank 1 would be reduced first."""

    subaccount: str
    side: str
    rank: int
    group: str
    base_units: int
    reducible_units: int


class AdlBody(msgspec.Struct):
    """The ranks of a market as of `time_ns`: the first of each side, and how many there are."""

    market: str
    time_ns: int
    longs: int
    shorts: int
    ranks: list[AdlRankBody]


class PositionDetailBody(msgspec.Struct):
    """A position with what its holder wants to know.

    unrealized_pnl is what the next settlement moves to cash, pnl_since_entry compares the mark with the
    average entry price (without fees and funding). zero_price uses up the position's share of the equity;
    liquidation_price is the mark that brings the subaccount below maintenance if only it moves. Both are None
    where there is none.
    """

    market: str
    side: str
    base_units: int
    quote_usd6: int
    mark_price_e8: int
    average_entry_price_e8: int
    value_usd6: int
    unrealized_pnl_usd6: int
    pnl_since_entry_usd6: int
    maintenance_margin_usd6: int
    liquidation_price_e8: int | None
    zero_price_e8: int | None
    adl: AdlRankBody | None


class PositionsBody(msgspec.Struct):
    """A subaccount's positions. state: healthy, book, backstop or adl (in liquidation), bankrupt."""

    subaccount: str
    state: str
    margin: dict[str, int]
    positions: list[PositionDetailBody]


class PoolBody(msgspec.Struct):
    """A lending pool as of the last accrual; rates are per year."""

    asset: str
    decimals: int
    lent_units: int
    owed_units: int
    cash_units: int
    utilization_ppm: int
    borrow_rate_ppm: int
    lend_rate_ppm: int
    is_throttled: bool
    params: dict[str, int]


class LendingAssetBody(msgspec.Struct):
    """What a subaccount has in one asset, and what it could lend, redeem and borrow of it now."""

    asset: str
    free_units: int
    lent_units: int
    redeemable_units: int
    owed_units: int
    max_borrow_units: int


class LendingBody(msgspec.Struct):
    """A subaccount's lending and borrowing, with its switches."""

    subaccount: str
    auto_lend: bool
    auto_borrow: bool
    auto_repay: bool
    assets: list[LendingAssetBody]


class InLiquidationBody(msgspec.Struct):
    """One subaccount in liquidation."""

    subaccount: str
    stage: str
    since_ns: int
    next_step_ns: int
    net_equity_usd6: int
    account_value_usd6: int
    maintenance_margin_usd6: int


class FundBody(msgspec.Struct):
    """The insurance fund; unsettled below zero is what it owes the settlement pool.

    short_usd6 is what it has lacked ever since short_since_ns, which is None while it lacks nothing: after
    the write-off time that is cut from the claims behind it (R27).
    """

    cash_units: dict[str, int]
    lent_units: dict[str, int]
    owed_units: dict[str, int]
    unsettled_usd6: int
    short_usd6: int
    short_since_ns: int | None


class LiquidationsBody(msgspec.Struct):
    """The public numbers of the waterfall: what each stage did, ever and in 24 h, and who is in it."""

    time_ns: int
    stages: list[dict[str, Any]]
    in_liquidation: int
    liquidations: list[InLiquidationBody]
    debtors: int
    outstanding_negative_equity_usd6: int
    insurance_fund: FundBody


class CapacityBody(msgspec.Struct):
    """What a backstop provider takes in a market, and what is left of it in this minute and hour."""

    provider: str
    market: str
    per_minute_usd6: int
    per_hour_usd6: int
    left_in_minute_usd6: int
    left_in_hour_usd6: int
    active: bool
