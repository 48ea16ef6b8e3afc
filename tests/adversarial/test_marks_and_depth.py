"""Moving the mark by trading with oneself, and showing depth that is not meant (R12, R13, R15, R22)."""

from __future__ import annotations

from engine import commands as cm
from engine.events import LiquidationStageChanged, OrderCancelled, Traded
from engine.outcome import Accepted, Rejected
from engine.rejects import RejectReason
from tests.engine.conftest import DOLLAR_E8, SECOND, SOL, USDC, Exchange


def _quotes(exchange: Exchange, price_usd: int) -> None:
    quotes = [(feed, "s", price_usd * DOLLAR_E8, exchange.now_ns) for feed in ("a", "b", "c")]
    exchange.must(cm.UpdateQuotes, "SOL", tuple(quotes))


def _mark(exchange: Exchange) -> int:
    return exchange.state.mark_prices["SOL-PERP"].price_e8


def test_r12_siblings_cannot_trade_with_each_other(exchange: Exchange) -> None:
    """The newer order of the same account ends (`self_trade`): nothing trades, the older one stays."""
    for name in ("1/0", "1/1"):
        exchange.deposit(name, 10_000 * USDC)
    assert isinstance(exchange.order("1/0", "sell", 10 * SOL, 156), Accepted)
    answer = exchange.order("1/1", "buy", 10 * SOL, 156)
    assert isinstance(answer, Accepted)
    assert [type(one) for one in answer.events] == [OrderCancelled]
    assert answer.events[0].reason == "self_trade"
    assert exchange.base("1/0") == exchange.base("1/1") == 0


def test_r13_trades_between_accomplices_do_not_touch_the_mark(exchange: Exchange) -> None:
    """A trade 4% off the index is only a trade: index, mark and everybody's margin stay where they are."""
    for name in ("1/0", "2/0"):
        exchange.deposit(name, 10_000 * USDC)
    _quotes(exchange, 150)
    assert isinstance(exchange.order("1/0", "sell", 10 * SOL, 156), Accepted)
    answer = exchange.order("2/0", "buy", 10 * SOL, 156)
    assert isinstance(answer, Accepted)
    assert isinstance(answer.events[0], Traded)
    assert _mark(exchange) == 150 * DOLLAR_E8
    exchange.wait(1)
    _quotes(exchange, 150)
    assert _mark(exchange) == 150 * DOLLAR_E8


def test_r13_owning_the_book_moves_the_mark_by_a_sixtieth_a_second_and_five_percent_ever(
    exchange: Exchange,
) -> None:
    """Both sides of an empty book 40% above the index: +0.082% after 1 s, never above +5%, gone in minutes.

    d is held inside 5%, the average moves by dt / (60 s + dt) of the way: 150 x 5% / 61 = 0.1229 a second.
    """
    exchange.deposit("1/0", 100_000 * USDC)
    _quotes(exchange, 150)
    assert isinstance(exchange.order("1/0", "buy", SOL, 209), Accepted)
    assert isinstance(exchange.order("1/0", "sell", SOL, 211), Accepted)
    exchange.wait(1)
    _quotes(exchange, 150)
    assert _mark(exchange) == 150 * DOLLAR_E8 + 750_000_000 // 61
    for _ in range(120):
        exchange.wait(30)
        _quotes(exchange, 150)
    assert _mark(exchange) <= 150 * DOLLAR_E8 * 105 // 100
    exchange.must(cm.CancelAllOrders, "1/0", "")
    for _ in range(10):
        exchange.wait(59)
        _quotes(exchange, 150)
    # Half of the distance goes in every 59 of 119 seconds: 5% x (60 / 119)^10 = 0.005%.
    assert _mark(exchange) - 150 * DOLLAR_E8 < 150 * DOLLAR_E8 // 10_000


def test_r13_an_order_that_stands_for_no_time_counts_for_nothing(exchange: Exchange) -> None:
    """Placed and cancelled between two quotes, whatever its price: the mark never hears of it."""
    exchange.deposit("1/0", 100_000 * USDC)
    _quotes(exchange, 150)
    exchange.wait(5)
    assert isinstance(exchange.order("1/0", "buy", SOL, 209), Accepted)
    assert isinstance(exchange.order("1/0", "sell", SOL, 211), Accepted)
    exchange.must(cm.CancelAllOrders, "1/0", "")
    _quotes(exchange, 150)
    assert _mark(exchange) == 150 * DOLLAR_E8


def _victim(exchange: Exchange) -> None:
    """1/0 holds 100 SOL long with $301: at $149 its equity is $201.00, and it must hold $201.15."""
    exchange.deposit("1/0", 301 * USDC)
    assert isinstance(exchange.trade("1/0", "80/0", 100 * SOL, 150), Accepted)
    exchange.wait(1)


def test_r22_spoofed_depth_buys_what_it_shows_and_a_stink_bid_gets_nothing(exchange: Exchange) -> None:
    """10,000 SOL of shown depth make one step no larger than 10% of the position; the spoofer buys it.

    A step sells 10 SOL at the mark less 1% at worst: a spoofer wins at most 0.1% of the notional a second.
    A bid at half the mark is out of the band: nothing goes there.
    """
    _victim(exchange)
    exchange.deposit("2/0", 100_000 * USDC)
    assert isinstance(exchange.order("2/0", "buy", 10_000 * SOL // 100, 148.2), Accepted)
    assert isinstance(exchange.order("2/1", "buy", SOL, 75), Rejected)  # it has no margin for it
    assert isinstance(exchange.order("81/0", "buy", 1_000 * SOL, 75), Accepted)
    events = exchange.prices(149, mark_usd=149)
    trades = [one for one in events if isinstance(one, Traded)]
    assert [(one.maker, one.units) for one in trades] == [("2/0", 10 * SOL)]
    assert trades[0].price_e8 * 100 >= 149 * DOLLAR_E8 * 99
    assert trades[0].taker_fee_usd6 == 0
    assert exchange.base("81/0") == 0


def test_r22_depth_that_vanishes_costs_five_seconds(exchange: Exchange) -> None:
    """Whoever pulls his bids does not sell the position for less: after 5 idle steps stage 2 begins."""
    _victim(exchange)
    exchange.deposit("2/0", 100_000 * USDC)
    answer = exchange.order("2/0", "buy", 100 * SOL, 148.2)
    assert isinstance(answer, Accepted)
    exchange.must(cm.CancelAllOrders, "2/0", "")
    seen = list(exchange.prices(149, mark_usd=149))
    assert exchange.base("1/0") == 100 * SOL
    for _ in range(5):
        exchange.now_ns += SECOND
        seen += exchange.prices(149, mark_usd=149)
    changed = [one for one in seen if isinstance(one, LiquidationStageChanged)]
    assert changed[0].why == "no_progress"


def test_r15_a_sweep_stops_at_the_band(exchange: Exchange) -> None:
    """A market order through a thin book trades up to mark + 5% and no further."""
    exchange.deposit("1/0", 100_000 * USDC)
    for price in (151, 157, 158, 200):
        assert isinstance(exchange.order("80/0", "sell", SOL, price), Accepted)
    answer = exchange.send(cm.PlaceOrder, "1/0", "SOL-PERP", "buy", "market", 4 * SOL, 0)
    assert isinstance(answer, Accepted)
    prices = [one.price_e8 // DOLLAR_E8 for one in answer.events if isinstance(one, Traded)]
    assert prices == [151, 157]
    assert isinstance(answer.events[-1], OrderCancelled)
    assert answer.events[-1].reason == "price_band"


def test_r19_a_block_trade_on_a_stale_collateral_index_is_refused(exchange: Exchange) -> None:
    """Collateral whose index nobody has confirmed for 61 s carries no new position: the oracle attack."""
    exchange.deposit("1/0", 10**8, "BTC")
    exchange.wait(61)
    exchange.must(cm.UpdatePrices, (("SOL", 150 * DOLLAR_E8),), (("SOL-PERP", 150 * DOLLAR_E8),))
    answer = exchange.trade("1/0", "80/0", 100 * SOL, 150)
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.STALE_PRICE


def test_r12_an_order_on_a_stale_collateral_index_is_refused(exchange: Exchange) -> None:
    """The same on the book, where the stale index belongs to another asset than the market's."""
    exchange.deposit("1/0", 10**8, "BTC")
    exchange.wait(61)
    exchange.must(cm.UpdatePrices, (("SOL", 150 * DOLLAR_E8),), (("SOL-PERP", 150 * DOLLAR_E8),))
    answer = exchange.order("1/0", "buy", 100 * SOL, 150)
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.STALE_PRICE
