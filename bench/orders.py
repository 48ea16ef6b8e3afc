"""How many order operations per second does one core take, through `apply` with all its checks?

The stream: 45% limit orders that rest (10 to 200 ticks from the middle, with client order ids), 40%
cancellations by client order id of an order placed before, in random order, 15% immediate-or-cancel orders
that trade. 200 makers, 20 takers, every order checked for initial margin, every trade for the maker's too,
fees posted, answers remembered. The journal is not written. The alternative, in the same run and on the same
stream, is a published order book with nothing behind it: no accounts, no margin, no fees, no ids, no replay.
Both must have traded exactly the same units, or the comparison is refused. (fastlob 0.0.24, the other one
there is, loses price levels on this stream and raises KeyError.) Seconds are those of the processor, not of
the wall: one core is asked, and a busy machine must not answer for it.
"""

from __future__ import annotations

import gc
import importlib
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine import commands as cm
from engine.apply import apply
from engine.book import Book, Order
from engine.events import Traded
from engine.outcome import Accepted
from engine.params import default_params
from engine.state import State, new_state

from .report import Row

NOW_NS = 1_790_000_000_000_000_000
MARKET = "SOL-PERP"
MID_TICKS = 15_000
TICK_E8, LOT_UNITS = 1_000_000, 10_000_000
MAKERS, TAKERS = 200, 20


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: kind is "rest", "cancel" or "take"; key names the order that rests or is cancelled."""

    kind: str
    owner: int
    is_buy: bool
    ticks: int
    lots: int
    key: int


def stream(steps: int, seed: int = 1) -> list[Step]:
    """Draw the operations once; the same for everybody."""
    dice = random.Random(seed)
    made: list[Step] = []
    standing: list[Step] = []
    for number in range(steps):
        dart, is_buy = dice.random(), dice.random() < 0.5
        if dart < 0.45 or not standing:
            away = dice.randint(10, 200)
            ticks = MID_TICKS - away if is_buy else MID_TICKS + away
            step = Step("rest", dice.randint(1, MAKERS), is_buy, ticks, dice.randint(1, 50), number)
            standing.append(step)
        elif dart < 0.85:
            place = dice.randrange(len(standing))
            standing[place], standing[-1] = standing[-1], standing[place]
            step = standing.pop()
            step = Step("cancel", step.owner, step.is_buy, step.ticks, step.lots, step.key)
        else:
            ticks = MID_TICKS + 200 if is_buy else MID_TICKS - 200
            step = Step("take", MAKERS + dice.randint(1, TAKERS), is_buy, ticks, dice.randint(1, 50), number)
        made.append(step)
    return made


def exchange() -> State:
    """Give an exchange with funded customers and prices."""
    state = new_state(default_params())
    marks = tuple([(one.symbol, 150 * 10**8) for one in state.markets.values() if not one.is_spot])
    opening: list[cm.Command] = [
        cm.UpdatePrices("prices", NOW_NS, (("SOL", 150 * 10**8), ("BTC", 150 * 10**8)), marks)
    ]
    for number in range(1, MAKERS + TAKERS + 1):
        opening.append(cm.OpenSubaccount(f"open:{number}", NOW_NS, f"{number}/0"))
        opening.append(cm.Deposit(f"fund:{number}", NOW_NS, f"{number}/0", "USDC", 10**13, "x"))
    for command in opening:
        if not isinstance(apply(state, command), Accepted):
            raise RuntimeError(f"the workload is wrong: {command}")
    return state


def commands(steps: list[Step]) -> list[cm.Command]:
    """Spell the stream as commands."""
    made: list[cm.Command] = []
    for number, step in enumerate(steps):
        name, side = f"{step.owner}/0", "buy" if step.is_buy else "sell"
        units, price_e8 = step.lots * LOT_UNITS, step.ticks * TICK_E8
        if step.kind == "cancel":
            made.append(cm.CancelOrder(f"c{number}", NOW_NS, name, MARKET, 0, f"k{step.key}"))
        elif step.kind == "rest":
            made.append(
                cm.PlaceOrder(
                    f"c{number}", NOW_NS, name, MARKET, side, "limit", units, price_e8, 0, f"k{step.key}"
                )
            )
        else:
            made.append(cm.PlaceOrder(f"c{number}", NOW_NS, name, MARKET, side, "ioc", units, price_e8))
    return made


def _engine(steps: list[Step]) -> tuple[float, int]:
    """Give (seconds, lots traded) of the stream through `apply`."""
    state, prepared = exchange(), commands(steps)
    begun = time.process_time()
    answers = [apply(state, command) for command in prepared]
    taken = time.process_time() - begun
    units = 0
    for answer in answers:
        if isinstance(answer, Accepted):
            units += sum([event.units for event in answer.events if isinstance(event, Traded)])
    return taken, units // LOT_UNITS


def _book(steps: list[Step]) -> tuple[float, int]:
    """Give (seconds, lots traded) of the stream through `engine.book` alone, matched the plain way."""
    book, known, lots = Book(), {}, 0
    begun = time.process_time()
    for step in steps:
        if step.kind == "rest":
            order = Order(step.key, str(step.owner), step.is_buy, step.ticks, step.lots, False, "")
            book.rest(order)
            known[step.key] = order
        elif step.kind == "cancel":
            if step.key in book.orders:
                book.remove(known[step.key])
        else:
            left, hits = step.lots, []
            for order in (book.asks if step.is_buy else book.bids).best_first():
                if not left:
                    break
                traded = min(left, order.units)
                hits.append((order, traded))
                left -= traded
            for order, traded in hits:
                book.reduce(order, traded)
            lots += step.lots - left
    return time.process_time() - begun, lots


def _lightmatchingengine(steps: list[Step]) -> tuple[float, int]:
    published = importlib.import_module("lightmatchingengine.lightmatchingengine")
    engine, lots = published.LightMatchingEngine(), 0
    ids: dict[int, int] = {}
    buy, sell = published.Side.BUY, published.Side.SELL
    # Its cancel asserts that the market exists; a first order far away makes it exist.
    engine.add_order(MARKET, 1, 1, buy)
    begun = time.process_time()
    for step in steps:
        if step.kind == "cancel":
            order_id = ids[step.key]
            if engine.order_books[MARKET].order_id_map[order_id].leaves_qty:
                engine.cancel_order(order_id, MARKET)
            continue
        order, _ = engine.add_order(MARKET, step.ticks, step.lots, buy if step.is_buy else sell)
        ids[step.key] = order.order_id
        if step.kind == "take":
            lots += order.cum_qty
            if order.leaves_qty:
                engine.cancel_order(order.order_id, MARKET)
    return time.process_time() - begun, lots


def _rate(
    work: Callable[[list[Step]], tuple[float, int]], steps: list[Step], passes: int
) -> tuple[float, int]:
    """Give (median operations per second, lots traded)."""
    taken, lots = [], 0
    for _ in range(passes):
        # The daemon freezes what it has loaded and collects rarely; so does this.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        seconds, lots = work(steps)
        taken.append(seconds)
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    return len(steps) / statistics.median(taken), lots


def _published(name: str) -> str:
    """Give "name version", or say how to install what is missing."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        raise SystemExit(
            f"bench orders compares with {name}, which is not installed; it comes with the extra `bench`: "
            "pip install -e '.[bench]'"
        ) from None


def run(quick: bool, block: Path | None) -> list[Row]:
    """Run the stream through the engine, its bare book and a published book."""
    other = _published("lightmatchingengine")
    steps, passes = stream(4_000 if quick else 60_000), 1 if quick else 5
    figures = {work.__name__: _rate(work, steps, passes) for work in (_engine, _book, _lightmatchingengine)}
    traded = {name: lots for name, (_, lots) in figures.items()}
    if len(set(traded.values())) != 1:
        raise RuntimeError(f"they did not trade the same lots: {traded}")
    published = figures["_lightmatchingengine"][0]
    workload = (
        f"{len(steps):,} operations on one market: 45% resting orders, 40% cancellations, 15% immediate or "
        f"cancel; {MAKERS} makers; {traded['_engine']:,} lots traded by each"
    )
    return [
        Row(
            question=question,
            workload=workload,
            figure=figures[name][0],
            unit="operations/s",
            alternative=f"{other}, a book without accounts, margin, fees or ids",
            alternative_figure=published,
            ratio=figures[name][0] / published,
            aim=aim,
        )
        for question, name, aim in (
            ("orders through the whole engine", "_engine", ">= 50,000 operations/s"),
            ("orders through its book alone", "_book", "ahead of the published book"),
        )
    ]
