"""Rows of the refusal table of test_rejects.py: lending and borrowing (R10, R11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import commands as cm
from engine.apply import Accepted
from engine.rejects import RejectReason
from tests.engine.conftest import SOL, USDC, Exchange

R = RejectReason


def borrow(x: Exchange, units: int, asset: str = "SOL", name: str = "1/0") -> Any:
    return x.send(cm.Borrow, name, asset, units)


def borrowed(x: Exchange, units: int) -> Exchange:
    """Let 1/0 borrow of the 10 SOL that 2/0 has idle."""
    outcome = borrow(x, units)
    assert isinstance(outcome, Accepted), outcome
    return x


def rich(x: Exchange) -> Exchange:
    x.deposit("1/0", 100_000_000 * USDC)
    return x


def stale(x: Exchange) -> Any:
    x.wait(61)
    return borrow(x, SOL)


def in_debt(x: Exchange) -> Any:
    x.backstop()
    assert isinstance(x.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    x.prices(90)
    return borrow(x, SOL)


LENDING_ROWS: list[tuple[RejectReason, str, Callable[[Exchange], Any]]] = [
    (R.UNKNOWN_SUBACCOUNT, "lending", lambda x: x.send(cm.SetLending, "9/9", 1, 1, 1)),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "lending", lambda x: x.send(cm.SetLending, "fees", 1, 1, 1)),
    (R.SYSTEM_ACCOUNT_NOT_ALLOWED, "borrow", lambda x: borrow(x, SOL, name="lending_pool")),
    (R.UNKNOWN_SUBACCOUNT, "borrow", lambda x: borrow(x, SOL, name="9/9")),
    (R.MALFORMED_COMMAND, "flag", lambda x: x.send(cm.SetLending, "1/0", 2, 0, 0)),
    (R.UNKNOWN_ASSET, "borrow", lambda x: borrow(x, SOL, "DOGE")),
    (R.AMOUNT_NOT_POSITIVE, "borrow", lambda x: borrow(x, 0)),
    (R.AMOUNT_NOT_POSITIVE, "repay", lambda x: x.send(cm.Repay, "1/0", "SOL", -1)),
    (R.AMOUNT_TOO_LARGE, "borrow", lambda x: borrow(x, 2**64)),
    (R.BELOW_MINIMUM, "borrow", lambda x: borrow(x, 999_999)),
    (R.BELOW_MINIMUM, "lend", lambda x: x.send(cm.Lend, "1/0", "SOL", 999_999)),
    (R.INSUFFICIENT_SETTLED_CASH, "lend", lambda x: x.send(cm.Lend, "1/0", "SOL", 10 * SOL + 1)),
    (R.PRICE_UNAVAILABLE, "borrow", lambda x: borrow(x, 10**6, "ETH")),
    (R.OUTSTANDING_NEGATIVE_EQUITY, "borrow", in_debt),
    (R.INSUFFICIENT_INITIAL_MARGIN, "borrow", lambda x: borrow(x, 1_000 * SOL)),
    (R.INSUFFICIENT_INITIAL_MARGIN, "borrow of 2^64-1", lambda x: borrow(x, 2**64 - 1)),
    (R.BORROW_LIMIT_EXCEEDED, "", lambda x: borrow(rich(x), 20_000_000 * USDC + 1, "USDC")),
    (R.STALE_PRICE, "borrow", stale),
    (R.NOTHING_BORROWED, "", lambda x: x.send(cm.Repay, "1/0", "SOL", SOL)),
    (
        R.INSUFFICIENT_SETTLED_CASH,
        "repay",
        lambda x: (
            borrowed(x, 5 * SOL).must(cm.Transfer, "1/0", "1/1", "SOL", 12 * SOL),
            x.send(cm.Repay, "1/0", "SOL", 4 * SOL),
        )[1],
    ),
    (R.INSUFFICIENT_LENT_BALANCE, "nothing", lambda x: x.send(cm.Redeem, "1/0", "SOL", 1)),
    (
        R.INSUFFICIENT_LENT_BALANCE,
        "less",
        lambda x: (x.must(cm.Lend, "1/0", "SOL", SOL), x.send(cm.Redeem, "1/0", "SOL", SOL + 1))[1],
    ),
    (R.UTILIZATION_ABOVE_MAXIMUM, "borrow", lambda x: borrow(x, 9_500_000_001)),
    (
        R.UTILIZATION_ABOVE_MAXIMUM,
        "redeem",
        lambda x: borrowed(x, 5 * SOL).send(cm.Redeem, "2/0", "SOL", 5 * SOL),
    ),
    (R.UTILIZATION_ABOVE_THROTTLE, "borrow", lambda x: borrow(borrowed(x, 9_500_000_000), SOL)),
    (
        R.UTILIZATION_ABOVE_THROTTLE,
        "redeem",
        lambda x: borrowed(x, 9_500_000_000).send(cm.Redeem, "2/0", "SOL", 1),
    ),
]
