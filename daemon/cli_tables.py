"""Answers of the control API as tables for people.

Owns: layout only. Amounts are shown as decimals with all their digits: nothing is rounded for looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from chain.addresses import format_amount

console = Console(highlight=False)
DECIMALS = {"USDC": 6, "SOL": 9, "BTC": 8}


def know_decimals(decimals: Mapping[str, int]) -> None:
    """Learn the decimals of the assets that a configuration accepts."""
    DECIMALS.update(decimals)


def amount(units: int | None, asset: str) -> str:
    """Write base units as a decimal amount with its symbol; unknown assets stay in units."""
    if units is None:
        return "-"
    decimals = DECIMALS.get(asset)
    return f"{units:,} units of {asset}" if decimals is None else f"{decimal(units, decimals)} {asset}"


def usd(usd6: int | None) -> str:
    """Write micro-dollars as dollars."""
    if usd6 is None:
        return "-"
    return f"-${decimal(-usd6, 6)}" if usd6 < 0 else f"${decimal(usd6, 6)}"


def price(price_e8: int | None) -> str:
    """Write a price; "-" for none."""
    return "-" if price_e8 is None else f"${decimal(price_e8, 8)}"


def percent(ppm: int) -> str:
    """Write parts per million as per cent, with all their digits."""
    return f"{decimal(ppm, 4)}%"


def decimal(units: int, decimals: int) -> str:
    """Write a scaled whole number with its point and its thousands."""
    whole, point, fraction = format_amount(abs(units), decimals).partition(".")
    return f"{'-' if units < 0 else ''}{int(whole):,}{point}{fraction}"


def pairs(title: str, rows: list[tuple[str, str]]) -> None:
    """Print names and values under a title."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    if title:
        console.print(title, style="italic")  # a table's own title wraps at the width of the table
    console.print(table)


def address(body: Any) -> None:
    """Show a deposit address."""
    pairs(
        f"deposit address of {body['subaccount']}",
        [("wallet (SOL)", body["address"]), *((s, a) for s, a in body["token_accounts"].items())],
    )


def subaccount(body: Any, assets: Mapping[str, str]) -> None:
    """Show a subaccount; `assets` says whose units the sizes of a market are."""
    margin = body["margin"]
    rows = [("address", body["address"] or "-"), ("state", body["state"]), ("on debt", body["on_debt"])]
    rows += [(f"cash {asset}", amount(units, asset)) for asset, units in body["cash_units"].items()]
    rows += [(f"locked {asset}", amount(units, asset)) for asset, units in body["locked_units"].items()]
    rows += [(f"lent {asset}", amount(units, asset)) for asset, units in body["lent_units"].items()]
    rows += [(f"borrowed {asset}", amount(units, asset)) for asset, units in body["owed_units"].items()]
    rows += [
        (
            f"position {one['market']}",
            f"{amount(one['base_units'], assets[one['market']])}, quote {usd(one['quote_usd6'])}",
        )
        for one in body["positions"]
    ]
    rows += [("resting orders", str(body["open_orders"])), ("unsettled", usd(body["unsettled_usd6"]))]
    rows += [("outstanding negative equity", usd(body["outstanding_negative_equity_usd6"]))]
    rows += [
        (name.removesuffix("_usd6").replace("_", " "), usd(value))
        for name, value in margin.items()
        if name.endswith("_usd6")
    ]
    rows += [
        (f"withdrawable {asset}", amount(units, asset))
        for asset, units in body["withdrawable_units"].items()
        if units
    ]
    rows += [
        (f"held {one['asset']}", f"{amount(one['units'], one['asset'])} ({one['deposit_id']})")
        for one in body["held_deposits"]
    ]
    pairs(f"subaccount {body['subaccount']}", rows)


def preview(body: Any, asset: str) -> None:
    """Show a preview."""
    rows = [
        ("to the debt", f"{amount(body['applied_units'], asset)}, worth {usd(body['applied_usd6'])}"),
        ("credited", amount(body["credited_units"], asset)),
        ("rate", f"${decimal(body['rate_e8'], 8)} for 1 {asset}" if body["rate_e8"] else "-"),
        ("owed before", usd(body["outstanding_before_usd6"])),
        ("owed after", usd(body["outstanding_after_usd6"])),
        ("held until you accept", "yes" if body["held"] else "no"),
        ("being liquidated", "yes" if body["being_liquidated"] else "no"),
        ("next settlement", instant(body["next_settlement_ns"])),
        ("the fund covers then", usd(body["fund_covers_usd6"])),
    ]
    pairs("what this deposit would do now", rows)


def instant(time_ns: int | None) -> str:
    """Write an instant as UTC to the second; "-" for none."""
    if not time_ns:
        return "-"
    return f"{datetime.fromtimestamp(time_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def deposits(body: Any) -> None:
    """List deposits; `--json` has the whole signatures."""
    table = Table(title="deposits", title_justify="left")
    for name in ("subaccount", "deposited", "status", "to the debt", "credited", "slot", "signature"):
        table.add_column(name, no_wrap=name == "signature")
    for one in body:
        receipt = one["receipt"] if isinstance(one["receipt"], dict) else {}
        table.add_row(
            one["subaccount"],
            amount(one["units"], one["asset"]),
            one["status"],
            amount(receipt.get("applied_units"), one["asset"]),
            amount(receipt.get("credited_units"), one["asset"]),
            str(one["slot"]),
            f"{one['signature'][:8]}...",
        )
    console.print(table)


def done(body: Any) -> None:
    """Show what an accepted command did."""
    for event in body["events"]:
        pairs(
            event["type"],
            [
                (name.replace("_", " "), _told(name, value, event))
                for name, value in event.items()
                if name != "type"
            ],
        )


def _told(name: str, value: Any, event: Any) -> str:
    """Write a field of an event by the unit in its name."""
    if name.endswith("_units") or name == "units":
        return amount(value, event.get("asset", ""))
    if name.endswith("_usd6"):
        return usd(value)
    if name.endswith(("price_e8", "rate_e8")):
        return price(value)
    if name.endswith("_prices"):
        return ", ".join(f"{one} {price(price_e8)}" for one, price_e8 in value) or "-"
    if name.endswith("_ppm"):
        return percent(value)
    if name.endswith("_ns"):
        return instant(value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def withdrawal(body: Any) -> None:
    """Show a withdrawal."""
    payout = body["payout"] or {}
    pairs(
        f"withdrawal {body['id']}",
        [
            ("subaccount", body["subaccount"]),
            ("amount", amount(body["units"], body["asset"])),
            ("destination", body["destination"]),
            ("status", body["status"]),
            (
                "waits at",
                f"the {body['gate']} gate until {instant(body['until_ns'])}" if body["until_ns"] else "-",
            ),
            ("on chain", payout.get("state") or "-"),
            ("signature", payout.get("signature") or "-"),
            ("failure", payout.get("failure") or "-"),
        ],
    )


def status(body: Any) -> None:
    """Show the daemon's status."""
    pairs(
        "makewhole",
        [
            ("sequence", f"{body['sequence']}  journal {body['journal_hash'][:16]}..."),
            ("scanned slot", f"{body['scanned_slot']}, {body['lag_slots']} slots behind"),
            ("invariants", "hold" if not body["breaches"] else "; ".join(body["breaches"])),
            (
                "insurance fund",
                ", ".join(amount(u, a) for a, u in body["insurance_fund_units"].items()) or "empty",
            ),
            (
                "outstanding negative equity",
                f"{usd(body['outstanding_negative_equity_usd6'])} ({body['debtors']} subaccounts)",
            ),
            ("unpaid claims", usd(body["claims_usd6"])),
            ("network fees owed", amount(body["network_fees_owed_units"], "SOL")),
            ("payouts open", f"{body['payouts_open']} ({body['payouts_in_review']} in review)"),
            ("alarms", "\n".join(body["alarms"]) or "none"),
        ],
    )
    reserves(body["reserves"])


def reserves(lines: Any) -> None:
    """Show holdings on chain against what is owed."""
    table = Table(
        title="reserves at the last attestation: on chain = owed - fees owed + dust + refused + unexplained",
        title_justify="left",
    )
    for name in ("asset", "on chain", "owed", "fees owed", "dust", "refused", "unexplained"):
        table.add_column(name, justify="left" if name == "asset" else "right")
    for line in lines:
        asset = line["asset"]
        shown = [
            amount(line[f"{name}_units"], asset)
            for name in ("holdings", "owed", "network_fees_owed", "dust", "refused", "unexplained")
        ]
        table.add_row(asset, *shown)
    console.print(table)
