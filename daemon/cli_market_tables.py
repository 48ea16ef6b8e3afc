"""Markets, orders, pools and liquidations as tables for people; the rules of `daemon.cli_tables`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from daemon.cli_tables import amount, console, decimal, instant, pairs, percent, price, usd

Assets = Mapping[str, str]  # from a market to the asset whose units its sizes are


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in columns:
        # A name that begins with a blank is a column of numbers.
        table.add_column(name.strip(), justify="right" if name.startswith(" ") else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def order_done(body: Any, assets: Assets) -> None:
    """Show what became of an order."""
    order = body["order"]
    asset = assets[order["market"]]
    filled = amount(order["filled_units"], asset)
    if order["filled_units"]:
        filled += f" at {price(order['average_price_e8'])} on average, fee {usd(order['fee_usd6'])}"
    rows = [
        ("order", str(order["order_id"])),
        ("client order id", order["client_order_id"] or "-"),
        ("ended", order["ended"].replace("_", " ")),
        ("filled", filled),
        ("resting", amount(order["resting_units"], asset)),
        ("cancelled", amount(order["cancelled_units"], asset)),
    ]
    if order["cut_units"]:
        rows.append(("never ordered", f"{amount(order['cut_units'], asset)} beyond the position"))
    pairs(f"order in {order['market']}", rows)


def cancelled(body: Any, assets: Assets) -> None:
    """Show which orders were cancelled."""
    rows = [
        (one["market"], str(one["order_id"]), amount(one["units"], assets[one["market"]]))
        for one in body["events"]
    ]
    _table("cancelled", ("market", " order", " units left"), rows)


def orders(body: Any, assets: Assets) -> None:
    """List resting orders."""
    rows = [
        (
            one["market"],
            str(one["order_id"]),
            one["client_order_id"] or "-",
            one["side"],
            amount(one["base_units"], assets[one["market"]]),
            price(one["price_e8"]),
            "yes" if one["reduce_only"] else "no",
        )
        for one in body
    ]
    _table(
        "resting orders",
        ("market", " order", "client order id", "side", " size left", " price", "reduce only"),
        rows,
    )


def positions(body: Any, assets: Assets) -> None:
    """Show positions."""
    rows = [
        (
            one["market"],
            amount(one["base_units"], assets[one["market"]]),
            price(one["average_entry_price_e8"]),
            price(one["mark_price_e8"]),
            usd(one["pnl_since_entry_usd6"]),
            usd(one["unrealized_pnl_usd6"]),
            price(one["liquidation_price_e8"]),
            price(one["zero_price_e8"]),
            "-" if one["adl"] is None else f"{one['adl']['rank']} {one['adl']['group']}",
        )
        for one in body["positions"]
    ]
    columns = (
        "market", " size", " entry", " mark", " profit since entry", " not settled yet",
        " liquidation at", " zero price", "ADL rank",
    )  # fmt: skip
    _table(f"positions of {body['subaccount']} ({body['state']})", columns, rows)


def markets(body: Any) -> None:
    """List markets."""
    rows = [
        (
            one["market"],
            _state(one),
            price(one["index_price_e8"]),
            price(one["mark_price_e8"]),
            price(one["best_bid_e8"]),
            price(one["best_ask_e8"]),
            _funding(one),
            amount(one["open_interest_units"], one["asset"]),
        )
        for one in body
    ]
    columns = ("market", "state", " index", " mark", " bid", " ask", " funding, an hour", " open interest")
    _table("markets", columns, rows)


def market(one: Any) -> None:
    """Show a market with its parameters."""
    rows = [
        ("kind", one["kind"]),
        ("state", _state(one)),
        ("index", f"{price(one['index_price_e8'])} of {instant(one['index_time_ns'])}"),
        ("mark", price(one["mark_price_e8"])),
        ("best bid, ask", f"{price(one['best_bid_e8'])}, {price(one['best_ask_e8'])}"),
        ("mid", price(one["mid_price_e8"])),
        ("funding, an hour", _funding(one)),
        ("open interest", amount(one["open_interest_units"], one["asset"])),
        ("resting orders", str(one["open_orders"])),
        ("tick", price(one["tick_e8"])),
        ("lot", amount(one["lot_units"], one["asset"])),
    ]
    rows += [
        (name.removesuffix("_ppm").replace("_", " "), percent(value) if name.endswith("_ppm") else str(value))
        for name, value in one["params"].items()
    ]
    pairs(one["market"], rows)


def _state(one: Any) -> str:
    return f"{one['state']} (its price is stale)" if one["is_stale"] else str(one["state"])


def _funding(one: Any) -> str:
    rate_e9 = one["expected_funding_rate_e9"]
    return "-" if rate_e9 is None else f"{decimal(rate_e9, 7)}%"


def depth(body: Any, assets: Assets) -> None:
    """Show a book, both sides beside each other, best first."""
    asset = assets[body["market"]]
    rows = []
    for number in range(max(len(body["bids"]), len(body["asks"]))):
        bid = body["bids"][number] if number < len(body["bids"]) else None
        ask = body["asks"][number] if number < len(body["asks"]) else None
        rows.append(
            (
                "" if bid is None else amount(bid["units"], asset),
                "" if bid is None else price(bid["price_e8"]),
                "" if ask is None else price(ask["price_e8"]),
                "" if ask is None else amount(ask["units"], asset),
            )
        )
    _table(f"depth of {body['market']}", (" bought", " bid", " ask", " sold"), rows)


def trades(body: Any, assets: Assets) -> None:
    """List trades, oldest first."""
    rows = [
        (
            instant(one["time_ns"]),
            one["market"],
            one["kind"],
            one["taker_side"] or "-",
            amount(one["base_units"], assets[one["market"]]),
            price(one["price_e8"]),
            one["buyer"],
            one["seller"],
        )
        for one in body
    ]
    _table("trades", ("time", "market", "kind", "taker", " size", " price", "buyer", "seller"), rows)


def adl(body: Any, assets: Assets) -> None:
    """Show who would be reduced first."""
    asset = assets[body["market"]]
    rows = [
        (
            one["side"],
            str(one["rank"]),
            one["subaccount"],
            one["group"],
            amount(one["base_units"], asset),
            amount(one["reducible_units"], asset),
        )
        for one in body["ranks"]
    ]
    title = f"ADL ranks of {body['market']}: {body['longs']} long, {body['shorts']} short"
    _table(title, ("side", " rank", "subaccount", "group", " position", " reducible"), rows)


def quotes(body: Any) -> None:
    """Show what became of quotes."""
    taken = next(event for event in body["events"] if event["type"] == "QuotesTaken")
    marks = [pair for event in body["events"] for pair in event.get("mark_prices", ())]
    pairs(
        f"quotes of {taken['asset']}",
        [
            ("index", price(taken["index_price_e8"] or None)),
            ("used sources", str(taken["used_sources"])),
            ("dropped", ", ".join(taken["dropped"]) or "none"),
            ("stale", "yes: index and marks stay where they were" if taken["stale"] else "no"),
            *((f"mark of {market}", price(value)) for market, value in marks),
        ],
    )


def pools(body: Any) -> None:
    """Show the lending pools."""
    rows = [
        (
            one["asset"],
            amount(one["lent_units"], one["asset"]),
            amount(one["owed_units"], one["asset"]),
            percent(one["utilization_ppm"]),
            percent(one["borrow_rate_ppm"]),
            percent(one["lend_rate_ppm"]),
            "yes" if one["is_throttled"] else "no",
        )
        for one in body
    ]
    _table(
        "lending pools, rates a year",
        ("asset", " lent", " borrowed", " utilization", " borrowers pay", " lenders earn", "throttled"),
        rows,
    )


def lending(body: Any) -> None:
    """Show what a subaccount has lent, owes and may borrow."""
    switches = ", ".join(
        f"{name.replace('_', '-')} {'on' if body[name] else 'off'}"
        for name in ("auto_lend", "auto_borrow", "auto_repay")
    )
    names = ("free", "lent", "redeemable", "owed", "max_borrow")
    rows = [
        (one["asset"], *(amount(one[f"{name}_units"], one["asset"]) for name in names))
        for one in body["assets"]
    ]
    columns = ("asset", " free cash", " lent", " redeemable now", " owed", " may borrow now")
    _table(f"lending of {body['subaccount']}: {switches}", columns, rows)


def liquidations(body: Any) -> None:
    """Show the public numbers of the waterfall."""
    rows = [
        (
            one["stage"],
            usd(one["notional_usd6"]),
            percent(one["share_ppm"]),
            f"{one['fills']} ({one['subaccounts']})",
            usd(one["day_notional_usd6"]),
            percent(one["day_share_ppm"]),
            f"{one['day_fills']} ({one['day_subaccounts']})",
        )
        for one in body["stages"]
    ]
    columns = ("stage", " since start", " share", " fills (of)", " in 24 h", " share", " fills (of)")
    _table("what each stage of liquidation did", columns, rows)
    _table(
        f"in liquidation: {body['in_liquidation']}",
        ("subaccount", "stage", "since", " net equity", " maintenance margin"),
        [
            (
                one["subaccount"],
                one["stage"],
                instant(one["since_ns"]),
                usd(one["net_equity_usd6"]),
                usd(one["maintenance_margin_usd6"]),
            )
            for one in body["liquidations"]
        ],
    )
    fund = body["insurance_fund"]
    debt = f"{usd(body['outstanding_negative_equity_usd6'])} ({body['debtors']} subaccounts)"
    fund_rows = [
        (f"insurance fund, {word}", ", ".join(amount(u, a) for a, u in fund[name].items()) or "-")
        for word, name in (("cash", "cash_units"), ("lent", "lent_units"), ("owes", "owed_units"))
    ]
    short = f"{usd(fund['short_usd6'])} since {instant(fund['short_since_ns'])}"
    fund_rows.append(("insurance fund, lacks", short if fund["short_since_ns"] else "-"))
    pairs("", [("outstanding negative equity", debt), *fund_rows])


def capacities(body: Any) -> None:
    """Show the backstop providers."""
    rows = [
        (
            one["provider"],
            one["market"],
            f"{usd(one['left_in_minute_usd6'])} of {usd(one['per_minute_usd6'])}",
            f"{usd(one['left_in_hour_usd6'])} of {usd(one['per_hour_usd6'])}",
            "yes" if one["active"] else "no",
        )
        for one in body
    ]
    _table("backstop providers", ("provider", "market", " left this minute", " this hour", "active"), rows)
