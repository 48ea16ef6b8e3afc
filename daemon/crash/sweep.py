"""The same crash once per value of one parameter, and what that trades against what.

Rules: any key of a scenario file can be swept, by its path (`fund.size`, `oracle.step_cap`,
`markets.mark_band_ppm`); a value goes through the same checks as a file's. Prices, people and their choices
are drawn from the same seed in every run, so that only the parameter differs.
"""

# ruff: noqa: E501 - markup reads better in whole lines

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from html import escape
from typing import Any

from daemon.crash.derived import derived
from daemon.crash.format import clock, shown
from daemon.crash.report import chart, render
from daemon.errors import ConfigError

# What a sweep shows of each run: key of the summary or of what derives from it, name, unit, color.
METRICS = (
    ("liquidated_usd6", "Liquidated notional", "usd6", "--violet"),
    ("book_share_ppm", "Share on the book", "ppm", "--book"),
    ("liquidated_backstop_usd6", "Taken by backstop providers", "usd6", "--backstop"),
    ("liquidated_adl_usd6", "Auto-deleveraged", "usd6", "--adl"),
    ("slippage_usd6", "Slippage of the liquidated on the book", "usd6", "--violet"),
    ("mark_behind_ms", "Late: mark behind the price outside, mean", "ms", "--mark"),
    ("mark_off_ppm", "Late: mark off the price outside, mean", "ppm", "--mark"),
    ("widest_mark_lag_ppm", "Mark off the price outside, widest", "ppm", "--mark"),
    ("first_liquidation_s", "Second of the first liquidation", "count", "--violet"),
    ("most_liquidated_s", "Second by which 90% was liquidated", "count", "--violet"),
    ("bankruptcies", "Bankruptcies", "count", "--adl"),
    ("outstanding_peak_usd6", "Negative equity, peak", "usd6", "--adl"),
    ("fund_worth_end_usd6", "Insurance fund at the end, less what it owes", "usd6", "--book"),
    ("lacking_peak_usd6", "Winners wait for, peak", "usd6", "--index"),
    ("covered_by_fund_usd6", "Debts the fund paid", "usd6", "--book"),
    ("providers_result_usd6", "Result of the backstop providers", "usd6", "--backstop"),
)
# What a name does not say.
NOTES = {
    "slippage_usd6": "what they sold below the mark, or bought above it",
    "mark_behind_ms": "how long the price outside had been past the mark, weighted by what was liquidated",
    "mark_off_ppm": "how far the price outside was past the mark, weighted by what was liquidated",
    "fund_worth_end_usd6": "it pays for collateral at once, and may sell it for less",
    "lacking_peak_usd6": "owed by debtors and the fund together",
    "providers_result_usd6": "positions at the last mark",
}


def parse_sweep(text: str) -> tuple[str, tuple[str, ...]]:
    """Read `param=v1,v2,...`. Raises ConfigError when it is not that."""
    param, equals, values = text.partition("=")
    found = tuple(value.strip() for value in values.split(",") if value.strip())
    if not equals or not param.strip() or not found:
        raise ConfigError("--sweep", [f"is `{text}`; should be param=v1,v2,... such as fund.size=0.1,0.5,2"])
    if len(set(found)) != len(found):
        raise ConfigError("--sweep", [f"`{text}` names a value twice"])
    return param.strip(), found


def override(plain: Mapping[str, Any], param: str, value: str) -> dict[str, Any]:
    """Give a parsed scenario with one key replaced; a value is written as in TOML, a bare word is a text."""
    try:
        parsed = tomllib.loads(f"value = {value}", parse_float=Decimal)["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    changed: dict[str, Any] = dict(plain)
    table, *parts = changed, *param.split(".")
    for part in parts[:-1]:
        inner = table.get(part, {})
        if not isinstance(inner, Mapping):
            raise ConfigError("--sweep", [f"{param}: `{part}` is no table"])
        table[part] = dict(inner)
        table = table[part]
    table[parts[-1]] = parsed
    return changed


def sweep_results(param: str, runs: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Put the summaries of all runs side by side."""
    figures = [{**run["summary"], **derived(run)} for _, run in runs]
    return {
        "param": param,
        "values": [value for value, _ in runs],
        "metrics": [
            {
                "key": key,
                "name": name,
                "unit": unit,
                "color": color,
                "values": [one[key] for one in figures],
            }
            for key, name, unit, color in METRICS
        ],
        "runs": [
            {"value": value, "summary": run["summary"], "state_hash": run["state_hash"]}
            for value, run in runs
        ],
    }


def sweep_page(first: dict[str, Any], swept: dict[str, Any]) -> str:
    """Give the page of a sweep: a small chart for each figure, and the table."""
    scenario, param = first["scenario"], swept["param"]
    header = (
        f"<header><h1>{escape(scenario['title'])}: {escape(param)}</h1><p>The same crash, the same people, the same "
        f"seed; only <b>{escape(param)}</b> differs. {escape(scenario['description'])}</p>"
        f'<p class="run">{first["accounts"]:,} customers · {clock(scenario["duration_s"])} of market time · seed '
        f"{first['seed']} · engine version {first['engine_version']}</p></header>"
    )
    charts = "".join(
        chart(f"sweep-{number}", metric["name"], NOTES.get(metric["key"], f"by {param}"), 4)
        for number, metric in enumerate(swept["metrics"])
    )
    rows = "".join(
        f"<tr><td>{escape(metric['name'])}</td>"
        + "".join(f'<td class="n">{shown(metric["unit"], value)}</td>' for value in metric["values"])
        + "</tr>"
        for metric in swept["metrics"]
    )
    heads = "".join(
        f'<th class="n"><a href="{escape(folder_of(value))}/report.html">{escape(value)}</a></th>'
        for value in swept["values"]
    )
    table = (
        f'<h2>Side by side</h2><div class="card"><div class="scroll whole"><table><tr><th>{escape(param)}</th>{heads}</tr>'
        f"{rows}</table></div></div>"
    )
    body = f'{header}<h2>What it trades against what</h2><div class="grid">{charts}</div>{table}'
    return render(
        f"Sweep: {param}",
        body,
        {"sweep": {"param": param, "values": swept["values"], "metrics": swept["metrics"]}, "series": {}},
    )


def folder_of(value: str) -> str:
    """Give the name of the folder of one value's run."""
    return "".join(letter if letter.isalnum() or letter in ".-_" else "_" for letter in value)
