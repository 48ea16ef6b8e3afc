"""A million orders: on the books at once, and from one sender (R4, R12, R13, R18, R21, R22).

Nothing here measures time. Work is counted in lines of the engine's Python that a command runs through, and
compared with the same command on books a 250th as full: what would look at every order shows as 250 times.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

from engine import commands as cm
from engine.apply import apply
from engine.events import Event, OrderCancelled, Traded
from engine.invariants import check
from engine.margin import margin_of
from engine.markets import depth, mid_price_e8
from engine.outcome import Accepted, Rejected
from engine.params import default_params
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state
from engine.state import State, new_state
from tests.engine.conftest import DOLLAR_E8, SECOND, SOL, START_NS, USDC

EACH = 200  # orders that may rest per subaccount and market (R12)
# Market, price, tick, lot: bids and asks stand 10 to 209 ticks away from the price.
BOOKS = (
    ("SOL-PERP", 150 * DOLLAR_E8, 1_000_000, 10_000_000),
    ("BTC-PERP", 60_000 * DOLLAR_E8, 10_000_000, 10_000),
)
RICH, VICTIM = "9001/0", "9002/0"


def must(state: State, command: cm.Command) -> tuple[Event, ...]:
    outcome = apply(state, command)
    assert isinstance(outcome, Accepted), outcome
    return outcome.events


def flooded(subaccounts: int, **params: int) -> State:
    """An exchange in which subaccounts 1/0, 2/0, … have $1,000 each and all the orders of one lot they may.

    Odd ones sell, even ones buy. RICH has $10,000,000 and no orders.
    """
    state = new_state(replace(default_params(), **params))  # type: ignore[arg-type]
    indices = tuple((market.partition("-")[0], price_e8) for market, price_e8, _, _ in BOOKS)
    marks = tuple((market, price_e8) for market, price_e8, _, _ in BOOKS)
    must(state, cm.UpdatePrices("prices", START_NS, indices, marks))
    names = [f"{number}/0" for number in range(1, subaccounts + 1)]
    for name, usdc in [(RICH, 10_000_000), *[(name, 1_000) for name in names]]:
        must(state, cm.OpenSubaccount(f"open:{name}", START_NS, name))
        must(state, cm.Deposit(f"deposit:{name}", START_NS, name, "USDC", usdc * USDC, "wallet"))
    for market, price_e8, tick_e8, lot_units in BOOKS:
        for number in range(EACH):
            away_e8 = (10 + number) * tick_e8
            for place, name in enumerate(names):
                side, price = ("buy", price_e8 - away_e8) if place % 2 else ("sell", price_e8 + away_e8)
                order_id = f"{market}:{number}:{name}"
                order = cm.PlaceOrder(order_id, START_NS, name, market, side, "limit", lot_units, price)
                must(state, order)
    return state


def open_orders(state: State) -> int:
    return sum(len(book.orders) for book in state.books.values())


def lines_of(work: Callable[[], Any]) -> tuple[int, Any]:
    """Count the lines of Python that `work` runs through, each turn of a loop anew."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        answer = work()
    finally:
        sys.settrace(before)
    return lines, answer


def same_work(few: State, many: State, work: Callable[[State], Any]) -> tuple[Any, Any]:
    """Do the same in both; a million orders must not cost more than a few thousand. Gives both answers."""
    (lines, first), (more_lines, second) = [lines_of(lambda s=state: work(s)) for state in (few, many)]
    assert lines > 0
    assert more_lines <= lines * 11 // 10, f"{more_lines} lines, {lines} with few orders"
    return first, second


def victim_comes(state: State) -> None:
    """VICTIM, with $38, is long 10 SOL at $150 and has 200 bids of one lot: initial margin $36."""
    must(state, cm.OpenSubaccount("open:v", START_NS, VICTIM))
    must(state, cm.Deposit("deposit:v", START_NS, VICTIM, "USDC", 38 * USDC, "wallet"))
    consents = (VICTIM, RICH)
    trade = cm.BlockTrade("block:v", START_NS, "SOL-PERP", VICTIM, RICH, 10 * SOL, 150 * DOLLAR_E8, consents)
    must(state, trade)
    for number in range(EACH):
        bid = cm.PlaceOrder(
            f"v:{number}", START_NS, VICTIM, "SOL-PERP", "buy", "limit", SOL // 100, 140 * DOLLAR_E8
        )
        must(state, bid)


def test_r12_a_million_resting_orders() -> None:
    """2,500 subaccounts x 2 markets x 200. What bounds it: the number per subaccount, and margin for each.

    What it costs the others: nothing. Whoever trades, cancels, quotes, looks at the book, settles or is
    liquidated meets the orders he meets, and no other.
    """
    few, many = flooded(10), flooded(2_500)
    assert (open_orders(few), open_orders(many)) == (4_000, 1_000_000)
    assert len(many.order_answers) == 2_500 * many.params.remembered_orders
    _the_flood_is_bounded(many)
    for state in (few, many):
        victim_comes(state)
    _others_trade_as_ever(few, many)
    _prices_and_depth_cost_what_they_show(few, many)
    _a_liquidation_takes_its_own_orders(few, many)
    _cancelling_all_costs_ones_own(few, many)
    assert check(many) == []
    assert load_state(dump_state(many)) == many


def _the_flood_is_bounded(state: State) -> None:
    """The 201st order is refused; a million of the smallest orders bind more than $50,000 (R18)."""
    for market, price_e8, _, lot_units in BOOKS:
        more = cm.PlaceOrder(f"more:{market}", START_NS, "2/0", market, "buy", "limit", lot_units, price_e8)
        answer = apply(state, replace(more, price_e8=price_e8 // 2))
        assert isinstance(answer, Rejected)
        assert answer.reason is RejectReason.TOO_MANY_OPEN_ORDERS
    bound_usd6 = sum(margin_of(state, name).initial_margin_usd6 for name in state.subaccounts)
    assert bound_usd6 > 50_000 * USDC


def _others_trade_as_ever(few: State, many: State) -> None:
    """Five lots at market meet five orders; an order that rests, and its cancellation, meet none."""
    for market, price_e8, tick_e8, lot_units in BOOKS:
        buy = cm.PlaceOrder(
            f"taker:{market}", START_NS, RICH, market, "buy", "ioc", 5 * lot_units, price_e8 * 101 // 100
        )
        for events in same_work(few, many, lambda state, buy=buy: must(state, buy)):
            assert [type(event) for event in events] == [Traded] * 5
        rest = cm.PlaceOrder(
            f"maker:{market}", START_NS, RICH, market, "buy", "post_only", lot_units, price_e8 - 10 * tick_e8
        )
        rest = replace(rest, client_order_id="mine")
        same_work(few, many, lambda state, rest=rest: must(state, rest))
        cancel = cm.CancelOrder(f"cancel:{market}", START_NS, RICH, market, 0, "mine")
        for events in same_work(few, many, lambda state, cancel=cancel: must(state, cancel)):
            assert [type(event) for event in events] == [OrderCancelled]


def _prices_and_depth_cost_what_they_show(few: State, many: State) -> None:
    """Twenty levels of depth, the middle, a price out of quotes, a settlement."""
    shown = same_work(few, many, lambda state: depth(state, "SOL-PERP", 20))
    assert [len(one.bids) + len(one.asks) for one in shown] == [40, 40]
    # 1,250 sellers of a lot; the first five have sold theirs, and with few orders there were only five.
    assert [one.asks[0][1] // (SOL // 100) for one in shown] == [5, 1_245]
    same_work(few, many, lambda state: mid_price_e8(state, "BTC-PERP"))
    now_ns = START_NS + SECOND
    quotes = tuple((feed, "s", 150 * DOLLAR_E8, now_ns) for feed in ("a", "b", "c"))
    same_work(few, many, lambda state: must(state, cm.UpdateQuotes("quotes", now_ns, "SOL", quotes)))
    same_work(few, many, lambda state: must(state, cm.Tick("tick", now_ns)))


def _a_liquidation_takes_its_own_orders(few: State, many: State) -> None:
    """At $147.70 VICTIM fails: 200 cancellations, all his, and one step of 1 SOL into bids of one lot."""
    fall = cm.UpdatePrices(
        "fall",
        START_NS + 2 * SECOND,
        (("SOL", 14_770_000_000),),
        (("SOL-PERP", 14_770_000_000),),
    )
    before = open_orders(many)
    for events in same_work(few, many, lambda state: must(state, fall)):
        cancelled = [event for event in events if isinstance(event, OrderCancelled)]
        assert [(event.subaccount, event.reason) for event in cancelled] == [(VICTIM, "liquidation")] * EACH
        trades = [event for event in events if isinstance(event, Traded)]
        assert {event.taker for event in trades} == {VICTIM}
        assert sum(event.units for event in trades) == SOL
    assert before - open_orders(many) == EACH + 100
    assert VICTIM in many.liquidations


def _cancelling_all_costs_ones_own(few: State, many: State) -> None:
    """One of the flood cancels all of his, in both markets; the orders of everybody else stay."""
    before, own = open_orders(many), many.subaccounts["10/0"].open_order_count
    answers = same_work(
        few, many, lambda state: must(state, cm.CancelAllOrders("all", START_NS + 2 * SECOND, "10/0", ""))
    )
    assert {event.subaccount for event in answers[1]} == {"10/0"}
    assert len(answers[1]) == own == before - open_orders(many)
    assert own > 2 * EACH - 25


def test_r12_a_resting_order_costs_less_than_a_kilobyte() -> None:
    """Memory of 20,000 orders, all indices of the books included, without remembered answers."""
    small = flooded(2, remembered_orders=0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        large = flooded(52, remembered_orders=0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    more = open_orders(large) - open_orders(small)
    assert more == 20_000
    assert (after - before) // more < 1_000


def test_r4_a_million_commands_of_one_sender_leave_no_memory_behind() -> None:
    """Order, cancellation, refused order, in turns: the state is as large after a million as after 30,000.

    It has his last 100 answers of orders and cancellations, the last 1,000 refusals, and counters.
    """
    state = flooded(0)
    sizes = []
    for until in (30_000, 1_000_000):
        for number in range(state.sequence, until, 3):
            _one_round(state, number)
        sizes.append(len(dump_state(state)))
    assert state.sequence >= 1_000_000
    assert open_orders(state) == 0
    assert state.books["SOL-PERP"].by_owner == {} == state.books["SOL-PERP"].by_client_id
    assert len(state.order_answers) == state.params.remembered_orders
    assert len(state.recent_answers) == state.params.remembered_commands
    assert sizes[1] - sizes[0] < 1_000 < 100_000 < sizes[0]


def _one_round(state: State, number: int) -> None:
    """Three commands; ids of one length, so that sizes can be compared."""
    now_ns = START_NS + number * SECOND // 100_000
    order = cm.PlaceOrder(
        f"n{number:07}", now_ns, RICH, "SOL-PERP", "buy", "limit", SOL // 100, 140 * DOLLAR_E8, 0, "mine"
    )
    assert isinstance(apply(state, order), Accepted)
    too_fine = replace(order, id=f"r{number:07}", base_units=1, client_order_id="other")
    assert isinstance(apply(state, too_fine), Rejected)
    cancel = cm.CancelOrder(f"x{number:07}", now_ns, RICH, "SOL-PERP", 0, "mine")
    assert isinstance(apply(state, cancel), Accepted)


def test_r4_what_does_grow_is_paid_for() -> None:
    """An order that trades at once is remembered for ever (R4): 0.9 KB, against a taker's fee on a lot.

    1,000 of them leave 1,000 answers and cost the pair of accomplices 500 ppm of 1,000 lots at $150.
    """
    state = flooded(0)
    must(state, cm.OpenSubaccount("open:2", START_NS, "9003/0"))
    must(state, cm.Deposit("deposit:2", START_NS, "9003/0", "USDC", 1_000 * USDC, "wallet"))
    before = len(state.answers)
    for number in range(1_000):
        sides = ("buy", "sell") if number % 2 else ("sell", "buy")
        for name, side, kind in ((RICH, sides[0], "limit"), ("9003/0", sides[1], "ioc")):
            order_id = f"{kind}:{number}"
            must(
                state,
                cm.PlaceOrder(order_id, START_NS, name, "SOL-PERP", side, kind, SOL // 100, 150 * DOLLAR_E8),
            )
    assert len(state.answers) - before == 1_000
    fees = state.subaccounts["fees"].positions["SOL-PERP"].quote_usd6
    assert fees == 1_000 * 150 * USDC // 100 * (100 + 400) // 1_000_000
