"""Questions about markets: ranking all holders takes at most a share of the writer's time."""

from __future__ import annotations

import time
from unittest.mock import MagicMock

import pytest

from daemon import markets as markets_module
from daemon.clock import ManualClock
from daemon.market_views import orders_view
from daemon.markets import Markets
from tests.engine.conftest import SOL, USDC, Exchange


@pytest.fixture
def exchange() -> Exchange:
    made = Exchange()
    made.open("1/0", "2/0", "3/0")
    for name in ("1/0", "2/0", "3/0"):
        made.deposit(name, 10_000 * USDC)
    made.prices(150)
    made.trade("1/0", "2/0", 10 * SOL, 150)
    return made


def asked(exchange: Exchange, markets: Markets) -> list[str]:
    return [one.subaccount for one in markets._ranks(exchange.state, "SOL-PERP").ranks]


def test_r24_ranks_of_a_small_market_are_always_of_now(exchange: Exchange) -> None:
    markets = Markets(MagicMock(), exchange.params, ManualClock(1))
    assert asked(exchange, markets) == ["1/0", "2/0"]
    exchange.trade("3/0", "2/0", 10 * SOL, 150)
    assert set(asked(exchange, markets)) == {"1/0", "2/0", "3/0"}


def test_r24_ranks_of_a_large_market_are_made_at_most_a_twentieth_of_the_time(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [100.0]

    def ranked(*_: object) -> tuple[int, tuple[object, ...]]:
        seconds[0] += 0.5  # what ranking takes
        return view(exchange.state, "SOL-PERP")

    view = markets_module.views.ranks_view
    monkeypatch.setattr(markets_module, "_RANKED_EVERY_TIME", 1)
    monkeypatch.setattr(markets_module.views, "ranks_view", ranked)
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    markets = Markets(MagicMock(), exchange.params, ManualClock(1))
    assert asked(exchange, markets) == ["1/0", "2/0"]
    exchange.trade("3/0", "2/0", 10 * SOL, 150)
    seconds[0] += 9.9
    assert asked(exchange, markets) == ["1/0", "2/0"]
    seconds[0] += 0.2
    assert set(asked(exchange, markets)) == {"1/0", "2/0", "3/0"}


def test_r12_orders_are_listed_in_the_order_in_which_they_rest(exchange: Exchange) -> None:
    for price in (140, 139, 141):
        exchange.order("1/0", "buy", SOL, price)
    exchange.order("1/0", "buy", SOL, 140, market="SOL/USDC")
    found = orders_view(exchange.state, "1/0", None)
    assert [(one.market, one.order_id) for one in found] == [
        ("SOL-PERP", 1),
        ("SOL-PERP", 2),
        ("SOL-PERP", 3),
        ("SOL/USDC", 1),
    ]
    assert len(orders_view(exchange.state, "1/0", "SOL/USDC")) == 1
    assert orders_view(exchange.state, "2/0", None) == []
