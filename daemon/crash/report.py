"""The page in the browser: one HTML file that needs nothing else.

Rules: figures and tables are written here, so that the page says the essential without scripts; charts are drawn by
uPlot (assets/uplot.min.js, MIT) from the results inside the page. Whole-number data and no layout on our side:
the same results give the same bytes.
"""

# ruff: noqa: E501 - markup reads better in whole lines

from __future__ import annotations

from html import escape
from importlib import resources
from string import Template
from typing import Any

import msgspec

from daemon.crash.derived import derived, furthest_second, largest_moves
from daemon.crash.format import against_mark, clock, deleveraged, dollars, made, moved, percent, share, units

MOST_DEPOSITS = 300
STAGES = (
    ("book", "on the book"),
    ("netting", "netted"),
    ("backstop", "by backstop providers"),
    ("adl", "by auto-deleveraging"),
)


def page(results: dict[str, Any]) -> str:
    """Give the page of one run."""
    body = "\n".join(
        (
            _header(results),
            _tiles(results),
            _stage_card(results),
            _price_section(results),
            _liquidation_section(results),
            _debt_section(results),
            _gate_section(results),
            _check_section(results),
            _footer(results),
        )
    )
    data = {
        "seconds": results["seconds"],
        "value_seconds": results["value_seconds"],
        "series": results["series"],
        "markets": results["markets"],
        "furthest_second": furthest_second(results),
    }
    return render(f"Crash: {results['scenario']['title']}", body, data)


def render(title: str, body: str, data: dict[str, Any]) -> str:
    """Put a body and its data into the page."""
    assets = resources.files("daemon.crash") / "assets"

    def asset(name: str) -> str:
        return (assets / name).read_text("utf-8")

    # "<" only ever ends a script from inside a JSON text; there it has another spelling.
    plain = msgspec.json.encode(data, order="deterministic").decode().replace("<", "\\u003c")
    return Template(asset("page.html")).substitute(
        title=escape(title),
        body=body,
        data=plain,
        css=asset("page.css"),
        js=asset("page.js"),
        uplot_css=asset("uplot.min.css"),
        uplot_js=asset("uplot.min.js"),
    )


def chart(name: str, title: str, note: str, width: int = 6) -> str:
    """Give the card of a chart that the script will draw."""
    return (
        f'<section class="card chart w{width}"><h3>{escape(title)}</h3><p>{escape(note)}</p>'
        f'<div class="plot" id="{escape(name)}" role="img" aria-label="{escape(title)}"></div></section>'
    )


def _header(results: dict[str, Any]) -> str:
    scenario = results["scenario"]
    return (
        f"<header><h1>{escape(scenario['title'])}</h1><p>{escape(scenario['description'])}</p>"
        f'<p class="run">{results["accounts"]:,} customers · {clock(scenario["duration_s"])} of market time · '
        f"seed {results['seed']} · scenario {escape(scenario['source'])} · engine version "
        f"{results['engine_version']}. Everything below was decided by the engine; the scenario "
        "only says prices outside, depth, and what people do.</p></header>"
    )


def _tile(name: str, figure: str, note: str) -> str:
    return (
        f'<div class="card tile"><div class="name">{escape(name)}</div><div class="figure">{figure}</div>'
        f'<div class="note">{escape(note)}</div></div>'
    )


def _tiles(results: dict[str, Any]) -> str:
    summary, more = results["summary"], derived(results)
    moves = largest_moves(results)
    worst = max(sorted(moves), key=lambda asset: abs(moves[asset]))
    queued = summary["withdrawals_queued_pool"] + summary["withdrawals_queued_velocity"]
    tiles = (
        _tile(
            "Largest move",
            f"{moved(moves[worst])} <small>{escape(worst)}</small>",
            ", ".join(f"{asset} {moved(ppm)}" for asset, ppm in moves.items() if asset != worst)
            + f" · mark at most {percent(summary['widest_mark_lag_ppm'])} off",
        ),
        _tile(
            "Liquidated",
            dollars(summary["liquidated_usd6"]),
            f"{share(summary['liquidated_usd6'], summary['open_interest_usd6'])} of "
            f"{dollars(summary['open_interest_usd6'])} open interest; "
            f"{_entries(summary)}",
        ),
        _tile(
            "On the book",
            percent(summary["book_share_ppm"]) if summary["liquidated_usd6"] else "–",
            f"of liquidated notional; ADL {share(summary['liquidated_adl_usd6'], summary['liquidated_usd6'])}",
        ),
        _tile(
            "Negative equity, peak",
            dollars(summary["outstanding_peak_usd6"]),
            f"{summary['bankruptcies']:,} bankruptcies; at the end {dollars(summary['outstanding_end_usd6'])}",
        ),
        _tile(
            "Insurance fund",
            f"{dollars(more['fund_worth_end_usd6'])} <small>of {dollars(summary['fund_start_usd6'])}</small>",
            f"less what it owes, lowest {dollars(more['fund_worth_low_usd6'])}; paid {dollars(summary['covered_by_fund_usd6'])} "
            f"of debts; owes {dollars(summary['fund_owes_end_usd6'])} to winners, {dollars(summary['fund_borrowed_end_usd6'])} to lenders",
        ),
        _tile(
            "Winners' claims unpaid",
            dollars(summary["claims_end_usd6"]),
            f"at the end: {dollars(summary['outstanding_end_usd6'])} from debtors, "
            f"{dollars(summary['fund_owes_end_usd6'])} from the fund; peak {dollars(more['lacking_peak_usd6'])}",
        ),
        _tile(
            "Deposits of the liquidated",
            f"{summary['deposits']:,}",
            f"{dollars(summary['deposits_applied_usd6'])} to debts, "
            f"{dollars(summary['deposits_credited_usd6'])} credited",
        ),
        _tile(
            "Withdrawals passed",
            f"{summary['withdrawals_passed'] + summary['withdrawals_released']:,}",
            f"{queued:,} queued on the way, {summary['withdrawals_refused']:,} refused",
        ),
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _entries(summary: dict[str, Any]) -> str:
    return (
        f"{summary['liquidated_subaccounts']:,} subaccounts, {summary['liquidations']:,} times in liquidation"
    )


def _stage_card(results: dict[str, Any]) -> str:
    summary = results["summary"]
    total = summary["liquidated_usd6"]
    bars, keys = [], []
    for stage, words in STAGES:
        usd6 = summary[f"liquidated_{stage}_usd6"]
        bars.append(
            f'<i style="width:{percent(usd6 * 1_000_000 // total if total else 0, 3)};background:var(--{stage})"></i>'
        )
        keys.append(
            f'<span class="key" style="--c:var(--{stage})">{words} <b>{share(usd6, total)}</b> '
            f"{dollars(usd6)}, {summary[f'fills_{stage}']:,} fills</span>"
        )
    return (
        '<div class="card"><div class="name">Liquidated notional by stage</div>'
        f'<div class="stack">{"".join(bars)}</div><div class="keys">{"".join(keys)}</div></div>'
    )


def _price_section(results: dict[str, Any]) -> str:
    assets = [market.partition("-")[0] for market in results["markets"]]
    width = {1: 12, 2: 6}.get(len(assets), 4)
    top = [chart(f"price-{asset}", asset, "outside, index, mark", width) for asset in assets]
    low = [
        chart(f"lag-{asset}", f"{asset}: how far off", "index and mark against the price outside", width)
        for asset in assets
    ]
    old = " Shaded: no price that is recent enough to act on." if results["summary"]["stale_samples"] else ""
    return (
        "<h2>Prices</h2><p>The oracle repeats what the price outside was some seconds ago. The mark adds how "
        "far the book stands from the index, smoothed over a minute and bounded. The dashed line on every chart is "
        f'the time of the largest move.{old}</p><div class="grid">{"".join(top)}{"".join(low)}</div>'
    )


def _liquidation_section(results: dict[str, Any]) -> str:
    summary = results["summary"]
    outcomes = (
        f"{summary['liquidations_recovered']:,} recovered, {summary['liquidations_closed']:,} closed, "
        f"{summary['liquidations_bankrupt']:,} bankrupt, {summary['in_liquidation_end']:,} still open"
    )
    bore = (
        f"Providers {made(summary['providers_result_usd6'])}, positions at the last mark; on the book the "
        f"liquidated {made(-summary['slippage_usd6'])} against the mark; "
        f"{against_mark(summary['adl_forgone_usd6'])}."
    )
    if summary["liquidated_adl_usd6"]:
        bore += f" Deleveraged: {deleveraged(summary)}."
    cards = (
        chart("stages", "Liquidated notional by stage", "what each span of time added", 12),
        chart(
            "busy", "Subaccounts in liquidation", f"at the same time; in all {_entries(summary)}: {outcomes}"
        ),
        chart("below", "Account value below zero", "share of sampled customers, positions at mark"),
        chart(
            "values",
            "Account value over what customers came with",
            "5th to 95th percentile of sampled customers",
            12,
        ),
    )
    return (
        "<h2>Liquidations</h2><p>First the book, in small steps inside a band; then providers with capacity; what "
        f'they cannot take is netted and deleveraged. No fee is charged. {bore}</p><div class="grid">{"".join(cards)}</div>{_largest_table(results)}'
    )


def _largest_table(results: dict[str, Any]) -> str:
    rows = []
    for one in results["largest"]:
        total = sum(one["usd6"].values())
        bars = "".join(
            f'<i style="width:{percent(one["usd6"][stage] * 1_000_000 // total if total else 0, 2)};background:var(--{stage})"></i>'
            for stage, _ in STAGES
        )
        until = clock(one["last_second"]) if one["outcome"] != "open" else "–"
        rows.append(
            f"<tr><td>{escape(one['subaccount'])}</td><td>{escape(one['kind'])}</td>"
            f'<td class="n">{dollars(one["equity_usd6"])}</td><td>{clock(one["second"])}</td><td>{until}</td>'
            f'<td class="n">{one["entries"]:,}</td><td class="n">{dollars(total)}</td>'
            f'<td><span class="meter">{bars}</span></td><td class="n">{dollars(one["account_value_usd6"])}</td>'
            f'<td class="n">{dollars(one["owed_usd6"])}</td><td>{escape(one["outcome"])}</td></tr>'
        )
    if not rows:
        return ""
    return (
        f"<h3>The {len(rows)} of whom most was liquidated</h3>"
        '<div class="card"><div class="scroll"><table><tr><th>subaccount</th><th></th><th class="n">came with</th><th>from</th>'
        '<th>until</th><th class="n">times</th><th class="n">liquidated</th><th>by stage</th><th class="n">had at entry</th>'
        f'<th class="n">owed when bankrupt</th><th>outcome</th></tr>{"".join(rows)}</table></div></div>'
    )


def _debt_section(results: dict[str, Any]) -> str:
    summary = results["summary"]
    cards = (
        chart(
            "debts",
            "Outstanding negative equity and winners' claims",
            "what the bankrupt and the fund owe is what winners wait for; claims above it are losses on their way to the next settlement",
        ),
        chart(
            "fund",
            "Insurance fund",
            "what it has, what it owes the settlement pool and the lenders of loans it took over, and what is left",
        ),
        chart("deposits", "Deposits of liquidated customers", "what paid a debt, what was credited"),
        chart("held", "Deposits held", "customers who chose to look first"),
    )
    settled = (
        f"Debts of {dollars(summary['bankrupt_usd6'])} arose. The fund paid {dollars(summary['covered_by_fund_usd6'])} "
        f"for good, deposits {dollars(summary['repaid_by_deposits_usd6'])}, what debtors still had "
        f"{dollars(summary['collected_from_debtors_usd6'])}; written off "
        f"{dollars(summary['socialized_usd6'])}; outstanding at the end: {dollars(summary['outstanding_end_usd6'])}."
    )
    # Not for the dust of a rounding, which would read "$0".
    if summary["fund_owes_end_usd6"] >= 10_000:
        settled += (
            f" The fund itself still owes {dollars(summary['fund_owes_end_usd6'])}: what it took over from losers "
            "at the price of the moment brought less."
        )
    return f'<h2>Debts and who settles them</h2><p>{settled}</p><div class="grid">{"".join(cards)}</div>'


def _gate_section(results: dict[str, Any]) -> str:
    refused = [one for one in results["refusals"] if one["command"] in ("RequestWithdrawal", "Deposit")]
    rows = "".join(
        f'<tr><td>{escape(one["command"])}</td><td>{escape(one["reason"])}</td><td class="text">'
        f'{escape(one["statement"])}</td><td class="n">{one["count"]:,}</td></tr>'
        for one in refused
    )
    table = (
        f'<section class="card w6 chart"><h3>Refused</h3><p>by reason</p><div class="scroll"><table><tr><th>command</th>'
        f'<th>reason</th><th>statement</th><th class="n">count</th></tr>{rows}</table></div></section>'
    )
    cards = (
        chart(
            "gate",
            "Withdrawals: what the gate decided",
            "passed at once, queued by the gate, refused for what the customer has or owes",
        ),
        chart("queue", "Withdrawals waiting", "for the pool gate, the velocity guard or reserves"),
        chart("utilization", "Utilization of the lending pools", "borrowed over lent"),
        table,
    )
    return (
        "<h2>The gate and the pools</h2><p>While negative equity exceeds the fund, larger USDC withdrawals wait, for a "
        f'bounded time.</p><div class="grid">{"".join(cards)}</div>{_deposit_table(results)}'
    )


def _deposit_table(results: dict[str, Any]) -> str:
    decimals = {one["symbol"]: one["decimals"] for one in msgspec.json.decode(results["params"])["assets"]}
    rows = []
    debtors_first = sorted(results["deposits"], key=lambda one: not one["outstanding_before_usd6"])
    for one in debtors_first[:MOST_DEPOSITS]:
        part = one["applied_units"] * 1_000_000 // one["units"] if one["units"] else 0
        meter = (
            f'<span class="meter"><i style="width:{percent(part, 2)};background:var(--adl)"></i>'
            f'<i style="width:{percent(1_000_000 - part if one["credited_units"] else 0, 2)};background:var(--book)"></i></span>'
        )
        rows.append(
            f"<tr><td>{clock(one['second'])}</td><td>{escape(one['subaccount'])}</td>"
            f'<td class="n">{units(one["units"], decimals[one["asset"]])} {escape(one["asset"])}</td><td>{meter}</td>'
            f'<td class="n">{units(one["applied_units"], decimals[one["asset"]])}</td>'
            f'<td class="n">{units(one["credited_units"], decimals[one["asset"]])}</td>'
            f'<td class="n">{dollars(one["outstanding_before_usd6"])}</td>'
            f'<td class="n">{dollars(one["outstanding_after_usd6"])}</td><td>{escape(_became(one))}</td></tr>'
        )
    if not rows:
        return ""
    more = f" ({MOST_DEPOSITS} of them here)" if len(results["deposits"]) > MOST_DEPOSITS else ""
    return (
        f"<h2>Every deposit, to the unit</h2><p>{len(results['deposits']):,} deposits{more}, those that met a debt first. Red went to the debt, green was "
        'credited.</p><div class="card"><div class="scroll"><table><tr><th>at</th><th>subaccount</th><th class="n">deposited</th>'
        '<th></th><th class="n">applied</th><th class="n">credited</th><th class="n">owed before</th>'
        f'<th class="n">owed after</th><th>outcome</th></tr>{"".join(rows)}</table></div></div>'
    )


def _became(deposit: dict[str, Any]) -> str:
    """Say in words what became of a deposit; `taken` in results.json is whatever arrived and was booked."""
    if not deposit["outcome"].endswith("taken"):
        return str(deposit["outcome"])
    held = "held, then " if deposit["outcome"] != "taken" else ""
    if not deposit["applied_units"]:
        return held + "credited"
    if deposit["outstanding_after_usd6"]:
        return held + "paid a part of the debt"
    return held + ("paid the debt, the rest credited" if deposit["credited_units"] else "paid the debt")


def _check_section(results: dict[str, Any]) -> str:
    summary = results["summary"]
    lines = [(True, f"{results['invariant_checks']:,} checks of the invariants, no breach")]
    lines += [
        (
            one["agree"],
            f"{one['what']}: events say {one['events']:,}{_room(one)}, the engine says {one['engine']:,}",
        )
        for one in results["checks"]
    ]
    wrong = summary["previews_wrong"]
    lines.append(
        (not wrong, f"{summary['previews_exact']:,} deposit previews exact to the unit, {wrong:,} not")
    )
    items = "".join(f'<div class="{"ok" if good else "no"}">{escape(words)}</div>' for good, words in lines)
    return f'<h2>What was checked</h2><div class="card">{items}</div>'


def _room(check: dict[str, Any]) -> str:
    return f" to {check['events'] + check['room']:,}" if check["room"] else ""


def _footer(results: dict[str, Any]) -> str:
    return (
        f"<footer>{results['summary']['commands']:,} commands, {results['summary']['events']:,} events. State "
        f"{escape(results['state_hash'])}. Repeat it: <code>makewhole crash --scenario {escape(results['scenario']['source'])} "
        f"--accounts {results['accounts']} --seed {results['seed']}</code><details><summary>Engine parameters</summary>"
        f"<pre>{escape(results['params'])}</pre></details>Charts: uPlot, MIT.</footer>"
    )
