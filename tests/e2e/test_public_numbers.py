"""Lending, quotes and liquidations of a running daemon, and the numbers that anybody may ask for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.api.client import ApiError

from .harness import SECOND_NS, SOL, USDC, World, command, wallet, world

ADA, BEN, CLEO = "7/0", "8/0", "9/0"
DOLLAR_E8 = 10**8


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def opened(here: World, **cash_usdc: int) -> None:
    """A daemon and subaccounts with USDC: ada=1000 puts 1,000 into 7/0. SOL stands at $150."""
    await here.start()
    await here.at(0)
    for name, whole in cash_usdc.items():
        subaccount = {"ada": ADA, "ben": BEN, "cleo": CLEO}[name]
        issued = await here.client.post("subaccounts", subaccount=subaccount)
        await here.send_usdc(wallet(3), str(issued["address"]), whole * USDC)
    await here.scanned()
    await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})


async def refused(here: World, path: str, **body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        raise AssertionError((path, body, await here.client.post(path, **body)))
    return caught.value


async def pool(here: World, asset: str) -> dict[str, Any]:
    return next(one for one in await here.client.get("pools") if one["asset"] == asset)


async def lending(here: World, subaccount: str, asset: str) -> dict[str, Any]:
    found = await here.client.get("lending", subaccount=subaccount)
    return next(one for one in found["assets"] if one["asset"] == asset)


async def place(here: World, request_id: str, who: str, side: str, size: int, price: str) -> Any:
    return await here.client.post(
        "orders", id=request_id, subaccount=who, market="SOL-PERP", side=side, base_units=size, price=price
    )


# -- lending and borrowing --


async def test_r9_r10_r11_a_round_trip_through_the_pool(here: World) -> None:
    await opened(here, ada=1_000, ben=10_000)
    for who in (ADA, BEN):
        switches = {"auto_lend": False, "auto_borrow": False, "auto_repay": True}
        await here.client.post("lending", id=f"switch-{who}", subaccount=who, **switches)
    lent = {"subaccount": BEN, "asset": "USDC"}
    await here.client.post("lend", id="l", units=8_000 * USDC, **lent)
    before = await pool(here, "USDC")
    assert (before["lent_units"], before["owed_units"], before["utilization_ppm"]) == (8_000 * USDC, 0, 0)
    mine = await lending(here, ADA, "USDC")
    # A dollar owed has initial margin of 5% (R11): 1,000 carry 20,000, the pool gives 95% of 8,000.
    assert (mine["free_units"], mine["max_borrow_units"]) == (1_000 * USDC, 7_600 * USDC)
    borrowed = await here.client.post("borrow", id="b", subaccount=ADA, asset="USDC", units=4_000 * USDC)
    again = await here.client.post("borrow", id="b", subaccount=ADA, asset="USDC", units=4_000 * USDC)
    assert again == {**borrowed, "sequence": None}
    half = await pool(here, "USDC")
    assert (half["owed_units"], half["utilization_ppm"]) == (4_000 * USDC, 500_000)
    # 50% of 90% on the way from 0% to 10%, and what lenders get of it without the 10% of the reserve.
    assert half["borrow_rate_ppm"] == 55_556
    assert half["lend_rate_ppm"] == 25_000
    assert half["is_throttled"] is False
    await here.at(3_600)
    await here.client.post("tick")
    owed = (await lending(here, ADA, "USDC"))["owed_units"]
    # An hour of 5.5556% a year on 4,000 dollars.
    assert owed == 4_000 * USDC + 25_368
    repaid = await here.client.post("repay", id="r", subaccount=ADA, asset="USDC", units=5_000 * USDC)
    assert next(one for one in repaid["events"] if one["type"] == "Repaid")["owed_units"] == 0
    assert (await lending(here, ADA, "USDC"))["owed_units"] == 0
    his = await lending(here, BEN, "USDC")
    assert his["lent_units"] == his["redeemable_units"] == 8_000 * USDC + 22_831
    await here.client.post("redeem", id="d", units=his["lent_units"], **lent)
    assert (await lending(here, BEN, "USDC"))["free_units"] == 10_000 * USDC + 22_831
    assert (await here.client.get("status", full="true"))["breaches"] == []


async def test_bad_lending_is_refused_with_what_would_be_right(here: World) -> None:
    await opened(here, ada=1_000)
    good = {"id": "bad", "subaccount": ADA, "asset": "USDC", "units": 10 * USDC}
    traceless: list[tuple[str, dict[str, Any], str, str]] = [
        ("asset", {"asset": "DOGE"}, "unknown_asset", "listed: SOL, USDC"),
        ("units", {"units": 1.5}, "malformed_request", "got `float`"),
        ("units", {"units": 10**60}, "malformed_command", "units"),
        ("id", {"id": ""}, "malformed_command", "id"),
        ("amount", {"amount": 1}, "malformed_request", "unknown field `amount`"),
    ]
    before = (await here.client.get("status"))["journal_hash"]
    for path in ("lend", "redeem", "borrow", "repay"):
        for _, change, code, part in traceless:
            error = await refused(here, path, **{**good, **change})
            assert (error.code, error.status) == (code, 400), (path, change, error)
            assert part in error.error.message, (path, change, error)
        error = await refused(here, path, subaccount=ADA, asset="USDC", units=1)
        assert "field `id`" in error.error.message
    switches = {"id": "s", "subaccount": ADA, "auto_lend": True, "auto_borrow": True}
    assert "field `auto_repay`" in (await refused(here, "lending", **switches)).error.message
    assert (await here.client.get("status"))["journal_hash"] == before
    journaled: list[tuple[str, dict[str, Any], str]] = [
        ("lend", {"units": 2_000 * USDC}, "insufficient_settled_cash"),
        ("lend", {"units": 1}, "below_minimum"),
        ("redeem", {}, "insufficient_lent_balance"),
        ("borrow", {"units": 10**9 * USDC}, "insufficient_initial_margin"),
        ("borrow", {"asset": "SOL", "units": SOL}, "utilization_above_maximum"),
        ("borrow", {"subaccount": "6/6"}, "unknown_subaccount"),
        ("repay", {}, "nothing_borrowed"),
        ("repay", {"units": 0}, "amount_not_positive"),
    ]
    for number, (path, change, code) in enumerate(journaled):
        error = await refused(here, path, **{**good, "id": f"bad-{number}", **change})
        assert (error.code, error.status) == (code, 409), (path, change, error)
    view = await here.client.get("subaccount", subaccount=ADA)
    assert (view["cash_units"], view["lent_units"], view["owed_units"]) == ({"USDC": 1_000 * USDC}, {}, {})


# -- prices --


def quote(feed: str, source: str, price: str, **more: Any) -> dict[str, Any]:
    return {"feed": feed, "source": source, "price": price, **more}


async def test_r13_quotes_move_index_and_mark_and_a_stale_source_is_named(here: World) -> None:
    await opened(here, ada=1_000)
    await here.at(10)
    three = [quote("a", "x", "151"), quote("a", "y", "152"), quote("b", "x", "153")]
    good = {"id": "q1", "asset": "SOL", "quotes": three}
    taken = await here.client.post("quotes", **good)
    # Feed a says 151.5, feed b 153.
    assert taken["events"][0] == {
        "type": "QuotesTaken",
        "asset": "SOL",
        "index_price_e8": 15_225_000_000,
        "stale": False,
        "used_sources": 3,
        "dropped": [],
    }
    market = await here.client.get("market", market="SOL-PERP")
    assert (market["index_price_e8"], market["mark_price_e8"]) == (15_225_000_000, 15_225_000_000)
    await here.at(11)
    # Without times of their own, the quotes of a repetition are those of the first time.
    assert await here.client.post("quotes", **good) == {**taken, "sequence": None}
    old_ns = here.time_ns - 61 * SECOND_NS
    silent = [*three[:2], quote("b", "x", "153", time_ns=old_ns)]
    taken = await here.client.post("quotes", id="q2", asset="SOL", quotes=silent)
    event = taken["events"][0]
    assert (event["stale"], event["used_sources"], event["dropped"]) == (True, 2, ["b/x"])
    market = await here.client.get("market", market="SOL-PERP")
    assert (market["is_stale"], market["state"], market["chosen_state"]) == (True, "reduce_only", "open")
    assert market["index_price_e8"] == 15_225_000_000
    stale = await refused(
        here, "orders", id="o", subaccount=ADA, market="SOL-PERP", side="buy", base_units=SOL, price="150"
    )
    assert (stale.code, "its price is stale" in stale.error.message) == ("market_reduce_only", True)
    await here.client.post("quotes", id="q3", asset="SOL", quotes=three)
    assert (await here.client.get("market", market="SOL-PERP"))["state"] == "open"


async def test_bad_quotes_are_refused_with_what_would_be_right(here: World) -> None:
    await opened(here, ada=1_000)
    one = quote("a", "x", "151")
    bad: list[tuple[dict[str, Any], str, str]] = [
        ({"asset": "DOGE"}, "unknown_asset", "listed: SOL, USDC"),
        ({"quotes": [{**one, "price": 151.0}]}, "malformed_request", "got `float`"),
        ({"quotes": [one, quote("a", "y", "1e3")]}, "malformed_command", "quotes[1].price"),
        ({"quotes": [{**one, "sauce": 1}]}, "malformed_request", "unknown field `sauce`"),
        ({"quotes": [one, one]}, "malformed_command", "quotes"),
        ({"quotes": one}, "malformed_request", "Expected `array`"),
        ({"id": ""}, "malformed_command", "id"),
    ]
    before = (await here.client.get("status"))["journal_hash"]
    for change, code, part in bad:
        error = await refused(here, "quotes", **{"id": "bad", "asset": "SOL", "quotes": [one], **change})
        assert (error.code, error.status) == (code, 400), (change, error)
        assert part in error.error.message, (change, error)
    assert (await here.client.get("status"))["journal_hash"] == before
    assert (await refused(here, "quotes", id="usdc", asset="USDC", quotes=[one])).code == "unknown_asset"
    assert (await here.client.get("market", market="SOL-PERP"))["index_price_e8"] == 150 * DOLLAR_E8


# -- liquidation --


async def test_r25_a_liquidation_is_seen_in_the_public_numbers(here: World) -> None:
    await opened(here, ada=1_000, ben=20_000, cleo=20_000)
    await here.client.post("backstop/register", subaccount=CLEO)
    limits = {"per_minute_usd6": 50_000 * USDC, "per_hour_usd6": 60_000 * USDC}
    await here.client.post("backstop/capacity", subaccount=CLEO, market="SOL-PERP", **limits)
    await place(here, "ask", BEN, "sell", 100 * SOL, "150")
    await place(here, "take", ADA, "buy", 100 * SOL, "150")
    (hers,) = (await here.client.get("positions", subaccount=ADA))["positions"]
    begins_e8 = hers["liquidation_price_e8"]
    assert 140 * DOLLAR_E8 < begins_e8 < 150 * DOLLAR_E8
    quiet = await here.client.get("liquidations")
    assert (quiet["in_liquidation"], [one["fills"] for one in quiet["stages"]]) == (0, [0, 0, 0, 0])
    assert quiet["insurance_fund"] == {
        "cash_units": {},
        "lent_units": {},
        "owed_units": {},
        "unsettled_usd6": 0,
        "short_usd6": 0,
        "short_since_ns": None,
    }
    await nothing_happens_above_that_price_and_something_at_it(here, begins_e8)
    await here.at(20)
    # A bid inside the band: the book takes a step of at most a quarter of the depth.
    await here.client.post("prices", mark={"SOL-PERP": "142.2"})
    await place(here, "bid", BEN, "buy", 20 * SOL, "142.2")
    await here.at(21)
    await here.client.post("prices", mark={"SOL-PERP": "141.7"})
    step = await here.client.get("liquidations")
    by_stage = {one["stage"]: one for one in step["stages"]}
    assert (by_stage["book"]["fills"], by_stage["book"]["subaccounts"]) == (1, 1)
    assert by_stage["book"]["notional_usd6"] == by_stage["book"]["day_notional_usd6"] == 708_500_000
    forced = (await here.client.get("trades", market="SOL-PERP"))[-1]
    assert (forced["kind"], forced["seller"], forced["base_units"]) == ("forced", ADA, 5 * SOL)
    assert forced["event"]["taker_fee_usd6"] == 0
    await a_deep_fall_is_taken_by_the_provider(here)


async def nothing_happens_above_that_price_and_something_at_it(here: World, begins_e8: int) -> None:
    for place_in_time, mark_e8, expected in ((1, begins_e8 + 1, 0), (2, begins_e8, 1)):
        await here.at(place_in_time)
        whole, fraction = str(mark_e8)[:-8], str(mark_e8)[-8:]
        await here.client.post("prices", index={"SOL": "145"}, mark={"SOL-PERP": f"{whole}.{fraction}"})
        found = await here.client.get("liquidations")
        assert found["in_liquidation"] == expected
    (entry,) = found["liquidations"]
    assert (entry["subaccount"], entry["stage"]) == (ADA, "book")
    assert entry["net_equity_usd6"] <= entry["maintenance_margin_usd6"]
    assert (await here.client.get("positions", subaccount=ADA))["state"] == "book"
    blocked = await refused(
        here, "orders", id="more", subaccount=ADA, market="SOL-PERP", side="buy", base_units=SOL, price="145"
    )
    assert blocked.code == "in_liquidation"


async def a_deep_fall_is_taken_by_the_provider(here: World) -> None:
    await here.at(30)
    await here.client.post("prices", index={"SOL": "138"}, mark={"SOL-PERP": "138"})
    fallen = await here.client.get("liquidations")
    by_stage = {one["stage"]: one for one in fallen["stages"]}
    assert by_stage["backstop"]["fills"] == 1
    assert by_stage["book"]["share_ppm"] + by_stage["backstop"]["share_ppm"] in (999_999, 1_000_000)
    (capacity,) = await here.client.get("backstop")
    assert capacity["left_in_minute_usd6"] == 50_000 * USDC - 95 * 138 * USDC
    assert capacity["left_in_hour_usd6"] == 60_000 * USDC - 95 * 138 * USDC
    taken = (await here.client.get("trades", subaccount=CLEO))[-1]
    assert (taken["kind"], taken["buyer"], taken["seller"]) == ("backstop", CLEO, ADA)
    assert (taken["base_units"], taken["price_e8"]) == (95 * SOL, 138 * DOLLAR_E8)
    assert (fallen["in_liquidation"], fallen["debtors"]) == (0, 1)
    # The stage counters of the last 24 h forget, those since the start do not.
    await here.at(2 * 86_400)
    later = {one["stage"]: one for one in (await here.client.get("liquidations"))["stages"]}
    assert later["backstop"]["notional_usd6"] == by_stage["backstop"]["notional_usd6"]
    assert (later["backstop"]["day_notional_usd6"], later["book"]["day_fills"]) == (0, 0)


async def test_the_public_numbers_from_the_command_line(here: World) -> None:
    await opened(here, ada=1_000, ben=10_000)

    async def told(*words: str, status: int = 0) -> str:
        done = await asyncio.to_thread(command, here, *words)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, (words, done.stderr)
        return done.stdout + done.stderr

    assert "8,000 USDC" in await told("lend", BEN, "USDC", "8000", "--id", "l")
    assert "4,000 USDC" in await told("borrow", ADA, "USDC", "4000")
    pools = await told("pools")
    assert "50%" in pools and "5.5556%" in pools
    shown = await told("lending", ADA)
    assert "auto-lend on, auto-borrow on" in shown and "4,000 USDC" in shown
    assert "auto-lend off, auto-borrow on" in await told("lending", ADA, "--no-auto-lend")
    assert "Repaid" in await told("repay", ADA, "USDC", "5000")
    assert "Redeemed" in await told("redeem", BEN, "USDC", "100")
    assert "in liquidation: 0" in await told("liquidations")
    assert "BackstopRegistered" in await told("backstop", "register", BEN)
    assert "BackstopCapacitySet" in await told("backstop", "capacity", BEN, "SOL-PERP", "1000", "5000.5")
    assert "$5,000.5 of $5,000.5" in await told("backstop", "list")
    assert "BackstopLeft" in await told("backstop", "leave", BEN)
    await here.at(1)
    quotes = ("a/x=151", "a/y=152", "b/x=153")
    taken = json.loads(await told("quotes", "SOL", *quotes, "--json"))
    assert taken["events"][0]["index_price_e8"] == 15_225_000_000
    await here.at(2)
    assert re.search(r"stale +yes", await told("quotes", "SOL", "a/x=151", "a/y=170"))
    await here.at(3)
    assert "PricesUpdated" in await told("prices", "SOL=150.5", "SOL-PERP=150.75")
    market = await here.client.get("market", market="SOL-PERP")
    assert (market["index_price_e8"], market["mark_price_e8"]) == (15_050_000_000, 15_075_000_000)
    assert "unknown_asset" in await told("prices", "DOGE=1", status=1)
    assert "'DOGE' is not accepted here" in await told("lend", ADA, "DOGE", "1", status=1)
    assert "would pass" not in await told("borrow", ADA, "USDC", "900000", status=1)
