"""Orders, books and positions of a running daemon: over its socket, by command line, after a kill."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.api.client import ApiError, NotRunning

from .harness import SOL, START_NS, USDC, World, command, wallet, world

ADA, BEN = "7/0", "8/0"
DOLLAR_E8 = 10**8


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def opened(here: World) -> None:
    """A daemon; Ada has 1,000 USDC and 3 SOL, Ben 10,000 USDC; SOL stands at $150."""
    await here.start()
    await here.at(0)
    ada = str((await here.client.post("subaccounts", subaccount=ADA))["address"])
    ben = str((await here.client.post("subaccounts", subaccount=BEN))["address"])
    await here.send_usdc(wallet(1), ada, 1_000 * USDC)
    await here.send_sol(wallet(1), ada, 3 * SOL)
    await here.send_usdc(wallet(2), ben, 10_000 * USDC)
    await here.scanned()
    await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})


def order(
    request_id: str, who: str, side: str, units: int, price: str | None = None, **more: Any
) -> dict[str, Any]:
    body = {"id": request_id, "subaccount": who, "market": "SOL-PERP", "side": side, "base_units": units}
    return {**body, **({} if price is None else {"price": price}), **more}


async def place(here: World, *words: Any, **more: Any) -> dict[str, Any]:
    answer = await here.client.post("orders", **order(*words, **more))
    return dict(answer["order"], sequence=answer["sequence"])


async def refused(here: World, path: str, **body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        raise AssertionError((path, body, await here.client.post(path, **body)))
    return caught.value


async def test_r12_one_rests_the_other_takes_and_everything_shows_it(here: World) -> None:
    await opened(here)
    rested = await place(here, "ask-1", BEN, "sell", 2 * SOL, "150", client_order_id="first")
    assert (rested["order_id"], rested["ended"], rested["resting_units"]) == (1, "rests", 2 * SOL)
    await place(here, "ask-2", BEN, "sell", SOL, "151.5", kind="post_only")
    await place(here, "ask-3", BEN, "sell", SOL, "150")
    await place(here, "bid-1", ADA, "buy", SOL, "149.99")
    depth = await here.client.get("depth", market="SOL-PERP")
    assert depth["bids"] == [{"price_e8": 14_999_000_000, "units": SOL}]
    assert depth["asks"] == [
        {"price_e8": 150 * DOLLAR_E8, "units": 3 * SOL},
        {"price_e8": 15_150_000_000, "units": SOL},
    ]
    assert (await here.client.get("depth", market="SOL-PERP", levels="1"))["asks"] == depth["asks"][:1]
    taken = await place(here, "take", ADA, "buy", 3_500_000_000, "152", kind="ioc")
    # 3 SOL at 150 and half a SOL at 151.50; the taker's fee is 0.04% of each of the three trades.
    assert taken == {
        "market": "SOL-PERP",
        "order_id": 5,
        "client_order_id": "",
        "ended": "filled",
        "filled_units": 3_500_000_000,
        "average_price_e8": 15_021_428_571,
        "notional_usd6": 525_750_000,
        "fee_usd6": 210_300,
        "resting_units": 0,
        "cancelled_units": 0,
        "cut_units": 0,
        "sequence": taken["sequence"],
    }
    trades = await here.client.get("trades", market="SOL-PERP")
    assert [(one["base_units"], one["price_e8"], one["taker_side"], one["kind"]) for one in trades] == [
        (2 * SOL, 150 * DOLLAR_E8, "buy", "book"),
        (SOL, 150 * DOLLAR_E8, "buy", "book"),
        (500_000_000, 15_150_000_000, "buy", "book"),
    ]
    assert {(one["buyer"], one["seller"], one["time_ns"]) for one in trades} == {(ADA, BEN, START_NS)}
    assert trades[0]["event"]["maker_fee_usd6"] == 30_000
    assert await here.client.get("trades", subaccount=ADA, last="1") == trades[-1:]
    assert await here.client.get("trades", subaccount="9/9") == []
    open_now = await here.client.get("orders", subaccount=BEN)
    assert [(one["order_id"], one["base_units"]) for one in open_now] == [(2, 500_000_000)]
    await the_positions_show_it(here)


async def the_positions_show_it(here: World) -> None:
    (mine,) = (await here.client.get("positions", subaccount=ADA))["positions"]
    assert (mine["side"], mine["base_units"]) == ("long", 3_500_000_000)
    assert mine["average_entry_price_e8"] == 15_021_428_571
    # Bought for 525.75, worth 525 at the mark of 150; the fee of 0.2103 is in the quote.
    assert mine["unrealized_pnl_usd6"] == -750_000 - 210_300
    assert -750_001 <= mine["pnl_since_entry_usd6"] <= -749_999
    # 1,000 in cash and 3 SOL carry 525 of exposure: no mark above 0 endangers her.
    assert mine["liquidation_price_e8"] is None
    (his,) = (await here.client.get("positions", subaccount=BEN))["positions"]
    assert (his["side"], his["base_units"]) == ("short", -3_500_000_000)
    assert his["liquidation_price_e8"] > 1_000 * DOLLAR_E8
    assert his["adl"] == {
        "subaccount": BEN,
        "side": "short",
        "rank": 1,
        "group": "reduces_delta",
        "base_units": -3_500_000_000,
        "reducible_units": 3_500_000_000,
    }
    ranks = await here.client.get("adl", market="SOL-PERP")
    assert [(one["subaccount"], one["side"], one["rank"]) for one in ranks["ranks"]] == [
        (ADA, "long", 1),
        (BEN, "short", 1),
    ]
    assert (ranks["longs"], ranks["shorts"]) == (1, 1)
    market = await here.client.get("market", market="SOL-PERP")
    assert market["open_interest_units"] == 3_500_000_000
    assert (market["best_bid_e8"], market["best_ask_e8"]) == (14_999_000_000, 15_150_000_000)
    assert market["mid_price_e8"] == 15_074_500_000
    assert (market["state"], market["is_stale"], market["open_orders"]) == ("open", False, 2)
    assert market["expected_funding_rate_e9"] == 0
    assert market["params"]["taker_fee_ppm"] == 400


async def test_r12_every_kind_of_order_says_how_it_ended(here: World) -> None:
    await opened(here)
    await place(here, "ask", BEN, "sell", SOL, "150", client_order_id="mine")
    twice = order("ask-again", BEN, "sell", SOL, "151", client_order_id="mine")
    assert (await refused(here, "orders", **twice)).code == "client_order_id_in_use"
    crossing = order("post", ADA, "buy", SOL, "150", kind="post_only")
    assert (await refused(here, "orders", **crossing)).code == "post_only_would_trade"
    whole = await refused(here, "orders", **order("fok", ADA, "buy", 2 * SOL, "150", kind="fok"))
    assert (whole.code, whole.error.would_pass_units) == ("fill_or_kill_unfilled", SOL)
    nothing = order("reduce", ADA, "sell", SOL, "150", reduce_only=True)
    assert (await refused(here, "orders", **nothing)).code == "nothing_to_reduce"
    part = await place(here, "ioc", ADA, "buy", 2 * SOL, "150", kind="ioc")
    assert (part["ended"], part["filled_units"], part["cancelled_units"]) == (
        "immediate_or_cancel",
        SOL,
        SOL,
    )
    await place(here, "bid", BEN, "buy", 5 * SOL, "150")
    cut = await place(here, "close", ADA, "sell", 3 * SOL, kind="market", reduce_only=True)
    assert (cut["ended"], cut["filled_units"], cut["cut_units"]) == ("filled", SOL, 2 * SOL)
    far = await place(here, "far", ADA, "buy", SOL, kind="market")
    assert (far["ended"], far["average_price_e8"]) == ("immediate_or_cancel", None)
    assert (await here.client.get("positions", subaccount=ADA))["positions"] == []
    # The name is free again once the order is gone.
    await place(here, "bid-2", ADA, "buy", SOL, "140", client_order_id="mine")
    body = {"subaccount": ADA, "market": "SOL-PERP"}
    gone = await here.client.post("orders/cancel", id="c-1", client_order_id="mine", **body)
    assert [(one["type"], one["units"]) for one in gone["events"]] == [("OrderCancelled", SOL)]
    again = await refused(here, "orders/cancel", id="c-2", client_order_id="mine", **body)
    assert again.code == "unknown_order"
    theirs = await refused(here, "orders/cancel", id="c-3", order_id=cut["order_id"] - 1, **body)
    assert theirs.code == "unknown_order"
    swept = await here.client.post("orders/cancel-all", id="all", subaccount=BEN)
    assert [one["reason"] for one in swept["events"]] == ["requested"]
    assert (await here.client.post("orders/cancel-all", id="all-2", subaccount=BEN))["events"] == []
    assert await here.client.get("orders", subaccount=BEN) == []


async def test_r4_the_same_order_twice_is_one_order(here: World) -> None:
    await opened(here)
    await place(here, "ask", BEN, "sell", 2 * SOL, "150")
    body = order("take", ADA, "buy", SOL, "150")
    first = await here.client.post("orders", **body)
    again = await here.client.post("orders", **body)
    assert first["sequence"] is not None
    assert again == {**first, "sequence": None}
    assert len(await here.client.get("trades", market="SOL-PERP")) == 1
    other = await refused(here, "orders", **{**body, "base_units": 2 * SOL})
    assert other.code == "id_reused_with_different_body"
    cancel = {"id": "c", "subaccount": BEN, "market": "SOL-PERP", "order_id": 1}
    gone = await here.client.post("orders/cancel", **cancel)
    assert await here.client.post("orders/cancel", **cancel) == {**gone, "sequence": None}


async def test_after_a_kill_orders_trades_and_answers_are_still_there(here: World) -> None:
    await opened(here)
    await place(here, "ask", BEN, "sell", 2 * SOL, "150", client_order_id="mine")
    await place(here, "bid", ADA, "buy", SOL, "149")
    taken = await here.client.post("orders", **order("take", ADA, "buy", SOL, "150"))
    questions: list[tuple[str, dict[str, str]]] = [
        ("orders", {"subaccount": BEN}),
        ("orders", {"subaccount": ADA}),
        ("trades", {"market": "SOL-PERP"}),
        ("depth", {"market": "SOL-PERP"}),
        ("positions", {"subaccount": ADA}),
        ("markets", {}),
    ]
    before = [await here.client.get(path, **query) for path, query in questions]
    assert here.process is not None
    here.process.kill()
    await here.start()
    assert [await here.client.get(path, **query) for path, query in questions] == before
    again = await here.client.post("orders", **order("take", ADA, "buy", SOL, "150"))
    assert again == {**taken, "sequence": None}
    filled = await place(here, "rest", ADA, "buy", SOL, "150")
    assert filled["filled_units"] == SOL
    assert (await here.client.get("status", full="true"))["breaches"] == []


async def test_a_kill_at_any_step_of_an_order_makes_it_one_order(here: World) -> None:
    await opened(here)
    await place(here, "ask", BEN, "sell", 10 * SOL, "150")
    steps = ("batch.applied", "batch.committing", "batch.committed", "batch.acknowledged")
    for number, step in enumerate(steps, start=1):
        assert here.process is not None
        here.process.kill()
        await here.start(kill_at=f"{step}:1")
        body = order(f"take-{number}", ADA, "buy", SOL, "150")
        with pytest.raises(NotRunning):
            await here.client.post("orders", **body)
        await asyncio.to_thread(here.process.popen.wait, 30)
        await here.start()
        # Whoever lost the answer asks again: before the commit nothing was done, after it all of it.
        again = await here.client.post("orders", **body)
        assert (again["sequence"] is None) is (step in steps[2:])
        assert again["order"]["filled_units"] == SOL
        assert len(await here.client.get("trades", market="SOL-PERP")) == number
    (mine,) = (await here.client.get("positions", subaccount=ADA))["positions"]
    assert mine["base_units"] == 4 * SOL


async def test_r12_a_market_lets_in_what_its_state_says(here: World) -> None:
    await opened(here)
    await place(here, "ask", BEN, "sell", SOL, "150")
    for state, code in (
        ("closed", "market_closed"),
        ("post_only", "market_post_only"),
        ("reduce_only", "market_reduce_only"),
    ):
        await here.client.post("markets/state", id=f"to-{state}", market="SOL-PERP", state=state)
        assert (await here.client.get("market", market="SOL-PERP"))["state"] == state
        assert (await refused(here, "orders", **order(f"in-{state}", ADA, "buy", SOL, "150"))).code == code
    await here.client.post("markets/state", id="to-open", market="SOL-PERP", state="open")
    assert (await place(here, "now", ADA, "buy", SOL, "150"))["ended"] == "filled"


async def test_r12_a_spot_order_moves_cash_at_once(here: World) -> None:
    await opened(here)
    await place(here, "sell", ADA, "sell", 2 * SOL, "150", market="SOL/USDC")
    lending = await here.client.get("lending", subaccount=ADA)
    assert {one["asset"]: one["free_units"] for one in lending["assets"]}["SOL"] == SOL
    bought = await place(here, "buy", BEN, "buy", SOL, market="SOL/USDC", kind="market")
    assert (bought["filled_units"], bought["average_price_e8"]) == (SOL, 150 * DOLLAR_E8)
    view = await here.client.get("subaccount", subaccount=BEN)
    assert view["cash_units"] == {"SOL": SOL, "USDC": 10_000 * USDC - 150_060_000}
    (trade,) = await here.client.get("trades", market="SOL/USDC")
    assert (trade["kind"], trade["buyer"]) == ("book", BEN)
    market = await here.client.get("market", market="SOL/USDC")
    assert (market["mark_price_e8"], market["open_interest_units"]) == (None, None)


async def test_block_trades_are_in_the_list(here: World) -> None:
    await opened(here)
    await here.client.post(
        "trades", id="b", market="SOL-PERP", buyer=ADA, seller=BEN, base_units=SOL, price="151",
        consents=[ADA, BEN],
    )  # fmt: skip
    (trade,) = await here.client.get("trades", subaccount=BEN)
    assert (trade["kind"], trade["taker_side"], trade["buyer"]) == ("block", None, ADA)
    assert (trade["base_units"], trade["price_e8"]) == (SOL, 151 * DOLLAR_E8)


# -- bad input --


async def test_bad_orders_are_refused_with_what_would_be_right(here: World) -> None:
    await opened(here)
    good = order("bad", ADA, "buy", SOL, "150")
    state = {"id": "s", "market": "SOL-PERP", "state": "open"}
    cancel = {"id": "c", "subaccount": ADA, "market": "SOL-PERP", "order_id": 1}
    block = {
        "id": "b",
        "market": "SOL-PERP",
        "buyer": ADA,
        "seller": BEN,
        "base_units": SOL,
        "price": "150",
        "consents": [ADA, BEN],
    }
    capacity = {"subaccount": ADA, "market": "SOL-PERP", "per_minute_usd6": 1, "per_hour_usd6": 1}
    traceless: list[tuple[str, dict[str, Any], str, str]] = [
        ("orders", {**good, "side": "up"}, "malformed_request", "should be one of buy, sell"),
        (
            "orders",
            {**good, "kind": "stop"},
            "malformed_request",
            "should be one of limit, market, post_only",
        ),
        ("orders", {**good, "market": "SOLPERP"}, "unknown_market", "listed: SOL-PERP, SOL/USDC"),
        ("orders", {**good, "price": 150.0}, "malformed_request", "Expected `str | null`, got `float`"),
        ("orders", {**good, "price": "150.123456789"}, "malformed_command", "price: "),
        ("orders", {**good, "price": "-1"}, "malformed_command", "is negative"),
        ("orders", {**good, "price": "NaN"}, "malformed_command", "not a plain decimal number"),
        ("orders", {**good, "price": None}, "malformed_request", 'give one such as "150.25"'),
        ("orders", {**good, "kind": "market"}, "malformed_request", "market order; leave it out"),
        ("orders", {**good, "base_units": 1.5}, "malformed_request", "got `float`"),
        ("orders", {**good, "base_units": "1"}, "malformed_request", "got `str`"),
        ("orders", {**good, "base_units": 10**60}, "malformed_command", "base_units"),
        ("orders", {**good, "reduce_only": 1}, "malformed_request", "Expected `bool`"),
        ("orders", {**good, "size": 1}, "malformed_request", "unknown field `size`"),
        ("orders", {**good, "id": ""}, "malformed_command", "id"),
        ("orders", {**good, "client_order_id": "é"}, "malformed_command", "client_order_id"),
        ("orders", {k: v for k, v in good.items() if k != "id"}, "malformed_request", "field `id`"),
        ("orders/cancel", {**cancel, "client_order_id": "x"}, "malformed_request", "either"),
        ("orders/cancel", {**cancel, "order_id": None}, "malformed_request", "either"),
        ("orders/cancel", {**cancel, "order_id": 0}, "malformed_request", "begin at 1"),
        ("orders/cancel", {**cancel, "market": "X"}, "unknown_market", "listed: SOL-PERP"),
        ("orders/cancel-all", {"id": "a", "subaccount": ADA, "market": "X"}, "unknown_market", "listed:"),
        ("orders/cancel-all", {"id": "a"}, "malformed_request", "field `subaccount`"),
        ("markets/state", {**state, "state": "halted"}, "malformed_request", "open, post_only, reduce_only"),
        ("markets/state", {**state, "market": "X"}, "unknown_market", "listed:"),
        ("trades", {**block, "market": "X"}, "unknown_market", "listed: SOL-PERP"),
        ("trades", {**block, "price": "x"}, "malformed_command", "price: "),
        ("backstop/capacity", {**capacity, "market": "X"}, "unknown_market", "listed: SOL-PERP"),
        ("backstop/capacity", {**capacity, "per_hour_usd6": "1"}, "malformed_request", "got `str`"),
    ]
    before = (await here.client.get("status"))["journal_hash"]
    for path, body, code, part in traceless:
        error = await refused(here, path, **body)
        assert (error.code, error.status) == (code, 400), (body, error)
        assert part in error.error.message, (body, error)
    assert (await here.client.get("status"))["journal_hash"] == before
    journaled: list[tuple[dict[str, Any], str, str]] = [
        ({"subaccount": "9/9"}, "unknown_subaccount", ""),
        ({"subaccount": "fees"}, "system_account_not_allowed", ""),
        ({"base_units": SOL + 1}, "not_a_whole_lot", "the lot is 10000000 units"),
        ({"base_units": 0}, "amount_not_positive", ""),
        ({"base_units": -SOL}, "amount_not_positive", ""),
        ({"price": "150.001"}, "not_a_whole_tick", "the tick is 1000000"),
        ({"price": "0"}, "price_out_of_range", ""),
        ({"price": "1"}, "price_outside_limits", "index is 15000000000"),
        ({"base_units": 100_000 * SOL}, "insufficient_initial_margin", ""),
    ]
    for number, (change, code, part) in enumerate(journaled):
        error = await refused(here, "orders", **{**good, "id": f"bad-{number}", **change})
        assert (error.code, error.status) == (code, 409), (change, error)
        assert part in error.error.message, (change, error)
    assert await here.client.get("orders", subaccount=ADA) == []
    assert (await here.client.get("market", market="SOL-PERP"))["open_orders"] == 0


async def test_bad_questions_are_refused_with_what_would_be_right(here: World) -> None:
    await opened(here)
    bad: list[tuple[str, dict[str, str], int, str, str]] = [
        ("market", {}, 400, "malformed_request", "the query needs market="),
        ("market", {"market": "SOL"}, 400, "unknown_market", "listed: SOL-PERP, SOL/USDC"),
        ("depth", {"market": "X"}, 400, "unknown_market", "listed:"),
        ("depth", {"market": "SOL-PERP", "levels": "0"}, 400, "malformed_request", "from 1 to 500"),
        ("depth", {"market": "SOL-PERP", "levels": "many"}, 400, "malformed_request", "whole number"),
        ("trades", {"market": "X"}, 400, "unknown_market", "listed:"),
        ("trades", {"last": "1001"}, 400, "malformed_request", "from 1 to 1000"),
        ("orders", {}, 400, "malformed_request", "the query needs subaccount="),
        ("orders", {"subaccount": "9/9"}, 404, "unknown_subaccount", "is not open"),
        ("orders", {"subaccount": ADA, "market": "X"}, 400, "unknown_market", "listed:"),
        ("positions", {"subaccount": "9/9"}, 404, "unknown_subaccount", "is not open"),
        ("lending", {"subaccount": "9/9"}, 404, "unknown_subaccount", "is not open"),
        ("adl", {"market": "X"}, 400, "unknown_market", "listed:"),
    ]
    for path, query, status, code, part in bad:
        with pytest.raises(ApiError) as caught:
            raise AssertionError((path, query, await here.client.get(path, **query)))
        assert (caught.value.code, caught.value.status) == (code, status), (path, query, caught.value)
        assert part in caught.value.error.message, (path, query, caught.value)


# -- the command line --


async def test_the_command_line_trades(here: World) -> None:
    await opened(here)

    async def told(*words: str, status: int = 0) -> str:
        done = await asyncio.to_thread(command, here, *words)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, (words, done.stderr)
        return done.stdout + done.stderr

    rested = await told(
        "order", "place", BEN, "SOL-PERP", "sell", "2", "--price", "150.25", "--client-order-id", "mine"
    )
    assert "rests" in rested and "2 SOL" in rested
    bought = json.loads(await told("order", "place", ADA, "SOL-PERP", "buy", "1.5", "--id", "b1", "--json"))
    assert bought["id"] == "b1"
    assert bought["order"]["average_price_e8"] == 15_025_000_000
    assert "0.5 SOL" in await told("market", "depth", "SOL-PERP")
    assert "$150.25" in await told("market", "trades", "SOL-PERP")
    listed = await told("market", "list")
    assert "SOL/USDC" in listed and "1.5 SOL" in listed
    assert "taker fee" in await told("market", "show", "SOL-PERP")
    mine = await told("positions", BEN)
    assert "-1.5 SOL" in mine and "reduces_delta" in mine
    assert "2 long" not in await told("market", "adl", "SOL-PERP")
    assert "mine" in await told("order", "list", BEN)
    assert "0.5 SOL" in await told("order", "cancel", BEN, "SOL-PERP", "--client-order-id", "mine")
    assert "cancelled" in await told("order", "cancel-all", BEN)
    assert "closed" in await told("market", "state", "SOL-PERP", "closed")
    wrong: list[tuple[tuple[str, ...], str]] = [
        (("order", "place", ADA, "SOL-PERP", "up", "1", "--price", "150"), "should be one of buy, sell"),
        (("order", "place", ADA, "DOGE-PERP", "buy", "1"), "listed: SOL-PERP, SOL/USDC"),
        (("order", "place", ADA, "SOL-PERP", "buy", "1.0123456789"), "has 10 decimals, the asset has 9"),
        (("order", "place", ADA, "SOL-PERP", "buy", "0.001"), "no multiple of the lot of SOL-PERP, 0.01 SOL"),
        (("order", "place", ADA, "SOL-PERP", "buy", "1e3"), "is not a plain decimal number"),
        (("order", "place", ADA, "SOL-PERP", "buy", "1", "--price", "1.5.0"), "price: "),
        (("order", "place", ADA, "SOL-PERP", "buy", "1"), "market_closed"),
        (("order", "cancel", ADA, "SOL-PERP"), "give either order_id or client_order_id"),
        (("order", "cancel", ADA, "SOL-PERP", "1"), "unknown_order"),
        (("order", "list", "9/9"), "unknown_subaccount"),
        (("market", "state", "SOL-PERP", "halted"), "should be one of open"),
        (("market", "show", "SOL"), "listed: SOL-PERP, SOL/USDC"),
        (("prices", "SOL"), "write NAME=PRICE"),
        (("quotes", "SOL", "binance=150"), "FEED/SOURCE=PRICE"),
    ]
    for words, part in wrong:
        assert part in await told(*words, status=1), words


GARBAGE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**63, 2**64, 10**40, 1.5, "", "x", "é", "\x00", "9" * 400, "-0", "1e9", [], {},
    [None], {"a": 1}, ADA, "fees", "insurance_fund", "SOL", "SOL-PERP", "SOL/USDC", "😀",
)  # fmt: skip


async def test_no_garbage_is_an_error_of_ours_or_breaks_an_invariant(here: World) -> None:
    await opened(here)
    await place(here, "ask", BEN, "sell", SOL, "150")
    lending = {"id": "g", "subaccount": ADA, "asset": "USDC", "units": 10 * USDC}
    good: dict[str, dict[str, Any]] = {
        "orders": order("g", ADA, "buy", SOL, "150", kind="ioc", reduce_only=False, client_order_id="c"),
        "orders/cancel": {"id": "g", "subaccount": BEN, "market": "SOL-PERP", "order_id": 1},
        "orders/cancel-all": {"id": "g", "subaccount": ADA, "market": "SOL-PERP"},
        "markets/state": {"id": "g", "market": "SOL-PERP", "state": "open"},
        "quotes": {"id": "g", "asset": "SOL", "quotes": [{"feed": "a", "source": "b", "price": "150"}]},
        "prices": {"id": "g", "index": {"SOL": "150"}, "mark": {"SOL-PERP": "150"}},
        "lend": lending,
        "redeem": lending,
        "borrow": lending,
        "repay": lending,
        "lending": {"id": "g", "subaccount": ADA, "auto_lend": True, "auto_borrow": True, "auto_repay": True},
        "backstop/capacity": {
            "subaccount": ADA, "market": "SOL-PERP", "per_minute_usd6": 1, "per_hour_usd6": 1
        },
    }  # fmt: skip
    answers: dict[str, int] = {}
    for path, body in good.items():
        for name in body:
            for number, value in enumerate(GARBAGE):
                named = {} if name == "id" or "id" not in body else {"id": f"{path}-{name}-{number}"}
                try:
                    await here.client.post(path, **{**body, **named, name: value})
                    code = "done"
                except ApiError as error:
                    code = error.code
                    assert error.status in (400, 404, 409), (path, name, value, error)
                answers[code] = answers.get(code, 0) + 1
    assert "internal_error" not in answers
    assert {"malformed_request", "malformed_command", "unknown_market", "unknown_asset"} <= answers.keys()
    for path in (
        "markets",
        "market",
        "depth",
        "trades",
        "orders",
        "positions",
        "lending",
        "adl",
        "liquidations",
    ):
        for value in ("", "x", "é", "9" * 400, "\x00", "7/0'; DROP TABLE trades"):
            query = {"market": value, "subaccount": value, "levels": value, "last": value}
            try:
                await here.client.get(path, **query)
            except ApiError as error:
                assert error.status in (400, 404), (path, value, error)
    assert (await here.client.get("status", full="true"))["breaches"] == []
    assert here.process is not None
    assert "Traceback" not in here.process.log()
