"""Rows of the refusal table of test_rejects.py: orders, market states and quotes (R12-R15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import commands as cm
from engine.apply import Accepted
from engine.rejects import RejectReason
from tests.engine.conftest import SOL, Exchange

R = RejectReason


def done(outcome: Any) -> None:
    assert isinstance(outcome, Accepted), outcome


def duplicate(x: Exchange) -> Any:
    done(x.order("1/0", "buy", SOL, 140, client_order_id="mine"))
    done(x.order("2/0", "buy", SOL, 140, client_order_id="mine"))
    return x.order("1/0", "sell", SOL, 160, client_order_id="mine")


def too_many(x: Exchange) -> Any:
    for _ in range(x.params.max_open_orders):
        done(x.order("1/0", "buy", SOL // 100, 140))
    done(x.order("1/0", "buy", SOL // 100, 140, "ioc"))
    return x.order("1/0", "buy", SOL // 100, 140)


def in_state(x: Exchange, state: str, *order: Any, **named: Any) -> Any:
    x.must(cm.SetMarketState, "SOL-PERP", state)
    return x.order(*order, **named)


def stale(x: Exchange) -> Any:
    x.wait(61)
    return x.order("1/0", "buy", SOL, 150)


def without_mark(x: Exchange) -> Any:
    """Give ETH an index; no mark of ETH-PERP ever came."""
    x.must(cm.UpdatePrices, (("ETH", 150 * 10**8),), ())
    return x.order("1/0", "buy", SOL, 150, market="ETH-PERP")


def without_index(x: Exchange) -> Any:
    """Give ETH-PERP a mark; no index of ETH ever came."""
    x.must(cm.UpdatePrices, (), (("ETH-PERP", 150 * 10**8),))
    return x.order("1/0", "buy", SOL, 150, market="ETH-PERP")


def post_only(x: Exchange) -> Any:
    done(x.order("2/0", "sell", SOL, 150))
    return x.order("1/0", "buy", SOL, 150, "post_only")


def unfilled(x: Exchange) -> Any:
    done(x.order("2/0", "sell", SOL, 150))
    return x.order("1/0", "buy", 2 * SOL, 150, "fok")


def same_side(x: Exchange) -> Any:
    done(x.trade("1/0", "2/0", SOL, 150))
    return x.order("1/0", "buy", SOL, 150, reduce_only=1)


def liquidated(x: Exchange) -> Any:
    """Put 1/0 below maintenance, not below zero, with an empty book: it waits in stage 1."""
    done(x.trade("1/0", "2/0", 100 * SOL, 150))
    x.prices(127, mark_usd=130)
    assert "1/0" in x.state.liquidations
    return x.order("1/0", "sell", SOL, 130)


def bankrupt(x: Exchange) -> Exchange:
    """Make 1/0 owe: it loses all, and a backstop provider takes its position at mark."""
    x.backstop()
    done(x.trade("1/0", "2/0", 100 * SOL, 150))
    x.prices(90)
    assert x.unsettled("1/0") < 0
    done(x.trade("2/0", "90/0", 100 * SOL, 90))
    return x


def locked(x: Exchange, leave: Callable[[Exchange], Any]) -> Any:
    done(x.order("1/0", "sell", 6 * SOL, 160, market="SOL/USDC"))
    return leave(x)


ORDER_ROWS: list[tuple[RejectReason, str, Callable[[Exchange], Any]]] = [
    (R.MALFORMED_COMMAND, "side", lambda x: x.order("1/0", "bid", SOL, 150)),
    (R.MALFORMED_COMMAND, "kind", lambda x: x.order("1/0", "buy", SOL, 150, "gtc")),
    (R.MALFORMED_COMMAND, "reduce_only", lambda x: x.order("1/0", "buy", SOL, 150, reduce_only=2)),
    (R.MALFORMED_COMMAND, "market state", lambda x: x.send(cm.SetMarketState, "SOL-PERP", "halted")),
    (R.MALFORMED_COMMAND, "empty market", lambda x: x.send(cm.SetMarketState, "", "open")),
    (
        R.MALFORMED_COMMAND,
        "source twice",
        lambda x: x.send(cm.UpdateQuotes, "SOL", (("a", "b", 1, 1), ("a", "b", 2, 2))),
    ),
    (R.MALFORMED_COMMAND, "quote short", lambda x: x.send(cm.UpdateQuotes, "SOL", (("a", "b", 1),))),
    (
        R.MALFORMED_COMMAND,
        "quote absurd",
        lambda x: x.send(cm.UpdateQuotes, "SOL", (("a", "b", 10**50, 1),)),
    ),
    (R.UNKNOWN_SUBACCOUNT, "order", lambda x: x.order("9/9", "buy", SOL, 150)),
    (R.UNKNOWN_SUBACCOUNT, "cancel", lambda x: x.send(cm.CancelOrder, "9/9", "SOL-PERP", 1)),
    (R.UNKNOWN_SUBACCOUNT, "cancel all", lambda x: x.send(cm.CancelAllOrders, "9/9", "")),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "order", lambda x: x.order("fees", "buy", SOL, 150)),
    (R.UNKNOWN_ASSET, "quotes", lambda x: x.send(cm.UpdateQuotes, "DOGE", ())),
    (R.UNKNOWN_ASSET, "quotes of USDC", lambda x: x.send(cm.UpdateQuotes, "USDC", ())),
    (R.UNKNOWN_MARKET, "order", lambda x: x.order("1/0", "buy", SOL, 150, market="DOGE-PERP")),
    (R.UNKNOWN_MARKET, "cancel", lambda x: x.send(cm.CancelOrder, "1/0", "DOGE-PERP", 1)),
    (R.UNKNOWN_MARKET, "cancel all", lambda x: x.send(cm.CancelAllOrders, "1/0", "DOGE-PERP")),
    (R.UNKNOWN_MARKET, "state", lambda x: x.send(cm.SetMarketState, "DOGE-PERP", "open")),
    (R.UNKNOWN_MARKET, "mark of spot", lambda x: x.send(cm.UpdatePrices, (), (("SOL/USDC", 1),))),
    (R.UNKNOWN_MARKET, "block trade of spot", lambda x: x.trade("1/0", "2/0", SOL, 150, "SOL/USDC")),
    (R.UNKNOWN_ORDER, "none", lambda x: x.send(cm.CancelOrder, "1/0", "SOL-PERP", 1)),
    (
        R.UNKNOWN_ORDER,
        "of another",
        lambda x: (
            done(x.order("2/0", "buy", SOL, 140)),
            x.send(cm.CancelOrder, "1/0", "SOL-PERP", 1),
        )[1],
    ),
    (R.UNKNOWN_ORDER, "client id", lambda x: x.send(cm.CancelOrder, "1/0", "SOL-PERP", 0, "mine")),
    (R.CLIENT_ORDER_ID_IN_USE, "", duplicate),
    (R.TOO_MANY_OPEN_ORDERS, "", too_many),
    (R.MARKET_CLOSED, "", lambda x: in_state(x, "closed", "1/0", "buy", SOL, 150, "post_only")),
    (R.MARKET_POST_ONLY, "", lambda x: in_state(x, "post_only", "1/0", "buy", SOL, 150)),
    (R.MARKET_REDUCE_ONLY, "set", lambda x: in_state(x, "reduce_only", "1/0", "buy", SOL, 150)),
    (R.MARKET_REDUCE_ONLY, "stale", stale),
    (R.AMOUNT_NOT_POSITIVE, "order", lambda x: x.order("1/0", "buy", 0, 150)),
    (R.AMOUNT_TOO_LARGE, "order", lambda x: x.order("1/0", "buy", 2**64, 150)),
    (R.PRICE_OUT_OF_RANGE, "order", lambda x: x.order("1/0", "buy", SOL, 0)),
    (R.PRICE_OUT_OF_RANGE, "market order", lambda x: x.order("1/0", "buy", SOL, 150, "market")),
    (R.NOT_A_WHOLE_LOT, "", lambda x: x.order("1/0", "buy", SOL + 1, 150)),
    (
        R.NOT_A_WHOLE_TICK,
        "",
        lambda x: x.send(cm.PlaceOrder, "1/0", "SOL-PERP", "buy", "limit", SOL, 15_000_000_001),
    ),
    (R.PRICE_UNAVAILABLE, "index", lambda x: x.order("1/0", "buy", SOL, 150, market="ETH-PERP")),
    (R.PRICE_UNAVAILABLE, "spot index", lambda x: x.order("1/0", "buy", SOL, 150, market="ETH/USDC")),
    (R.PRICE_UNAVAILABLE, "mark", without_mark),
    (R.PRICE_UNAVAILABLE, "index although there is a mark", without_index),
    (R.PRICE_OUTSIDE_LIMITS, "low", lambda x: x.order("1/0", "buy", SOL, 37.49)),
    (R.PRICE_OUTSIDE_LIMITS, "high", lambda x: x.order("1/0", "sell", SOL, 300.01)),
    (R.NOTHING_TO_REDUCE, "no position", lambda x: x.order("1/0", "buy", SOL, 150, reduce_only=1)),
    (R.NOTHING_TO_REDUCE, "same side", same_side),
    (
        R.NOTHING_TO_REDUCE,
        "spot",
        lambda x: x.order("1/0", "sell", SOL, 150, market="SOL/USDC", reduce_only=1),
    ),
    (R.POST_ONLY_WOULD_TRADE, "", post_only),
    (R.FILL_OR_KILL_UNFILLED, "", unfilled),
    (R.IN_LIQUIDATION, "order", liquidated),
    (R.OUTSTANDING_NEGATIVE_EQUITY, "order", lambda x: bankrupt(x).order("1/0", "sell", SOL, 90)),
    (
        R.INSUFFICIENT_SETTLED_CASH,
        "spot buy",
        lambda x: x.order("1/0", "buy", 7 * SOL, 150, market="SOL/USDC"),
    ),
    (
        R.INSUFFICIENT_SETTLED_CASH,
        "spot sell",
        lambda x: x.order("1/0", "sell", 10 * SOL + SOL // 100, 150, market="SOL/USDC"),
    ),
    (
        R.INSUFFICIENT_SETTLED_CASH,
        "locked twice",
        lambda x: locked(x, lambda x: x.order("1/0", "sell", 5 * SOL, 160, market="SOL/USDC")),
    ),
    (
        R.INSUFFICIENT_SETTLED_CASH,
        "locked withdrawal",
        lambda x: locked(x, lambda x: x.withdraw("1/0", 5 * SOL, "SOL")),
    ),
    (
        R.INSUFFICIENT_SETTLED_CASH,
        "locked transfer",
        lambda x: locked(x, lambda x: x.send(cm.Transfer, "1/0", "1/1", "SOL", 5 * SOL)),
    ),
    (R.INSUFFICIENT_INITIAL_MARGIN, "order", lambda x: x.order("1/0", "buy", 1_000 * SOL, 150)),
    (
        R.INSUFFICIENT_INITIAL_MARGIN,
        "orders together",
        lambda x: (
            done(x.order("1/0", "buy", 400 * SOL, 150)),
            x.order("1/0", "buy", 400 * SOL, 150),
        )[1],
    ),
]
