"""The list of trades: one row whenever base changed hands, found by market and by side, bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.projection import project
from daemon.store import Database
from daemon.store.rows import Batch, TradeRow
from daemon.trading import told_trade
from engine import events as ev
from engine.commands import PlaceOrder, Tick
from engine.outcome import Accepted

ORDER = PlaceOrder("o", 5, "7/0", "SOL-PERP", "buy", "limit", 10, 100)
TICK = Tick("t", 6)
BOUGHT = ev.Traded("SOL-PERP", "8/0", 1, "7/0", 2, True, 10, 100, 1_000, 1, 4)
SOLD = ev.SpotTraded("SOL/USDC", "8/0", 1, "7/0", 2, False, 10, 100, 1_000, 1, 4)
BLOCK = ev.BlockTraded("SOL-PERP", "7/0", "8/0", 10, 100, -10, 10, 0)
BACKSTOP = ev.BackstopFilled("7/0", "8/0", "SOL-PERP", -10, 101, 100, 0, 0, 0, 0, 0, 0, 0)
NETTED = ev.PositionsNetted("7/0", "8/0", "SOL-PERP", 10, 101, 0, 0, 0, 0)
REDUCED = ev.AutoDeleveraged("7/0", "8/0", "SOL-PERP", -10, 101, 100, 0, 0, 0, 0, 0, "hedge", 1, 0)


@pytest.mark.parametrize(
    ("command", "event", "kind", "buyer", "told"),
    [
        (ORDER, BOUGHT, "book", "7/0", (10, 100, "buy")),
        (ORDER, SOLD, "book", "8/0", (10, 100, "sell")),
        (TICK, SOLD, "forced", "8/0", (10, 100, "sell")),
        (TICK, BLOCK, "block", "7/0", (10, 100, None)),
        (TICK, BACKSTOP, "backstop", "8/0", (10, 100, None)),
        (TICK, NETTED, "netting", "7/0", (10, 101, None)),
        (TICK, REDUCED, "adl", "8/0", (10, 100, None)),
    ],
)
def test_r25_every_change_of_base_is_a_trade(
    command: Any, event: Any, kind: str, buyer: str, told: tuple[int, int, str | None]
) -> None:
    batch = Batch()
    project(9, command, Accepted((ev.DebtEnded("7/0"), event)), batch)
    (row,) = batch.trades
    assert (row.sequence, row.number, row.time_ns, row.market) == (9, 1, command.time_ns, event.market)
    assert (row.kind, row.buyer, {row.buyer, row.seller}) == (kind, buyer, {"7/0", "8/0"})
    assert told_trade(msgspec.json.decode(row.event)) == told


def test_all_events_that_move_base_are_known() -> None:
    moving = {kind.__name__ for kind in ev.EVENT_TYPES if "base " in (kind.__doc__ or "")}
    known = {type(one).__name__ for one in (BOUGHT, BLOCK, BACKSTOP, NETTED, REDUCED)}
    assert moving == known


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path / "makewhole.sqlite")
    batch = Batch()
    for sequence in range(1, 101):
        market = "SOL-PERP" if sequence % 2 else "BTC-PERP"
        buyer, seller = ("7/0", "8/0") if sequence % 3 else ("8/0", "9/0")
        batch.trades += [
            TradeRow(sequence, number, sequence, market, "book", buyer, seller, b"{}") for number in (0, 1)
        ]
    made.write(batch)
    return made


def test_the_newest_trades_come_oldest_first_and_bounded(database: Database) -> None:
    found = database.trades(limit=3)
    assert [(one.sequence, one.number) for one in found] == [(99, 1), (100, 0), (100, 1)]
    assert len(database.trades(limit=1_000)) == 200


def test_trades_are_found_by_market_by_side_and_by_both(database: Database) -> None:
    assert {one.sequence % 2 for one in database.trades(market="BTC-PERP")} == {0}
    assert len(database.trades(market="BTC-PERP")) == 100
    bought_or_sold = database.trades(subaccount="8/0")
    assert len(bought_or_sold) == 200
    assert bought_or_sold == database.trades(limit=1_000)
    ninth = database.trades(subaccount="9/0", market="BTC-PERP", limit=3)
    assert [(one.sequence, one.number) for one in ninth] == [(90, 1), (96, 0), (96, 1)]
    assert database.trades(subaccount="1/0") == []


def test_no_question_reads_all_trades(database: Database) -> None:
    for given in ({}, {"market": "SOL-PERP"}, {"subaccount": "7/0"}, {"subaccount": "7/0", "market": "X"}):
        statements: list[str] = []
        database._connection.set_trace_callback(statements.append)
        database.trades(limit=2, **given)  # type: ignore[arg-type]
        database._connection.set_trace_callback(None)
        plan = database._connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall()
        steps = [str(row[3]) for row in plan]
        # The inner question walks an index backwards and stops at the limit: nothing is sorted but its rows.
        reads = [one for one in steps if one.split()[0] in ("SCAN", "SEARCH") and " trades" in one]
        assert reads and all("INDEX" in one or not given for one in reads), steps
        for place, step in enumerate(steps):
            assert step not in reads or "(subquery" in steps[place + 1], steps
